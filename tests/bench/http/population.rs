//! Who is in the stores: the same accounts in each. An administrator makes one
//! reset, of one member; every code is the first that its account uses.

use data_encoding::{BASE32_NOPAD, BASE64, HEXLOWER};
use sha2::{Digest, Sha256};
use totp_lite::{Sha1, totp_custom};

/// Wrong codes of one account: one more would lock it.
const GUESSES_EACH: usize = 4;

/// Backup codes that an account was given.
const BACKUP_CODES: usize = 12;

/// Seconds in a time step.
pub(crate) const STEP_SECONDS: u64 = 30;

pub(crate) struct Account {
    pub(crate) id: String,
    pub(crate) username: String,
    pub(crate) role: &'static str,
    /// What its holder sends.
    pub(crate) token: String,
    pub(crate) key: Vec<u8>,
    pub(crate) backup_code_hashes: Vec<String>,
}

impl Account {
    /// By its `number` in the `role`.
    fn new(role: &'static str, number: usize) -> Self {
        let secret = |what: &str| Sha256::digest(format!("{role} {number} {what}"));
        let hex = |what: &str, digits: usize| {
            let mut text = HEXLOWER.encode(&secret(what));
            text.truncate(digits);
            text
        };
        let id = hex("id", 16);
        let mut key = secret("key").to_vec();
        key.truncate(20);
        Self {
            username: format!("name.{id}"),
            id,
            role,
            token: hex("token", 43),
            key,
            backup_code_hashes: (0..BACKUP_CODES)
                .map(|n| hex(&format!("backup code {n}"), 64))
                .collect(),
        }
    }

    pub(crate) fn email(&self) -> String {
        format!("{}@example.com", self.username)
    }

    pub(crate) fn secret(&self) -> String {
        BASE32_NOPAD.encode(&self.key)
    }

    pub(crate) fn token_hash(&self) -> String {
        BASE64.encode(&Sha256::digest(&self.token))
    }

    /// The code of the time step `step`.
    pub(crate) fn code(&self, step: u64) -> String {
        totp_custom::<Sha1>(1, 6, &self.key, step)
    }

    /// A code of no step that a server may look at during `step` and the next.
    pub(crate) fn wrong_code(&self, step: u64) -> String {
        let right: Vec<_> = (step - 1..=step + 2).map(|step| self.code(step)).collect();
        let mut codes = (0..1_000_000).map(|code| format!("{code:06}"));
        codes.find(|code| !right.contains(code)).unwrap_or_default()
    }
}

/// The accounts of a workspace.
pub(crate) struct Population {
    pub(crate) administrators: Vec<Account>,
    /// Administrators who enter wrong codes.
    pub(crate) guessers: Vec<Account>,
    pub(crate) members: Vec<Account>,
}

impl Population {
    /// Enough for so many resets and wrong codes.
    pub(crate) fn new(resets: usize, guesses: usize) -> Self {
        let guessers = guesses.div_ceil(GUESSES_EACH);
        let administrator = |number| Account::new("admin", number);
        Self {
            administrators: (0..resets).map(administrator).collect(),
            guessers: (resets..resets + guessers).map(administrator).collect(),
            members: (0..resets).map(|n| Account::new("user", n)).collect(),
        }
    }

    /// All, in the order of their ids: so a store is filled fastest.
    pub(crate) fn sorted(&self) -> Vec<&Account> {
        let groups = [&self.administrators, &self.guessers, &self.members];
        let mut all: Vec<_> = groups.into_iter().flatten().collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all
    }
}
