//! An account to be: what a test says of it, and what it has unless it says so.

use super::{Error, Harness};
use chat_domain::account::Token;
use chat_domain::account::{Email, TotpFactor};
use chat_domain::operator::NewUser;
use chat_domain::time::Timestamp;
use chat_domain::token;
use chat_domain::totp::{TotpKey, code_hash};
use std::time::Duration;

/// How long a user's log-in lasts: longer than any test but those about its end.
const LOGIN: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// An account of a server that is set up. It has TOTP, a log-in of 90 days and one
/// verified address, the role `user` where no other is named, and no password.
#[derive(Clone, Debug)]
pub struct User {
    name: String,
    roles: Vec<String>,
    password: Option<String>,
    emails: Vec<Email>,
    email_codes: bool,
    backup_codes: Vec<String>,
    totp: bool,
    federated: bool,
    deactivated: bool,
    bypass_token: bool,
}

impl User {
    /// The user with this username, such as `ada`. The id is `adaId`, the token of
    /// the log-in `adaToken`, the address `ada@example.com`.
    pub fn named(name: &str) -> Self {
        let user = Self {
            name: name.to_owned(),
            roles: Vec::new(),
            password: None,
            emails: Vec::new(),
            email_codes: false,
            backup_codes: Vec::new(),
            totp: true,
            federated: false,
            deactivated: false,
            bypass_token: false,
        };
        user.email(&format!("{name}@example.com"))
    }

    /// Has this role, one of [`super::Setup`]'s.
    #[must_use]
    pub fn role(mut self, role: &str) -> Self {
        self.roles.push(role.to_owned());
        self
    }

    /// Has not enrolled TOTP.
    #[must_use]
    pub fn without_totp(mut self) -> Self {
        self.totp = false;
        self
    }

    /// Has these backup codes, each of eight characters, beside TOTP.
    #[must_use]
    pub fn backup_codes<'a>(mut self, codes: impl IntoIterator<Item = &'a str>) -> Self {
        self.backup_codes
            .extend(codes.into_iter().map(str::to_owned));
        self
    }

    /// Has this password.
    #[must_use]
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self
    }

    /// Has this verified address, too.
    #[must_use]
    pub fn email(self, address: &str) -> Self {
        self.address(address, true)
    }

    /// Has this address, too, and has not shown that mail arrives there.
    #[must_use]
    pub fn unverified_email(self, address: &str) -> Self {
        self.address(address, false)
    }

    /// Has opted in to codes by e-mail.
    #[must_use]
    pub fn email_codes(mut self) -> Self {
        self.email_codes = true;
        self
    }

    /// Belongs to another server of a federation.
    #[must_use]
    pub fn federated(mut self) -> Self {
        self.federated = true;
        self
    }

    /// Can neither log in nor use a token.
    #[must_use]
    pub fn deactivated(mut self) -> Self {
        self.deactivated = true;
        self
    }

    /// The token of the log-in was issued to bypass the second factor.
    #[must_use]
    pub fn bypass_token(mut self) -> Self {
        self.bypass_token = true;
        self
    }

    fn address(mut self, address: &str, verified: bool) -> Self {
        self.emails.push(Email {
            address: address.to_owned(),
            verified,
        });
        self
    }

    /// The account, logged in at `now`.
    pub(super) fn account(&self, harness: &Harness, now: Timestamp) -> Result<NewUser, Error> {
        let password = self.password.as_deref();
        let password_hash = password.map(|password| harness.password_hash(password));
        let roles = if self.roles.is_empty() {
            vec!["user".to_owned()]
        } else {
            self.roles.clone()
        };
        Ok(NewUser {
            id: id(&self.name),
            username: self.name.clone(),
            password_hash: password_hash.transpose()?,
            federated: self.federated,
            deactivated: self.deactivated,
            roles,
            emails: self.emails.clone(),
            email_two_factor: self.email_codes,
            tokens: vec![Token {
                hash: token::hash(&auth_token(&self.name).into()),
                expires: Some(now + LOGIN),
                name: None,
                bypass_two_factor: self.bypass_token,
            }],
            totp: self.totp.then(|| TotpFactor {
                key: totp_key(&self.name),
                last_step: None,
                backup_code_hashes: self.backup_codes.iter().map(|c| code_hash(c)).collect(),
                spent_code_hashes: Vec::new(),
            }),
        })
    }
}

/// The id of the user of this name.
pub(super) fn id(name: &str) -> String {
    format!("{name}Id")
}

/// The token of that user's log-in.
pub(super) fn auth_token(name: &str) -> String {
    format!("{name}Token")
}

/// That user's TOTP key.
pub(super) fn totp_key(name: &str) -> TotpKey {
    TotpKey::new(format!("the TOTP key of {name}").into_bytes())
}
