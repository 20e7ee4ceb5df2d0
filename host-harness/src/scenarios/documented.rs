//! The documented answers, to the byte, and the bodies that name somebody.

pub(super) const SUCCESS: &str = r#"200 {"success":true}"#;
pub(super) const NOT_LOGGED_IN: &str =
    r#"401 {"status":"error","message":"You must be logged in to do this."}"#;
pub(super) const NOT_ALLOWED: &str = r#"400 {"success":false,"error":"Not allowed [error-not-allowed]","errorType":"error-not-allowed"}"#;
pub(super) const INVALID_USER: &str = r#"400 {"success":false,"error":"The required \"userId\" or \"username\" param provided does not match any users [error-invalid-user]","errorType":"error-invalid-user"}"#;
pub(super) const NOT_PROVIDED: &str = r#"400 {"success":false,"error":"The required \"userId\" or \"username\" param was not provided [error-user-param-not-provided]","errorType":"error-user-param-not-provided"}"#;
pub(super) const FEDERATED_USER: &str = r#"400 {"success":false,"error":"Federated Users cant have TOTP [error-not-allowed]","errorType":"error-not-allowed","details":{"function":"resetTOTP"}}"#;
pub(super) const NOT_ENABLED: &str = r#"400 {"success":false,"error":"Two factor authentication is not enabled [error-two-factor-not-enabled]","errorType":"error-two-factor-not-enabled"}"#;

/// The details of a request for a code, of one method and those that there are.
pub(super) fn required(method: &str, available: &str) -> String {
    format!(
        r#"400 {{"success":false,"error":"TOTP Required [totp-required]","errorType":"totp-required","details":{{"method":"{method}","codeGenerated":false,"availableMethods":[{available}]}}}}"#
    )
}

/// A code by e-mail is on its way to `user`.
pub(super) fn sent(user: &str, available: &str) -> String {
    format!(
        r#"400 {{"success":false,"error":"TOTP Required [totp-required]","errorType":"totp-required","details":{{"method":"email","codeGenerated":true,"emailOrUsername":"{user}","availableMethods":[{available}]}}}}"#
    )
}

pub(super) fn invalid(method: &str) -> String {
    format!(
        r#"400 {{"success":false,"error":"TOTP Invalid [totp-invalid]","errorType":"totp-invalid","details":{{"method":"{method}","codeGenerated":false}}}}"#
    )
}

pub(super) fn locked(method: &str) -> String {
    format!(
        r#"400 {{"success":false,"error":"TOTP Maximun Failed Attempts Reached [totp-max-attempts]","errorType":"totp-max-attempts","details":{{"method":"{method}","codeGenerated":false}}}}"#
    )
}

/// What an answer to a body that is not understood begins with; the rest says what
/// is wrong.
pub(super) const INVALID_PARAMS: &str =
    r#"400 {"success":false,"errorType":"invalid-params","error":""#;

/// The error id of a documented answer; none for a success.
pub(super) fn error_type(answer: &str) -> Option<&str> {
    let (_, rest) = answer.split_once(r#""errorType":""#)?;
    rest.split('"').next()
}

/// A body that names `user` by id.
pub(super) fn named(user: &str) -> String {
    format!(r#"{{"userId":"{user}Id"}}"#)
}
