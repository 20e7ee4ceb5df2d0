//! What a hostile guest can try, each over HTTP and beside a neighbour on the same
//! engine: what the client is told, what the log says and what changed in the
//! store, as one text; and the neighbour's answers stay right.
//!
//! The contract has no handles to misuse. What is refused before it runs is in
//! `loading`.

use arc_swap::ArcSwap;
use chat_server::clock::Clock;
use chat_server::http::{self, App};
use chat_server::stores::HostedStore;
use chat_server::workspace::{HostedWorkspace, Workspaces};
use chat_testing::guest::{ANSWER, Guest, LOOP, limits};
use chat_testing::{ACME, Data, GLOBEX, now};
use expect_test::expect_file;
use plugin_sandbox::capabilities::{Fault, FaultKind, Faults};
use plugin_sandbox::host_call::HostCall;
use plugin_sandbox::limits::Limits;
use std::fmt::Write as _;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;

/// Requests of the neighbour while one attack runs.
const NEIGHBOURS: usize = 3;

/// Claims another proof, of so many bytes.
macro_rules! claiming {
    ($bytes:literal) => {
        concat!(
            "(call $reset (i32.const 5) (i64.const 0) (i32.const ",
            $bytes,
            ") (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 2048)) (unreachable)"
        )
    };
}
/// Makes the text at address 0 no UTF-8. A text that is too long is refused before
/// anybody looks at it.
macro_rules! spoil {
    () => {
        "(i32.store8 (i32.const 0) (i32.const 0xff))"
    };
}

struct Attack {
    name: &'static str,
    guest: Guest<'static>,
    faults: Faults,
}

fn attack(name: &'static str, guest: Guest<'static>) -> Attack {
    let faults = Faults::default();
    Attack {
        name,
        guest,
        faults,
    }
}

fn export(name: &'static str, export: &'static str) -> Attack {
    let guest = Guest {
        export,
        ..Guest::BEHAVING
    };
    attack(name, guest)
}

fn fields(name: &'static str, fields: &'static str) -> Attack {
    let guest = Guest {
        fields,
        ..Guest::BEHAVING
    };
    attack(name, guest)
}

fn fault(name: &'static str, kind: FaultKind) -> Attack {
    let fault = Fault {
        function: Some(HostCall::TotpWindow),
        nth: 1,
        kind,
    };
    Attack {
        faults: Faults::from_iter([fault]),
        ..export(name, "(drop (call $totp-window)) (unreachable)")
    }
}

fn attacks() -> Vec<Attack> {
    vec![
        export("a loop in the export", LOOP),
        fields(
            "a loop in the start function",
            r#"(memory (export "memory") 1)
               (func $start (loop $again (br $again))) (start $start)"#,
        ),
        attack(
            "a loop in realloc",
            Guest {
                realloc: LOOP,
                ..Guest::BEHAVING
            },
        ),
        fields(
            "a loop after the answer",
            r#"(memory (export "memory") 1)
               (func (export "cabi_post_chat:reset-totp/handler@0.1.0#reset-totp") (param i32)
                 (loop $again (br $again)))"#,
        ),
        export(
            "memory, page by page",
            "(loop $again
               (br_if $again (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
             (unreachable)",
        ),
        fields(
            "too much memory from the start",
            r#"(memory (export "memory") 257)"#,
        ),
        fields(
            "two memories that are too much together",
            r#"(memory (export "memory") 160) (memory 160)"#,
        ),
        attack(
            "a table that grows",
            Guest {
                fields: r#"(memory (export "memory") 1) (table $t 1 funcref)"#,
                export: "(drop (table.grow $t (ref.null func) (i32.const 10000))) (unreachable)",
                ..Guest::BEHAVING
            },
        ),
        attack(
            "recursion without end",
            Guest {
                fields: r#"(memory (export "memory") 1) (func $deeper (call $deeper))"#,
                export: "(call $deeper) (unreachable)",
                ..Guest::BEHAVING
            },
        ),
        export(
            "a flood of host calls",
            "(loop $again (drop (call $totp-window)) (br $again)) (unreachable)",
        ),
        attack(
            "a text of 10 MB for the host",
            Guest {
                fields: r#"(memory (export "memory") 200)"#,
                export: concat!(spoil!(), claiming!("10000000")),
                ..Guest::BEHAVING
            },
        ),
        export("a text of 200 MB that is not there", claiming!("200000000")),
        export(
            "a text for the host that is not UTF-8",
            concat!(spoil!(), claiming!("16")),
        ),
        attack(
            "an answer of 10 MB",
            Guest {
                fields: r#"(memory (export "memory") 200)"#,
                export: concat!(
                    spoil!(),
                    "(call $answer (i32.const 400) (i32.const 0) (i32.const 10000000))"
                ),
                ..Guest::BEHAVING
            },
        ),
        export(
            "an answer that is not UTF-8",
            concat!(
                spoil!(),
                "(call $answer (i32.const 400) (i32.const 0) (i32.const 17))"
            ),
        ),
        export(
            "an answer out of bounds",
            "(call $answer (i32.const 400) (i32.const 65530) (i32.const -1))",
        ),
        export(
            "an answer that is not JSON",
            "(call $answer (i32.const 400) (i32.const 0) (i32.const 16))",
        ),
        export(
            "a success without a reset",
            "(call $answer (i32.const 200) (i32.const 0) (i32.const 17))",
        ),
        attack(
            "a realloc that points nowhere",
            Guest {
                realloc: "(i32.const -1)",
                ..Guest::BEHAVING
            },
        ),
        attack(
            "a realloc that traps",
            Guest {
                realloc: "(unreachable)",
                ..Guest::BEHAVING
            },
        ),
        export("a trap before the first host call", "(unreachable)"),
        export(
            "a trap between two host calls",
            "(call $begin-totp-attempt (i32.const 2048))
             (if (i32.const 1) (then (unreachable)))
             (drop (call $totp-window)) (unreachable)",
        ),
        attack(
            "a trap whose text breaks the line",
            Guest {
                fields: "(memory (export \"memory\") 1)
                    (func $\"\\n\\1b[31mERROR forged\" (unreachable))",
                export: "(call $\"\\n\\1b[31mERROR forged\") (unreachable)",
                ..Guest::BEHAVING
            },
        ),
        fault("a host call that never returns", FaultKind::Silence),
        fault("a host call that fails", FaultKind::Error),
        fault("a host call in which the host panics", FaultKind::Panic),
    ]
}

#[tokio::test]
async fn each_attack_ends_as_it_should_and_no_neighbour_notices() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new("info"))
        .with_ansi(false)
        .with_target(false)
        .without_time()
        .with_writer(move || writer.clone())
        .finish();
    let _capturing = tracing::subscriber::set_default(subscriber);
    let mut report = String::new();
    for attack in attacks() {
        let name = attack.name;
        let (answer, changes) = run(attack).await;
        let lines = log.take();
        writeln!(report, "# {name}\n{answer}\n{lines}{changes}").unwrap();
    }
    expect_file!["attacks.txt"].assert_eq(&report);
}

/// The attack's answer, and what it changed in the store beside the audit trail.
async fn run(attack: Attack) -> (String, String) {
    let data = Data::new().await;
    data.edit(
        "INSERT INTO setting VALUES ('acme', 'rate-limit-calls', '0'),
                                    ('globex', 'rate-limit-calls', '0')",
    );
    let before = data.dump();
    let address = serve(&data, &attack).await;
    let neighbours = async {
        for _ in 0..NEIGHBOURS {
            assert_eq!(reset(&address, GLOBEX).await, format!("400 {ANSWER}"));
        }
    };
    let (answer, ()) = tokio::join!(reset(&address, ACME), neighbours);
    let changes = before.changes(&data.dump());
    let (records, others): (Vec<_>, Vec<_>) = changes
        .lines()
        .partition(|line| line.starts_with("+ audit:"));
    assert_eq!(records.len(), NEIGHBOURS + 1);
    let others = others.iter().map(|line| format!("{line}\n"));
    (answer, others.collect())
}

/// Where acme, with the attack, and its neighbour are served.
async fn serve(data: &Data, attack: &Attack) -> String {
    let store = Arc::new(HostedStore::opened(data.url(), data.store.clone()));
    let workspace = |id: &str, guest: &Guest<'_>, limits| {
        let plugin = Arc::new(guest.plugin());
        HostedWorkspace::new(id.to_owned(), store.clone(), plugin, limits)
    };
    let limits = Limits {
        host_call_time: Duration::from_secs(2),
        ..limits()
    };
    let mut acme = workspace(ACME, &attack.guest, limits);
    acme.faults = attack.faults.clone();
    let globex = workspace(GLOBEX, &Guest::BEHAVING, limits);
    let workspaces = [acme, globex].map(|workspace| (workspace.id.clone(), Arc::new(workspace)));
    let app = App {
        workspaces: Arc::new(ArcSwap::from_pointee(Workspaces::from_iter(workspaces))),
        clock: Clock::new(now),
        trusted_proxies: Vec::new(),
        metrics: Arc::default(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(http::serve(listener, app, std::future::pending()));
    address
}

/// Status and body of an administrator's request to a workspace.
async fn reset(address: &str, workspace: &str) -> String {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client
        .post(format!("http://{address}/api/v1/users.resetTOTP"))
        .header("host", workspace)
        .header("x-user-id", "admin")
        .header("x-auth-token", "admin-token");
    let response = request.body("{}").send().await.unwrap();
    let status = response.status().as_u16();
    format!("{status} {}", response.text().await.unwrap())
}

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// The lines that tell of failures, without what differs from run to run.
    fn take(&self) -> String {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap());
        let text = String::from_utf8(bytes).unwrap();
        let lines = text.lines().filter(|line| !line.contains("INFO"));
        lines.map(|line| format!("{}\n", scrubbed(line))).collect()
    }
}

/// Without the request's id and addresses of code.
fn scrubbed(line: &str) -> String {
    let words = line.trim_start().split(' ').map(|word| {
        let is_address = word.trim_end_matches(':').starts_with("0x");
        match word.split_once("request_id=\"") {
            Some((before, _id)) => format!("{before}request_id=…}}:"),
            None if is_address => "0x…".to_owned(),
            None => word.to_owned(),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
