//! The HTTP answers, to the byte: the documented endpoint's, and Rocket.Chat's
//! own where the documentation is silent.

use crate::bindings::{
    chat::reset_totp::secrets::{EmailCode, Method},
    exports::chat::reset_totp::handler::Response,
};
use crate::body::InvalidParams;
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
        let no_details = None::<()>;
        match self {
            Self::InvalidParams(InvalidParams(error)) => json(&InvalidParamsBody {
                success: false,
                error_type: "invalid-params",
                error,
            }),
            Self::TotpRequired {
                method,
                sent,
                available,
            } => failure(
                "totp-required",
                "TOTP Required",
                Some(RequiredDetails::new(method, sent.as_ref(), available)),
            ),
            Self::TotpInvalid(method) => {
                failure("totp-invalid", "TOTP Invalid", Some(method_details(method)))
            }
            Self::TotpMaxAttempts(method) => failure(
                "totp-max-attempts",
                "TOTP Maximun Failed Attempts Reached",
                Some(method_details(method)),
            ),
            Self::NotAllowed => failure("error-not-allowed", "Not allowed", no_details),
            Self::TwoFactorNotEnabled => failure(
                "error-two-factor-not-enabled",
                "Two factor authentication is not enabled",
                no_details,
            ),
            Self::UserParamNotProvided => failure(
                "error-user-param-not-provided",
                r#"The required "userId" or "username" param was not provided"#,
                no_details,
            ),
            Self::InvalidUser => failure(
                "error-invalid-user",
                r#"The required "userId" or "username" param provided does not match any users"#,
                no_details,
            ),
            Self::FederatedUser => failure(
                "error-not-allowed",
                "Federated Users cant have TOTP",
                Some(FunctionDetails {
                    function: "resetTOTP",
                }),
            ),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Failure<D> {
    success: bool,
    error: String,
    error_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<D>,
}

fn failure<D: Serialize>(id: &'static str, text: &str, details: Option<D>) -> String {
    json(&Failure {
        success: false,
        error: format!("{text} [{id}]"),
        error_type: id,
        details,
    })
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
struct MethodDetails<'a> {
    method: &'a str,
    code_generated: bool,
}

fn method_details(method: &Method) -> MethodDetails<'_> {
    MethodDetails {
        method: method_name(method),
        code_generated: false,
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RequiredDetails<'a> {
    method: &'a str,
    code_generated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    email_or_username: Option<&'a str>,
    available_methods: Vec<&'a str>,
}

impl<'a> RequiredDetails<'a> {
    fn new(method: &'a Method, sent: Option<&'a EmailCode>, available: &'a [Method]) -> Self {
        Self {
            method: method_name(method),
            code_generated: sent.is_some_and(|code| code.sent_now),
            email_or_username: sent.map(|code| code.recipient.as_str()),
            available_methods: available
                .iter()
                .filter(|method| !matches!(method, Method::Password))
                .map(method_name)
                .collect(),
        }
    }
}

#[derive(Serialize)]
struct FunctionDetails {
    function: &'static str,
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
