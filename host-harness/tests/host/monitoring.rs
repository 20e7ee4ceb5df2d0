//! The recipes for Prometheus and Grafana, held to what a host tells: by promtool, and by a
//! Prometheus that looks at a host.

use crate::process::{Process, client};
use chat_testing::guest::Guest;
use promql_parser::parser::{self, Expr};
use promql_parser::util::{ExprVisitor, walk_expr};
use reqwest::Url;
use serde_json::Value;
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

const ADDRESS: &str = "127.0.0.1:3001";

/// How long a Prometheus may take to start, look and judge: mostly a second.
const PATIENCE: Duration = Duration::from_secs(20);

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/monitoring")
}

fn recipe(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).unwrap()
}

/// `cargo xtask test` installs it, and Prometheus.
fn promtool(args: &[&str]) {
    let output = Command::new("promtool")
        .args(args)
        .current_dir(folder())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&said)
    );
}

#[test]
fn each_alert_fires_as_its_test_says() {
    // The rules with it.
    promtool(&["check", "config", "prometheus.yml"]);
    promtool(&["test", "rules", "alerts.test.yml"]);
    let (rules, tests) = (recipe("alerts.yml"), recipe("alerts.test.yml"));
    let alerts = rules
        .lines()
        .filter_map(|line| line.split_once("- alert: "));
    let alerts: Vec<_> = alerts.map(|(_, name)| name).collect();
    assert!(!alerts.is_empty());
    for alert in alerts {
        let tested = format!("alertname: {alert}\n");
        let (silent, fires) = (
            format!("{tested}      - eval_time"),
            format!("{tested}        exp_alerts:"),
        );
        for case in [silent, fires] {
            assert!(tests.contains(&case), "{alert} is not tested: {case}");
        }
    }
}

/// A Prometheus that looks at one host by the recipe, five times a second, and judges at once.
struct Prometheus {
    child: Child,
    url: String,
    _folder: TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Prometheus {
    fn start(host: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = recipe("prometheus.yml");
        for (theirs, ours) in [(ADDRESS, host), ("interval: 15s", "interval: 200ms")] {
            assert!(config.contains(theirs), "{theirs}");
            config = config.replace(theirs, ours);
        }
        let rules: String = recipe("alerts.yml")
            .lines()
            .filter(|line| !line.trim().starts_with("for: "))
            .map(|line| format!("{line}\n"))
            .collect();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("prometheus.yml"), config).unwrap();
        std::fs::write(at("alerts.yml"), rules).unwrap();
        let mut child = Command::new("prometheus")
            .arg(format!("--config.file={}", at("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", at("data").display()))
            .arg("--web.listen-address=127.0.0.1:0")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = secret_scan::Kept::new("prometheus", child.stderr.take().unwrap());
        let mut log = BufReader::new(log).lines().map_while(Result::ok);
        let address = log.find_map(|line| {
            let (_, address) = line.split_once(r#"msg="Listening on" address="#)?;
            Some(address.to_owned())
        });
        // Nobody else reads what it writes.
        std::thread::spawn(move || log.for_each(drop));
        Self {
            child,
            url: format!("http://{}", address.unwrap()),
            _folder: folder,
        }
    }

    /// The data of an answer; none where it is not there yet.
    async fn data(&self, path: &str, parameters: &[(&str, &str)]) -> Option<Value> {
        let url = format!("{}/api/v1/{path}", self.url);
        let url = Url::parse_with_params(&url, parameters).unwrap();
        let answer = client().get(url).send().await.ok()?.text().await.ok()?;
        let mut answer: Value = serde_json::from_str(&answer).ok()?;
        let is_success = answer.get("status").is_some_and(|is| is == "success");
        assert!(is_success, "{parameters:?}: {answer}");
        answer.get_mut("data").map(Value::take)
    }

    /// Waits until an answer has what is looked for.
    async fn until<T>(&self, path: &str, look: impl Fn(&Value) -> Option<T>) -> T {
        let found = async {
            loop {
                if let Some(found) = self.data(path, &[]).await.as_ref().and_then(&look) {
                    return found;
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, found).await.unwrap()
    }

    /// The labels of the series that a selector finds.
    async fn labels(&self, selector: &str) -> BTreeSet<String> {
        let found = self.data("query", &[("query", selector)]).await.unwrap();
        let series = found.get("result").and_then(Value::as_array).unwrap();
        let labels = series.iter().filter_map(|series| series.get("metric"));
        let labels = labels.filter_map(Value::as_object);
        labels.flat_map(|labels| labels.keys().cloned()).collect()
    }

    /// Fails where the expression looks for what the host does not tell.
    async fn require_told(&self, expression: &str, about: &str) -> BTreeSet<String> {
        // What Grafana puts in their places.
        let expression = expression
            .replace("$__rate_interval", "5m")
            .replace("$job", ".*")
            .replace("$instance", ".*");
        let parsed = parser::parse(&expression);
        assert!(parsed.is_ok(), "{about}: {expression}: {parsed:?}");
        let mut looks = Looks::default();
        walk_expr(&mut looks, &parsed.unwrap()).unwrap();
        assert!(!looks.selectors.is_empty(), "{about}: {expression}");
        let mut labels = BTreeSet::new();
        for selector in &looks.selectors {
            let found = self.labels(selector).await;
            assert!(!found.is_empty(), "{about}: no host tells {selector}");
            labels.extend(found);
        }
        let unknown: Vec<_> = looks.labels.difference(&labels).collect();
        assert!(unknown.is_empty(), "{about}: no series has {unknown:?}");
        self.data("query", &[("query", &expression)]).await.unwrap();
        labels
    }
}

/// What an expression looks at.
#[derive(Default)]
struct Looks {
    selectors: Vec<String>,
    /// Those that it groups by.
    labels: BTreeSet<String>,
}

impl ExprVisitor for Looks {
    type Error = Infallible;

    fn pre_visit(&mut self, expression: &Expr) -> Result<bool, Infallible> {
        let grouped = match expression {
            Expr::VectorSelector(selector) => {
                self.selectors.push(selector.to_string());
                None
            }
            Expr::MatrixSelector(selector) => {
                self.selectors.push(selector.vs.to_string());
                None
            }
            Expr::Aggregate(aggregate) => aggregate.modifier.as_ref(),
            Expr::Binary(binary) => {
                let modifier = binary.modifier.as_ref();
                modifier.and_then(|modifier| modifier.matching.as_ref())
            }
            _ => None,
        };
        let labels = grouped.map(|grouped| grouped.labels().labels.clone());
        self.labels.extend(labels.into_iter().flatten());
        Ok(true)
    }
}

/// The words between two marks.
fn between<'a>(text: &'a str, begin: &'a str, end: char) -> impl Iterator<Item = &'a str> {
    let parts = text.split(begin).skip(1);
    parts.map(move |part| part.split(end).next().unwrap_or_default())
}

/// What a summary names must be a command.
fn require_command(line: &str) {
    let words = line.split_whitespace();
    let words = words.filter(|word| !word.starts_with('-'));
    let output = Command::new(env!("CARGO_BIN_EXE_host-harness"))
        .args(words)
        .arg("--help")
        .output()
        .unwrap();
    assert!(output.status.success(), "there is no `host-harness {line}`");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prometheus_finds_in_a_host_whatever_its_alerts_and_its_dashboard_look_for() {
    let failing = Guest {
        export: "(unreachable)",
        ..Guest::default()
    };
    let process = Process::start(&failing.component()).await;
    for status in [502, 502, 502, 502, 502, 503] {
        assert_eq!(process.reset("acme.example").await, status);
    }
    let host = process.admin.strip_prefix("http://").unwrap();
    let prometheus = Prometheus::start(host);
    let suspended = prometheus
        .until("alerts", |data| {
            let mut alerts = data["alerts"].as_array()?.iter();
            let alert = alerts.find(|alert| alert["labels"]["alertname"] == "PluginSuspended")?;
            (alert["state"] == "firing").then(|| alert.clone())
        })
        .await;
    assert_eq!(suspended["labels"]["workspace"], "acme");
    assert_eq!(suspended["labels"]["instance"], host);

    let rules = prometheus.data("rules", &[]).await.unwrap();
    let rules = rules["groups"][0]["rules"].as_array().unwrap();
    assert_eq!(
        rules.len(),
        recipe("alerts.yml").matches("- alert: ").count()
    );
    for rule in rules {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let (name, query) = (text(&rule["name"]), text(&rule["query"]));
        let labels = prometheus.require_told(&query, &name).await;
        let summary = text(&rule["annotations"]["summary"]);
        for label in between(&summary, "$labels.", ' ') {
            assert!(labels.contains(label), "{name}: {label}");
        }
        let commands: Vec<_> = between(&summary, "`host-harness ", '`').collect();
        assert!(!commands.is_empty(), "{name} names no command");
        commands.into_iter().for_each(require_command);
    }

    let dashboard: Value = serde_json::from_str(&recipe("dashboard.json")).unwrap();
    let mut panels = 0;
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().unwrap();
            let labels = prometheus.require_told(expression, title).await;
            let legend = target["legendFormat"].as_str().unwrap();
            for label in between(legend, "{{", '}') {
                assert!(labels.contains(label), "{title}: {label}");
            }
            panels += 1;
        }
    }
    assert!(panels > 20, "{panels}");
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        let query = variable["query"].as_str().unwrap();
        let Some((selector, label)) = between(query, "label_values(", ')')
            .next()
            .and_then(|inner| inner.rsplit_once(", "))
        else {
            assert_eq!(variable["type"], "datasource");
            continue;
        };
        let labels = prometheus.require_told(selector, query).await;
        assert!(labels.contains(label), "{query}");
    }
}
