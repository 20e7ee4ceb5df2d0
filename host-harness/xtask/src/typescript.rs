//! The plugin in TypeScript, `target/typescript.wasm`, which the tests serve: one with a whole
//! interpreter in it.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, Result};

use crate::cargo::{self, step};
use crate::npm;

const FOLDER: &str = "tests/plugins/typescript";

/// What it is made of, besides what `package-lock.json` names: files, and folders of files.
const SOURCES: [&str; 5] = [
    "tests/plugins/typescript/package-lock.json",
    "tests/plugins/typescript/tsconfig.json",
    "tests/plugins/typescript/build.mjs",
    "tests/plugins/typescript/plugin.ts",
    "wit",
];

/// Makes it where it is older than what it is made of.
///
/// # Errors
///
/// npm is missing or fails, or the plugin has errors.
pub(crate) fn build() -> Result<()> {
    npm::install(FOLDER).context("the tests serve a plugin in TypeScript")?;
    let output = cargo::target_dir().join("typescript.wasm");
    let mut newest = SystemTime::UNIX_EPOCH;
    for source in SOURCES {
        newest = newest.max(written(&cargo::workspace().join(source))?);
    }
    if written(&output).is_ok_and(|made| made >= newest) {
        return Ok(());
    }
    step("plugin in TypeScript: compiling …");
    let mut build = cargo::command("node");
    build
        .current_dir(cargo::workspace().join(FOLDER))
        .arg("build.mjs")
        .arg(&output);
    cargo::run(
        &mut build,
        "the plugin in TypeScript cannot be made; the reason is above",
    )
}

/// When the file, or the latest of the folder, was written.
fn written(path: &Path) -> Result<SystemTime> {
    let found = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    if found.is_file() {
        return Ok(found.modified()?);
    }
    let mut latest = SystemTime::UNIX_EPOCH;
    for entry in fs::read_dir(path)? {
        latest = latest.max(written(&entry?.path())?);
    }
    Ok(latest)
}
