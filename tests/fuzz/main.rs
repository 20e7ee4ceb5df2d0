//! The plugin held to arbitrary input, natively: what it reads, and what it
//! decides. The host's half is in `host-harness/tests/host/fuzz` and in
//! `host-harness/sandbox/tests/sandbox/fuzz`.
//!
//! `cargo test` tries the same inputs each time; `cargo xtask fuzz` goes on from
//! there, guided by the code that they reach.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on must fail"
)]

mod body;
mod decision;
mod engine;
mod request;
