//! A workspace as a process serves it, and which one a request is for.

use crate::plugin::Plugin;
use crate::sandbox::Limits;
use crate::stores::StoreFile;
use std::collections::HashMap;
use std::sync::Arc;

/// The host name of a workspace that takes every request that is for no other.
pub const ANY_HOST: &str = "*";

/// One workspace of a process.
pub struct Workspace {
    /// Unique in its store.
    pub id: String,
    /// Where its data is.
    pub store: Arc<StoreFile>,
    /// What decides in it.
    pub plugin: Arc<Plugin>,
    /// What one call may use.
    pub limits: Limits,
}

/// The workspaces of a process, by host name in lower case.
#[derive(Default)]
pub struct Workspaces(HashMap<String, Arc<Workspace>>);

impl Workspaces {
    /// One workspace, under every host name.
    pub fn only(workspace: Workspace) -> Self {
        Self::from_iter([(ANY_HOST.to_owned(), Arc::new(workspace))])
    }

    /// The workspace that is served under a `Host` header, which may name a port.
    pub fn of_host(&self, host: &str) -> Option<&Arc<Workspace>> {
        let name = host
            .rsplit_once(':')
            .filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()))
            .map_or(host, |(name, _)| name);
        let named = self.0.get(&name.to_ascii_lowercase());
        named.or_else(|| self.0.get(ANY_HOST))
    }
}

impl FromIterator<(String, Arc<Workspace>)> for Workspaces {
    fn from_iter<T: IntoIterator<Item = (String, Arc<Workspace>)>>(workspaces: T) -> Self {
        Self(workspaces.into_iter().collect())
    }
}
