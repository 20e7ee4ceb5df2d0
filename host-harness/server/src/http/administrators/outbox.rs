//! `GET second-factor.outbox`: mail that waits, and dead letters, without their bodies.

use super::super::Site;
use super::super::answer::{self, Answer, Success};
use super::super::openapi::Refusals;
use axum::Extension;
use axum::extract::Request;
use chat_domain::outbox::{self, MailState};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Which mails are asked for.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in super::super) struct Asked {
    /// So many at most: 1 to 100, by default 50.
    #[param(nullable = false, minimum = 1, maximum = 100)]
    count: Option<u32>,
    /// Those after a page before: its `next`.
    #[param(nullable = false)]
    after: Option<String>,
}

/// Some mails, oldest first.
#[derive(Serialize, ToSchema)]
pub(in super::super) struct Mails {
    mails: Vec<Mail>,
    /// What is asked for, as `after`, to see more; null where there are no more.
    next: Option<String>,
}

/// A mail that is not sent.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Mail {
    id: i64,
    /// One address; `rocket-chat` where it is no mail but asks that to close sockets.
    to: String,
    subject: String,
    state: State,
    #[schema(format = DateTime)]
    queued: String,
    /// How often it was tried.
    tries: u32,
    /// When it is tried again; null where it is not.
    #[schema(format = DateTime)]
    next_try: Option<String>,
    /// Why the last try was in vain; null where none was.
    last_error: Option<String>,
}

/// What becomes of a mail.
#[derive(Serialize, ToSchema)]
#[schema(as = MailState)]
#[serde(rename_all = "camelCase")]
enum State {
    /// It is tried again.
    Waiting,
    /// Somebody is sending it.
    Sending,
    /// It is kept and not tried.
    Dead,
}

impl From<outbox::Mail> for Mail {
    fn from(mail: outbox::Mail) -> Self {
        let (state, next_try) = match mail.state {
            MailState::Waiting(next) => (State::Waiting, Some(next)),
            MailState::BeingSent(next) => (State::Sending, Some(next)),
            MailState::DeadLetter => (State::Dead, None),
        };
        Self {
            id: mail.id,
            to: mail.recipient,
            subject: mail.subject,
            state,
            queued: mail.queued.to_javascript(),
            tries: mail.tries,
            next_try: next_try.map(|next| next.to_javascript()),
            last_error: mail.last_problem,
        }
    }
}

/// List the mail that waits, and dead letters
///
/// Without bodies, of which some hold a code. Needs the permission `edit-other-user-totp`.
#[utoipa::path(
    get,
    path = "/api/v1/second-factor.outbox",
    tag = "Administrators",
    security(("userId" = [], "authToken" = [])),
    params(Asked),
    responses(
        (status = 200, description = "A page of mails", body = Success<Mails>),
        Refusals,
    ),
)]
pub(in super::super) async fn list(
    Extension(site): Extension<Site>,
    request: Request,
) -> answer::Result {
    let Asked { count, after } = super::query(request.uri())?;
    let (after, count) = (
        super::parse("after", after.as_deref())?,
        super::count(count)?,
    );
    let (workspace, now) = (&site.workspace.id, site.clock.now());
    let mails = site
        .store
        .mails(workspace, after.unwrap_or_default(), count + 1);
    let mut mails = mails.await?;
    let next = super::cut(&mut mails, count).map(|mail| mail.id.to_string());
    let mails = mails.into_iter().map(|mail| outbox::Mail::of(mail, now));
    Ok(Answer::success(Mails {
        mails: mails.map(Mail::from).collect(),
        next,
    }))
}
