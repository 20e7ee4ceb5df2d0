//! The queue of what is compared with a slow hash, a password or a code by e-mail: each takes
//! tens of milliseconds of a processor.

use chat_domain::account::Methods;
use chat_domain::proof::Compared;
use chat_domain::{password, totp};
use secrecy::{ExposeSecret, SecretString};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use tokio::sync::Semaphore;

/// Comparisons that a queue makes at once: a small machine has two cores.
const COMPARISONS: usize = 1;

/// Places, of which a workspace may take as many as are left to each when it asks, and at least one:
/// so no workspace keeps another from the queue, and the first of a line waits for one comparison
/// of each other workspace at most.
const PLACES: usize = 32;

/// Those of one workspace at most: about a second's worth, less than a call may take.
const MOST: usize = PLACES / 2;

/// Something was not compared: too many passwords and codes of the workspace wait, or the
/// comparison broke, which the log says.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a password or code was not compared: too many wait")]
pub struct Busy;

/// What waits to be compared. What anybody can ask for has a queue of its own, so that log-ins do
/// not starve resets.
///
/// Each workspace has a line in it, and the first of each line wait for their turn in the order in
/// which they came to be first: workspaces take turns, however long their lines are.
pub struct Queue {
    turns: Arc<Semaphore>,
    lines: Arc<Lines>,
}

/// The lines by the ids of their workspaces; none of a workspace without a place.
type Lines = Mutex<HashMap<String, Line>>;

/// What waits of one workspace.
struct Line {
    places: usize,
    first: Arc<Semaphore>,
}

/// Those of callers who are logged in and prove their second factor.
pub static SECOND_FACTORS: LazyLock<Queue> = LazyLock::new(Queue::default);

impl Default for Queue {
    fn default() -> Self {
        Self {
            turns: Arc::new(Semaphore::new(COMPARISONS)),
            lines: Arc::default(),
        }
    }
}

impl Queue {
    /// A place of `workspace` among those that wait. What is done with it before
    /// [`Place::matches`] holds up nobody else. A workspace that has none gets one, however many
    /// the others have.
    ///
    /// # Errors
    ///
    /// [`Busy`] when the workspace has as many as the workspaces that have any could each have.
    pub fn place(&self, workspace: &str) -> Result<Place, Busy> {
        let mut lines = lock(&self.lines);
        let others = lines.len() - usize::from(lines.contains_key(workspace));
        let part = (PLACES / (others + 1)).clamp(1, MOST);
        let line = lines.entry(workspace.to_owned()).or_insert_with(|| Line {
            places: 0,
            first: Arc::new(Semaphore::new(1)),
        });
        if line.places >= part {
            return Err(Busy);
        }
        line.places += 1;
        Ok(Place {
            workspace: workspace.to_owned(),
            first: line.first.clone(),
            turns: self.turns.clone(),
            lines: self.lines.clone(),
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

    /// Compares `code` with the hash that the account was handed out, if any, in the turn of its
    /// place where the hash is slow. Where `place` is none then, the code was sent since the methods
    /// were looked at: it is not compared where there is no place now.
    pub async fn compare_code(
        &self,
        workspace: &str,
        place: Option<Place>,
        code: SecretString,
        hash: Option<String>,
    ) -> Compared {
        let Some(hash) = hash.map(SecretString::from) else {
            return Compared::Wrong;
        };
        if !totp::is_slow(hash.expose_secret()) {
            let is_right = totp::is_hash_of_email_code(hash.expose_secret(), &code);
            return compared(is_right, hash);
        }
        match place.map_or_else(|| self.place(workspace), Ok) {
            Ok(place) => place.matches_code(code, hash).await,
            Err(Busy) => Compared::Not,
        }
    }
}

fn lock(lines: &Lines) -> MutexGuard<'_, HashMap<String, Line>> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}

fn compared(is_right: bool, hash: SecretString) -> Compared {
    match is_right {
        true => Compared::Right(hash),
        false => Compared::Wrong,
    }
}

/// The right to make one comparison, in its turn.
pub struct Place {
    workspace: String,
    first: Arc<Semaphore>,
    turns: Arc<Semaphore>,
    lines: Arc<Lines>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut lines = lock(&self.lines);
        if let Some(line) = lines.get_mut(&self.workspace) {
            line.places -= 1;
            if line.places == 0 {
                lines.remove(&self.workspace);
            }
        }
    }
}

impl Place {
    /// Compares the password with this digest with `hash`; what is not a digest is wrong.
    pub async fn matches(self, digest: SecretString, hash: SecretString) -> Compared {
        if !password::is_digest(digest.expose_secret()) {
            return Compared::Wrong;
        }
        self.compare(hash, move |hash| password::matches(&digest, hash))
            .await
    }

    async fn matches_code(self, code: SecretString, hash: SecretString) -> Compared {
        self.compare(hash, move |hash| {
            totp::is_hash_of_email_code(hash.expose_secret(), &code)
        })
        .await
    }

    async fn compare(
        self,
        hash: SecretString,
        is_right: impl FnOnce(&SecretString) -> bool + Send + 'static,
    ) -> Compared {
        let first = self.first.clone().acquire_owned().await;
        let turn = self.turns.clone().acquire_owned().await;
        let (Ok(first), Ok(turn)) = (first, turn) else {
            return Compared::Not;
        };
        let comparison = move || {
            // The next of the line is let in behind those of the others before the turn ends.
            let _held = (first, turn, self);
            compared(is_right(&hash), hash)
        };
        let ended = tokio::task::spawn_blocking(comparison).await;
        ended.unwrap_or_else(|panic| {
            tracing::error!(%panic, "a comparison broke");
            Compared::Not
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chat_domain::password::{digest, hash};

    async fn compared(digest: SecretString, hash: &SecretString) -> bool {
        let place = Queue::default().place("acme").unwrap();
        is_right(place.matches(digest, hash.clone()).await)
    }

    fn is_right(compared: Compared) -> bool {
        assert!(!matches!(compared, Compared::Not));
        matches!(compared, Compared::Right(_))
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

    /// Those that a workspace gets until it is refused one.
    fn all_places(queue: &Queue, workspace: &str) -> Vec<Place> {
        std::iter::from_fn(|| queue.place(workspace).ok()).collect()
    }

    #[test]
    fn a_workspace_without_a_place_gets_one_however_many_the_others_have() {
        let queue = Queue::default();
        let crowd: Vec<_> = (0..100)
            .map(|n| all_places(&queue, &format!("workspace-{n}")))
            .collect();
        let held: Vec<_> = crowd.iter().map(Vec::len).collect();
        assert_eq!(held[..6], [16, 16, 10, 8, 6, 5]);
        assert!(held[31..].iter().all(|held| *held == 1), "{held:?}");
        assert_eq!(queue.place("workspace-0").err(), Some(Busy));
        assert!(queue.place("another").is_ok());
        drop(crowd);
        assert_eq!(all_places(&queue, "another").len(), MOST);
        assert!(lock(&queue.lines).is_empty());
    }

    /// Two floods are far ahead in the order of arrival, and hold all the others' places.
    #[tokio::test]
    async fn workspaces_take_turns_however_long_their_lines_are() {
        let queue = Queue::default();
        let hash = SecretString::from(bcrypt::hash("012345", 4).unwrap());
        let order = Arc::new(Mutex::new(String::new()));
        let mut comparisons = tokio::task::JoinSet::new();
        let running = queue.turns.clone().acquire_owned().await;
        for (workspace, count) in [("a", MOST), ("b", MOST), ("c", 2)] {
            for _ in 0..count {
                let place = queue.place(workspace).unwrap();
                let (order, hash) = (order.clone(), hash.clone());
                let comparison = place.compare(hash, move |_| {
                    order.lock().unwrap().push_str(workspace);
                    true
                });
                comparisons.spawn(comparison);
            }
            // Each has come to its line.
            tokio::task::yield_now().await;
        }
        drop(running);
        comparisons.join_all().await;
        let order = order.lock().unwrap().clone();
        assert!(order.starts_with("abcabcab"), "{order}");
        assert_eq!(order.len(), 2 * MOST + 2);
    }

    #[tokio::test]
    async fn a_comparison_that_breaks_has_not_ended() {
        let queue = Queue::default();
        let place = queue.place("acme").unwrap();
        let broken = place.compare("hash".into(), |_| panic!("a fault was planted"));
        assert!(matches!(broken.await, Compared::Not));
        let place = queue.place("acme").unwrap();
        assert!(is_right(place.compare("hash".into(), |_| true).await));
        assert!(lock(&queue.lines).is_empty());
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
        let is_proved = async |place, code: &str, hash: &str| {
            let compared = queue.compare_code("acme", place, code.into(), Some(hash.to_owned()));
            match compared.await {
                Compared::Right(proved) => Some(proved.expose_secret() == hash),
                Compared::Wrong => Some(false),
                Compared::Not => None,
            }
        };
        let flood = all_places(&queue, "acme");
        assert!(queue.place_for_code("acme", methods(true)).is_err());
        assert!(queue.place_for_code("globex", methods(true)).is_ok());
        let none = queue.place_for_code("acme", methods(false)).unwrap();
        assert!(none.is_none());
        assert_eq!(is_proved(None, "012345", &fast).await, Some(true));
        assert_eq!(is_proved(None, "012346", &fast).await, Some(false));
        // It was sent since the methods were looked at.
        assert_eq!(is_proved(None, "012345", &slow).await, None);
        drop(flood);
        for code in ["012345", "012346"] {
            let place = queue.place_for_code("acme", methods(true)).unwrap();
            assert!(place.is_some());
            let expected = Some(code == "012345");
            assert_eq!(is_proved(place, code, &slow).await, expected);
        }
        let none = queue.compare_code("acme", None, "012345".into(), None);
        assert!(matches!(none.await, Compared::Wrong));
    }
}
