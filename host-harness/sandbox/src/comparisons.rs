//! The queue of what is compared with a slow hash, a password or a code by e-mail: each takes
//! tens of milliseconds of a processor.

use chat_domain::account::Methods;
use chat_domain::{password, totp};
use secrecy::{ExposeSecret, SecretString};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Comparisons that a queue makes at once: a small machine has two cores.
const COMPARISONS: usize = 1;

/// Those that wait in a queue for their turn: about two seconds' worth, less than a call may
/// take.
const WAITING: usize = 32;

/// Those of one workspace among them: a flood of one leaves the others half.
const SHARE: usize = WAITING / 2;

/// More passwords and codes wait to be compared than the host takes.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many passwords wait to be compared")]
pub struct Busy;

/// What waits to be compared. What anybody can ask for has a queue of its own, so that log-ins do
/// not starve resets.
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

    /// As [`Queue::place`], for the code by e-mail of who has these methods: none where it needs no
    /// place.
    ///
    /// # Errors
    ///
    /// As [`Queue::place`].
    pub fn place_for_code(&self, workspace: &str, methods: Methods) -> Result<Option<Place>, Busy> {
        methods
            .has_slow_code
            .then(|| self.place(workspace))
            .transpose()
    }

    /// The hash that the account was handed out, where it is that of `code`; a slow one is
    /// compared in the turn of its place.
    ///
    /// # Errors
    ///
    /// As [`Queue::place`], where `place` is none and the hash is slow: the code was sent since the
    /// methods were looked at.
    pub async fn proved_code(
        &self,
        workspace: &str,
        place: Option<Place>,
        code: SecretString,
        hash: Option<String>,
    ) -> Result<Option<SecretString>, Busy> {
        let Some(hash) = hash else {
            return Ok(None);
        };
        let hash = SecretString::from(hash);
        let is_right = match (totp::is_slow(hash.expose_secret()), place) {
            (false, _) => totp::is_hash_of_email_code(hash.expose_secret(), &code),
            (true, Some(place)) => place.matches_code(code, hash.clone()).await,
            (true, None) => {
                self.place(workspace)?
                    .matches_code(code, hash.clone())
                    .await
            }
        };
        Ok(is_right.then_some(hash))
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

/// The right to make one comparison, in its turn.
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
        self.compare(move || password::matches(&digest, &hash))
            .await
    }

    async fn matches_code(self, code: SecretString, hash: SecretString) -> bool {
        self.compare(move || totp::is_hash_of_email_code(hash.expose_secret(), &code))
            .await
    }

    async fn compare(self, comparison: impl FnOnce() -> bool + Send + 'static) -> bool {
        let Ok(turn) = self.turns.clone().acquire_owned().await else {
            return false;
        };
        let comparison = move || {
            let _held = (self, turn);
            comparison()
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

    /// A flood of one workspace's leaves those whose codes need no place, and other workspaces.
    #[tokio::test]
    async fn a_slow_code_is_compared_in_a_place_and_a_fast_one_without() {
        let queue = Queue::default();
        let methods = |has_slow_code| Methods {
            has_slow_code,
            ..Methods::default()
        };
        let slow = bcrypt::hash("012345", 4).unwrap();
        let fast = totp::code_hash("012345");
        let proved = async |place, code: &str, hash: &str| {
            let proved = queue.proved_code("acme", place, code.into(), Some(hash.to_owned()));
            let hash = proved.await?;
            Ok::<_, Busy>(hash.map(|hash| hash.expose_secret().to_owned()))
        };
        let flood: Vec<_> = (0..SHARE).map(|_| queue.place("acme").unwrap()).collect();
        assert!(queue.place_for_code("acme", methods(true)).is_err());
        assert!(queue.place_for_code("globex", methods(true)).is_ok());
        let none = queue.place_for_code("acme", methods(false)).unwrap();
        assert!(none.is_none());
        assert_eq!(proved(None, "012345", &fast).await, Ok(Some(fast.clone())));
        assert_eq!(proved(None, "012346", &fast).await, Ok(None));
        // It was sent since the methods were looked at.
        assert_eq!(proved(None, "012345", &slow).await, Err(Busy));
        drop(flood);
        for code in ["012345", "012346"] {
            let place = queue.place_for_code("acme", methods(true)).unwrap();
            assert!(place.is_some());
            let expected = (code == "012345").then(|| slow.clone());
            assert_eq!(proved(place, code, &slow).await, Ok(expected));
        }
        let none = queue.proved_code("acme", None, "012345".into(), None);
        assert_eq!(none.await.map(|hash| hash.is_none()), Ok(true));
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
