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
use super::{RequestId, Site, action_of, route_name};
use axum::Extension;
use axum::extract::{MatchedPath, Request};
use axum::http::Uri;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use chat_domain::account::EDIT_OTHER_USER_TOTP;
use chat_domain::audit::{Action, AuditRecord};
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
/// nothing is looked up. That somebody wanted to change something is recorded.
pub(super) async fn require_permission(
    Extension(standing): Extension<Arc<Standing>>,
    Extension(site): Extension<Site>,
    Extension(RequestId(request_id)): Extension<RequestId>,
    route: MatchedPath,
    request: Request,
    next: Next,
) -> Response {
    if standing.may(EDIT_OTHER_USER_TOTP) {
        return next.run(request).await;
    }
    let denial = Denial::NotPermitted;
    let action = action_of(route_name(&route));
    if action == Action::Look {
        return refused(denial).into_response();
    }
    let record = AuditRecord {
        target: None,
        decision: denial.decision(),
        reason: Some(denial.id().to_owned()),
        ..site.record_of(action, &standing.caller.id, site.clock.now(), request_id)
    };
    match site.record(record).await {
        Ok(()) => refused(denial).into_response(),
        Err(error) => Answer::store_failed(error).into_response(),
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

/// Leaves a page of so many entries, of which one more was asked for. The last of them, where
/// others follow.
fn cut<T>(entries: &mut Vec<T>, count: u32) -> Option<&T> {
    let has_more = entries.len() > count as usize;
    entries.truncate(count as usize);
    entries.last().filter(|_| has_more)
}

/// What the parameter of this name says. The error answers the request.
fn parse<T: FromStr<Err: Display>>(name: &str, text: Option<&str>) -> Result<Option<T>, Answer> {
    let parsed = text.map(str::parse).transpose();
    parsed.map_err(|problem| body::invalid(&format!("{name}: {problem}")))
}
