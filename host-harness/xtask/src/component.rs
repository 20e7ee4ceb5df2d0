//! The plugin as a WASI component, `target/reset_totp.wasm`: compiled for WebAssembly by one cargo
//! while another compiles what makes it a component.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::cargo::{self, step};
use crate::host;
use crate::toolchain::{self, Toolchain};

const FILE: &str = "reset_totp.wasm";

/// The plugin in a server, and how that is put together.
const SERVER: &str = "target/reset_totp_server.wasm";
const COMPOSITION: &str = "tests/runtimes/wasi-http/composition.wac";

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

/// Makes the plugin, and of it a server for runtimes of `wasi:http`. What it returns is what [`build`]
/// does, of the server.
///
/// # Errors
///
/// As those of [`build`].
pub(crate) fn compose() -> Result<String> {
    build()?;
    compose_server()
}

/// Puts the plugin that [`build`] has left, byte for byte, between two components that make a server
/// of it.
///
/// # Errors
///
/// As those of [`build`].
pub(crate) fn compose_server() -> Result<String> {
    step("server of wasi:http: compiling …");
    let mut build = Toolchain::find_or_install()?.build_server();
    build.env("CARGO_TERM_PROGRESS_WHEN", "never");
    cargo::run(
        &mut build,
        "the server's components do not compile; the reason is above",
    )?;
    let modules = toolchain::modules();
    let mut compose = cargo::command(host::program(COMPONENT));
    compose.args(["--compose", COMPOSITION, SERVER]);
    for (package, file) in [
        ("chat:accounts", modules.join("wasi_http_accounts.wasm")),
        ("chat:front", modules.join("wasi_http_front.wasm")),
        ("chat:reset-totp", path()),
    ] {
        compose.arg(format!("{package}={}", file.display()));
    }
    cargo::output_or(
        &mut compose,
        "the server's components do not fit together; the reason is above",
    )
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
