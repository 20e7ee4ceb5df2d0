//! What the numbers are to be.

use crate::case::{Case, MANY};
use crate::measured::{Measurements, Number};
use crate::server::Kind;
use serde_json::{Map, Value, json};
use std::fmt;

/// A bound on a number.
pub(crate) struct Target {
    name: &'static str,
    bound: Bound,
    /// None where it was not measured.
    measured: Option<f64>,
    /// What was tried, and what the profile says.
    known: &'static str,
}

#[derive(Clone, Copy)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

/// What of a server is compared.
type Side = (Kind, Case, usize);

const HOST: Kind = Kind::Host;

/// Each target that compares two sides of one run.
const RATIOS: [(&str, Number, Side, Side, Bound, &str); 7] = [
    (
        "CPU of totp-required, by Fastify's",
        Number::Cpu,
        (HOST, Case::TotpRequired, MANY),
        (Kind::Fastify, Case::TotpRequired, MANY),
        Bound::AtMost(0.25),
        "written in larger batches and told with one wake (before: 0.49); beside the store, which is \
         half: the sandbox, spans and log lines, layers, a task of its own, none over a sixth",
    ),
    (
        "resets a second of 64 clients, by those of one",
        Number::Rate,
        (HOST, Case::Success, MANY),
        (HOST, Case::Success, 1),
        Bound::AtLeast(8.0),
        "one core is full: the CPU of a success is the bound, not the disk; 64 calls of a workspace \
         instead of 16, and checkpoints every 4,000 pages, changed less than the noise",
    ),
    (
        "resets a second of 64 clients, by Fastify's",
        Number::Rate,
        (HOST, Case::Success, MANY),
        (Kind::Fastify, Case::Success, MANY),
        Bound::AtLeast(5.0),
        "as above",
    ),
    (
        "resets a second of one client, by Fastify's",
        Number::Rate,
        (HOST, Case::Success, 1),
        (Kind::Fastify, Case::Success, 1),
        Bound::AtLeast(1.2),
        "two threads wake each other for each of two commits; to write on the caller's thread would \
         hold up all others for the disk",
    ),
    (
        "CPU of a success, by Fastify's",
        Number::Cpu,
        (HOST, Case::Success, MANY),
        (Kind::Fastify, Case::Success, MANY),
        Bound::AtMost(0.25),
        "more than half is SQLite's: a fifth to compare the keys of the five tables of a profile, an \
         eighth to delete a factor's rows; not tried: one row an account",
    ),
    (
        "CPU of a wrong token, by that of none",
        Number::Cpu,
        (HOST, Case::WrongToken, MANY),
        (HOST, Case::NoToken, MANY),
        Bound::AtMost(1.4),
        "one read of the store, 9 µs; the request without a token became a third cheaper (before: 1.29)",
    ),
    (
        "CPU of a success, by that without a sandbox",
        Number::Cpu,
        (HOST, Case::Success, MANY),
        (Kind::Native, Case::Success, MANY),
        Bound::AtMost(1.25),
        "the span of a call for traces alone, two layers fewer (before: 1.73); left: the sandbox with \
         two host calls that wait, spans, turns",
    ),
];

/// All targets, met or not; what a sandbox adds is among `results` of the other
/// benchmark.
pub(crate) fn all(measurements: &Measurements, results: &Map<String, Value>) -> Vec<Target> {
    let cell = |(kind, case, clients)| measurements.cell(kind, case, clients);
    let ratios = RATIOS.map(|(name, number, side, other, bound, known)| Target {
        name,
        bound,
        known,
        measured: cell(side)
            .zip(cell(other))
            .map(|(cell, other)| cell.ratio(number, other)),
    });
    let added = results.get("added").and_then(|added| added.get("median"));
    let sandbox = Target {
        name: "CPU µs that a fresh sandbox adds to the function",
        bound: Bound::AtMost(9.0),
        known: "memory in a module that comes first, half of the factor lent, host calls without a task \
                (before: 14); left: 5 to make, wipe and drop an instance, 3 in the plugin",
        measured: added.and_then(Value::as_f64),
    };
    ratios.into_iter().chain([sandbox]).collect()
}

impl Target {
    fn is_met(&self) -> Option<bool> {
        self.measured.map(|measured| match self.bound {
            Bound::AtMost(bound) => measured <= bound,
            Bound::AtLeast(bound) => measured >= bound,
        })
    }

    /// `{"name", "at_most" or "at_least", "measured", "met"}`
    pub(crate) fn json(&self) -> Value {
        let (name, measured, met) = (self.name, self.measured, self.is_met());
        match self.bound {
            Bound::AtMost(bound) => {
                json!({"name": name, "at_most": bound, "measured": measured, "met": met})
            }
            Bound::AtLeast(bound) => {
                json!({"name": name, "at_least": bound, "measured": measured, "met": met})
            }
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.is_met() {
            Some(true) => "met",
            Some(false) => "missed",
            None => "unknown",
        };
        let (sign, bound) = match self.bound {
            Bound::AtMost(bound) => ('≤', bound),
            Bound::AtLeast(bound) => ('≥', bound),
        };
        let measured = self.measured.unwrap_or(f64::NAN);
        write!(
            f,
            "{verdict:7} {measured:6.2} {sign} {bound:<4}  {}",
            self.name
        )?;
        match self.is_met() {
            Some(false) => write!(f, "\n        ({})", self.known),
            _ => Ok(()),
        }
    }
}
