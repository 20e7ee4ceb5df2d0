//! Login tokens: opaque to clients, stored as a hash.

use data_encoding::{BASE64, BASE64URL_NOPAD};
use rand::Rng;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

/// Bytes of chance in a new token: 43 characters when written.
const TOKEN_BYTES: usize = 32;

/// A new token of `random`: 43 characters of `A-Za-z0-9_-`.
pub fn generate(random: &mut impl Rng) -> SecretString {
    let mut bytes = [0; TOKEN_BYTES];
    random.fill_bytes(&mut bytes);
    BASE64URL_NOPAD.encode(&bytes).into()
}

/// The form in which a token is stored: standard base64 of its SHA-256.
pub fn hash(token: &SecretString) -> String {
    BASE64.encode(&Sha256::digest(token.expose_secret()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_new_each_time_and_looks_like_one() {
        let [first, second] = [(); 2].map(|()| generate(&mut rand::rng()));
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        assert_eq!(first.expose_secret().len(), 43);
        assert!(first.expose_secret().chars().all(is_plain));
        assert_ne!(first.expose_secret(), second.expose_secret());
    }

    /// FIPS 180-2 appendix B.1.
    #[test]
    fn a_token_is_stored_as_its_sha_256() {
        let hash = hash(&"abc".into());
        assert_eq!(hash, "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
    }
}
