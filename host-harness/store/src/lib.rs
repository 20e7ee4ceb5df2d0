//! Where a chat server's data is kept: the accounts, roles, tokens, second factors,
//! outbox and audit trail of every workspace.
//!
//! It knows how to keep and find what [`chat_domain`] describes, and it alone knows a
//! database. It must never know plugins, HTTP or processes.
//!
//! Each function is one transaction. Every account, id, token and permission
//! belongs to one workspace and is unknown in all others. A reset is one transaction,
//! which checks permission, target and proof itself. A code is accepted once, and every
//! path that takes one shares one count of failures.
//!
//! | module | what it knows |
//! |---|---|
//! | this one | [`Store`], by which members are served |
//! | `directory` | [`Directory`], by which operators work |
//! | `outbox` | [`Outbox`], by which mail is sent |
//! | [`sqlite`] | all of that in one file, and what another process sees of it |

mod directory;
mod outbox;
pub mod sqlite;

pub use directory::Directory;
pub use outbox::Outbox;

use async_trait::async_trait;
use chat_domain::account::{Account, Caller, Login, Methods, Selector, TotpFactor, User};
use chat_domain::audit::AuditRecord;
use chat_domain::change::{Change, Denial};
use chat_domain::reset::{Attempt, EmailCode, Receipt, Refusal, Reset};
use chat_domain::settings::Settings;
use chat_domain::time::Timestamp;
use secrecy::SecretString;

/// The store could not do what was asked; nothing of it was done.
#[derive(Debug, thiserror::Error)]
#[error("the store failed: {0}")]
pub struct StoreError(pub Box<dyn std::error::Error + Send + Sync>);

/// What a store's function gives.
pub type Result<T> = std::result::Result<T, StoreError>;

/// A chat server's data.
///
/// # Errors
///
/// Every function fails with [`StoreError`] when the store cannot be read or
/// written; nothing of what was asked is done then.
#[async_trait]
pub trait Store: Directory + Outbox + Send + Sync {
    /// The settings of a workspace; none where there is no such workspace.
    async fn settings(&self, workspace: &str) -> Result<Option<Settings>>;

    /// The account `user`, if it is active and holds the token with this hash
    /// at `now`.
    async fn authenticate(
        &self,
        workspace: &str,
        user: &str,
        token_hash: &str,
        now: Timestamp,
    ) -> Result<Option<Caller>>;

    /// The account that holds the token with this hash at `now`, if it is
    /// active.
    async fn token_holder(
        &self,
        workspace: &str,
        token_hash: &str,
        now: Timestamp,
    ) -> Result<Option<String>>;

    /// Ends the token with this hash.
    async fn revoke_token(&self, workspace: &str, token_hash: &str) -> Result<()>;

    /// What a log-in by this username, or by an address where it holds an `@`,
    /// is checked against; none where no active account has it.
    async fn find_login(&self, workspace: &str, name: &str) -> Result<Option<Login>>;

    /// The account with this id.
    async fn account(&self, workspace: &str, user: &str, now: Timestamp)
    -> Result<Option<Account>>;

    /// The account that `selector` names.
    async fn find_user(&self, workspace: &str, selector: Selector) -> Result<Option<User>>;

    /// Whether a role of `user` holds `permission`.
    async fn has_permission(&self, workspace: &str, user: &str, permission: &str) -> Result<bool>;

    /// The second factors that `user` may use.
    async fn methods(&self, workspace: &str, user: &str) -> Result<Methods>;

    /// Counts a failed attempt of `user`, and then gives out the factor. After
    /// too many in a row ([`chat_domain::attempts`]) the account is locked.
    async fn begin_totp_attempt(
        &self,
        workspace: &str,
        user: &str,
        now: Timestamp,
    ) -> Result<Attempt<TotpFactor>>;

    /// Counts a failed attempt of `user`, as [`Store::begin_totp_attempt`] does,
    /// and then gives out the password's hash.
    async fn begin_password_attempt(
        &self,
        workspace: &str,
        user: &str,
        now: Timestamp,
    ) -> Result<Attempt<SecretString>>;

    /// Counts a failed attempt of `user`, and of the code that it was sent, and
    /// then gives out that code's hash; none where no code is valid.
    async fn begin_email_attempt(
        &self,
        workspace: &str,
        user: &str,
        now: Timestamp,
    ) -> Result<Attempt<Option<String>>>;

    /// Makes `code` the code of `user` and queues it for every verified address,
    /// unless an earlier one is still valid.
    async fn send_email_code(
        &self,
        workspace: &str,
        user: &str,
        code: SecretString,
        now: Timestamp,
    ) -> Result<EmailCode>;

    /// Checks authority and code, spends the code, clears the failures (but not
    /// by the code of a pending key), does what is asked and writes the audit
    /// record. A refusal is counted where it is for the code, and recorded.
    async fn change(&self, change: Change) -> Result<std::result::Result<(), Denial>>;

    /// Commits a reset: checks permission, target and proof, spends the proof,
    /// removes the target's factor, revokes its tokens, queues the notices,
    /// clears the caller's failures (unless no proof was needed) and writes the
    /// audit record.
    async fn reset(&self, reset: Reset) -> Result<std::result::Result<Receipt, Refusal>>;

    /// Writes the audit record of a request that changed nothing.
    async fn record(&self, record: AuditRecord) -> Result<()>;
}
