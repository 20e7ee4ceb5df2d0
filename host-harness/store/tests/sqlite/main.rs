//! The suite of all stores on SQLite, and what is particular to SQLite.
#![expect(
    clippy::unwrap_used,
    reason = "a test ends where what it needs is not there"
)]

mod file;
mod sealed;
#[path = "../store/mod.rs"]
mod suite;
mod upgrade;

const KIND: chat_testing::Kind = chat_testing::Kind::Sqlite;
