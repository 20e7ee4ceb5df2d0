//! What a commit is held to besides its tests.

use anyhow::Result;

use crate::book;
use crate::cargo::{self, step};
use crate::toolchain::Toolchain;
use crate::tools;

/// The programs that are documented; those that have a library of their name are where that is.
const PROGRAMS: [&str; 2] = ["plugin-package", "xtask"];

/// What `deny.toml` says of all that the workspace depends on, but for published flaws.
const WITHOUT_NETWORK: [&str; 3] = ["bans", "licenses", "sources"];

/// Checks formatting, dependencies, lints, documentation and the book; stops at the first that is not clean.
///
/// # Errors
///
/// A check is not clean, or its tool is missing.
pub(crate) fn run() -> Result<()> {
    formatting()?;
    dependencies(&WITHOUT_NETWORK)?;
    host_lints()?;
    plugin_lints()?;
    documentation()?;
    book::build()?;
    step("checks: all clean");
    Ok(())
}

fn formatting() -> Result<()> {
    step("checks: formatting …");
    let mut fmt = cargo::command(cargo::program());
    fmt.args(["fmt", "--all", "--check"]);
    cargo::run(&mut fmt, "the formatting differs; run `cargo fmt --all`")
}

/// Looks for published flaws in what the workspace depends on.
///
/// # Errors
///
/// There is one that `deny.toml` does not excuse, or the list of them cannot be fetched.
pub(crate) fn advisories() -> Result<()> {
    dependencies(&["advisories"])
}

fn dependencies(checks: &[&str]) -> Result<()> {
    let tool = tools::DENY.find_or_install()?;
    step(&format!("checks: dependencies, {} …", checks.join(", ")));
    let mut deny = cargo::command(tool);
    deny.args(["--locked", "check"]).args(checks);
    cargo::run(
        &mut deny,
        "a dependency is not as deny.toml says; the reason is above",
    )
}

fn host_lints() -> Result<()> {
    step("checks: lints, host …");
    let mut clippy = cargo::cargo("clippy");
    clippy.args(["--workspace", "--all-targets", "--", "-D", "warnings"]);
    cargo::run(&mut clippy, "clippy is not content; the reason is above")
}

/// The plugin again, for what is compiled to WebAssembly only.
fn plugin_lints() -> Result<()> {
    let mut clippy = Toolchain::find_or_install()?.clippy()?;
    step("checks: lints, WebAssembly …");
    clippy.args(["--", "-D", "warnings"]);
    cargo::run(
        &mut clippy,
        "clippy is not content with the plugin's WebAssembly; the reason is above",
    )
}

/// With an example, for which cargo gives the dependencies the features that all targets together
/// have: then the lints have read them already.
fn documentation() -> Result<()> {
    step("checks: documentation …");
    let mut doc = cargo::cargo("doc");
    doc.args(["--workspace", "--no-deps", "--document-private-items"])
        .args(["--lib", "--examples"])
        .args(PROGRAMS.iter().flat_map(|program| ["--bin", program]))
        .env("RUSTDOCFLAGS", "-Dwarnings");
    cargo::run(
        &mut doc,
        "the documentation has errors; the reason is above",
    )
}
