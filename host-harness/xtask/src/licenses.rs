//! What the licenses of libraries ask to be passed on with a program that has them in it: their texts,
//! with whose they are.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::cargo::{self, output_of};

/// How names of files begin that hold such texts, in any case.
const TEXTS: [&str; 6] = [
    "COPYING",
    "COPYRIGHT",
    "LICENCE",
    "LICENSE",
    "NOTICE",
    "UNLICENSE",
];

/// What lies between one text and the next.
const RULE: &str =
    "--------------------------------------------------------------------------------";

/// All packages that the workspace is compiled with, as `cargo metadata` tells them.
///
/// # Errors
///
/// Cargo fails.
pub(crate) fn metadata() -> Result<Value> {
    let mut metadata = cargo::command(cargo::program());
    metadata.args(["metadata", "--format-version", "1", "--locked"]);
    let metadata = output_of(&mut metadata).context("cargo does not tell the packages")?;
    Ok(serde_json::from_str(&metadata)?)
}

/// The texts that come with the libraries which `list` names, in CycloneDX's form: each text once, below
/// those that brought it. A library that brings none is named with its license and its authors.
///
/// # Errors
///
/// A file cannot be read.
pub(crate) fn of(list: &str, metadata: &Value) -> Result<String> {
    let list: Value = serde_json::from_str(list)?;
    let components = list.get("components").and_then(Value::as_array);
    let listed: BTreeSet<_> = components.into_iter().flatten().map(name_of).collect();
    let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut without = BTreeSet::new();
    let packages = metadata["packages"].as_array();
    for package in packages.into_iter().flatten() {
        let name = name_of(package);
        // Our own have no source.
        if package["source"].is_null() || !listed.contains(&name) {
            continue;
        }
        let manifest = Path::new(text(&package["manifest_path"]));
        let found = texts_in(manifest.parent().unwrap_or(manifest))?;
        if found.is_empty() {
            let authors = package["authors"].as_array().into_iter().flatten();
            let authors: Vec<_> = authors.map(text).collect();
            let by = match authors.is_empty() {
                true => "its authors".to_owned(),
                false => authors.join(", "),
            };
            without.insert(format!("{name}, by {by}: {}", text(&package["license"])));
        }
        for text in found {
            texts.entry(text).or_default().insert(name.clone());
        }
    }
    let mut written = String::new();
    for (text, names) in texts {
        let names: Vec<_> = names.into_iter().collect();
        writeln!(written, "{}\n\n{text}\n\n{RULE}\n", names.join("\n"))?;
    }
    for line in without {
        writeln!(written, "{line}")?;
    }
    Ok(written)
}

/// The texts of the files in `folder` that are called so, and in folders that are.
fn texts_in(folder: &Path) -> Result<BTreeSet<String>> {
    let mut texts = BTreeSet::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = name.to_uppercase();
        if !TEXTS.iter().any(|text| name.starts_with(text)) {
            continue;
        }
        if path.is_dir() {
            for entry in fs::read_dir(&path)? {
                texts.insert(read(&entry?.path())?);
            }
        } else {
            texts.insert(read(&path)?);
        }
    }
    Ok(texts)
}

fn read(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let text = String::from_utf8_lossy(&bytes).replace("\r\n", "\n");
    Ok(text.trim_end().to_owned())
}

fn name_of(package: &Value) -> String {
    format!("{} {}", text(&package["name"]), text(&package["version"]))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
