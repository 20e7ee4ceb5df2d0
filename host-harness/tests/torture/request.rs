//! What clients ask, and what they are told.

use chat_domain::time::Timestamp;
use chat_domain::totp::TotpKey;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Reset(Whom),
    LogIn,
    LogOut,
    BeginEnrolment,
    ConfirmTotp,
    DisableTotp,
    ReplaceBackupCodes,
    /// A reset whose body is not understood.
    Malformed,
}

/// Whose factor is reset: accounts are told by their place in the cast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whom {
    Own,
    Member(usize),
    Nobody,
}

impl Act {
    /// The route.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Reset(_) | Self::Malformed => "/api/v1/users.resetTOTP",
            Self::LogIn => "/api/v1/login",
            Self::LogOut => "/api/v1/logout",
            Self::BeginEnrolment => "/api/v1/users.enableTotp",
            Self::ConfirmTotp => "/api/v1/users.validateTotp",
            Self::DisableTotp => "/api/v1/users.disableTotp",
            Self::ReplaceBackupCodes => "/api/v1/users.regenerateTotpCodes",
        }
    }

    /// What the audit trail calls it.
    pub(crate) fn action(self) -> &'static str {
        match self {
            Self::Reset(_) | Self::Malformed => "reset-totp",
            Self::LogIn => "log-in",
            Self::LogOut => "log-out",
            Self::BeginEnrolment => "begin-enrolment",
            Self::ConfirmTotp => "confirm-totp",
            Self::DisableTotp => "disable-totp",
            Self::ReplaceBackupCodes => "replace-backup-codes",
        }
    }
}

/// The code that a request carries, and what its client knows of it.
#[derive(Clone)]
pub(crate) enum Proof {
    None,
    /// The code of this step of this key: of no other that is accepted now.
    Step {
        key: TotpKey,
        step: u64,
        code: String,
    },
    BackupCode(String),
    /// A code that was mailed.
    Mailed(String),
    /// A code of no step that is accepted now.
    Wrong(String),
}

impl Proof {
    pub(crate) fn code(&self) -> Option<&str> {
        match self {
            Self::None => None,
            Self::Step { code, .. }
            | Self::BackupCode(code)
            | Self::Mailed(code)
            | Self::Wrong(code) => Some(code),
        }
    }
}

/// A request as its client remembers it.
#[derive(Clone)]
pub(crate) struct Request {
    /// Its client calls itself by this, so the audit trail has it, too.
    pub(crate) number: u64,
    pub(crate) caller: usize,
    pub(crate) act: Act,
    /// The token that it carried.
    pub(crate) token: Option<String>,
    /// It asks for the method by e-mail.
    pub(crate) by_mail: bool,
    pub(crate) proof: Proof,
    pub(crate) begun: Timestamp,
    pub(crate) ended: Timestamp,
    pub(crate) outcome: Outcome,
}

/// What became of a request, as its client sees it.
#[derive(Clone)]
pub(crate) enum Outcome {
    /// There was nobody to send it to.
    NotSent,
    /// It was sent, and no answer came.
    Unanswered,
    Answered(Answer),
}

/// An answer.
#[derive(Clone, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The header `X-Request-Id`.
    pub(crate) id: String,
    /// The error's id; none for a success.
    pub(crate) error: Option<String>,
    pub(crate) news: News,
}

/// What a client learns by an answer alone.
#[derive(Clone, Default)]
pub(crate) struct News {
    pub(crate) token: Option<String>,
    pub(crate) key: Option<TotpKey>,
    pub(crate) backup_codes: Option<Vec<String>>,
    /// A code was mailed just now.
    pub(crate) mailed: bool,
}

impl News {
    /// Nothing that is written may hold what was learned.
    pub(crate) fn keep_secret(&self) {
        self.token.iter().for_each(secret_scan::register);
        let keys = self.key.iter().map(TotpKey::to_base32);
        keys.for_each(secret_scan::register);
        let codes = self.backup_codes.iter().flatten();
        codes.for_each(secret_scan::register);
    }
}

impl Request {
    pub(crate) fn answer(&self) -> Option<&Answer> {
        match &self.outcome {
            Outcome::Answered(answer) => Some(answer),
            Outcome::NotSent | Outcome::Unanswered => None,
        }
    }

    /// It was answered as done.
    pub(crate) fn is_acknowledged(&self) -> bool {
        self.answer().is_some_and(|answer| answer.status == 200)
    }

    /// It was answered with a refusal: not that something failed.
    pub(crate) fn is_refused(&self) -> bool {
        let answer = self.answer();
        answer.is_some_and(|answer| (400..500).contains(&answer.status))
    }

    pub(crate) fn was_sent(&self) -> bool {
        !matches!(self.outcome, Outcome::NotSent)
    }

    /// What was learned, which is nothing where no answer came.
    pub(crate) fn news(&self) -> News {
        let answer = self.answer();
        answer.map(|answer| answer.news.clone()).unwrap_or_default()
    }
}
