//! Documents as Rocket.Chat's versions from 6 on write them, with fields that are nobody's here.

use chat_domain::account::Profile;
use chat_domain::dossier::{Question, Subject};
use chat_domain::operator::Operation;
use chat_domain::proof::Proof;
use chat_domain::reset::{Receipt, Refusal, Reset, Target};
use chat_domain::totp::{TotpKey, code_hash};
use chat_store::Store;
use chat_testing::ask::source;
use chat_testing::mongodb::Database;
use chat_testing::{ACME, caller_of, now, seal, step, token_hash};
use mongodb::bson::{DateTime, Document, doc};
use std::sync::Arc;

/// The key of everybody who has one: the ASCII bytes of 32 characters, as Rocket.Chat makes them.
pub(crate) fn key() -> TotpKey {
    TotpKey::new(b"o{K#3S9xWq!rT5vZ(m1Lh8Jd%u2Cf7Gb".to_vec())
}

/// Milliseconds of a day.
pub(crate) const DAY: i64 = 24 * 60 * 60 * 1000;

pub(crate) fn at(millis_from_now: i64) -> DateTime {
    DateTime::from_millis(now().millis() + millis_from_now)
}

/// An account, with these services beside its tokens.
pub(crate) fn user(id: &str, roles: &[&str], services: Document) -> Document {
    let session = doc! {
        "when": at(-DAY),
        "hashedToken": token_hash(&format!("{id}-token")),
        "twoFactorAuthorizedUntil": at(DAY),
        "twoFactorAuthorizedHash": "c2hhMjU2",
    };
    let mut all = doc! { "resume": { "loginTokens": [session] } };
    all.extend(services);
    doc! {
        "_id": id,
        "createdAt": at(-100 * DAY),
        "username": format!("{id}.acme"),
        "name": id,
        "emails": [
            { "address": format!("{id}@acme.example"), "verified": true },
            { "address": format!("{id}@old.example"), "verified": false },
        ],
        "type": "user",
        "status": "online",
        "active": true,
        "roles": roles.to_vec(),
        "utcOffset": 1.5,
        "language": "de",
        "services": all,
        "settings": { "preferences": { "convertAsciiEmoji": true } },
        "__rooms": ["GENERAL"],
        "_updatedAt": at(-1),
    }
}

pub(crate) fn totp() -> Document {
    let codes = ["a2b3c4d5", "e6f7g8h9"].map(code_hash);
    doc! { "totp": {
        "enabled": true, "secret": key().to_base32(), "hashedBackup": codes.to_vec(),
    } }
}

/// Where admin may reset others, alice has TOTP, a phone and two sessions, and bob has neither.
pub(crate) fn fill(database: &Database) {
    let role = |id: &str, scope: &str| doc! { "_id": id, "name": id, "scope": scope };
    database.insert(
        "rocketchat_roles",
        vec![
            role("admin", "Users"),
            role("user", "Users"),
            role("owner", "Subscriptions"),
        ],
    );
    database.insert(
        "rocketchat_permissions",
        vec![
            doc! { "_id": "edit-other-user-totp", "roles": ["admin"], "_updatedAt": at(0) },
            doc! { "_id": "create-c", "roles": ["admin", "user"], "level": "x" },
        ],
    );
    let admin = user("admin", &["admin"], totp());
    let mut alice = user("alice", &["user"], totp());
    let tokens = "services.resume.loginTokens";
    let bob = user("bob", &["user"], doc! {});
    database.insert("users", vec![admin, alice.clone(), bob]);
    alice.clear();
    let personal = doc! {
        "hashedToken": token_hash("alice-ci"),
        "type": "personalAccessToken",
        "createdAt": at(-300 * DAY),
        "lastTokenPart": "abcdef",
        "name": "ci",
        "bypassTwoFactor": false,
    };
    database.update("users", "alice", doc! { "$push": { tokens: personal } });
    let phone = |id: &str, user: &str| {
        doc! {
            "_id": id, "userId": user, "authToken": token_hash(&format!("{user}-token")),
            "token": { "gcm": "f00" }, "appName": "main", "enabled": true,
        }
    };
    database.insert(
        "_raix_push_app_tokens",
        vec![
            phone("p1", "alice"),
            phone("p2", "alice"),
            phone("p3", "bob"),
        ],
    );
    let session = |id: &str, user: &str| {
        doc! {
            "_id": id, "type": "session", "userId": user, "sessionId": id, "loginAt": at(-DAY),
            "loginToken": token_hash(&format!("{user}-token")),
        }
    };
    let mut closed = session("s2", "alice");
    closed.insert("logoutAt", at(-DAY / 2));
    database.insert(
        "rocketchat_sessions",
        vec![session("s1", "alice"), closed, session("s3", "bob")],
    );
}

/// A database with [`fill`], and its store.
pub(crate) async fn filled() -> (Database, Arc<dyn Store>) {
    let database = Database::of_rocket_chat(ACME);
    fill(&database);
    let store = database.open_or_create(&seal()).await;
    (database, store)
}

/// What the store knows of an account, with all lists.
pub(crate) async fn profile(store: &dyn Store, id: &str) -> chat_store::Result<Option<Profile>> {
    let subject = Subject::id(id).as_seen().with_tokens();
    let dossier = store.read(&Question::of(ACME).about(subject)).await?;
    Ok(dossier.accounts.into_iter().next().flatten())
}

/// The administrator's reset of alice.
pub(crate) fn reset_of_alice() -> Reset {
    Reset {
        workspace: ACME.to_owned(),
        caller: caller_of("admin"),
        proof: Proof::TotpStep {
            step: step(),
            code: key().code(step()).into(),
        },
        target: Target::User("alice".to_owned()),
        now: now(),
        request_id: "request-1".to_owned(),
        source: source(),
    }
}

pub(crate) async fn reset(
    store: &dyn Store,
    order: Reset,
) -> chat_store::Result<Result<Receipt, Refusal>> {
    store.decide(order).await
}

pub(crate) fn operation() -> Operation {
    Operation {
        workspace: ACME.to_owned(),
        now: now(),
        request_id: "command-1".to_owned(),
        forced: false,
    }
}
