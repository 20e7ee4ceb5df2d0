//! `dev`: the plugin is loaded again when its file changes.

use crate::served::Dev;
use chat_testing::guest::PLUGIN;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

/// A client that names a key that there is not is answered by the plugin in these words.
const WORDS: &str = "unknown key `";
const OTHER: &str = "unnamed key `";

fn ours() -> Vec<u8> {
    std::fs::read(PLUGIN).unwrap()
}

/// Our plugin, in other words.
fn other() -> Vec<u8> {
    let mut bytes = ours();
    let at = bytes
        .windows(WORDS.len())
        .position(|window| window == WORDS.as_bytes());
    bytes[at.unwrap()..][..WORDS.len()].copy_from_slice(OTHER.as_bytes());
    bytes
}

/// In which words the plugin answers that is served.
fn words(dev: &Dev) -> &'static str {
    let answer = dev.paste(Some(("userId\"", "userld\"")));
    let known = [WORDS, OTHER]
        .into_iter()
        .find(|words| answer.contains(words));
    known.unwrap_or_else(|| panic!("{answer}"))
}

/// Until its author has written all of it, a file is not served.
#[test]
fn a_plugin_that_has_changed_is_served_and_a_broken_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plugin.wasm");
    std::fs::write(&file, ours()).unwrap();
    let (mut dev, told) = Dev::start(&file, &[]);
    assert!(told.contains("plugin.wasm is served, sha256:"), "{told}");
    assert_eq!(words(&dev), WORDS);

    let (first, rest) = (other()[..9000].to_vec(), &other()[9000..]);
    std::fs::write(&file, first).unwrap();
    let told = dev.told();
    let refused = "plugin.wasm is not served; the plugin before it goes on\n  [invalid] ";
    assert!(told.contains(refused), "{told}");
    assert_eq!(words(&dev), WORDS);

    let mut opened = std::fs::OpenOptions::new()
        .append(true)
        .open(&file)
        .unwrap();
    opened.write_all(rest).unwrap();
    let told = dev.told();
    assert!(told.contains("plugin.wasm is served, sha256:"), "{told}");
    assert_eq!(words(&dev), OTHER);
    // The workspace is the one before.
    assert_eq!(dev.paste(None), r#"{"success":true}"#);

    std::fs::remove_file(&file).unwrap();
    let told = dev.told();
    assert!(told.contains("  cannot read the plugin "), "{told}");
    assert_eq!(words(&dev), OTHER);

    // By a rename, as many tools write, and with the time of an older file.
    let beside = folder.path().join("beside");
    std::fs::copy(PLUGIN, &beside).unwrap();
    std::fs::rename(&beside, &file).unwrap();
    let told = dev.told();
    assert!(told.contains("plugin.wasm is served, sha256:"), "{told}");
    assert_eq!(words(&dev), WORDS);
}

#[test]
fn what_a_changed_plugin_asks_for_is_told_and_more_than_there_is_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plugin.wasm");
    std::fs::write(&file, ours()).unwrap();
    let (mut dev, told) = Dev::start(&file, &[]);
    let all = "  it may use wall-clock, users, permissions, settings, secrets\n";
    assert!(told.contains(all), "{told}");
    let curious = r#"(component (import "wasi:random/random@0.2.0" (instance)))"#;
    std::fs::write(&file, wat::parse_str(curious).unwrap()).unwrap();
    let told = dev.told();
    assert!(
        told.contains("  [unknown-import] it imports `wasi:random/random@0.2.0`"),
        "{told}"
    );
    assert_eq!(words(&dev), WORDS);
}

/// Begins with one plugin in place, and ends with another.
#[test]
fn a_request_that_is_on_its_way_while_the_plugin_changes_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plugin.wasm");
    std::fs::write(&file, ours()).unwrap();
    let (mut dev, _) = Dev::start(&file, &[]);
    let body = r#"{"userld":"x"}"#;
    let mut slow = begin(&dev, body.len());
    write!(slow, "{}", &body[..5]).unwrap();
    std::fs::write(&file, other()).unwrap();
    let told = dev.told();
    assert!(told.contains("plugin.wasm is served, sha256:"), "{told}");
    write!(slow, "{}", &body[5..]).unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("invalid-params"), "{answer}");
    assert_eq!(words(&dev), OTHER);
}

/// The head of the documented call, of which a body of this length comes later.
fn begin(dev: &Dev, length: usize) -> TcpStream {
    let mut stream = TcpStream::connect(dev.address()).unwrap();
    write!(
        stream,
        "POST /api/v1/users.resetTOTP HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\
         content-length: {length}\r\n",
        dev.address()
    )
    .unwrap();
    for line in dev.call.lines().filter(|line| line.contains("--header")) {
        write!(stream, "{}\r\n", line.split('\'').nth(1).unwrap()).unwrap();
    }
    write!(stream, "\r\n").unwrap();
    stream
}

#[test]
fn what_is_not_there_or_not_admitted_is_not_begun_with() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = folder.path().join("wrong.wasm");
    std::fs::write(&wrong, "no component").unwrap();
    let missing = folder.path().join("missing.wasm");
    for (file, said) in [
        (&missing, "cannot read the plugin"),
        (&wrong, "[not-webassembly]"),
    ] {
        let dev: [&Path; 4] = [
            "dev".as_ref(),
            file,
            "--listen".as_ref(),
            "127.0.0.1:0".as_ref(),
        ];
        let (began, _, log) = crate::run(&mut crate::host_harness(dev));
        assert!(!began);
        assert!(
            log.contains(said) && log.contains(file.to_str().unwrap()),
            "{log}"
        );
    }
}
