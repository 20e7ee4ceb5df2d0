//! Mail that waits to be sent: what is queued, what delivers it, and what operators do
//! with it.

use crate::account::Profile;
use crate::audit::{Action, Source};
use crate::clock_fault::Horizon;
use crate::dossier::{Dossier, Question};
use crate::mail::{self, Event, Letter};
use crate::mailed_code::without_a_mail;
use crate::operator::{Answer, Operation, Problem};
use crate::order::{Change, Decided, Order};
use crate::settings::Settings;
use crate::sockets;
use crate::time::Timestamp;
use secrecy::SecretString;
use std::ops::AddAssign;
use std::time::Duration;

/// How long whoever claims a mail has to say what became of it: longer than a
/// delivery may take and than the store takes to note its outcome, which the
/// module that delivers asserts. Then another may claim it, and a process that
/// ended in between has sent it once or not at all: the mail arrives at least
/// once.
pub const LEASE: Duration = Duration::from_secs(5 * 60);

/// The longest pause between two tries of a mail: a server that is back for an hour has all
/// its mail.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(60 * 60);

/// Tries that a notice has, however old it is: a clock that was wrong must not let it die
/// unsent.
pub const LEAST_TRIES: u32 = 5;

/// Tries after which nobody knows whether the mail has arrived: another could be one more copy
/// for its reader.
pub const MOST_DOUBTFUL_TRIES: u32 = 3;

/// Of which workspaces mail is claimed.
#[derive(Clone, Copy, Debug)]
pub enum Among<'a> {
    /// Of all but these.
    AllBut(&'a [String]),
    /// Of this one.
    Only(&'a str),
}

/// A letter to one address, to be queued.
#[derive(Clone, Debug)]
pub struct Post {
    /// The id of the account that it is for.
    pub user: String,
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
            user: profile.user.id.clone(),
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

    /// What tells the holder of `profile`, whose addresses are there, what has happened.
    pub(crate) fn notices(
        settings: &Settings,
        profile: &Profile,
        event: &Event<'_>,
        at: Timestamp,
        source: Option<&Source>,
    ) -> Vec<Change> {
        let language = profile.language.unwrap_or(settings.language);
        let letter = mail::notice(language, event, at, source);
        Self::to_all(profile, &letter, at, at + settings.mail_lifetime())
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
    /// Plain text; or why it cannot be read.
    pub body: Result<SecretString, String>,
    /// When it was written.
    pub queued: Timestamp,
    /// How often it was tried, this time included. It tells this claim of the
    /// mail from every other.
    pub tries: u32,
    /// It was put off by a clock that was ahead of this one's.
    pub was_put_off: bool,
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expired {
    /// Unique in the store.
    pub id: i64,
    /// Where it was queued.
    pub workspace: String,
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
    /// How many of these may have brought it.
    pub doubtful: u32,
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
    /// What becomes of it. Nobody sends it who took it while a clock was ahead.
    pub fn state(&self, now: Timestamp) -> MailState {
        let latest = Horizon::at(now).mail;
        match self.next_try {
            NextTry::At(next) if self.claimed && next > now && next <= latest => {
                MailState::BeingSent(next)
            }
            NextTry::At(next) if !self.has_expired(now) => MailState::Waiting(next),
            NextTry::At(_) | NextTry::Never => MailState::DeadLetter,
        }
    }

    /// Whether the body holds a code.
    pub fn holds_code(&self) -> bool {
        self.body.is_none()
    }

    /// Whether it is not tried any more: a code is of no use then, and a notice was tried often
    /// enough.
    fn has_expired(&self, now: Timestamp) -> bool {
        self.expires <= now && (self.holds_code() || self.tries >= LEAST_TRIES)
    }

    /// What becomes of it where it is tried no more.
    fn given_up(
        &self,
        workspace: &str,
        dossier: &Dossier,
        problem: Option<String>,
        at: Timestamp,
    ) -> Vec<Change> {
        let id = self.id;
        if self.holds_code() {
            return removed(id, dossier);
        }
        let given_up = Change::PostponeMail {
            id,
            next: NextTry::Never,
            problem,
            doubtful: self.doubtful,
        };
        let left_open = sockets::left_open(workspace, self, at);
        [Some(given_up), left_open].into_iter().flatten().collect()
    }
}

/// What removes the mail that was asked about; a code that it held goes with the last.
fn removed(id: i64, dossier: &Dossier) -> Vec<Change> {
    let holds_code = dossier.mail.as_ref().is_some_and(StoredMail::holds_code);
    let holder = dossier.mail_holder.as_ref().filter(|_| holds_code);
    let mut changes = vec![Change::RemoveMail { id }];
    changes.extend(holder.and_then(without_a_mail));
    changes
}

/// A claimed mail was sent: it is removed.
#[derive(Clone, Debug)]
pub struct NoteSent {
    /// Where it was queued.
    pub workspace: String,
    /// Which mail.
    pub id: i64,
}

/// A claimed mail was not sent. Nothing is done where somebody else has claimed it meanwhile.
#[derive(Clone, Debug)]
pub struct NoteNotSent {
    /// Where it was queued.
    pub workspace: String,
    /// Which mail.
    pub id: i64,
    /// Which claim.
    pub tries: u32,
    /// Why not, in one printable line.
    pub problem: String,
    /// It may have arrived all the same. After [`MOST_DOUBTFUL_TRIES`] of these it is given up.
    pub doubtful: bool,
    /// When it is tried again.
    pub next: NextTry,
    /// When the try ended.
    pub now: Timestamp,
}

/// The time of a mail is over: one that holds a code is removed, others are dead letters.
#[derive(Clone, Debug)]
pub struct GiveUp {
    /// Which.
    pub expired: Expired,
    /// When it is looked.
    pub now: Timestamp,
}

impl Order for NoteSent {
    type Answer = ();

    fn question(&self) -> Question {
        Question::of(&self.workspace)
    }

    fn decide(&self, _: &Dossier) -> Decided<()> {
        Decided::unchanged(()).and(Change::RemoveMail { id: self.id })
    }
}

impl Order for NoteNotSent {
    /// Whether it is given up.
    type Answer = bool;

    fn question(&self) -> Question {
        Question::of(&self.workspace).with_mail(self.id)
    }

    fn decide(&self, dossier: &Dossier) -> Decided<bool> {
        let mail = dossier.mail.as_ref();
        let Some(mail) = mail.filter(|mail| mail.tries == self.tries) else {
            return Decided::unchanged(false);
        };
        let doubtful = mail.doubtful + u32::from(self.doubtful);
        let problem = match doubtful {
            0 => self.problem.clone(),
            _ => format!("may have arrived {doubtful} times: {}", self.problem),
        };
        match self.next {
            NextTry::At(next) if doubtful < MOST_DOUBTFUL_TRIES => {
                let is_over = mail.expires <= self.now;
                let next = if is_over {
                    next
                } else {
                    next.min(mail.expires)
                };
                Decided::unchanged(false).and(Change::PostponeMail {
                    id: self.id,
                    next: NextTry::At(next),
                    problem: Some(problem),
                    doubtful,
                })
            }
            _ => Decided {
                answer: true,
                changes: StoredMail {
                    doubtful,
                    ..mail.clone()
                }
                .given_up(&self.workspace, dossier, Some(problem), self.now),
            },
        }
    }
}

impl Order for GiveUp {
    /// Whether it held a code and is removed; none where it is not given up.
    type Answer = Option<bool>;

    fn question(&self) -> Question {
        Question::of(&self.expired.workspace).with_mail(self.expired.id)
    }

    fn decide(&self, dossier: &Dossier) -> Decided<Self::Answer> {
        let mail = dossier.mail.as_ref();
        let over = mail.filter(|mail| {
            let is_tried = mail.next_try != NextTry::Never;
            is_tried && mail.state(self.now) == MailState::DeadLetter
        });
        let Some(mail) = over else {
            return Decided::unchanged(None);
        };
        Decided {
            answer: Some(mail.holds_code()),
            changes: mail.given_up(&self.expired.workspace, dossier, None, self.now),
        }
    }
}

/// How much an outbox holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboxCount {
    /// Mails.
    pub mails: Count,
    /// [Sockets](crate::sockets::Sockets) that Rocket.Chat is to close.
    pub sockets: Count,
}

/// The sum of two.
impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.waiting = self.waiting.saturating_add(other.waiting);
        self.dead_letters = self.dead_letters.saturating_add(other.dead_letters);
        self.oldest = [self.oldest, other.oldest].into_iter().flatten().min();
    }
}

/// How much there is of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// To be sent, what is being sent included.
    pub waiting: u32,
    /// Kept and not tried.
    pub dead_letters: u32,
    /// When the oldest that waits was written.
    pub oldest: Option<Timestamp>,
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
            MailState::Waiting(_) if mail.expires > due => mail.expires,
            MailState::DeadLetter if mail.holds_code() => return Err(Problem::CodeExpired(id)),
            MailState::Waiting(_) | MailState::DeadLetter => {
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
        let mail = dossier.mail.as_ref().ok_or(Problem::UnknownMail(id))?;
        let mut changes = removed(id, dossier);
        if mail.next_try != NextTry::Never {
            let (workspace, now) = (&self.operation.workspace, self.operation.now);
            changes.extend(sockets::left_open(workspace, mail, now));
        }
        changes.push(self.operation.about_mail(Action::RemoveMail, id));
        Ok(((), changes))
    }
}

impl Operation {
    fn about_mail(&self, action: Action, id: i64) -> Change {
        Change::Record(self.record(action, None, Some(format!("mail {id}"))))
    }
}
