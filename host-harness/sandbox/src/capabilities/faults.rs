//! Faults that a test plants in the host: what a plugin must not take for a yes.

use crate::host_call::HostCall;
use crate::meter::{Meter, Stopped};
use chat_store::StoreError;
use std::sync::Arc;

/// One fault, which strikes once in every call of the plugin that gets so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The function that fails; any, where there is none.
    pub function: Option<HostCall>,
    /// Which of the plugin's calls of that function fails, or of all functions
    /// where none is named: the first is 1.
    pub nth: u32,
    /// How it fails.
    pub kind: FaultKind,
}

/// How a function of the host fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The store cannot answer.
    Error,
    /// No answer comes.
    Silence,
    /// The host has a bug.
    Panic,
}

/// The faults of a workspace; none outside tests.
#[derive(Clone, Debug, Default)]
pub struct Faults(Option<Arc<[Fault]>>);

impl Faults {
    /// What strikes now, after so many calls.
    pub(super) fn strike(&self, function: HostCall, meter: &Meter) -> Option<FaultKind> {
        let mut planted = self.0.as_deref()?.iter();
        let struck = planted.find(|fault| match fault.function {
            None => fault.nth == meter.calls(),
            Some(named) => named == function && fault.nth == meter.calls_of(function),
        });
        struck.map(|fault| fault.kind)
    }
}

impl FromIterator<Fault> for Faults {
    fn from_iter<T: IntoIterator<Item = Fault>>(faults: T) -> Self {
        Self(Some(faults.into_iter().collect()))
    }
}

impl FaultKind {
    /// Fails so.
    pub(super) async fn fail(self) -> wasmtime::Result<()> {
        match self {
            Self::Silence => std::future::pending().await,
            Self::Error | Self::Panic => self.fail_at_once(),
        }
    }

    /// Fails so where nothing can wait: what would never end has used up its time.
    pub(super) fn fail_at_once(self) -> wasmtime::Result<()> {
        match self {
            Self::Error => Err(StoreError("a fault was planted".into()).into()),
            Self::Silence => Err(Stopped::Time.into()),
            #[expect(clippy::panic, reason = "it stands for a bug of the host")]
            Self::Panic => panic!("a fault was planted"),
        }
    }
}
