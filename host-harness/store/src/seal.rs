//! Secrets sealed at rest: under keys that are not in the store, each bound to its place, so
//! that a copy of a store, or a row that was copied into another place, is of no use.
//!
//! A value is sealed by XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03) with a nonce of
//! its own; its workspace, account and column are the associated data. A store writes it as
//! `s1.KEY.VALUE`: the id of the key, and nonce and ciphertext in base64url (RFC 4648
//! section 5) without padding. Everything here is the same for every store: which columns are
//! sealed ([`SEALED`]), whether a store may be opened ([`Seal::admit`]), and how one comes
//! under another key ([`rekey()`]).

mod keys;
mod rekey;

pub use keys::{KeyProblem, KeySource, Keys, new_key};
pub use rekey::{Position, Renewed, rekey};

use crate::StoreError;
use arc_swap::ArcSwapOption;
use chacha20poly1305::aead::{Aead, Payload};
use data_encoding::BASE64URL_NOPAD;
use keys::Key;
use rand::Rng;
use secrecy::{ExposeSecret, SecretString};
use std::fmt;
use std::sync::Arc;

/// What every sealed value begins with: the version of the form.
const FORM: &str = "s1.";

/// Bytes of a nonce: so many that random ones do not meet.
const NONCE: usize = 24;

/// Characters of a key's id that are shown: more than one has.
const MAX_SHOWN: usize = 16;

/// What the check value of a sealed store is, once it is opened.
const CHECK: &str = "sealed";

/// The place of a value: what it is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column<'a> {
    /// The workspace's id.
    pub workspace: &'a str,
    /// The account's id, or what else the row is named by; empty where nothing names it.
    pub account: &'a str,
    /// Table and column, for example `totp.key`.
    pub column: &'a str,
}

/// A column whose values are sealed.
#[derive(Debug, PartialEq, Eq)]
pub struct SealedColumn {
    /// The table.
    pub table: &'static str,
    /// The column.
    pub column: &'static str,
    /// Both, as a value is bound to them.
    pub name: &'static str,
    /// Which account the row is of, or what else names it, empty where nothing does: an
    /// expression that every database understands.
    pub account: &'static str,
    /// In which rows it is sealed: a condition that every database understands.
    pub condition: &'static str,
}

/// An account's TOTP key, in base32.
pub const TOTP_KEY: SealedColumn = of_account("totp", "key", "totp.key");

/// A key that was shown and not yet proved, in base32.
pub const PENDING_KEY: SealedColumn = of_account("pending_totp", "key", "pending_totp.key");

/// The hash of a backup code. Eight characters are guessed from it.
pub const BACKUP_CODE: SealedColumn = of_account("backup_code", "hash", "backup_code.hash");

/// The hash of a code by e-mail. Six digits are guessed from it at once.
pub const EMAIL_CODE: SealedColumn = of_account("email_code", "hash", "email_code.hash");

/// A setting that is a secret.
pub const SETTING: SealedColumn = SealedColumn {
    account: "name",
    condition: "name IN ('mail-server', 'rocket-chat')",
    ..of_account("setting", "value", "setting.value")
};

/// The body of a mail that holds a code.
pub const MAIL_BODY: SealedColumn = SealedColumn {
    account: "coalesce(\"user\", '')",
    condition: "holds_code",
    ..of_account("outbox", "body", "outbox.body")
};

/// What a workspace's audit log is chained and signed with.
pub const AUDIT_SECRET: SealedColumn = SealedColumn {
    // A mere constant is nothing that PostgreSQL orders by.
    account: "'' || ''",
    ..of_account("audit_log", "secret", "audit_log.secret")
};

/// Every column with sealed values: what a store seals anew.
pub const SEALED: [&SealedColumn; 7] = [
    &TOTP_KEY,
    &PENDING_KEY,
    &BACKUP_CODE,
    &EMAIL_CODE,
    &SETTING,
    &MAIL_BODY,
    &AUDIT_SECRET,
];

const fn of_account(table: &'static str, column: &'static str, name: &'static str) -> SealedColumn {
    SealedColumn {
        table,
        column,
        name,
        account: "\"user\"",
        condition: "1 = 1",
    }
}

impl SealedColumn {
    /// The place of its value in a row of `account`, which is empty where the row says none.
    pub fn of<'a>(&self, workspace: &'a str, account: &'a str) -> Column<'a> {
        Column {
            workspace,
            account,
            column: self.name,
        }
    }
}

impl Column<'_> {
    /// What the value is bound to: each part after its length.
    fn associated_data(&self) -> Vec<u8> {
        let parts = [self.workspace, self.account, self.column];
        let parts = parts.map(str::as_bytes).into_iter();
        parts
            .flat_map(|part| [&length(part)[..], part].concat())
            .collect()
    }
}

fn length(part: &[u8]) -> [u8; 8] {
    u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes()
}

/// What seals values and opens them: some keys, or none. All clones have the same keys.
#[derive(Clone, Default)]
pub struct Seal(Arc<ArcSwapOption<Keys>>);

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Seal").field(&*self.0.load()).finish()
    }
}

impl From<Keys> for Seal {
    fn from(keys: Keys) -> Self {
        Self(Arc::new(ArcSwapOption::from_pointee(keys)))
    }
}

/// What a sealed store says of itself: its row of the table `sealing`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealing {
    /// The id of the key under which everything was sealed last.
    pub key_id: String,
    /// A text that everybody knows, sealed under that key.
    pub check_value: String,
}

/// What a store was until now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreIs {
    /// Sealed: what is not is refused.
    Sealed,
    /// Not sealed.
    Plain,
}

impl Seal {
    /// Without a key: values are written and read as they are.
    pub fn none() -> Self {
        Self::default()
    }

    /// Whether there is no key.
    pub fn is_none(&self) -> bool {
        self.0.load().is_none()
    }

    /// The id of the key that seals.
    pub fn key_id(&self) -> Option<String> {
        let keys = self.0.load();
        keys.as_ref().map(|keys| keys.first().id.clone())
    }

    /// Has this and all its clones use the keys of `other` from now on.
    pub fn use_keys_of(&self, other: &Self) {
        self.0.store(other.0.load_full());
    }

    /// What a store writes for `plaintext`: the same where there is no key.
    pub fn seal(&self, column: &Column<'_>, plaintext: &str) -> String {
        match &*self.0.load() {
            Some(keys) => keys.first().seal(column, plaintext),
            None => plaintext.to_owned(),
        }
    }

    /// What was sealed as `text`, or was written where there is no key.
    ///
    /// # Errors
    ///
    /// Where there is a key: when `text` is not sealed, is sealed under another key, for another
    /// place, or was changed. Where there is none: when it is sealed.
    pub fn open(&self, column: &Column<'_>, text: &str) -> Result<SecretString, Unopened> {
        let opened = match &*self.0.load() {
            Some(keys) => keys.open(column, text),
            None if text.starts_with(FORM) => Err(Cause::NoKey),
            None => Ok(text.into()),
        };
        opened.map_err(|cause| Unopened::at(column, cause))
    }

    /// What a store writes for `text`, which it has: the same plaintext under the key that seals.
    ///
    /// # Errors
    ///
    /// As [`Seal::open`]; but a text that is not sealed is taken as it is where the store is not
    /// sealed yet.
    pub fn renew(
        &self,
        column: &Column<'_>,
        text: &str,
        store: StoreIs,
    ) -> Result<String, Unopened> {
        if store == StoreIs::Plain && !text.starts_with(FORM) {
            return Ok(self.seal(column, text));
        }
        let plaintext = self.open(column, text)?;
        Ok(self.seal(column, plaintext.expose_secret()))
    }

    /// What sealed values begin with that are under the key that seals; none where there is
    /// no key.
    pub fn beginning(&self) -> Option<String> {
        let key_id = self.key_id()?;
        Some(format!("{FORM}{key_id}."))
    }

    /// What a store is given that is sealed from now on; none where there is no key.
    pub fn sealing(&self) -> Option<Sealing> {
        let keys = self.0.load();
        let key = keys.as_ref()?.first();
        Some(Sealing {
            key_id: key.id.clone(),
            check_value: key.seal(&CHECK_VALUE, CHECK),
        })
    }

    /// Whether a store may be opened that says this of itself; none is one that is not sealed.
    ///
    /// # Errors
    ///
    /// When it is sealed and its key is not there, or when it is not and there is a key:
    /// whoever took the seal away could have written what he likes.
    pub fn admit(&self, sealing: Option<&Sealing>) -> Result<(), NotAdmitted> {
        let keys = self.0.load();
        match (&*keys, sealing) {
            (None, None) => Ok(()),
            (Some(_), None) => Err(NotAdmitted::Unsealed),
            (None, Some(sealing)) => Err(NotAdmitted::NoKey(shown(&sealing.key_id))),
            (Some(keys), Some(sealing)) => match keys.open(&CHECK_VALUE, &sealing.check_value) {
                Ok(_) => Ok(()),
                Err(Cause::OtherKey(id)) => Err(NotAdmitted::OtherKey(id)),
                Err(_) => Err(NotAdmitted::Changed),
            },
        }
    }
}

/// The place of the check value.
const CHECK_VALUE: Column<'_> = Column {
    workspace: "",
    account: "",
    column: "sealing.check_value",
};

impl Key {
    fn seal(&self, column: &Column<'_>, plaintext: &str) -> String {
        let mut nonce = [0; NONCE];
        rand::rng().fill_bytes(&mut nonce);
        let aad = column.associated_data();
        let payload = Payload {
            msg: plaintext.as_bytes(),
            aad: &aad,
        };
        #[expect(
            clippy::expect_used,
            reason = "it fails for more than 256 GiB alone (RFC 8439 section 2.8)"
        )]
        let ciphertext = self
            .cipher
            .encrypt(&nonce.into(), payload)
            .expect("no value of a store is so long");
        let value = [&nonce[..], &ciphertext].concat();
        format!("{FORM}{}.{}", self.id, BASE64URL_NOPAD.encode(&value))
    }

    fn open(&self, column: &Column<'_>, value: &str) -> Option<SecretString> {
        let value = BASE64URL_NOPAD.decode(value.as_bytes()).ok()?;
        let (nonce, ciphertext) = value.split_first_chunk::<NONCE>()?;
        let aad = column.associated_data();
        let payload = Payload {
            msg: ciphertext,
            aad: &aad,
        };
        let plaintext = self.cipher.decrypt(&(*nonce).into(), payload).ok()?;
        Some(String::from_utf8(plaintext).ok()?.into())
    }
}

impl Keys {
    fn open(&self, column: &Column<'_>, text: &str) -> Result<SecretString, Cause> {
        let sealed = text.strip_prefix(FORM).ok_or(Cause::NotSealed)?;
        let (id, value) = sealed.split_once('.').ok_or(Cause::Changed)?;
        let key = self.named(id).ok_or_else(|| Cause::OtherKey(shown(id)))?;
        key.open(column, value).ok_or(Cause::Changed)
    }
}

/// What a store says is a key's id, for people: it may be anything.
fn shown(id: &str) -> String {
    id.escape_debug().take(MAX_SHOWN).collect()
}

/// A value of a store cannot be opened. It tells the place, and nothing of the value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place} cannot be opened: {cause}")]
pub struct Unopened {
    place: String,
    cause: Cause,
}

/// Why a value cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Cause {
    #[error("it is not sealed, and the store is")]
    NotSealed,
    #[error("it is sealed, and there is no key")]
    NoKey,
    #[error("it is sealed under the key {0}, which is not there")]
    OtherKey(String),
    #[error("it was changed, or sealed for another place")]
    Changed,
}

impl Unopened {
    fn at(column: &Column<'_>, cause: Cause) -> Self {
        let Column {
            workspace,
            account,
            column,
        } = *column;
        let of = match account {
            "" => String::new(),
            account => format!(" of {}", account.escape_debug()),
        };
        let place = format!("{column}{of} in {}", workspace.escape_debug());
        Self { place, cause }
    }
}

impl From<Unopened> for StoreError {
    fn from(unopened: Unopened) -> Self {
        Self(Box::new(unopened))
    }
}

/// Why a store is not opened with these keys, or with none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAdmitted {
    /// There is no key, and it is sealed under the one with this id.
    #[error(
        "it is sealed under the key {0}: name the file that holds it, by key-file in [host] of \
         the configuration, by --key-file or by HOST_HARNESS_KEY_FILE"
    )]
    NoKey(String),
    /// It is sealed under the key with this id, which is not among those that there are.
    #[error("it is sealed under the key {0}, which is not among those of the key file")]
    OtherKey(String),
    /// There is a key, and it is not sealed.
    #[error(
        "it is not sealed, and a key is configured: stop what serves it and seal it by \
         `host-harness store rekey`"
    )]
    Unsealed,
    /// What it says of its seal was changed.
    #[error("what it says of its seal, in its table `sealing`, was changed")]
    Changed,
}

impl From<NotAdmitted> for StoreError {
    fn from(why: NotAdmitted) -> Self {
        Self(Box::new(why))
    }
}

#[cfg(test)]
mod tests;
