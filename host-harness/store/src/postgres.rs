//! The shared store: PostgreSQL, which any number of hosts use at the same time.
//!
//! What is acknowledged is durable, on a synchronous standby, too, where there is one. Each
//! transaction sees one workspace (row-level security) but those that are about all. A call is
//! tried again where a transaction met another's or the server was lost, until its time is over;
//! then it was not done, and says so ([`Unavailable`](crate::Unavailable)).

mod address;
mod apply;
mod audit_log;
pub(crate) mod copy;
mod create;
mod database;
mod directory;
mod failure;
mod health;
mod list;
mod outbox;
mod query;
mod read;
mod schema;
mod sealing;
mod writer;

use crate::convention::AN_OLDER_PROGRAMS;
use crate::directory::{Gathered, addresses_after, leave_out, usernames_after};
use crate::seal::{Position, Renewed, Seal, Sealing};
use crate::{Decide, Result, Store, StoreError, Surveyed};
use address::Access;
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
use database::{Database, PATIENCE};
use failure::Failure;
use query::{Query, Value, query};
use read::Purpose;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::time::Instant;
use tokio_postgres::Row;
use writer::Writer;

/// A store in a PostgreSQL database.
pub struct Postgres {
    database: Arc<Database>,
    writer: Arc<Writer>,
    seal: Seal,
}

impl Postgres {
    /// Opens the store in the database at `url`, and brings its schema up to date. It writes
    /// from the runtime that opened it, which must outlive its use.
    ///
    /// The URL is as PostgreSQL's own client takes it, with several hosts, one of which
    /// writes. Who encrypts (`sslmode=require` and above, and `prefer`, the default, where the
    /// server does) also verifies the server's certificate and name, by the certificates of the
    /// file `sslrootcert` or the system's. The login owns the tables.
    ///
    /// # Errors
    ///
    /// When the URL is none, the server cannot be reached, there is no store or another
    /// program's tables, or a newer version wrote it; where the role is missing under which
    /// a workspace is seen, and the login may not make it; or as [`Seal::admit`].
    pub async fn open(url: &str, seal: &Seal) -> Result<Arc<dyn Store>> {
        Self::migrated(url, false, seal).await
    }

    /// As [`Postgres::open`], and makes the store first where the database is empty: sealed,
    /// where there is a key.
    ///
    /// # Errors
    ///
    /// As [`Postgres::open`], or when the login may not make tables.
    pub async fn open_or_create(url: &str, seal: &Seal) -> Result<Arc<dyn Store>> {
        Self::migrated(url, true, seal).await
    }

    /// Opens the store in the database at `url` to look at it, also where no server writes: what
    /// would change it fails.
    ///
    /// # Errors
    ///
    /// As [`Postgres::open`], or when an older version wrote it.
    pub async fn open_to_look(url: &str, seal: &Seal) -> Result<Arc<dyn Store>> {
        let database = Database::at(url, Access::Look)?;
        match schema::is_current_and_admitted(&database, seal).await? {
            true => Ok(Self::of(database, seal)),
            false => Err(StoreError(AN_OLDER_PROGRAMS.into())),
        }
    }

    async fn migrated(url: &str, may_create: bool, seal: &Seal) -> Result<Arc<dyn Store>> {
        let database = Database::at(url, Access::Write)?;
        schema::migrate(&database, may_create, seal).await?;
        Ok(Self::of(database, seal))
    }

    fn of(database: Database, seal: &Seal) -> Arc<dyn Store> {
        let (database, seal) = (Arc::new(database), seal.clone());
        let writer = Writer::of(database.clone(), seal.clone());
        Arc::new(Self {
            database,
            writer,
            seal,
        })
    }

    /// What a query finds in a workspace.
    async fn rows(&self, workspace: &str, query: impl Fn() -> Query) -> Result<Vec<Row>> {
        let found = self.database.list(Some(workspace), || vec![query()]);
        Ok(found.await?.pop().unwrap_or_default())
    }

    /// What a query finds in all workspaces.
    async fn rows_of_all(&self, query: impl Fn() -> Query) -> Result<Vec<Row>> {
        let found = self.database.read(None, || vec![query()]);
        Ok(found.await?.pop().unwrap_or_default())
    }
}

/// Whether the store in the database at `url` holds mail to be sent, or is of an older version
/// and cannot tell: a look that costs one short-lived connection.
///
/// # Errors
///
/// As [`Postgres::open`].
pub async fn holds_mail(url: &str) -> Result<bool> {
    let database = Database::at(url, Access::Look)?;
    if !schema::is_current(&database).await? {
        return Ok(true);
    }
    let mail = || vec![outbox::holds_mail()];
    let found = database.read(None, mail).await?;
    Ok(found.iter().any(|rows| !rows.is_empty()))
}

/// The workspaces of the store in the database at `url` and the settings of each, after a look
/// that leaves nothing open. An older store is brought up to date.
///
/// # Errors
///
/// As [`Postgres::open`].
pub async fn survey(url: &str, seal: &Seal) -> Result<BTreeMap<String, Surveyed>> {
    let database = Database::at(url, Access::Write)?;
    schema::migrate(&database, false, seal).await?;
    let settings = || vec![query!(list::ALL_SETTINGS), query!(list::ALL_FIXED_SETTINGS)];
    let found = database.list(None, settings).await?;
    let [settings, fixed] = found.as_slice() else {
        return Ok(BTreeMap::new());
    };
    let settings = list::all_settings_in(settings, seal)?;
    let fixed = each(fixed, |row| {
        Ok((query::get(row, 0)?, read::setting_place_in(row, 1)?))
    })?;
    Ok(Surveyed::of_all(settings, fixed))
}

/// Seals a store that is not sealed; gives how many values there were.
///
/// # Errors
///
/// As [`Postgres::open`]; when somebody has the store open.
pub(crate) async fn seal_first(url: &str, seal: &Seal) -> Result<u64> {
    let database = Database::at(url, Access::Write)?;
    schema::migrate(&database, false, &Seal::none()).await?;
    let values = sealing::seal_first(&database, seal).await?;
    sealing::rewrite(&database).await?;
    Ok(values)
}

/// Ends what [`seal_first`] may have left half done.
///
/// # Errors
///
/// When the server fails.
pub(crate) async fn end_sealing(url: &str) -> Result<()> {
    sealing::rewrite(&Database::at(url, Access::Write)?).await
}

/// All rows, each as `read` takes it.
fn each<T>(rows: &[Row], read: impl Fn(&Row) -> std::result::Result<T, Failure>) -> Result<Vec<T>> {
    let read: std::result::Result<_, _> = rows.iter().map(read).collect();
    Ok(read?)
}

#[async_trait]
impl Store for Postgres {
    async fn read(&self, question: &Question) -> Result<Dossier> {
        let queries = || read::queries(question, Purpose::Look);
        let workspace = Some(question.workspace.as_str());
        let found = self.database.read(workspace, queries).await?;
        Ok(read::dossier(&self.seal, question, found)?.dossier)
    }

    async fn transact(&self, question: Question, mut decide: Decide) -> Result<()> {
        if question.look_first && decide(&self.read(&question).await?).is_empty() {
            return Ok(());
        }
        self.writer.write(question, decide).await
    }

    async fn workspaces(&self, now: Timestamp) -> Result<Vec<WorkspaceSummary>> {
        let found = self.database.list(None, list::workspaces);
        Ok(list::workspaces_in(&found.await?, &self.seal, now)?)
    }

    async fn profiles(&self, workspace: &str) -> Result<Vec<Profile>> {
        let rows = self.rows(workspace, || read::all_profiles(workspace));
        let profile = |row: &Row| Ok(read::profile_in(&self.seal, workspace, row)?.0);
        each(&rows.await?, profile)
    }

    async fn accounts(&self, workspace: &str, filter: &AccountFilter) -> Result<AccountPage> {
        let mut gathered = Gathered::new(filter);
        if let Some(after) = usernames_after(filter) {
            let room = gathered.room();
            let found = || directory::by_username(workspace, filter, after, room);
            directory::usernames_in(&self.rows(workspace, found).await?, &mut gathered)?;
        }
        let search = filter.search.as_ref().filter(|_| !filter.lock_noted);
        if let Some(search) = search.filter(|_| gathered.room() > 0) {
            let found = || directory::by_address(workspace, search, addresses_after(filter));
            directory::addresses_in(&self.rows(workspace, found).await?, &mut gathered)?;
        }
        let (ids, next) = gathered.page();
        let rows = self.rows(workspace, || read::profiles_of(workspace, &ids));
        let mut profiles = Vec::with_capacity(ids.len());
        for row in &rows.await? {
            match read::profile_in(&self.seal, workspace, row) {
                Ok((profile, _)) => profiles.push(profile),
                Err(failure) => leave_out(StoreError::from(failure)),
            }
        }
        Ok(AccountPage { profiles, next })
    }

    async fn all_roles(&self, workspace: &str) -> Result<Vec<Role>> {
        let roles = || query!(read::ROLES, Value::key(workspace), Value::Text(None));
        each(&self.rows(workspace, roles).await?, read::role_in)
    }

    async fn mails(&self, workspace: &str, after: i64, most: u32) -> Result<Vec<StoredMail>> {
        let mails = || query!(outbox::MAILS, Value::key(workspace), after, most);
        each(&self.rows(workspace, mails).await?, outbox::mail_in)
    }

    async fn next_mail_due(&self, now: Timestamp) -> Result<Option<Timestamp>> {
        let rows = self.rows_of_all(outbox::next_due).await?;
        let next = each(&rows, |row| outbox::next_due_in(row, now))?;
        Ok(next.into_iter().next().flatten())
    }

    async fn outbox_count(&self) -> Result<OutboxCount> {
        let rows = self.rows_of_all(outbox::counts).await?;
        Ok(outbox::counts_in(&rows)?)
    }

    async fn claim_mail(&self, now: Timestamp, among: Among<'_>) -> Result<Option<Claim>> {
        let claim = vec![outbox::claim(now, among)];
        let found = self
            .database
            .write(claim, Instant::now() + PATIENCE)
            .await?;
        let rows = found.into_iter().next().unwrap_or_default();
        Ok(each(&rows, |row| outbox::claim_in(&self.seal, row, now))?.pop())
    }

    async fn expired_mails(&self, now: Timestamp) -> Result<Vec<Expired>> {
        let rows = self.rows_of_all(|| outbox::expired(now)).await?;
        each(&rows, outbox::expired_in)
    }

    async fn records(&self, workspace: &str, filter: &RecordFilter) -> Result<Vec<StoredRecord>> {
        let rows = self.rows(workspace, || list::records(workspace, filter));
        let mut records = each(&rows.await?, list::record_in)?;
        records.reverse();
        Ok(records)
    }

    async fn log(&self, workspace: &str, from: i64) -> Result<Option<Page>> {
        let page = || audit_log::page(workspace, from);
        let found = self.database.list(Some(workspace), page);
        audit_log::page_in(&self.seal, &found.await?, workspace)
    }

    async fn clock_faults(&self, horizon: Horizon) -> Result<u32> {
        let faults = || vec![list::clock_faults(horizon)];
        let found = self.database.list(None, faults).await?;
        let rows = found.into_iter().next().unwrap_or_default();
        Ok(each(&rows, |row| query::count(row, 0))?
            .pop()
            .unwrap_or_default())
    }

    async fn health(&self, now: Timestamp) -> Result<Health> {
        let found = self.database.list(None, health::health);
        let (mut health, accounts) = health::health_in(&found.await?, &self.seal, now)?;
        let guesses = || accounts.iter().map(|account| health::guesses(account, now));
        let guesses = || guesses().collect();
        let guessed = self.database.list(None, guesses);
        for (locked, rows) in health.locked.iter_mut().zip(guessed.await?) {
            locked.guesses = health::guesses_in(&rows)?;
        }
        Ok(health)
    }

    async fn probe(&self, now: Timestamp) -> Result<()> {
        let probe = query!(
            "INSERT INTO probe (id, at) VALUES (1, $1)
             ON CONFLICT (id) DO UPDATE SET at = excluded.at",
            now,
        );
        let deadline = Instant::now() + PATIENCE;
        self.database.write(vec![probe], deadline).await?;
        Ok(())
    }

    async fn sealing(&self) -> Result<Option<Sealing>> {
        let rows = self.rows_of_all(|| query!(sealing::ROW)).await?;
        Ok(each(&rows, sealing::row_in)?.pop())
    }

    async fn renew(&self, from: Position, most: u32) -> Result<Renewed> {
        Ok(sealing::renew(&self.database, &self.seal, &from, most).await?)
    }

    async fn set_sealing(&self) -> Result<()> {
        let Some(row) = self.seal.sealing() else {
            return Ok(());
        };
        let deadline = Instant::now() + PATIENCE;
        self.database
            .write(vec![sealing::write(&row)], deadline)
            .await?;
        Ok(())
    }
}
