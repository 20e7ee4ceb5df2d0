//! A Rocket.Chat that is asked to close the sockets of an account (`POST /api/v1/users.logout`): a
//! write past it closes none.

use chat_domain::rocket_chat::RocketChat;
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

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
    let unreachable = |error: reqwest::Error| NotClosed::Unreachable(why(&error));
    let url = rocket_chat.base.join("api/v1/users.logout");
    let url = url.map_err(|error| NotClosed::Unreachable(error.to_string()))?;
    let asked = client()
        .map_err(NotClosed::Unreachable)?
        .post(url)
        .header("x-user-id", &rocket_chat.user)
        .header("x-auth-token", rocket_chat.token.expose_secret())
        .json(&LogOut { user_id: user })
        .send();
    let mut response = asked.await.map_err(unreachable)?;
    let status = response.status();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        body.extend_from_slice(&chunk);
        if body.len() > MOST_BYTES {
            return Err(NotClosed::Answered(status));
        }
    }
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

/// Without the URL.
fn why(error: &reqwest::Error) -> String {
    let mut source = std::error::Error::source(error);
    let mut text = "it does not answer".to_owned();
    while let Some(cause) = source {
        text = cause.to_string();
        source = cause.source();
    }
    text
}

/// One for all, which keeps connections.
fn client() -> Result<&'static Client, String> {
    static CLIENT: OnceLock<Result<Client, String>> = OnceLock::new();
    let made = CLIENT.get_or_init(|| {
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        // A redirect would take the token elsewhere.
        Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(Policy::none())
            .timeout(LIMIT)
            .build()
            .map_err(|error| error.to_string())
    });
    made.as_ref().map_err(Clone::clone)
}
