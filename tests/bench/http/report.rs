//! The tables, and the same for machines.

use crate::case::{CLIENTS, Case};
use crate::measured::{Cell, Measurements, Number};
use crate::server::Kind;
use crate::targets::{self, Target};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt;

/// What is reported.
pub(crate) struct Report {
    rounds: usize,
    rows: Vec<Row>,
    /// How often a request of each case waits for PostgreSQL.
    trips: Vec<(Case, u64)>,
    targets: Vec<Target>,
}

/// One case with one number of clients.
struct Row {
    case: Case,
    clients: usize,
    /// In the order of [`Kind::ALL`].
    servers: Vec<Measures>,
}

/// What one server took.
struct Measures {
    kind: Kind,
    /// By this host's in the same round.
    cpu_ratio: f64,
    rate_ratio: f64,
    cpu: f64,
    rate: f64,
    /// Milliseconds.
    p50: f64,
    p99: f64,
}

impl Report {
    /// Of so many rounds, and of the `results` of the other benchmark.
    pub(crate) fn of(
        measurements: &Measurements,
        trips: Vec<(Case, u64)>,
        results: &Map<String, Value>,
        rounds: usize,
    ) -> Self {
        let row = |case, clients| {
            let cell = |kind| measurements.cell(kind, case, clients);
            let host = cell(Kind::Host);
            let measures = |kind| Some(Measures::of(cell(kind)?, host?));
            Row {
                case,
                clients,
                servers: Kind::ALL.into_iter().filter_map(measures).collect(),
            }
        };
        let cases = Case::ALL.into_iter();
        Self {
            rounds,
            rows: cases
                .flat_map(|case| CLIENTS.map(|clients| row(case, clients)))
                .collect(),
            trips,
            targets: targets::all(measurements, results),
        }
    }

    /// `{"http": {"rounds", "rows": [{"case", "clients", "server",
    /// "cpu_ratio_to_host", "cpu_micros", "requests_a_second", "p50_milliseconds",
    /// "p99_milliseconds"}], "trips": {CASE: NUMBER}, "targets": [TARGET]}}`: medians over the rounds, CPU of
    /// the server a request.
    pub(crate) fn json(&self) -> Map<String, Value> {
        let rows = self.rows.iter().flat_map(Row::json).collect::<Vec<_>>();
        let targets = self.targets.iter().map(Target::json).collect::<Vec<_>>();
        let trips = self.trips.iter().map(|(case, trips)| (case.name(), trips));
        let trips: BTreeMap<_, _> = trips.collect();
        let http = json!({
            "rounds": self.rounds, "rows": rows, "trips": trips, "targets": targets
        });
        Map::from_iter([("http".to_owned(), http)])
    }
}

impl Measures {
    fn of(cell: &Cell, host: &Cell) -> Self {
        Self {
            kind: cell.kind,
            cpu_ratio: cell.ratio(Number::Cpu, host),
            rate_ratio: cell.ratio(Number::Rate, host),
            cpu: cell.median(Number::Cpu),
            rate: cell.median(Number::Rate),
            p50: cell.latency(0.5),
            p99: cell.latency(0.99),
        }
    }
}

impl Row {
    fn json(&self) -> Vec<Value> {
        let row = |measures: &Measures| {
            json!({
                "case": self.case.name(),
                "clients": self.clients,
                "server": measures.kind.name(),
                "cpu_ratio_to_host": measures.cpu_ratio,
                "cpu_micros": measures.cpu,
                "requests_a_second": measures.rate,
                "p50_milliseconds": measures.p50,
                "p99_milliseconds": measures.p99,
            })
        };
        self.servers.iter().map(row).collect()
    }
}

/// The number of a column, and with how many decimals it is shown.
type Column = (fn(&Measures) -> f64, usize);

/// The tables: what is shown of each server, and in which two ways.
const TABLES: [(&str, Column, Column); 3] = [
    (
        "CPU of the server a request: × this host's | µs",
        (|m| m.cpu_ratio, 2),
        (|m| m.cpu, 1),
    ),
    (
        "requests a second: × this host's | number",
        (|m| m.rate_ratio, 2),
        (|m| m.rate, 0),
    ),
    (
        "latency, ms: median | 99th percentile",
        (|m| m.p50, 2),
        (|m| m.p99, 2),
    ),
];

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (title, ratio, number) in TABLES {
            writeln!(f, "{title}")?;
            write!(f, "{:16} {:>7} ", "", "clients")?;
            for _ in 0..2 {
                for kind in Kind::ALL {
                    write!(f, " {:>11}", kind.name())?;
                }
                write!(f, "  ")?;
            }
            writeln!(f)?;
            for row in &self.rows {
                write!(f, "{:16} {:7} ", row.case.name(), row.clients)?;
                for (value, decimals) in [ratio, number] {
                    for server in &row.servers {
                        write!(f, " {:11.decimals$}", value(server))?;
                    }
                    write!(f, "  ")?;
                }
                writeln!(f)?;
            }
            writeln!(f)?;
        }
        writeln!(
            f,
            "(medians of {} rounds, latencies of all their requests)\n",
            self.rounds
        )?;
        let trips = self.trips.iter();
        let trips: Vec<_> = trips
            .map(|(case, trips)| format!("{} {trips}", case.name()))
            .collect();
        writeln!(f, "trips to PostgreSQL a request: {}\n", trips.join("; "))?;
        self.targets
            .iter()
            .try_for_each(|target| writeln!(f, "{target}"))
    }
}
