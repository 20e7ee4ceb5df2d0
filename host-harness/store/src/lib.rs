//! Where a chat server's accounts are kept: one narrow trait, a folder a database.
//!
//! It knows how to read what bears on a question, to make changes all or none, to
//! list, and to claim mail. It must never know who may do what: there is no rule here, and
//! no SQL, nor any other language of a database, outside. Whatever a database is, its store passes the one suite in `tests/`.
//!
//! | to find | look into |
//! |---|---|
//! | what a store can do | [`Store`] |
//! | orders and look-ups by their names, the same for every store | [`orders`] |
//! | which store, and how it is opened | [`StoreUrl`] |
//! | a page of accounts, the same for every store | `directory` |
//! | how many lists are made at a time, the same for every store | `lists` |
//! | the audit log in rows, the same for every store | `audit_log` |
//! | copies of a store | `backup` |
//! | decisions that wait to be committed together; tries over a network | `piece`, `tries` |
//! | what is sealed, and under which keys, the same for every store | [`seal`] |
//! | SQLite in a file | [`sqlite`] |
//! | PostgreSQL, for several hosts | [`postgres`] |
//! | Rocket.Chat's own database | [`mongodb`] |
//!
//! Every account, id, token and permission belongs to one workspace and is unknown in all
//! others.

mod audit_log;
mod backup;
mod convention;
mod directory;
mod lists;
pub mod mongodb;
mod open;
pub mod orders;
mod piece;
pub mod postgres;
pub mod seal;
pub mod sqlite;
mod tries;
mod url;

pub use audit_log::BrokenLog;
pub use open::Surveyed;
pub use url::{InvalidUrl, StoreUrl};

use async_trait::async_trait;
use chat_domain::account::Profile;
use chat_domain::audit::{RecordFilter, StoredRecord};
use chat_domain::audit_log::Page;
use chat_domain::clock_fault::Horizon;
use chat_domain::directory::{AccountFilter, AccountPage};
use chat_domain::dossier::{Dossier, Question};
use chat_domain::health::Health;
use chat_domain::operator::{Role, WorkspaceSummary};
use chat_domain::order::Change;
use chat_domain::outbox::{Among, Claim, Expired, OutboxCount, StoredMail};
use chat_domain::time::Timestamp;
use seal::{Position, Renewed, Sealing};

/// The store could not do what was asked; nothing of it was done, unless that is
/// [`Unavailable::Unknown`].
#[derive(Debug, thiserror::Error)]
#[error("the store failed: {0}")]
pub struct StoreError(pub Box<dyn std::error::Error + Send + Sync>);

/// Why a store cannot do now what it could do before, and may do again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// Another program kept it too long.
    #[error("another program kept it busy for too long; try again")]
    Busy,
    /// As many lists are asked of it as may be at a time.
    #[error("it has as many lists to make as it may at a time; try again")]
    Crowded,
    /// The disk is full.
    #[error("the disk is full: make room")]
    Full,
    /// The system refuses to write it: a quota is used up, or the disk is broken.
    #[error("the system refuses to write it: make room within its quota, or look at its disk")]
    Refused,
    /// The file, its folder or the disk cannot be written.
    #[error("it cannot be written: its file, folder or disk is read-only")]
    ReadOnly,
    /// Another file, or none, has its name.
    #[error("{0}")]
    Moved(String),
    /// No server answers that writes.
    #[error("the database cannot be reached: {0}")]
    Unreachable(String),
    /// The server was lost while it wrote, and none can tell whether it had written. Whoever
    /// asks again finds what there is.
    #[error("the database was lost while it wrote: whether it has is not known")]
    Unknown,
}

impl From<Unavailable> for StoreError {
    fn from(why: Unavailable) -> Self {
        Self(Box::new(why))
    }
}

impl StoreError {
    /// Why the same may be done another time, where it may.
    pub fn unavailable(&self) -> Option<&Unavailable> {
        self.0.downcast_ref()
    }
}

/// What a store's function gives.
pub type Result<T> = std::result::Result<T, StoreError>;

/// What is changed where this is what is known. A store may ask more than once; what it
/// answered last is what is committed.
pub type Decide = Box<dyn FnMut(&Dossier) -> Vec<Change> + Send>;

/// A chat server's data.
///
/// # Errors
///
/// Every function fails with [`StoreError`] when the store cannot be read or
/// written; nothing of what was asked is done then, unless that is [`Unavailable::Unknown`].
#[async_trait]
pub trait Store: Send + Sync {
    /// What is known, as of one moment.
    async fn read(&self, question: &Question) -> Result<Dossier>;

    /// Reads, decides and makes the changes, in one transaction that no other comes
    /// between. They are durable when this returns.
    async fn transact(&self, question: Question, decide: Decide) -> Result<()>;

    /// All workspaces, ordered by id.
    async fn workspaces(&self, now: Timestamp) -> Result<Vec<WorkspaceSummary>>;

    /// All accounts of a workspace with all lists but tokens, ordered by username.
    async fn profiles(&self, workspace: &str) -> Result<Vec<Profile>>;

    /// Some accounts of a workspace with all lists, in an order that stays the same: by username,
    /// and after those all of whom an address alone holds what is searched for, by that. One
    /// that has no username is in no page, and a page may be short, or empty, where others follow.
    async fn accounts(&self, workspace: &str, filter: &AccountFilter) -> Result<AccountPage>;

    /// All roles of a workspace, ordered by name.
    async fn all_roles(&self, workspace: &str) -> Result<Vec<Role>>;

    /// The mails of a workspace that wait and the dead letters, oldest first: those with a
    /// greater id than `after`, so many at most.
    async fn mails(&self, workspace: &str, after: i64, most: u32) -> Result<Vec<StoredMail>>;

    /// When the next mail of any workspace is due to be claimed, or expires.
    async fn next_mail_due(&self, now: Timestamp) -> Result<Option<Timestamp>>;

    /// How much waits in the outboxes of all workspaces, and is given up.
    async fn outbox_count(&self) -> Result<OutboxCount>;

    /// Claims the mail that has been due longest, for
    /// [`LEASE`](chat_domain::outbox::LEASE), and counts the try; none that has expired.
    async fn claim_mail(&self, now: Timestamp, among: Among<'_>) -> Result<Option<Claim>>;

    /// Mails that are due and have expired.
    async fn expired_mails(&self, now: Timestamp) -> Result<Vec<Expired>>;

    /// Records of a workspace, oldest first.
    async fn records(&self, workspace: &str, filter: &RecordFilter) -> Result<Vec<StoredRecord>>;

    /// The part of a workspace's audit log that begins at this place, as of one moment, with what
    /// [`Page::of`] takes; none where it has no log.
    ///
    /// It fails with [`BrokenLog`], too, where rows are no log's.
    async fn log(&self, workspace: &str, from: i64) -> Result<Option<Page>>;

    /// How many moments lie beyond the horizon: a clock was ahead when they were written.
    async fn clock_faults(&self, horizon: Horizon) -> Result<u32>;

    /// What is not as it should be, of all workspaces.
    async fn health(&self, now: Timestamp) -> Result<Health>;

    /// Writes a row of its own, durably: whether anything can be.
    async fn probe(&self, now: Timestamp) -> Result<()>;

    /// What it says of its seal; none where it is not sealed.
    async fn sealing(&self) -> Result<Option<Sealing>>;

    /// Seals anew, in one transaction, the values that are not under the key that seals, so
    /// many of them at most, from a position on.
    async fn renew(&self, from: Position, most: u32) -> Result<Renewed>;

    /// Says that everything is under the key that seals; nothing where there is none.
    async fn set_sealing(&self) -> Result<()>;
}
