//! `store`: copy it, restore and check it; seal what it keeps secret, and change the key.

use super::{Report, StoreArgs, count};
use anyhow::{Context, ensure};
use chat_domain::audit_log::Page;
use chat_server::clock::Clock;
use chat_store::StoreUrl;
use chat_store::seal::new_key;
use clap::Subcommand;
use secrecy::ExposeSecret;
use serde_json::json;
use std::path::{Path, PathBuf};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Print a new key: the line of a key file.
    ///
    /// Example: (umask 077; host-harness store new-key > chat.key)
    NewKey,
    /// Seal everything under the first key of the key file.
    ///
    /// A store that is under another key of the file may be served meanwhile, by hosts that have
    /// read the file with both. One that is not sealed yet must not: stop its hosts first.
    /// Interrupted, it is begun again.
    ///
    /// Example: host-harness store rekey --store chat.sqlite --key-file chat.key
    Rekey,
    /// Copy the store into a file, as it is at one moment; hosts may serve it meanwhile.
    ///
    /// The copy is a store in a SQLite file, whichever kind of store it is of. What is sealed stays
    /// sealed: keep the key file elsewhere.
    ///
    /// Example: host-harness store backup chat-2026-11-26.sqlite --store postgres://chat@db/chat
    Backup {
        /// The file, which is made.
        file: PathBuf,
    },
    /// Make the store out of a backup: a file that is not there yet, or an empty database.
    ///
    /// So a store moves from a file to PostgreSQL, or back, too.
    ///
    /// Example: host-harness store restore chat-2026-11-26.sqlite --store chat.sqlite
    Restore {
        /// The backup.
        file: PathBuf,
    },
    /// Look whether everything in the store can be read.
    ///
    /// `host-harness audit verify` says whether its audit trail is whole.
    Check,
}

pub(super) async fn run(at: &StoreArgs, command: Command) -> anyhow::Result<Report> {
    match command {
        Command::NewKey => {
            let key = new_key();
            Ok(Report {
                text: key.expose_secret().to_owned(),
                json: json!({"key": key.expose_secret()}),
            })
        }
        Command::Rekey => rekey(at).await,
        Command::Backup { file: to } => back_up(at, &to).await,
        Command::Restore { file: from } => restore(at, &from).await,
        Command::Check => check(at).await,
    }
}

/// What a copy is worth that cannot be read is seen at once.
async fn back_up(at: &StoreArgs, to: &Path) -> anyhow::Result<Report> {
    let (url, shown) = (at.url()?, to.display());
    let copied = url.back_up(to).await;
    copied.with_context(|| format!("cannot copy the store {url} into {shown}"))?;
    let problems = StoreUrl::from(to).problems().await?;
    ensure!(problems.is_empty(), "{shown}: {}", problems.join("; "));
    Ok(Report {
        text: format!("{shown} holds the store as it was just now"),
        json: json!({"file": to}),
    })
}

async fn restore(at: &StoreArgs, from: &Path) -> anyhow::Result<Report> {
    let (url, seal, shown) = (at.url()?, at.keys.seal()?, from.display());
    let restored = url.restore(from).await;
    restored.with_context(|| format!("cannot restore {shown} into the store {url}"))?;
    let store = url.open(&seal).await;
    let store = store.with_context(|| format!("{shown} is restored, but cannot be opened"))?;
    let workspaces = store.workspaces(Clock::system().now()).await?;
    let workspaces = count(workspaces.len(), "workspace");
    Ok(Report {
        text: format!("the store {url} is as it was in {shown}, with {workspaces}"),
        json: json!({"file": from}),
    })
}

/// Opens everything that is kept of each account.
async fn check(at: &StoreArgs) -> anyhow::Result<Report> {
    let (url, seal) = (at.url()?, at.keys.seal()?);
    let problems = url.problems().await;
    let problems = problems.with_context(|| format!("cannot read the store {url}"))?;
    ensure!(problems.is_empty(), "{url}: {}", problems.join("; "));
    let store = url.open_to_look(&seal).await;
    let store = store.with_context(|| format!("cannot open the store {url}"))?;
    let now = Clock::system().now();
    let (mut workspaces, mut accounts) = (0, 0);
    for workspace in store.workspaces(now).await? {
        let id = &workspace.id;
        let read = async {
            store.settings(id).await?;
            store.log(id, Page::FIRST).await?;
            store.all_roles(id).await?;
            store.all_mails(id).await?;
            store.profiles(id).await
        };
        let profiles = read.await.with_context(|| format!("the workspace {id}"))?;
        workspaces += 1;
        accounts += profiles.len();
    }
    let (shown_workspaces, shown_accounts) =
        (count(workspaces, "workspace"), count(accounts, "account"));
    Ok(Report {
        text: format!("{shown_workspaces} with {shown_accounts}: everything can be read"),
        json: json!({"workspaces": workspaces, "accounts": accounts}),
    })
}

async fn rekey(at: &StoreArgs) -> anyhow::Result<Report> {
    let url = at.url()?;
    let seal = at.keys.seal()?;
    let key = seal.key_id().context(
        "under which key? Name its file by --key-file or by HOST_HARNESS_KEY_FILE; `host-harness \
         store new-key` prints a key",
    )?;
    let values = url.rekey(&seal).await;
    let values = values.with_context(|| format!("cannot seal the store {url}"))?;
    let sealed = count(usize::try_from(values)?, "value");
    Ok(Report {
        text: format!("{sealed} sealed; everything is under the key {key} now"),
        json: json!({"values": values, "keyId": key}),
    })
}
