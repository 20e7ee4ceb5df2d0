//! Rocket.Chat's own database: the host stands beside a real Rocket.Chat, authenticates, decides and
//! commits on the accounts that it serves. Nobody moves an account.
//!
//! One database is one workspace, whose id is `default`, or what the parameter `workspace` of the URL
//! says. Rocket.Chat's documents are read as its versions from 6 on write them, and changed field by
//! field: what is not known is left alone. What Rocket.Chat has no place for is in collections named
//! `reset_totp_…` beside its own, changed in the same transactions.
//!
//! What is acknowledged is on a majority of the servers. A call is tried again where a transaction
//! met another's or the server was lost, until its time is over; then it was not done, and says so
//! ([`Unavailable`](crate::Unavailable)).
//!
//! It makes no account, workspace, password, role or personal access token, changes no setting that
//! is Rocket.Chat's, and backs nothing up: Rocket.Chat and the database's own tools do
//! ([`RocketChats`]).
//!
//! Rocket.Chat's own log-in knows nothing of what is kept here: neither which time step was
//! accepted last, nor how often codes were wrong. A code by e-mail that was sent from here is of
//! use here alone; one that Rocket.Chat has sent is of use here, too.
//!
//! Rocket.Chat's secrets are as it writes them: what it must read cannot be sealed. Ours are
//! ([`seal`](crate::seal)): mails that hold a code, hashes of such codes, the secret of the audit
//! log, a mail server of ours.

mod account;
mod apply;
mod audit_log;
mod database;
mod directory;
mod doctor;
mod failure;
mod field;
mod health;
mod list;
mod outbox;
mod read;
mod schema;
mod sealing;
mod settings;
mod turn;
mod writer;

pub use doctor::{Finding, Grade, examine};
pub use failure::RocketChats;

use crate::lists::Lists;
use crate::seal::{Position, Renewed, Seal, Sealing, StoreIs};
use crate::{Decide, Result, Store, StoreError, Surveyed};
use ::mongodb::bson::doc;
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
use database::{Database, LIST_PATIENCE, PATIENCE, Transaction, look, tries_until};
use failure::Failure;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::time::{Instant, timeout_at};
use writer::Writer;

/// A store in Rocket.Chat's database.
pub struct Mongodb {
    database: Database,
    writer: Arc<Writer>,
    lists: Lists,
    seal: Seal,
}

/// Lists that are made at a time: most connections are left to those who log in and reset.
const LISTS: usize = 4;

impl Mongodb {
    /// Opens the store in Rocket.Chat's database at `url`. It writes from the runtime that opened
    /// it, which must outlive its use.
    ///
    /// The URL is as MongoDB's own clients take it, of a replica set, and names the database; its
    /// parameter `workspace` says how the workspace is called where that is not `default`. Its
    /// login may read Rocket.Chat's collections, change `users`, `rocketchat_sessions` and
    /// `_raix_push_app_tokens`, and make and change collections named `reset_totp_…`.
    ///
    /// # Errors
    ///
    /// When the URL is none, the server cannot be reached or is no replica set, there is no
    /// Rocket.Chat or no store in the database, or a newer version wrote it; or as [`Seal::admit`].
    pub async fn open(url: &str, seal: &Seal) -> Result<Arc<dyn Store>> {
        Self::prepared(url, false, seal).await
    }

    /// As [`Mongodb::open`], and makes the store's own collections first where there are none:
    /// sealed, where there is a key.
    ///
    /// # Errors
    ///
    /// As [`Mongodb::open`], or when the login may not make collections.
    pub async fn open_or_create(url: &str, seal: &Seal) -> Result<Arc<dyn Store>> {
        Self::prepared(url, true, seal).await
    }

    /// Opens the store to look at it: what would change it is not kept from it.
    ///
    /// # Errors
    ///
    /// As [`Mongodb::open`].
    pub async fn open_to_look(url: &str, seal: &Seal) -> Result<Arc<dyn Store>> {
        let database = Database::at(url).await?;
        schema::admit(&database, seal).await?;
        Ok(Self::of(database, seal))
    }

    async fn prepared(url: &str, may_create: bool, seal: &Seal) -> Result<Arc<dyn Store>> {
        let database = Database::at(url).await?;
        schema::prepare(&database, may_create, seal).await?;
        Ok(Self::of(database, seal))
    }

    fn of(database: Database, seal: &Seal) -> Arc<dyn Store> {
        let seal = seal.clone();
        let writer = Writer::of(database.clone(), seal.clone());
        Arc::new(Self {
            database,
            writer,
            lists: Lists::new(LISTS),
            seal,
        })
    }
}

/// Whether the store in the database at `url` holds mail to be sent.
///
/// # Errors
///
/// As [`Mongodb::open`].
pub async fn holds_mail(url: &str) -> Result<bool> {
    let database = Database::at(url).await?;
    Ok(look!(
        database,
        PATIENCE,
        |transaction| outbox::holds_mail(transaction)
    )?)
}

/// The workspace of the store in the database at `url` and its settings, after a look that leaves
/// nothing open.
///
/// # Errors
///
/// As [`Mongodb::open`].
pub async fn survey(url: &str, seal: &Seal) -> Result<BTreeMap<String, Surveyed>> {
    let database = Database::at(url).await?;
    schema::admit_any(&database, seal).await?;
    let workspace = database.name().to_owned();
    let surveyed = look!(database, PATIENCE, |transaction| survey_of(
        transaction,
        seal,
        &workspace
    ))?;
    Ok(BTreeMap::from([(workspace, surveyed)]))
}

async fn survey_of(
    transaction: &mut Transaction,
    seal: &Seal,
    workspace: &str,
) -> std::result::Result<Surveyed, Failure> {
    Ok(Surveyed {
        settings: settings::read(transaction, seal, workspace).await?,
        fixed: read::fixed_settings(transaction).await?,
    })
}

/// Seals what is ours of a store that is not sealed; gives how many values there were. Where it is
/// interrupted, it is done again.
///
/// # Errors
///
/// As [`Mongodb::open`].
pub(crate) async fn seal_first(url: &str, seal: &Seal) -> Result<u64> {
    let database = Database::at(url).await?;
    schema::prepare(&database, false, &Seal::none()).await?;
    let mut values = 0;
    let mut next = Some(Position::default());
    while let Some(from) = next {
        let renewed = sealing::renew(&database, seal, &from, u32::MAX, StoreIs::Plain).await?;
        if let Some(unopened) = renewed.unopened.into_iter().next() {
            return Err(unopened.into());
        }
        values += u64::from(renewed.values);
        next = renewed.next;
    }
    if let Some(sealing) = seal.sealing() {
        schema::set_sealing(&database, &sealing).await?;
    }
    Ok(values)
}

/// Why Rocket.Chat's database is not copied or filled.
pub(crate) fn no_copies() -> StoreError {
    let failure = Failure::rocket_chats(
        "the store is Rocket.Chat's own database: back it up, and restore it, by MongoDB's own \
         tools, such as mongodump and mongorestore",
    );
    failure.into()
}

/// What is found in a workspace, where that is the one that there is; nothing where not.
macro_rules! listed {
    ($store:expr, $workspace:expr, |$transaction:ident| $look:expr) => {
        match $workspace == $store.database.name() {
            true => {
                let _turn = $store.lists.turn(None).await?;
                Ok(look!($store.database, LIST_PATIENCE, |$transaction| $look)?)
            }
            false => Ok(Default::default()),
        }
    };
}

#[async_trait]
impl Store for Mongodb {
    async fn read(&self, question: &Question) -> Result<Dossier> {
        let (database, seal) = (self.database.clone(), self.seal.clone());
        let question = question.clone();
        // A plugin's call, which may ask, has a small stack, and the driver takes a large one.
        let read = tokio::spawn(async move {
            look!(database, PATIENCE, |transaction| read::dossier(
                transaction,
                &seal,
                database.name(),
                &question
            ))
        });
        let read = read.await.map_err(|panic| StoreError(panic.into()))?;
        Ok(read?.dossier)
    }

    async fn transact(&self, question: Question, mut decide: Decide) -> Result<()> {
        if question.look_first && decide(&self.read(&question).await?).is_empty() {
            return Ok(());
        }
        self.writer.write(question, decide).await
    }

    async fn workspaces(&self, now: Timestamp) -> Result<Vec<WorkspaceSummary>> {
        let (seal, here) = (&self.seal, self.database.name());
        let _turn = self.lists.turn(None).await?;
        let only = look!(self.database, LIST_PATIENCE, |transaction| list::workspace(
            transaction,
            seal,
            here,
            now
        ));
        Ok(vec![only?])
    }

    async fn profiles(&self, workspace: &str) -> Result<Vec<Profile>> {
        let seal = &self.seal;
        listed!(self, workspace, |transaction| list::profiles(
            transaction,
            seal,
            workspace
        ))
    }

    async fn accounts(&self, workspace: &str, filter: &AccountFilter) -> Result<AccountPage> {
        let seal = &self.seal;
        listed!(self, workspace, |transaction| directory::accounts(
            transaction,
            seal,
            workspace,
            filter
        ))
    }

    async fn all_roles(&self, workspace: &str) -> Result<Vec<Role>> {
        listed!(self, workspace, |transaction| list::roles(
            transaction,
            None
        ))
    }

    async fn mails(&self, workspace: &str, after: i64, most: u32) -> Result<Vec<StoredMail>> {
        listed!(self, workspace, |transaction| outbox::mails(
            transaction,
            after,
            most
        ))
    }

    async fn next_mail_due(&self, now: Timestamp) -> Result<Option<Timestamp>> {
        let due = look!(self.database, PATIENCE, |transaction| outbox::next_due(
            transaction,
            now
        ));
        Ok(due?)
    }

    async fn outbox_count(&self) -> Result<OutboxCount> {
        let count = look!(self.database, PATIENCE, |transaction| outbox::count(
            transaction
        ));
        Ok(count?)
    }

    async fn claim_mail(&self, now: Timestamp, among: Among<'_>) -> Result<Option<Claim>> {
        let claimed = outbox::claim(&self.database, &self.seal, now, among);
        let claimed = timeout_at(Instant::now() + PATIENCE, claimed).await;
        Ok(claimed.unwrap_or_else(|_| Err(Failure::silence()))?)
    }

    async fn expired_mails(&self, now: Timestamp) -> Result<Vec<Expired>> {
        let here = self.database.name();
        let expired = look!(
            self.database,
            PATIENCE,
            |transaction| outbox::expired_mails(transaction, here, now)
        );
        Ok(expired?)
    }

    async fn records(&self, workspace: &str, filter: &RecordFilter) -> Result<Vec<StoredRecord>> {
        listed!(self, workspace, |transaction| list::records(
            transaction,
            filter
        ))
    }

    async fn log(&self, workspace: &str, from: i64) -> Result<Option<Page>> {
        let seal = &self.seal;
        listed!(self, workspace, |transaction| audit_log::page(
            transaction,
            seal,
            workspace,
            from
        ))
    }

    async fn clock_faults(&self, horizon: Horizon) -> Result<u32> {
        let _turn = self.lists.turn(None).await?;
        let faults = look!(self.database, LIST_PATIENCE, |transaction| {
            list::clock_faults(transaction, horizon)
        });
        Ok(faults?)
    }

    async fn health(&self, now: Timestamp) -> Result<Health> {
        let (seal, here) = (&self.seal, self.database.name());
        let _turn = self.lists.turn(None).await?;
        let health = look!(self.database, LIST_PATIENCE, |transaction| health::health(
            transaction,
            seal,
            here,
            now
        ));
        Ok(health?)
    }

    async fn probe(&self, now: Timestamp) -> Result<()> {
        let probe = async {
            let store = self.database.collection(schema::STORE);
            let at = doc! { "$set": { "at": now.millis() } };
            let probe = store.update_one(doc! { "_id": schema::PROBE }, at);
            probe.upsert(true).await?;
            Ok::<_, Failure>(())
        };
        let probed = timeout_at(Instant::now() + PATIENCE, probe).await;
        Ok(probed.unwrap_or_else(|_| Err(Failure::silence()))?)
    }

    async fn sealing(&self) -> Result<Option<Sealing>> {
        Ok(schema::sealing(&self.database).await?)
    }

    async fn renew(&self, from: Position, most: u32) -> Result<Renewed> {
        Ok(sealing::renew(&self.database, &self.seal, &from, most, StoreIs::Sealed).await?)
    }

    async fn set_sealing(&self) -> Result<()> {
        match self.seal.sealing() {
            Some(sealing) => Ok(schema::set_sealing(&self.database, &sealing).await?),
            None => Ok(()),
        }
    }
}
