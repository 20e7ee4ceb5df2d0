//! What makes inputs for a target: in the tests always the same ones, so that a
//! failure repeats; under `cargo xtask fuzz` others, for as long as it says.

use bolero::bolero_engine::{driver::Options, input::Bytes, panic};
use bolero::{Engine, Test, TestTarget, TypeGenerator};
use std::fmt::Debug;
use std::panic::RefUnwindSafe;
use std::time::{Duration, Instant};

/// What `cargo xtask fuzz` sets: how long to look, in seconds, and at which case to
/// begin.
pub(crate) const SECONDS: &str = "FUZZ_SECONDS";
const FIRST_CASE: &str = "FUZZ_FIRST_CASE";

/// How often it says how far it is.
const PROGRESS: Duration = Duration::from_secs(5);

/// Bytes of chance from which one input is made.
const CHANCE: usize = 1024;

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
    TestTarget::new(Repeatable { cases })
        .with_type::<Input>()
        .with_shrink_time(SHRINK_TIME)
        .for_each(target);
}

/// Each case is the same input each time.
struct Repeatable {
    cases: u64,
}

impl Repeatable {
    /// The numbers of the cases to try.
    fn numbers(&self) -> Box<dyn Iterator<Item = u64>> {
        let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
        let Some(seconds) = number(SECONDS) else {
            return Box::new(0..self.cases);
        };
        let (start, first) = (Instant::now(), number(FIRST_CASE).unwrap_or_default());
        let mut told = start;
        let in_time = move |case: &u64| {
            if told.elapsed() >= PROGRESS {
                told = Instant::now();
                eprintln!("{} inputs", case - first);
            }
            start.elapsed() < Duration::from_secs(seconds)
        };
        Box::new((first..).take_while(in_time))
    }
}

impl<T> Engine<T> for Repeatable
where
    T: Test,
    T::Value: Debug,
{
    type Output = ();

    fn run(self, mut test: T, options: Options) {
        panic::set_hook();
        let forward = panic::forward_panic(false);
        for case in self.numbers() {
            let chance = chance(case);
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

/// The bytes of a case, by SplitMix64.
fn chance(case: u64) -> Vec<u8> {
    const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut state = case << 32;
    let words = std::iter::repeat_with(|| {
        state = state.wrapping_add(GAMMA);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    });
    words
        .take(CHANCE / size_of::<u64>())
        .flat_map(u64::to_le_bytes)
        .collect()
}
