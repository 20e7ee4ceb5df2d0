//! A process that serves.

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread;

/// One that ends with this.
pub struct Served {
    child: Child,
    /// Where it answers, without a path.
    pub url: String,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Served {
    /// Starts what serves at `--listen` and logs JSON to standard error, which is kept; waits until it
    /// listens.
    pub fn start(command: &mut Command) -> Self {
        Self::start_until(command, "listening")
    }

    /// The same, but waits until it has logged this message, with the URL that it is about.
    pub fn start_until(command: &mut Command, message: &str) -> Self {
        let child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut child = child.unwrap();
        let log = secret_scan::Kept::new("stderr", child.stderr.take().unwrap());
        let mut lines = BufReader::new(log).lines().map_while(Result::ok);
        let url = lines.find_map(|line| {
            let line: Value = serde_json::from_str(&line).ok()?;
            let fields = line.get("fields")?;
            let is_it = fields.get("message")? == message;
            is_it.then(|| fields.get("url")?.as_str().map(str::to_owned))?
        });
        // It goes on writing, and nobody else reads that.
        thread::spawn(move || lines.for_each(drop));
        assert!(url.is_some(), "{command:?} ends before `{message}`");
        Self {
            child,
            url: url.unwrap(),
        }
    }

    /// Kills it.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// As an operator stops it: what is in flight is answered.
    pub fn stop(mut self) {
        stop(&mut self.child);
    }
}

/// Stops a process, which ends well.
pub fn stop(child: &mut Child) {
    let told = Command::new("kill").arg(child.id().to_string()).status();
    assert!(told.unwrap().success() && child.wait().unwrap().success());
}

/// The answer of the host at `url` to a request of this user to reset bob.
pub fn reset_bob(url: &str, user: &str, token: &str, code: &str) -> String {
    let body = r#"{"username":"bob"}"#;
    let head = format!(
        "POST /api/v1/users.resetTOTP HTTP/1.1\r\nconnection: close\r\nx-user-id: {user}\r\n\
         x-auth-token: {token}\r\nx-2fa-code: {code}\r\ncontent-length: {}",
        body.len()
    );
    ask(url, &head, body)
}

/// The answer to a request with this head, but for the host, and this body.
pub fn ask(url: &str, head: &str, body: &str) -> String {
    let address = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "{head}\r\nhost: {address}\r\n\r\n{body}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
