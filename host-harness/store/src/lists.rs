//! Who may list when, the same for every store: what lists long is a few calls at a time, and
//! leaves what a store has to whoever is to be authenticated.

use crate::Unavailable;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// How long a list waits for its turn: mostly one takes milliseconds, and whoever waits longer is
/// better told when to come again.
const PATIENCE: Duration = Duration::from_secs(2);

/// The turns of a store.
pub(crate) struct Lists {
    all: Arc<Semaphore>,
    /// The share of each workspace that lists now.
    shares: Mutex<HashMap<String, Weak<Semaphore>>>,
    share: usize,
}

/// A turn: it lasts until this is dropped.
pub(crate) struct Turn {
    _of_workspace: Option<OwnedSemaphorePermit>,
    _of_all: OwnedSemaphorePermit,
}

impl Lists {
    /// So many at a time, of which one workspace has half at most, rounded up.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            all: Arc::new(Semaphore::new(most)),
            shares: Mutex::default(),
            share: most.div_ceil(2),
        }
    }

    /// The turn of a list of a workspace, or of one of all.
    ///
    /// # Errors
    ///
    /// [`Unavailable::Crowded`] where there is none in 2 s.
    pub(crate) async fn turn(&self, workspace: Option<&str>) -> Result<Turn, Unavailable> {
        let share = workspace.map(|workspace| self.share_of(workspace));
        let turn = async {
            Some(Turn {
                _of_workspace: match share {
                    Some(share) => Some(share.acquire_owned().await.ok()?),
                    None => None,
                },
                _of_all: self.all.clone().acquire_owned().await.ok()?,
            })
        };
        let turn = timeout(PATIENCE, turn).await.ok().flatten();
        turn.ok_or(Unavailable::Crowded)
    }

    fn share_of(&self, workspace: &str) -> Arc<Semaphore> {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = shares.get(workspace).and_then(Weak::upgrade) {
            return share;
        }
        shares.retain(|_, share| share.strong_count() > 0);
        let share = Arc::new(Semaphore::new(self.share));
        shares.insert(workspace.to_owned(), Arc::downgrade(&share));
        share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_workspace_has_half_of_the_turns_and_all_together_all() {
        let lists = Lists::new(4);
        let crowded = |turn: Result<Turn, Unavailable>| turn.err() == Some(Unavailable::Crowded);
        let one = lists.turn(Some("acme")).await.unwrap();
        let _two = lists.turn(Some("acme")).await.unwrap();
        assert!(crowded(lists.turn(Some("acme")).await));
        let _globex = lists.turn(Some("globex")).await.unwrap();
        let all = lists.turn(None).await.unwrap();
        assert!(crowded(lists.turn(Some("globex")).await));
        assert!(crowded(lists.turn(None).await));
        drop((one, all));
        let _again = lists.turn(Some("acme")).await.unwrap();
        assert!(crowded(lists.turn(Some("acme")).await));
    }

    #[tokio::test]
    async fn a_workspace_that_lists_no_more_is_forgotten() {
        let lists = Lists::new(1);
        for workspace in ["acme", "globex", "initech"] {
            lists.turn(Some(workspace)).await.unwrap();
        }
        assert_eq!(lists.shares.lock().unwrap().len(), 1);
    }
}
