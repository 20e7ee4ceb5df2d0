//! `permissions`: what the caller may do.

use super::Call;
use crate::contract::chat::reset_totp::permissions::Host;
use crate::host_call::HostCall;

impl Host for Call {
    fn caller_has(&mut self, permission: String) -> wasmtime::Result<bool> {
        self.answer(HostCall::CallerHas, &permission, |call| {
            Ok(call.standing.may(&permission))
        })
    }
}
