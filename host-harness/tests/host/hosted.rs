//! A workspace that is hosted.

use chat_server::clock::Clock;
use chat_server::stores::HostedStore;
use chat_server::workspace::HostedWorkspace;
use chat_testing::call::{Calls, request};
use chat_testing::{ACME, Data, now};
use plugin_sandbox::limits::Limits;
use plugin_sandbox::outcome::Ended;
use plugin_sandbox::plugin::Plugin;
use std::sync::Arc;

/// Acme with this plugin.
pub(crate) fn workspace(data: &Data, plugin: Plugin, limits: Limits) -> HostedWorkspace {
    let store = Arc::new(HostedStore::opened(data.url(), data.store.clone()));
    HostedWorkspace::new(ACME.to_owned(), store, Arc::new(plugin), limits)
}

/// A request of acme's administrator, decided in its turn.
pub(crate) async fn decide(workspace: &HostedWorkspace, data: &Data) -> Ended {
    let (call, request) = (data.call("admin", None).await, request(None, "{}"));
    let clock = Clock::new(now);
    workspace.reset_totp(call, &request, &clock).await
}
