//! The program finds a secret that was planted, and says where but not what.
#![expect(
    clippy::unwrap_used,
    reason = "a test ends where what it needs is not there"
)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// `a-planted-secret`, in hexadecimal.
const SECRET: &str = "612d706c616e7465642d736563726574\n";

fn scan(folder: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_secret-scan"));
    command.arg(folder).output().unwrap()
}

#[test]
fn a_planted_secret_is_found_and_not_told() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("operator.1");
    fs::create_dir(&program).unwrap();
    fs::write(program.join("secrets"), SECRET).unwrap();
    fs::write(program.join("stderr-1"), "a line\nanother one\n").unwrap();
    let clean = scan(folder.path());
    assert_eq!(clean.status.code(), Some(0));
    let said = String::from_utf8(clean.stdout).unwrap();
    assert_eq!(
        said,
        "1 secrets looked for in 1 outputs of 1 MB: none found\n"
    );

    let line = "a line\ntoken=a-planted-secret\n";
    fs::write(program.join("stderr-1"), line).unwrap();
    let found = scan(folder.path());
    assert_eq!(found.status.code(), Some(1));
    let places = String::from_utf8(found.stderr).unwrap();
    assert_eq!(
        places,
        "operator.1/stderr-1:2: a secret of operator.1 as it is\n"
    );
}

#[test]
fn what_cannot_be_searched_is_said() {
    let output = scan(Path::new("nowhere"));
    assert_eq!(output.status.code(), Some(2));
    let problem = String::from_utf8(output.stderr).unwrap();
    assert!(problem.starts_with("cannot search nowhere: "), "{problem}");
}
