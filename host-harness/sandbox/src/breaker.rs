//! The breaker of one plugin in one workspace: a plugin that keeps failing is left
//! alone for a while, so that its calls cost nothing and are answered at once.
//! Only faults of the plugin's count; neither a client nor the host opens it.

use chat_domain::time::Timestamp;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Faults that open it.
const FAULTS: usize = 5;

/// The time in which they count.
const WINDOW: Duration = Duration::from_secs(60);

/// How long it is open at first; each probe that fails doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest that it is open: a plugin that was mended is noticed in a minute.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// When the others try again while a probe runs: it takes milliseconds.
const PROBING: Duration = Duration::from_secs(1);

/// One breaker, closed at first.
pub struct Breaker(Mutex<Inner>);

/// What a breaker lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Every call.
    Closed {
        /// The plugin's faults of the last minute.
        faults: usize,
    },
    /// No call.
    Open {
        /// After which time one is let through.
        probe_in: Duration,
    },
    /// One call, to see whether the plugin works again.
    HalfOpen,
}

impl State {
    /// As metrics and lists write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed { .. } => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen => "half-open",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed { faults } => write!(f, "closed, {faults} faults in the last minute"),
            Self::Open { probe_in } => write!(f, "open for {probe_in:?}"),
            Self::HalfOpen => f.write_str("half-open"),
        }
    }
}

enum Inner {
    Closed {
        faults: Vec<Timestamp>,
    },
    Open {
        since: Timestamp,
        pause: Duration,
        probing: bool,
    },
}

/// How a call ended, to a breaker.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The plugin answered.
    Works,
    /// The plugin failed.
    Fault,
    /// It says nothing about the plugin.
    Unknown,
}

impl Default for Breaker {
    fn default() -> Self {
        Self(Mutex::new(Inner::CLOSED))
    }
}

impl Breaker {
    /// What it lets through at this moment.
    pub fn state(&self, now: Timestamp) -> State {
        match &*self.lock() {
            Inner::Closed { faults } => State::Closed {
                faults: faults.iter().filter(|at| is_recent(**at, now)).count(),
            },
            Inner::Open { since, pause, .. } if is_over(*since, *pause, now) => State::HalfOpen,
            Inner::Open { since, pause, .. } => State::Open {
                probe_in: *since + *pause - now,
            },
        }
    }

    /// Closes it and forgets all faults.
    pub fn reset(&self) {
        *self.lock() = Inner::CLOSED;
    }

    /// Lets a call through.
    ///
    /// # Errors
    ///
    /// After which time to try again.
    pub fn pass(&self, now: Timestamp) -> Result<Pass<'_>, Duration> {
        let probe = match &mut *self.lock() {
            Inner::Closed { .. } => false,
            Inner::Open { since, pause, .. } if !is_over(*since, *pause, now) => {
                return Err(*since + *pause - now);
            }
            Inner::Open { probing: true, .. } => return Err(PROBING),
            Inner::Open { probing, .. } => {
                *probing = true;
                true
            }
        };
        Ok(Pass {
            breaker: self,
            probe,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    const CLOSED: Self = Self::Closed { faults: Vec::new() };

    fn fail(&mut self, now: Timestamp, probe: bool) -> bool {
        let pause = match self {
            Self::Closed { faults } => {
                faults.retain(|at| is_recent(*at, now));
                faults.push(now);
                if faults.len() < FAULTS {
                    return false;
                }
                FIRST_PAUSE
            }
            Self::Open { pause, .. } if probe => pause.saturating_mul(2).min(LONGEST_PAUSE),
            // It began before the breaker opened.
            Self::Open { .. } => return false,
        };
        *self = Self::Open {
            since: now,
            pause,
            probing: false,
        };
        true
    }
}

/// A fault after now was before the clock was set back.
fn is_recent(at: Timestamp, now: Timestamp) -> bool {
    at <= now && now < at + WINDOW
}

/// A clock that was set back to before the start ends the pause, too.
fn is_over(since: Timestamp, pause: Duration, now: Timestamp) -> bool {
    now < since || since + pause <= now
}

/// One call that was let through. Dropped, it has said nothing.
pub struct Pass<'a> {
    breaker: &'a Breaker,
    probe: bool,
}

impl Pass<'_> {
    /// Notes how the call ended; true where that has opened or closed the breaker.
    pub fn ended(self, verdict: Verdict, now: Timestamp) -> bool {
        let mut inner = self.breaker.lock();
        match verdict {
            Verdict::Works if self.probe => {
                *inner = Inner::CLOSED;
                true
            }
            Verdict::Fault => inner.fail(now, self.probe),
            Verdict::Works | Verdict::Unknown => false,
        }
    }
}

/// Another call may probe.
impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if let (true, Inner::Open { probing, .. }) = (self.probe, &mut *self.breaker.lock()) {
            *probing = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000_000_000) + Duration::from_secs(seconds)
    }

    fn ended(breaker: &Breaker, verdict: Verdict, seconds: u64) -> bool {
        let pass = breaker.pass(at(seconds)).unwrap();
        pass.ended(verdict, at(seconds))
    }

    fn refused(breaker: &Breaker, seconds: u64) -> Duration {
        breaker.pass(at(seconds)).err().unwrap()
    }

    /// One that five faults have opened at second 0.
    fn open() -> Breaker {
        let breaker = Breaker::default();
        for _ in 1..FAULTS {
            assert!(!ended(&breaker, Verdict::Fault, 0));
        }
        assert!(ended(&breaker, Verdict::Fault, 0));
        breaker
    }

    #[test]
    fn five_faults_in_a_minute_open_it_for_a_second() {
        let breaker = open();
        let probe_in = FIRST_PAUSE;
        assert_eq!(breaker.state(at(0)), State::Open { probe_in });
        assert_eq!(refused(&breaker, 0), FIRST_PAUSE);
        assert_eq!(breaker.state(at(1)), State::HalfOpen);
        assert!(breaker.pass(at(1)).is_ok());
    }

    #[test]
    fn older_faults_do_not_count() {
        let breaker = Breaker::default();
        for n in 0..20 {
            assert!(!ended(&breaker, Verdict::Fault, n * 15));
        }
        assert_eq!(breaker.state(at(285)), State::Closed { faults: 4 });
        assert_eq!(breaker.state(at(400)), State::Closed { faults: 0 });
    }

    #[test]
    fn what_is_not_the_plugins_fault_does_not_count() {
        let breaker = Breaker::default();
        for _ in 0..100 {
            assert!(!ended(&breaker, Verdict::Unknown, 0));
            assert!(!ended(&breaker, Verdict::Works, 0));
        }
        assert_eq!(breaker.state(at(0)), State::Closed { faults: 0 });
    }

    #[test]
    fn one_probe_at_a_time_goes_through_and_a_success_closes_it() {
        let breaker = open();
        let probe = breaker.pass(at(1)).unwrap();
        assert_eq!(refused(&breaker, 1), PROBING);
        assert!(probe.ended(Verdict::Works, at(1)));
        assert_eq!(breaker.state(at(1)), State::Closed { faults: 0 });
    }

    #[test]
    fn each_probe_that_fails_doubles_the_pause_up_to_a_minute() {
        let breaker = open();
        let mut now = 1;
        for pause in [2, 4, 8, 16, 32, 60, 60] {
            assert!(ended(&breaker, Verdict::Fault, now));
            assert_eq!(refused(&breaker, now), Duration::from_secs(pause));
            now += pause;
        }
        // Once closed, it begins anew.
        assert!(ended(&breaker, Verdict::Works, now));
        assert!(!ended(&breaker, Verdict::Fault, now));
    }

    #[test]
    fn a_probe_that_tells_nothing_leaves_it_to_the_next() {
        let breaker = open();
        drop(breaker.pass(at(1)).unwrap());
        assert!(!ended(&breaker, Verdict::Unknown, 1));
        assert_eq!(breaker.state(at(1)), State::HalfOpen);
        assert!(ended(&breaker, Verdict::Works, 1));
    }

    #[test]
    fn calls_that_began_before_neither_lengthen_the_pause_nor_end_it() {
        let breaker = Breaker::default();
        let early = [breaker.pass(at(0)).unwrap(), breaker.pass(at(0)).unwrap()];
        for _ in 0..FAULTS {
            ended(&breaker, Verdict::Fault, 0);
        }
        let [fails, works] = early;
        assert!(!fails.ended(Verdict::Fault, at(0)));
        assert!(!works.ended(Verdict::Works, at(0)));
        let probe_in = FIRST_PAUSE;
        assert_eq!(breaker.state(at(0)), State::Open { probe_in });
    }

    #[test]
    fn a_clock_that_is_set_back_keeps_it_neither_open_nor_close_to_opening() {
        let breaker = open();
        let before = Timestamp::from_millis(1);
        assert_eq!(breaker.state(before), State::HalfOpen);
        assert!(breaker.pass(before).is_ok());
        let breaker = Breaker::default();
        for _ in 1..FAULTS {
            ended(&breaker, Verdict::Fault, 1000);
        }
        assert!(!ended(&breaker, Verdict::Fault, 0));
        assert_eq!(breaker.state(at(0)), State::Closed { faults: 1 });
    }

    #[test]
    fn an_operator_can_close_it() {
        let breaker = open();
        breaker.reset();
        assert_eq!(breaker.state(at(0)), State::Closed { faults: 0 });
        assert!(!ended(&breaker, Verdict::Fault, 0));
    }
}
