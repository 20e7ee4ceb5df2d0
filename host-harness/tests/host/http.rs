//! The server over real HTTP, with guests that fail: what the client is told,
//! what the audit trail keeps, and what outlives the client.

use arc_swap::ArcSwap;
use chat_domain::password;
use chat_domain::settings::Settings;
use chat_server::clock::Clock;
use chat_server::http::{self, App};
use chat_server::metrics::{Metrics, Snapshot};
use chat_server::stores::HostedStore;
use chat_server::workspace::{HostedWorkspace, Workspaces};
use chat_store::postgres::Postgres;
use chat_testing::ask::Ask as _;
use chat_testing::guest::plugin_bytes;
use chat_testing::guest::{ADMISSIONS, ANSWER, ATTEMPTING, Guest, LOOP, limits};
use chat_testing::proxy::{Cut, Proxy};
use chat_testing::{ACME, Data, GLOBEX, Kind, admin_code, now};
use plugin_sandbox::limits::Limits;
use plugin_sandbox::plugin::Plugin;
use reqwest::Method;
use reqwest::header::HeaderMap;
use secrecy::ExposeSecret;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore};
use tokio::task::{JoinHandle, JoinSet};

/// OWASP ASVS 5.0 V16.5.1: the client is told that it failed, not how.
#[tokio::test]
async fn a_guest_that_fails_is_answered_and_recorded_without_a_word_of_it() {
    let whispering = "(memory (export \"memory\") 1) (func $whisper (unreachable))";
    let cases = [
        ("plugin-trap", "(call $whisper) (unreachable)"),
        ("plugin-cpu-time", LOOP),
        (
            "plugin-memory",
            "(drop (memory.grow (i32.const 10000))) (unreachable)",
        ),
        (
            "plugin-bad-answer",
            "(call $answer (i32.const 200) (i32.const 0) (i32.const 17))",
        ),
    ];
    for (code, export) in cases {
        let guest = Guest {
            fields: whispering,
            export,
            ..Guest::default()
        };
        let server = Server::start(Data::new().await, guest.plugin()).await;
        let answer = server.reset_as("admin").await;
        assert_eq!(answer.text, undecided(502, code));
        let headers = format!("{:?}", answer.headers);
        assert!(!headers.contains("whisper"), "{headers}");
        let id = answer.request_id();
        assert_eq!(
            server.audit(),
            [format!("{id} admin null failed {code}")],
            "{code}"
        );
    }
}

#[tokio::test]
async fn where_the_plugin_keeps_failing_clients_are_told_when_to_come_again() {
    let guest = Guest {
        export: "(unreachable)",
        ..Guest::default()
    };
    let server = Server::start(Data::new().await, guest.plugin()).await;
    for _ in 0..5 {
        let answer = server.reset_as("admin").await;
        assert_eq!(answer.text, undecided(502, "plugin-trap"));
    }
    let answer = server.reset_as("admin").await;
    assert_eq!(answer.text, undecided(503, "plugin-suspended"));
    assert_eq!(answer.headers.get("retry-after").unwrap(), "1");
    let id = answer.request_id();
    let last = format!("{id} admin null failed plugin-suspended");
    assert_eq!(server.audit().last(), Some(&last));
}

#[tokio::test]
async fn a_reset_that_was_committed_is_answered_as_done_whatever_the_guest_does_next() {
    for next in [
        "(unreachable)",
        "(call $answer (i32.const 400) (i32.const 0) (i32.const 17))",
        "(call $answer (i32.const 500) (i32.const 0) (i32.const 17))",
        "(call $answer (i32.const 200) (i32.const 0) (i32.const 16))",
    ] {
        let guest = Guest {
            export: &format!("(call $reset-own) {next}"),
            ..Guest::default()
        };
        let data = Data::without_second_factors().await;
        let server = Server::start(data, guest.plugin()).await;
        let answer = server.reset_as("alice").await;
        assert_eq!(answer.text, r#"200 {"success":true}"#, "{next}");
        let id = answer.request_id();
        assert_eq!(server.audit(), [format!("{id} alice alice reset null")]);
        assert!(!server.data.store.methods(ACME, "alice").await.unwrap().totp);
    }
}

#[tokio::test]
async fn a_store_that_fails_is_the_hosts_failure() {
    let data = Data::new().await;
    data.edit(
        "CREATE TRIGGER full BEFORE INSERT ON failed_attempt
         BEGIN SELECT RAISE(ABORT, 'full'); END",
    );
    let server = Server::start(data, built()).await;
    let answer = server.reset_as("admin").await;
    assert_eq!(answer.text, undecided(500, "host-store"));
    let id = answer.request_id();
    assert_eq!(
        server.audit(),
        [format!("{id} admin null failed host-store")]
    );
    assert!(server.data.store.methods(ACME, "alice").await.unwrap().totp);
}

/// OWASP ASVS 5.0 V16.3.3: what cannot be recorded is not answered as decided.
#[tokio::test]
async fn a_refusal_that_cannot_be_recorded_is_the_hosts_failure() {
    let data = Data::new().await;
    data.edit("DROP TABLE audit");
    let server = Server::start(data, Guest::default().plugin()).await;
    let answer = server.reset_as("admin").await;
    assert_eq!(answer.text, undecided(500, "host-store"));
}

/// A plugin could write a caller's secret where an operator's tools read it.
#[tokio::test]
async fn the_audit_takes_only_error_ids_that_it_knows() {
    for (error_type, reason) in [
        ("totp-invalid", "totp-invalid"),
        ("MFRGGZDFMZTWQ2LK", "other"),
        ("totp-invalid MFRGGZDFMZTWQ2LK", "other"),
        ("", "other"),
    ] {
        let body = format!(r#"{{"success":false,"errorType":"{error_type}"}}"#);
        let (length, text) = (body.len(), body.replace('"', "\\\""));
        let guest = Guest {
            fields: &format!(r#"(memory (export "memory") 1) (data (i32.const 512) "{text}")"#),
            export: &format!("(call $answer (i32.const 400) (i32.const 512) (i32.const {length}))"),
            ..Guest::default()
        };
        let server = Server::start(Data::new().await, guest.plugin()).await;
        let answer = server.reset_as("admin").await;
        assert_eq!(answer.text, format!("400 {body}"));
        let id = answer.request_id();
        assert_eq!(
            server.audit(),
            [format!("{id} admin null refused {reason}")]
        );
    }
}

/// RFC 9110 section 15.6.4: it may be done another time, and the client is told when.
#[tokio::test]
async fn a_store_that_another_program_keeps_busy_is_unavailable_for_a_while() {
    let server = Server::start(Data::new().await, built()).await;
    let other = server.data.connect();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let answer = server.reset_as("admin").await;
    let body = r#"503 {"success":false,"error":"The server is busy [host-store-unavailable]","errorType":"host-store-unavailable"}"#;
    assert_eq!(answer.text, body);
    assert_eq!(answer.headers.get("retry-after").unwrap(), "5");
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(
        server.reset_as("admin").await.text,
        r#"200 {"success":true}"#
    );
}

/// It is not told as though nothing had been done, nor asked to be sent again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_of_which_nobody_knows_whether_it_was_committed_is_told_so() {
    for (cut, left) in [(Cut::Before, 1), (Cut::After, 0)] {
        let settings = Settings {
            two_factor_enabled: false,
            ..Settings::default()
        };
        let mut data = Data::of(Kind::Postgres, settings).await;
        let proxy = Proxy::before(&data.database().url()).await;
        data.store = Postgres::open(proxy.url(), &data.seal).await.unwrap();
        let server = Server::start(data, built()).await;
        proxy.close_at_the_cut();
        proxy.cut(cut);
        let answer = server.reset("alice", "{}").await;
        let body = r#"503 {"success":false,"error":"It is not known whether it was done [host-outcome-unknown]","errorType":"host-outcome-unknown"}"#;
        assert_eq!(answer.text, body);
        assert!(!answer.headers.contains_key("retry-after"));
        assert_eq!(proxy.done(), 1);
        let factors = "SELECT count(*) FROM totp WHERE workspace = 'acme' AND \"user\" = 'alice'";
        assert_eq!(server.data.database().numbers(factors), [left]);
    }
}

/// The one slow test: a body has five seconds to arrive.
#[tokio::test]
async fn a_body_that_is_held_back_is_not_waited_for() {
    let server = Server::start(Data::new().await, built()).await;
    let before = server.data.dump();
    let answer = rest(server.send(&head(30))).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    let body = r#"{"success":false,"errorType":"invalid-params","error":"the body did not arrive in time"}"#;
    assert!(answer.ends_with(body), "{answer}");
    let changes = before.changes(&server.data.dump());
    assert_eq!(changes.lines().count(), 1, "{changes}");
    assert!(
        changes.ends_with(
            " caller=admin target=null decision=refused reason=invalid-params action=reset-totp \
             address=127.0.0.1 agent=null proof=null told=null calls=1\n"
        ),
        "{changes}"
    );
}

/// Whoever guesses and goes away is counted and recorded, too.
#[tokio::test]
async fn a_decision_is_recorded_after_the_client_has_gone() {
    let server = Server::start(Data::new().await, ATTEMPTING.plugin()).await;
    let lock = server.data.connect();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let client = server.send(&format!("{}{{}}", head(2)));
    server.decision_begun().await;
    client.shutdown(Shutdown::Write).unwrap();
    // The server has noticed: it hangs up without an answer.
    assert_eq!(rest(client).await, "");
    lock.execute_batch("ROLLBACK").unwrap();
    // It stops after its last decision.
    let data = server.stop().await;
    let [record] = audit(&data).try_into().unwrap();
    assert!(record.ends_with(" admin null refused other"), "{record}");
}

#[tokio::test]
async fn a_request_in_flight_is_answered_before_the_server_stops() {
    let server = Server::start(Data::new().await, ATTEMPTING.plugin()).await;
    let lock = server.data.connect();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let answer = server.reset_as("admin");
    let stop = async {
        server.decision_begun().await;
        server.stop.notify_one();
        // It listens no more, and the request is still there.
        while TcpStream::connect(server.address).is_ok() {
            tokio::task::yield_now().await;
        }
        lock.execute_batch("ROLLBACK").unwrap();
    };
    let (answer, ()) = tokio::join!(answer, stop);
    assert_eq!(answer.text, format!("400 {ANSWER}"));
    let data = server.stop().await;
    assert_eq!(audit(&data).len(), 1);
}

/// Also where there is no such account: whoever is refused learns nothing of it.
#[tokio::test]
async fn where_too_many_log_ins_wait_a_further_one_is_told_when_to_come_again() {
    let server = Server::start(Data::new().await, built()).await;
    let hash =
        password::hash(&password::digest(&"correct horse".into()), &mut rand::rng()).unwrap();
    server.data.edit(&format!(
        "UPDATE user SET password_hash = '{}' WHERE (workspace, id) = ('acme', 'bob');
         INSERT INTO setting VALUES ('acme', 'rate-limit-calls', '0')",
        hash.expose_secret()
    ));
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let log_in = |i: usize| {
        let user = ["Bob.acme", "nobody"][i % 2];
        let request = client
            .post(format!("http://{}/api/v1/login", server.address))
            .body(format!(r#"{{"user":"{user}","password":"wrong"}}"#))
            .send();
        async move {
            let response = request.await.unwrap();
            let (status, headers) = (response.status(), response.headers().clone());
            (user, status, headers, response.text().await.unwrap())
        }
    };
    let answers = (0..96).map(log_in).collect::<JoinSet<_>>().join_all().await;
    for user in ["Bob.acme", "nobody"] {
        let busy = answers
            .iter()
            .filter(|answer| answer.0 == user && answer.1 == 503);
        let busy: Vec<_> = busy.collect();
        assert!(!busy.is_empty(), "{user}");
        for (_, _, headers, text) in busy {
            assert_eq!(headers.get("retry-after").unwrap(), "5");
            assert_eq!(
                text,
                r#"{"success":false,"error":"The server is busy [host-busy]","errorType":"host-busy"}"#
            );
        }
    }
    let refused = answers.iter().filter(|answer| answer.1 == 401).count();
    assert_eq!(
        server.audit().len(),
        refused,
        "the others were not looked at"
    );
}

/// The workspace is that of the host that is asked for, and of no other that the
/// request names: a proxy in front must not see another one than the host.
#[tokio::test]
async fn a_request_is_for_one_workspace_whatever_else_it_names() {
    let data = Data::new().await;
    let store = Arc::new(HostedStore::opened(data.url(), data.store.clone()));
    let plugin = Arc::new(Guest::default().plugin());
    let workspace = |id: &str| {
        let new = HostedWorkspace::new(id.to_owned(), store.clone(), plugin.clone(), limits());
        (id.to_owned(), Arc::new(new))
    };
    let workspaces = Workspaces::from_iter([ACME, GLOBEX].map(workspace));
    let app = App {
        workspaces: Arc::new(ArcSwap::from_pointee(workspaces)),
        clock: Clock::new(now),
        trusted_proxies: Vec::new(),
        metrics: Arc::default(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(http::serve(listener, app, std::future::pending()));
    for (target, hosts, found) in [
        ("", "host: acme", Some(ACME)),
        ("", "host: ACME:3000", Some(ACME)),
        ("", "host: acme.:3000", Some(ACME)),
        ("http://globex", "host: acme", Some(GLOBEX)),
        ("http://Globex:80", "host: acme", Some(GLOBEX)),
        ("http://initech", "host: acme", None),
        ("http://acme@globex", "host: acme", None),
        ("http://globex", "x-host: acme", None),
        ("", "host: acme\r\nhost: globex", None),
        ("", "host: acme, globex", None),
        ("", "host: globex@acme", None),
        ("", "host: *", None),
        ("", "host: ", None),
        ("", "x-forwarded-host: acme", None),
    ] {
        data.edit("DELETE FROM audit");
        let mut client = TcpStream::connect(address).unwrap();
        let head = format!(
            "POST {target}{PATH} HTTP/1.1\r\n{hosts}\r\nx-user-id: admin\r\n\
             x-auth-token: admin-token\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        );
        client.write_all(head.as_bytes()).unwrap();
        let answer = rest(client).await;
        let is_one = hosts.starts_with("host: ") && !hosts.contains("\r\n");
        let status = match found.is_some() || !is_one {
            true => " 400 ",
            false => " 421 ",
        };
        assert!(answer.contains(status), "{target} {hosts}: {answer}");
        let recorded: Option<String> = data
            .connect()
            .query_row("SELECT max(workspace) FROM audit", [], |row| row.get(0))
            .unwrap();
        assert_eq!(recorded.as_deref(), found, "{target} {hosts}");
    }
}

/// One workspace that takes every host needs none, but no two.
#[tokio::test]
async fn what_is_sent_in_another_way_than_is_understood_is_refused() {
    let server = Server::start(Data::new().await, Guest::default().plugin()).await;
    for (headers, status) in [
        ("", "401"),
        ("host: anything\r\n", "401"),
        ("host: a\r\nhost: b\r\n", "400"),
        ("host: a\r\ntransfer-encoding: chunked\r\n", "401"),
        ("host: a\r\ntransfer-encoding: gzip, chunked\r\n", "501"),
    ] {
        let mut client = TcpStream::connect(server.address).unwrap();
        let head = format!("POST {PATH} HTTP/1.1\r\n{headers}connection: close\r\n\r\n0\r\n\r\n");
        client.write_all(head.as_bytes()).unwrap();
        let answer = rest(client).await;
        let expected = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&expected), "{headers}: {answer}");
    }
}

/// As it is scraped.
pub(crate) fn text(metrics: &Metrics) -> String {
    let text = metrics.text(&Snapshot::at(now()), &[]);
    secret_scan::keep("metrics", &text);
    text
}

/// A server of one workspace in this process, whose clock stands still.
pub(crate) struct Server {
    pub(crate) data: Data,
    address: SocketAddr,
    /// One permit for each time that the server asked for the time.
    clock_reads: Arc<Semaphore>,
    pub(crate) metrics: Arc<Metrics>,
    stop: Arc<Notify>,
    running: JoinHandle<std::io::Result<()>>,
}

impl Server {
    pub(crate) async fn start(data: Data, plugin: impl Into<Arc<Plugin>>) -> Self {
        Self::start_of(ACME, data, plugin, limits()).await
    }

    /// The same of another workspace, whose calls have these limits.
    pub(crate) async fn start_of(
        workspace: &str,
        data: Data,
        plugin: impl Into<Arc<Plugin>>,
        limits: Limits,
    ) -> Self {
        let clock_reads = Arc::new(Semaphore::new(0));
        let reads = clock_reads.clone();
        let workspace = HostedWorkspace::new(
            workspace.to_owned(),
            Arc::new(HostedStore::opened(data.url(), data.store.clone())),
            plugin.into(),
            limits,
        );
        let metrics = Arc::new(Metrics::default());
        let app = App {
            workspaces: Arc::new(ArcSwap::from_pointee(Workspaces::only(workspace))),
            clock: Clock::new(move || {
                reads.add_permits(1);
                now()
            }),
            trusted_proxies: Vec::new(),
            metrics: metrics.clone(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = Arc::new(Notify::new());
        let stopped = stop.clone();
        let running = tokio::spawn(http::serve(listener, app, async move {
            stopped.notified().await;
        }));
        Self {
            data,
            address,
            clock_reads,
            metrics,
            stop,
            running,
        }
    }

    /// The request of `caller`, with the administrator's code, to reset alice.
    pub(crate) async fn reset_as(&self, caller: &str) -> Answer {
        self.reset(caller, r#"{"userId":"alice"}"#).await
    }

    async fn reset(&self, caller: &str, body: &'static str) -> Answer {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let response = client
            .post(format!("http://{}{PATH}", self.address))
            .header("x-user-id", caller)
            .header("x-auth-token", format!("{caller}-token"))
            .header("x-2fa-code", admin_code())
            .header("content-type", "application/json")
            .body(body)
            .send()
            .await
            .unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.text().await.unwrap();
        secret_scan::keep("answers", format!("{headers:?} {body}"));
        Answer {
            text: format!("{status} {body}"),
            headers,
        }
    }

    /// A request without a caller.
    pub(crate) async fn request(&self, method: Method, path: &str) {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = client.request(method, format!("http://{}{path}", self.address));
        request.send().await.unwrap();
    }

    /// What the server counted so far.
    pub(crate) fn metrics(&self) -> String {
        text(&self.metrics)
    }

    /// A connection on which these bytes were sent.
    pub(crate) fn send(&self, bytes: &str) -> TcpStream {
        let mut client = TcpStream::connect(self.address).unwrap();
        client.write_all(bytes.as_bytes()).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client
    }

    /// What is answered to these bytes, until the server hangs up.
    pub(crate) async fn ask(&self, bytes: &str) -> String {
        rest(self.send(bytes)).await
    }

    /// Until a request is whole and its decision begins: the server asks for the
    /// time when the body is there and when the plugin has its turn.
    async fn decision_begun(&self) {
        self.clock_reads.acquire_many(2).await.unwrap().forget();
    }

    fn audit(&self) -> Vec<String> {
        audit(&self.data)
    }

    /// Stops and waits for the end.
    pub(crate) async fn stop(self) -> Data {
        self.stop.notify_one();
        self.running.await.unwrap().unwrap();
        self.data
    }
}

pub(crate) const PATH: &str = "/api/v1/users.resetTOTP";

pub(crate) struct Answer {
    /// Status and body.
    pub(crate) text: String,
    headers: HeaderMap,
}

impl Answer {
    fn request_id(&self) -> &str {
        let id = self.headers.get("x-request-id").unwrap();
        id.to_str().unwrap()
    }
}

/// What a client is told of a failure.
fn undecided(status: u16, code: &str) -> String {
    format!(
        r#"{status} {{"success":false,"error":"The request could not be decided [{code}]","errorType":"{code}"}}"#
    )
}

/// The request's id, caller, target, decision and reason of each record.
pub(crate) fn audit(data: &Data) -> Vec<String> {
    let db = data.connect();
    let mut records = db
        .prepare(
            "SELECT concat_ws(' ', request_id, caller, ifnull(target, 'null'), decision,
                              ifnull(reason, 'null'))
             FROM audit ORDER BY id",
        )
        .unwrap();
    let records = records.query_map([], |row| row.get(0)).unwrap();
    records.map(Result::unwrap).collect()
}

/// The headers of a request of the administrator's with a body of that length.
fn head(length: usize) -> String {
    format!(
        "POST {PATH} HTTP/1.1\r\nhost: acme\r\nx-user-id: admin\r\n\
         x-auth-token: admin-token\r\ncontent-length: {length}\r\n\r\n"
    )
}

/// How long an answer may take: twice the longest that the server takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the server sends until it hangs up.
pub(crate) async fn rest(mut client: TcpStream) -> String {
    let read = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        client.read_to_string(&mut text).map(|_| text)
    });
    read.await.unwrap().unwrap()
}

/// The plugin that is shipped.
pub(crate) fn built() -> Plugin {
    Plugin::unadmitted(ADMISSIONS.runtime(), &plugin_bytes()).unwrap()
}
