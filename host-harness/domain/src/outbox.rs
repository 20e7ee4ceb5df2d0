//! Mail that waits to be sent: what delivers it, and what operators see of it.

use crate::time::Timestamp;
use secrecy::SecretString;
use std::time::Duration;

/// How long whoever claims a mail has to say what became of it: longer than a
/// delivery may take and than the store takes to note its outcome, which the
/// module that delivers asserts. Then another may claim it, and a process that
/// ended in between has sent it once or not at all: the mail arrives at least
/// once.
pub const LEASE: Duration = Duration::from_secs(5 * 60);

/// A mail that is being sent.
#[derive(Debug)]
pub struct Claim {
    /// Unique in the store.
    pub id: i64,
    /// Whose settings say how it is sent.
    pub workspace: String,
    /// The left part of the `Message-ID`, the same at every try.
    pub message_id: String,
    /// One address.
    pub recipient: String,
    /// One line of text.
    pub subject: String,
    /// Plain text.
    pub body: SecretString,
    /// When it was written.
    pub queued: Timestamp,
    /// How often it was tried, this time included. It tells this claim of the
    /// mail from every other.
    pub tries: u32,
}

/// When a mail that was not sent is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextTry {
    /// At this moment, or when it expires if that is earlier.
    At(Timestamp),
    /// Never: it is a dead letter, or is removed where it holds a code.
    Never,
}

/// A mail whose time is over.
#[derive(Debug, PartialEq, Eq)]
pub struct Expired {
    /// Unique in the store.
    pub id: i64,
    /// Where it was queued.
    pub workspace: String,
    /// It held a code and is gone; others are dead letters now.
    pub removed: bool,
}

/// What becomes of a mail in the outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailState {
    /// It is tried at this moment.
    Waiting(Timestamp),
    /// Somebody is sending it, until this moment at the latest.
    BeingSent(Timestamp),
    /// It is kept and not tried.
    DeadLetter,
}

impl MailState {
    /// The name that operators read.
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting(_) => "waiting",
            Self::BeingSent(_) => "being sent",
            Self::DeadLetter => "dead letter",
        }
    }
}

/// How much mail an outbox holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MailCount {
    /// Mails to be sent, those included that are being sent.
    pub waiting: u32,
    /// Mails that are kept and not tried.
    pub dead_letters: u32,
}

/// A mail in the outbox, as operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// Unique in the store.
    pub id: i64,
    /// When it was written.
    pub queued: Timestamp,
    /// When it is, or was, given up.
    pub expires: Timestamp,
    /// What becomes of it.
    pub state: MailState,
    /// How often it was tried.
    pub tries: u32,
    /// One address.
    pub recipient: String,
    /// One line of text.
    pub subject: String,
    /// Plain text; none where it holds a code.
    pub body: Option<String>,
    /// Why the last try that ended was in vain.
    pub last_problem: Option<String>,
}

impl Mail {
    /// Whether the body holds a code.
    pub fn holds_code(&self) -> bool {
        self.body.is_none()
    }
}
