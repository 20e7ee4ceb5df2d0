//! Programs of Python's that the tests start, each in an environment of its own.

use std::fs;

use anyhow::{Context, Result};

use crate::cargo::{self, step};
use crate::debian;

/// The database that stands in for MongoDB in the tests, and its version: it speaks MongoDB's
/// protocol, and is shipped to nobody.
const SECANTUSDB: &str = "secantusdb==0.7.0b3";

/// Its environment, in the target folder, where the tests look for it.
const FOLDER: &str = "secantusdb";

/// Notes in the environment what was installed there.
const INSTALLED: &str = "installed";

/// Installs SecantusDB, where it is not there in this version.
///
/// # Errors
///
/// Python 3 is missing, or its `venv` or `pip` fails.
pub(crate) fn secantusdb() -> Result<()> {
    let folder = cargo::target_dir().join(FOLDER);
    let note = folder.join(INSTALLED);
    if fs::read_to_string(&note).is_ok_and(|installed| installed == SECANTUSDB) {
        return Ok(());
    }
    step(&format!("pip: installing {SECANTUSDB} …"));
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
        .arg(SECANTUSDB);
    cargo::run(
        &mut pip,
        "SecantusDB cannot be installed; pip's reason is above",
    )?;
    fs::write(&note, SECANTUSDB).with_context(|| note.display().to_string())
}
