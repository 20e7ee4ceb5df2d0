//! What is so at the moment of a look.

use chat_domain::outbox::{Count, OutboxCount};
use chat_domain::time::Timestamp;
use plugin_sandbox::breaker;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::{Registry, Unit};
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// Series of one family that are named by a workspace or a digest: with ten
/// thousand workspaces in trouble at once, the sum tells more than each.
const MAX_SERIES: usize = 100;

/// The state of a process at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Calls that run.
    pub calls: usize,
    /// Places for calls that are free.
    pub free_places: usize,
    /// Calls that wait for their turn.
    pub waiting_calls: usize,
    /// Workspaces in the configuration.
    pub workspaces: usize,
    /// Stores that are open.
    pub open_stores: usize,
    /// Those of them that could not be read and written.
    pub unwritable_stores: usize,
    /// What waits in the open stores, and what is given up.
    pub outbox: OutboxCount,
    /// Moments in the open stores that a wrong clock has left.
    pub clock_faults: u64,
    /// When this was so, by the clock of the host.
    pub now: Timestamp,
    /// The digest of each plugin that is live, and how many workspaces use it.
    pub plugins: Vec<(String, usize)>,
    /// Lines of the log that were dropped since the process began.
    pub dropped_log_lines: u64,
}

impl Snapshot {
    /// A process that does nothing at that moment.
    pub fn at(now: Timestamp) -> Self {
        Self {
            calls: 0,
            free_places: 0,
            waiting_calls: 0,
            workspaces: 0,
            open_stores: 0,
            unwritable_stores: 0,
            outbox: OutboxCount::default(),
            clock_faults: 0,
            now,
            plugins: Vec::new(),
            dropped_log_lines: 0,
        }
    }
}

/// A breaker that is not closed: a workspace whose plugin fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breaker {
    /// The workspace's id.
    pub workspace: String,
    /// The plugin's digest.
    pub plugin: String,
    /// What it lets through.
    pub state: breaker::State,
}

type Number = Gauge<u64, AtomicU64>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WorkspaceState {
    workspace: String,
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Plugin {
    plugin: String,
}

pub(super) fn registry(snapshot: &Snapshot, breakers: &[Breaker]) -> Registry {
    let mut registry = Registry::with_prefix("chat");
    for (name, help, number) in [
        ("plugin_calls_running", "Calls that run", snapshot.calls),
        (
            "plugin_places_free",
            "Places for calls that are free",
            snapshot.free_places,
        ),
        (
            "plugin_calls_waiting",
            "Calls that wait for their turn",
            snapshot.waiting_calls,
        ),
        (
            "workspaces",
            "Workspaces in the configuration",
            snapshot.workspaces,
        ),
        ("stores_open", "Stores that are open", snapshot.open_stores),
        (
            "stores_unwritable",
            "Open stores that could not be read and written at this look",
            snapshot.unwritable_stores,
        ),
    ] {
        registry.register(name, help, ConstGauge::new(number));
    }
    registry.register(
        "log_lines_dropped",
        "Lines of the log that were dropped because nobody read it in time",
        ConstCounter::new(snapshot.dropped_log_lines),
    );
    registry.register_with_unit(
        "clock",
        "The clock of the host, since 1970",
        Unit::Seconds,
        // Exact to the millisecond for many thousand years.
        ConstGauge::new(snapshot.now.millis() as f64 / 1e3),
    );
    registry.register(
        "clock_faults",
        "Moments in the open stores that a wrong clock has left too far ahead",
        ConstGauge::new(snapshot.clock_faults),
    );
    outbox(&mut registry, &snapshot.outbox, snapshot.now);
    registry.register(
        "plugin_workspaces",
        "Workspaces that use a plugin, by its digest",
        plugins(&snapshot.plugins),
    );
    let of = |state: &str| breakers.iter().filter(|b| b.state.name() == state).count() as u64;
    registry.register(
        "breakers",
        "Breakers that are not closed",
        by_state(["open", "half-open"].map(|state| (state, of(state)))),
    );
    registry.register(
        "breaker_not_closed",
        "1 for a workspace whose breaker is not closed; the first hundred by name",
        not_closed(breakers),
    );
    registry
}

fn outbox(registry: &mut Registry, outbox: &OutboxCount, now: Timestamp) {
    let states = |count: &Count| {
        by_state([
            ("waiting", count.waiting.into()),
            ("dead", count.dead_letters.into()),
        ])
    };
    let waited = |count: &Count| {
        let oldest = count.oldest.map_or(Duration::ZERO, |oldest| now - oldest);
        ConstGauge::new(oldest.as_secs_f64())
    };
    registry.register(
        "outbox_mails",
        "Mails in the outboxes of the open stores",
        states(&outbox.mails),
    );
    registry.register(
        "outbox_sockets",
        "Accounts in the outboxes of the open stores whose sockets Rocket.Chat is to close",
        states(&outbox.sockets),
    );
    for (name, help, count) in [
        (
            "outbox_mails_wait",
            "How long the oldest mail that waits has waited",
            &outbox.mails,
        ),
        (
            "outbox_sockets_wait",
            "How long the oldest account has waited whose sockets are to be closed",
            &outbox.sockets,
        ),
    ] {
        registry.register_with_unit(name, help, Unit::Seconds, waited(count));
    }
}

fn by_state(numbers: [(&'static str, u64); 2]) -> Family<State, Number> {
    let family = Family::<_, Number>::default();
    for (state, number) in numbers {
        family.get_or_create(&State { state }).set(number);
    }
    family
}

fn plugins(plugins: &[(String, usize)]) -> Family<Plugin, Number> {
    let family = Family::<_, Number>::default();
    for (digest, workspaces) in first(plugins, |(digest, _)| digest) {
        let plugin = digest.clone();
        let gauge = family.get_or_create(&Plugin { plugin });
        gauge.set(*workspaces as u64);
    }
    family
}

fn not_closed(breakers: &[Breaker]) -> Family<WorkspaceState, Number> {
    let family = Family::<_, Number>::default();
    for breaker in first(breakers, |breaker| &breaker.workspace) {
        let labels = WorkspaceState {
            workspace: breaker.workspace.clone(),
            state: breaker.state.name(),
        };
        family.get_or_create(&labels).set(1);
    }
    family
}

/// The first [`MAX_SERIES`] by name.
fn first<T>(all: &[T], name: impl Fn(&T) -> &String) -> Vec<&T> {
    let mut all: Vec<_> = all.iter().collect();
    all.sort_by(|a, b| name(a).cmp(name(b)));
    all.truncate(MAX_SERIES);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::encoding::text::encode;

    fn text(snapshot: &Snapshot, breakers: &[Breaker]) -> String {
        let mut text = String::new();
        encode(&mut text, &registry(snapshot, breakers)).unwrap();
        text
    }

    #[test]
    fn a_moment_is_told_in_numbers() {
        let snapshot = Snapshot {
            calls: 3,
            free_places: 61,
            waiting_calls: 0,
            workspaces: 10_000,
            open_stores: 2,
            unwritable_stores: 1,
            outbox: OutboxCount {
                mails: Count {
                    waiting: 7,
                    dead_letters: 1,
                    oldest: Some(Timestamp::from_millis(1_500)),
                },
                sockets: Count {
                    waiting: 1,
                    dead_letters: 2,
                    // Written while a clock was ahead.
                    oldest: Some(Timestamp::END),
                },
            },
            clock_faults: 3,
            now: Timestamp::from_millis(5_250),
            plugins: vec![("sha256:00".to_owned(), 10_000)],
            dropped_log_lines: 4,
        };
        let text = text(&snapshot, &[]);
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let mut samples: Vec<_> = samples.collect();
        samples.sort_unstable();
        assert_eq!(
            samples,
            [
                r#"chat_breakers{state="half-open"} 0"#,
                r#"chat_breakers{state="open"} 0"#,
                "chat_clock_faults 3",
                "chat_clock_seconds 5.25",
                "chat_log_lines_dropped_total 4",
                "chat_outbox_mails_wait_seconds 3.75",
                r#"chat_outbox_mails{state="dead"} 1"#,
                r#"chat_outbox_mails{state="waiting"} 7"#,
                "chat_outbox_sockets_wait_seconds 0.0",
                r#"chat_outbox_sockets{state="dead"} 2"#,
                r#"chat_outbox_sockets{state="waiting"} 1"#,
                "chat_plugin_calls_running 3",
                "chat_plugin_calls_waiting 0",
                "chat_plugin_places_free 61",
                r#"chat_plugin_workspaces{plugin="sha256:00"} 10000"#,
                "chat_stores_open 2",
                "chat_stores_unwritable 1",
                "chat_workspaces 10000",
            ]
        );
    }

    #[test]
    fn ten_thousand_workspaces_in_trouble_make_a_hundred_series() {
        let breakers: Vec<_> = (0..10_000)
            .map(|i| Breaker {
                workspace: format!("workspace-{i:05}"),
                plugin: "sha256:00".to_owned(),
                state: breaker::State::HalfOpen,
            })
            .collect();
        let snapshot = Snapshot {
            plugins: (0..10_000).map(|i| (format!("{i:05}"), 1)).collect(),
            ..Snapshot::at(Timestamp::from_millis(0))
        };
        let text = text(&snapshot, &breakers);
        let of = |family: &str| text.lines().filter(|line| line.starts_with(family)).count();
        assert_eq!(of("chat_breaker_not_closed{"), MAX_SERIES);
        assert_eq!(of("chat_plugin_workspaces{"), MAX_SERIES);
        assert!(text.contains(r#"chat_breakers{state="half-open"} 10000"#));
        assert!(text.contains(r#"workspace="workspace-00099""#), "{text}");
    }
}
