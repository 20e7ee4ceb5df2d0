//! The HTTP server: routes, authentication, answers.

mod administrators;
mod answer;
mod body;
mod caller;
mod client_address;
pub(crate) mod connections;
mod cors;
mod login;
mod openapi;
mod page;
mod qr;
mod rate_limit;
mod reset_totp;
mod second_factor;
mod totp;

use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::telemetry;
use crate::workspace::{HostedWorkspace, Workspaces};
use answer::Answer;
use arc_swap::ArcSwap;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Extension, Router};
use chat_domain::audit::{Action, AuditRecord, Decision, Source, new_request_id};
use chat_domain::member::{Denial, MemberChange};
use chat_domain::order::Record;
use chat_domain::settings::Settings;
use chat_domain::time::Timestamp;
use chat_store::{Store, StoreError};
use client_address::Doubts;
use connections::{Held, Room};
use ipnet::IpNet;
use plugin_sandbox::comparisons::Queue;
use plugin_sandbox::outcome::Failure;
use rate_limit::Limits;
use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::field::Empty;
use tracing::{Instrument, Span};
use utoipa::OpenApi;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt};
use utoipa_axum::routes;

/// How long requests in flight may take to finish after the stop signal: longer
/// than a request takes that reads its body slowly and then waits for the store.
const DRAIN_LIMIT: Duration = Duration::from_secs(15);

/// What a server serves.
pub struct App {
    /// The workspaces, which may be replaced at any time.
    pub workspaces: Arc<ArcSwap<Workspaces>>,
    /// The time.
    pub clock: Clock,
    /// Proxies that are believed when they tell for whom they speak.
    pub trusted_proxies: Vec<IpNet>,
    /// What is counted and measured.
    pub metrics: Arc<Metrics>,
}

/// The workspace that a request is for, as long as the request lasts.
#[derive(Clone)]
struct Site {
    workspace: Arc<HostedWorkspace>,
    store: Arc<dyn Store>,
    clock: Clock,
    metrics: Arc<Metrics>,
    /// Where the request comes from.
    source: Source,
    /// The workspace's settings, once they were read: a request is decided by the same
    /// from its beginning to its end.
    settings: Arc<OnceLock<Settings>>,
}

impl Site {
    /// The settings of the workspace.
    async fn settings(&self) -> Result<&Settings, StoreError> {
        if self.settings.get().is_none() {
            self.note(self.store.settings(&self.workspace.id).await?)?;
        }
        let settings = self.settings.get();
        settings.ok_or_else(|| StoreError("the workspace is gone".into()))
    }

    /// Keeps settings that were read.
    fn note(&self, settings: Option<Settings>) -> Result<(), StoreError> {
        let settings = settings.ok_or_else(|| StoreError("the workspace is gone".into()))?;
        let _ = self.settings.set(settings);
        Ok(())
    }

    /// Does to an account what its holder asks, and logs how that was decided.
    async fn change(&self, change: MemberChange) -> Result<Result<(), Denial>, StoreError> {
        let (caller, action) = (change.user.clone(), change.act.action().name());
        let outcome = self.store.decide(change).await;
        self.metrics.audited(&outcome);
        let outcome = outcome?;
        let denial = outcome.err();
        let decision = denial.map_or(Decision::Done, Denial::decision).name();
        let reason = denial.map(Denial::id);
        reason.iter().for_each(|id| self.metrics.refused(id, 1));
        tracing::info!(
            workspace = self.workspace.id,
            caller,
            action,
            decision,
            reason,
            address = %self.source.address
        );
        Ok(outcome)
    }

    /// The record of what an account asks of itself, as done.
    fn record_of(
        &self,
        action: Action,
        caller: &str,
        at: Timestamp,
        request_id: String,
    ) -> AuditRecord {
        AuditRecord {
            at,
            workspace: self.workspace.id.clone(),
            request_id,
            action,
            caller: caller.to_owned(),
            target: Some(caller.to_owned()),
            decision: Decision::Done,
            reason: None,
            source: Some(self.source.clone()),
            proof: None,
            told: None,
            calls: 1,
        }
    }

    /// Writes the audit record of a request that changed nothing.
    async fn record(&self, record: AuditRecord) -> Result<(), StoreError> {
        let reason = record.reason.clone();
        let recorded = self.store.decide(Record(record)).await;
        self.metrics.audited(&recorded);
        recorded?;
        reason.iter().for_each(|id| self.metrics.refused(id, 1));
        Ok(())
    }
}

/// Serves `app` on `listener` until `stop` is ready, then finishes the requests
/// in flight.
///
/// # Errors
///
/// When requests are still in flight 15 s after `stop`.
pub async fn serve(
    listener: TcpListener,
    app: App,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let decisions = TaskTracker::new();
    let room = Room::for_clients(app.metrics.clone());
    let stopping = CancellationToken::new();
    let stopped = stopping.clone();
    let router = router(app, decisions.clone(), stopping.clone());
    let finished = async {
        connections::serve(listener, router, room, stopped).await;
        decisions.close();
        decisions.wait().await;
    };
    let overdue = async {
        stop.await;
        tracing::info!("stopping");
        stopping.cancel();
        tokio::time::sleep(DRAIN_LIMIT).await;
    };
    tokio::select! {
        () = finished => Ok(()),
        () = overdue => Err(std::io::Error::other("stopped with requests in flight")),
    }
}

fn router(app: App, decisions: TaskTracker, stopping: CancellationToken) -> Router {
    let app = Arc::new(app);
    let limited = from_fn(rate_limit::limit);
    let logged_in = from_fn(caller::require_login);
    let member = |route: MethodRouter<Arc<App>>| {
        route
            .route_layer(limited.clone())
            .route_layer(logged_in.clone())
    };
    let permitted = from_fn(administrators::require_permission);
    let administrator =
        |route: MethodRouter<Arc<App>>| member(route.route_layer(permitted.clone()));
    let (router, document) = OpenApiRouter::with_openapi(openapi::Api::openapi())
        .routes(routes!(reset_totp::handle))
        .routes(routes!(login::log_in).map(|route| route.route_layer(limited.clone())))
        .routes(routes!(login::me).map(member))
        .routes(routes!(login::log_out).map(member))
        .routes(routes!(totp::enable).map(member))
        .routes(routes!(totp::validate).map(member))
        .routes(routes!(totp::disable).map(member))
        .routes(routes!(totp::regenerate_codes).map(member))
        .routes(routes!(totp::codes_remaining).map(member))
        .routes(routes!(administrators::members::list).map(administrator))
        .routes(routes!(administrators::preview::look).map(administrator))
        .routes(routes!(administrators::audit::list).map(administrator))
        .routes(routes!(administrators::outbox::list).map(administrator))
        .routes(routes!(administrators::unlock::unlock).map(administrator))
        .routes(routes!(qr::draw).map(member))
        .split_for_parts();
    router
        .route("/api/v1/users.totp.enable", member(post(totp::enable)))
        .route("/api/v1/users.totp.validate", member(post(totp::validate)))
        .route("/api/v1/users.totp.disable", member(post(totp::disable)))
        .route(
            "/api/v1/users.totp.regenerateCodes",
            member(post(totp::regenerate_codes)),
        )
        .route(
            "/api/v1/users.totp.codesRemaining",
            member(get(totp::codes_remaining)),
        )
        .merge(openapi::routes(document))
        .merge(page::routes())
        .fallback(async || Answer::not_found())
        .method_not_allowed_fallback(async || Answer::method_not_allowed())
        .layer(DefaultBodyLimit::max(body::MAX_BODY))
        .layer(from_fn_with_state(app.clone(), finish))
        .layer(Extension(Arc::new(Limits::new(
            decisions.clone(),
            stopping,
        ))))
        .layer(Extension(decisions))
        .layer(Extension(Arc::new(Doubts::default())))
        .layer(Extension(Arc::new(Queue::default())))
        .with_state(app)
}

/// The route that the plugin decides.
const RESET_TOTP: &str = "/api/v1/users.resetTOTP";

/// What the routes for administrators begin with.
const ADMINISTRATORS: &str = "/api/v1/second-factor.";

/// What some clients call a route, and its name: it is the same to limits and metrics.
const OTHER_NAMES: [(&str, &str); 5] = [
    ("/api/v1/users.totp.enable", "/api/v1/users.enableTotp"),
    ("/api/v1/users.totp.validate", "/api/v1/users.validateTotp"),
    ("/api/v1/users.totp.disable", "/api/v1/users.disableTotp"),
    (
        "/api/v1/users.totp.regenerateCodes",
        "/api/v1/users.regenerateTotpCodes",
    ),
    (
        "/api/v1/users.totp.codesRemaining",
        "/api/v1/users.totpCodesRemaining",
    ),
];

/// The name of a route, however it was called.
fn route_name(route: &MatchedPath) -> &str {
    let called = route.as_str();
    let other = OTHER_NAMES.iter().find(|(other, _)| *other == called);
    other.map_or(called, |(_, name)| name)
}

/// What a route is about, by its name.
fn action_of(route: &str) -> Action {
    match route {
        RESET_TOTP => Action::ResetTotp,
        "/api/v1/login" => Action::LogIn,
        "/api/v1/logout" => Action::LogOut,
        "/api/v1/users.enableTotp" => Action::BeginEnrolment,
        "/api/v1/users.validateTotp" => Action::ConfirmTotp,
        "/api/v1/users.disableTotp" => Action::DisableTotp,
        "/api/v1/users.regenerateTotpCodes" => Action::ReplaceBackupCodes,
        "/api/v1/second-factor.unlock" => Action::Unlock,
        _ => Action::Look,
    }
}

/// The id of a request, on its answer and in every log line and audit record.
#[derive(Clone, Debug)]
struct RequestId(String);

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Gives the request its id, its log lines that id, the answer the headers that
/// every answer has, and the log its line. What comes next for every request is called
/// rather than layered: a layer costs microseconds.
async fn finish(
    State(app): State<Arc<App>>,
    Extension(doubts): Extension<Arc<Doubts>>,
    Extension(decisions): Extension<TaskTracker>,
    mut request: Request,
    next: Next,
) -> Response {
    let start = Instant::now();
    let id = RequestId(new_request_id(&mut rand::rng()));
    let changes_nothing = request.method().is_safe();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("none", route_name);
    let span = span(&id, route, &request);
    if client_address::is_trusted_proxy(&app.trusted_proxies, &request) {
        telemetry::continue_trace(&span, request.headers());
    }
    span.in_scope(|| doubts.note(&app.trusted_proxies, &request));
    request.extensions_mut().insert(id.clone());
    let held = request.extensions_mut().remove::<Held>();
    let answered = choose_workspace(app.clone(), request, next).instrument(span.clone());
    let mut response = if changes_nothing {
        answered.await
    } else {
        let answered = to_its_end(&decisions, held, answered).await;
        answered.unwrap_or_else(|failure| {
            span.in_scope(|| tracing::error!(%failure, code = failure.code()));
            if route == RESET_TOTP {
                app.metrics.call_ended(failure.code(), None);
            }
            Answer::failed(&failure).into_response()
        })
    };
    let (status, time) = (response.status().as_u16(), start.elapsed());
    // With a point: six digits in a log could be taken for a code.
    let millis = time.as_secs_f64() * 1e3;
    let millis = format_args!("{millis:.3}");
    span.in_scope(|| tracing::info!(status, %millis, "answered"));
    span.record("status", i64::from(status));
    app.metrics.answered(route, status, time);
    let headers = response.headers_mut();
    // The page's files say for themselves how long they may be kept.
    let kept = headers.entry(header::CACHE_CONTROL);
    kept.or_insert(HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    if let Ok(id) = HeaderValue::try_from(id.0) {
        headers.insert(REQUEST_ID, id);
    }
    response
}

/// Answers a request in a task of its own, to the end: a client that goes away keeps nothing that
/// was counted or begun from being recorded, and the server stops after the last one. So long the
/// place of its connection is held, so that no more is asked at once than there is room for.
async fn to_its_end(
    decisions: &TaskTracker,
    held: Option<Held>,
    answered: impl Future<Output = Response> + Send + 'static,
) -> Result<Response, Failure> {
    let task = decisions.spawn(async move {
        let _held = held;
        answered.await
    });
    task.await.map_err(|_panic| Failure::Panic)
}

/// What every log line of a request says of it, as far as it is known by then,
/// and its trace. A method that HTTP does not know could be any text.
fn span(RequestId(id): &RequestId, route: &str, request: &Request) -> Span {
    let method = match *request.method() {
        Method::GET
        | Method::POST
        | Method::HEAD
        | Method::OPTIONS
        | Method::PUT
        | Method::PATCH
        | Method::DELETE => request.method().as_str(),
        _ => "_OTHER",
    };
    tracing::error_span!(
        "request",
        request_id = id,
        method,
        route,
        workspace = Empty,
        outcome = Empty,
        status = Empty,
    )
}

/// The host that the request is for: a target that is a whole address overrules the
/// header (RFC 9112 section 3.2.2), which must be there once even so, unless one workspace
/// takes any.
fn host(request: &Request, is_needed: bool) -> Option<&str> {
    let header = match request.headers().contains_key(header::HOST) {
        false if !is_needed => "",
        _ => only(request.headers(), "host")?,
    };
    let target = request.uri().authority();
    Some(target.map_or(header, |authority| authority.as_str()))
}

/// Passes a request on to the workspace that its host names, as a [`Site`].
async fn choose_workspace(app: Arc<App>, mut request: Request, next: Next) -> Response {
    if is_encoded(request.headers(), header::TRANSFER_ENCODING, "chunked") {
        return Answer::unknown_transfer_encoding().into_response();
    }
    let workspaces = app.workspaces.load();
    let Some(host) = host(&request, !workspaces.takes_any_host()) else {
        return Answer::no_host().into_response();
    };
    let Some(workspace) = workspaces.of_host(host).cloned() else {
        return Answer::unknown_workspace().into_response();
    };
    drop(workspaces);
    let route = request.extensions().get::<MatchedPath>();
    let is_neighbour = route.is_some_and(|route| route_name(route) != RESET_TOTP);
    if is_neighbour && !workspace.neighbours {
        return Answer::not_found().into_response();
    }
    let store = match workspace.store.get().await {
        Ok(store) => store,
        Err(error) => return Answer::store_failed(error).into_response(),
    };
    Span::current().record("workspace", &workspace.id);
    let clock = app.clock.clone();
    let metrics = app.metrics.clone();
    let site = Site {
        workspace,
        store,
        clock,
        metrics,
        source: Source::new(
            client_address::of(&app.trusted_proxies, &request),
            request
                .headers()
                .get(header::USER_AGENT)
                .map(HeaderValue::as_bytes),
        ),
        settings: Arc::default(),
    };
    request.extensions_mut().insert(site.clone());
    cors::allow(&site, request, next).await
}

/// Whether a header names another encoding than the one that is understood: passed over, it
/// would be decided by other bytes than its sender means.
fn is_encoded(headers: &HeaderMap, name: HeaderName, understood: &str) -> bool {
    let is_understood =
        |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(understood.as_bytes());
    !headers.get_all(name).iter().all(is_understood)
}

/// The text of a header that is there exactly once.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}
