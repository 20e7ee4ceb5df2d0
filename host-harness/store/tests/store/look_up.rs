//! What every store finds, and for whom: the tests know a store as the trait and
//! as `Data`'s words only.

use super::new_data;
use chat_domain::account::{Methods, Selector};
use chat_domain::attempts::Attempt;
use chat_domain::attempts::FREE_FAILURES;
use chat_testing::ask::Ask as _;
use chat_testing::{ACME, GLOBEX, after, now, token_hash};
use secrecy::ExposeSecret;

/// OWASP ASVS 5.0 V8.4.1 (tenants) and V7.4.2 (deactivated accounts).
#[tokio::test]
async fn a_token_names_its_own_active_account_until_it_ends() {
    let data = new_data().await;
    data.edit(
        "INSERT INTO login_token VALUES
         ('acme', 'alice', 'shared', NULL, FALSE, NULL), ('globex', 'bob', 'shared', NULL, FALSE, NULL),
         ('acme', 'dora', 'dora-only', 1234567891000, FALSE, NULL)",
    );
    for (workspace, hash, moment, holder) in [
        (ACME, token_hash("alice-token"), now(), Some("alice")),
        (ACME, token_hash("alice-phone"), now(), Some("alice")),
        (ACME, token_hash("alice-phone"), after(1), None),
        (ACME, token_hash("alice-expired"), now(), None),
        (ACME, token_hash("admin-token"), now(), Some("admin")),
        (ACME, token_hash("gina-token"), now(), None),
        (ACME, token_hash("dora-token"), now(), None),
        (ACME, "dora-only".to_owned(), now(), None),
        (ACME, "alice-token".to_owned(), now(), None),
        (ACME, String::new(), now(), None),
        (ACME, "shared".to_owned(), now(), Some("alice")),
        (GLOBEX, "shared".to_owned(), now(), Some("bob")),
        (GLOBEX, token_hash("dora-token"), now(), Some("dora")),
        (GLOBEX, token_hash("alice-phone"), now(), None),
        ("initech", token_hash("alice-token"), now(), None),
    ] {
        let found = data.store.token_holder(workspace, &hash, moment).await;
        assert_eq!(
            found.unwrap().map(|account| account.user.id).as_deref(),
            holder,
            "{workspace} {hash}"
        );
    }
}

#[tokio::test]
async fn a_token_that_is_revoked_is_the_only_one() {
    let data = new_data().await;
    for hash in ["", "alice-token", "%"] {
        let before = data.dump_without(&["audit"]);
        data.store.log_out(ACME, "alice", hash).await.unwrap();
        let changes = before.changes(&data.dump_without(&["audit"]));
        assert_eq!(changes, "", "{hash}");
    }
    let before = data.dump_without(&["audit"]);
    let hash = token_hash("alice-token");
    data.store.log_out(ACME, "alice", &hash).await.unwrap();
    assert_eq!(
        before.changes(&data.dump_without(&["audit"])),
        format!(
            "- login_token: workspace=acme user=alice hash={hash} expires=null \
             bypass_two_factor=0 name=null\n"
        )
    );
}

/// OWASP ASVS 5.0 V8.4.1 (tenants) and V7.4.2 (deactivated accounts).
#[tokio::test]
async fn a_log_in_is_checked_against_an_active_account_of_the_workspace() {
    let data = new_data().await;
    data.edit("UPDATE user SET password_hash = workspace || '/' || id WHERE id <> 'bob'");
    for (workspace, name, expected) in [
        (ACME, "Alice.acme", "alice acme/alice"),
        (ACME, "aLICE.ACME", "alice acme/alice"),
        (ACME, "alice@example.com", "alice acme/alice"),
        (ACME, "ALICE@Example.ORG", "alice acme/alice"),
        (ACME, "Bob.acme", "bob -"),
        (ACME, "bob@acme.example", "bob -"),
        (ACME, "alice", "none"),
        (ACME, "", "none"),
        (ACME, "@", "none"),
        (ACME, "alice@%", "none"),
        (ACME, "alice%", "none"),
        (ACME, "Dora.acme", "none"),
        (ACME, "dora@acme.example", "none"),
        (ACME, "Gina.globex", "none"),
        (ACME, "gina@globex.example", "none"),
        (ACME, "alice@globex.example", "none"),
        (GLOBEX, "Dora.globex", "dora globex/dora"),
        (GLOBEX, "dora@globex.example", "dora globex/dora"),
        (GLOBEX, "alice@example.com", "none"),
        ("initech", "Alice.acme", "none"),
        ("initech", "alice@example.com", "none"),
    ] {
        let login = data.store.find_login(workspace, name, now()).await.unwrap();
        let found = login.map_or("none".to_owned(), |login| {
            let hash = login.password_hash;
            let hash = hash.as_ref().map_or("-", ExposeSecret::expose_secret);
            format!("{} {hash}", login.account.user.id)
        });
        assert_eq!(found, expected, "{workspace} {name}");
    }
}

/// Each workspace's own roles, addresses, codes and failures.
#[tokio::test]
async fn an_account_is_shown_as_its_own_workspace_has_it() {
    let data = new_data().await;
    data.edit(
        "DELETE FROM backup_code WHERE workspace = 'globex' AND hash IN
             (SELECT min(hash) FROM backup_code WHERE workspace = 'globex' GROUP BY user);
         DELETE FROM backup_code WHERE workspace = 'globex' AND user = 'alice';
         INSERT INTO failed_attempt (workspace, user, count, locked_until) VALUES ('acme', 'alice', 6, 1234567890001),
                                           ('globex', 'alice', 2, 1234567890000);
         UPDATE user SET password_hash = 'hash' WHERE workspace = 'globex'",
    );
    for (workspace, id, expected) in [
        (
            ACME,
            "alice",
            "Alice.acme user alice@example.com,alice@example.org,alice@example.net \
             Some(2) 6 true false",
        ),
        (
            GLOBEX,
            "alice",
            "Alice.globex admin alice@globex.example Some(0) 2 false true",
        ),
        (
            ACME,
            "bob",
            "Bob.acme user bob@acme.example None 0 false false",
        ),
        (
            ACME,
            "admin",
            "Admin.acme admin admin@acme.example Some(2) 0 false false",
        ),
        (ACME, "gina", "none"),
        ("initech", "alice", "none"),
    ] {
        let account = data.store.account(workspace, id, now()).await.unwrap();
        let shown = account.map_or("none".to_owned(), |account| {
            let emails: Vec<_> = account.emails.iter().map(|e| e.address.as_str()).collect();
            format!(
                "{} {} {} {:?} {} {} {}",
                account.user.username,
                account.roles.join(","),
                emails.join(","),
                account.backup_codes,
                account.failures,
                account.lock.is_some(),
                account.has_password
            )
        });
        assert_eq!(shown, expected, "{workspace} {id}");
    }
}

/// The password is a factor of last resort, and others' factors are none.
#[tokio::test]
async fn the_factors_of_an_account_are_its_own_and_those_that_its_workspace_uses() {
    let (totp, email, password) = (
        |on| ("totp-enabled", on),
        |on| ("email-enabled", on),
        |on| ("password-fallback", on),
    );
    for (user, off, expected) in [
        ("alice", vec![], "totp"),
        ("admin", vec![], "totp email"),
        ("bob", vec![], "password"),
        ("fred", vec![], "email"),
        ("moderator", vec![], "totp"),
        ("gina", vec![], ""),
        ("nobody", vec![], ""),
        ("alice", vec![totp(false)], "password"),
        ("admin", vec![totp(false)], "email"),
        ("admin", vec![email(false)], "totp"),
        ("admin", vec![totp(false), email(false)], "password"),
        ("fred", vec![email(false)], "password"),
        ("bob", vec![password(false)], ""),
        ("alice", vec![totp(false), password(false)], ""),
    ] {
        let data = new_data().await;
        data.edit(
            "UPDATE user SET password_hash = 'hash';
             UPDATE user SET email_two_factor = TRUE WHERE workspace = 'globex' OR id IN ('admin', 'fred')",
        );
        for (name, value) in &off {
            data.edit(&format!(
                "INSERT INTO setting VALUES ('acme', '{name}', '{value}')"
            ));
        }
        let Methods {
            totp,
            email,
            password,
            has_slow_code: _,
        } = data.store.methods(ACME, user).await.unwrap();
        let methods = [(totp, "totp"), (email, "email"), (password, "password")];
        let methods: Vec<_> = methods.iter().filter(|(is, _)| *is).map(|m| m.1).collect();
        assert_eq!(methods.join(" "), expected, "{user} {off:?}");
    }
}

/// NIST SP 800-63B section 5.2.2: the same count as of codes.
#[tokio::test]
async fn an_attempt_at_the_password_is_counted_before_the_hash_is_given_out() {
    let data = new_data().await;
    data.edit("UPDATE user SET password_hash = workspace || '/' || id WHERE id <> 'fred'");
    let begin = |user, moment| data.store.begin_password_attempt(ACME, user, moment);
    let before = data.dump();
    for unavailable in ["alice", "fred", "gina", "nobody"] {
        let attempt = begin(unavailable, now()).await.unwrap();
        assert!(matches!(attempt, Attempt::Unavailable), "{unavailable}");
    }
    assert_eq!(before.changes(&data.dump()), "");
    for count in 1..=FREE_FAILURES {
        let Attempt::Begun(hash) = begin("bob", now()).await.unwrap() else {
            unreachable!("bob has a password alone")
        };
        assert_eq!(hash.expose_secret(), "acme/bob");
        let changes = before.changes(&data.dump());
        let counted = format!("+ failed_attempt: workspace=acme user=bob count={count} locked");
        assert!(changes.starts_with(&counted), "{changes}");
        assert_eq!(changes.lines().count(), 1, "{changes}");
    }
    let locked = data.dump();
    let attempt = begin("bob", after(29)).await.unwrap();
    assert!(matches!(attempt, Attempt::Locked { .. }));
    assert_eq!(locked.changes(&data.dump()), "");
    let attempt = begin("bob", after(30)).await.unwrap();
    assert!(matches!(attempt, Attempt::Begun(_)));
}

/// A letter beyond ASCII is another in the other case: mail servers tell them apart.
#[tokio::test]
async fn an_address_is_compared_without_regard_to_the_case_of_ascii_letters_alone() {
    let data = new_data().await;
    data.edit("UPDATE email SET address = 'Ärger@Example.com' WHERE address = 'bob@acme.example'");
    for (address, found) in [
        ("Ärger@Example.com", true),
        ("ÄRGER@EXAMPLE.COM", true),
        ("ärger@example.com", false),
        ("arger@example.com", false),
    ] {
        let selector = Selector::Address(address.to_owned());
        let user = data.store.find_user(ACME, selector).await.unwrap();
        assert_eq!(user.is_some(), found, "{address}");
    }
}
