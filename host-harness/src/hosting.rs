//! Many workspaces in one process, as its configuration says, and their
//! replacement while they are served.
//!
//! A configuration is taken as a whole or not at all: all that can be wrong with
//! it is found before anything changes. What is in flight ends with the plugin
//! and the limits with which it began.

mod control;

use crate::admission::{Candidate, CodeCache, Policy};
use crate::clock::Clock;
use crate::config::{self, Config, FixedSetting};
use crate::digest::Digest;
use crate::grants::Grants;
use crate::metrics::Metrics;
use crate::plugin::Plugin;
use crate::runtime::Runtime;
use crate::server::App;
use crate::settings::Settings;
use crate::store::directory::Operation;
use crate::store::sqlite;
use crate::stores::Stores;
use crate::workspace::{Workspace, Workspaces};
use arc_swap::ArcSwap;
use data_encoding::HEXLOWER;
use ipnet::IpNet;
use secrecy::ExposeSecret;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::Mutex;

/// Bytes of chance in the id under which the audit trail has what one load
/// changes.
const REQUEST_ID_BYTES: usize = 16;

/// Problems that are told of one configuration: more are a mistake made many
/// times.
const MAX_PROBLEMS: usize = 50;

/// The workspaces of a process.
pub struct Hosting {
    /// The file that says which.
    file: Option<PathBuf>,
    runtime: Runtime,
    stores: Arc<Stores>,
    clock: Clock,
    metrics: Arc<Metrics>,
    workspaces: Arc<ArcSwap<Workspaces>>,
    host: config::Host,
    /// What is served. Operators look at it also while a configuration is taken,
    /// which may take a minute.
    live: ArcSwap<Live>,
    /// Held by the one that is taken.
    loading: Mutex<()>,
}

/// Workspaces by id.
type Live = BTreeMap<Box<str>, Arc<Workspace>>;

/// What a configuration brought.
#[derive(Debug, PartialEq, Eq)]
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
    /// Takes `config`, which was read from `file` if it was.
    ///
    /// # Errors
    ///
    /// When the engine cannot start, the cache cannot be used, a plugin is not
    /// admitted, or a store cannot be opened or lacks a workspace.
    pub async fn start(
        config: Config,
        file: Option<PathBuf>,
        clock: Clock,
    ) -> Result<Arc<Self>, Refused> {
        let hosting = Self {
            file,
            runtime: runtime(&config.host)?,
            stores: Stores::new(clock.clone()),
            clock,
            metrics: Arc::default(),
            workspaces: Arc::default(),
            host: config.host.clone(),
            live: ArcSwap::default(),
            loading: Mutex::default(),
        };
        hosting.load(config).await?;
        Ok(Arc::new(hosting))
    }

    /// Reads the file again and takes what it says now.
    ///
    /// # Errors
    ///
    /// When there is no file, it cannot be read or is wrong, it says something
    /// else of the process itself than at the start, or for the reasons of
    /// [`Hosting::start`]. Everything goes on as before then, except that settings
    /// which were written before a store failed stay written.
    pub async fn reload(&self) -> Result<Loaded, Refused> {
        let result = self.read_again().await;
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

    async fn read_again(&self) -> Result<Loaded, Refused> {
        let Some(file) = self.file.clone() else {
            return Err(Refused::of(&"there is no configuration file to read again"));
        };
        let config = tokio::task::spawn_blocking(move || Config::read(&file)).await;
        let config = config.map_err(|panic| Refused::of(&panic))?;
        self.load(config.map_err(|error| Refused::of(&error))?)
            .await
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

    /// What is counted and measured.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    async fn load(&self, config: Config) -> Result<Loaded, Refused> {
        let _loading = self.loading.lock().await;
        if config.host != self.host {
            return Err(Refused::of(&"[host] has changed: that takes a restart"));
        }
        let Checked { plugins, changes } = check(&config, &self.runtime).await?;
        let live = self.live.load_full();
        let workspaces = self.assemble(&config, &plugins, &live);
        let settings = self.write(changes).await?;
        let stays = |id: &str, new: &Arc<Workspace>| {
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

    /// A workspace that is to be as it was stays itself, with what it has learnt.
    fn assemble(&self, config: &Config, plugins: &Plugins, live: &Live) -> Live {
        let assembled = config.workspaces.iter().filter_map(|wanted| {
            let plugin = plugins.get(&(wanted.plugin, wanted.grants.clone()))?;
            let store = self.stores.file(&wanted.store);
            let same = |old: &&Arc<Workspace>| {
                Arc::ptr_eq(&old.plugin, plugin)
                    && Arc::ptr_eq(&old.store, &store)
                    && old.limits == *wanted.limits
            };
            let kept = live.get(&wanted.id).filter(same).cloned();
            let replacement = || {
                let id = wanted.id.to_string();
                let new = Workspace::new(id, store.clone(), plugin.clone(), *wanted.limits);
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
        let request_id = HEXLOWER.encode(&rand::random::<[u8; REQUEST_ID_BYTES]>());
        for change in &changes {
            let operation = Operation {
                workspace: change.workspace.to_string(),
                now: self.clock.now(),
                request_id: request_id.clone(),
            };
            let FixedSetting { setting, value } = change.fixed.clone();
            let written = async {
                let store = self.stores.file(&change.store).get().await?;
                store.set_setting(operation, setting, value).await
            };
            match written.await {
                Ok(Ok(())) => (),
                Ok(Err(problem)) => return Err(change.failed(&problem)),
                Err(error) => return Err(change.failed(&error)),
            }
        }
        Ok(changes.len())
    }
}

/// Each plugin that is wanted, as admitted with the grants it is wanted with.
type Plugins = HashMap<(Digest, Arc<Grants>), Arc<Plugin>>;

/// What a configuration needs, which is there.
pub struct Checked {
    plugins: Plugins,
    changes: Vec<Change>,
}

/// A setting that a store does not have as the configuration says.
struct Change {
    workspace: Box<str>,
    store: Arc<Path>,
    fixed: FixedSetting,
}

impl Change {
    fn failed(&self, problem: &dyn fmt::Display) -> Refused {
        let (workspace, setting) = (&self.workspace, self.fixed.setting.name);
        Refused::of(&format!(
            "cannot set {setting} of the workspace {workspace}: {problem}"
        ))
    }
}

/// The engine that a configuration asks for, with its cache.
///
/// # Errors
///
/// When the engine cannot start or the cache cannot be used.
pub fn runtime(host: &config::Host) -> Result<Runtime, Refused> {
    let failed = |error| Refused::of(&format!("cannot start the engine: {error:#}"));
    let runtime = Runtime::new(host.capacity).map_err(failed)?;
    let Some(cache) = &host.cache else {
        return Ok(runtime);
    };
    let cache = CodeCache::open(cache).map_err(|error| Refused::of(&error))?;
    Ok(runtime.with_cache(cache))
}

/// Whether all is there that `config` needs: admits its plugins and looks into its
/// stores.
///
/// # Errors
///
/// With everything that is wrong.
pub async fn check(config: &Config, runtime: &Runtime) -> Result<Checked, Refused> {
    let mut problems = Vec::new();
    let plugins = admit(config, runtime, &mut problems).await;
    let changes = survey(config, &mut problems).await;
    if !problems.is_empty() {
        return Err(Refused(problems));
    }
    Ok(Checked { plugins, changes })
}

/// Admits each plugin once for each set of grants.
async fn admit(config: &Config, runtime: &Runtime, problems: &mut Vec<String>) -> Plugins {
    let mut candidates = HashMap::new();
    for file in &config.plugins {
        match Candidate::read(file) {
            Ok(candidate) => drop(candidates.insert(candidate.digest(), (file, candidate))),
            Err(error) => problems.push(format!(
                "cannot read the plugin {}: {error}",
                file.display()
            )),
        }
    }
    let wanted: BTreeMap<_, _> = config
        .workspaces
        .iter()
        .map(|workspace| ((workspace.plugin, workspace.grants.clone()), &workspace.id))
        .collect();
    let mut plugins = Plugins::new();
    for ((digest, grants), workspace) in wanted {
        let Some((file, candidate)) = candidates.get(&digest) else {
            let there = candidates.iter();
            let there = there.map(|(digest, (file, _))| format!("{digest} ({})", file.display()));
            problems.push(format!(
                "no file of [plugins] has the digest that the workspace {workspace} names, \
                 {digest}; there are: {}",
                there.collect::<Vec<_>>().join(", ")
            ));
            continue;
        };
        let policy = Policy {
            digest: Some(digest),
            grants: (*grants).clone(),
            trust: config.host.trust.clone(),
        };
        match runtime.admit(candidate, &policy).await {
            Ok(plugin) => drop(plugins.insert((digest, grants), plugin)),
            Err(rejected) => problems.push(format!(
                "the plugin {} is not admitted for the workspace {workspace}: {rejected}",
                file.display()
            )),
        }
    }
    plugins
}

/// Looks into each store once: it must hold its workspaces. Says which settings it
/// holds otherwise than the configuration says.
async fn survey(config: &Config, problems: &mut Vec<String>) -> Vec<Change> {
    let mut by_store = BTreeMap::<&Arc<Path>, Vec<_>>::new();
    for workspace in &config.workspaces {
        by_store
            .entry(&workspace.store)
            .or_default()
            .push(workspace);
    }
    let mut changes = Vec::new();
    for (store, workspaces) in by_store {
        let path = store.display();
        let found = match sqlite::survey(store).await {
            Ok(found) => found,
            Err(error) => {
                let hint = match store.exists() {
                    true => "",
                    false => "; `host-harness workspace create` makes one",
                };
                problems.push(format!("cannot open the store {path}{hint}: {error}"));
                continue;
            }
        };
        for workspace in workspaces {
            let id = &workspace.id;
            match found.get(&**id) {
                Some(settings) => changes.extend(changed(workspace, settings)),
                None => problems.push(format!(
                    "the store {path} has no workspace {id}; `host-harness workspace create {id} \
                     --store {path}` makes it"
                )),
            }
        }
    }
    changes
}

/// The settings that are to be otherwise.
fn changed<'a>(
    workspace: &'a config::Workspace,
    settings: &'a Settings,
) -> impl Iterator<Item = Change> + 'a {
    let differs = |fixed: &&FixedSetting| {
        fixed.setting.value(settings).expose_secret() != fixed.value.expose_secret()
    };
    let differing = workspace.settings.iter().filter(differs);
    differing.map(|fixed| Change {
        workspace: workspace.id.clone(),
        store: workspace.store.clone(),
        fixed: fixed.clone(),
    })
}

fn by_host(config: &Config, workspaces: &Live) -> Workspaces {
    let hosts = config.workspaces.iter().filter_map(|workspace| {
        let served = workspaces.get(&workspace.id)?;
        let hosts = workspace.hosts.iter();
        Some(hosts.map(|host| (host.to_string(), served.clone())))
    });
    hosts.flatten().collect()
}
