//! A workspace as a process serves it, and which one a request is for.

use crate::clock::Clock;
use crate::stores::HostedStore;
use plugin_sandbox::breaker::{Breaker, Pass, Verdict};
use plugin_sandbox::capabilities::{Call, Faults};
use plugin_sandbox::contract::exports::chat::reset_totp::handler::Request;
use plugin_sandbox::limits::Limits;
use plugin_sandbox::outcome::{Ended, Failure};
use plugin_sandbox::plugin::Plugin;
use plugin_sandbox::turns::{Saturated, Turn, Turns};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;
use tracing::Instrument;
use tracing::field::Empty;

/// The host name of a workspace that takes every request that is for no other.
pub const ANY_HOST: &str = "*";

/// One workspace of a process.
pub struct HostedWorkspace {
    /// Unique in its store.
    pub id: String,
    /// By whom keys are issued in it, unless the settings say otherwise: its first host name,
    /// or its id.
    pub issuer: String,
    /// Where its data is.
    pub store: Arc<HostedStore>,
    /// What decides in it.
    pub plugin: Arc<Plugin>,
    /// What one call may use.
    pub limits: Limits,
    /// Whether the routes beside the plugin's are served, too: log-in and one's own second factor.
    pub neighbours: bool,
    /// What a test has planted in the host; nothing otherwise.
    pub faults: Faults,
    /// Its part of the process's turns.
    turns: Arc<Turns>,
    breaker: Arc<Breaker>,
}

impl HostedWorkspace {
    /// A workspace whose plugin has not failed yet.
    pub fn new(id: String, store: Arc<HostedStore>, plugin: Arc<Plugin>, limits: Limits) -> Self {
        Self {
            turns: Arc::new(plugin.turns().share(limits.calls)),
            issuer: id.clone(),
            id,
            store,
            plugin,
            limits,
            neighbours: true,
            faults: Faults::default(),
            breaker: Arc::default(),
        }
    }

    /// The same in place of `former`, whose calls in flight it counts among its own;
    /// where the plugin is the same, what is known of it is kept, too.
    #[must_use]
    pub fn in_place_of(mut self, former: &Self) -> Self {
        if self.plugin.digest() == former.plugin.digest() {
            self.breaker = former.breaker.clone();
        }
        if self.limits.calls == former.limits.calls {
            self.turns = former.turns.clone();
        }
        self
    }

    /// The breaker of its plugin.
    pub fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// Has the plugin decide about one request, once it is its turn.
    pub async fn reset_totp(&self, call: Call, request: &Request, clock: &Clock) -> Ended {
        let span = tracing::debug_span!(
            "call",
            workspace = self.id,
            plugin = %self.plugin.digest(),
            outcome = Empty
        );
        let ended = self.decide(call, request, clock);
        let ended = ended.instrument(span.clone()).await;
        span.record("outcome", ended.code());
        ended
    }

    async fn decide(&self, mut call: Call, request: &Request, clock: &Clock) -> Ended {
        call.faults = self.faults.clone();
        let start = Instant::now();
        let begun = self.begin(clock).await;
        let queued = start.elapsed();
        let mut ended = match begun {
            Err(failure) => Ended::unbegun(failure),
            Ok((_turn, pass)) => {
                let wall_time = self.limits.wall_time.saturating_sub(queued);
                let limits = Limits {
                    wall_time,
                    ..self.limits
                };
                let ended = self.plugin.reset_totp(call, request, limits).await;
                self.judge(pass, &ended, clock);
                ended
            }
        };
        ended.usage.queued = queued;
        ended
    }

    /// Waits for a turn, and asks the breaker. A call that gets no turn in its time
    /// has not begun.
    async fn begin(&self, clock: &Clock) -> Result<(Turn, Pass<'_>), Failure> {
        let turn = self.turns.turn(self.plugin.turns());
        let turn = tokio::time::timeout(self.limits.wall_time, turn).await;
        let turn = turn.unwrap_or(Err(Saturated))?;
        let pass = self.breaker.pass(clock.now());
        let pass = pass.map_err(|retry_after| Failure::BreakerOpen { retry_after })?;
        Ok((turn, pass))
    }

    /// Tells the breaker how a call ended, and the log what that changed.
    fn judge(&self, pass: Pass<'_>, ended: &Ended, clock: &Clock) {
        let verdict = match &ended.outcome {
            Ok(_) => Verdict::Works,
            Err(failure) if failure.is_plugin_fault() => Verdict::Fault,
            Err(_) => Verdict::Unknown,
        };
        let now = clock.now();
        if pass.ended(verdict, now) {
            let (workspace, plugin) = (&self.id, self.plugin.digest());
            let state = self.breaker.state(now);
            tracing::warn!(workspace, %plugin, breaker = %state);
        }
    }
}

/// The workspaces of a process, by host name in lower case.
#[derive(Default)]
pub struct Workspaces(HashMap<String, Arc<HostedWorkspace>>);

impl Workspaces {
    /// One workspace, under every host name.
    pub fn only(workspace: HostedWorkspace) -> Self {
        Self::from_iter([(ANY_HOST.to_owned(), Arc::new(workspace))])
    }

    /// Whether one workspace is served, whatever the host.
    pub fn takes_any_host(&self) -> bool {
        self.0.len() == 1 && self.0.contains_key(ANY_HOST)
    }

    /// The workspace that is served under a `Host` header, which may name a port and
    /// end the name with a dot (RFC 3986 section 3.2.2).
    pub fn of_host(&self, host: &str) -> Option<&Arc<HostedWorkspace>> {
        let name = host
            .rsplit_once(':')
            .filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()))
            .map_or(host, |(name, _)| name);
        let name = name.strip_suffix('.').unwrap_or(name);
        let named = self.0.get(&name.to_ascii_lowercase());
        named.or_else(|| self.0.get(ANY_HOST))
    }
}

impl FromIterator<(String, Arc<HostedWorkspace>)> for Workspaces {
    fn from_iter<T: IntoIterator<Item = (String, Arc<HostedWorkspace>)>>(workspaces: T) -> Self {
        Self(workspaces.into_iter().collect())
    }
}
