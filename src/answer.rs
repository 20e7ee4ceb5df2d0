//! The HTTP answers, to the byte: the documented endpoint's, and Rocket.Chat's
//! own where the documentation is silent.

use crate::body::InvalidParams;
use crate::contract::{
    chat::reset_totp::secrets::{EmailCode, Method},
    exports::chat::reset_totp::handler::Response,
};
use serde::Serialize;

/// Why a request is refused.
#[derive(Debug)]
pub enum Refusal {
    /// The body cannot be understood.
    InvalidParams(InvalidParams),
    /// A second factor is needed and no code was given.
    TotpRequired {
        /// The method that is asked for.
        method: Method,
        /// Where the method is e-mail: the code that was sent.
        sent: Option<EmailCode>,
        /// The methods that the caller may choose from.
        available: Vec<Method>,
    },
    /// The code is wrong, spent, or malformed.
    TotpInvalid(Method),
    /// Too many failures in a row.
    TotpMaxAttempts(Method),
    /// The caller may not reset another member's factor.
    NotAllowed,
    /// The workspace does not use second factors.
    TwoFactorNotEnabled,
    /// Every key of the body is blank.
    UserParamNotProvided,
    /// The workspace has no such user.
    InvalidUser,
    /// The user belongs to another server.
    FederatedUser,
}

/// The answer to a request that ended so.
pub fn response(outcome: &Result<(), Refusal>) -> Response {
    match outcome {
        Ok(()) => Response {
            status: 200,
            body: r#"{"success":true}"#.to_owned(),
        },
        Err(refusal) => Response {
            status: 400,
            body: refusal.body(),
        },
    }
}

impl Refusal {
    fn body(&self) -> String {
        match self {
            Self::InvalidParams(problem) => json(&InvalidParamsBody {
                success: false,
                error_type: "invalid-params",
                error: problem.explanation(),
            }),
            Self::TotpRequired {
                method,
                sent,
                available,
            } => failure(
                "totp-required",
                "TOTP Required",
                Some(Details {
                    email_or_username: sent.as_ref().map(|code| code.recipient.as_str()),
                    code_generated: Some(sent.as_ref().is_some_and(|code| code.sent_now)),
                    available_methods: Some(names(available)),
                    ..Details::of(method)
                }),
            ),
            Self::TotpInvalid(method) => {
                failure("totp-invalid", "TOTP Invalid", Some(Details::of(method)))
            }
            Self::TotpMaxAttempts(method) => failure(
                "totp-max-attempts",
                "TOTP Maximun Failed Attempts Reached",
                Some(Details::of(method)),
            ),
            Self::NotAllowed => failure("error-not-allowed", "Not allowed", None),
            Self::TwoFactorNotEnabled => failure(
                "error-two-factor-not-enabled",
                "Two factor authentication is not enabled",
                None,
            ),
            Self::UserParamNotProvided => failure(
                "error-user-param-not-provided",
                r#"The required "userId" or "username" param was not provided"#,
                None,
            ),
            Self::InvalidUser => failure(
                "error-invalid-user",
                r#"The required "userId" or "username" param provided does not match any users"#,
                None,
            ),
            Self::FederatedUser => failure(
                "error-not-allowed",
                "Federated Users cant have TOTP",
                Some(Details {
                    function: Some("resetTOTP"),
                    ..Details::default()
                }),
            ),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InvalidParamsBody<'a> {
    success: bool,
    error_type: &'static str,
    error: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Failure<'a> {
    success: bool,
    error: String,
    error_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Details<'a>>,
}

/// In the order in which clients know them.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Details<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    function: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code_generated: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email_or_username: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    available_methods: Option<Vec<&'a str>>,
}

impl<'a> Details<'a> {
    fn of(method: &'a Method) -> Self {
        Self {
            method: Some(method_name(method)),
            code_generated: Some(false),
            ..Self::default()
        }
    }
}

fn failure(id: &'static str, text: &str, details: Option<Details<'_>>) -> String {
    json(&Failure {
        success: false,
        error: format!("{text} [{id}]"),
        error_type: id,
        details,
    })
}

/// The methods that a client may choose from: the password is no choice.
fn names(available: &[Method]) -> Vec<&str> {
    available
        .iter()
        .filter(|method| !matches!(method, Method::Password))
        .map(method_name)
        .collect()
}

/// The name by which clients know `method`.
pub fn method_name(method: &Method) -> &str {
    match method {
        Method::Totp => "totp",
        Method::Email => "email",
        Method::Password => "password",
        Method::Other(name) => name,
    }
}

fn json(body: &impl Serialize) -> String {
    #[expect(
        clippy::expect_used,
        reason = "the bodies above hold only strings, booleans and lists: nothing that JSON cannot hold"
    )]
    serde_json::to_string(body).expect("strings, booleans and lists are JSON")
}
