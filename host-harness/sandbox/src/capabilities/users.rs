//! `users`: look-up of the workspace's accounts.

use super::Call;
use crate::contract::chat::reset_totp::users::{Host, Selector, User};
use crate::host_call::HostCall;
use chat_domain::account;

impl Host for Call {
    async fn find(&mut self, selector: Selector) -> wasmtime::Result<Option<User>> {
        let gate = self.enter(HostCall::Find, &selector)?;
        let found = gate.run(self.find_user(selector)).await;
        self.leave(found)
    }
}

impl Call {
    async fn find_user(&mut self, selector: Selector) -> wasmtime::Result<Option<User>> {
        let selector = match selector {
            Selector::Id(id) => account::Selector::Id(id),
            Selector::Username(username) => account::Selector::Username(username),
        };
        let found = self.store.find_user(&self.workspace, selector).await?;
        // After a reset it is known who the target was.
        if !self.observed.committed() {
            self.observed.target = found.as_ref().map(|user| user.id.clone());
        }
        Ok(found.map(|user| User {
            id: user.id,
            username: user.username,
            federated: user.federated,
        }))
    }
}
