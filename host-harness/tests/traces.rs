//! What a collector gets of the requests: their spans, which trace they belong
//! to, and nothing that must stay secret.
#![expect(
    clippy::unwrap_used,
    reason = "a test ends where what it needs is not there"
)]

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use chat_server::clock::Clock;
use chat_server::http::{self, App};
use chat_server::stores::HostedStore;
use chat_server::telemetry::{self, LogFormat};
use chat_server::workspace::{HostedWorkspace, Workspaces};
use chat_testing::guest::PLUGIN;
use chat_testing::{ACME, Data, admin_code, now};
use data_encoding::HEXLOWER;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace;
use plugin_sandbox::admission::Admissions;
use plugin_sandbox::digest::Digest;
use plugin_sandbox::limits::Limits;
use plugin_sandbox::runtime::{Capacity, Runtime};
use prost::Message;
use reqwest::Method;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;

/// A trace that a proxy began (W3C Trace Context, the standard's example).
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

const RESET_TOTP: &str = "/api/v1/users.resetTOTP";

/// Only once in a process can its telemetry start: all of it is one test.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_gets_the_spans_of_requests_in_the_traces_of_trusted_proxies() {
    let collector = Collector::start().await;
    let url = collector.url.parse().unwrap();
    let telemetry = telemetry::start(LogFormat::Text, Some(&url)).unwrap();

    let data = Data::new().await;
    let behind_a_proxy = serve(&data, &["127.0.0.1/32"]).await;
    let in_the_open = serve(&data, &[]).await;
    assert_eq!(reset(&behind_a_proxy, "admin-token").await, 200);
    assert_eq!(reset(&in_the_open, "a-wrong-token").await, 401);
    let method = Method::from_bytes(b"CHOSEN-BY-A-CLIENT").unwrap();
    let refused = client().request(method, format!("{in_the_open}{RESET_TOTP}"));
    assert_eq!(refused.send().await.unwrap().status(), 405);
    let work = tracing::info_span!(target: "host_harness::test", "work");
    work.in_scope(|| drop(tracing::debug_span!(target: "host_harness::test", "part")));
    drop(work);
    tracing::error_span!(target: "another_crate", "not ours");
    // The last spans are sent before this returns.
    tokio::task::spawn_blocking(move || drop(telemetry))
        .await
        .unwrap();

    let body = collector.bodies.lock().unwrap().concat();
    secret_scan::keep("traces", &body);
    secret_scan::register("a-wrong-token");
    let found = spans(&body);
    let names: Vec<_> = found.iter().map(|span| span.name.as_str()).collect();
    let (reset, other) = (format!("POST {RESET_TOTP}"), format!("_OTHER {RESET_TOTP}"));
    let requests = [&reset, &reset, &other, "call"];
    assert!(names.starts_with(&requests), "{names:?}");
    assert!(names.ends_with(&["part", "work"]), "{names:?}");
    let [done, refused, _, call, host_calls @ .., part, work] = &found[..] else {
        unreachable!()
    };

    assert_eq!(done.parent, (TRACE.to_owned(), PARENT.to_owned()));
    assert_eq!(
        done.shown(),
        "kind=2 status=0 http.request.method=POST http.response.status_code=200 \
         http.route=/api/v1/users.resetTOTP outcome=answered workspace=acme"
    );
    assert_eq!(call.parent, (TRACE.to_owned(), done.id.clone()));
    let digest = Digest::of(&std::fs::read(PLUGIN).unwrap());
    assert_eq!(
        call.shown(),
        format!("kind=1 status=0 outcome=answered plugin={digest} workspace=acme")
    );
    let functions = host_calls.iter().map(|host_call| {
        assert_eq!(host_call.name, "host_call");
        assert_eq!(host_call.parent, (TRACE.to_owned(), call.id.clone()));
        host_call.attributes.get("function").unwrap().as_str()
    });
    assert_eq!(
        functions.collect::<Vec<_>>(),
        [
            "permissions.caller-has",
            "secrets.begin-totp-code-attempt",
            "secrets.methods",
            "secrets.reset",
            "settings.totp-window",
            "settings.two-factor-enabled",
            "users.find",
            "wall-clock.now",
        ]
    );
    assert_eq!(refused.parent.1, "", "who is not trusted names no trace");
    assert_ne!(refused.parent.0, TRACE);
    assert_eq!(
        refused.shown(),
        "kind=2 status=0 http.request.method=POST http.response.status_code=401 \
         http.route=/api/v1/users.resetTOTP workspace=acme"
    );
    assert_eq!(part.parent, (work.parent.0.clone(), work.id.clone()));

    let text = String::from_utf8_lossy(&body);
    for part in ["host-harness", env!("CARGO_PKG_VERSION")] {
        assert!(text.contains(part), "the service's name and version");
    }
    let code = admin_code();
    for secret in [
        "admin-token",
        "a-wrong-token",
        &code,
        "alice",
        "CHOSEN",
        ".rs",
    ] {
        assert!(!text.contains(secret), "{secret}");
    }
}

/// An OTLP/HTTP receiver.
struct Collector {
    url: String,
    bodies: Arc<Mutex<Vec<Bytes>>>,
}

impl Collector {
    async fn start() -> Self {
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let taken = bodies.clone();
        let take = post(async move |body: Bytes| taken.lock().unwrap().push(body));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().route("/v1/traces", take);
        tokio::spawn(axum::serve(listener, router).into_future());
        Self { url, bodies }
    }
}

/// A server of acme, and its URL.
async fn serve(data: &Data, trusted_proxies: &[&str]) -> String {
    let runtime = Runtime::new(Capacity::default()).unwrap();
    let workspace = HostedWorkspace::new(
        ACME.to_owned(),
        Arc::new(HostedStore::opened(data.url(), data.store.clone())),
        Admissions::new(runtime).load(Path::new(PLUGIN)).unwrap(),
        Limits::default(),
    );
    let proxies = trusted_proxies.iter().map(|proxy| proxy.parse().unwrap());
    let app = App {
        workspaces: Arc::new(ArcSwap::from_pointee(Workspaces::only(workspace))),
        clock: Clock::new(now),
        trusted_proxies: proxies.collect(),
        metrics: Arc::default(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(http::serve(listener, app, std::future::pending()));
    url
}

/// The status of the answer to the administrator's request to reset alice.
async fn reset(url: &str, token: &str) -> u16 {
    let response = client()
        .post(format!("{url}{RESET_TOTP}"))
        .header("traceparent", format!("00-{TRACE}-{PARENT}-01"))
        .header("x-user-id", "admin")
        .header("x-auth-token", token)
        .header("x-2fa-code", admin_code())
        .header("content-type", "application/json")
        .body(r#"{"userId":"alice"}"#)
        .send()
        .await
        .unwrap();
    response.status().as_u16()
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// A span as it is sent.
struct Span {
    name: String,
    /// Its own id, in hexadecimal.
    id: String,
    /// The ids of its trace and of its parent.
    parent: (String, String),
    kind: i32,
    status: i32,
    attributes: BTreeMap<String, String>,
}

impl Span {
    /// All but the ids, which differ each time.
    fn shown(&self) -> String {
        let Self { kind, status, .. } = self;
        let attributes = self.attributes.iter();
        let attributes = attributes.filter(|(name, _)| {
            // Random, and of the OpenTelemetry library.
            *name != "request_id" && !name.starts_with("otel.")
        });
        let attributes = attributes.map(|(name, value)| format!(" {name}={value}"));
        format!(
            "kind={kind} status={status}{}",
            attributes.collect::<String>()
        )
    }
}

/// The spans of messages one after the other, by name.
fn spans(messages: &[u8]) -> Vec<Span> {
    let sent = ExportTraceServiceRequest::decode(messages).unwrap();
    let resources = sent.resource_spans.into_iter();
    let scopes = resources.flat_map(|resource| resource.scope_spans);
    let mut spans: Vec<_> = scopes.flat_map(|scope| scope.spans).map(span).collect();
    spans.sort_by_key(|span| (span.name.clone(), span.shown()));
    spans
}

fn span(sent: trace::v1::Span) -> Span {
    let attribute = |attribute: KeyValue| {
        let value = match attribute.value.and_then(|value| value.value) {
            Some(Value::StringValue(text)) => text,
            Some(Value::IntValue(number)) => number.to_string(),
            other => format!("{other:?}"),
        };
        (attribute.key, value)
    };
    Span {
        name: sent.name,
        id: HEXLOWER.encode(&sent.span_id),
        parent: (
            HEXLOWER.encode(&sent.trace_id),
            HEXLOWER.encode(&sent.parent_span_id),
        ),
        kind: sent.kind,
        status: sent.status.map_or(0, |status| status.code),
        attributes: sent.attributes.into_iter().map(attribute).collect(),
    }
}
