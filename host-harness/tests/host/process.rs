//! A process that serves a configuration, as an operator meets it: signals, the
//! admin listener and the commands that speak to it.

use crate::stores::times_held;
use chat_testing::guest::Guest;
use chat_testing::guest::plugin_bytes;
use chat_testing::{Data, KEY, NEW_KEY, PATIENCE, seal_of, until};
use plugin_sandbox::digest::Digest;
use reqwest::Client;
use rusqlite::Connection;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// A process and the folder that it serves.
pub(crate) struct Process {
    data: Data,
    child: Child,
    log: Receiver<String>,
    /// Nobody reads the process's log as long as this is locked.
    pub(crate) reading: Arc<Mutex<()>>,
    pub(crate) url: String,
    pub(crate) admin: String,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// One that serves acme with this plugin, without a rate limit.
    pub(crate) async fn start(plugin: &[u8]) -> Self {
        Self::start_by("exec \"$@\"", plugin).await
    }

    /// The same by a line of the shell, whose arguments are the command.
    pub(crate) async fn start_by(line: &str, plugin: &[u8]) -> Self {
        let mut process = Self::launch(line, plugin).await;
        process.listens();
        process
    }

    /// The same, which does not listen yet.
    async fn launch(line: &str, plugin: &[u8]) -> Self {
        let data = Data::closed().await;
        let folder = data.path().parent().unwrap().to_owned();
        std::fs::write(folder.join("plugin.wasm"), plugin).unwrap();
        std::fs::write(folder.join("other.wasm"), plugin_bytes()).unwrap();
        configure(&data, plugin, "");
        Self::of(data, line)
    }

    /// One of the configuration beside the store; it does not listen yet.
    pub(crate) fn of(data: Data, line: &str) -> Self {
        let mut child = Command::new("sh")
            .args(["-c", line, "sh", env!("CARGO_BIN_EXE_host-harness")])
            .args(["serve", "--log", "json", "--config"])
            .arg(file(&data))
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, log) = channel();
        let stderr = secret_scan::Kept::new("stderr", child.stderr.take().unwrap());
        let lines = BufReader::new(stderr).lines();
        let reading = Arc::new(Mutex::new(()));
        let may_read = reading.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                drop(may_read.blocking_lock());
                let _ = sender.send(line);
            }
        });
        Self {
            data,
            child,
            log,
            reading,
            url: String::new(),
            admin: String::new(),
        }
    }

    pub(crate) fn listens(&mut self) {
        self.admin = self.logged("operators are answered", "url");
        self.url = self.logged("listening", "url");
    }

    /// Waits for the line with this message; says one of its fields.
    pub(crate) fn logged(&self, message: &str, field: &str) -> String {
        loop {
            let line = self.log.recv_timeout(PATIENCE);
            assert!(line.is_ok(), "`{message}` is not logged");
            let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
            let fields = line.get("fields").unwrap();
            if fields.get("message").is_some_and(|text| text == message) {
                let value = fields.get(field).unwrap();
                return value.as_str().map_or(value.to_string(), ToOwned::to_owned);
            }
        }
    }

    /// Status and body of what the admin listener answers.
    pub(crate) async fn asked(&self, path: &str) -> (u16, String) {
        let response = client().get(format!("{}{path}", self.admin)).send();
        let response = response.await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        secret_scan::keep("admin", &text);
        (status, text)
    }

    /// Status of a request to reset, of the host named so.
    pub(crate) async fn reset(&self, host: &str) -> u16 {
        let request = client()
            .post(format!("{}/api/v1/users.resetTOTP", self.url))
            .header("host", host)
            .header("x-user-id", "admin")
            .header("x-auth-token", "admin-token");
        request.send().await.unwrap().status().as_u16()
    }

    /// What a command that speaks to the process prints; none where it fails, and
    /// what it says then.
    fn command(&self, args: &[&str]) -> Result<String, String> {
        let address = self.admin.strip_prefix("http://").unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_host-harness"))
            .args(args)
            .args(["--admin", address])
            .output()
            .unwrap();
        secret_scan::keep_output(&output);
        match output.status.success() {
            true => Ok(String::from_utf8(output.stdout).unwrap()),
            false => Err(String::from_utf8(output.stderr).unwrap()),
        }
    }

    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &pid]).status();
        assert!(sent.unwrap().success());
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Tells it to stop, and waits until it has: how it ended, how long that took, and what
    /// it had logged that was not looked at.
    pub(crate) fn stop(mut self) -> (ExitStatus, Duration, Vec<String>) {
        let (status, time) = self.end();
        (status, time, self.log.iter().collect())
    }

    /// The same without its log.
    pub(crate) fn end(&mut self) -> (ExitStatus, Duration) {
        let start = Instant::now();
        self.signal("TERM");
        let status = self.child.wait().unwrap();
        (status, start.elapsed())
    }
}

pub(crate) fn client() -> Client {
    Client::builder().no_proxy().build().unwrap()
}

pub(crate) fn file(data: &Data) -> PathBuf {
    data.path().with_file_name("chat.toml")
}

fn configure(data: &Data, plugin: &[u8], more: &str) {
    let text = format!(
        "[host]\nlisten = \"127.0.0.1:0\"\nadmin-listen = \"127.0.0.1:0\"\ncache = \"code\"\n\
         key-file = \"store.key\"\n\
         [plugins]\nfiles = [\"plugin.wasm\", \"other.wasm\"]\n\
         [workspaces.acme]\nhosts = [\"acme.example\"]\nstore = \"store.sqlite\"\nplugin = \"{}\"\n\
         grants = [\"wall-clock\", \"users\", \"permissions\", \"settings\", \"secrets\"]\n\
         settings.rate-limit-calls = 0\n{more}",
        Digest::of(plugin)
    );
    std::fs::write(file(data), text).unwrap();
    data.key_file();
}

const GLOBEX: &str = "[workspaces.globex]\nhosts = [\"globex.example\"]\nstore = \"store.sqlite\"\n\
                      plugin = \"DIGEST\"\ngrants = [\"secrets\", \"settings\"]\n";

#[tokio::test]
async fn an_operator_replaces_what_is_served_by_a_signal_or_a_command() {
    let guest = Guest::default().component();
    let process = Process::start(&guest).await;
    assert_eq!(process.reset("acme.example").await, 400);
    assert_eq!(process.reset("globex.example").await, 421);
    let (status, body) = process.asked("/healthz").await;
    assert_eq!((status, body.as_str()), (200, r#"{"status":"live"}"#));
    assert_eq!(process.asked("/readyz").await.0, 200);

    let globex = GLOBEX.replace("DIGEST", &Digest::of(&guest).to_string());
    configure(&process.data, &guest, &globex);
    process.signal("HUP");
    assert_eq!(process.logged("took the configuration", "workspaces"), "2");
    assert_eq!(process.reset("globex.example").await, 400);

    configure(&process.data, b"no such plugin", &globex);
    let refused = process.command(&["reload"]).unwrap_err();
    assert!(
        refused.contains("no file of [plugins] has the digest that the workspace acme names"),
        "{refused}"
    );
    process.logged("the configuration stays as it was", "error");
    assert_eq!(process.reset("acme.example").await, 400);

    configure(&process.data, &plugin_bytes(), "");
    assert_eq!(
        process.command(&["reload"]).unwrap(),
        "1 workspace served: 1 changed, 1 removed; 0 settings written\n"
    );
    assert_eq!(
        process.reset("acme.example").await,
        400,
        "a code is asked for"
    );
    assert_eq!(process.reset("globex.example").await, 421);
    let (_, metrics) = process.asked("/metrics").await;
    for sample in [
        "chat_workspaces 1\n".to_owned(),
        "chat_stores_open 1\n".to_owned(),
        format!(
            "chat_plugin_workspaces{{plugin=\"{}\"}} 1\n",
            Digest::of(&plugin_bytes())
        ),
        "chat_plugin_calls_total{outcome=\"answered\"} 4\n".to_owned(),
    ] {
        assert!(metrics.contains(&sample), "{metrics} lacks {sample}");
    }
}

/// OWASP ASVS 5.0 V11.2.2: a key is replaced without an outage.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_changes_the_key_of_the_store_while_requests_go_on() {
    let process = Process::start(&plugin_bytes()).await;
    let data = &process.data;
    data.write_keys(&[NEW_KEY]);
    let refused = process.command(&["reload"]).unwrap_err();
    assert!(
        refused.contains("it is sealed under the key ") && refused.contains("is not among those"),
        "{refused}"
    );
    process.logged("the configuration stays as it was", "error");
    assert_eq!(
        process.reset("acme.example").await,
        400,
        "a code is asked for"
    );

    let keys = data.write_keys(&[NEW_KEY, KEY]);
    process.signal("HUP");
    process.logged("took the configuration", "workspaces");
    let path = data.path();
    let rekey = Command::new(env!("CARGO_BIN_EXE_host-harness"))
        .args(["store", "rekey", "--store", path.to_str().unwrap()])
        .args(["--key-file", keys.to_str().unwrap()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let rekey = tokio::task::spawn_blocking(|| rekey.wait_with_output().unwrap());
    let mut served = 0;
    while served == 0 || !rekey.is_finished() {
        assert_eq!(process.reset("acme.example").await, 400);
        served += 1;
    }
    let output = rekey.await.unwrap();
    secret_scan::keep_output(&output);
    assert!(output.status.success());
    let said = String::from_utf8(output.stdout).unwrap();
    let id = seal_of(&[NEW_KEY]).key_id().unwrap();
    let under = format!("values sealed; everything is under the key {id} now\n");
    assert!(said.ends_with(&under), "{said}");

    data.write_keys(&[NEW_KEY]);
    process.command(&["reload"]).unwrap();
    assert_eq!(process.reset("acme.example").await, 400);
    assert!(data.open_by(&seal_of(&[NEW_KEY])).await.is_ok());
    assert!(data.open_by(&seal_of(&[KEY])).await.is_err());
    // The process says where its keys are.
    let address = process.admin.strip_prefix("http://").unwrap();
    let status = Command::new(env!("CARGO_BIN_EXE_host-harness"))
        .args(["status", "--admin", address])
        .output()
        .unwrap();
    secret_scan::keep_output(&status);
    let status = String::from_utf8(status.stdout).unwrap();
    let line = format!("{} is sealed under the key {id}", path.display());
    assert!(status.contains(&line), "{status}");
}

#[tokio::test]
async fn an_operator_sees_the_breaker_and_closes_it() {
    let failing = Guest {
        export: "(unreachable)",
        ..Guest::default()
    };
    let failing = failing.component();
    let process = Process::start(&failing).await;
    let list = || process.command(&["breaker", "list"]).unwrap();
    assert_eq!(list(), "every breaker is closed\n");
    for status in [502, 502, 502, 502, 502, 503] {
        assert_eq!(process.reset("acme.example").await, status);
    }
    let digest = Digest::of(&failing).to_string();
    let shown = list();
    for part in ["acme", &digest] {
        assert!(shown.contains(part), "{shown}");
    }
    let reset = |workspace| process.command(&["breaker", "reset", workspace]);
    let unknown = reset("nowhere").unwrap_err();
    assert_eq!(unknown, "host-harness: there is no such workspace\n");
    assert_eq!(reset("acme").unwrap(), "1 breaker closed\n");
    assert_eq!(reset("acme").unwrap(), "0 breakers closed\n");
    assert_eq!(process.reset("acme.example").await, 502);
}

/// Each of the stores is waited for 2 s, where nothing can stop that.
#[tokio::test]
async fn a_reload_that_waits_does_not_hold_up_the_end_of_the_process() {
    let guest = Guest::default().component();
    let mut process = Process::start(&guest).await;
    let (mut held, mut holders) = (Vec::new(), Vec::new());
    let mut more = String::new();
    for number in 0..8 {
        let name = format!("held-{number}.sqlite");
        let path = process.data.path().with_file_name(&name);
        std::fs::copy(process.data.path(), &path).unwrap();
        let holder = Connection::open(&path).unwrap();
        let hold = "PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; COMMIT;";
        holder.execute_batch(hold).unwrap();
        holders.push(holder);
        held.push(path);
        more += &format!(
            "[workspaces.w{number}]\nhosts = [\"w{number}.example\"]\nstore = \"{name}\"\n\
             plugin = \"{}\"\n",
            Digest::of(&guest)
        );
    }
    configure(&process.data, &guest, &more);
    process.signal("HUP");
    let is_held = |path: &PathBuf| times_held(process.id(), path) > 0;
    until("one of them is open", || held.iter().any(is_held)).await;
    assert_eq!(process.reset("acme.example").await, 400);
    let (status, time) = process.end();
    assert!(status.success(), "{status}");
    assert!(time < Duration::from_secs(3), "{time:?}");
}

/// The processes that compile inherit the limit of this one, which uses next to nothing.
#[tokio::test]
async fn a_plugin_that_takes_a_compiler_too_long_is_refused_and_everything_goes_on() {
    let guest = Guest::default().component();
    let mut process = Process::launch("ulimit -t 8; exec \"$@\"", &guest).await;
    process.listens();
    let other = process.data.path().with_file_name("other.wasm");

    let costly = costly();
    std::fs::write(&other, &costly).unwrap();
    configure(&process.data, &costly, "");
    let refused = process.command(&["reload"]).unwrap_err();
    let expected = "is not admitted for the workspace acme: [compile-too-costly] to compile it \
                    takes more than 120 s of processor time, which is what any plugin gets";
    assert!(refused.contains(expected), "{refused}");
    assert_eq!(process.reset("acme.example").await, 400);

    std::fs::write(&other, plugin_bytes()).unwrap();
    configure(&process.data, &plugin_bytes(), "");
    process.command(&["reload"]).unwrap();
    assert_eq!(process.reset("acme.example").await, 400);
}

/// As much work as an admissible plugin can be for a compiler.
fn costly() -> Vec<u8> {
    let variable = |n: usize| n % 1_000 + 1;
    // Sixty-four loops in each other, each of which changes a variable.
    let nest = |nest: usize| {
        let first = 64 * nest;
        let open = (first..first + 64).map(|n| {
            let (changed, read) = (variable(n), variable(7 * n));
            format!(
                "(loop (local.set {changed}
                   (i32.add (local.get {changed}) (local.get {read})))"
            )
        });
        let close = (0..64).map(|n| format!("(br_if 0 (local.get {})))", variable(3 * n)));
        open.chain(close).collect::<String>()
    };
    let nests: String = (0..8).map(nest).collect();
    let locals = "i32 ".repeat(1_000);
    let functions = format!("(func (param i32) (local {locals}) {nests})").repeat(16);
    let guest = Guest {
        fields: &format!(r#"(memory (export "memory") 1) {functions}"#),
        ..Guest::default()
    };
    guest.component()
}

#[tokio::test]
async fn a_process_that_is_given_few_addresses_serves_and_says_what_that_costs() {
    let mut process = Process::launch("ulimit -v 64000000; exec \"$@\"", &plugin_bytes()).await;
    let warning = "the system gives few addresses: plugins are slower, as each of their accesses \
                   to memory is checked; a higher `ulimit -v`, or fewer `calls` in [host], mends it";
    // What 129 calls of four memories of 4 GiB want.
    assert_eq!(process.logged(warning, "wanted_mebibytes"), "2113536");
    process.listens();
    assert_eq!(process.reset("acme.example").await, 400);
}

#[tokio::test]
async fn a_process_that_is_given_too_few_addresses_names_the_mend() {
    let data = Data::closed().await;
    configure(&data, b"", "");
    let output = Command::new("sh")
        .args(["-c", "ulimit -v 4000000; exec \"$@\"", "sh"])
        .arg(env!("CARGO_BIN_EXE_host-harness"))
        .args(["serve", "--config"])
        .arg(file(&data))
        .output()
        .unwrap();
    secret_scan::keep_output(&output);
    let problem = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    let start = "host-harness: cannot start the engine: the system does not give the 8256 MiB of \
                 addresses that 128 calls at a time need: raise `ulimit -v`, or lower `calls` of \
                 [host] or `memory-bytes` of [host.limits]: ";
    assert!(problem.starts_with(start), "{problem}");
}

#[test]
fn a_process_that_is_not_there_is_said() {
    let output = Command::new(env!("CARGO_BIN_EXE_host-harness"))
        .args(["reload", "--admin", "127.0.0.1:9"])
        .output()
        .unwrap();
    secret_scan::keep_output(&output);
    let problem = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    let start = "host-harness: no process answers operators at 127.0.0.1:9; name it by --admin";
    assert!(problem.starts_with(start), "{problem}");
}

#[tokio::test]
async fn a_status_of_a_process_tells_what_it_serves() {
    let process = Process::start(&plugin_bytes()).await;
    let status = process.command(&["status"]).unwrap();
    for line in [
        "ok  process  serves 1 workspace, 0 calls now",
        "ok  ready    for requests",
        "ok  plugin   sha256:",
        "ok  store    ",
        "ok  disk     ",
    ] {
        assert!(status.contains(line), "{line}: {status}");
    }
    let (code, text) = process.asked("/status").await;
    let served: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &served["workspaces"]), (200, &json!(1)));
    assert_eq!(served["stores"][0]["workspaces"], json!(["acme"]));
    assert_eq!(served["stores"][0]["written"], true);
}
