//! Many workspaces in one process: which one a request is for, and what a new
//! configuration changes while requests go on.

use crate::stores::times_held;
use chat_domain::operator::Operation;
use chat_domain::settings::Setting;
use chat_server::admin::Control;
use chat_server::clock::Clock;
use chat_server::config::Config;
use chat_server::hosting::{Hosting, Loaded, RELOAD_LIMIT, Refused};
use chat_server::http;
use chat_store::seal::KeySource;
use chat_testing::ask::Ask as _;
use chat_testing::guest::Guest;
use chat_testing::guest::plugin_bytes;
use chat_testing::{ACME, Data, GLOBEX, admin_code, now};
use plugin_sandbox::digest::Digest;
use reqwest::{Client, Method};
use rusqlite::Connection;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

const RESET: &str = "/api/v1/users.resetTOTP";
const GRANTS: &str = r#"grants = ["wall-clock", "users", "permissions", "settings", "secrets"]"#;

/// A store with acme and globex, a folder for plugins, and what is served.
struct Place {
    data: Data,
    file: PathBuf,
}

impl Place {
    async fn new() -> Self {
        let data = Data::closed().await;
        let file = data.path().with_file_name("chat.toml");
        Self { data, file }
    }

    /// Writes a plugin into the folder; says its digest.
    fn plugin(&self, name: &str, bytes: &[u8]) -> Digest {
        std::fs::write(self.file.with_file_name(name), bytes).unwrap();
        Digest::of(bytes)
    }

    /// Writes the configuration: acme and globex with this plugin.
    fn configure(&self, plugin: Digest, more: &str) {
        let files: Vec<_> = std::fs::read_dir(self.file.parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.ends_with(".wasm"))
            .collect();
        let text = format!(
            "plugins.files = {files:?}\n\
             [defaults]\nstore = \"store.sqlite\"\nplugin = \"{plugin}\"\n{GRANTS}\n\
             [workspaces.acme]\nhosts = [\"acme.example\", \"chat.acme.example\"]\n\
             [workspaces.globex]\nhosts = [\"globex.example\"]\n{more}"
        );
        std::fs::write(&self.file, text).unwrap();
    }

    async fn serve(&self) -> Served {
        let config = Config::read(&self.file).unwrap();
        let keys = KeySource::File(self.data.key_file());
        let hosting = Hosting::start(config, Some(self.file.clone()), keys, Clock::new(now));
        let hosting = hosting.await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = hosting.app(Vec::new());
        tokio::spawn(http::serve(listener, app, std::future::pending()));
        Served {
            hosting,
            address,
            client: Client::builder().no_proxy().build().unwrap(),
        }
    }
}

#[derive(Clone)]
struct Served {
    hosting: Arc<Hosting>,
    address: SocketAddr,
    client: Client,
}

impl Served {
    /// Status and body of a request of `user` to a host.
    async fn ask(&self, method: Method, path: &str, host: &str, user: &str) -> String {
        let request = self
            .client
            .request(method, format!("http://{}{path}", self.address))
            .header("host", host)
            .header("x-user-id", user)
            .header("x-auth-token", format!("{user}-token"))
            .header("x-2fa-code", admin_code())
            .header("content-type", "application/json")
            .body(r#"{"userId":"alice"}"#);
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        format!("{status} {}", response.text().await.unwrap())
    }

    async fn me(&self, host: &str, user: &str) -> String {
        self.ask(Method::GET, "/api/v1/me", host, user).await
    }
}

#[tokio::test]
async fn each_host_name_has_its_workspace_and_its_accounts() {
    let place = Place::new().await;
    let digest = place.plugin("reset_totp.wasm", &plugin_bytes());
    place.configure(digest, "");
    let served = place.serve().await;
    assert_eq!(served.hosting.stores().open(), 0, "nobody has asked yet");
    for (host, username) in [
        ("acme.example", "Alice.acme"),
        ("ACME.Example:8443", "Alice.acme"),
        ("chat.acme.example", "Alice.acme"),
        ("globex.example", "Alice.globex"),
    ] {
        let me = served.me(host, "alice").await;
        assert!(
            me.starts_with("200 ") && me.contains(username),
            "{host}: {me}"
        );
    }
    assert_eq!(served.hosting.stores().open(), 1, "they share a store");
    let gina = served.me("globex.example", "gina").await;
    assert!(gina.starts_with("200 "), "{gina}");
    assert!(served.me("acme.example", "gina").await.starts_with("401 "));
    let unknown = r#"421 {"success":false,"error":"No workspace is served under this host name"}"#;
    for host in ["example", "acme.example.evil", "127.0.0.1", "", "*"] {
        assert_eq!(served.me(host, "alice").await, unknown, "{host}");
    }
    let reset = served
        .ask(Method::POST, RESET, "acme.example", "admin")
        .await;
    assert_eq!(reset, r#"200 {"success":true}"#);
    let methods = place.data.another_handle().await;
    assert!(!methods.methods(ACME, "alice").await.unwrap().totp);
    assert!(methods.methods(GLOBEX, "alice").await.unwrap().totp);
}

/// Their accounts have the same ids.
#[tokio::test]
async fn an_administrator_sees_and_unlocks_nobody_of_another_workspace() {
    let place = Place::new().await;
    let digest = place.plugin("reset_totp.wasm", &plugin_bytes());
    place.configure(digest, "");
    let served = place.serve().await;
    let refused = served.ask(Method::POST, RESET, "globex.example", "admin");
    assert!(refused.await.contains("totp-invalid"), "the code is acme's");
    place.data.edit(
        "INSERT INTO outbox (workspace, message_id, recipient, subject, body, queued, expires,
                             holds_code, next_try)
         VALUES ('globex', 'm', 'gina@globex.example', 's', 'b', 0, 9000000000000000, 0, 0);
         INSERT INTO failed_attempt (workspace, user, count, locked_until)
         VALUES ('acme', 'alice', 5, 1234567900000), ('globex', 'alice', 5, 1234567900000)",
    );
    let see = async |host: &str, what: &str| {
        let path = format!("/api/v1/second-factor.{what}");
        served.ask(Method::GET, &path, host, "admin").await
    };
    for (what, of_globex) in [
        ("members", "Gina.globex"),
        ("members?search=gina", "Gina.globex"),
        ("audit", "totp-invalid"),
        ("audit?of=alice", "\"records\""),
        ("outbox", "gina@globex.example"),
        ("preview?userId=gina", "Gina.globex"),
    ] {
        let (theirs, ours) = (
            see("globex.example", what).await,
            see("acme.example", what).await,
        );
        assert!(
            theirs.starts_with("200 ") && theirs.contains(of_globex),
            "{what}: {theirs}"
        );
        assert!(
            !ours.contains("globex") && !ours.to_lowercase().contains("gina"),
            "{what}: {ours}"
        );
    }
    let audit = see("acme.example", "audit").await;
    assert!(audit.contains(r#""records":[]"#), "{audit}");
    let locked = async |host: &str| see(host, "members?locked=true").await.contains("Alice.");
    assert!(locked("acme.example").await && locked("globex.example").await);
    let unlock = "/api/v1/second-factor.unlock";
    let unlocked = served.ask(Method::POST, unlock, "acme.example", "admin");
    assert_eq!(unlocked.await, r#"200 {"success":true}"#);
    assert!(!locked("acme.example").await && locked("globex.example").await);
    let gina = "/api/v1/second-factor.members";
    let gina = served.ask(Method::GET, gina, "acme.example", "gina").await;
    assert!(gina.starts_with("401 "), "{gina}");
}

/// Authenticator apps overwrite a key by another of the same two names.
#[tokio::test]
async fn a_key_is_named_after_the_workspaces_first_host_or_as_the_setting_says() {
    let place = Place::new().await;
    let digest = place.plugin("reset_totp.wasm", &plugin_bytes());
    let settings = "[workspaces.acme.settings]\nmissing-factor-allowed = true\n";
    place.configure(digest, settings);
    let served = place.serve().await;
    let shown = async |host: &str| {
        let request = served
            .client
            .post(format!("http://{}/api/v1/users.enableTotp", served.address))
            .header("host", host)
            .header("x-user-id", "bob")
            .header("x-auth-token", "bob-token");
        let answer = request.send().await.unwrap().text().await.unwrap();
        let url = answer.split("otpauth://totp/").nth(1).unwrap_or(&answer);
        url.split("?secret").next().unwrap().to_owned()
    };
    assert_eq!(
        shown("chat.acme.example").await,
        "acme%2Eexample:Bob%2Eacme"
    );
    place.configure(digest, &format!("{settings}totp-issuer = \"Acme chat\"\n"));
    served.hosting.reload().await.unwrap();
    assert_eq!(shown("acme.example").await, "Acme%20chat:Bob%2Eacme");
}

#[tokio::test]
async fn settings_that_the_file_fixes_are_written_once_and_recorded() {
    let place = Place::new().await;
    let digest = place.plugin("reset_totp.wasm", &plugin_bytes());
    let secret = "smtp://ada:hunter2@mail.example?tls=required";
    secret_scan::register("hunter2");
    let fixed =
        format!("[workspaces.acme.settings]\ntotp-window = 2\nmail-server = \"{secret}\"\n");
    place.configure(digest, &fixed);
    let before = place.data.dump();
    let served = place.serve().await;
    let changes = before.changes(&place.data.dump());
    let lines: Vec<_> = changes.lines().collect();
    assert_eq!(lines.len(), 6, "{changes}");
    let place_of = |name: &str, line: u32| {
        let file = place.file.display();
        format!("+ fixed_setting: workspace=acme name={name} place={file} line {line}\n")
    };
    assert!(changes.contains(&place_of("mail-server", 12)), "{changes}");
    assert!(changes.contains(&place_of("totp-window", 11)), "{changes}");
    assert!(changes.contains("+ setting: workspace=acme name=totp-window value=2\n"));
    let audit: Vec<_> = lines
        .iter()
        .filter(|line| line.contains("audit:"))
        .collect();
    assert!(
        audit.iter().all(|line| !line.contains("hunter2")),
        "{audit:?}"
    );
    let after = place.data.dump();
    let loaded = served.hosting.reload().await.unwrap();
    let nothing = Loaded {
        workspaces: 2,
        changed: 0,
        removed: 0,
        settings: 0,
    };
    assert_eq!(loaded, nothing);
    assert_eq!(after.changes(&place.data.dump()), "");
    let store = place.data.another_handle().await;
    let set = store.set_setting(
        Operation {
            workspace: ACME.to_owned(),
            now: now(),
            request_id: "command".to_owned(),
            forced: false,
        },
        Setting::named("totp-window").unwrap(),
        "3".into(),
    );
    let refused = set.await.unwrap().unwrap_err().to_string();
    let line = format!("totp-window is fixed by {} line 11: ", place.file.display());
    assert!(refused.starts_with(&line), "{refused}");
}

#[tokio::test]
async fn a_configuration_that_is_wrong_in_one_place_changes_nothing() {
    let place = Place::new().await;
    let digest = place.plugin("reset_totp.wasm", &plugin_bytes());
    place.configure(digest, "");
    let served = place.serve().await;
    let before = place.data.dump();
    let host = "[host]\nlisten = \"127.0.0.1:9\"\n";
    let fixed = "[workspaces.acme.settings]\ntotp-window = 2\n";
    let nowhere = "[workspaces.nowhere]\nhosts = [\"nowhere.example\"]\n";
    let poor = "[workspaces.poor]\nhosts = [\"poor.example\"]\ngrants = [\"users\"]\n";
    let unknown = "[workspaces.acme.limits]\ncpu-millisecond = 20\n";
    for (more, problem) in [
        (host.to_owned() + fixed, "[host] has changed"),
        (nowhere.to_owned() + fixed, "has no workspace nowhere"),
        (poor.to_owned() + fixed, "not-granted"),
        (unknown.to_owned(), "did you mean `cpu-milliseconds`"),
    ] {
        place.configure(digest, &more);
        let refused: Refused = served.hosting.reload().await.unwrap_err();
        let text = refused.to_string();
        assert!(text.contains(problem), "{text}");
        assert_eq!(before.changes(&place.data.dump()), "");
        assert!(served.me("acme.example", "alice").await.starts_with("200 "));
    }
    place.configure(digest, "[workspaces.globex.limits]\ncalls = 3\n");
    let loaded = served.hosting.reload().await.unwrap();
    assert_eq!((loaded.workspaces, loaded.changed), (2, 1));
}

#[tokio::test]
async fn a_workspace_that_the_file_names_no_more_is_not_served() {
    let place = Place::new().await;
    let digest = place.plugin("reset_totp.wasm", &plugin_bytes());
    place.configure(digest, "");
    let served = place.serve().await;
    let text = std::fs::read_to_string(&place.file).unwrap();
    let (rest, _) = text.split_once("[workspaces.globex]").unwrap();
    std::fs::write(&place.file, rest).unwrap();
    assert_eq!(served.hosting.reload().await.unwrap().removed, 1);
    assert!(
        served
            .me("globex.example", "gina")
            .await
            .starts_with("421 ")
    );
    assert!(served.me("acme.example", "alice").await.starts_with("200 "));
}

/// A backup, for example, beside what the store that is open has not merged yet.
#[tokio::test]
async fn a_file_in_the_place_of_an_open_store_is_neither_looked_into_nor_opened() {
    let place = Place::new().await;
    let digest = place.plugin("plugin.wasm", &Guest::default().component());
    place.configure(digest, "");
    let served = place.serve().await;
    assert!(served.me("acme.example", "alice").await.starts_with("200 "));
    let path = place.data.path();
    let backup = path.with_extension("backup");
    let copy = "VACUUM INTO ?1";
    let copied = place.data.connect().execute(copy, [backup.to_str()]);
    copied.unwrap();
    let bytes = std::fs::read(&backup).unwrap();
    std::fs::rename(&backup, &path).unwrap();
    let refused = served.hosting.reload().await.unwrap_err().to_string();
    assert!(refused.contains("moved, replaced or deleted"), "{refused}");
    assert!(!served.hosting.reasons_not_ready().await.is_empty());
    let status = served.hosting.status().await;
    assert_eq!(status["stores"][0]["moved"], true, "{status}");
    served.hosting.stores().close_idle(Duration::ZERO).await;
    served.me("acme.example", "alice").await;
    assert!(!served.hosting.reasons_not_ready().await.is_empty());
    assert!(std::fs::read(path).unwrap() == bytes, "it is as it was");
}

/// Two plugins that tell themselves by their answers take turns; a third is never
/// admitted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_is_replaced_a_hundred_times_under_load_and_nothing_is_lost() {
    const CLIENTS: usize = 8;
    let place = Place::new().await;
    place
        .data
        .edit("INSERT INTO setting VALUES ('acme', 'rate-limit-calls', '0')");
    // With a blank after its answer, or without.
    let answering = |length: u8| {
        let export = format!(
            "(i32.store8 (i32.const 17) (i32.const 32))
             (call $answer (i32.const 400) (i32.const 0) (i32.const {length}))"
        );
        let guest = Guest {
            export: &export,
            ..Guest::default()
        };
        guest.component()
    };
    let digests = [
        place.plugin("one.wasm", &answering(17)),
        place.plugin("two.wasm", &answering(18)),
    ];
    let broken = place.plugin("broken.wasm", b"\0asm\x0d\0\x01\0");
    place.configure(digests[0], "");
    let served = place.serve().await;
    let (stop, answers) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (served, stop, answers) = (served.clone(), stop.clone(), answers.clone());
        clients.spawn(async move {
            while !stop.load(Ordering::SeqCst) {
                let answer = served
                    .ask(Method::POST, RESET, "acme.example", "admin")
                    .await;
                let known = [r#"400 {"success":false}"#, r#"400 {"success":false} "#];
                assert!(known.contains(&answer.as_str()), "{answer}");
                answers.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    for replacement in 1..=100 {
        let next = replacement % 2;
        if replacement % 10 == 0 {
            place.configure(broken, "");
            served.hosting.reload().await.unwrap_err();
        }
        place.configure(digests[next], "");
        let before = answers.load(Ordering::SeqCst);
        assert_eq!(served.hosting.reload().await.unwrap().changed, 2);
        let expected = [r#"400 {"success":false}"#, r#"400 {"success":false} "#][next];
        let answer = served
            .ask(Method::POST, RESET, "acme.example", "admin")
            .await;
        assert_eq!(
            answer, expected,
            "what begins afterwards is for the new one"
        );
        while answers.load(Ordering::SeqCst) == before {
            tokio::task::yield_now().await;
        }
    }
    stop.store(true, Ordering::SeqCst);
    clients.join_all().await;
    let answered = answers.load(Ordering::SeqCst) + 100;
    let count = "SELECT count(*) FROM audit WHERE workspace = 'acme' AND action = 'reset-totp'";
    let recorded: u32 = place
        .data
        .connect()
        .query_row(count, [], |row| row.get(0))
        .unwrap();
    assert_eq!(
        usize::try_from(recorded).unwrap(),
        answered,
        "each is recorded once"
    );
    assert!(answered > 200, "{answered}");
}

#[tokio::test]
async fn ten_thousand_workspaces_share_one_plugin_and_hold_no_store_open() {
    const COUNT: usize = 10_000;
    let place = Place::new().await;
    let digest = place.plugin("reset_totp.wasm", &plugin_bytes());
    let mut more = String::new();
    let mut sql = "BEGIN;".to_owned();
    for number in 0..COUNT {
        write!(
            more,
            "[workspaces.w{number}]\nhosts = [\"w{number}.example\"]\n"
        )
        .unwrap();
        write!(sql, "INSERT INTO workspace (id) VALUES ('w{number}');").unwrap();
    }
    sql += "COMMIT;";
    place.data.edit(&sql);
    place.configure(digest, &more);
    let served = place.serve().await;
    assert_eq!(served.hosting.stores().open(), 0);
    let workspaces = served.hosting.app(Vec::new()).workspaces.load_full();
    let plugin = &workspaces.of_host("acme.example").unwrap().plugin;
    for number in 0..COUNT {
        let workspace = workspaces.of_host(&format!("w{number}.example")).unwrap();
        assert_eq!(workspace.id, format!("w{number}"));
        assert!(Arc::ptr_eq(&workspace.plugin, plugin));
    }
    assert!(
        served
            .me("w9999.example", "nobody")
            .await
            .starts_with("401 ")
    );
    let loaded = served.hosting.reload().await.unwrap();
    assert_eq!((loaded.workspaces, loaded.changed), (COUNT + 2, 0));
}

/// Otherwise a plugin that takes long to compile, or a store that is stuck, blinds
/// whoever has to see to it.
#[tokio::test]
async fn operators_are_answered_while_a_configuration_is_taken() {
    let place = Place::new().await;
    let digest = place.plugin("reset_totp.wasm", &plugin_bytes());
    place.configure(digest, "");
    let served = place.serve().await;
    place.configure(digest, "[workspaces.acme.settings]\ntotp-window = 3\n");
    let lock = place.data.connect();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let look = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let hosting = &served.hosting;
        let look = async { (hosting.breakers().await.len(), hosting.snapshot().await) };
        let look = tokio::time::timeout(Duration::from_secs(1), look).await;
        lock.execute_batch("ROLLBACK").unwrap();
        look.unwrap().1.workspaces
    };
    let (loaded, workspaces) = tokio::join!(served.hosting.reload(), look);
    assert_eq!((loaded.unwrap().settings, workspaces), (1, 2));
}

/// A store that another program keeps to itself is waited for where nothing can stop that:
/// so is a file of a file system that hangs, for longer.
#[tokio::test]
async fn a_reload_that_waits_for_too_long_is_given_up_and_holds_up_no_other() {
    let place = Place::new().await;
    let digest = place.plugin("reset_totp.wasm", &plugin_bytes());
    let held = place.file.with_file_name("held.sqlite");
    std::fs::copy(place.data.path(), &held).unwrap();
    place.configure(digest, "");
    let served = place.serve().await;
    place.configure(digest, "store = \"held.sqlite\"\n");
    let holder = Connection::open(&held).unwrap();
    holder
        .execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; COMMIT;")
        .unwrap();

    tokio::time::pause();
    let time_passes = async {
        // The holder has it open, too.
        let waits = move || {
            while times_held(std::process::id(), &held) < 2 {
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        tokio::task::spawn_blocking(waits).await.unwrap();
        tokio::time::advance(RELOAD_LIMIT + Duration::from_secs(1)).await;
    };
    let (given_up, ()) = tokio::join!(served.hosting.reload(), time_passes);
    tokio::time::resume();
    let text = given_up.unwrap_err().to_string();
    assert_eq!(
        text,
        "it took longer than 300 s: a file or a store may not answer"
    );
    let text = served.hosting.reload().await.unwrap_err().to_string();
    assert!(
        text.starts_with("an earlier reload was given up and still waits"),
        "{text}"
    );

    drop(holder);
    let loaded = loop {
        if let Ok(loaded) = served.hosting.reload().await {
            break loaded;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(
        loaded.changed, 1,
        "the one that was given up changed nothing"
    );
}

#[tokio::test]
async fn a_process_is_ready_while_one_of_its_stores_answers() {
    let place = Place::new().await;
    let sick = place.file.with_file_name("sick.sqlite");
    std::fs::copy(place.data.path(), &sick).unwrap();
    let digest = place.plugin("reset_totp.wasm", &plugin_bytes());
    place.configure(digest, "store = \"sick.sqlite\"\n");
    let served = place.serve().await;
    let ready = async || served.hosting.reasons_not_ready().await;
    assert!(
        served
            .me("globex.example", "gina")
            .await
            .starts_with("200 ")
    );
    assert!(ready().await.is_empty());
    // What can be read and not written is of no use.
    let writer = Connection::open(&sick).unwrap();
    writer.execute_batch("BEGIN IMMEDIATE").unwrap();
    let reasons = ready().await;
    assert_eq!(reasons.len(), 1, "{reasons:?}");
    drop(writer);
    assert!(ready().await.is_empty());
    let broken = Connection::open(&sick).unwrap();
    broken.execute_batch("DROP TABLE outbox").unwrap();
    let reasons = ready().await;
    assert_eq!(reasons.len(), 1, "{reasons:?}");
    assert!(
        reasons.concat().contains("sick.sqlite: the store failed: "),
        "{reasons:?}"
    );
    assert!(served.me("acme.example", "alice").await.starts_with("200 "));
    assert!(ready().await.is_empty(), "acme is served");
    let status = served.hosting.status().await;
    let stores = status["stores"].as_array().unwrap();
    let is_sick = |path: &serde_json::Value| path.as_str().unwrap().ends_with("sick.sqlite");
    let written: Vec<_> = stores
        .iter()
        .map(|store| (is_sick(&store["url"]), store["written"] == true))
        .collect();
    assert!(written.contains(&(true, false)), "{status}");
    assert!(written.contains(&(false, true)), "{status}");
    let snapshot = served.hosting.snapshot().await;
    assert_eq!((snapshot.open_stores, snapshot.unwritable_stores), (2, 1));
}
