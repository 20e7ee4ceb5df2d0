//! `POST /api/v1/users.resetTOTP`: authenticates, asks the plugin, records the
//! decision, answers.

use super::answer::{Answer, INVALID_PARAMS};
use super::{App, RequestId, authenticate};
use crate::capabilities::{Attempt, Call, Observed};
use crate::contract::exports::chat::reset_totp::handler;
use crate::plugin::Failure;
use crate::store::{Action, AuditRecord, Decision, Receipt, Refusal, StoreError};
use axum::Extension;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use secrecy::SecretString;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

/// Largest body that is read, in bytes: three names fit a hundred times over.
pub(super) const MAX_BODY: usize = 64 * 1024;

/// Longest time in which the body arrives: a code that was right when the headers
/// came must not be kept alive by a body that is held back.
const MAX_BODY_TIME: Duration = Duration::from_secs(5);

/// Longest `x-2fa-code`, `x-2fa-method` or `content-type`, in bytes: a password
/// digest has 64.
const MAX_HEADER: usize = 256;

/// The error ids that the audit trail takes from a plugin's answer. Any other
/// could be a plugin's way to carry out what it must not.
const REASONS: [&str; 8] = [
    INVALID_PARAMS,
    "totp-required",
    "totp-invalid",
    "totp-max-attempts",
    "error-not-allowed",
    "error-invalid-user",
    "error-two-factor-not-enabled",
    "error-user-param-not-provided",
];

/// Decides in a task of its own: a client that goes away cannot keep a decision
/// from being recorded, and the server stops after the last one.
pub(super) async fn handle(
    State(app): State<Arc<App>>,
    Extension(RequestId(id)): Extension<RequestId>,
    Extension(decisions): Extension<TaskTracker>,
    request: Request,
) -> Response {
    let decision = decisions.spawn(answer(app, id.clone(), request)).await;
    let failure = match decision {
        Ok(Ok(answer)) => return answer.into_response(),
        Ok(Err(error)) => Failure::Store(error),
        Err(_panic) => Failure::Panic,
    };
    tracing::error!(request_id = id, %failure, code = failure.code());
    Answer::failed(&failure).into_response()
}

async fn answer(app: Arc<App>, id: String, request: Request) -> Result<Answer, StoreError> {
    let authenticated = app.clock.now();
    let Some(caller) = authenticate(&app, request.headers(), authenticated).await? else {
        return Ok(Answer::not_logged_in());
    };
    let request = read(request).await;
    let now = app.clock.now();
    let mut record = AuditRecord {
        at: now,
        workspace: app.workspace.clone(),
        request_id: id,
        action: Action::ResetTotp,
        caller: caller.id.clone(),
        target: None,
        decision: Decision::Refused,
        reason: Some(INVALID_PARAMS.to_owned()),
    };
    let request = match request {
        Ok(request) => request,
        Err(answer) => {
            app.store.record(record).await?;
            return Ok(answer);
        }
    };
    let call = Call::new(
        app.store.clone(),
        app.workspace.clone(),
        caller,
        now,
        record.request_id.clone(),
        request.two_factor_code.clone().map(SecretString::from),
    );
    let (outcome, observed) = app.plugin.reset_totp(call, &request).await;
    record.decision = decision(&outcome, &observed);
    record.reason = reason(&outcome);
    record.target = observed.target.clone();
    log(&record, outcome.as_ref().err());
    if !observed.committed() {
        app.store.record(record).await?;
    }
    Ok(match outcome {
        Err(_) if observed.committed() => Answer::success(),
        Err(failure) => Answer::failed(&failure),
        Ok(response) => Answer::of_plugin(response),
    })
}

/// What the plugin may see of the request. A query is refused: who writes the
/// member there and sends no body does not mean themselves.
async fn read(request: Request) -> Result<handler::Request, Answer> {
    let invalid = |problem: &str| Answer::invalid_params(StatusCode::BAD_REQUEST, problem);
    if request.uri().query().is_some_and(|query| !query.is_empty()) {
        return Err(invalid("the query is not empty: the body names the member"));
    }
    let [content_type, two_factor_code, two_factor_method] =
        headers(request.headers()).map_err(|problem| invalid(&problem))?;
    let body = match timeout(MAX_BODY_TIME, Bytes::from_request(request, &())).await {
        Ok(Ok(body)) => body,
        Ok(Err(rejection)) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            let problem = format!("the body is longer than {MAX_BODY} bytes");
            return Err(Answer::invalid_params(rejection.status(), &problem));
        }
        Ok(Err(_)) => return Err(invalid("the body ended early")),
        Err(_elapsed) => {
            let problem = "the body did not arrive in time";
            return Err(Answer::invalid_params(StatusCode::REQUEST_TIMEOUT, problem));
        }
    };
    Ok(handler::Request {
        content_type,
        two_factor_code,
        two_factor_method,
        body: body.into(),
    })
}

fn headers(headers: &HeaderMap) -> Result<[Option<String>; 3], String> {
    Ok([
        optional(headers, "content-type")?,
        optional(headers, "x-2fa-code")?,
        optional(headers, "x-2fa-method")?,
    ])
}

/// The text of a header that is there at most once.
fn optional(headers: &HeaderMap, name: &str) -> Result<Option<String>, String> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(format!("the header {name} is repeated"));
    }
    if value.len() > MAX_HEADER {
        return Err(format!(
            "the header {name} is longer than {MAX_HEADER} bytes"
        ));
    }
    match std::str::from_utf8(value.as_bytes()) {
        Ok(text) => Ok(Some(text.to_owned())),
        Err(_) => Err(format!("the header {name} is not UTF-8")),
    }
}

type Outcome = Result<handler::Response, Failure>;

fn decision(outcome: &Outcome, observed: &Observed) -> Decision {
    match (observed.reset, outcome) {
        (Some(Ok(Receipt::Removed)), _) => Decision::Reset,
        (Some(Ok(Receipt::NothingEnrolled)), _) => Decision::NothingEnrolled,
        (_, Err(_)) => Decision::Failed,
        (Some(Err(Refusal::Replayed)), Ok(_)) => Decision::Replayed,
        _ => match observed.attempt {
            Some(Attempt::Locked) => Decision::Locked,
            Some(Attempt::Begun { spent_code: true }) => Decision::Replayed,
            Some(Attempt::Begun { spent_code: false }) | None => Decision::Refused,
        },
    }
}

/// The failure's code, or the answer's error id where it is a known one; none
/// for a success.
fn reason(outcome: &Outcome) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Body {
        error_type: String,
    }
    let reason = match outcome {
        Err(failure) => failure.code(),
        Ok(response) if response.status == StatusCode::OK => return None,
        Ok(response) => {
            let body = serde_json::from_str::<Body>(&response.body).ok();
            let known = |id: &&&str| body.as_ref().is_some_and(|body| body.error_type == **id);
            REASONS.iter().find(known).unwrap_or(&"other")
        }
    };
    Some(reason.to_owned())
}

fn log(record: &AuditRecord, failure: Option<&Failure>) {
    let AuditRecord {
        workspace,
        request_id,
        caller,
        ..
    } = record;
    let target = record.target.as_deref();
    let decision = record.decision.name();
    let reason = record.reason.as_deref();
    match failure {
        None => {
            tracing::info!(request_id, workspace, caller, target, decision, reason);
        }
        Some(failure) => {
            tracing::error!(request_id, workspace, caller, target, decision, reason, %failure);
        }
    }
}
