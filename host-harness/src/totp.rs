//! What the host itself knows of TOTP (RFC 6238): enough to enrol a member and
//! to check, at the commit, the step that a plugin claims.

use crate::clock::Timestamp;
use data_encoding::{BASE32_NOPAD, HEXLOWER};
use rand::Rng;
use secrecy::{ExposeSecret, SecretSlice};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use totp_lite::{Sha1, totp_custom};

/// Seconds in a time step, the default of RFC 6238 section 4.1.
pub const STEP_SECONDS: u64 = 30;

/// Digits in a code: what authenticator apps show (RFC 4226 section 5.3).
const CODE_DIGITS: u32 = 6;

/// Bytes in a new key: the length that RFC 4226 section 4 recommends.
const KEY_BYTES: usize = 20;

/// The shared secret K of an account.
#[derive(Clone, Debug)]
pub struct TotpKey(SecretSlice<u8>);

impl TotpKey {
    /// The key made of these bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }

    /// A new random key.
    pub fn generate() -> Self {
        let mut bytes = vec![0; KEY_BYTES];
        rand::rng().fill_bytes(&mut bytes);
        Self::new(bytes)
    }

    /// The raw bytes.
    pub fn expose(&self) -> &[u8] {
        self.0.expose_secret()
    }

    /// The key as authenticator apps take it: base32 (RFC 4648) without padding.
    pub fn to_base32(&self) -> String {
        BASE32_NOPAD.encode(self.expose())
    }

    /// The key that [`TotpKey::to_base32`] wrote; none where `text` is not one.
    pub fn from_base32(text: &str) -> Option<Self> {
        BASE32_NOPAD.decode(text.as_bytes()).ok().map(Self::new)
    }

    /// The six-digit code of the time step `step`.
    pub fn code(&self, step: u64) -> String {
        totp_custom::<Sha1>(1, CODE_DIGITS, self.expose(), step)
    }

    /// Whether `code` is the code of `step`, in constant time.
    pub fn has_code(&self, step: u64, code: &str) -> bool {
        self.code(step).as_bytes().ct_eq(code.as_bytes()).into()
    }
}

/// The time step of `now`: T of RFC 6238 section 4.2.
pub fn step_of(now: Timestamp) -> u64 {
    now.seconds() / STEP_SECONDS
}

/// The form in which a backup code is stored: lower-case hexadecimal SHA-256.
pub fn backup_code_hash(code: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6238 appendix B, for SHA-1.
    #[test]
    fn the_codes_are_those_of_rfc_6238() {
        let key = TotpKey::new(b"12345678901234567890".to_vec());
        let now = Timestamp::from_millis(1_111_111_109_000);
        assert_eq!(key.code(step_of(now)), "081804");
        assert!(key.has_code(step_of(now), "081804"));
        assert!(!key.has_code(step_of(now), "081805"));
        assert!(!key.has_code(step_of(now) + 1, "081804"));
    }

    #[test]
    fn a_key_survives_base32_and_is_not_shown() {
        let key = TotpKey::generate();
        let text = key.to_base32();
        assert_eq!(text.len(), 32);
        assert_eq!(TotpKey::from_base32(&text).unwrap().expose(), key.expose());
        assert!(TotpKey::from_base32("not base32!").is_none());
        assert!(!format!("{key:?}").contains(&text));
    }
}
