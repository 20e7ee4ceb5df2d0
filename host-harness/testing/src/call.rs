//! A call of a plugin, on a test's data.

use crate::ask::source;
use crate::{ACME, Data, caller_of, now};
use plugin_sandbox::capabilities::Call;
use plugin_sandbox::contract::exports::chat::reset_totp::handler::Request;
use std::sync::Arc;

/// Calls of a plugin, on a test's data.
#[expect(async_fn_in_trait, reason = "the tests call it on one type")]
pub trait Calls {
    /// A request of `caller`, a user of acme, that carried this code.
    async fn call(&self, caller: &str, code: Option<&str>) -> Call {
        self.call_in(ACME, caller, code).await
    }

    /// The same of a user of this workspace.
    async fn call_in(&self, workspace: &str, caller: &str, code: Option<&str>) -> Call;
}

impl Calls for Data {
    async fn call_in(&self, workspace: &str, caller: &str, code: Option<&str>) -> Call {
        let caller = caller_of(caller);
        let standing = self
            .store
            .standing(workspace, &caller.id, &caller.token_hash, now());
        Call::new(
            self.store.clone(),
            workspace.to_owned(),
            Arc::new(standing.await.unwrap().unwrap()),
            now(),
            "request-1".to_owned(),
            source(),
            code.map(Into::into),
        )
    }
}

/// What the plugin sees of a request.
pub fn request(code: Option<&str>, body: &str) -> Request {
    Request {
        content_type: Some("application/json".to_owned()),
        two_factor_code: code.map(ToOwned::to_owned),
        two_factor_method: None,
        body: body.into(),
    }
}
