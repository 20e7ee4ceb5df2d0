//! The suite of all stores on PostgreSQL, and what is particular to PostgreSQL.
#![expect(
    clippy::unwrap_used,
    reason = "a test ends where what it needs is not there"
)]

#[path = "../store/mod.rs"]
mod suite;

const KIND: chat_testing::Kind = chat_testing::Kind::Postgres;
