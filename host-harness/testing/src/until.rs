//! Waiting for what happens elsewhere.

use std::time::{Duration, Instant};
use tokio::time::sleep;

/// How long anything may take, on a machine that is busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How often it is looked whether it has happened.
const PAUSE: Duration = Duration::from_millis(5);

/// Waits until `is_so`.
///
/// # Panics
///
/// After [`PATIENCE`], with `what` it waited for.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain until {what}");
        sleep(PAUSE).await;
    }
}
