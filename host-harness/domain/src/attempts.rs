//! How many wrong codes an account may give in a row (NIST SP 800-63B section
//! 5.2.2, OWASP ASVS 5.0 V6.3.1).

use std::time::Duration;

/// Failures in a row before the first lock: enough for typing errors and a
/// clock that runs wrong, five chances in 333,333 for a guess.
pub const FREE_FAILURES: u32 = 5;

/// The first lock; each further failure doubles it.
pub const FIRST_LOCK: Duration = Duration::from_secs(30);

/// The longest lock: at one guess an hour, guessing takes decades, and a locked
/// administrator still gets in within a shift.
pub const LONGEST_LOCK: Duration = Duration::from_secs(60 * 60);

/// How long an account is locked after `failures` in a row; none while it may
/// try again at once.
pub fn lock_after(failures: u32) -> Option<Duration> {
    let doublings = failures.checked_sub(FREE_FAILURES)?;
    let lock = FIRST_LOCK.saturating_mul(2_u32.saturating_pow(doublings));
    Some(lock.min(LONGEST_LOCK))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fifth_failure_locks_and_each_further_one_doubles_up_to_an_hour() {
        let seconds = |failures| lock_after(failures).map(|lock| lock.as_secs());
        assert_eq!(seconds(1), None);
        assert_eq!(seconds(4), None);
        assert_eq!(seconds(5), Some(30));
        assert_eq!(seconds(6), Some(60));
        assert_eq!(seconds(7), Some(120));
        assert_eq!(seconds(12), Some(3600));
        assert_eq!(seconds(u32::MAX), Some(3600));
    }
}
