//! Passwords: clients send the SHA-256 of one, the store keeps the bcrypt of that.

use data_encoding::HEXLOWER;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use std::sync::{Arc, LazyLock};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// bcrypt's cost, as Rocket.Chat sets it: 2^10 rounds, tens of milliseconds.
const COST: u32 = 10;

/// Passwords that a queue compares at once: a small machine has two cores.
const COMPARISONS: usize = 1;

/// Passwords that wait in a queue for their turn: about two seconds' worth, less
/// than a call may take.
const WAITING: usize = 32;

/// More passwords wait to be compared than the host takes.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many passwords wait to be compared")]
pub struct Busy;

/// Passwords that wait to be compared. What anybody can ask for has a queue of
/// its own, so that log-ins do not starve resets.
pub struct Queue {
    waiting: Arc<Semaphore>,
    turns: Arc<Semaphore>,
}

/// Those of callers who are logged in and prove their second factor.
pub static SECOND_FACTORS: LazyLock<Queue> = LazyLock::new(Queue::default);

impl Default for Queue {
    fn default() -> Self {
        Self {
            waiting: Arc::new(Semaphore::new(COMPARISONS + WAITING)),
            turns: Arc::new(Semaphore::new(COMPARISONS)),
        }
    }
}

impl Queue {
    /// A place among those that wait. What is done with it before
    /// [`Place::matches`] holds up nobody else.
    ///
    /// # Errors
    ///
    /// [`Busy`] when too many wait already.
    pub fn place(&self) -> Result<Place, Busy> {
        let place = self.waiting.clone().try_acquire_owned();
        Ok(Place {
            _held: place.map_err(|_| Busy)?,
            turns: self.turns.clone(),
        })
    }
}

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

/// The right to compare one password, in its turn.
pub struct Place {
    _held: OwnedSemaphorePermit,
    turns: Arc<Semaphore>,
}

impl Place {
    /// Whether `hash` is that of the password with this digest; false for
    /// anything that is not a digest.
    pub async fn matches(self, digest: SecretString, hash: SecretString) -> bool {
        if !is_digest(digest.expose_secret()) {
            return false;
        }
        let Ok(turn) = self.turns.clone().acquire_owned().await else {
            return false;
        };
        let comparison = move || {
            let _held = (self, turn);
            bcrypt::verify(digest.expose_secret(), hash.expose_secret())
        };
        matches!(tokio::task::spawn_blocking(comparison).await, Ok(Ok(true)))
    }
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn compared(digest: SecretString, hash: &SecretString) -> bool {
        let place = Queue::default().place().unwrap();
        place.matches(digest, hash.clone()).await
    }

    #[tokio::test]
    async fn a_password_matches_its_own_hash_alone() {
        let digest_of = |password: &str| digest(&password.into());
        let stored = hash(&digest_of("correct horse")).unwrap();
        assert!(compared(digest_of("correct horse"), &stored).await);
        assert!(!compared(digest_of("Correct horse"), &stored).await);
        let upper = digest_of("correct horse").expose_secret().to_uppercase();
        for refused in ["correct horse", "", upper.as_str()] {
            assert!(!compared(refused.into(), &stored).await);
        }
        let longer = format!("{} ", digest_of("correct horse").expose_secret());
        assert!(!compared(longer.into(), &stored).await);
        // bcrypt takes this for the digest: it repeats a text with a NUL after it.
        let digest = digest_of("correct horse");
        let (digest, start) = (digest.expose_secret(), &digest.expose_secret()[..7]);
        let alike = format!("{digest}\0{start}");
        assert!(!compared(alike.into(), &stored).await);
    }

    #[test]
    fn the_crowd_that_waits_is_bounded() {
        let queue = Queue::default();
        let place = || queue.place();
        let places: Vec<_> = (0..COMPARISONS + WAITING).map(|_| place()).collect();
        assert!(places.iter().all(Result::is_ok));
        assert_eq!(place().err(), Some(Busy));
        drop(places);
        assert!(place().is_ok());
    }
}
