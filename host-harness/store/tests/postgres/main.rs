//! The suite of all stores on PostgreSQL, and what is particular to PostgreSQL.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test ends where what it needs is not there"
)]

mod isolation;
mod lists;
mod opening;
mod outcome;
mod plans;
mod sealed;
#[path = "../store/mod.rs"]
mod suite;
mod writing;

const KIND: chat_testing::Kind = chat_testing::Kind::Postgres;
