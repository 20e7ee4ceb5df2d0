//! `check-config`: whether a configuration file can be served.

use super::Report;
use super::table::{aligned, headed, listed, printable};
use crate::keys::KeyFile;
use anyhow::bail;
use chat_server::config::{Config, WorkspaceEntry};
use chat_server::hosting;
use serde_json::{Value, json};
use std::path::Path;

pub(super) async fn check(path: &Path, keys: &KeyFile) -> anyhow::Result<Report> {
    let config = Config::read(path)?;
    let admissions = hosting::admissions(&config.host)?;
    let seal = hosting::seal(&config.host, &keys.source()?).await?;
    if let Err(refused) = hosting::check(&config, Some(path), &admissions, &seal).await {
        let path = printable(&path.display().to_string());
        let problems = refused.to_string().replace('\n', "\n  ");
        bail!("{path} cannot be served:\n  {problems}");
    }
    if let Some(advice) = config.advice(path) {
        eprintln!("{}", printable(&advice));
    }
    Ok(report(&config))
}

fn report(config: &Config) -> Report {
    let row = |workspace: &WorkspaceEntry| {
        [
            workspace.id.to_string(),
            listed(&workspace.hosts),
            workspace.store.to_string(),
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
            "workspaces": config.workspaces.iter().map(described).collect::<Value>(),
        }),
    }
}

/// The workspace as scripts see it: of its settings, the names.
fn described(workspace: &WorkspaceEntry) -> Value {
    let fixed = workspace.settings.iter().map(|fixed| fixed.setting.name);
    json!({
        "id": workspace.id,
        "hosts": workspace.hosts,
        "store": workspace.store.to_string(),
        "plugin": workspace.plugin.to_string(),
        "grants": grants(workspace),
        "fixedSettings": fixed.collect::<Value>(),
    })
}

fn grants(workspace: &WorkspaceEntry) -> Vec<&'static str> {
    let grants = workspace.grants.iter();
    grants.map(|capability| capability.name()).collect()
}
