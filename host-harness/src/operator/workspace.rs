//! `workspace`: create, list and show workspaces.

use super::table::{aligned, headed, listed};
use super::{Report, StoreArgs, name};
use crate::WORKSPACE;
use crate::keys::KeyFile;
use anyhow::{Context, bail};
use chat_domain::operator::NewWorkspace;
use chat_domain::operator::{Problem, WorkspaceSummary, default_roles};
use chat_domain::settings::Settings;
use chat_server::clock::Clock;
use chat_store::StoreUrl;
use clap::Subcommand;
use serde_json::{Value, json};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Create a workspace, and the store where there is none.
    ///
    /// It has no users yet, default settings, and the roles admin, app, bot and
    /// user.
    ///
    /// Example: host-harness workspace create --store chat.sqlite
    Create {
        /// Its id; `serve` without --config serves `default`.
        #[arg(value_parser = name, default_value = WORKSPACE)]
        id: String,
    },
    /// List the workspaces of the store.
    List,
    /// Show a workspace: how many users, which roles, which settings changed.
    Show {
        /// The workspace.
        #[arg(long, value_name = "ID", default_value = WORKSPACE)]
        workspace: String,
    },
}

pub(super) async fn run(at: &StoreArgs, command: Command) -> anyhow::Result<Report> {
    match command {
        Command::Create { id } => create(at, id).await,
        Command::List => list(at).await,
        Command::Show { workspace } => show(at, workspace).await,
    }
}

async fn create(at: &StoreArgs, id: String) -> anyhow::Result<Report> {
    if !create_in(&at.url()?, &at.keys, &id).await? {
        bail!("the store has a workspace {id} already; choose another id");
    }
    Ok(Report {
        text: format!("The workspace {id} is created; `host-harness user add` adds its users."),
        json: json!({"id": id}),
    })
}

/// Creates the workspace, and the store where there is none. False where the store has it already.
pub(crate) async fn create_in(url: &StoreUrl, keys: &KeyFile, id: &str) -> anyhow::Result<bool> {
    let store = url
        .open_or_create(&keys.seal()?)
        .await
        .with_context(|| format!("cannot make or open the store {url}"))?;
    let workspace = NewWorkspace {
        id: id.to_owned(),
        settings: Settings::default(),
        roles: default_roles(),
        users: Vec::new(),
    };
    Ok(store.create_workspace(workspace).await?)
}

async fn list(at: &StoreArgs) -> anyhow::Result<Report> {
    let now = Clock::system().now();
    let workspaces = at.open().await?.workspaces(now).await?;
    let row = |workspace: &WorkspaceSummary| [workspace.id.clone(), workspace.users.to_string()];
    Ok(Report {
        text: headed(["ID", "USERS"], workspaces.iter().map(row).collect()),
        json: workspaces.iter().map(described).collect(),
    })
}

async fn show(at: &StoreArgs, id: String) -> anyhow::Result<Report> {
    let now = Clock::system().now();
    let workspaces = at.open().await?.workspaces(now).await?;
    let workspace = workspaces
        .into_iter()
        .find(|workspace| workspace.id == id)
        .ok_or(Problem::UnknownWorkspace(id))?;
    let row = |name: &str, value: String| [name.to_owned(), value];
    Ok(Report {
        text: aligned(&[
            row("id", workspace.id.clone()),
            row("users", workspace.users.to_string()),
            row("deactivated", workspace.deactivated.to_string()),
            row("with TOTP", workspace.enrolled.to_string()),
            row("locked", workspace.locked.to_string()),
            row("roles", listed(&workspace.roles)),
            row("changed settings", listed(&workspace.changed_settings)),
        ]),
        json: described(&workspace),
    })
}

fn described(workspace: &WorkspaceSummary) -> Value {
    json!({
        "id": workspace.id,
        "users": workspace.users,
        "deactivated": workspace.deactivated,
        "withTotp": workspace.enrolled,
        "locked": workspace.locked,
        "roles": workspace.roles,
        "changedSettings": workspace.changed_settings,
    })
}
