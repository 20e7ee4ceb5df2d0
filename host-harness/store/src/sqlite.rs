//! The embedded store: SQLite in one file.
//!
//! What is acknowledged is on disk (`synchronous = FULL`); what is deleted is
//! overwritten when the write-ahead log is merged into the file
//! (`secure_delete`); a file that is made here can be read by its owner alone.

mod apply;
mod create;
pub mod evidence;
mod list;
mod outbox;
mod place;
mod read;
mod readers;
mod schema;
mod writer;

use crate::{Decide, Result, Store, StoreError};
use async_trait::async_trait;
use chat_domain::account::Profile;
use chat_domain::dossier::{Dossier, Question};
use chat_domain::operator::{Role, WorkspaceSummary};
use chat_domain::outbox::{Claim, Expired, MailCount, NextTry, StoredMail};
use chat_domain::settings::Settings;
use chat_domain::time::Timestamp;
use place::Place;
use readers::Readers;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use writer::Writer;

/// How long a transaction waits for another process's: longer than any takes,
/// and shorter than a call may, so that a store that is stuck is named.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// The pause between two tries where SQLite does not wait by itself.
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// Prepared statements that a connection keeps: all that there are.
const STATEMENTS: usize = 128;

/// A store in a SQLite file.
pub struct Sqlite {
    place: Place,
    writer: Writer,
    readers: Readers,
}

type SqlResult<T> = rusqlite::Result<T>;

impl Sqlite {
    /// Opens the store in the file at `path`, which must exist, and brings its
    /// schema up to date. It answers from the runtime that opened it, which must outlive
    /// its use.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened or written, is not a store, or was
    /// written by a newer version.
    pub async fn open(path: &Path) -> Result<Arc<dyn Store>> {
        let path = path.to_owned();
        blocking(move || {
            let mut connection = connect(&path, BUSY_TIMEOUT)?;
            schema::migrate(&mut connection)?;
            use_write_ahead_log(&connection)?;
            let place = Place::of(&path)?;
            let store: Arc<dyn Store> = Arc::new(Self {
                writer: Writer::spawn(connection, place.clone(), Handle::current())?,
                readers: Readers::of(place.clone())?,
                place,
            });
            Ok(store)
        })
        .await
    }

    /// Opens the store in the file at `path`, and makes it first where there is
    /// none.
    ///
    /// # Errors
    ///
    /// As [`Sqlite::open`], or when the file cannot be made.
    pub async fn open_or_create(path: &Path) -> Result<Arc<dyn Store>> {
        require_regular(path)?;
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(|e| StoreError(e.into()))?;
        Self::open(path).await
    }
}

/// Whether the store in the file at `path` holds mail to be sent, or is of an older
/// version and cannot tell: a look that costs one short-lived connection.
///
/// # Errors
///
/// As [`Sqlite::open`].
pub async fn holds_mail(path: &Path) -> Result<bool> {
    let path = path.to_owned();
    blocking(move || {
        let db = connect(&path, BUSY_TIMEOUT)?;
        Ok(!schema::is_current(&db)? || outbox::next_mail_due(&db)?.is_some())
    })
    .await
}

/// The workspaces of the store in the file at `path` and the settings of each,
/// after a look that leaves nothing open. An older store is brought up to date.
///
/// # Errors
///
/// As [`Sqlite::open`].
pub async fn survey(path: &Path) -> Result<BTreeMap<String, Settings>> {
    let path = path.to_owned();
    blocking(move || {
        let mut db = connect(&path, BUSY_TIMEOUT)?;
        if !schema::is_current(&db)? {
            schema::migrate(&mut db)?;
        }
        Ok(list::all_settings(&db)?)
    })
    .await
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        if is_busy(&error) {
            return Self("another program kept it busy for too long; try again".into());
        }
        Self(error.into())
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
}

/// Runs what may wait for the disk, or for another program, where nothing else waits
/// for it.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(panic) => Err(StoreError(panic.into())),
    }
}

/// The other end of a pipe would be waited for for ever.
fn require_regular(path: &Path) -> SqlResult<()> {
    if path.metadata().is_ok_and(|metadata| !metadata.is_file()) {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN);
        let problem = Some("it is no regular file".to_owned());
        return Err(rusqlite::Error::SqliteFailure(code, problem));
    }
    Ok(())
}

fn connect(path: &Path, patience: Duration) -> SqlResult<Connection> {
    require_regular(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(patience)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.execute_batch(
        "PRAGMA synchronous = FULL;
         PRAGMA foreign_keys = ON;
         PRAGMA secure_delete = ON;",
    )?;
    Ok(connection)
}

/// Readers then do not wait for a writer. SQLite gives up at once where another
/// process switches at the same moment, so this waits.
fn use_write_ahead_log(connection: &Connection) -> SqlResult<()> {
    let deadline = Instant::now() + BUSY_TIMEOUT;
    loop {
        match connection.pragma_update(None, "journal_mode", "WAL") {
            Err(error) if is_busy(&error) && Instant::now() < deadline => {
                std::thread::sleep(BUSY_PAUSE);
            }
            result => return result,
        }
    }
}

#[async_trait]
impl Store for Sqlite {
    async fn read(&self, question: &Question) -> Result<Dossier> {
        let question = question.clone();
        let read = move |db: &Connection| read::dossier(db, &question);
        self.readers.read(read).await
    }

    async fn transact(&self, question: Question, mut decide: Decide) -> Result<()> {
        if question.look_first && decide(&self.read(&question).await?).is_empty() {
            return Ok(());
        }
        let work = move |db: &Connection| {
            let dossier = read::dossier(db, &question)?;
            apply::all(db, &question.workspace, &decide(&dossier))
        };
        self.writer.write(work).await
    }

    async fn workspaces(&self, now: Timestamp) -> Result<Vec<WorkspaceSummary>> {
        let list = move |db: &Connection| list::workspaces(db, now);
        self.readers.wait_and_read(list).await
    }

    async fn profiles(&self, workspace: &str) -> Result<Vec<Profile>> {
        let workspace = workspace.to_owned();
        let list = move |db: &Connection| list::profiles(db, &workspace);
        self.readers.wait_and_read(list).await
    }

    async fn all_roles(&self, workspace: &str) -> Result<Vec<Role>> {
        let workspace = workspace.to_owned();
        let list = move |db: &Connection| list::roles(db, &workspace);
        self.readers.wait_and_read(list).await
    }

    async fn mails(&self, workspace: &str) -> Result<Vec<StoredMail>> {
        let workspace = workspace.to_owned();
        let list = move |db: &Connection| outbox::mails(db, &workspace, None);
        self.readers.wait_and_read(list).await
    }

    async fn next_mail_due(&self) -> Result<Option<Timestamp>> {
        self.place.require()?;
        self.readers.read(outbox::next_mail_due).await
    }

    async fn mail_count(&self) -> Result<MailCount> {
        self.readers.read(outbox::mail_count).await
    }

    async fn claim_mail(&self, now: Timestamp, but: &[String]) -> Result<Option<Claim>> {
        let but = serde_json::json!(but).to_string();
        self.writer
            .answer(move |db| outbox::claim_mail(db, now, &but))
            .await
    }

    async fn mail_sent(&self, claim: &Claim) -> Result<()> {
        let id = claim.id;
        self.writer
            .answer(move |db| outbox::mail_sent(db, id))
            .await
    }

    async fn mail_failed(&self, claim: &Claim, problem: &str, next: NextTry) -> Result<()> {
        let (id, tries, problem) = (claim.id, claim.tries, problem.to_owned());
        self.writer
            .answer(move |db| outbox::mail_failed(db, id, tries, &problem, next))
            .await
    }

    async fn expire_mail(&self, now: Timestamp) -> Result<Vec<Expired>> {
        self.writer
            .answer(move |db| outbox::expire_mail(db, now))
            .await
    }
}
