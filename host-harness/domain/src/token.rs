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
