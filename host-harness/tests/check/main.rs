//! What `host-harness check` and the harness say of right and of wrong plugins.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on must fail"
)]

mod command;
mod harness;
mod wrong;
