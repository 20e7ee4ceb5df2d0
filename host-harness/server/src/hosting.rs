//! Many workspaces in one process, as its configuration says, and their
//! replacement while they are served.
//!
//! A configuration is taken as a whole or not at all: all that can be wrong with
//! it is found before anything changes. What is in flight ends with the plugin
//! and the limits with which it began.

mod check;
mod control;

pub use check::{Checked, admissions, check, seal};

use crate::clock::Clock;
use crate::config::{self, Config};
use crate::http::App;
use crate::metrics::Metrics;
use crate::stores::Stores;
use crate::workspace::{ANY_HOST, HostedWorkspace, Workspaces};
use arc_swap::ArcSwap;
use chat_domain::audit::new_request_id;
use chat_domain::operator::{FixSettings, Operation};
use chat_store::seal::{KeySource, Seal};
use check::{Change, Plugins};
use ipnet::IpNet;
use plugin_sandbox::admission::Admissions;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

/// Problems that are told of one configuration: more are a mistake made many
/// times.
const MAX_PROBLEMS: usize = 50;

/// How long a reload may take: longer than a plugin may take to compile. One that waits for
/// a file system or a store that does not answer would take for ever.
pub const RELOAD_LIMIT: Duration = Duration::from_secs(5 * 60);

/// The workspaces of a process.
pub struct Hosting {
    /// The file that says which.
    file: Option<PathBuf>,
    /// Where the keys come from, unless the configuration says.
    keys: KeySource,
    admissions: Admissions,
    stores: Arc<Stores>,
    seal: Seal,
    clock: Clock,
    metrics: Arc<Metrics>,
    workspaces: Arc<ArcSwap<Workspaces>>,
    host: config::Host,
    /// What is served. Operators look at it also while a configuration is taken,
    /// which may take a minute.
    live: ArcSwap<Live>,
    /// Held by the one that is taken.
    loading: tokio::sync::Mutex<()>,
    /// The last reload that was given up, which may still wait for what does not answer.
    given_up: Mutex<Option<Reload>>,
}

/// Workspaces by id.
type Live = BTreeMap<Box<str>, Arc<HostedWorkspace>>;

type Reload = JoinHandle<Result<Loaded, Refused>>;

/// What a configuration brought.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Loaded {
    /// Workspaces that are served.
    pub workspaces: usize,
    /// Those of them that are new or not as before.
    pub changed: usize,
    /// Those that are served no more.
    pub removed: usize,
    /// Settings that were written into stores.
    pub settings: usize,
}

/// Why a configuration is not taken; a line a problem.
#[derive(Debug, thiserror::Error)]
pub struct Refused(Vec<String>);

impl Refused {
    fn of(problem: &dyn fmt::Display) -> Self {
        Self(vec![problem.to_string()])
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.iter().take(MAX_PROBLEMS).map(String::as_str);
        f.write_str(&shown.collect::<Vec<_>>().join("\n"))?;
        match self.0.len().saturating_sub(MAX_PROBLEMS) {
            0 => Ok(()),
            more => write!(f, "\nand {more} more"),
        }
    }
}

impl Hosting {
    /// Takes `config`, which was read from `file` if it was; the stores are sealed by `keys`
    /// unless it says by which.
    ///
    /// # Errors
    ///
    /// When the engine cannot start, the cache or the keys cannot be used, a plugin is not
    /// admitted, or a store cannot be opened or lacks a workspace.
    pub async fn start(
        config: Config,
        file: Option<PathBuf>,
        keys: KeySource,
        clock: Clock,
    ) -> Result<Arc<Self>, Refused> {
        let seal = Seal::none();
        let hosting = Self {
            file,
            keys,
            admissions: admissions(&config.host)?,
            stores: Stores::new(clock.clone(), seal.clone()),
            seal,
            clock,
            metrics: Arc::default(),
            workspaces: Arc::default(),
            host: config.host.clone(),
            live: ArcSwap::default(),
            loading: tokio::sync::Mutex::default(),
            given_up: Mutex::default(),
        };
        hosting.load(config, None).await?;
        Ok(Arc::new(hosting))
    }

    /// Reads the file again, and that of the keys, and takes what they say now.
    ///
    /// # Errors
    ///
    /// When there is no file, it cannot be read or is wrong, it says something
    /// else of the process itself than at the start, or for the reasons of
    /// [`Hosting::start`]; when it takes longer than [`RELOAD_LIMIT`], and as long as
    /// one that did still waits. Everything goes on as before then, except that settings
    /// which were written before a store failed, or time was up, stay written, by the keys
    /// that were read.
    pub async fn reload(self: &Arc<Self>) -> Result<Loaded, Refused> {
        self.take_in_time(None).await
    }

    /// Takes `config` in the place of what is served.
    ///
    /// # Errors
    ///
    /// As [`Hosting::reload`], but for those of the file.
    pub async fn replace(self: &Arc<Self>, config: Config) -> Result<Loaded, Refused> {
        self.take_in_time(Some(config)).await
    }

    async fn take_in_time(self: &Arc<Self>, given: Option<Config>) -> Result<Loaded, Refused> {
        let result = self.load_in_time(given).await;
        match &result {
            Ok(loaded) => tracing::info!(
                workspaces = loaded.workspaces,
                changed = loaded.changed,
                removed = loaded.removed,
                settings = loaded.settings,
                "took the configuration"
            ),
            Err(error) => tracing::error!(%error, "the configuration stays as it was"),
        }
        result
    }

    /// In a task of its own: where that waits for ever, nobody else does.
    async fn load_in_time(self: &Arc<Self>, given: Option<Config>) -> Result<Loaded, Refused> {
        if self
            .given_up()
            .as_ref()
            .is_some_and(|task| !task.is_finished())
        {
            return Err(Refused::of(
                &"an earlier reload was given up and still waits for a file or store that does \
                  not answer: mend that, or restart the process",
            ));
        }
        let deadline = Instant::now() + RELOAD_LIMIT;
        let hosting = self.clone();
        let mut task = tokio::spawn(async move {
            let _loading = hosting.loading.lock().await;
            let config = match given {
                Some(config) => config,
                None => hosting.read_again().await?,
            };
            hosting.load(config, Some(deadline)).await
        });
        match timeout_at(deadline, &mut task).await {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => Err(Refused::of(&panic)),
            Err(_elapsed) => {
                *self.given_up() = Some(task);
                Err(too_late())
            }
        }
    }

    fn given_up(&self) -> MutexGuard<'_, Option<Reload>> {
        self.given_up.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read_again(&self) -> Result<Config, Refused> {
        let Some(file) = self.file.clone() else {
            return Err(Refused::of(&"there is no configuration file to read again"));
        };
        let read = tokio::task::spawn_blocking(move || {
            let config = Config::read(&file)?;
            if let Some(advice) = config.advice(&file) {
                tracing::warn!("{advice}");
            }
            Ok::<_, config::ConfigError>(config)
        });
        let config = read.await.map_err(|panic| Refused::of(&panic))?;
        config.map_err(|error| Refused::of(&error))
    }

    /// What a server serves of it.
    pub fn app(&self, trusted_proxies: Vec<IpNet>) -> App {
        App {
            workspaces: self.workspaces.clone(),
            clock: self.clock.clone(),
            trusted_proxies,
            metrics: self.metrics.clone(),
        }
    }

    /// The store files.
    pub fn stores(&self) -> &Arc<Stores> {
        &self.stores
    }

    /// Whether what the stores keep secret is sealed.
    pub fn is_sealed(&self) -> bool {
        !self.seal.is_none()
    }

    /// What is counted and measured.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Begins to change nothing after the deadline, at which it is said to be given up.
    async fn load(&self, config: Config, deadline: Option<Instant>) -> Result<Loaded, Refused> {
        if config.host != self.host {
            return Err(Refused::of(&"[host] has changed: that takes a restart"));
        }
        self.require_stores(&config).await?;
        let seal = seal(&config.host, &self.keys).await?;
        let Checked { plugins, changes } =
            check(&config, self.file.as_deref(), &self.admissions, &seal).await?;
        let live = self.live.load_full();
        let workspaces = self.assemble(&config, &plugins, &live);
        let is_late = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
        if is_late() {
            return Err(too_late());
        }
        self.seal.use_keys_of(&seal);
        let settings = self.write(changes).await?;
        if is_late() {
            return Err(too_late());
        }
        let stays = |id: &str, new: &Arc<HostedWorkspace>| {
            let old = live.get(id);
            old.is_some_and(|old| Arc::ptr_eq(old, new))
        };
        let removed = live.keys().filter(|id| !workspaces.contains_key::<str>(id));
        let loaded = Loaded {
            workspaces: workspaces.len(),
            changed: workspaces
                .iter()
                .filter(|(id, new)| !stays(id, new))
                .count(),
            removed: removed.count(),
            settings,
        };
        self.workspaces
            .store(Arc::new(by_host(&config, &workspaces)));
        self.live.store(Arc::new(workspaces));
        Ok(loaded)
    }

    /// Nobody may look into a file that has taken the place of a store which is open.
    async fn require_stores(&self, config: &Config) -> Result<(), Refused> {
        let now = self.clock.now();
        let asked = self
            .stores
            .ask_open(move |store| async move { store.next_mail_due(now).await });
        for (url, answer) in asked.await {
            let is_named = config.workspaces.iter().any(|w| w.store == url);
            if let (true, Err(error)) = (is_named, answer) {
                return Err(Refused::of(&format!("the store {url}: {error}")));
            }
        }
        Ok(())
    }

    /// A workspace that is to be as it was stays itself, with what it has learnt.
    fn assemble(&self, config: &Config, plugins: &Plugins, live: &Live) -> Live {
        let assembled = config.workspaces.iter().filter_map(|wanted| {
            let plugin = plugins.get(&(wanted.plugin, wanted.grants.clone()))?;
            let store = self.stores.at(&wanted.store);
            let same = |old: &&Arc<HostedWorkspace>| {
                Arc::ptr_eq(&old.plugin, plugin)
                    && Arc::ptr_eq(&old.store, &store)
                    && old.limits == *wanted.limits
                    && old.issuer == issuer(wanted)
                    && old.neighbours == wanted.serves_neighbours()
            };
            let kept = live.get(&wanted.id).filter(same).cloned();
            let replacement = || {
                let id = wanted.id.to_string();
                let mut new =
                    HostedWorkspace::new(id, store.clone(), plugin.clone(), *wanted.limits);
                new.issuer = issuer(wanted).to_owned();
                new.neighbours = wanted.serves_neighbours();
                Arc::new(match live.get(&wanted.id) {
                    Some(old) => new.in_place_of(old),
                    None => new,
                })
            };
            Some((wanted.id.clone(), kept.unwrap_or_else(replacement)))
        });
        assembled.collect()
    }

    /// Writes the settings that the stores do not have yet.
    async fn write(&self, changes: Vec<Change>) -> Result<usize, Refused> {
        let request_id = new_request_id(&mut rand::rng());
        let mut settings = 0;
        for change in &changes {
            let operation = Operation {
                workspace: change.workspace.to_string(),
                now: self.clock.now(),
                request_id: request_id.clone(),
                forced: false,
            };
            let order = FixSettings {
                operation,
                settings: change.settings.clone(),
            };
            let written = async {
                let store = self.stores.at(&change.store).get().await?;
                store.decide(order).await
            };
            match written.await {
                Ok(Ok(written)) => settings += written,
                Ok(Err(problem)) => return Err(change.failed(&problem)),
                Err(error) => return Err(change.failed(&error)),
            }
        }
        Ok(settings)
    }
}

/// Its first host name, or its id.
fn issuer(workspace: &config::WorkspaceEntry) -> &str {
    let mut hosts = workspace.hosts.iter();
    let first = hosts.find(|host| ***host != *ANY_HOST);
    first.unwrap_or(&workspace.id)
}

fn too_late() -> Refused {
    let limit = RELOAD_LIMIT.as_secs();
    Refused::of(&format!(
        "it took longer than {limit} s: a file or a store may not answer"
    ))
}

fn by_host(config: &Config, workspaces: &Live) -> Workspaces {
    let hosts = config.workspaces.iter().filter_map(|workspace| {
        let served = workspaces.get(&workspace.id)?;
        let hosts = workspace.hosts.iter();
        Some(hosts.map(|host| (host.to_string(), served.clone())))
    });
    hosts.flatten().collect()
}
