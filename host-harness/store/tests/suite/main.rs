//! The one suite that every store must pass, and what is particular to each.
#![expect(
    clippy::unwrap_used,
    reason = "a test ends where what it needs is not there"
)]

mod ask;
mod change;
mod directory;
mod email_code;
mod look_up;
mod sqlite;
mod store;
mod support;
