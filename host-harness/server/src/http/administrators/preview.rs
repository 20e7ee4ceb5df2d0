//! `GET second-factor.preview`: what a reset would do.

use super::super::Site;
use super::super::answer::{self, Answer, Success};
use super::super::openapi::Refusals;
use super::super::second_factor::message;
use super::members::Member;
use axum::Extension;
use axum::extract::Request;
use chat_domain::directory;
use chat_domain::member::Denial;
use chat_domain::reset::{Foreseen, Preview, Refusal};
use chat_domain::standing::Standing;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// Of whom.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in super::super) struct Asked {
    /// The member's id.
    #[serde(rename = "userId")]
    #[param(rename = "userId")]
    user_id: String,
}

/// What `users.resetTOTP` would do, if the caller proved a second factor.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in super::super) struct Foresight {
    member: Member,
    /// What would go; nothing where nothing is enrolled: then nothing else would happen, either.
    removes: Vec<Removed>,
    /// How many sessions would end.
    sessions: u32,
    /// How many personal access tokens would end.
    tokens: u32,
    /// Rocket.Chat would be asked to close the member's sockets.
    closes_sockets: bool,
    /// Who would be told.
    mails: Vec<Notice>,
    /// Why it would be refused; null where it would not.
    refused: Option<WouldRefuse>,
}

/// What goes with a reset.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
enum Removed {
    /// The TOTP factor.
    Totp,
    /// Its backup codes.
    BackupCodes,
    /// A key that was shown and not yet proved.
    PendingKey,
    /// Failures in a row, and the lock that they are.
    Failures,
}

/// A mail that would be sent.
#[derive(Serialize, ToSchema)]
struct Notice {
    to: String,
    subject: &'static str,
}

/// Why a reset would be refused.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct WouldRefuse {
    /// What is wrong, for people.
    error: String,
    /// What is wrong, for programs.
    error_type: &'static str,
}

/// Look what a reset would do
///
/// By the rule that resets; nothing is done, spent, counted or recorded. Needs the permission
/// `edit-other-user-totp`, and no second factor.
#[utoipa::path(
    get,
    path = "/api/v1/second-factor.preview",
    tag = "Administrators",
    security(("userId" = [], "authToken" = [])),
    params(Asked),
    responses(
        (status = 200, description = "What it would do", body = Success<Foresight>),
        Refusals,
    ),
)]
pub(in super::super) async fn look(
    Extension(site): Extension<Site>,
    Extension(standing): Extension<Arc<Standing>>,
    request: Request,
) -> answer::Result {
    let Asked { user_id } = super::query(request.uri())?;
    let now = site.clock.now();
    let preview = Preview {
        workspace: site.workspace.id.clone(),
        caller: standing.caller.clone(),
        user: user_id,
        now,
        source: site.source.clone(),
    };
    let mut dossier = site.store.read(&preview.question()).await?;
    let (foreseen, refused) = match preview.of(&dossier) {
        Ok(foreseen) => (foreseen, None),
        Err(Refusal::NotAuthenticated) => return Err(Answer::not_logged_in()),
        Err(refusal @ (Refusal::NotEnabled | Refusal::Federated)) => {
            (Foreseen::default(), Some(WouldRefuse::of(refusal.into())))
        }
        // The permission may have gone since the request was let in.
        Err(refusal) => return Err(super::refused(refusal.into())),
    };
    let (Some(settings), Some(target)) = (&dossier.settings, dossier.accounts.pop().flatten())
    else {
        return Err(super::refused(Denial::UnknownTarget));
    };
    let member = directory::Member::of(target, settings, now);
    let ended = |count: u32| match foreseen.logins {
        true => count,
        false => 0,
    };
    Ok(Answer::success(Foresight {
        sessions: ended(member.sessions),
        tokens: ended(member.tokens),
        member: member.into(),
        removes: removed(&foreseen),
        closes_sockets: foreseen.sockets,
        mails: foreseen
            .mails
            .into_iter()
            .map(|(to, subject)| Notice { to, subject })
            .collect(),
        refused,
    }))
}

fn removed(foreseen: &Foreseen) -> Vec<Removed> {
    let removed = [
        (foreseen.factor, Removed::Totp),
        (foreseen.backup_codes > 0, Removed::BackupCodes),
        (foreseen.pending_key, Removed::PendingKey),
        (foreseen.failures, Removed::Failures),
    ];
    let removed = removed.into_iter().filter(|(goes, _)| *goes);
    removed.map(|(_, what)| what).collect()
}

impl WouldRefuse {
    /// In the words of `users.resetTOTP`.
    fn of(denial: Denial) -> Self {
        Self {
            error: format!("{} [{}]", message(denial), denial.id()),
            error_type: denial.id(),
        }
    }
}
