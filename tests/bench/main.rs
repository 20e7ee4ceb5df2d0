//! What a sandbox costs: the same decision as a native function, in an instance
//! that lives on, and in a fresh sandbox as production runs it, in processor time
//! of the one thread that all run on; and in a fresh sandbox by a plugin that has an
//! interpreter of JavaScript in it.
//!
//! All are measured in turns, a small batch each, so that what else the machine
//! does meets all alike: the ratios hold on a busy machine, too, the times only
//! on a quiet one. `cargo xtask bench` runs it; `target/bench.json` gets the
//! same numbers.

mod canned;
mod report;
mod results;

use canned::{CALLER, CODE, Canned, Lent, MEMBER, NOW, source, standing};
use chat_domain::time::Timestamp;
use chat_store::Store;
use cpu_time::ThreadTime;
use mimalloc::MiMalloc;
use plugin_sandbox::admission::{Admissions, MAX_FILE};
use plugin_sandbox::capabilities::Call;
use plugin_sandbox::contract::exports::chat::reset_totp::handler::Request;
use plugin_sandbox::limits::Limits;
use plugin_sandbox::measure::Stages;
use plugin_sandbox::plugin::Plugin;
use plugin_sandbox::runtime::{Capacity, Runtime};
use report::{Report, Round};
use reset_totp::contract::exports::chat::reset_totp::handler as native;
use std::error::Error;
use std::hint::black_box;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// As in production.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Calls of one batch, and rounds of batches that are measured: some seconds.
const BATCH: u32 = 100;
const ROUNDS: usize = 400;

/// Calls of the plugin in TypeScript for each batch of the others: one takes milliseconds.
const TYPESCRIPT_BATCH: u32 = 2;

/// Rounds before, in which caches and predictors learn.
const WARM_UP: usize = 40;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("the benchmark failed: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .ok_or("there is no target folder")?;
    let admissions = Admissions::new(Runtime::new(Capacity {
        plugin_bytes: MAX_FILE,
        ..Capacity::default()
    })?);
    let bench = Bench {
        plugin: admissions.load(&target.join("reset_totp.wasm"))?,
        typescript: admissions.load(&target.join("new-plugin/typescript/plugin.wasm"))?,
        store: Arc::new(Canned),
    };
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    let rounds = tokio.block_on(bench.rounds())?;
    let report = Report::of(&rounds, BATCH);
    print!("{report}");
    results::write(target, report.json())?;
    Ok(())
}

struct Bench {
    plugin: Arc<Plugin>,
    typescript: Arc<Plugin>,
    store: Arc<dyn Store>,
}

type Measured<T> = Result<T, Box<dyn Error>>;

impl Bench {
    async fn rounds(&self) -> Measured<Vec<Round>> {
        let mut rounds = Vec::new();
        for round in 0..WARM_UP + ROUNDS {
            let measured = self.round().await?;
            if round >= WARM_UP {
                rounds.push(measured);
            }
        }
        Ok(rounds)
    }

    async fn round(&self) -> Measured<Round> {
        Ok(Round {
            native: native_calls(),
            warm: self.warm_calls().await?,
            fresh: self.fresh_calls(&self.plugin, BATCH).await?,
            typescript: self.fresh_calls(&self.typescript, TYPESCRIPT_BATCH).await? * BATCH
                / TYPESCRIPT_BATCH,
            floor: self.instantiations().await?,
            stages: self.staged_calls().await?,
            clock: clock_readings(),
        })
    }

    async fn fresh_calls(&self, plugin: &Plugin, batch: u32) -> Measured<Duration> {
        let calls: Vec<_> = (0..batch).map(|_| self.call()).collect();
        let request = request();
        let start = ThreadTime::now();
        for call in calls {
            let limits = Limits::default();
            let ended = plugin.reset_totp(call, &request, limits).await;
            if ended.outcome?.status != 200 {
                return Err("the plugin refused".into());
            }
        }
        Ok(start.elapsed())
    }

    /// The plugin never frees: an instance serves one batch.
    async fn warm_calls(&self) -> Measured<Duration> {
        let (calls, request) = (self.calls(), request());
        let mut warm = self.plugin.warm(self.call(), Limits::default()).await?;
        let start = ThreadTime::now();
        for call in calls {
            if warm.reset_totp(call, &request).await?.status != 200 {
                return Err("the plugin refused".into());
            }
        }
        Ok(start.elapsed())
    }

    async fn instantiations(&self) -> Measured<Duration> {
        let calls = self.calls();
        let start = ThreadTime::now();
        for call in calls {
            self.plugin.instantiate(call, Limits::default()).await?;
        }
        Ok(start.elapsed())
    }

    async fn staged_calls(&self) -> Measured<Stages> {
        let (calls, request) = (self.calls(), request());
        let mut sum = Stages::default();
        for call in calls {
            let limits = Limits::default();
            let clock = || ThreadTime::now().as_duration();
            sum += self.plugin.stages(call, &request, limits, clock).await?;
        }
        Ok(sum)
    }

    fn calls(&self) -> Vec<Call> {
        (0..BATCH).map(|_| self.call()).collect()
    }

    fn call(&self) -> Call {
        Call::new(
            self.store.clone(),
            "default".to_owned(),
            Arc::new(standing()),
            Timestamp::from_millis(0) + Duration::from_secs(NOW),
            "request".to_owned(),
            source(),
            Some(CODE.into()),
        )
    }
}

fn native_calls() -> Duration {
    let caller = native::Caller {
        id: CALLER.to_owned(),
        bypass_token: false,
    };
    let Request {
        content_type,
        two_factor_code,
        two_factor_method,
        body,
    } = request();
    let request = native::Request {
        content_type,
        two_factor_code,
        two_factor_method,
        body,
    };
    let start = ThreadTime::now();
    for _ in 0..BATCH {
        black_box(reset_totp::decision::decide(
            black_box(&Lent),
            black_box(&caller),
            black_box(&request),
        ));
    }
    start.elapsed()
}

/// The documented request.
fn request() -> Request {
    Request {
        content_type: Some("application/json".to_owned()),
        two_factor_code: Some(CODE.to_owned()),
        two_factor_method: None,
        body: format!(r#"{{ "userId":"{MEMBER}" }}"#).into_bytes(),
    }
}

/// What it costs to read the clock: each stage has one such reading too many.
fn clock_readings() -> Duration {
    let start = ThreadTime::now();
    for _ in 0..BATCH {
        black_box(ThreadTime::now());
    }
    start.elapsed()
}
