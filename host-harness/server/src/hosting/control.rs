//! What operators see of the process, and tell it.

use super::Hosting;
use crate::admin::{Control, UnknownWorkspace};
use crate::metrics::{Breaker, Snapshot};
use crate::telemetry;
use crate::workspace::HostedWorkspace;
use async_trait::async_trait;
use chat_domain::outbox::OutboxCount;
use chat_store::seal::KeySource;
use chat_store::{StoreError, StoreUrl, Unavailable};
use plugin_sandbox::breaker::State;
use plugin_sandbox::turns::Crowd;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Workspaces of a store that are named.
const MAX_NAMED: usize = 100;

/// How long a row may take in a look at the numbers: half of what a store has for its answer, so
/// that what can be counted is told all the same.
const WRITE_LIMIT: Duration = Duration::from_millis(500);

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
        let now = self.clock.now();
        // Both in one look: a store that cannot be written still tells its mail.
        let looks = self.stores.ask_open(move |store| async move {
            let probe = timeout(WRITE_LIMIT, store.probe(now));
            let (written, counted) = tokio::join!(probe, store.outbox_count());
            let slow = |_| Err(StoreError("it takes too long to write it".into()));
            Ok((written.unwrap_or_else(slow), counted))
        });
        let looks = looks.await;
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
            open_stores: looks.len(),
            clock_faults: self.stores.clock_faults(),
            plugins: plugins
                .into_iter()
                .map(|(digest, workspaces)| (digest.to_string(), workspaces))
                .collect(),
            dropped_log_lines: telemetry::dropped_lines(),
            ..Snapshot::at(now)
        };
        for (url, look) in looks {
            let problem = match look {
                Ok((written, Ok(OutboxCount { mails, sockets }))) => {
                    snapshot.outbox.mails += mails;
                    snapshot.outbox.sockets += sockets;
                    written.err()
                }
                Ok((_, Err(error))) | Err(error) => Some(error),
            };
            if let Some(error) = problem {
                snapshot.unwritable_stores += 1;
                tracing::warn!(store = %url, %error, "it cannot be read and written");
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
