//! What is so at the moment of a look.

use plugin_sandbox::breaker;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;
use std::sync::atomic::AtomicU64;

/// Series of one family that are named by a workspace or a digest: with ten
/// thousand workspaces in trouble at once, the sum tells more than each.
const MAX_SERIES: usize = 100;

/// The state of a process at one moment.
#[derive(Clone, Debug, Default)]
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
    /// Mails that wait in the open stores.
    pub waiting_mails: u64,
    /// Mails in the open stores that are given up.
    pub dead_letters: u64,
    /// The digest of each plugin that is live, and how many workspaces use it.
    pub plugins: Vec<(String, usize)>,
    /// Lines of the log that were dropped since the process began.
    pub dropped_log_lines: u64,
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

type Count = Gauge<u64, AtomicU64>;

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
    ] {
        registry.register(name, help, ConstGauge::new(number));
    }
    registry.register(
        "log_lines_dropped",
        "Lines of the log that were dropped because nobody read it in time",
        ConstCounter::new(snapshot.dropped_log_lines),
    );
    let mails = [
        ("waiting", snapshot.waiting_mails),
        ("dead", snapshot.dead_letters),
    ];
    registry.register(
        "outbox_mails",
        "Mails in the outboxes of the open stores",
        by_state(mails),
    );
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

fn by_state(numbers: [(&'static str, u64); 2]) -> Family<State, Count> {
    let family = Family::<_, Count>::default();
    for (state, number) in numbers {
        family.get_or_create(&State { state }).set(number);
    }
    family
}

fn plugins(plugins: &[(String, usize)]) -> Family<Plugin, Count> {
    let family = Family::<_, Count>::default();
    for (digest, workspaces) in first(plugins, |(digest, _)| digest) {
        let plugin = digest.clone();
        let gauge = family.get_or_create(&Plugin { plugin });
        gauge.set(*workspaces as u64);
    }
    family
}

fn not_closed(breakers: &[Breaker]) -> Family<WorkspaceState, Count> {
    let family = Family::<_, Count>::default();
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
            waiting_mails: 7,
            dead_letters: 1,
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
                "chat_log_lines_dropped_total 4",
                r#"chat_outbox_mails{state="dead"} 1"#,
                r#"chat_outbox_mails{state="waiting"} 7"#,
                "chat_plugin_calls_running 3",
                "chat_plugin_calls_waiting 0",
                "chat_plugin_places_free 61",
                r#"chat_plugin_workspaces{plugin="sha256:00"} 10000"#,
                "chat_stores_open 2",
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
            ..Snapshot::default()
        };
        let text = text(&snapshot, &breakers);
        let of = |family: &str| text.lines().filter(|line| line.starts_with(family)).count();
        assert_eq!(of("chat_breaker_not_closed{"), MAX_SERIES);
        assert_eq!(of("chat_plugin_workspaces{"), MAX_SERIES);
        assert!(text.contains(r#"chat_breakers{state="half-open"} 10000"#));
        assert!(text.contains(r#"workspace="workspace-00099""#), "{text}");
    }
}
