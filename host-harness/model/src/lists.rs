//! What a store lists, and how it gives out mail: for a model, and beside it for every real store
//! that was asked the same.

use crate::model::{Model, Workspace};
use crate::text;
use chat_domain::account::{Profile, username_key};
use chat_domain::attempts::FREE_FAILURES;
use chat_domain::audit::{Action, AuditRecord, Decision, StoredRecord};
use chat_domain::clock_fault::Horizon;
use chat_domain::dossier::{Question, Subject};
use chat_domain::health::{GUESSED, Health, LockedAccount, MOST_SHOWN, MailProblem};
use chat_domain::operator::{Role, WorkspaceSummary};
use chat_domain::outbox::{
    Among, Claim, Count, Expired, LEASE, LEAST_TRIES, NextTry, OutboxCount, StoredMail,
};
use chat_domain::settings::SETTINGS;
use chat_domain::sockets::ROCKET_CHAT;
use chat_domain::time::Timestamp;
use std::collections::BTreeMap;
use std::fmt::Debug;

/// All that the functions of a store give at one moment.
#[derive(Debug)]
pub struct State {
    /// When.
    pub now: Timestamp,
    /// The workspaces.
    pub summaries: Vec<WorkspaceSummary>,
    /// How much waits in the outboxes.
    pub outbox_count: OutboxCount,
    /// When mail is due.
    pub next_mail_due: Option<Timestamp>,
    /// Mails whose time is over, in any order.
    pub expired: Vec<Expired>,
    /// Moments that a clock which was ahead has left.
    pub clock_faults: u32,
    /// What is not as it should be: of the model all of it, of a store what is shown.
    pub health: Health,
    /// The contents of each workspace, in the order of `summaries`.
    pub contents: Vec<Contents>,
}

/// All that is kept of one workspace.
#[derive(Debug)]
pub struct Contents {
    /// The accounts as a list of them tells them, without their tokens.
    pub profiles: Vec<Profile>,
    /// The same accounts, each asked for by itself, with everything.
    pub accounts: Vec<Profile>,
    /// The roles.
    pub roles: Vec<Role>,
    /// The mails.
    pub mails: Vec<StoredMail>,
    /// The audit records.
    pub records: Vec<StoredRecord>,
}

impl Contents {
    /// What is asked for each of the accounts.
    pub fn question(workspace: &str, account: &str) -> Question {
        let account = Subject::id(account).as_seen().with_tokens();
        Question::of(workspace).with_settings().about(account)
    }
}

impl State {
    /// What is otherwise in a store that was asked the same as the model which this is the
    /// state of; none where nothing is.
    pub fn differs(&self, stored: &Self) -> Option<String> {
        let [own, other] = [self, stored].map(Self::lines);
        let missing = own.iter().find(|line| !other.contains(line));
        let strange = other.iter().find(|line| !own.contains(line));
        match (missing, strange) {
            (None, None) if own.len() == other.len() => self.health_differs(&stored.health),
            (None, None) => Some("something is there twice".to_owned()),
            _ => Some(format!("missing: {missing:?}, instead: {strange:?}")),
        }
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = vec![
            format!("outbox: {:?}", self.outbox_count),
            format!("next mail: {:?}", self.next_mail_due.map(text::moment)),
            format!("clock faults: {}", self.clock_faults),
        ];
        let mut expired: Vec<_> = self.expired.iter().map(|one| format!("{one:?}")).collect();
        expired.sort();
        lines.push(format!("expired: {expired:?}"));
        for (summary, contents) in self.summaries.iter().zip(&self.contents) {
            let id = &summary.id;
            let mut add = |what: &str, texts: Vec<String>| {
                let texts = texts.into_iter().enumerate();
                lines.extend(texts.map(|(place, text)| format!("{id} {what} {place}: {text}")));
            };
            add("summary", vec![format!("{summary:?}")]);
            let accounts = |profiles: &[Profile]| profiles.iter().map(text::account).collect();
            add("profile", accounts(&contents.profiles));
            add("account", accounts(&contents.accounts));
            add("role", shown(&contents.roles));
            add("mail", shown(&contents.mails));
            add("record", shown(&contents.records));
        }
        lines
    }

    /// A store shows the first of each list; which of those that are equal is its own choice.
    fn health_differs(&self, shown_part: &Health) -> Option<String> {
        let (all, part) = (&self.health, shown_part);
        is_part(&shown(&all.locked), &shown(&part.locked))
            .and_then(|()| is_part(&shown(&all.mail_problems), &shown(&part.mail_problems)))
            .and_then(|()| is_part(&shown(&all.resets), &shown(&part.resets)))
            .err()
    }
}

fn shown<T: Debug>(list: &[T]) -> Vec<String> {
    list.iter().map(|one| format!("{one:?}")).collect()
}

fn is_part(all: &[String], part: &[String]) -> Result<(), String> {
    let strange = part.iter().find(|one| !all.contains(one));
    let is_short = part.len() != all.len().min(MOST_SHOWN as usize);
    match strange {
        None if !is_short => Ok(()),
        _ => Err(format!("health: {part:?} of {all:?}")),
    }
}

impl Model {
    /// As a store claims mail.
    ///
    /// # Panics
    ///
    /// Never: what is found is there.
    pub fn claim_mail(&mut self, now: Timestamp, among: Among<'_>) -> Option<Claim> {
        let horizon = Horizon::at(now).mail;
        let is_among = |id: &str| match among {
            Among::AllBut(others) => !others.iter().any(|other| other == id),
            Among::Only(only) => only == id,
        };
        let workspaces = self.workspaces().filter(|(id, _)| is_among(id));
        let mails = workspaces.flat_map(|(id, w)| w.outbox.iter().map(move |mail| (id, mail)));
        let due = mails.filter(|(_, mail)| is_due(mail, now) && !has_expired(mail, now));
        let first = due.min_by_key(|(_, mail)| (next_try(mail), mail.id));
        let (workspace, id, next) =
            first.map(|(w, mail)| (w.to_owned(), mail.id, next_try(mail)))?;
        let place = self.edit_workspace(&workspace);
        let body = place.post(id).unwrap().body.clone();
        let mail = place.edit_mail(id);
        mail.tries += 1;
        mail.claimed = true;
        mail.next_try = NextTry::At(now + LEASE);
        Some(Claim {
            id,
            workspace,
            message_id: String::new(),
            recipient: mail.recipient.clone(),
            subject: mail.subject.clone(),
            body: Ok(body),
            queued: mail.queued,
            tries: mail.tries,
            was_put_off: next > Some(horizon),
        })
    }

    /// As a store lists mails that are due and have expired.
    pub fn expired_mails(&self, now: Timestamp) -> Vec<Expired> {
        let expired = |mail: &&StoredMail| is_due(mail, now) && has_expired(mail, now);
        let all = self.mails().filter(|(_, mail)| expired(mail));
        let all = all.map(|(workspace, mail)| Expired {
            id: mail.id,
            workspace: workspace.to_owned(),
        });
        all.collect()
    }

    /// All that the functions of a store give.
    pub fn state(&self, now: Timestamp) -> State {
        let horizon = Horizon::at(now);
        let waiting: Vec<_> = self
            .mails()
            .filter_map(|(_, mail)| next_try(mail))
            .collect();
        let count = |number: usize| u32::try_from(number).unwrap();
        let was_put_off = waiting.iter().any(|next| *next > horizon.mail);
        State {
            now,
            summaries: self
                .workspaces()
                .map(|(id, w)| w.summary(id, now))
                .collect(),
            outbox_count: OutboxCount {
                mails: self.count_of(|recipient| recipient != ROCKET_CHAT),
                sockets: self.count_of(|recipient| recipient == ROCKET_CHAT),
            },
            next_mail_due: match was_put_off {
                true => Some(now),
                false => waiting.into_iter().min(),
            },
            expired: self.expired_mails(now),
            clock_faults: count(self.clock_faults(horizon)),
            health: self.health(now),
            contents: self.workspaces().map(|(id, _)| self.contents(id)).collect(),
        }
    }

    fn count_of(&self, is_of: impl Fn(&str) -> bool) -> Count {
        let mails = self.mails().map(|(_, mail)| mail);
        let mails = mails.filter(|mail| is_of(&mail.recipient));
        let (waiting, dead): (Vec<_>, Vec<_>) = mails.partition(|mail| next_try(mail).is_some());
        Count {
            waiting: waiting.len().try_into().unwrap(),
            dead_letters: dead.len().try_into().unwrap(),
            oldest: waiting.iter().map(|mail| mail.queued).min(),
        }
    }

    fn mails(&self) -> impl Iterator<Item = (&str, &StoredMail)> {
        let workspaces = self.workspaces();
        workspaces.flat_map(|(id, w)| w.outbox.iter().map(move |mail| (id, &**mail)))
    }

    fn clock_faults(&self, horizon: Horizon) -> usize {
        let accounts = self.workspaces().flat_map(|(_, w)| w.accounts.values());
        let faults = accounts.map(|profile| {
            let lock = profile.failures.locked_until;
            let code = profile.mailed_code.as_ref().map(|code| code.issued);
            let key = profile.pending_key.as_ref().map(|key| key.expires);
            let step = profile.factor.as_ref().and_then(|factor| factor.last_step);
            let is_later =
                |at: Option<Timestamp>, than| usize::from(at.is_some_and(|at| at > than));
            is_later(lock, horizon.lock)
                + is_later(code, horizon.code)
                + is_later(key, horizon.pending_key)
                + usize::from(step.is_some_and(|step| step > horizon.step))
        });
        let mails = self.mails().filter_map(|(_, mail)| next_try(mail));
        faults.sum::<usize>() + mails.filter(|next| *next > horizon.mail).count()
    }

    fn health(&self, now: Timestamp) -> Health {
        let mut health = Health::default();
        let mut problems = BTreeMap::<_, (u32, u32)>::new();
        for (id, workspace) in self.workspaces() {
            let locked = workspace.locked(id, now);
            health.locked.extend(locked);
            for mail in &workspace.outbox {
                let of_it = problems.entry((id, mail.last_problem.clone())).or_default();
                match mail.next_try {
                    NextTry::At(_) => of_it.0 += 1,
                    NextTry::Never => of_it.1 += 1,
                }
            }
            let is_reset = |record: &&AuditRecord| {
                let by_others = matches!(record.decision, Decision::Reset | Decision::Done);
                record.action == Action::ResetTotp && by_others
            };
            let records = workspace.audit.iter().map(|record| &**record);
            let resets = records
                .filter(is_reset)
                .map(|record| workspace.stored(record));
            health.resets.extend(resets);
        }
        let problems = problems.into_iter();
        health.mail_problems = problems
            .map(
                |((workspace, problem), (waiting, dead_letters))| MailProblem {
                    workspace: workspace.to_owned(),
                    problem,
                    waiting,
                    dead_letters,
                },
            )
            .collect();
        health
    }

    fn contents(&self, id: &str) -> Contents {
        let workspace = self.workspace(id);
        let mut accounts: Vec<_> = workspace.accounts.values().collect();
        accounts.sort_by_key(|profile| username_key(&profile.user.username));
        let ids = accounts.iter().map(|profile| profile.user.id.as_str());
        let seen = |account: &str| {
            let subject = Subject::id(account).as_seen();
            let dossier = self.read(&Question::of(id).about(subject));
            dossier.accounts.into_iter().next().flatten().unwrap()
        };
        let whole = |account: &str| {
            let dossier = self.read(&Contents::question(id, account));
            dossier.accounts.into_iter().next().flatten().unwrap()
        };
        let mut records: Vec<_> = workspace.audit.iter().collect();
        records.sort_by_key(|record| record.at);
        Contents {
            profiles: ids.clone().map(seen).collect(),
            accounts: ids.map(whole).collect(),
            roles: workspace
                .roles
                .keys()
                .filter_map(|name| workspace.role(name))
                .collect(),
            mails: workspace
                .outbox
                .iter()
                .map(|mail| (**mail).clone())
                .collect(),
            records: records
                .into_iter()
                .map(|record| workspace.stored(record))
                .collect(),
        }
    }
}

impl Workspace {
    fn summary(&self, id: &str, now: Timestamp) -> WorkspaceSummary {
        let count = |is_counted: &dyn Fn(&Profile) -> bool| {
            let counted = self.accounts.values().filter(|profile| is_counted(profile));
            u32::try_from(counted.count()).unwrap()
        };
        let changed = SETTINGS
            .iter()
            .filter(|setting| setting.is_changed(&self.settings));
        WorkspaceSummary {
            id: id.to_owned(),
            users: count(&|_| true),
            deactivated: count(&|profile| profile.deactivated),
            enrolled: count(&|profile| profile.factor.is_some()),
            locked: count(&|profile| {
                let failures = &profile.failures;
                failures.locked_until.is_some()
                    && failures.why_locked(&self.settings, now).is_some()
            }),
            roles: self.roles.keys().cloned().collect(),
            changed_settings: changed.map(|setting| setting.name).collect(),
        }
    }

    fn locked(&self, id: &str, now: Timestamp) -> Vec<LockedAccount> {
        let accounts = self.accounts.values();
        let tried = accounts.filter(|profile| profile.failures.count >= FREE_FAILURES);
        let locked = tried.filter_map(|profile| {
            Some(LockedAccount {
                workspace: id.to_owned(),
                username: profile.user.username.clone(),
                failures: profile.failures.count,
                lock: profile.failures.why_locked(&self.settings, now)?,
                guesses: self.guesses(&profile.user.id, now),
            })
        });
        locked.collect()
    }

    fn guesses(&self, user: &str, now: Timestamp) -> Vec<(String, u32)> {
        let mut guesses = BTreeMap::<_, u32>::new();
        let records = self.audit.iter().filter(|record| {
            record.at >= now.before(GUESSED)
                && record.caller == user
                && record.proof.is_some()
                && record.action != Action::Guess
                && matches!(record.decision, Decision::Refused | Decision::Locked)
        });
        for record in records {
            if let Some(source) = &record.source {
                *guesses.entry(source.address.to_string()).or_default() += record.calls;
            }
        }
        guesses.into_iter().collect()
    }

    /// The record, as a store gives it, but for its place in the log.
    fn stored(&self, record: &AuditRecord) -> StoredRecord {
        let name = |id: &String| {
            let account = self.accounts.get(id);
            account.map(|account| account.user.username.clone())
        };
        let source = record.source.as_ref();
        StoredRecord {
            index: None,
            workspace: record.workspace.clone(),
            at: record.at,
            request_id: record.request_id.clone(),
            action: record.action.name().to_owned(),
            caller: record.caller.clone(),
            caller_name: name(&record.caller),
            target: record.target.clone(),
            target_name: record.target.as_ref().and_then(name),
            decision: record.decision.name().to_owned(),
            reason: record.reason.clone(),
            address: source.map(|source| source.address.to_string()),
            agent: source.and_then(|source| source.agent.clone()),
            proof: record.proof.map(str::to_owned),
            told: record.told,
            calls: record.calls,
        }
    }
}

/// When it is tried again; none for a dead letter.
fn next_try(mail: &StoredMail) -> Option<Timestamp> {
    match mail.next_try {
        NextTry::At(next) => Some(next),
        NextTry::Never => None,
    }
}

fn is_due(mail: &StoredMail, now: Timestamp) -> bool {
    next_try(mail).is_some_and(|next| next <= now || next > Horizon::at(now).mail)
}

fn has_expired(mail: &StoredMail, now: Timestamp) -> bool {
    mail.expires <= now && (mail.body.is_none() || mail.tries >= LEAST_TRIES)
}
