//! Traces for an OpenTelemetry collector. Spans wait in a bounded queue for a
//! thread that sends them; where the collector is slow or gone, they are lost
//! and nothing else is.

use super::StartError;
use super::collector::{Authorities, Collector, Protocol};
use crate::outbound;
use async_trait::async_trait;
use axum::body::Bytes;
use axum::http::{HeaderMap, Request, Response};
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{SpanKind, Status, TraceContextExt, TracerProvider};
use opentelemetry::{Context, Key, KeyValue, Value};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::tonic_types::transport::{Certificate, ClientTlsConfig};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, SpanData,
};
use rustls::ClientConfig;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use tracing::level_filters::LevelFilter;
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

/// Spans that wait to be sent; further ones are lost. A few MiB at most.
const QUEUE: usize = 2048;

/// How often what waits is sent, if it is not a whole batch before.
const PAUSE: Duration = Duration::from_secs(1);

/// Bytes of an answer that are read: a few words on what was not taken.
const MOST_BYTES: usize = 64 * 1024;

/// How often it is logged that the collector cannot be reached.
const REMINDER: Duration = Duration::from_secs(60);

/// The span of a request, and the service's name.
const REQUEST: &str = "request";
const SERVICE: &str = "host-harness";

/// The crates of this program.
const OURS: [&str; 5] = [
    "chat_domain",
    "chat_server",
    "chat_store",
    "host_harness",
    "plugin_sandbox",
];

/// The names of OpenTelemetry's conventions for what the log calls otherwise.
const CONVENTIONS: [(&str, &str); 3] = [
    ("method", "http.request.method"),
    ("route", "http.route"),
    ("status", "http.response.status_code"),
];

pub(super) fn provider(collector: &Collector) -> Result<SdkTracerProvider, StartError> {
    let waiting = Waiting::new()?;
    let problem = Problem::default();
    // What speaks gRPC starts what it needs where it is made.
    let entered = waiting.runtime().map(Runtime::enter);
    let exporter = match collector.protocol {
        Protocol::Http => http(collector, problem.clone())?,
        Protocol::Grpc => grpc(collector)?,
    };
    drop(entered);
    let delivery = Delivery {
        exporter,
        waiting,
        limit: collector.timeout,
        problem,
        complained: Mutex::new(None),
    };
    let config = BatchConfigBuilder::default()
        .with_max_queue_size(QUEUE)
        .with_scheduled_delay(PAUSE)
        .build();
    let processor = BatchSpanProcessor::builder(delivery)
        .with_batch_config(config)
        .build();
    let resource = Resource::builder()
        .with_service_name(SERVICE)
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    Ok(SdkTracerProvider::builder()
        .with_span_processor(processor)
        .with_resource(resource)
        .build())
}

fn http(collector: &Collector, problem: Problem) -> Result<SpanExporter, StartError> {
    let roots = collector
        .authorities
        .as_ref()
        .map_or_else(outbound::system_roots, |Authorities { roots, .. }| {
            roots.clone()
        });
    let client = Http {
        tls: outbound::tls(roots)?,
        problem,
    };
    let builder = SpanExporter::builder().with_http().with_http_client(client);
    Ok(builder
        .with_protocol(opentelemetry_otlp::Protocol::HttpBinary)
        .with_endpoint(collector.url.clone())
        .with_timeout(collector.timeout)
        .build()?)
}

fn grpc(collector: &Collector) -> Result<SpanExporter, StartError> {
    let builder = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(collector.url.clone())
        .with_timeout(collector.timeout);
    let tls = ClientTlsConfig::new();
    let builder = match (collector.url.scheme(), &collector.authorities) {
        ("https", Some(Authorities { pem, .. })) => {
            builder.with_tls_config(tls.ca_certificate(Certificate::from_pem(pem)))
        }
        ("https", None) => builder.with_tls_config(tls.with_native_roots()),
        _ => builder,
    };
    Ok(builder.build()?)
}

/// Hands this program's own spans to `provider`, whatever the log shows; but no
/// events, which are the log's, and no places in the source.
pub(super) fn layer<S>(provider: &SdkTracerProvider) -> impl Layer<S> + use<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let is_ours = |target: &str| OURS.iter().any(|ours| target.starts_with(ours));
    let ours = filter_fn(move |metadata| metadata.is_span() && is_ours(metadata.target()));
    tracing_opentelemetry::layer()
        .with_tracer(provider.tracer(SERVICE))
        .with_context_activation(false)
        .with_location(false)
        .with_target(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_filter(ours.with_max_level_hint(LevelFilter::DEBUG))
}

/// Makes `span` part of the trace that the headers `traceparent` and
/// `tracestate` name (W3C Trace Context).
pub(crate) fn continue_trace(span: &Span, headers: &HeaderMap) {
    let context =
        TraceContextPropagator::new().extract_with_context(&Context::new(), &TraceHeaders(headers));
    if context.span().span_context().is_valid() {
        // Where no traces are sent there is nothing to continue.
        let _ = span.set_parent(context);
    }
}

struct TraceHeaders<'a>(&'a HeaderMap);

impl Extractor for TraceHeaders<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        let mut values = self.0.get_all(name).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => value.to_str().ok(),
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(|name| name.as_str()).collect()
    }
}

/// What sends by HTTP/1: each delivery is a connection of its own, once a second at most.
#[derive(Debug)]
struct Http {
    tls: Arc<ClientConfig>,
    problem: Problem,
}

#[async_trait]
impl HttpClient for Http {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let sent = outbound::send(request, &self.tls, MOST_BYTES).await;
        self.problem
            .note(sent.as_ref().err().map(ToString::to_string));
        sent
    }
}

/// Why the last delivery found no way: the exporter tells only that it did not.
#[derive(Clone, Debug, Default)]
struct Problem(Arc<Mutex<Option<String>>>);

impl Problem {
    fn note(&self, problem: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }

    fn take(&self) -> Option<String> {
        let mut problem = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        problem.take()
    }
}

/// What the thread that sends waits by: neither does it take time from those that answer
/// requests, nor they from it.
#[derive(Debug)]
struct Waiting(Option<Runtime>);

impl Waiting {
    fn new() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build();
        runtime.map(Some).map(Self)
    }

    fn runtime(&self) -> Option<&Runtime> {
        self.0.as_ref()
    }
}

impl Drop for Waiting {
    /// Where it is dropped nobody may have to wait.
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// An exporter that follows OpenTelemetry's conventions, and is heard when it
/// fails.
#[derive(Debug)]
struct Delivery<E> {
    exporter: E,
    waiting: Waiting,
    /// How long a delivery may take with its retries.
    limit: Duration,
    problem: Problem,
    /// When it was last logged that the collector cannot be reached; none while
    /// it can.
    complained: Mutex<Option<Instant>>,
}

impl<E> Delivery<E> {
    /// Logs the first failure, one a [`REMINDER`], and the first success after.
    fn report(&self, result: &OTelSdkResult) {
        let complained = self.complained.lock();
        let mut complained = complained.unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(()) if complained.take().is_some() => {
                tracing::info!("the collector takes traces again");
            }
            Err(error) if complained.is_none_or(|last| last.elapsed() >= REMINDER) => {
                *complained = Some(Instant::now());
                tracing::warn!(%error, "the collector takes no traces; they are lost");
            }
            _ => (),
        }
    }
}

impl<E: opentelemetry_sdk::trace::SpanExporter> opentelemetry_sdk::trace::SpanExporter
    for Delivery<E>
{
    async fn export(&self, mut spans: Vec<SpanData>) -> OTelSdkResult {
        spans.iter_mut().for_each(follow_conventions);
        let exported = async { timeout(self.limit, self.exporter.export(spans)).await };
        let result = match self.waiting.runtime() {
            Some(runtime) => runtime.block_on(exported),
            None => return Err(OTelSdkError::AlreadyShutdown),
        };
        let result = result.unwrap_or(Err(OTelSdkError::Timeout(self.limit)));
        let result = match self.problem.take() {
            Some(problem) => result.map_err(|_| OTelSdkError::InternalFailure(problem)),
            None => result,
        };
        self.report(&result);
        result
    }

    fn shutdown_with_timeout(&self, limit: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(limit)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// Gives the span of a request the name, the kind and the words that
/// OpenTelemetry's conventions for HTTP servers ask for.
fn follow_conventions(span: &mut SpanData) {
    if span.name != REQUEST {
        return;
    }
    span.span_kind = SpanKind::Server;
    for attribute in &mut span.attributes {
        let known = CONVENTIONS
            .iter()
            .find(|(ours, _)| attribute.key.as_str() == *ours);
        if let Some((_, theirs)) = known {
            attribute.key = Key::from_static_str(theirs);
        }
    }
    let value = |key: &str| {
        let mut attributes = span.attributes.iter();
        let attribute = attributes.find(|attribute| attribute.key.as_str() == key);
        attribute.map(|attribute| attribute.value.clone())
    };
    if let (Some(method), Some(route)) = (value("http.request.method"), value("http.route")) {
        span.name = format!("{method} {route}").into();
    }
    if matches!(value("http.response.status_code"), Some(Value::I64(500..))) {
        span.status = Status::error("");
    }
}

#[cfg(test)]
mod tests {
    use super::super::FLUSH_LIMIT;
    use super::*;
    use opentelemetry_sdk::error::OTelSdkError;
    use std::io::{self, Write};
    use std::net::TcpListener;
    use std::sync::Arc;
    use tracing_subscriber::layer::SubscriberExt;

    #[test]
    fn a_collector_that_hangs_holds_up_neither_a_span_nor_the_end() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        let collector = Collector::of(url.parse().ok().as_ref(), |_| None);
        let provider = provider(&collector.unwrap().unwrap()).unwrap();
        let subscriber = tracing_subscriber::registry().with(layer(&provider));
        let start = Instant::now();
        tracing::subscriber::with_default(subscriber, || {
            for _ in 0..3 * QUEUE {
                drop(tracing::error_span!("request", status = 200_i64));
            }
        });
        assert!(start.elapsed() < FLUSH_LIMIT, "{:?}", start.elapsed());
        let start = Instant::now();
        provider.shutdown_with_timeout(FLUSH_LIMIT).unwrap_err();
        let took = start.elapsed();
        assert!((FLUSH_LIMIT..2 * FLUSH_LIMIT).contains(&took), "{took:?}");
    }

    #[test]
    fn a_collector_that_is_gone_is_logged_once_in_a_while_and_when_it_is_back() {
        let delivery = Delivery {
            exporter: (),
            waiting: Waiting(None),
            limit: FLUSH_LIMIT,
            problem: Problem::default(),
            complained: Mutex::new(None),
        };
        let gone = || Err(OTelSdkError::InternalFailure("no connection".to_owned()));
        let log = Log::default();
        let subscriber = tracing_subscriber::fmt()
            .without_time()
            .with_target(false)
            .with_ansi(false)
            .with_writer({
                let log = log.clone();
                move || log.clone()
            })
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            for result in [Ok(()), gone(), gone(), Ok(()), Ok(()), gone()] {
                delivery.report(&result);
            }
            // A minute after the last complaint.
            *delivery.complained.lock().unwrap() = Instant::now().checked_sub(REMINDER);
            delivery.report(&gone());
        });
        let lost = " WARN the collector takes no traces; they are lost error=Operation failed: \
                    no connection\n";
        let back = " INFO the collector takes traces again\n";
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text, [lost, back, lost, lost].concat());
    }

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(line)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_request_that_the_server_failed_is_an_error() {
        use opentelemetry::trace::{SpanContext, SpanId};
        let span = |status: i64| {
            let mut span = SpanData {
                span_context: SpanContext::empty_context(),
                parent_span_id: SpanId::INVALID,
                parent_span_is_remote: false,
                span_kind: SpanKind::Internal,
                name: REQUEST.into(),
                start_time: std::time::UNIX_EPOCH,
                end_time: std::time::UNIX_EPOCH,
                attributes: vec![KeyValue::new("status", status)],
                dropped_attributes_count: 0,
                events: Default::default(),
                links: Default::default(),
                status: Status::Unset,
                instrumentation_scope: Default::default(),
            };
            follow_conventions(&mut span);
            span.status
        };
        assert_eq!(span(400), Status::Unset);
        assert_eq!(span(502), Status::error(""));
    }
}
