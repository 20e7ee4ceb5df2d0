//! The chat server's data: accounts, roles, tokens, second factors, the outbox
//! and the audit trail of every workspace.
//!
//! Each function is one transaction. Every account, id, token and permission
//! belongs to one workspace and is unknown in all others.

pub mod audit;
pub mod change;
pub mod directory;
pub mod outbox;
pub mod sqlite;

pub use audit::{Action, AuditRecord, Decision, new_request_id};
pub use change::{Act, Authority, Change, Code, Denial};
pub use directory::{Directory, NewRole, NewToken, NewUser, NewWorkspace};
pub use outbox::Outbox;

use crate::clock::Timestamp;
use crate::settings::Settings;
use crate::totp::TotpKey;
use async_trait::async_trait;
use secrecy::SecretString;

/// The store could not do what was asked; nothing of it was done.
#[derive(Debug, thiserror::Error)]
#[error("the store failed: {0}")]
pub struct StoreError(pub Box<dyn std::error::Error + Send + Sync>);

/// What a store's function gives.
pub type Result<T> = std::result::Result<T, StoreError>;

/// An e-mail address of an account.
#[derive(Clone, Debug)]
pub struct Email {
    /// The address as mail is sent to it.
    pub address: String,
    /// The account's holder has shown that mail arrives there.
    pub verified: bool,
}

/// An account's TOTP secret and backup codes.
#[derive(Clone, Debug)]
pub struct TotpFactor {
    /// The shared secret.
    pub key: TotpKey,
    /// The time step of the last code that was accepted.
    pub last_step: Option<u64>,
    /// The unused backup codes, as [`crate::totp::code_hash`] writes them.
    pub backup_code_hashes: Vec<String>,
}

/// The account on whose behalf a request is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The account's id.
    pub id: String,
    /// The hash of the token that proved it, as [`crate::token::hash`] writes it.
    pub token_hash: String,
    /// The token was issued to bypass the second factor.
    pub bypass_token: bool,
}

/// How an account is named.
#[derive(Clone, Debug)]
pub enum Selector {
    /// Compared byte for byte.
    Id(String),
    /// Compared without regard to case.
    Username(String),
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Unique in the workspace.
    pub id: String,
    /// As the account writes it.
    pub username: String,
    /// Belongs to another server of a federation.
    pub federated: bool,
}

/// An account, as its holder and operators see it.
#[derive(Clone, Debug)]
pub struct Account {
    /// Id, username, where it belongs.
    pub user: User,
    /// Can neither log in nor use its tokens.
    pub deactivated: bool,
    /// Names of its roles, sorted.
    pub roles: Vec<String>,
    /// Its addresses, verified ones first.
    pub emails: Vec<Email>,
    /// The holder has opted in to codes by e-mail.
    pub email_two_factor: bool,
    /// It has a password.
    pub has_password: bool,
    /// How many backup codes are left; none where TOTP is not enrolled.
    pub backup_codes: Option<u32>,
    /// Failed attempts in a row at a second factor.
    pub failures: u32,
    /// Until when even a right code is refused.
    pub locked_until: Option<Timestamp>,
}

/// What a log-in is checked against.
#[derive(Debug)]
pub struct Login {
    /// The account's id.
    pub user: String,
    /// As in [`NewUser`]; none for an account without a password.
    pub password_hash: Option<SecretString>,
}

/// How an attempt to prove a second factor began.
#[derive(Debug)]
pub enum Attempt<F> {
    /// It is counted as failed until one succeeds. This is what the proof is
    /// checked against.
    Begun(F),
    /// Too many failures in a row; nothing was counted.
    Locked,
    /// The account does not have the factor, or may not use it.
    Unavailable,
}

/// The second factors that an account may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Methods {
    /// It has a TOTP factor, and the workspace allows TOTP.
    pub totp: bool,
    /// The holder opted in to codes by e-mail and has a verified address, and
    /// the workspace allows them.
    pub email: bool,
    /// It has a password and no other factor, and the workspace accepts that.
    pub password: bool,
}

impl Methods {
    /// There is one.
    pub fn any(self) -> bool {
        self.preferred().next().is_some()
    }

    /// Most preferred first.
    pub fn preferred(self) -> impl Iterator<Item = Method> {
        let there = [
            self.totp.then_some(Method::Totp),
            self.email.then_some(Method::Email),
            self.password.then_some(Method::Password),
        ];
        there.into_iter().flatten()
    }
}

/// A kind of second factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// TOTP, or one of its backup codes.
    Totp,
    /// A code by e-mail.
    Email,
    /// The password.
    Password,
}

impl Method {
    /// The name by which clients know it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Totp => "totp",
            Self::Email => "email",
            Self::Password => "password",
        }
    }
}

/// How the caller's second factor was proved.
#[derive(Debug)]
pub enum Proof {
    /// `code` is the caller's code of the time step `step`.
    TotpStep {
        /// T of RFC 6238.
        step: u64,
        /// Six digits.
        code: SecretString,
    },
    /// A backup code, as it was entered.
    BackupCode(SecretString),
    /// The code that the account was sent.
    EmailCode(SecretString),
    /// The password whose hash this is: it was compared in this call.
    Password(SecretString),
    /// None: the settings excuse this caller, or this token.
    None,
}

/// Whose factor is removed.
#[derive(Clone, Debug)]
pub enum Target {
    /// The caller's own.
    Caller,
    /// That of the account with this id, by the permission
    /// [`EDIT_OTHER_USER_TOTP`].
    User(String),
}

/// The permission to remove another member's TOTP factor.
pub const EDIT_OTHER_USER_TOTP: &str = "edit-other-user-totp";

/// The permission to call as often as one likes.
pub const BYPASS_RATE_LIMIT: &str = "api-bypass-rate-limit";

/// A reset to commit.
#[derive(Debug)]
pub struct Reset {
    /// The workspace of all accounts below.
    pub workspace: String,
    /// Who asks.
    pub caller: Caller,
    /// How the caller's second factor was proved.
    pub proof: Proof,
    /// Whose factor goes.
    pub target: Target,
    /// When the request was accepted.
    pub now: Timestamp,
    /// The request's id, for the audit record.
    pub request_id: String,
}

/// What a reset did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// The factor is gone and the target's tokens with it.
    Removed,
    /// There was none: tokens stand, nobody is told.
    NothingEnrolled,
}

/// Why a reset was refused; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The caller's token is no longer valid, the caller does not hold
    /// [`EDIT_OTHER_USER_TOTP`], second factors are off, or the target belongs
    /// to another server.
    NotPermitted,
    /// The workspace has no such account.
    UnknownTarget,
    /// The proof is right but this step, or a later one, was used before.
    Replayed,
    /// The proof is wrong, or a backup code that is spent.
    WrongProof,
}

/// The state of the code that an account may be sent by e-mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmailCode {
    /// A new code is on its way.
    Sent {
        /// When it ends.
        expires: Timestamp,
    },
    /// The one that was sent before is still valid.
    Live {
        /// When it ends.
        expires: Timestamp,
    },
    /// Too many failures in a row, or at the code that was sent.
    Locked,
    /// The account does not have the factor, or may not use it.
    Unavailable,
}

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
    /// too many in a row ([`crate::attempts`]) the account is locked.
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
