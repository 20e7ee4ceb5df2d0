//! The chat server's data: accounts, roles, tokens, second factors, the outbox
//! and the audit trail of every workspace.
//!
//! Each function is one transaction. Every account, id, token and permission
//! belongs to one workspace and is unknown in all others.

pub mod sqlite;

use crate::clock::Timestamp;
use crate::totp::TotpKey;
use async_trait::async_trait;
use secrecy::SecretString;

/// The store could not do what was asked; nothing of it was done.
#[derive(Debug, thiserror::Error)]
#[error("the store failed: {0}")]
pub struct StoreError(pub Box<dyn std::error::Error + Send + Sync>);

/// What a store's function gives.
pub type Result<T> = std::result::Result<T, StoreError>;

/// A workspace's two-factor settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Second factors are used at all.
    pub two_factor_enabled: bool,
    /// TOTP is one of them.
    pub totp_enabled: bool,
    /// Time steps accepted before and after the current one, 0 to 10.
    pub totp_window: u8,
    /// A caller who has no other second factor proves the password instead.
    pub password_fallback: bool,
    /// A caller without any second factor may proceed.
    pub missing_factor_allowed: bool,
    /// A token that bypasses the second factor does so.
    pub bypass_token_allowed: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            two_factor_enabled: true,
            totp_enabled: true,
            totp_window: 1,
            password_fallback: true,
            missing_factor_allowed: false,
            bypass_token_allowed: false,
        }
    }
}

/// A workspace to create, with everything in it.
#[derive(Debug)]
pub struct NewWorkspace {
    /// Unique in the store.
    pub id: String,
    /// Its two-factor settings.
    pub settings: Settings,
    /// Its roles.
    pub roles: Vec<NewRole>,
    /// Its accounts.
    pub users: Vec<NewUser>,
}

/// A role and the permissions that it grants.
#[derive(Debug)]
pub struct NewRole {
    /// Unique in the workspace.
    pub name: String,
    /// For example `edit-other-user-totp`.
    pub permissions: Vec<String>,
}

/// An account to create.
#[derive(Debug, Default)]
pub struct NewUser {
    /// Unique in the workspace.
    pub id: String,
    /// Unique in the workspace without regard to case.
    pub username: String,
    /// bcrypt of the password's lower-case hexadecimal SHA-256; none for an
    /// account that cannot log in with one.
    pub password_hash: Option<SecretString>,
    /// Belongs to another server of a federation.
    pub federated: bool,
    /// Can neither log in nor use its tokens.
    pub deactivated: bool,
    /// Names of roles that the workspace has.
    pub roles: Vec<String>,
    /// E-mail addresses.
    pub emails: Vec<Email>,
    /// Login tokens.
    pub tokens: Vec<NewToken>,
    /// The TOTP factor, confirmed.
    pub totp: Option<TotpFactor>,
}

/// An e-mail address of an account.
#[derive(Clone, Debug)]
pub struct Email {
    /// The address as mail is sent to it.
    pub address: String,
    /// The account's holder has shown that mail arrives there.
    pub verified: bool,
}

/// A login token to create.
#[derive(Debug)]
pub struct NewToken {
    /// As [`crate::token::hash`] writes it.
    pub hash: String,
    /// When the token ends; none for a personal access token.
    pub expires: Option<Timestamp>,
    /// Issued to bypass the second factor.
    pub bypass_two_factor: bool,
}

/// An account's TOTP secret and backup codes.
#[derive(Clone, Debug)]
pub struct TotpFactor {
    /// The shared secret.
    pub key: TotpKey,
    /// The time step of the last code that was accepted.
    pub last_step: Option<u64>,
    /// The unused backup codes, as [`crate::totp::backup_code_hash`] writes them.
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

/// How an attempt to prove a second factor began.
#[derive(Debug)]
pub enum Attempt<F> {
    /// It is counted as failed until a reset succeeds. This is what the proof is
    /// checked against.
    Begun(F),
    /// Too many failures in a row; nothing was counted.
    Locked,
    /// The account does not have the factor, or may not use it.
    Unavailable,
}

/// The second factors that an account may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Methods {
    /// It has a TOTP factor, and the workspace allows TOTP.
    pub totp: bool,
    /// It has a password and no other factor, and the workspace accepts that.
    pub password: bool,
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

/// How a request was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// A factor was removed.
    Reset,
    /// The reset was granted and there was nothing to remove.
    NothingEnrolled,
    /// The request was refused.
    Refused,
    /// It was refused because its proof was used before.
    Replayed,
    /// It was refused because the caller is locked.
    Locked,
    /// The plugin or the host failed.
    Failed,
}

impl Decision {
    /// The name in the audit trail.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::NothingEnrolled => "nothing-enrolled",
            Self::Refused => "refused",
            Self::Replayed => "replayed",
            Self::Locked => "locked",
            Self::Failed => "failed",
        }
    }
}

/// One decision, as the audit trail keeps it.
#[derive(Clone, Debug)]
pub struct AuditRecord {
    /// When the request was accepted.
    pub at: Timestamp,
    /// Where.
    pub workspace: String,
    /// The request's id, as the client and the log know it.
    pub request_id: String,
    /// The caller's id.
    pub caller: String,
    /// The target's id, where the decision got that far.
    pub target: Option<String>,
    /// What was decided.
    pub decision: Decision,
    /// Why: the answer's error id or the failure's code.
    pub reason: Option<String>,
}

/// A chat server's data.
///
/// # Errors
///
/// Every function fails with [`StoreError`] when the store cannot be read or
/// written; nothing of what was asked is done then.
#[async_trait]
pub trait Store: Send + Sync {
    /// Creates a workspace with everything in it. False, and nothing is done,
    /// where the store has a workspace of that id.
    async fn create_workspace(&self, workspace: NewWorkspace) -> Result<bool>;

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

    /// Commits a reset: checks permission, target and proof, spends the proof,
    /// removes the target's factor, revokes its tokens, queues the notices,
    /// clears the caller's failures and writes the audit record.
    async fn reset(&self, reset: Reset) -> Result<std::result::Result<Receipt, Refusal>>;

    /// Writes the audit record of a request that changed nothing.
    async fn record(&self, record: AuditRecord) -> Result<()>;
}
