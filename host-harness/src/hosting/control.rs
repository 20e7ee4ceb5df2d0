//! What operators see of the process, and tell it.

use super::Hosting;
use crate::admin::{Control, UnknownWorkspace};
use crate::metrics::{Breaker, Snapshot};
use async_trait::async_trait;
use serde_json::{Value, json};
use std::collections::BTreeMap;

#[async_trait]
impl Control for Hosting {
    /// A store that is closed is not asked: it is opened for whoever needs it.
    async fn reasons_not_ready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        for (path, store) in self.stores.all_open() {
            if let Err(error) = store.next_mail_due().await {
                reasons.push(format!("the store {}: {error}", path.display()));
            }
        }
        reasons
    }

    async fn snapshot(&self) -> Snapshot {
        let open = self.stores.all_open();
        let mut plugins = BTreeMap::<_, usize>::new();
        let live = self.live.lock().await;
        for workspace in live.workspaces.values() {
            *plugins.entry(workspace.plugin.digest()).or_default() += 1;
        }
        let mut snapshot = Snapshot {
            workspaces: live.workspaces.len(),
            open_stores: open.len(),
            plugins: plugins
                .into_iter()
                .map(|(digest, workspaces)| (digest.to_string(), workspaces))
                .collect(),
            ..Snapshot::default()
        };
        drop(live);
        for (path, store) in open {
            match store.mail_count().await {
                Ok(count) => {
                    snapshot.waiting_mails += u64::from(count.waiting);
                    snapshot.dead_letters += u64::from(count.dead_letters);
                }
                Err(error) => {
                    tracing::warn!(store = %path.display(), %error, "cannot count its mail");
                }
            }
        }
        snapshot
    }

    async fn reload(&self) -> Result<Value, String> {
        let loaded = Hosting::reload(self).await.map_err(|e| e.to_string())?;
        Ok(json!({
            "workspaces": loaded.workspaces,
            "changed": loaded.changed,
            "removed": loaded.removed,
            "settings": loaded.settings,
        }))
    }

    fn breakers(&self) -> Vec<Breaker> {
        Vec::new()
    }

    fn reset_breakers(&self, _workspace: Option<&str>) -> Result<usize, UnknownWorkspace> {
        Ok(0)
    }
}
