//! JavaScript programs, and what they need.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::cargo::{self, step};

/// Installs what the programs in `folder` need, where its lock file is newer than what is
/// there.
///
/// # Errors
///
/// There is no lock file, or npm is missing or fails.
pub(crate) fn install(folder: impl AsRef<Path>) -> Result<()> {
    let path = cargo::workspace().join(folder);
    let written = |file: &str| fs::metadata(path.join(file))?.modified();
    let lock = written("package-lock.json")?;
    if written("node_modules/.package-lock.json").is_ok_and(|installed| installed >= lock) {
        return Ok(());
    }
    step(&format!("npm: installing what {} needs …", path.display()));
    let mut npm = cargo::command("npm");
    npm.current_dir(&path).arg("ci");
    cargo::run(
        &mut npm,
        "the JavaScript programs cannot be installed; npm's reason is above",
    )
    .context("it takes Node.js 20.19 or newer, with npm")
}
