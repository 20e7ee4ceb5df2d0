//! What is done for an open store now and then: what is older than it is kept goes, and what
//! a wrong clock has left is told.

use crate::clock::Clock;
use chat_domain::audit::new_request_id;
use chat_domain::clock_fault::Horizon;
use chat_domain::operator::Operation;
use chat_domain::retention::Prune;
use chat_store::{Store, StoreError, StoreUrl, Unavailable};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// How often what is older than it is kept is looked for: what is kept for days need not go
/// to the minute.
const PRUNE: Duration = Duration::from_secs(60 * 60);

/// Transactions of one workspace in a row: a store that was never pruned is not held up by it.
const MOST_IN_A_ROW: usize = 100;

/// When each store was pruned last.
#[derive(Default)]
pub(super) struct Housekeeping(HashMap<StoreUrl, Instant>);

impl Housekeeping {
    /// Does what is due, and notes how many moments a wrong clock has left. It survives every
    /// error of the store.
    pub(super) async fn see_to(
        &mut self,
        url: &StoreUrl,
        store: Arc<dyn Store>,
        clock: &Clock,
        clock_faults: &AtomicU32,
    ) {
        match store.clock_faults(Horizon::at(clock.now())).await {
            Ok(faults) => {
                let told = clock_faults.swap(faults, Ordering::Relaxed);
                if faults > 0 && faults != told {
                    tracing::warn!(
                        store = %url,
                        faults,
                        "moments lie too far ahead: a clock was wrong when they were written. They \
                         count as past; where a code is refused all the same, `host-harness user \
                         unlock` helps"
                    );
                }
            }
            Err(error) => tracing::warn!(store = %url, %error, "cannot look at its moments"),
        }
        let pruned = self.0.get(url);
        if pruned.is_none_or(|pruned| pruned.elapsed() >= PRUNE) {
            let result = prune(&*store, clock).await;
            let others_list =
                |error: &StoreError| error.unavailable() == Some(&Unavailable::Crowded);
            if !result.as_ref().is_err_and(others_list) {
                self.0.insert(url.clone(), Instant::now());
            }
            if let Err(error) = result {
                tracing::warn!(store = %url, %error, "cannot remove what is old");
            }
        }
    }
}

async fn prune(store: &dyn Store, clock: &Clock) -> chat_store::Result<()> {
    for workspace in store.workspaces(clock.now()).await? {
        for _ in 0..MOST_IN_A_ROW {
            let prune = Prune(Operation {
                workspace: workspace.id.clone(),
                now: clock.now(),
                request_id: new_request_id(&mut rand::rng()),
                forced: false,
            });
            match store.decide(prune).await? {
                Ok(true) => tracing::info!(workspace = workspace.id, "removed what is old"),
                // It may have been removed meanwhile.
                Ok(false) | Err(_) => break,
            }
        }
    }
    Ok(())
}
