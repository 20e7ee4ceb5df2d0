//! Passwords: clients send the SHA-256 of one, the store keeps the bcrypt of that.

use data_encoding::HEXLOWER;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use tokio::sync::{Semaphore, SemaphorePermit};

/// bcrypt's cost, as Rocket.Chat sets it: 2^10 rounds, tens of milliseconds.
const COST: u32 = 10;

/// What a password is compared for. Each purpose has a core's worth of turns of
/// its own, so that log-ins do not starve resets.
#[derive(Clone, Copy, Debug)]
pub enum Lane {
    /// To log in: anybody can ask for it.
    LogIn,
    /// As a second factor of somebody who is logged in.
    SecondFactor,
}

/// Passwords that are compared at once in a lane: a small machine has two cores.
const COMPARISONS: usize = 1;

/// Passwords that wait for their turn in a lane: about two seconds' worth, less
/// than a call may take.
const WAITING: usize = 32;

/// More passwords wait to be compared than the host takes.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many passwords wait to be compared")]
pub struct Busy;

struct Queue {
    waiting: Semaphore,
    turns: Semaphore,
}

impl Queue {
    const fn new() -> Self {
        Self {
            waiting: Semaphore::const_new(COMPARISONS + WAITING),
            turns: Semaphore::const_new(COMPARISONS),
        }
    }

    fn of(lane: Lane) -> &'static Self {
        static LOG_INS: Queue = Queue::new();
        static SECOND_FACTORS: Queue = Queue::new();
        match lane {
            Lane::LogIn => &LOG_INS,
            Lane::SecondFactor => &SECOND_FACTORS,
        }
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

/// The right to compare one password.
pub struct Turn {
    _place: SemaphorePermit<'static>,
    _turn: SemaphorePermit<'static>,
}

/// Waits for a turn.
///
/// # Errors
///
/// [`Busy`] when too many wait already.
pub async fn turn(lane: Lane) -> Result<Turn, Busy> {
    let queue = Queue::of(lane);
    Ok(Turn {
        _place: queue.waiting.try_acquire().map_err(|_| Busy)?,
        _turn: queue.turns.acquire().await.map_err(|_| Busy)?,
    })
}

impl Turn {
    /// Whether `hash` is that of the password with this digest; false for
    /// anything that is not a digest.
    pub async fn matches(self, digest: SecretString, hash: SecretString) -> bool {
        if !is_digest(digest.expose_secret()) {
            return false;
        }
        let comparison = move || {
            let _held = self;
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
    use tokio::task::JoinSet;

    async fn compared(digest: SecretString, hash: &SecretString) -> bool {
        let turn = turn(Lane::SecondFactor).await.unwrap();
        turn.matches(digest, hash.clone()).await
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

    #[tokio::test]
    async fn the_crowd_that_waits_to_log_in_is_bounded_and_holds_up_nobody_else() {
        let digest = digest(&"correct horse".into());
        let stored = hash(&digest).unwrap();
        let _first = turn(Lane::LogIn).await.unwrap();
        let waiting: JoinSet<_> = (0..WAITING).map(|_| turn(Lane::LogIn)).collect();
        while Queue::of(Lane::LogIn).waiting.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(turn(Lane::LogIn).await.err(), Some(Busy));
        assert!(compared(digest, &stored).await);
        assert_eq!(waiting.len(), WAITING);
    }
}
