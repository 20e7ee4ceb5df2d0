//! The host's programs, compiled as its tests are.

use std::path::PathBuf;

use anyhow::Result;

use crate::cargo::{self, Running, step};

/// A test that needs hardly more than it is made of. Cargo gives the dependencies other features
/// when a test is among what it builds, so with this one it builds them as `cargo xtask test` wants
/// them, and each is compiled once.
const WITH_THE_FEATURES_OF_TESTS: [&str; 2] = ["--test", "layers"];

/// Begins to compile these programs of the workspace.
///
/// # Errors
///
/// Cargo cannot be started.
pub(crate) fn start_building(programs: &[&str]) -> Result<Running> {
    step(&format!("host: compiling {} …", programs.join(" and ")));
    let mut build = cargo::cargo("build");
    build.arg("--workspace").args(WITH_THE_FEATURES_OF_TESTS);
    for program in programs {
        build.args(["--bin", program]);
    }
    Running::start(build, "the host does not compile; the reason is above")
}

/// Compiles the host as it is shipped; gives its program.
///
/// # Errors
///
/// It does not compile.
pub(crate) fn build_optimised() -> Result<PathBuf> {
    step("host: compiling, optimised; minutes the first time …");
    let mut host = cargo::cargo("build");
    host.args(["--release", "--package", "host-harness"]);
    host.args(["--bin", "host-harness"]);
    cargo::run(&mut host, "the host does not compile; the reason is above")?;
    Ok(cargo::target_dir().join("release/host-harness"))
}

/// Where a program lies once it is compiled.
pub(crate) fn program(name: &str) -> PathBuf {
    cargo::target_dir().join("debug").join(name)
}
