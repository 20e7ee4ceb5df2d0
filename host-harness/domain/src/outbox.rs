//! Mail that waits to be sent: what is queued, what delivers it, and what operators do
//! with it.

use crate::account::Profile;
use crate::audit::Action;
use crate::dossier::{Dossier, Question};
use crate::mail::Letter;
use crate::operator::{Answer, Operation, Problem};
use crate::order::{Change, Decided, Order};
use crate::settings::Settings;
use crate::time::Timestamp;
use secrecy::SecretString;
use std::time::Duration;

/// How long whoever claims a mail has to say what became of it: longer than a
/// delivery may take and than the store takes to note its outcome, which the
/// module that delivers asserts. Then another may claim it, and a process that
/// ended in between has sent it once or not at all: the mail arrives at least
/// once.
pub const LEASE: Duration = Duration::from_secs(5 * 60);

/// A letter to one address, to be queued.
#[derive(Clone, Debug)]
pub struct Post {
    /// One address.
    pub recipient: String,
    /// One line of text.
    pub subject: &'static str,
    /// Plain text.
    pub body: SecretString,
    /// The body holds a code: it is of no use, and removed, once it has expired.
    pub holds_code: bool,
    /// When it was written.
    pub queued: Timestamp,
    /// When it is given up.
    pub expires: Timestamp,
}

impl Post {
    /// What queues `letter` for every verified address of the account.
    pub(crate) fn to_all(
        profile: &Profile,
        letter: &Letter,
        queued: Timestamp,
        expires: Timestamp,
    ) -> Vec<Change> {
        let post = |recipient: &str| Self {
            recipient: recipient.to_owned(),
            subject: letter.subject,
            body: letter.body.clone(),
            holds_code: letter.holds_code,
            queued,
            expires,
        };
        let addresses = profile.verified_addresses();
        addresses.map(|to| Change::QueueMail(post(to))).collect()
    }
}

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

/// A mail, as a store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMail {
    /// Unique in the store.
    pub id: i64,
    /// When it was written.
    pub queued: Timestamp,
    /// When it is, or was, given up.
    pub expires: Timestamp,
    /// Somebody is sending it, and has until the next try.
    pub claimed: bool,
    /// When it is tried again.
    pub next_try: NextTry,
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

impl StoredMail {
    /// What becomes of it.
    pub fn state(&self, now: Timestamp) -> MailState {
        match self.next_try {
            NextTry::At(next) if self.claimed && next > now => MailState::BeingSent(next),
            NextTry::At(next) if self.expires > now => MailState::Waiting(next),
            NextTry::At(_) | NextTry::Never => MailState::DeadLetter,
        }
    }

    /// Whether the body holds a code.
    pub fn holds_code(&self) -> bool {
        self.body.is_none()
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
    /// What operators see of `mail`.
    pub fn of(mail: StoredMail, now: Timestamp) -> Self {
        Self {
            state: mail.state(now),
            id: mail.id,
            queued: mail.queued,
            expires: mail.expires,
            tries: mail.tries,
            recipient: mail.recipient,
            subject: mail.subject,
            body: mail.body,
            last_problem: mail.last_problem,
        }
    }

    /// Whether the body holds a code.
    pub fn holds_code(&self) -> bool {
        self.body.is_none()
    }
}

/// Makes a mail due at once; a dead letter has the workspace's whole time again.
#[derive(Clone, Debug)]
pub struct RetryMail {
    /// Where and when.
    pub operation: Operation,
    /// Which mail.
    pub id: i64,
}

/// Removes a mail; one that is being sent may still arrive.
#[derive(Clone, Debug)]
pub struct RemoveMail {
    /// Where and when.
    pub operation: Operation,
    /// Which mail.
    pub id: i64,
}

impl Order for RetryMail {
    type Answer = Answer<()>;

    fn question(&self) -> Question {
        self.operation.question().with_settings().with_mail(self.id)
    }

    fn decide(&self, dossier: &Dossier) -> Decided<Answer<()>> {
        Operation::decided(self.grant(dossier))
    }
}

impl RetryMail {
    fn grant(&self, dossier: &Dossier) -> Result<((), Vec<Change>), Problem> {
        self.operation.require_workspace(dossier)?;
        let (id, due) = (self.id, self.operation.now);
        let mail = dossier.mail.as_ref().ok_or(Problem::UnknownMail(id))?;
        let expires = match mail.state(due) {
            MailState::BeingSent(_) => return Err(Problem::MailBeingSent(id)),
            MailState::Waiting(_) => mail.expires,
            MailState::DeadLetter if mail.holds_code() => return Err(Problem::CodeExpired(id)),
            MailState::DeadLetter => {
                let settings = dossier.settings.as_ref();
                due + settings.map_or(Duration::ZERO, Settings::mail_lifetime)
            }
        };
        let retry = Change::RetryMail { id, due, expires };
        Ok((
            (),
            vec![retry, self.operation.about_mail(Action::RetryMail, id)],
        ))
    }
}

impl Order for RemoveMail {
    type Answer = Answer<()>;

    fn question(&self) -> Question {
        self.operation.question().with_mail(self.id)
    }

    fn decide(&self, dossier: &Dossier) -> Decided<Answer<()>> {
        Operation::decided(self.grant(dossier))
    }
}

impl RemoveMail {
    fn grant(&self, dossier: &Dossier) -> Result<((), Vec<Change>), Problem> {
        self.operation.require_workspace(dossier)?;
        let id = self.id;
        dossier.mail.as_ref().ok_or(Problem::UnknownMail(id))?;
        let removed = Change::RemoveMail { id };
        Ok((
            (),
            vec![removed, self.operation.about_mail(Action::RemoveMail, id)],
        ))
    }
}

impl Operation {
    fn about_mail(&self, action: Action, id: i64) -> Change {
        Change::Record(self.record(action, None, Some(format!("mail {id}"))))
    }
}
