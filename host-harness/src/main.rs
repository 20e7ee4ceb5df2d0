//! The command line: `serve`, `demo`, what authors of plugins call, and the operator's commands.

mod check;
mod componentize;
mod demo;
mod dev;
mod files;
mod keys;
mod new_plugin;
mod operator;

use anyhow::{Context, anyhow};
use chat_server::admin::{self, Admin};
use chat_server::clock::Clock;
use chat_server::config::{self, Config};
use chat_server::delivery;
use chat_server::hosting::Hosting;
use chat_server::http;
use chat_server::telemetry::{self, LAST_LINES_LIMIT, LogFormat};
use chat_server::workspace::ANY_HOST;
use chat_store::StoreUrl;
use chat_store::seal::KeySource;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use ipnet::IpNet;
use keys::KeyFile;
use mimalloc::MiMalloc;
use plugin_sandbox::admission::{Candidate, compiler};
use plugin_sandbox::grants::Grants;
use plugin_sandbox::limits::Limits;
use sd_notify::NotifyState;
use serde_json::json;
use std::ffi::OsString;
use std::future::Future;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitCode;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread::{self, available_parallelism};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A call takes and gives back small blocks by the hundred.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// The program's name, which shells and the manual know it by.
const PROGRAM: &str = env!("CARGO_BIN_NAME");

/// The workspace that every command is for unless it names another, and every
/// request where no configuration file says otherwise.
const WORKSPACE: &str = "default";

/// Threads without which nothing is done, beside one a core: those of the log, the engine and
/// a store, and some that may wait for a disk.
const FURTHER_THREADS: usize = 8;

/// How long the end of the process waits for threads that wait for a disk: longer than one
/// that answers takes.
const LAST_THREADS_LIMIT: Duration = Duration::from_secs(1);

/// How long the process waits for the stores after the last request: deliveries have ended by
/// then, and what became of them is noted in a moment.
const LAST_STORES_LIMIT: Duration = Duration::from_secs(delivery::STOP_LIMIT.as_secs() + 2);

/// Connections that wait to be accepted: where there is no place for one in a burst, its client
/// tries again only after a second.
const BACKLOG: u32 = 1024;

/// Where `cargo xtask build` leaves the plugin.
const BUILT_PLUGIN: &str = "target/reset_totp.wasm";

/// Where a package puts the plugin, from the folder of the program.
const INSTALLED_PLUGIN: &str = "../lib/host-harness/reset_totp.wasm";

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
    /// Serve the workspaces that a configuration file names, or the one in a store.
    ///
    /// With --config, SIGHUP reads the file again: workspaces, plugins, limits and
    /// settings are replaced while requests go on, all or none of them.
    ///
    /// `host-harness workspace create` makes a store, and `host-harness demo` one to
    /// play with.
    ///
    /// Examples: host-harness serve --store chat.sqlite
    ///           host-harness serve --config chat.toml
    #[command(verbatim_doc_comment)]
    Serve(Serve),
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
    /// 1 when one did not, 2 when none could be tried, such as for a plugin that is
    /// not admitted. RUST_LOG=error shows why a plugin failed.
    ///
    /// Example: host-harness check target/reset_totp.wasm --format junit
    Check(check::Check),
    /// Write the source of a plugin into a new folder: the whole contract in a language of
    /// your choice, to change as you like.
    ///
    /// Its README says how to build, check, sign and serve it.
    ///
    /// Example: host-harness new-plugin --language python my-plugin
    #[command(verbatim_doc_comment)]
    NewPlugin(new_plugin::NewPlugin),
    /// Make a component of a core module, as compilers of Rust and C make it.
    ///
    /// It must have the contract in it, as wit-bindgen leaves it there.
    Componentize(componentize::Componentize),
    /// Serve a workspace to play with, and the plugin again whenever its file changes.
    ///
    /// As `demo`. A file that is not admitted, such as one half written, is told of and not
    /// served: the plugin before it goes on.
    ///
    /// Example: host-harness dev plugin.wasm
    #[command(verbatim_doc_comment)]
    Dev(dev::Dev),
    /// Print what has a shell complete commands and options.
    ///
    /// Example: host-harness completions fish > ~/.config/fish/completions/host-harness.fish
    Completions {
        /// The shell.
        #[arg(value_name = "SHELL")]
        shell: Shell,
    },
    /// Write the manual pages into a folder, one a command.
    ///
    /// Example: host-harness man /usr/local/share/man/man1
    Man {
        /// The folder.
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    #[command(flatten)]
    Operator(operator::Command),
}

#[derive(Args)]
struct Serve {
    /// The configuration file: `host-harness check-config` says whether it is
    /// right. It says all that the other options do but --log; those of the keys
    /// count where it names no key file.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = [
            "plugin", "listen", "trusted_proxy", "neighbours", "create", "admin_listen",
        ]
    )]
    config: Option<PathBuf>,
    /// The store that holds the workspace, where there is no --config: a SQLite file,
    /// postgres://USER@HOST/DATABASE, or mongodb://HOST/DATABASE, a Rocket.Chat's own.
    #[arg(
        long,
        env = "HOST_HARNESS_STORE",
        hide_env_values = true,
        value_name = "STORE",
        required_unless_present = "config"
    )]
    store: Option<OsString>,
    /// Create the workspace where the store has none, and the store where there is none.
    #[arg(long)]
    create: bool,
    /// Serve the routes beside users.resetTOTP, too, where they are Rocket.Chat's own: on its
    /// database. On other stores they are always served.
    #[arg(long)]
    neighbours: bool,
    /// Where metrics, health and the operator's commands are answered: an address of this
    /// machine, for it has no log-in. Default: nowhere.
    #[arg(long, value_name = "ADDR")]
    admin_listen: Option<SocketAddr>,
    #[command(flatten)]
    keys: KeyFile,
    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
struct Common {
    /// The plugin, a component. Default: that which a package has brought with this
    /// program, otherwise target/reset_totp.wasm, where `cargo xtask build` leaves it.
    #[arg(long, value_name = "FILE", default_value_os_t = usual_plugin(), hide_default_value = true)]
    plugin: PathBuf,
    /// The address and port to listen on; port 0 takes any free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:3000")]
    listen: SocketAddr,
    /// The network of a proxy in front that is believed when its X-Forwarded-For
    /// tells for whom it speaks, such as 10.0.0.0/8; may be given again.
    #[arg(long, value_name = "NETWORK", value_parser = trusted_proxy)]
    trusted_proxy: Vec<IpNet>,
    /// The form of the log.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log: LogFormat,
}

fn trusted_proxy(text: &str) -> Result<IpNet, String> {
    config::network(text)
        .map_err(|_| "it is a network such as 10.0.0.0/8, or an address".to_owned())
}

/// What the command line asks for. What is given beyond that may be a password, and is not
/// repeated.
fn parse() -> Cli {
    Cli::try_parse().unwrap_or_else(|mut error| {
        let too_much = match error.kind() {
            ErrorKind::UnknownArgument => Some(ContextKind::InvalidArg),
            ErrorKind::TooManyValues => Some(ContextKind::InvalidValue),
            _ => None,
        };
        if let Some(kind) = too_much
            && let Some(ContextValue::String(text)) = error.get(kind)
            && !text.starts_with('-')
        {
            error.insert(kind, ContextValue::String("[not repeated]".to_owned()));
        }
        error.exit()
    })
}

fn main() -> ExitCode {
    compiler::take_over().unwrap_or_else(run_command)
}

fn run_command() -> ExitCode {
    let command = parse().command;
    let runtime = require_threads().and_then(|()| Builder::new_multi_thread().enable_all().build());
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            say(format!(
                "host-harness: the system gives this process too few threads: {error}; `ulimit -u` \
                 or the limit of its container (pids) is too low\n"
            ));
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(obey(command));
    runtime.shutdown_timeout(LAST_THREADS_LIMIT);
    code
}

/// The runtime panics where it gets no thread, and so do others.
fn require_threads() -> std::io::Result<()> {
    let gate = Mutex::new(());
    let closed = gate.lock();
    let count = available_parallelism()?.get() + FURTHER_THREADS;
    thread::scope(|scope| {
        let wait = || drop(gate.lock());
        let start = |_| thread::Builder::new().spawn_scoped(scope, wait).map(drop);
        let started = (0..count).try_for_each(start);
        drop(closed);
        started
    })
}

async fn obey(command: Command) -> ExitCode {
    let result = match command {
        Command::Serve(asked) => serve(asked).await,
        Command::Demo { data, json, common } => demo(data, json, &common).await,
        Command::Check(check) => return check.run().await,
        Command::NewPlugin(new) => new.run(),
        Command::Componentize(componentize) => componentize.run(),
        Command::Dev(dev) => dev.run().await,
        Command::Completions { shell } => completions(shell),
        Command::Man { folder } => manual(&folder),
        Command::Operator(command) => operator::run(command).await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(format!("host-harness: {error:#}\n"));
            ExitCode::FAILURE
        }
    }
}

/// Writes to standard error, unless nobody reads that: the process is to end.
fn say(text: String) {
    let (sender, said) = channel();
    let saying = thread::Builder::new().spawn({
        let text = text.clone();
        move || {
            eprint!("{text}");
            let _ = sender.send(());
        }
    });
    match saying {
        Ok(_) => drop(said.recv_timeout(LAST_LINES_LIMIT)),
        Err(_) => eprint!("{text}"),
    }
}

async fn serve(asked: Serve) -> anyhow::Result<()> {
    let config = match &asked.config {
        Some(file) => Config::read(file)?,
        None => of_options(&asked).await?,
    };
    let hosted = Hosted {
        config,
        file: asked.config,
        keys: asked.keys.source()?,
    };
    run(hosted, asked.common.log, |hosting, url| {
        if !hosting.is_sealed() {
            tracing::warn!(
                "what the stores keep secret is not sealed: who copies one has its TOTP keys. \
                 `host-harness store new-key` and then `store rekey` seal it"
            );
        }
        tracing::info!(url, "listening");
        // What waits for the service goes on then.
        if let Err(error) = sd_notify::notify(&[NotifyState::Ready]) {
            tracing::warn!(%error, "systemd cannot be told");
        }
        Ok(())
    })
    .await
}

/// What is served where there is no configuration file.
async fn of_options(asked: &Serve) -> anyhow::Result<Config> {
    let store = StoreUrl::of(asked.store.as_deref().unwrap_or_default())?;
    if asked.create {
        operator::workspace::create_in(&store, &asked.keys, WORKSPACE).await?;
    }
    let mut config = only(store, &candidate_of(&asked.common.plugin)?, &asked.common);
    for workspace in &mut config.workspaces {
        workspace.neighbours = asked.neighbours.then_some(true);
    }
    let admin = asked.admin_listen;
    config.host.admin_listen = admin
        .map(|admin| config::admin_address(admin, config.host.listen))
        .transpose()
        .map_err(|problem| anyhow!("--admin-listen: {problem}"))?;
    Ok(config)
}

/// What is served, and where it comes from.
struct Hosted {
    config: Config,
    /// The file that it was read from, if it was.
    file: Option<PathBuf>,
    /// Where the keys come from, unless the configuration says.
    keys: KeySource,
}

async fn demo(data: Option<PathBuf>, json: bool, common: &Common) -> anyhow::Result<()> {
    let temporary = tempfile::tempdir().context("cannot make a temporary folder")?;
    let folder = data.as_deref().unwrap_or(temporary.path());
    let (store, credentials) = demo::workspace(folder)
        .await
        .with_context(|| format!("cannot use {} for the demonstration", folder.display()))?;
    let hosted = Hosted {
        config: only(store.into(), &candidate_of(&common.plugin)?, common),
        file: None,
        keys: KeySource::Nowhere,
    };
    run(hosted, common.log, |_, url| match json {
        true => show(&json!({"url": url, "users": credentials}).to_string()),
        false => demo::guide(url, &credentials),
    })
    .await
}

fn usual_plugin() -> PathBuf {
    let program = std::env::current_exe().ok();
    let installed = program.and_then(|program| Some(program.parent()?.join(INSTALLED_PLUGIN)));
    let installed = installed.filter(|plugin| plugin.exists());
    installed.unwrap_or_else(|| BUILT_PLUGIN.into())
}

fn candidate_of(plugin: &Path) -> anyhow::Result<Candidate> {
    Candidate::read(plugin).with_context(|| {
        format!(
            "cannot read the plugin {}; `cargo xtask build` makes {BUILT_PLUGIN}",
            plugin.display()
        )
    })
}

/// What serves the one workspace of `store` under every host name.
fn only(store: StoreUrl, candidate: &Candidate, common: &Common) -> Config {
    let workspace = config::WorkspaceEntry {
        id: WORKSPACE.into(),
        hosts: [ANY_HOST.into()].into(),
        store,
        plugin: candidate.digest(),
        grants: Grants::all().into(),
        limits: Limits::default().into(),
        neighbours: None,
        settings: Vec::new().into(),
    };
    Config {
        host: config::Host {
            listen: common.listen,
            trusted_proxies: common.trusted_proxy.clone(),
            ..config::Host::default()
        },
        plugins: vec![common.plugin.clone()],
        workspaces: vec![workspace],
    }
}

/// Serves until the process is told to stop; `announce` tells the URL once requests are
/// taken.
async fn run(
    hosted: Hosted,
    log: LogFormat,
    announce: impl FnOnce(&Arc<Hosting>, &str) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let Hosted { config, file, keys } = hosted;
    let host = config.host.clone();
    let _telemetry = telemetry::start(log, host.otlp.as_ref())?;
    // By the log's way: a thread that panics must not wait for who reads it either.
    std::panic::set_hook(Box::new(
        |panic| tracing::error!(%panic, "a thread panicked"),
    ));
    if let Some(advice) = file.as_deref().and_then(|file| config.advice(file)) {
        tracing::warn!("{advice}");
    }
    let hosting = Hosting::start(config, file, keys, Clock::system()).await?;
    let (stop, reload) = (stop_signal()?, signal(SignalKind::hangup())?);
    let listener = listen(host.listen)?;
    let stopping = CancellationToken::new();
    let stores = hosting.stores().clone();
    let tending = tokio::spawn(stores.tend(stopping.clone().cancelled_owned()));
    let admin = match host.admin_listen {
        Some(address) => Some(administer(address, &hosting, &stopping).await?),
        None => None,
    };
    let stopped = stopping.clone().cancelled_owned();
    let reloading = tokio::spawn(reload_at(reload, hosting.clone(), stopped));
    announce(&hosting, &format!("http://{}", listener.local_addr()?))?;
    let stopped = stopping.clone();
    let served = http::serve(listener, hosting.app(host.trusted_proxies), async move {
        stop.await;
        stopped.cancel();
    })
    .await;
    stopping.cancel();
    reloading.await?;
    match timeout(LAST_STORES_LIMIT, tending).await {
        Ok(tended) => tended?,
        Err(_elapsed) => tracing::error!("a store does not answer; the process ends without it"),
    }
    drop(admin);
    Ok(served?)
}

/// Answers operators at `address` until what it gives is dropped.
async fn administer(
    address: SocketAddr,
    hosting: &Arc<Hosting>,
    stopping: &CancellationToken,
) -> anyhow::Result<DropGuard> {
    let listener = listen(address)?;
    tracing::info!(url = %format!("http://{}", listener.local_addr()?), "operators are answered");
    let admin = Admin {
        control: Arc::new(hosting.clone()),
        metrics: hosting.metrics().clone(),
        stopping: stopping.clone(),
    };
    let end = CancellationToken::new();
    let ended = end.clone().cancelled_owned();
    tokio::spawn(async move {
        if let Err(error) = admin::serve(listener, admin, ended).await {
            tracing::error!(%error, "operators are not answered any more");
        }
    });
    Ok(end.drop_guard())
}

/// Reads the configuration again at each signal, until `stop` is ready: what is being taken
/// then may wait for what does not answer, and is of no use any more.
async fn reload_at(mut signal: Signal, hosting: Arc<Hosting>, stop: impl Future<Output = ()>) {
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => return,
            Some(()) = signal.recv() => tokio::select! {
                () = &mut stop => return,
                // It logs how that ended.
                _ = hosting.reload() => (),
            },
        }
    }
}

/// Into memory first: what makes the script panics where it cannot write.
fn completions(shell: Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), PROGRAM, &mut script);
    show(String::from_utf8(script)?.trim_end())
}

fn manual(folder: &Path) -> anyhow::Result<()> {
    clap_mangen::generate_to(Cli::command(), folder)
        .with_context(|| format!("cannot write manual pages into {}", folder.display()))
}

/// Writes to standard output at once.
fn show(text: &str) -> anyhow::Result<()> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{text}")?;
    Ok(output.flush()?)
}

fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listening = || {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listening().with_context(|| {
        format!("cannot listen on {address}; --listen or the configuration takes another")
    })
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
