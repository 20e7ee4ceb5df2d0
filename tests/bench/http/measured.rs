//! From batches to numbers: medians over the rounds, and ratios within each.

use crate::case::{CLIENTS, Case};
use crate::load::Batch;
use crate::server::Kind;
use std::fmt;
use std::time::Duration;

/// What one server did with the batches of one case and number of clients, one a
/// round.
pub(crate) struct Cell {
    pub(crate) kind: Kind,
    pub(crate) case: Case,
    pub(crate) clients: usize,
    rounds: Vec<Round>,
    /// Of all rounds, in seconds.
    latencies: Vec<f64>,
}

/// One batch.
#[derive(Clone, Copy)]
struct Round {
    /// Processor time of the server, in microseconds a request.
    cpu: f64,
    /// Requests a second.
    rate: f64,
}

/// A number of a round.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Number {
    /// Processor time of the server, in microseconds a request.
    Cpu,
    /// Requests a second.
    Rate,
}

impl Cell {
    fn new(kind: Kind, case: Case, clients: usize) -> Self {
        let (rounds, latencies) = (Vec::new(), Vec::new());
        Self {
            kind,
            case,
            clients,
            rounds,
            latencies,
        }
    }

    /// Adds the batch of a round, for which the server took `cpu`.
    pub(crate) fn add(&mut self, batch: Batch, cpu: Duration) {
        let requests = batch.latencies.len() as f64;
        self.rounds.push(Round {
            cpu: cpu.as_secs_f64() * 1e6 / requests,
            rate: requests / batch.time.as_secs_f64(),
        });
        let latencies = batch.latencies.iter().map(Duration::as_secs_f64);
        self.latencies.extend(latencies);
    }

    fn values(&self, number: Number) -> impl Iterator<Item = f64> {
        self.rounds.iter().map(move |round| match number {
            Number::Cpu => round.cpu,
            Number::Rate => round.rate,
        })
    }

    /// The median over the rounds.
    pub(crate) fn median(&self, number: Number) -> f64 {
        below(self.values(number).collect(), 0.5)
    }

    /// The median of the ratios to `other`, each within one round.
    pub(crate) fn ratio(&self, number: Number, other: &Self) -> f64 {
        let pairs = self.values(number).zip(other.values(number));
        below(pairs.map(|(mine, its)| mine / its).collect(), 0.5)
    }

    /// What so large a share of the latencies is below, in milliseconds.
    pub(crate) fn latency(&self, share: f64) -> f64 {
        below(self.latencies.clone(), share) * 1e3
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, case) = (self.kind.name(), self.case.name());
        write!(f, "{kind}, {case}, {} clients", self.clients)
    }
}

/// What so large a share of the values is below.
fn below(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a length is one"
    )]
    let at = (values.len() as f64 * share) as usize;
    values.get(at).copied().unwrap_or(f64::NAN)
}

/// All cells; those of one case and number of clients stand together.
pub(crate) struct Measurements(Vec<Cell>);

impl Measurements {
    pub(crate) fn new() -> Self {
        let rows = Case::ALL
            .into_iter()
            .flat_map(|case| CLIENTS.map(|clients| (case, clients)));
        let cell = |(case, clients)| Kind::ALL.map(|kind| Cell::new(kind, case, clients));
        Self(rows.flat_map(cell).collect())
    }

    pub(crate) fn cell(&self, kind: Kind, case: Case, clients: usize) -> Option<&Cell> {
        let is_it = |cell: &&Cell| (cell.kind, cell.case, cell.clients) == (kind, case, clients);
        self.0.iter().find(is_it)
    }

    /// In the order of the next round: each time another server begins.
    pub(crate) fn next_round(&mut self) -> impl Iterator<Item = &mut Cell> {
        for row in self.0.chunks_mut(Kind::ALL.len()) {
            row.rotate_left(1);
        }
        self.0.iter_mut()
    }
}
