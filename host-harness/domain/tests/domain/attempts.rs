//! How attempts begin.

use crate::acme::{MAILED, acme, after, decided, failures, key, mailed, now};
use crate::model::{Model, Workspace};
use chat_domain::attempts::{
    Attempt, BeginEmailAttempt, BeginPasswordAttempt, BeginTotpAttempt, FREE_FAILURES, Needed,
};
use chat_domain::time::Timestamp;
use chat_domain::totp::code_hash;
use secrecy::ExposeSecret;

fn totp(user: &str, now: Timestamp) -> BeginTotpAttempt {
    BeginTotpAttempt {
        workspace: "acme".to_owned(),
        user: user.to_owned(),
        needed: Needed::Everything,
        now,
    }
}

fn password(user: &str, now: Timestamp) -> BeginPasswordAttempt {
    BeginPasswordAttempt {
        workspace: "acme".to_owned(),
        user: user.to_owned(),
        now,
    }
}

fn email(user: &str, now: Timestamp) -> BeginEmailAttempt {
    BeginEmailAttempt {
        workspace: "acme".to_owned(),
        user: user.to_owned(),
        now,
    }
}

/// How it began: what is handed out, or why nothing is.
fn told<F>(attempt: Attempt<F>, handed: impl FnOnce(F) -> String) -> String {
    match attempt {
        Attempt::Begun(factor) => handed(factor),
        Attempt::Locked(_) => "locked".to_owned(),
        Attempt::Unavailable => "unavailable".to_owned(),
    }
}

fn of_totp(edit: impl FnOnce(&mut Workspace), user: &str) -> (String, String) {
    let (attempt, changes) = decided(edit, &totp(user, now()));
    let handed = told(attempt, |factor| {
        assert_eq!(factor.key.expose(), key(user).expose());
        format!(
            "{:?}, {} codes",
            factor.last_step,
            factor.backup_code_hashes.len()
        )
    });
    (handed, changes)
}

fn of_password(edit: impl FnOnce(&mut Workspace), user: &str) -> (String, String) {
    let (attempt, changes) = decided(edit, &password(user, now()));
    let handed = told(attempt, |hash| hash.expose_secret().to_owned());
    (handed, changes)
}

fn of_email(edit: impl FnOnce(&mut Workspace), user: &str) -> (String, String) {
    let (attempt, changes) = decided(edit, &email(user, now()));
    let handed = told(attempt, |hash| match hash {
        Some(hash) if hash == code_hash(MAILED) => MAILED.to_owned(),
        hash => format!("{hash:?}"),
    });
    (handed, changes)
}

fn began(handed: &str, changes: &str) -> (String, String) {
    (handed.to_owned(), changes.to_owned())
}

#[test]
fn an_attempt_is_counted_and_hands_out_the_factor() {
    assert_eq!(
        of_totp(|_| (), "admin"),
        began("None, 2 codes", "set-failures admin 1/-\n")
    );
    let busy = |acme: &mut Workspace| {
        acme.edit("admin").failures = failures(3, None);
        let factor = acme.edit("admin").factor.as_mut().unwrap();
        factor.last_step = Some(7);
        factor.backup_code_hashes.truncate(1);
    };
    assert_eq!(
        of_totp(busy, "admin"),
        began("Some(7), 1 codes", "set-failures admin 4/-\n")
    );
    assert_eq!(
        of_password(|_| (), "bob"),
        began("bob-password", "set-failures bob 1/-\n")
    );
    assert_eq!(
        of_email(|_| (), "cora"),
        began("None", "set-failures cora 1/-\n")
    );
    let sent = |acme: &mut Workspace| acme.edit("cora").mailed_code = Some(mailed(3, after(1)));
    assert_eq!(
        of_email(sent, "cora"),
        began(
            MAILED,
            "set-failures cora 1/-\nset-mailed-code cora 012345/now/+1ms/4/1\n"
        )
    );
}

#[test]
fn the_fifth_failure_locks_and_is_begun_all_the_same() {
    let four = |acme: &mut Workspace| {
        for id in ["admin", "bob", "cora"] {
            acme.edit(id).failures = failures(4, None);
        }
    };
    assert_eq!(of_totp(four, "admin").1, "set-failures admin 5/+30s\n");
    assert_eq!(of_password(four, "bob").1, "set-failures bob 5/+30s\n");
    assert_eq!(of_email(four, "cora").1, "set-failures cora 5/+30s\n");
}

#[test]
fn a_locked_account_begins_nothing_until_the_lock_ends() {
    for (until, locked) in [(after(1), true), (now(), false)] {
        let edit = |acme: &mut Workspace| {
            for id in ["admin", "bob", "cora"] {
                acme.edit(id).failures = failures(6, Some(until));
            }
        };
        for (id, (handed, changes)) in [
            ("admin", of_totp(edit, "admin")),
            ("bob", of_password(edit, "bob")),
            ("cora", of_email(edit, "cora")),
        ] {
            let expected = match locked {
                true => String::new(),
                false => format!("set-failures {id} 7/+120s\n"),
            };
            assert_eq!((handed == "locked", changes), (locked, expected), "{id}");
        }
    }
}

/// A code by e-mail has a count of its own, which ends it however slowly it is tried.
#[test]
fn a_code_by_email_that_was_tried_too_often_is_locked_while_it_lives() {
    for (tries, expires, handed) in [
        (4, after(1), MAILED),
        (5, after(1), "locked"),
        (6, after(1), "locked"),
        (5, now(), "None"),
    ] {
        let sent = |acme: &mut Workspace| {
            acme.edit("cora").mailed_code = Some(mailed(tries, expires));
        };
        assert_eq!(of_email(sent, "cora").0, handed, "{tries}");
    }
    let strict = |acme: &mut Workspace| {
        acme.settings.email_code_failures = 1;
        acme.edit("cora").mailed_code = Some(mailed(1, after(1)));
    };
    assert_eq!(of_email(strict, "cora"), began("locked", ""));
    let locked = |acme: &mut Workspace| {
        acme.edit("cora").mailed_code = Some(mailed(0, after(1)));
        acme.edit("cora").failures = failures(5, Some(after(1)));
    };
    assert_eq!(of_email(locked, "cora"), began("locked", ""));
}

#[test]
fn who_may_not_use_a_factor_begins_no_attempt_at_it() {
    let nothing = || began("unavailable", "");
    for id in ["bob", "cora", "nell", "nobody"] {
        assert_eq!(of_totp(|_| (), id), nothing(), "{id}");
    }
    let off = |acme: &mut Workspace| acme.settings.totp_enabled = false;
    assert_eq!(of_totp(off, "admin"), nothing());
    for id in ["admin", "cora", "nell", "nobody"] {
        assert_eq!(of_password(|_| (), id), nothing(), "{id}");
    }
    for edit in [
        (|acme| acme.settings.password_fallback = false) as fn(&mut Workspace),
        |acme| acme.edit("bob").password_hash = None,
        |acme| acme.edit("bob").deactivated = true,
        |acme| acme.edit("bob").email_two_factor = true,
    ] {
        assert_eq!(of_password(edit, "bob"), nothing());
    }
    for id in ["admin", "bob", "nell", "nobody"] {
        assert_eq!(of_email(|_| (), id), nothing(), "{id}");
    }
    let off = |acme: &mut Workspace| acme.settings.email_enabled = false;
    assert_eq!(of_email(off, "cora"), nothing());
    let mut model = Model::new("acme", acme());
    let elsewhere = BeginTotpAttempt {
        workspace: "globex".to_owned(),
        ..totp("admin", now())
    };
    assert!(matches!(model.ask(&elsewhere).0, Attempt::Unavailable));
}

/// NIST SP 800-63B section 5.2.2: one count for all methods.
#[test]
fn five_attempts_are_begun_by_whatever_method_and_then_one_after_each_lock() {
    let mut workspace = acme();
    workspace.edit("admin").email_two_factor = true;
    let mut model = Model::new("acme", workspace);
    let mut begun = |now| match model.ask(&totp("admin", now)).0 {
        Attempt::Begun(_) => matches!(model.ask(&email("admin", now)).0, Attempt::Begun(_)),
        _ => false,
    };
    // Two failures each; of the third pair the second is locked.
    assert_eq!(FREE_FAILURES, 5);
    assert!(begun(now()));
    assert!(begun(now()));
    assert!(!begun(now()));
    let mut now = now();
    for seconds in [30, 60, 120, 240, 480, 960, 1920, 3600, 3600] {
        let lock = std::time::Duration::from_secs(seconds);
        let last = now + (lock - std::time::Duration::from_millis(1));
        assert!(matches!(
            model.ask(&totp("admin", last)).0,
            Attempt::Locked(_)
        ));
        now = now + lock;
        assert!(
            matches!(model.ask(&totp("admin", now)).0, Attempt::Begun(_)),
            "{seconds}"
        );
    }
}
