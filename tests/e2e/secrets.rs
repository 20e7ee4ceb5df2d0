//! No secret of a test is found where anybody could read it: in an answer, a log
//! line at the most talkative level, a notice, or the audit trail. Each is looked for at once in
//! what comes after it, and by `secret-scan` in everything, when all tests have run.

use std::collections::HashSet;
use std::io::{self, Write};
use std::sync::{LazyLock, Mutex, Once};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// What no output may hold.
static SECRETS: LazyLock<Mutex<HashSet<String>>> = LazyLock::new(Mutex::default);

/// The first secret that the log held, and the line.
static LOGGED: Mutex<Option<String>> = Mutex::new(None);

/// The most talkative level of this project's own lines and of those of the
/// library that hands requests to it; for others the level for finding faults, or
/// a hundred tests would do little else than write. The command's own test takes
/// every line.
const TALKATIVE: &str = "debug,chat_domain=trace,chat_server=trace,chat_store=trace,host_harness=trace,\
                         plugin_sandbox=trace,axum=trace,cranelift_codegen=off,\
                         wasmtime_internal_cranelift=off,reqwest=off,hyper_util::client=off";

/// From now on `secret` must not be found in any output.
pub(crate) fn register(secret: &str) {
    SECRETS.lock().unwrap().insert(secret.to_owned());
    secret_scan::register(secret);
}

/// Fails where `text`, which is `what`, holds a secret.
pub(crate) fn scan(what: &str, text: &str) {
    secret_scan::keep("scanned", text);
    if let Some(secret) = found(text) {
        panic!("{what} holds the secret {secret}: {text}");
    }
}

/// Fails where the log held a secret so far.
pub(crate) fn check_log() {
    let found = LOGGED.lock().unwrap().clone();
    if let Some(found) = found {
        panic!("the log holds a secret: {found}");
    }
}

/// The first secret in `text` that stands there as a word: a code of six digits
/// may be part of a longer number, or of a random id.
fn found(text: &str) -> Option<String> {
    let words: HashSet<&str> = text
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| word.len() >= 6)
        .collect();
    let secrets = SECRETS.lock().unwrap();
    let mut secrets = secrets.iter();
    let found = secrets.find(|secret| {
        words.contains(secret.as_str())
            || (secret.contains(|c: char| !c.is_ascii_alphanumeric()) && text.contains(*secret))
    });
    found.cloned()
}

/// Reads along in what this process logs.
pub(crate) fn watch_log() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        register(crate::support::PASSWORD);
        register(crate::support::PASSWORD_DIGEST);
        for code in crate::support::BACKUP_CODES {
            register(code);
        }
        tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new(TALKATIVE))
            .without_time()
            .with_ansi(false)
            .with_writer(Reader)
            .init();
    });
}

struct Reader;

impl MakeWriter<'_> for Reader {
    type Writer = Self;
    fn make_writer(&self) -> Self {
        Self
    }
}

impl Write for Reader {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        secret_scan::keep("log", line);
        let text = String::from_utf8_lossy(line);
        if let Some(secret) = found(&text) {
            *LOGGED.lock().unwrap() = Some(format!("{secret} in {text}"));
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The watch is not blind.
#[test]
fn a_secret_is_found_as_a_word_and_nothing_else_is() {
    register("483920175");
    register("a-token_of-the-watch");
    for text in [
        "the code 483920175",
        r#"{"code":"483920175"}"#,
        "x-auth-token: a-token_of-the-watch",
        "Some(a-token_of-the-watchman)",
    ] {
        assert!(found(text).is_some(), "{text}");
    }
    for text in ["1483920175", "ab483920175", "483920175x", "a-token"] {
        assert!(found(text).is_none(), "{text}");
    }
}
