//! From what a compiler of Rust, C or another language without an interpreter makes to what a host
//! admits.

use wit_component::ComponentEncoder;

/// Makes a core module, with the contract that its bindings left in it, a component.
///
/// # Errors
///
/// It is no core module with a contract in it, it imports what the contract does not name, or it
/// lacks what the contract exports: the text says which.
pub fn componentize(module: &[u8]) -> Result<Vec<u8>, String> {
    ComponentEncoder::default()
        .validate(true)
        .module(module)
        .and_then(|encoder| encoder.encode())
        .map_err(|error| format!("{error:#}"))
}
