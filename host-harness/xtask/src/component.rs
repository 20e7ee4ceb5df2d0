//! The plugin as a WASI component: `target/reset_totp.wasm`.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest as _, Sha256};
use wit_component::{ComponentEncoder, DecodedWasm};

use crate::cargo::{self, step};
use crate::memory;
use crate::toolchain::{TARGET, Toolchain};

const FILE: &str = "reset_totp.wasm";

/// What there is to know about a built component.
pub(crate) struct Component {
    size: usize,
    digest: String,
    imports: Vec<String>,
    exports: Vec<String>,
}

/// Where [`build`] leaves the component.
pub(crate) fn path() -> PathBuf {
    cargo::target_dir().join(FILE)
}

/// Compiles the plugin, makes it a component and writes that to [`path`], whole or not at all.
///
/// # Errors
///
/// There is no compiler, the plugin does not compile, what it asks for is not in `wit/`, or the
/// file cannot be written.
pub(crate) fn build() -> Result<Component> {
    let toolchain = Toolchain::find_or_install()?;
    step("plugin: compiling …");
    cargo::run(
        &mut toolchain.build(),
        "the plugin does not compile; the reason is above",
    )?;
    let bytes = encode(&compiled_module())?;
    replace(&path(), &bytes)?;
    let component = Component::describe(&bytes)?;
    step("plugin: component written");
    Ok(component)
}

fn compiled_module() -> PathBuf {
    cargo::target_dir().join(TARGET).join("plugin").join(FILE)
}

/// Makes a core module, with the contract that wit-bindgen left in it, a component.
fn encode(module: &Path) -> Result<Vec<u8>> {
    let module = fs::read(module).with_context(|| format!("cannot read {}", module.display()))?;
    let (module, memory) = memory::take(&module)?;
    let component = ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .and_then(|encoder| encoder.encode())
        .context("the compiled plugin does not fit its contract in wit/")?;
    memory.put_first(&component)
}

/// Writes beside the file first: a reader meets the old component or the new one, never half.
fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let unfinished = path.with_extension(format!("wasm.{}", std::process::id()));
    fs::write(&unfinished, bytes)
        .and_then(|()| fs::rename(&unfinished, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

impl Component {
    fn describe(bytes: &[u8]) -> Result<Self> {
        let DecodedWasm::Component(resolve, world) = wit_component::decode(bytes)? else {
            bail!("{FILE} holds a WIT package instead of a component");
        };
        let world = resolve
            .worlds
            .get(world)
            .context("the component has no world")?;
        let names = |key| resolve.name_world_key(key);
        Ok(Self {
            size: bytes.len(),
            digest: hex(&Sha256::digest(bytes)),
            imports: world.imports.keys().map(names).collect(),
            exports: world.exports.keys().map(names).collect(),
        })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kilobytes = self.size.div_ceil(1000);
        writeln!(f, "path     target/{FILE}")?;
        writeln!(f, "size     {} bytes ({kilobytes} kB)", self.size)?;
        writeln!(f, "sha-256  {}", self.digest)?;
        for import in &self.imports {
            writeln!(f, "import   {import}")?;
        }
        for export in &self.exports {
            writeln!(f, "export   {export}")?;
        }
        Ok(())
    }
}
