//! The identity of a key, as signatures name it.

use data_encoding::BASE64;
use serde::{Serialize, Serializer};
use std::fmt;

/// Bytes of a key or a signature before its identity: the name of the algorithm.
const ALGORITHM: usize = 2;

/// The identity of a key: not secret, and no proof of anything.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyId([u8; 8]);

impl KeyId {
    /// That of a key or a signature in base64.
    pub(super) fn of(base64: &str) -> Option<Self> {
        let bytes = BASE64.decode(base64.trim().as_bytes()).ok()?;
        Some(Self(*bytes.get(ALGORITHM..)?.first_chunk()?))
    }
}

/// As minisign writes it: the hexadecimal digits of a little-endian number.
impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016X}", u64::from_le_bytes(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
