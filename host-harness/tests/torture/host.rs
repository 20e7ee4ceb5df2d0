//! A process that serves, and ends when it is told to by nobody.

use serde_json::Value;
use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::{sleep, timeout};

/// How long a process may take until it listens: a machine that is busy takes seconds.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Lines of a log that are kept to be shown.
const LAST_LINES: usize = 20;

/// `host-harness serve`.
pub(crate) struct Host {
    /// That of its configuration.
    name: String,
    pub(crate) url: String,
    child: Child,
    trouble: Trouble,
}

/// What hosts have logged that is worth showing where something is wrong.
#[derive(Clone, Default)]
pub(crate) struct Trouble(Arc<Mutex<Vec<String>>>);

impl Trouble {
    pub(crate) fn lines(&self) -> Vec<String> {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.clone()
    }

    /// Threads that panicked.
    pub(crate) fn panics(&self) -> Vec<String> {
        let mut lines = self.lines();
        lines.retain(|line| line.contains("panicked"));
        lines
    }

    fn note(&self, line: String) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() >= LAST_LINES && !line.contains("panicked") {
            lines.remove(0);
        }
        lines.push(line);
    }
}

impl Host {
    /// Starts one that serves this configuration, and waits until it listens.
    pub(crate) async fn start(config: &Path, trouble: &Trouble) -> Self {
        let started = Self::try_start(config, trouble, "exec \"$@\"").await;
        started.unwrap_or_else(|said| panic!("a host did not start: {said}"))
    }

    /// The same by a line of the shell, whose arguments are the command.
    ///
    /// # Errors
    ///
    /// What one that has ended said.
    pub(crate) async fn try_start(
        config: &Path,
        trouble: &Trouble,
        line: &str,
    ) -> Result<Self, String> {
        let (mut child, mut log) = spawn(config, line);
        let mut said = String::new();
        let listening = async {
            while let Some(line) = log.next_line().await.unwrap() {
                secret_scan::keep("stderr", &line);
                match url(&line) {
                    Some(url) => return Some(url),
                    None => said += &format!("{line}\n"),
                }
            }
            None
        };
        let url = timeout(START_LIMIT, listening).await.unwrap_or_default();
        let Some(url) = url else {
            let _ = child.start_kill();
            return Err(said);
        };
        let noted = trouble.clone();
        tokio::spawn(async move {
            while let Ok(Some(line)) = log.next_line().await {
                secret_scan::keep("stderr", &line);
                noted.note(line);
            }
        });
        let name = config.file_stem().unwrap_or_default();
        Ok(Self {
            name: name.to_string_lossy().into_owned(),
            url,
            child,
            trouble: trouble.clone(),
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Starts one, and kills it before it has served anybody.
    pub(crate) async fn start_in_vain(config: &Path, life: Duration) {
        let (mut child, _log) = spawn(config, "exec \"$@\"");
        sleep(life).await;
        child.kill().await.unwrap();
    }

    /// Kills it, and waits until nothing of it is left.
    pub(crate) async fn kill(mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!(
                "a host ended by itself: {status}: {:#?}",
                self.trouble.lines()
            );
        }
        self.child.kill().await.unwrap();
    }
}

fn spawn(config: &Path, line: &str) -> (Child, Lines<BufReader<ChildStderr>>) {
    let mut child = Command::new("sh")
        .args(["-c", line, "sh"])
        .arg(program())
        .args(["serve", "--log", "json", "--config"])
        .arg(config)
        .env("RUST_LOG", "warn,host_harness=info")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let log = BufReader::new(child.stderr.take().unwrap()).lines();
    (child, log)
}

/// The host as it is shipped, where `cargo xtask torture` has one.
pub(crate) fn program() -> OsString {
    let shipped = std::env::var_os("TORTURE_PROGRAM");
    shipped.unwrap_or_else(|| env!("CARGO_BIN_EXE_host-harness").into())
}

/// The address, in the line that tells that it listens.
fn url(line: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).ok()?;
    let fields = line.get("fields")?;
    let is_it = fields.get("message")? == "listening";
    let url = fields.get("url").filter(|_| is_it)?;
    Some(url.as_str()?.to_owned())
}
