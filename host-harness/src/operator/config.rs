//! `check-config`: whether a configuration file can be served.

use super::Report;
use super::table::{aligned, headed, listed, printable};
use anyhow::bail;
use host_harness::config::{Config, Workspace};
use host_harness::digest::Digest;
use host_harness::store::Store;
use host_harness::store::sqlite::Sqlite;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Problems that are shown: who has more has one cause for most.
const SHOWN: usize = 50;

pub(super) async fn check(path: &Path) -> anyhow::Result<Report> {
    let config = Config::read(path)?;
    let mut problems = Vec::new();
    let plugins = plugins(&config.plugins, &mut problems);
    for workspace in &config.workspaces {
        problems.extend(plugin_problem(workspace, &plugins));
    }
    for (store, workspaces) in by_store(&config.workspaces) {
        check_store(store, &workspaces, &mut problems).await;
    }
    if problems.is_empty() {
        return Ok(report(&config, &plugins));
    }
    let more = problems.len().saturating_sub(SHOWN);
    problems.truncate(SHOWN);
    if more > 0 {
        problems.push(format!("and {more} more"));
    }
    let path = printable(&path.display().to_string());
    bail!("{path} cannot be served:\n  {}", problems.join("\n  "))
}

/// The files that can be read, by digest.
fn plugins(files: &[PathBuf], problems: &mut Vec<String>) -> BTreeMap<Digest, PathBuf> {
    let mut plugins = BTreeMap::new();
    for file in files {
        match std::fs::read(file) {
            Ok(bytes) => {
                plugins.insert(Digest::of(&bytes), file.clone());
            }
            Err(error) => problems.push(format!("cannot read the plugin {}: {error}", shown(file))),
        }
    }
    plugins
}

fn plugin_problem(workspace: &Workspace, plugins: &BTreeMap<Digest, PathBuf>) -> Option<String> {
    if plugins.contains_key(&workspace.plugin) {
        return None;
    }
    let there = plugins
        .iter()
        .map(|(digest, file)| format!("{digest} ({})", shown(file)));
    Some(format!(
        "no file of [plugins] has the digest that the workspace {} names, {}; there are: {}",
        workspace.id,
        workspace.plugin,
        listed(&there.collect::<Vec<_>>())
    ))
}

fn by_store(workspaces: &[Workspace]) -> BTreeMap<&Path, Vec<&Workspace>> {
    let mut stores: BTreeMap<&Path, Vec<&Workspace>> = BTreeMap::new();
    for workspace in workspaces {
        stores.entry(&workspace.store).or_default().push(workspace);
    }
    stores
}

/// Whether the store can be opened and has these workspaces.
async fn check_store(path: &Path, workspaces: &[&Workspace], problems: &mut Vec<String>) {
    let store = match crate::open(path).await {
        Ok(store) => store,
        Err(error) => return problems.push(format!("{error:#}")),
    };
    for workspace in workspaces {
        problems.extend(workspace_problem(&store, path, &workspace.id).await);
    }
}

async fn workspace_problem(store: &Sqlite, path: &Path, id: &str) -> Option<String> {
    let path = shown(path);
    match store.settings(id).await {
        Ok(Some(_)) => None,
        Ok(None) => Some(format!(
            "the store {path} has no workspace {id}; `host-harness workspace create {id} --store \
             {path}` makes it"
        )),
        Err(error) => Some(format!("cannot read the store {path}: {error}")),
    }
}

fn report(config: &Config, plugins: &BTreeMap<Digest, PathBuf>) -> Report {
    let row = |workspace: &Workspace| {
        [
            workspace.id.to_string(),
            listed(&workspace.hosts),
            workspace.store.display().to_string(),
            workspace.plugin.to_string(),
            listed(&grants(workspace)),
        ]
    };
    let workspaces = headed(
        ["WORKSPACE", "HOSTS", "STORE", "PLUGIN", "GRANTS"],
        config.workspaces.iter().map(row).collect(),
    );
    let address = |address: Option<_>| address.map_or("-".to_owned(), |a| format!("{a}"));
    let host = aligned(&[
        ["listen".to_owned(), address(Some(config.host.listen))],
        ["admin-listen".to_owned(), address(config.host.admin_listen)],
    ]);
    Report {
        text: format!("{host}\n\n{workspaces}"),
        json: json!({
            "listen": config.host.listen.to_string(),
            "adminListen": config.host.admin_listen.map(|address| address.to_string()),
            "plugins": plugins.iter().map(described_plugin).collect::<Value>(),
            "workspaces": config.workspaces.iter().map(described).collect::<Value>(),
        }),
    }
}

fn described_plugin((digest, file): (&Digest, &PathBuf)) -> Value {
    json!({"digest": digest.to_string(), "file": file.display().to_string()})
}

/// The workspace as scripts see it: of its settings, the names.
fn described(workspace: &Workspace) -> Value {
    let fixed = workspace.settings.iter().map(|fixed| fixed.setting.name);
    json!({
        "id": workspace.id,
        "hosts": workspace.hosts,
        "store": workspace.store.display().to_string(),
        "plugin": workspace.plugin.to_string(),
        "grants": grants(workspace),
        "fixedSettings": fixed.collect::<Value>(),
    })
}

fn grants(workspace: &Workspace) -> Vec<&'static str> {
    let grants = workspace.grants.iter();
    grants.map(|capability| capability.name()).collect()
}

fn shown(path: &Path) -> String {
    printable(&path.display().to_string())
}
