//! What every store promises of what an account does to itself: the tests know a
//! store as the trait and as `Data`'s words only.

use super::new_data;
use chat_domain::account::Token;
use chat_domain::attempts::FREE_FAILURES;
use chat_domain::attempts::Lock;
use chat_domain::mail::{self, Event, Language};
use chat_domain::member::{Act, Authority, Code, Denial, MemberChange};
use chat_domain::time::Timestamp;
use chat_domain::totp::{TotpKey, code_hash};
use chat_testing::ask::{Ask as _, source};
use chat_testing::{
    ACME, BACKUP_CODES, Data, GLOBEX, NOTICE_EXPIRES, after, code_of, mail_row, notices_to_alice,
    now, sealed, sealed_key, step, token_hash,
};
use std::time::Duration;

/// Where bob, of both workspaces, has a password, a key that was shown, and three
/// sessions, one of which has ended; and everybody has failed once.
async fn busy() -> Data {
    let data = new_data().await;
    for workspace in [ACME, GLOBEX] {
        data.edit(&format!(
            "UPDATE user SET password_hash = 'hash' WHERE workspace = '{workspace}' AND id IN ('alice', 'bob');
             INSERT INTO login_token VALUES
             ('{workspace}', 'alice', 'over', 1234567890000, FALSE, NULL),
             ('{workspace}', 'bob', 'session', 1234567891000, FALSE, NULL),
             ('{workspace}', 'bob', 'phone', 1234567891000, FALSE, NULL),
             ('{workspace}', 'bob', 'ended', 1234567890000, FALSE, NULL),
             ('{workspace}', 'admin', 'admin-phone', 1234567891000, FALSE, NULL),
             ('{workspace}', 'admin', 'admin-ended', 1234567890000, FALSE, NULL);
             INSERT INTO failed_attempt SELECT workspace, id, 1, NULL, 0 FROM user
             WHERE workspace = '{workspace}'"
        ));
        for profile in data.store.profiles(workspace).await.unwrap() {
            let shown = format!("{workspace}/shown");
            data.show_key(workspace, &profile.user.id, &shown, 1_234_568_790_000);
        }
    }
    data
}

fn token() -> Authority {
    Authority::Token(token_hash("alice-token"))
}

fn password() -> Authority {
    Authority::Password("hash".into())
}

/// An act of alice, with a code that is right.
fn alices(act: Act, authority: Authority) -> MemberChange {
    MemberChange {
        workspace: ACME.to_owned(),
        user: "alice".to_owned(),
        authority,
        act,
        code: Some(Code::Totp(code_of(ACME, "alice", step()).into())),
        now: now(),
        request_id: "request-1".to_owned(),
        source: source(),
    }
}

fn log_in() -> MemberChange {
    let token = Token {
        hash: "new".to_owned(),
        expires: Some(after(60)),
        bypass_two_factor: false,
        name: None,
    };
    alices(Act::LogIn(token), password())
}

fn disable() -> MemberChange {
    alices(Act::DisableTotp, token())
}

fn replace_codes() -> MemberChange {
    let backup_code_hashes = vec!["new".to_owned()];
    alices(Act::ReplaceBackupCodes { backup_code_hashes }, token())
}

/// An act of bob, who has no TOTP, from one of his sessions.
fn bobs(act: Act, code: Code) -> MemberChange {
    MemberChange {
        user: "bob".to_owned(),
        authority: Authority::Token("session".to_owned()),
        code: Some(code),
        ..alices(act, token())
    }
}

fn begin() -> MemberChange {
    let key = TotpKey::new(b"new key".to_vec());
    bobs(Act::BeginEnrolment(key), Code::Password(Ok("hash".into())))
}

/// The code of the key that was shown to everybody of acme.
fn shown_code(step: u64) -> Code {
    Code::Totp(TotpKey::new(b"acme/shown".to_vec()).code(step).into())
}

fn confirm() -> MemberChange {
    let backup_code_hashes = vec!["new".to_owned()];
    bobs(Act::ConfirmTotp { backup_code_hashes }, shown_code(step()))
}

/// Every act, all of them right.
const ACTS: [fn() -> MemberChange; 5] = [log_in, begin, confirm, disable, replace_codes];

async fn outcome(data: &Data, change: MemberChange) -> Result<(), Denial> {
    data.store.change(change).await.unwrap()
}

fn assert_changes(changes: &str, mut expected: Vec<String>, name: &str) {
    let mut changes: Vec<_> = changes.lines().collect();
    changes.sort_unstable();
    expected.sort_unstable();
    assert_eq!(changes, expected, "{name}");
}

fn audit(user: &str, decision: &str, action: &str) -> String {
    format!(
        "+ audit: id=1 workspace=acme at=1234567890000 request_id=request-1 caller={user} \
         target={user} decision={decision} action={action}"
    )
}

/// The record of what was done, proved by this and told by so many mails.
fn done(user: &str, action: &str, proof: &str, told: &str) -> String {
    let record = audit(user, "done reason=null", action);
    format!("{record} address=192.0.2.1 agent=test proof={proof} told={told} calls=1")
}

fn notice_to_bob(event: &Event<'_>) -> String {
    let letter = mail::notice(Language::English, event, now(), Some(&source()));
    mail_row(1, "bob", "bob@acme.example", &letter, NOTICE_EXPIRES)
}

fn session(sign: char, user: &str, hash: &str, expires: &str) -> String {
    format!(
        "{sign} login_token: workspace=acme user={user} hash={hash} expires={expires} \
         bypass_two_factor=0 name=null"
    )
}

fn backup_code(sign: char, user: &str, hash: &str) -> String {
    let hash = sealed(hash);
    format!("{sign} backup_code: workspace=acme user={user} hash={hash} spent=0")
}

fn old_codes() -> [String; 2] {
    BACKUP_CODES.map(|code| backup_code('-', "alice", &code_hash(code)))
}

fn totp(sign: char, last_step: &str) -> String {
    let key = sealed_key("acme/alice");
    format!("{sign} totp: workspace=acme user=alice key={key} last_step={last_step}")
}

fn pending(sign: char, user: &str, key: &str) -> String {
    let key = sealed_key(key);
    format!("{sign} pending_totp: workspace=acme user={user} key={key} expires=1234568790000")
}

fn failure(user: &str) -> String {
    format!("- failed_attempt: workspace=acme user={user} count=1 locked_until=null told=0")
}

/// OWASP ASVS 5.0 V8.4.1 (tenants): the accounts of the same ids in the other
/// workspace, and all others in this one, are untouched.
#[tokio::test]
async fn an_act_changes_these_rows_and_no_others() {
    let spent = || [totp('-', "null"), totp('+', "41152263")];
    let mut logged_in = vec![
        done("alice", "log-in", "totp", "null"),
        failure("alice"),
        session('-', "alice", &token_hash("alice-expired"), "1234567890000"),
        session('-', "alice", "over", "1234567890000"),
        session('+', "alice", "new", "1234567950000"),
    ];
    logged_in.extend(spent());
    let begun = vec![
        done("bob", "begin-enrolment", "password", "1"),
        notice_to_bob(&Event::KeyShown),
        failure("bob"),
        pending('-', "bob", "acme/shown"),
        pending('+', "bob", "new key"),
    ];
    let confirmed = vec![
        done("bob", "confirm-totp", "totp", "1"),
        notice_to_bob(&Event::Enrolled),
        backup_code('+', "bob", "new"),
        session('-', "bob", "ended", "1234567890000"),
        session('-', "bob", "phone", "1234567891000"),
        pending('-', "bob", "acme/shown"),
        format!(
            "+ totp: workspace=acme user=bob key={} last_step=41152263",
            sealed_key("acme/shown")
        ),
    ];
    let mut disabled = vec![
        done("alice", "disable-totp", "totp", "2"),
        failure("alice"),
        pending('-', "alice", "acme/shown"),
        totp('-', "null"),
    ];
    disabled.extend(notices_to_alice(&Event::Disabled, Some(&source())));
    disabled.extend(old_codes());
    let mut replaced = vec![
        done("alice", "replace-backup-codes", "totp", "2"),
        failure("alice"),
        backup_code('+', "alice", "new"),
    ];
    replaced.extend(notices_to_alice(&Event::NewBackupCodes, Some(&source())));
    replaced.extend(spent());
    replaced.extend(old_codes());
    for (act, expected) in ACTS
        .into_iter()
        .zip([logged_in, begun, confirmed, disabled, replaced])
    {
        let (data, change) = (busy().await, act());
        let name = format!("{:?}", change.act);
        let before = data.dump();
        assert_eq!(outcome(&data, change).await, Ok(()), "{name}");
        assert_changes(&before.changes(&data.dump()), expected, &name);
    }
}

/// OWASP ASVS 5.0 V7.4.1, V7.4.2 and V8.3.2: what held when the request came must
/// hold at the commit.
#[tokio::test]
async fn an_authority_that_ended_meanwhile_is_missed_at_the_commit() {
    for edit in [
        "DELETE FROM login_token WHERE workspace = 'acme';
         UPDATE user SET password_hash = 'another' WHERE workspace = 'acme'",
        "UPDATE login_token SET expires = 1234567890000 WHERE workspace = 'acme';
         UPDATE user SET password_hash = 'hasH' WHERE workspace = 'acme'",
        "UPDATE login_token SET hash = 'of ' || hash WHERE workspace = 'acme';
         UPDATE user SET password_hash = NULL WHERE workspace = 'acme'",
        "UPDATE user SET deactivated = TRUE WHERE workspace = 'acme'",
    ] {
        for act in ACTS {
            let (data, change) = (busy().await, act());
            data.edit(edit);
            let name = format!("{:?} after {edit}", change.act);
            let user = change.user.clone();
            let before = data.dump();
            let refused = outcome(&data, change).await;
            assert_eq!(refused, Err(Denial::NotAuthenticated), "{name}");
            let changes = before.changes(&data.dump());
            let refusal = audit(&user, "refused reason=not-authorized", "");
            assert_eq!(changes.lines().count(), 1, "{name}: {changes}");
            assert!(changes.starts_with(&refusal), "{name}: {changes}");
        }
    }
}

#[tokio::test]
async fn anothers_token_and_password_are_no_authority() {
    let data = busy().await;
    data.edit(
        "UPDATE user SET password_hash = 'admins' WHERE (workspace, id) = ('acme', 'admin');
         UPDATE user SET password_hash = 'elsewhere' WHERE workspace = 'globex';
         INSERT INTO login_token VALUES ('globex', 'alice', 'elsewhere', NULL, FALSE, NULL)",
    );
    for authority in [
        Authority::Token(token_hash("admin-token")),
        Authority::Token("elsewhere".to_owned()),
        Authority::Token("hash".to_owned()),
        Authority::Password("admins".into()),
        Authority::Password("elsewhere".into()),
        Authority::Password("".into()),
        Authority::Password(token_hash("alice-token").into()),
    ] {
        let name = format!("{authority:?}");
        let refused = outcome(&data, alices(Act::DisableTotp, authority)).await;
        assert_eq!(refused, Err(Denial::NotAuthenticated), "{name}");
    }
    for workspace in ["initech", ""] {
        let elsewhere = MemberChange {
            workspace: workspace.to_owned(),
            ..disable()
        };
        assert!(data.store.change(elsewhere).await.is_err(), "{workspace}");
    }
}

/// NIST SP 800-63B section 5.2.2: locked, the right code is refused, too, by
/// every act that takes one.
#[tokio::test]
async fn a_locked_account_is_refused_the_right_code() {
    for act in [log_in, confirm, disable, replace_codes] {
        let (data, change) = (busy().await, act());
        let name = format!("{:?}", change.act);
        let user = change.user.clone();
        data.edit("UPDATE failed_attempt SET locked_until = 1234567890001");
        let before = data.dump();
        let until = Timestamp::from_millis(1_234_567_890_001);
        let denied = Err(Denial::Locked(Lock::Until(until)));
        assert_eq!(outcome(&data, change).await, denied, "{name}");
        let changes = before.changes(&data.dump());
        let refusal = audit(&user, "locked reason=totp-max-attempts", "");
        assert_eq!(changes.lines().count(), 1, "{name}: {changes}");
        assert!(changes.starts_with(&refusal), "{name}: {changes}");
        let later = MemberChange {
            now: now() + Duration::from_millis(1),
            ..act()
        };
        assert_eq!(outcome(&data, later).await, Ok(()), "{name}");
    }
}

/// Keycloak's CVE-2024-4629: a guess is counted before it is looked at, and one
/// count holds all acts.
#[tokio::test]
async fn a_wrong_code_is_counted_by_every_act() {
    for act in [log_in, confirm, disable, replace_codes] {
        let data = new_data().await;
        data.edit(
            "UPDATE user SET password_hash = 'hash' WHERE workspace = 'acme';
             INSERT INTO login_token VALUES ('acme', 'bob', 'session', NULL, FALSE, NULL)",
        );
        data.show_key(ACME, "bob", "acme/shown", 1_234_568_790_000);
        for guess in 0..FREE_FAILURES {
            let wrong = MemberChange {
                code: Some(Code::Totp(format!("00000{guess}").into())),
                ..act()
            };
            assert_eq!(outcome(&data, wrong).await, Err(Denial::WrongCode));
        }
        let until = now() + Duration::from_secs(30);
        let denied = Err(Denial::Locked(Lock::Until(until)));
        assert_eq!(outcome(&data, act()).await, denied);
    }
}

/// RFC 6238 section 5.2: as many steps as the workspace says, and none that is
/// older than the last accepted one.
#[tokio::test]
async fn a_code_is_accepted_within_the_window() {
    for (window, away, accepted) in [
        (0, -1, false),
        (0, 0, true),
        (0, 1, false),
        (1, -2, false),
        (1, -1, true),
        (1, 1, true),
        (1, 2, false),
    ] {
        for act in [log_in, confirm, disable, replace_codes] {
            let (data, change) = (busy().await, act());
            let name = format!("{:?}, window {window}, {away} steps away", change.act);
            data.edit(&format!(
                "INSERT INTO setting VALUES ('acme', 'totp-window', '{window}')"
            ));
            let step = step().wrapping_add_signed(away);
            let code = match change.user.as_str() {
                "alice" => Code::Totp(code_of(ACME, "alice", step).into()),
                _ => shown_code(step),
            };
            let change = MemberChange {
                code: Some(code),
                ..change
            };
            let expected = if accepted {
                Ok(())
            } else {
                Err(Denial::WrongCode)
            };
            assert_eq!(outcome(&data, change).await, expected, "{name}");
        }
    }
}

/// RFC 6238 section 5.2 and OWASP ASVS 5.0 V6.5.1.
#[tokio::test]
async fn neither_a_spent_code_nor_an_older_one_is_accepted_by_another_act() {
    for act in [log_in, disable, replace_codes] {
        for older in 0..=1 {
            let change = MemberChange {
                code: Some(Code::Totp(code_of(ACME, "alice", step() - older).into())),
                ..act()
            };
            let name = format!("{:?}, {older} steps older", change.act);
            let data = busy().await;
            data.edit(&format!(
                "UPDATE totp SET last_step = {} WHERE (workspace, user) = ('acme', 'alice')",
                step()
            ));
            let before = data.dump();
            let refused = outcome(&data, change).await;
            assert_eq!(refused, Err(Denial::Replayed), "{name}");
            let changes = before.changes(&data.dump());
            let refusal = audit("alice", "replayed reason=totp-invalid", "");
            assert!(changes.contains(&refusal), "{name}: {changes}");
            assert_eq!(changes.lines().count(), 1, "{name}: {changes}");
        }
    }
}

/// The caller's word for the factor, which is the request's, opens nothing that
/// the account does not have or the workspace does not use.
#[tokio::test]
async fn a_code_for_a_factor_that_the_account_may_not_use_is_none() {
    let code = |name| match name {
        "totp" => Code::Totp(code_of(ACME, "alice", step()).into()),
        "email" => Code::Email(Ok(code_hash("012345").into())),
        _ => Code::Password(Ok("hash".into())),
    };
    for (edit, name) in [
        ("", "email"),
        ("", "password"),
        (
            "UPDATE user SET email_two_factor = TRUE;
             INSERT INTO setting VALUES ('acme', 'email-enabled', 'false')",
            "email",
        ),
        (
            "UPDATE user SET email_two_factor = TRUE;
             INSERT INTO setting VALUES ('acme', 'totp-enabled', 'false')",
            "totp",
        ),
        (
            "UPDATE user SET email_two_factor = TRUE;
             INSERT INTO setting VALUES ('acme', 'totp-enabled', 'false')",
            "password",
        ),
    ] {
        for act in [log_in, disable, replace_codes] {
            let data = busy().await;
            data.send_code(ACME, "alice", &code_hash("012345"), 0, 1);
            data.edit(edit);
            let change = MemberChange {
                code: Some(code(name)),
                ..act()
            };
            let name = format!("{name} for {:?}", change.act);
            let before = data.dump();
            assert_eq!(
                outcome(&data, change).await,
                Err(Denial::CodeRequired),
                "{name}"
            );
            let changes = before.changes(&data.dump());
            let refusal = audit("alice", "refused reason=totp-required", "");
            // An attempt by a password, or a code by e-mail, was counted before: it comes off.
            let taken_off = usize::from(!name.starts_with("totp"));
            assert_eq!(changes.lines().count(), 1 + taken_off, "{name}: {changes}");
            assert!(changes.starts_with(&refusal), "{name}: {changes}");
        }
    }
}

/// The key that the account of the same id was shown in another workspace.
#[tokio::test]
async fn a_key_that_was_shown_elsewhere_proves_nothing() {
    for (edit, expected) in [
        (
            "DELETE FROM pending_totp WHERE workspace = 'acme'",
            Denial::NotEnrolled,
        ),
        ("", Denial::WrongCode),
    ] {
        let data = busy().await;
        data.edit(edit);
        let elsewhere = TotpKey::new(b"globex/shown".to_vec()).code(step());
        let change = MemberChange {
            code: Some(Code::Totp(elsewhere.into())),
            ..confirm()
        };
        assert_eq!(outcome(&data, change).await, Err(expected));
    }
}

/// The password is compared before the commit, with the hash of that moment.
#[tokio::test]
async fn a_password_that_was_changed_meanwhile_begins_no_enrolment() {
    for compared in [Err(Denial::WrongCode), Ok("hash".into())] {
        let data = busy().await;
        data.edit("UPDATE user SET password_hash = 'hasH' WHERE workspace = 'acme'");
        let change = MemberChange {
            code: Some(Code::Password(compared)),
            ..begin()
        };
        let before = data.dump();
        assert_eq!(outcome(&data, change).await, Err(Denial::WrongCode));
        let changes = before.changes(&data.dump());
        assert_eq!(changes.lines().count(), 1, "{changes}");
    }
}

/// No audit, no change (OWASP ASVS 5.0 V16.3.3).
#[tokio::test]
async fn an_act_that_cannot_be_recorded_does_not_happen() {
    let data = busy().await;
    let told = data.refuse_records("disk full");
    let before = data.dump();
    for act in ACTS {
        let error = data.store.change(act()).await.unwrap_err().to_string();
        assert!(error.starts_with(&told), "{error}");
    }
    assert_eq!(before.changes(&data.dump()), "");
}
