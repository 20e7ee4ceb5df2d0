//! `permissions`: what the caller may do.

use super::Call;
use crate::contract::chat::reset_totp::permissions::Host;

impl Host for Call {
    async fn caller_has(&mut self, permission: String) -> wasmtime::Result<bool> {
        let holds = self
            .store
            .has_permission(&self.workspace, &self.caller.id, &permission)
            .await?;
        Ok(holds)
    }
}
