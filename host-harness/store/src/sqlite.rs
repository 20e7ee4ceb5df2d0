//! The embedded store: SQLite in one file.
//!
//! What is acknowledged is on disk (`synchronous = FULL`); what is deleted is
//! overwritten when the write-ahead log is merged into the file
//! (`secure_delete`); a file that is made here can be read by its owner alone.

mod change;
mod create;
mod directory;
pub mod evidence;
mod look_up;
mod outbox;
mod reset;
mod second_factor;
mod token;

use crate::{Result, Store, StoreError};
use async_trait::async_trait;
use chat_domain::account::{Account, Caller, Login, Methods, Selector, TotpFactor, User};
use chat_domain::audit::AuditRecord;
use chat_domain::change::{Change, Denial};
use chat_domain::reset::{Attempt, EmailCode, Receipt, Refusal, Reset};
use chat_domain::settings::Settings;
use chat_domain::time::Timestamp;
use secrecy::SecretString;
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio_rusqlite::rusqlite::{self, ErrorCode, Transaction, TransactionBehavior, params};
use tokio_rusqlite::{Connection, OpenFlags};

/// The schema, one script a version; `user_version` counts those applied.
const MIGRATIONS: [&str; VERSION as usize] = [
    include_str!("sqlite/schema/1.sql"),
    include_str!("sqlite/schema/2.sql"),
];
const VERSION: u32 = 2;

/// Connections that read, each with a thread of its own, so that no look-up
/// waits for the disk while a reset is written. Two serve a small machine's
/// cores.
const READERS: usize = 2;

/// How long a transaction waits for another process's: longer than any takes,
/// and shorter than a call may, so that a store that is stuck is named.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// The pause between two tries where SQLite does not wait by itself.
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// Marks the file as this program's: "totp" in ASCII.
const APPLICATION_ID: i32 = 0x746f_7470;

/// A store in a SQLite file.
pub struct Sqlite {
    writer: Connection,
    readers: Vec<Connection>,
    next_reader: AtomicUsize,
}

type SqlResult<T> = rusqlite::Result<T>;

/// Why a function stops: it refuses what was asked for, or SQLite failed. A
/// refusal is committed, with the failures that were counted before it.
enum Stop<R> {
    Refused(R),
    Sql(rusqlite::Error),
}

type Step<T, R> = std::result::Result<T, Stop<R>>;

impl<R> From<rusqlite::Error> for Stop<R> {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

fn outcome<T, R>(step: Step<T, R>) -> SqlResult<std::result::Result<T, R>> {
    match step {
        Ok(done) => Ok(Ok(done)),
        Err(Stop::Refused(refusal)) => Ok(Err(refusal)),
        Err(Stop::Sql(error)) => Err(error),
    }
}

impl Sqlite {
    /// Opens the store in the file at `path`, which must exist, and brings its
    /// schema up to date.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened or written, is not a store, or was
    /// written by a newer version.
    pub async fn open(path: &Path) -> Result<Self> {
        let writer = connect(path).await?;
        if let Some(problem) = write(&writer, migrate).await? {
            return Err(StoreError(problem.into()));
        }
        writer.call(use_write_ahead_log).await.map_err(fault)?;
        let mut readers = Vec::with_capacity(READERS);
        for _ in 0..READERS {
            readers.push(connect(path).await?);
        }
        Ok(Self {
            writer,
            readers,
            next_reader: AtomicUsize::new(0),
        })
    }

    /// Opens the store in the file at `path`, and makes it first where there is
    /// none.
    ///
    /// # Errors
    ///
    /// As [`Sqlite::open`], or when the file cannot be made.
    pub async fn open_or_create(path: &Path) -> Result<Self> {
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(|e| StoreError(e.into()))?;
        Self::open(path).await
    }

    async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&rusqlite::Connection) -> SqlResult<T> + Send + 'static,
    ) -> Result<T> {
        let turn = self.next_reader.fetch_add(1, Ordering::Relaxed) % READERS;
        let reader = self.readers.get(turn).unwrap_or(&self.writer);
        reader
            .call(|connection| query(connection))
            .await
            .map_err(fault)
    }

    async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> SqlResult<T> + Send + 'static,
    ) -> Result<T> {
        write(&self.writer, change).await
    }
}

fn fault(error: tokio_rusqlite::Error) -> StoreError {
    match error {
        tokio_rusqlite::Error::Error(error)
            if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) =>
        {
            StoreError("another program kept it busy for too long; try again".into())
        }
        tokio_rusqlite::Error::Error(error) => StoreError(error.into()),
        other => StoreError(other.into()),
    }
}

/// Whether the store in the file at `path` holds mail to be sent, or is of an older
/// version and cannot tell: a look that costs one short-lived connection.
///
/// # Errors
///
/// As [`Sqlite::open`].
pub async fn holds_mail(path: &Path) -> Result<bool> {
    let connection = connect(path).await?;
    let holds_mail =
        connection.call(|db| Ok(!is_current(db)? || outbox::next_mail_due(db)?.is_some()));
    holds_mail.await.map_err(fault)
}

/// The workspaces of the store in the file at `path` and the settings of each,
/// after a look that leaves nothing open. An older store is brought up to date.
///
/// # Errors
///
/// As [`Sqlite::open`].
pub async fn survey(path: &Path) -> Result<BTreeMap<String, Settings>> {
    let connection = connect(path).await?;
    if !connection.call(|db| is_current(db)).await.map_err(fault)?
        && let Some(problem) = write(&connection, migrate).await?
    {
        return Err(StoreError(problem.into()));
    }
    let survey = connection.call(|connection| look_up::all_settings(connection));
    survey.await.map_err(fault)
}

async fn connect(path: &Path) -> Result<Connection> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
        .await
        .map_err(|e| StoreError(e.into()))?;
    connection
        .call(|connection| {
            connection.busy_timeout(BUSY_TIMEOUT)?;
            connection.execute_batch(
                "PRAGMA synchronous = FULL;
                 PRAGMA foreign_keys = ON;
                 PRAGMA secure_delete = ON;",
            )
        })
        .await
        .map_err(fault)?;
    Ok(connection)
}

/// Readers then do not wait for a writer. SQLite gives up at once where another
/// process switches at the same moment, so this waits.
fn use_write_ahead_log(connection: &mut rusqlite::Connection) -> SqlResult<()> {
    let deadline = Instant::now() + BUSY_TIMEOUT;
    loop {
        match connection.pragma_update(None, "journal_mode", "WAL") {
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && Instant::now() < deadline =>
            {
                std::thread::sleep(BUSY_PAUSE);
            }
            result => return result,
        }
    }
}

/// Runs `change` in a transaction that no other writer, of this process or
/// another, can come between. It commits where `change` succeeds.
async fn write<T: Send + 'static>(
    connection: &Connection,
    change: impl FnOnce(&Transaction<'_>) -> SqlResult<T> + Send + 'static,
) -> Result<T> {
    connection
        .call(|connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let result = change(&transaction)?;
            transaction.commit()?;
            Ok(result)
        })
        .await
        .map_err(fault)
}

/// Whether it is a store of this version.
fn is_current(db: &rusqlite::Connection) -> SqlResult<bool> {
    let id: i32 = db.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let applied: u32 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok(id == APPLICATION_ID && applied == VERSION)
}

/// Applies the migrations that the file lacks; says why it is not a store that
/// this program can use.
fn migrate(tx: &Transaction<'_>) -> SqlResult<Option<&'static str>> {
    let id: i32 = tx.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let applied: u32 = tx.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let tables: u32 = tx.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let is_new = id == 0 && applied == 0 && tables == 0;
    if id != APPLICATION_ID && !is_new {
        return Ok(Some("it is another program's database"));
    }
    if applied > VERSION {
        return Ok(Some("a newer program wrote it: use that one"));
    }
    tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    for (version, script) in (1..=VERSION).zip(MIGRATIONS) {
        if version > applied {
            tx.execute_batch(script)?;
        }
    }
    tx.pragma_update(None, "user_version", VERSION)?;
    Ok(None)
}

#[async_trait]
impl Store for Sqlite {
    async fn settings(&self, workspace: &str) -> Result<Option<Settings>> {
        let workspace = workspace.to_owned();
        self.read(move |db| look_up::settings(db, &workspace)).await
    }

    async fn authenticate(
        &self,
        workspace: &str,
        user: &str,
        token_hash: &str,
        now: Timestamp,
    ) -> Result<Option<Caller>> {
        let (workspace, id, hash) = (workspace.to_owned(), user.to_owned(), token_hash.to_owned());
        self.read(move |db| look_up::authenticate(db, &workspace, &id, &hash, now))
            .await
    }

    async fn token_holder(
        &self,
        workspace: &str,
        token_hash: &str,
        now: Timestamp,
    ) -> Result<Option<String>> {
        let (workspace, hash) = (workspace.to_owned(), token_hash.to_owned());
        self.read(move |db| look_up::token_holder(db, &workspace, &hash, now))
            .await
    }

    async fn revoke_token(&self, workspace: &str, token_hash: &str) -> Result<()> {
        let (workspace, hash) = (workspace.to_owned(), token_hash.to_owned());
        self.write(move |tx| token::revoke(tx, &workspace, &hash))
            .await
    }

    async fn find_login(&self, workspace: &str, name: &str) -> Result<Option<Login>> {
        let (workspace, name) = (workspace.to_owned(), name.to_owned());
        self.read(move |db| look_up::find_login(db, &workspace, &name))
            .await
    }

    async fn account(
        &self,
        workspace: &str,
        user: &str,
        now: Timestamp,
    ) -> Result<Option<Account>> {
        let (workspace, user) = (workspace.to_owned(), user.to_owned());
        self.read(move |db| look_up::account(db, &workspace, &user, now))
            .await
    }

    async fn find_user(&self, workspace: &str, selector: Selector) -> Result<Option<User>> {
        let workspace = workspace.to_owned();
        self.read(move |db| look_up::find_user(db, &workspace, &selector))
            .await
    }

    async fn has_permission(&self, workspace: &str, user: &str, permission: &str) -> Result<bool> {
        let (workspace, user) = (workspace.to_owned(), user.to_owned());
        let permission = permission.to_owned();
        self.read(move |db| look_up::has_permission(db, &workspace, &user, &permission))
            .await
    }

    async fn methods(&self, workspace: &str, user: &str) -> Result<Methods> {
        let (workspace, user) = (workspace.to_owned(), user.to_owned());
        self.read(move |db| look_up::methods(db, &workspace, &user))
            .await
    }

    async fn begin_totp_attempt(
        &self,
        workspace: &str,
        user: &str,
        now: Timestamp,
    ) -> Result<Attempt<TotpFactor>> {
        let (workspace, user) = (workspace.to_owned(), user.to_owned());
        self.write(move |tx| second_factor::begin_totp_attempt(tx, &workspace, &user, now))
            .await
    }

    async fn begin_password_attempt(
        &self,
        workspace: &str,
        user: &str,
        now: Timestamp,
    ) -> Result<Attempt<SecretString>> {
        let (workspace, user) = (workspace.to_owned(), user.to_owned());
        self.write(move |tx| second_factor::begin_password_attempt(tx, &workspace, &user, now))
            .await
    }

    async fn begin_email_attempt(
        &self,
        workspace: &str,
        user: &str,
        now: Timestamp,
    ) -> Result<Attempt<Option<String>>> {
        let (workspace, user) = (workspace.to_owned(), user.to_owned());
        self.write(move |tx| second_factor::begin_email_attempt(tx, &workspace, &user, now))
            .await
    }

    async fn send_email_code(
        &self,
        workspace: &str,
        user: &str,
        code: SecretString,
        now: Timestamp,
    ) -> Result<EmailCode> {
        let (workspace, user) = (workspace.to_owned(), user.to_owned());
        self.write(move |tx| second_factor::send_email_code(tx, &workspace, &user, &code, now))
            .await
    }

    async fn change(&self, change: Change) -> Result<std::result::Result<(), Denial>> {
        self.write(move |tx| change::commit(tx, &change)).await
    }

    async fn reset(&self, order: Reset) -> Result<std::result::Result<Receipt, Refusal>> {
        self.write(move |tx| outcome(reset::commit(tx, &order)))
            .await
    }

    async fn record(&self, entry: AuditRecord) -> Result<()> {
        self.write(move |tx| record(tx, &entry)).await
    }
}

fn record(tx: &Transaction<'_>, entry: &AuditRecord) -> SqlResult<()> {
    tx.prepare_cached(
        "INSERT INTO audit (workspace, at, request_id, action, caller, target, decision, reason)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute(params![
        entry.workspace,
        entry.at.millis(),
        entry.request_id,
        entry.action.name(),
        entry.caller,
        entry.target,
        entry.decision.name(),
        entry.reason
    ])?;
    Ok(())
}
