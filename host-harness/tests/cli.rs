//! The command as an operator meets it: what it says when it cannot start, and
//! that it stops when told.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

use chat_domain::totp::{TotpKey, step_of};
use chat_server::clock::Clock;
use chat_testing::guest::PLUGIN;
use chat_testing::served::{Served, ask, reset_bob, stop};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

fn host_harness() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_host-harness"));
    command.stdin(Stdio::null());
    command
}

/// One line that says what is wrong and how to mend it, and exit code 1.
fn refuses(mut command: Command, expected: &[&str]) {
    let output = command.output().unwrap();
    secret_scan::keep_output(&output);
    let Output {
        status,
        stdout,
        stderr,
    } = output;
    let stderr = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(1), "{stderr}");
    assert!(stdout.is_empty());
    assert_eq!(stderr.trim_end().lines().count(), 1, "{stderr}");
    for part in expected {
        assert!(stderr.contains(part), "{stderr} lacks {part}");
    }
}

/// Root has no such limit, so root tries it as somebody else.
#[test]
fn too_few_threads_are_said() {
    const NOBODY: u32 = 61_234;
    let mut command = Command::new("prlimit");
    command.args(["--nproc=4", env!("CARGO_BIN_EXE_host-harness")]);
    command.args(["workspace", "list", "--store", "nowhere.sqlite"]);
    if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
        command.uid(NOBODY);
    }
    refuses(command, &["too few threads", "ulimit -u"]);
}

#[test]
fn a_missing_or_wrong_plugin_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.wasm");
    let wrong = folder.path().join("wrong.wasm");
    std::fs::write(&wrong, "not a component").unwrap();
    let store = folder.path().join("store.sqlite");
    let mut create = host_harness();
    create.args(["workspace", "create", "--store"]).arg(&store);
    assert!(create.status().unwrap().success());
    let hint = "cargo xtask build";
    let cannot_read = "cannot read the plugin";
    for (path, said) in [
        (&missing, [cannot_read, "No such file", hint]),
        (&wrong, ["is not admitted", "[not-webassembly]", ""]),
        (
            &folder.path().to_owned(),
            [cannot_read, "it is no regular file", hint],
        ),
    ] {
        for subcommand in ["demo", "serve"] {
            let mut command = host_harness();
            command.arg(subcommand).arg("--plugin").arg(path);
            if subcommand == "serve" {
                command.arg("--store").arg(&store);
            }
            let path = path.to_str().unwrap();
            refuses(command, &[&[path], &said[..]].concat());
        }
    }
}

#[test]
fn a_busy_port_is_said() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut command = host_harness();
    command
        .args(["demo", "--listen", &address, "--plugin"])
        .arg(PLUGIN);
    refuses(command, &["cannot listen on", &address, "--listen"]);
}

#[test]
fn an_unreadable_store_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.sqlite");
    let wrong = folder.path().join("wrong.sqlite");
    let empty = folder.path().join("empty.sqlite");
    std::fs::write(
        &wrong,
        "this is no database, however long it is, and it is long",
    )
    .unwrap();
    std::fs::write(&empty, "").unwrap();
    let hint = "host-harness workspace create";
    for (path, problem, hint) in [
        (&missing, "unable to open database file", hint),
        (&wrong, "file is not a database", ""),
        (&empty, "has no workspace", hint),
    ] {
        let mut command = host_harness();
        command
            .arg("serve")
            .arg("--plugin")
            .arg(PLUGIN)
            .arg("--store")
            .arg(path);
        refuses(command, &[path.to_str().unwrap(), problem, hint]);
    }
    assert!(!missing.exists());
}

#[test]
fn credentials_that_are_none_are_said() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("credentials.json"), "{").unwrap();
    let mut command = host_harness();
    command
        .arg("demo")
        .arg("--plugin")
        .arg(PLUGIN)
        .arg("--data")
        .arg(folder.path());
    refuses(command, &["credentials.json"]);
}

/// The compiler has written megabytes, and ended, before the first request.
const COMPILER: &str =
    "cranelift_codegen=off,cranelift_frontend=off,regalloc2=off,wasmtime_internal_cranelift=off";

/// At the most talkative log level, in both forms, for a success, a refusal and
/// a request that is not logged in.
#[test]
fn no_secret_reaches_the_log() {
    for form in ["text", "json"] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = host_harness();
        command
            .env("RUST_LOG", format!("trace,{COMPILER}"))
            .args(["demo", "--json", "--listen", "127.0.0.1:0", "--log", form])
            .arg("--plugin")
            .arg(PLUGIN)
            .arg("--data")
            .arg(folder.path())
            .stderr(std::fs::File::create(folder.path().join("log")).unwrap());
        let (mut child, shown) = shown(command);
        let text = |pointer: &str| shown.pointer(pointer).unwrap().as_str().unwrap().to_owned();
        let token = text("/users/admin/authToken");
        let key = TotpKey::from_base32(&text("/users/admin/totpSecret")).unwrap();
        let code = key.code(step_of(Clock::system().now()));
        secret_scan::register(&code);
        let send =
            |token: &str| reset_bob(&text("/url"), &text("/users/admin/userId"), token, &code);
        assert!(send(&token).starts_with("HTTP/1.1 200"));
        assert!(send(&token).starts_with("HTTP/1.1 400"));
        assert!(send("a-wrong-token").starts_with("HTTP/1.1 401"));
        stop(&mut child);
        let log = log_in(folder.path());
        assert!(log.contains("answered") && log.contains("TRACE"), "{log}");
        // Six digits in a row could be taken for a code.
        for line in log.lines() {
            let line = line.trim_start_matches("{\"timestamp\":\"");
            let moment = line.split('Z').next().unwrap();
            assert_eq!(moment.len(), "2026-11-26T14:23:43.123".len(), "{line}");
        }
        let mut secrets = vec![code, "a-wrong-token".to_owned()];
        for user in shown.get("users").unwrap().as_object().unwrap().values() {
            for name in ["password", "authToken", "totpSecret"] {
                secrets.push(user.get(name).unwrap().as_str().unwrap().to_owned());
            }
        }
        for secret in secrets {
            let found = log.lines().find(|line| holds(line, &secret));
            assert_eq!(found, None, "{secret} is in the log");
        }
    }
}

/// Whether the line of a log holds the secret as a word: a code of six digits may
/// be part of a moment, or of a random id.
fn holds(line: &str, secret: &str) -> bool {
    let outside = |c: Option<char>| c.is_none_or(|c| !c.is_ascii_alphanumeric());
    line.match_indices(secret).any(|(start, _)| {
        let (before, rest) = line.split_at(start);
        outside(before.chars().next_back()) && outside(rest[secret.len()..].chars().next())
    })
}

/// The id on the answer finds everything that the log says of the request: how it
/// was decided, and that it was answered.
#[test]
fn every_line_of_a_request_carries_the_id_of_its_answer() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = host_harness();
    command
        .env("RUST_LOG", "info")
        .args(["demo", "--json", "--listen", "127.0.0.1:0", "--log", "json"])
        .arg("--plugin")
        .arg(PLUGIN)
        .stderr(std::fs::File::create(folder.path().join("log")).unwrap());
    let (mut child, shown) = shown(command);
    let text = |pointer: &str| shown.pointer(pointer).unwrap().as_str().unwrap();
    let (user, token) = (text("/users/admin/userId"), text("/users/admin/authToken"));
    let ids = [token, "wrong"].map(|token| {
        let answer = reset_bob(text("/url"), user, token, "000000");
        let id = answer.split_once("x-request-id: ").unwrap().1;
        id.split("\r\n").next().unwrap().to_owned()
    });
    stop(&mut child);
    let log = log_in(folder.path());
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &serde_json::Value| line.get("span").is_some())
        .collect();
    let of = |id: &str| {
        let lines = lines.iter();
        let lines = lines.filter(|line| line.pointer("/span/request_id").unwrap() == id);
        let messages = lines.map(|line| line.pointer("/fields/message").cloned());
        messages.collect::<Vec<_>>()
    };
    assert_eq!(of(&ids[0]), [None, Some("answered".into())], "{log}");
    assert_eq!(of(&ids[1]), [Some("answered".into())], "{log}");
    assert_eq!(lines.len(), 3, "{log}");
}

/// What a process that has ended wrote to the file `log` there.
fn log_in(folder: &Path) -> String {
    let log = std::fs::read_to_string(folder.join("log")).unwrap();
    secret_scan::keep("stderr", &log);
    log
}

/// Starts a demonstration, and reads the line of JSON that it shows.
fn shown(mut command: Command) -> (Child, serde_json::Value) {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    (child, told(&line))
}

/// A line that tells the secrets of a demonstration, which nothing else may tell.
fn told(line: &str) -> serde_json::Value {
    let told: serde_json::Value = serde_json::from_str(line).unwrap();
    for user in told.get("users").unwrap().as_object().unwrap().values() {
        for name in ["password", "authToken", "totpSecret"] {
            secret_scan::register(user.get(name).unwrap().as_str().unwrap());
        }
    }
    told
}

/// The first line on standard output is all of it, and the same workspace is
/// shown again after a stop by signal.
#[test]
fn the_demonstration_prints_one_line_of_json_and_stops_when_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut shown = Vec::new();
    for signal in ["TERM", "INT"] {
        let mut command = host_harness();
        command
            .args(["demo", "--json", "--listen", "127.0.0.1:0", "--plugin"])
            .arg(PLUGIN)
            .arg("--data")
            .arg(folder.path())
            .stdout(Stdio::piped())
            .stderr(secret_scan::file("stderr"));
        let mut child = command.spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = output.next().unwrap().unwrap();
        let mut line = told(&line);
        let url = line.as_object_mut().unwrap().remove("url").unwrap();
        assert!(url.as_str().unwrap().starts_with("http://127.0.0.1:"));
        shown.push(line);
        let pid = child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", signal, &pid])
                .status()
                .unwrap()
                .success()
        );
        assert_eq!(child.wait().unwrap().code(), Some(0));
        assert!(output.next().is_none());
    }
    assert_eq!(shown.first(), shown.last());
    let users = shown
        .first()
        .unwrap()
        .get("users")
        .unwrap()
        .as_object()
        .unwrap();
    let mut names: Vec<_> = users.keys().collect();
    names.sort();
    assert_eq!(names, ["admin", "alice", "bob", "moderator"]);
    for user in users.values() {
        let keys: Vec<_> = user.as_object().unwrap().keys().collect();
        assert_eq!(
            keys,
            ["userId", "username", "password", "authToken", "totpSecret"]
        );
    }
}

/// The second time is as the first, but that nothing is created: what was there still is.
#[test]
fn serve_creates_what_it_serves_where_it_is_told_to_and_answers_operators() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("new.sqlite");
    let serve = |admin: &str| {
        let mut command = host_harness();
        command
            .args([
                "serve",
                "--create",
                "--listen",
                "127.0.0.1:0",
                "--log",
                "json",
            ])
            .args(["--admin-listen", admin, "--plugin"])
            .arg(PLUGIN)
            .arg("--store")
            .arg(&store);
        command
    };
    let user = |args: [&str; 2]| {
        let mut user = host_harness();
        let output = user.arg("user").args(args).arg("--store").arg(&store);
        let output = output.output().unwrap();
        secret_scan::keep_output(&output);
        assert!(output.status.success(), "{output:?}");
    };
    for told in [["add", "ada"], ["show", "ada"]] {
        let served = Served::start_until(&mut serve("127.0.0.1:0"), "operators are answered");
        let answer = ask(&served.url, "GET /readyz HTTP/1.0", "");
        assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
        user(told);
        served.stop();
    }
    let refused = ["--admin-listen", "only an address of this machine"];
    refuses(serve("0.0.0.0:0"), &refused);
}

/// What a package brings beside the program.
#[test]
fn shells_complete_every_command_and_the_manual_has_a_page_for_it() {
    for shell in ["bash", "fish", "zsh"] {
        let script = host_harness()
            .args(["completions", shell])
            .output()
            .unwrap();
        let script = String::from_utf8(script.stdout).unwrap();
        assert!(script.contains("enrol-totp"), "{shell}: {script}");
    }
    let folder = tempfile::tempdir().unwrap();
    let mut man = host_harness();
    assert!(
        man.arg("man")
            .arg(folder.path())
            .status()
            .unwrap()
            .success()
    );
    for page in [
        "host-harness",
        "host-harness-serve",
        "host-harness-user-enrol-totp",
    ] {
        let page = folder.path().join(format!("{page}.1"));
        assert!(
            std::fs::read_to_string(page)
                .unwrap()
                .contains(".SH SYNOPSIS")
        );
    }
    let missing = folder.path().join("missing");
    let mut nowhere = host_harness();
    nowhere.arg("man").arg(&missing);
    refuses(
        nowhere,
        &["cannot write manual pages", missing.to_str().unwrap()],
    );
}
