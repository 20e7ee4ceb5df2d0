//! A host in another language, as a process, and what curl is answered by it.

use chat_domain::token;
use chat_domain::totp::TotpKey;
use data_encoding::HEXLOWER;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use tempfile::TempDir;

pub(crate) const ROUTE: &str = "/api/v1/users.resetTOTP";

/// The accounts, in a folder that the host may write.
const FILE: &str = "accounts.json";

/// Holds `edit-other-user-totp`; the other two hold nothing.
pub(crate) const ADMIN: &str = "ada";
pub(crate) const MEMBER: &str = "bob";
pub(crate) const OTHER: &str = "eve";

/// An account: TOTP key in base32, token.
struct Account {
    name: &'static str,
    key: String,
    token: String,
}

/// The accounts, and where a host keeps them.
pub(crate) struct Accounts {
    accounts: [Account; 3],
    folder: TempDir,
}

impl Accounts {
    /// With keys and tokens that nobody had before.
    pub(crate) fn new() -> Self {
        let accounts = [ADMIN, MEMBER, OTHER].map(|name| {
            let key = TotpKey::generate(&mut rand::rng()).to_base32();
            let token = token::generate(&mut rand::rng());
            let token = token.expose_secret().to_owned();
            secret_scan::register(&key);
            secret_scan::register(&token);
            Account { name, key, token }
        });
        let folder = tempfile::tempdir().unwrap();
        let users = accounts.each_ref().map(|Account { name, key, token }| {
            let permissions: &[_] = match *name {
                ADMIN => &["edit-other-user-totp"],
                _ => &[],
            };
            json!({
                "id": format!("{name}Id"),
                "username": name,
                "totp": key,
                "tokens": [HEXLOWER.encode(&Sha256::digest(token))],
                "permissions": permissions,
            })
        });
        let accounts_of_hosts = json!({ "users": users }).to_string();
        fs::write(folder.path().join(FILE), accounts_of_hosts).unwrap();
        Self { accounts, folder }
    }

    /// Has `name` guessed wrongly so often in a row, the last time at `when`, in seconds of Unix time; for a
    /// host that keeps such things in this file.
    pub(crate) fn guess(&self, name: &str, failures: u32, when: u64) {
        let text = fs::read_to_string(self.file()).unwrap();
        let mut accounts: Value = serde_json::from_str(&text).unwrap();
        let users = accounts.get_mut("users").and_then(Value::as_array_mut);
        let mut users = users.unwrap().iter_mut().flat_map(Value::as_object_mut);
        let user = users.find(|user| user.get("username") == Some(&json!(name)));
        let guessed = [
            ("failures".to_owned(), json!(failures)),
            ("failed_at".to_owned(), json!(when)),
        ];
        user.unwrap().extend(guessed);
        fs::write(self.file(), accounts.to_string()).unwrap();
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The accounts as every host reads them.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder().join(FILE)
    }

    fn of(&self, name: &str) -> &Account {
        let mut accounts = self.accounts.iter();
        accounts.find(|account| account.name == name).unwrap()
    }

    /// The code that an app shows now, as pyotp knows it.
    pub(crate) fn code(&self, name: &str) -> String {
        let program = "import pyotp, sys; print(pyotp.TOTP(sys.stdin.read()).now())";
        let mut python = Command::new(python());
        python.args(["-c", program]);
        let mut child = python
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(self.of(name).key.as_bytes()).unwrap();
        drop(stdin);
        let code = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
        let code = code.trim_end().to_owned();
        assert_eq!(code.len(), 6, "pyotp shows a code");
        code
    }
}

/// The Python that has `wasmtime` and `pyotp`.
pub(crate) fn python() -> PathBuf {
    let python = target("wasmtime-py/bin/python");
    assert!(
        python.exists(),
        "there is no {}; `cargo xtask test` installs it",
        python.display()
    );
    python
}

/// A file of the target folder.
pub(crate) fn target(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("target")
        .join(file)
}

/// A running host; ended when this is dropped.
pub(crate) struct Host {
    child: Child,
    /// What it says once it serves.
    pub(crate) greeting: String,
    url: String,
    rest: Option<JoinHandle<()>>,
}

impl Host {
    /// Starts it, and waits until it says in the first line of standard output where it serves. What it
    /// says instead before it ends is the error.
    pub(crate) fn start(mut command: Command) -> Result<Self, String> {
        let child = command
            .process_group(0) // some start another process
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let program = command.get_program().to_string_lossy();
        let mut child = child.unwrap_or_else(|error| panic!("{program}: {error}"));
        let errors = secret_scan::Kept::new("stderr", child.stderr.take().unwrap());
        let errors = std::thread::spawn(move || {
            let mut text = Vec::new();
            BufReader::new(errors).read_to_end(&mut text).unwrap();
            String::from_utf8_lossy(&text).into_owned()
        });
        let output = secret_scan::Kept::new("stdout", child.stdout.take().unwrap());
        let mut output = BufReader::new(output);
        let mut greeting = String::new();
        output.read_line(&mut greeting).unwrap();
        let Some((_, rest)) = greeting.split_once("127.0.0.1:") else {
            child.wait().unwrap();
            output.read_to_string(&mut greeting).unwrap();
            return Err(greeting + &errors.join().unwrap());
        };
        let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
        let url = format!("http://127.0.0.1:{port}");
        let rest = std::thread::spawn(move || {
            std::io::copy(&mut output, &mut std::io::sink()).unwrap();
        });
        Ok(Self {
            child,
            greeting,
            url,
            rest: Some(rest),
        })
    }

    /// The documented call: status and body.
    pub(crate) fn reset(
        &self,
        accounts: &Accounts,
        caller: &str,
        code: &str,
        target: &str,
    ) -> String {
        let account = accounts.of(caller);
        let headers = [
            format!("x-auth-token: {}", account.token),
            format!("x-user-id: {caller}Id"),
            format!("x-2fa-code: {code}"),
        ];
        // A header without a value is not sent.
        let headers = headers.iter().flat_map(|header| ["--header", header]);
        let data = format!(r#"{{ "userId":"{target}Id" }}"#);
        let output = Command::new("curl")
            .args(["--location", &format!("{}{ROUTE}", self.url)])
            .args(headers)
            .args(["--data", &data])
            .args(["--silent", "--show-error", "--write-out", "\n%{http_code}"])
            .output()
            .expect("the tests need curl");
        secret_scan::keep("answers", &output.stdout);
        let answer = String::from_utf8(output.stdout).unwrap();
        let problem = String::from_utf8_lossy(&output.stderr);
        let (body, status) = answer.rsplit_once('\n').unwrap();
        assert_eq!(problem, "", "curl is answered");
        format!("{status} {body}")
    }

    /// Ends it at once, wherever it is.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let group = Pid::from_raw(self.child.id().try_into().unwrap());
        if let Some(rest) = self.rest.take() {
            killpg(group, Signal::SIGKILL).unwrap();
            self.child.wait().unwrap();
            rest.join().unwrap();
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.end();
    }
}
