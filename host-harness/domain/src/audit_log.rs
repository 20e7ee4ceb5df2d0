//! The log that an audit trail is: each record of a workspace in its place, so that whoever
//! changes one afterwards is found out.
//!
//! A record is bound twice. For outsiders it is a leaf of a Merkle tree (RFC 6962, section 2.1),
//! whose root a checkpoint signs; the leaf is a salted hash, so that it tells nothing of a record
//! which is not shown, or is erased. For the host it is a link of a chain of MACs under the
//! workspace's secret, which nobody can go on with, or mend, who has only the store.
//!
//! | to find | look into |
//! |---|---|
//! | what of a record is hashed | [`record`] |
//! | the tree, and what is kept of it | [`tree`] |
//! | whether a log is whole, and what happened to it | [`check`], [`fault`] |
//! | what is signed, and by which key | [`checkpoint`] |
//! | that a record is in the log, and a log the beginning of another | [`proof`] |
//! | a log in one file | [`export`] |

mod chain;
pub mod check;
pub mod checkpoint;
pub mod export;
pub mod fault;
pub mod proof;
pub mod record;
pub mod tree;

use data_encoding::BASE64;
use hkdf::Hkdf;
use hmac::digest::KeyInit;
use hmac::{Hmac, Mac as _};
use rand::Rng;
use record::LoggedRecord;
use secrecy::{ExposeSecret, SecretBox, SecretString};
use sha2::Sha256;
use std::fmt;
use std::sync::Arc;
use subtle::ConstantTimeEq;
pub use tlog_tiles::Hash;
use tree::Edge;

/// Bytes of a hash, a MAC and a secret: those of SHA-256.
pub const HASH_BYTES: usize = 32;

/// Bytes of the chance that hides what a leaf is the hash of: nobody guesses 128 bits.
pub const SALT_BYTES: usize = 16;

/// Leaves of a [`Page`] at most: some hundred kilobytes with their records.
pub const PAGE: u16 = 1000;

/// A place in a log, as what is kept of it has it.
pub fn kept_place(index: u64) -> i64 {
    index.try_into().unwrap_or(i64::MAX)
}

/// What hides a record behind its leaf, until it is shown.
pub type Salt = [u8; SALT_BYTES];

/// A new salt.
pub fn new_salt(random: &mut impl Rng) -> Salt {
    let mut salt = [0; SALT_BYTES];
    random.fill_bytes(&mut salt);
    salt
}

/// What a workspace's log is chained and signed with. Whoever has it can write another log.
#[derive(Clone, Debug)]
pub struct Secret(Arc<SecretBox<[u8; HASH_BYTES]>>);

impl Secret {
    /// A new one.
    pub fn new(random: &mut impl Rng) -> Self {
        let mut bytes = Box::new([0; HASH_BYTES]);
        random.fill_bytes(bytes.as_mut());
        Self(Arc::new(SecretBox::new(bytes)))
    }

    /// The one that [`Secret::to_text`] wrote; none where the text is not one.
    pub fn from_text(text: &str) -> Option<Self> {
        let bytes = BASE64.decode(text.as_bytes()).ok()?;
        let bytes = Box::new(<[u8; HASH_BYTES]>::try_from(bytes).ok()?);
        Some(Self(Arc::new(SecretBox::new(bytes))))
    }

    /// As a store keeps it: base64 (RFC 4648, section 4).
    pub fn to_text(&self) -> SecretString {
        BASE64.encode(self.0.expose_secret()).into()
    }

    /// What binds the leaf `hash` to the place `index`, and to all that is before it.
    fn link(&self, before: &Mac, index: u64, hash: Hash) -> Mac {
        self.mac(&[b"chain", &before.0, &index.to_be_bytes(), &hash.0])
    }

    /// What says that nothing is after the link `last` of a tree of this size and root.
    fn end(&self, size: u64, root: Hash, last: &Mac) -> Mac {
        self.mac(&[b"end", &size.to_be_bytes(), &root.0, &last.0])
    }

    /// What says of the leaf `hash` in the place `index` that its record was erased by who has
    /// this secret.
    fn tombstone(&self, index: u64, hash: Hash) -> Mac {
        self.mac(&[b"erased", &index.to_be_bytes(), &hash.0])
    }

    /// HMAC-SHA256 (RFC 2104). The first part is a label, which no other begins with; the
    /// others have each its length.
    fn mac(&self, parts: &[&[u8]]) -> Mac {
        let mac = <Hmac<Sha256> as KeyInit>::new_from_slice(self.0.expose_secret());
        #[expect(
            clippy::expect_used,
            reason = "a key may have any length (RFC 2104, section 3)"
        )]
        let mut mac = mac.expect("a key");
        for part in parts {
            mac.update(part);
        }
        Mac(mac.finalize().into_bytes().into())
    }

    /// The seed of what signs (RFC 5869).
    fn signing_seed(&self) -> SecretBox<[u8; HASH_BYTES]> {
        let derived = Hkdf::<Sha256>::new(None, self.0.expose_secret());
        SecretBox::init_with_mut(|seed: &mut [u8; HASH_BYTES]| {
            let expanded = derived.expand(b"host-harness audit log: Ed25519", seed);
            #[expect(
                clippy::expect_used,
                reason = "no more than 255 hashes (RFC 5869, section 2.3)"
            )]
            expanded.expect("one hash");
        })
    }
}

/// What nobody makes who has not the secret. To compare two takes the same time wherever they
/// differ.
#[derive(Clone, Copy)]
pub struct Mac([u8; HASH_BYTES]);

impl Mac {
    /// What the first link is chained to.
    pub const START: Self = Self([0; HASH_BYTES]);

    /// None where it is not as long as one is.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self(bytes.try_into().ok()?))
    }

    /// As a store keeps it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq for Mac {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64.encode(&self.0))
    }
}

/// The hash that these bytes are; none where they are more or fewer.
pub fn hash_of(bytes: &[u8]) -> Option<Hash> {
    Some(Hash(bytes.try_into().ok()?))
}

/// Where a log ends: what is needed to append to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// Of the tree over all leaves.
    pub edge: Edge,
    /// The last link of the chain.
    pub mac: Mac,
    /// What says that the log ends here: a link says only what is before it.
    pub end: Mac,
}

impl Default for Head {
    /// Of a log without records.
    fn default() -> Self {
        Self {
            edge: Edge::default(),
            mac: Mac::START,
            end: Mac::START,
        }
    }
}

impl Head {
    /// Leaves before it.
    pub fn size(&self) -> u64 {
        self.edge.size()
    }

    /// Whether who has the secret has ended the log here, or nobody has begun it.
    pub fn is_ended_by(&self, secret: &Secret) -> bool {
        *self == Self::default() || self.end == self.end_by(secret)
    }

    fn end_by(&self, secret: &Secret) -> Mac {
        secret.end(self.size(), self.edge.root(), &self.mac)
    }

    /// Moves behind `record`, and gives its leaf.
    pub fn append(&mut self, secret: &Secret, salt: &Salt, record: &LoggedRecord) -> Leaf {
        let (index, hash) = (self.size(), record.leaf_hash(salt));
        self.mac = secret.link(&self.mac, index, hash);
        self.edge.push(hash);
        self.end = self.end_by(secret);
        Leaf {
            index,
            hash,
            mac: self.mac,
            erased: None,
        }
    }
}

/// What is always kept of a record.
#[derive(Clone, Debug, PartialEq)]
pub struct Leaf {
    /// Its place: how many are before it.
    pub index: u64,
    /// The salted hash of the record.
    pub hash: Hash,
    /// The link of the chain.
    pub mac: Mac,
    /// The tombstone, once the record is erased.
    pub erased: Option<Mac>,
}

/// A record beside its leaf.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptRecord {
    /// The place that it claims; negative for what no log has put there.
    pub index: i64,
    /// As long as a [`Salt`], unless somebody has changed it.
    pub salt: Vec<u8>,
    /// What was decided.
    pub record: LoggedRecord,
}

impl KeptRecord {
    /// The leaf that it would have.
    pub fn leaf_hash(&self) -> Hash {
        self.record.leaf_hash(&self.salt)
    }

    /// The tombstone for when this record is erased; none where it is not as it was logged: a
    /// tombstone would hide that.
    pub fn tombstone(&self, secret: &Secret, index: u64, hash: Hash) -> Option<Mac> {
        (self.leaf_hash() == hash).then(|| secret.tombstone(index, hash))
    }
}

/// A part of a log, as of one moment.
#[derive(Clone, Debug)]
pub struct Page {
    /// Of the whole log.
    pub head: Head,
    /// Of the whole log.
    pub secret: Secret,
    /// In the order of their places.
    pub leaves: Vec<Leaf>,
    /// Those in the places of these leaves, and those between that have no leaf, in order.
    pub records: Vec<KeptRecord>,
    /// The place with which the next page begins; none of the last.
    pub next: Option<u64>,
}

impl Page {
    /// The place with which the first page begins: what claims a place that there is not comes
    /// with it.
    pub const FIRST: i64 = i64::MIN;

    /// The page of what a store found: from a place on, [`PAGE`] leaves at most, twice as many
    /// records at most, each in order.
    pub fn of(
        head: Head,
        secret: Secret,
        mut leaves: Vec<Leaf>,
        mut records: Vec<KeptRecord>,
    ) -> Self {
        let last_leaf = match leaves.last() {
            Some(leaf) if leaves.len() >= usize::from(PAGE) => leaf.index,
            _ => u64::MAX,
        };
        // Of the last place, more records may be left.
        let last_record = match (records.first(), records.last()) {
            (Some(first), Some(last)) if records.len() >= 2 * usize::from(PAGE) => {
                let last = first.index.max(last.index.saturating_sub(1));
                u64::try_from(last).unwrap_or(0)
            }
            _ => u64::MAX,
        };
        let last = last_leaf.min(last_record);
        leaves.retain(|leaf| leaf.index <= last);
        records
            .retain(|kept| u64::try_from(kept.index).is_ok_and(|at| at <= last) || kept.index < 0);
        Self {
            head,
            secret,
            leaves,
            records,
            next: last.checked_add(1),
        }
    }
}
