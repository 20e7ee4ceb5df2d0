//! Whether all is there that a configuration needs: its plugins, admitted, and its
//! stores with their workspaces.

use super::Refused;
use crate::config::{self, Config};
use chat_domain::settings::Setting;
use chat_store::seal::{KeySource, Seal};
use chat_store::{StoreUrl, Surveyed};
use plugin_sandbox::admission::{Admissions, Candidate, CodeCache, Policy};
use plugin_sandbox::digest::Digest;
use plugin_sandbox::grants::Grants;
use plugin_sandbox::plugin::Plugin;
use plugin_sandbox::runtime::Runtime;
use secrecy::{ExposeSecret, SecretString};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Each plugin that is wanted, as admitted with the grants it is wanted with.
pub(super) type Plugins = HashMap<(Digest, Arc<Grants>), Arc<Plugin>>;

/// What a configuration needs, which is there.
pub struct Checked {
    pub(super) plugins: Plugins,
    pub(super) changes: Vec<Change>,
}

/// A workspace whose settings are not as the configuration says.
pub(super) struct Change {
    pub(super) workspace: Box<str>,
    pub(super) store: StoreUrl,
    /// Each that the configuration says, and where.
    pub(super) settings: Vec<(&'static Setting, SecretString, String)>,
}

impl Change {
    pub(super) fn failed(&self, problem: &dyn fmt::Display) -> Refused {
        let workspace = &self.workspace;
        Refused::of(&format!(
            "cannot set the settings of the workspace {workspace}: {problem}"
        ))
    }
}

/// The engine that a configuration asks for, with its cache.
///
/// # Errors
///
/// When the engine cannot start or the cache cannot be used.
pub fn admissions(host: &config::Host) -> Result<Admissions, Refused> {
    let failed = |error| Refused::of(&format!("cannot start the engine: {error:#}"));
    let admissions = Admissions::new(Runtime::new(host.capacity).map_err(failed)?);
    let Some(cache) = &host.cache else {
        return Ok(admissions);
    };
    let cache = CodeCache::open(cache).map_err(|error| Refused::of(&error))?;
    Ok(admissions.with_cache(cache))
}

/// What seals and opens what the stores keep secret: by the keys of the file that the
/// configuration names, or else by those that the process was given.
///
/// # Errors
///
/// When there are no keys where some are named.
pub async fn seal(host: &config::Host, given: &KeySource) -> Result<Seal, Refused> {
    let source = match &host.key_file {
        Some(path) => KeySource::File(path.clone()),
        None => given.clone(),
    };
    let read = tokio::task::spawn_blocking(move || source.seal()).await;
    let seal = read.map_err(|panic| Refused::of(&panic))?;
    seal.map_err(|problem| Refused::of(&problem))
}

/// Whether all is there that `config` needs: admits its plugins and looks into its
/// stores.
///
/// # Errors
///
/// With everything that is wrong.
pub async fn check(
    config: &Config,
    file: Option<&Path>,
    admissions: &Admissions,
    seal: &Seal,
) -> Result<Checked, Refused> {
    let mut problems = Vec::new();
    let plugins = admit(config, admissions, &mut problems).await;
    let changes = survey(config, file, seal, &mut problems).await;
    if !problems.is_empty() {
        return Err(Refused(problems));
    }
    Ok(Checked { plugins, changes })
}

/// Admits each plugin once for each set of grants.
async fn admit(config: &Config, admissions: &Admissions, problems: &mut Vec<String>) -> Plugins {
    let mut candidates = HashMap::new();
    for file in &config.plugins {
        let path = file.clone();
        let read = tokio::task::spawn_blocking(move || Candidate::read(&path)).await;
        match read.unwrap_or_else(|panic| Err(panic.into())) {
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
        match admissions.admit(candidate, &policy).await {
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
async fn survey(
    config: &Config,
    file: Option<&Path>,
    seal: &Seal,
    problems: &mut Vec<String>,
) -> Vec<Change> {
    let mut by_store = BTreeMap::<&StoreUrl, Vec<_>>::new();
    for workspace in &config.workspaces {
        by_store
            .entry(&workspace.store)
            .or_default()
            .push(workspace);
    }
    let mut changes = Vec::new();
    for (store, workspaces) in by_store {
        let found = match store.survey(seal).await {
            Ok(found) => found,
            Err(error) => {
                let hint = store.hint();
                problems.push(format!("cannot open the store {store}{hint}: {error}"));
                continue;
            }
        };
        for workspace in workspaces {
            let id = &workspace.id;
            match found.get(&**id) {
                Some(surveyed) => changes.extend(changed(workspace, file, surveyed)),
                None => problems.push(format!(
                    "the store {store} has no workspace {id}; `host-harness workspace create {id} \
                     --store {store}` makes it"
                )),
            }
        }
    }
    changes
}

/// What is to be otherwise, if anything is.
fn changed(
    workspace: &config::WorkspaceEntry,
    file: Option<&Path>,
    surveyed: &Surveyed,
) -> Option<Change> {
    let wanted = workspace.settings.iter();
    let settings: Vec<_> = wanted
        .map(|fixed| (fixed.setting, fixed.value.clone(), place(file, fixed.line)))
        .collect();
    let is_as_wanted = |(setting, value, _): &(&'static Setting, SecretString, String)| {
        setting.value(&surveyed.settings).expose_secret() == value.expose_secret()
    };
    let fixed = settings
        .iter()
        .map(|(setting, _, place)| (setting.name, place));
    let known = surveyed
        .fixed
        .iter()
        .map(|fixed| (fixed.name.as_str(), &fixed.place));
    let is_same = fixed.eq(known) && settings.iter().all(is_as_wanted);
    (!is_same).then(|| Change {
        workspace: workspace.id.clone(),
        store: workspace.store.clone(),
        settings,
    })
}

fn place(file: Option<&Path>, line: usize) -> String {
    match file {
        Some(file) => format!("{} line {line}", file.display()),
        None => "the host that serves".to_owned(),
    }
}
