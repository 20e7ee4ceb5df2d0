//! Components put together, as a file in WAC says.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use indexmap::IndexMap;
use wac_graph::EncodeOptions;
use wac_graph::types::BorrowedPackageKey;
use wac_parser::Document;
use wasmparser::Parser;
use wit_component::ComponentEncoder;

/// Makes one component of these packages, `NAME=FILE` each. A component is taken byte for byte; a
/// core module is made a component first.
///
/// # Errors
///
/// A file cannot be read, or the packages do not fit together as the composition says.
pub(crate) fn compose(
    composition: &Path,
    packages: impl Iterator<Item = OsString>,
) -> Result<Vec<u8>> {
    let text = fs::read_to_string(composition)
        .with_context(|| format!("cannot read {}", composition.display()))?;
    let document = Document::parse(&text)?;
    let files: Vec<(String, Vec<u8>)> = packages.map(package).collect::<Result<_>>()?;
    let packages: IndexMap<_, _> = files
        .iter()
        .map(|(name, bytes)| {
            (
                BorrowedPackageKey::from_name_and_version(name, None),
                bytes.clone(),
            )
        })
        .collect();
    let resolution = document.resolve(packages)?;
    Ok(resolution.encode(EncodeOptions::default())?)
}

fn package(argument: OsString) -> Result<(String, Vec<u8>)> {
    let argument = argument.to_string_lossy();
    let (name, file) = argument
        .split_once('=')
        .with_context(|| format!("`{argument}` is no PACKAGE=FILE"))?;
    let bytes = fs::read(file).with_context(|| format!("cannot read {file}"))?;
    let component = match Parser::is_component(&bytes) {
        true => bytes,
        false => ComponentEncoder::default()
            .validate(true)
            .module(&bytes)
            .and_then(|encoder| encoder.encode())
            .with_context(|| format!("{file} cannot be made a component"))?,
    };
    Ok((name.to_owned(), component))
}
