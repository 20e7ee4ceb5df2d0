//! The host held to arbitrary input: what it takes for a plugin.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on must fail"
)]

mod admission;
#[path = "../../../../tests/fuzz/engine.rs"]
mod engine;
#[path = "../../../../tests/fuzz/request.rs"]
#[expect(dead_code, reason = "the plugin's half asks more of it")]
mod request;
