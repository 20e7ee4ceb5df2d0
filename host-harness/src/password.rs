//! Passwords: clients send the SHA-256 of one, the store keeps the bcrypt of that.

use data_encoding::HEXLOWER;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

/// bcrypt's cost, as Rocket.Chat sets it: 2^10 rounds, tens of milliseconds.
const COST: u32 = 10;

/// Passwords that are compared at once: one core of a small machine stays free
/// for everything else.
static COMPARISONS: Semaphore = Semaphore::const_new(1);

/// What clients send for `password`: its SHA-256 in lower-case hexadecimal.
pub fn digest(password: &SecretString) -> SecretString {
    HEXLOWER
        .encode(&Sha256::digest(password.expose_secret()))
        .into()
}

/// The form in which the password with this digest is stored: its bcrypt.
///
/// # Errors
///
/// When the operating system gives no randomness.
pub fn hash(digest: &SecretString) -> Result<SecretString, bcrypt::BcryptError> {
    bcrypt::hash(digest.expose_secret(), COST).map(SecretString::from)
}

/// Whether `hash` is that of the password with this digest. Waits for its turn;
/// false for anything that is not a digest.
pub async fn matches(digest: SecretString, hash: SecretString) -> bool {
    if !is_digest(digest.expose_secret()) {
        return false;
    }
    let turn = COMPARISONS.acquire().await;
    let comparison = move || {
        let _turn = turn;
        bcrypt::verify(digest.expose_secret(), hash.expose_secret())
    };
    matches!(tokio::task::spawn_blocking(comparison).await, Ok(Ok(true)))
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_matches_its_own_hash_alone() {
        let digest_of = |password: &str| digest(&password.into());
        let stored = hash(&digest_of("correct horse")).unwrap();
        assert!(matches(digest_of("correct horse"), stored.clone()).await);
        assert!(!matches(digest_of("Correct horse"), stored.clone()).await);
        let upper = digest_of("correct horse").expose_secret().to_uppercase();
        for refused in ["correct horse", "", upper.as_str()] {
            assert!(!matches(refused.into(), stored.clone()).await);
        }
        let longer = format!("{} ", digest_of("correct horse").expose_secret());
        assert!(!matches(longer.into(), stored).await);
    }
}
