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
use chat_store::Unavailable;
use serde::de::DeserializeOwned;
use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Entries of a page where the query does not say.
const LISTED: u32 = 50;

/// How long a look may take, whatever the store has to read for it: longer than one list that waits
/// for its turn, and shorter than the page waits, or a server that stops.
const LOOK_LIMIT: Duration = Duration::from_secs(14);

const _: () = assert!(LOOK_LIMIT.as_millis() < super::DRAIN_LIMIT.as_millis());

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
    let action = action_of(route_name(&route));
    if standing.may(EDIT_OTHER_USER_TOTP) {
        return match action {
            Action::Look => look(next.run(request)).await,
            _ => next.run(request).await,
        };
    }
    let denial = Denial::NotPermitted;
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

/// What is found in time.
async fn look(found: impl Future<Output = Response>) -> Response {
    let found = timeout(LOOK_LIMIT, found).await;
    found.unwrap_or_else(|_| Answer::store_failed(Unavailable::Busy.into()).into_response())
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

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::header::RETRY_AFTER;
    use std::future::pending;

    /// The page would take the answer for lost.
    #[test]
    fn the_page_waits_longer_than_a_look_may_take() {
        let page = include_str!("../../page/api.js").lines();
        let mut patience = page.filter_map(|line| line.strip_prefix("const PATIENCE = "));
        let patience = patience.next().unwrap().trim_end_matches(';');
        let millis: u128 = patience.replace('_', "").parse().unwrap();
        assert!(LOOK_LIMIT.as_millis() + 5000 < millis);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_looks_for_too_long_is_told_when_to_come_again() {
        let response = look(pending()).await;
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()[RETRY_AFTER], "5");
    }
}
