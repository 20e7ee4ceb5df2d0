//! `users.enableTotp` and its neighbours: a member enrols TOTP, and gives it up.

use super::answer::{self, Answer, Details, Done, Refused, Success};
use super::body;
use super::openapi::{Refusals, SecondFactorHeaders};
use super::second_factor::{self, CodeHeaders, SecondFactor};
use super::{RequestId, Site};
use axum::Extension;
use axum::extract::Request;
use chat_domain::account::{Account, Caller, Method};
use chat_domain::audit::Action;
use chat_domain::member::{Act, Authority, Code, Denial, MemberChange, may_enrol};
use chat_domain::standing::Standing;
use chat_domain::totp::{self, TotpKey};
use plugin_sandbox::comparisons::Busy;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// A code of the authenticator app, or a backup code.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EnteredCode {
    code: String,
}

/// What an authenticator app needs.
#[derive(Serialize, ToSchema)]
pub(super) struct Enrolment {
    /// The key in base32 (RFC 4648), without padding.
    secret: String,
    /// The same as an `otpauth` address, to be shown as a QR code.
    url: String,
}

/// What lets the holder in without the authenticator app, each once.
#[derive(Serialize, ToSchema)]
pub(super) struct BackupCodes {
    codes: Vec<String>,
}

impl BackupCodes {
    fn of(codes: &totp::BackupCodes) -> Self {
        Self {
            codes: codes.expose().into_iter().map(str::to_owned).collect(),
        }
    }
}

/// How many backup codes are left.
#[derive(Serialize, ToSchema)]
pub(super) struct Remaining {
    remaining: u32,
}

/// Begin to enrol TOTP
///
/// Shows a new key, which counts once `users.validateTotp` proves it. Needs the
/// caller's second factor: a code by e-mail, or the password where there is none.
#[utoipa::path(
    post,
    path = "/api/v1/users.enableTotp",
    tag = "TOTP",
    security(("userId" = [], "authToken" = [])),
    params(SecondFactorHeaders),
    responses(
        (status = 200, description = "The new key", body = Success<Enrolment>),
        Refusals,
        (status = 503, description = "Too many passwords or codes wait to be compared, or the store cannot be had, or was lost meanwhile", body = Refused),
    ),
)]
pub(super) async fn enable(
    Extension(site): Extension<Site>,
    Extension(account): Extension<Account>,
    Extension(standing): Extension<Arc<Standing>>,
    Extension(RequestId(request_id)): Extension<RequestId>,
    request: Request,
) -> answer::Result {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Nothing {}
    let header = CodeHeaders::of(request.headers())?;
    let Nothing {} = body::parse(request).await?;
    let now = site.clock.now();
    // Before a password is counted as an attempt; it is checked again at the commit.
    let is_enrolled = account.backup_codes.is_some();
    if let Err(denial) = may_enrol(&standing.settings, &account.user, is_enrolled) {
        let mut record = site.record_of(Action::BeginEnrolment, &account.user.id, now, request_id);
        record.decision = denial.decision();
        record.reason = Some(denial.id().to_owned());
        site.record(record).await?;
        return Err(refused(denial));
    }
    let (user, caller) = (&account.user, &standing.caller);
    let factor = SecondFactor::choose(&user.id, &user.username, standing.methods, header);
    let factor = factor.or_password();
    let key = TotpKey::generate(&mut rand::rng());
    let change = MemberChange {
        workspace: site.workspace.id.clone(),
        user: caller.id.clone(),
        authority: Authority::Token(caller.token_hash.clone()),
        act: Act::BeginEnrolment(key.clone()),
        code: factor.code(&site, now).await?,
        now,
        request_id,
        source: site.source.clone(),
    };
    match site.change(change).await? {
        Ok(()) => Ok(Answer::success(Enrolment {
            secret: key.to_base32(),
            url: key.to_url(
                standing.settings.issuer(&site.workspace.issuer),
                &account.user.username,
            ),
        })),
        Err(Denial::NotAuthenticated) => Err(Answer::not_logged_in()),
        Err(Denial::NotCompared) => Err(Busy.into()),
        Err(denial @ (Denial::AlreadyEnrolled | Denial::NotEnabled | Denial::Federated)) => {
            Err(refused(denial))
        }
        Err(denial) => {
            let (denial, details) = factor.details(&site, denial, now).await?;
            let message = second_factor::message(denial);
            let refused = Answer::refused(denial.id(), message, Some(details));
            Err(refused.retry_at(denial.retry_at(), now))
        }
    }
}

/// Finish enrolling TOTP
///
/// Proves the key that was shown, makes it the caller's second factor, and ends
/// the caller's other sessions.
#[utoipa::path(
    post,
    path = "/api/v1/users.validateTotp",
    tag = "TOTP",
    security(("userId" = [], "authToken" = [])),
    request_body = EnteredCode,
    responses(
        (status = 200, description = "Enrolled", body = Success<BackupCodes>),
        Refusals,
    ),
)]
pub(super) async fn validate(
    Extension(site): Extension<Site>,
    Extension(standing): Extension<Arc<Standing>>,
    Extension(RequestId(request_id)): Extension<RequestId>,
    request: Request,
) -> answer::Result {
    let codes = totp::BackupCodes::generate(&mut rand::rng());
    let act = Act::ConfirmTotp {
        backup_code_hashes: codes.hashes(),
    };
    change(&site, &standing.caller, request_id, act, request).await?;
    Ok(Answer::success(BackupCodes::of(&codes)))
}

/// Give up TOTP
///
/// Removes the caller's own TOTP, proved by a code of it.
#[utoipa::path(
    post,
    path = "/api/v1/users.disableTotp",
    tag = "TOTP",
    security(("userId" = [], "authToken" = [])),
    request_body = EnteredCode,
    responses(
        (status = 200, description = "Removed", body = Success<Done>),
        Refusals,
    ),
)]
pub(super) async fn disable(
    Extension(site): Extension<Site>,
    Extension(standing): Extension<Arc<Standing>>,
    Extension(RequestId(request_id)): Extension<RequestId>,
    request: Request,
) -> answer::Result {
    change(
        &site,
        &standing.caller,
        request_id,
        Act::DisableTotp,
        request,
    )
    .await?;
    Ok(Answer::success(Done {}))
}

/// Replace the backup codes
///
/// Proved by a code of the caller's TOTP, or one of the old backup codes.
#[utoipa::path(
    post,
    path = "/api/v1/users.regenerateTotpCodes",
    tag = "TOTP",
    security(("userId" = [], "authToken" = [])),
    request_body = EnteredCode,
    responses(
        (status = 200, description = "The new ones", body = Success<BackupCodes>),
        Refusals,
    ),
)]
pub(super) async fn regenerate_codes(
    Extension(site): Extension<Site>,
    Extension(standing): Extension<Arc<Standing>>,
    Extension(RequestId(request_id)): Extension<RequestId>,
    request: Request,
) -> answer::Result {
    let codes = totp::BackupCodes::generate(&mut rand::rng());
    let act = Act::ReplaceBackupCodes {
        backup_code_hashes: codes.hashes(),
    };
    change(&site, &standing.caller, request_id, act, request).await?;
    Ok(Answer::success(BackupCodes::of(&codes)))
}

/// Count the backup codes that are left
#[utoipa::path(
    get,
    path = "/api/v1/users.totpCodesRemaining",
    tag = "TOTP",
    security(("userId" = [], "authToken" = [])),
    responses(
        (status = 200, description = "The number", body = Success<Remaining>),
        Refusals,
    ),
)]
pub(super) async fn codes_remaining(Extension(account): Extension<Account>) -> answer::Result {
    match account.backup_codes {
        Some(remaining) => Ok(Answer::success(Remaining { remaining })),
        None => Err(refused(Denial::NotEnrolled)),
    }
}

/// Does to the caller's account what the code in the body proves. The error
/// answers the request.
async fn change(
    site: &Site,
    caller: &Caller,
    request_id: String,
    act: Act,
    request: Request,
) -> Result<(), Answer> {
    let EnteredCode { code } = body::parse(request).await?;
    let now = site.clock.now();
    let change = MemberChange {
        workspace: site.workspace.id.clone(),
        user: caller.id.clone(),
        authority: Authority::Token(caller.token_hash.clone()),
        act,
        code: Some(Code::Totp(code.into())),
        now,
        request_id,
        source: site.source.clone(),
    };
    match site.change(change).await? {
        Ok(()) => Ok(()),
        Err(Denial::NotAuthenticated) => Err(Answer::not_logged_in()),
        Err(denial) => Err(refused(denial).retry_at(denial.retry_at(), now)),
    }
}

/// A wrong code has an error id of its own: clients that meet `totp-invalid` ask
/// for the second factor of the request and send it again.
fn refused(denial: Denial) -> Answer {
    let message = second_factor::message(denial);
    match denial {
        Denial::WrongCode | Denial::Replayed | Denial::CodeRequired => {
            Answer::refused("invalid-totp", "Invalid TOTP code", None)
        }
        Denial::Locked(_) => {
            let details = Details {
                method: Some(Method::Totp.name()),
                code_generated: Some(false),
                ..Details::default()
            };
            Answer::refused(denial.id(), message, Some(details))
        }
        _ => Answer::refused(denial.id(), message, None),
    }
}
