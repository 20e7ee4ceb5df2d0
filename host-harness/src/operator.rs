//! The operator's commands: on a store, which a server may be serving meanwhile; on
//! a plugin or a configuration before it is served; and to a process that serves.

mod account;
mod audit;
mod audit_log;
mod config;
mod doctor;
mod enrolment;
mod input;
mod outbox;
mod plugin;
mod process;
mod role;
mod setting;
mod status;
mod store;
mod table;
mod token;
mod user;
pub(crate) mod workspace;

use crate::WORKSPACE;
use crate::keys::KeyFile;
use anyhow::{Context, ensure};
use chat_domain::audit::new_request_id;
use chat_domain::operator::{NAME_FORM, Operation, is_name};
use chat_domain::retention::Prune;
use chat_domain::time::Timestamp;
use chat_server::clock::Clock;
use chat_store::{Store, StoreUrl};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

/// What an operator can do.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Create, list and show workspaces.
    Workspace {
        #[command(flatten)]
        at: StoreArgs,
        #[command(subcommand)]
        command: workspace::Command,
    },
    /// Add, show and change accounts.
    User {
        #[command(flatten)]
        place: Place,
        #[command(subcommand)]
        command: user::Command,
    },
    /// Show and change roles, and who has them.
    Role {
        #[command(flatten)]
        place: Place,
        #[command(subcommand)]
        command: role::Command,
    },
    /// Create, list and revoke login tokens.
    Token {
        #[command(flatten)]
        place: Place,
        #[command(subcommand)]
        command: token::Command,
    },
    /// Show and change a workspace's settings.
    Setting {
        #[command(flatten)]
        place: Place,
        #[command(subcommand)]
        command: setting::Command,
    },
    /// Say whether a configuration file can be served, or everything that is wrong.
    ///
    /// It looks at the plugins and the stores that the file names, too. Only exit
    /// code 0 means that it can be.
    ///
    /// Example: host-harness check-config host.toml
    CheckConfig {
        /// The configuration file.
        file: PathBuf,
        #[command(flatten)]
        keys: KeyFile,
        /// Print one line of JSON.
        #[arg(long)]
        json: bool,
    },
    /// Seal what a store keeps secret, so that a copy of it is of no use.
    Store {
        #[command(flatten)]
        at: StoreArgs,
        #[command(subcommand)]
        command: store::Command,
    },
    /// See to the mail that waits to be sent.
    Outbox {
        #[command(flatten)]
        place: Place,
        #[command(subcommand)]
        command: outbox::Command,
    },
    /// Show what was decided, by whom and from where, and prove that nobody has changed that.
    Audit {
        #[command(flatten)]
        place: Place,
        #[command(subcommand)]
        command: audit::Command,
    },
    /// Remove audit records, dead letters and ended sessions that are older than the
    /// settings audit-days and dead-letter-days say; a server does so every hour.
    Prune {
        #[command(flatten)]
        place: Place,
    },
    /// Tell what a plugin can and cannot do, and whether it may be admitted.
    ///
    /// Neither compiles nor runs it. Fails when it is not admissible.
    ///
    /// Example: host-harness inspect target/reset_totp.wasm
    Inspect {
        #[command(flatten)]
        plugin: plugin::Plugin,
    },
    /// Admit a plugin as `serve` does, and print the line that pins it.
    ///
    /// It is compiled and instantiated once.
    ///
    /// Example: host-harness admit target/reset_totp.wasm --cache code
    Admit {
        #[command(flatten)]
        plugin: plugin::Plugin,
        /// A folder that keeps compiled code, so that it is compiled once; it must
        /// belong to the host alone.
        #[arg(long, value_name = "DIR")]
        cache: Option<PathBuf>,
    },
    /// Have a process that serves read its configuration again, as SIGHUP does.
    ///
    /// Workspaces, plugins, limits and settings are replaced while requests go on,
    /// all of them or none.
    Reload {
        #[command(flatten)]
        process: process::Process,
    },
    /// Tell on one screen whether all is well, and what mends what is not.
    ///
    /// It asks the process that serves, and looks into its stores, or into that which --store
    /// names. Exits with 1 where something is wrong.
    Status {
        #[command(flatten)]
        place: status::Where,
    },
    /// Look at a Rocket.Chat's own database, and say whether a host could serve it.
    ///
    /// It changes nothing. Exits with 0 where it would be served.
    ///
    /// Example: host-harness doctor --store 'mongodb://127.0.0.1/rocketchat?replicaSet=rs0'
    Doctor {
        /// The database, as MONGO_URL of Rocket.Chat names it; or by --store.
        #[arg(value_name = "STORE")]
        database: Option<OsString>,
        #[command(flatten)]
        at: StoreArgs,
    },
    /// See to plugins that are left alone because they keep failing.
    Breaker {
        #[command(flatten)]
        process: process::Process,
        #[command(subcommand)]
        command: process::Breaker,
    },
}

/// Which store, and how to answer.
#[derive(Args)]
#[command(next_help_heading = "Where, and how to answer")]
pub(crate) struct StoreArgs {
    /// The store that holds the workspaces: a SQLite file,
    /// postgres://USER@HOST/DATABASE, or mongodb://HOST/DATABASE, a Rocket.Chat's own.
    /// Required.
    #[arg(
        long,
        global = true,
        env = "HOST_HARNESS_STORE",
        hide_env_values = true,
        value_name = "STORE"
    )]
    store: Option<OsString>,
    #[command(flatten)]
    keys: KeyFile,
    /// Print one line of JSON.
    #[arg(long, global = true)]
    json: bool,
}

/// Which workspace, and how to answer.
#[derive(Args)]
#[command(next_help_heading = "Where, and how to answer")]
pub(crate) struct Place {
    #[command(flatten)]
    at: StoreArgs,
    /// The workspace.
    #[arg(long, global = true, value_name = "ID", default_value = WORKSPACE)]
    workspace: String,
}

/// A workspace of an open store.
struct Desk {
    store: Arc<dyn Store>,
    workspace: String,
    /// When the command began.
    now: Timestamp,
}

/// What a command answers, to people and to scripts.
struct Report {
    text: String,
    json: Value,
}

/// Does what `command` says, and prints the answer.
pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    let (report, json) = match command {
        Command::Workspace { at, command } => (workspace::run(&at, command).await?, at.json),
        Command::User { place, command } => (
            user::run(&Desk::at(&place).await?, command).await?,
            place.at.json,
        ),
        Command::Role { place, command } => (
            role::run(&Desk::at(&place).await?, command).await?,
            place.at.json,
        ),
        Command::Token { place, command } => (
            token::run(&Desk::at(&place).await?, command).await?,
            place.at.json,
        ),
        Command::Setting { place, command } => (
            setting::run(&Desk::at(&place).await?, command).await?,
            place.at.json,
        ),
        Command::CheckConfig { file, keys, json } => (config::check(&file, &keys).await?, json),
        Command::Store { at, command } => (store::run(&at, command).await?, at.json),
        Command::Outbox { place, command } => (
            outbox::run(&Desk::at(&place).await?, command).await?,
            place.at.json,
        ),
        Command::Audit { place, command } => return audit::run(&place, command).await,
        Command::Prune { place } => (prune(&Desk::at(&place).await?).await?, place.at.json),
        Command::Inspect { plugin } => return inspect(&plugin),
        Command::Admit { plugin, cache } => {
            (plugin::admit(&plugin, cache.as_ref()).await?, plugin.json())
        }
        Command::Status { place } => return status::run(&place).await,
        Command::Doctor { database, mut at } => {
            at.store = database.or(at.store);
            return examine(&at).await;
        }
        Command::Reload { process } => (process::reload(&process).await?, process.json),
        Command::Breaker { process, command } => {
            (process::breaker(&process, command).await?, process.json)
        }
    };
    show(report, json)
}

/// One transaction after another, so that others get their turn.
async fn prune(desk: &Desk) -> anyhow::Result<Report> {
    let mut rounds = 0;
    while desk.store.decide(Prune(desk.operation())).await?? {
        rounds += 1;
    }
    let text = match rounds {
        0 => "nothing is older than it is kept".to_owned(),
        _ => "what is older than it is kept is removed".to_owned(),
    };
    let json = json!({"pruned": rounds > 0});
    Ok(Report { text, json })
}

/// The report is printed also where it says that the plugin is not admissible.
fn inspect(plugin: &plugin::Plugin) -> anyhow::Result<()> {
    let (report, admissible) = plugin::inspect(plugin)?;
    show(report, plugin.json())?;
    ensure!(admissible, "the plugin is not admissible");
    Ok(())
}

/// The report is printed also where it says that the database would not be served.
async fn examine(at: &StoreArgs) -> anyhow::Result<()> {
    let verdict = doctor::run(at).await?;
    show(verdict.report, at.json)?;
    ensure!(verdict.would_serve, "it would not be served");
    Ok(())
}

fn show(report: Report, json: bool) -> anyhow::Result<()> {
    let text = if json {
        report.json.to_string()
    } else {
        report.text
    };
    crate::show(&text)
}

impl StoreArgs {
    fn url(&self) -> anyhow::Result<StoreUrl> {
        let store = self.store.as_deref();
        let store =
            store.context("which store? Name it by --store STORE or by HOST_HARNESS_STORE")?;
        Ok(StoreUrl::of(store)?)
    }

    async fn open(&self) -> anyhow::Result<Arc<dyn Store>> {
        let url = self.url()?;
        let seal = self.keys.seal()?;
        let context = || format!("cannot open the store {url}{}", url.hint());
        let problem = match url.open(&seal).await {
            Ok(store) => return Ok(store),
            Err(problem) => problem,
        };
        // What is there is shown all the same; what would change it fails.
        match url.open_to_look(&seal).await {
            Ok(store) => {
                eprintln!(
                    "host-harness: the store can only be looked at: {}",
                    problem.0
                );
                Ok(store)
            }
            Err(_) => Err(problem).with_context(context),
        }
    }
}

impl Desk {
    async fn at(place: &Place) -> anyhow::Result<Self> {
        Ok(Self {
            store: place.at.open().await?,
            workspace: place.workspace.clone(),
            now: Clock::system().now(),
        })
    }

    /// One change, now: it may have taken time to enter a password.
    fn operation(&self) -> Operation {
        Operation {
            workspace: self.workspace.clone(),
            now: Clock::system().now(),
            request_id: new_request_id(&mut rand::rng()),
            forced: false,
        }
    }
}

/// What is done in spite of its consequence.
#[derive(Args)]
pub(crate) struct Even {
    /// Even where nobody is left who may reset another member's TOTP.
    #[arg(long)]
    force: bool,
}

impl Even {
    fn operation(&self, desk: &Desk) -> Operation {
        Operation {
            forced: self.force,
            ..desk.operation()
        }
    }
}

/// The name of something new.
fn name(text: &str) -> Result<String, String> {
    match is_name(text) {
        true => Ok(text.to_owned()),
        false => Err(format!("a name is {NAME_FORM}")),
    }
}

/// For example `1 session`, `2 sessions`.
fn count(number: usize, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    }
}
