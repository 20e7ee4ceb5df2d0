//! The words of the tests: a store with workspaces, a clock, and SMTP servers.

use chat_domain::account::Token;
use chat_domain::account::{Caller, EDIT_OTHER_USER_TOTP, Email, TotpFactor};
use chat_domain::mailed_code::EmailCode;
use chat_domain::operator::{NewRole, NewUser, NewWorkspace};
use chat_domain::outbox::Mail;
use chat_domain::proof::Proof;
use chat_domain::reset::{Receipt, Reset, Target};
use chat_domain::settings::{Setting, Settings};
use chat_domain::time::Timestamp;
use chat_domain::totp::TotpKey;
use chat_server::clock::Clock;
use chat_server::delivery;
use chat_store::seal::Seal;
use chat_store::sqlite::Sqlite;
use chat_store::{Store, StoreUrl};
use chat_testing::ask::{Ask as _, source};
use chat_testing::postgres::Database;
use rusqlite::Connection;
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use tempfile::TempDir;

/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The workspace of most tests, and another one.
pub(crate) const ACME: &str = "default";
pub(crate) const GLOBEX: &str = "globex";

/// The sender of mail.
pub(crate) const FROM: &str = "Acme chat <chat@acme.example>";

/// When tests with a clock of their own begin.
pub(crate) const START: i64 = 1_234_567_890_000;

/// The program, to be called.
pub(crate) fn host_harness() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_host-harness"));
    command.stdin(Stdio::null());
    command
}

/// A store in a file of its own, and the time.
///
/// Each workspace has the administrator `admin` and the member `alice`, who has
/// the addresses that the test says, and takes codes by e-mail.
pub(crate) struct Data {
    folder: TempDir,
    pub(crate) store: Arc<dyn Store>,
    now: Arc<AtomicI64>,
}

impl Data {
    /// With one workspace, at [`START`].
    pub(crate) async fn new(server: &str, addresses: &[&str]) -> Self {
        let data = Self::at(Timestamp::from_millis(START)).await;
        data.add(ACME, "Admin", server, addresses).await;
        data
    }

    pub(crate) async fn at(now: Timestamp) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.sqlite");
        Self {
            folder,
            store: Sqlite::open_or_create(&path, &Seal::none()).await.unwrap(),
            now: Arc::new(AtomicI64::new(now.millis())),
        }
    }

    /// In PostgreSQL: nothing of it is in a file.
    pub(crate) async fn in_database(database: &Database, now: Timestamp) -> Self {
        let url: StoreUrl = database.url().parse().unwrap();
        Self {
            folder: tempfile::tempdir().unwrap(),
            store: url.open(&Seal::none()).await.unwrap(),
            now: Arc::new(AtomicI64::new(now.millis())),
        }
    }

    /// Adds a workspace whose administrator has this name.
    pub(crate) async fn add(&self, id: &str, admin: &str, server: &str, addresses: &[&str]) {
        let settings = Settings {
            missing_factor_allowed: true,
            mail_server: server.into(),
            mail_from: FROM.to_owned(),
            ..Settings::default()
        };
        let created = self
            .store
            .create_workspace(workspace(id, settings, admin, addresses));
        assert!(created.await.unwrap());
    }

    /// Queues the notice for alice's verified addresses.
    pub(crate) async fn queue_notice(&self, workspace: &str) {
        self.queue_notice_at(workspace, self.now()).await;
    }

    pub(crate) async fn queue_notice_at(&self, workspace: &str, now: Timestamp) {
        let reset = Reset {
            workspace: workspace.to_owned(),
            caller: Caller {
                id: "admin".to_owned(),
                token_hash: "admin-token".to_owned(),
                bypass_token: false,
            },
            proof: Proof::None,
            target: Target::User("alice".to_owned()),
            now,
            request_id: "request".to_owned(),
            source: source(),
        };
        let outcome = self.store.reset(reset).await.unwrap();
        assert_eq!(outcome, Ok(Receipt::Removed));
    }

    /// Queues the code for alice's verified addresses.
    pub(crate) async fn queue_code(&self, workspace: &str, code: &str) {
        secret_scan::register(code);
        let sent = self
            .store
            .send_email_code(workspace, "alice", code.into(), self.now());
        assert!(matches!(sent.await.unwrap(), EmailCode::Sent { .. }));
    }

    /// Tries once what is due.
    pub(crate) async fn deliver_due(&self) {
        delivery::deliver_due(&self.store, &self.clock())
            .await
            .unwrap();
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now.load(Ordering::SeqCst))
    }

    pub(crate) fn advance(&self, duration: Duration) {
        let millis = i64::try_from(duration.as_millis()).unwrap();
        self.now.fetch_add(millis, Ordering::SeqCst);
    }

    pub(crate) fn clock(&self) -> Clock {
        let now = self.now.clone();
        Clock::new(move || Timestamp::from_millis(now.load(Ordering::SeqCst)))
    }

    /// A second handle on the same data, as another process has one.
    pub(crate) async fn another_handle(&self) -> Arc<dyn Store> {
        Sqlite::open(&self.path(), &Seal::none()).await.unwrap()
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("store.sqlite")
    }

    /// Changes the data past the store.
    pub(crate) fn edit(&self, sql: &str) {
        let db = Connection::open(self.path()).unwrap();
        db.execute_batch(sql).unwrap();
    }

    /// Changes a setting at run time.
    pub(crate) fn set(&self, workspace: &str, name: &str, value: &str) {
        let setting = Setting::named(name).unwrap();
        setting.set(&mut Settings::default(), value).unwrap();
        Connection::open(self.path())
            .unwrap()
            .execute(
                "INSERT OR REPLACE INTO setting VALUES (?1, ?2, ?3)",
                [workspace, name, value],
            )
            .unwrap();
    }

    pub(crate) async fn mails(&self) -> Vec<Mail> {
        let mails = self.store.list_mail(ACME, self.now()).await;
        mails.unwrap().unwrap()
    }

    /// What waits: a line for each with recipient, state, tries, the seconds
    /// until the next try, and the last problem.
    pub(crate) async fn outbox(&self) -> Vec<String> {
        use chat_domain::outbox::MailState::{BeingSent, DeadLetter, Waiting};
        let now = self.now().millis();
        let seconds = |next: Timestamp| format!(" in {}", (next.millis() - now) / 1000);
        let lines = self.mails().await.into_iter().map(|mail| {
            let next = match mail.state {
                Waiting(next) | BeingSent(next) => seconds(next),
                DeadLetter => String::new(),
            };
            format!(
                "{} {}{next} tries={} {}",
                mail.recipient,
                mail.state.name(),
                mail.tries,
                mail.last_problem.unwrap_or_default()
            )
        });
        lines.collect()
    }

    /// The audit trail: workspace, action, caller, decision and reason of each
    /// record.
    pub(crate) fn audit(&self) -> Vec<String> {
        let db = Connection::open(self.path()).unwrap();
        let mut query = db
            .prepare(
                "SELECT concat_ws(' ', workspace, action, caller, decision, reason)
                 FROM audit ORDER BY id",
            )
            .unwrap();
        let rows = query.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    }

    /// Whether a file of the store holds these bytes.
    pub(crate) fn files_hold(&self, bytes: &[u8]) -> bool {
        self.edit("PRAGMA wal_checkpoint(TRUNCATE)");
        let files = std::fs::read_dir(self.folder.path()).unwrap();
        files.into_iter().any(|file| {
            let content = std::fs::read(file.unwrap().path()).unwrap();
            content.windows(bytes.len()).any(|window| window == bytes)
        })
    }
}

fn workspace(id: &str, settings: Settings, admin: &str, addresses: &[&str]) -> NewWorkspace {
    let email = |address: &&str| Email {
        address: (*address).to_owned(),
        verified: true,
    };
    NewWorkspace {
        id: id.to_owned(),
        settings,
        roles: vec![NewRole {
            name: "admin".to_owned(),
            permissions: vec![EDIT_OTHER_USER_TOTP.to_owned()],
        }],
        users: vec![
            NewUser {
                id: "admin".to_owned(),
                username: admin.to_owned(),
                roles: vec!["admin".to_owned()],
                tokens: vec![Token {
                    hash: "admin-token".to_owned(),
                    expires: None,
                    name: None,
                    bypass_two_factor: false,
                }],
                ..NewUser::default()
            },
            NewUser {
                id: "alice".to_owned(),
                username: "Alice".to_owned(),
                emails: addresses
                    .iter()
                    .map(email)
                    .chain([Email {
                        address: "unverified@example.com".to_owned(),
                        verified: false,
                    }])
                    .collect(),
                email_two_factor: true,
                totp: Some(TotpFactor {
                    key: TotpKey::new(b"the TOTP key of Alice".to_vec()),
                    last_step: None,
                    backup_code_hashes: Vec::new(),
                    spent_code_hashes: Vec::new(),
                }),
                ..NewUser::default()
            },
        ],
    }
}

/// A message as a server received it.
#[derive(Debug, Deserialize)]
pub(crate) struct Received {
    pub(crate) from: String,
    pub(crate) to: Vec<String>,
    pub(crate) secure: bool,
    pub(crate) user: Option<String>,
    pub(crate) data: String,
    pub(crate) connection: String,
}

/// A running `tests/clients/smtp-server.mjs`.
pub(crate) struct SmtpServer {
    child: Child,
    pub(crate) port: u16,
    lines: Receiver<String>,
}

impl SmtpServer {
    /// One without TLS and authentication.
    pub(crate) fn start() -> Self {
        Self::start_with(&json!({"tls": "none"}))
    }

    pub(crate) fn start_with(options: &Value) -> Self {
        let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/clients");
        assert!(
            clients.join("node_modules").exists(),
            "tests/clients/node_modules is missing; `cargo xtask test` installs it"
        );
        let mut child = Command::new("node")
            .arg("smtp-server.mjs")
            .arg(options.to_string())
            .current_dir(clients)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the tests of mail need Node.js");
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = output.next().expect("the SMTP server starts").unwrap();
        let first: Value = serde_json::from_str(&first).unwrap();
        let port = first.get("port").and_then(Value::as_u64).unwrap();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            output
                .map_while(Result::ok)
                .try_for_each(|l| sender.send(l))
        });
        Self {
            child,
            port: port.try_into().unwrap(),
            lines,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("smtp://127.0.0.1:{}", self.port)
    }

    /// The next message; it must come.
    pub(crate) fn receive(&self) -> Received {
        let line = self.lines.recv_timeout(PATIENCE).expect("a mail arrives");
        serde_json::from_str(&line).unwrap()
    }

    /// Stops, and gives what was received and not yet looked at.
    pub(crate) fn stop(mut self) -> Vec<Received> {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
        let lines = self.lines.iter();
        lines
            .map(|line| serde_json::from_str(&line).unwrap())
            .collect()
    }

    /// The recipients of [`SmtpServer::stop`], sorted.
    pub(crate) fn stop_and_list(self) -> Vec<String> {
        let mut recipients: Vec<_> = self.stop().into_iter().flat_map(|mail| mail.to).collect();
        recipients.sort();
        recipients
    }
}
