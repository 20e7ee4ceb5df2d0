//! How a call of a plugin ended.

use crate::password::Busy;
use crate::sandbox::Sandbox;
use crate::store::StoreError;
use wasmtime::Trap;

/// Longest text of a plugin's failure that is logged, in characters.
const MAX_FAILURE_TEXT: usize = 500;

/// Why a call gave no answer. Nothing was changed, unless [`Observed`] says
/// that a reset was committed; nothing of the call goes on afterwards.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The plugin computed for too long.
    #[error("the plugin used more processor time than it may")]
    CpuTime,
    /// The call took too long in all, in the plugin or in the host.
    #[error("the call took longer than it may")]
    WallTime,
    /// The plugin asked for too much memory.
    #[error("the plugin wanted more memory than it may have")]
    Memory,
    /// The plugin recursed too deeply.
    #[error("the plugin exhausted its stack")]
    Stack,
    /// The plugin stopped itself or broke the component model's rules.
    #[error("the plugin trapped: {0}")]
    Trap(String),
    /// The plugin's answer is not one that the contract allows.
    #[error("the plugin gave an answer that the contract does not allow: {0}")]
    BadAnswer(&'static str),
    /// The host has too much to do.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// The host could not do what the plugin asked.
    #[error(transparent)]
    Store(#[from] StoreError),
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
            Self::Memory => "plugin-memory",
            Self::Stack => "plugin-stack",
            Self::Trap(_) => "plugin-trap",
            Self::BadAnswer(_) => "plugin-bad-answer",
            Self::Busy(_) => "host-busy",
            Self::Store(_) => "host-store",
            Self::Panic => "host-panic",
        }
    }

    pub(crate) fn from_error(error: wasmtime::Error, sandbox: &Sandbox) -> Self {
        let error = match error.downcast::<Busy>() {
            Ok(busy) => return Self::Busy(busy),
            Err(error) => error,
        };
        match error.downcast::<StoreError>() {
            Ok(error) => Self::Store(error),
            Err(_) if sandbox.memory_refused() => Self::Memory,
            Err(error) => match error.downcast_ref::<Trap>() {
                Some(Trap::Interrupt) => Self::CpuTime,
                Some(Trap::StackOverflow) => Self::Stack,
                _ => Self::Trap(
                    format!("{error:#}")
                        .escape_debug()
                        .take(MAX_FAILURE_TEXT)
                        .collect(),
                ),
            },
        }
    }
}
