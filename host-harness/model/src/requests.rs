//! Requests made of chance, and what a host does about each: it begins the attempt,
//! compares what must be compared, and gives the order. Whatever the rules must check
//! themselves is not checked here: a code that is entered is claimed to be right, as a
//! plugin that was taken over would.

use crate::acme::{access, acme, here, key, now, record_of, session};
use crate::laws::{Deed, Ledger, Seen};
use crate::model::{Model, Workspace};
use bolero::TypeGenerator;
use bolero::generator::produce;
use chat_domain::account::{Caller, Profile, TotpFactor};
use chat_domain::attempts::{
    Attempt, BeginEmailAttempt, BeginPasswordAttempt, BeginTotpAttempt, FREE_FAILURES, Needed,
};
use chat_domain::audit::{Action, AuditRecord};
use chat_domain::mailed_code::{EmailCode, SendEmailCode};
use chat_domain::member::{self, Authority, Code, Denial, MemberChange};
use chat_domain::operator::{ChangeUser, Operation, SetSetting, UserChange};
use chat_domain::order::Order;
use chat_domain::proof::{Proof, Tried};
use chat_domain::reset::{RefuseReset, Reset, Target};
use chat_domain::settings::Setting;
use chat_domain::standing::LogOut;
use chat_domain::time::Timestamp;
use chat_domain::totp::{TotpKey, code_hash, step_of};
use secrecy::{ExposeSecret, SecretString};
use std::collections::VecDeque;
use std::fmt::Debug;

/// A workspace's settings, and what is asked of it.
#[derive(Clone, Debug, TypeGenerator)]
pub struct Case {
    /// Who asks most often, and whether they may reset others.
    #[generator(0..4u8)]
    hero: u8,
    #[generator(0..4u8)]
    permitted: u8,
    #[generator(produce::<Vec<Switch>>().with().len(0..4usize))]
    settings: Vec<Switch>,
    #[generator(produce::<Vec<Request>>().with().len(0..56usize))]
    requests: Vec<Request>,
}

#[derive(Clone, Debug, TypeGenerator)]
enum Request {
    Reset(Held, Whom, Entered),
    Act(Held, Act, Entered),
    /// What is next for the account: to begin, to confirm, to disable.
    Enrol(Held, Entered),
    Operate(Who, Intervention),
    Wait(Wait),
    Rare(Rare),
}

#[derive(Clone, Debug, TypeGenerator)]
enum Rare {
    /// Is committed by a [`Rare::Commit`] after it.
    BeginReset(Held, Whom, Entered),
    Commit,
    /// An attempt that comes to nothing.
    Attempt(Who, Entered),
    SendCode(Who),
    LogOut(Held),
    Configure(Switch),
}

/// An account: more often than not the hero of the case.
#[derive(Clone, Copy, Debug, TypeGenerator)]
struct Who(#[generator(0..12u8)] u8);

/// An account, and which token it says to hold.
#[derive(Clone, Copy, Debug, TypeGenerator)]
struct Held {
    who: Who,
    #[generator(0..24u8)]
    token: u8,
}

/// The caller, another, and now and then somebody who cannot be reset.
#[derive(Clone, Copy, Debug, TypeGenerator)]
struct Whom {
    #[generator(0..12u8)]
    kind: u8,
    who: Who,
}

/// What is entered as a second factor: mostly what is right.
#[derive(Clone, Copy, Debug, TypeGenerator)]
struct Entered {
    #[generator(0..12u8)]
    kind: u8,
    odd: Odd,
}

/// What is right at times, or never.
#[derive(Clone, Copy, Debug, TypeGenerator)]
enum Odd {
    Now,
    Step(Distance),
    /// The code of one step, said to be that of another.
    Misplaced(Distance),
    AnothersStep,
    /// What was accepted last.
    Spent,
    Backup(#[generator(0..6u8)] u8),
    Mailed,
    /// The code that was sent before the last.
    MailedBefore,
    Password,
    AnothersPassword,
    Digits(#[generator(0..1_000_000u32)] u32),
    Nothing,
}

/// Time steps from now.
#[derive(Clone, Copy, Debug, TypeGenerator)]
struct Distance(#[generator(-3..=3i8)] i8);

#[derive(Clone, Copy, Debug, TypeGenerator)]
enum Act {
    LogIn,
    LogInByPassword,
    BeginEnrolment,
    ConfirmTotp,
    DisableTotp,
    ReplaceBackupCodes,
}

#[derive(Clone, Copy, Debug, TypeGenerator)]
enum Wait {
    Millisecond,
    Step,
    Minutes(#[generator(1..=3u8)] u8),
    Hour,
    /// The clock is set back.
    Back(#[generator(1..=4u8)] u8),
}

/// What an operator does.
#[derive(Clone, Copy, Debug, TypeGenerator)]
enum Intervention {
    SetPassword,
    EnrolTotp,
    ReplaceBackupCodes,
    ResetTotp,
    Unlock,
    Activate,
    Deactivate,
    GiveRole,
    TakeRole,
    CreateToken(bool),
    RevokeAllTokens,
}

#[derive(Clone, Copy, Debug, TypeGenerator)]
enum Switch {
    TwoFactor(bool),
    Totp(bool),
    Window(#[generator(0..=2u8)] u8),
    Email(bool),
    EmailFailures(#[generator(1..=5u8)] u8),
    PasswordFallback(bool),
    MissingFactor(bool),
    BypassToken(bool),
}

/// The host, with everything that must be remembered to judge it.
pub(crate) struct Host<'a> {
    hero: u8,
    model: Model,
    ledger: Ledger<'a>,
    now: Timestamp,
    begun: VecDeque<Reset>,
    /// Makes keys, codes and tokens that are new.
    made: u32,
}

impl Case {
    /// Does what is asked, and holds every deed to the laws.
    ///
    /// # Panics
    ///
    /// When one breaks a law.
    pub fn run(&self, seen: &Seen) {
        let mut host = Host {
            hero: self.hero,
            model: Model::new("acme", acme()),
            ledger: Ledger::new(&acme(), seen),
            now: now(),
            begun: VecDeque::new(),
            made: 0,
        };
        if self.permitted > 0 {
            host.operate(host.id(Who(0)), Intervention::GiveRole);
        }
        for switch in &self.settings {
            host.configure(*switch);
        }
        for request in &self.requests {
            host.handle(request);
        }
    }
}

impl Host<'_> {
    fn handle(&mut self, request: &Request) {
        match *request {
            Request::Reset(held, whom, entered) => {
                if let Some(order) = self.begin_reset(held, whom, entered) {
                    self.commit(&order);
                }
            }
            Request::Act(held, act, entered) => self.act(held, act, entered),
            Request::Enrol(held, entered) => {
                let account = self.account(self.id(held.who));
                let next = match (&account.factor, &account.pending_key) {
                    (Some(_), _) => Act::DisableTotp,
                    (None, Some(_)) => Act::ConfirmTotp,
                    (None, None) => Act::BeginEnrolment,
                };
                self.act(held, next, entered);
            }
            Request::Operate(who, deed) => self.operate(self.id(who), deed),
            Request::Wait(wait) => self.now = wait.after(self.now),
            Request::Rare(ref rare) => self.handle_rare(rare),
        }
    }

    fn handle_rare(&mut self, request: &Rare) {
        match *request {
            Rare::BeginReset(held, whom, entered) => {
                let order = self.begin_reset(held, whom, entered);
                self.begun.extend(order);
            }
            Rare::Commit => {
                if let Some(order) = self.begun.pop_front() {
                    self.commit(&order);
                }
            }
            // Whoever guesses does it more than once.
            Rare::Attempt(who, entered) => {
                let proof = self.proof(self.id(who), entered, None);
                for _ in 0..=FREE_FAILURES {
                    self.begin(self.id(who), &proof);
                }
            }
            Rare::SendCode(who) => self.send_code(self.id(who)),
            Rare::LogOut(held) => {
                let caller = self.caller(held);
                let record = self.record(Action::LogOut, &caller.id);
                let order = LogOut { caller, record };
                self.ask(&order, |()| Deed::LogOut(order.caller.clone()));
            }
            Rare::Configure(switch) => self.configure(switch),
        }
    }

    /// Gives an order, and judges what became of it.
    fn ask<O>(&mut self, order: &O, deed: impl FnOnce(&O::Answer) -> Deed) -> O::Answer
    where
        O: Order,
        O::Answer: Debug,
    {
        let before = self.model.workspace("acme").clone();
        let (answer, _) = self.model.ask(order);
        let after = self.model.workspace("acme");
        self.ledger.judge(&before, after, &deed(&answer));
        answer
    }

    fn account(&self, id: &str) -> &Profile {
        self.model.workspace("acme").account(id)
    }

    fn workspace(&self) -> &Workspace {
        self.model.workspace("acme")
    }

    /// The order, where its attempt was begun.
    fn begin_reset(&mut self, held: Held, whom: Whom, entered: Entered) -> Option<Reset> {
        let id = self.id(held.who);
        self.log_in_again(held);
        self.send_code_for(id, entered);
        let proof = self.proof(id, entered, None);
        let is_begun = self.begin(id, &proof);
        is_begun.then(|| Reset {
            workspace: "acme".to_owned(),
            caller: self.caller(held),
            proof,
            target: match whom.kind {
                0..=3 => Target::Caller,
                4..=9 => Target::User(self.id(whom.who).to_owned()),
                10 => Target::User("fred".to_owned()),
                _ => Target::User("nobody".to_owned()),
            },
            now: self.now,
            request_id: "request".to_owned(),
            source: here(),
        })
    }

    fn record(&self, action: Action, caller: &str) -> AuditRecord {
        AuditRecord {
            at: self.now,
            action,
            ..record_of(caller)
        }
    }

    fn commit(&mut self, order: &Reset) {
        let answer = self.ask(order, |answer| Deed::Reset(order.clone(), *answer));
        if answer.is_err() {
            self.refuse(order);
        }
    }

    /// Whatever it is refused for.
    fn refuse(&mut self, order: &Reset) {
        let refused = RefuseReset {
            record: AuditRecord {
                at: order.now,
                ..self.record(Action::ResetTotp, &order.caller.id)
            },
            tried: match &order.proof {
                Proof::TotpStep { code, .. } | Proof::BackupCode(code) => {
                    Some(Tried::Totp(code.clone()))
                }
                Proof::EmailCode(code) => Some(Tried::Email(code.clone())),
                Proof::Password(hash) => Some(Tried::Password(Some(hash.clone()))),
                Proof::None => None,
            },
        };
        self.ask(&refused, |()| Deed::RefusedReset {
            refused: refused.clone(),
            proof: order.proof.clone(),
        });
    }

    /// Whether the proof may be tried.
    fn begin(&mut self, id: &str, proof: &Proof) -> bool {
        let (workspace, user, now) = ("acme".to_owned(), id.to_owned(), self.now);
        let deed = |begun| Deed::Attempt {
            user: id.to_owned(),
            now,
            begun,
        };
        match proof {
            Proof::TotpStep { .. } | Proof::BackupCode(_) => {
                let order = BeginTotpAttempt {
                    workspace,
                    user,
                    needed: Needed::Everything,
                    now,
                };
                is_begun(&self.ask(&order, |attempt| deed(is_begun(attempt))))
            }
            Proof::EmailCode(_) => {
                let order = BeginEmailAttempt {
                    workspace,
                    user,
                    now,
                };
                is_begun(&self.ask(&order, |attempt| deed(is_begun(attempt))))
            }
            Proof::Password(_) => {
                let order = BeginPasswordAttempt {
                    workspace,
                    user,
                    now,
                };
                is_begun(&self.ask(&order, |attempt| deed(is_begun(attempt))))
            }
            Proof::None => true,
        }
    }

    fn act(&mut self, held: Held, act: Act, entered: Entered) {
        let id = self.id(held.who);
        self.log_in_again(held);
        self.send_code_for(id, entered);
        let account = self.account(id);
        let pending = account.pending_key.as_ref();
        let pending = pending.filter(|_| matches!(act, Act::ConfirmTotp));
        let pending = pending.map(|pending| pending.key.clone());
        let proof = self.proof(id, entered, pending);
        let change = MemberChange {
            workspace: "acme".to_owned(),
            user: id.to_owned(),
            authority: match act {
                Act::LogInByPassword => Authority::Password(password_of(self.account(id))),
                _ => Authority::Token(self.caller(held).token_hash),
            },
            act: self.member_act(act),
            code: self.code(id, proof),
            now: self.now,
            request_id: "request".to_owned(),
            source: here(),
        };
        let issued = self.codes();
        let _ = self.ask(&change, |answer| Deed::Change {
            change: change.clone(),
            answer: *answer,
            issued,
        });
        self.made += 1;
    }

    fn member_act(&self, act: Act) -> member::Act {
        let backup_code_hashes = || self.codes().iter().map(|code| code_hash(code)).collect();
        match act {
            Act::LogIn | Act::LogInByPassword => member::Act::LogIn(session(
                &format!("token-{}", self.made),
                self.now + std::time::Duration::from_secs(3600),
            )),
            Act::BeginEnrolment => member::Act::BeginEnrolment(self.new_key()),
            Act::ConfirmTotp => member::Act::ConfirmTotp {
                backup_code_hashes: backup_code_hashes(),
            },
            Act::DisableTotp => member::Act::DisableTotp,
            Act::ReplaceBackupCodes => member::Act::ReplaceBackupCodes {
                backup_code_hashes: backup_code_hashes(),
            },
        }
    }

    /// The proof as a code that is entered. A password is compared, and counted before.
    fn code(&mut self, id: &str, proof: Proof) -> Option<Code> {
        let begun = match &proof {
            Proof::Password(_) => self.begin(id, &proof),
            _ => true,
        };
        let settings = &self.workspace().settings;
        let lock = self.account(id).failures.why_locked(settings, self.now);
        match proof {
            Proof::TotpStep { code, .. } | Proof::BackupCode(code) => Some(Code::Totp(code)),
            Proof::EmailCode(code) => Some(Code::Email(code)),
            Proof::Password(hash) if begun => {
                let right = password_of(self.account(id)).expose_secret() == hash.expose_secret();
                Some(Code::Password(
                    right.then_some(hash).ok_or(Denial::WrongCode),
                ))
            }
            Proof::Password(_) => lock.map(|lock| Code::Password(Err(Denial::Locked(lock)))),
            Proof::None => None,
        }
    }

    /// Whoever was shut out is let in again, mostly.
    fn log_in_again(&mut self, held: Held) {
        let id = self.id(held.who);
        if self.account(id).deactivated && held.token > 2 {
            self.operate(id, Intervention::Activate);
        }
        let valid = self
            .account(id)
            .tokens
            .iter()
            .filter(|token| token.is_valid(self.now));
        if valid.count() == 0 && held.token > 2 {
            self.operate(id, Intervention::CreateToken(false));
        }
    }

    /// A host sends the code that it asks for.
    fn send_code_for(&mut self, id: &str, entered: Entered) {
        if entered.is_right() && self.account(id).email_two_factor {
            self.send_code(id);
        }
    }

    fn send_code(&mut self, id: &str) {
        let code = format!("{:06}", 100_000 + self.made);
        let order = SendEmailCode {
            workspace: "acme".to_owned(),
            user: id.to_owned(),
            code: code.clone().into(),
            now: self.now,
        };
        let now = self.now;
        self.ask(&order, |answer| Deed::SendCode {
            user: id.to_owned(),
            code: match answer {
                EmailCode::Sent { expires } => Some((code, *expires)),
                _ => None,
            },
            now,
        });
        self.made += 1;
    }

    fn operate(&mut self, id: &str, deed: Intervention) {
        let codes = self.codes();
        let backup_code_hashes = codes.iter().map(|code| code_hash(code)).collect();
        let change = ChangeUser {
            operation: self.operation(),
            user: id.to_owned(),
            change: match deed {
                Intervention::SetPassword => {
                    UserChange::SetPassword(format!("password-{}", self.made).into())
                }
                Intervention::EnrolTotp => UserChange::EnrolTotp(TotpFactor {
                    key: self.new_key(),
                    last_step: None,
                    backup_code_hashes,
                    spent_code_hashes: Vec::new(),
                }),
                Intervention::ReplaceBackupCodes => {
                    UserChange::ReplaceBackupCodes { backup_code_hashes }
                }
                Intervention::ResetTotp => UserChange::ResetTotp,
                Intervention::Unlock => UserChange::Unlock,
                Intervention::Activate => UserChange::Activate,
                Intervention::Deactivate => UserChange::Deactivate,
                Intervention::GiveRole => UserChange::GiveRole("admin".to_owned()),
                Intervention::TakeRole => UserChange::TakeRole("admin".to_owned()),
                Intervention::CreateToken(bypass) => {
                    let name = format!("token-{}", self.made);
                    UserChange::CreateToken(access(&name, &name, bypass))
                }
                Intervention::RevokeAllTokens => UserChange::RevokeAllTokens,
            },
        };
        let _ = self.ask(&change, |answer| Deed::Operation {
            change: change.clone(),
            done: answer.is_ok(),
            issued: codes,
        });
        self.made += 1;
    }

    fn configure(&mut self, switch: Switch) {
        let (name, value) = match switch {
            Switch::TwoFactor(on) => ("two-factor-enabled", on.to_string()),
            Switch::Totp(on) => ("totp-enabled", on.to_string()),
            Switch::Window(steps) => ("totp-window", steps.to_string()),
            Switch::Email(on) => ("email-enabled", on.to_string()),
            Switch::EmailFailures(number) => ("email-code-failures", number.to_string()),
            Switch::PasswordFallback(on) => ("password-fallback", on.to_string()),
            Switch::MissingFactor(on) => ("missing-factor-allowed", on.to_string()),
            Switch::BypassToken(on) => ("bypass-token-allowed", on.to_string()),
        };
        let order = SetSetting {
            operation: self.operation(),
            setting: Setting::named(name).unwrap(),
            value: value.into(),
        };
        let _ = self.ask(&order, |_| Deed::Setting);
    }

    /// What is claimed to be proved; `shown` is the key whose codes are entered, where
    /// it is not the factor's.
    fn proof(&self, id: &str, entered: Entered, shown: Option<TotpKey>) -> Proof {
        let factor = |id: &str| self.account(id).factor.as_ref().map(|f| f.key.clone());
        let own = || {
            shown
                .clone()
                .or(factor(id))
                .unwrap_or_else(|| key("nobody"))
        };
        let step = |distance: i8| step_of(self.now).saturating_add_signed(distance.into());
        let code = |key: TotpKey, of: u64, said: u64| Proof::TotpStep {
            step: said,
            code: key.code(of).into(),
        };
        let another = if id == "admin" { "alice" } else { "admin" };
        let odd = match entered.kind {
            7 => Odd::Spent,
            _ if !entered.is_right() => entered.odd,
            _ if shown.is_some() => Odd::Now,
            kind => self.right(id, kind % 2 == 0),
        };
        match odd {
            Odd::Now => code(own(), step(0), step(0)),
            Odd::Step(Distance(distance)) => code(own(), step(distance), step(distance)),
            Odd::Misplaced(Distance(distance)) => code(own(), step(distance), step(0)),
            Odd::AnothersStep => {
                let key = factor(another).unwrap_or_else(|| key("nobody"));
                code(key, step(0), step(0))
            }
            Odd::Spent => self.ledger.last_accepted(id),
            Odd::Backup(number) => Proof::BackupCode(self.ledger.backup_code(id, number).into()),
            Odd::Mailed => Proof::EmailCode(self.ledger.mailed_code(id, 1).into()),
            Odd::MailedBefore => Proof::EmailCode(self.ledger.mailed_code(id, 2).into()),
            Odd::Password => Proof::Password(password_of(self.account(id))),
            Odd::AnothersPassword => Proof::Password(password_of(self.account(another))),
            Odd::Digits(digits) => Proof::TotpStep {
                step: step(0),
                code: format!("{digits:06}").into(),
            },
            Odd::Nothing => Proof::None,
        }
    }

    /// What is right for the account, if anything is.
    fn right(&self, id: &str, by_code: bool) -> Odd {
        let (account, settings) = (self.account(id), &self.workspace().settings);
        let unspent = self.ledger.unspent(id);
        match (&account.factor, unspent) {
            _ if by_code && !settings.two_factor_enabled => Odd::Nothing,
            (Some(_), Some(number)) if !by_code && settings.totp_enabled => Odd::Backup(number),
            (Some(_), _) if settings.totp_enabled => Odd::Now,
            _ if account.email_two_factor && settings.email_enabled => Odd::Mailed,
            _ if account.password_hash.is_some() => Odd::Password,
            _ => Odd::Nothing,
        }
    }

    fn caller(&self, held: Held) -> Caller {
        let id = self.id(held.who);
        let own = &self.account(id).tokens;
        let place = usize::from(held.token) % own.len().max(1);
        let hash = match held.token {
            0 if id == "admin" => "alice-access",
            0 => "admin-access",
            1 => "nonesuch",
            _ => own
                .get(place)
                .map_or("nonesuch", |token| token.hash.as_str()),
        };
        let mut tokens = self.workspace().accounts.values().flat_map(|a| &a.tokens);
        let bypass_token = tokens.any(|token| token.hash == hash && token.bypass_two_factor);
        Caller {
            id: id.to_owned(),
            token_hash: hash.to_owned(),
            bypass_token,
        }
    }

    fn id(&self, who: Who) -> &'static str {
        const ALL: [&str; 5] = ["admin", "alice", "bob", "cora", "nell"];
        let place = who.0.checked_sub(7).unwrap_or(self.hero);
        ALL.get(usize::from(place)).unwrap()
    }

    fn operation(&self) -> Operation {
        Operation {
            workspace: "acme".to_owned(),
            now: self.now,
            request_id: "request".to_owned(),
            forced: self.made.is_multiple_of(2),
        }
    }

    fn new_key(&self) -> TotpKey {
        key(&format!("key-{}", self.made))
    }

    /// Backup codes that nobody has.
    fn codes(&self) -> Vec<String> {
        let letter = |digit: char| char::from(b'a' + digit as u8 - b'0');
        let code = |n| format!("{:07}{n}", self.made).chars().map(letter).collect();
        (1..=3).map(code).collect()
    }
}

impl Entered {
    fn is_right(self) -> bool {
        self.kind < 7
    }
}

impl Wait {
    fn after(self, now: Timestamp) -> Timestamp {
        let seconds = match self {
            Self::Millisecond => return Timestamp::from_millis(now.millis() + 1),
            Self::Step => 30,
            Self::Minutes(minutes) => 60 * i64::from(minutes),
            Self::Hour => 3600,
            Self::Back(steps) => -30 * i64::from(steps),
        };
        Timestamp::from_millis(now.millis() + 1000 * seconds)
    }
}

fn is_begun<F>(attempt: &Attempt<F>) -> bool {
    matches!(attempt, Attempt::Begun(_))
}

fn password_of(profile: &Profile) -> SecretString {
    let none = || SecretString::from("none");
    profile.password_hash.clone().unwrap_or_else(none)
}
