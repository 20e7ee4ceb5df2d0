//! What operators do: they create workspaces, change accounts, roles, tokens and
//! settings, by the names that people use, and see to mail that waits.
//!
//! Every change of an existing workspace is recorded in the audit trail with the
//! caller [`OPERATOR`].

use crate::account::{Account, BYPASS_RATE_LIMIT, EDIT_OTHER_USER_TOTP, Email, TotpFactor};
use crate::audit::{Action, AuditRecord, Decision};
use crate::settings::{InvalidSetting, Settings};
use crate::time::Timestamp;
use data_encoding::HEXLOWER;
use rand::Rng;
use secrecy::SecretString;

/// The caller of an operator's changes in the audit trail: no account has it as
/// its id.
pub const OPERATOR: &str = "operator";

/// Characters in a name.
const NAME_LIMIT: usize = 64;

/// What [`is_name`] takes, in words.
pub const NAME_FORM: &str = "1 to 64 letters, digits, `-`, `_` and `.`";

/// Bytes of chance in a new account's id.
const USER_ID_BYTES: usize = 8;

/// A new account's id: 16 hexadecimal digits of `random`.
pub fn new_user_id(random: &mut impl Rng) -> String {
    let mut bytes = [0; USER_ID_BYTES];
    random.fill_bytes(&mut bytes);
    HEXLOWER.encode(&bytes)
}

/// Whether `text` can name something new: it needs no quotes in a shell, and has
/// no place for what a terminal would obey.
pub fn is_name(text: &str) -> bool {
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    text.chars().count() <= NAME_LIMIT && !text.is_empty() && text.chars().all(is_plain)
}

/// A workspace to create, with everything in it.
#[derive(Debug)]
pub struct NewWorkspace {
    /// Unique in the store.
    pub id: String,
    /// Its settings.
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
    /// E-mail addresses: no two accounts of a workspace have the same.
    pub emails: Vec<Email>,
    /// The holder has opted in to codes by e-mail.
    pub email_two_factor: bool,
    /// Login tokens.
    pub tokens: Vec<NewToken>,
    /// The TOTP factor, confirmed.
    pub totp: Option<TotpFactor>,
}

/// A login token to create: a session's or a personal access token.
#[derive(Debug)]
pub struct NewToken {
    /// As [`crate::token::hash`] writes it.
    pub hash: String,
    /// When the token ends; none for a personal access token.
    pub expires: Option<Timestamp>,
    /// The name of a personal access token, unique in the account; none for a
    /// session.
    pub name: Option<String>,
    /// Issued to bypass the second factor.
    pub bypass_two_factor: bool,
}

/// The roles of a new workspace, as Rocket.Chat knows them.
pub fn default_roles() -> Vec<NewRole> {
    [
        ("admin", &[BYPASS_RATE_LIMIT, EDIT_OTHER_USER_TOTP][..]),
        ("app", &[BYPASS_RATE_LIMIT]),
        ("bot", &[BYPASS_RATE_LIMIT]),
        ("user", &[]),
    ]
    .map(|(name, permissions)| NewRole {
        name: name.to_owned(),
        permissions: permissions.iter().map(ToString::to_string).collect(),
    })
    .into()
}

/// A workspace, as operators see it.
#[derive(Debug)]
pub struct WorkspaceSummary {
    /// Unique in the store.
    pub id: String,
    /// How many accounts it has.
    pub users: u32,
    /// How many of them are deactivated.
    pub deactivated: u32,
    /// How many of them have TOTP.
    pub enrolled: u32,
    /// How many of them are locked.
    pub locked: u32,
    /// Names of its roles, sorted.
    pub roles: Vec<String>,
    /// Names of the settings that differ from the default.
    pub changed_settings: Vec<&'static str>,
}

/// A role of a workspace.
#[derive(Debug, PartialEq, Eq)]
pub struct Role {
    /// Unique in the workspace.
    pub name: String,
    /// What it grants, sorted.
    pub permissions: Vec<String>,
    /// Usernames of those who have it, sorted.
    pub members: Vec<String>,
}

/// A login token that is valid: neither it nor its hash is told.
#[derive(Debug, PartialEq, Eq)]
pub struct Token {
    /// The name of a personal access token.
    pub name: Option<String>,
    /// When a session ends; none for a personal access token.
    pub expires: Option<Timestamp>,
    /// Issued to bypass the second factor.
    pub bypass_two_factor: bool,
}

/// Where and when an operator changes something.
#[derive(Clone, Debug)]
pub struct Operation {
    /// The workspace of everything that is named.
    pub workspace: String,
    /// When.
    pub now: Timestamp,
    /// For the audit record.
    pub request_id: String,
}

impl Operation {
    /// The audit record of `action` on the account `target`. The detail is the
    /// role, permission, token, setting or mail that it is about.
    pub fn record(
        &self,
        action: Action,
        target: Option<String>,
        detail: Option<String>,
    ) -> AuditRecord {
        AuditRecord {
            at: self.now,
            workspace: self.workspace.clone(),
            request_id: self.request_id.clone(),
            action,
            caller: OPERATOR.to_owned(),
            target,
            decision: Decision::Done,
            reason: detail,
        }
    }
}

/// What an operator does to an account. To activate the active, to unlock the
/// unlocked, to give a role that is held or to take one that is not is no
/// problem: it changes nothing and is recorded.
#[derive(Debug)]
pub enum UserChange {
    /// Sets the password whose hash this is, and ends the sessions: who knew
    /// the old one may hold one, or a key that is not proved yet.
    SetPassword(SecretString),
    /// Enrols TOTP, confirmed, and ends the sessions, which were begun without
    /// it.
    EnrolTotp(TotpFactor),
    /// Replaces the backup codes.
    ReplaceBackupCodes {
        /// As [`crate::totp::code_hash`] writes them.
        backup_code_hashes: Vec<String>,
    },
    /// Forgets the failures in a row, and those of a code that was sent by
    /// e-mail.
    Unlock,
    /// Lets the account log in again.
    Activate,
    /// Keeps the account from logging in, and ends all its tokens.
    Deactivate,
    /// Makes the account a member of this role.
    GiveRole(String),
    /// Ends that.
    TakeRole(String),
    /// Creates a token.
    CreateToken(NewToken),
    /// Ends the personal access token of this name.
    RevokeToken(String),
    /// Ends every token, those of sessions included.
    RevokeAllTokens,
}

impl UserChange {
    /// What the audit trail calls it.
    pub fn action(&self) -> Action {
        match self {
            Self::SetPassword(_) => Action::SetPassword,
            Self::EnrolTotp(_) => Action::EnrolTotp,
            Self::ReplaceBackupCodes { .. } => Action::ReplaceBackupCodes,
            Self::Unlock => Action::Unlock,
            Self::Activate => Action::Activate,
            Self::Deactivate => Action::Deactivate,
            Self::GiveRole(_) => Action::GiveRole,
            Self::TakeRole(_) => Action::TakeRole,
            Self::CreateToken(_) => Action::CreateToken,
            Self::RevokeToken(_) | Self::RevokeAllTokens => Action::RevokeTokens,
        }
    }

    /// The role or token that it is about.
    pub fn detail(&self) -> Option<String> {
        match self {
            Self::GiveRole(name) | Self::TakeRole(name) | Self::RevokeToken(name) => {
                Some(name.clone())
            }
            Self::CreateToken(token) if token.bypass_two_factor => {
                let name = token.name.as_deref().unwrap_or_default();
                Some(format!("{name}: bypasses the second factor"))
            }
            Self::CreateToken(token) => token.name.clone(),
            _ => None,
        }
    }
}

/// An account that an operator changed.
#[derive(Debug)]
pub struct Changed {
    /// As it is now.
    pub account: Account,
    /// How many of its tokens were ended.
    pub ended_tokens: usize,
}

/// What an operator does to a role.
#[derive(Debug)]
pub enum RoleChange {
    /// Grants this permission; makes the role where there is none.
    Allow(String),
    /// Takes this permission away.
    Deny(String),
}

/// Why an operator's command cannot be done; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// There is no such workspace.
    #[error("there is no workspace {0}; `host-harness workspace list` shows all")]
    UnknownWorkspace(String),
    /// There is no such account.
    #[error("there is no user {0}; `host-harness user list` shows all")]
    UnknownUser(String),
    /// The name is one account's id and another's username.
    #[error("{name} is the id of {username} and the username of {id}: name the one you mean so")]
    AmbiguousUser {
        /// What was asked for.
        name: String,
        /// The username of the account with this id.
        username: String,
        /// The id of the account with this username.
        id: String,
    },
    /// Another account has this username.
    #[error("the username {0} is taken")]
    UsernameTaken(String),
    /// Another account has this address, or this one has it twice.
    #[error("the address {0} is taken: it can be one account's, once")]
    AddressTaken(String),
    /// There is no such role.
    #[error("there is no role {name}; there are {}", known.join(", "))]
    UnknownRole {
        /// What was asked for.
        name: String,
        /// The workspace's roles, sorted.
        known: Vec<String>,
    },
    /// The account has TOTP already.
    #[error("{0} has TOTP already: an administrator resets it first, by users.resetTOTP")]
    AlreadyEnrolled(String),
    /// The workspace does not use TOTP.
    #[error("the workspace does not use TOTP: set two-factor-enabled and totp-enabled to true")]
    NotEnabled,
    /// The account has no TOTP.
    #[error("{0} has no TOTP; `host-harness user enrol-totp {0}` enrols it")]
    NotEnrolled(String),
    /// The account belongs to another server.
    #[error("{0} belongs to another server of the federation: TOTP is enrolled there")]
    Federated(String),
    /// The account has a token of this name.
    #[error("{user} has a token {token} already; choose another name or revoke that one")]
    TokenNameTaken {
        /// The account's username.
        user: String,
        /// The token's name.
        token: String,
    },
    /// The account has no token of this name.
    #[error("{user} has no token {token}; `host-harness token list {user}` shows all")]
    UnknownToken {
        /// The account's username.
        user: String,
        /// What was asked for.
        token: String,
    },
    /// The workspace has no such mail.
    #[error("there is no mail {0}; `host-harness outbox list` shows all")]
    UnknownMail(i64),
    /// Somebody is sending the mail.
    #[error("mail {0} is being sent; try again in a few minutes")]
    MailBeingSent(i64),
    /// The mail holds a code that is accepted no longer.
    #[error("mail {0} held a code that has expired; ask for a new one")]
    CodeExpired(i64),
    /// The value is not one of the setting's.
    #[error(transparent)]
    InvalidSetting(#[from] InvalidSetting),
}

/// What was asked for, or why there is none.
pub type Answer<T> = Result<T, Problem>;
