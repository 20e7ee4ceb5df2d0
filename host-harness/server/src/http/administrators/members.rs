//! `GET second-factor.members`: the accounts and their second factors, page by page.

use super::super::Site;
use super::super::answer::{self, Answer, Success};
use super::super::body;
use super::super::login::Email;
use super::super::openapi::Refusals;
use axum::Extension;
use axum::extract::Request;
use chat_domain::attempts::Lock;
use chat_domain::directory::{self, AccountFilter, Place, Search};
use chat_domain::standing::Standing;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// Which members are asked for.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in super::super) struct Asked {
    /// A part of a username, name or address, in any case; at most 128 characters.
    #[param(nullable = false)]
    search: Option<String>,
    /// `true`: only those who are locked now.
    #[param(nullable = false)]
    locked: Option<bool>,
    /// So many at most: 1 to 100, by default 50.
    #[param(nullable = false, minimum = 1, maximum = 100)]
    count: Option<u32>,
    /// Those after a page before: its `next`.
    #[param(nullable = false)]
    after: Option<String>,
}

/// Some members. There may be fewer of them than were asked for, even none, where others follow.
#[derive(Serialize, ToSchema)]
pub(in super::super) struct Members {
    members: Vec<Member>,
    /// What is asked for, as `after`, to see more; null where there are no more.
    next: Option<String>,
}

/// An account and its second factors.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Member {
    #[serde(rename = "_id")]
    id: String,
    username: String,
    /// Null where it has none.
    name: Option<String>,
    /// Verified ones first.
    emails: Vec<Email>,
    /// Sorted.
    roles: Vec<String>,
    /// The account can log in.
    active: bool,
    /// It belongs to another server, where its second factor is.
    federated: bool,
    second_factor: SecondFactor,
    /// Why even a right code is refused; null where it is not.
    locked: Option<Locked>,
    /// How many sessions have not ended.
    sessions: u32,
}

/// What an account can prove itself by, beside its password.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SecondFactor {
    /// TOTP is enrolled.
    totp: bool,
    /// A key was shown that can be proved yet.
    pending: bool,
    /// The holder has opted in to codes by e-mail, and has a verified address.
    email: bool,
    /// How many backup codes are left.
    backup_codes_remaining: u32,
}

/// How long even a right code is refused: one of these.
#[derive(Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Locked {
    /// Until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, nullable = false)]
    until: Option<String>,
    /// True: until the factor is replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    for_good: Option<bool>,
}

impl From<directory::Member> for Member {
    fn from(member: directory::Member) -> Self {
        let account = member.account;
        Self {
            id: account.user.id,
            username: account.user.username,
            name: account.user.name,
            emails: account.emails.into_iter().map(Email::from).collect(),
            roles: account.roles,
            active: !account.deactivated,
            federated: account.user.federated,
            second_factor: SecondFactor {
                totp: account.backup_codes.is_some(),
                pending: account.pending_key,
                email: account.receives_codes,
                backup_codes_remaining: account.backup_codes.unwrap_or_default(),
            },
            locked: account.lock.map(|lock| match lock {
                Lock::Until(until) => Locked {
                    until: Some(until.to_javascript()),
                    ..Locked::default()
                },
                Lock::UntilReplaced => Locked {
                    for_good: Some(true),
                    ..Locked::default()
                },
            }),
            sessions: member.sessions,
        }
    }
}

/// List the members and their second factors
///
/// By username; with `search`, those of whom an address alone holds it come last. Needs the
/// permission `edit-other-user-totp`.
#[utoipa::path(
    get,
    path = "/api/v1/second-factor.members",
    tag = "Administrators",
    security(("userId" = [], "authToken" = [])),
    params(Asked),
    responses(
        (status = 200, description = "A page of members", body = Success<Members>),
        Refusals,
    ),
)]
pub(in super::super) async fn list(
    Extension(site): Extension<Site>,
    Extension(standing): Extension<Arc<Standing>>,
    request: Request,
) -> answer::Result {
    let Asked {
        search,
        locked,
        count,
        after,
    } = super::query(request.uri())?;
    let search = Search::parse(search.as_deref().unwrap_or_default());
    let search = search.map_err(|problem| body::invalid(&format!("search: {problem}")))?;
    let filter = AccountFilter {
        search,
        lock_noted: locked == Some(true),
        after: super::parse("after", after.as_deref())?,
        most: super::count(count)?,
    };
    let (workspace, now) = (&site.workspace.id, site.clock.now());
    let listed = site
        .store
        .members(workspace, filter, &standing.settings, now);
    let (members, next) = listed.await?;
    Ok(Answer::success(Members {
        members: members.into_iter().map(Member::from).collect(),
        next: next.as_ref().map(Place::to_string),
    }))
}
