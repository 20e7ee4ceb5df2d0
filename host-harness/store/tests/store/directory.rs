//! What every store promises to operators: the tests know a store as the traits
//! and as `Data`'s words only.

use super::new_data;
use chat_domain::account::{Email, Token, TotpFactor};
use chat_domain::attempts::FREE_FAILURES;
use chat_domain::mail::{self, Event, Language};
use chat_domain::operator::NewUser;
use chat_domain::operator::{
    Operation, Problem, Role, RoleChange, TokenSummary, UserChange, default_roles,
};
use chat_domain::settings::Setting;
use chat_domain::totp::{TotpKey, code_hash};
use chat_testing::ask::Ask as _;
use chat_testing::{
    ACME, Data, GLOBEX, NOTICE_EXPIRES, after, mail_row, notices_to_alice, now, sealed_key,
    token_hash,
};
use std::sync::Arc;
use tokio::task::JoinSet;

fn operation(workspace: &str) -> Operation {
    Operation {
        workspace: workspace.to_owned(),
        now: now(),
        request_id: "command-1".to_owned(),
        forced: false,
    }
}

/// Where alice, of both workspaces, is locked, was sent a code, and has a token
/// `ci`.
async fn busy() -> Data {
    let data = new_data().await;
    for workspace in [ACME, GLOBEX] {
        for _ in 0..FREE_FAILURES {
            let attempt = data.store.begin_totp_attempt(workspace, "alice", now());
            attempt.await.unwrap();
        }
        data.edit(&format!(
            "INSERT INTO login_token VALUES ('{workspace}', 'alice', 'ci-hash', NULL, FALSE, 'ci');
             INSERT INTO outbox (workspace, user, message_id, recipient, subject, body, queued,
                                 expires, holds_code, next_try)
             SELECT workspace, user, '{workspace}0', min(address), 's', 'b', 0, 1, FALSE, 0
             FROM email WHERE workspace = '{workspace}' AND user = 'alice' AND verified
             GROUP BY workspace, user;
             INSERT INTO outbox (workspace, user, message_id, recipient, subject, body, queued,
                                 expires, holds_code, next_try)
             SELECT workspace, user, '{workspace}1', recipient, 's', 'b', 0, 1, TRUE, 0
             FROM outbox WHERE workspace = '{workspace}';"
        ));
        data.send_code(workspace, "alice", "code", 4, 2);
        data.show_key(workspace, "alice", "shown", 1_234_567_950_000);
    }
    data
}

const AUDIT: &str = "+ audit: id=1 workspace=acme at=1234567890000 request_id=command-1 \
                     caller=operator target=alice decision=done reason=";

/// What a record of an operator's ends with, where the holder is told by so many mails.
fn record(detail: &str, action: &str, told: &str) -> String {
    format!(
        "{AUDIT}{detail} action={action} address=null agent=null proof=null told={told} calls=1"
    )
}

/// The notices to alice of `event`, beside the four mails that were there.
fn notices(event: &Event<'_>) -> [String; 2] {
    notices_to_alice(event, None).map(|row| {
        let row = row.replace("outbox: id=2", "outbox: id=6");
        row.replace("outbox: id=1", "outbox: id=5")
    })
}

/// The row of alice, with what differs.
fn alice(password_hash: &str, deactivated: u8) -> String {
    format!(
        "user: workspace=acme id=alice username=Alice.acme username_key=alice.acme \
         password_hash={password_hash} federated=0 deactivated={deactivated} email_two_factor=0 skeleton=alice.acrne \
         skeleton_as_written=alice.acrne"
    )
}

/// A token that is gone; the name of that with this hash is `ci`.
fn ended(token: &str, expires: &str) -> String {
    let (hash, name) = match token {
        "ci" => ("ci-hash".to_owned(), "ci"),
        _ => (token_hash(token), "null"),
    };
    format!(
        "- login_token: workspace=acme user=alice hash={hash} expires={expires} \
         bypass_two_factor=0 name={name}"
    )
}

fn sessions() -> [String; 2] {
    [
        ended("alice-expired", "1234567890000"),
        ended("alice-phone", "1234567891000"),
    ]
}

fn all_tokens() -> Vec<String> {
    let mut all = vec![ended("alice-token", "null"), ended("ci", "null")];
    all.extend(sessions());
    all
}

/// Each change, the rows that it changes, and how many tokens it ends.
/// What alice was shown or sent and has not proved; her notice stays.
fn unproved() -> [String; 3] {
    [
        "- email_code: workspace=acme user=alice hash=sealed(code) expires=1234567950000 \
         failures=4 issued=1234567890000 mails=2"
            .to_owned(),
        "- outbox: id=2 workspace=acme message_id=… recipient=alice@example.com subject=s body=b \
         queued=0 expires=1 holds_code=1 tries=0 claimed=0 next_try=0 last_problem=null \
         user=alice doubtful=0"
            .to_owned(),
        format!(
            "- pending_totp: workspace=acme user=alice key={} expires=1234567950000",
            sealed_key("shown")
        ),
    ]
}

fn changes() -> Vec<(UserChange, Vec<String>, usize)> {
    let locked =
        "failed_attempt: workspace=acme user=alice count=5 locked_until=1234567920000 told=0";
    let role = |role: &str| format!("user_role: workspace=acme user=alice role={role}");
    let backup_code =
        |hash: &str| format!("backup_code: workspace=acme user=alice hash=sealed({hash}) spent=0");
    let old_codes = chat_testing::BACKUP_CODES.map(code_hash);
    let mut new_codes = vec![
        record("null", "replace-backup-codes", "2"),
        format!("+ {}", backup_code("new")),
    ];
    // Failures belong to the factor that is replaced.
    new_codes.extend(notices(&Event::NewBackupCodes));
    new_codes.push(format!("- {locked}"));
    new_codes.extend(old_codes.map(|hash| format!("- {}", backup_code(&hash))));
    let mut new_password = vec![
        record("null", "set-password", "2"),
        format!("- {}", alice("null", 0)),
        format!("+ {}", alice("hash", 0)),
    ];
    new_password.extend(notices(&Event::NewPassword));
    new_password.push(format!("- {locked}"));
    new_password.extend(sessions());
    new_password.extend(unproved());
    let mut deactivated = vec![
        record("null", "deactivate", "null"),
        format!("- {}", alice("null", 0)),
        format!("+ {}", alice("null", 1)),
    ];
    deactivated.extend(all_tokens());
    deactivated.extend(unproved());
    let mut no_token = vec![record("null", "revoke-tokens", "null")];
    no_token.extend(all_tokens());
    no_token.extend(unproved());
    let [email_code, code_mail, _] = unproved();
    let mut new_phone = vec![
        record("phone: bypasses the second factor", "create-token", "2"),
        "+ login_token: workspace=acme user=alice hash=phone-hash expires=null \
         bypass_two_factor=1 name=phone"
            .to_owned(),
    ];
    new_phone.extend(notices(&Event::NewToken { name: "phone" }));
    vec![
        (UserChange::SetPassword("hash".into()), new_password, 2),
        (
            UserChange::ReplaceBackupCodes {
                backup_code_hashes: vec!["new".to_owned()],
            },
            new_codes,
            0,
        ),
        (
            UserChange::Unlock,
            vec![
                record("null", "unlock", "null"),
                format!("- {locked}"),
                email_code,
                code_mail,
            ],
            0,
        ),
        (
            UserChange::Activate,
            vec![record("null", "activate", "null")],
            0,
        ),
        (UserChange::Deactivate, deactivated, 4),
        (
            UserChange::GiveRole("admin".to_owned()),
            vec![
                record("admin", "give-role", "null"),
                format!("+ {}", role("admin")),
            ],
            0,
        ),
        (
            UserChange::TakeRole("user".to_owned()),
            vec![
                record("user", "take-role", "null"),
                format!("- {}", role("user")),
            ],
            0,
        ),
        (UserChange::CreateToken(new_token("phone")), new_phone, 0),
        (
            UserChange::RevokeToken("ci".to_owned()),
            vec![record("ci", "revoke-tokens", "null"), ended("ci", "null")],
            1,
        ),
        (UserChange::RevokeAllTokens, no_token, 4),
    ]
}

fn new_token(name: &str) -> Token {
    Token {
        hash: format!("{name}-hash"),
        expires: None,
        name: Some(name.to_owned()),
        bypass_two_factor: true,
    }
}

fn factor() -> TotpFactor {
    TotpFactor {
        key: TotpKey::new(b"new key".to_vec()),
        last_step: None,
        backup_code_hashes: vec!["new".to_owned()],
        spent_code_hashes: Vec::new(),
    }
}

/// OWASP ASVS 5.0 V8.4.1 (tenants): the account of the same id in the other
/// workspace is untouched.
#[tokio::test]
async fn a_change_changes_these_rows_and_no_others() {
    for (change, mut expected, ended_tokens) in changes() {
        let name = format!("{change:?}");
        let data = busy().await;
        data.edit("INSERT INTO user_role VALUES ('globex', 'alice', 'user')");
        let before = data.dump();
        let changed = data
            .store
            .change_user(operation(ACME), "ALICE.acme", change)
            .await;
        assert_eq!(changed.unwrap().unwrap().ended_tokens, ended_tokens);
        let changes = before.changes(&data.dump());
        let mut changes: Vec<_> = changes.lines().collect();
        changes.sort_unstable();
        expected.sort_unstable();
        assert_eq!(changes, expected, "{name}");
    }
}

#[tokio::test]
async fn an_enrolment_replaces_a_pending_key_and_ends_the_sessions() {
    let data = new_data().await;
    data.show_key(ACME, "bob", "shown", 1);
    data.show_key(GLOBEX, "bob", "shown", 1);
    data.edit("UPDATE login_token SET expires = 1234567950000 WHERE user = 'bob'");
    let [shown, key] = ["shown", "new key"].map(sealed_key);
    let before = data.dump();
    let enrol = UserChange::EnrolTotp(factor());
    let changed = data.store.change_user(operation(ACME), "bob", enrol).await;
    let changed = changed.unwrap().unwrap();
    assert_eq!(changed.account.backup_codes, Some(1));
    assert_eq!(changed.ended_tokens, 1);
    let hash = token_hash("bob-token");
    let letter = mail::notice(Language::English, &Event::Enrolled, now(), None);
    let notice = mail_row(1, "bob", "bob@acme.example", &letter, NOTICE_EXPIRES);
    assert_eq!(
        before.changes(&data.dump()),
        format!(
            "+ audit: id=1 workspace=acme at=1234567890000 request_id=command-1 caller=operator \
             target=bob decision=done reason=null action=enrol-totp address=null agent=null \
             proof=null told=1 calls=1\n\
             + backup_code: workspace=acme user=bob hash=sealed(new) spent=0\n\
             - login_token: workspace=acme user=bob hash={hash} expires=1234567950000 \
             bypass_two_factor=0 name=null\n\
             {notice}\n\
             - pending_totp: workspace=acme user=bob key={shown} expires=1\n\
             + totp: workspace=acme user=bob key={key} last_step=null\n"
        )
    );
}

/// The settings are those of the account's workspace.
#[tokio::test]
async fn no_totp_is_enrolled_where_the_workspace_does_not_use_it() {
    for name in ["two-factor-enabled", "totp-enabled"] {
        for (workspace, refused) in [(ACME, true), (GLOBEX, false)] {
            let data = new_data().await;
            data.edit(&format!(
                "INSERT INTO setting VALUES ('{workspace}', '{name}', 'false')"
            ));
            let enrol = UserChange::EnrolTotp(factor());
            let outcome = data.store.change_user(operation(ACME), "bob", enrol).await;
            let outcome = outcome.unwrap();
            assert_eq!(matches!(outcome, Err(Problem::NotEnabled)), refused);
            assert_eq!(outcome.is_err(), refused, "{name} of {workspace}");
        }
    }
}

/// No audit, no change (OWASP ASVS 5.0 V16.3.3).
#[tokio::test]
async fn a_change_that_cannot_be_recorded_does_not_happen() {
    let data = busy().await;
    data.refuse_records("disk full");
    let before = data.dump();
    for (change, ..) in changes() {
        let name = format!("{change:?}");
        let changed = data.store.change_user(operation(ACME), "alice", change);
        assert!(changed.await.is_err(), "{name}");
    }
    let user = NewUser {
        id: "zoe".to_owned(),
        username: "zoe".to_owned(),
        ..NewUser::default()
    };
    assert!(data.store.add_user(operation(ACME), user).await.is_err());
    let allow = RoleChange::Allow("x".to_owned());
    let changed = data.store.change_role(operation(ACME), "user", allow).await;
    assert!(changed.is_err());
    let window = Setting::named("totp-window").unwrap();
    let set = data
        .store
        .set_setting(operation(ACME), window, "2".into())
        .await;
    assert!(set.is_err());
    assert_eq!(before.changes(&data.dump()), "");
}

#[tokio::test]
async fn what_only_another_workspace_has_is_unknown() {
    let data = busy().await;
    data.edit(
        "INSERT INTO role VALUES ('globex', 'auditor');
         INSERT INTO login_token VALUES ('globex', 'alice', 'cd-hash', NULL, FALSE, 'cd'),
                                        ('acme', 'bob', 'bobs-hash', NULL, FALSE, 'bobs');",
    );
    let before = data.dump();
    let cases = [
        (ACME, "gina", UserChange::Unlock, "there is no user gina"),
        (ACME, "Alice.globex", UserChange::Unlock, "there is no user"),
        (
            "initech",
            "alice",
            UserChange::Unlock,
            "no workspace initech",
        ),
        (
            ACME,
            "alice",
            UserChange::GiveRole("auditor".to_owned()),
            "there is no role auditor; there are admin, moderator, user",
        ),
        (
            ACME,
            "alice",
            UserChange::RevokeToken("cd".to_owned()),
            "Alice.acme has no token cd",
        ),
        (
            ACME,
            "alice",
            UserChange::RevokeToken("bobs".to_owned()),
            "Alice.acme has no token bobs",
        ),
        (
            ACME,
            "bob",
            UserChange::ReplaceBackupCodes {
                backup_code_hashes: Vec::new(),
            },
            "Bob.acme has no TOTP",
        ),
    ];
    for (workspace, user, change, problem) in cases {
        let outcome = data.store.change_user(operation(workspace), user, change);
        let refused = outcome.await.unwrap().unwrap_err().to_string();
        assert!(refused.contains(problem), "{refused}");
    }
    for outcome in [
        data.store
            .user("initech", "alice", now())
            .await
            .unwrap()
            .err(),
        data.store.users("initech", now()).await.unwrap().err(),
        data.store.roles("initech").await.unwrap().err(),
        data.store
            .tokens("initech", "alice", now())
            .await
            .unwrap()
            .err(),
    ] {
        assert!(matches!(outcome, Some(Problem::UnknownWorkspace(_))));
    }
    assert_eq!(before.changes(&data.dump()), "");
}

#[tokio::test]
async fn lists_are_of_one_workspace() {
    let data = busy().await;
    let users = data.store.users(ACME, now()).await.unwrap().unwrap();
    let names: Vec<_> = users
        .iter()
        .map(|user| user.user.username.as_str())
        .collect();
    let expected = ["Admin", "Alice", "Bob", "Dora", "Fred", "Moderator"];
    assert_eq!(names, expected.map(|name| format!("{name}.acme")));
    let roles = data.store.roles(GLOBEX).await.unwrap().unwrap();
    let role = |name: &str, permission: &str, members: &[&str]| Role {
        name: name.to_owned(),
        permissions: vec![permission.to_owned()],
        members: members
            .iter()
            .map(|name| format!("{name}.globex"))
            .collect(),
    };
    assert_eq!(
        roles,
        [
            role("admin", "edit-other-user-totp", &["Admin", "Alice"]),
            role("moderator", "edit-other-user-totp", &[]),
            role("user", "view-history", &["Bob", "Dora", "Gina"]),
        ]
    );
    let workspaces = data.store.workspaces(now()).await.unwrap();
    let counts: Vec<_> = workspaces
        .iter()
        .map(|w| (w.id.as_str(), w.users, w.deactivated, w.enrolled, w.locked))
        .collect();
    assert_eq!(counts, [(ACME, 6, 1, 4, 1), (GLOBEX, 5, 0, 5, 1)]);
    let later = data.store.workspaces(after(3600)).await.unwrap();
    assert!(later.iter().all(|workspace| workspace.locked == 0));
}

#[tokio::test]
async fn a_tokens_list_has_those_that_are_valid() {
    let data = busy().await;
    let tokens = data.store.tokens(ACME, "alice", now()).await.unwrap();
    let token = |name: Option<&str>, expires| TokenSummary {
        name: name.map(str::to_owned),
        expires,
        bypass_two_factor: false,
    };
    assert_eq!(
        tokens.unwrap(),
        [
            token(None, None),
            token(Some("ci"), None),
            token(None, Some(after(1))),
        ]
    );
}

/// Who takes another's id as a username does not become the other.
#[tokio::test]
async fn a_name_that_means_two_accounts_means_neither() {
    let data = new_data().await;
    data.edit("UPDATE user SET username = 'bob', username_key = 'bob' WHERE id = 'alice'");
    let change = data
        .store
        .change_user(operation(ACME), "bob", UserChange::Deactivate)
        .await;
    assert_eq!(
        change.unwrap().unwrap_err().to_string(),
        "bob is the id of Bob.acme and the username of alice: name the one you mean so"
    );
    data.edit("UPDATE user SET username = 'alice', username_key = 'alice' WHERE id = 'alice'");
    let own = data.store.user(ACME, "alice", now()).await.unwrap();
    assert_eq!(own.unwrap().user.id, "alice");
}

#[tokio::test]
async fn a_new_account_can_have_what_another_workspace_has() {
    let data = new_data().await;
    let gina = NewUser {
        id: "gina".to_owned(),
        username: "gina.globex".to_owned(),
        roles: vec!["moderator".to_owned(), "user".to_owned()],
        emails: vec![Email {
            address: "gina@globex.example".to_owned(),
            verified: true,
        }],
        password_hash: Some("hash".into()),
        ..NewUser::default()
    };
    let added = data.store.add_user(operation(ACME), gina).await;
    let added = added.unwrap().unwrap();
    assert_eq!(added.roles, ["moderator", "user"]);
    for name in ["GINA.globex", "Gina@Globex.example"] {
        let login = data.store.find_login(ACME, name, now()).await.unwrap();
        assert_eq!(login.unwrap().account.user.id, "gina", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_who_take_a_username_at_once_one_gets_it() {
    let data = new_data().await;
    let stores = [data.store.clone(), data.another_handle().await];
    let mut commands = JoinSet::new();
    for number in 0..16 {
        let store = Arc::clone(&stores[number % 2]);
        let user = NewUser {
            id: format!("id-{number}"),
            username: "zoe".to_owned(),
            ..NewUser::default()
        };
        commands.spawn(async move { store.add_user(operation(ACME), user).await.unwrap() });
    }
    let outcomes = commands.join_all().await;
    let refused = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Err(Problem::UsernameTaken(_))));
    assert_eq!(refused.count(), 15);
}

#[tokio::test]
async fn a_role_is_made_where_it_is_first_allowed_something() {
    let data = new_data().await;
    data.edit(
        "INSERT INTO role VALUES ('globex', 'helpdesk');
         INSERT INTO role_permission VALUES ('globex', 'helpdesk', 'a'), ('acme', 'user', 'a')",
    );
    let before = data.dump();
    for (permission, allow) in [("a", true), ("b", true), ("a", false)] {
        let permission = permission.to_owned();
        let change = if allow {
            RoleChange::Allow(permission)
        } else {
            RoleChange::Deny(permission)
        };
        let operation = operation(ACME);
        data.store
            .change_role(operation, "helpdesk", change)
            .await
            .unwrap()
            .unwrap();
    }
    let audit = |id: u8, permission: &str, action: &str| {
        format!(
            "+ audit: id={id} workspace=acme at=1234567890000 request_id=command-1 \
             caller=operator target=null decision=done reason=helpdesk: {permission} \
             action={action}-permission address=null agent=null proof=null told=null calls=1\n"
        )
    };
    assert_eq!(
        before.changes(&data.dump()),
        [
            audit(1, "a", "allow"),
            audit(2, "b", "allow"),
            audit(3, "a", "deny"),
            "+ role: workspace=acme name=helpdesk\n".to_owned(),
            "+ role_permission: workspace=acme role=helpdesk permission=b\n".to_owned(),
        ]
        .concat()
    );
}

/// A value that no program takes is replaced, and a default leaves no row.
#[tokio::test]
async fn a_setting_is_set_whatever_it_was() {
    let data = new_data().await;
    data.edit(
        "INSERT INTO setting VALUES ('acme', 'totp-window', '99');
         INSERT INTO setting VALUES ('acme', 'login-days', '7');
         INSERT INTO setting VALUES ('globex', 'totp-window', '3');",
    );
    assert!(data.store.settings(ACME).await.is_err());
    let window = Setting::named("totp-window").unwrap();
    for (value, expected) in [("2", 2), ("1", 1)] {
        let set = data
            .store
            .set_setting(operation(ACME), window, value.into())
            .await;
        set.unwrap().unwrap();
        let settings = data.store.settings(ACME).await.unwrap().unwrap();
        assert_eq!((settings.totp_window, settings.login_days), (expected, 7));
    }
    let other = data.store.settings(GLOBEX).await.unwrap().unwrap();
    assert_eq!(other.totp_window, 3);
    let before = data.dump();
    let refused = data
        .store
        .set_setting(operation(ACME), window, "99".into())
        .await;
    assert!(matches!(refused.unwrap(), Err(Problem::InvalidSetting(_))));
    let unknown = data
        .store
        .set_setting(operation("initech"), window, "2".into())
        .await;
    assert!(matches!(
        unknown.unwrap(),
        Err(Problem::UnknownWorkspace(_))
    ));
    assert_eq!(before.changes(&data.dump()), "");
}

/// As Rocket.Chat has them, by what is asked for here.
#[test]
fn administrators_reset_others_and_bots_are_not_limited() {
    let roles = default_roles();
    let roles: Vec<_> = roles
        .iter()
        .map(|role| (role.name.as_str(), role.permissions.join(" ")))
        .collect();
    let bypass = "api-bypass-rate-limit";
    assert_eq!(
        roles,
        [
            ("admin", format!("{bypass} edit-other-user-totp")),
            ("app", bypass.to_owned()),
            ("bot", bypass.to_owned()),
            ("user", String::new()),
        ]
    );
}
