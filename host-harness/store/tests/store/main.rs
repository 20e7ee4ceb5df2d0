//! The store held to its promises: what it keeps, counts, spends and refuses.
#![expect(
    clippy::unwrap_used,
    reason = "a test ends where what it needs is not there"
)]

mod change;
mod directory;
mod email_code;
mod look_up;
mod sqlite;
mod store;
