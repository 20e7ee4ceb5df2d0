//! What leaves the process about its work: the log, and traces where a collector
//! is configured.

mod collector;
mod log;
mod traces;

pub use log::{LAST_LINES_LIMIT, dropped_lines};
pub(crate) use traces::continue_trace;

use crate::clock::Clock;
use collector::Collector;
use log::Log;
use opentelemetry_otlp::ExporterBuildError;
use opentelemetry_sdk::trace::SdkTracerProvider;
use std::env;
use std::fmt;
use std::io::{self, IsTerminal};
use std::time::Duration;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};
use url::Url;

/// How long the end of the process waits until the collector has the last spans.
pub const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// The form of the log.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum LogFormat {
    /// A line an event, for people.
    Text,
    /// An object an event, for programs.
    Json,
}

/// Why no traces can be sent.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A variable of the environment has a value that cannot be followed.
    #[error("{name}: {problem}")]
    Variable {
        /// The variable.
        name: String,
        /// Why, without the value, which may be a secret.
        problem: String,
    },
    /// An address for OTLP over HTTP, where gRPC is to be spoken.
    #[error("gRPC has no path: the collector {0} is named without one")]
    PathOfGrpc(Url),
    /// There is no TLS.
    #[error("cannot send traces over TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The exporter cannot be made.
    #[error("cannot send traces: {0}")]
    Exporter(#[from] ExporterBuildError),
    /// There is no thread for the log, or nothing to wait by for the collector.
    #[error("the system does not give what the log and traces need: {0}")]
    System(#[from] io::Error),
}

/// What is told about the process; when it is dropped, the collector gets the
/// last spans, for [`FLUSH_LIMIT`] at most, and the log its last lines, for
/// [`LAST_LINES_LIMIT`] at most.
#[must_use = "the last spans and lines are sent when it is dropped"]
pub struct Telemetry {
    log: Log,
    traces: Option<SdkTracerProvider>,
}

/// Logs to standard error, as much as `RUST_LOG` says (by default `info`), and
/// drops lines that nobody reads in time, see [`dropped_lines`]; sends traces by OTLP to
/// `collector`, or to the one that the environment names: how is said by the variables
/// `OTEL_EXPORTER_OTLP_…` of OpenTelemetry's specification. Once a process.
///
/// # Errors
///
/// See [`StartError`]. A collector that does not answer is none: it is logged,
/// and no request waits for it.
pub fn start(format: LogFormat, collector: Option<&Url>) -> Result<Telemetry, StartError> {
    let collector = Collector::of(collector, |name| env::var_os(name))?;
    let traces = collector.as_ref().map(traces::provider).transpose()?;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = Log::start(io::stderr())?;
    let lines = tracing_subscriber::fmt::layer()
        .with_timer(Milliseconds(Clock::system()))
        .with_ansi(io::stderr().is_terminal())
        .with_writer(log.clone());
    let lines = match format {
        LogFormat::Text => lines.with_target(false).boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .with(traces.as_ref().map(traces::layer))
        .init();
    if let Some(Collector { url, protocol, .. }) = &collector {
        let protocol = protocol.name();
        tracing::info!(collector = %url, protocol, "traces are sent");
    }
    Ok(Telemetry { log, traces })
}

/// The time of a log line. With microseconds it would hold six digits in a row, which could
/// be taken for a code.
struct Milliseconds(Clock);

impl FormatTime for Milliseconds {
    fn format_time(&self, line: &mut Writer<'_>) -> fmt::Result {
        line.write_str(&self.0.now().to_javascript())
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(traces) = &self.traces
            && let Err(error) = traces.shutdown_with_timeout(FLUSH_LIMIT)
        {
            tracing::warn!(%error, "the last traces did not reach the collector");
        }
        self.log.end();
    }
}
