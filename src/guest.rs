//! The component's export, over the real imports.

use crate::contract::{
    self,
    chat::reset_totp::{
        permissions,
        secrets::{
            self, AttemptRefusal, EmailCode, Method, Proof, Receipt, Refusal, Target, TotpKey,
        },
        settings,
        users::{self, Selector, User},
    },
    exports::chat::reset_totp::handler::{self, Caller, Request, Response},
    wasi::clocks::wall_clock,
};
use crate::decision::{Host, decide};

struct Plugin;

impl handler::Guest for Plugin {
    fn reset_totp(caller: Caller, request: Request) -> Response {
        decide(&Imports, &caller, &request)
    }
}

contract::export!(Plugin with_types_in contract);

struct Imports;

impl Host for Imports {
    fn now(&self) -> u64 {
        wall_clock::now().seconds
    }
    fn find(&self, selector: &Selector) -> Option<User> {
        users::find(selector)
    }
    fn caller_has(&self, permission: &str) -> bool {
        permissions::caller_has(permission)
    }
    fn two_factor_enabled(&self) -> bool {
        settings::two_factor_enabled()
    }
    fn totp_window(&self) -> u8 {
        settings::totp_window()
    }
    fn missing_factor_allowed(&self) -> bool {
        settings::missing_factor_allowed()
    }
    fn bypass_token_allowed(&self) -> bool {
        settings::bypass_token_allowed()
    }
    fn methods(&self) -> Vec<Method> {
        secrets::methods()
    }
    fn begin_totp_code_attempt(&self) -> Result<TotpKey, AttemptRefusal> {
        secrets::begin_totp_code_attempt()
    }
    fn begin_backup_code_attempt(&self) -> Result<Vec<u8>, AttemptRefusal> {
        secrets::begin_backup_code_attempt()
    }
    fn send_email_code(&self) -> Result<EmailCode, AttemptRefusal> {
        secrets::send_email_code()
    }
    fn check_email_code(&self, code: &str) -> Result<bool, AttemptRefusal> {
        secrets::check_email_code(code)
    }
    fn check_password(&self, digest: &str) -> Result<bool, AttemptRefusal> {
        secrets::check_password(digest)
    }
    fn reset(&self, proof: &Proof, target: &Target) -> Result<Receipt, Refusal> {
        secrets::reset(proof, target)
    }
}
