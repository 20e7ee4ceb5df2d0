//! How many bytes a host call hands over: those of texts and lists. What has a
//! fixed size counts nothing, as the number of host calls bounds it.

use crate::contract::chat::reset_totp::secrets::{
    EmailCode, Method, Proof, Receipt, Target, TotpFactor, TotpKey,
};
use crate::contract::chat::reset_totp::users::{Selector, User};
use crate::contract::wasi::clocks::wall_clock::Datetime;

/// What is handed over.
pub(super) trait Bytes {
    /// Its texts and lists, in bytes.
    fn bytes(&self) -> usize {
        0
    }
}

impl Bytes for () {}
impl Bytes for bool {}
impl Bytes for u8 {}
impl Bytes for Datetime {}
impl Bytes for Receipt {}

impl Bytes for String {
    fn bytes(&self) -> usize {
        self.len()
    }
}

impl<T: Bytes> Bytes for Option<T> {
    fn bytes(&self) -> usize {
        self.as_ref().map_or(0, T::bytes)
    }
}

impl<T: Bytes, E> Bytes for Result<T, E> {
    fn bytes(&self) -> usize {
        self.as_ref().map_or(0, T::bytes)
    }
}

impl<T: Bytes, U: Bytes> Bytes for (T, U) {
    fn bytes(&self) -> usize {
        self.0.bytes() + self.1.bytes()
    }
}

impl Bytes for Vec<Method> {
    fn bytes(&self) -> usize {
        size_of_val(self.as_slice())
    }
}

impl Bytes for Selector {
    fn bytes(&self) -> usize {
        let (Self::Id(text) | Self::Username(text)) = self;
        text.len()
    }
}

impl Bytes for User {
    fn bytes(&self) -> usize {
        self.id.len() + self.username.len()
    }
}

impl Bytes for TotpFactor {
    fn bytes(&self) -> usize {
        let hashes = self.backup_code_hashes.iter().map(String::len);
        self.key.len() + hashes.sum::<usize>()
    }
}

impl Bytes for TotpKey {
    fn bytes(&self) -> usize {
        self.key.len()
    }
}

impl Bytes for Vec<u8> {
    fn bytes(&self) -> usize {
        self.len()
    }
}

impl Bytes for EmailCode {
    fn bytes(&self) -> usize {
        self.recipient.len()
    }
}

impl Bytes for Proof {
    fn bytes(&self) -> usize {
        match self {
            Self::BackupCode(text) | Self::Other(text) => text.len(),
            Self::TotpStep(_) | Self::EmailCode | Self::Password | Self::None => 0,
        }
    }
}

impl Bytes for Target {
    fn bytes(&self) -> usize {
        match self {
            Self::User(id) => id.len(),
            Self::Caller => 0,
        }
    }
}
