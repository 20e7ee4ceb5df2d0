//! What a clock that was ahead has left in a store: moments later than any rule gives. They
//! are treated as past, so that nobody waits until a wrong tomorrow.

use crate::attempts::LONGEST_LOCK;
use crate::mailed_code::CLOCK_DIFFERENCE;
use crate::outbox::LONGEST_PAUSE;
use crate::time::Timestamp;

/// From when on a moment is a clock's that was ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Horizon {
    /// The end of a lock.
    pub lock: Timestamp,
    /// When a code by e-mail was sent.
    pub code: Timestamp,
    /// When a mail is tried again.
    pub mail: Timestamp,
}

impl Horizon {
    /// At this moment. Twice what the rules give, as the clocks of several hosts differ, and a
    /// request takes its time.
    pub fn at(now: Timestamp) -> Self {
        Self {
            lock: now + LONGEST_LOCK * 2,
            code: now + CLOCK_DIFFERENCE,
            mail: now + LONGEST_PAUSE * 2,
        }
    }
}
