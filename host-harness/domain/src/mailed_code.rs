//! Codes by e-mail: sent, replaced, ended.

use crate::account::{MailedCode, Methods, Profile};
use crate::attempts::Lock;
use crate::clock_fault::Horizon;
use crate::dossier::{Dossier, Question, Subject};
use crate::mail;
use crate::order::{Change, Decided, Order};
use crate::outbox::Post;
use crate::settings::Settings;
use crate::time::Timestamp;
use crate::totp::code_hash;
use secrecy::{ExposeSecret, SecretString};
use std::time::Duration;

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
    Locked(Lock),
    /// The account does not have the factor, or may not use it.
    Unavailable,
}

impl MailedCode {
    /// Whether it was tried in vain too often.
    pub(crate) fn is_exhausted(&self, settings: &Settings) -> bool {
        self.failures >= settings.email_code_failures
    }

    /// Whether this is its hash: who has it has compared it, here no code is.
    pub(crate) fn has_hash(&self, hash: &SecretString) -> bool {
        self.hash == hash.expose_secret()
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

/// How far the clocks of a store's hosts may be apart: a code that was sent later than that
/// from now was sent by a clock that was wrong.
pub(crate) const CLOCK_DIFFERENCE: Duration = Duration::from_secs(5 * 60);

/// After how long another code may be asked for, which replaces the one that was sent: mail
/// that has not come in a minute is asked for again.
pub const RESEND_AFTER: Duration = Duration::from_secs(60);

/// The code that the account was sent and that has not ended.
pub(crate) fn live_code(profile: &Profile, now: Timestamp) -> Option<&MailedCode> {
    let code = profile.mailed_code.as_ref();
    code.filter(|code| code.expires > now && code.issued <= Horizon::at(now).code)
}

/// Why no code by e-mail is accepted: the account is locked, or the code that it was
/// sent was tried in vain too often; what ends later.
pub(crate) fn email_lock(settings: &Settings, profile: &Profile, now: Timestamp) -> Option<Lock> {
    let exhausted = live_code(profile, now).filter(|code| code.is_exhausted(settings));
    let ends = exhausted.map(|code| Lock::Until(code.expires));
    profile.failures.why_locked(settings, now).max(ends)
}

/// Makes `code` the code of an account and queues it for every verified address, unless
/// an earlier one is still valid and was sent less than [`RESEND_AFTER`] ago. Wrong tries at
/// that one count for this one, too.
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
        if let Some(lock) = email_lock(settings, profile, now) {
            return Decided::unchanged(EmailCode::Locked(lock));
        }
        let earlier = live_code(profile, now);
        if let Some(code) = earlier.filter(|code| now - code.issued < RESEND_AFTER) {
            let expires = code.expires;
            return Decided::unchanged(EmailCode::Live { expires });
        }
        let user = profile.user.id.clone();
        let expires = now + settings.email_code_lifetime();
        let language = profile.language.unwrap_or(settings.language);
        let letter = mail::email_code(language, &profile.user.username, &self.code, expires);
        let mails = Post::to_all(profile, &letter, now, expires);
        let code = MailedCode {
            hash: code_hash(self.code.expose_secret()),
            issued: now,
            expires,
            failures: earlier.map_or(0, |code| code.failures),
            mails: u32::try_from(mails.len()).unwrap_or(u32::MAX),
        };
        let mut changes = vec![
            Change::RemoveCodeMails { user: user.clone() },
            Change::SetMailedCode { user, code },
        ];
        changes.extend(mails);
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
    let mut changes = vec![Change::RemovePendingKey { user }];
    changes.extend(forget_code(profile));
    changes
}

/// What forgets the code that the account was sent, and the mails that bring it.
pub(crate) fn forget_code(profile: &Profile) -> [Change; 2] {
    let user = || profile.user.id.clone();
    [
        Change::RemoveMailedCode { user: user() },
        Change::RemoveCodeMails { user: user() },
    ]
}

/// What becomes of the code of `holder`, one of whose mails can arrive no more: with the last
/// it is forgotten.
pub(crate) fn without_a_mail(holder: &Profile) -> Option<Change> {
    let user = holder.user.id.clone();
    let code = holder.mailed_code.as_ref()?;
    let mails = code.mails.saturating_sub(1);
    Some(match mails {
        0 => Change::RemoveMailedCode { user },
        _ => Change::SetMailedCode {
            user,
            code: MailedCode {
                mails,
                ..code.clone()
            },
        },
    })
}
