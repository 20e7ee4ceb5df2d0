//! The endpoint as its clients see it: a real server, a real store, HTTP.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that cannot go on must fail"
)]

mod answers;
mod effect;
mod input;
mod second_factor;
mod support;
