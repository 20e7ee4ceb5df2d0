//! The embedded store: SQLite in one file.
//!
//! What is acknowledged is on disk (`synchronous = FULL`); what is deleted is
//! overwritten when the write-ahead log is merged into the file
//! (`secure_delete`); a file that is made here can be read by its owner alone; what is secret
//! in it is sealed where there is a key.

mod apply;
mod audit_log;
pub(crate) mod copy;
mod create;
mod directory;
pub mod evidence;
mod health;
mod list;
mod outbox;
mod place;
mod read;
mod readers;
mod schema;
mod seal_first;
mod sealing;
mod writer;

pub use readers::files_each;
pub(crate) use seal_first::seal_first;

use crate::audit_log::BrokenLog;
use crate::convention::{AN_OLDER_PROGRAMS, Unread};
use crate::seal::{Position, Renewed, Seal, Sealing, StoreIs};
use crate::{Decide, Result, Store, StoreError, Surveyed, Unavailable};
use async_trait::async_trait;
use chat_domain::account::Profile;
use chat_domain::audit::{RecordFilter, StoredRecord};
use chat_domain::audit_log::Page;
use chat_domain::clock_fault::Horizon;
use chat_domain::directory::{AccountFilter, AccountPage};
use chat_domain::dossier::{Dossier, Question};
use chat_domain::health::Health;
use chat_domain::operator::{Role, WorkspaceSummary};
use chat_domain::outbox::{Among, Claim, Expired, OutboxCount, StoredMail};
use chat_domain::time::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use place::Place;
use readers::Readers;
use rusqlite::ffi::{
    SQLITE_IOERR_FSYNC, SQLITE_IOERR_SHMOPEN, SQLITE_IOERR_SHMSIZE, SQLITE_IOERR_TRUNCATE,
    SQLITE_IOERR_WRITE,
};
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::collections::BTreeMap;
use std::fs::{Metadata, OpenOptions};
use std::ops::Deref;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
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
    /// None where the file is looked at only.
    writer: Option<Writer>,
    readers: Readers,
    seal: Seal,
}

/// A connection, and what opens what is sealed.
#[derive(Clone, Copy)]
struct Db<'a> {
    connection: &'a Connection,
    seal: &'a Seal,
}

impl Seal {
    fn over<'a>(&'a self, connection: &'a Connection) -> Db<'a> {
        Db {
            connection,
            seal: self,
        }
    }
}

impl Deref for Db<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection
    }
}

/// What is done with a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    /// It is read and written.
    Write,
    /// It is read beside whoever writes it.
    Look,
    /// It is read where nobody can write it, and no file beside it be made.
    LookAtFrozen,
}

/// What SQLite says of a write to a file of its that the system refuses.
const WRITES: [i32; 5] = [
    SQLITE_IOERR_FSYNC,
    SQLITE_IOERR_SHMOPEN,
    SQLITE_IOERR_SHMSIZE,
    SQLITE_IOERR_TRUNCATE,
    SQLITE_IOERR_WRITE,
];

type SqlResult<T> = rusqlite::Result<T>;

impl Sqlite {
    /// Opens the store in the file at `path`, which must exist, and brings its
    /// schema up to date. It answers from the runtime that opened it, which must outlive
    /// its use.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened or written, everybody may write it, it is not a store,
    /// it was written by a newer version, or as [`Seal::admit`].
    pub async fn open(path: &Path, seal: &Seal) -> Result<Arc<dyn Store>> {
        let (path, seal) = (path.to_owned(), seal.clone());
        blocking(move || {
            place::require_own(&path)?;
            let mut connection = connect(&path, BUSY_TIMEOUT, Access::Write)?;
            bring_up_to_date(&mut connection, &seal)?;
            use_write_ahead_log(&connection)?;
            let place = Place::of(&path, Access::Write)?;
            let writer = Writer::spawn(connection, place.clone(), Handle::current())?;
            let store: Arc<dyn Store> = Arc::new(Self {
                writer: Some(writer),
                readers: Readers::of(place.clone())?,
                place,
                seal,
            });
            Ok(store)
        })
        .await
    }

    /// Opens the store in the file at `path` to look at it, where it cannot be written: what
    /// would change it fails.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, is no store, is one of another version, or as
    /// [`Seal::admit`].
    pub async fn open_to_look(path: &Path, seal: &Seal) -> Result<Arc<dyn Store>> {
        let (path, seal) = (path.to_owned(), seal.clone());
        blocking(move || {
            let access =
                match connect(&path, BUSY_TIMEOUT, Access::Look).and_then(|db| can_read(&db)) {
                    Ok(()) => Access::Look,
                    Err(_) if holds_log(&path) => Access::Look,
                    Err(_) => Access::LookAtFrozen,
                };
            let connection = connect(&path, BUSY_TIMEOUT, access)?;
            if !schema::is_current(&connection)? {
                return Err(StoreError(AN_OLDER_PROGRAMS.into()));
            }
            seal.admit(sealing::read(&connection)?.as_ref())?;
            let place = Place::of(&path, access)?;
            let store: Arc<dyn Store> = Arc::new(Self {
                writer: None,
                readers: Readers::of(place.clone())?,
                place,
                seal,
            });
            Ok(store)
        })
        .await
    }

    fn writer(&self) -> Result<&Writer> {
        self.writer
            .as_ref()
            .ok_or_else(|| Unavailable::ReadOnly.into())
    }

    /// Opens the store in the file at `path`, and makes it first where there is
    /// none: sealed, where there is a key.
    ///
    /// # Errors
    ///
    /// As [`Sqlite::open`], or when the file cannot be made.
    pub async fn open_or_create(path: &Path, seal: &Seal) -> Result<Arc<dyn Store>> {
        require_regular(path)?;
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(|e| StoreError(e.into()))?;
        Self::open(path, seal).await
    }
}

/// What an operator should mend in the file at `path`: everybody on the machine may read the
/// secrets that it holds.
pub fn advice(path: &Path) -> Option<String> {
    place::advice(path)
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
        let db = connect(&path, BUSY_TIMEOUT, Access::Write)?;
        Ok(!schema::is_current(&db)? || outbox::holds_mail(&db)?)
    })
    .await
}

/// The workspaces of the store in the file at `path` and the settings of each,
/// after a look that leaves nothing open. An older store is brought up to date.
///
/// # Errors
///
/// As [`Sqlite::open`].
pub async fn survey(path: &Path, seal: &Seal) -> Result<BTreeMap<String, Surveyed>> {
    let (path, seal) = (path.to_owned(), seal.clone());
    blocking(move || {
        place::require_own(&path)?;
        let mut db = connect(&path, BUSY_TIMEOUT, Access::Write)?;
        bring_up_to_date(&mut db, &seal)?;
        let settings = list::all_settings(seal.over(&db))?;
        Ok(Surveyed::of_all(settings, list::all_fixed_settings(&db)?))
    })
    .await
}

/// Brings the schema up to date, of a store that may be opened.
fn bring_up_to_date(connection: &mut Connection, seal: &Seal) -> Result<()> {
    if !schema::is_current(connection)? {
        schema::migrate(connection, seal)?;
    }
    Ok(seal.admit(sealing::read(connection)?.as_ref())?)
}

/// What is kept and cannot be understood is told as it is.
impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        if let Some(unread) = unread(&error) {
            return Self(unread.into());
        }
        if let rusqlite::Error::FromSqlConversionFailure(_, _, cause) = &error
            && let Some(broken) = cause.downcast_ref::<BrokenLog>()
        {
            return broken.clone().into();
        }
        // SQLite calls a disk full that is, and a quota that is used up a write that failed.
        let is_write = error
            .sqlite_error()
            .is_some_and(|error| WRITES.contains(&error.extended_code));
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy) => Unavailable::Busy.into(),
            Some(ErrorCode::DiskFull) => Unavailable::Full.into(),
            Some(ErrorCode::ReadOnly) => Unavailable::ReadOnly.into(),
            _ if is_write => Unavailable::Refused.into(),
            _ => Self(error.into()),
        }
    }
}

/// What is said of a value that is nothing to work by, where that is what is wrong.
fn unread(error: &rusqlite::Error) -> Option<String> {
    match error {
        rusqlite::Error::FromSqlConversionFailure(_, _, cause) => {
            cause.downcast_ref::<Unread>().map(Unread::to_string)
        }
        _ => None,
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

/// The other end of a pipe would be waited for for ever. And whoever may write in the folder, such as
/// the service's user, could have root make or change a file elsewhere by a link in its name.
fn require_regular(path: &Path) -> SqlResult<()> {
    let found = path.metadata();
    let problem = match path.symlink_metadata() {
        Ok(link) if link.is_symlink() && !is_trusted(&link, found.as_ref().ok()) => {
            "it is a link to what is not its owner's"
        }
        _ if found.is_ok_and(|found| !found.is_file()) => "it is no regular file",
        _ => return Ok(()),
    };
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN);
    Err(rusqlite::Error::SqliteFailure(
        code,
        Some(problem.to_owned()),
    ))
}

/// Whether a link is root's, or leads to what its owner has, too.
fn is_trusted(link: &Metadata, found: Option<&Metadata>) -> bool {
    link.uid() == 0 || found.is_some_and(|found| found.uid() == link.uid())
}

fn connect(path: &Path, patience: Duration, access: Access) -> SqlResult<Connection> {
    require_regular(path)?;
    let flags = match access {
        Access::Write => OpenFlags::SQLITE_OPEN_READ_WRITE,
        Access::Look | Access::LookAtFrozen => {
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI
        }
    };
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = match access {
        Access::LookAtFrozen => Connection::open_with_flags(frozen(path), flags)?,
        Access::Write | Access::Look => Connection::open_with_flags(path, flags)?,
    };
    connection.busy_timeout(patience)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.execute_batch(
        "PRAGMA synchronous = FULL;
         PRAGMA foreign_keys = ON;
         PRAGMA secure_delete = ON;",
    )?;
    Ok(connection)
}

/// The address of a file that nobody writes (SQLite's documentation of URI filenames).
fn frozen(path: &Path) -> String {
    let path = percent_encode(path.as_os_str().as_bytes(), NON_ALPHANUMERIC);
    format!("file:{path}?immutable=1")
}

fn can_read(db: &Connection) -> SqlResult<()> {
    db.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
}

/// Whether what was committed last may be in the log beside the file.
fn holds_log(path: &Path) -> bool {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    Path::new(&log).metadata().is_ok_and(|log| log.len() > 0)
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
        let seal = self.seal.clone();
        let read = move |db: &Connection| read::dossier(seal.over(db), &question);
        self.readers.read(read).await
    }

    async fn transact(&self, question: Question, mut decide: Decide) -> Result<()> {
        if question.look_first && decide(&self.read(&question).await?).is_empty() {
            return Ok(());
        }
        let seal = self.seal.clone();
        let work = move |db: &Connection| {
            let dossier = read::dossier(seal.over(db), &question)?;
            apply::all(seal.over(db), &question.workspace, &decide(&dossier))
        };
        self.writer()?.write(work).await
    }

    async fn workspaces(&self, now: Timestamp) -> Result<Vec<WorkspaceSummary>> {
        let seal = self.seal.clone();
        let list = move |db: &Connection| list::workspaces(seal.over(db), now);
        self.readers.list(None, list).await
    }

    async fn profiles(&self, workspace: &str) -> Result<Vec<Profile>> {
        let (of, seal) = (workspace.to_owned(), self.seal.clone());
        let list = move |db: &Connection| list::profiles(seal.over(db), &of);
        self.readers.list(Some(workspace), list).await
    }

    async fn accounts(&self, workspace: &str, filter: &AccountFilter) -> Result<AccountPage> {
        let (of, filter) = (workspace.to_owned(), filter.clone());
        let seal = self.seal.clone();
        let list = move |db: &Connection| directory::accounts(seal.over(db), &of, &filter);
        self.readers.list(Some(workspace), list).await
    }

    async fn all_roles(&self, workspace: &str) -> Result<Vec<Role>> {
        let of = workspace.to_owned();
        let list = move |db: &Connection| list::roles(db, &of);
        self.readers.list(Some(workspace), list).await
    }

    async fn mails(&self, workspace: &str, after: i64, most: u32) -> Result<Vec<StoredMail>> {
        let of = workspace.to_owned();
        let list = move |db: &Connection| outbox::mails(db, &of, after, most);
        self.readers.list(Some(workspace), list).await
    }

    async fn next_mail_due(&self, now: Timestamp) -> Result<Option<Timestamp>> {
        self.place.require()?;
        let next = move |db: &Connection| outbox::next_mail_due(db, now);
        self.readers.read(next).await
    }

    async fn outbox_count(&self) -> Result<OutboxCount> {
        self.readers.read(outbox::count).await
    }

    async fn claim_mail(&self, now: Timestamp, among: Among<'_>) -> Result<Option<Claim>> {
        let (but, only) = match among {
            Among::AllBut(workspaces) => (serde_json::json!(workspaces).to_string(), None),
            Among::Only(workspace) => ("[]".to_owned(), Some(workspace.to_owned())),
        };
        let seal = self.seal.clone();
        self.writer()?
            .answer(move |db| outbox::claim_mail(seal.over(db), now, &but, only.as_deref()))
            .await
    }

    async fn expired_mails(&self, now: Timestamp) -> Result<Vec<Expired>> {
        let list = move |db: &Connection| outbox::expired_mails(db, now);
        self.readers.read(list).await
    }

    async fn records(&self, workspace: &str, filter: &RecordFilter) -> Result<Vec<StoredRecord>> {
        let (of, filter) = (workspace.to_owned(), filter.clone());
        let list = move |db: &Connection| list::records(db, &of, &filter);
        self.readers.list(Some(workspace), list).await
    }

    async fn log(&self, workspace: &str, from: i64) -> Result<Option<Page>> {
        let of = workspace.to_owned();
        let seal = self.seal.clone();
        let look = move |db: &Connection| audit_log::page(seal.over(db), &of, from);
        self.readers.list(Some(workspace), look).await
    }

    async fn clock_faults(&self, horizon: Horizon) -> Result<u32> {
        let count = move |db: &Connection| list::clock_faults(db, horizon);
        self.readers.list(None, count).await
    }

    async fn health(&self, now: Timestamp) -> Result<Health> {
        let seal = self.seal.clone();
        let look = move |db: &Connection| health::health(seal.over(db), now);
        self.readers.list(None, look).await
    }

    async fn probe(&self, now: Timestamp) -> Result<()> {
        self.writer()?
            .write(move |db| {
                db.prepare_cached("INSERT OR REPLACE INTO probe (id, at) VALUES (1, ?1)")?
                    .execute([now.millis()])
                    .map(drop)
            })
            .await
    }

    async fn sealing(&self) -> Result<Option<Sealing>> {
        self.readers.wait_and_read(sealing::read).await
    }

    async fn renew(&self, from: Position, most: u32) -> Result<Renewed> {
        let seal = self.seal.clone();
        self.writer()?
            .answer(move |db| sealing::renew(seal.over(db), &from, most, StoreIs::Sealed))
            .await
    }

    async fn set_sealing(&self) -> Result<()> {
        let Some(row) = self.seal.sealing() else {
            return Ok(());
        };
        let write = move |db: &Connection| sealing::write(db, &row);
        self.writer()?.write(write).await
    }
}
