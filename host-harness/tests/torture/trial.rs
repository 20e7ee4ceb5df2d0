//! The store held to what clients were told.
//!
//! The audit trail is replayed over what was known before: each record must be of a request
//! that was sent, once, and of something that could be granted then. What comes out must be
//! what the store holds, to the last token, code and mail; and every answer must have its
//! record. So what was answered is there, what was refused left its record and its count
//! alone, and what was not answered is there as a whole or not at all.

use crate::account::{Account, BackupCode, BackupCodes, Effect, Held, Pending, SUBJECTS, perform};
use crate::figures::Figures;
use crate::mail_server::Arrived;
use crate::request::{Act, Outcome, Proof, Request, Whom};
use crate::site::{Look, Queued, Record};
use chat_domain::account::Profile;
use chat_domain::time::Timestamp;
use chat_domain::token;
use chat_domain::totp::code_hash;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// What must be so, as far as the answers tell.
pub(crate) struct Trial {
    pub(crate) accounts: Vec<Account>,
    /// The id of the last record that was looked at.
    pub(crate) last_record: i64,
    /// Mails that arrived by then.
    pub(crate) arrived: usize,
    /// What was done may be answered as failed.
    may_be_unknown: bool,
    mails: Mails,
}

/// Every mail that was ever seen, waiting or arrived.
#[derive(Default)]
struct Mails {
    /// How often each arrived, by the left part of its `Message-ID`.
    seen: HashMap<String, usize>,
    /// How many different notices there were, by recipient and subject.
    notices: HashMap<(String, String), usize>,
    /// Notices that waited when it was looked last.
    waiting: HashSet<String>,
    /// Where codes arrived: address, hash of the code and the left part of the `Message-ID`.
    codes: BTreeSet<(String, String, String)>,
}

/// One look, and what is wrong with it.
struct Case<'a> {
    requests: HashMap<u64, &'a Request>,
    /// By the numbers of their requests.
    records: HashMap<u64, Vec<&'a Record>>,
    /// When those ended that have reset an account, by account.
    resets: HashMap<usize, Vec<Timestamp>>,
    /// Accounts that others have tried to reset.
    disturbed: HashSet<usize>,
    may_be_unknown: bool,
    faults: Vec<String>,
}

/// How the audit trail calls what is done.
pub(crate) const GRANTED: [&str; 3] = ["reset", "nothing-enrolled", "done"];

impl Trial {
    pub(crate) fn new(accounts: Vec<Account>, may_be_unknown: bool) -> Self {
        Self {
            accounts,
            last_record: 0,
            arrived: 0,
            may_be_unknown,
            mails: Mails::default(),
        }
    }

    /// Holds the store to these requests, in their order, which are all that were sent since
    /// the last look.
    /// Afterwards the accounts are as the store has them.
    ///
    /// # Errors
    ///
    /// Whatever is not as it must be.
    pub(crate) fn judge(
        &mut self,
        requests: &[Request],
        look: &Look,
        arrived: &[Arrived],
        figures: &mut Figures,
    ) -> Result<(), Vec<String>> {
        let mut case = Case::of(requests, self.may_be_unknown);
        let before = self.accounts.clone();
        for record in &look.records {
            self.last_record = record.id;
            case.replay(&mut self.accounts, record);
        }
        for request in requests {
            case.compare_answer(&mut self.accounts, request, figures);
        }
        for (number, profile) in look.profiles.iter().enumerate() {
            let known = before
                .get(number)
                .and_then(|account| account.mailed.clone());
            let mailed = case.expected_code(number, known, requests);
            let account = &mut self.accounts[number];
            let id = account.person.id.clone();
            let problems = compare(account, profile).chain(mailed.compare(profile));
            case.faults
                .extend(problems.map(|problem| format!("{id}: {problem}")));
            account.mailed = profile
                .mailed_code
                .as_ref()
                .map(|code| (code.hash.clone(), code.issued));
        }
        self.arrived += arrived.len();
        case.faults
            .extend(self.mails.note(&look.outbox, arrived, figures));
        case.faults.extend(self.mails.compare(&self.accounts, look));
        match case.faults.is_empty() {
            true => Ok(()),
            false => {
                case.faults.push("the requests were:".to_owned());
                case.faults.extend(case.story());
                Err(case.faults)
            }
        }
    }
}

impl<'a> Case<'a> {
    fn of(requests: &'a [Request], may_be_unknown: bool) -> Self {
        let sent = requests.iter().filter(|request| request.was_sent());
        let disturbed = sent.filter_map(|request| match request.act {
            Act::Reset(Whom::Member(member)) => Some(member),
            _ => None,
        });
        Self {
            disturbed: disturbed.collect(),
            requests: requests.iter().map(|r| (r.number, r)).collect(),
            records: HashMap::new(),
            resets: HashMap::new(),
            may_be_unknown,
            faults: Vec::new(),
        }
    }

    fn blame(&mut self, request: &Request, problem: &str) {
        self.faults
            .push(format!("request {}: {problem}", request.number));
    }

    /// All requests and what is recorded of them, for people.
    fn story(&self) -> Vec<String> {
        let mut requests: Vec<_> = self.requests.values().collect();
        requests.sort_by_key(|request| (request.caller, request.number));
        let requests = requests.into_iter().map(|request| {
            let (number, caller, act) = (request.number, request.caller, request.act);
            let by_mail = if request.by_mail { ", by mail" } else { "" };
            let (proof, begun) = (name(&request.proof), request.begun.millis());
            let outcome = match &request.outcome {
                Outcome::NotSent => "found nobody".to_owned(),
                Outcome::Unanswered => "was not answered".to_owned(),
                Outcome::Answered(answer) => {
                    let error = answer.error.as_deref().unwrap_or("without an error");
                    let mailed = if answer.news.mailed { ", mailed" } else { "" };
                    format!("was answered {} {error}{mailed}", answer.status)
                }
            };
            let records = self.records.get(&number).into_iter().flatten();
            let records: Vec<_> = records
                .map(|record| (record.id, &record.action, &record.decision, &record.reason))
                .collect();
            format!(
                "  request {number} at {begun} of account {caller}, {act:?}{by_mail} by {proof}, \
                 {outcome}; recorded: {records:?}"
            )
        });
        requests.collect()
    }

    fn replay(&mut self, accounts: &mut [Account], record: &'a Record) {
        let number = record.agent.as_ref().and_then(|agent| agent.parse().ok());
        let request = number.and_then(|number: u64| self.requests.get(&number).copied());
        let Some(request) = request else {
            let orphan = format!("a record of a request that was not sent: {record:?}");
            self.faults.push(orphan);
            return;
        };
        self.records.entry(request.number).or_default().push(record);
        let caller = &mut accounts[request.caller];
        if caller.person.id != record.caller {
            self.blame(request, &format!("it is recorded for {}", record.caller));
        }
        if record.action == "guess" {
            let told = caller.tell_of_lock();
            if record.told != Some(told) || !caller.may_be_locked() {
                self.blame(request, "it is told of a lock that there is not");
            }
            return;
        }
        if record.action != request.act.action() {
            self.blame(request, &format!("it is recorded as {}", record.action));
        }
        match record.decision.as_str() {
            decision if GRANTED.contains(&decision) => self.replay_grant(accounts, request, record),
            "refused" => self.replay_refusal(caller, request, record),
            "replayed" if caller.is_right(&request.proof) => {
                self.blame(request, "its code was not used before");
            }
            "locked" if !caller.may_be_locked() => {
                self.blame(request, "there were too few failures to lock");
            }
            "replayed" | "locked" => (),
            "failed" => caller.failures.1 += 1,
            other => self.blame(request, &format!("it is recorded as {other}")),
        }
    }

    fn replay_grant(&mut self, accounts: &mut [Account], request: &Request, record: &Record) {
        let proof = match accounts[request.caller].must_prove(request.act) {
            true => recorded_name(&request.proof),
            false => "none",
        };
        if matches!(request.act, Act::Reset(_)) && record.proof.as_deref() != Some(proof) {
            self.blame(
                request,
                &format!("it is recorded as proved by {:?}", record.proof),
            );
        }
        let effect = match perform(accounts, request) {
            Ok(effect) => effect,
            Err(why) => return self.blame(request, &format!("it was done {why}")),
        };
        let Effect { decision, told } = &effect;
        if record.decision != *decision || record.told != *told {
            let recorded = (&record.decision, record.told);
            self.blame(request, &format!("{effect:?} is recorded as {recorded:?}"));
        }
        if let Act::Reset(whom) = request.act {
            let target = match whom {
                Whom::Member(member) => member,
                Whom::Own | Whom::Nobody => request.caller,
            };
            if record.target.as_ref() != Some(&accounts[target].person.id) {
                self.blame(request, &format!("its target is {:?}", record.target));
            }
            let ended = self.resets.entry(target).or_default();
            ended.push(request.ended);
        }
    }

    /// Of a guess that overlaps with a reset of the account nobody knows whether it was counted
    /// before or after that.
    fn replay_refusal(&mut self, caller: &mut Account, request: &Request, record: &Record) {
        let is_about_code = record.reason.as_deref() == Some("totp-invalid");
        let is_disturbed = self.disturbed.contains(&request.caller);
        let is_right = !matches!(request.proof, Proof::None | Proof::Mailed(_));
        let is_right =
            is_right && caller.must_prove(request.act) && caller.is_right(&request.proof);
        if is_about_code && is_right && !is_disturbed {
            self.blame(request, "its code was right");
        }
        if !is_about_code {
            return;
        }
        caller.failures.1 += 1;
        let resets = self.resets.get(&request.caller).into_iter().flatten();
        let overlaps = resets.clone().any(|ended| *ended >= request.begun);
        if matches!(request.proof, Proof::Wrong(_)) && !overlaps {
            caller.failures.0 += 1;
        }
    }

    /// An answer, and what is recorded of its request.
    fn compare_answer(
        &mut self,
        accounts: &mut [Account],
        request: &Request,
        figures: &mut Figures,
    ) {
        let records = self.records.get(&request.number);
        let records = records.cloned().unwrap_or_default();
        let is_guess = |record: &&&Record| record.action == "guess";
        let told = records.iter().filter(is_guess).count();
        let decisions: Vec<_> = records.iter().filter(|r| !is_guess(r)).collect();
        if decisions.len() > 1 || told > 1 {
            self.blame(request, "it is recorded twice");
        }
        let decision = decisions.first();
        let is_done = decision.is_some_and(|r| GRANTED.contains(&r.decision.as_str()));
        let id = request.answer().map(|answer| answer.id.as_str());
        if records
            .iter()
            .any(|record| id.is_some_and(|id| id != record.request_id))
        {
            self.blame(request, "it is recorded as another");
        }
        figures.count(request, decision.map(|record| record.decision.as_str()));
        let caller = &mut accounts[request.caller];
        // Its attempt is counted before anything else is known of it.
        let is_counted_first = match request.act {
            Act::Reset(_) => true,
            Act::LogIn | Act::BeginEnrolment => caller.person.has_mailed_codes,
            _ => false,
        };
        let is_attempt = is_counted_first && request.proof.code().is_some();
        let is_uncounted = decision.is_none() && is_attempt;
        match &request.outcome {
            Outcome::NotSent if decision.is_some() => self.blame(request, "it is recorded"),
            Outcome::NotSent => (),
            Outcome::Unanswered => caller.failures.1 += u32::from(is_uncounted),
            Outcome::Answered(answer) => match answer.status {
                200 if !is_done => self.blame(request, "what it did is not recorded"),
                200 if lacks_news(request) => self.blame(request, "the answer lacks something"),
                200 => (),
                400..=499 if is_done => self.blame(request, "it was done all the same"),
                401 if request.act != Act::LogIn => {
                    let held = request.token.clone().unwrap_or_default();
                    let holds = caller.tokens.contains_key(&token::hash(&held.into()));
                    if holds && !self.disturbed.contains(&request.caller) {
                        self.blame(request, "its token had not ended");
                    }
                }
                400 | 401 if decision.is_none() => self.blame(request, "it is not recorded"),
                400 if matches!(request.act, Act::Reset(_))
                    && decision.and_then(|record| record.reason.as_ref())
                        != answer.error.as_ref() =>
                {
                    self.blame(request, "it is recorded for another reason");
                }
                400 | 401 => (),
                500..=599 if is_done && !self.may_be_unknown => {
                    self.blame(request, "it was done all the same")
                }
                500..=599 => caller.failures.1 += u32::from(is_uncounted),
                _ => self.blame(request, "nothing of the kind is expected"),
            },
        }
    }

    /// What is known of the code that the account was mailed.
    fn expected_code(
        &self,
        account: usize,
        before: Option<(String, Timestamp)>,
        requests: &[Request],
    ) -> Code {
        let mut expected = match before {
            Some((hash, _)) => Code::Same(hash),
            None => Code::None,
        };
        let own = requests
            .iter()
            .filter(|r| r.caller == account && r.was_sent());
        for request in own {
            let records = self.records.get(&request.number).into_iter().flatten();
            let is_done = |record: &&&Record| GRANTED.contains(&record.decision.as_str());
            let is_done = records.filter(is_done).count() > 0;
            let mails = request.answer().is_some_and(|answer| answer.news.mailed);
            let may_mail = request.answer().is_none_or(|answer| answer.status >= 500);
            let asks = matches!(request.proof, Proof::None)
                && matches!(
                    request.act,
                    Act::Reset(_) | Act::LogIn | Act::BeginEnrolment
                );
            expected = match expected {
                _ if is_done && matches!(request.proof, Proof::Mailed(_)) => Code::None,
                _ if mails => Code::Since(request.begun),
                Code::None if may_mail && asks => Code::NoneOrSince(request.begun),
                Code::Same(hash) if may_mail && asks => Code::SameOrSince(hash, request.begun),
                other => other,
            };
        }
        expected
    }
}

/// Which code an account was mailed.
enum Code {
    None,
    /// The one that has this hash.
    Same(String),
    /// One that was sent then, or later.
    Since(Timestamp),
    NoneOrSince(Timestamp),
    SameOrSince(String, Timestamp),
}

impl Code {
    fn compare(&self, profile: &Profile) -> Option<String> {
        let code = profile.mailed_code.as_ref();
        let is_since = |since: &Timestamp| code.is_some_and(|code| code.issued >= *since);
        let is_same = |hash: &String| code.is_some_and(|code| code.hash == *hash);
        let (is_right, expected) = match self {
            Self::None => (code.is_none(), "none"),
            Self::Same(hash) => (is_same(hash), "the one before"),
            Self::Since(since) => (is_since(since), "a new one"),
            Self::NoneOrSince(since) => (code.is_none() || is_since(since), "none or a new one"),
            Self::SameOrSince(hash, since) => (is_same(hash) || is_since(since), "some"),
        };
        let found = code.map(|code| code.issued.millis());
        (!is_right).then(|| {
            format!("as a code by e-mail {expected} is expected; one was sent at {found:?}")
        })
    }
}

fn name(proof: &Proof) -> &'static str {
    match proof {
        Proof::None => "nothing",
        Proof::Step { .. } => "a code",
        Proof::BackupCode(_) => "a backup code",
        Proof::Mailed(_) => "a code by e-mail",
        Proof::Wrong(_) => "a wrong code",
    }
}

/// How the audit trail calls it.
fn recorded_name(proof: &Proof) -> &'static str {
    match proof {
        Proof::None => "none",
        Proof::Step { .. } => "totp",
        Proof::BackupCode(_) => "backup-code",
        Proof::Mailed(_) => "email-code",
        Proof::Wrong(_) => "a wrong code",
    }
}

fn lacks_news(request: &Request) -> bool {
    let news = request.news();
    match request.act {
        Act::LogIn => news.token.is_none(),
        Act::BeginEnrolment => news.key.is_none(),
        Act::ConfirmTotp | Act::ReplaceBackupCodes => news.backup_codes.is_none(),
        Act::Reset(_) | Act::LogOut | Act::DisableTotp | Act::Malformed => false,
    }
}

/// What is not as the account has it, which takes from the profile what it could not know.
fn compare(account: &mut Account, profile: &Profile) -> impl Iterator<Item = String> {
    let problems = [
        compare_factor(account, profile),
        compare_pending(account, profile),
        compare_tokens(account, profile),
        compare_failures(account, profile),
    ];
    problems.into_iter().flatten()
}

fn compare_factor(account: &mut Account, profile: &Profile) -> Option<String> {
    let (known, stored) = match (&mut account.factor, &profile.factor) {
        (None, None) => return None,
        (Some(_), None) => return Some("its factor is gone".to_owned()),
        (None, Some(_)) => return Some("its factor is still there".to_owned()),
        (Some(known), Some(stored)) => (known, stored),
    };
    if known.key.expose() != stored.key.expose() {
        return Some("its key is another".to_owned());
    }
    if known.last_step != stored.last_step {
        let (known, stored) = (known.last_step, stored.last_step);
        return Some(format!("the last step is {stored:?} instead of {known:?}"));
    }
    let live = stored
        .backup_code_hashes
        .iter()
        .map(|hash| (hash.clone(), false));
    let spent = stored
        .spent_code_hashes
        .iter()
        .map(|hash| (hash.clone(), true));
    let stored: BTreeMap<_, _> = live.chain(spent).collect();
    match &known.backup_codes {
        BackupCodes::Unseen => {
            let codes = stored.into_iter().map(|(hash, is_spent)| {
                let plain = None;
                (hash, BackupCode { plain, is_spent })
            });
            known.backup_codes = BackupCodes::Known(codes.collect());
            None
        }
        BackupCodes::Known(codes) => {
            let codes = codes
                .iter()
                .map(|(hash, code)| (hash.clone(), code.is_spent));
            let is_same = codes.collect::<BTreeMap<_, _>>() == stored;
            (!is_same).then(|| "its backup codes are others".to_owned())
        }
    }
}

fn compare_pending(account: &mut Account, profile: &Profile) -> Option<String> {
    match (&account.pending, &profile.pending_key) {
        (Pending::None, None) => None,
        (Pending::None, Some(_)) => Some("a key still waits to be proved".to_owned()),
        (_, None) => Some("the key that waits to be proved is gone".to_owned()),
        (Pending::Key(known, _), Some(stored)) => {
            let is_same = known.expose() == stored.key.expose();
            (!is_same).then(|| "another key waits to be proved".to_owned())
        }
        (Pending::Unseen, Some(stored)) => {
            let shown = stored
                .expires
                .before(chat_domain::member::PENDING_KEY_LIFETIME);
            account.pending = Pending::Key(stored.key.clone(), shown);
            None
        }
    }
}

fn compare_tokens(account: &mut Account, profile: &Profile) -> Option<String> {
    let stored: BTreeMap<_, _> = profile.tokens.iter().map(|t| (&t.hash, t)).collect();
    let gone = account
        .tokens
        .keys()
        .filter(|hash| !stored.contains_key(hash));
    let gone = gone.count();
    let more: Vec<_> = stored
        .values()
        .filter(|token| !account.tokens.contains_key(&token.hash))
        .collect();
    if gone > 0 || more.len() != account.unseen_tokens {
        let (more, unseen) = (more.len(), account.unseen_tokens);
        return Some(format!(
            "{gone} tokens are gone, and {more} there that nobody knows, instead of {unseen}"
        ));
    }
    for token in more {
        let held = Held {
            plain: None,
            is_session: token.expires.is_some(),
        };
        account.tokens.insert(token.hash.clone(), held);
    }
    account.unseen_tokens = 0;
    None
}

fn compare_failures(account: &mut Account, profile: &Profile) -> Option<String> {
    let (least, most) = account.failures;
    let stored = profile.failures.count;
    account.failures = (stored, stored);
    let is_counted = (least..=most).contains(&stored);
    (!is_counted).then(|| format!("{stored} failures are counted, and not {least} to {most}"))
}

impl Mails {
    /// Notes what waits, and what arrived meanwhile. A notice that does neither is lost.
    fn note(
        &mut self,
        outbox: &[Queued],
        arrived: &[Arrived],
        figures: &mut Figures,
    ) -> Vec<String> {
        for mail in arrived {
            let key = (mail.recipient.clone(), mail.subject.clone());
            let times = self.see(&mail.message_id, key, mail.code.is_some());
            *times += 1;
            figures.arrived += 1;
            figures.arrived_again += u64::from(*times > 1);
            if let Some(code) = &mail.code {
                let place = (
                    mail.recipient.clone(),
                    code_hash(code),
                    mail.message_id.clone(),
                );
                self.codes.insert(place);
            }
        }
        let mut waiting = HashSet::new();
        for mail in outbox {
            let key = (mail.recipient.clone(), mail.subject.clone());
            self.see(&mail.message_id, key, mail.holds_code);
            if !mail.holds_code {
                waiting.insert(mail.message_id.clone());
            }
        }
        let lost = self.waiting.difference(&waiting);
        let lost = lost.filter(|id| self.seen.get(*id).is_none_or(|times| *times == 0));
        let lost = lost.map(|id| format!("the notice {id} waits no more, and did not arrive"));
        let lost = lost.collect();
        figures.notices = self.notices.values().sum();
        figures.waiting = waiting.len();
        self.waiting = waiting;
        lost
    }

    /// How often the mail arrived.
    fn see(&mut self, id: &str, key: (String, String), holds_code: bool) -> &mut usize {
        if !self.seen.contains_key(id) && !holds_code {
            *self.notices.entry(key).or_default() += 1;
        }
        self.seen.entry(id.to_owned()).or_default()
    }

    /// Every account was told exactly as often as it had to be, at each address that is
    /// verified and at no other; and its code by e-mail waits for each, or arrived there.
    fn compare(&self, accounts: &[Account], look: &Look) -> Vec<String> {
        let mut faults = Vec::new();
        let mut expected = 0;
        for (account, profile) in accounts.iter().zip(&look.profiles) {
            for address in &account.person.verified {
                for subject in SUBJECTS {
                    let key = (address.clone(), subject.to_owned());
                    let told = self.notices.get(&key).copied().unwrap_or_default();
                    let due = account.notices.get(subject).copied().unwrap_or_default();
                    expected += due;
                    if told != due {
                        faults.push(format!(
                            "{address}: {told} notices \"{subject}\", not {due}"
                        ));
                    }
                }
                let code = profile.mailed_code.as_ref();
                let mails = code.map_or(1, |code| {
                    let waits = look.outbox.iter().filter(|mail| {
                        let is_it = mail.holds_code && mail.queued == code.issued;
                        is_it && mail.recipient == *address
                    });
                    let waits = waits.map(|mail| mail.message_id.as_str());
                    let came = self
                        .codes
                        .iter()
                        .filter(|(recipient, hash, _)| recipient == address && *hash == code.hash);
                    let came = came.map(|(_, _, id)| id.as_str());
                    waits.chain(came).collect::<HashSet<_>>().len()
                });
                if mails != 1 {
                    faults.push(format!("{address}: {mails} mails with the code, not 1"));
                }
            }
        }
        let all: usize = self.notices.values().sum();
        if all != expected && faults.is_empty() {
            faults.push(format!("{all} notices, and {expected} were due"));
        }
        faults
    }
}
