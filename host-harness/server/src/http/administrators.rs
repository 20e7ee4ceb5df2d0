//! What those see, and may do, who hold the permission to reset others: the members and their
//! second factors, what a reset would do, the audit trail, the outbox.

pub(super) mod audit;
pub(super) mod members;
pub(super) mod outbox;
pub(super) mod preview;
pub(super) mod unlock;

use super::answer::Answer;
use super::body;
use super::second_factor::message;
use axum::Extension;
use axum::extract::Request;
use axum::http::Uri;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use chat_domain::account::EDIT_OTHER_USER_TOTP;
use chat_domain::directory::MOST_LISTED;
use chat_domain::member::Denial;
use chat_domain::standing::Standing;
use serde::de::DeserializeOwned;
use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

/// Entries of a page where the query does not say.
const LISTED: u32 = 50;

/// Passes a request on if its caller, who is logged in, may reset others: for whoever may not,
/// nothing is looked up.
pub(super) async fn require_permission(
    Extension(standing): Extension<Arc<Standing>>,
    request: Request,
    next: Next,
) -> Response {
    match standing.may(EDIT_OTHER_USER_TOTP) {
        true => next.run(request).await,
        false => refused(Denial::NotPermitted).into_response(),
    }
}

/// Refuses as `users.resetTOTP` does.
fn refused(denial: Denial) -> Answer {
    Answer::refused(denial.id(), message(denial), None)
}

/// What the query says. The error answers the request.
fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, Answer> {
    let query = uri.query().unwrap_or_default();
    serde_urlencoded::from_str(query).map_err(|_| {
        body::invalid("a parameter of the query is unknown, repeated, missing or of the wrong type")
    })
}

/// So many entries are asked for. The error answers the request.
fn count(asked: Option<u32>) -> Result<u32, Answer> {
    match asked.unwrap_or(LISTED) {
        count @ 1..=MOST_LISTED => Ok(count),
        _ => Err(body::invalid(&format!("count: it is 1 to {MOST_LISTED}"))),
    }
}

/// What the parameter of this name says. The error answers the request.
fn parse<T: FromStr<Err: Display>>(name: &str, text: Option<&str>) -> Result<Option<T>, Answer> {
    let parsed = text.map(str::parse).transpose();
    parsed.map_err(|problem| body::invalid(&format!("{name}: {problem}")))
}
