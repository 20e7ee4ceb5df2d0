//! The words of the tests: two workspaces in a store of their own, of any kind, and what
//! changed in it; with the feature `plugins` guests, too, and calls of them. For tests alone: nothing
//! that is shipped depends on it.
#![expect(
    clippy::unwrap_used,
    reason = "a test ends where what it needs is not there"
)]

pub mod ask;
#[cfg(feature = "plugins")]
pub mod call;
pub mod certificates;
#[cfg(feature = "plugins")]
pub mod contract;
#[cfg(feature = "plugins")]
pub mod guest;
pub mod mongodb;
mod port;
pub mod postgres;
pub mod proxy;
mod rocket_chat;
pub mod served;
mod sqlite;
mod until;

use chat_domain::account::{Caller, EDIT_OTHER_USER_TOTP, Email, Token, TotpFactor};
use chat_domain::audit::Source;
use chat_domain::mail::{self, Event, Language, Letter};
use chat_domain::operator::{NewRole, NewUser, NewWorkspace};
use chat_domain::settings::Settings;
use chat_domain::time::Timestamp;
use chat_domain::token;
use chat_domain::totp::{TotpKey, code_hash, step_of};
use chat_store::seal::{EMAIL_CODE, KeySource, PENDING_KEY, SEALED, Seal, SealedColumn};
use chat_store::{Store, StoreUrl};
pub use port::free_port;
use postgres::Database;
use rocket_chat::RocketChat;
use rusqlite::Connection;
use secrecy::ExposeSecret;
use sqlite::File;
use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
pub use until::{PATIENCE, until};

/// The workspace of the tests.
pub const ACME: &str = "acme";

/// Another workspace in the same store. Its accounts have the ids of acme's, and
/// more rights.
pub const GLOBEX: &str = "globex";

/// The backup codes of everyone with TOTP.
pub const BACKUP_CODES: [&str; 2] = ["a2b3c4d5", "e6f7g8h9"];

/// The key under which the stores are sealed.
pub const KEY: &str = "dGhlIGtleSBvZiB0aGUgdGVzdHMsIDMyIGJ5dGVzISE=";

/// Another key.
pub const NEW_KEY: &str = "YW5vdGhlciBrZXkgb2YgdGhlIHRlc3RzOiAzMiBiLiE=";

/// What seals and opens by [`KEY`].
pub fn seal() -> Seal {
    seal_of(&[KEY])
}

/// What seals by the first of these keys and opens by all.
pub fn seal_of(keys: &[&str]) -> Seal {
    keys.iter().for_each(secret_scan::register);
    KeySource::Text(keys.join("\n").into()).seal().unwrap()
}

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
    /// Rocket.Chat's own, a database for each workspace.
    Mongodb,
}

/// Where the data of a test is.
enum Home {
    Sqlite(File),
    Postgres(Database),
    Mongodb(Box<RocketChat>),
}

impl Home {
    fn url(&self) -> StoreUrl {
        match self {
            Self::Sqlite(file) => file.path().into(),
            Self::Postgres(database) => StoreUrl::Postgres(database.url().into()),
            Self::Mongodb(databases) => databases.url(),
        }
    }
}

/// A store of its own, sealed under [`KEY`].
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
    /// What opens what is sealed.
    pub seal: Seal,
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
        Self::sealed_by(seal(), kind, settings).await
    }

    /// In a store of this kind, which is not sealed.
    pub async fn plain(kind: Kind) -> Self {
        Self::sealed_by(Seal::none(), kind, Settings::default()).await
    }

    async fn sealed_by(seal: Seal, kind: Kind, settings: Settings) -> Self {
        if kind == Kind::Mongodb {
            return Self::of_rocket_chat(seal, settings).await;
        }
        let data = Self::empty_sealed_by(seal, kind).await;
        BACKUP_CODES.iter().for_each(secret_scan::register);
        let store = &data.store;
        assert!(store.create_workspace(acme(settings)).await.unwrap());
        assert!(store.create_workspace(globex()).await.unwrap());
        data
    }

    async fn of_rocket_chat(seal: Seal, settings: Settings) -> Self {
        BACKUP_CODES.iter().for_each(secret_scan::register);
        let databases = RocketChat::with(&seal, [acme(settings), globex()]).await;
        let store = databases.open(&seal).await.unwrap();
        let home = Home::Mongodb(Box::new(databases));
        Self { home, seal, store }
    }

    /// In a store of this kind, without any workspace.
    pub async fn empty(kind: Kind) -> Self {
        Self::empty_sealed_by(seal(), kind).await
    }

    async fn empty_sealed_by(seal: Seal, kind: Kind) -> Self {
        let (home, store) = match kind {
            Kind::Sqlite => {
                let file = File::new();
                let store = file.open_or_create(&seal).await;
                (Home::Sqlite(file), store)
            }
            Kind::Postgres => {
                let database = Database::with_store(&seal);
                let store = database.open(&seal).await;
                (Home::Postgres(database), store)
            }
            Kind::Mongodb => unreachable!("Rocket.Chat's database is its workspace"),
        };
        Self { home, seal, store }
    }

    /// A store of this kind, made out of a backup.
    pub async fn restored(kind: Kind, backup: &Path) -> Self {
        let home = match kind {
            Kind::Sqlite => Home::Sqlite(File::new()),
            Kind::Postgres => Home::Postgres(Database::empty()),
            Kind::Mongodb => unreachable!("no backup is restored into Rocket.Chat's database"),
        };
        let url = home.url();
        url.restore(backup).await.unwrap();
        let seal = seal();
        let store = url.open(&seal).await.unwrap();
        Self { home, seal, store }
    }

    /// The same in SQLite, which nobody has open.
    pub async fn closed() -> Self {
        let mut data = Self::new().await;
        data.close().await;
        data
    }

    /// Closes it: nobody has it open.
    pub async fn close(&mut self) {
        match &self.home {
            Home::Sqlite(file) => {
                self.store = file.another().await;
                self.connect()
                    .pragma_update(None, "wal_checkpoint", "TRUNCATE")
                    .unwrap();
            }
            Home::Postgres(_) | Home::Mongodb(_) => self.store = File::new().another().await,
        }
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
        self.open_by(&self.seal).await.unwrap()
    }

    /// The same by other keys.
    pub async fn open_by(&self, seal: &Seal) -> chat_store::Result<Arc<dyn Store>> {
        match &self.home {
            Home::Mongodb(databases) => databases.open(seal).await,
            _ => self.url().open(seal).await,
        }
    }

    /// The file of the key, beside the data, where it is in SQLite.
    pub fn key_file(&self) -> PathBuf {
        self.write_keys(&[KEY])
    }

    /// The same file, of these keys.
    pub fn write_keys(&self, keys: &[&str]) -> PathBuf {
        let path = self.path().with_file_name("store.key");
        let mut file = OpenOptions::new();
        let file = file.write(true).create(true).truncate(true).mode(0o600);
        let mut file = file.open(&path).unwrap();
        file.write_all(keys.join("\n").as_bytes()).unwrap();
        path
    }

    /// `plaintext` as the store writes it in this column of an account, to be put there past
    /// the store.
    pub fn sealed(
        &self,
        column: &SealedColumn,
        workspace: &str,
        account: &str,
        plaintext: &str,
    ) -> String {
        self.seal.seal(&column.of(workspace, account), plaintext)
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
            Home::Postgres(_) | Home::Mongodb(_) => unreachable!("it is in no file"),
        }
    }

    /// The database that the data is in, where it is in PostgreSQL.
    pub fn database(&self) -> &Database {
        match &self.home {
            Home::Sqlite(_) | Home::Mongodb(_) => unreachable!("it is not in PostgreSQL"),
            Home::Postgres(database) => database,
        }
    }

    /// The databases that the data is in, where those are Rocket.Chat's.
    pub fn rocket_chat(&self) -> &RocketChat {
        match &self.home {
            Home::Mongodb(databases) => databases,
            _ => unreachable!("it is not Rocket.Chat's"),
        }
    }

    /// Changes the data past the store, by statements that both kinds understand; in PostgreSQL
    /// `user` is quoted.
    pub fn edit(&self, sql: &str) {
        match &self.home {
            Home::Sqlite(file) => file.connect().execute_batch(sql).unwrap(),
            Home::Postgres(database) => database.edit(sql),
            Home::Mongodb(databases) => databases.edit(sql),
        }
    }

    /// From now on no audit record can be written, for this reason; gives what the store says of
    /// it then.
    pub fn refuse_records(&self, why: &str) -> String {
        let told = match &self.home {
            Home::Sqlite(file) => {
                file.refuse_records(why);
                why
            }
            Home::Postgres(database) => {
                database.refuse_records(why);
                why
            }
            Home::Mongodb(databases) => {
                databases.refuse_records();
                "the server takes no such document"
            }
        };
        format!("the store failed: {told}")
    }

    /// Shows the account a key, which can be proved until `expires`.
    pub fn show_key(&self, workspace: &str, user: &str, key: &str, expires: i64) {
        let key = TotpKey::new(key.as_bytes().to_vec()).to_base32();
        let key = self.sealed(&PENDING_KEY, workspace, user, &key);
        self.edit(&format!(
            "INSERT INTO pending_totp VALUES ('{workspace}', '{user}', '{key}', {expires})"
        ));
    }

    /// Has the account been sent the code with this hash just now, by `mails` mails: it ends in
    /// a minute, and was tried so often in vain.
    pub fn send_code(&self, workspace: &str, user: &str, hash: &str, failures: u32, mails: u32) {
        let hash = self.sealed(&EMAIL_CODE, workspace, user, hash);
        self.edit(&format!(
            "DELETE FROM email_code WHERE workspace = '{workspace}' AND user = '{user}';
             INSERT INTO email_code VALUES ('{workspace}', '{user}', '{hash}', 1234567950000,
                                            {failures}, 1234567890000, {mails})"
        ));
    }

    /// Holds every workspace's audit log to its records.
    pub async fn assert_logs_are_whole(&self) {
        for workspace in self.store.workspaces(now()).await.unwrap() {
            let report = self.store.check_log(&workspace.id, None).await.unwrap();
            let faults = report.map(|report| report.faults).unwrap_or_default();
            assert_eq!(faults, [], "{}", workspace.id);
        }
    }

    /// Everything that the store holds.
    pub fn dump(&self) -> Dump {
        self.dump_without(&[])
    }

    /// Everything that the store holds, as it is kept: what is sealed is not opened.
    pub fn dump_as_kept(&self) -> Dump {
        let rows = match &self.home {
            Home::Sqlite(file) => file.rows(&[], &[], &Seal::none()),
            Home::Postgres(database) => database.rows(&[], &[], &Seal::none()),
            Home::Mongodb(databases) => databases.rows(&[], &[], &Seal::none()),
        };
        Dump(rows.into_iter().collect())
    }

    /// Everything that the store holds, but for these tables.
    ///
    /// What makes the audit trail a log is never in it: it is random, and
    /// [`Data::assert_logs_are_whole`] holds it to the records.
    pub fn dump_without(&self, left_out: &[&str]) -> Dump {
        let left_out: Vec<_> = left_out.iter().copied().chain(LOG_TABLES).collect();
        self.everything_but(&left_out, &LOG_COLUMNS)
    }

    /// Everything that the store holds, the log of the audit trail, too, but for these tables.
    pub fn dump_with_log_without(&self, left_out: &[&str]) -> Dump {
        self.everything_but(left_out, &[])
    }

    fn everything_but(&self, tables: &[&str], columns: &[&str]) -> Dump {
        let rows = match &self.home {
            Home::Sqlite(file) => file.rows(tables, columns, &self.seal),
            Home::Postgres(database) => database.rows(tables, columns, &self.seal),
            Home::Mongodb(databases) => databases.rows(tables, columns, &self.seal),
        };
        Dump(rows.into_iter().collect())
    }
}

/// The row of a mail that was queued just now and is tried no longer than `expires`.
pub fn mail_row(id: u32, user: &str, recipient: &str, letter: &Letter, expires: i64) -> String {
    let body = letter.body.expose_secret().escape_debug().to_string();
    let body = match letter.holds_code {
        true => sealed(&body),
        false => body,
    };
    let holds_code = u8::from(letter.holds_code);
    format!(
        "+ outbox: id={id} workspace=acme message_id=… recipient={recipient} subject={} body={body} \
         queued=1234567890000 expires={expires} holds_code={holds_code} tries=0 claimed=0 \
         next_try=1234567890000 last_problem=null user={user} doubtful=0",
        letter.subject
    )
}

/// What a dump shows of a text in a column of a table, which is of that account: opened, where it
/// is sealed.
fn shown(
    seal: &Seal,
    table: &str,
    column: &str,
    [workspace, account]: [&str; 2],
    text: &str,
) -> String {
    let mut columns = SEALED.into_iter();
    let of_this = columns.find(|sealed| sealed.table == table && sealed.column == column);
    let place = of_this.map(|sealed| sealed.of(workspace, account));
    let opened = place
        .filter(|_| text.starts_with("s1."))
        .and_then(|place| seal.open(&place, text).ok());
    match opened {
        Some(opened) => sealed(&opened.expose_secret().escape_debug().to_string()),
        None => text.escape_debug().to_string(),
    }
}

/// What says which account a row of the table is of, where something in it is sealed.
fn account_of(table: &str) -> &'static str {
    let sealed = SEALED.into_iter().find(|sealed| sealed.table == table);
    sealed.map_or("''", |sealed| sealed.account)
}

/// How a dump shows what a store keeps sealed.
pub fn sealed(plaintext: &str) -> String {
    format!("sealed({plaintext})")
}

/// How a dump shows the TOTP key of these bytes.
pub fn sealed_key(bytes: &str) -> String {
    sealed(&TotpKey::new(bytes.as_bytes().to_vec()).to_base32())
}

/// When a notice of now is tried no longer.
pub const NOTICE_EXPIRES: i64 = 1_234_827_090_000;

/// The rows of the notices of `event` to alice of acme, which came from `source`.
pub fn notices_to_alice(event: &Event<'_>, source: Option<&Source>) -> [String; 2] {
    let letter = mail::notice(Language::English, event, now(), source);
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

/// Tables, and columns of `audit`, that make the audit trail a log.
const LOG_TABLES: [&str; 2] = ["audit_leaf", "audit_log"];
const LOG_COLUMNS: [&str; 2] = ["idx", "salt"];

/// The rows of a store, each as one line; what is sealed shows as [`sealed`] does.
#[derive(Debug, PartialEq, Eq)]
pub struct Dump(BTreeSet<String>);

impl Dump {
    /// Each row.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

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
