//! A server in this process, with a workspace to test on, a clock that stands
//! still until a test advances it, and a store in a real file.

use crate::{documentation, secrets};
use arc_swap::ArcSwap;
use host_harness::clock::{Clock, Timestamp};
use host_harness::password;
use host_harness::plugin::Plugin;
use host_harness::runtime::{Capacity, Runtime};
use host_harness::sandbox::Limits;
use host_harness::server::{self, App};
use host_harness::settings::Settings;
use host_harness::store::sqlite::Sqlite;
use host_harness::store::{
    Directory, EDIT_OTHER_USER_TOTP, Email, NewRole, NewToken, NewUser, NewWorkspace, TotpFactor,
};
use host_harness::stores::StoreFile;
use host_harness::token;
use host_harness::totp::{TotpKey, code_hash, step_of};
use host_harness::workspace::{Workspace, Workspaces};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, StatusCode};
use secrecy::SecretString;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rusqlite::rusqlite::{Connection, types};

/// When every test begins: the first second of time step 66,666,666.
const START: i64 = 1_999_999_980_000;

/// The route under test.
pub(crate) const RESET_TOTP: &str = "/api/v1/users.resetTOTP";

/// Its neighbours.
pub(crate) const LOGIN: &str = "/api/v1/login";
pub(crate) const LOGOUT: &str = "/api/v1/logout";
pub(crate) const ME: &str = "/api/v1/me";
pub(crate) const ENABLE: &str = "/api/v1/users.totp.enable";
pub(crate) const VALIDATE: &str = "/api/v1/users.totp.validate";
pub(crate) const DISABLE: &str = "/api/v1/users.totp.disable";
pub(crate) const REGENERATE_CODES: &str = "/api/v1/users.totp.regenerateCodes";
pub(crate) const CODES_REMAINING: &str = "/api/v1/users.totp.codesRemaining";

/// The documented call's content type: what curl sends with `--data`.
pub(crate) const FORM: &str = "application/x-www-form-urlencoded";

/// Tables that record attempts and decisions: what a refusal may change.
const RECORDS: [&str; 3] = ["audit", "failed_attempt", "sqlite_sequence"];

/// The workspace that the server serves, and another in the same store.
const WORKSPACE: &str = "default";
const OTHER_WORKSPACE: &str = "other";

/// Usernames; the id of each is the name followed by `Id`, the token is the
/// name followed by `Token`, and every one has TOTP and [`PASSWORD`] where
/// nothing else is said.
pub(crate) const ADMIN: &str = "admin";
pub(crate) const MODERATOR: &str = "moderator";
pub(crate) const ALICE: &str = "alice";
pub(crate) const BOB: &str = "bob";
/// Has neither TOTP nor a password.
pub(crate) const CAROL: &str = "carol";
/// Has no TOTP.
pub(crate) const DAVE: &str = "dave";
/// Has no TOTP, but opted in to codes by e-mail.
pub(crate) const ERIN: &str = "erin";
/// Has TOTP and opted in to codes by e-mail.
pub(crate) const FRANK: &str = "frank";
/// May reset others, and is no administrator otherwise.
pub(crate) const HELPER: &str = "helper";
pub(crate) const DEACTIVATED: &str = "deactivated";
pub(crate) const BOT: &str = "bot";
pub(crate) const FEDERATED: &str = "federated";
/// In the other workspace, with every permission there.
pub(crate) const MALLORY: &str = "mallory";

/// The administrator's and alice's backup codes.
pub(crate) const BACKUP_CODES: [&str; 2] = ["ABCD2345", "wxyz6789"];

/// The password of all who have one, and what clients send for it.
pub(crate) const PASSWORD: &str = "correct horse battery staple";
pub(crate) const PASSWORD_DIGEST: &str =
    "c4bbcb1fbec99d65bf59d85c8cb62ee2db963f0fe106f483d9afa73bd4e39a8a";

/// bcrypt is slow: hashed once for all tests.
static PASSWORD_HASH: LazyLock<SecretString> =
    LazyLock::new(|| password::hash(&password::digest(&PASSWORD.into())).unwrap());

/// Compiled once for all tests.
static PLUGIN: LazyLock<Arc<Plugin>> = LazyLock::new(|| {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/reset_totp.wasm");
    let runtime = Runtime::new(Capacity::default()).unwrap();
    Plugin::load(&runtime, &file).expect("`cargo xtask build` makes the plugin")
});

pub(crate) struct Server {
    url: String,
    client: Client,
    now: Arc<AtomicI64>,
    folder: Arc<TempDir>,
    running: Option<(oneshot::Sender<()>, JoinHandle<std::io::Result<()>>)>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_with(Settings::default()).await
    }

    pub(crate) async fn start_with(settings: Settings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Sqlite::open_or_create(&folder.path().join("store.sqlite"))
            .await
            .unwrap();
        for workspace in [
            workspace(WORKSPACE, settings.clone()),
            workspace(OTHER_WORKSPACE, settings),
        ] {
            assert!(store.create_workspace(workspace).await.unwrap());
        }
        Self::serve(Arc::new(folder), Arc::new(AtomicI64::new(START))).await
    }

    async fn serve(folder: Arc<TempDir>, now: Arc<AtomicI64>) -> Self {
        secrets::watch_log();
        let store = Sqlite::open(&folder.path().join("store.sqlite")).await;
        let clock = now.clone();
        let workspace = Workspace::new(
            WORKSPACE.to_owned(),
            Arc::new(StoreFile::opened(Arc::new(store.unwrap()))),
            PLUGIN.clone(),
            Limits::default(),
        );
        let app = App {
            workspaces: Arc::new(ArcSwap::from_pointee(Workspaces::only(workspace))),
            clock: Clock::new(move || Timestamp::from_millis(clock.load(Ordering::SeqCst))),
            trusted_proxies: vec!["127.0.0.1/32".parse().unwrap()],
            metrics: Arc::default(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(server::serve(listener, app, async {
            let _ = stopped.await;
        }));
        documentation::learn(&url).await;
        Self {
            url,
            client: Client::new(),
            now,
            folder,
            running: Some((stop, running)),
        }
    }

    /// Another host process's worth of server beside this one on the same store.
    pub(crate) async fn another(&self) -> Self {
        Self::serve(self.folder.clone(), self.now.clone()).await
    }

    /// Another such server in place of this one.
    pub(crate) async fn restart(mut self) -> Self {
        let (stop, running) = self.running.take().unwrap();
        stop.send(()).unwrap();
        running.await.unwrap().unwrap();
        Self::serve(self.folder.clone(), self.now.clone()).await
    }

    /// A request to reset, by `caller`, without a second factor and with an
    /// empty body.
    pub(crate) fn post(&self, caller: &str) -> Request {
        self.request(Method::POST, RESET_TOTP)
            .header("x-user-id", id(caller))
            .header("x-auth-token", auth_token(caller))
    }

    /// The administrator's request to reset `target`, with a code that is right
    /// now.
    pub(crate) fn reset(&self, target: &str) -> Request {
        self.post(ADMIN)
            .code(self.code(ADMIN))
            .json(&format!(r#"{{"userId":"{}"}}"#, id(target)))
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> Request {
        Request {
            client: self.client.clone(),
            method,
            url: self.url.clone(),
            path: path.to_owned(),
            headers: HeaderMap::new(),
            body: Vec::new(),
            shows_secrets: false,
        }
    }

    /// A request of `user` with the token that every user has.
    pub(crate) fn request_of(&self, user: &str, method: Method, path: &str) -> Request {
        self.request(method, path)
            .header("x-user-id", id(user))
            .header("x-auth-token", auth_token(user))
    }

    /// A request to log in.
    pub(crate) fn log_in(&self, credentials: Value) -> Request {
        let request = self.request(Method::POST, LOGIN);
        request.json(&credentials.to_string()).showing_secrets()
    }

    /// Where the server is, for a client of another making.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The moment at which the clock stands.
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now.load(Ordering::SeqCst))
    }

    /// The code that `user` was sent last; none where it waits no more.
    pub(crate) fn sent_code(&self, user: &str) -> Option<String> {
        let mail = rows(
            &self.store(),
            &format!(
                "SELECT body FROM outbox WHERE holds_code AND recipient LIKE '{user}@%'
                 ORDER BY id DESC LIMIT 1"
            ),
        );
        let body = mail.first()?;
        let (first, last) = body.split_once('-')?;
        let code = first[first.len() - 3..].to_owned() + &last[..3];
        secrets::register(&code);
        Some(code)
    }

    /// The code of `user` that is right now.
    pub(crate) fn code(&self, user: &str) -> String {
        self.code_at(user, 0)
    }

    /// The code of `user`, `steps` time steps from now.
    pub(crate) fn code_at(&self, user: &str, steps: i64) -> String {
        let step = step_of(self.now()).checked_add_signed(steps).unwrap();
        let code = totp_key(user).code(step);
        secrets::register(&code);
        code
    }

    pub(crate) fn advance(&self, duration: Duration) {
        let millis = i64::try_from(duration.as_millis()).unwrap();
        self.now.fetch_add(millis, Ordering::SeqCst);
    }

    pub(crate) fn set_clock_back(&self, duration: Duration) {
        let millis = i64::try_from(duration.as_millis()).unwrap();
        self.now.fetch_sub(millis, Ordering::SeqCst);
    }

    /// The store's file, as another process sees it.
    pub(crate) fn store(&self) -> Connection {
        Connection::open(self.folder.path().join("store.sqlite")).unwrap()
    }

    /// Every row of every table, but for the records of attempts and decisions.
    pub(crate) fn dump(&self) -> Dump {
        let store = self.store();
        let tables = rows(
            &store,
            "SELECT name FROM sqlite_schema WHERE type = 'table'",
        );
        tables
            .into_iter()
            .filter(|table| !RECORDS.contains(&table.as_str()))
            .map(|table| {
                let content = rows(&store, &format!("SELECT * FROM {table}"));
                (table, content)
            })
            .collect()
    }

    /// The mail that waits: recipient, subject and body of each.
    pub(crate) fn outbox(&self) -> Vec<String> {
        rows(
            &self.store(),
            "SELECT recipient, subject, body FROM outbox ORDER BY id",
        )
    }

    /// Failed attempts at a second factor, of all accounts together.
    pub(crate) fn failures(&self) -> i64 {
        let count = "SELECT coalesce(sum(count), 0) FROM failed_attempt";
        self.store().query_row(count, [], |row| row.get(0)).unwrap()
    }

    /// The audit trail: caller, target, decision and reason of each record.
    pub(crate) fn audit(&self) -> Vec<String> {
        rows(
            &self.store(),
            "SELECT caller, target, decision, reason FROM audit ORDER BY id",
        )
    }
}

/// The rows of each table, each row as one text.
pub(crate) type Dump = BTreeMap<String, Vec<String>>;

fn rows(store: &Connection, query: &str) -> Vec<String> {
    let mut statement = store.prepare(query).unwrap();
    let columns = statement.column_count();
    let text = |value: types::Value| match value {
        types::Value::Null => "-".to_owned(),
        types::Value::Integer(number) => number.to_string(),
        types::Value::Real(number) => number.to_string(),
        types::Value::Text(text) => text,
        types::Value::Blob(bytes) => format!("{bytes:02x?}"),
    };
    statement
        .query_map([], |row| {
            let cells: Vec<String> = (0..columns)
                .map(|i| row.get(i).map(text).unwrap())
                .collect();
            Ok(cells.join(" "))
        })
        .unwrap()
        .map(Result::unwrap)
        .collect()
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
    client: Client,
    method: Method,
    url: String,
    path: String,
    headers: HeaderMap,
    body: Vec<u8>,
    shows_secrets: bool,
}

impl Request {
    /// Adds a header, also beside one of the same name.
    pub(crate) fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let name = HeaderName::try_from(name).unwrap();
        let value = HeaderValue::from_bytes(value.as_ref()).unwrap();
        self.headers.append(name, value);
        self
    }

    pub(crate) fn code(self, code: impl AsRef<[u8]>) -> Self {
        self.header("x-2fa-code", code)
    }

    pub(crate) fn json(self, body: &str) -> Self {
        self.header("content-type", "application/json").body(body)
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
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
        let response = self
            .client
            .request(self.method.clone(), format!("{}{}", self.url, self.path))
            .headers(self.headers)
            .body(self.body)
            .send()
            .await
            .unwrap();
        let answer = Answer {
            status: response.status(),
            headers: response.headers().clone(),
            body: response.text().await.unwrap(),
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

fn auth_token(user: &str) -> String {
    let token = format!("{user}Token");
    secrets::register(&token);
    token
}

pub(crate) fn totp_key(user: &str) -> TotpKey {
    let key = TotpKey::new(format!("the TOTP key of {user}").into_bytes());
    secrets::register(&key.to_base32());
    key
}

impl Drop for Server {
    /// What was written in the test holds no secret, but for the mail that brings
    /// a code.
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let store = self.store();
        for query in [
            "SELECT * FROM audit",
            "SELECT subject, body FROM outbox WHERE NOT holds_code",
            "SELECT subject FROM outbox",
            "SELECT last_problem FROM outbox",
        ] {
            for row in rows(&store, query) {
                secrets::scan(query, &row);
            }
        }
        secrets::check_log();
    }
}

fn workspace(id: &str, settings: Settings) -> NewWorkspace {
    let users = match id {
        WORKSPACE => vec![
            user(ADMIN, "admin"),
            user(MODERATOR, "moderator"),
            user(ALICE, "user"),
            user(BOB, "user"),
            user(HELPER, "helper"),
            NewUser {
                totp: None,
                password_hash: None,
                ..user(CAROL, "user")
            },
            NewUser {
                totp: None,
                ..user(DAVE, "user")
            },
            NewUser {
                totp: None,
                email_two_factor: true,
                ..user(ERIN, "user")
            },
            NewUser {
                email_two_factor: true,
                ..user(FRANK, "user")
            },
            NewUser {
                federated: true,
                password_hash: None,
                ..user(FEDERATED, "user")
            },
            NewUser {
                deactivated: true,
                ..user(DEACTIVATED, "admin")
            },
            user(BOT, "bot"),
        ],
        _ => vec![user(MALLORY, "admin")],
    };
    NewWorkspace {
        id: id.to_owned(),
        settings,
        roles: vec![
            NewRole {
                name: "admin".to_owned(),
                permissions: vec![
                    EDIT_OTHER_USER_TOTP.to_owned(),
                    "api-bypass-rate-limit".to_owned(),
                ],
            },
            NewRole {
                name: "helper".to_owned(),
                permissions: vec![EDIT_OTHER_USER_TOTP.to_owned()],
            },
            NewRole {
                name: "bot".to_owned(),
                permissions: vec!["api-bypass-rate-limit".to_owned()],
            },
            NewRole {
                name: "moderator".to_owned(),
                permissions: vec!["edit-other-user-password".to_owned()],
            },
            NewRole {
                name: "user".to_owned(),
                permissions: Vec::new(),
            },
        ],
        users,
    }
}

fn user(name: &str, role: &str) -> NewUser {
    let email = |address: String, verified| Email { address, verified };
    NewUser {
        id: id(name),
        username: name.to_owned(),
        password_hash: Some(PASSWORD_HASH.clone()),
        roles: vec![role.to_owned()],
        emails: vec![
            email(format!("{name}@example.com"), true),
            email(format!("{name}@work.example.com"), true),
            email(format!("{name}@old.example.com"), false),
        ],
        tokens: vec![NewToken {
            hash: token::hash(&auth_token(name).into()),
            expires: Some(Timestamp::from_millis(START) + Duration::from_secs(90 * 24 * 3600)),
            bypass_two_factor: false,
            name: None,
        }],
        totp: Some(TotpFactor {
            key: totp_key(name),
            last_step: None,
            backup_code_hashes: BACKUP_CODES.map(code_hash).to_vec(),
        }),
        ..NewUser::default()
    }
}
