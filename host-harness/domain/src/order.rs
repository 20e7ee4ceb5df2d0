//! Orders: what may be asked of a chat server. Each is a rule: what must be known to
//! decide it, and what is decided by that.

use crate::account::{MailedCode, PendingKey, Token, TotpFactor};
use crate::attempts::Failures;
use crate::audit::AuditRecord;
use crate::dossier::{Dossier, Question};
use crate::operator::{NewUser, NewWorkspace, SettingPlace};
use crate::outbox::{NextTry, Post};
use crate::retention::Retention;
use crate::time::Timestamp;
use secrecy::SecretString;

/// Something asked of a chat server. The same order gives the same decision for the
/// same dossier: a store may decide it again, and what is read without being committed
/// is a dry run.
pub trait Order {
    /// What whoever gave the order is told.
    type Answer;

    /// What must be known.
    fn question(&self) -> Question;

    /// What is done, and answered.
    fn decide(&self, dossier: &Dossier) -> Decided<Self::Answer>;
}

/// What a rule decides: the answer, and what must be true in the store before it is
/// given.
#[derive(Debug)]
pub struct Decided<A> {
    /// For whoever gave the order.
    pub answer: A,
    /// In the order in which they are made: all or none.
    pub changes: Vec<Change>,
}

impl<A> Decided<A> {
    /// Nothing is changed.
    pub fn unchanged(answer: A) -> Self {
        Self {
            answer,
            changes: Vec::new(),
        }
    }

    /// With this change after the others.
    #[must_use]
    pub fn and(mut self, change: impl Into<Option<Change>>) -> Self {
        self.changes.extend(change.into());
        self
    }
}

/// Changes, or a refusal which may have some, too.
pub(crate) type Verdict<R> = Result<Vec<Change>, Refused<R>>;

/// Why not, and what must be kept of the refused order: a count of failures.
#[derive(Debug)]
pub(crate) struct Refused<R> {
    pub(crate) why: R,
    pub(crate) changes: Vec<Change>,
}

impl<R> From<R> for Refused<R> {
    fn from(why: R) -> Self {
        Self {
            why,
            changes: Vec::new(),
        }
    }
}

/// One fact that becomes true in a workspace. `user` is an account's id.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the fields have the names of what they hold")]
pub enum Change {
    /// There is a workspace, with everything in it.
    CreateWorkspace(Box<NewWorkspace>),
    /// A setting has this value; none is the default.
    SetSetting {
        name: &'static str,
        value: Option<SecretString>,
    },
    /// There is a role; one that is there stays as it is.
    AddRole {
        role: String,
    },
    /// A role grants a permission, or does not.
    AllowPermission {
        role: String,
        permission: String,
    },
    DenyPermission {
        role: String,
        permission: String,
    },
    /// There is an account, with everything in it.
    AddUser(Box<NewUser>),
    /// An account has this password.
    SetPassword {
        user: String,
        hash: SecretString,
    },
    /// An account can, or cannot, log in and use its tokens.
    SetDeactivated {
        user: String,
        deactivated: bool,
    },
    /// An account is a member of a role, or is not.
    GiveRole {
        user: String,
        role: String,
    },
    TakeRole {
        user: String,
        role: String,
    },
    /// An account has a token.
    AddToken {
        user: String,
        token: Token,
    },
    /// Tokens of an account are gone.
    EndTokens {
        user: String,
        which: Tokens,
    },
    /// An account has a TOTP factor, where it had none.
    Enrol {
        user: String,
        factor: TotpFactor,
    },
    /// An account has no TOTP factor and no backup codes.
    RemoveFactor {
        user: String,
    },
    /// The codes of this time step and of earlier ones are spent.
    SpendStep {
        user: String,
        step: u64,
    },
    /// The backup code with this hash is spent.
    SpendBackupCode {
        user: String,
        hash: String,
    },
    /// These are the backup codes of a TOTP factor.
    ReplaceBackupCodes {
        user: String,
        hashes: Vec<String>,
    },
    /// A key was shown, which is not proved yet; it replaces one that was shown before.
    SetPendingKey {
        user: String,
        pending: PendingKey,
    },
    /// No key waits to be proved.
    RemovePendingKey {
        user: String,
    },
    /// The account was sent this code; or it was tried in vain once more.
    SetMailedCode {
        user: String,
        code: MailedCode,
    },
    /// No code that was sent is accepted.
    RemoveMailedCode {
        user: String,
    },
    /// So many attempts at the second factor have failed in a row.
    SetFailures {
        user: String,
        failures: Failures,
    },
    /// A mail waits to be sent.
    QueueMail(Post),
    /// Mails to an account that hold a code are gone.
    RemoveCodeMails {
        user: String,
    },
    /// A mail is due now, and given up then.
    RetryMail {
        id: i64,
        due: Timestamp,
        expires: Timestamp,
    },
    /// Nobody is sending a mail, which is tried again then, for the reason that is there; it
    /// may have arrived so many times.
    PostponeMail {
        id: i64,
        next: NextTry,
        problem: Option<String>,
        doubtful: u32,
    },
    /// A mail is gone.
    RemoveMail {
        id: i64,
    },
    /// The configuration says what these settings are, and of no other.
    FixSettings(Vec<SettingPlace>),
    /// What is older is gone, as far as one transaction goes.
    Prune(Retention),
    /// The audit trail has a record.
    Record(AuditRecord),
}

/// Some of an account's tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tokens {
    /// Every one.
    All,
    /// Those of sessions, but for the one with this hash.
    Sessions {
        /// As [`crate::token::hash`] writes it.
        but: Option<String>,
    },
    /// The sessions that have ended by this moment.
    Ended {
        /// When it is looked.
        by: Timestamp,
    },
    /// The personal access token of this name.
    Named(String),
    /// The one with this hash.
    Hash(String),
}

impl Tokens {
    /// Whether `token` is one of them.
    pub fn include(&self, token: &Token) -> bool {
        match self {
            Self::All => true,
            Self::Sessions { but } => token.expires.is_some() && but.as_ref() != Some(&token.hash),
            Self::Ended { by } => token.expires.is_some_and(|expires| expires <= *by),
            Self::Named(name) => token.name.as_ref() == Some(name),
            Self::Hash(hash) => token.hash == *hash,
        }
    }
}

/// Writes the audit record of a request that changed nothing.
#[derive(Clone, Debug)]
pub struct Record(pub AuditRecord);

impl Order for Record {
    type Answer = ();

    fn question(&self) -> Question {
        Question::of(&self.0.workspace)
    }

    fn decide(&self, _: &Dossier) -> Decided<()> {
        Decided::unchanged(()).and(Change::Record(self.0.clone()))
    }
}
