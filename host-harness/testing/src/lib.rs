//! The words of the tests: two workspaces in a store of their own, of either kind, and what
//! changed in it; with the feature `plugins` guests, too, and calls of them. For tests alone: nothing
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
pub mod postgres;
mod sqlite;

use chat_domain::account::{Caller, EDIT_OTHER_USER_TOTP, Email, Token, TotpFactor};
use chat_domain::audit::Source;
use chat_domain::mail::{self, Event, Letter};
use chat_domain::operator::{NewRole, NewUser, NewWorkspace};
use chat_domain::settings::Settings;
use chat_domain::time::Timestamp;
use chat_domain::token;
use chat_domain::totp::{TotpKey, code_hash, step_of};
use chat_store::{Store, StoreUrl};
use postgres::Database;
use rusqlite::Connection;
use secrecy::ExposeSecret;
use sqlite::File;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

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
    let code = key(workspace, user).code(step);
    secret_scan::register(&code);
    code
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
    let key = TotpKey::new(format!("{workspace}/{user}").into_bytes());
    secret_scan::register(key.to_base32());
    key
}

/// Which store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// SQLite, in a file of its own.
    Sqlite,
    /// PostgreSQL, in a database of its own.
    Postgres,
}

/// Where the data of a test is.
enum Home {
    Sqlite(File),
    Postgres(Database),
}

impl Home {
    fn url(&self) -> StoreUrl {
        match self {
            Self::Sqlite(file) => file.path().into(),
            Self::Postgres(database) => StoreUrl::Postgres(database.url().into()),
        }
    }
}

/// A store of its own.
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
    home: Home,
    /// The store, open.
    pub store: Arc<dyn Store>,
}

impl Data {
    /// In SQLite, with the usual settings of acme.
    pub async fn new() -> Self {
        Self::with(Settings::default()).await
    }

    /// In SQLite, with these settings of acme.
    pub async fn with(settings: Settings) -> Self {
        Self::of(Kind::Sqlite, settings).await
    }

    /// In a store of this kind, with these settings of acme.
    pub async fn of(kind: Kind, settings: Settings) -> Self {
        let (home, store) = match kind {
            Kind::Sqlite => {
                let file = File::new();
                let store = file.open_or_create().await;
                (Home::Sqlite(file), store)
            }
            Kind::Postgres => {
                let database = Database::with_store();
                let store = database.open().await;
                (Home::Postgres(database), store)
            }
        };
        BACKUP_CODES.iter().for_each(secret_scan::register);
        assert!(store.create_workspace(acme(settings)).await.unwrap());
        assert!(store.create_workspace(globex()).await.unwrap());
        Self { home, store }
    }

    /// A store of this kind, made out of a backup.
    pub async fn restored(kind: Kind, backup: &Path) -> Self {
        let home = match kind {
            Kind::Sqlite => Home::Sqlite(File::new()),
            Kind::Postgres => Home::Postgres(Database::empty()),
        };
        let url = home.url();
        url.restore(backup).await.unwrap();
        let store = url.open().await.unwrap();
        Self { home, store }
    }

    /// The same in SQLite, which nobody has open.
    pub async fn closed() -> Self {
        let mut data = Self::new().await;
        data.store = data.file().another().await;
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
        match &self.home {
            Home::Sqlite(file) => file.open_or_create().await,
            Home::Postgres(database) => database.open().await,
        }
    }

    /// Its address.
    pub fn url(&self) -> StoreUrl {
        self.home.url()
    }

    /// The file that the data is in, where it is in SQLite.
    pub fn path(&self) -> PathBuf {
        self.file().path()
    }

    /// A connection past the store, where it is in SQLite.
    pub fn connect(&self) -> Connection {
        self.file().connect()
    }

    fn file(&self) -> &File {
        match &self.home {
            Home::Sqlite(file) => file,
            Home::Postgres(_) => unreachable!("it is in PostgreSQL"),
        }
    }

    /// The database that the data is in, where it is in PostgreSQL.
    pub fn database(&self) -> &Database {
        match &self.home {
            Home::Sqlite(_) => unreachable!("it is in SQLite"),
            Home::Postgres(database) => database,
        }
    }

    /// Changes the data past the store, by statements that both kinds understand. In PostgreSQL,
    /// `user` is quoted, and SQLite's bytes are translated.
    pub fn edit(&self, sql: &str) {
        match &self.home {
            Home::Sqlite(file) => file.connect().execute_batch(sql).unwrap(),
            Home::Postgres(database) => database.edit(sql),
        }
    }

    /// From now on no audit record can be written, for this reason.
    pub fn refuse_records(&self, why: &str) {
        match &self.home {
            Home::Sqlite(file) => file.refuse_records(why),
            Home::Postgres(database) => database.refuse_records(why),
        }
    }

    /// Everything that the store holds.
    pub fn dump(&self) -> Dump {
        self.dump_without(&[])
    }

    /// Everything that the store holds, but for these tables.
    pub fn dump_without(&self, left_out: &[&str]) -> Dump {
        let rows = match &self.home {
            Home::Sqlite(file) => file.rows(left_out),
            Home::Postgres(database) => database.rows(left_out),
        };
        Dump(rows.into_iter().collect())
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
    secret_scan::register(token);
    Token {
        hash: token_hash(token),
        expires,
        bypass_two_factor: false,
        name: None,
    }
}
