//! `POST /api/v1/users.resetTOTP`: asks the plugin, records the
//! decision, answers.

use super::answer::{self, Answer, Done, INVALID_PARAMS, Refused, Success};
use super::body;
use super::openapi::{Refusals, SecondFactorHeaders};
use super::{RequestId, Site};
use axum::Extension;
use axum::extract::Request;
use axum::http::StatusCode;
use chat_domain::account::Caller;
use chat_domain::audit::{Action, AuditRecord, Decision};
use chat_domain::reset::{Receipt, Refusal};
use chat_store::StoreError;
use plugin_sandbox::capabilities::{Call, Observed, ObservedAttempt};
use plugin_sandbox::contract::exports::chat::reset_totp::handler;
use plugin_sandbox::outcome::{Ended, Failure};
use secrecy::SecretString;
use serde::Deserialize;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, Span};
use utoipa::ToSchema;

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

/// Reset a user's TOTP
///
/// Removes the user's TOTP, ends all their sessions and tells them by e-mail.
/// Needs the permission `edit-other-user-totp` and the caller's second factor.
/// An empty body, or `{}`, means the caller's own TOTP.
//
// It is decided in a task of its own: a client that goes away cannot keep a
// decision from being recorded, and the server stops after the last one.
#[utoipa::path(
    post,
    path = "/api/v1/users.resetTOTP",
    tag = "Reset",
    security(("userId" = [], "authToken" = [])),
    params(SecondFactorHeaders),
    request_body = ResetTotp,
    responses(
        (status = 200, description = "Done, or nothing was enrolled", body = Success<Done>),
        Refusals,
        (status = 502, description = "The plugin failed", body = Refused),
        (status = 503, description = "Too much waits, or the plugin is suspended", body = Refused),
        (status = 504, description = "The call took too long", body = Refused),
    ),
)]
pub(super) async fn handle(
    Extension(site): Extension<Site>,
    Extension(RequestId(id)): Extension<RequestId>,
    Extension(caller): Extension<Caller>,
    Extension(decisions): Extension<TaskTracker>,
    request: Request,
) -> answer::Result {
    let metrics = site.metrics.clone();
    let answer = answer(site, id, caller, request).in_current_span();
    match decisions.spawn(answer).await {
        Ok(answer) => answer,
        Err(_panic) => {
            let failure = Failure::Panic;
            tracing::error!(%failure, code = failure.code());
            metrics.call_ended(failure.code(), None);
            Err(Answer::failed(&failure))
        }
    }
}

/// Whose TOTP is reset. Members whose value is blank are passed over.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what the plugin reads")]
pub(super) struct ResetTotp {
    /// The user's id.
    #[schema(rename = "userId", nullable = false)]
    user_id: Option<String>,
    /// The user's name.
    #[schema(nullable = false)]
    username: Option<String>,
    /// The user's name, too.
    #[schema(nullable = false)]
    user: Option<String>,
}

async fn answer(site: Site, id: String, caller: Caller, request: Request) -> answer::Result {
    let request = read(request).await;
    let now = site.clock.now();
    let mut record = AuditRecord {
        at: now,
        workspace: site.workspace.id.clone(),
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
            site.record(record).await?;
            return Ok(answer);
        }
    };
    let call = Call::new(
        site.store.clone(),
        site.workspace.id.clone(),
        caller,
        now,
        record.request_id.clone(),
        request.two_factor_code.clone().map(SecretString::from),
    );
    let ended = site.workspace.reset_totp(call, &request, &site.clock).await;
    Span::current().record("outcome", ended.code());
    site.metrics.call_ended(ended.code(), Some(&ended.usage));
    let Ended {
        outcome, observed, ..
    } = ended;
    record.decision = decision(&outcome, &observed);
    record.reason = reason(&outcome);
    record.target = observed.target.clone();
    log(&record, outcome.as_ref().err());
    if observed.committed() {
        site.metrics.audited(&Ok::<_, StoreError>(()));
    } else {
        site.record(record).await?;
    }
    Ok(match outcome {
        Err(_) if observed.committed() => Answer::success(Done {}),
        Err(failure) => Answer::failed(&failure),
        Ok(response) => Answer::of_plugin(response),
    })
}

/// What the plugin may see of the request. A query is refused: who writes the
/// member there and sends no body does not mean themselves.
async fn read(request: Request) -> Result<handler::Request, Answer> {
    if request.uri().query().is_some_and(|query| !query.is_empty()) {
        let problem = "the query is not empty: the body names the member";
        return Err(body::invalid(problem));
    }
    let names = ["content-type", "x-2fa-code", "x-2fa-method"];
    let [content_type, two_factor_code, two_factor_method] =
        body::headers(request.headers(), names)?;
    Ok(handler::Request {
        content_type,
        two_factor_code,
        two_factor_method,
        body: body::read(request).await?.into(),
    })
}

type Outcome = Result<handler::Response, Failure>;

fn decision(outcome: &Outcome, observed: &Observed) -> Decision {
    match (observed.reset, outcome) {
        (Some(Ok(Receipt::Removed)), _) => Decision::Reset,
        (Some(Ok(Receipt::NothingEnrolled)), _) => Decision::NothingEnrolled,
        (_, Err(_)) => Decision::Failed,
        (Some(Err(Refusal::Replayed)), Ok(_)) => Decision::Replayed,
        _ => match observed.attempt {
            Some(ObservedAttempt::Locked) => Decision::Locked,
            Some(ObservedAttempt::Begun { spent_code: true }) => Decision::Replayed,
            Some(ObservedAttempt::Begun { spent_code: false }) | None => Decision::Refused,
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
        workspace, caller, ..
    } = record;
    let target = record.target.as_deref();
    let action = record.action.name();
    let decision = record.decision.name();
    let reason = record.reason.as_deref();
    match failure {
        None => {
            tracing::info!(workspace, caller, action, target, decision, reason);
        }
        Some(failure) => {
            tracing::error!(workspace, caller, action, target, decision, reason, %failure);
        }
    }
}
