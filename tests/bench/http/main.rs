//! What a whole request costs over HTTP, beside what people run: this host, the same
//! decision without a sandbox, Fastify and Express, each durable, on one core, while
//! another core asks.
//!
//! All are measured in turns, a small batch each, so that what else the machine does
//! meets all alike: the ratios hold on a busy machine, too, the times only on a quiet
//! one. Every answer is compared with what it must be, to the byte; every success is a
//! reset that no other request makes. `cargo xtask bench` runs it; `target/bench.json`
//! gets the same numbers, and `book/src/images/resets.svg` shows some of them. With
//! `--quick` there are fewer rounds, and no picture.

mod case;
mod cores;
mod host_store;
mod load;
mod measured;
mod native;
mod peer_store;
mod plot;
mod population;
mod report;
#[path = "../results.rs"]
mod results;
mod server;
mod stores;
mod targets;
mod trips;

use case::{Case, Script};
use cores::Cores;
use measured::{Cell, Measurements};
use mimalloc::MiMalloc as Allocator;
use population::Population;
use report::Report;
use server::{Kind, Server};
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use stores::Stores;
use trips::Way;
use url::Url;

/// As in production.
#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

/// The one that is served.
const WORKSPACE: &str = "default";

/// Rounds that are measured: minutes.
const ROUNDS: usize = 12;

/// The same for `--quick`.
const QUICK_ROUNDS: usize = 3;

/// Rounds before, in which compilers, caches and predictors learn.
const WARM_UP: usize = 1;

/// Requests of each case whose trips are counted.
const COUNTED: usize = 41;

type Measured<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let done = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [native::COMMAND, store, port] => native::serve(Path::new(store), port),
        _ => run(args.iter().any(|arg| arg == "--quick")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("the benchmark failed: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run(is_quick: bool) -> Measured<()> {
    let temporary = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let target = temporary.parent().ok_or("there is no target folder")?;
    let rounds = if is_quick { QUICK_ROUNDS } else { ROUNDS };
    let each = rounds + WARM_UP;
    let population = Population::new(
        each * Case::Success.requests_a_round() + COUNTED,
        each * Case::TotpInvalid.requests_a_round(),
    );
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let cores = Cores::choose()?;
    let folder = temporary.join("http");
    let filling = Stores::fill(&folder, &population, &cores);
    let stores = tokio.block_on(filling)?;
    let start = |kind| {
        let store = stores.address(kind);
        Server::start(kind, &cores, target, &store, stores.folder())
    };
    let servers: Vec<_> = Kind::ALL.into_iter().map(start).collect::<Measured<_>>()?;
    let mut bench = Bench::new(&servers, &stores, &population);
    let measurements = tokio.block_on(bench.rounds(rounds))?;
    let trips = tokio.block_on(bench.trips(&cores, target))?;
    drop(servers);
    let report = Report::of(&measurements, trips, &results::read(target), rounds);
    print!("{report}");
    results::write(target, report.json())?;
    if !is_quick {
        let picture = Path::new(env!("CARGO_MANIFEST_DIR")).join("book/src/images/resets.svg");
        std::fs::write(picture, plot::draw(&measurements))?;
    }
    Ok(stores.remove()?)
}

struct Bench<'a> {
    subjects: Vec<(&'a Server, Script<'a>)>,
    stores: &'a Stores,
}

impl<'a> Bench<'a> {
    fn new(servers: &'a [Server], stores: &'a Stores, population: &'a Population) -> Self {
        let script = |server| (server, Script::new(population));
        let subjects = servers.iter().map(script).collect();
        Self { subjects, stores }
    }

    async fn rounds(&mut self, rounds: usize) -> Measured<Measurements> {
        for _ in 0..WARM_UP {
            self.round(&mut Measurements::new()).await?;
        }
        let mut measurements = Measurements::new();
        for round in 1..=rounds {
            self.round(&mut measurements).await?;
            eprintln!("round {round} of {rounds} is measured");
        }
        Ok(measurements)
    }

    async fn round(&mut self, measurements: &mut Measurements) -> Measured<()> {
        for cell in measurements.next_round() {
            let mut subjects = self.subjects.iter_mut();
            let subject = subjects.find(|(server, _)| server.kind == cell.kind);
            let (server, script) = subject.ok_or("a server is missing")?;
            let batch = batch(server, script, cell).await;
            batch.map_err(|problem| format!("{cell}: {problem}"))?;
            self.stores.deliver(cell.kind).await?;
        }
        Ok(())
    }
}

impl Bench<'_> {
    /// How often a request of each case waits for PostgreSQL: the median of some, one after
    /// the other, so that what else the host asks there is left out.
    async fn trips(&mut self, cores: &Cores, target: &Path) -> Measured<Vec<(Case, u64)>> {
        let store = self.stores.address(Kind::Postgres);
        let url = Url::parse(&store)?;
        let host = url.socket_addrs(|| None)?;
        let way = Way::to(*host.first().ok_or("the database has no address")?)?;
        let mut counted = url;
        let set = counted.set_port(Some(way.address.port()));
        set.map_err(|()| "the database has no port")?;
        let folder = self.stores.folder();
        let store = counted.to_string();
        let server = Server::start(Kind::Postgres, cores, target, &store, folder)?;
        let script = self.subjects.iter_mut();
        let mut script = script.filter(|(server, _)| server.kind == Kind::Postgres);
        let (_, script) = script.next().ok_or("a server is missing")?;
        let mut trips = Vec::new();
        for case in Case::ALL {
            let mut counts = Vec::new();
            for _ in 0..COUNTED {
                let greeting = script.next(Case::NoToken, 1).concat();
                let greeted = Case::NoToken.answer();
                let client = load::connect(&server.addresses, 1, &greeting, greeted).await?;
                let before = way.trips();
                load::run(client, script.next(case, 1), case.answer()).await?;
                counts.push(way.trips() - before);
            }
            counts.sort_unstable();
            let median = counts.get(COUNTED / 2).copied().unwrap_or_default();
            trips.push((case, median));
        }
        Ok(trips)
    }
}

/// Measures one batch of what `cell` is about.
async fn batch(server: &Server, script: &mut Script<'_>, cell: &mut Cell) -> Measured<()> {
    let greeting = script.next(Case::NoToken, 1).concat();
    let greeted = Case::NoToken.answer();
    let connections = load::connect(&server.addresses, cell.clients, &greeting, greeted).await?;
    let count = cell.case.requests(cell.clients);
    let requests = script.next(cell.case, count);
    if requests.len() < count {
        return Err("there are too few accounts".into());
    }
    let before = server.processor_time()?;
    let batch = load::run(connections, requests, cell.case.answer()).await?;
    let after = server.processor_time()?;
    cell.add(batch, after.saturating_sub(before));
    Ok(())
}
