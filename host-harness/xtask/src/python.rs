//! Programs of Python's that the tests start or build with, each in an environment of its own.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cargo::{self, step};
use crate::debian;

/// The database that stands in for MongoDB in the tests, and its version: it speaks MongoDB's
/// protocol, and is shipped to nobody.
const SECANTUSDB: &str = "secantusdb==0.7.0b3";

/// What runs the plugin in Python, and what knows the codes of authenticator apps: the versions whose
/// answers are known.
const WASMTIME: &str = "wasmtime==50.0.1\npyotp==2.12.1";

/// Notes in an environment what was installed there.
const INSTALLED: &str = "installed";

/// Installs SecantusDB, where it is not there in this version, in the target folder, where the tests
/// look for it.
///
/// # Errors
///
/// Python 3 is missing, or its `venv` or `pip` fails.
pub(crate) fn secantusdb() -> Result<()> {
    environment("secantusdb", SECANTUSDB).map(drop)
}

/// Installs Wasmtime for Python in the same way.
///
/// # Errors
///
/// As those of [`secantusdb`].
pub(crate) fn wasmtime() -> Result<()> {
    environment("wasmtime-py", WASMTIME).map(drop)
}

/// Installs what a file of requirements names, which makes components of programs in Python; says
/// where.
///
/// # Errors
///
/// As those of [`secantusdb`], or the file cannot be read.
pub(crate) fn componentize_py(requirements: &Path) -> Result<PathBuf> {
    let wanted =
        fs::read_to_string(requirements).with_context(|| requirements.display().to_string())?;
    environment("componentize-py", wanted.trim())
}

/// An environment in the target folder, with these packages alone, one a line.
fn environment(folder: &str, packages: &str) -> Result<PathBuf> {
    let folder = cargo::target_dir().join(folder);
    let note = folder.join(INSTALLED);
    if fs::read_to_string(&note).is_ok_and(|installed| installed == packages) {
        return Ok(folder);
    }
    step(&format!(
        "pip: installing {} …",
        packages.replace('\n', " ")
    ));
    debian::python()?;
    let mut environment = cargo::command("python3");
    environment.args(["-m", "venv", "--clear"]).arg(&folder);
    cargo::run(
        &mut environment,
        "no environment of Python's can be made; its reason is above",
    )
    .context("it takes Python 3.10 or newer, with venv: `apt-get install python3-venv`")?;
    let mut pip = cargo::command(folder.join("bin/pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check"])
        .args(packages.lines());
    cargo::run(
        &mut pip,
        &format!("{packages} cannot be installed; pip's reason is above"),
    )?;
    fs::write(&note, packages).with_context(|| note.display().to_string())?;
    Ok(folder)
}
