//! Laws that no sequence of requests may break, judged from what was before and after
//! each deed, and from a ledger of what was issued and what was spent that knows
//! nothing of the rules.

use crate::acme::BACKUP_CODES;
use crate::model::Workspace;
use crate::text;
use chat_domain::account::{Caller, Profile};
use chat_domain::audit::Action;
use chat_domain::member::{Act, Authority, Code, Denial, MemberChange};
use chat_domain::operator::{ChangeUser, UserChange};
use chat_domain::outbox::StoredMail;
use chat_domain::proof::Proof;
use chat_domain::reset::{Receipt, Refusal, RefuseReset, Reset, Target};
use chat_domain::settings::Settings;
use chat_domain::time::Timestamp;
use chat_domain::totp::{code_hash, step_of};
use secrecy::ExposeSecret;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Mutex;

/// What an order did, with all that is needed to judge it.
pub(crate) enum Deed {
    Attempt {
        user: String,
        now: Timestamp,
        begun: bool,
    },
    Reset(Reset, Result<Receipt, Refusal>),
    /// The record of a request of this proof that was refused.
    RefusedReset {
        refused: RefuseReset,
        proof: Proof,
    },
    Change {
        change: MemberChange,
        answer: Result<(), Denial>,
        /// The backup codes, where it gives any.
        issued: Vec<String>,
    },
    SendCode {
        user: String,
        /// The code, where it was sent, and when it ends.
        code: Option<(String, Timestamp)>,
        now: Timestamp,
    },
    LogOut(Caller),
    Operation {
        change: ChangeUser,
        done: bool,
        issued: Vec<String>,
    },
    Setting,
}

/// How often what is worth judging happened.
#[derive(Default)]
pub struct Seen(Mutex<BTreeMap<&'static str, u32>>);

impl Seen {
    fn note(&self, what: &'static str) {
        *self.0.lock().unwrap().entry(what).or_default() += 1;
    }

    /// # Panics
    ///
    /// When something did not happen often enough for a law to mean anything.
    pub fn enough(&self) {
        let seen = self.0.lock().unwrap();
        for what in [
            "a reset of another's factor",
            "a reset of one's own factor",
            "a reset of nothing",
            "a reset by an excuse",
            "a reset that was refused",
            "a reset by a code that was replayed",
            "a TOTP code was accepted",
            "a backup code was accepted",
            "a code by e-mail was accepted",
            "a password was accepted",
            "a code that was spent was refused",
            "an attempt was begun",
            "an attempt of a locked account",
            "a code of a locked account was refused",
            "a code was sent",
            "a log-in",
            "an enrolment was begun",
            "an enrolment was confirmed",
            "a factor was disabled",
            "backup codes were replaced",
            "a change was refused",
            "an operator changed an account",
            "failures were forgotten",
            "an attempt was no guess",
        ] {
            let times = seen.get(what).copied().unwrap_or_default();
            assert!(times >= 10, "{what}: {times} times; all: {seen:#?}");
        }
    }
}

/// What was issued to each account, and what became of it.
pub(crate) struct Ledger<'a> {
    seen: &'a Seen,
    /// The highest step that was accepted of each key.
    steps: BTreeMap<Vec<u8>, u64>,
    /// All backup codes that an account was ever given, and whether each can be used.
    backup_codes: BTreeMap<String, Vec<(String, bool)>>,
    /// All codes that an account was ever sent, and until when each can be used.
    mailed: BTreeMap<String, Vec<(String, Option<Timestamp>)>>,
    accepted: BTreeMap<String, Proof>,
}

type Fields = BTreeMap<&'static str, String>;

impl<'a> Ledger<'a> {
    pub(crate) fn new(workspace: &Workspace, seen: &'a Seen) -> Self {
        let enrolled = workspace.accounts.values().filter(|a| a.factor.is_some());
        let codes = || BACKUP_CODES.map(|code| (code.to_owned(), true)).to_vec();
        Self {
            seen,
            steps: BTreeMap::new(),
            backup_codes: enrolled.map(|a| (a.user.id.clone(), codes())).collect(),
            mailed: BTreeMap::new(),
            accepted: BTreeMap::new(),
        }
    }

    /// What was accepted last of this account's.
    pub(crate) fn last_accepted(&self, id: &str) -> Proof {
        self.accepted.get(id).cloned().unwrap_or(Proof::None)
    }

    /// One of the last six backup codes that the account was given.
    pub(crate) fn backup_code(&self, id: &str, number: u8) -> &str {
        let given = self.backup_codes.get(id).into_iter().flatten().rev();
        let code = given.map(|(code, _)| code).nth(number.into());
        code.map_or("nonesuch", String::as_str)
    }

    /// A backup code that was not used, by its number for [`Ledger::backup_code`].
    pub(crate) fn unspent(&self, id: &str) -> Option<u8> {
        let given = self.backup_codes.get(id).into_iter().flatten().rev();
        let mut usable = given.map(|(_, usable)| usable);
        u8::try_from(usable.position(|usable| *usable)?).ok()
    }

    /// The last code that the account was sent is 1.
    pub(crate) fn mailed_code(&self, id: &str, last: usize) -> &str {
        let sent = self.mailed.get(id).into_iter().flatten().rev();
        let code = sent.map(|(code, _)| code).nth(last - 1);
        code.map_or("000000", String::as_str)
    }

    /// # Panics
    ///
    /// When a law is broken.
    pub(crate) fn judge(&mut self, before: &Workspace, after: &Workspace, deed: &Deed) {
        let proved = self.proved(before, deed);
        no_factor_is_lost_without_a_proof(before, after, deed);
        failures_are_forgotten_by_a_proof_or_with_the_factor(
            before, after, deed, proved, self.seen,
        );
        a_locked_account_accepts_nothing(before, deed, self.seen);
        nothing_changes_but_what_is_named(before, after, deed);
        every_decision_is_recorded(before, after, deed);
        every_change_of_an_authenticator_is_told(before, after);
        if let Deed::Reset(order, Ok(Receipt::Removed)) = deed {
            what_a_reset_leaves(before, after, order);
        }
        self.enter(after, deed);
    }

    /// Whether a proof was accepted, which must be right and unspent; it is spent now.
    fn proved(&mut self, before: &Workspace, deed: &Deed) -> bool {
        match deed {
            Deed::Reset(order, Ok(_)) => {
                let caller = before.account(&order.caller.id);
                self.authenticated(
                    before,
                    &order.caller.id,
                    &order.caller.token_hash,
                    order.now,
                );
                if let Target::User(target) = &order.target {
                    assert!(
                        may_reset(before, caller),
                        "{} may not reset",
                        order.caller.id
                    );
                    assert!(!before.account(target).user.federated);
                }
                if matches!(order.proof, Proof::None) {
                    let bypass = token_of(caller, &order.caller.token_hash).is_some_and(|t| t.1);
                    assert!(is_excused(&before.settings, caller, bypass), "no excuse");
                    self.seen.note("a reset by an excuse");
                    return false;
                }
                self.accept(before, caller, &order.proof, order.now);
                true
            }
            Deed::Reset(order, Err(refusal)) => {
                self.refused(&order.caller.id, &order.proof);
                self.seen.note("a reset that was refused");
                if *refusal == Refusal::Replayed {
                    self.seen.note("a reset by a code that was replayed");
                }
                false
            }
            Deed::Change {
                change,
                answer: Ok(()),
                ..
            } => self.changed(before, change),
            Deed::Change { change, .. } => {
                self.seen.note("a change was refused");
                if let Some(Code::Totp(code)) = &change.code {
                    let (step, code) = (step_of(change.now), code.clone());
                    let proof = Proof::TotpStep { step, code };
                    self.refused(&change.user, &proof);
                }
                false
            }
            _ => false,
        }
    }

    fn refused(&self, id: &str, proof: &Proof) {
        let text = |proof: &Proof| match proof {
            Proof::TotpStep { code, .. } | Proof::BackupCode(code) | Proof::EmailCode(code) => {
                Some(code.expose_secret().to_owned())
            }
            Proof::Password(_) | Proof::None => None,
        };
        let spent = self.accepted.get(id).and_then(text);
        if spent.is_some() && spent == text(proof) {
            self.seen.note("a code that was spent was refused");
        }
    }

    fn changed(&mut self, before: &Workspace, change: &MemberChange) -> bool {
        let (settings, profile) = (&before.settings, before.account(&change.user));
        match &change.authority {
            Authority::Token(hash) => self.authenticated(before, &change.user, hash, change.now),
            Authority::Password(hash) => {
                let stored = profile.password_hash.as_ref().unwrap();
                assert_eq!(stored.expose_secret(), hash.expose_secret());
                assert!(!profile.deactivated);
            }
        }
        let (totp, email) = (uses_totp(settings, profile), uses_email(settings, profile));
        let needed = match &change.act {
            Act::LogIn(_) => settings.two_factor_enabled && (totp || email),
            Act::BeginEnrolment(_) => {
                let any = totp || email || uses_password(settings, profile);
                any || !settings.missing_factor_allowed
            }
            Act::ConfirmTotp { .. } => {
                self.confirmed(before, change);
                return false;
            }
            Act::DisableTotp | Act::ReplaceBackupCodes { .. } => {
                assert!(
                    matches!(change.code, Some(Code::Totp(_))),
                    "not its own code"
                );
                true
            }
        };
        if needed {
            let code = change.code.as_ref().expect("a code is needed");
            let proof = self.entered(before, change, code);
            self.accept(before, profile, &proof, change.now);
        }
        needed
    }

    /// What a code that was entered must have been.
    fn entered(&self, before: &Workspace, change: &MemberChange, code: &Code) -> Proof {
        match code {
            Code::Email(code) => Proof::EmailCode(code.clone()),
            Code::Password(compared) => Proof::Password(compared.clone().unwrap()),
            Code::Totp(code) => {
                let key = &before.account(&change.user).factor.as_ref().unwrap().key;
                let window = u64::from(before.settings.totp_window);
                let now = step_of(change.now);
                let mut steps = (now.saturating_sub(window)..=now + window).rev();
                match steps.find(|step| key.code(*step) == code.expose_secret()) {
                    Some(step) => Proof::TotpStep {
                        step,
                        code: code.clone(),
                    },
                    None => Proof::BackupCode(code.clone()),
                }
            }
        }
    }

    /// A code is accepted once, of whoever has the factor, where the workspace uses it.
    fn accept(&mut self, before: &Workspace, profile: &Profile, proof: &Proof, now: Timestamp) {
        let (settings, id) = (&before.settings, profile.user.id.as_str());
        match proof {
            Proof::TotpStep { step, code } => {
                assert!(uses_totp(settings, profile), "{id} does not use TOTP");
                let key = &profile.factor.as_ref().unwrap().key;
                assert_eq!(key.code(*step), code.expose_secret(), "a wrong code");
                let distance = step.abs_diff(step_of(now));
                assert!(
                    distance <= settings.totp_window.into(),
                    "outside the window"
                );
                let before = self.steps.insert(key.expose().to_vec(), *step);
                assert!(
                    before.is_none_or(|last| last < *step),
                    "a step was accepted twice"
                );
                self.seen.note("a TOTP code was accepted");
            }
            Proof::BackupCode(code) => {
                assert!(uses_totp(settings, profile), "{id} does not use TOTP");
                let mut given = self.backup_codes.get_mut(id).into_iter().flatten();
                let found = given.find(|(given, _)| given == code.expose_secret());
                let (_, usable) = found.expect("a backup code that was never given");
                assert!(std::mem::take(usable), "a backup code was accepted twice");
                self.seen.note("a backup code was accepted");
            }
            Proof::EmailCode(code) => {
                assert!(
                    uses_email(settings, profile),
                    "{id} uses no codes by e-mail"
                );
                let mut sent = self.mailed.get_mut(id).into_iter().flatten();
                let found = sent.find(|(sent, _)| sent == code.expose_secret());
                let (_, expires) = found.expect("a code that was never sent");
                let expires = expires.take().expect("a code by e-mail was accepted twice");
                assert!(expires > now, "a code by e-mail that has ended");
                self.seen.note("a code by e-mail was accepted");
            }
            Proof::Password(hash) => {
                assert!(
                    uses_password(settings, profile),
                    "{id} may not use the password"
                );
                let stored = profile.password_hash.as_ref().unwrap();
                assert_eq!(stored.expose_secret(), hash.expose_secret());
                self.seen.note("a password was accepted");
            }
            Proof::None => panic!("none is no proof"),
        }
        self.accepted.insert(id.to_owned(), proof.clone());
    }

    /// The key was shown not long ago, and its code is spent like every other.
    fn confirmed(&mut self, before: &Workspace, change: &MemberChange) {
        let pending = before.account(&change.user).pending_key.as_ref();
        let pending = pending.expect("no key was shown");
        assert!(pending.expires > change.now, "a key that has ended");
        let Some(Code::Totp(code)) = &change.code else {
            panic!("no code of the key")
        };
        let window = u64::from(before.settings.totp_window);
        let now = step_of(change.now);
        let mut steps = (now.saturating_sub(window)..=now + window).rev();
        let step = steps.find(|step| pending.key.code(*step) == code.expose_secret());
        let step = step.expect("a wrong code");
        let spent = self.steps.insert(pending.key.expose().to_vec(), step);
        assert_eq!(spent, None, "a key was enrolled twice");
        let proof = Proof::TotpStep {
            step,
            code: code.clone(),
        };
        self.accepted.insert(change.user.clone(), proof);
    }

    fn authenticated(&self, before: &Workspace, id: &str, hash: &str, now: Timestamp) {
        let profile = before.account(id);
        let (expires, _) = token_of(profile, hash).expect("a token of the account's own");
        assert!(
            expires.is_none_or(|expires| expires > now),
            "a token that ended"
        );
        assert!(!profile.deactivated, "{id} is deactivated");
    }

    /// Enters what was issued, and what can be used no longer.
    fn enter(&mut self, after: &Workspace, deed: &Deed) {
        let (user, issued, note) = match deed {
            Deed::Reset(order, Ok(receipt)) => {
                self.seen.note(match (receipt, &order.target) {
                    (Receipt::NothingEnrolled, _) => "a reset of nothing",
                    (Receipt::Removed, Target::Caller) => "a reset of one's own factor",
                    (Receipt::Removed, Target::User(_)) => "a reset of another's factor",
                });
                return;
            }
            Deed::Change {
                change,
                answer: Ok(()),
                issued,
            } => match &change.act {
                Act::LogIn(_) => (&change.user, None, "a log-in"),
                Act::BeginEnrolment(_) => (&change.user, None, "an enrolment was begun"),
                Act::ConfirmTotp { .. } => {
                    (&change.user, Some(issued), "an enrolment was confirmed")
                }
                Act::DisableTotp => (&change.user, Some(issued), "a factor was disabled"),
                Act::ReplaceBackupCodes { .. } => {
                    (&change.user, Some(issued), "backup codes were replaced")
                }
            },
            Deed::Operation {
                change,
                done: true,
                issued,
            } => {
                let issued = match &change.change {
                    UserChange::EnrolTotp(_) | UserChange::ReplaceBackupCodes { .. } => {
                        Some(issued)
                    }
                    UserChange::SetPassword(_)
                    | UserChange::Deactivate
                    | UserChange::RevokeAllTokens => {
                        let sent = self.mailed.entry(change.user.clone()).or_default();
                        sent.iter_mut().for_each(|(_, expires)| *expires = None);
                        let code = &after.account(&change.user).mailed_code;
                        assert_eq!(*code, None, "a code outlives what must end it");
                        None
                    }
                    _ => None,
                };
                (&change.user, issued, "an operator changed an account")
            }
            Deed::SendCode {
                user,
                code: Some((code, expires)),
                ..
            } => {
                let sent = self.mailed.entry(user.clone()).or_default();
                sent.iter_mut().for_each(|(_, expires)| *expires = None);
                sent.push((code.clone(), Some(*expires)));
                (user, None, "a code was sent")
            }
            _ => return,
        };
        self.seen.note(note);
        if let Some(issued) = issued {
            let codes = self.backup_codes.entry(user.clone()).or_default();
            codes.iter_mut().for_each(|(_, usable)| *usable = false);
            let usable = after.account(user).factor.is_some();
            codes.extend(issued.iter().map(|code| (code.clone(), usable)));
        }
    }
}

/// No sequence of requests without a right, unspent code or an excuse removes a factor
/// of anyone: the code was judged by the [`Ledger`] already.
fn no_factor_is_lost_without_a_proof(before: &Workspace, after: &Workspace, deed: &Deed) {
    for (id, profile) in &before.accounts {
        if profile.factor.is_none() || after.account(id).factor.is_some() {
            continue;
        }
        let asked = match deed {
            Deed::Reset(order, Ok(Receipt::Removed)) => target_of(order) == id,
            Deed::Change {
                change,
                answer: Ok(()),
                ..
            } => change.user == *id && matches!(change.act, Act::DisableTotp),
            Deed::Operation { change, done, .. } => {
                *done && change.user == *id && matches!(change.change, UserChange::ResetTotp)
            }
            _ => false,
        };
        assert!(asked, "{id} has lost the factor");
    }
}

/// Failures never decrease but by a success with a proof, an unlock, or with the factor at
/// which they were made.
fn failures_are_forgotten_by_a_proof_or_with_the_factor(
    before: &Workspace,
    after: &Workspace,
    deed: &Deed,
    proved: bool,
    seen: &Seen,
) {
    let settings = &before.settings;
    for (id, before_profile) in &before.accounts {
        let (before, after) = (before_profile.failures, after.account(id).failures);
        let is_one_less = after.count + 1 == before.count;
        if after.count >= before.count && after.locked_until >= before.locked_until {
            continue;
        }
        let by = match deed {
            Deed::Reset(order, Ok(receipt)) => {
                let target = match &order.target {
                    Target::Caller => &order.caller.id,
                    Target::User(target) => target,
                };
                (proved && order.caller.id == *id) || (*receipt == Receipt::Removed && target == id)
            }
            Deed::Change { change, .. } if proved => change.user == *id,
            Deed::Operation { change, done, .. } => {
                *done && change.user == *id && forgets_failures(&change.change)
            }
            Deed::RefusedReset { refused, proof } => {
                assert_eq!(refused.record.caller, *id);
                is_right_or_spent(settings, before_profile, proof, refused.record.at) && is_one_less
            }
            Deed::Change {
                change:
                    MemberChange {
                        code: Some(Code::Password(Ok(hash))),
                        user,
                        ..
                    },
                answer: Err(_),
                ..
            } => user == id && before_profile.has_password(hash) && is_one_less,
            // The clock was set back, and the lock is counted from then.
            Deed::Attempt { user, .. } => user == id && after.count > before.count,
            Deed::Change { change, answer, .. } => {
                change.user == *id && answer.is_err() && after.count > before.count
            }
            _ => false,
        };
        assert!(by, "failures of {id} are forgotten: {before:?} {after:?}");
        if after.count < before.count {
            match is_one_less && after.count > 0 {
                true => seen.note("an attempt was no guess"),
                false => {
                    assert_eq!(after.count, 0);
                    seen.note("failures were forgotten");
                }
            }
        }
    }
}

/// Whether what was entered is no guess, told apart from how the rules do it.
fn is_right_or_spent(
    settings: &Settings,
    profile: &Profile,
    proof: &Proof,
    now: Timestamp,
) -> bool {
    match proof {
        Proof::TotpStep { code, .. } => profile.factor.as_ref().is_some_and(|factor| {
            let window = u64::from(settings.totp_window);
            let mut steps = step_of(now).saturating_sub(window)..=step_of(now) + window;
            steps.any(|step| factor.key.code(step) == code.expose_secret())
        }),
        Proof::BackupCode(code) => profile.factor.as_ref().is_some_and(|factor| {
            let hash = code_hash(code.expose_secret());
            let given = [&factor.backup_code_hashes, &factor.spent_code_hashes];
            given.into_iter().flatten().any(|given| *given == hash)
        }),
        Proof::EmailCode(code) => {
            let hash = code_hash(code.expose_secret());
            let sent = profile.mailed_code.as_ref();
            sent.is_some_and(|sent| sent.hash == hash && sent.expires > now)
        }
        Proof::Password(hash) => profile.has_password(hash),
        Proof::None => false,
    }
}

fn forgets_failures(change: &UserChange) -> bool {
    matches!(
        change,
        UserChange::Unlock
            | UserChange::SetPassword(_)
            | UserChange::EnrolTotp(_)
            | UserChange::ReplaceBackupCodes { .. }
            | UserChange::ResetTotp
    )
}

/// Until the lock ends no attempt is begun, no code sent and no code accepted. Of a
/// reset, and of a password, the attempt is judged.
fn a_locked_account_accepts_nothing(before: &Workspace, deed: &Deed, seen: &Seen) {
    let is_locked = |id: &str, now: Timestamp| {
        let until = before
            .accounts
            .get(id)
            .and_then(|p| p.failures.locked_until);
        until.is_some_and(|until| until > now)
    };
    match deed {
        Deed::Attempt { user, now, begun } => {
            if is_locked(user, *now) {
                assert!(!begun, "an attempt of {user}, who is locked");
                seen.note("an attempt of a locked account");
            }
            if *begun {
                seen.note("an attempt was begun");
            }
        }
        Deed::SendCode { user, code, now } => {
            assert!(
                code.is_none() || !is_locked(user, *now),
                "a code for the locked"
            );
        }
        Deed::Change { change, answer, .. } if is_locked(&change.user, change.now) => {
            let by_code = matches!(change.code, Some(Code::Totp(_) | Code::Email(_)));
            let profile = before.account(&change.user);
            let needs_none = match &change.act {
                Act::LogIn(_) => {
                    let (s, p) = (&before.settings, profile);
                    !s.two_factor_enabled || !(uses_totp(s, p) || uses_email(s, p))
                }
                Act::BeginEnrolment(_) => is_excused(&before.settings, profile, false),
                _ => false,
            };
            let accepted = answer.is_ok() && by_code && !needs_none;
            assert!(!accepted, "a code of {}, who is locked", change.user);
            if matches!(answer, Err(Denial::Locked(_))) {
                seen.note("a code of a locked account was refused");
            }
        }
        _ => (),
    }
}

/// Who is not named keeps everything, and who is named keeps all but what the order is
/// about; a refusal changes nothing but counts and records. Settings and roles are no
/// member's to change.
fn nothing_changes_but_what_is_named(before: &Workspace, after: &Workspace, deed: &Deed) {
    const PROOF: [&str; 5] = ["codes", "last-step", "mailed", "tries", "failures"];
    const COUNTS: [&str; 2] = ["failures", "tries"];
    const FACTOR: [&str; 6] = ["key", "codes", "last-step", "pending", "tokens", "password"];
    const RESET: [&str; 6] = ["key", "codes", "last-step", "pending", "tokens", "failures"];
    if !matches!(deed, Deed::Setting) {
        let settings = |workspace: &Workspace| format!("{:?}", workspace.settings);
        assert_eq!(settings(before), settings(after));
    }
    let may_mail = match deed {
        Deed::Reset(_, answer) => answer.is_ok(),
        Deed::Change { answer, .. } => answer.is_ok(),
        Deed::SendCode { code, .. } => code.is_some(),
        Deed::Operation { done, .. } => *done,
        _ => false,
    };
    let is_refused = matches!(deed, Deed::Change { .. } | Deed::RefusedReset { .. });
    let mut mails = new_mails(before, after);
    let is_of_lock = |mail: &StoredMail| mail.subject.contains("authentication is locked");
    let is_told_of_lock = is_refused && mails.all(is_of_lock);
    let is_mailed = before.outbox != after.outbox;
    assert!(may_mail || is_told_of_lock || !is_mailed, "mail");
    assert_eq!(before.roles, after.roles);
    assert_eq!(before.accounts.len(), after.accounts.len());
    for (id, profile) in &before.accounts {
        if after
            .accounts
            .get(id)
            .is_some_and(|same| Rc::ptr_eq(profile, same))
        {
            continue;
        }
        let (old, new) = (fields(profile), fields(after.account(id)));
        let changed = old
            .iter()
            .filter(|(name, text)| new.get(*name) != Some(text));
        let changed: Vec<_> = changed.map(|(name, _)| *name).collect();
        let allowed: Vec<&str> = match deed {
            Deed::Reset(order, Ok(_)) => {
                let caller = (order.caller.id == *id).then_some(&PROOF[..]);
                let target = (target_of(order) == id).then_some(&RESET[..]);
                [caller, target]
                    .into_iter()
                    .flatten()
                    .flatten()
                    .copied()
                    .collect()
            }
            Deed::Change { change, answer, .. } if change.user == *id => match answer {
                Ok(()) => PROOF.iter().chain(&FACTOR[..5]).copied().collect(),
                Err(_) => COUNTS.to_vec(),
            },
            Deed::Attempt { user, .. } if user == id => COUNTS.to_vec(),
            Deed::RefusedReset { refused, .. } if refused.record.caller == *id => COUNTS.to_vec(),
            Deed::SendCode { user, code, .. } if user == id && code.is_some() => {
                vec!["mailed", "tries"]
            }
            Deed::LogOut(caller) if caller.id == *id => vec!["tokens"],
            Deed::Operation { change, done, .. } if change.user == *id && *done => {
                let others = ["deactivated", "roles"];
                PROOF.into_iter().chain(FACTOR).chain(others).collect()
            }
            _ => Vec::new(),
        };
        let strays: Vec<_> = changed
            .iter()
            .filter(|name| !allowed.contains(name))
            .collect();
        assert!(
            strays.is_empty(),
            "{strays:?} of {id} changed: {old:?} {new:?}"
        );
    }
}

fn every_decision_is_recorded(before: &Workspace, after: &Workspace, deed: &Deed) {
    let records = match deed {
        Deed::Reset(_, answer) => usize::from(answer.is_ok()),
        Deed::Change { .. } | Deed::RefusedReset { .. } | Deed::Setting => 1,
        Deed::Operation { done, .. } => usize::from(*done),
        Deed::LogOut(_) => 1,
        Deed::Attempt { .. } | Deed::SendCode { .. } => 0,
    };
    // A lock by guesses has a record beside that of the request.
    let new = after.audit.iter().skip(before.audit.len());
    let new = new.filter(|record| record.action != Action::Guess);
    assert_eq!(new.count(), records, "records");
}

/// Whoever holds an account is told of everything that changes how it is proved.
fn every_change_of_an_authenticator_is_told(before: &Workspace, after: &Workspace) {
    for (id, new) in &after.accounts {
        let old = before.account(id);
        let keys = [old, &**new].map(|profile| {
            let key = profile
                .factor
                .as_ref()
                .map(|factor| factor.key.expose().to_vec());
            let codes = profile
                .factor
                .as_ref()
                .map(|factor| factor.backup_code_hashes.clone());
            let password = profile.password_hash.as_ref();
            (
                key,
                codes,
                password.map(|hash| hash.expose_secret().to_owned()),
            )
        });
        let is_shown = |profile: &Profile| {
            let key = profile.pending_key.as_ref();
            key.map(|pending| pending.key.expose().to_vec())
        };
        let [was, is] = &keys;
        let is_new = is_shown(new).is_some() && is_shown(new) != is_shown(old);
        if was != is || is_new {
            let mail = new_mails(before, after);
            let told: Vec<_> = mail.map(|mail| mail.recipient.as_str()).collect();
            for email in new.emails.iter().filter(|email| email.verified) {
                assert!(told.contains(&email.address.as_str()), "{id} is not told");
            }
        }
    }
}

fn new_mails<'a>(before: &Workspace, after: &'a Workspace) -> impl Iterator<Item = &'a StoredMail> {
    let last = before.last_mail();
    after.outbox.iter().filter(move |mail| mail.id > last)
}

/// The target can log in nowhere by what was there, and knows it.
fn what_a_reset_leaves(before: &Workspace, after: &Workspace, order: &Reset) {
    let target = after.account(target_of(order));
    assert!(target.factor.is_none() && target.pending_key.is_none());
    assert!(target.tokens.is_empty(), "a token outlives the reset");
    let told = new_mails(before, after);
    let told = told.filter(|mail| mail.subject == "Two Factor TOTP Reset Notification");
    let mut told: Vec<_> = told.map(|mail| mail.recipient.as_str()).collect();
    told.sort_unstable();
    let verified = target.emails.iter().filter(|email| email.verified);
    let mut verified: Vec<_> = verified.map(|email| email.address.as_str()).collect();
    verified.sort_unstable();
    assert_eq!(told, verified);
}

/// As [`text::fields`] tells them, with what one order may change apart from another.
fn fields(profile: &Profile) -> Fields {
    let mut fields = text::fields(profile);
    for (whole, parts) in [
        ("factor", ["key", "last-step", "codes"].as_slice()),
        ("mailed", &["mailed", "issued", "expires", "tries", "mails"]),
    ] {
        let text = fields.remove(whole).unwrap();
        let mut texts = text.split('/');
        for part in parts {
            fields.insert(part, texts.next().unwrap_or_default().to_owned());
        }
    }
    let [issued, expires, mails] =
        ["issued", "expires", "mails"].map(|name| fields.remove(name).unwrap_or_default());
    let mailed = fields.remove("mailed").unwrap();
    fields.insert("mailed", format!("{mailed} {issued} {expires} {mails}"));
    fields
}

fn target_of(order: &Reset) -> &String {
    match &order.target {
        Target::Caller => &order.caller.id,
        Target::User(id) => id,
    }
}

/// When it ends, and whether it bypasses the second factor.
fn token_of(profile: &Profile, hash: &str) -> Option<(Option<Timestamp>, bool)> {
    let token = profile.tokens.iter().find(|token| token.hash == hash)?;
    Some((token.expires, token.bypass_two_factor))
}

fn may_reset(workspace: &Workspace, profile: &Profile) -> bool {
    let mut roles = profile
        .roles
        .iter()
        .filter_map(|role| workspace.roles.get(role));
    let permitted = roles.any(|granted| granted.contains("edit-other-user-totp"));
    permitted && workspace.settings.two_factor_enabled
}

fn is_excused(settings: &Settings, profile: &Profile, bypass_token: bool) -> bool {
    let any = uses_totp(settings, profile)
        || uses_email(settings, profile)
        || uses_password(settings, profile);
    !settings.two_factor_enabled
        || bypass_token && settings.bypass_token_allowed
        || !any && settings.missing_factor_allowed
}

fn uses_totp(settings: &Settings, profile: &Profile) -> bool {
    settings.totp_enabled && profile.factor.is_some()
}

fn uses_email(settings: &Settings, profile: &Profile) -> bool {
    let verified = profile.emails.iter().any(|email| email.verified);
    settings.email_enabled && profile.email_two_factor && verified
}

fn uses_password(settings: &Settings, profile: &Profile) -> bool {
    let other = uses_totp(settings, profile) || uses_email(settings, profile);
    settings.password_fallback && profile.password_hash.is_some() && !other
}
