//! The answers that the host itself gives; the plugin writes the others.

use crate::contract::exports::chat::reset_totp::handler;
use crate::plugin::Failure;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// A status and a JSON text.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: String,
}

impl Answer {
    fn new(status: StatusCode, body: &Value) -> Self {
        Self {
            status,
            body: body.to_string(),
        }
    }

    /// The reset is done.
    pub(super) fn success() -> Self {
        Self::new(StatusCode::OK, &json!({"success": true}))
    }

    /// The plugin's own, which the host has checked.
    pub(super) fn of_plugin(response: handler::Response) -> Self {
        Self {
            status: StatusCode::from_u16(response.status).unwrap_or(StatusCode::BAD_GATEWAY),
            body: response.body,
        }
    }

    /// The request carries no valid login.
    pub(super) fn not_logged_in() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            &json!({"status": "error", "message": "You must be logged in to do this."}),
        )
    }

    /// The request cannot be understood: `problem` says what is wrong, and where.
    pub(super) fn invalid_params(status: StatusCode, problem: &str) -> Self {
        Self::new(
            status,
            &json!({"success": false, "errorType": INVALID_PARAMS, "error": problem}),
        )
    }

    /// There is no such route.
    pub(super) fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            &json!({"success": false, "error": "Resource not found"}),
        )
    }

    /// The route takes another method.
    pub(super) fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            &json!({"success": false, "error": "Method not allowed"}),
        )
    }

    /// The plugin or the host failed: no word of theirs reaches the client.
    pub(super) fn failed(failure: &Failure) -> Self {
        let status = match failure {
            Failure::WallTime => StatusCode::GATEWAY_TIMEOUT,
            Failure::Store(_) | Failure::Panic => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_GATEWAY,
        };
        let code = failure.code();
        Self::new(
            status,
            &json!({
                "success": false,
                "error": format!("The request could not be decided [{code}]"),
                "errorType": code,
            }),
        )
    }
}

/// The error id of a request that cannot be understood.
pub(super) const INVALID_PARAMS: &str = "invalid-params";

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let json = HeaderValue::from_static("application/json");
        (self.status, [(header::CONTENT_TYPE, json)], self.body).into_response()
    }
}
