//! The keys under which a store's secrets are sealed, and where they come from.

use chacha20poly1305::{KeyInit, XChaCha20Poly1305};
use data_encoding::BASE64;
use rand::Rng;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Bytes of a key.
const KEY: usize = 32;

/// Bytes of a key's id: enough to tell the keys of a file apart, and nothing about them.
const KEY_ID: usize = 4;

/// Tells the hash that a key's id is made of from every other.
const KEY_ID_LABEL: &[u8] = b"host-harness store key id";

/// Bytes of a key file that are read: hundreds of keys and what is said of them.
const MAX_FILE: u64 = 64 * 1024;

/// What lets everybody on the machine read or write a file.
const ALL_READ_OR_WRITE: u32 = 0o006;

/// Keys: the first seals, all open. There is at least one.
pub struct Keys {
    first: Key,
    others: Vec<Key>,
}

pub(super) struct Key {
    pub(super) id: String,
    pub(super) cipher: XChaCha20Poly1305,
}

/// The ids, which tell nothing of the keys.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.all().map(|key| &key.id))
            .finish()
    }
}

/// Why there are no keys where some were named. It tells nothing of what was read.
#[derive(Debug, thiserror::Error)]
pub enum KeyProblem {
    /// The file cannot be read.
    #[error("cannot read the key file {}: {cause}", .path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// A key was named where its file belongs.
    #[error("a key is named where the path of its file belongs")]
    NoPath,
    /// Everybody may read or write the file.
    #[error("everybody may read or write the key file {path}: `chmod o-rw {path}` first", path = .0.display())]
    Open(PathBuf),
    /// A line, from 1, is no key.
    #[error(
        "line {0} of the keys is none: a key is 32 bytes in base64, as `host-harness store new-key` prints it"
    )]
    NoKey(usize),
    /// A key, on this line, is there already.
    #[error("line {0} of the keys repeats a key")]
    Repeated(usize),
    /// There is none.
    #[error("there is no key: `host-harness store new-key` prints one")]
    Empty,
}

impl Keys {
    /// Those of the file at `path`.
    ///
    /// # Errors
    ///
    /// When it cannot be read, is no regular file, everybody may read or write it, or as
    /// [`Keys::parse`].
    pub fn read(path: &Path) -> Result<Self, KeyProblem> {
        if path.to_str().is_some_and(|text| Self::parse(text).is_ok()) {
            return Err(KeyProblem::NoPath);
        }
        let unreadable = |cause| KeyProblem::Unreadable {
            path: path.to_owned(),
            cause,
        };
        // The other end of a pipe would be waited for for ever.
        require_regular(path.metadata().map_err(unreadable)?.is_file()).map_err(unreadable)?;
        let file = File::open(path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        require_regular(metadata.is_file()).map_err(unreadable)?;
        if metadata.mode() & ALL_READ_OR_WRITE != 0 {
            return Err(KeyProblem::Open(path.to_owned()));
        }
        let mut text = Zeroizing::new(String::new());
        let read = file.take(MAX_FILE).read_to_string(&mut text);
        read.map_err(unreadable)?;
        Self::parse(&text)
    }

    /// Those of a text: each on a line of its own, 32 bytes in base64. Blank lines and lines
    /// that begin with `#` are none.
    ///
    /// # Errors
    ///
    /// When a line is no key or repeats one, or there is none.
    pub fn parse(text: &str) -> Result<Self, KeyProblem> {
        let mut keys = Vec::<Key>::new();
        for (line, number) in text.lines().zip(1..) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let key = Key::parse(line).ok_or(KeyProblem::NoKey(number))?;
            if keys.iter().any(|known| known.id == key.id) {
                return Err(KeyProblem::Repeated(number));
            }
            keys.push(key);
        }
        let mut keys = keys.into_iter();
        let first = keys.next().ok_or(KeyProblem::Empty)?;
        let others = keys.collect();
        Ok(Self { first, others })
    }

    /// A new one that is nowhere but here.
    pub fn generate() -> Self {
        Self {
            first: Key::of(&random()),
            others: Vec::new(),
        }
    }

    /// The one that seals.
    pub(super) fn first(&self) -> &Key {
        &self.first
    }

    pub(super) fn named(&self, id: &str) -> Option<&Key> {
        self.all().find(|key| key.id == id)
    }

    fn all(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&self.first).chain(&self.others)
    }
}

impl Key {
    fn parse(line: &str) -> Option<Self> {
        let bytes = Zeroizing::new(BASE64.decode(line.as_bytes()).ok()?);
        bytes.as_slice().try_into().ok().map(Self::of)
    }

    fn of(bytes: &[u8; KEY]) -> Self {
        let hash = Sha256::new()
            .chain_update(KEY_ID_LABEL)
            .chain_update(bytes)
            .finalize();
        let id: String = hash
            .iter()
            .take(KEY_ID)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let cipher = XChaCha20Poly1305::new(bytes.into());
        Self { id, cipher }
    }
}

fn require_regular(is_regular: bool) -> io::Result<()> {
    match is_regular {
        true => Ok(()),
        false => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is no regular file",
        )),
    }
}

/// The line of a new key.
pub fn new_key() -> SecretString {
    BASE64.encode(&*random()).into()
}

fn random() -> Zeroizing<[u8; KEY]> {
    let mut bytes = Zeroizing::new([0; KEY]);
    rand::rng().fill_bytes(&mut *bytes);
    bytes
}

/// Where keys come from.
#[derive(Clone, Debug, Default)]
pub enum KeySource {
    /// There are none.
    #[default]
    Nowhere,
    /// A file, as [`Keys::read`] reads it.
    File(PathBuf),
    /// A text, as [`Keys::parse`] reads it: of the environment.
    Text(SecretString),
}

impl KeySource {
    /// What seals and opens by the keys that are there now.
    ///
    /// # Errors
    ///
    /// As [`Keys::read`] and [`Keys::parse`].
    pub fn seal(&self) -> Result<super::Seal, KeyProblem> {
        Ok(match self {
            Self::Nowhere => super::Seal::none(),
            Self::File(path) => Keys::read(path)?.into(),
            Self::Text(text) => Keys::parse(text.expose_secret())?.into(),
        })
    }
}
