//! The accounts as a Rocket.Chat has them, in its own database, and what the store has put beside
//! them.

use crate::account::{Account, BackupCodes};
use crate::site::{Queued, Record, WORKSPACE};
use chat_domain::operator::default_roles;
use chat_domain::time::Timestamp;
use chat_testing::mongodb::Database;
use mongodb::bson::{Bson, DateTime, Document, doc};
use std::collections::BTreeMap;

/// A Rocket.Chat with these accounts, who all have a password with this hash, and with these
/// settings of its own and of ours.
pub(crate) fn filled(
    accounts: &[Account],
    hash: &str,
    theirs: Vec<Document>,
    ours: &[(&str, &str)],
) -> Database {
    let database = Database::alone(WORKSPACE);
    let mut permissions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for role in default_roles() {
        for permission in role.permissions {
            permissions
                .entry(permission)
                .or_default()
                .push(role.name.clone());
        }
    }
    let permissions = permissions
        .into_iter()
        .map(|(permission, roles)| doc! { "_id": permission, "roles": roles });
    database.insert("rocketchat_permissions", permissions.collect());
    database.insert("rocketchat_settings", theirs);
    let ours = ours
        .iter()
        .map(|(name, value)| doc! { "_id": *name, "value": *value });
    database.insert("reset_totp_settings", ours.collect());
    let users = accounts.iter().map(|account| user(account, hash));
    database.insert("users", users.collect());
    database
}

fn user(account: &Account, hash: &str) -> Document {
    let person = &account.person;
    let email = |address: &str, verified: bool| doc! { "address": address, "verified": verified };
    let mut emails: Vec<_> = person.verified.iter().map(|to| email(to, true)).collect();
    emails.push(email(&format!("{}@old.example", person.id), false));
    let token = |hash: &String| {
        doc! {
            "hashedToken": hash, "type": "personalAccessToken", "createdAt": DateTime::now(),
            "lastTokenPart": "abcdef", "name": "of a program", "bypassTwoFactor": false,
        }
    };
    let tokens: Vec<_> = account.tokens.keys().map(token).collect();
    let mut services = doc! {
        "password": { "bcrypt": hash },
        "email2fa": { "enabled": person.has_mailed_codes },
        "resume": { "loginTokens": tokens },
    };
    if let Some(factor) = &account.factor {
        let codes: Vec<_> = match &factor.backup_codes {
            BackupCodes::Known(codes) => codes.keys().cloned().collect(),
            BackupCodes::Unseen => Vec::new(),
        };
        let secret = factor.key.to_base32();
        services.insert(
            "totp",
            doc! { "enabled": true, "secret": secret, "hashedBackup": codes },
        );
    }
    doc! {
        "_id": &person.id,
        "username": &person.id,
        "name": &person.id,
        "emails": emails,
        "type": "user",
        "active": true,
        "roles": [if person.is_admin { "admin" } else { "user" }],
        "services": services,
    }
}

fn text(document: &Document, name: &str) -> Option<String> {
    document.get_str(name).ok().map(str::to_owned)
}

/// The audit trail after the record with this id.
pub(crate) fn records(database: &Database, after: i64) -> Vec<Record> {
    let found = database.find("reset_totp_audit", doc! { "_id": { "$gt": after } });
    let mut records: Vec<_> = found.iter().map(record).collect();
    records.sort_by_key(|record| record.id);
    records
}

fn record(document: &Document) -> Record {
    let needed = |name: &str| document.get_str(name).unwrap().to_owned();
    let told = document.get("told").and_then(Bson::as_i64);
    Record {
        id: document.get_i64("_id").unwrap(),
        request_id: needed("request_id"),
        action: needed("action"),
        caller: needed("caller"),
        target: text(document, "target"),
        decision: needed("decision"),
        reason: text(document, "reason"),
        proof: text(document, "proof"),
        told: told.map(|told| told.try_into().unwrap()),
        agent: text(document, "agent"),
    }
}

/// What waits.
pub(crate) fn outbox(database: &Database) -> Vec<Queued> {
    let found = database.find("reset_totp_outbox", doc! {});
    let queued = |mail: &Document| Queued {
        message_id: text(mail, "message_id").unwrap(),
        recipient: text(mail, "recipient").unwrap(),
        subject: text(mail, "subject").unwrap(),
        holds_code: mail.get_bool("holds_code").unwrap(),
        queued: Timestamp::from_millis(mail.get_i64("queued").unwrap()),
    };
    found.iter().map(queued).collect()
}

/// Undoes what those who were killed had begun, and waits for what they had committed: of two who
/// write the document that each begins with, one waits for the other.
pub(crate) fn settle(database: &Database) {
    database.end_all_sessions();
    let nothing = doc! { "$inc": { "turn": 0_i64 } };
    database.update("reset_totp_store", "turn", nothing);
}
