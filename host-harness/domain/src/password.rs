//! Passwords: clients send the SHA-256 of one, a store keeps the bcrypt of that.

use data_encoding::HEXLOWER;
use rand::Rng;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

/// bcrypt's cost, as Rocket.Chat sets it: 2^10 rounds, tens of milliseconds.
const COST: u32 = 10;

/// Bytes of a bcrypt salt.
const SALT_BYTES: usize = 16;

/// What clients send for `password`: its SHA-256 in lower-case hexadecimal.
pub fn digest(password: &SecretString) -> SecretString {
    HEXLOWER
        .encode(&Sha256::digest(password.expose_secret()))
        .into()
}

/// The form in which the password with this digest is stored: its bcrypt. Takes
/// tens of milliseconds.
///
/// # Errors
///
/// When bcrypt does not take the digest.
pub fn hash(
    digest: &SecretString,
    random: &mut impl Rng,
) -> Result<SecretString, bcrypt::BcryptError> {
    let mut salt = [0; SALT_BYTES];
    random.fill_bytes(&mut salt);
    let hash = bcrypt::hash_with_salt(digest.expose_secret(), COST, salt)?;
    Ok(hash.to_string().into())
}

/// Whether `hash` is that of the password with this digest; false for anything that
/// is not a digest. Takes tens of milliseconds.
pub fn matches(digest: &SecretString, hash: &SecretString) -> bool {
    is_digest(digest.expose_secret())
        && matches!(
            bcrypt::verify(digest.expose_secret(), hash.expose_secret()),
            Ok(true)
        )
}

/// Whether `text` is what [`digest`] writes: 64 lower-case hexadecimal digits.
pub fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    #[test]
    fn a_password_matches_its_own_hash_alone() {
        let digest_of = |password: &str| digest(&password.into());
        let mut random = StdRng::seed_from_u64(1);
        let stored = hash(&digest_of("correct horse"), &mut random).unwrap();
        assert!(matches(&digest_of("correct horse"), &stored));
        assert!(!matches(&digest_of("Correct horse"), &stored));
        let upper = digest_of("correct horse").expose_secret().to_uppercase();
        for refused in ["correct horse", "", upper.as_str()] {
            assert!(!matches(&refused.into(), &stored));
        }
        let longer = format!("{} ", digest_of("correct horse").expose_secret());
        assert!(!matches(&longer.into(), &stored));
        // bcrypt takes this for the digest: it repeats a text with a NUL after it.
        let digest = digest_of("correct horse");
        let (digest, start) = (digest.expose_secret(), &digest.expose_secret()[..7]);
        let alike = format!("{digest}\0{start}");
        assert!(!matches(&alike.into(), &stored));
    }
}
