//! `permissions`: what the caller may do.

use super::Call;
use crate::contract::chat::reset_totp::permissions::Host;
use crate::host_call::HostCall;

impl Host for Call {
    async fn caller_has(&mut self, permission: String) -> wasmtime::Result<bool> {
        let gate = self.enter(HostCall::CallerHas, &permission)?;
        let holds = gate.run(self.holds(&permission)).await;
        self.leave(holds)
    }
}

impl Call {
    async fn holds(&mut self, permission: &str) -> wasmtime::Result<bool> {
        Ok(self.standing.may(permission))
    }
}
