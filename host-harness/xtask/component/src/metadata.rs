//! What a component says of itself, by the tool conventions of WebAssembly: a custom section a field.
//! <https://github.com/bytecodealliance/wasm-tools/tree/main/crates/wasm-metadata>

use anyhow::{Context as _, Result};
use toml::{Table, Value};
use wasm_encoder::{ComponentSection as _, CustomSection};

/// The plugin's manifest, which says all of it.
const MANIFEST: &str = include_str!("../../../../Cargo.toml");

/// What the plugin's manifest says of it.
pub struct Metadata {
    /// Who has written it.
    pub authors: String,
    /// One sentence.
    pub description: String,
    /// An SPDX expression.
    pub licenses: String,
    /// A semantic version.
    pub version: String,
}

impl Metadata {
    /// What the manifest says.
    ///
    /// # Errors
    ///
    /// It lacks a field.
    pub fn read() -> Result<Self> {
        let manifest: Table = MANIFEST.parse()?;
        let get = |path: &[&str]| {
            let mut tables = path.iter();
            let first = tables.next().and_then(|key| manifest.get(*key));
            let found = tables.try_fold(first?, |at, key| at.get(key));
            found.map(text)
        };
        let text = |path: &[&str]| {
            get(path).with_context(|| format!("Cargo.toml lacks {}", path.join(".")))
        };
        Ok(Self {
            authors: text(&["workspace", "package", "authors"])?,
            description: text(&["package", "description"])?,
            licenses: text(&["workspace", "package", "license"])?,
            version: text(&["workspace", "package", "version"])?,
        })
    }

    /// Each field, by the name of its section.
    pub fn fields(&self) -> [(&'static str, &str); 4] {
        [
            ("authors", &self.authors),
            ("description", &self.description),
            ("licenses", &self.licenses),
            ("version", &self.version),
        ]
    }

    /// Adds the fields to a component or a WIT package.
    pub fn append_to(&self, component: &mut Vec<u8>) {
        for (name, text) in self.fields() {
            let section = CustomSection {
                name: name.into(),
                data: text.as_bytes().into(),
            };
            section.append_to_component(component);
        }
    }
}

/// A text as it is, and of a list its texts.
fn text(value: &Value) -> String {
    let texts = value
        .as_array()
        .map(|all| all.iter().filter_map(Value::as_str));
    match texts {
        Some(texts) => texts.collect::<Vec<_>>().join(", "),
        None => value.as_str().unwrap_or_default().to_owned(),
    }
}
