//! The words of the tests: two workspaces in a store of their own, and what changed in
//! it; with the feature `plugins` guests, too, and calls of them. For tests alone: nothing
//! that is shipped depends on it.
#![expect(
    clippy::unwrap_used,
    reason = "a test ends where what it needs is not there"
)]

pub mod ask;
#[cfg(feature = "plugins")]
pub mod call;
#[cfg(feature = "plugins")]
pub mod contract;
#[cfg(feature = "plugins")]
pub mod guest;

use chat_domain::account::{Caller, EDIT_OTHER_USER_TOTP, Email, Token, TotpFactor};
use chat_domain::audit::Source;
use chat_domain::mail::{self, Event, Letter};
use chat_domain::operator::{NewRole, NewUser, NewWorkspace};
use chat_domain::settings::Settings;
use chat_domain::time::Timestamp;
use chat_domain::token;
use chat_domain::totp::{TotpKey, code_hash, step_of};
use chat_store::sqlite::Sqlite;
use chat_store::{Store, StoreUrl};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};
use secrecy::ExposeSecret;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// The workspace of the tests.
pub const ACME: &str = "acme";

/// Another workspace in the same store. Its accounts have the ids of acme's, and
/// more rights.
pub const GLOBEX: &str = "globex";

/// The backup codes of everyone with TOTP.
pub const BACKUP_CODES: [&str; 2] = ["a2b3c4d5", "e6f7g8h9"];

/// When requests are accepted: a moment of RFC 6238 appendix B, and the first
/// second of its time step.
pub fn now() -> Timestamp {
    Timestamp::from_millis(1_234_567_890_000)
}

/// The moment that many seconds later.
pub fn after(seconds: u64) -> Timestamp {
    now() + Duration::from_secs(seconds)
}

/// The time step of [`now`].
pub fn step() -> u64 {
    step_of(now())
}

/// The code of `user` for a time step.
pub fn code_of(workspace: &str, user: &str, step: u64) -> String {
    key(workspace, user).code(step)
}

/// The code of acme's administrator for the current step.
pub fn admin_code() -> String {
    code_of(ACME, "admin", step())
}

/// How the store keeps the token called so.
pub fn token_hash(token: &str) -> String {
    token::hash(&token.into())
}

fn key(workspace: &str, user: &str) -> TotpKey {
    TotpKey::new(format!("{workspace}/{user}").into_bytes())
}

/// A store in a file of its own.
///
/// | acme | role | |
/// |---|---|---|
/// | admin | admin | may reset others |
/// | moderator | moderator | may not |
/// | alice | user | two verified addresses, two live tokens |
/// | bob | user | no TOTP |
/// | dora | admin | deactivated |
/// | fred | user | federated, no TOTP |
///
/// Globex has accounts of the same ids, tokens and backup codes, but other keys
/// and addresses: `admin`, `alice` (an administrator), `bob` (with TOTP), `dora`
/// (active). Its moderators may reset others. Only there is `gina`.
pub struct Data {
    folder: TempDir,
    /// The store, open.
    pub store: Arc<dyn Store>,
}

impl Data {
    /// With the usual settings of acme.
    pub async fn new() -> Self {
        Self::with(Settings::default()).await
    }

    /// With these settings of acme.
    pub async fn with(settings: Settings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.sqlite");
        let store = Sqlite::open_or_create(&path).await.unwrap();
        assert!(store.create_workspace(acme(settings)).await.unwrap());
        assert!(store.create_workspace(globex()).await.unwrap());
        Self { folder, store }
    }

    /// The same, which nobody has open.
    pub async fn closed() -> Self {
        let mut data = Self::new().await;
        let none = data.folder.path().join("none");
        data.store = Sqlite::open_or_create(&none).await.unwrap();
        data.connect()
            .pragma_update(None, "wal_checkpoint", "TRUNCATE")
            .unwrap();
        data
    }

    /// Where acme uses no second factors: nobody needs a proof to reset their own.
    pub async fn without_second_factors() -> Self {
        Self::with(Settings {
            two_factor_enabled: false,
            ..Settings::default()
        })
        .await
    }

    /// A second handle on the same data, as another process has one.
    pub async fn another_handle(&self) -> Arc<dyn Store> {
        Sqlite::open(&self.path()).await.unwrap()
    }

    /// Its address.
    pub fn url(&self) -> StoreUrl {
        self.path().into()
    }

    /// Where the data is.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("store.sqlite")
    }

    /// A connection past the store.
    pub fn connect(&self) -> Connection {
        Connection::open(self.path()).unwrap()
    }

    /// Changes the data past the store.
    pub fn edit(&self, sql: &str) {
        self.connect().execute_batch(sql).unwrap();
    }

    /// Everything that the store holds.
    pub fn dump(&self) -> Dump {
        self.dump_without(&[])
    }

    /// Everything that the store holds, but for these tables.
    pub fn dump_without(&self, left_out: &[&str]) -> Dump {
        let db = self.connect();
        let mut tables = db
            .prepare(
                "SELECT name FROM sqlite_master
                 WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
            )
            .unwrap();
        let tables = tables
            .query_map([], |row| row.get::<_, String>(0))
            .unwrap()
            .map(Result::unwrap)
            .filter(|table| !left_out.contains(&table.as_str()));
        Dump(tables.flat_map(|table| rows(&db, &table)).collect())
    }
}

/// The row of a mail that was queued just now and is tried no longer than `expires`.
pub fn mail_row(id: u32, user: &str, recipient: &str, letter: &Letter, expires: i64) -> String {
    let body = letter.body.expose_secret().escape_debug().to_string();
    let holds_code = u8::from(letter.holds_code);
    format!(
        "+ outbox: id={id} workspace=acme message_id=… recipient={recipient} subject={} body={body} \
         queued=1234567890000 expires={expires} holds_code={holds_code} tries=0 claimed=0 \
         next_try=1234567890000 last_problem=null user={user} doubtful=0",
        letter.subject
    )
}

/// When a notice of now is tried no longer.
pub const NOTICE_EXPIRES: i64 = 1_234_827_090_000;

/// The rows of the notices of `event` to alice of acme, which came from `source`.
pub fn notices_to_alice(event: &Event<'_>, source: Option<&Source>) -> [String; 2] {
    let letter = mail::notice(event, now(), source);
    [(1, "alice@example.com"), (2, "alice@example.org")]
        .map(|(id, address)| mail_row(id, "alice", address, &letter, NOTICE_EXPIRES))
}

/// The caller with this id, proved by the token that every user has.
pub fn caller_of(id: &str) -> Caller {
    Caller {
        id: id.to_owned(),
        token_hash: token_hash(&format!("{id}-token")),
        bypass_token: false,
    }
}

/// The rows of a store, each as one line.
#[derive(Debug, PartialEq, Eq)]
pub struct Dump(BTreeSet<String>);

impl Dump {
    /// What is different in `later`: a line a row, `-` before those that are
    /// gone and `+` before those that are new, ordered by table.
    pub fn changes(&self, later: &Self) -> String {
        let gone = self.0.difference(&later.0).map(|row| (row, '-'));
        let new = later.0.difference(&self.0).map(|row| (row, '+'));
        let mut changes: Vec<_> = gone.chain(new).collect();
        changes.sort();
        changes
            .iter()
            .map(|(row, sign)| format!("{sign} {row}\n"))
            .collect()
    }
}

fn rows(db: &Connection, table: &str) -> Vec<String> {
    let mut query = db.prepare(&format!("SELECT * FROM {table}")).unwrap();
    let columns: Vec<_> = query
        .column_names()
        .into_iter()
        .map(str::to_owned)
        .collect();
    query
        .query_map([], |row| Ok(line(table, &columns, row)))
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

fn line(table: &str, columns: &[String], row: &Row<'_>) -> String {
    let values = columns.iter().enumerate().map(|(index, column)| {
        let value = match row.get_ref(index).unwrap() {
            ValueRef::Null => "null".to_owned(),
            ValueRef::Integer(number) => number.to_string(),
            ValueRef::Real(number) => number.to_string(),
            ValueRef::Text(_) if column == "message_id" => "…".to_owned(),
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
                String::from_utf8_lossy(bytes).escape_debug().to_string()
            }
        };
        format!(" {column}={value}")
    });
    format!("{table}:{}", values.collect::<String>())
}

fn acme(settings: Settings) -> NewWorkspace {
    NewWorkspace {
        id: ACME.to_owned(),
        settings,
        roles: vec![
            role("admin", EDIT_OTHER_USER_TOTP),
            role("moderator", "view-full-other-user-info"),
            role("user", "view-history"),
        ],
        users: vec![
            user(ACME, "admin", "admin"),
            user(ACME, "moderator", "moderator"),
            NewUser {
                emails: vec![
                    email("alice@example.com", true),
                    email("alice@example.org", true),
                    email("alice@example.net", false),
                ],
                tokens: vec![
                    token("alice-token", None),
                    token("alice-phone", Some(after(1))),
                    token("alice-expired", Some(now())),
                ],
                ..user(ACME, "alice", "user")
            },
            NewUser {
                totp: None,
                ..user(ACME, "bob", "user")
            },
            NewUser {
                deactivated: true,
                ..user(ACME, "dora", "admin")
            },
            NewUser {
                federated: true,
                totp: None,
                ..user(ACME, "fred", "user")
            },
        ],
    }
}

fn globex() -> NewWorkspace {
    NewWorkspace {
        id: GLOBEX.to_owned(),
        settings: Settings::default(),
        roles: vec![
            role("admin", EDIT_OTHER_USER_TOTP),
            role("moderator", EDIT_OTHER_USER_TOTP),
            role("user", "view-history"),
        ],
        users: vec![
            user(GLOBEX, "admin", "admin"),
            user(GLOBEX, "alice", "admin"),
            user(GLOBEX, "bob", "user"),
            user(GLOBEX, "dora", "user"),
            user(GLOBEX, "gina", "user"),
        ],
    }
}

fn role(name: &str, permission: &str) -> NewRole {
    NewRole {
        name: name.to_owned(),
        permissions: vec![permission.to_owned()],
    }
}

/// A user with TOTP, an address and a token.
fn user(workspace: &str, name: &str, role: &str) -> NewUser {
    NewUser {
        id: name.to_owned(),
        username: format!("{}.{workspace}", capitalized(name)),
        roles: vec![role.to_owned()],
        emails: vec![email(&format!("{name}@{workspace}.example"), true)],
        tokens: vec![token(&format!("{name}-token"), None)],
        totp: Some(TotpFactor {
            key: key(workspace, name),
            last_step: None,
            backup_code_hashes: BACKUP_CODES.map(code_hash).into(),
            spent_code_hashes: Vec::new(),
        }),
        ..NewUser::default()
    }
}

fn capitalized(name: &str) -> String {
    let mut letters = name.chars();
    let first = letters.next().unwrap();
    first.to_uppercase().chain(letters).collect()
}

fn email(address: &str, verified: bool) -> Email {
    Email {
        address: address.to_owned(),
        verified,
    }
}

fn token(token: &str, expires: Option<Timestamp>) -> Token {
    Token {
        hash: token_hash(token),
        expires,
        bypass_two_factor: false,
        name: None,
    }
}
