//! Laws that no sequence of requests may break, judged from what was before and after
//! each deed, and from a ledger of what was issued and what was spent that knows
//! nothing of the rules. A deed is judged by what was done, whether or not the store lost the
//! answer.

use crate::deed::Deed;
use crate::ledger::{Ledger, is_excused, uses_email, uses_totp};
use crate::model::{Model, Workspace};
use crate::seen::Seen;
use crate::text;
use chat_domain::account::{Profile, Token};
use chat_domain::audit::{Action, AuditRecord};
use chat_domain::member::{Act, Code, Denial, MemberChange};
use chat_domain::operator::UserChange;
use chat_domain::outbox::{LEASE, NextTry, StoredMail};
use chat_domain::proof::Proof;
use chat_domain::reset::{Receipt, Reset, Target};
use chat_domain::settings::Settings;
use chat_domain::time::Timestamp;
use chat_domain::totp::{code_hash, step_of};
use secrecy::{ExposeSecret as _, SecretString};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

type Fields = BTreeMap<&'static str, String>;

/// Holds a deed to the laws, and enters it.
///
/// # Panics
///
/// When a law is broken.
pub(crate) fn judge(ledger: &mut Ledger<'_>, before: &Workspace, after: &Workspace, deed: &Deed) {
    let proved = ledger.proved(before, deed);
    let seen = ledger.seen;
    no_factor_is_lost_without_a_proof(before, after, deed);
    failures_are_forgotten_by_a_proof_or_with_the_factor(before, after, deed, proved, seen);
    a_locked_account_accepts_nothing(before, deed, seen);
    nothing_changes_but_what_is_named(before, after, deed);
    every_decision_is_recorded(before, after, deed);
    every_change_of_an_authenticator_is_told(before, after);
    every_mail_is_queued_once(before, after);
    no_mail_is_lost(before, after, deed);
    nobody_sends_what_another_sends_or_has_sent(ledger, before, after, deed);
    somebody_may_reset_others(before, after, deed, seen);
    if let Deed::Reset(order, Ok(Receipt::Removed)) = deed {
        what_a_reset_leaves(before, after, order);
    }
    ledger.enter(before, after, deed);
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
                        code: Some(Code::Email(Ok(hash)) | Code::Password(Ok(hash))),
                        user,
                        ..
                    },
                answer: Err(_),
                ..
            } => user == id && holds(before_profile, hash) && is_one_less,
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
        Proof::EmailCode(hash) => {
            let sent = profile.mailed_code.as_ref();
            sent.is_some_and(|sent| sent.hash == hash.expose_secret() && sent.expires > now)
        }
        Proof::Password(hash) => profile.has_password(hash),
        Proof::None => false,
    }
}

/// Whether this is the hash of the password, or of the code that was sent.
fn holds(profile: &Profile, hash: &SecretString) -> bool {
    let sent = profile.mailed_code.as_ref();
    let is_codes = sent.is_some_and(|sent| sent.hash == hash.expose_secret());
    is_codes || profile.has_password(hash)
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

/// No mail waits longer: twice the longest pause that is made, and what is due later was put off
/// by a clock that was ahead.
const PAUSE: Duration = Duration::from_secs(2 * 60 * 60);

/// No lock is longer: twice the longest that is given, and what ends later was given by a clock
/// that was ahead.
const LOCK: Duration = Duration::from_secs(2 * 60 * 60);

/// Until the lock ends no attempt is begun, no code sent and no code accepted; nor where there
/// were too many failures. Of a reset, a password and a code by e-mail, the attempt is judged.
fn a_locked_account_accepts_nothing(before: &Workspace, deed: &Deed, seen: &Seen) {
    let is_locked = |id: &str, now: Timestamp| {
        let account = before.accounts.get(id);
        account.is_some_and(|account| {
            let failures = &account.failures;
            let until = failures.locked_until.filter(|until| *until <= now + LOCK);
            let are_too_many = failures.count >= before.settings.failure_budget;
            are_too_many || until.is_some_and(|until| until > now)
        })
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
            let by_code = matches!(change.code, Some(Code::Totp(_)));
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
    if !matches!(deed, Deed::Settings { .. }) {
        assert!(before.settings.is_same(&after.settings), "settings");
        assert_eq!(before.fixed_settings, after.fixed_settings);
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
    assert!(
        may_mail || mails.all(|mail| is_refused && is_of_lock(mail)),
        "mail"
    );
    assert!(before.roles.is_same(&after.roles) || matches!(deed, Deed::Role { done: true, .. }));
    let is_added = matches!(deed, Deed::NewUser { done: true, .. });
    let accounts = before.accounts.len() + usize::from(is_added);
    assert_eq!(accounts, after.accounts.len());
    // Whose code cannot arrive any more.
    let holder = match deed {
        Deed::Delivery { id, .. } | Deed::Outbox { id, done: true } => before.holder(*id),
        _ => None,
    };
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
            Deed::Prune { done: true, now } => {
                let mut tokens = profile.tokens.iter();
                let stays = |token: &Token| after.account(id).tokens.contains(token);
                assert!(tokens.all(|token| stays(token) || !token.is_valid(*now)));
                vec!["tokens"]
            }
            Deed::Delivery { .. } | Deed::Outbox { .. } if holder == Some(id) => {
                vec!["mailed", "tries"]
            }
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
        Deed::Change { .. } | Deed::RefusedReset { .. } | Deed::LogOut(_) => 1,
        Deed::Operation { done, .. }
        | Deed::Role { done, .. }
        | Deed::NewUser { done, .. }
        | Deed::Outbox { done, .. } => usize::from(*done),
        Deed::Settings { records } | Deed::Recorded { records } => *records,
        Deed::Prune { done: true, now } => return what_is_pruned_was_old(before, after, *now),
        Deed::Attempt { .. }
        | Deed::SendCode { .. }
        | Deed::Created
        | Deed::Claimed { .. }
        | Deed::Delivery { .. }
        | Deed::Prune { done: false, .. } => 0,
    };
    let (kept, new) = after.audit.split_at(before.audit.len());
    let mut kept = kept.iter().zip(&before.audit);
    assert!(
        kept.all(|(one, other)| Rc::ptr_eq(one, other)),
        "a record was changed"
    );
    // A lock by guesses has a record beside that of the request.
    let new = new.iter().filter(|record| record.action != Action::Guess);
    assert_eq!(new.count(), records, "records");
}

/// Records go when they are older than they are kept, and that is recorded.
fn what_is_pruned_was_old(before: &Workspace, after: &Workspace, now: Timestamp) {
    let (last, kept) = after.audit.split_last().unwrap();
    assert_eq!(last.action, Action::Prune);
    let limit = before.settings.audit_lifetime().map(|age| now.before(age));
    let is_young = |record: &&Rc<AuditRecord>| limit.is_none_or(|limit| record.at >= limit);
    let young = before.audit.iter().filter(is_young);
    assert!(
        young.map(Rc::as_ptr).eq(kept.iter().map(Rc::as_ptr)),
        "a young record was pruned"
    );
}

/// Whoever holds an account is told of everything that changes how it is proved.
fn every_change_of_an_authenticator_is_told(before: &Workspace, after: &Workspace) {
    for (id, new) in &after.accounts {
        let Some(old) = before.accounts.get(id).filter(|old| !Rc::ptr_eq(old, new)) else {
            continue;
        };
        let keys = [old, new].map(|profile| {
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

fn new_mails<'a>(
    before: &Workspace,
    after: &'a Workspace,
) -> impl Iterator<Item = &'a StoredMail> + Clone {
    let last = before.last_mail();
    let new = after
        .outbox
        .iter()
        .rev()
        .take_while(move |mail| mail.id > last);
    new.map(|mail| &**mail)
}

/// Whoever is told something is told once at each address, which is theirs and verified.
fn every_mail_is_queued_once(before: &Workspace, after: &Workspace) {
    let new = new_mails(before, after);
    for (place, mail) in new.clone().enumerate() {
        let is_same = |other: &&StoredMail| {
            other.recipient == mail.recipient && other.subject == mail.subject
        };
        let twice = new.clone().take(place).find(is_same);
        assert!(
            twice.is_none(),
            "{} is told twice: {}",
            mail.recipient,
            mail.subject
        );
        let holder = after.account(after.holder(mail.id).unwrap());
        let mut addresses = holder.verified_addresses();
        assert!(
            addresses.any(|address| address == mail.recipient),
            "{}",
            mail.recipient
        );
    }
}

/// A mail goes when it was sent, when an operator removes it, when its code is of no use any
/// more, or as a dead letter that is old; and nobody else changes it.
fn no_mail_is_lost(before: &Workspace, after: &Workspace, deed: &Deed) {
    for mail in &before.outbox {
        let id = mail.id;
        let place = after.outbox.binary_search_by_key(&id, |mail| mail.id);
        let kept = place.ok().and_then(|place| after.outbox.get(place));
        if kept.is_some_and(|kept| Rc::ptr_eq(kept, mail)) {
            continue;
        }
        let is_this = |named: i64| named == id;
        let by = match (deed, kept) {
            (Deed::Claimed { id, .. }, Some(_)) => is_this(*id),
            (Deed::Delivery { id, sent }, kept) => {
                is_this(*id) && (kept.is_some() || *sent || mail.holds_code())
            }
            (Deed::Outbox { id, done: true }, _) => is_this(*id),
            (Deed::SendCode { user, code, .. }, None) => {
                code.is_some() && mail.holds_code() && before.holder(id) == Some(user)
            }
            (
                Deed::Operation {
                    change, done: true, ..
                },
                None,
            ) => mail.holds_code() && before.holder(id) == Some(&change.user),
            (Deed::Prune { done: true, .. }, None) => mail.next_try == NextTry::Never,
            _ => false,
        };
        assert!(by, "mail {id} is lost, or changed");
    }
}

/// Nobody else has claimed a mail that is claimed, unless their time is over or their clock
/// was ahead; and what was noted as sent is gone for good.
fn nobody_sends_what_another_sends_or_has_sent(
    ledger: &Ledger<'_>,
    before: &Workspace,
    after: &Workspace,
    deed: &Deed,
) {
    let mut mails = new_mails(before, after);
    assert!(
        mails.all(|mail| !ledger.sent.contains(&mail.id)),
        "an id is used again"
    );
    let Deed::Claimed { id, now } = deed else {
        return;
    };
    assert!(!ledger.sent.contains(id), "mail {id} was sent");
    let (was, is) = (before.mail(*id).unwrap(), after.mail(*id).unwrap());
    let NextTry::At(next) = was.next_try else {
        panic!("mail {id} is a dead letter")
    };
    assert!(next <= *now || next > *now + PAUSE, "mail {id} is not due");
    assert!(is.claimed && is.tries == was.tries + 1);
    assert_eq!(is.next_try, NextTry::At(*now + LEASE));
    ledger.seen.note(match was.tries {
        0 => "a mail was claimed",
        _ => "a mail was claimed again",
    });
}

/// Without force an operator leaves somebody who may reset others.
fn somebody_may_reset_others(before: &Workspace, after: &Workspace, deed: &Deed, seen: &Seen) {
    let is_left = |workspace: &Workspace| workspace.administrators().next().is_some();
    match deed {
        Deed::Role {
            done: false,
            forced: false,
        } => seen.note("the last administrator stays"),
        Deed::Role { forced: true, .. } => return,
        Deed::Operation { change, .. } if change.operation.forced => return,
        _ => {}
    }
    assert!(
        is_left(after) || !is_left(before),
        "nobody is left who may reset others"
    );
}

/// What is done in one workspace changes nothing in another.
///
/// # Panics
///
/// When it does.
pub(crate) fn nothing_of_another_workspace(place: &str, before: &Model, after: &Model) {
    let others = |model: &Model| {
        let others = model.workspaces().filter(|(id, _)| *id != place);
        others
            .map(|(_, workspace)| Rc::as_ptr(workspace))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        others(before),
        others(after),
        "another workspace is changed"
    );
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
