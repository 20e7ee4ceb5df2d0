//! What makes inputs for a target: in the tests always the same ones, so that a
//! failure repeats; under `cargo xtask fuzz` others, for as long as it says.

use bolero::bolero_engine::{driver::Options, input::Bytes, panic};
use bolero::{Engine, Test, TestTarget, TypeGenerator};
use std::fmt::Debug;
use std::panic::RefUnwindSafe;
use std::time::{Duration, Instant};

/// What `cargo xtask fuzz` sets: how long to look, in seconds, and at which case to
/// begin.
const SECONDS: &str = "FUZZ_SECONDS";
const FIRST_CASE: &str = "FUZZ_FIRST_CASE";

/// How often it says how far it is.
const PROGRESS: Duration = Duration::from_secs(5);

/// Bytes of chance from which one input is made.
const CHANCE: usize = 1024;

/// How deep what an input is made of lies in it: bolero's own choice.
const DEPTH: usize = Options::DEFAULT_MAX_DEPTH;

/// How long a failing input is made smaller.
const SHRINK_TIME: Duration = Duration::from_secs(5);

/// Holds `target` to many inputs: `cases` of them in the tests, and under
/// `cargo xtask fuzz` as many as there is time for.
///
/// # Panics
///
/// When the target panics; the message shows the smallest input found that makes
/// it.
pub(crate) fn fuzz<Input>(cases: u64, target: impl Fn(&Input) + RefUnwindSafe)
where
    Input: TypeGenerator + Debug,
{
    match seconds() {
        Some(seconds) => hold(numbers_until(seconds), CHANCE, DEPTH, target),
        None => hold(0..cases, CHANCE, DEPTH, target),
    }
}

/// Holds `target` to the inputs with these numbers, each made from so many bytes.
///
/// # Panics
///
/// As [`fuzz`].
pub(crate) fn hold<Input>(
    numbers: impl Iterator<Item = u64>,
    bytes: usize,
    depth: usize,
    target: impl Fn(&Input) + RefUnwindSafe,
) where
    Input: TypeGenerator + Debug,
{
    TestTarget::new(Repeatable { numbers, bytes })
        .with_type::<Input>()
        .with_max_depth(depth)
        .with_shrink_time(SHRINK_TIME)
        .for_each(target);
}

/// For how long `cargo xtask fuzz` looks; none in the tests.
pub(crate) fn seconds() -> Option<u64> {
    number(SECONDS)
}

/// Numbers of cases to try until the time is over, from the first that `cargo xtask fuzz` names.
pub(crate) fn numbers_until(seconds: u64) -> impl Iterator<Item = u64> {
    let (start, first) = (Instant::now(), number(FIRST_CASE).unwrap_or_default());
    let mut told = start;
    let in_time = move |case: &u64| {
        if told.elapsed() >= PROGRESS {
            told = Instant::now();
            eprintln!("{} inputs", case - first);
        }
        start.elapsed() < Duration::from_secs(seconds)
    };
    (first..).take_while(in_time)
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Each number is the same input each time.
struct Repeatable<Numbers> {
    numbers: Numbers,
    bytes: usize,
}

impl<T, Numbers> Engine<T> for Repeatable<Numbers>
where
    Numbers: Iterator<Item = u64>,
    T: Test,
    T::Value: Debug,
{
    type Output = ();

    fn run(self, mut test: T, options: Options) {
        panic::set_hook();
        let forward = panic::forward_panic(false);
        for case in self.numbers {
            let chance = chance(case, self.bytes);
            let Err(error) = test.test(&mut Bytes::new(&chance, &options)) else {
                continue;
            };
            let smaller = test.shrink(chance, None, &options);
            panic::forward_panic(forward);
            match smaller {
                Some(failure) => panic!("case {case}, made smaller: {failure}"),
                None => panic!("case {case}: {error}"),
            }
        }
        panic::forward_panic(forward);
    }
}

/// So many bytes of a case, by SplitMix64.
pub(crate) fn chance(case: u64, bytes: usize) -> Vec<u8> {
    const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut state = case << 32;
    let words = std::iter::repeat_with(|| {
        state = state.wrapping_add(GAMMA);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    });
    words
        .take(bytes / size_of::<u64>())
        .flat_map(u64::to_le_bytes)
        .collect()
}
