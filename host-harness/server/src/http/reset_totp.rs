//! `POST /api/v1/users.resetTOTP`: asks the plugin, records the
//! decision, answers.

use super::answer::{Answer, Done, Refused, Success};
use super::body;
use super::caller::Credentials;
use super::openapi::{Refusals, SecondFactorHeaders};
use super::rate_limit::{Client, Limits};
use super::{RequestId, Site, route_name};
use axum::Extension;
use axum::extract::{MatchedPath, Request};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use chat_domain::audit::{Action, AuditRecord, Decision};
use chat_domain::reset::{Receipt, Refusal, RefuseReset};
use chat_domain::standing::{INVALID_PARAMS, RefuseMalformed, Standing};
use chat_domain::time::Timestamp;
use chat_store::StoreError;
use plugin_sandbox::capabilities::{Call, Observed, ObservedAttempt};
use plugin_sandbox::contract::exports::chat::reset_totp::handler;
use plugin_sandbox::outcome::{Ended, Failure};
use secrecy::SecretString;
use serde::Deserialize;
use std::sync::Arc;
use tracing::Span;
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
// The body is read before the store is asked, once, for everything that is decided
// before the sandbox; the checks come in their order all the same.
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
        (status = 503, description = "Too much waits, the plugin is suspended, or the store cannot be had, or was lost meanwhile", body = Refused),
        (status = 504, description = "The call took too long", body = Refused),
    ),
)]
pub(super) async fn handle(
    Extension(site): Extension<Site>,
    Extension(RequestId(id)): Extension<RequestId>,
    Extension(limits): Extension<Arc<Limits>>,
    route: MatchedPath,
    request: Request,
) -> Response {
    let Some(credentials) = Credentials::of(request.headers()) else {
        return Answer::not_logged_in().into_response();
    };
    let visit = Visit {
        site,
        id,
        credentials,
        limits,
        route,
    };
    visit.answer(request).await
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

/// One request: by whom it says it is, where from and where to.
struct Visit {
    site: Site,
    id: String,
    credentials: Credentials,
    limits: Arc<Limits>,
    route: MatchedPath,
}

impl Visit {
    async fn answer(self, request: Request) -> Response {
        let asked = read(request).await;
        let now = self.site.clock.now();
        let answered = match asked {
            Ok(asked) => self.decide(asked, now).await,
            Err(problem) => self.refuse(problem, now).await,
        };
        answered.unwrap_or_else(|error| Answer::store_failed(error).into_response())
    }

    /// Has the plugin decide, where the caller is logged in and may call.
    async fn decide(
        &self,
        asked: handler::Request,
        now: Timestamp,
    ) -> Result<Response, StoreError> {
        let Some(standing) = self.credentials.prove(&self.site, now).await? else {
            return Ok(Answer::not_logged_in().into_response());
        };
        self.limited(&standing, now, async || {
            self.call(Arc::new(standing.clone()), asked, now).await
        })
        .await
    }

    /// Refuses what is not understood, which is `problem`.
    async fn refuse(&self, problem: Answer, now: Timestamp) -> Result<Response, StoreError> {
        let site = &self.site;
        let order = RefuseMalformed {
            workspace: site.workspace.id.clone(),
            user: self.credentials.user.clone(),
            token_hash: self.credentials.token_hash.clone(),
            now,
            request_id: self.id.clone(),
            source: site.source.clone(),
            recent_calls: self.limits.windows.recent_calls(&self.client(), now),
        };
        let refused = site.store.decide(order.clone()).await?;
        site.note(refused.settings)?;
        let Some(standing) = refused.standing else {
            return Ok(Answer::not_logged_in().into_response());
        };
        self.limited(&standing, now, async || {
            match refused.recorded {
                true => {
                    site.metrics.audited(&Ok::<_, StoreError>(()));
                    site.metrics.refused(INVALID_PARAMS, 1);
                }
                // A window that the clock has left behind was full.
                false => site.record(order.record(&standing)).await?,
            }
            Ok(problem)
        })
        .await
    }

    /// What `answer` says, unless the client calls too often.
    async fn limited(
        &self,
        standing: &Standing,
        now: Timestamp,
        answer: impl AsyncFnOnce() -> Result<Answer, StoreError>,
    ) -> Result<Response, StoreError> {
        if standing.is_unlimited() {
            return Ok(answer().await?.into_response());
        }
        let call = self
            .limits
            .windows
            .count(&self.client(), &standing.settings, now);
        let mut response = match call.granted {
            true => answer().await.unwrap_or_else(Answer::store_failed),
            false => {
                let caller = Some(standing.caller.id.as_str());
                let route = route_name(&self.route);
                self.limits
                    .limited_calls
                    .note(&self.site, route, caller, now, &self.id);
                call.refusal(now)
            }
        }
        .into_response();
        call.write(response.headers_mut());
        Ok(response)
    }

    fn client(&self) -> Client<'_> {
        Client {
            workspace: &self.site.workspace.id,
            address: self.site.source.address,
            route: route_name(&self.route),
        }
    }

    async fn call(
        &self,
        standing: Arc<Standing>,
        asked: handler::Request,
        now: Timestamp,
    ) -> Result<Answer, StoreError> {
        let site = &self.site;
        let caller = standing.caller.id.clone();
        let call = Call::new(
            site.store.clone(),
            site.workspace.id.clone(),
            standing,
            now,
            self.id.clone(),
            site.source.clone(),
            asked.two_factor_code.clone().map(SecretString::from),
        );
        let ended = site.workspace.reset_totp(call, &asked, &site.clock).await;
        Span::current().record("outcome", ended.code());
        site.metrics.call_ended(ended.code(), Some(&ended.usage));
        let Ended {
            outcome, observed, ..
        } = ended;
        let record = AuditRecord {
            target: observed.target.clone(),
            decision: decision(&outcome, &observed),
            reason: reason(&outcome),
            ..site.record_of(Action::ResetTotp, &caller, now, self.id.clone())
        };
        log(&record, outcome.as_ref().err());
        if observed.committed() {
            site.metrics.audited(&Ok::<_, StoreError>(()));
        } else {
            let (tried, reason) = (observed.tried.clone(), record.reason.clone());
            let recorded = site.store.decide(RefuseReset { record, tried }).await;
            site.metrics.audited(&recorded);
            // That it is not known whether it was done is told whatever becomes of the record.
            if !matches!(outcome, Err(Failure::OutcomeUnknown(_))) {
                recorded?;
            }
            // What failed is counted among the calls.
            if let (Ok(_), Some(reason)) = (&outcome, reason) {
                site.metrics.refused(&reason, 1);
            }
        }
        Ok(match outcome {
            Err(_) if observed.committed() => Answer::success(Done {}),
            Err(failure) => Answer::failed(&failure),
            // The token was taken away while the plugin decided.
            Ok(_) if observed.reset == Some(Err(Refusal::NotAuthenticated)) => {
                Answer::not_logged_in()
            }
            Ok(response) => Answer::of_plugin(response).retry_at(retry_at(&observed), now),
        })
    }
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

/// When the caller may try again, where the last attempt met a lock.
fn retry_at(observed: &Observed) -> Option<Timestamp> {
    match observed.attempt {
        Some(ObservedAttempt::Locked(lock)) if !observed.committed() => lock.ends(),
        _ => None,
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
            Some(ObservedAttempt::Locked(_)) => Decision::Locked,
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
    let address = record.source.as_ref().map(|source| source.address);
    let address = address.map(tracing::field::display);
    let action = record.action.name();
    let decision = record.decision.name();
    let reason = record.reason.as_deref();
    match failure {
        None => {
            tracing::info!(workspace, caller, action, target, decision, reason, address);
        }
        Some(failure) => {
            tracing::error!(
                workspace, caller, action, target, decision, reason, address, %failure
            );
        }
    }
}
