//! A chat server in memory, requests made of chance, and the laws that none may break. For
//! tests alone: nothing that is shipped depends on it.
//!
//! It knows the domain and no store; the tests of the rules and those of the stores share it.
//!
//! | to find | look into |
//! |---|---|
//! | who is there | [`acme`] |
//! | a store in memory, with code of its own for each change | [`model`] |
//! | changes and accounts as text | [`text`] |
//! | requests, and what a host does about each | [`requests`] |
//! | what must hold whatever they are | [`laws`] |
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a test ends where what it needs is not there"
)]

pub mod acme;
pub mod laws;
pub mod model;
pub mod requests;
pub mod text;
