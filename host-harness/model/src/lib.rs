//! A chat server in memory, schedules of requests made of chance, and the laws that none may
//! break. For tests alone: nothing that is shipped depends on it.
//!
//! It knows the domain and no store; the tests of the rules and those of the stores share it.
//!
//! | to find | look into |
//! |---|---|
//! | who is there | [`acme`] |
//! | a store in memory, with code of its own for each change | [`model`] |
//! | what it lists, and how it gives out mail | [`lists`] |
//! | changes and accounts as text | [`text`] |
//! | schedules: requests, and what the store fails at | [`schedule`]; which are tried: [`seeds`] |
//! | what a host does about each request | `host` |
//! | what a store was asked, so that another can be asked the same | [`asked`] |
//! | what an order did, and what must hold whatever it was | `deed`, `laws`, with the `ledger` |
//! | what was judged at all | `seen` |
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a test ends where what it needs is not there"
)]

pub mod acme;
pub mod asked;
mod deed;
#[expect(dead_code, reason = "what only other targets use")]
#[path = "../../../tests/fuzz/engine.rs"]
mod engine;
mod host;
mod laws;
mod ledger;
pub mod lists;
pub mod model;
pub mod schedule;
pub mod seeds;
mod seen;
pub mod text;
