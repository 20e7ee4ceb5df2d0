//! How a call of a plugin ended, and what it used.

use crate::capabilities::Observed;
use crate::comparisons::Busy;
use crate::contract::exports::chat::reset_totp::handler::Response;
use crate::meter::Stopped;
use crate::sandbox::Sandbox;
use crate::turns::Saturated;
use chat_store::{StoreError, Unavailable};
use std::time::Duration;
use wasmtime::{Trap, WasmBacktrace};

/// Longest text of a plugin's failure that is logged, in characters.
const MAX_FAILURE_TEXT: usize = 500;

/// How `wasmtime` says that a plugin hands over too much at once; it has no type
/// for that.
const FUEL_EXHAUSTED: &str = "fuel allocated for hostcalls has been exhausted";

/// The code of a call whose plugin answered, whatever it answered.
pub const ANSWERED: &str = "answered";

/// How a call ended.
#[derive(Debug)]
pub struct Ended {
    /// The plugin's answer, or why there is none.
    pub outcome: Result<Response, Failure>,
    /// What the host saw the plugin do.
    pub observed: Observed,
    /// What it used.
    pub usage: Usage,
}

impl Ended {
    /// A call that did not begin.
    pub fn unbegun(failure: Failure) -> Self {
        Self {
            outcome: Err(failure),
            observed: Observed::default(),
            usage: Usage::default(),
        }
    }

    /// The failure's code, or [`ANSWERED`].
    pub fn code(&self) -> &'static str {
        self.outcome
            .as_ref()
            .map_or_else(Failure::code, |_| ANSWERED)
    }
}

/// What one call used. The times are by the clock on the wall; they add up to
/// the call's, but for the end of a reset that outlived it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Until it had its turn.
    pub queued: Duration,
    /// Until there was an instance.
    pub instantiating: Duration,
    /// In host calls that may wait.
    pub host: Duration,
    /// In the plugin, and in host calls that are answered from memory.
    pub guest: Duration,
    /// The plugin's linear memories in the end, in bytes.
    pub memory: usize,
    /// Host calls.
    pub host_calls: u32,
    /// Texts and lists that host calls answered, in bytes.
    pub bytes_in: usize,
    /// Texts and lists that host calls were given, in bytes.
    pub bytes_out: usize,
}

impl Usage {
    pub(crate) fn new(sandbox: &Sandbox, total: Duration, instantiating: Duration) -> Self {
        let meter = &sandbox.call.meter;
        let host = meter.host_time();
        Self {
            queued: Duration::ZERO,
            instantiating,
            host,
            guest: total.saturating_sub(instantiating).saturating_sub(host),
            memory: sandbox.memory(),
            host_calls: meter.calls(),
            bytes_in: meter.bytes_in,
            bytes_out: meter.bytes_out,
        }
    }
}

/// Why a call gave no answer. Nothing was changed, unless [`Observed`] says
/// that a reset was committed, or this is [`Failure::OutcomeUnknown`]; nothing of the call goes on
/// afterwards.
///
/// | code | status | again | breaker |
/// |---|---|---|---|
/// | `plugin-cpu-time` | 502 | no | counts |
/// | `call-wall-time` | 504 | yes | no |
/// | `host-call-time` | 504 | yes | no |
/// | `plugin-memory` | 502 | no | counts |
/// | `plugin-stack` | 502 | no | counts |
/// | `plugin-trap` | 502 | no | counts |
/// | `plugin-host-calls` | 502 | no | counts |
/// | `plugin-bytes` | 502 | no | counts |
/// | `plugin-bad-answer` | 502 | no | counts |
/// | `plugin-suspended` | 503 | yes | no |
/// | `host-saturated` | 503 | yes | no |
/// | `host-busy` | 503 | yes | no |
/// | `host-store` | 500 | yes | no |
/// | `host-store-unavailable` | 503 | yes | no |
/// | `host-outcome-unknown` | 503 | no | no |
/// | `host-panic` | 500 | no | no |
///
/// *Again* says whether the same request may be answered another time, *breaker*
/// whether it is a fault of the plugin's that the [breaker](crate::breaker) counts.
/// There is none for a capability that is not granted, nor for a plugin that is not
/// loaded or does not fit: what is not admitted is never served.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The plugin computed for too long.
    #[error("the plugin used more processor time than it may")]
    CpuTime,
    /// The call took too long in all, in the plugin or in the host.
    #[error("the call took longer than it may")]
    WallTime,
    /// One host call took too long.
    #[error("a host call took longer than it may")]
    HostCallTime,
    /// The plugin asked for too much memory.
    #[error("the plugin wanted more memory than it may have")]
    Memory,
    /// The plugin recursed too deeply.
    #[error("the plugin exhausted its stack")]
    Stack,
    /// The plugin stopped itself or broke the component model's rules.
    #[error("the plugin trapped: {0}")]
    Trap(String),
    /// The plugin called the host too often.
    #[error("the plugin made more host calls than it may")]
    HostCalls,
    /// The plugin gave host calls, or had from them, too much text.
    #[error("the plugin exchanged more bytes with the host than it may")]
    Bytes,
    /// The plugin's answer is not one that the contract allows.
    #[error("the plugin gave an answer that the contract does not allow: {0}")]
    BadAnswer(&'static str),
    /// The plugin failed too often of late.
    #[error("the plugin failed too often and is suspended")]
    BreakerOpen {
        /// When it is tried again.
        retry_after: Duration,
    },
    /// Too many calls wait for their turn.
    #[error(transparent)]
    Saturated(#[from] Saturated),
    /// The host has too much to do.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// The host could not do what the plugin asked.
    #[error(transparent)]
    Store(StoreError),
    /// The host could not do it now: the store is busy, full or read-only, or its file was
    /// moved.
    #[error(transparent)]
    StoreUnavailable(StoreError),
    /// The host did it, or not: the database was lost meanwhile. Whoever asks for it again asks
    /// for it twice, so that they look first what there is.
    #[error(transparent)]
    OutcomeUnknown(StoreError),
    /// The host broke.
    #[error("the host panicked")]
    Panic,
}

impl Failure {
    /// A stable name for clients, logs and the audit trail.
    pub fn code(&self) -> &'static str {
        match self {
            Self::CpuTime => "plugin-cpu-time",
            Self::WallTime => "call-wall-time",
            Self::HostCallTime => "host-call-time",
            Self::Memory => "plugin-memory",
            Self::Stack => "plugin-stack",
            Self::Trap(_) => "plugin-trap",
            Self::HostCalls => "plugin-host-calls",
            Self::Bytes => "plugin-bytes",
            Self::BadAnswer(_) => "plugin-bad-answer",
            Self::BreakerOpen { .. } => "plugin-suspended",
            Self::Saturated(_) => "host-saturated",
            Self::Busy(_) => "host-busy",
            Self::Store(_) => "host-store",
            Self::StoreUnavailable(_) => "host-store-unavailable",
            Self::OutcomeUnknown(_) => "host-outcome-unknown",
            Self::Panic => "host-panic",
        }
    }

    /// The HTTP status that it is answered with.
    pub fn status(&self) -> u16 {
        match self {
            Self::Store(_) | Self::Panic => 500,
            Self::WallTime | Self::HostCallTime => 504,
            Self::BreakerOpen { .. }
            | Self::Saturated(_)
            | Self::Busy(_)
            | Self::StoreUnavailable(_)
            | Self::OutcomeUnknown(_) => 503,
            _ => 502,
        }
    }

    /// Whether the same request may be answered another time.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::WallTime | Self::HostCallTime | Self::Store(_) => true,
            _ => self.retry_after().is_some(),
        }
    }

    /// When another try is worth it, where the host can tell.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::BreakerOpen { retry_after } => Some(*retry_after),
            // The calls that wait take milliseconds each.
            Self::Saturated(_) => Some(Duration::from_secs(1)),
            // The passwords that wait take a few seconds.
            Self::Busy(_) => Some(Duration::from_secs(5)),
            // Another program lets go in seconds; a disk takes somebody who makes room.
            Self::StoreUnavailable(_) => Some(Duration::from_secs(5)),
            _ => None,
        }
    }

    /// Whether the plugin is to blame, and nothing that a client or the host did.
    pub fn is_plugin_fault(&self) -> bool {
        self.status() == 502
    }

    pub(crate) fn from_error(error: wasmtime::Error, sandbox: &Sandbox) -> Self {
        if let Some(stopped) = error.downcast_ref::<Stopped>() {
            return Self::from(*stopped);
        }
        let error = match error.downcast::<Busy>() {
            Ok(busy) => return Self::Busy(busy),
            Err(error) => error,
        };
        match error.downcast::<StoreError>() {
            Ok(error) => error.into(),
            Err(_) if sandbox.memory_refused() => Self::Memory,
            Err(error) => Self::of_plugin(&error),
        }
    }

    fn of_plugin(error: &wasmtime::Error) -> Self {
        match error.downcast_ref::<Trap>() {
            Some(Trap::Interrupt) => return Self::CpuTime,
            Some(Trap::StackOverflow) => return Self::Stack,
            _ => (),
        }
        if error.root_cause().to_string().contains(FUEL_EXHAUSTED) {
            // Only what happens in a host call has the plugin on the stack.
            return match error.is::<WasmBacktrace>() {
                true => Self::Bytes,
                false => Self::BadAnswer("its body is too long"),
            };
        }
        let text = causes(error);
        Self::Trap(text.escape_debug().take(MAX_FAILURE_TEXT).collect())
    }
}

/// The cause first: what is around it holds names that the plugin chose, as long
/// as it likes.
fn causes(error: &wasmtime::Error) -> String {
    let causes: Vec<_> = error.chain().map(ToString::to_string).collect();
    causes.into_iter().rev().collect::<Vec<_>>().join(": ")
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error.unavailable() {
            Some(Unavailable::Unknown) => Self::OutcomeUnknown(error),
            Some(_) => Self::StoreUnavailable(error),
            None => Self::Store(error),
        }
    }
}

impl From<Stopped> for Failure {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Calls => Self::HostCalls,
            Stopped::Bytes => Self::Bytes,
            Stopped::Time => Self::HostCallTime,
            Stopped::Panic => Self::Panic,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> [Failure; 16] {
        [
            Failure::CpuTime,
            Failure::WallTime,
            Failure::HostCallTime,
            Failure::Memory,
            Failure::Stack,
            Failure::Trap(String::new()),
            Failure::HostCalls,
            Failure::Bytes,
            Failure::BadAnswer(""),
            Failure::BreakerOpen {
                retry_after: Duration::from_secs(1),
            },
            Failure::Saturated(Saturated),
            Failure::Busy(Busy),
            Failure::Store(StoreError("".into())),
            Failure::StoreUnavailable(StoreError("".into())),
            Failure::OutcomeUnknown(StoreError("".into())),
            Failure::Panic,
        ]
    }

    #[test]
    fn the_table_of_the_documentation_tells_the_truth() {
        let rows = include_str!("outcome.rs").lines();
        let rows: Vec<_> = rows.filter(|line| line.starts_with("/// | `")).collect();
        let told = all().map(|failure| {
            let again = ["no", "yes"][usize::from(failure.is_retryable())];
            let counts = ["no", "counts"][usize::from(failure.is_plugin_fault())];
            let (code, status) = (failure.code(), failure.status());
            format!("/// | `{code}` | {status} | {again} | {counts} |")
        });
        assert_eq!(rows, told);
    }
}
