//! Files that are no plugin are refused, each with one line that says why.

use crate::component::plugin_bytes;
use crate::guest::{Guest, RUNTIME};
use host_harness::plugin::Plugin;
use std::io::Write;
use tempfile::NamedTempFile;

const MIB: usize = 1024 * 1024;

#[test]
fn a_guest_that_keeps_the_contract_is_loaded() {
    let file = file(&Guest::default().component());
    assert!(Plugin::load(&RUNTIME, file.path()).is_ok());
}

#[test]
fn what_is_no_component_is_refused() {
    let truncated = plugin_bytes();
    let (truncated, _) = truncated.split_at(truncated.len() / 2);
    let cases: [(&str, &[u8], &str); 7] = [
        ("an empty file", b"", "it is not WebAssembly"),
        ("text", b"(component)", "it is not WebAssembly"),
        ("chance", &[0x5a; 1000], "it is not WebAssembly"),
        (
            "a core module",
            b"\0asm\x01\0\0\0",
            "a wasm module with a component parser",
        ),
        ("half a component", truncated, "is out of bounds"),
        (
            "a header alone",
            b"\0asm\x0d\0\x01\0",
            "no exported instance named",
        ),
        (
            "compiled code",
            b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0",
            "it is not WebAssembly",
        ),
    ];
    for (name, bytes, reason) in cases {
        refused(name, bytes, reason);
    }
}

#[test]
fn a_component_for_another_host_is_refused() {
    let cases = [
        (
            "an import that is not granted",
            r#"(component (import "wasi:cli/environment@0.2.0" (instance
                 (export "get-arguments" (func (result (list string)))))))"#,
            "wasi:cli/environment@0.2.0",
        ),
        (
            "a function that the contract does not have",
            r#"(component (import "chat:reset-totp/settings@0.1.0" (instance
                 (export "set-totp-window" (func (param "window" u8))))))"#,
            "set-totp-window",
        ),
        (
            "a function of another type",
            r#"(component (import "chat:reset-totp/settings@0.1.0" (instance
                 (export "totp-window" (func (result u64))))))"#,
            "totp-window",
        ),
        (
            "a later version of the contract",
            r#"(component (import "chat:reset-totp/settings@0.2.0" (instance
                 (export "totp-window" (func (result u8))))))"#,
            "chat:reset-totp/settings@0.2.0",
        ),
        ("no handler", "(component)", "chat:reset-totp/handler@0.1.0"),
    ];
    for (name, text, reason) in cases {
        refused(name, &wat::parse_str(text).unwrap(), reason);
    }
}

#[test]
fn a_file_that_is_too_large_is_not_read_to_its_end() {
    refused(
        "one byte too many",
        &vec![0; 4 * MIB + 1],
        "it is larger than 4194304 bytes",
    );
    refused("the largest", &vec![0; 4 * MIB], "not a component");
}

#[test]
fn a_file_that_is_not_there_is_named_unreadable() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path(), &folder.path().join("missing.wasm")] {
        let error = Plugin::load(&RUNTIME, path).err().unwrap().to_string();
        assert!(error.starts_with("cannot read it: "), "{error}");
    }
}

fn refused(name: &str, bytes: &[u8], reason: &str) {
    let error = Plugin::load(&RUNTIME, file(bytes).path())
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
