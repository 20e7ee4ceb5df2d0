//! `settings`: the workspace's two-factor settings.

use super::Call;
use super::bytes::Bytes;
use crate::contract::chat::reset_totp::settings::Host;
use crate::host_call::HostCall;
use chat_domain::settings::Settings;

impl Host for Call {
    fn two_factor_enabled(&mut self) -> wasmtime::Result<bool> {
        let setting = |settings: &Settings| Ok(settings.two_factor_enabled);
        self.setting(HostCall::TwoFactorEnabled, setting)
    }

    fn totp_window(&mut self) -> wasmtime::Result<u8> {
        let setting = |settings: &Settings| Ok(u8::try_from(settings.totp_window)?);
        self.setting(HostCall::TotpWindow, setting)
    }

    fn missing_factor_allowed(&mut self) -> wasmtime::Result<bool> {
        let setting = |settings: &Settings| Ok(settings.missing_factor_allowed);
        self.setting(HostCall::MissingFactorAllowed, setting)
    }

    fn bypass_token_allowed(&mut self) -> wasmtime::Result<bool> {
        let setting = |settings: &Settings| Ok(settings.bypass_token_allowed);
        self.setting(HostCall::BypassTokenAllowed, setting)
    }
}

impl Call {
    fn setting<T: Bytes>(
        &mut self,
        function: HostCall,
        setting: fn(&Settings) -> wasmtime::Result<T>,
    ) -> wasmtime::Result<T> {
        self.answer(function, &(), |call| setting(&call.standing.settings))
    }
}
