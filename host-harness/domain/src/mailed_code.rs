//! Codes by e-mail: sent, replaced, ended.

use crate::account::{MailedCode, Methods, Profile};
use crate::dossier::{Dossier, Question, Subject};
use crate::mail;
use crate::order::{Change, Decided, Order};
use crate::outbox::Post;
use crate::settings::Settings;
use crate::time::Timestamp;
use crate::totp::code_hash;
use secrecy::{ExposeSecret, SecretString};

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
    Locked {
        /// When it may be tried again.
        until: Timestamp,
    },
    /// The account does not have the factor, or may not use it.
    Unavailable,
}

impl MailedCode {
    /// Whether it was tried in vain too often.
    pub(crate) fn is_exhausted(&self, settings: &Settings) -> bool {
        self.failures >= settings.email_code_failures
    }

    pub(crate) fn failed_once_more(&self) -> Self {
        Self {
            failures: self.failures.saturating_add(1),
            ..self.clone()
        }
    }

    pub(crate) fn failed_once_less(&self) -> Self {
        Self {
            failures: self.failures.saturating_sub(1),
            ..self.clone()
        }
    }
}

/// The code that the account was sent and that has not ended.
pub(crate) fn live_code(profile: &Profile, now: Timestamp) -> Option<&MailedCode> {
    let code = profile.mailed_code.as_ref();
    code.filter(|code| code.expires > now)
}

/// Until when no code by e-mail is accepted: the account is locked, or the code that it was
/// sent was tried in vain too often; the later of both.
pub(crate) fn email_lock(
    settings: &Settings,
    profile: &Profile,
    now: Timestamp,
) -> Option<Timestamp> {
    let exhausted = live_code(profile, now).filter(|code| code.is_exhausted(settings));
    let ends = exhausted.map(|code| code.expires);
    profile.failures.lock(now).max(ends)
}

/// Makes `code` the code of an account and queues it for every verified address, unless
/// an earlier one is still valid.
#[derive(Clone, Debug)]
pub struct SendEmailCode {
    /// The account's workspace.
    pub workspace: String,
    /// The account's id.
    pub user: String,
    /// Six digits.
    pub code: SecretString,
    /// When the request was accepted.
    pub now: Timestamp,
}

impl Order for SendEmailCode {
    type Answer = EmailCode;

    fn question(&self) -> Question {
        Question::of(&self.workspace)
            .with_settings()
            .about(Subject::id(&self.user).with_emails())
    }

    fn decide(&self, dossier: &Dossier) -> Decided<EmailCode> {
        match (&dossier.settings, dossier.caller()) {
            (Some(settings), Some(profile)) => self.send(settings, profile),
            _ => Decided::unchanged(EmailCode::Unavailable),
        }
    }
}

impl SendEmailCode {
    fn send(&self, settings: &Settings, profile: &Profile) -> Decided<EmailCode> {
        let now = self.now;
        if !Methods::of(profile, settings).email {
            return Decided::unchanged(EmailCode::Unavailable);
        }
        if let Some(until) = email_lock(settings, profile, now) {
            return Decided::unchanged(EmailCode::Locked { until });
        }
        if let Some(code) = live_code(profile, now) {
            let expires = code.expires;
            return Decided::unchanged(EmailCode::Live { expires });
        }
        let expires = now + settings.email_code_lifetime();
        let mut changes = vec![Change::SetMailedCode {
            user: profile.user.id.clone(),
            code: MailedCode {
                hash: code_hash(self.code.expose_secret()),
                expires,
                failures: 0,
            },
        }];
        let letter = mail::email_code(&profile.user.username, &self.code, expires);
        changes.extend(Post::to_all(profile, &letter, now, expires));
        Decided {
            answer: EmailCode::Sent { expires },
            changes,
        }
    }
}

/// What forgets everything that the account was shown or sent and has not proved yet: a
/// pending key, a code by e-mail and the mails that bring it.
pub(crate) fn forget_unproved(profile: &Profile) -> Vec<Change> {
    let user = profile.user.id.clone();
    let recipients = profile.emails.iter().map(|email| email.address.clone());
    vec![
        Change::RemovePendingKey { user: user.clone() },
        Change::RemoveMailedCode { user },
        Change::RemoveCodeMails {
            recipients: recipients.collect(),
        },
    ]
}
