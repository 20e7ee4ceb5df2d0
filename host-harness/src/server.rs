//! The HTTP server: routes, authentication, answers.

mod answer;
mod reset_totp;

use crate::clock::{Clock, Timestamp};
use crate::plugin::Plugin;
use crate::store::{Caller, Store, StoreError};
use crate::token;
use answer::Answer;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use axum::routing::post;
use axum::{Extension, Router};
use secrecy::SecretString;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

/// How long requests in flight may take to finish after the stop signal: longer
/// than a request takes that reads its body slowly and then waits for the store.
const DRAIN_LIMIT: Duration = Duration::from_secs(15);

/// Bytes of chance in a request's id.
const REQUEST_ID_BYTES: usize = 16;

/// What a server serves.
pub struct App {
    /// The chat server's data.
    pub store: Arc<dyn Store>,
    /// The plugin that decides.
    pub plugin: Arc<Plugin>,
    /// The time.
    pub clock: Clock,
    /// The workspace that every request is for.
    pub workspace: String,
}

/// Serves `app` on `listener` until `stop` is ready, then finishes the requests
/// in flight.
///
/// # Errors
///
/// When the listener fails, or requests are still in flight 15 s after `stop`.
pub async fn serve(
    listener: TcpListener,
    app: App,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let decisions = TaskTracker::new();
    let (stopping, stopped) = oneshot::channel();
    let router = router(app, decisions.clone());
    let server = axum::serve(listener, router).with_graceful_shutdown(async move {
        stop.await;
        tracing::info!("stopping");
        let _ = stopping.send(());
    });
    let finished = async {
        let result = server.await;
        decisions.close();
        decisions.wait().await;
        result
    };
    let overdue = async {
        match stopped.await {
            Ok(()) => tokio::time::sleep(DRAIN_LIMIT).await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        result = finished => result,
        () = overdue => Err(std::io::Error::other("stopped with requests in flight")),
    }
}

fn router(app: App, decisions: TaskTracker) -> Router {
    Router::new()
        .route("/api/v1/users.resetTOTP", post(reset_totp::handle))
        .fallback(async || Answer::not_found())
        .method_not_allowed_fallback(async || Answer::method_not_allowed())
        .layer(DefaultBodyLimit::max(reset_totp::MAX_BODY))
        .layer(axum::middleware::from_fn(finish))
        .layer(Extension(decisions))
        .with_state(Arc::new(app))
}

/// The id of a request, on its answer and in every log line and audit record.
#[derive(Clone, Debug)]
struct RequestId(String);

impl RequestId {
    fn generate() -> Self {
        Self(data_encoding::HEXLOWER.encode(&rand::random::<[u8; REQUEST_ID_BYTES]>()))
    }
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Gives the request its id, the answer the headers that every answer has, and
/// the log its line.
async fn finish(mut request: Request, next: Next) -> Response {
    let start = Instant::now();
    let id = RequestId::generate();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    request.extensions_mut().insert(id.clone());
    let mut response = next.run(request).await;
    tracing::info!(
        request_id = id.0,
        %method,
        route = route.as_ref().map_or("none", MatchedPath::as_str),
        status = response.status().as_u16(),
        micros = start.elapsed().as_micros(),
        "answered"
    );
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    if let Ok(id) = HeaderValue::try_from(id.0) {
        headers.insert(REQUEST_ID, id);
    }
    response
}

/// The account that the headers `X-User-Id` and `X-Auth-Token` prove; each must
/// be there exactly once.
async fn authenticate(
    app: &App,
    headers: &HeaderMap,
    now: Timestamp,
) -> Result<Option<Caller>, StoreError> {
    let (Some(user), Some(token)) = (only(headers, "x-user-id"), only(headers, "x-auth-token"))
    else {
        return Ok(None);
    };
    let hash = token::hash(&SecretString::from(token));
    app.store
        .authenticate(&app.workspace, user, &hash, now)
        .await
}

/// The text of a header that is there exactly once.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}
