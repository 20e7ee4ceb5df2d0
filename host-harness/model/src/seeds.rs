//! Schedules by their seeds: those that are always tried, and new ones.

use crate::engine;
use crate::schedule::{Counts, Schedule};
use crate::seen::Seen;
use bolero::TypeGenerator as _;
use bolero::bolero_engine::driver::Options;
use bolero::generator::bolero_generator::driver::ByteSliceDriver;
use std::sync::{Mutex, PoisonError};
use std::thread::available_parallelism;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Bytes of chance from which a schedule is made: enough for the longest.
const CHANCE: usize = 2048;

/// How deep what a schedule is made of lies in it.
const DEPTH: usize = 16;

/// The seeds that have found something, from the file beside this crate's `Cargo.toml`.
///
/// # Panics
///
/// When a line of it cannot be read.
pub fn kept() -> impl Iterator<Item = u64> {
    let lines = include_str!("../seeds.txt").lines();
    let lines = lines.filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.map(|line| line.split_whitespace().next().unwrap().parse().unwrap())
}

/// A seed that was not tried before, most likely.
///
/// # Panics
///
/// Never: the time is after 1970.
pub fn fresh() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_secs()
        .wrapping_mul(1 << 12)
        .wrapping_add(now.subsec_nanos().into())
        % (1 << 32)
}

impl Schedule {
    /// The schedule with this seed: the same each time.
    ///
    /// # Panics
    ///
    /// Never: every chance makes one.
    pub fn of(seed: u64) -> Self {
        let options = Options::default().with_max_depth(DEPTH);
        let chance = engine::chance(seed, CHANCE);
        let mut driver = ByteSliceDriver::new(chance.as_slice(), &options);
        Self::generate(&mut driver).unwrap()
    }
}

/// Holds schedules to the laws: those that are kept, so many that are always the same and so
/// many that are new; or, under `cargo xtask fuzz`, as many as there is time for.
///
/// # Panics
///
/// When one breaks a law: the message has its seed, and a smaller schedule that does so, too.
pub fn hold(same: u64, new: u64) {
    let seen = Seen::default();
    let counts = Mutex::new(Counts::default());
    let hold = |seeds: Box<dyn Iterator<Item = u64>>| {
        engine::hold(seeds, CHANCE, DEPTH, |schedule: &Schedule| {
            let done = schedule.run(&seen);
            let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
            counts.requests += done.requests;
            counts.orders += done.orders;
        });
    };
    let Some(seconds) = engine::seconds() else {
        let first = fresh();
        hold(Box::new(kept().chain(0..same).chain(first..first + new)));
        return seen.enough();
    };
    let start = Instant::now();
    let threads = available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                hold(Box::new(
                    engine::numbers_until(seconds).skip(thread).step_by(threads),
                ))
            });
        }
    });
    let Counts { requests, orders } = *counts.lock().unwrap_or_else(PoisonError::into_inner);
    let minutes = start.elapsed().as_secs_f64() / 60.0;
    let a_minute = (requests as f64 / minutes).round();
    eprintln!("{requests} requests, {orders} orders: {a_minute} requests a minute");
}
