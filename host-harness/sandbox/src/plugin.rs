//! Runs a plugin, a fresh sandbox for every call.

use crate::capabilities::{Call, Observed};
use crate::contract::ResetTotpPluginPre;
use crate::contract::exports::chat::reset_totp::handler::{Caller, Request, Response};
use crate::digest::Digest;
use crate::limits::{Limits, MAX_ANSWER};
use crate::outcome::{Ended, Failure, Usage};
use crate::sandbox::Sandbox;
use crate::turns::Turns;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Instant;
use wasmtime::{Engine, Store};

/// A loaded plugin.
pub struct Plugin {
    pub(crate) engine: Engine,
    pub(crate) component: ResetTotpPluginPre<Sandbox>,
    pub(crate) digest: Digest,
    /// The turns of the process that loaded it.
    pub(crate) turns: Arc<Turns>,
}

impl Plugin {
    /// By what it is known.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The turns of the process that loaded it.
    pub fn turns(&self) -> &Turns {
        &self.turns
    }

    /// Runs the plugin for one request in a sandbox of its own, within `limits`,
    /// and says how that ended and what the host saw it do.
    pub async fn reset_totp(&self, call: Call, request: &Request, limits: Limits) -> Ended {
        let caller = caller(&call);
        let mut store = self.store(call, limits);
        let start = Instant::now();
        let mut instantiated = None;
        let answer = async {
            let instance = self.component.instantiate_async(&mut store).await?;
            instantiated = Some(start.elapsed());
            instance
                .chat_reset_totp_handler()
                .call_reset_totp(&mut store, &caller, request)
                .await
        };
        let answer = tokio::time::timeout(limits.wall_time, answer).await;
        let total = start.elapsed();
        let mut sandbox = store.into_data();
        let usage = Usage::new(&sandbox, total, instantiated.unwrap_or(total));
        // Where the store fails at that, the call has not ended by it.
        let _ = sandbox.call.finish_attempt().await;
        let finished = sandbox.call.finish_reset().await;
        let outcome = match answer {
            Err(_elapsed) => Err(Failure::WallTime),
            Ok(Err(error)) => Err(Failure::from_error(error, &sandbox)),
            Ok(Ok(response)) => check(response, &sandbox.call.observed),
        };
        let finished = finished.map_err(|error| Failure::from_error(error, &sandbox));
        Ended {
            outcome: finished.and(outcome),
            observed: sandbox.call.observed,
            usage,
        }
    }

    /// What one call is run in.
    pub(crate) fn store(&self, call: Call, limits: Limits) -> Store<Sandbox> {
        let mut store = Store::new(&self.engine, Sandbox::new(call, limits));
        Sandbox::enforce(&mut store);
        store
    }
}

/// What the plugin sees of the caller.
pub(crate) fn caller(call: &Call) -> Caller {
    Caller {
        id: call.standing.caller.id.clone(),
        bypass_token: call.standing.caller.bypass_token,
    }
}

fn is_object(json: &str) -> bool {
    json.trim_start().starts_with('{')
}

/// Holds an answer to the contract, and status and body to what the host saw: "done" is
/// believed only after a commit. Other statuses are the host's own to give.
fn check(response: Response, observed: &Observed) -> Result<Response, Failure> {
    #[derive(Deserialize)]
    struct Body {
        success: bool,
    }
    let problem = if !matches!(response.status, 200 | 400) {
        "its status"
    } else if (response.status == 200) != observed.committed() {
        "its status does not say whether a reset was committed"
    } else if response.body.len() > MAX_ANSWER {
        "its body is too long"
    } else {
        match serde_json::from_str::<Body>(&response.body) {
            // A list of one, too, could be read as that structure.
            Ok(body) if body.success == observed.committed() && is_object(&response.body) => {
                return Ok(response);
            }
            Err(error) if !error.is_data() => "its body is not JSON",
            Ok(_) | Err(_) => "its body does not say whether a reset was committed",
        }
    };
    Err(Failure::BadAnswer(problem))
}
