//! One cargo inside another: the same workspace, the same target directory, and an environment as
//! if the user had typed the inner command.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// What `cargo run` tells this program about itself. A build script that watches one of these
/// would run again each time a build changes between `cargo` and `cargo xtask`.
const SET_BY_CARGO_RUN: [&str; 4] = [
    "CARGO_PKG_",
    "CARGO_MANIFEST_",
    "CARGO_BIN_NAME",
    "CARGO_CRATE_NAME",
];

/// The folder that holds the workspace's `Cargo.toml`.
pub(crate) fn workspace() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.ancestors().nth(2).unwrap_or(xtask)
}

/// The one target directory; every nested cargo is told to use it.
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

/// `cargo <subcommand>` by the cargo that runs this program.
pub(crate) fn cargo(subcommand: &str) -> Command {
    let mut command = command(program());
    command
        .arg(subcommand)
        .arg("--target-dir")
        .arg(target_dir())
        .env_remove("CARGO_BUILD_TARGET");
    command
}

/// The cargo that runs this program.
pub(crate) fn program() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// The variables of this process whose names start with one of `prefixes`.
pub(crate) fn variables_starting_with(prefixes: &[&str]) -> impl Iterator<Item = OsString> {
    env::vars_os().map(|(name, _)| name).filter(|name| {
        prefixes
            .iter()
            .any(|prefix| name.to_string_lossy().starts_with(prefix))
    })
}

/// Runs a command to its end; its output is the user's to read.
///
/// # Errors
///
/// The command cannot be started, or ends with another status than success.
pub(crate) fn run(command: &mut Command, what: &str) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("{what}: cannot start {}", command.get_program().display()))?;
    if !status.success() {
        bail!("{what} failed ({status}); the reason is above");
    }
    Ok(())
}

/// Says on stderr which step begins, and how long the task has been running.
pub(crate) fn step(what: &str) {
    static START: OnceLock<Instant> = OnceLock::new();
    let elapsed = START.get_or_init(Instant::now).elapsed();
    eprintln!("[{:6.1} s] {what}", elapsed.as_secs_f64());
}
