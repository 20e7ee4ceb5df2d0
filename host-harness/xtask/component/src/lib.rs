//! What the compiled plugin becomes: a WASI component, and packages of that and of its contract for
//! registries.
//!
//! | file | what it knows |
//! |---|---|
//! | `memory` | how the component holds its memory, so that a call is quick |
//! | `metadata` | what a component says of itself |
//! | `layout` | how a registry is given packages |
//!
//! Two programs call it, for `cargo xtask`: `plugin-component` and `plugin-package`. They are programs
//! of their own so that the tasks, which are compiled before all else, need next to nothing, and so
//! that the libraries which they share with the host are compiled once.

pub mod layout;
mod memory;
pub mod metadata;

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use metadata::Metadata;
use sha2::{Digest as _, Sha256};
use wit_component::{ComponentEncoder, DecodedWasm};
use wit_parser::{PackageName, Resolve};

/// What a component asks of a host, and gives it.
pub struct Described {
    /// Interfaces that it imports.
    pub imports: Vec<String>,
    /// Interfaces that it exports.
    pub exports: Vec<String>,
}

/// The contract, as a WIT package.
pub struct Contract {
    /// How its file is called.
    pub file: String,
    /// The package in WebAssembly's binary form.
    pub bytes: Vec<u8>,
    /// Its interfaces.
    pub interfaces: Vec<String>,
    /// What it says of itself.
    pub metadata: Metadata,
}

/// Makes a core module, with the contract that wit-bindgen left in it, a component that says what it
/// is.
///
/// # Errors
///
/// It is no module, or does not fit its contract.
pub fn encode(module: &[u8]) -> Result<Vec<u8>> {
    let (module, memory) = memory::take(module)?;
    let component = ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .and_then(|encoder| encoder.encode())
        .context("the compiled plugin does not fit its contract in wit/")?;
    let mut component = memory.put_first(&component)?;
    Metadata::read()?.append_to(&mut component);
    Ok(component)
}

/// Reads what a component asks for and gives.
///
/// # Errors
///
/// It is no component.
pub fn describe(component: &[u8]) -> Result<Described> {
    let DecodedWasm::Component(resolve, world) = wit_component::decode(component)? else {
        bail!("it is a WIT package");
    };
    let world = resolve
        .worlds
        .get(world)
        .context("the component has no world")?;
    let names = |key| resolve.name_world_key(key);
    Ok(Described {
        imports: world.imports.keys().map(names).collect(),
        exports: world.exports.keys().map(names).collect(),
    })
}

/// Makes the contract in `folder` a WIT package that says what it is: by the plugin's authors, but with
/// a version and a description of its own.
///
/// # Errors
///
/// The folder holds no WIT package with a version and documentation.
pub fn contract_package(folder: &Path, plugin: &Metadata) -> Result<Contract> {
    let mut resolve = Resolve::default();
    let (id, _) = resolve.push_dir(folder)?;
    let mut bytes = wit_component::encode(&resolve, id, false)?;
    let package = resolve.packages.get(id).context("there is no package")?;
    let version = package.name.version.as_ref().context("it has no version")?;
    let docs = package.docs.contents.as_deref();
    let first = docs.and_then(|docs| docs.split("\n\n").next());
    let metadata = Metadata {
        authors: plugin.authors.clone(),
        description: first.context("it has no documentation")?.replace('\n', " "),
        licenses: plugin.licenses.clone(),
        version: version.to_string(),
    };
    metadata.append_to(&mut bytes);
    let PackageName {
        namespace, name, ..
    } = &package.name;
    let interfaces = package.interfaces.keys();
    Ok(Contract {
        file: format!("{namespace}_{name}.wasm"),
        bytes,
        interfaces: interfaces
            .map(|interface| format!("{namespace}:{name}/{interface}@{version}"))
            .collect(),
        metadata,
    })
}

/// The SHA-256 in hexadecimal digits.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
