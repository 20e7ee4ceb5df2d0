//! `POST second-factor.unlock`: a member may try again at once.

use super::super::answer::{self, Answer, Done, Refused, Success};
use super::super::body;
use super::super::openapi::{Refusals, SecondFactorHeaders};
use super::super::second_factor::{self, CodeHeaders, SecondFactor};
use super::super::{RequestId, Site};
use axum::Extension;
use axum::extract::Request;
use chat_domain::member::{Act, Authority, Denial, MemberChange};
use chat_domain::standing::Standing;
use plugin_sandbox::comparisons::Busy;
use serde::Deserialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// Who is unlocked.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(in super::super) struct Unlock {
    /// The member's id.
    user_id: String,
}

/// Unlock a member
///
/// Forgets failures in a row, and a code that was sent by e-mail. Needs the permission
/// `edit-other-user-totp` and the caller's second factor.
#[utoipa::path(
    post,
    path = "/api/v1/second-factor.unlock",
    tag = "Administrators",
    security(("userId" = [], "authToken" = [])),
    params(SecondFactorHeaders),
    request_body = Unlock,
    responses(
        (status = 200, description = "Unlocked, or it was not locked", body = Success<Done>),
        Refusals,
        (status = 503, description = "Too many passwords or codes wait to be compared, or the store cannot be had, or was lost meanwhile", body = Refused),
    ),
)]
pub(in super::super) async fn unlock(
    Extension(site): Extension<Site>,
    Extension(standing): Extension<Arc<Standing>>,
    Extension(RequestId(request_id)): Extension<RequestId>,
    request: Request,
) -> answer::Result {
    let header = CodeHeaders::of(request.headers())?;
    let Unlock { user_id } = body::parse(request).await?;
    let (now, caller) = (site.clock.now(), &standing.caller);
    let factor = SecondFactor::choose(&caller.id, &standing.username, standing.methods, header);
    let factor = factor.or_password();
    // What is not asked for is not compared, and so no guess.
    let code = match standing.is_excused() {
        true => None,
        false => factor.code(&site, now).await?,
    };
    let change = MemberChange {
        workspace: site.workspace.id.clone(),
        user: caller.id.clone(),
        authority: Authority::Token(caller.token_hash.clone()),
        act: Act::Unlock(user_id),
        code,
        now,
        request_id,
        source: site.source.clone(),
    };
    match site.change(change).await? {
        Ok(()) => Ok(Answer::success(Done {})),
        Err(Denial::NotAuthenticated) => Err(Answer::not_logged_in()),
        Err(Denial::NotCompared) => Err(Busy.into()),
        Err(
            denial @ (Denial::NotPermitted
            | Denial::NotEnabled
            | Denial::Federated
            | Denial::UnknownTarget
            | Denial::GuessedOut),
        ) => Err(super::refused(denial)),
        Err(denial) => {
            let (denial, details) = factor.details(&site, denial, now).await?;
            let message = second_factor::message(denial);
            let refused = Answer::refused(denial.id(), message, Some(details));
            Err(refused.retry_at(denial.retry_at(), now))
        }
    }
}
