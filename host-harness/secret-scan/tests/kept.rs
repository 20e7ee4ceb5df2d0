//! Whoever starts the host keeps what it writes.
#![expect(
    clippy::unwrap_used,
    reason = "a test ends where what it needs is not there"
)]

use std::fs;
use std::path::Path;

/// What a test says that starts the host, and what it says that keeps an output.
const STARTS: &str = "CARGO_BIN_EXE_host-harness";
const KEEPS: [&str; 5] = [
    "Served::start(",
    "secret_scan::keep(",
    "secret_scan::keep_output(",
    "secret_scan::Kept::new(",
    "secret_scan::file(",
];

/// A file, or all files of a folder and below.
fn text(path: &Path) -> String {
    if !path.is_dir() {
        return fs::read_to_string(path).unwrap_or_default();
    }
    let entries = fs::read_dir(path).unwrap();
    entries.map(|entry| text(&entry.unwrap().path())).collect()
}

#[test]
fn whoever_starts_the_host_keeps_what_it_writes() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests");
    let programs = fs::read_dir(&tests)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let programs = programs.map(|path| (text(&path), path));
    let starting: Vec<_> = programs.filter(|(text, _)| text.contains(STARTS)).collect();
    assert!(starting.len() > 5);
    for (text, path) in starting {
        let keeps = KEEPS.iter().any(|keeps| text.contains(keeps));
        assert!(
            keeps,
            "{} starts the host and keeps nothing",
            path.display()
        );
    }
}
