//! The listener for whoever runs the process: whether it lives and is ready, what
//! it measures, and the few things that it can be told to do.
//!
//! | route | answers |
//! |---|---|
//! | `GET /healthz` | 200 while the process answers at all |
//! | `GET /readyz` | 200, or 503 with the reasons, also once it is told to stop |
//! | `GET /metrics` | OpenMetrics text |
//! | `GET /status` | what is served: how many workspaces, by which plugins, from which stores |
//! | `POST /reload` | 200 with what the new configuration changed; 409 with why the old one stays |
//! | `GET /breakers` | the breakers that are not closed |
//! | `POST /breakers/reset` | 200 with how many were closed: of the workspace that the body `{"workspace":"…"}` names, or all |
//!
//! It listens on a loopback address only and asks for no password: whoever may
//! run programs on the machine is trusted, what a browser there opens is not.

mod browser;

use crate::http::connections::{self, Room};
use crate::metrics::{Breaker, CONTENT_TYPE, Metrics, Snapshot};
use async_trait::async_trait;
use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use plugin_sandbox::breaker;
use serde::Deserialize;
use serde_json::{Value, json};
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Largest body, in bytes: one id of a workspace.
const MAX_BODY: usize = 4 * 1024;

/// How long a look at the process may take, below the 10 s after which
/// Prometheus gives a scrape up: a store that hangs is a reason, not a silence.
const LOOK_LIMIT: Duration = Duration::from_secs(2);

/// What the listener asks of the process.
#[async_trait]
pub trait Control: Send + Sync + 'static {
    /// Why no requests should be sent here, in plain words: each store that cannot be
    /// written. None when it is ready.
    async fn reasons_not_ready(&self) -> Vec<String>;

    /// The state of the process at this moment.
    async fn snapshot(&self) -> Snapshot;

    /// What is served: `{"workspaces":2,"plugins":[{"digest":"sha256:…","workspaces":2}],
    /// "stores":[{"url":"…","workspaces":["acme"],"written":true,"problem":null,"moved":false}],
    /// "calls":0}`, where a store names a hundred workspaces at most; one that is closed was not
    /// tried (`"written":null`), and in the place of one that was moved there is another file, or
    /// none.
    async fn status(&self) -> Value;

    /// Reads the configuration again, and says what that changed.
    ///
    /// # Errors
    ///
    /// When the new configuration cannot be served, for reasons in plain words;
    /// the old one is still served.
    async fn reload(&self) -> Result<Value, String>;

    /// The breakers that are not closed.
    async fn breakers(&self) -> Vec<Breaker>;

    /// Closes the breaker of a workspace, or all; says how many were not closed.
    ///
    /// # Errors
    ///
    /// When there is no such workspace.
    async fn reset_breakers(&self, workspace: Option<&str>) -> Result<usize, UnknownWorkspace>;
}

/// The configuration has no such workspace.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no such workspace")]
pub struct UnknownWorkspace;

/// What the listener serves.
pub struct Admin {
    /// The process.
    pub control: Arc<dyn Control>,
    /// What it measures.
    pub metrics: Arc<Metrics>,
    /// Cancelled once it is told to stop: from then on it is not ready.
    pub stopping: CancellationToken,
}

/// Serves `admin` on `listener` until `stop` is ready, which should be after the
/// last request: a process that drains is watched, too.
///
/// # Errors
///
/// When the listener is not on a loopback address.
pub async fn serve(
    listener: TcpListener,
    admin: Admin,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    if !address.ip().is_loopback() {
        let problem = format!("{address} is not a loopback address");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
    }
    let room = Room::for_operators(admin.metrics.clone());
    let end = CancellationToken::new();
    tokio::select! {
        () = connections::serve(listener, router(admin), room, end) => (),
        () = stop => (),
    }
    Ok(())
}

fn router(admin: Admin) -> Router {
    Router::new()
        .route("/healthz", get(health))
        .route("/readyz", get(readiness))
        .route("/metrics", get(metrics))
        .route("/status", get(status))
        .route("/reload", post(reload))
        .route("/breakers", get(breakers))
        .route("/breakers/reset", post(reset_breakers))
        .fallback(async || problem(StatusCode::NOT_FOUND, "there is no such route"))
        .method_not_allowed_fallback(async || {
            problem(
                StatusCode::METHOD_NOT_ALLOWED,
                "the route takes another method",
            )
        })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn(browser::refuse))
        .with_state(Arc::new(admin))
}

async fn health() -> Response {
    answer(StatusCode::OK, &json!({"status": "live"}))
}

async fn readiness(State(admin): State<Arc<Admin>>) -> Response {
    let reasons = if admin.stopping.is_cancelled() {
        vec!["the process is told to stop".to_owned()]
    } else {
        let reasons = timeout(LOOK_LIMIT, admin.control.reasons_not_ready()).await;
        reasons.unwrap_or_else(|_| vec![too_long()])
    };
    if reasons.is_empty() {
        return answer(StatusCode::OK, &json!({"status": "ready"}));
    }
    let body = json!({"status": "not ready", "reasons": reasons});
    answer(StatusCode::SERVICE_UNAVAILABLE, &body)
}

async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    let Ok(snapshot) = timeout(LOOK_LIMIT, admin.control.snapshot()).await else {
        return problem(StatusCode::SERVICE_UNAVAILABLE, &too_long());
    };
    let text = admin
        .metrics
        .text(&snapshot, &admin.control.breakers().await);
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response()
}

async fn status(State(admin): State<Arc<Admin>>) -> Response {
    answer(StatusCode::OK, &admin.control.status().await)
}

/// In a task of its own: an operator who goes away leaves nothing half done.
async fn reload(State(admin): State<Arc<Admin>>) -> Response {
    let reloaded = tokio::spawn(async move { admin.control.reload().await });
    match reloaded.await {
        Ok(Ok(changes)) => answer(StatusCode::OK, &changes),
        Ok(Err(reason)) => problem(StatusCode::CONFLICT, &reason),
        Err(panic) => problem(StatusCode::INTERNAL_SERVER_ERROR, &panic.to_string()),
    }
}

async fn breakers(State(admin): State<Arc<Admin>>) -> Response {
    let mut breakers = admin.control.breakers().await;
    breakers.sort_by(|a, b| a.workspace.cmp(&b.workspace));
    let breakers: Vec<_> = breakers.iter().map(shown).collect();
    answer(StatusCode::OK, &json!({"breakers": breakers}))
}

fn shown(breaker: &Breaker) -> Value {
    let probe_in = match breaker.state {
        breaker::State::Open { probe_in } => Some(probe_in.as_secs_f64()),
        breaker::State::HalfOpen | breaker::State::Closed { .. } => None,
    };
    json!({
        "workspace": breaker.workspace,
        "plugin": breaker.plugin,
        "state": breaker.state.name(),
        "probeInSeconds": probe_in,
    })
}

async fn reset_breakers(
    State(admin): State<Arc<Admin>>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    #[derive(Default, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Reset {
        workspace: Option<String>,
    }
    let body = match body {
        Ok(body) => body,
        Err(rejection) => return problem(rejection.status(), "the body did not arrive whole"),
    };
    let reset = if body.is_empty() {
        Ok(Reset::default())
    } else {
        serde_json::from_slice(&body)
    };
    let Ok(Reset { workspace }) = reset else {
        let expected = r#"the body is not {"workspace":"…"}"#;
        return problem(StatusCode::BAD_REQUEST, expected);
    };
    match admin.control.reset_breakers(workspace.as_deref()).await {
        Ok(closed) => answer(StatusCode::OK, &json!({"closed": closed})),
        Err(error) => problem(StatusCode::NOT_FOUND, &error.to_string()),
    }
}

fn too_long() -> String {
    format!("a look at it took over {} s", LOOK_LIMIT.as_secs())
}

fn problem(status: StatusCode, text: &str) -> Response {
    answer(status, &json!({"error": text}))
}

fn answer(status: StatusCode, body: &Value) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (status, headers, body.to_string()).into_response()
}
