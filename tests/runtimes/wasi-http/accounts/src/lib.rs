//! Lends what the plugin imports, from accounts in a file of the folder that the runtime lends.
//!
//! An instance is for one call, and a runtime makes one call at a time: nothing locks the file.
#![cfg(target_family = "wasm")]

mod accounts;
mod folder;

use accounts::{Accounts, User, WINDOW};
use bindings::exports::chat::reset_totp::secrets::{
    AttemptRefusal, EmailCode, Method, Proof, Receipt, Refusal, Target, TotpFactor, TotpKey,
};
use bindings::exports::chat::reset_totp::users::{Selector, User as Found};
use bindings::exports::chat::reset_totp::{permissions, secrets, settings, users};
use bindings::exports::chat::wasi_http::calls;
use bindings::exports::wasi::clocks::wall_clock::{self, Datetime};
use std::cell::{Cell, RefCell};
use wasip2::cli::stderr::get_stderr;

mod bindings {
    wit_bindgen::generate!({
        path: ["../../../../wit", "../wit"],
        world: "chat:wasi-http/accounts",
        generate_all,
    });
}

const EDIT_OTHER_USER_TOTP: &str = "edit-other-user-totp";

thread_local! {
    static CALL: RefCell<Call> = RefCell::default();
    static ATTEMPTED: Cell<bool> = const { Cell::new(false) };
    static DONE: Cell<bool> = const { Cell::new(false) };
}

/// Who asks, with which code, and when.
#[derive(Clone, Default)]
struct Call {
    caller: String,
    /// The code without what apps put around and into it.
    digits: String,
    /// Seconds and nanoseconds of Unix time.
    at: (u64, u32),
}

struct Component;

bindings::export!(Component with_types_in bindings);

impl calls::Guest for Component {
    fn begin(user: String, token: String, code: Option<String>) -> bool {
        let now = wasip2::clocks::wall_clock::now();
        let digits = code.unwrap_or_default();
        let call = Call {
            digits: digits.replace([' ', '-'], ""),
            at: (now.seconds, now.nanoseconds),
            caller: user,
        };
        let is_logged_in = call.user(&read()).is_some_and(|user| user.holds(&token));
        CALL.set(call);
        is_logged_in
    }

    /// Takes the attempt off again where the code was no guess: right, or right until it was spent.
    fn end() -> bool {
        let (call, mut accounts) = (call(), read());
        let is_right = |user: &User| user.is_any_code(&call.digits, call.at.0);
        if ATTEMPTED.get() && !DONE.get() && call.user(&accounts).is_some_and(is_right) {
            accounts.forgive(&call.caller);
            write(&accounts);
        }
        DONE.get()
    }
}

impl wall_clock::Guest for Component {
    fn now() -> Datetime {
        let (seconds, nanoseconds) = call().at;
        Datetime {
            seconds,
            nanoseconds,
        }
    }

    fn resolution() -> Datetime {
        Datetime {
            seconds: 0,
            nanoseconds: 1,
        }
    }
}

impl users::Guest for Component {
    fn find(selector: Selector) -> Option<Found> {
        let accounts = read();
        let found = match selector {
            Selector::Id(id) => accounts.user(&id),
            Selector::Username(name) => accounts.named(&name),
        };
        found.map(|user| Found {
            id: user.id.clone(),
            username: user.username.clone(),
            federated: false,
        })
    }
}

impl permissions::Guest for Component {
    fn caller_has(permission: String) -> bool {
        holds(&read(), &call(), &permission)
    }
}

impl settings::Guest for Component {
    fn two_factor_enabled() -> bool {
        true
    }

    fn totp_window() -> u8 {
        WINDOW
    }

    fn missing_factor_allowed() -> bool {
        false
    }

    fn bypass_token_allowed() -> bool {
        false
    }
}

/// Backup codes, codes by e-mail and passwords are no factors here.
impl secrets::Guest for Component {
    fn methods() -> Vec<Method> {
        let accounts = read();
        let has_totp = call()
            .user(&accounts)
            .is_some_and(|user| user.totp.is_some());
        has_totp.then_some(Method::Totp).into_iter().collect()
    }

    fn begin_totp_attempt() -> Result<TotpFactor, AttemptRefusal> {
        let TotpKey { key, last_step } = Self::begin_totp_code_attempt()?;
        Ok(TotpFactor {
            key,
            last_step,
            backup_code_hashes: Vec::new(),
        })
    }

    /// The failure is in the file before the key is handed out.
    fn begin_totp_code_attempt() -> Result<TotpKey, AttemptRefusal> {
        let (call, mut accounts) = (call(), read());
        let (key, last_step) = accounts.begin_attempt(&call.caller, call.at.0)?;
        write(&accounts);
        ATTEMPTED.set(true);
        Ok(TotpKey { key, last_step })
    }

    fn begin_backup_code_attempt() -> Result<Vec<u8>, AttemptRefusal> {
        Err(AttemptRefusal::Unavailable)
    }

    fn send_email_code() -> Result<EmailCode, AttemptRefusal> {
        Err(AttemptRefusal::Unavailable)
    }

    fn check_email_code(_code: String) -> Result<bool, AttemptRefusal> {
        Err(AttemptRefusal::Unavailable)
    }

    fn check_password(_digest: String) -> Result<bool, AttemptRefusal> {
        Err(AttemptRefusal::Unavailable)
    }

    /// The one effect, one replacement of the file. What can be known here is checked again.
    fn reset(proof: Proof, target: Target) -> Result<Receipt, Refusal> {
        let (call, mut accounts) = (call(), read());
        let (now, _) = call.at;
        let target = match target {
            Target::Caller => call.caller.clone(),
            Target::User(_) if !holds(&accounts, &call, EDIT_OTHER_USER_TOTP) => {
                return Err(Refusal::NotPermitted);
            }
            Target::User(id) => id,
        };
        let is_proved = |user: &User, step: u64| {
            user.last_step.is_none_or(|last| step > last) && user.is_code(&call.digits, step, now)
        };
        let step = match (proof, call.user(&accounts)) {
            (Proof::TotpStep(step), Some(user)) if is_proved(user, step) => step,
            _ => return Err(Refusal::ProofRefused),
        };
        if !ATTEMPTED.get() || DONE.get() {
            return Err(Refusal::ProofRefused);
        }
        let receipt = accounts.reset(&call.caller, step, &target, now)?;
        write(&accounts);
        DONE.set(true);
        Ok(receipt)
    }
}

impl Call {
    fn user<'a>(&self, accounts: &'a Accounts) -> Option<&'a User> {
        accounts.user(&self.caller)
    }
}

fn call() -> Call {
    CALL.with_borrow(Clone::clone)
}

fn holds(accounts: &Accounts, call: &Call, permission: &str) -> bool {
    let user = call.user(accounts);
    user.is_some_and(|user| user.permissions.iter().any(|held| held == permission))
}

fn read() -> Accounts {
    let accounts = serde_json::from_slice(&folder::read());
    accounts.unwrap_or_else(|_| fail("the file of the accounts cannot be understood"))
}

fn write(accounts: &Accounts) {
    match serde_json::to_vec(accounts) {
        Ok(text) => folder::replace(&text),
        Err(_) => fail("the accounts cannot be written"),
    }
}

/// A host that cannot answer a call ends the instance.
fn fail(problem: &str) -> ! {
    let text = format!("accounts: {problem}\n");
    // Nobody is left to be told where this cannot be written.
    let _ = get_stderr().blocking_write_and_flush(text.as_bytes());
    std::process::abort()
}
