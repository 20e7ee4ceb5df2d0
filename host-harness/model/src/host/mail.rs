//! What a host does with the mail that waits.

use super::{Answer, Host, Rest, answered};
use crate::asked::{Asked, claimed};
use crate::deed::Deed;
use crate::schedule::{MailDeed, Outcome, Wait};
use chat_domain::outbox::{
    Claim, GiveUp, LEAST_TRIES, NextTry, NoteNotSent, NoteSent, RemoveMail, RetryMail,
};
use chat_domain::sockets::NoteClosed;
use std::time::Duration;

impl Host<'_> {
    pub(super) fn handle_mail(&mut self, deed: MailDeed) -> Answer<()> {
        match deed {
            MailDeed::Deliver { outcome, pause } => match self.claim(None)? {
                Some(claim) => self.go_on(Rest::Note(claim, outcome), pause),
                None => Ok(()),
            },
            MailDeed::DeliverHere(outcome) => match self.claim(Some(self.place.to_owned()))? {
                Some(claim) => self.note(&claim, outcome),
                None => Ok(()),
            },
            MailDeed::Refused => {
                for _ in 0..2 * LEAST_TRIES {
                    if let Some(claim) = self.claim(None)? {
                        self.note(&claim, Outcome(5))?;
                    }
                    self.wait(Wait::Step);
                }
                Ok(())
            }
            MailDeed::GiveUp => {
                for expired in self.model.expired_mails(self.now) {
                    let now = self.now;
                    let id = expired.id;
                    let order = GiveUp { expired, now };
                    self.ask(&order, |_| Deed::Delivery { id, sent: false })?;
                }
                Ok(())
            }
            MailDeed::Retry(number) => {
                let (operation, id) = (self.operation(), self.some_mail(number));
                let order = RetryMail { operation, id };
                let deed = |answer: &Result<(), _>| Deed::Outbox {
                    id,
                    done: answer.is_ok(),
                };
                self.ask(&order, deed).map(drop)
            }
            MailDeed::Remove(number) => {
                let (operation, id) = (self.operation(), self.some_mail(number));
                let order = RemoveMail { operation, id };
                let deed = |answer: &Result<(), _>| Deed::Outbox {
                    id,
                    done: answer.is_ok(),
                };
                self.ask(&order, deed).map(drop)
            }
        }
    }

    /// A mail of the workspace's, or of another's, or none.
    pub(super) fn some_mail(&self, number: u8) -> i64 {
        let own = self.workspace().outbox.iter();
        let workspaces = self.model.workspaces();
        let others = workspaces.filter(|(id, _)| *id != self.place);
        let others = others.flat_map(|(_, workspace)| &workspace.outbox);
        let mail = match number {
            0 => others.last(),
            number => own.rev().nth(usize::from(number) - 1),
        };
        mail.map_or(0, |mail| mail.id)
    }

    /// Mail of all workspaces, or of one.
    pub(super) fn claim(&mut self, only: Option<String>) -> Answer<Option<Claim>> {
        let fault = self.next_fault()?;
        let before = self.model.clone();
        let claim = self.model.claim_mail(self.now, Asked::among(only.as_ref()));
        if let Some(claim) = &claim {
            let deed = Deed::Claimed {
                id: claim.id,
                now: self.now,
            };
            self.judge(&claim.workspace, &before, &deed);
        }
        let shown = claimed(claim.as_ref());
        self.note_step(Asked::Claim(self.now, only), shown);
        answered(claim, fault)
    }

    /// What became of a mail that was being sent.
    pub(super) fn note(&mut self, claim: &Claim, outcome: Outcome) -> Answer<()> {
        let (workspace, id) = (claim.workspace.clone(), claim.id);
        if outcome.0 == 0 {
            // It is a mail, and no sockets were to be closed: nothing is done.
            let (workspace, now) = (workspace.clone(), self.now);
            let order = NoteClosed { workspace, id, now };
            self.ask(&order, |()| Deed::Delivery { id, sent: false })?;
        }
        if outcome.0 < 4 {
            let order = NoteSent { workspace, id };
            return self.ask(&order, |()| Deed::Delivery { id, sent: true });
        }
        let order = NoteNotSent {
            workspace,
            id,
            tries: claim.tries,
            problem: "greylisted".to_owned(),
            doubtful: outcome.0.is_multiple_of(2),
            next: match outcome.0 {
                7 => NextTry::Never,
                _ => NextTry::At(self.now + Duration::from_secs(10)),
            },
            now: self.now,
        };
        self.ask(&order, |_| Deed::Delivery { id, sent: false })
            .map(drop)
    }
}
