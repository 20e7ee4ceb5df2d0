//! A process of `host-harness dev`, and what its author sees of it.

use crate::host_harness;
use std::io::{BufRead, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

/// It ends when this is dropped.
pub(crate) struct Dev {
    child: Child,
    shown: Lines<BufReader<ChildStdout>>,
    /// The documented call, as it is shown.
    pub(crate) call: String,
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Dev {
    /// One on a free port, which serves what is in `file`; the lines that tell of the file.
    pub(crate) fn start(file: &Path, more: &[&str]) -> (Self, String) {
        let mut command = host_harness(["dev", "--listen", "127.0.0.1:0"]);
        let mut child = command
            .args(more)
            .arg(file)
            .stdout(Stdio::piped())
            .stderr(secret_scan::file("stderr"))
            .spawn()
            .unwrap();
        let shown = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut dev = Self {
            child,
            shown,
            call: String::new(),
        };
        dev.read_until("Serving http://");
        dev.read_until("");
        dev.read_until("");
        dev.call = dev.read_until("");
        for header in ["x-auth-token: ", "x-2fa-code: "] {
            let (_, value) = dev.call.split_once(header).unwrap();
            secret_scan::register(value.split('\'').next().unwrap());
        }
        let secret = dev.read_until("The administrator's TOTP secret is ");
        let secret = secret.rsplit_once(" is ").unwrap().1;
        secret_scan::register(secret.split('.').next().unwrap());
        dev.read_until("");
        let told = dev.told();
        (dev, told)
    }

    /// What is shown until a line begins so, that line included; an empty one ends with its like.
    fn read_until(&mut self, begin: &str) -> String {
        let mut text = String::new();
        loop {
            let line = self.shown.next().unwrap().unwrap();
            text += &line;
            text.push('\n');
            let ends = match begin {
                "" => line.is_empty(),
                _ => line.starts_with(begin),
            };
            if ends {
                return text;
            }
        }
    }

    /// What is shown next of the file.
    pub(crate) fn told(&mut self) -> String {
        self.read_until("")
    }

    /// The answer to a call as it is shown, or with another header or body in the place of one
    /// of its own, pasted into a shell.
    pub(crate) fn paste(&self, instead: Option<(&str, &str)>) -> String {
        let call = match instead {
            Some((from, to)) => {
                assert!(self.call.contains(from), "{from}");
                self.call.replace(from, to)
            }
            None => self.call.clone(),
        };
        let output = Command::new("sh")
            .args(["-c", &format!("{} --silent", call.trim_end())])
            .output()
            .unwrap();
        secret_scan::keep("stdout", &output.stdout);
        String::from_utf8(output.stdout).unwrap()
    }

    /// The address that is served.
    pub(crate) fn address(&self) -> &str {
        let (_, rest) = self.call.split_once("http://").unwrap();
        rest.split('/').next().unwrap()
    }
}
