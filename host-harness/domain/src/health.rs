//! What of a store is not as it should be: what a tired person asks first.

use crate::attempts::Lock;
use crate::audit::StoredRecord;
use std::time::Duration;

/// The state of a store at one moment, of all its workspaces.
#[derive(Debug, Default)]
pub struct Health {
    /// Accounts whose second factor is locked, first those that were tried most: at most
    /// [`MOST_SHOWN`].
    pub locked: Vec<LockedAccount>,
    /// Why mail was not sent, and how much of it, most first: at most [`MOST_SHOWN`].
    pub mail_problems: Vec<MailProblem>,
    /// The last resets, newest first: at most [`MOST_SHOWN`].
    pub resets: Vec<StoredRecord>,
}

/// How far back guesses are counted.
pub const GUESSED: Duration = Duration::from_secs(60 * 60);

/// Of each list: what fits on a screen.
pub const MOST_SHOWN: u32 = 10;

/// An account whose second factor is locked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockedAccount {
    /// Its workspace.
    pub workspace: String,
    /// Its username.
    pub username: String,
    /// Wrong codes in a row.
    pub failures: u32,
    /// Why even a right code is refused.
    pub lock: Lock,
    /// Client addresses from which codes were refused in the time of [`GUESSED`], and how
    /// often, most first.
    pub guesses: Vec<(String, u32)>,
}

/// Mail of a workspace that was not sent for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailProblem {
    /// The workspace.
    pub workspace: String,
    /// Why; none where it was not tried yet.
    pub problem: Option<String>,
    /// Mails that are tried again.
    pub waiting: u32,
    /// Mails that are not.
    pub dead_letters: u32,
}
