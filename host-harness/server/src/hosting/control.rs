//! What operators see of the process, and tell it.

use super::Hosting;
use crate::admin::{Control, UnknownWorkspace};
use crate::metrics::{Breaker, Snapshot};
use crate::telemetry;
use crate::workspace::HostedWorkspace;
use async_trait::async_trait;
use chat_store::seal::KeySource;
use chat_store::{StoreError, StoreUrl, Unavailable};
use plugin_sandbox::breaker::State;
use plugin_sandbox::turns::Crowd;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// Workspaces of a store that are named.
const MAX_NAMED: usize = 100;

impl Hosting {
    /// The file of the keys, wherever whoever asks may be.
    fn key_file(&self) -> Option<PathBuf> {
        let given = match &self.keys {
            KeySource::File(path) => Some(path),
            KeySource::Nowhere | KeySource::Text(_) => None,
        };
        let path = self.host.key_file.as_ref().or(given)?;
        Some(std::path::absolute(path).unwrap_or_else(|_| path.clone()))
    }

    /// Reads and writes each open store, as a request does.
    async fn try_stores(&self) -> Vec<(StoreUrl, chat_store::Result<()>)> {
        let now = self.clock.now();
        let tried = self.stores.ask_open(move |store| async move {
            store.next_mail_due(now).await?;
            store.probe(now).await
        });
        tried.await
    }
}

#[async_trait]
impl Control for Arc<Hosting> {
    /// One store that can be written is enough: a workspace whose store is sick takes no
    /// other from its clients. A store that is closed is not asked: it is opened for
    /// whoever needs it.
    async fn reasons_not_ready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        for (url, answer) in self.try_stores().await {
            match answer {
                Ok(_) => return Vec::new(),
                Err(error) => reasons.push(format!("the store {url}: {error}")),
            }
        }
        reasons
    }

    async fn snapshot(&self) -> Snapshot {
        let counts = self
            .stores
            .ask_open(|store| async move { store.mail_count().await });
        let counts = counts.await;
        let mut plugins = BTreeMap::<_, usize>::new();
        let live = self.live.load();
        for workspace in live.values() {
            *plugins.entry(workspace.plugin.digest()).or_default() += 1;
        }
        let runtime = self.admissions.runtime();
        let Crowd { running, waiting } = runtime.crowd();
        let mut snapshot = Snapshot {
            calls: running,
            free_places: runtime.capacity().calls.saturating_sub(running),
            waiting_calls: waiting,
            workspaces: live.len(),
            open_stores: counts.len(),
            plugins: plugins
                .into_iter()
                .map(|(digest, workspaces)| (digest.to_string(), workspaces))
                .collect(),
            dropped_log_lines: telemetry::dropped_lines(),
            ..Snapshot::default()
        };
        for (url, count) in counts {
            match count {
                Ok(count) => {
                    snapshot.waiting_mails += u64::from(count.waiting);
                    snapshot.dead_letters += u64::from(count.dead_letters);
                }
                Err(error) => {
                    tracing::warn!(store = %url, %error, "cannot count its mail");
                }
            }
        }
        snapshot
    }

    async fn status(&self) -> Value {
        let live = self.live.load();
        let mut plugins = BTreeMap::<_, usize>::new();
        let mut stores = BTreeMap::<_, Vec<&str>>::new();
        for workspace in live.values() {
            *plugins
                .entry(workspace.plugin.digest().to_string())
                .or_default() += 1;
            let named = stores.entry(workspace.store.url().absolute()).or_default();
            if named.len() < MAX_NAMED {
                named.push(&workspace.id);
            }
        }
        let tried = self.try_stores().await.into_iter();
        let tried: BTreeMap<_, _> = tried
            .map(|(url, answer)| (url.absolute(), answer))
            .collect();
        let store = |(url, workspaces): (StoreUrl, Vec<&str>)| {
            let answer = tried.get(&url);
            let problem = answer.and_then(|answer| answer.as_ref().err());
            json!({
                "workspaces": workspaces,
                "written": answer.map(Result::is_ok),
                "problem": problem.map(ToString::to_string),
                "moved": matches!(
                    problem.and_then(StoreError::unavailable),
                    Some(Unavailable::Moved(_))
                ),
                "url": url.to_string(),
            })
        };
        let plugins = plugins.into_iter();
        json!({
            "workspaces": live.len(),
            "plugins": plugins
                .map(|(digest, workspaces)| json!({"digest": digest, "workspaces": workspaces}))
                .collect::<Value>(),
            "stores": stores.into_iter().map(store).collect::<Value>(),
            "keyFile": self.key_file(),
            "calls": self.admissions.runtime().crowd().running,
        })
    }

    async fn reload(&self) -> Result<Value, String> {
        let loaded = Hosting::reload(self).await;
        loaded
            .map(|loaded| json!(loaded))
            .map_err(|e| e.to_string())
    }

    async fn breakers(&self) -> Vec<Breaker> {
        let now = self.clock.now();
        let live = self.live.load();
        let not_closed = live.values().filter_map(|workspace| {
            let state = match workspace.breaker().state(now) {
                State::Closed { .. } => return None,
                state => state,
            };
            Some(Breaker {
                workspace: workspace.id.clone(),
                plugin: workspace.plugin.digest().to_string(),
                state,
            })
        });
        not_closed.collect()
    }

    async fn reset_breakers(&self, workspace: Option<&str>) -> Result<usize, UnknownWorkspace> {
        let live = self.live.load();
        let chosen: Vec<_> = match workspace {
            Some(id) => vec![live.get(id).ok_or(UnknownWorkspace)?],
            None => live.values().collect(),
        };
        let now = self.clock.now();
        let is_closed =
            |w: &HostedWorkspace| matches!(w.breaker().state(now), State::Closed { .. });
        let open: Vec<_> = chosen.into_iter().filter(|w| !is_closed(w)).collect();
        for workspace in &open {
            workspace.breaker().reset();
            tracing::warn!(workspace = workspace.id, "an operator closed the breaker");
        }
        Ok(open.len())
    }
}
