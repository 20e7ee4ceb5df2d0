//! The plugins that `host-harness new-plugin` writes, built as their READMEs say: each becomes
//! `target/new-plugin/LANGUAGE/plugin.wasm`, which the tests check and serve.

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};

use crate::cargo::{self, step};
use crate::host;
use crate::npm;
use crate::python;
use crate::toolchain::Toolchain;

/// The program that writes them, compiled before.
pub(crate) const HOST: &str = "host-harness";

/// What all are made of: files, and folders of files.
const SHARED: [&str; 2] = ["wit", "host-harness/src/new_plugin.rs"];

/// A language in which a plugin can be begun.
#[derive(Clone, Copy)]
pub(crate) enum Language {
    Rust,
    TypeScript,
    Python,
}

impl Language {
    pub(crate) const ALL: [Self; 3] = [Self::Rust, Self::TypeScript, Self::Python];

    /// As the command line names it, and its folder.
    fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::TypeScript => "typescript",
            Self::Python => "python",
        }
    }

    /// What its plugin is made of besides what all are: files, and folders of files.
    fn sources(self) -> &'static [&'static str] {
        match self {
            Self::Rust => &["host-harness/templates/rust", "src", "Cargo.lock"],
            Self::TypeScript => &["host-harness/templates/typescript"],
            Self::Python => &["host-harness/templates/python"],
        }
    }

    /// Writes and builds the plugin, where it is older than what it is made of.
    ///
    /// # Errors
    ///
    /// What its language takes is missing and cannot be installed, or the plugin has errors.
    pub(crate) fn build(self) -> Result<()> {
        let name = self.name();
        let folder = cargo::target_dir().join("new-plugin").join(name);
        let plugin = folder.join("plugin.wasm");
        let mut newest = SystemTime::UNIX_EPOCH;
        for source in SHARED.iter().chain(self.sources()) {
            newest = newest.max(written(&cargo::workspace().join(source))?);
        }
        if written(&plugin).is_ok_and(|made| made >= newest) {
            return Ok(());
        }
        step(&format!("plugin in {name}: writing and building …"));
        write(name, &folder)?;
        match self {
            Self::Rust => rust(&folder),
            Self::TypeScript => npm::install(&folder).and_then(|()| typescript(&folder)),
            Self::Python => python(&folder),
        }
        .with_context(|| format!("the tests build what `new-plugin --language {name}` writes"))
    }
}

/// In the place of what a former run has left.
fn write(language: &str, folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
        _ => fs::create_dir_all(folder)?,
    }
    let mut new = cargo::command(host::program(HOST));
    new.args(["new-plugin", "--language", language]).arg(folder);
    cargo::run(&mut new, "the plugin is not written; the reason is above")
}

/// With the versions that the workspace has.
fn rust(folder: &Path) -> Result<()> {
    let lock = "Cargo.lock";
    fs::copy(cargo::workspace().join(lock), folder.join(lock))?;
    let (mut build, module) = Toolchain::find_or_install()?.build_in(folder);
    cargo::run(&mut build, "it does not compile; the reason is above")?;
    let mut componentize = cargo::command(host::program(HOST));
    componentize.arg("componentize").arg(module);
    componentize.arg(folder.join("plugin.wasm"));
    cargo::run(&mut componentize, "it cannot be made a component")
}

fn typescript(folder: &Path) -> Result<()> {
    let mut npm = cargo::command("npm");
    npm.current_dir(folder).args(["run", "--silent", "build"]);
    cargo::run(&mut npm, "it cannot be built; the reason is above")
}

fn python(folder: &Path) -> Result<()> {
    let environment = python::componentize_py(&folder.join("requirements.txt"))?;
    let mut build = cargo::command(environment.join("bin/python"));
    build
        .current_dir(folder)
        .args(["build.py", "plugin.wasm"])
        .env("PATH", path_with(&environment.join("bin")))
        .env("VIRTUAL_ENV", &environment);
    cargo::run(&mut build, "it cannot be built; the reason is above")
}

/// The path of programs, as `activate` of an environment changes it.
fn path_with(programs: &Path) -> std::ffi::OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(PathBuf::from(programs)).chain(std::env::split_paths(&path));
    std::env::join_paths(folders).unwrap_or(path)
}

/// When the file, or the latest of the folder, was written; what was installed there counts for
/// nothing.
fn written(path: &Path) -> Result<SystemTime> {
    let found = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    if found.is_file() {
        return Ok(found.modified()?);
    }
    let mut latest = SystemTime::UNIX_EPOCH;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_name() != OsStr::new("node_modules") {
            latest = latest.max(written(&entry.path())?);
        }
    }
    Ok(latest)
}
