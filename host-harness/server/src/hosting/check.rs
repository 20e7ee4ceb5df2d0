//! Whether all is there that a configuration needs: its plugins, admitted, and its
//! stores with their workspaces.

use super::Refused;
use crate::config::{self, Config, FixedSetting};
use chat_domain::settings::Settings;
use chat_store::sqlite;
use plugin_sandbox::admission::{Admissions, Candidate, CodeCache, Policy};
use plugin_sandbox::digest::Digest;
use plugin_sandbox::grants::Grants;
use plugin_sandbox::plugin::Plugin;
use plugin_sandbox::runtime::Runtime;
use secrecy::ExposeSecret;
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

/// A setting that a store does not have as the configuration says.
pub(super) struct Change {
    pub(super) workspace: Box<str>,
    pub(super) store: Arc<Path>,
    pub(super) fixed: FixedSetting,
}

impl Change {
    pub(super) fn failed(&self, problem: &dyn fmt::Display) -> Refused {
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
pub fn admissions(host: &config::Host) -> Result<Admissions, Refused> {
    let failed = |error| Refused::of(&format!("cannot start the engine: {error:#}"));
    let admissions = Admissions::new(Runtime::new(host.capacity).map_err(failed)?);
    let Some(cache) = &host.cache else {
        return Ok(admissions);
    };
    let cache = CodeCache::open(cache).map_err(|error| Refused::of(&error))?;
    Ok(admissions.with_cache(cache))
}

/// Whether all is there that `config` needs: admits its plugins and looks into its
/// stores.
///
/// # Errors
///
/// With everything that is wrong.
pub async fn check(config: &Config, admissions: &Admissions) -> Result<Checked, Refused> {
    let mut problems = Vec::new();
    let plugins = admit(config, admissions, &mut problems).await;
    let changes = survey(config, &mut problems).await;
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
    workspace: &'a config::WorkspaceEntry,
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
