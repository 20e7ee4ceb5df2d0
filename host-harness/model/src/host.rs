//! What a host does about each request of a schedule: it begins the attempt, compares what must be
//! compared, and gives the order. Whatever the rules must check themselves is not checked here: a
//! code that is entered is claimed to be right, as a plugin that was taken over would.

mod entered;
mod mail;
mod member;
mod operator;

use crate::acme::{here, now, record_of};
use crate::asked::{Asked, Known};
use crate::deed::Deed;
use crate::laws::{judge, nothing_of_another_workspace};
use crate::ledger::Ledger;
use crate::lists::State;
use crate::model::{Model, Workspace};
use crate::schedule::{
    Act, Asking, Counts, Fault, Intervention, Outcome, PLACES, Pause, Rare, Request, Schedule,
    Step, Wait, Who,
};
use crate::seen::Seen;
use crate::text;
use chat_domain::account::Profile;
use chat_domain::attempts::FREE_FAILURES;
use chat_domain::audit::{Action, AuditRecord, Decision};
use chat_domain::dossier::Question;
use chat_domain::member::{Denial, MemberChange};
use chat_domain::order::Record;
use chat_domain::outbox::Claim;
use chat_domain::proof::Proof;
use chat_domain::reset::{RefuseReset, Reset};
use chat_domain::standing::{LogOut, Malformed, RefuseMalformed};
use chat_domain::time::Timestamp;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::time::Duration;

/// The store did not do it, or has and nobody knows.
pub(crate) struct Failed;

pub(crate) type Answer<T> = Result<T, Failed>;

/// What is left to do of a request.
pub(crate) enum Rest {
    Commit(Reset),
    Refuse(RefuseReset, Proof),
    Change(MemberChange, Vec<String>),
    Note(Claim, Outcome),
}

/// The host, with everything that must be remembered to judge it.
pub(crate) struct Host<'a> {
    hero: u8,
    place: &'static str,
    pub(crate) model: Model,
    ledgers: BTreeMap<&'static str, Ledger<'a>>,
    seen: &'a Seen,
    pub(crate) now: Timestamp,
    /// How far the clock is ahead.
    ahead: Duration,
    paused: VecDeque<Rest>,
    /// What happens after so many orders more.
    fault: Option<(u8, Fault)>,
    /// Makes keys, codes and tokens that are new.
    made: u32,
    pub(crate) counts: Counts,
    pub(crate) journal: Option<Vec<Step>>,
}

impl Schedule {
    /// Does what is asked, and holds every deed to the laws.
    ///
    /// # Panics
    ///
    /// When one breaks a law.
    pub fn run(&self, seen: &Seen) -> Counts {
        let mut host = Host::new(self.hero, seen, None);
        self.give_all(&mut host);
        host.counts
    }

    /// Does what is asked, and tells what a store was asked, with what it must answer, beginning
    /// with an empty one; and what it must hold in the end.
    ///
    /// # Panics
    ///
    /// As [`Schedule::run`].
    pub fn journal(&self) -> (Vec<Step>, State) {
        let seen = Seen::default();
        let mut host = Host::new(self.hero, &seen, Some(Vec::new()));
        self.give_all(&mut host);
        let state = host.model.state(host.now);
        (host.journal.unwrap_or_default(), state)
    }

    fn give_all(&self, host: &mut Host<'_>) {
        if self.permitted > 0 {
            let _ = host.operate(&host.id(Who(0)), Intervention::GiveRole);
        }
        for switch in &self.settings {
            let _ = host.configure(*switch);
        }
        for asking in &self.requests {
            host.give(asking);
        }
    }
}

impl<'a> Host<'a> {
    pub(crate) fn new(hero: u8, seen: &'a Seen, journal: Option<Vec<Step>>) -> Self {
        let mut host = Self {
            hero,
            place: PLACES[0],
            model: Model::default(),
            ledgers: BTreeMap::new(),
            seen,
            now: now(),
            ahead: Duration::ZERO,
            paused: VecDeque::new(),
            fault: None,
            made: 0,
            counts: Counts::default(),
            journal,
        };
        for place in &PLACES[..2] {
            let _ = host.create(place);
        }
        host
    }

    pub(crate) fn give(&mut self, asking: &Asking) {
        let place = asking.place.id();
        self.place = if self.model.has(place) {
            place
        } else {
            PLACES[0]
        };
        self.fault = asking.trouble.fault();
        let before = self.counts.orders;
        let is_answered = self.handle(asking.request).is_ok();
        self.fault = None;
        if !is_answered && asking.trouble.is_asked_again() {
            let _ = self.handle(asking.request);
        }
        self.counts.requests += u64::from(self.counts.orders > before);
    }

    fn handle(&mut self, request: Request) -> Answer<()> {
        match request {
            Request::Reset(held, whom, entered, pause) => {
                let rest = self.begin_reset(held, whom, entered)?;
                rest.map_or(Ok(()), |order| self.go_on(Rest::Commit(order), pause))
            }
            Request::Act(held, act, entered, pause) => self.act(held, act, entered, pause),
            Request::Enrol(held, entered) => {
                let id = self.id(held.who);
                let account = self.account(&id);
                let next = match (&account.factor, &account.pending_key) {
                    (Some(_), _) => Act::DisableTotp,
                    (None, Some(_)) => Act::ConfirmTotp,
                    (None, None) => Act::BeginEnrolment,
                };
                self.act(held, next, entered, Pause(0))
            }
            Request::Operate(who, deed) => self.operate(&self.id(who), deed),
            Request::Wait(wait) => {
                self.wait(wait);
                match wait {
                    // A host does so every hour.
                    Wait::Hour | Wait::Jump(_) => self.prune(),
                    _ => Ok(()),
                }
            }
            Request::Resume(place) => {
                let place = usize::from(place) % self.paused.len().max(1);
                let rest = self.paused.remove(place);
                rest.map_or(Ok(()), |rest| self.resume(rest, Pause(u8::MAX)))
            }
            Request::Mail(deed) => self.handle_mail(deed),
            Request::Rare(rare) => self.handle_rare(rare),
        }
    }

    fn go_on(&mut self, rest: Rest, pause: Pause) -> Answer<()> {
        if pause.0 == 1 {
            self.seen.note("a request was paused");
            self.paused.push_back(rest);
            return Ok(());
        }
        self.resume(rest, pause)
    }

    fn resume(&mut self, rest: Rest, pause: Pause) -> Answer<()> {
        match rest {
            Rest::Commit(order) => self.commit(&order, pause),
            Rest::Refuse(order, proof) => self.ask(&order, |()| Deed::RefusedReset {
                refused: order.clone(),
                proof,
            }),
            Rest::Change(change, issued) => {
                let deed = |answer: &Result<(), Denial>| Deed::Change {
                    change: change.clone(),
                    answer: *answer,
                    issued,
                };
                self.ask(&change, deed).map(drop)
            }
            Rest::Note(claim, outcome) => self.note(&claim, outcome),
        }
    }

    fn handle_rare(&mut self, request: Rare) -> Answer<()> {
        match request {
            // Whoever guesses does it more than once.
            Rare::Attempt(who, entered) => {
                let id = self.id(who);
                let proof = self.proof(&id, entered, None);
                for _ in 0..=FREE_FAILURES {
                    self.begin(&id, &proof)?;
                }
                Ok(())
            }
            Rare::SendCode(who) => self.send_code(&self.id(who)),
            Rare::LogOut(held) => {
                let caller = self.caller(held);
                let record = self.record(Action::LogOut, &caller.id);
                let order = LogOut { caller, record };
                self.ask(&order, |()| Deed::LogOut(order.caller.clone()))
            }
            Rare::Configure(switch) => self.configure(switch),
            Rare::Fix(one, other) => self.fix(one, other),
            Rare::Role {
                role,
                permission,
                allowed,
            } => self.change_role(role, permission, allowed),
            Rare::AddUser(kind) => self.add_user(kind),
            Rare::CreateWorkspace(place) => self.create(place.id()),
            Rare::Prune => self.prune(),
            Rare::Malformed(held, recent_calls) => {
                let caller = self.caller(held);
                let order = RefuseMalformed {
                    workspace: self.place.to_owned(),
                    user: caller.id,
                    token_hash: caller.token_hash,
                    now: self.now,
                    request_id: "request".to_owned(),
                    source: here(),
                    recent_calls: recent_calls.into(),
                };
                let deed = |answer: &Malformed| Deed::Recorded {
                    records: answer.recorded.into(),
                };
                self.ask(&order, deed).map(drop)
            }
            Rare::Record(who) => {
                let order = Record(AuditRecord {
                    decision: Decision::Limited,
                    calls: 3,
                    ..self.record(Action::ResetTotp, &self.id(who))
                });
                self.ask(&order, |()| Deed::Recorded { records: 1 })
            }
        }
    }

    /// Gives an order, and judges what became of it.
    fn ask<O>(&mut self, order: &O, deed: impl FnOnce(&O::Answer) -> Deed) -> Answer<O::Answer>
    where
        O: Known,
        O::Answer: Debug,
    {
        let fault = self.next_fault()?;
        let before = self.model.clone();
        let answer = match fault {
            Some(Fault::Repeats) => self.model.ask(order).0,
            _ => self.model.ask_once(order).answer,
        };
        let deed = deed(&answer);
        self.judge(&order.question().workspace, &before, &deed);
        if self.journal.is_some() {
            let shown = O::shown(&answer);
            self.note_step(Asked::Order(order.clone().into()), shown);
        }
        answered(answer, fault)
    }

    /// What the store does at the next order.
    fn next_fault(&mut self) -> Answer<Option<Fault>> {
        self.counts.orders += 1;
        let fault = match &mut self.fault {
            Some((0, fault)) => Some(*fault),
            Some((orders, _)) => {
                *orders -= 1;
                None
            }
            None => None,
        };
        if let Some(fault) = fault {
            self.fault = None;
            self.seen.note(match fault {
                Fault::Fails => "a store failed",
                Fault::LosesTheAnswer => "an answer was lost",
                Fault::Repeats => "an order was decided again",
            });
        }
        match fault {
            Some(Fault::Fails) => Err(Failed),
            other => Ok(other),
        }
    }

    fn judge(&mut self, place: &str, before: &Model, deed: &Deed) {
        nothing_of_another_workspace(place, before, &self.model);
        if !before.has(place) {
            return;
        }
        let (before, after) = (before.workspace(place), self.model.workspace(place));
        let ledger = self.ledgers.get_mut(place).unwrap();
        judge(ledger, before, after, deed);
    }

    fn note_step(&mut self, asked: Asked, answer: String) {
        if let Some(journal) = &mut self.journal {
            journal.push(Step { asked, answer });
        }
    }

    fn note_read(&mut self, question: Question) {
        if self.journal.is_some() {
            let answer = text::dossier(&self.model.read(&question));
            self.note_step(Asked::Read(question), answer);
        }
    }

    fn account(&self, id: &str) -> &Profile {
        self.workspace().account(id)
    }

    fn workspace(&self) -> &Workspace {
        self.model.workspace(self.place)
    }

    fn ledger(&self) -> &Ledger<'a> {
        self.ledgers.get(self.place).unwrap()
    }

    fn record(&self, action: Action, caller: &str) -> AuditRecord {
        AuditRecord {
            at: self.now,
            workspace: self.place.to_owned(),
            action,
            ..record_of(caller)
        }
    }

    fn wait(&mut self, wait: Wait) {
        let seconds = match wait {
            Wait::Millisecond => {
                self.now = Timestamp::from_millis(self.now.millis() + 1);
                return;
            }
            Wait::Step => 30,
            Wait::Minutes(minutes) => 60 * i64::from(minutes),
            Wait::Hour => 3600,
            Wait::Back(steps) => -30 * i64::from(steps),
            Wait::Jump(days) => {
                self.seen.note("the clock jumped");
                self.jump(days);
                return;
            }
        };
        self.now = Timestamp::from_millis(self.now.millis() + 1000 * seconds);
    }

    /// Ahead, and the next time back.
    fn jump(&mut self, days: u8) {
        match self.ahead {
            Duration::ZERO => {
                let days = match days {
                    6.. => 800,
                    days => u64::from(days),
                };
                self.ahead = Duration::from_secs(days * 24 * 60 * 60);
                self.now = self.now + self.ahead;
            }
            ahead => {
                self.now = self.now.before(ahead);
                self.ahead = Duration::ZERO;
            }
        }
    }
}

fn answered<A>(answer: A, fault: Option<Fault>) -> Answer<A> {
    match fault {
        Some(Fault::LosesTheAnswer) => Err(Failed),
        _ => Ok(answer),
    }
}
