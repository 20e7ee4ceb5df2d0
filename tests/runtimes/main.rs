//! The plugin's own file in hosts that are not ours, as the contract says: in Python, in Node.js, and in
//! a server of `wasi:http` that a stock runtime serves. Each is a recipe for other servers.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on must fail"
)]

mod host;

use host::{ADMIN, Accounts, Host, MEMBER, OTHER, python, target};
use host_harness::harness::Harness;
use plugin_sandbox::digest::Digest;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::SystemTime;
use wit_component::DecodedWasm;

const SUCCESS: &str = r#"200 {"success":true}"#;
const REQUIRED: &str = r#"400 {"success":false,"error":"TOTP Required [totp-required]","errorType":"totp-required","details":{"method":"totp","codeGenerated":false,"availableMethods":["totp"]}}"#;
const INVALID: &str = r#"400 {"success":false,"error":"TOTP Invalid [totp-invalid]","errorType":"totp-invalid","details":{"method":"totp","codeGenerated":false}}"#;
const NOT_ALLOWED: &str = r#"400 {"success":false,"error":"Not allowed [error-not-allowed]","errorType":"error-not-allowed"}"#;
const NOBODY: &str = r#"400 {"success":false,"error":"The required \"userId\" or \"username\" param provided does not match any users [error-invalid-user]","errorType":"error-invalid-user"}"#;
const LOCKED: &str = r#"400 {"success":false,"error":"TOTP Maximun Failed Attempts Reached [totp-max-attempts]","errorType":"totp-max-attempts","details":{"method":"totp","codeGenerated":false}}"#;
const NOT_LOGGED_IN: &str =
    r#"401 {"status":"error","message":"You must be logged in to do this."}"#;

/// A host of the plugin.
#[derive(Clone, Copy)]
struct Runtime {
    /// What it runs, in the target folder.
    file: &'static str,
    /// How it serves such a file over these accounts.
    command: fn(&Path, &Accounts) -> Command,
}

const PYTHON: Runtime = Runtime {
    file: PLUGIN,
    command: |plugin, accounts| {
        let mut command = Command::new(python());
        command.arg(here("python/host.py")).arg(plugin);
        let store = accounts.folder().join("chat.sqlite");
        if !store.exists() {
            command.arg("--accounts").arg(accounts.file());
        }
        command.arg(store).args(["--port", "0"]);
        command
    },
};

const NODE: Runtime = Runtime {
    file: PLUGIN,
    command: |plugin, accounts| {
        let mut command = Command::new("node");
        command.arg(here("node/host.mjs")).arg(plugin);
        command.arg(accounts.file()).arg("0");
        command
    },
};

/// jco's own server, which says on standard error where it serves. A port of the system's choice it
/// cannot tell, and one of its own it may share with another that starts just then.
const JCO_SERVE: Runtime = Runtime {
    file: SERVER,
    command: |server, accounts| {
        let mut command = Command::new("sh");
        command.args(["-c", r#"exec "$@" 2>&1"#, "sh"]);
        command.arg(here("node_modules/.bin/jco"));
        command.arg("serve").arg(server);
        command.args(["--host", "127.0.0.1", "--port", &free_port()]);
        command.args(["--isolate-requests", "instance"]);
        command.arg("--jco-import").arg(here("wasi-http/lend.mjs"));
        command.env("ACCOUNTS_FOLDER", accounts.folder());
        command
    },
};

/// What `cargo xtask build` has made, and our host admits.
const PLUGIN: &str = "reset_totp.wasm";

/// What `cargo xtask compose` has made of it.
const SERVER: &str = "reset_totp_server.wasm";

impl Runtime {
    fn start(&self, accounts: &Accounts) -> Host {
        let started = self.start_with(&target(self.file), accounts);
        started.unwrap_or_else(|problem| panic!("{problem}"))
    }

    fn start_with(&self, file: &Path, accounts: &Accounts) -> Result<Host, String> {
        Host::start((self.command)(file, accounts))
    }
}

fn free_port() -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port().to_string()
}

fn here(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/runtimes")
        .join(file)
}

/// Asked for, mistyped, right, pasted again; and what is done is done.
fn answers_the_documented_call(runtime: Runtime) {
    let accounts = Accounts::new();
    let host = runtime.start(&accounts);
    let reset = |code: &str| host.reset(&accounts, ADMIN, code, MEMBER);
    assert_eq!(reset(""), REQUIRED);
    assert_eq!(reset("not a code"), INVALID);
    let members = accounts.code(MEMBER);
    let own_code = |target: &str| host.reset(&accounts, MEMBER, &members, target);
    assert_eq!(own_code(ADMIN), NOT_ALLOWED);
    let code = accounts.code(ADMIN);
    assert_eq!(host.reset(&accounts, ADMIN, &code, "nobody"), NOBODY);
    assert_eq!(reset(&code), SUCCESS);
    assert_eq!(reset(&code), INVALID);
    assert_eq!(own_code(MEMBER), NOT_LOGGED_IN);
}

/// Nor is it told who exists, or charged for a code that was right.
fn refuses_who_lacks_the_permission(runtime: Runtime) {
    let accounts = Accounts::new();
    let host = runtime.start(&accounts);
    let code = accounts.code(OTHER);
    for target in [MEMBER, "nobody", OTHER].iter().cycle().take(9) {
        let refused = host.reset(&accounts, OTHER, &code, target);
        assert_eq!(refused, NOT_ALLOWED, "{target}");
    }
    assert_eq!(host.reset(&accounts, MEMBER, "", ADMIN), REQUIRED);
}

fn of_many_requests_with_one_code_one_succeeds(runtime: Runtime) {
    let accounts = Accounts::new();
    let host = runtime.start(&accounts);
    let code = accounts.code(ADMIN);
    let reset = || host.reset(&accounts, ADMIN, &code, MEMBER);
    let mut answers: Vec<_> = thread::scope(|scope| {
        let calls = [(); 8].map(|()| scope.spawn(reset));
        calls.map(|call| call.join().unwrap()).into()
    });
    answers.sort();
    assert_eq!(answers.first().unwrap(), SUCCESS);
    assert!(answers.iter().skip(1).all(|answer| answer == INVALID));
}

/// Five are looked at; then even the right code is refused.
fn locks_who_guesses(runtime: Runtime) {
    let accounts = Accounts::new();
    let host = runtime.start(&accounts);
    let code = accounts.code(OTHER);
    let wrong = if code == "000000" { "000001" } else { "000000" };
    for _ in 0..5 {
        assert_eq!(host.reset(&accounts, OTHER, wrong, OTHER), INVALID);
    }
    assert_eq!(host.reset(&accounts, OTHER, &code, OTHER), LOCKED);
}

fn a_spent_code_outlives_a_kill(runtime: Runtime) {
    let accounts = Accounts::new();
    let host = runtime.start(&accounts);
    let code = accounts.code(ADMIN);
    assert_eq!(host.reset(&accounts, ADMIN, &code, MEMBER), SUCCESS);
    host.kill();
    let host = runtime.start(&accounts);
    assert_eq!(host.reset(&accounts, ADMIN, &code, OTHER), INVALID);
    assert_eq!(host.reset(&accounts, MEMBER, "", MEMBER), NOT_LOGGED_IN);
}

/// It serves the file that our host admits, and refuses a component that wants anything else.
fn lends_the_imports_and_nothing_else(runtime: Runtime) {
    let bytes = admitted();
    let accounts = Accounts::new();
    let host = runtime.start(&accounts);
    let digest = Digest::of(&bytes).to_string();
    assert!(host.greeting.contains(&digest), "{}", host.greeting);
    for (interface, function) in [
        ("wasi:cli/environment@0.2.0", "get-arguments"),
        ("wasi:filesystem/preopens@0.2.0", "get-directories"),
        ("chat:reset-totp/secrets@0.1.0", "codes-of-everybody"),
    ] {
        let greedy = accounts.folder().join("greedy.wasm");
        fs::write(&greedy, wanting(interface, function)).unwrap();
        let Err(problem) = runtime.start_with(&greedy, &accounts) else {
            panic!("{interface} is lent");
        };
        // Node.js knows functions by their names in JavaScript.
        let name = function.replace('-', "");
        let said = problem.replace('-', "").to_lowercase();
        let interface = interface.split('@').next().unwrap();
        assert!(
            problem.contains(interface) || said.contains(&name),
            "{problem}"
        );
    }
}

/// The plugin, which our host admits.
fn admitted() -> Vec<u8> {
    let bytes = fs::read(target(PLUGIN)).expect("`cargo xtask build` makes the plugin");
    Harness::new(&bytes).expect("our host admits it");
    bytes
}

/// A component that imports a function of no parameters which gives a number.
fn wanting(interface: &str, function: &str) -> Vec<u8> {
    let component = format!(
        r#"(component
            (import "{interface}" (instance $lent (export "{function}" (func (result u32)))))
            (core func $lent (canon lower (func $lent "{function}")))
            (core module $module (import "lent" "call" (func (result i32))))
            (core instance (instantiate $module (with "lent" (instance (export "call" (func $lent)))))))"#
    );
    wat::parse_str(component).unwrap()
}

#[test]
fn python_answers_the_documented_call() {
    answers_the_documented_call(PYTHON);
}

#[test]
fn python_refuses_who_lacks_the_permission() {
    refuses_who_lacks_the_permission(PYTHON);
}

#[test]
fn python_locks_who_guesses() {
    locks_who_guesses(PYTHON);
}

#[test]
fn of_many_requests_with_one_code_to_python_one_succeeds() {
    of_many_requests_with_one_code_one_succeeds(PYTHON);
}

#[test]
fn a_code_that_python_has_accepted_stays_spent_after_a_kill() {
    a_spent_code_outlives_a_kill(PYTHON);
}

#[test]
fn python_lends_the_imports_and_nothing_else() {
    lends_the_imports_and_nothing_else(PYTHON);
}

#[test]
fn node_answers_the_documented_call() {
    answers_the_documented_call(NODE);
}

#[test]
fn node_refuses_who_lacks_the_permission() {
    refuses_who_lacks_the_permission(NODE);
}

#[test]
fn node_locks_who_guesses() {
    locks_who_guesses(NODE);
}

#[test]
fn of_many_requests_with_one_code_to_node_one_succeeds() {
    of_many_requests_with_one_code_one_succeeds(NODE);
}

#[test]
fn node_lends_the_imports_and_nothing_else() {
    lends_the_imports_and_nothing_else(NODE);
}

#[test]
fn jco_serve_answers_the_documented_call() {
    answers_the_documented_call(JCO_SERVE);
}

#[test]
fn jco_serve_refuses_who_lacks_the_permission() {
    refuses_who_lacks_the_permission(JCO_SERVE);
}

#[test]
fn jco_serve_locks_who_guesses() {
    locks_who_guesses(JCO_SERVE);
}

/// A lock doubles with each failure until it is of an hour, and stays one of an hour.
#[test]
fn jco_serve_locks_for_an_hour_however_often_somebody_has_guessed() {
    let now = || SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    for (failures, ago, expected) in [
        (5, 31, SUCCESS),
        (6, 31, LOCKED),
        (68, 3500, LOCKED),
        (68, 3601, SUCCESS),
        (u32::MAX - 1, 3500, LOCKED),
    ] {
        let accounts = Accounts::new();
        accounts.guess(ADMIN, failures, now() - ago);
        let host = JCO_SERVE.start(&accounts);
        let code = accounts.code(ADMIN);
        let answer = host.reset(&accounts, ADMIN, &code, MEMBER);
        assert_eq!(
            answer, expected,
            "{failures} failures, the last {ago} s ago"
        );
    }
}

#[test]
fn of_many_requests_with_one_code_to_jco_serve_one_succeeds() {
    of_many_requests_with_one_code_one_succeeds(JCO_SERVE);
}

#[test]
fn a_code_that_jco_serve_has_accepted_stays_spent_after_a_kill() {
    a_spent_code_outlives_a_kill(JCO_SERVE);
}

/// All that the plugin imports comes from the accounts' component: nothing of it is left to the runtime.
#[test]
fn the_server_of_wasi_http_has_the_plugin_in_it_byte_for_byte() {
    let plugin = admitted();
    let server = fs::read(target(SERVER)).expect("`cargo xtask compose` makes the server");
    assert!(server.windows(plugin.len()).any(|part| part == plugin));
    let DecodedWasm::Component(resolve, world) = wit_component::decode(&server).unwrap() else {
        panic!("the server is no component");
    };
    let imports = resolve.worlds.get(world).unwrap().imports.keys();
    let mut imports: Vec<_> = imports.map(|key| resolve.name_world_key(key)).collect();
    imports.sort();
    let expected = [
        "wasi:cli/stderr@0.2.12",
        "wasi:clocks/wall-clock@0.2.12",
        "wasi:filesystem/preopens@0.2.12",
        "wasi:filesystem/types@0.2.12",
        "wasi:http/types@0.2.12",
        "wasi:io/error@0.2.12",
        "wasi:io/streams@0.2.12",
    ];
    assert_eq!(imports, expected);
}
