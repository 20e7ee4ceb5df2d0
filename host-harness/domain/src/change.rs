//! What an account does to itself: logs in, enrols TOTP, gives it up.

use crate::audit::{Action, Decision};
use crate::directory::NewToken;
use crate::time::Timestamp;
use crate::totp::TotpKey;
use secrecy::SecretString;
use std::time::Duration;

/// How long a key that was shown can be proved: time enough to find the phone.
pub const PENDING_KEY_LIFETIME: Duration = Duration::from_secs(15 * 60);

/// Something that an account does to itself.
#[derive(Debug)]
pub struct Change {
    /// The account's workspace.
    pub workspace: String,
    /// The account's id.
    pub user: String,
    /// What proves that its holder asks.
    pub authority: Authority,
    /// What is done.
    pub act: Act,
    /// The code that was entered, and for which factor.
    pub code: Option<Code>,
    /// When the request was accepted.
    pub now: Timestamp,
    /// The request's id, for the audit record.
    pub request_id: String,
}

/// What proves that an account's holder asks: it must hold at the commit, too.
#[derive(Debug)]
pub enum Authority {
    /// The hash of the password, which was compared.
    Password(SecretString),
    /// The hash of a valid token.
    Token(String),
}

/// What an account does to itself.
#[derive(Debug)]
pub enum Act {
    /// Adds a session. Needs a code where the account has TOTP or e-mail codes.
    LogIn(NewToken),
    /// Makes this the pending key, for [`PENDING_KEY_LIFETIME`]. Needs a second factor, the password where
    /// there is no other, unless the settings excuse the account.
    BeginEnrolment(TotpKey),
    /// Makes the pending key the account's factor, with these backup codes, and
    /// ends the account's other sessions. Needs a code of that key.
    ConfirmTotp {
        /// As [`crate::totp::code_hash`] writes them.
        backup_code_hashes: Vec<String>,
    },
    /// Removes the TOTP factor. Needs its code.
    DisableTotp,
    /// Replaces the backup codes. Needs a code of the TOTP factor.
    ReplaceBackupCodes {
        /// As [`crate::totp::code_hash`] writes them.
        backup_code_hashes: Vec<String>,
    },
}

impl Act {
    /// Its name in the audit trail.
    pub fn action(&self) -> Action {
        match self {
            Self::LogIn(_) => Action::LogIn,
            Self::BeginEnrolment(_) => Action::BeginEnrolment,
            Self::ConfirmTotp { .. } => Action::ConfirmTotp,
            Self::DisableTotp => Action::DisableTotp,
            Self::ReplaceBackupCodes { .. } => Action::ReplaceBackupCodes,
        }
    }
}

/// A code, as it was entered.
#[derive(Debug)]
pub enum Code {
    /// A TOTP code or a backup code.
    Totp(SecretString),
    /// The code that the account was sent.
    Email(SecretString),
    /// The password whose hash this is: an attempt was begun and it was compared.
    /// Or why it proves nothing.
    Password(Result<SecretString, Denial>),
}

/// Why a [`Change`] was refused. Nothing was changed, but for the count of
/// failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// The [`Authority`] does not hold (any more).
    NotAuthenticated,
    /// A second factor is needed and no code was given.
    CodeRequired,
    /// The code is wrong.
    WrongCode,
    /// The code is right but was used before.
    Replayed,
    /// Too many failures in a row: even a right code is refused for now.
    Locked,
    /// The account has no TOTP factor, or no pending key, to do this to.
    NotEnrolled,
    /// The account has a TOTP factor already.
    AlreadyEnrolled,
    /// The workspace does not use TOTP.
    NotEnabled,
    /// The account belongs to another server: TOTP is enrolled there.
    Federated,
}

impl Denial {
    /// How the audit trail calls such a refusal.
    pub fn decision(self) -> Decision {
        match self {
            Self::Replayed => Decision::Replayed,
            Self::Locked => Decision::Locked,
            _ => Decision::Refused,
        }
    }

    /// The error id by which clients and the audit trail know it.
    pub fn id(self) -> &'static str {
        match self {
            Self::NotAuthenticated => "not-authorized",
            Self::CodeRequired => "totp-required",
            Self::WrongCode | Self::Replayed => "totp-invalid",
            Self::Locked => "totp-max-attempts",
            Self::NotEnrolled => "error-2fa-not-enabled",
            Self::Federated => "error-not-allowed",
            Self::NotEnabled => "error-two-factor-not-enabled",
            Self::AlreadyEnrolled => "error-2fa-already-enabled",
        }
    }
}
