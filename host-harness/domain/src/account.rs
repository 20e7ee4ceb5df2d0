//! Accounts: what a store knows of one, and what its holder and others see of it.

use crate::attempts::{Failures, Lock};
use crate::mail::Language;
use crate::order::{Change, Tokens};
use crate::settings::Settings;
use crate::time::Timestamp;
use crate::totp::{TotpKey, is_slow};
use caseless::Caseless;
use secrecy::{ExposeSecret, SecretString};
use std::fmt;
use unicode_normalization::UnicodeNormalization;

/// The permission to remove another member's TOTP factor.
pub const EDIT_OTHER_USER_TOTP: &str = "edit-other-user-totp";

/// The permission to call as often as one likes.
pub const BYPASS_RATE_LIMIT: &str = "api-bypass-rate-limit";

/// How an account is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// Compared byte for byte.
    Id(String),
    /// Compared as [`username_key`] writes it.
    Username(String),
    /// By a username that looks like this one: one of its [`skeletons`] is one of that.
    LookAlike(String),
    /// One of its e-mail addresses, compared without regard to the case of ASCII
    /// letters.
    Address(String),
    /// Whoever holds the token that is asked about.
    TokenHolder,
}

impl Selector {
    /// Who logs in by `name`: an address where it holds an `@`, otherwise a username.
    pub fn of_login(name: &str) -> Self {
        match name.contains('@') {
            true => Self::Address(name.to_owned()),
            false => Self::Username(name.to_owned()),
        }
    }
}

/// What two usernames have in common that name the same account: NFKC and case folding
/// (Unicode Standard Annex 15, section 3.13 of the standard).
pub fn username_key(username: &str) -> String {
    if username.is_ascii() {
        return username.to_ascii_lowercase();
    }
    username.nfkc().default_case_fold().nfkc().collect()
}

/// What two usernames have in common, either the one or the other, that people cannot tell apart
/// (Unicode Technical Standard 39, section 4): as they are compared, and as they are written, where
/// a capital `I` looks like an `l`.
pub fn skeletons(username: &str) -> [String; 2] {
    let skeleton = |text: &str| -> String { unicode_security::skeleton(text).collect() };
    let written: String = username.nfkc().collect();
    let folded: String = skeleton(&written).chars().default_case_fold().collect();
    [skeleton(&username_key(username)), skeleton(&folded)]
}

/// Whether people cannot tell two usernames apart.
pub fn look_alike(one: &str, other: &str) -> bool {
    skeletons(one)
        .iter()
        .zip(skeletons(other))
        .any(|(a, b)| *a == b)
}

/// What of an account everybody in the workspace may know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// Unique in the workspace.
    pub id: String,
    /// As the account writes it.
    pub username: String,
    /// What its holder is called; none where the store keeps none.
    pub name: Option<String>,
    /// Belongs to another server of a federation.
    pub federated: bool,
}

/// An e-mail address of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// The used ones, likewise.
    pub spent_code_hashes: Vec<String>,
}

/// A key that was shown and not yet proved.
#[derive(Clone, Debug)]
pub struct PendingKey {
    /// The shared secret.
    pub key: TotpKey,
    /// Until when it can be proved.
    pub expires: Timestamp,
}

/// The code that an account was sent by e-mail.
#[derive(Clone, PartialEq, Eq)]
pub struct MailedCode {
    /// As [`crate::totp::code_hash`] writes it, or as [`crate::totp::is_hash_of_email_code`] says.
    pub hash: String,
    /// When it was sent.
    pub issued: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
    /// Wrong tries.
    pub failures: u32,
    /// Mails that brought it, or may still do so.
    pub mails: u32,
}

/// Without the hash, which a million guesses open.
impl fmt::Debug for MailedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("MailedCode");
        shown.field("issued", &self.issued);
        shown.field("expires", &self.expires);
        shown.field("failures", &self.failures);
        shown.field("mails", &self.mails);
        shown.finish_non_exhaustive()
    }
}

/// A login token, as it is kept: a session's, or a personal access token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// As [`crate::token::hash`] writes it.
    pub hash: String,
    /// When a session ends; none for a personal access token.
    pub expires: Option<Timestamp>,
    /// The name of a personal access token, unique in the account; none for a
    /// session.
    pub name: Option<String>,
    /// Issued to bypass the second factor.
    pub bypass_two_factor: bool,
}

impl Token {
    /// Whether it has not ended.
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|expires| expires > now)
    }
}

/// What a store knows of one account. The lists are there where the question asks
/// for them ([`crate::dossier::Subject`]); otherwise they are empty.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    /// Id, username, where it belongs.
    pub user: User,
    /// Can neither log in nor use its tokens.
    pub deactivated: bool,
    /// As [`crate::password::matches`] compares it; none where it has no password.
    pub password_hash: Option<SecretString>,
    /// The holder has opted in to codes by e-mail.
    pub email_two_factor: bool,
    /// The holder has opted in, and has an address where such a code arrives.
    pub receives_codes: bool,
    /// The TOTP factor; its backup codes are a list to be asked for.
    pub factor: Option<TotpFactor>,
    /// A key that was shown and not yet proved.
    pub pending_key: Option<PendingKey>,
    /// The code that it was sent, until it is used or another is sent.
    pub mailed_code: Option<MailedCode>,
    /// Failed attempts in a row at its second factor.
    pub failures: Failures,
    /// In which language it wants mail, where that is known and there is mail in it; otherwise
    /// in that of the settings.
    pub language: Option<Language>,
    /// Its addresses, verified ones first, then by address.
    pub emails: Vec<Email>,
    /// Names of its roles, sorted.
    pub roles: Vec<String>,
    /// What its roles grant.
    pub permissions: Vec<String>,
    /// Its tokens, those that have ended included.
    pub tokens: Vec<Token>,
}

impl Profile {
    /// Where notices and codes are sent.
    pub fn verified_addresses(&self) -> impl Iterator<Item = &str> {
        let verified = self.emails.iter().filter(|email| email.verified);
        verified.map(|email| email.address.as_str())
    }

    /// Whether it is active and `hash` is its password's.
    pub fn has_password(&self, hash: &SecretString) -> bool {
        let stored = self.password_hash.as_ref().filter(|_| !self.deactivated);
        stored.is_some_and(|stored| stored.expose_secret() == hash.expose_secret())
    }

    /// Whether a role of its grants `permission`.
    pub fn may(&self, permission: &str) -> bool {
        self.permissions.iter().any(|held| held == permission)
    }

    /// How many of its tokens `ended` names.
    pub fn count(&self, ended: &Tokens) -> usize {
        self.tokens
            .iter()
            .filter(|token| ended.include(token))
            .count()
    }

    /// Does to the profile what `change` does to its account, as far as an
    /// [`Account`] shows it.
    pub fn apply(&mut self, change: &Change) {
        let id = self.user.id.as_str();
        match change {
            Change::SetPassword { user, hash } if user == id => {
                self.password_hash = Some(hash.clone());
            }
            Change::SetDeactivated { user, deactivated } if user == id => {
                self.deactivated = *deactivated;
            }
            Change::GiveRole { user, role } if user == id => {
                if let Err(place) = self.roles.binary_search(role) {
                    self.roles.insert(place, role.clone());
                }
            }
            Change::TakeRole { user, role } if user == id => self.roles.retain(|r| r != role),
            Change::Enrol { user, factor } if user == id => self.factor = Some(factor.clone()),
            Change::RemoveFactor { user } if user == id => self.factor = None,
            Change::SpendStep { user, step } if user == id => {
                if let Some(factor) = &mut self.factor {
                    factor.last_step = Some(*step);
                }
            }
            Change::SpendBackupCode { user, hash } if user == id => {
                if let Some(factor) = &mut self.factor {
                    factor.backup_code_hashes.retain(|code| code != hash);
                    factor.spent_code_hashes.push(hash.clone());
                }
            }
            Change::ReplaceBackupCodes { user, hashes } if user == id => {
                if let Some(factor) = &mut self.factor {
                    factor.backup_code_hashes.clone_from(hashes);
                    factor.spent_code_hashes.clear();
                }
            }
            Change::SetPendingKey { user, pending } if user == id => {
                self.pending_key = Some(pending.clone());
            }
            Change::RemovePendingKey { user } if user == id => self.pending_key = None,
            Change::SetMailedCode { user, code } if user == id => {
                self.mailed_code = Some(code.clone());
            }
            Change::RemoveMailedCode { user } if user == id => self.mailed_code = None,
            Change::SetFailures { user, failures } if user == id => self.failures = *failures,
            Change::AddToken { user, token } if user == id => self.tokens.push(token.clone()),
            Change::EndTokens { user, which } if user == id => {
                self.tokens.retain(|token| !which.include(token));
            }
            _ => (),
        }
    }
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
    /// The holder has opted in, and has an address where such a code arrives.
    pub receives_codes: bool,
    /// A key was shown that can be proved yet.
    pub pending_key: bool,
    /// It has a password.
    pub has_password: bool,
    /// How many backup codes are left; none where TOTP is not enrolled.
    pub backup_codes: Option<u32>,
    /// Failed attempts in a row at a second factor.
    pub failures: u32,
    /// Why even a right code is refused.
    pub lock: Option<Lock>,
}

impl Account {
    /// What is seen of `profile`, which has all lists but tokens, where these settings hold.
    pub fn of(profile: Profile, settings: &Settings, now: Timestamp) -> Self {
        let codes = |factor: &TotpFactor| {
            u32::try_from(factor.backup_code_hashes.len()).unwrap_or(u32::MAX)
        };
        Self {
            backup_codes: profile.factor.as_ref().map(codes),
            user: profile.user,
            deactivated: profile.deactivated,
            roles: profile.roles,
            emails: profile.emails,
            email_two_factor: profile.email_two_factor,
            receives_codes: profile.receives_codes,
            pending_key: profile.pending_key.is_some_and(|key| key.expires > now),
            has_password: profile.password_hash.is_some(),
            failures: profile.failures.count,
            lock: profile.failures.why_locked(settings, now),
        }
    }
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
    /// To compare the code that it was sent takes as long as a password does:
    /// [`crate::totp::is_slow`].
    pub has_slow_code: bool,
}

impl Methods {
    /// Those of `profile` where these settings hold.
    pub fn of(profile: &Profile, settings: &Settings) -> Self {
        let totp = settings.totp_enabled && profile.factor.is_some();
        let email = settings.email_enabled && profile.receives_codes;
        let fallback = settings.password_fallback && !totp && !email;
        Self {
            totp,
            email,
            password: fallback && profile.password_hash.is_some(),
            has_slow_code: email
                && profile
                    .mailed_code
                    .as_ref()
                    .is_some_and(|code| is_slow(&code.hash)),
        }
    }

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
