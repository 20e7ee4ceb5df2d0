//! What one call of a plugin may use.

use std::time::Duration;

/// Memories, tables and core instances of one call: the component of our plugin
/// has one memory, one table and two instances, one in Python 38 instances. Each memory
/// reserves 4 GiB of addresses.
pub(crate) const MAX_MEMORIES: usize = 4;
pub(crate) const MAX_TABLES: usize = 8;
pub(crate) const MAX_INSTANCES: usize = 64;

/// Largest answer that a plugin may give, in bytes: the contract's.
pub(crate) const MAX_ANSWER: usize = 64 * 1024;

/// What one call may use, and how many run at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From the request to the answer, the wait for a place and the host's own
    /// work included, but for the end of a reset that the store has begun: that
    /// is waited for.
    pub wall_time: Duration,
    /// In the plugin, and in host calls that are answered from memory. Where the machine is busy, no 10 ms in which the
    /// plugin ran count for more.
    pub cpu_time: Duration,
    /// In one host call, but for the end of a reset that was begun.
    pub host_call_time: Duration,
    /// Host calls.
    pub host_calls: u32,
    /// Texts and lists that host calls answer, in all, in bytes.
    pub bytes_in: usize,
    /// Texts and lists that host calls are given, in all, in bytes.
    pub bytes_out: usize,
    /// In all linear memories together, in bytes.
    pub memory: usize,
    /// In all tables together, in elements.
    pub table_elements: usize,
    /// Calls of the workspace that run at a time; further ones wait.
    pub calls: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // As long as a person waits; a disk that is slow must not fail a reset.
            wall_time: Duration::from_secs(5),
            // A decision takes far less than one millisecond.
            cpu_time: Duration::from_millis(50),
            // Less than the wall time, so that it is known which one hung.
            host_call_time: Duration::from_secs(4),
            // A decision makes about ten.
            host_calls: 64,
            // A decision is told less than one KiB.
            bytes_in: 64 * 1024,
            // Twice the longest body: a client may name a member at such length, and
            // must not be able to make a fault of it.
            bytes_out: 128 * 1024,
            // A decision takes less than two.
            memory: 16 * 1024 * 1024,
            // The function table of our plugin has about a hundred.
            table_elements: 10_000,
            // A quarter of a process: a workspace that is flooded leaves the rest. What they
            // write is committed together, so that fewer are slower.
            calls: 32,
        }
    }
}
