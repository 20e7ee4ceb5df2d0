//! The host held to arbitrary input: what it takes for a request. What it takes for a
//! plugin is in the sandbox's tests, the plugin's half in `tests/fuzz`.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on must fail"
)]

#[path = "../../../tests/fuzz/engine.rs"]
mod engine;
mod http;
#[path = "../../../tests/fuzz/request.rs"]
#[expect(dead_code, reason = "the plugin's half asks more of it")]
mod request;
