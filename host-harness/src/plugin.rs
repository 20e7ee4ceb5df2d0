//! Runs a plugin, a fresh sandbox for every call.

use crate::capabilities::{Call, Observed};
use crate::contract::ResetTotpPluginPre;
use crate::contract::exports::chat::reset_totp::handler::{Caller, Request, Response};
use crate::digest::Digest;
use crate::outcome::Failure;
use crate::sandbox::{Limits, Sandbox};
use serde::de::IgnoredAny;
use wasmtime::{Engine, Store};

/// Largest answer that a plugin may give, in bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// A loaded plugin.
pub struct Plugin {
    pub(crate) engine: Engine,
    pub(crate) component: ResetTotpPluginPre<Sandbox>,
    pub(crate) digest: Digest,
}

impl Plugin {
    /// Runs the plugin for one request in a sandbox of its own, within `limits`,
    /// and says what the host saw it do.
    ///
    /// # Errors
    ///
    /// See [`Failure`].
    pub async fn reset_totp(
        &self,
        call: Call,
        request: &Request,
        limits: Limits,
    ) -> (Result<Response, Failure>, Observed) {
        let caller = caller(&call);
        let mut store = self.store(call, limits);
        let answer = async {
            let instance = self.component.instantiate_async(&mut store).await?;
            instance
                .chat_reset_totp_handler()
                .call_reset_totp(&mut store, &caller, request)
                .await
        };
        let answer = tokio::time::timeout(limits.wall_time, answer).await;
        let mut sandbox = store.into_data();
        let finished = sandbox.call.finish_reset().await;
        let answer = match answer {
            Err(_elapsed) => finished.map_err(Failure::from).and(Err(Failure::WallTime)),
            Ok(Err(error)) => Err(Failure::from_error(error, &sandbox)),
            Ok(Ok(response)) => check(response, &sandbox.call.observed),
        };
        (answer, sandbox.call.observed)
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
        id: call.caller.id.clone(),
        bypass_token: call.caller.bypass_token,
    }
}

/// Holds an answer to the contract, and to what the host saw: "done" is
/// believed only after a commit.
fn check(response: Response, observed: &Observed) -> Result<Response, Failure> {
    let problem = if !matches!(response.status, 200 | 400..=499) {
        "its status"
    } else if (response.status == 200) != observed.committed() {
        "its status does not say whether a reset was committed"
    } else if response.body.len() > MAX_ANSWER {
        "its body is too long"
    } else if serde_json::from_str::<IgnoredAny>(&response.body).is_err() {
        "its body is not JSON"
    } else {
        return Ok(response);
    };
    Err(Failure::BadAnswer(problem))
}
