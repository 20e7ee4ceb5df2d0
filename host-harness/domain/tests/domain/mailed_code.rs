//! When a code by e-mail is sent.

use crate::acme::{after, check, decided, failures, mailed, now};
use crate::model::Workspace;
use chat_domain::account::{Email, MailedCode};
use chat_domain::attempts::Lock;
use chat_domain::mailed_code::{EmailCode, SendEmailCode};
use chat_domain::time::Timestamp;
use expect_test::expect;

fn send_at(user: &str, now: Timestamp) -> SendEmailCode {
    SendEmailCode {
        workspace: "acme".to_owned(),
        user: user.to_owned(),
        code: "543210".into(),
        now,
    }
}

fn send(user: &str) -> SendEmailCode {
    send_at(user, now())
}

#[test]
fn a_code_is_sent_to_every_verified_address_and_replaces_one_that_has_ended() {
    check(
        |acme| {
            acme.settings.email_code_seconds = 60;
            let cora = acme.edit("cora");
            cora.mailed_code = Some(mailed(5, now()));
            cora.failures = failures(5, Some(now()));
            for (address, verified) in [("cora@example.org", true), ("cora@example.net", false)] {
                cora.emails.push(Email {
                    address: address.to_owned(),
                    verified,
                });
            }
        },
        &send("cora"),
        &expect![[r#"
            Sent { expires: Timestamp(1234567950000) }
            remove-code-mails cora
            set-mailed-code cora 543210/now/+60s/0/2
            mail cora@example.com code now until +60s "Authentication Code" "The code for Cora is 543-210. Enter its six digits."
            mail cora@example.org code now until +60s "Authentication Code" "The code for Cora is 543-210. Enter its six digits."
        "#]],
    );
}

#[test]
fn no_code_is_sent_beside_another_to_a_locked_account_or_to_who_may_use_none() {
    let live = EmailCode::Live { expires: after(1) };
    let sent = |tries| {
        move |acme: &mut Workspace| {
            acme.edit("cora").mailed_code = Some(mailed(tries, after(1)));
        }
    };
    let unchanged = |(answer, changes): (EmailCode, String)| {
        assert_eq!(changes, "");
        answer
    };
    assert_eq!(unchanged(decided(sent(0), &send("cora"))), live);
    assert_eq!(unchanged(decided(sent(4), &send("cora"))), live);
    assert_eq!(
        unchanged(decided(sent(5), &send("cora"))),
        EmailCode::Locked(Lock::Until(after(1)))
    );
    let locked = |acme: &mut Workspace| {
        acme.edit("cora").failures = failures(5, Some(after(2)));
    };
    assert_eq!(
        unchanged(decided(locked, &send("cora"))),
        EmailCode::Locked(Lock::Until(after(2)))
    );
    for (lock, ends, later) in [(1, 2, 2), (2, 1, 2)] {
        let both = |acme: &mut Workspace| {
            acme.edit("cora").failures = failures(5, Some(after(lock)));
            acme.edit("cora").mailed_code = Some(mailed(5, after(ends)));
        };
        let until = after(later);
        let answer = unchanged(decided(both, &send("cora")));
        assert_eq!(answer, EmailCode::Locked(Lock::Until(until)));
    }
    for id in ["admin", "alice", "bob", "nell", "nobody"] {
        let answer = unchanged(decided(|_| (), &send(id)));
        assert_eq!(answer, EmailCode::Unavailable, "{id}");
    }
    for edit in [
        (|acme| acme.settings.email_enabled = false) as fn(&mut Workspace),
        |acme| acme.edit("cora").email_two_factor = false,
        |acme| {
            acme.edit("cora")
                .emails
                .iter_mut()
                .for_each(|e| e.verified = false)
        },
    ] {
        assert_eq!(
            unchanged(decided(edit, &send("cora"))),
            EmailCode::Unavailable
        );
    }
    let elsewhere = SendEmailCode {
        workspace: "globex".to_owned(),
        ..send("cora")
    };
    assert_eq!(
        unchanged(decided(|_| (), &elsewhere)),
        EmailCode::Unavailable
    );
}

/// Mail that has not come in a minute is asked for again; who guesses has no more tries.
#[test]
fn after_a_minute_another_code_replaces_the_one_that_was_sent() {
    let sent = |acme: &mut Workspace| {
        acme.edit("cora").mailed_code = Some(mailed(3, after(3_000_000)));
    };
    let (answer, changes) = decided(sent, &send_at("cora", after(59_999)));
    let expires = after(3_000_000);
    assert_eq!(
        (answer, changes.as_str()),
        (EmailCode::Live { expires }, "")
    );
    let (answer, changes) = decided(sent, &send_at("cora", after(60_000)));
    let expires = after(3_660_000);
    assert_eq!(answer, EmailCode::Sent { expires });
    let replaced = "remove-code-mails cora\nset-mailed-code cora 543210/+60s/+3660s/3/1\n";
    assert!(changes.starts_with(replaced), "{changes}");
}

/// What a clock that was ahead has sent is no code.
#[test]
fn a_code_from_tomorrow_is_none() {
    let sent_at = |millis: u64| {
        move |acme: &mut Workspace| {
            acme.edit("cora").mailed_code = Some(MailedCode {
                issued: after(millis),
                ..mailed(0, after(90_000_000))
            });
        }
    };
    let (answer, _) = decided(sent_at(300_000), &send("cora"));
    assert!(matches!(answer, EmailCode::Live { .. }), "clocks differ");
    for millis in [300_001, 86_400_000] {
        let (answer, _) = decided(sent_at(millis), &send("cora"));
        let expires = after(3_600_000);
        assert_eq!(answer, EmailCode::Sent { expires }, "{millis}");
    }
}
