//! A server in this process, with a workspace to test on, a clock that stands
//! still until a test advances it, and a store in a real file.

use host_harness::clock::{Clock, Timestamp};
use host_harness::password;
use host_harness::plugin::Plugin;
use host_harness::server::{self, App};
use host_harness::settings::Settings;
use host_harness::store::sqlite::Sqlite;
use host_harness::store::{
    EDIT_OTHER_USER_TOTP, Email, NewRole, NewToken, NewUser, NewWorkspace, Store, TotpFactor,
};
use host_harness::token;
use host_harness::totp::{TotpKey, backup_code_hash, step_of};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, StatusCode};
use secrecy::SecretString;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rusqlite::rusqlite::{Connection, types::Value};

/// When every test begins: the first second of time step 66,666,666.
const START: i64 = 1_999_999_980_000;

/// The route under test.
pub(crate) const RESET_TOTP: &str = "/api/v1/users.resetTOTP";

/// The documented call's content type: what curl sends with `--data`.
pub(crate) const FORM: &str = "application/x-www-form-urlencoded";

/// Tables that record attempts and decisions: what a refusal may change.
const RECORDS: [&str; 3] = ["audit", "failed_attempt", "sqlite_sequence"];

/// The workspace that the server serves, and another in the same store.
const WORKSPACE: &str = "default";
const OTHER_WORKSPACE: &str = "other";

/// Usernames; the id of each is the name followed by `Id`, the token is the
/// name followed by `Token`, and every one but `carol` and `dave` has TOTP.
pub(crate) const ADMIN: &str = "admin";
pub(crate) const MODERATOR: &str = "moderator";
pub(crate) const ALICE: &str = "alice";
pub(crate) const BOB: &str = "bob";
pub(crate) const CAROL: &str = "carol";
/// Has no TOTP, but the password `abc`.
pub(crate) const DAVE: &str = "dave";
pub(crate) const FEDERATED: &str = "federated";
/// In the other workspace, with every permission there.
pub(crate) const MALLORY: &str = "mallory";

/// The administrator's and alice's backup codes.
pub(crate) const BACKUP_CODES: [&str; 2] = ["ABCD2345", "wxyz6789"];

/// bcrypt is slow: hashed once for all tests.
static PASSWORD_HASH: LazyLock<SecretString> =
    LazyLock::new(|| password::hash(&password::digest(&"abc".into())).unwrap());

/// Compiled once for all tests.
static PLUGIN: LazyLock<Arc<Plugin>> = LazyLock::new(|| {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/reset_totp.wasm");
    Arc::new(Plugin::load(&file).expect("`cargo xtask build` makes the plugin"))
});

pub(crate) struct Server {
    url: String,
    client: Client,
    now: Arc<AtomicI64>,
    folder: TempDir,
    stop: oneshot::Sender<()>,
    running: JoinHandle<std::io::Result<()>>,
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
        Self::serve(folder, Arc::new(AtomicI64::new(START))).await
    }

    async fn serve(folder: TempDir, now: Arc<AtomicI64>) -> Self {
        let store = Sqlite::open(&folder.path().join("store.sqlite")).await;
        let clock = now.clone();
        let app = App {
            store: Arc::new(store.unwrap()),
            plugin: PLUGIN.clone(),
            clock: Clock::new(move || Timestamp::from_millis(clock.load(Ordering::SeqCst))),
            workspace: WORKSPACE.to_owned(),
            trusted_proxies: Vec::new(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(server::serve(listener, app, async {
            let _ = stopped.await;
        }));
        Self {
            url,
            client: Client::new(),
            now,
            folder,
            stop,
            running,
        }
    }

    /// Another host process's worth of server on the same store.
    pub(crate) async fn restart(self) -> Self {
        let Self {
            now,
            folder,
            stop,
            running,
            ..
        } = self;
        stop.send(()).unwrap();
        running.await.unwrap().unwrap();
        Self::serve(folder, now).await
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
            url: format!("{}{path}", self.url),
            headers: HeaderMap::new(),
            body: Vec::new(),
        }
    }

    /// The code of `user` that is right now.
    pub(crate) fn code(&self, user: &str) -> String {
        self.code_at(user, 0)
    }

    /// The code of `user`, `steps` time steps from now.
    pub(crate) fn code_at(&self, user: &str, steps: i64) -> String {
        let now = Timestamp::from_millis(self.now.load(Ordering::SeqCst));
        totp_key(user).code(step_of(now).checked_add_signed(steps).unwrap())
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
    let text = |value: Value| match value {
        Value::Null => "-".to_owned(),
        Value::Integer(number) => number.to_string(),
        Value::Real(number) => number.to_string(),
        Value::Text(text) => text,
        Value::Blob(bytes) => format!("{bytes:02x?}"),
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

/// A request that is being put together.
pub(crate) struct Request {
    client: Client,
    method: Method,
    url: String,
    headers: HeaderMap,
    body: Vec<u8>,
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

    /// Sends the request and checks what holds for every answer.
    pub(crate) async fn send(self) -> Answer {
        let response = self
            .client
            .request(self.method, self.url)
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
        assert_eq!(self.headers["content-type"], "application/json");
        assert_eq!(self.headers["cache-control"], "no-store");
        assert_eq!(self.headers["x-content-type-options"], "nosniff");
        let id = self.headers["x-request-id"].to_str().unwrap();
        assert!(
            id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()),
            "{id}"
        );
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
    format!("{user}Token")
}

fn totp_key(user: &str) -> TotpKey {
    TotpKey::new(format!("the TOTP key of {user}").into_bytes())
}

fn workspace(id: &str, settings: Settings) -> NewWorkspace {
    let users = match id {
        WORKSPACE => vec![
            user(ADMIN, "admin"),
            user(MODERATOR, "moderator"),
            user(ALICE, "user"),
            user(BOB, "user"),
            NewUser {
                totp: None,
                ..user(CAROL, "user")
            },
            NewUser {
                totp: None,
                password_hash: Some(PASSWORD_HASH.clone()),
                ..user(DAVE, "user")
            },
            NewUser {
                federated: true,
                ..user(FEDERATED, "user")
            },
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
                name: "moderator".to_owned(),
                permissions: vec!["edit-other-user-password".to_owned()],
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
            backup_code_hashes: BACKUP_CODES.map(backup_code_hash).to_vec(),
        }),
        ..NewUser::default()
    }
}
