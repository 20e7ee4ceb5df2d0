//! The host's program as it is released: optimised, and with the list of what it is made of in it,
//! which those tools read that know of published flaws (`cargo audit bin`, Trivy, Syft).

use std::env;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cargo::{self, step};
use crate::tools;

const PROGRAM: &str = "host-harness";

/// Installs the program for whoever calls, or where `root` is given into `bin` there, and prints where
/// it is and how many crates it names.
///
/// # Errors
///
/// A tool cannot be installed, the program does not compile, or it does not name each crate of which
/// it is made.
pub(crate) fn run(root: Option<OsString>) -> Result<()> {
    let (mut install, reader) = begin()?;
    let root = root.map(PathBuf::from).or_else(default_root);
    let root = root.context("there is no home folder to install into; give `--root FOLDER`")?;
    install
        .args(["install", "--locked", "--force", "--path", PROGRAM])
        .arg("--target-dir")
        .arg(cargo::target_dir())
        .arg("--root")
        .arg(&root);
    cargo::run(
        &mut install,
        "the host is not installed; the reason is above",
    )?;
    let program = root.join("bin").join(PROGRAM);
    let named = named(&reader, &program)?;
    let program = program.display();
    writeln!(
        io::stdout(),
        "{program} names the {named} crates that it is made of"
    )?;
    Ok(())
}

/// Where cargo installs programs.
fn default_root() -> Option<PathBuf> {
    let set = ["CARGO_INSTALL_ROOT", "CARGO_HOME"]
        .iter()
        .find_map(env::var_os);
    set.map(PathBuf::from)
        .or_else(|| Some(env::home_dir()?.join(".cargo")))
}

/// Compiles the program as [`run`] does, and gives it, where it lies in the target directory.
///
/// # Errors
///
/// As those of [`run`].
pub(crate) fn build() -> Result<PathBuf> {
    let (mut build, reader) = begin()?;
    build
        .args(["build", "--locked", "--release"])
        .args(["--package", PROGRAM, "--bin", PROGRAM, "--target-dir"])
        .arg(cargo::target_dir());
    cargo::run(&mut build, "the host does not compile; the reason is above")?;
    let program = cargo::target_dir().join("release").join(PROGRAM);
    named(&reader, &program)?;
    Ok(program)
}

/// What compiles a program with the list in it, and what reads the list.
fn begin() -> Result<(Command, PathBuf)> {
    let auditable = tools::AUDITABLE.find_or_install()?;
    let reader = tools::AUDIT_INFO.find_or_install()?;
    step("host: compiling, optimised; minutes the first time …");
    let mut command = cargo::command(auditable);
    command.arg("auditable");
    Ok((command, reader))
}

/// How many crates the program names: at least those that are linked into it.
fn named(reader: &Path, program: &Path) -> Result<usize> {
    let mut read = cargo::command(reader);
    let list = cargo::output_or(
        read.arg(program),
        "the program has no list of what it is made of; the reason is above",
    )?;
    let mut tree = cargo::command(cargo::program());
    tree.args([
        "tree",
        "--package",
        PROGRAM,
        "--edges",
        "normal,no-proc-macro",
    ])
    .args(["--prefix", "none", "--format", "{p}", "--locked"]);
    let tree = cargo::output_or(&mut tree, "cargo does not say what the program is made of")?;
    for line in tree.lines() {
        let mut words = line.split(' ');
        let (name, version) = (words.next(), words.next().and_then(|v| v.strip_prefix('v')));
        let (Some(name), Some(version)) = (name, version) else {
            continue;
        };
        if !list.contains(&format!(r#""name":"{name}","version":"{version}""#)) {
            bail!("the program does not name {name} {version}, of which it is made");
        }
    }
    Ok(list.matches(r#""name":"#).count())
}
