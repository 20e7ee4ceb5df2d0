//! From rounds to numbers: medians over the rounds, and ratios within each.

use plugin_sandbox::measure::Stages;
use serde_json::{Map, Value, json};
use std::fmt;
use std::time::Duration;

/// What the batches of one round took.
pub(crate) struct Round {
    pub(crate) native: Duration,
    pub(crate) warm: Duration,
    pub(crate) fresh: Duration,
    pub(crate) typescript: Duration,
    pub(crate) floor: Duration,
    pub(crate) stages: Stages,
    /// As many readings of the clock.
    pub(crate) clock: Duration,
}

/// What is reported, in the order in which it is.
pub(crate) struct Report {
    rounds: usize,
    batch: u32,
    rows: Vec<Row>,
    /// What a fresh sandbox adds to the native function.
    added: Spread,
}

struct Row {
    name: &'static str,
    /// By the native function's time in the same round.
    ratio: f64,
    micros: Spread,
}

/// Processor time of a call, in microseconds.
struct Spread {
    low: f64,
    median: f64,
    high: f64,
}

type Part = fn(&Round) -> f64;

/// The native function is what all others are compared with.
const ROWS: [(&str, Part); 9] = [
    ("native", native),
    ("warm instance", |round| round.warm.as_secs_f64()),
    ("fresh sandbox", fresh),
    ("  its store", |round| stage(round, round.stages.store)),
    ("  its instantiation", |round| {
        stage(round, round.stages.instantiate)
    }),
    ("  its call", |round| stage(round, round.stages.call)),
    ("  its drop", |round| stage(round, round.stages.drop)),
    ("floor", |round| round.floor.as_secs_f64()),
    ("in TypeScript, fresh", |round| {
        round.typescript.as_secs_f64()
    }),
];

fn native(round: &Round) -> f64 {
    round.native.as_secs_f64()
}

fn fresh(round: &Round) -> f64 {
    round.fresh.as_secs_f64()
}

fn stage(round: &Round, stage: Duration) -> f64 {
    stage.saturating_sub(round.clock).as_secs_f64()
}

impl Report {
    pub(crate) fn of(rounds: &[Round], batch: u32) -> Self {
        let micros = |part: &dyn Fn(&Round) -> f64| {
            spread(
                rounds
                    .iter()
                    .map(|round| part(round) * 1e6 / f64::from(batch)),
            )
        };
        let row = |(name, part): (&'static str, Part)| Row {
            name,
            ratio: spread(rounds.iter().map(|round| part(round) / native(round))).median,
            micros: micros(&part),
        };
        Self {
            rounds: rounds.len(),
            batch,
            rows: ROWS.into_iter().map(row).collect(),
            added: micros(&|round| fresh(round) - native(round)),
        }
    }

    /// `{"rounds", "calls_a_batch", "added": SPREAD, "rows": [{"name",
    /// "ratio_to_native", "cpu_micros": SPREAD}]}`, where SPREAD is `{"p10",
    /// "median", "p90"}` over the rounds, in microseconds a call.
    pub(crate) fn json(&self) -> Map<String, Value> {
        let rows = self.rows.iter().map(|row| {
            json!({
                "name": row.name.trim_start(),
                "ratio_to_native": row.ratio,
                "cpu_micros": row.micros.json(),
            })
        });
        let members = [
            ("rounds", json!(self.rounds)),
            ("calls_a_batch", json!(self.batch)),
            ("added", self.added.json()),
            ("rows", rows.collect()),
        ];
        let members = members.map(|(name, value)| (name.to_owned(), value));
        members.into_iter().collect()
    }
}

impl Spread {
    fn json(&self) -> Value {
        json!({"p10": self.low, "median": self.median, "p90": self.high})
    }
}

/// The values that a tenth, a half and nine tenths of all lie below.
fn spread(values: impl Iterator<Item = f64>) -> Spread {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    let at = |tenths: usize| values.get(values.len() * tenths / 10).copied();
    Spread {
        low: at(1).unwrap_or(f64::NAN),
        median: at(5).unwrap_or(f64::NAN),
        high: at(9).unwrap_or(f64::NAN),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:20} {:>8}  {:>7}", "a call", "× native", "CPU µs")?;
        for row in &self.rows {
            writeln!(f, "{:20} {:8.1}  {}", row.name, row.ratio, row.micros)?;
        }
        writeln!(f, "a fresh sandbox adds {} CPU µs", self.added)?;
        writeln!(
            f,
            "(medians of {} rounds of {} calls; in brackets the tenth and the ninetieth percentile)",
            self.rounds, self.batch
        )
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:7.2} ({:.2}…{:.2})", self.median, self.low, self.high)
    }
}
