//! The removal of a TOTP factor: what is proved, whose it is, how it ends.

use crate::account::Caller;
use crate::time::Timestamp;
use secrecy::SecretString;

/// How an attempt to prove a second factor began.
#[derive(Debug)]
pub enum Attempt<F> {
    /// It is counted as failed until one succeeds. This is what the proof is
    /// checked against.
    Begun(F),
    /// Too many failures in a row; nothing was counted.
    Locked,
    /// The account does not have the factor, or may not use it.
    Unavailable,
}

/// The state of the code that an account may be sent by e-mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmailCode {
    /// A new code is on its way.
    Sent {
        /// When it ends.
        expires: Timestamp,
    },
    /// The one that was sent before is still valid.
    Live {
        /// When it ends.
        expires: Timestamp,
    },
    /// Too many failures in a row, or at the code that was sent.
    Locked,
    /// The account does not have the factor, or may not use it.
    Unavailable,
}

/// How the caller's second factor was proved.
#[derive(Debug)]
pub enum Proof {
    /// `code` is the caller's code of the time step `step`.
    TotpStep {
        /// T of RFC 6238.
        step: u64,
        /// Six digits.
        code: SecretString,
    },
    /// A backup code, as it was entered.
    BackupCode(SecretString),
    /// The code that the account was sent.
    EmailCode(SecretString),
    /// The password whose hash this is: it was compared in this call.
    Password(SecretString),
    /// None: the settings excuse this caller, or this token.
    None,
}

/// Whose factor is removed.
#[derive(Clone, Debug)]
pub enum Target {
    /// The caller's own.
    Caller,
    /// That of the account with this id, by the permission
    /// [`EDIT_OTHER_USER_TOTP`](crate::account::EDIT_OTHER_USER_TOTP).
    User(String),
}

/// A reset to commit.
#[derive(Debug)]
pub struct Reset {
    /// The workspace of all accounts below.
    pub workspace: String,
    /// Who asks.
    pub caller: Caller,
    /// How the caller's second factor was proved.
    pub proof: Proof,
    /// Whose factor goes.
    pub target: Target,
    /// When the request was accepted.
    pub now: Timestamp,
    /// The request's id, for the audit record.
    pub request_id: String,
}

/// What a reset did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// The factor is gone and the target's tokens with it.
    Removed,
    /// There was none: tokens stand, nobody is told.
    NothingEnrolled,
}

/// Why a reset was refused; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The caller's token is no longer valid, the caller does not hold
    /// [`EDIT_OTHER_USER_TOTP`](crate::account::EDIT_OTHER_USER_TOTP), second factors are off, or the target belongs
    /// to another server.
    NotPermitted,
    /// The workspace has no such account.
    UnknownTarget,
    /// The proof is right but this step, or a later one, was used before.
    Replayed,
    /// The proof is wrong, or a backup code that is spent.
    WrongProof,
}
