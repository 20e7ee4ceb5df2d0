//! What a commit is held to besides its tests.

use anyhow::Result;

use crate::cargo::{self, step};
use crate::toolchain::Toolchain;

/// The programs that are documented; the host's own is where its library is.
const PROGRAMS: [&str; 2] = ["plugin-component", "xtask"];

/// Checks formatting, lints and documentation; stops at the first that is not clean.
///
/// # Errors
///
/// A check is not clean, or its tool is missing.
pub(crate) fn run() -> Result<()> {
    formatting()?;
    host_lints()?;
    plugin_lints()?;
    documentation()?;
    step("checks: all clean");
    Ok(())
}

fn formatting() -> Result<()> {
    step("checks: formatting …");
    let mut fmt = cargo::command(cargo::program());
    fmt.args(["fmt", "--all", "--check"]);
    cargo::run(&mut fmt, "the formatting differs; run `cargo fmt --all`")
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
