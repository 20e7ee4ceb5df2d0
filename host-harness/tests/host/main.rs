//! The host held to its promises: against guests that are hostile, plugins that
//! lie, the built component, and the store's transactions.
#![expect(
    clippy::unwrap_used,
    reason = "a test ends where what it needs is not there"
)]

mod admin;
mod attacks;
mod bounds;
mod fuzz;
mod hosted;
mod hosting;
mod http;
mod metrics;
mod neighbours;
mod process;
mod stores;
