//! The command line: `serve`, `demo` and the operator's commands.

mod check;
mod demo;
mod operator;

use anyhow::Context;
use arc_swap::ArcSwap;
use clap::{Args, Parser, Subcommand};
use host_harness::clock::Clock;
use host_harness::delivery::deliver;
use host_harness::metrics::Metrics;
use host_harness::plugin::Plugin;
use host_harness::runtime::{Capacity, Runtime};
use host_harness::sandbox::Limits;
use host_harness::server::{App, serve};
use host_harness::store::Store;
use host_harness::store::sqlite::Sqlite;
use host_harness::stores::StoreFile;
use host_harness::telemetry::{self, LogFormat};
use host_harness::workspace::{Workspace, Workspaces};
use ipnet::IpNet;
use serde_json::json;
use std::future::Future;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The workspace that every request is for, and every command unless it names
/// another.
const WORKSPACE: &str = "default";

/// A small plugin-capable chat server that loads the reset-totp plugin and
/// serves POST /api/v1/users.resetTOTP.
///
/// From nothing to a workspace with an administrator:
///
///   export HOST_HARNESS_STORE=chat.sqlite
///   host-harness workspace create
///   host-harness user add ada --role admin --password
///   host-harness user enrol-totp ada
///   host-harness serve
///
/// Logs go to standard error; RUST_LOG chooses how much (default: info).
/// SIGTERM or SIGINT stops it after the requests in flight.
#[derive(Parser)]
#[command(version, verbatim_doc_comment)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the workspace in an existing store.
    ///
    /// `host-harness workspace create` makes one, and `host-harness demo` one to
    /// play with.
    ///
    /// Example: host-harness serve --store chat.sqlite
    Serve {
        /// The SQLite file that holds the workspace.
        #[arg(long, env = "HOST_HARNESS_STORE", value_name = "FILE")]
        store: PathBuf,
        #[command(flatten)]
        common: Common,
    },
    /// Serve a workspace to play with, and show how to call it.
    ///
    /// It has an administrator, a moderator and two members, all with TOTP
    /// enrolled.
    Demo {
        /// Where to keep the workspace and its credentials; it is shown again
        /// when the folder has one. Default: a folder that goes when the
        /// demonstration ends.
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
        /// Print one line of JSON with the URL and all credentials, and nothing
        /// else, to standard output.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        common: Common,
    },
    /// Try whether a plugin does what the contract promises.
    ///
    /// Every scenario runs on a server of its own, over HTTP. Progress goes to
    /// standard error, the report to standard output. Exits with 0 when all passed,
    /// 1 when one did not, 2 when the plugin cannot be loaded. RUST_LOG=error shows
    /// why a plugin failed.
    ///
    /// Example: host-harness check target/reset_totp.wasm --format junit
    Check(check::Check),
    #[command(flatten)]
    Operator(operator::Command),
}

#[derive(Args)]
struct Common {
    /// The plugin: a component that `cargo xtask build` makes.
    #[arg(long, value_name = "FILE", default_value = "target/reset_totp.wasm")]
    plugin: PathBuf,
    /// The address and port to listen on; port 0 takes any free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:3000")]
    listen: SocketAddr,
    /// The network of a proxy in front that is believed when its X-Forwarded-For
    /// tells for whom it speaks, such as 10.0.0.0/8; may be given again.
    #[arg(long, value_name = "NETWORK")]
    trusted_proxy: Vec<IpNet>,
    /// The form of the log.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log: LogFormat,
}

#[tokio::main]
async fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve { store, common } => done(serve_store(&store, &common).await),
        Command::Demo { data, json, common } => done(demo(data, json, &common).await),
        Command::Check(check) => check.run().await,
        Command::Operator(command) => done(operator::run(command).await),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("host-harness: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn done(result: anyhow::Result<()>) -> anyhow::Result<ExitCode> {
    result.map(|()| ExitCode::SUCCESS)
}

async fn serve_store(path: &Path, common: &Common) -> anyhow::Result<()> {
    let _telemetry = telemetry::start(common.log, None)?;
    let plugin = load(&common.plugin)?;
    let store = open(path).await?;
    let known = store.settings(WORKSPACE).await?;
    known.with_context(|| {
        format!(
            "the store {} has no workspace {WORKSPACE}; `host-harness workspace create` makes it",
            path.display()
        )
    })?;
    let stop = stop_signal()?;
    let listener = listen(common.listen).await?;
    tracing::info!(url = url(&listener)?, "listening");
    let store: Arc<dyn Store> = Arc::new(store);
    let app = app(store.clone(), plugin, &common.trusted_proxy);
    run(listener, store, app, stop).await
}

async fn demo(data: Option<PathBuf>, json: bool, common: &Common) -> anyhow::Result<()> {
    let _telemetry = telemetry::start(common.log, None)?;
    let plugin = load(&common.plugin)?;
    let temporary = tempfile::tempdir().context("cannot make a temporary folder")?;
    let folder = data.as_deref().unwrap_or(temporary.path());
    let (store, credentials) = demo::workspace(folder)
        .await
        .with_context(|| format!("cannot use {} for the demonstration", folder.display()))?;
    let stop = stop_signal()?;
    let listener = listen(common.listen).await?;
    let url = url(&listener)?;
    if json {
        show(&json!({"url": url, "users": credentials}).to_string())?;
    } else {
        demo::guide(&url, &credentials)?;
    }
    let store: Arc<dyn Store> = Arc::new(store);
    let app = app(store.clone(), plugin, &common.trusted_proxy);
    run(listener, store, app, stop).await
}

/// Serves `app` and delivers the store's mail until `stop` is ready.
async fn run(
    listener: TcpListener,
    store: Arc<dyn Store>,
    app: App,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let stopping = CancellationToken::new();
    let delivery = tokio::spawn(deliver(
        store,
        app.clock.clone(),
        stopping.clone().cancelled_owned(),
    ));
    let stopped = stopping.clone();
    let served = serve(listener, app, async move {
        stop.await;
        stopped.cancel();
    })
    .await;
    stopping.cancel();
    delivery.await?;
    Ok(served?)
}

async fn open(path: &Path) -> anyhow::Result<Sqlite> {
    let missing = !path.exists();
    Sqlite::open(path).await.with_context(|| {
        let hint = if missing {
            "; `host-harness workspace create` makes one"
        } else {
            ""
        };
        format!("cannot open the store {}{hint}", path.display())
    })
}

/// Writes to standard output at once.
fn show(text: &str) -> anyhow::Result<()> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{text}")?;
    Ok(output.flush()?)
}

fn app(store: Arc<dyn Store>, plugin: Arc<Plugin>, trusted_proxies: &[IpNet]) -> App {
    let workspace = Workspace {
        id: WORKSPACE.to_owned(),
        store: Arc::new(StoreFile::opened(store)),
        plugin,
        limits: Limits::default(),
    };
    App {
        workspaces: Arc::new(ArcSwap::from_pointee(Workspaces::only(workspace))),
        clock: Clock::system(),
        trusted_proxies: trusted_proxies.to_vec(),
        metrics: Arc::new(Metrics::default()),
    }
}

fn load(path: &Path) -> anyhow::Result<Arc<Plugin>> {
    let runtime = Runtime::new(Capacity::default())
        .map_err(|e| anyhow::anyhow!("cannot start the engine: {e:#}"))?;
    Plugin::load(&runtime, path).with_context(|| {
        format!(
            "cannot load the plugin {}; `cargo xtask build` makes target/reset_totp.wasm",
            path.display()
        )
    })
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}; choose another with --listen"))
}

fn url(listener: &TcpListener) -> anyhow::Result<String> {
    Ok(format!("http://{}", listener.local_addr()?))
}

/// Ready once SIGTERM or SIGINT arrives.
fn stop_signal() -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => (),
            _ = interrupt.recv() => (),
        }
    })
}
