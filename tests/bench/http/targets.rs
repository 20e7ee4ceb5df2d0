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
const RATIOS: [(&str, Number, Side, Side, Bound); 7] = [
    (
        "CPU of totp-required, by Fastify's",
        Number::Cpu,
        (HOST, Case::TotpRequired, MANY),
        (Kind::Fastify, Case::TotpRequired, MANY),
        Bound::AtMost(0.25),
    ),
    (
        "resets a second of 64 clients, by those of one",
        Number::Rate,
        (HOST, Case::Success, MANY),
        (HOST, Case::Success, 1),
        Bound::AtLeast(8.0),
    ),
    (
        "resets a second of 64 clients, by Fastify's",
        Number::Rate,
        (HOST, Case::Success, MANY),
        (Kind::Fastify, Case::Success, MANY),
        Bound::AtLeast(5.0),
    ),
    (
        "resets a second of one client, by Fastify's",
        Number::Rate,
        (HOST, Case::Success, 1),
        (Kind::Fastify, Case::Success, 1),
        Bound::AtLeast(1.2),
    ),
    (
        "CPU of a success, by Fastify's",
        Number::Cpu,
        (HOST, Case::Success, MANY),
        (Kind::Fastify, Case::Success, MANY),
        Bound::AtMost(0.25),
    ),
    (
        "CPU of a wrong token, by that of none",
        Number::Cpu,
        (HOST, Case::WrongToken, MANY),
        (HOST, Case::NoToken, MANY),
        Bound::AtMost(1.4),
    ),
    (
        "CPU of a success, by that without a sandbox",
        Number::Cpu,
        (HOST, Case::Success, MANY),
        (Kind::Native, Case::Success, MANY),
        Bound::AtMost(1.25),
    ),
];

/// All targets, met or not; what a sandbox adds is among `results` of the other
/// benchmark.
pub(crate) fn all(measurements: &Measurements, results: &Map<String, Value>) -> Vec<Target> {
    let cell = |(kind, case, clients)| measurements.cell(kind, case, clients);
    let ratios = RATIOS.map(|(name, number, side, other, bound)| Target {
        name,
        bound,
        measured: cell(side)
            .zip(cell(other))
            .map(|(cell, other)| cell.ratio(number, other)),
    });
    let added = results.get("added").and_then(|added| added.get("median"));
    let sandbox = Target {
        name: "CPU µs that a fresh sandbox adds to the function",
        bound: Bound::AtMost(9.0),
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
        )
    }
}
