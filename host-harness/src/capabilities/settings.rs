//! `settings`: the workspace's two-factor settings.

use super::Call;
use crate::contract::chat::reset_totp::settings::Host;

impl Host for Call {
    async fn two_factor_enabled(&mut self) -> wasmtime::Result<bool> {
        Ok(self.settings().await?.two_factor_enabled)
    }

    async fn totp_window(&mut self) -> wasmtime::Result<u8> {
        Ok(u8::try_from(self.settings().await?.totp_window)?)
    }

    async fn missing_factor_allowed(&mut self) -> wasmtime::Result<bool> {
        Ok(self.settings().await?.missing_factor_allowed)
    }

    async fn bypass_token_allowed(&mut self) -> wasmtime::Result<bool> {
        Ok(self.settings().await?.bypass_token_allowed)
    }
}
