//! Tries until a moment, the same for every database that is reached over a network.

use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Pauses between tries: each is twice as long as the last, and up to half of it is left out, so
/// that those who met once do not meet again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pauses {
    pub(crate) first: Duration,
    pub(crate) longest: Duration,
}

/// A failure after which the same may succeed.
pub(crate) trait MayPass {
    /// Whether it may at once.
    fn may_pass(&self) -> bool;
}

/// Tries until a moment.
pub(crate) struct Tries {
    pub(crate) deadline: Instant,
    pauses: Pauses,
    pause: Duration,
}

impl Tries {
    pub(crate) fn until(deadline: Instant, pauses: Pauses) -> Self {
        Self {
            deadline,
            pauses,
            pause: pauses.first,
        }
    }

    /// Waits until the next try.
    ///
    /// # Errors
    ///
    /// The failure, where there is no other try.
    pub(crate) async fn again<F: MayPass>(&mut self, failure: F) -> Result<(), F> {
        let pause = self.pause.mul_f64(rand::random_range(0.5..=1.0));
        if !failure.may_pass() || Instant::now() + pause >= self.deadline {
            return Err(failure);
        }
        sleep(pause).await;
        self.pause = (self.pause * 2).min(self.pauses.longest);
        Ok(())
    }
}
