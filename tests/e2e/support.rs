//! The harness's server with an account of every kind, and the checks that every
//! answer of the suite must pass.

use crate::{documentation, secrets};
use chat_domain::settings::Settings;
use chat_domain::time::Timestamp;
use chat_domain::totp::TotpKey;
use chat_store::sqlite::evidence::Record;
use host_harness::harness::{self, Harness};
pub(crate) use host_harness::harness::{
    ADMIN, ALICE, BACKUP_CODES, BOB, BOT, CAROL, DAVE, DEACTIVATED, ERIN, FEDERATED, FRANK, HELPER,
    MALLORY, MODERATOR, PASSWORD, Snapshot, User,
};
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use rusqlite::Connection;
use serde_json::Value;
use std::path::Path;
use std::process::Stdio;
use std::sync::LazyLock;
use std::time::Duration;
use tokio::process::{Child, Command};

/// The route under test.
pub(crate) const RESET_TOTP: &str = "/api/v1/users.resetTOTP";

/// Its neighbours.
pub(crate) const LOGIN: &str = "/api/v1/login";
pub(crate) const LOGOUT: &str = "/api/v1/logout";
pub(crate) const ME: &str = "/api/v1/me";
pub(crate) const ENABLE: &str = "/api/v1/users.enableTotp";
pub(crate) const VALIDATE: &str = "/api/v1/users.validateTotp";
pub(crate) const DISABLE: &str = "/api/v1/users.disableTotp";
pub(crate) const REGENERATE_CODES: &str = "/api/v1/users.regenerateTotpCodes";
pub(crate) const CODES_REMAINING: &str = "/api/v1/users.totpCodesRemaining";

/// The documented call's content type: what curl sends with `--data`.
pub(crate) const FORM: &str = "application/x-www-form-urlencoded";

/// What clients send for another password.
pub(crate) const WRONG_DIGEST: &str =
    "8810ad581e59f2bc3928b261707a71308f7e139eb04820366dc4d5c18d980225";

/// What clients send for [`PASSWORD`].
pub(crate) const PASSWORD_DIGEST: &str =
    "c4bbcb1fbec99d65bf59d85c8cb62ee2db963f0fe106f483d9afa73bd4e39a8a";

/// All whose secrets no output may hold.
const CAST: [&str; 13] = [
    ADMIN,
    MODERATOR,
    ALICE,
    BOB,
    CAROL,
    DAVE,
    ERIN,
    FRANK,
    HELPER,
    DEACTIVATED,
    BOT,
    FEDERATED,
    MALLORY,
];

/// Loaded once for all tests.
static HARNESS: LazyLock<Harness> = LazyLock::new(|| {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/reset_totp.wasm");
    Harness::load(file).expect("`cargo xtask build` makes the plugin")
});

/// A program of this folder in `tests`, which Node.js runs until it is dropped.
pub(crate) fn node(folder: &str, program: &str) -> Child {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(folder);
    assert!(
        folder.join("node_modules").exists(),
        "what {} needs is not installed; `cargo xtask test` does it",
        folder.display()
    );
    Command::new("node")
        .current_dir(folder)
        .arg(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("Node.js is there")
}

pub(crate) struct Server(harness::Server);

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_with(Settings::default()).await
    }

    pub(crate) async fn start_with(settings: Settings) -> Self {
        Self::start_setup(0, settings).await
    }

    async fn start_setup(visitors: usize, settings: Settings) -> Self {
        secrets::watch_log();
        for user in CAST {
            secrets::register(&format!("{user}Token"));
            secrets::register(&totp_key(user).to_base32());
        }
        let visitors =
            (1..=visitors).map(|n| User::named(&format!("visitor-{n:02}")).without_totp());
        let setup = visitors.fold(HARNESS.cast(), |setup, user| setup.user(user));
        Self::checked(setup.settings(settings).start().await).await
    }

    /// With so many more members, `visitor-01` and so on, who have no TOTP.
    pub(crate) async fn start_with_visitors(members: usize) -> Self {
        Self::start_setup(members, Settings::default()).await
    }

    async fn checked(server: Result<harness::Server, harness::Error>) -> Self {
        let server = server.unwrap();
        documentation::learn(server.url()).await;
        Self(server)
    }

    /// Another host process's worth of server beside this one on the same store.
    pub(crate) async fn another(&self) -> Self {
        Self::checked(self.0.another().await).await
    }

    /// Another such server in place of this one.
    pub(crate) async fn restart(&mut self) {
        self.0.restart().await.unwrap();
    }

    /// A request to reset, by `caller`, without a second factor and with an
    /// empty body.
    pub(crate) fn post(&self, caller: &str) -> Request {
        self.request_of(caller, Method::POST, RESET_TOTP)
    }

    /// The administrator's request to reset `target`, with a code that is right
    /// now.
    pub(crate) fn reset(&self, target: &str) -> Request {
        self.post(ADMIN)
            .code(self.code(ADMIN))
            .json(&format!(r#"{{"userId":"{}"}}"#, id(target)))
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> Request {
        Request::new(self.0.request(method.clone(), path), method, path)
    }

    /// A request of `user` with the token that every user has.
    pub(crate) fn request_of(&self, user: &str, method: Method, path: &str) -> Request {
        let request = self.0.request_of(user, method.clone(), path);
        Request::new(request, method, path)
    }

    /// As [`Server::request_of`], by the other name `called` of the route.
    pub(crate) fn request_by_other_name(&self, user: &str, called: &str, path: &str) -> Request {
        let request = self.0.request_of(user, Method::GET, called);
        Request::new(request, Method::GET, path)
    }

    /// A request to log in.
    pub(crate) fn log_in(&self, credentials: Value) -> Request {
        let request = self.request(Method::POST, LOGIN);
        request.json(&credentials.to_string()).showing_secrets()
    }

    /// Where the server is, for a client of another making.
    pub(crate) fn url(&self) -> &str {
        self.0.url()
    }

    /// The moment at which the clock stands.
    pub(crate) fn now(&self) -> Timestamp {
        self.0.now()
    }

    /// The code that `user` was sent last; none where it waits no more.
    pub(crate) fn sent_code(&self, user: &str) -> Option<String> {
        let code = self.0.sent_code(user).unwrap()?;
        secrets::register(&code);
        Some(code)
    }

    /// The code of `user` that is right now.
    pub(crate) fn code(&self, user: &str) -> String {
        self.code_at(user, 0)
    }

    /// The code of `user`, `steps` time steps from now.
    pub(crate) fn code_at(&self, user: &str, steps: i64) -> String {
        let code = self.0.code_at(user, steps);
        secrets::register(&code);
        code
    }

    pub(crate) fn advance(&self, duration: Duration) {
        self.0.advance(duration);
    }

    pub(crate) fn set_clock_back(&self, duration: Duration) {
        self.0.set_clock_back(duration);
    }

    /// The store's file, as another process sees it.
    pub(crate) fn store(&self) -> Connection {
        Connection::open(self.0.store_file()).unwrap()
    }

    /// Every row of every table, but for the records of attempts and decisions.
    pub(crate) fn dump(&self) -> Snapshot {
        self.0.snapshot().unwrap()
    }

    /// The mail that waits: recipient, subject and body of each.
    pub(crate) fn outbox(&self) -> Vec<String> {
        let mail = self.0.mail().unwrap().into_iter();
        mail.map(|mail| format!("{} {} {}", mail.recipient, mail.subject, mail.body))
            .collect()
    }

    /// Failed attempts at a second factor, of all accounts together.
    pub(crate) fn failures(&self) -> i64 {
        let count = "SELECT coalesce(sum(count), 0) FROM failed_attempt";
        self.store().query_row(count, [], |row| row.get(0)).unwrap()
    }

    /// The audit trail: caller, target, decision and reason of each record.
    pub(crate) fn audit(&self) -> Vec<String> {
        let records = self.0.audit().unwrap();
        records.iter().map(ToString::to_string).collect()
    }

    /// The audit trail: of each record what was decided about, by whom and about whom, the
    /// decision, its proof, to how many addresses it is told, and from where it was asked.
    pub(crate) fn whole_audit(&self) -> Vec<String> {
        let records = self.0.audit().unwrap().into_iter();
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let shown = |record: Record| {
            let told = or_none(record.told.map(|told| told.to_string()));
            let (target, proof) = (or_none(record.target), or_none(record.proof));
            let (reason, address) = (or_none(record.reason), or_none(record.address));
            format!(
                "{} {} {target} {} {reason} by {proof} told {told} from {address}",
                record.action, record.caller, record.decision
            )
        };
        records.map(shown).collect()
    }

    /// The records of calls that came too often, sorted.
    pub(crate) fn limited(&self) -> Vec<String> {
        let records = self.0.audit().unwrap().into_iter();
        let limited = records.filter(|record| record.decision == "limited");
        let mut limited: Vec<_> = limited
            .map(|record| {
                let address = record.address.as_deref().unwrap_or("-");
                format!(
                    "{} {record} from {address} {} times",
                    record.action, record.calls
                )
            })
            .collect();
        limited.sort();
        limited
    }

    /// What was written so far holds no secret, but for the mail that brings a code.
    fn check(&self) {
        let audit = "SELECT caller, target, action, decision, reason, request_id, address, agent,
                            proof FROM audit";
        let mail = "SELECT subject, last_problem, iif(holds_code, '', body) FROM outbox";
        let store = self.store();
        for query in [audit, mail] {
            let mut query = store.prepare(query).unwrap();
            let columns = query.column_count();
            let mut rows = query.query([]).unwrap();
            while let Some(row) = rows.next().unwrap() {
                for column in 0..columns {
                    let cell: Option<String> = row.get(column).unwrap();
                    secrets::scan("the store", &cell.unwrap_or_default());
                }
            }
        }
        secrets::check_log();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.check();
        }
    }
}

/// A log-in of the test's own.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Session {
    user: String,
    pub(crate) token: String,
}

impl Session {
    /// The one that `answer` tells of.
    pub(crate) fn of(answer: Answer) -> Self {
        assert_eq!(answer.status, 200, "{}", answer.body);
        let body = answer.json();
        let text = |name: &str| body["data"][name].as_str().unwrap().to_owned();
        let token = text("authToken");
        secrets::register(&token);
        Self {
            user: text("userId"),
            token,
        }
    }

    pub(crate) fn request(&self, server: &Server, method: Method, path: &str) -> Request {
        server
            .request(method, path)
            .header("x-user-id", &self.user)
            .header("x-auth-token", &self.token)
    }
}

/// A request that is being put together.
pub(crate) struct Request {
    request: harness::Request,
    method: Method,
    path: String,
    shows_secrets: bool,
}

impl Request {
    fn new(request: harness::Request, method: Method, path: &str) -> Self {
        Self {
            request,
            method,
            path: path.to_owned(),
            shows_secrets: false,
        }
    }

    /// Adds a header, also beside one of the same name.
    pub(crate) fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    pub(crate) fn code(self, code: impl AsRef<[u8]>) -> Self {
        self.header("x-2fa-code", code)
    }

    pub(crate) fn json(self, body: &str) -> Self {
        self.header("content-type", "application/json").body(body)
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.request = self.request.body(body);
        self
    }

    /// The answer may show secrets: it is the one place where they are told.
    pub(crate) fn showing_secrets(mut self) -> Self {
        self.shows_secrets = true;
        self
    }

    /// As a client behind the proxy at this machine.
    pub(crate) fn from(self, client: &str) -> Self {
        self.header("x-forwarded-for", client)
    }

    /// Sends the request and checks what holds for every answer.
    pub(crate) async fn send(self) -> Answer {
        let harness::Answer {
            status,
            headers,
            body,
        } = self.request.send().await.unwrap();
        let answer = Answer {
            status,
            headers,
            body,
        };
        answer.check();
        documentation::check(&self.method, &self.path, &answer);
        if !self.shows_secrets {
            secrets::scan(
                "an answer",
                &format!("{:?} {}", answer.headers, answer.body),
            );
        }
        answer
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    fn check(&self) {
        if self.status != StatusCode::NO_CONTENT {
            assert_eq!(self.headers["content-type"], "application/json");
        }
        assert_eq!(self.headers["cache-control"], "no-store");
        assert_eq!(self.headers["x-content-type-options"], "nosniff");
        let id = self.headers["x-request-id"].to_str().unwrap();
        assert!(
            id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()),
            "{id}"
        );
    }

    /// The body, which must be JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// Status and body, to compare as one.
    pub(crate) fn text(&self) -> String {
        format!("{} {}", self.status.as_u16(), self.body)
    }
}

pub(crate) fn id(user: &str) -> String {
    format!("{user}Id")
}

pub(crate) fn totp_key(user: &str) -> TotpKey {
    TotpKey::new(format!("the TOTP key of {user}").into_bytes())
}
