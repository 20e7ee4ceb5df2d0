//! Accounts: who they are, what they may do, by what they prove themselves.

use crate::time::Timestamp;
use crate::totp::TotpKey;
use secrecy::SecretString;

/// The permission to remove another member's TOTP factor.
pub const EDIT_OTHER_USER_TOTP: &str = "edit-other-user-totp";

/// The permission to call as often as one likes.
pub const BYPASS_RATE_LIMIT: &str = "api-bypass-rate-limit";

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
    /// As in [`NewUser`](crate::directory::NewUser); none for an account without a password.
    pub password_hash: Option<SecretString>,
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
