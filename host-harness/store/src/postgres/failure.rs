//! Why a server or the way to it did not do what it was asked.

use crate::tries::MayPass;
use crate::{StoreError, Unavailable};
use deadpool_postgres::{HookError, PoolError, TimeoutType};
use std::error::Error as _;
use std::io;
use tokio_postgres::Error;
use tokio_postgres::error::{DbError, SqlState};

/// What went wrong, and what it means for who asked.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) kind: Kind,
    text: String,
}

/// What a failure means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// No server answers, or no more: what became of the last thing asked is not known.
    Lost,
    /// The transaction was undone, since it met another: it can be tried again.
    Conflict,
    /// Another kept a row, or the server, for too long.
    Busy,
    /// The server's disk is full.
    Full,
    /// The server does not write: another may be the one that does by now.
    ReadOnly,
    /// There is such a row already.
    Duplicate,
    /// It is wrong, and will be another time.
    Fault,
}

impl Failure {
    pub(super) fn new(kind: Kind, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { kind, text }
    }

    /// No answer came in the time that there was.
    pub(super) fn silence() -> Self {
        Self::new(Kind::Lost, "it does not answer in time")
    }

    /// Whether it is no fault of what was asked: whatever else was asked of the server
    /// fails with it.
    pub(super) fn is_the_servers(&self) -> bool {
        !matches!(self.kind, Kind::Duplicate | Kind::Fault)
    }
}

impl MayPass for Failure {
    fn may_pass(&self) -> bool {
        matches!(self.kind, Kind::Lost | Kind::Conflict | Kind::ReadOnly)
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure.kind {
            Kind::Lost => Unavailable::Unreachable(failure.text).into(),
            Kind::Conflict | Kind::Busy => Unavailable::Busy.into(),
            Kind::Full => Unavailable::Full.into(),
            Kind::ReadOnly => Unavailable::ReadOnly.into(),
            Kind::Duplicate | Kind::Fault => Self(failure.text.into()),
        }
    }
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        Failure::from(error).into()
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error.as_db_error() {
            Some(refusal) => Self::new(kind(refusal), refusal.message()),
            None => Self::new(kind_of_trouble(&error), with_causes(&error)),
        }
    }
}

impl From<PoolError> for Failure {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)) => {
                error.into()
            }
            PoolError::Timeout(TimeoutType::Wait) => {
                Self::new(Kind::Busy, "all connections are in use")
            }
            PoolError::Timeout(TimeoutType::Create | TimeoutType::Recycle) => Self::silence(),
            other => Self::new(Kind::Fault, other.to_string()),
        }
    }
}

/// By the code (PostgreSQL's manual, appendix A); the message alone is shown, since the
/// detail beside it may hold what a row holds.
fn kind(refusal: &DbError) -> Kind {
    let code = refusal.code();
    let class = code.code().get(..2).unwrap_or_default();
    let is_fatal = matches!(refusal.severity(), "FATAL" | "PANIC");
    if [
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
    ]
    .contains(code)
    {
        Kind::Conflict
    } else if [SqlState::LOCK_NOT_AVAILABLE, SqlState::QUERY_CANCELED].contains(code) {
        Kind::Busy
    } else if *code == SqlState::DISK_FULL {
        Kind::Full
    } else if *code == SqlState::READ_ONLY_SQL_TRANSACTION {
        Kind::ReadOnly
    } else if *code == SqlState::UNIQUE_VIOLATION {
        Kind::Duplicate
    } else if ["28", "3D"].contains(&class) {
        // A log-in or a database that is not there.
        Kind::Fault
    } else if is_fatal
        || *code == SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN
        || ["08", "53", "57"].contains(&class)
    {
        Kind::Lost
    } else {
        Kind::Fault
    }
}

fn kind_of_trouble(error: &Error) -> Kind {
    let is_network = error.source().is_some_and(|cause| cause.is::<io::Error>());
    match error.is_closed() || is_network {
        true => Kind::Lost,
        false => Kind::Fault,
    }
}

/// The client's errors say in their causes what went wrong.
fn with_causes(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
