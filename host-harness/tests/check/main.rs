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

use std::path::PathBuf;

/// The built plugin.
fn plugin() -> PathBuf {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/reset_totp.wasm");
    assert!(path.is_file(), "run `cargo xtask build` first");
    path
}
