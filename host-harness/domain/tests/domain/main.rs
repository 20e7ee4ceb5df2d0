//! The rules, held to tables (what is known → what is answered and changed) and to
//! laws that no sequence of requests may break; without a database.
//!
//! | to find | look into |
//! |---|---|
//! | who is there | `acme` |
//! | a store in memory | `model` |
//! | changes and accounts as text | `text` |
//! | the tables | `account`, `attempts`, `mailed_code`, `member`, `operator`, `outbox`, `proof`, `reset`, `standing` |
//! | random requests, and what must hold whatever they are | `requests`, `laws`; what makes them is in `tests/fuzz` |
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a test that cannot go on must fail"
)]

mod account;
mod acme;
mod attempts;
#[path = "../../../../tests/fuzz/engine.rs"]
mod engine;
mod laws;
mod mailed_code;
mod member;
mod model;
mod names;
mod operator;
mod outbox;
mod proof;
mod requests;
mod reset;
mod retention;
mod standing;
mod text;
