//! The answers that the host itself gives; the plugin writes others of the same
//! shapes.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chat_domain::standing::INVALID_PARAMS;
use chat_domain::time::Timestamp;
use chat_store::StoreError;
use plugin_sandbox::comparisons::Busy;
use plugin_sandbox::contract::exports::chat::reset_totp::handler;
use plugin_sandbox::outcome::Failure;
use serde::Serialize;
use serde_json::{Number, Value};
use std::time::Duration;
use utoipa::ToSchema;

/// A status, a JSON text, and when to try again.
pub(super) struct Answer {
    status: StatusCode,
    body: String,
    retry_after: Option<Duration>,
}

/// What was asked is done; the other members say what came of it.
#[derive(Serialize, ToSchema)]
pub(super) struct Success<T> {
    #[serde(flatten)]
    result: T,
    /// True.
    success: bool,
}

/// What was asked is done, and there is nothing to say about it.
#[derive(Serialize, ToSchema)]
pub(super) struct Done {}

/// The request was refused, or could not be decided.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Refused {
    /// False.
    success: bool,
    /// What is wrong, for people.
    #[schema(example = "TOTP Required [totp-required]")]
    error: String,
    /// What is wrong, for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "totp-required", nullable = false)]
    error_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    details: Option<Details>,
}

/// What a client needs in order to ask for a second factor.
#[derive(Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Details {
    /// The function that refused, where that is not the second factor.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "resetTOTP", nullable = false)]
    pub(super) function: Option<&'static str>,
    /// `totp`, `email` or `password`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "totp", nullable = false)]
    pub(super) method: Option<&'static str>,
    /// A code was sent just now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) code_generated: Option<bool>,
    /// When the code ends that was sent earlier.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, nullable = false)]
    pub(super) code_expires: Option<String>,
    /// To whom the code was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) email_or_username: Option<String>,
    /// The methods that the caller may choose from.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) available_methods: Option<Vec<&'static str>>,
}

/// The request carries no valid login.
#[derive(Serialize, ToSchema)]
pub(super) struct NotLoggedIn {
    /// `error`
    status: &'static str,
    /// What is wrong, for people.
    message: &'static str,
}

/// The log-in was refused.
#[derive(Serialize, ToSchema)]
pub(super) struct LoginRefused {
    /// `error`
    status: &'static str,
    /// 403 where name, password or token are wrong; otherwise an error id.
    #[schema(value_type = Value, example = "totp-required")]
    error: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    details: Option<Details>,
    /// What is wrong, for people.
    #[schema(example = "TOTP Required")]
    message: &'static str,
}

impl Answer {
    pub(super) fn new(status: StatusCode, body: &impl Serialize) -> Self {
        #[expect(
            clippy::expect_used,
            reason = "the bodies above hold only strings, numbers, booleans and lists"
        )]
        let body = serde_json::to_string(body).expect("it is JSON");
        Self {
            status,
            body,
            retry_after: None,
        }
    }

    /// What was asked is done.
    pub(super) fn success(result: impl Serialize) -> Self {
        let success = true;
        Self::new(StatusCode::OK, &Success { result, success })
    }

    /// The plugin's own, which the host has checked.
    pub(super) fn of_plugin(response: handler::Response) -> Self {
        Self {
            status: StatusCode::from_u16(response.status).unwrap_or(StatusCode::BAD_GATEWAY),
            body: response.body,
            retry_after: None,
        }
    }

    /// The request carries no valid login.
    pub(super) fn not_logged_in() -> Self {
        let body = NotLoggedIn {
            status: "error",
            message: "You must be logged in to do this.",
        };
        Self::new(StatusCode::UNAUTHORIZED, &body)
    }

    /// The name, the password or the token is wrong: `message` says which.
    pub(super) fn wrong_login(message: &'static str) -> Self {
        let error = Value::Number(Number::from(403));
        Self::login_refused(error, message, None)
    }

    /// The log-in was refused for the error `id`.
    pub(super) fn login_refused_by(
        id: &'static str,
        message: &'static str,
        details: Details,
    ) -> Self {
        Self::login_refused(Value::from(id), message, Some(details))
    }

    fn login_refused(error: Value, message: &'static str, details: Option<Details>) -> Self {
        let body = LoginRefused {
            status: "error",
            error,
            details,
            message,
        };
        Self::new(StatusCode::UNAUTHORIZED, &body)
    }

    /// The request is refused for the error `id`, which `message` says in words.
    pub(super) fn refused(id: &'static str, message: &str, details: Option<Details>) -> Self {
        let error = format!("{message} [{id}]");
        Self::failure(StatusCode::BAD_REQUEST, error, Some(id), details)
    }

    /// The request cannot be understood: `problem` says what is wrong, and where.
    pub(super) fn invalid_params(status: StatusCode, problem: &str) -> Self {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct InvalidParams<'a> {
            success: bool,
            error_type: &'static str,
            error: &'a str,
        }
        let body = InvalidParams {
            success: false,
            error_type: INVALID_PARAMS,
            error: problem,
        };
        Self::new(status, &body)
    }

    /// The same, and when it may be tried again.
    pub(super) fn retry_at(mut self, until: Option<Timestamp>, now: Timestamp) -> Self {
        self.retry_after = until.map(|until| until - now);
        self
    }

    /// No workspace is served under the host name that was asked for (RFC 9110
    /// section 15.5.20).
    pub(super) fn unknown_workspace() -> Self {
        let error = "No workspace is served under this host name".to_owned();
        Self::failure(StatusCode::MISDIRECTED_REQUEST, error, None, None)
    }

    /// The request names no host, or more than one (RFC 9112 section 3.2).
    pub(super) fn no_host() -> Self {
        let problem = "the request names no host, or more than one";
        Self::invalid_params(StatusCode::BAD_REQUEST, problem)
    }

    /// The body is encoded in a way that is not understood (RFC 9110 section 15.5.16).
    pub(super) fn unknown_content_encoding() -> Self {
        let problem = "Content-Encoding: bodies are taken as they are";
        Self::invalid_params(StatusCode::UNSUPPORTED_MEDIA_TYPE, problem)
    }

    /// The request is sent in a way that is not understood (RFC 9112 section 6.1).
    pub(super) fn unknown_transfer_encoding() -> Self {
        let problem = "Transfer-Encoding: nothing but chunked is understood";
        Self::invalid_params(StatusCode::NOT_IMPLEMENTED, problem)
    }

    /// There is no such route.
    pub(super) fn not_found() -> Self {
        let error = "Resource not found".to_owned();
        Self::failure(StatusCode::NOT_FOUND, error, None, None)
    }

    /// The route takes another method.
    pub(super) fn method_not_allowed() -> Self {
        let error = "Method not allowed".to_owned();
        Self::failure(StatusCode::METHOD_NOT_ALLOWED, error, None, None)
    }

    /// The client calls too often and must wait that many seconds.
    pub(super) fn too_many_requests(seconds: u64) -> Self {
        let error = format!(
            "Error, too many requests. Please slow down. You must wait {seconds} seconds before \
             trying this endpoint again. [error-too-many-requests]"
        );
        Self {
            retry_after: Some(Duration::from_secs(seconds)),
            ..Self::failure(StatusCode::TOO_MANY_REQUESTS, error, None, None)
        }
    }

    /// The plugin or the host failed, or has too much to do: no word of theirs
    /// reaches the client.
    pub(super) fn failed(failure: &Failure) -> Self {
        let code = failure.code();
        let status = StatusCode::from_u16(failure.status());
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let error = match failure {
            Failure::Busy(_) | Failure::Saturated(_) | Failure::StoreUnavailable(_) => {
                format!("The server is busy [{code}]")
            }
            Failure::OutcomeUnknown(_) => format!("It is not known whether it was done [{code}]"),
            _ => format!("The request could not be decided [{code}]"),
        };
        Self {
            retry_after: failure.retry_after(),
            ..Self::failure(status, error, Some(code), None)
        }
    }

    /// The store failed: its words go to the log.
    pub(super) fn store_failed(error: StoreError) -> Self {
        let failure = Failure::from(error);
        tracing::error!(%failure, code = failure.code());
        Self::failed(&failure)
    }

    fn failure(
        status: StatusCode,
        error: String,
        error_type: Option<&'static str>,
        details: Option<Details>,
    ) -> Self {
        let body = Refused {
            success: false,
            error,
            error_type,
            details,
        };
        Self::new(status, &body)
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let json = HeaderValue::from_static("application/json");
        let mut headers = HeaderMap::from_iter([(header::CONTENT_TYPE, json)]);
        if let Some(pause) = self.retry_after {
            // Rounded up: whoever comes too early is refused again.
            let seconds = pause.as_millis().div_ceil(1000);
            let seconds = u64::try_from(seconds).unwrap_or(u64::MAX);
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        (self.status, headers, self.body).into_response()
    }
}

/// A handler's answer where the store may fail.
pub(super) type Result = std::result::Result<Answer, Answer>;

impl From<Busy> for Answer {
    fn from(busy: Busy) -> Self {
        Self::failed(&busy.into())
    }
}

impl From<StoreError> for Answer {
    fn from(error: StoreError) -> Self {
        Self::store_failed(error)
    }
}
