//! Makes the plugin, compiled to WebAssembly, a WASI component, and says what that asks of a host.
//!
//! `plugin-component MODULE COMPONENT` is called by `cargo xtask`. It is a program of its own so that
//! the tasks, which are compiled before all else, need next to nothing, and so that the libraries
//! which it shares with the host are compiled once.

mod memory;

use std::env;
use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};
use wit_component::{ComponentEncoder, DecodedWasm};

/// What there is to know about a component.
struct Component {
    path: PathBuf,
    size: usize,
    digest: String,
    imports: Vec<String>,
    exports: Vec<String>,
}

fn main() -> Result<()> {
    let mut paths = env::args_os().skip(1).map(PathBuf::from);
    let (Some(module), Some(path), None) = (paths.next(), paths.next(), paths.next()) else {
        bail!("usage: plugin-component MODULE COMPONENT");
    };
    let bytes = encode(&module)?;
    replace(&path, &bytes)?;
    let component = Component::describe(path, &bytes)?;
    Ok(write!(io::stdout(), "{component}")?)
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
    fn describe(path: PathBuf, bytes: &[u8]) -> Result<Self> {
        let DecodedWasm::Component(resolve, world) = wit_component::decode(bytes)? else {
            bail!("{} holds a WIT package", path.display());
        };
        let world = resolve
            .worlds
            .get(world)
            .context("the component has no world")?;
        let names = |key| resolve.name_world_key(key);
        Ok(Self {
            path,
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
        writeln!(f, "path     {}", self.path.display())?;
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
