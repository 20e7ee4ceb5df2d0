//! Files as they are found on a disk; what is in them is in `admission`.

use chat_testing::guest::{ADMISSIONS, Guest};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use tempfile::NamedTempFile;

const MIB: usize = 1024 * 1024;

#[test]
fn a_guest_that_keeps_the_contract_is_loaded() {
    let file = file(&Guest::default().component());
    assert!(ADMISSIONS.load(file.path()).is_ok());
}

#[test]
fn a_file_that_is_too_large_is_not_read_to_its_end() {
    refused(
        "one byte too many",
        &vec![0; 4 * MIB + 1],
        "[too-large] it is larger than 4194304 bytes, which is `plugin-bytes` of [host]",
    );
    refused("the largest", &vec![0; 4 * MIB], "[not-webassembly]");
}

#[test]
fn a_file_that_is_not_there_is_named_unreadable() {
    let folder = tempfile::tempdir().unwrap();
    let unreadable = folder.path().join("plugin.wasm");
    std::fs::write(&unreadable, Guest::default().component()).unwrap();
    std::fs::create_dir(folder.path().join("plugin.wasm.minisig")).unwrap();
    for path in [
        folder.path(),
        &folder.path().join("missing.wasm"),
        &unreadable,
    ] {
        let error = ADMISSIONS.load(path).err().unwrap().to_string();
        assert!(error.starts_with("cannot read it: "), "{error}");
    }
}

/// Nobody may ever write into the pipe.
#[test]
fn a_pipe_or_a_device_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe.wasm");
    let plugin = folder.path().join("plugin.wasm");
    std::fs::write(&plugin, Guest::default().component()).unwrap();
    for pipe in [&pipe, &folder.path().join("plugin.wasm.minisig")] {
        let made = Command::new("mkfifo").arg(pipe).status().unwrap();
        assert!(made.success());
    }
    for path in [&*pipe, &plugin, Path::new("/dev/zero")] {
        let error = ADMISSIONS.load(path).err().unwrap().to_string();
        assert_eq!(error, "cannot read it: it is no regular file");
    }
}

fn refused(name: &str, bytes: &[u8], reason: &str) {
    let error = ADMISSIONS
        .load(file(bytes).path())
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains(reason), "{name}: {error}");
    assert!(!error.contains('\n'), "{name}: {error}");
}

fn file(bytes: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    file
}
