//! `POST /api/v1/login`, `GET /api/v1/me` and `POST /api/v1/logout`.

use super::answer::{self, Answer, LoginRefused, Refused, Success};
use super::body;
use super::openapi::{Refusals, SecondFactorHeaders};
use super::second_factor::{self, CodeHeaders, SecondFactor};
use super::{RequestId, Site};
use axum::Extension;
use axum::extract::Request;
use axum::http::StatusCode;
use chat_domain::account::{self, Account, Token};
use chat_domain::audit::{Action, AuditRecord, Decision};
use chat_domain::member::{Act, Authority, Denial, Login, MemberChange};
use chat_domain::password;
use chat_domain::proof::Compared;
use chat_domain::standing::{LogOut, Standing};
use chat_domain::time::Timestamp;
use chat_domain::token;
use plugin_sandbox::comparisons::{Busy, Queue};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, LazyLock};
use utoipa::ToSchema;

/// Who tried to log in, in the audit trail, where no account has the name: it may
/// be a password in the wrong field.
pub(super) const UNKNOWN: &str = "unknown";

/// Who logs in: by one of `user`, `username` and `email`, and the password; or by
/// `resume`. Other members are passed over.
#[derive(Deserialize, ToSchema)]
pub(super) struct Credentials {
    /// A username, or an address where it holds an `@`.
    #[schema(nullable = false)]
    user: Option<String>,
    /// A username.
    #[schema(nullable = false)]
    username: Option<String>,
    /// An e-mail address.
    #[schema(nullable = false)]
    email: Option<String>,
    /// The password or its digest.
    #[schema(nullable = false)]
    password: Option<Password>,
    /// The second factor's code; it may come as header `x-2fa-code`, too.
    #[schema(nullable = false)]
    code: Option<String>,
    /// A token of an earlier log-in.
    #[schema(nullable = false)]
    resume: Option<String>,
}

/// A password.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub(super) enum Password {
    /// As the holder types it.
    Plain(String),
    /// So that it is not sent.
    Digest {
        /// Its SHA-256 in lower-case hexadecimal.
        digest: String,
        /// `sha-256`
        algorithm: Algorithm,
    },
}

/// How a password was digested.
#[derive(Deserialize, ToSchema)]
pub(super) enum Algorithm {
    #[serde(rename = "sha-256")]
    Sha256,
}

impl Password {
    fn digest(self) -> SecretString {
        match self {
            Self::Plain(password) => password::digest(&password.into()),
            Self::Digest {
                digest,
                algorithm: Algorithm::Sha256,
            } => digest.into(),
        }
    }
}

/// The caller is logged in.
#[derive(Serialize, ToSchema)]
pub(super) struct LoggedIn {
    /// `success`
    status: &'static str,
    data: Session,
}

/// What later requests carry, and who the caller is.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Session {
    /// For the header `X-User-Id`.
    user_id: String,
    /// For the header `X-Auth-Token`.
    auth_token: String,
    me: Me,
}

/// An account, as its holder sees it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Me {
    #[serde(rename = "_id")]
    id: String,
    username: String,
    emails: Vec<Email>,
    /// The account can log in.
    active: bool,
    roles: Vec<String>,
    services: Services,
}

/// An address of the account.
#[derive(Serialize, ToSchema)]
pub(super) struct Email {
    address: String,
    verified: bool,
}

impl From<account::Email> for Email {
    fn from(email: account::Email) -> Self {
        let account::Email { address, verified } = email;
        Self { address, verified }
    }
}

/// How the account proves itself.
#[derive(Serialize, ToSchema)]
struct Services {
    /// There only where TOTP is enrolled.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    totp: Option<Enabled>,
    /// There only where the holder opted in to codes by e-mail.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    email2fa: Option<Enabled>,
}

#[derive(Serialize, ToSchema)]
struct Enabled {
    /// True.
    enabled: bool,
}

impl Me {
    fn of(account: Account) -> Self {
        let enabled = |is: bool| is.then_some(Enabled { enabled: true });
        Self {
            id: account.user.id,
            username: account.user.username,
            emails: account.emails.into_iter().map(Email::from).collect(),
            active: !account.deactivated,
            roles: account.roles,
            services: Services {
                totp: enabled(account.backup_codes.is_some()),
                email2fa: enabled(account.email_two_factor),
            },
        }
    }
}

/// The caller is logged out.
#[derive(Serialize, ToSchema)]
pub(super) struct LoggedOut {
    /// `success`
    status: &'static str,
    data: Message,
}

#[derive(Serialize, ToSchema)]
struct Message {
    message: &'static str,
}

/// Log in
///
/// By name, password and, where the account has TOTP or e-mail codes, a code; or
/// by the token of an earlier log-in.
#[utoipa::path(
    post,
    path = "/api/v1/login",
    tag = "Log-in",
    request_body = Credentials,
    params(SecondFactorHeaders),
    responses(
        (status = 200, description = "Logged in", body = LoggedIn),
        Refusals,
        (status = 401, description = "Refused, or a code is needed", body = LoginRefused),
        (status = 503, description = "Too many passwords or codes wait to be compared, or the store cannot be had, or was lost meanwhile", body = Refused),
    ),
)]
pub(super) async fn log_in(
    Extension(site): Extension<Site>,
    Extension(RequestId(request_id)): Extension<RequestId>,
    Extension(queue): Extension<Arc<Queue>>,
    request: Request,
) -> answer::Result {
    let header = CodeHeaders::of(request.headers())?;
    let credentials: Credentials = body::parse(request).await?;
    let now = site.clock.now();
    let names = [credentials.user, credentials.username, credentials.email];
    let mut names = names.into_iter().flatten();
    let (name, password) = match (names.next(), credentials.password, credentials.resume) {
        (Some(name), Some(password), None) if names.next().is_none() => (name, password),
        (None, None, Some(token)) => return resume(&site, token).await,
        _ => {
            let problem = "it takes one of user, username and email, and password; or resume";
            return Err(body::invalid(problem));
        }
    };
    let (login, password_hash) = match check(&site, &queue, &name, password, now).await? {
        Ok(proved) => proved,
        Err(user) => {
            let record = wrong_password(&site, user, now, request_id);
            tracing::info!(
                workspace = record.workspace,
                caller = record.caller,
                action = record.action.name(),
                decision = record.decision.name(),
                reason = record.reason.as_deref(),
            );
            site.record(record).await?;
            return Err(Answer::wrong_login("Incorrect password"));
        }
    };
    let user = &login.account.user;
    let entered = header.or_in_body(credentials.code);
    let factor = SecondFactor::choose(&user.id, &user.username, login.methods, entered);
    let settings = site.settings().await?;
    // What is not asked for is not compared, and so no guess.
    let code = match settings.two_factor_enabled {
        true => factor.code(&site, now).await?,
        false => None,
    };
    let token = token::generate(&mut rand::rng());
    let change = MemberChange {
        workspace: site.workspace.id.clone(),
        user: user.id.clone(),
        authority: Authority::Password(password_hash),
        act: Act::LogIn(Token {
            hash: token::hash(&token),
            expires: Some(now + settings.login_lifetime()),
            bypass_two_factor: false,
            name: None,
        }),
        code,
        now,
        request_id,
        source: site.source.clone(),
    };
    match site.change(change).await? {
        Ok(()) => Ok(logged_in(login.account, &token)),
        Err(Denial::NotAuthenticated) => Err(Answer::wrong_login("Incorrect password")),
        Err(Denial::NotCompared) => Err(Busy.into()),
        Err(denial) => {
            let (denial, details) = factor.details(&site, denial, now).await?;
            let message = second_factor::message(denial);
            let refused = Answer::login_refused_by(denial.id(), message, details);
            Err(refused.retry_at(denial.retry_at(), now))
        }
    }
}

/// Recorded whether or not there is such an account, so that it takes as long.
fn wrong_password(
    site: &Site,
    user: Option<String>,
    now: Timestamp,
    request_id: String,
) -> AuditRecord {
    let caller = user.as_deref().unwrap_or(UNKNOWN);
    AuditRecord {
        target: user.clone(),
        decision: Decision::Refused,
        reason: Some("incorrect-password".to_owned()),
        ..site.record_of(Action::LogIn, caller, now, request_id)
    }
}

/// The account that `name` names and its password's hash, if `password` is right;
/// otherwise the account's id, if there is one. Takes as long where there is none.
async fn check(
    site: &Site,
    queue: &Queue,
    name: &str,
    password: Password,
    now: Timestamp,
) -> Result<Result<(Login, SecretString), Option<String>>, Answer> {
    static NOBODYS: LazyLock<Option<SecretString>> = LazyLock::new(|| {
        let nobodys = password::digest(&token::generate(&mut rand::rng()));
        password::hash(&nobodys, &mut rand::rng()).ok()
    });
    let login = site.store.find_login(&site.workspace.id, name, now).await?;
    let hash = login.as_ref().and_then(|login| login.password_hash.clone());
    let hash = hash.unwrap_or_else(|| NOBODYS.clone().unwrap_or_default());
    let place = queue.place(&site.workspace.id)?;
    let compared = place.matches(password.digest(), hash).await;
    match (login, compared) {
        (_, Compared::Not) => Err(Busy.into()),
        (Some(login), Compared::Right(hash)) => Ok(Ok((login, hash))),
        (login, _) => Ok(Err(login.map(|login| login.account.user.id))),
    }
}

async fn resume(site: &Site, token: String) -> answer::Result {
    let token = SecretString::from(token);
    let holder = site
        .store
        .token_holder(&site.workspace.id, &token::hash(&token), site.clock.now())
        .await?;
    match holder {
        Some(account) => Ok(logged_in(account, &token)),
        None => Err(Answer::wrong_login(
            "You've been logged out by the server. Please log in again.",
        )),
    }
}

fn logged_in(account: Account, token: &SecretString) -> Answer {
    let body = LoggedIn {
        status: "success",
        data: Session {
            user_id: account.user.id.clone(),
            auth_token: token.expose_secret().to_owned(),
            me: Me::of(account),
        },
    };
    Answer::new(StatusCode::OK, &body)
}

/// Who am I
#[utoipa::path(
    get,
    path = "/api/v1/me",
    tag = "Log-in",
    security(("userId" = [], "authToken" = [])),
    responses(
        (status = 200, description = "The caller's account", body = Success<Me>),
        Refusals,
    ),
)]
pub(super) async fn me(Extension(account): Extension<Account>) -> Answer {
    Answer::success(Me::of(account))
}

/// Log out
///
/// Ends the token that the request carries.
#[utoipa::path(
    post,
    path = "/api/v1/logout",
    tag = "Log-in",
    security(("userId" = [], "authToken" = [])),
    responses(
        (status = 200, description = "Logged out", body = LoggedOut),
        Refusals,
    ),
)]
pub(super) async fn log_out(
    Extension(site): Extension<Site>,
    Extension(standing): Extension<Arc<Standing>>,
    Extension(RequestId(request_id)): Extension<RequestId>,
) -> answer::Result {
    let caller = standing.caller.clone();
    let now = site.clock.now();
    let record = site.record_of(Action::LogOut, &caller.id, now, request_id);
    let logged_out = site.store.decide(LogOut { caller, record }).await;
    site.metrics.audited(&logged_out);
    logged_out?;
    let body = LoggedOut {
        status: "success",
        data: Message {
            message: "You've been logged out!",
        },
    };
    Ok(Answer::new(StatusCode::OK, &body))
}
