//! The sandbox held to its promises: against guests that are hostile, plugins that lie,
//! files that are no plugins, and the built component.
#![expect(
    clippy::unwrap_used,
    reason = "a test ends where what it needs is not there"
)]

mod admission;
mod code_cache;
mod component;
mod contract;
mod fuzz;
mod hostile;
mod lies;
mod loading;
