//! A call of a plugin, on a test's data.

use crate::{ACME, Data, caller_of, now};
use plugin_sandbox::capabilities::Call;
use plugin_sandbox::contract::exports::chat::reset_totp::handler::Request;

/// Calls of a plugin, on a test's data.
pub trait Calls {
    /// A request of `caller`, a user of acme, that carried this code.
    fn call(&self, caller: &str, code: Option<&str>) -> Call;
}

impl Calls for Data {
    fn call(&self, caller: &str, code: Option<&str>) -> Call {
        Call::new(
            self.store.clone(),
            ACME.to_owned(),
            caller_of(caller),
            now(),
            "request-1".to_owned(),
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
