//! A Rocket.Chat that is asked to close the sockets of an account (`POST /api/v1/users.logout`): a
//! write past it closes none.

use crate::outbound::{self, Error};
use axum::body::Bytes;
use axum::http::{Method, Request, StatusCode, header};
use chat_domain::rocket_chat::RocketChat;
use rustls::ClientConfig;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::timeout;

/// How long Rocket.Chat may take: it looks into its database and tells its other processes.
const LIMIT: Duration = Duration::from_secs(30);

/// Bytes of an answer that are read: a line of JSON.
const MOST_BYTES: usize = 64 * 1024;

/// Why Rocket.Chat has not closed the sockets, as far as is known. As text it holds nothing that
/// Rocket.Chat said.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotClosed {
    #[error("no connection to Rocket.Chat: {0}")]
    Unreachable(String),
    #[error(
        "Rocket.Chat does not know the service account: its id or its token is wrong, or the token has ended"
    )]
    Unknown,
    #[error(
        "the service account may not end others' logins: give it a role with logout-other-user"
    )]
    NotPermitted,
    #[error("Rocket.Chat asks the service account for a second factor: its token must bypass that")]
    SecondFactor,
    #[error("Rocket.Chat answered {0}, and not that it is done")]
    Answered(StatusCode),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LogOut<'a> {
    user_id: &'a str,
}

/// As far as it is looked at.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Answer {
    success: bool,
    error: String,
    error_type: String,
}

/// Has `rocket_chat` end what logins of the account with this id there are, and close its sockets.
///
/// # Errors
///
/// [`NotClosed`]; they may be closed all the same.
pub(super) async fn log_out(rocket_chat: &RocketChat, user: &str) -> Result<(), NotClosed> {
    let asked = timeout(LIMIT, ask(rocket_chat, user)).await;
    let asked = asked.unwrap_or_else(|_elapsed| {
        Err(format!("it did not answer within {} s", LIMIT.as_secs()).into())
    });
    let (status, body) = asked.map_err(|error| NotClosed::Unreachable(error.to_string()))?;
    let answer: Answer = serde_json::from_slice(&body).unwrap_or_default();
    let is_refused = answer.error.contains("unauthorized") || answer.error.contains("not-allowed");
    match (status, answer.error_type.as_str()) {
        (StatusCode::OK, _) if answer.success => Ok(()),
        (_, "totp-required") => Err(NotClosed::SecondFactor),
        (StatusCode::UNAUTHORIZED, _) => Err(NotClosed::Unknown),
        (StatusCode::FORBIDDEN, _) => Err(NotClosed::NotPermitted),
        _ if is_refused => Err(NotClosed::NotPermitted),
        _ => Err(NotClosed::Answered(status)),
    }
}

/// Over a connection of its own: resets are rare.
async fn ask(rocket_chat: &RocketChat, user: &str) -> Result<(StatusCode, Bytes), Error> {
    let url = rocket_chat.base.join("api/v1/users.logout")?;
    let request = Request::builder()
        .method(Method::POST)
        .uri(url.as_str())
        .header(header::CONTENT_TYPE, "application/json")
        .header("x-user-id", &rocket_chat.user)
        .header("x-auth-token", rocket_chat.token.expose_secret())
        .body(serde_json::to_vec(&LogOut { user_id: user })?.into())?;
    let (head, body) = outbound::send(request, tls()?, MOST_BYTES)
        .await?
        .into_parts();
    Ok((head.status, body))
}

/// By the system's certificates, as they were at the first request.
fn tls() -> Result<&'static Arc<ClientConfig>, rustls::Error> {
    static TLS: OnceLock<Result<Arc<ClientConfig>, rustls::Error>> = OnceLock::new();
    let made = TLS.get_or_init(|| outbound::tls(outbound::system_roots()));
    made.as_ref().map_err(Clone::clone)
}
