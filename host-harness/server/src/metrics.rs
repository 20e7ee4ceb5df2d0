//! What the process counts and measures, as Prometheus reads it.
//!
//! Labels hold what the operator wrote or the host names: a route, a status, an
//! outcome's code, a workspace, a digest. Nothing that a client chooses is one,
//! or every request could make a new series; and nothing that says who somebody
//! is.

mod process;
mod snapshot;

pub use snapshot::{Breaker, Snapshot};

use plugin_sandbox::outcome::Usage;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use std::time::Duration;

/// What [`Metrics::text`] is (OpenMetrics 1.0).
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds for the parts of a call, in seconds: from 1 µs, below the
/// cheapest instantiation, to 5 s, which is all the time that a call has. Three
/// a decade tell apart what differs by a factor of two.
const CALL_SECONDS: [f64; 21] = [
    1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1,
    0.2, 0.5, 1.0, 2.0, 5.0,
];

/// Upper bounds for whole answers, in seconds: from 0.1 ms, the cheapest
/// refusal, to 10 s, a body that takes its 5 s and then a call that takes its
/// own. Fewer than for a call, since each route has them all.
const ANSWER_SECONDS: [f64; 11] = [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0];

/// Upper bounds for a guest's memory, in bytes: from 64 KiB, one page, doubling
/// to 16 MiB, which is all that a guest may have by default.
const MEMORY_BYTES: [f64; 9] = [
    65_536.0,
    131_072.0,
    262_144.0,
    524_288.0,
    1_048_576.0,
    2_097_152.0,
    4_194_304.0,
    8_388_608.0,
    16_777_216.0,
];

/// Outcomes that are there before the first call ends so.
const WATCHED_OUTCOMES: [&str; 2] = ["host-saturated", "host-busy"];

/// Reasons that are there before the first caller is refused for them.
const WATCHED_REASONS: [&str; 2] = ["totp-invalid", "totp-max-attempts"];

/// The counters and histograms of one process.
pub struct Metrics {
    registry: Registry,
    calls: Family<OutcomeLabel, Counter>,
    queue: Histogram,
    instantiation: Histogram,
    guest: Histogram,
    host: Histogram,
    memory: Histogram,
    host_calls: Counter,
    refusals: Family<ReasonLabel, Counter>,
    answers: Family<RouteStatus, Counter>,
    answer_time: Family<Route, Histogram, fn() -> Histogram>,
    audit_records: Counter,
    audit_failures: Counter,
    connections: Family<ListenerLabel, Gauge>,
    closed_for_room: Family<ListenerLabel, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ListenerLabel {
    listener: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteStatus {
    route: String,
    status: u16,
}

impl Metrics {
    /// A call of a plugin ended with the code `outcome`; `usage` is what it used,
    /// where that is known.
    pub fn call_ended(&self, outcome: &'static str, usage: Option<&Usage>) {
        self.calls.get_or_create(&OutcomeLabel { outcome }).inc();
        let Some(usage) = usage else { return };
        for (histogram, duration) in [
            (&self.queue, usage.queued),
            (&self.instantiation, usage.instantiating),
            (&self.guest, usage.guest),
            (&self.host, usage.host),
        ] {
            histogram.observe(duration.as_secs_f64());
        }
        // Exact below 2^53 bytes.
        self.memory.observe(usage.memory as f64);
        self.host_calls.inc_by(usage.host_calls.into());
    }

    /// A request for `route`, the pattern that it matched, was answered with
    /// `status` after that time.
    pub fn answered(&self, route: &str, status: u16, time: Duration) {
        let route = route.to_owned();
        let time_of = Route {
            route: route.clone(),
        };
        self.answers
            .get_or_create(&RouteStatus { route, status })
            .inc();
        self.answer_time
            .get_or_create(&time_of)
            .observe(time.as_secs_f64());
    }

    /// A decision was recorded in the audit trail, or could not be.
    pub fn audited<T, E>(&self, result: &Result<T, E>) {
        match result {
            Ok(_) => self.audit_records.inc(),
            Err(_) => self.audit_failures.inc(),
        };
    }

    /// So many requests were refused, for a reason that the audit trail names.
    pub fn refused(&self, reason: &str, calls: u32) {
        let reason = reason.to_owned();
        let refusals = self.refusals.get_or_create(&ReasonLabel { reason });
        refusals.inc_by(calls.into());
    }

    /// A client or operator connected to `listener`, or is gone.
    pub(crate) fn connected(&self, listener: &'static str, change: i64) {
        let label = ListenerLabel { listener };
        self.connections.get_or_create(&label).inc_by(change);
        // From the first on, both can be read.
        let _ = self.closed_for_room.get_or_create(&label);
    }

    /// An idle connection to `listener` was closed so that another can be served.
    pub(crate) fn closed_for_room(&self, listener: &'static str) {
        let label = ListenerLabel { listener };
        self.closed_for_room.get_or_create(&label).inc();
    }

    /// All of it and `snapshot`, in OpenMetrics' text format.
    pub fn text(&self, snapshot: &Snapshot, breakers: &[Breaker]) -> String {
        let mut text = String::new();
        let now = snapshot::registry(snapshot, breakers);
        let process = process::registry();
        let written = [&self.registry, &now, &process]
            .into_iter()
            .try_for_each(|registry| encode_registry(&mut text, registry))
            .and_then(|()| encode_eof(&mut text));
        // Without its last line a reader takes the text for cut.
        if written.is_err() {
            tracing::error!("the metrics cannot be written");
        }
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("chat"),
            calls: Family::default(),
            queue: Histogram::new(CALL_SECONDS),
            instantiation: Histogram::new(CALL_SECONDS),
            guest: Histogram::new(CALL_SECONDS),
            host: Histogram::new(CALL_SECONDS),
            memory: Histogram::new(MEMORY_BYTES),
            host_calls: Counter::default(),
            refusals: Family::default(),
            answers: Family::default(),
            answer_time: Family::new_with_constructor(|| Histogram::new(ANSWER_SECONDS)),
            audit_records: Counter::default(),
            audit_failures: Counter::default(),
            connections: Family::default(),
            closed_for_room: Family::default(),
        };
        metrics.register();
        // How much more there is of them than before says that something is wrong: they begin at 0.
        for outcome in WATCHED_OUTCOMES {
            let _ = metrics.calls.get_or_create(&OutcomeLabel { outcome });
        }
        for reason in WATCHED_REASONS.map(str::to_owned) {
            let _ = metrics.refusals.get_or_create(&ReasonLabel { reason });
        }
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let registry = &mut self.registry;
        for (name, help, metric) in [
            (
                "plugin_queue",
                "How long calls waited for their turn",
                &self.queue,
            ),
            (
                "plugin_instantiation",
                "How long calls took until their instance was there",
                &self.instantiation,
            ),
            (
                "plugin_guest",
                "How long calls were in the guest",
                &self.guest,
            ),
            (
                "plugin_host",
                "How long calls were in the host's functions",
                &self.host,
            ),
        ] {
            registry.register_with_unit(name, help, Unit::Seconds, metric.clone());
        }
        registry.register_with_unit(
            "plugin_memory",
            "Guests' memory at its largest",
            Unit::Bytes,
            self.memory.clone(),
        );
        registry.register_with_unit(
            "http_answer",
            "How long answers took",
            Unit::Seconds,
            self.answer_time.clone(),
        );
        registry.register(
            "plugin_calls",
            "Calls of plugins, by how they ended",
            self.calls.clone(),
        );
        registry.register(
            "refusals",
            "Refusals that are in audit trails, by their reason",
            self.refusals.clone(),
        );
        registry.register(
            "http_answers",
            "Answers, by the route that the request matched",
            self.answers.clone(),
        );
        registry.register(
            "http_connections",
            "Connections that are open, of clients and of operators",
            self.connections.clone(),
        );
        registry.register(
            "http_connections_closed_for_room",
            "Idle connections that were closed so that others could be served",
            self.closed_for_room.clone(),
        );
        for (name, help, metric) in [
            (
                "plugin_host_calls",
                "Calls of the host's functions by guests",
                &self.host_calls,
            ),
            (
                "audit_records",
                "Decisions recorded in audit trails",
                &self.audit_records,
            ),
            (
                "audit_failures",
                "Decisions that could not be recorded, and were not answered",
                &self.audit_failures,
            ),
        ] {
            registry.register(name, help, metric.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chat_domain::time::Timestamp;
    use plugin_sandbox::outcome::ANSWERED;
    use std::collections::HashSet;

    fn used() -> Metrics {
        let metrics = Metrics::default();
        let usage = Usage {
            guest: Duration::from_micros(15),
            memory: 65_536,
            host_calls: 5,
            ..Usage::default()
        };
        metrics.call_ended(ANSWERED, Some(&usage));
        metrics.call_ended("host-panic", None);
        metrics.answered("/api/v1/me", 200, Duration::from_millis(2));
        metrics.audited(&Ok::<_, ()>(()));
        metrics.refused("totp-required", 1);
        metrics.audited(&Err::<(), _>(()));
        metrics.connected("clients", 2);
        metrics.connected("clients", -1);
        metrics.closed_for_room("clients");
        metrics
    }

    #[test]
    fn what_was_told_is_read() {
        let text = used().text(&Snapshot::at(Timestamp::END), &[]);
        for line in [
            r#"chat_plugin_calls_total{outcome="answered"} 1"#,
            r#"chat_plugin_calls_total{outcome="host-panic"} 1"#,
            r#"chat_plugin_guest_seconds_bucket{le="0.00001"} 0"#,
            r#"chat_plugin_guest_seconds_bucket{le="0.00002"} 1"#,
            r#"chat_plugin_memory_bytes_bucket{le="65536.0"} 1"#,
            "chat_plugin_queue_seconds_count 1",
            "chat_plugin_host_calls_total 5",
            r#"chat_http_answers_total{route="/api/v1/me",status="200"} 1"#,
            r#"chat_http_answer_seconds_bucket{le="0.003",route="/api/v1/me"} 1"#,
            r#"chat_plugin_calls_total{outcome="host-saturated"} 0"#,
            r#"chat_refusals_total{reason="totp-required"} 1"#,
            r#"chat_refusals_total{reason="totp-max-attempts"} 0"#,
            "chat_audit_records_total 1",
            "chat_audit_failures_total 1",
            r#"chat_http_connections{listener="clients"} 1"#,
            r#"chat_http_connections_closed_for_room_total{listener="clients"} 1"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(text.ends_with("# EOF\n"), "{text}");
    }

    /// OpenMetrics 1.0: a family has one TYPE and one HELP, its unit ends its
    /// name, and no two samples have the same name and labels.
    #[test]
    fn every_family_says_what_it_is_once() {
        let text = used().text(&Snapshot::at(Timestamp::END), &[]);
        let mut seen = HashSet::new();
        let mut family = String::new();
        for line in text.lines().filter(|line| *line != "# EOF") {
            let words: Vec<_> = line.splitn(4, ' ').collect();
            match words[..] {
                ["#", keyword, name, said] => {
                    assert!(seen.insert(format!("{keyword} {name}")), "{line}");
                    assert!(!said.is_empty(), "{line}");
                    assert!(keyword != "UNIT" || name.ends_with(&format!("_{said}")));
                    family = name.to_owned();
                }
                _ => {
                    let sample = line.rsplit_once(' ').unwrap().0;
                    assert!(seen.insert(sample.to_owned()), "{line}");
                    assert!(sample.starts_with(&family), "{sample} is in {family}");
                    for keyword in ["HELP", "TYPE"] {
                        assert!(seen.contains(&format!("{keyword} {family}")), "{line}");
                    }
                }
            }
        }
    }
}
