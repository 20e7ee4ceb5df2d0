//! What one call of a plugin has used of the host, and why it was ended.

use crate::host_call::HostCall;
use crate::limits::Limits;
use std::time::{Duration, Instant};

/// Why the gate ended a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Stopped {
    #[error("too many host calls")]
    Calls,
    #[error("too many bytes")]
    Bytes,
    #[error("the host call took too long")]
    Time,
    #[error("the host panicked")]
    Panic,
}

/// What one call of a plugin has used of the host.
#[derive(Debug)]
pub(crate) struct Meter {
    limits: Limits,
    calls: [u32; HostCall::ALL.len()],
    pub(crate) bytes_in: usize,
    pub(crate) bytes_out: usize,
    host: Duration,
    /// When the host call began that has not ended.
    since: Option<Instant>,
}

impl Meter {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            calls: Default::default(),
            bytes_in: 0,
            bytes_out: 0,
            host: Duration::ZERO,
            since: None,
        }
    }

    /// Host calls that were begun.
    pub(crate) fn calls(&self) -> u32 {
        self.calls.iter().sum()
    }

    /// Those of one function.
    pub(crate) fn calls_of(&self, function: HostCall) -> u32 {
        self.calls.get(function as usize).copied().unwrap_or(0)
    }

    /// Time in host calls.
    pub(crate) fn host_time(&self) -> Duration {
        self.host + self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// How long one host call may take.
    pub(crate) fn host_call_time(&self) -> Duration {
        self.limits.host_call_time
    }

    /// Counts a host call that begins, and the bytes that it is given.
    pub(crate) fn begin(&mut self, function: HostCall, bytes: usize) -> Result<(), Stopped> {
        self.since = Some(Instant::now());
        self.count(function, bytes)
    }

    /// Counts a host call that is answered at once, and the bytes that it is given: its
    /// time is the plugin's.
    pub(crate) fn count(&mut self, function: HostCall, bytes: usize) -> Result<(), Stopped> {
        if self.calls() >= self.limits.host_calls {
            return Err(Stopped::Calls);
        }
        if let Some(calls) = self.calls.get_mut(function as usize) {
            *calls += 1;
        }
        hand_over(&mut self.bytes_out, bytes, self.limits.bytes_out)
    }

    /// Notes the end of a host call, and counts the bytes that it answers.
    pub(crate) fn end(&mut self, bytes: usize) -> Result<(), Stopped> {
        self.host = self.host_time();
        self.since = None;
        self.receive(bytes)
    }

    /// Counts the bytes that a host call answers.
    pub(crate) fn receive(&mut self, bytes: usize) -> Result<(), Stopped> {
        hand_over(&mut self.bytes_in, bytes, self.limits.bytes_in)
    }
}

/// Counts bytes that cross over.
fn hand_over(sum: &mut usize, bytes: usize, limit: usize) -> Result<(), Stopped> {
    *sum = sum.saturating_add(bytes);
    match *sum <= limit {
        true => Ok(()),
        false => Err(Stopped::Bytes),
    }
}
