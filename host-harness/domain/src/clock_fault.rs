//! What a clock that was ahead has left in a store: moments later than any rule gives. They
//! are treated as past, so that nobody waits until a wrong tomorrow.

use crate::attempts::LONGEST_LOCK;
use crate::mailed_code::CLOCK_DIFFERENCE;
use crate::member::PENDING_KEY_LIFETIME;
use crate::outbox::LONGEST_PAUSE;
use crate::settings::MAX_TOTP_WINDOW;
use crate::time::Timestamp;
use crate::totp::step_of;

/// From when on a moment is a clock's that was ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Horizon {
    /// The end of a lock.
    pub lock: Timestamp,
    /// When a code by e-mail was sent.
    pub code: Timestamp,
    /// When a mail is tried again.
    pub mail: Timestamp,
    /// The end of a key that was shown.
    pub pending_key: Timestamp,
    /// The last time step whose code was used.
    pub step: u64,
}

impl Horizon {
    /// At this moment. Of what ends later, twice what the rules give: the clocks of several hosts
    /// differ, and a request takes its time.
    pub fn at(now: Timestamp) -> Self {
        Self {
            lock: now + LONGEST_LOCK * 2,
            code: now + CLOCK_DIFFERENCE,
            mail: now + LONGEST_PAUSE * 2,
            pending_key: now + PENDING_KEY_LIFETIME * 2,
            step: step_of(now) + u64::from(MAX_TOTP_WINDOW),
        }
    }
}
