//! What was issued and what was spent, kept apart from the rules and from what a store keeps.

use crate::acme::backup_codes;
use crate::deed::Deed;
use crate::model::Workspace;
use crate::seen::Seen;
use chat_domain::account::Profile;
use chat_domain::member::{Act, Authority, Code, MemberChange};
use chat_domain::operator::UserChange;
use chat_domain::proof::Proof;
use chat_domain::reset::{Receipt, Refusal, Target};
use chat_domain::settings::Settings;
use chat_domain::time::Timestamp;
use chat_domain::totp::{code_hash, step_of};
use secrecy::ExposeSecret as _;
use std::collections::{BTreeMap, BTreeSet};

/// What was issued to each account, and what became of it.
pub(crate) struct Ledger<'a> {
    pub(crate) seen: &'a Seen,
    /// The steps that were accepted of each key.
    steps: BTreeMap<Vec<u8>, Steps>,
    /// All backup codes that an account was ever given, and whether each can be used.
    backup_codes: BTreeMap<String, Vec<(String, bool)>>,
    /// All codes that an account was ever sent, and until when each can be used.
    mailed: BTreeMap<String, Vec<(String, Option<Timestamp>)>>,
    accepted: BTreeMap<String, Proof>,
    /// Mails that were sent, and noted as sent.
    pub(crate) sent: BTreeSet<i64>,
}

/// The steps of a key that were accepted.
#[derive(Default)]
struct Steps {
    all: BTreeSet<u64>,
    /// The last; none where an operator has set it back, since a clock was ahead: earlier ones than
    /// the highest can be accepted then.
    last: Option<u64>,
}

impl Steps {
    fn accept(&mut self, step: u64) {
        assert!(self.last < Some(step), "an earlier step was accepted");
        assert!(self.all.insert(step), "a step was accepted twice");
        self.last = Some(step);
    }
}

impl<'a> Ledger<'a> {
    pub(crate) fn new(id: &str, workspace: &Workspace, seen: &'a Seen) -> Self {
        let enrolled = workspace.accounts.values().filter(|a| a.factor.is_some());
        let codes = || backup_codes(id).map(|code| (code, true)).to_vec();
        Self {
            seen,
            steps: BTreeMap::new(),
            sent: BTreeSet::new(),
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

    /// Whether a proof was accepted, which must be right and unspent; it is spent now.
    pub(crate) fn proved(&mut self, before: &Workspace, deed: &Deed) -> bool {
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
            Act::Unlock(_) => !is_excused(settings, profile, false),
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
            Code::Email(compared) => Proof::EmailCode(compared.clone().unwrap()),
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
                let steps = self.steps.entry(key.expose().to_vec());
                steps.or_default().accept(*step);
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
            Proof::EmailCode(hash) => {
                assert!(
                    uses_email(settings, profile),
                    "{id} uses no codes by e-mail"
                );
                let mut sent = self.mailed.get_mut(id).into_iter().flatten();
                let found = sent.find(|(sent, _)| code_hash(sent) == hash.expose_secret());
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
        let key = pending.key.expose().to_vec();
        assert!(!self.steps.contains_key(&key), "a key was enrolled twice");
        self.steps.entry(key).or_default().accept(step);
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
    pub(crate) fn enter(&mut self, before: &Workspace, after: &Workspace, deed: &Deed) {
        let (user, issued, note) = match deed {
            Deed::Reset(order, Ok(receipt)) => {
                if order.workspace != "acme" {
                    self.seen.note("a reset of elsewhere");
                }
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
                Act::Unlock(user) => (user, None, "an account was unlocked by another"),
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
                    UserChange::Unlock => {
                        let step = |workspace: &Workspace| {
                            let factor = workspace.account(&change.user).factor.as_ref();
                            factor.and_then(|factor| factor.last_step)
                        };
                        if step(after) < step(before) {
                            let factor = after.account(&change.user).factor.as_ref();
                            let key = factor.unwrap().key.expose();
                            self.steps.entry(key.to_vec()).or_default().last = None;
                        }
                        None
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
            Deed::NewUser {
                id,
                done: true,
                issued,
            } => (id, Some(issued), "an account was added"),
            Deed::Delivery { id, sent } => {
                self.seen.note(match sent {
                    true => "a mail was sent",
                    false => "a mail was not sent",
                });
                self.sent.extend(sent.then_some(*id));
                return;
            }
            Deed::Role { done: true, .. } => return self.seen.note("a role was changed"),
            Deed::Settings { records: 1.. } => return self.seen.note("settings were changed"),
            Deed::Outbox { done: true, .. } => {
                return self.seen.note("a mail was retried or removed");
            }
            Deed::Prune { done: true, .. } => return self.seen.note("something was pruned"),
            Deed::Recorded { records: 1.. } => {
                return self.seen.note("a request was only recorded");
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

/// When it ends, and whether it bypasses the second factor.
pub(crate) fn token_of(profile: &Profile, hash: &str) -> Option<(Option<Timestamp>, bool)> {
    let token = profile.tokens.iter().find(|token| token.hash == hash)?;
    Some((token.expires, token.bypass_two_factor))
}

pub(crate) fn may_reset(workspace: &Workspace, profile: &Profile) -> bool {
    let mut roles = profile
        .roles
        .iter()
        .filter_map(|role| workspace.roles.get(role));
    let permitted = roles.any(|granted| granted.contains("edit-other-user-totp"));
    permitted && workspace.settings.two_factor_enabled
}

pub(crate) fn is_excused(settings: &Settings, profile: &Profile, bypass_token: bool) -> bool {
    let any = uses_totp(settings, profile)
        || uses_email(settings, profile)
        || uses_password(settings, profile);
    !settings.two_factor_enabled
        || bypass_token && settings.bypass_token_allowed
        || !any && settings.missing_factor_allowed
}

pub(crate) fn uses_totp(settings: &Settings, profile: &Profile) -> bool {
    settings.totp_enabled && profile.factor.is_some()
}

pub(crate) fn uses_email(settings: &Settings, profile: &Profile) -> bool {
    let verified = profile.emails.iter().any(|email| email.verified);
    settings.email_enabled && profile.email_two_factor && verified
}

pub(crate) fn uses_password(settings: &Settings, profile: &Profile) -> bool {
    let other = uses_totp(settings, profile) || uses_email(settings, profile);
    settings.password_fallback && profile.password_hash.is_some() && !other
}
