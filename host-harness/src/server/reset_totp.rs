//! `POST /api/v1/users.resetTOTP`: authenticates, asks the plugin, records the
//! decision, answers.

use super::answer::{Answer, INVALID_PARAMS};
use super::{App, RequestId, authenticate};
use crate::capabilities::{Attempt, Call, Observed};
use crate::contract::exports::chat::reset_totp::handler;
use crate::plugin::Failure;
use crate::store::{AuditRecord, Decision, Refusal, StoreError};
use axum::Extension;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use secrecy::SecretString;
use serde::Deserialize;
use std::sync::Arc;

/// Largest body that is read, in bytes: three names fit a hundred times over.
pub(super) const MAX_BODY: usize = 64 * 1024;

/// Longest `x-2fa-code`, `x-2fa-method` or `content-type`, in bytes: a password
/// digest has 64.
const MAX_HEADER: usize = 256;

/// Longest error id of a plugin that the audit trail takes, in characters.
const MAX_REASON: usize = 64;

/// Decides in a task of its own: a client that goes away cannot keep a decision
/// from being recorded.
pub(super) async fn handle(
    State(app): State<Arc<App>>,
    Extension(RequestId(id)): Extension<RequestId>,
    request: Request,
) -> Response {
    let decision = tokio::spawn(answer(app, id.clone(), request)).await;
    let failure = match decision {
        Ok(Ok(answer)) => return answer.into_response(),
        Ok(Err(error)) => Failure::Store(error),
        Err(_panic) => Failure::Panic,
    };
    tracing::error!(request_id = id, %failure, code = failure.code());
    Answer::failed(&failure).into_response()
}

async fn answer(app: Arc<App>, id: String, request: Request) -> Result<Answer, StoreError> {
    let now = app.clock.now();
    let Some(caller) = authenticate(&app, request.headers(), now).await? else {
        return Ok(Answer::not_logged_in());
    };
    let mut record = AuditRecord {
        at: now,
        workspace: app.workspace.clone(),
        request_id: id,
        caller: caller.id.clone(),
        target: None,
        decision: Decision::Refused,
        reason: Some(INVALID_PARAMS.to_owned()),
    };
    let request = match read(request).await {
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
    log(&record, &outcome, &observed);
    if !observed.committed() {
        record.decision = decision(&outcome, &observed);
        record.reason = reason(&outcome);
        record.target = observed.target;
        app.store.record(record).await?;
    }
    Ok(match outcome {
        Err(failure) => Answer::failed(&failure),
        Ok(response) => Answer::of_plugin(response),
    })
}

/// What the plugin may see of the request.
async fn read(request: Request) -> Result<handler::Request, Answer> {
    let [content_type, two_factor_code, two_factor_method] = headers(request.headers())
        .map_err(|problem| Answer::invalid_params(StatusCode::BAD_REQUEST, &problem))?;
    let body = Bytes::from_request(request, &())
        .await
        .map_err(|rejection| match rejection.status() {
            status @ StatusCode::PAYLOAD_TOO_LARGE => {
                Answer::invalid_params(status, &format!("the body is longer than {MAX_BODY} bytes"))
            }
            _ => Answer::invalid_params(StatusCode::BAD_REQUEST, "the body ended early"),
        })?;
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
    match outcome {
        Err(_) => Decision::Failed,
        Ok(_) if observed.attempt == Some(Attempt::Locked) => Decision::Locked,
        Ok(_) if observed.reset == Some(Err(Refusal::Replayed)) => Decision::Replayed,
        Ok(_) => Decision::Refused,
    }
}

/// The error id of the answer, or the failure's code.
fn reason(outcome: &Outcome) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Body {
        error_type: String,
    }
    match outcome {
        Err(failure) => Some(failure.code().to_owned()),
        Ok(response) => serde_json::from_str::<Body>(&response.body)
            .ok()
            .map(|body| body.error_type.escape_default().take(MAX_REASON).collect()),
    }
}

fn log(record: &AuditRecord, outcome: &Outcome, observed: &Observed) {
    let AuditRecord {
        workspace,
        request_id,
        caller,
        ..
    } = record;
    let target = observed.target.as_deref().unwrap_or("none");
    match outcome {
        Err(failure) => {
            tracing::error!(request_id, workspace, caller, target, %failure, code = failure.code());
        }
        Ok(response) => {
            let status = response.status;
            tracing::info!(request_id, workspace, caller, target, status, "decided");
        }
    }
}
