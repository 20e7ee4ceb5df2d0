//! `inspect` and `admit`, as an operator calls them.
#![expect(
    clippy::unwrap_used,
    reason = "a test ends where what it needs is not there"
)]

use chat_testing::guest::PLUGIN;
use expect_test::expect;
use minisign::KeyPair;
use serde_json::Value;
use std::io::Cursor;
use std::path::Path;
use std::process::{Command, Output};

#[test]
fn inspect_tells_a_stranger_what_the_plugin_can_and_cannot_do() {
    let output = host_harness(&["inspect", PLUGIN]);
    assert!(output.status.success(), "{output:?}");
    let text = text(&output.stdout);
    let (identity, powers) = text.split_once("\n\n").unwrap();
    assert!(identity.starts_with("digest     sha256:"), "{identity}");
    assert!(identity.contains("64 KiB of memory"), "{identity}");
    expect![[r#"
        It asks for 5 imports:
          wasi:clocks/wall-clock@0.2.0 (granted)
              it may ask when the request was accepted; time stands still meanwhile
          chat:reset-totp/users@0.1.0 (granted)
              it may look up one account of the workspace at a time, by id or username: whether it exists, its id and name, whether another server keeps it
          chat:reset-totp/permissions@0.1.0 (granted)
              it may ask whether the caller holds a permission
          chat:reset-totp/settings@0.1.0 (granted)
              it may read the workspace's four two-factor settings
          chat:reset-totp/secrets@0.1.0 (granted)
              it may count a failed attempt of the caller and then read the caller's own TOTP key, have a code mailed to the caller, have the caller's code or password compared, and ask for the removal of the TOTP factor of one member, of its own choice, which the host checks again and records

        It is given:
          the caller's id and whether the caller's token excuses from a code; of the request its body, its content type and its x-2fa headers. It writes the answer to the caller

        It cannot:
          open a file, use the network, start a program, or read arguments or environment variables
          get randomness, measure time, or keep anything from one call to the next
          see a token, a cookie, or another header of the request
          reach another workspace, or act for anybody but the caller of the request
          read the secret, the codes or the password of another member
          remove another member's factor without the caller's permission, a notice and a record; or any without a right and unused code of the caller, unless the settings excuse the caller from one; or two in one call

        It is admissible.
    "#]].assert_eq(powers);
}

#[test]
fn inspect_fails_where_something_is_not_granted_and_says_what() {
    let output = host_harness(&["inspect", PLUGIN, "--grants", "users,settings,wall-clock"]);
    assert!(!output.status.success());
    let text = text(&output.stdout);
    let (_, verdict) = text.rsplit_once("\n\n").unwrap();
    expect![[r#"
        It is not admissible:
          [not-granted] it needs `permissions`, which is not granted: grant it, or use another plugin
          [not-granted] it needs `secrets`, which is not granted: grant it, or use another plugin
    "#]].assert_eq(verdict);
}

#[test]
fn a_file_that_is_not_the_pinned_one_is_not_admitted() {
    let zeros = format!("sha256:{}", "0".repeat(64));
    for command in ["inspect", "admit"] {
        let output = host_harness(&[command, PLUGIN, "--digest", &zeros]);
        assert!(!output.status.success());
        let told = text_of_both(&output);
        assert!(told.contains("[digest-mismatch]"), "{told}");
    }
}

#[test]
fn inspect_answers_scripts() {
    let output = host_harness(&["inspect", PLUGIN, "--json", "--grants", "users"]);
    assert!(!output.status.success());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["admissible"], false);
    assert_eq!(report["kind"], "component");
    assert_eq!(report["imports"][1]["capability"], "users");
    assert_eq!(report["imports"][1]["problems"], Value::Array(Vec::new()));
    assert_eq!(report["imports"][2]["problems"][0]["code"], "not-granted");
    assert_eq!(report["problems"].as_array().unwrap().len(), 4);
}

#[test]
fn what_a_component_says_of_itself_moves_no_cursor() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plugin.wasm");
    std::fs::write(
        &path,
        wat::parse_str("(component $\"a\\1b[2J\\nb\")").unwrap(),
    )
    .unwrap();
    let output = host_harness(&["inspect", path.to_str().unwrap()]);
    let text = text(&output.stdout);
    assert!(text.contains("name       a\\u{1b}[2J\\nb\n"), "{text}");
}

#[test]
fn a_capability_that_is_not_there_is_answered_with_those_that_are() {
    let output = host_harness(&["inspect", PLUGIN, "--grants", "clock"]);
    assert!(!output.status.success());
    let text = text(&output.stderr);
    let names = "there are wall-clock, users, permissions, settings, secrets";
    assert!(text.contains(names), "{text}");
}

#[test]
fn admit_prints_the_line_that_pins_the_plugin_and_keeps_its_code() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("code");
    let arguments = ["admit", PLUGIN, "--cache", cache.to_str().unwrap()];
    for _ in 0..2 {
        let output = host_harness(&arguments);
        assert!(output.status.success(), "{output:?}");
        let text = text(&output.stdout);
        assert!(text.contains("\nplugin = \"sha256:"), "{text}");
    }
    assert_eq!(std::fs::read_dir(&cache).unwrap().count(), 2);
}

#[test]
fn admit_asks_for_a_signature_where_a_key_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plugin.wasm");
    let bytes = std::fs::read(PLUGIN).unwrap();
    std::fs::write(&path, &bytes).unwrap();
    let key = KeyPair::generate_unencrypted_keypair().unwrap();
    let root = key.pk.to_base64();
    let path = path.to_str().unwrap();
    let arguments = ["admit", path, "--trust", &root];
    let output = host_harness(&arguments);
    assert!(!output.status.success());
    let error = text(&output.stderr);
    assert!(error.contains("is not admitted: [not-signed]"), "{error}");

    let signature = minisign::sign(Some(&key.pk), &key.sk, Cursor::new(&bytes), None, None);
    let signature = signature.unwrap().into_string();
    std::fs::write(format!("{path}.minisig"), signature).unwrap();
    assert!(host_harness(&arguments).status.success());
    let inspected = host_harness(&["inspect", path, "--trust", &root]);
    assert!(text(&inspected.stdout).contains("\nsigned by  "));
}

#[test]
fn a_plugin_is_held_to_the_limits_of_a_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("chat.toml");
    let text = format!(
        "[host]\nplugin-bytes = 65536\n[plugins]\n[workspaces.default]\nhosts = [\"*\"]\n\
         store = \"chat.sqlite\"\nplugin = \"sha256:{}\"\n",
        "0".repeat(64)
    );
    std::fs::write(&config, text).unwrap();
    let config = config.to_str().unwrap();
    for command in ["inspect", "admit", "check"] {
        let output = host_harness(&[command, PLUGIN, "--config", config]);
        assert!(!output.status.success());
        let told = text_of_both(&output);
        let expected = "[too-large] it is larger than 65536 bytes";
        assert!(told.contains(expected), "{command}: {told}");
    }
}

fn text_of_both(output: &Output) -> String {
    text(&output.stdout) + &text(&output.stderr)
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    for command in ["inspect", "admit"] {
        let output = host_harness(&[command, "missing.wasm"]);
        assert!(!output.status.success());
        let error = text(&output.stderr);
        let expected = "host-harness: cannot read the plugin missing.wasm: ";
        assert!(error.starts_with(expected), "{error}");
    }
}

fn host_harness(arguments: &[&str]) -> Output {
    assert!(Path::new(PLUGIN).exists(), "run `cargo xtask build` first");
    let output = Command::new(env!("CARGO_BIN_EXE_host-harness"))
        .args(arguments)
        .output()
        .unwrap();
    secret_scan::keep_output(&output);
    output
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}
