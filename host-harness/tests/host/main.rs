//! The host held to its promises: against guests that are hostile, plugins that
//! lie, the built component, and the store's transactions.
#![expect(
    clippy::unwrap_used,
    reason = "a test ends where what it needs is not there"
)]

mod admin;
mod admission;
mod attacks;
mod bounds;
mod code_cache;
mod component;
mod contract;
mod fuzz;
mod guest;
mod hostile;
mod hosting;
mod http;
mod lies;
mod loading;
mod metrics;
mod neighbours;
mod process;
mod stores;
mod support;
