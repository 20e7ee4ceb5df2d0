//! Passwords: clients send the SHA-256 of one, the store keeps the bcrypt of that, or, where
//! Rocket.Chat wrote it so, the Argon2.

use argon2::{Argon2, PasswordHash, PasswordVerifier};
use bcrypt::{BcryptError, Version};
use data_encoding::HEXLOWER;
use rand::Rng;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

/// bcrypt's cost, as Rocket.Chat sets it: 2^10 rounds, tens of milliseconds.
const COST: u32 = 10;

/// Bytes in a salt of bcrypt.
const SALT_BYTES: usize = 16;

/// What clients send for `password`: its SHA-256 in lower-case hexadecimal.
pub fn digest(password: &SecretString) -> SecretString {
    HEXLOWER
        .encode(&Sha256::digest(password.expose_secret()))
        .into()
}

/// A password cannot be hashed.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct HashError(#[from] BcryptError);

/// The form in which the password with this digest is stored: its bcrypt, with a
/// salt of `random`.
///
/// # Errors
///
/// When bcrypt takes no such digest.
pub fn hash(digest: &SecretString, random: &mut impl Rng) -> Result<SecretString, HashError> {
    let mut salt = [0; SALT_BYTES];
    random.fill_bytes(&mut salt);
    let parts = bcrypt::hash_with_salt(digest.expose_secret(), COST, salt)?;
    Ok(parts.format_for_version(Version::TwoB).into())
}

/// Whether `hash`, bcrypt or Argon2 (RFC 9106, in the form `$argon2id$v=19$m=…,t=…,p=…$…`), is that
/// of the password with this digest; false for anything that is not a digest. It takes tens of
/// milliseconds.
pub fn matches(digest: &SecretString, hash: &SecretString) -> bool {
    let (digest, hash) = (digest.expose_secret(), hash.expose_secret());
    is_digest(digest)
        && match hash.starts_with("$argon2") {
            true => is_argon2_of(digest, hash),
            false => matches!(bcrypt::verify(digest, hash), Ok(true)),
        }
}

fn is_argon2_of(digest: &str, hash: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| {
        let verified = Argon2::default().verify_password(digest.as_bytes(), &hash);
        verified.is_ok()
    })
}

/// Whether `text` is what clients send for a password.
pub fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_matches_its_own_hash_alone() {
        let digest_of = |password: &str| digest(&password.into());
        let stored = hash(&digest_of("correct horse"), &mut rand::rng()).unwrap();
        assert!(matches(&digest_of("correct horse"), &stored));
        assert!(!matches(&digest_of("Correct horse"), &stored));
        assert!(!matches(&"correct horse".into(), &stored));
    }

    #[test]
    fn a_password_may_be_kept_as_argon2() {
        let digest = digest(&"correct horse".into());
        let salt = argon2::password_hash::SaltString::from_b64("c29tZXNhbHR5c2FsdA").unwrap();
        let stored = argon2::PasswordHasher::hash_password(
            &Argon2::default(),
            digest.expose_secret().as_bytes(),
            &salt,
        );
        let stored = SecretString::from(stored.unwrap().to_string());
        assert!(stored.expose_secret().starts_with("$argon2id$v=19$"));
        assert!(matches(&digest, &stored));
        assert!(!matches(&super::digest(&"correct".into()), &stored));
        assert!(!matches(&digest, &"$argon2id$v=19$none".into()));
    }

    /// FIPS 180-2 appendix B.1.
    #[test]
    fn a_digest_is_64_lower_case_hexadecimal_digits() {
        let digest = digest(&"abc".into());
        let digest = digest.expose_secret();
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest, expected);
        assert!(is_digest(digest));
        for text in [
            "",
            &digest[1..],
            &format!("{digest}0"),
            &digest.to_uppercase(),
        ] {
            assert!(!is_digest(text), "{text}");
        }
        assert!(!is_digest(&digest.replace('b', "g")));
    }

    #[test]
    fn the_same_password_is_never_stored_alike() {
        let digest = digest(&"correct horse".into());
        let stored = || hash(&digest, &mut rand::rng()).unwrap();
        let (first, second) = (stored(), stored());
        assert!(first.expose_secret().starts_with("$2b$10$"));
        assert_ne!(first.expose_secret(), second.expose_secret());
    }
}
