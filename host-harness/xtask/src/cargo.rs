//! One cargo inside another: the same workspace, the same target directory, and the environment
//! as if the inner command had been typed.

use std::env;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// What `cargo run` tells this program about itself. A build script that watches one of these
/// would run again each time that builds change between `cargo` and `cargo xtask`.
const SET_BY_CARGO_RUN: [&str; 4] = [
    "CARGO_BIN_NAME",
    "CARGO_CRATE_NAME",
    "CARGO_MANIFEST_",
    "CARGO_PKG_",
];

/// The folder that holds the workspace's `Cargo.toml`.
pub(crate) fn workspace() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.ancestors().nth(2).unwrap_or(xtask)
}

/// The target directory: every nested cargo is told to use it, or a folder in it.
pub(crate) fn target_dir() -> PathBuf {
    workspace().join("target")
}

/// A command that runs in the workspace, with the environment that `cargo xtask` was called in.
pub(crate) fn command(program: impl Into<OsString>) -> Command {
    let mut command = Command::new(program.into());
    command.current_dir(workspace());
    for name in variables_starting_with(&SET_BY_CARGO_RUN) {
        command.env_remove(name);
    }
    command
}

/// The cargo that runs this program.
pub(crate) fn program() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// `cargo <subcommand>`, for a subcommand that builds, into [`target_dir`].
pub(crate) fn cargo(subcommand: &str) -> Command {
    building(program(), subcommand, &target_dir())
}

/// Like [`cargo`], by a program with cargo's command line, and into a folder of its choice.
pub(crate) fn building(program: impl Into<OsString>, subcommand: &str, into: &Path) -> Command {
    let mut command = command(program);
    command
        .arg(subcommand)
        .arg("--target-dir")
        .arg(into)
        .env_remove("CARGO_BUILD_TARGET");
    command
}

/// The variables of this process whose names start with one of `prefixes`.
pub(crate) fn variables_starting_with(prefixes: &[&str]) -> impl Iterator<Item = OsString> {
    env::vars_os().map(|(name, _)| name).filter(|name| {
        let name = name.to_string_lossy();
        prefixes.iter().any(|prefix| name.starts_with(prefix))
    })
}

/// Runs a command to its end, with all its output on stderr, where the user reads it.
///
/// # Errors
///
/// The command cannot be started, or ends with another status than success: `complaint`.
pub(crate) fn run(command: &mut Command, complaint: &str) -> Result<()> {
    run_for_its_output(command.stdout(io::stderr()), complaint)
}

/// Like [`run`], but what the command prints to stdout is the task's result.
///
/// # Errors
///
/// As those of [`run`].
pub(crate) fn run_for_its_output(command: &mut Command, complaint: &str) -> Result<()> {
    let status = command.status().with_context(|| cannot_start(command))?;
    if !status.success() {
        bail!("{complaint}");
    }
    Ok(())
}

/// A command that runs beside this program, with its output on stderr. It is ended when this is
/// dropped.
pub(crate) struct Running {
    child: Child,
    complaint: &'static str,
}

impl Running {
    /// # Errors
    ///
    /// The command cannot be started.
    pub(crate) fn start(mut command: Command, complaint: &'static str) -> Result<Self> {
        let child = command.stdout(io::stderr()).spawn();
        let child = child.with_context(|| cannot_start(&command))?;
        Ok(Self { child, complaint })
    }

    /// Waits for the command's end.
    ///
    /// # Errors
    ///
    /// It ends with another status than success: the complaint.
    pub(crate) fn finish(mut self) -> Result<()> {
        if !self.child.wait()?.success() {
            bail!("{}", self.complaint);
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // These fail only when the child has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The message for a program that is not there.
pub(crate) fn cannot_start(command: &Command) -> String {
    format!("cannot start {}", command.get_program().display())
}

/// What a command printed to stdout, if it can be run here and succeeds.
pub(crate) fn output_of(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// What a command prints to stdout.
///
/// # Errors
///
/// As those of [`run`], or it prints no UTF-8.
pub(crate) fn output_or(command: &mut Command, complaint: &str) -> Result<String> {
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.with_context(|| cannot_start(command))?;
    if !output.status.success() {
        bail!("{complaint}");
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Says on stderr which step begins, and how long the task has been running.
pub(crate) fn step(what: &str) {
    static START: OnceLock<Instant> = OnceLock::new();
    let elapsed = START.get_or_init(Instant::now).elapsed();
    eprintln!("[{:6.1} s] {what}", elapsed.as_secs_f64());
}
