//! What every store promises of codes by e-mail: the tests know a store as the
//! trait and as `Data`'s words only.

use super::new_data;
use chat_domain::account::Token;
use chat_domain::attempts::Attempt;
use chat_domain::attempts::FREE_FAILURES;
use chat_domain::attempts::Lock;
use chat_domain::mailed_code::EmailCode;
use chat_domain::member::{Act, Authority, Code, Denial, MemberChange};
use chat_domain::proof::Proof;
use chat_domain::reset::{Receipt, Refusal, Reset, Target};
use chat_domain::time::Timestamp;
use chat_domain::totp::code_hash;
use chat_testing::ask::{Ask as _, source};
use chat_testing::{ACME, Data, GLOBEX, after, caller_of, now, sealed, token_hash};
use secrecy::SecretString;

const CODE: &str = "012345";

/// Where admin, alice and bob, of both workspaces, opted in, and each was sent the
/// same code just now, which ends in a minute.
async fn sent() -> Data {
    let data = opted_in().await;
    for workspace in [ACME, GLOBEX] {
        for user in ["admin", "alice", "bob"] {
            data.send_code(workspace, user, &code_hash(CODE), 0, 1);
        }
    }
    data
}

async fn opted_in() -> Data {
    let data = new_data().await;
    data.edit(
        "UPDATE user SET email_two_factor = TRUE, password_hash = 'hash'
         WHERE id IN ('admin', 'alice', 'bob')",
    );
    data
}

fn row(user: &str, failures: u32) -> String {
    let hash = sealed(&code_hash(CODE));
    format!(
        "email_code: workspace=acme user={user} hash={hash} expires=1234567950000 \
         failures={failures} issued=1234567890000 mails=1"
    )
}

/// The last millisecond of the code, and the first after it.
fn moments() -> [Timestamp; 2] {
    [Timestamp::from_millis(1_234_567_949_999), after(60)]
}

async fn begin(data: &Data, user: &str, now: Timestamp) -> Attempt<Option<String>> {
    let attempt = data.store.begin_email_attempt(ACME, user, now);
    attempt.await.unwrap()
}

async fn send(data: &Data, user: &str, now: Timestamp) -> EmailCode {
    let sent = data
        .store
        .send_email_code(ACME, user, "543210".into(), now)
        .await;
    sent.unwrap()
}

/// A reset of alice's own TOTP, by a code that was compared with that which has its hash; and a
/// log-in of hers by this code, for which an attempt is begun.
async fn reset(data: &Data, code: &str, now: Timestamp) -> Result<Receipt, Refusal> {
    let order = Reset {
        workspace: ACME.to_owned(),
        caller: caller_of("alice"),
        proof: Proof::EmailCode(code_hash(code).into()),
        target: Target::Caller,
        now,
        request_id: "request-1".to_owned(),
        source: source(),
    };
    data.store.reset(order).await.unwrap()
}

async fn log_in(data: &Data, code: &str, now: Timestamp) -> Result<(), Denial> {
    let token = Token {
        hash: token_hash("new"),
        expires: Some(after(60)),
        bypass_two_factor: false,
        name: None,
    };
    let code = match begin(data, "alice", now).await {
        Attempt::Begun(hash) => {
            let right = hash.filter(|hash| *hash == code_hash(code));
            let right = right.map(SecretString::from).ok_or(Denial::WrongCode);
            Some(Code::Email(right))
        }
        Attempt::Locked(lock) => Some(Code::Email(Err(Denial::Locked(lock)))),
        Attempt::Unavailable => None,
    };
    let change = MemberChange {
        workspace: ACME.to_owned(),
        user: "alice".to_owned(),
        authority: Authority::Password("hash".into()),
        act: Act::LogIn(token),
        code,
        now,
        request_id: "request-1".to_owned(),
        source: source(),
    };
    data.store.change(change).await.unwrap()
}

#[tokio::test]
async fn a_code_is_sent_to_the_verified_addresses_of_the_account_that_asks() {
    let data = opted_in().await;
    data.edit("INSERT INTO setting VALUES ('acme', 'email-code-seconds', '60')");
    let before = data.dump();
    let expires = after(60);
    assert_eq!(
        send(&data, "alice", now()).await,
        EmailCode::Sent { expires }
    );
    let hash = sealed(&code_hash("543210"));
    let mail = |id: u32, address: &str| {
        format!(
            "+ outbox: id={id} workspace=acme message_id=… recipient={address} \
             subject=Authentication Code body=sealed(The code for Alice.acme is 543-210. Enter its six \
             digits.\\n\\nIt can be used once, until 2009-02-13T23:32:30Z. If you did not ask for \
             it,\\nsomebody else knows your password: change it.\\n) queued=1234567890000 \
             expires=1234567950000 holds_code=1 tries=0 claimed=0 next_try=1234567890000 \
             last_problem=null user=alice doubtful=0\n"
        )
    };
    assert_eq!(
        before.changes(&data.dump()),
        format!(
            "+ email_code: workspace=acme user=alice hash={hash} expires=1234567950000 \
             failures=0 issued=1234567890000 mails=2\n{}{}",
            mail(1, "alice@example.com"),
            mail(2, "alice@example.org")
        )
    );
}

/// However often it is asked for: mail cannot be made to flood an address, and a
/// new code would give a guesser new tries.
#[tokio::test]
async fn no_code_is_sent_beside_another_or_to_a_locked_account() {
    let live = EmailCode::Live { expires: after(60) };
    for (edit, user, expected) in [
        ("", "alice", live),
        ("UPDATE email_code SET failures = 4", "alice", live),
        (
            "UPDATE email_code SET failures = 5",
            "alice",
            EmailCode::Locked(Lock::Until(after(60))),
        ),
        (
            "INSERT INTO setting VALUES ('acme', 'email-code-failures', '1');
             UPDATE email_code SET failures = 1",
            "alice",
            EmailCode::Locked(Lock::Until(after(60))),
        ),
        (
            "DELETE FROM email_code;
             INSERT INTO failed_attempt (workspace, user, count, locked_until) VALUES ('acme', 'alice', 5, 1234567890001)",
            "alice",
            EmailCode::Locked(Lock::Until(Timestamp::from_millis(1_234_567_890_001))),
        ),
        ("", "moderator", EmailCode::Unavailable),
        (
            "INSERT INTO setting VALUES ('acme', 'email-enabled', 'false')",
            "alice",
            EmailCode::Unavailable,
        ),
        (
            "UPDATE email SET verified = FALSE WHERE (workspace, user) = ('acme', 'alice')",
            "alice",
            EmailCode::Unavailable,
        ),
        ("", "gina", EmailCode::Unavailable),
    ] {
        let data = sent().await;
        data.edit(edit);
        let before = data.dump();
        assert_eq!(send(&data, user, now()).await, expected, "{user} {edit}");
        assert_eq!(before.changes(&data.dump()), "", "{user} {edit}");
    }
}

#[tokio::test]
async fn another_code_is_sent_from_the_moment_at_which_the_last_ends() {
    let data = sent().await;
    let [last, next] = moments();
    let expires = after(60);
    assert_eq!(
        send(&data, "alice", last).await,
        EmailCode::Live { expires }
    );
    let expires = after(3660);
    assert_eq!(
        send(&data, "alice", next).await,
        EmailCode::Sent { expires }
    );
}

/// The failure is the account's and the code's, and no other's.
#[tokio::test]
async fn an_attempt_counts_one_failure_and_gives_out_the_callers_own_code() {
    let data = sent().await;
    for (workspace, user) in [(GLOBEX, "alice"), (ACME, "bob")] {
        data.send_code(workspace, user, "another", 0, 1);
    }
    let before = data.dump();
    let Attempt::Begun(hash) = begin(&data, "alice", now()).await else {
        unreachable!("alice was sent a code")
    };
    assert_eq!(hash, Some(code_hash(CODE)));
    let changes = before.changes(&data.dump());
    let elsewhere = data.store.begin_email_attempt(GLOBEX, "alice", now());
    let Attempt::Begun(hash) = elsewhere.await.unwrap() else {
        unreachable!("alice of the other workspace was sent a code, too")
    };
    assert_eq!(hash.as_deref(), Some("another"));
    assert_eq!(
        changes,
        format!(
            "- {}\n+ {}\n\
             + failed_attempt: workspace=acme user=alice count=1 locked_until=null told=0\n",
            row("alice", 0),
            row("alice", 1)
        )
    );
}

#[tokio::test]
async fn an_attempt_of_who_may_use_no_code_is_not_counted() {
    for (edit, user) in [
        ("", "moderator"),
        ("", "gina"),
        ("", "nobody"),
        (
            "UPDATE user SET email_two_factor = FALSE WHERE (workspace, id) = ('acme', 'alice')",
            "alice",
        ),
        (
            "UPDATE email SET verified = FALSE WHERE (workspace, user) = ('acme', 'alice')",
            "alice",
        ),
        (
            "INSERT INTO setting VALUES ('acme', 'email-enabled', 'false')",
            "alice",
        ),
    ] {
        let data = sent().await;
        data.edit(edit);
        let before = data.dump();
        let attempt = begin(&data, user, now()).await;
        assert!(matches!(attempt, Attempt::Unavailable), "{user} {edit}");
        assert_eq!(before.changes(&data.dump()), "", "{user} {edit}");
    }
}

/// Five wrong tries end the code, however slowly they come; a lock of the account
/// holds for its codes, too.
#[tokio::test]
async fn a_code_or_an_account_with_too_many_failures_is_locked() {
    let data = sent().await;
    for _ in 0..FREE_FAILURES {
        assert!(matches!(
            begin(&data, "alice", now()).await,
            Attempt::Begun(_)
        ));
    }
    let before = data.dump();
    for moment in [now(), after(29), after(31)] {
        assert!(matches!(
            begin(&data, "alice", moment).await,
            Attempt::Locked { .. }
        ));
        // The lock ends after 30 s, but the code was tried too often.
        let denied = Err(Denial::Locked(Lock::Until(after(60))));
        assert_eq!(log_in(&data, CODE, moment).await, denied);
    }
    let changes = before.changes(&data.dump());
    assert_eq!(changes.matches("decision=locked").count(), 3, "{changes}");
    assert_eq!(changes.lines().count(), 3, "{changes}");
    let data = sent().await;
    data.edit("INSERT INTO failed_attempt (workspace, user, count, locked_until) VALUES ('acme', 'alice', 5, 1234567890001)");
    let attempt = begin(&data, "alice", now()).await;
    assert!(matches!(attempt, Attempt::Locked { .. }));
    let until = Timestamp::from_millis(1_234_567_890_001);
    let denied = Err(Denial::Locked(Lock::Until(until)));
    assert_eq!(log_in(&data, CODE, now()).await, denied);
}

#[tokio::test]
async fn a_code_ends_with_its_last_millisecond() {
    for (moment, is_live) in moments().into_iter().zip([true, false]) {
        let data = sent().await;
        let Attempt::Begun(hash) = begin(&data, "alice", moment).await else {
            unreachable!("alice may use codes")
        };
        assert_eq!(hash.is_some(), is_live);
        assert_eq!(log_in(&data, CODE, moment).await.is_ok(), is_live);
        let data = sent().await;
        assert_eq!(reset(&data, CODE, moment).await.is_ok(), is_live);
    }
}

/// OWASP ASVS 5.0 V6.5.1: used once; those of others stay.
#[tokio::test]
async fn a_code_is_accepted_once_and_spends_no_others() {
    let gone = format!("- {}\n", row("alice", 0));
    let data = sent().await;
    for wrong in ["543210", "", "12345", "012345 ", &code_hash(CODE)] {
        assert_eq!(reset(&data, wrong, now()).await, Err(Refusal::WrongProof));
    }
    let before = data.dump();
    assert_eq!(reset(&data, CODE, now()).await, Ok(Receipt::Removed));
    let changes = before.changes(&data.dump());
    assert!(changes.contains(&gone), "{changes}");
    assert_eq!(changes.matches("email_code:").count(), 1, "{changes}");
    let data = sent().await;
    let before = data.dump();
    assert_eq!(log_in(&data, "543210", now()).await, Err(Denial::WrongCode));
    assert_eq!(log_in(&data, CODE, now()).await, Ok(()));
    assert_eq!(log_in(&data, CODE, now()).await, Err(Denial::WrongCode));
    let changes = before.changes(&data.dump());
    assert!(changes.contains(&gone), "{changes}");
    assert_eq!(changes.matches("email_code:").count(), 1, "{changes}");
}

/// Where the factor was taken away after the code was compared.
#[tokio::test]
async fn a_code_of_who_may_use_none_any_more_proves_nothing() {
    for edit in [
        "UPDATE user SET email_two_factor = FALSE WHERE (workspace, id) = ('acme', 'alice')",
        "UPDATE email SET verified = FALSE WHERE (workspace, user) = ('acme', 'alice')",
        "INSERT INTO setting VALUES ('acme', 'email-enabled', 'false')",
    ] {
        let data = sent().await;
        data.edit(edit);
        let before = data.dump();
        let refused = reset(&data, CODE, now()).await;
        assert_eq!(refused, Err(Refusal::WrongProof), "{edit}");
        assert_eq!(before.changes(&data.dump()), "", "{edit}");
        let refused = log_in(&data, CODE, now()).await;
        assert_eq!(refused, Err(Denial::CodeRequired), "{edit}");
    }
}

/// The other workspace's accounts of the same ids, and others here.
#[tokio::test]
async fn codes_and_addresses_of_others_make_no_factor() {
    for (workspace, user, email) in [
        (ACME, "alice", true),
        (ACME, "moderator", false),
        (ACME, "gina", false),
        (GLOBEX, "alice", true),
        (GLOBEX, "gina", false),
        ("initech", "alice", false),
    ] {
        let data = opted_in().await;
        let methods = data.store.methods(workspace, user).await.unwrap();
        assert_eq!(methods.email, email, "{workspace} {user}");
    }
    let data = opted_in().await;
    data.edit("UPDATE email SET verified = FALSE WHERE (workspace, user) = ('acme', 'alice')");
    assert!(!data.store.methods(ACME, "alice").await.unwrap().email);
    assert!(data.store.methods(GLOBEX, "alice").await.unwrap().email);
}
