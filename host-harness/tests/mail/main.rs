//! Mail, from the outbox to a real SMTP server.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on must fail"
)]

mod delivery;
mod operator;
mod processes;
mod sockets;
mod support;
mod trouble;
