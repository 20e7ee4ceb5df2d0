//! Why a server or the way to it did not do what it was asked.

use crate::audit_log::BrokenLog;
use crate::convention::Unread;
use crate::seal::Unopened;
use crate::tries::MayPass;
use crate::{StoreError, Unavailable};
use mongodb::error::{
    Error, ErrorKind, TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT, WriteFailure,
};
use std::fmt;

/// What went wrong, and what it means for who asked.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) kind: Kind,
    text: String,
    cause: Option<Cause>,
}

/// What is wrong, where others must know it from all else.
#[derive(Clone, Debug)]
enum Cause {
    Log(BrokenLog),
    Refusal(RocketChats),
}

/// What is Rocket.Chat's to do, and never done past it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RocketChats(pub(super) String);

/// What a failure means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// No server answers, or no more, or another is the one that writes by now.
    Lost,
    /// The commit was sent, and its answer is lost.
    Doubtful,
    /// The transaction was undone, since it met another: it can be tried again.
    Conflict,
    /// The server took too long.
    Busy,
    /// The server's disk is full.
    Full,
    /// There is such a document already.
    Duplicate,
    /// It is wrong, and will be another time.
    Fault,
}

/// Codes of the server's errors (MongoDB's manual, "Error Codes").
const MAX_TIME_EXPIRED: i32 = 50;
const LOCK_TIMEOUT: i32 = 24;
const WRITE_CONFLICT: i32 = 112;
const NO_SUCH_TRANSACTION: i32 = 251;
/// Another host has taken it for dead and ended its session.
const INTERRUPTED: i32 = 11_601;
const INVALID_DOCUMENT: i32 = 121;
const DUPLICATE_KEY: i32 = 11_000;
const OUT_OF_DISK_SPACE: i32 = 14_031;

impl Failure {
    pub(super) fn new(kind: Kind, text: impl Into<String>) -> Self {
        let text = text.into();
        let cause = None;
        Self { kind, text, cause }
    }

    /// What only Rocket.Chat does.
    pub(super) fn rocket_chats(text: impl Into<String>) -> Self {
        let refusal = RocketChats(text.into());
        Self {
            cause: Some(Cause::Refusal(refusal.clone())),
            ..Self::fault(refusal.0)
        }
    }

    /// What is there is nothing to work by. The text names the place, and never what is there.
    pub(super) fn fault(text: impl Into<String>) -> Self {
        Self::new(Kind::Fault, text)
    }

    /// No answer came in the time that there was.
    pub(super) fn silence() -> Self {
        Self::new(Kind::Lost, "it does not answer in time")
    }

    /// Somebody has changed meanwhile what was to be changed.
    pub(super) fn overtaken() -> Self {
        Self::new(Kind::Conflict, "it was changed meanwhile")
    }

    /// Whether it is no fault of what was asked: whatever else was asked of the server
    /// fails with it.
    pub(super) fn is_the_servers(&self) -> bool {
        !matches!(self.kind, Kind::Duplicate | Kind::Fault)
    }
}

impl MayPass for Failure {
    fn may_pass(&self) -> bool {
        matches!(self.kind, Kind::Lost | Kind::Doubtful | Kind::Conflict)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure.cause {
            Some(Cause::Log(broken)) => return broken.into(),
            Some(Cause::Refusal(refusal)) => return Self(Box::new(refusal)),
            None => (),
        }
        match failure.kind {
            Kind::Lost => Unavailable::Unreachable(failure.text).into(),
            Kind::Doubtful => Unavailable::Unknown.into(),
            Kind::Conflict | Kind::Busy => Unavailable::Busy.into(),
            Kind::Full => Unavailable::Full.into(),
            Kind::Duplicate | Kind::Fault => Self(failure.text.into()),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(kind(&error), text(&error))
    }
}

/// What is nothing to work by will be none another time.
impl From<Unread> for Failure {
    fn from(unread: Unread) -> Self {
        Self::fault(unread.to_string())
    }
}

impl From<Unopened> for Failure {
    fn from(unopened: Unopened) -> Self {
        Unread::from(unopened).into()
    }
}

impl From<BrokenLog> for Failure {
    fn from(broken: BrokenLog) -> Self {
        let text = broken.to_string();
        Self {
            cause: Some(Cause::Log(broken)),
            ..Self::fault(text)
        }
    }
}

/// By the labels first, which say what a client may do (MongoDB's manual, "Transactions in
/// Applications"), then by the code.
fn kind(error: &Error) -> Kind {
    if error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT) {
        return Kind::Doubtful;
    }
    match code(error) {
        Some(WRITE_CONFLICT | NO_SUCH_TRANSACTION | INTERRUPTED) => Kind::Conflict,
        _ if error.contains_label(TRANSIENT_TRANSACTION_ERROR) => Kind::Lost,
        Some(MAX_TIME_EXPIRED | LOCK_TIMEOUT) => Kind::Busy,
        Some(OUT_OF_DISK_SPACE) => Kind::Full,
        Some(DUPLICATE_KEY) => Kind::Duplicate,
        Some(code) if is_the_ends_of_a_primary(code) => Kind::Lost,
        Some(_) => Kind::Fault,
        None => match *error.kind {
            ErrorKind::Io(_)
            | ErrorKind::ServerSelection { .. }
            | ErrorKind::ConnectionPoolCleared { .. }
            | ErrorKind::DnsResolve { .. } => Kind::Lost,
            _ => Kind::Fault,
        },
    }
}

/// A server that cannot be reached, goes down or stops to be the one that writes ("Server Discovery and Monitoring",
/// the errors "not writable primary" and "node is recovering").
fn is_the_ends_of_a_primary(code: i32) -> bool {
    matches!(
        code,
        6 | 7 | 89 | 91 | 189 | 262 | 9001 | 10_058 | 10_107 | 11_600 | 11_602 | 13_435 | 13_436
    )
}

pub(super) fn code(error: &Error) -> Option<i32> {
    match &*error.kind {
        ErrorKind::Command(refusal) => Some(refusal.code),
        ErrorKind::Write(WriteFailure::WriteError(refusal)) => Some(refusal.code),
        ErrorKind::Write(WriteFailure::WriteConcernError(refusal)) => Some(refusal.code),
        ErrorKind::InsertMany(refusals) => {
            let first = refusals.write_errors.as_ref().and_then(|all| all.first());
            let durability = refusals.write_concern_error.as_ref();
            first
                .map(|refusal| refusal.code)
                .or(durability.map(|refusal| refusal.code))
        }
        _ => None,
    }
}

/// What the server says, unless that may hold what a document holds.
fn text(error: &Error) -> String {
    match (code(error), &*error.kind) {
        (Some(DUPLICATE_KEY), _) => "there is such a document already".to_owned(),
        (Some(INVALID_DOCUMENT), _) => "the server takes no such document".to_owned(),
        (Some(_), ErrorKind::Command(refusal)) => refusal.message.clone(),
        (Some(code), _) => format!("the server refuses to write it, by its error {code}"),
        (None, ErrorKind::Bson(_) | ErrorKind::BsonDeserialization(_)) => {
            "what the server sent is none of its answers".to_owned()
        }
        (None, kind) => kind.to_string(),
    }
}
