//! What Rocket.Chat's versions write is read, and what none of them writes is refused.

use crate::fixtures::{DAY, at, fill, filled, key, profile, reset, reset_of_alice, totp, user};
use chat_domain::account::Selector;
use chat_domain::directory::AccountFilter;
use chat_domain::mail::Language;
use chat_domain::operator::{Role, TokenSummary};
use chat_domain::reset::Receipt;
use chat_domain::time::Timestamp;
use chat_testing::mongodb::Database;
use chat_testing::{ACME, now, seal};
use mongodb::bson::{Bson, Document, doc};
use secrecy::ExposeSecret;

/// What is seen of an account with these services, in a line.
async fn seen(services: Document, more: Document) -> String {
    let database = Database::of_rocket_chat(ACME);
    let mut eve = user("eve", &["user"], services);
    eve.extend(more);
    database.insert("users", vec![eve]);
    let store = database.open_or_create(&seal()).await;
    let profile = profile(&*store, "eve").await.unwrap().unwrap();
    let mut words = Vec::new();
    if profile.deactivated {
        words.push("deactivated".to_owned());
    }
    if profile.user.federated {
        words.push("federated".to_owned());
    }
    if let Some(factor) = &profile.factor {
        let codes = factor.backup_code_hashes.len();
        let is_right = factor.key.expose() == key().expose();
        words.push(format!("totp {is_right} {codes}"));
    }
    if let Some(pending) = &profile.pending_key {
        words.push(format!("pending {}", pending.expires.millis()));
    }
    if profile.email_two_factor {
        words.push(format!("email {}", profile.receives_codes));
    }
    if let Some(code) = &profile.mailed_code {
        let (issued, expires) = (code.issued.millis(), code.expires.millis());
        let [issued, expires] = [issued, expires].map(|moment| moment - now().millis());
        words.push(format!(
            "code {} {issued} {expires} {}",
            code.hash, code.failures
        ));
    }
    // Everybody's is `de`, unless a case says another.
    match profile.language {
        Some(Language::German) => (),
        language => words.push(format!("language {language:?}")),
    }
    if let Some(hash) = &profile.password_hash {
        words.push(format!("password {}", hash.expose_secret()));
    }
    for token in TokenSummary::of(profile, Timestamp::from_millis(0)) {
        let ends = token
            .expires
            .map(|end| (end.millis() - now().millis()) / DAY);
        let (name, bypass) = (token.name.unwrap_or_default(), token.bypass_two_factor);
        match ends {
            Some(89) => (),
            _ => words.push(format!("token {ends:?} {name} {bypass}")),
        }
    }
    words.join(", ")
}

#[tokio::test]
async fn an_account_is_read_as_every_version_writes_it() {
    let secret = key().to_base32();
    assert_eq!(secret.len(), 52);
    let none = doc! {};
    let code = |attempts: Option<i32>, expires: i64| {
        let mut code = doc! { "code": "$2b$10$x", "expire": at(expires) };
        if let Some(attempts) = attempts {
            code.insert("attempts", attempts);
        }
        code
    };
    let token = |more: Document| {
        let mut token = doc! { "hashedToken": "h" };
        token.extend(more);
        doc! { "resume": { "loginTokens": [token] } }
    };
    let cases = [
        (none.clone(), none.clone(), ""),
        (totp(), none.clone(), "totp true 2"),
        (doc! { "totp": { "enabled": false } }, none.clone(), ""),
        (
            doc! { "totp": Bson::Null, "resume": Bson::Null },
            none.clone(),
            "",
        ),
        (
            doc! { "totp": { "enabled": false, "tempSecret": &secret } },
            none.clone(),
            "pending 0",
        ),
        (none.clone(), doc! { "language": "de-AT" }, ""),
        (
            none.clone(),
            doc! { "language": "en" },
            "language Some(English)",
        ),
        (none.clone(), doc! { "language": "fr" }, "language None"),
        (
            none.clone(),
            doc! { "language": Bson::Null },
            "language None",
        ),
        // As a version that keeps both writes it.
        (
            doc! { "totp": { "enabled": true, "secret": &secret, "tempSecret": &secret } },
            none.clone(),
            "totp true 0, pending 0",
        ),
        (
            doc! { "totp": { "enabled": false, "secret": &secret } },
            none.clone(),
            "",
        ),
        (
            doc! { "email2fa": { "enabled": true, "changedAt": at(0) } },
            none.clone(),
            "email true",
        ),
        (
            doc! { "email2fa": { "enabled": true } },
            doc! { "emails": [ { "address": "e@x" } ] },
            "email false",
        ),
        (
            doc! { "emailCode": code(Some(2), 60_000) },
            none.clone(),
            "code $2b$10$x -3540000 60000 2",
        ),
        (
            doc! { "emailCode": [ code(None, 10), code(None, 20) ] },
            none.clone(),
            "code $2b$10$x -3599980 20 0",
        ),
        (doc! { "emailCode": [] }, none.clone(), ""),
        (
            doc! { "password": { "bcrypt": "$2b$b" } },
            none.clone(),
            "password $2b$b",
        ),
        (
            doc! { "password": { "bcrypt": "$2b$b", "argon2": "$argon2id$a", "reset": {} } },
            none.clone(),
            "password $argon2id$a",
        ),
        (
            token(doc! { "type": "personalAccessToken", "name": "ci", "bypassTwoFactor": true }),
            none.clone(),
            "token None ci true",
        ),
        (
            token(doc! { "type": "personalAccessToken", "name": "ci", "createdAt": at(0) }),
            none.clone(),
            "token None ci false",
        ),
        (
            token(doc! { "when": at(5 * DAY) }),
            none.clone(),
            "token Some(95)  false",
        ),
        (token(none.clone()), none.clone(), ""),
        (none.clone(), doc! { "active": false }, "deactivated"),
        (none.clone(), doc! { "active": Bson::Null }, "deactivated"),
        (
            none.clone(),
            doc! { "federated": true, "federation": { "version": 1 } },
            "federated",
        ),
        (none.clone(), doc! { "type": "bot", "roles": ["bot"] }, ""),
        (
            none.clone(),
            doc! { "emails": Bson::Null, "roles": Bson::Null },
            "",
        ),
    ];
    for (services, more, expected) in cases {
        let name = format!("{services} {more}");
        assert_eq!(seen(services, more).await, expected, "{name}");
    }
}

/// As Rocket.Chat's indexes compare them.
#[tokio::test]
async fn an_account_is_found_by_username_and_address_in_any_case() {
    let (database, store) = filled().await;
    let mut umlaut = user("u", &[], doc! {});
    umlaut.insert("username", "Ärger");
    umlaut.insert("emails", vec![doc! { "address": "Arger@x.example" }]);
    database.insert("users", vec![umlaut]);
    for (selector, id) in [
        (Selector::Username("ALICE.acme".to_owned()), Some("alice")),
        (Selector::Username("ärger".to_owned()), Some("u")),
        (Selector::Username("arger".to_owned()), None),
        (Selector::Username(".*".to_owned()), None),
        (Selector::Address("ARGER@X.example".to_owned()), Some("u")),
        (Selector::Address("ärger@x.example".to_owned()), None),
        (Selector::Id("Alice".to_owned()), None),
    ] {
        let found = store.find_user(ACME, selector.clone()).await.unwrap();
        assert_eq!(found.map(|user| user.id).as_deref(), id, "{selector:?}");
    }
}

#[tokio::test]
async fn roles_are_those_of_the_whole_workspace() {
    let (_database, store) = filled().await;
    let roles = store.roles(ACME).await.unwrap().unwrap();
    let role = |name: &str, permissions: &[&str], members: &[&str]| Role {
        name: name.to_owned(),
        permissions: permissions.iter().map(ToString::to_string).collect(),
        members: members.iter().map(ToString::to_string).collect(),
    };
    assert_eq!(
        roles,
        [
            role(
                "admin",
                &["create-c", "edit-other-user-totp"],
                &["admin.acme"]
            ),
            role("user", &["create-c"], &["alice.acme", "bob.acme"]),
        ]
    );
}

#[tokio::test]
async fn what_rocket_chat_is_set_to_is_noticed_without_a_restart() {
    let (database, store) = filled().await;
    assert_eq!(store.settings(ACME).await.unwrap().unwrap().totp_window, 1);
    let window = doc! {
        "_id": "Accounts_TwoFactorAuthentication_MaxDelta", "value": 3.0, "type": "int",
    };
    let days = doc! { "_id": "Accounts_LoginExpiration", "value": 1, "packageValue": 90 };
    database.insert("rocketchat_settings", vec![window, days]);
    assert_eq!(store.settings(ACME).await.unwrap().unwrap().totp_window, 3);
    // Their sessions began a day ago.
    let refused = reset(&*store, reset_of_alice()).await.unwrap();
    assert!(refused.is_err(), "{refused:?}");
}

/// The account's requests fail, others' do not; what is told names the field and nothing in it.
#[tokio::test]
async fn a_field_of_another_type_fails_the_account_alone() {
    const SECRET: &str = "hunter2";
    for (field, value) in [
        ("username", Bson::from(7)),
        ("active", SECRET.into()),
        ("federated", SECRET.into()),
        ("emails", SECRET.into()),
        ("emails", Bson::Array(vec![SECRET.into()])),
        ("roles", SECRET.into()),
        ("roles", Bson::Array(vec![Bson::from(7)])),
        ("services.totp", SECRET.into()),
        ("services.totp.enabled", SECRET.into()),
        ("services.totp.secret", Bson::from(7)),
        ("services.totp.secret", SECRET.into()),
        ("services.totp.hashedBackup", SECRET.into()),
        ("services.totp.tempSecret", doc! {}.into()),
        ("services.password", SECRET.into()),
        ("services.password.bcrypt", Bson::from(7)),
        ("services.password.argon2", Bson::from(7)),
        ("services.email2fa.enabled", SECRET.into()),
        ("services.emailCode", SECRET.into()),
        (
            "services.emailCode",
            doc! { "code": "c", "expire": SECRET }.into(),
        ),
        ("services.resume", SECRET.into()),
        ("services.resume.loginTokens", SECRET.into()),
        (
            "services.resume.loginTokens",
            Bson::Array(vec![doc! { "hashedToken": "h", "when": SECRET }.into()]),
        ),
    ] {
        let (database, store) = filled().await;
        database.update("users", "alice", doc! { "$set": { field: value } });
        let before = database.everything();
        let told = profile(&*store, "alice").await.unwrap_err().to_string();
        let named = format!("the store failed: users.{field}");
        assert!(told.starts_with(&named), "{field}: {told}");
        assert!(told.contains(" of alice is "), "{told}");
        assert!(!told.contains(SECRET), "{told}");
        let refused = reset(&*store, reset_of_alice()).await;
        assert_eq!(refused.unwrap_err().to_string(), told, "{field}");
        assert_eq!(database.everything(), before, "{field}");
        assert!(profile(&*store, "bob").await.is_ok(), "{field}");
    }
}

/// What is only shown keeps nobody from a reset.
#[tokio::test]
async fn a_name_or_a_language_of_another_type_is_none() {
    let (database, store) = filled().await;
    let odd = doc! { "$set": { "name": 7, "language": 7 } };
    database.update("users", "alice", odd);
    let read = profile(&*store, "alice").await.unwrap().unwrap();
    assert_eq!((read.user.name, read.language), (None, None));
    assert!(reset(&*store, reset_of_alice()).await.is_ok());
}

#[tokio::test]
async fn an_account_that_cannot_be_read_is_left_out_of_a_list() {
    let (database, store) = filled().await;
    let all = AccountFilter {
        most: 100,
        ..AccountFilter::default()
    };
    let ids = async || {
        let listed = store.accounts(ACME, &all).await.unwrap();
        let ids = listed.profiles.into_iter().map(|profile| profile.user.id);
        ids.collect::<Vec<_>>()
    };
    let mut before = ids().await;
    let odd = doc! { "$set": { "services.totp": "odd" } };
    database.update("users", "alice", odd);
    before.retain(|id| id != "alice");
    assert!(!before.is_empty());
    assert_eq!(ids().await, before);
}

/// An account of the oldest version, and nothing else.
#[tokio::test]
async fn an_account_of_an_id_alone_is_one() {
    let database = Database::of_rocket_chat(ACME);
    fill(&database);
    database.update(
        "users",
        "alice",
        doc! { "$unset": { "services": "", "emails": "", "username": "" } },
    );
    let store = database.open_or_create(&seal()).await;
    let outcome = reset(&*store, reset_of_alice()).await.unwrap();
    assert_eq!(outcome, Ok(Receipt::NothingEnrolled));
}
