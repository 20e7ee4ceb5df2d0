//! The plugin as a WASI component, `target/reset_totp.wasm`: compiled for WebAssembly by one cargo
//! while another compiles what makes it a component.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::cargo::{self, step};
use crate::host;
use crate::toolchain::{self, Toolchain};

const FILE: &str = "reset_totp.wasm";

/// The program that makes a component of a module.
const COMPONENT: &str = "plugin-component";

/// Where [`build`] leaves the component.
pub(crate) fn path() -> PathBuf {
    cargo::target_dir().join(FILE)
}

/// Compiles the plugin, makes it a component and writes that to [`path`], whole or not at all.
/// What it returns says how large it is, its digest, and what it asks of a host.
///
/// # Errors
///
/// There is no compiler, the plugin does not compile, what it asks for is not in `wit/`, or the
/// file cannot be written.
pub(crate) fn build() -> Result<String> {
    build_with(&[])
}

/// Like [`build`], and compiles these programs of the host meanwhile.
///
/// # Errors
///
/// As those of [`build`], or the host does not compile.
pub(crate) fn build_with(programs: &[&str]) -> Result<String> {
    let host = host::start_building(&[&[COMPONENT], programs].concat())?;
    compile()?;
    host.finish()?;
    let description = encode()?;
    step("plugin: component written");
    Ok(description)
}

fn compile() -> Result<()> {
    let toolchain = Toolchain::find_or_install()?;
    step("plugin: compiling …");
    let mut build = toolchain.build();
    build.env("CARGO_TERM_PROGRESS_WHEN", "never"); // the line belongs to the host's build
    cargo::run(
        &mut build,
        "the plugin does not compile; the reason is above",
    )?;
    step("plugin: compiled");
    Ok(())
}

fn encode() -> Result<String> {
    let module = toolchain::modules().join(FILE);
    let mut encode = cargo::command(host::program(COMPONENT));
    encode.arg(module).arg(Path::new("target").join(FILE));
    cargo::output_or(
        &mut encode,
        "the plugin cannot be made a component; the reason is above",
    )
}
