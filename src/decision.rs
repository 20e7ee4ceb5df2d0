//! The order of the checks.
//!
//! The body is well formed, the second factor is proved, then, if a member is
//! named: the caller holds the permission, the workspace uses second factors,
//! the member exists. So a malformed body costs no attempt, and a caller
//! without the permission never learns who exists.

use crate::answer::{Refusal, method_name, response};
use crate::bindings::{
    chat::reset_totp::{
        secrets::{
            self as secrets, AttemptRefusal, EmailCode, Method, Proof, Receipt, Target, TotpFactor,
        },
        users::{Selector, User},
    },
    exports::chat::reset_totp::handler::{Caller, Request, Response},
};
use crate::body::{self, InvalidParams, Subject};
use crate::second_factor::{Code, matching_backup_code, matching_step};

/// The permission to remove another member's TOTP factor.
pub const PERMISSION: &str = "edit-other-user-totp";

/// What the host lends: the imports of `wit/`, each documented there.
pub trait Host {
    /// `wasi:clocks/wall-clock.now`, whole seconds of Unix time.
    fn now(&self) -> u64;
    /// `users.find`
    fn find(&self, selector: &Selector) -> Option<User>;
    /// `permissions.caller-has`
    fn caller_has(&self, permission: &str) -> bool;
    /// `settings.two-factor-enabled`
    fn two_factor_enabled(&self) -> bool;
    /// `settings.totp-window`
    fn totp_window(&self) -> u8;
    /// `settings.missing-factor-allowed`
    fn missing_factor_allowed(&self) -> bool;
    /// `settings.bypass-token-allowed`
    fn bypass_token_allowed(&self) -> bool;
    /// `secrets.methods`
    fn methods(&self) -> Vec<Method>;
    /// `secrets.begin-totp-attempt`
    fn begin_totp_attempt(&self) -> Result<TotpFactor, AttemptRefusal>;
    /// `secrets.send-email-code`
    fn send_email_code(&self) -> Result<EmailCode, AttemptRefusal>;
    /// `secrets.check-email-code`
    fn check_email_code(&self, code: &str) -> Result<bool, AttemptRefusal>;
    /// `secrets.check-password`
    fn check_password(&self, digest: &str) -> Result<bool, AttemptRefusal>;
    /// `secrets.reset`
    fn reset(&self, proof: &Proof, target: &Target) -> Result<Receipt, secrets::Refusal>;
}

/// Decides about `request` of `caller` with what `host` lends, and answers it.
pub fn decide(host: &impl Host, caller: &Caller, request: &Request) -> Response {
    response(&reset(host, caller, request))
}

fn reset(host: &impl Host, caller: &Caller, request: &Request) -> Result<(), Refusal> {
    let subject = body::parse(request.content_type.as_deref(), &request.body)
        .map_err(Refusal::InvalidParams)?;
    let enabled = host.two_factor_enabled();
    let (proof, method) = if enabled {
        prove(host, caller, request)?
    } else {
        (Proof::None, Method::Totp)
    };
    let target = match subject {
        Subject::Caller => Target::Caller,
        Subject::Member(_) if !host.caller_has(PERMISSION) => return Err(Refusal::NotAllowed),
        Subject::Member(_) if !enabled => return Err(Refusal::TwoFactorNotEnabled),
        Subject::Member(selectors) => Target::User(find(host, &selectors)?.id),
    };
    match host.reset(&proof, &target) {
        Ok(Receipt::Removed | Receipt::NothingEnrolled) => Ok(()),
        Err(secrets::Refusal::ProofRefused) => Err(Refusal::TotpInvalid(method)),
        Err(secrets::Refusal::UnknownTarget) => Err(Refusal::InvalidUser),
        Err(secrets::Refusal::NotPermitted | secrets::Refusal::Other(_)) => {
            Err(Refusal::NotAllowed)
        }
    }
}

/// Proves the caller's second factor, and says by which method.
fn prove(host: &impl Host, caller: &Caller, request: &Request) -> Result<(Proof, Method), Refusal> {
    if caller.bypass_token && host.bypass_token_allowed() {
        return Ok((Proof::None, Method::Totp));
    }
    let available = host.methods();
    let Some(method) = choose(&available, request.two_factor_method.as_deref()) else {
        return if host.missing_factor_allowed() {
            Ok((Proof::None, Method::Totp))
        } else {
            Err(Refusal::TotpRequired {
                method: Method::Totp,
                sent: None,
                available,
            })
        };
    };
    let code = request.two_factor_code.as_deref().unwrap_or_default();
    if code.is_empty() {
        return Err(ask(host, method, available));
    }
    let proof = match method {
        Method::Totp => totp_proof(host, code),
        Method::Email => host
            .check_email_code(code)
            .map(|right| right.then_some(Proof::EmailCode)),
        Method::Password => host
            .check_password(code)
            .map(|right| right.then_some(Proof::Password)),
        Method::Other(_) => Ok(None),
    };
    match proof {
        Ok(Some(proof)) => Ok((proof, method)),
        Err(AttemptRefusal::Locked) => Err(Refusal::TotpMaxAttempts(method)),
        Ok(None) | Err(AttemptRefusal::Unavailable | AttemptRefusal::Other(_)) => {
            Err(Refusal::TotpInvalid(method))
        }
    }
}

/// The method that the request asks for, if the caller has it and it is not the
/// password; otherwise the one the host prefers.
fn choose(available: &[Method], asked_for: Option<&str>) -> Option<Method> {
    let known = || {
        available
            .iter()
            .filter(|method| !matches!(method, Method::Other(_)))
    };
    known()
        .filter(|method| !matches!(method, Method::Password))
        .find(|method| Some(method_name(method)) == asked_for)
        .or_else(|| known().next())
        .cloned()
}

fn ask(host: &impl Host, method: Method, available: Vec<Method>) -> Refusal {
    let sent = match method {
        Method::Email => match host.send_email_code() {
            Ok(code) => Some(code),
            Err(AttemptRefusal::Locked) => return Refusal::TotpMaxAttempts(method),
            Err(AttemptRefusal::Unavailable | AttemptRefusal::Other(_)) => None,
        },
        _ => None,
    };
    Refusal::TotpRequired {
        method,
        sent,
        available,
    }
}

/// The host counts the attempt before the code is looked at, its form included.
fn totp_proof(host: &impl Host, code: &str) -> Result<Option<Proof>, AttemptRefusal> {
    let factor = host.begin_totp_attempt()?;
    Ok(match Code::parse(code) {
        Some(Code::Totp(code)) => {
            matching_step(&factor.key, code, host.now(), host.totp_window()).map(Proof::TotpStep)
        }
        Some(Code::Backup(code)) => {
            matching_backup_code(&factor.backup_code_hashes, code).map(Proof::BackupCode)
        }
        None => None,
    })
}

fn find(host: &impl Host, selectors: &[Selector]) -> Result<User, Refusal> {
    let mut found = selectors.iter().map(|selector| host.find(selector));
    let user = found.next().ok_or(Refusal::UserParamNotProvided)?;
    for other in found {
        if other.map(|user| user.id) != user.as_ref().map(|user| user.id.clone()) {
            let problem = InvalidParams::new("the keys name different users");
            return Err(Refusal::InvalidParams(problem));
        }
    }
    match user {
        None => Err(Refusal::InvalidUser),
        Some(user) if user.federated => Err(Refusal::FederatedUser),
        Some(user) => Ok(user),
    }
}
