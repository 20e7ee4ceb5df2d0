//! A process that sends traces over TLS, by HTTP and by gRPC, as the environment tells it to.

use crate::process::Process;
use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::serve::Listener;
use chat_testing::certificates::Certificates;
use chat_testing::guest::{Guest, PLUGIN};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

/// By what the collector knows who may send.
const KEY: &str = "k3y-of-the-collector";

const PROTOCOLS: [&str; 2] = ["http/protobuf", "grpc"];

/// The compiler writes megabytes that are not about traces.
const ALL_BUT_THE_COMPILER: &str = "trace,cranelift_codegen=off,cranelift_frontend=off,\
                                    regalloc2=off,wasmtime_internal_cranelift=off";

/// A collector, and what it was sent.
#[derive(Clone, Default)]
struct Collector {
    spans: Arc<Mutex<Vec<String>>>,
    keys: Arc<Mutex<Vec<String>>>,
}

impl Collector {
    /// Serves it over TLS; gives its address.
    async fn start(&self, protocol: &str, certificates: &Certificates) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        match protocol {
            "grpc" => {
                let read = |name| std::fs::read(certificates.file(name)).unwrap();
                let identity = Identity::from_pem(read("cert.pem"), read("key.pem"));
                let tls = ServerTlsConfig::new().identity(identity);
                let mut server = Server::builder().tls_config(tls).unwrap();
                let server = server.add_service(TraceServiceServer::new(self.clone()));
                tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
            }
            _ => {
                let this = self.clone();
                let take = async move |headers: HeaderMap, body: Bytes| {
                    let key = headers.get("authorization").unwrap().to_str().unwrap();
                    this.take(&ExportTraceServiceRequest::decode(body).unwrap(), key);
                    StatusCode::OK
                };
                let router = Router::new().route("/v1/traces", post(take));
                let listener = OverTls::new(listener, certificates);
                tokio::spawn(axum::serve(listener, router).into_future());
            }
        }
        url
    }

    fn take(&self, sent: &ExportTraceServiceRequest, key: &str) {
        secret_scan::keep("traces", sent.encode_to_vec());
        self.keys.lock().unwrap().push(key.to_owned());
        let scopes = sent.resource_spans.iter().flat_map(|of| &of.scope_spans);
        let names = scopes
            .flat_map(|of| &of.spans)
            .map(|span| span.name.clone());
        self.spans.lock().unwrap().extend(names);
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let key = request.metadata().get("authorization").unwrap().clone();
        self.take(request.get_ref(), key.to_str().unwrap());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

struct OverTls {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl OverTls {
    fn new(listener: TcpListener, certificates: &Certificates) -> Self {
        let chain = CertificateDer::pem_file_iter(certificates.file("cert.pem")).unwrap();
        let chain = chain.collect::<Result<_, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_file(certificates.file("key.pem")).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        Self {
            listener,
            acceptor: TlsAcceptor::from(Arc::new(config)),
        }
    }
}

impl Listener for OverTls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.listener.accept().await.unwrap();
            // Whoever does not trust the certificate goes away.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// The line of a shell that has a process send its traces there.
fn sending_to(url: &str, protocol: &str, authorities: &Certificates, log: &str) -> String {
    secret_scan::register(KEY);
    format!(
        "export RUST_LOG={log} OTEL_EXPORTER_OTLP_ENDPOINT={url} \
         OTEL_EXPORTER_OTLP_PROTOCOL={protocol} OTEL_EXPORTER_OTLP_CERTIFICATE={} \
         OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20{KEY}; exec \"$@\"",
        authorities.file("ca.pem").display()
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_go_to_a_collector_over_tls_with_a_key_that_no_line_of_the_log_has() {
    let certificates = Certificates::new();
    for protocol in PROTOCOLS {
        let collector = Collector::default();
        let url = collector.start(protocol, &certificates).await;
        let line = sending_to(&url, protocol, &certificates, ALL_BUT_THE_COMPILER);
        let process = Process::start_by(&line, &Guest::default().component()).await;
        assert_eq!(process.reset("acme.example").await, 400);
        let (status, _, log) = process.stop();
        assert!(status.success(), "{status}");
        let spans = collector.spans.lock().unwrap().clone();
        for name in ["POST /api/v1/users.resetTOTP", "call"] {
            assert!(spans.iter().any(|span| span == name), "{name} in {spans:?}");
        }
        let mut keys = collector.keys.lock().unwrap().clone();
        keys.dedup();
        assert_eq!(keys, [format!("Bearer {KEY}")], "{protocol}");
        assert!(log.iter().any(|line| line.contains("TRACE")), "{log:?}");
        for secret in [KEY, "admin-token"] {
            let told = log.iter().find(|line| line.contains(secret));
            assert!(told.is_none(), "{told:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_others_vouch_for_gets_nothing_and_is_complained_of_once() {
    let (certificates, others) = (Certificates::new(), Certificates::new());
    for protocol in PROTOCOLS {
        let collector = Collector::default();
        let url = collector.start(protocol, &certificates).await;
        let line = sending_to(&url, protocol, &others, "info");
        let process = Process::start_by(&line, &Guest::default().component()).await;
        assert_eq!(process.reset("acme.example").await, 400);
        let complaint = "the collector takes no traces; they are lost";
        let error = process.logged(complaint, "error");
        assert!(
            error.contains("invalid peer certificate: "),
            "{protocol}: {error}"
        );
        // Its span is tried in vain before the process ends.
        assert_eq!(process.reset("acme.example").await, 400);
        let (status, _, log) = process.stop();
        assert!(status.success(), "{status}");
        let again = log.iter().find(|line| line.contains(complaint));
        assert!(again.is_none(), "{again:?}");
        assert_eq!(*collector.spans.lock().unwrap(), [""; 0]);
    }
}

/// As long as it is tried to send, further spans wait, and requests do not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_answered_while_a_collector_says_nothing() {
    let certificates = Certificates::new();
    for protocol in PROTOCOLS {
        // Connections are taken by the system, and nobody speaks.
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", silent.local_addr().unwrap());
        let line = sending_to(&url, protocol, &certificates, "info");
        let mut process = Process::start_by(&line, &Guest::default().component()).await;
        let start = Instant::now();
        let mut longest = Duration::ZERO;
        while start.elapsed() < Duration::from_secs(2) {
            let asked = Instant::now();
            assert_eq!(process.reset("acme.example").await, 400);
            longest = longest.max(asked.elapsed());
        }
        assert!(longest < Duration::from_secs(4), "{protocol}: {longest:?}");
        let (status, time) = process.end();
        assert!(status.success(), "{status}");
        assert!(time < Duration::from_secs(15), "{protocol}: {time:?}");
    }
}

#[test]
fn a_variable_that_cannot_be_followed_ends_the_start() {
    let output = Command::new(env!("CARGO_BIN_EXE_host-harness"))
        .args([
            "serve",
            "--store",
            "/nowhere/store.sqlite",
            "--plugin",
            PLUGIN,
        ])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "https://127.0.0.1:9")
        .env("OTEL_EXPORTER_OTLP_HEADERS", format!("authorization {KEY}"))
        .output()
        .unwrap();
    secret_scan::register(KEY);
    secret_scan::keep_output(&output);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "host-harness: OTEL_EXPORTER_OTLP_HEADERS: header 1 is not name=value, with other \
         characters than letters and digits as %20 and the like\n"
    );
}
