//! `target/bench.json`, to which each benchmark adds its numbers.

use serde_json::{Map, Value};
use std::path::Path;

/// What the benchmarks have written so far.
pub(crate) fn read(target: &Path) -> Map<String, Value> {
    let text = std::fs::read_to_string(target.join("bench.json"));
    text.ok()
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default()
}

/// Puts the members of `results` in the place of those with the same names.
///
/// # Errors
///
/// The file cannot be written.
pub(crate) fn write(target: &Path, results: Map<String, Value>) -> std::io::Result<()> {
    let mut all = read(target);
    all.extend(results);
    let text = format!("{:#}\n", Value::Object(all));
    std::fs::write(target.join("bench.json"), text)
}
