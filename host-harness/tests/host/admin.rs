//! The listener for whoever runs the process: what it tells, what it does, and
//! whom it refuses.

use async_trait::async_trait;
use chat_domain::time::Timestamp;
use chat_server::admin::{self, Admin, Control, UnknownWorkspace};
use chat_server::metrics::{Breaker, Metrics, Snapshot};
use plugin_sandbox::breaker;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn a_process_that_lives_is_ready_until_something_is_wrong_or_it_stops() {
    let listener = Listener::start().await;
    assert_eq!(listener.get("/healthz").await, r#"200 {"status":"live"}"#);
    assert_eq!(listener.get("/readyz").await, r#"200 {"status":"ready"}"#);

    listener.process.edit(|process| {
        process.reasons = vec!["the store of acme does not answer".to_owned()];
    });
    assert_eq!(
        listener.get("/readyz").await,
        r#"503 {"status":"not ready","reasons":["the store of acme does not answer"]}"#
    );

    listener.process.edit(|process| process.reasons.clear());
    assert_eq!(listener.get("/readyz").await, r#"200 {"status":"ready"}"#);
    listener.stopping.cancel();
    assert_eq!(
        listener.get("/readyz").await,
        r#"503 {"status":"not ready","reasons":["the process is told to stop"]}"#
    );
    assert_eq!(listener.get("/healthz").await, r#"200 {"status":"live"}"#);
}

#[tokio::test]
async fn a_look_that_hangs_is_a_reason() {
    let listener = Listener::start().await;
    listener.process.edit(|process| process.hangs = true);
    assert_eq!(
        listener.get("/readyz").await,
        r#"503 {"status":"not ready","reasons":["a look at it took over 2 s"]}"#
    );
    assert_eq!(
        listener.get("/metrics").await,
        r#"503 {"error":"a look at it took over 2 s"}"#
    );
}

#[tokio::test]
async fn the_metrics_hold_what_was_counted_and_what_is_so_now() {
    let listener = Listener::start().await;
    let response = listener.request(Method::GET, "/metrics").send().await;
    let response = response.unwrap();
    assert_eq!(
        response.headers().get("content-type").unwrap(),
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    let text = response.text().await.unwrap();
    for line in [
        "chat_audit_records_total 0",
        "chat_workspaces 2",
        "chat_clock_seconds 1.5",
        r#"chat_breakers{state="open"} 1"#,
        r#"chat_breaker_not_closed{workspace="globex",state="half-open"} 1"#,
        "process_open_fds ",
        "process_resident_memory_bytes ",
    ] {
        assert!(text.lines().any(|found| found.starts_with(line)), "{text}");
    }
}

#[tokio::test]
async fn a_reload_says_what_changed_or_why_nothing_did() {
    let listener = Listener::start().await;
    assert_eq!(
        listener.post("/reload", "").await,
        r#"200 {"workspaces":3}"#
    );
    listener.process.edit(|process| {
        process.reload = Err("chat.toml:3:1: unknown key".to_owned());
    });
    assert_eq!(
        listener.post("/reload", "").await,
        r#"409 {"error":"chat.toml:3:1: unknown key"}"#
    );
}

#[tokio::test]
async fn an_operator_who_goes_away_leaves_no_reload_half_done() {
    let listener = Listener::start().await;
    listener.process.edit(|process| process.hangs = true);
    let reload = listener.request(Method::POST, "/reload");
    let gone = reload.timeout(Duration::from_millis(200)).send().await;
    assert!(gone.unwrap_err().is_timeout());
    // By now the listener knows.
    sleep(Duration::from_millis(200)).await;
    listener.process.edit(|process| process.hangs = false);
    let reloaded = async {
        while !listener.process.was_changed() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    let patience = Duration::from_secs(10);
    tokio::time::timeout(patience, reloaded).await.unwrap();
}

#[tokio::test]
async fn breakers_are_shown_and_reset() {
    let listener = Listener::start().await;
    assert_eq!(
        listener.get("/breakers").await,
        concat!(
            r#"200 {"breakers":["#,
            r#"{"workspace":"acme","plugin":"sha256:00","state":"open","probeInSeconds":1.5},"#,
            r#"{"workspace":"globex","plugin":"sha256:00","state":"half-open","probeInSeconds":null}]}"#
        )
    );
    for (body, answer) in [
        (
            r#"{"workspace":"initech"}"#,
            r#"404 {"error":"there is no such workspace"}"#,
        ),
        (r#"{"workspace":"acme"}"#, r#"200 {"closed":1}"#),
        (r#"{"workspace":"acme"}"#, r#"200 {"closed":0}"#),
        ("", r#"200 {"closed":1}"#),
    ] {
        assert_eq!(listener.post("/breakers/reset", body).await, answer);
    }
    assert_eq!(listener.get("/breakers").await, r#"200 {"breakers":[]}"#);
}

#[tokio::test]
async fn what_is_not_understood_changes_nothing() {
    let listener = Listener::start().await;
    let long = format!(r#"{{"workspace":"{}"}}"#, "a".repeat(5000));
    for body in [r#"{"workspce":"acme"}"#, "acme", "[]", r#"{"workspace":1}"#] {
        assert_eq!(
            listener.post("/breakers/reset", body).await,
            r#"400 {"error":"the body is not {\"workspace\":\"…\"}"}"#
        );
    }
    assert_eq!(
        listener.post("/breakers/reset", &long).await,
        r#"413 {"error":"the body did not arrive whole"}"#
    );
    for (method, path, answer) in [
        (
            Method::GET,
            "/",
            r#"404 {"error":"there is no such route"}"#,
        ),
        (
            Method::GET,
            "/reload",
            r#"405 {"error":"the route takes another method"}"#,
        ),
        (
            Method::DELETE,
            "/breakers",
            r#"405 {"error":"the route takes another method"}"#,
        ),
    ] {
        assert_eq!(said(listener.request(method, path)).await, answer);
    }
    assert!(!listener.process.was_changed());
}

/// OWASP ASVS 5.0 V3.5: a page in a browser on the machine, also one whose name
/// was made to mean this machine, neither changes nor reads anything.
#[tokio::test]
async fn a_page_in_a_browser_is_refused() {
    let listener = Listener::start().await;
    for (method, path) in [
        (Method::POST, "/reload"),
        (Method::POST, "/breakers/reset"),
        (Method::GET, "/metrics"),
        (Method::OPTIONS, "/reload"),
    ] {
        let request = || listener.request(method.clone(), path);
        for origin in ["http://evil.example", "http://127.0.0.1:3000", "null"] {
            assert_eq!(
                said(request().header("origin", origin)).await,
                r#"403 {"error":"web pages may not use this listener"}"#
            );
        }
        assert_eq!(
            said(request().header("host", "evil.example")).await,
            r#"403 {"error":"the Host header must be localhost or an IP address"}"#
        );
    }
    assert!(!listener.process.was_changed());
}

#[tokio::test]
async fn it_listens_nowhere_but_on_the_machine_itself() {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let (admin, _, _) = admin();
    let error = admin::serve(listener, admin, std::future::ready(()));
    let error = error.await.unwrap_err().to_string();
    assert!(error.ends_with(" is not a loopback address"), "{error}");
}

/// A process as the listener knows it.
struct Process(Mutex<State>);

struct State {
    reasons: Vec<String>,
    hangs: bool,
    reload: Result<Value, String>,
    breakers: Vec<Breaker>,
    changed: bool,
}

impl Process {
    fn edit<T>(&self, edit: impl FnOnce(&mut State) -> T) -> T {
        edit(&mut self.0.lock().unwrap())
    }

    fn was_changed(&self) -> bool {
        self.edit(|state| state.changed)
    }

    async fn look(&self) {
        if self.edit(|state| state.hangs) {
            std::future::pending().await
        }
    }
}

#[async_trait]
impl Control for Process {
    async fn reasons_not_ready(&self) -> Vec<String> {
        self.look().await;
        self.edit(|state| state.reasons.clone())
    }

    async fn snapshot(&self) -> Snapshot {
        self.look().await;
        Snapshot {
            workspaces: 2,
            ..Snapshot::at(Timestamp::from_millis(1_500))
        }
    }

    async fn status(&self) -> Value {
        json!({"workspaces": 1})
    }
    async fn reload(&self) -> Result<Value, String> {
        while self.edit(|state| state.hangs) {
            sleep(Duration::from_millis(5)).await;
        }
        self.edit(|state| {
            state.changed = true;
            state.reload.clone()
        })
    }

    async fn breakers(&self) -> Vec<Breaker> {
        self.edit(|state| state.breakers.clone())
    }

    async fn reset_breakers(&self, workspace: Option<&str>) -> Result<usize, UnknownWorkspace> {
        if !matches!(workspace, None | Some("acme" | "globex")) {
            return Err(UnknownWorkspace);
        }
        self.edit(|state| {
            state.changed = true;
            let before = state.breakers.len();
            let other = |breaker: &Breaker| workspace.is_some_and(|id| id != breaker.workspace);
            state.breakers.retain(other);
            Ok(before - state.breakers.len())
        })
    }
}

fn admin() -> (Admin, Arc<Process>, CancellationToken) {
    let breaker = |workspace: &str, state| Breaker {
        workspace: workspace.to_owned(),
        plugin: "sha256:00".to_owned(),
        state,
    };
    let probe_in = Duration::from_millis(1500);
    let process = Arc::new(Process(Mutex::new(State {
        reasons: Vec::new(),
        hangs: false,
        reload: Ok(json!({"workspaces": 3})),
        breakers: vec![
            breaker("globex", breaker::State::HalfOpen),
            breaker("acme", breaker::State::Open { probe_in }),
        ],
        changed: false,
    })));
    let stopping = CancellationToken::new();
    let admin = Admin {
        control: process.clone(),
        metrics: Arc::new(Metrics::default()),
        stopping: stopping.clone(),
    };
    (admin, process, stopping)
}

struct Listener {
    address: SocketAddr,
    process: Arc<Process>,
    stopping: CancellationToken,
}

impl Listener {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (admin, process, stopping) = admin();
        tokio::spawn(admin::serve(listener, admin, std::future::pending()));
        Self {
            address,
            process,
            stopping,
        }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let client = Client::builder().no_proxy().build().unwrap();
        client.request(method, format!("http://{}{path}", self.address))
    }

    async fn get(&self, path: &str) -> String {
        said(self.request(Method::GET, path)).await
    }

    async fn post(&self, path: &str, body: &str) -> String {
        said(self.request(Method::POST, path).body(body.to_owned())).await
    }
}

/// Status and body.
async fn said(request: RequestBuilder) -> String {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    secret_scan::keep("admin", &text);
    format!("{status} {text}")
}
