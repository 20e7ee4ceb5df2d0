//! How long what has been is kept: audit records, dead letters, sessions that have ended.

use crate::audit::Action;
use crate::dossier::{Dossier, Question};
use crate::operator::{Answer, Operation};
use crate::order::{Change, Decided, Order};
use crate::settings::Settings;
use crate::time::Timestamp;

/// What is older than it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Audit records of before; none: all are kept.
    pub records_before: Option<Timestamp>,
    /// Dead letters that were written before; none: all are kept.
    pub dead_letters_before: Option<Timestamp>,
    /// Sessions that have ended before.
    pub sessions_ended_before: Timestamp,
}

/// How old the oldest is; none where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Oldest {
    /// When the oldest audit record was written.
    pub record: Option<Timestamp>,
    /// When the oldest dead letter was written.
    pub dead_letter: Option<Timestamp>,
    /// When the session ended that did so first, or will.
    pub session_end: Option<Timestamp>,
}

impl Retention {
    fn of(settings: &Settings, now: Timestamp) -> Self {
        Self {
            records_before: settings.audit_lifetime().map(|kept| now.before(kept)),
            dead_letters_before: settings.dead_letter_lifetime().map(|kept| now.before(kept)),
            sessions_ended_before: now,
        }
    }

    fn is_exceeded(&self, oldest: &Oldest) -> bool {
        let is_before = |age: Option<Timestamp>, limit: Option<Timestamp>| {
            age.zip(limit).is_some_and(|(age, limit)| age < limit)
        };
        is_before(oldest.record, self.records_before)
            || is_before(oldest.dead_letter, self.dead_letters_before)
            || is_before(oldest.session_end, Some(self.sessions_ended_before))
    }

    fn detail(&self) -> String {
        let since = |limit: Option<Timestamp>| match limit {
            Some(limit) => format!("since {limit}"),
            None => "all".to_owned(),
        };
        let (records, letters) = (since(self.records_before), since(self.dead_letters_before));
        format!("kept: records {records}, dead letters {letters}")
    }
}

/// Removes what is older than the settings say, as far as one transaction goes: the answer
/// says whether something was removed, and more may be left.
#[derive(Clone, Debug)]
pub struct Prune(pub Operation);

impl Order for Prune {
    type Answer = Answer<bool>;

    fn question(&self) -> Question {
        let question = self.0.question().with_settings().with_oldest();
        question.looking_first()
    }

    fn decide(&self, dossier: &Dossier) -> Decided<Self::Answer> {
        if let Err(problem) = self.0.require_workspace(dossier) {
            return Decided::unchanged(Err(problem));
        }
        let settings = dossier.settings.clone().unwrap_or_default();
        let retention = Retention::of(&settings, self.0.now);
        if !retention.is_exceeded(&dossier.oldest) {
            return Decided::unchanged(Ok(false));
        }
        let detail = Some(retention.detail());
        let record = self.0.record(Action::Prune, None, detail);
        Decided {
            answer: Ok(true),
            changes: vec![Change::Prune(retention), Change::Record(record)],
        }
    }
}
