//! The queue of passwords that are compared: each takes tens of milliseconds of a
//! processor.

use chat_domain::password;
use secrecy::{ExposeSecret, SecretString};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Passwords that a queue compares at once: a small machine has two cores.
const COMPARISONS: usize = 1;

/// Passwords that wait in a queue for their turn: about two seconds' worth, less
/// than a call may take.
const WAITING: usize = 32;

/// Those of one workspace among them: a flood of one leaves the others half.
const SHARE: usize = WAITING / 2;

/// More passwords wait to be compared than the host takes.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many passwords wait to be compared")]
pub struct Busy;

/// Passwords that wait to be compared. What anybody can ask for has a queue of
/// its own, so that log-ins do not starve resets.
pub struct Queue {
    waiting: Arc<Semaphore>,
    turns: Arc<Semaphore>,
    shares: Arc<Shares>,
}

/// Places by the id of the workspace that holds them; none where there are none.
type Shares = Mutex<HashMap<String, usize>>;

/// Those of callers who are logged in and prove their second factor.
pub static SECOND_FACTORS: LazyLock<Queue> = LazyLock::new(Queue::default);

impl Default for Queue {
    fn default() -> Self {
        Self {
            waiting: Arc::new(Semaphore::new(COMPARISONS + WAITING)),
            turns: Arc::new(Semaphore::new(COMPARISONS)),
            shares: Arc::default(),
        }
    }
}

impl Queue {
    /// A place of `workspace` among those that wait. What is done with it before
    /// [`Place::matches`] holds up nobody else.
    ///
    /// # Errors
    ///
    /// [`Busy`] when too many wait already, or too many of the workspace's.
    pub fn place(&self, workspace: &str) -> Result<Place, Busy> {
        let place = self.waiting.clone().try_acquire_owned();
        Ok(Place {
            _held: place.map_err(|_| Busy)?,
            _share: Share::of(workspace, &self.shares)?,
            turns: self.turns.clone(),
        })
    }
}

/// One place of a workspace's.
struct Share {
    workspace: String,
    shares: Arc<Shares>,
}

impl Share {
    fn of(workspace: &str, shares: &Arc<Shares>) -> Result<Self, Busy> {
        let mut all = shares.lock().unwrap_or_else(PoisonError::into_inner);
        let held = all.entry(workspace.to_owned()).or_default();
        if *held >= SHARE {
            return Err(Busy);
        }
        *held += 1;
        Ok(Self {
            workspace: workspace.to_owned(),
            shares: shares.clone(),
        })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut all = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = all.get_mut(&self.workspace) {
            *held -= 1;
            if *held == 0 {
                all.remove(&self.workspace);
            }
        }
    }
}

/// The right to compare one password, in its turn.
pub struct Place {
    _held: OwnedSemaphorePermit,
    _share: Share,
    turns: Arc<Semaphore>,
}

impl Place {
    /// Whether `hash` is that of the password with this digest; false for
    /// anything that is not a digest.
    pub async fn matches(self, digest: SecretString, hash: SecretString) -> bool {
        if !password::is_digest(digest.expose_secret()) {
            return false;
        }
        let Ok(turn) = self.turns.clone().acquire_owned().await else {
            return false;
        };
        let comparison = move || {
            let _held = (self, turn);
            password::matches(&digest, &hash)
        };
        matches!(tokio::task::spawn_blocking(comparison).await, Ok(true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chat_domain::password::{digest, hash};

    async fn compared(digest: SecretString, hash: &SecretString) -> bool {
        let place = Queue::default().place("acme").unwrap();
        place.matches(digest, hash.clone()).await
    }

    #[tokio::test]
    async fn a_password_matches_its_own_hash_alone() {
        let digest_of = |password: &str| digest(&password.into());
        let stored = hash(&digest_of("correct horse"), &mut rand::rng()).unwrap();
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
        let place = |n: usize| queue.place(&format!("workspace-{n}"));
        let places: Vec<_> = (0..COMPARISONS + WAITING).map(place).collect();
        assert!(places.iter().all(Result::is_ok));
        assert_eq!(place(100).err(), Some(Busy));
        drop(places);
        assert!(place(100).is_ok());
    }

    #[test]
    fn a_workspace_holds_its_share_of_the_places() {
        let queue = Queue::default();
        let flood: Vec<_> = (0..SHARE).map(|_| queue.place("acme")).collect();
        assert!(flood.iter().all(Result::is_ok));
        assert_eq!(queue.place("acme").err(), Some(Busy));
        assert!(queue.place("globex").is_ok(), "another has places");
        drop(flood);
        assert!(queue.place("acme").is_ok());
        assert!(queue.shares.lock().unwrap().is_empty());
    }
}
