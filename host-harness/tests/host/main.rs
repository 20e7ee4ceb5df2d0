//! The host held to its promises, as a whole: what is hosted, by whom it is operated,
//! what it answers over HTTP, and that no workspace harms its neighbours.
#![expect(
    clippy::unwrap_used,
    reason = "a test ends where what it needs is not there"
)]

mod admin;
mod attacks;
mod bounds;
mod collectors;
mod comparisons;
mod connections;
mod faults;
mod fuzz;
mod hosted;
mod hosting;
mod http;
mod log;
mod metrics;
mod monitoring;
mod neighbours;
mod process;
mod stores;
mod trips;
mod typescript;
