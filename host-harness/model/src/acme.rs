//! The workspace of the tests: who is there, and what they have. Others have accounts of the same
//! ids, with other keys, codes, passwords and tokens.
//!
//! | id | roles | has |
//! |---|---|---|
//! | admin | admin | TOTP, a password, four tokens |
//! | alice | user | TOTP, a password, three addresses, three tokens |
//! | bob | user | a password |
//! | cora | user | codes by e-mail, a password |
//! | dora | user | TOTP; is deactivated |
//! | fred | | TOTP; belongs to another server |
//! | nell | user | nothing but a token |

use crate::model::Workspace;
use chat_domain::account::{Caller, Email, MailedCode, PendingKey, Token, TotpFactor};
use chat_domain::attempts::Failures;
use chat_domain::audit::{Action, AuditRecord, Decision, Source};
use chat_domain::operator::{NewUser, NewWorkspace, default_roles};
use chat_domain::settings::Settings;
use chat_domain::time::Timestamp;
use chat_domain::totp::{TotpKey, code_hash};
use secrecy::ExposeSecret as _;
use std::time::Duration;

/// The first moment of the time step [`STEP`].
pub fn now() -> Timestamp {
    Timestamp::from_millis(1_234_567_890_000)
}

/// Where every request comes from.
pub fn here() -> Source {
    Source::new([192, 0, 2, 1].into(), Some(b"test"))
}

/// The record of a refused reset of `caller`'s.
pub fn record_of(caller: &str) -> AuditRecord {
    AuditRecord {
        at: now(),
        workspace: "acme".to_owned(),
        request_id: "request".to_owned(),
        action: Action::ResetTotp,
        caller: caller.to_owned(),
        target: None,
        decision: Decision::Refused,
        reason: None,
        source: Some(here()),
        proof: None,
        told: None,
        calls: 1,
    }
}

/// The time step of [`now`].
pub const STEP: u64 = 41_152_263;

/// The backup codes of everybody who has TOTP.
pub const BACKUP_CODES: [&str; 2] = ["a2b3c4d5", "e5f6g7h8"];

/// A code by e-mail.
pub const MAILED: &str = "012345";

/// Codes that are shown by themselves, not by their hashes.
pub const CODES: [&str; 6] = [
    BACKUP_CODES[0],
    BACKUP_CODES[1],
    MAILED,
    "new-1",
    "new-2",
    "543210",
];

/// The backup codes of everybody of a workspace who has TOTP.
pub fn backup_codes(workspace: &str) -> [String; 2] {
    match workspace {
        "acme" => BACKUP_CODES.map(str::to_owned),
        other => BACKUP_CODES.map(|code| code.replace(char::is_numeric, &own_digit(other))),
    }
}

/// A digit of the workspace's own.
fn own_digit(workspace: &str) -> String {
    (2 + workspace.len() % 8).to_string()
}

/// The workspace acme, as it is before anything happens.
pub fn acme() -> Workspace {
    new("acme").into()
}

/// A workspace with everybody in it.
pub fn new(workspace: &str) -> NewWorkspace {
    let mut roles = default_roles();
    roles.push(chat_domain::operator::NewRole {
        name: "helpdesk".to_owned(),
        permissions: Vec::new(),
    });
    let mut new = NewWorkspace {
        id: workspace.to_owned(),
        settings: Settings::default(),
        roles,
        users: vec![
            NewUser {
                roles: vec!["admin".to_owned()],
                tokens: vec![
                    session("admin-session", after(60_000)),
                    session("admin-ended", after(0)),
                    access("admin-access", "script", false),
                    access("admin-bypass", "bypass", true),
                ],
                totp: Some(factor("admin")),
                ..with_password("admin")
            },
            NewUser {
                tokens: vec![
                    session("alice-session", after(60_000)),
                    session("alice-phone", after(1)),
                    access("alice-access", "laptop", false),
                ],
                emails: vec![
                    verified("alice@example.com"),
                    verified("alice@example.org"),
                    Email {
                        address: "alice@example.net".to_owned(),
                        verified: false,
                    },
                ],
                totp: Some(factor("alice")),
                ..with_password("alice")
            },
            with_password("bob"),
            NewUser {
                email_two_factor: true,
                ..with_password("cora")
            },
            NewUser {
                deactivated: true,
                totp: Some(factor("dora")),
                ..with_password("dora")
            },
            NewUser {
                federated: true,
                roles: Vec::new(),
                emails: Vec::new(),
                totp: Some(factor("fred")),
                password_hash: None,
                ..with_password("fred")
            },
            NewUser {
                emails: Vec::new(),
                password_hash: None,
                ..with_password("nell")
            },
        ],
    };
    if workspace != "acme" {
        for user in &mut new.users {
            move_to(workspace, user);
        }
    }
    new
}

/// What is told of acme's accounts is not true of another workspace's.
fn move_to(workspace: &str, user: &mut NewUser) {
    if let Some(hash) = &mut user.password_hash {
        *hash = format!("{workspace}-{}", hash.expose_secret()).into();
    }
    for token in &mut user.tokens {
        token.hash = format!("{workspace}-{}", token.hash);
    }
    for email in &mut user.emails {
        email.address = format!("{workspace}.{}", email.address);
    }
    if let Some(factor) = &mut user.totp {
        factor.key = key(&format!("{workspace}-{}", user.id));
        let codes = backup_codes(workspace);
        factor.backup_code_hashes = codes.iter().map(|code| code_hash(code)).collect();
    }
}

/// An account with a password, a verified address and a session.
fn with_password(id: &str) -> NewUser {
    let mut username = id.to_owned();
    username.replace_range(..1, &id[..1].to_uppercase());
    NewUser {
        id: id.to_owned(),
        username,
        password_hash: Some(format!("{id}-password").into()),
        roles: vec!["user".to_owned()],
        emails: vec![verified(&format!("{id}@example.com"))],
        tokens: vec![session(&format!("{id}-session"), after(60_000))],
        ..NewUser::default()
    }
}

fn verified(address: &str) -> Email {
    Email {
        address: address.to_owned(),
        verified: true,
    }
}

/// A session's token.
pub fn session(hash: &str, expires: Timestamp) -> Token {
    Token {
        hash: hash.to_owned(),
        expires: Some(expires),
        name: None,
        bypass_two_factor: false,
    }
}

/// A personal access token.
pub fn access(hash: &str, name: &str, bypass_two_factor: bool) -> Token {
    Token {
        hash: hash.to_owned(),
        expires: None,
        name: Some(name.to_owned()),
        bypass_two_factor,
    }
}

/// The TOTP factor of the account with this id.
pub fn factor(id: &str) -> TotpFactor {
    TotpFactor {
        key: key(id),
        last_step: None,
        backup_code_hashes: BACKUP_CODES.map(code_hash).into(),
        spent_code_hashes: Vec::new(),
    }
}

/// The key of the account with this id.
pub fn key(id: &str) -> TotpKey {
    TotpKey::new(format!("key-of-{id}").into_bytes())
}

/// A key that was shown to the account with this id, until `expires`.
pub fn pending(id: &str, expires: Timestamp) -> PendingKey {
    PendingKey {
        key: TotpKey::new(format!("shown-to-{id}").into_bytes()),
        expires,
    }
}

/// [`MAILED`], which one mail brought just now, tried in vain `failures` times, until `expires`.
pub fn mailed(failures: u32, expires: Timestamp) -> MailedCode {
    MailedCode {
        hash: code_hash(MAILED),
        issued: now(),
        expires,
        failures,
        mails: 1,
    }
}

/// So many failures in a row, with a lock until `locked_until`.
pub fn failures(count: u32, locked_until: Option<Timestamp>) -> Failures {
    Failures {
        count,
        locked_until,
        told: 0,
    }
}

/// The caller who holds this token, which is an ordinary one.
pub fn caller(id: &str, token_hash: &str) -> Caller {
    Caller {
        id: id.to_owned(),
        token_hash: token_hash.to_owned(),
        bypass_token: false,
    }
}

/// So many milliseconds after [`now`].
pub fn after(millis: u64) -> Timestamp {
    now() + Duration::from_millis(millis)
}
