//! What is kept of a test program while it runs.
#![expect(
    clippy::unwrap_used,
    reason = "a test ends where what it needs is not there"
)]

use data_encoding::HEXLOWER;
use std::collections::{HashMap, HashSet};
use std::env;
use std::fs::{File, OpenOptions, create_dir_all};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex};

/// The file of a program's secrets, beside its outputs.
pub(crate) const SECRETS: &str = "secrets";

/// This process's folder.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let program = env::current_exe().unwrap();
    let program = program.file_name().unwrap().to_string_lossy();
    let folder = suite().join(format!("{program}.{}", std::process::id()));
    create_dir_all(&folder).unwrap();
    folder
});

/// What this process has kept so far.
static SO_FAR: LazyLock<Mutex<SoFar>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct SoFar {
    secrets: HashSet<Vec<u8>>,
    /// Those of [`keep`], which all threads write.
    files: HashMap<String, File>,
}

/// Where everything is kept that is searched.
pub fn suite() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/suite")
}

/// No output of the suite may hold this: a key, code, token or password that the tests use.
///
/// # Panics
///
/// The folder of the suite cannot be written; so do the others here.
pub fn register(secret: impl AsRef<[u8]>) {
    let secret = secret.as_ref();
    let mut so_far = SO_FAR.lock().unwrap();
    if !secret.is_empty() && so_far.secrets.insert(secret.to_vec()) {
        so_far.append(SECRETS, HEXLOWER.encode(secret).as_bytes());
    }
}

/// Keeps a text that the program under test has written: an answer, its metrics, a line of its log.
pub fn keep(what: &str, text: impl AsRef<[u8]>) {
    SO_FAR.lock().unwrap().append(what, text.as_ref());
}

/// Keeps what a program wrote that has ended. A program that was asked for a secret tells it on
/// standard output: of that one, `output.stderr` alone is for [`keep`].
pub fn keep_output(output: &Output) {
    keep("stdout", &output.stdout);
    keep("stderr", &output.stderr);
}

/// A file of its own for a program to write to.
pub fn file(what: &str) -> File {
    static FILES: AtomicUsize = AtomicUsize::new(1);
    let number = FILES.fetch_add(1, Ordering::Relaxed);
    File::create(FOLDER.join(format!("{what}-{number}"))).unwrap()
}

/// What a program writes, which is kept as it is read.
pub struct Kept<R> {
    from: R,
    copy: File,
}

impl<R> Kept<R> {
    /// What `from` gives is kept as `what`.
    pub fn new(what: &str, from: R) -> Self {
        let copy = file(what);
        Self { from, copy }
    }
}

impl<R: Read> Read for Kept<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer)?;
        self.copy
            .write_all(buffer.get(..count).unwrap_or_default())?;
        Ok(count)
    }
}

impl SoFar {
    /// As a line of its own.
    fn append(&mut self, name: &str, text: &[u8]) {
        let open = || {
            let mut options = OpenOptions::new();
            options
                .create(true)
                .append(true)
                .open(FOLDER.join(name))
                .unwrap()
        };
        let file = self.files.entry(name.to_owned()).or_insert_with(open);
        file.write_all(&[text, b"\n"].concat()).unwrap();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_is_registered_written_and_read_is_kept() {
        let kept = |name: &str| fs::read_to_string(FOLDER.join(name)).unwrap();
        register("never written");
        register("");
        register("never written");
        assert_eq!(kept(SECRETS), "6e65766572207772697474656e\n");
        keep("said", "one");
        keep("said", "two");
        assert_eq!(kept("said"), "one\ntwo\n");
        let mut read = String::new();
        let mut log = Kept::new("log", "three\nfour".as_bytes());
        log.read_to_string(&mut read).unwrap();
        assert_eq!(
            (read.as_str(), kept("log-1")),
            ("three\nfour", read.clone())
        );
    }
}
