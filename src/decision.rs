//! The order of the checks.
//!
//! The body is well formed, the second factor is proved, then, if a member is
//! named: the caller holds the permission, the workspace uses second factors,
//! the member exists. So a malformed body costs no attempt, and a caller
//! without the permission never learns who exists.

use crate::answer::{Refusal, method_name, response};
use crate::body::{self, InvalidParams, Subject};
use crate::contract::{
    chat::reset_totp::{
        secrets::{
            self as secrets, AttemptRefusal, EmailCode, Method, Proof, Receipt, Target, TotpKey,
        },
        users::{Selector, User},
    },
    exports::chat::reset_totp::handler::{Caller, Request, Response},
};
use crate::second_factor::{Code, matching_backup_code, matching_step};

/// The permission to remove another member's TOTP factor.
pub const EDIT_OTHER_USER_TOTP: &str = "edit-other-user-totp";

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
    /// `secrets.begin-totp-code-attempt`
    fn begin_totp_code_attempt(&self) -> Result<TotpKey, AttemptRefusal>;
    /// `secrets.begin-backup-code-attempt`
    fn begin_backup_code_attempt(&self) -> Result<Vec<u8>, AttemptRefusal>;
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
    let proof = if enabled {
        prove(host, caller, request)?
    } else {
        Proof::None
    };
    let target = match subject {
        Subject::Caller => Target::Caller,
        Subject::Member(_) if !host.caller_has(EDIT_OTHER_USER_TOTP) => {
            return Err(Refusal::NotAllowed);
        }
        Subject::Member(_) if !enabled => return Err(Refusal::TwoFactorNotEnabled),
        Subject::Member(selectors) => Target::User(find(host, &selectors)?.id),
    };
    match host.reset(&proof, &target) {
        Ok(Receipt::Removed | Receipt::NothingEnrolled) => Ok(()),
        Err(secrets::Refusal::ProofRefused) => Err(Refusal::TotpInvalid(method_of(&proof))),
        Err(secrets::Refusal::UnknownTarget) => Err(Refusal::InvalidUser),
        Err(secrets::Refusal::NotPermitted | secrets::Refusal::Other(_)) => {
            Err(Refusal::NotAllowed)
        }
    }
}

fn method_of(proof: &Proof) -> Method {
    match proof {
        Proof::EmailCode => Method::Email,
        Proof::Password => Method::Password,
        Proof::TotpStep(_) | Proof::BackupCode(_) | Proof::None | Proof::Other(_) => Method::Totp,
    }
}

/// Proves the caller's second factor.
fn prove(host: &impl Host, caller: &Caller, request: &Request) -> Result<Proof, Refusal> {
    if caller.bypass_token && host.bypass_token_allowed() {
        return Ok(Proof::None);
    }
    let available = host.methods();
    let Some(method) = choose(&available, request.two_factor_method.as_deref()) else {
        return if host.missing_factor_allowed() {
            Ok(Proof::None)
        } else {
            Err(Refusal::TotpRequired {
                method: Method::Totp,
                sent: None,
                available,
            })
        };
    };
    let code = request.two_factor_code.as_deref().unwrap_or_default();
    if code.trim().is_empty() {
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
        Ok(Some(proof)) => Ok(proof),
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

/// The host counts the attempt before it lends what the code is compared with, and
/// of that no more than a code of this form needs. What has no code's form is no guess:
/// nothing is asked of the host.
fn totp_proof(host: &impl Host, code: &str) -> Result<Option<Proof>, AttemptRefusal> {
    Ok(match Code::parse(code) {
        Some(Code::Totp(code)) => {
            let TotpKey { key, last_step } = host.begin_totp_code_attempt()?;
            let (now, window) = (host.now(), host.totp_window());
            matching_step(&key, code, now, window, last_step).map(Proof::TotpStep)
        }
        Some(Code::Backup(code)) => {
            let hashes = host.begin_backup_code_attempt()?;
            matching_backup_code(&hashes, code).map(Proof::BackupCode)
        }
        None => None,
    })
}

fn find(host: &impl Host, selectors: &[Selector]) -> Result<User, Refusal> {
    let mut found = selectors.iter().map(|selector| host.find(selector));
    let user = found.next().ok_or(Refusal::UserParamNotProvided)?;
    for other in found {
        if other != user {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    const NOW: u64 = 1_234_567_890;
    const KEY: &[u8] = b"12345678901234567890";
    /// RFC 6238 appendix B, at `NOW`.
    const CODE: &str = "005924";
    const OTHER: &str = r#"{"userId":"u1"}"#;

    /// A host that lends what a test says, and notes what was asked of it.
    struct Lent {
        enabled: bool,
        methods: Vec<Method>,
        permitted: bool,
        excused: bool,
        locked: bool,
        last_step: Option<u64>,
        sent_now: bool,
        answer: Result<Receipt, secrets::Refusal>,
        asked: RefCell<Vec<String>>,
    }

    impl Default for Lent {
        fn default() -> Self {
            Self {
                enabled: true,
                methods: vec![Method::Totp],
                permitted: true,
                excused: false,
                locked: false,
                last_step: None,
                sent_now: true,
                answer: Ok(Receipt::Removed),
                asked: RefCell::default(),
            }
        }
    }

    impl Lent {
        fn note(&self, call: &str) {
            self.asked.borrow_mut().push(call.to_owned());
        }

        fn attempt<T>(&self, call: &str, granted: T) -> Result<T, AttemptRefusal> {
            self.note(call);
            if self.locked {
                Err(AttemptRefusal::Locked)
            } else {
                Ok(granted)
            }
        }
    }

    impl Host for Lent {
        fn now(&self) -> u64 {
            NOW
        }
        fn find(&self, selector: &Selector) -> Option<User> {
            let (Selector::Id(name) | Selector::Username(name)) = selector;
            self.note(&format!("find {name}"));
            (name != "nobody").then(|| User {
                id: name.to_lowercase(),
                username: name.to_lowercase(),
                federated: name == "federated",
            })
        }
        fn caller_has(&self, permission: &str) -> bool {
            self.note(permission);
            self.permitted
        }
        fn two_factor_enabled(&self) -> bool {
            self.note("two-factor-enabled");
            self.enabled
        }
        fn totp_window(&self) -> u8 {
            1
        }
        fn missing_factor_allowed(&self) -> bool {
            self.note("missing-factor-allowed");
            self.excused
        }
        fn bypass_token_allowed(&self) -> bool {
            self.note("bypass-token-allowed");
            self.excused
        }
        fn methods(&self) -> Vec<Method> {
            self.note("methods");
            self.methods.clone()
        }
        fn begin_totp_code_attempt(&self) -> Result<TotpKey, AttemptRefusal> {
            let key = TotpKey {
                key: KEY.to_vec(),
                last_step: self.last_step,
            };
            self.attempt("begin-totp-code-attempt", key)
        }
        fn begin_backup_code_attempt(&self) -> Result<Vec<u8>, AttemptRefusal> {
            self.attempt("begin-backup-code-attempt", Vec::new())
        }
        fn send_email_code(&self) -> Result<EmailCode, AttemptRefusal> {
            let code = EmailCode {
                sent_now: self.sent_now,
                expires: NOW + 3600,
                recipient: "caller".to_owned(),
            };
            self.attempt("send-email-code", code)
        }
        fn check_email_code(&self, code: &str) -> Result<bool, AttemptRefusal> {
            self.attempt("check-email-code", code == CODE)
        }
        fn check_password(&self, digest: &str) -> Result<bool, AttemptRefusal> {
            self.attempt("check-password", digest == CODE)
        }
        fn reset(&self, proof: &Proof, target: &Target) -> Result<Receipt, secrets::Refusal> {
            self.note(&format!("reset {proof:?} {target:?}"));
            self.answer.clone()
        }
    }

    fn answer(host: &Lent, code: Option<&str>, body: &str) -> String {
        answer_to(host, false, None, code, body)
    }

    fn answer_to(
        host: &Lent,
        bypass_token: bool,
        method: Option<&str>,
        code: Option<&str>,
        body: &str,
    ) -> String {
        let caller = Caller {
            id: "caller".to_owned(),
            bypass_token,
        };
        let request = Request {
            content_type: Some("application/json".to_owned()),
            two_factor_code: code.map(String::from),
            two_factor_method: method.map(String::from),
            body: body.as_bytes().to_vec(),
        };
        let response = decide(host, &caller, &request);
        assert_eq!(
            response.status == 200,
            response.body == r#"{"success":true}"#
        );
        response.body
    }

    fn error_type(body: &str) -> &str {
        let (_, rest) = body.split_once(r#""errorType":""#).unwrap();
        rest.split('"').next().unwrap()
    }

    #[test]
    fn the_checks_come_in_the_documented_order() {
        let host = Lent::default();
        assert_eq!(answer(&host, Some(CODE), OTHER), r#"{"success":true}"#);
        assert_eq!(
            host.asked.take(),
            [
                "two-factor-enabled",
                "methods",
                "begin-totp-code-attempt",
                "edit-other-user-totp",
                "find u1",
                r#"reset Proof::TotpStep(41152263) Target::User("u1")"#,
            ]
        );
    }

    #[test]
    fn a_malformed_body_asks_the_host_nothing() {
        let host = Lent::default();
        let body = answer(&host, Some(CODE), r#"{"userid":"u1"}"#);
        assert_eq!(error_type(&body), "invalid-params");
        assert!(host.asked.take().is_empty());
    }

    #[test]
    fn no_look_up_without_code_or_permission_and_no_reset_after_any_refusal() {
        let refuse = |host: Lent, code, body, error: &str, asked_last: &str| {
            assert_eq!(error_type(&answer(&host, code, body)), error);
            assert_eq!(host.asked.take().last().unwrap(), asked_last);
        };
        let host = Lent::default;
        let not_permitted = Lent {
            permitted: false,
            ..host()
        };
        let locked = Lent {
            locked: true,
            ..host()
        };
        let disabled = Lent {
            enabled: false,
            ..host()
        };
        let spent = Lent {
            last_step: Some(NOW / 30),
            ..host()
        };
        let permission = "edit-other-user-totp";
        refuse(host(), None, OTHER, "totp-required", "methods");
        refuse(host(), Some(""), OTHER, "totp-required", "methods");
        refuse(
            host(),
            Some("005925"),
            OTHER,
            "totp-invalid",
            "begin-totp-code-attempt",
        );
        refuse(host(), Some("5924"), OTHER, "totp-invalid", "methods");
        refuse(
            host(),
            Some("ABCD2345"),
            OTHER,
            "totp-invalid",
            "begin-backup-code-attempt",
        );
        refuse(
            locked,
            Some(CODE),
            OTHER,
            "totp-max-attempts",
            "begin-totp-code-attempt",
        );
        refuse(
            spent,
            Some(CODE),
            OTHER,
            "totp-invalid",
            "begin-totp-code-attempt",
        );
        refuse(
            not_permitted,
            Some(CODE),
            OTHER,
            "error-not-allowed",
            permission,
        );
        refuse(
            disabled,
            None,
            OTHER,
            "error-two-factor-not-enabled",
            permission,
        );
        let blank = r#"{"user":""}"#;
        refuse(
            host(),
            Some(CODE),
            blank,
            "error-user-param-not-provided",
            permission,
        );
        let nobody = r#"{"user":"nobody"}"#;
        refuse(
            host(),
            Some(CODE),
            nobody,
            "error-invalid-user",
            "find nobody",
        );
        let federated = r#"{"user":"federated"}"#;
        refuse(
            host(),
            Some(CODE),
            federated,
            "error-not-allowed",
            "find federated",
        );
        let two = r#"{"userId":"u1","user":"u2"}"#;
        refuse(host(), Some(CODE), two, "invalid-params", "find u2");
    }

    #[test]
    fn keys_that_name_one_user_are_no_disagreement() {
        let host = Lent::default();
        let body = r#"{"userId":"u1","username":"U1","user":"u1"}"#;
        assert_eq!(answer(&host, Some(CODE), body), r#"{"success":true}"#);
    }

    #[test]
    fn a_refused_commit_is_a_refused_request() {
        for (refusal, error) in [
            (secrets::Refusal::NotPermitted, "error-not-allowed"),
            (secrets::Refusal::ProofRefused, "totp-invalid"),
            (secrets::Refusal::UnknownTarget, "error-invalid-user"),
            (
                secrets::Refusal::Other("later".to_owned()),
                "error-not-allowed",
            ),
        ] {
            let host = Lent {
                answer: Err(refusal),
                ..Lent::default()
            };
            assert_eq!(error_type(&answer(&host, Some(CODE), OTHER)), error);
        }
    }

    #[test]
    fn the_settings_excuse_a_missing_factor_and_a_bypass_token() {
        for excused in [false, true] {
            let host = Lent {
                excused,
                methods: Vec::new(),
                ..Lent::default()
            };
            let body = answer(&host, None, "{}");
            assert_eq!(body == r#"{"success":true}"#, excused);
            let host = Lent {
                excused,
                ..Lent::default()
            };
            let body = answer_to(&host, true, None, None, "{}");
            assert_eq!(body == r#"{"success":true}"#, excused);
        }
    }

    #[test]
    fn every_method_has_its_proof() {
        for (method, asked, proof) in [
            (Method::Email, "check-email-code", "EmailCode"),
            (Method::Password, "check-password", "Password"),
        ] {
            let host = Lent {
                methods: vec![method],
                ..Lent::default()
            };
            let wrong = answer(&host, Some("000000"), "{}");
            assert_eq!(error_type(&wrong), "totp-invalid");
            assert_eq!(host.asked.take().last().unwrap(), asked);
            assert_eq!(answer(&host, Some(CODE), "{}"), r#"{"success":true}"#);
            let reset = format!("reset Proof::{proof} Target::Caller");
            assert_eq!(host.asked.take().last().unwrap(), &reset);
        }
    }

    #[test]
    fn the_method_asked_for_is_taken_where_the_caller_has_it_and_it_is_no_password() {
        let later = || Method::Other("later".to_owned());
        for (available, asked_for, chosen) in [
            (
                vec![Method::Totp, Method::Email],
                Some("email"),
                Some(Method::Email),
            ),
            (
                vec![Method::Totp, Method::Email],
                Some("password"),
                Some(Method::Totp),
            ),
            (
                vec![Method::Totp, Method::Password],
                Some("password"),
                Some(Method::Totp),
            ),
            (vec![Method::Totp], Some("email"), Some(Method::Totp)),
            (
                vec![Method::Email, Method::Password],
                None,
                Some(Method::Email),
            ),
            (vec![Method::Password], Some("totp"), Some(Method::Password)),
            (vec![later()], Some("later"), None),
            (vec![], Some("totp"), None),
        ] {
            assert_eq!(choose(&available, asked_for), chosen);
        }
    }

    #[test]
    fn what_is_asked_for_is_told() {
        let host = Lent {
            methods: vec![Method::Email, Method::Password],
            ..Lent::default()
        };
        assert_eq!(
            answer(&host, None, "{}"),
            r#"{"success":false,"error":"TOTP Required [totp-required]","errorType":"totp-required","details":{"method":"email","codeGenerated":true,"emailOrUsername":"caller","availableMethods":["email"]}}"#
        );
        let host = Lent {
            sent_now: false,
            ..host
        };
        assert_eq!(
            answer(&host, None, "{}"),
            r#"{"success":false,"error":"TOTP Required [totp-required]","errorType":"totp-required","details":{"method":"email","codeGenerated":false,"codeExpires":"2009-02-14T00:31:30.000Z","emailOrUsername":"caller","availableMethods":["email"]}}"#
        );
        let host = Lent {
            methods: vec![Method::Password],
            ..Lent::default()
        };
        assert_eq!(
            answer(&host, None, "{}"),
            r#"{"success":false,"error":"TOTP Required [totp-required]","errorType":"totp-required","details":{"method":"password","codeGenerated":false,"availableMethods":[]}}"#
        );
    }
}
