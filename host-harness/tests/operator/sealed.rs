//! What a store keeps secret is sealed: how an operator makes the key, seals, changes the key,
//! and what a copy without it is worth (OWASP ASVS 5.0 V13.3.1).

use crate::{Store, keep, serve};
use chat_domain::totp::{TotpKey, code_hash};
use chat_testing::guest::PLUGIN;
use serde_json::Value;
use std::fs::{OpenOptions, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// What logs in to the mail server.
const MAIL_PASSWORD: &str = "correct-horse-of-the-mail-server";

/// The TOTP key of 3000 accounts, in base32.
const COMMON_KEY: &str = "MFRGGZDFMZTWQ2LK";

impl Store {
    /// Writes a key file for nobody else to read.
    fn key_file(&self, name: &str, keys: &[&str]) -> PathBuf {
        let path = self.folder.path().join(name);
        let mut file = OpenOptions::new();
        let file = file.write(true).create(true).truncate(true).mode(0o600);
        let text = format!("# keys of {name}\n\n{}\n", keys.concat());
        let mut file = file.open(&path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        path
    }

    fn new_key(&self) -> String {
        self.text(&["store", "new-key"])
    }

    /// The one line that a command says when it refuses.
    fn refused(&self, command: &mut Command) -> String {
        let output = command.output().unwrap();
        secret_scan::keep_output(&output);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(output.stdout.is_empty());
        assert_eq!(said.trim_end().lines().count(), 1, "{said}");
        said
    }

    /// What a command prints with the keys of this file.
    fn with_keys(&self, file: &Path, args: &[&str]) -> String {
        let mut command = self.command(args);
        let output = command.env("HOST_HARNESS_KEY_FILE", file).output().unwrap();
        keep(args, &output);
        let said = String::from_utf8(output.stderr).unwrap();
        let is_well = output.status.success() && said.is_empty();
        assert!(is_well, "{args:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Whether the store's file, or its log, holds this.
    fn holds(&self, secret: &[u8]) -> bool {
        let log = self.path().with_extension("sqlite-wal");
        [self.path(), log].iter().any(|file| {
            let file = std::fs::read(file).unwrap_or_default();
            file.windows(secret.len()).any(|window| window == secret)
        })
    }

    /// Adds ada, an administrator with TOTP, and the mail server; gives what of it is secret.
    fn fill(&self) -> Vec<Vec<u8>> {
        self.text(&["user", "add", "ada", "--role", "admin"]);
        let enrolled = self.json(&["user", "enrol-totp", "ada"]);
        secret_scan::register(MAIL_PASSWORD);
        let url = format!("smtps://chat:{MAIL_PASSWORD}@mail.example.com\n");
        self.text_with(&["setting", "set", "mail-server"], &url);
        let secret = enrolled["secret"].as_str().unwrap();
        let key = TotpKey::from_base32(secret).unwrap();
        let mut secrets = vec![secret.into(), key.expose().to_vec(), MAIL_PASSWORD.into()];
        for code in enrolled["backupCodes"].as_array().unwrap() {
            secrets.push(code_hash(code.as_str().unwrap()).into());
        }
        secrets
    }
}

const SERVE: [&str; 3] = ["serve", "--plugin", PLUGIN];

#[test]
fn a_copy_of_a_sealed_store_is_of_no_use_without_its_key() {
    let store = Store::missing_with_key();
    store.text(&["workspace", "create"]);
    let secrets = store.fill();
    assert_eq!(secrets.len(), 15);
    for secret in &secrets {
        assert!(!store.holds(secret));
    }
    // The search is not blind: but for the raw key, which was never kept so, all would be found.
    let plain = Store::new();
    for secret in plain.fill().iter().filter(|secret| secret.len() != 20) {
        assert!(plain.holds(secret));
    }
    let copy = Store::missing();
    std::fs::copy(store.path(), copy.path()).unwrap();
    let before = std::fs::read(copy.path()).unwrap();
    let named = "by key-file in [host] of the configuration, by --key-file or by \
                 HOST_HARNESS_KEY_FILE";
    for args in [
        &SERVE[..],
        &["user", "list"],
        &["setting", "set", "mail-from", "mallory@example.com"],
        &["workspace", "create", "mallory"],
        &["prune"],
    ] {
        let said = copy.refused(&mut copy.command(args));
        assert!(said.contains("it is sealed under the key "), "{said}");
        assert!(said.contains(named), "{said}");
        let other = copy.new_key();
        let said = copy.refused(copy.command(args).env("HOST_HARNESS_KEY", &other));
        assert!(
            said.contains("is not among those of the key file"),
            "{said}"
        );
        assert!(!said.contains(other.trim()), "{said}");
    }
    assert!(std::fs::read(copy.path()).unwrap() == before);
    let whole = Store {
        key: store.key.clone(),
        ..copy
    };
    assert!(whole.text(&["user", "list"]).contains("ada"));
}

#[test]
fn a_store_that_is_not_sealed_is_sealed_by_a_command() {
    let store = Store::new();
    let secrets = store.fill();
    let keys = store.key_file("chat.key", &[&store.new_key()]);
    let with_key = |args: &[&str]| {
        let mut command = store.command(args);
        command.env("HOST_HARNESS_KEY_FILE", &keys);
        command
    };
    for args in [&SERVE[..], &["user", "list"]] {
        let said = store.refused(&mut with_key(args));
        let why = "it is not sealed, and a key is configured";
        assert!(said.contains(why), "{said}");
        assert!(said.contains("`host-harness store rekey`"), "{said}");
    }
    let said = store.refused(&mut store.command(&["store", "rekey"]));
    assert!(said.contains("under which key?"), "{said}");

    let server = serve(&store);
    let said = store.refused(&mut with_key(&["store", "rekey"]));
    assert!(said.contains("stop the host that serves it"), "{said}");
    server.stop();
    let sealed = store.with_keys(&keys, &["store", "rekey"]);
    let told = "15 values sealed; everything is under the key ";
    assert!(sealed.starts_with(told), "{sealed}");
    for secret in &secrets {
        assert!(!store.holds(secret));
    }
    let said = store.refused(&mut store.command(&["user", "list"]));
    assert!(said.contains("--key-file"), "{said}");
    let by_option = ["user", "list", "--key-file", keys.to_str().unwrap()];
    assert!(store.text(&by_option).contains("ada"));
    let again = store.with_keys(&keys, &["store", "rekey", "--json"]);
    let again: Value = serde_json::from_str(&again).unwrap();
    assert_eq!(again["values"], 0);
    assert!(sealed.contains(again["keyId"].as_str().unwrap()));
    let mail_server = store.with_keys(&keys, &["setting", "get", "mail-server"]);
    assert_eq!(mail_server, "[set]\n");
}

#[test]
fn the_key_is_changed_and_the_old_one_thrown_away() {
    let store = Store::missing();
    let [old, new] = [store.new_key(), store.new_key()];
    assert_ne!(old, new);
    let keys = store.key_file("chat.key", &[&old]);
    let of_keys = |args: &[&str]| store.with_keys(&keys, args);
    of_keys(&["workspace", "create"]);
    of_keys(&["user", "add", "ada"]);
    of_keys(&["user", "enrol-totp", "ada"]);
    let status = || {
        let mut command = store.command(&["status", "--admin", "127.0.0.1:9"]);
        let output = command.env("HOST_HARNESS_KEY_FILE", &keys).output();
        let output = output.unwrap();
        secret_scan::keep_output(&output);
        String::from_utf8(output.stdout).unwrap()
    };
    store.key_file("chat.key", &[&new, &old]);
    let (begun, path) = (status(), store.path());
    let path = path.display();
    for line in [
        format!("!!  seal     {path} is not all under the first key, "),
        format!("→ host-harness store rekey --store {path}"),
    ] {
        assert!(begun.contains(&line), "{begun}");
    }
    let sealed = of_keys(&["store", "rekey"]);
    assert!(sealed.starts_with("14 values sealed; "), "{sealed}");
    let done = status();
    let line = format!("ok  seal     {path} is sealed under the key ");
    assert!(done.contains(&line), "{done}");
    store.key_file("chat.key", &[&new]);
    assert!(of_keys(&["user", "show", "ada"]).contains("backup codes"));
    store.key_file("chat.key", &[&old]);
    let told = status();
    for part in [
        "!!  seal ",
        "is not among those of the key file",
        "→ name the file of its keys by --key-file",
    ] {
        assert!(told.contains(part), "{told}");
    }
}

#[test]
fn keys_that_are_none_are_said_in_one_line_without_what_was_read() {
    let store = Store::new();
    let key = store.new_key();
    let keys = store.key_file("chat.key", &[&key]);
    let list = |file: &str| store.command(&["user", "list", "--key-file", file]);
    let path = keys.to_str().unwrap();
    let broken = store.key_file("broken.key", &[&key[1..]]);
    for (mut command, expected) in [
        (
            list(broken.to_str().unwrap()),
            "line 3 of the keys is none: a key is 32 bytes in base64",
        ),
        (
            list(key.trim()),
            "a key is named where the path of its file belongs",
        ),
        (
            list("nowhere.key"),
            "cannot read the key file nowhere.key: No such file",
        ),
    ] {
        let said = store.refused(&mut command);
        assert!(said.contains(expected), "{said}");
        assert!(!said.contains(&key[4..20]), "{said}");
    }
    let said = store.refused(list(path).env("HOST_HARNESS_KEY", &key));
    let both = "HOST_HARNESS_KEY and a key file are both given: one is enough";
    assert!(said.contains(both), "{said}");
    let said = store.refused(store.command(&["user", "list"]).env("HOST_HARNESS_KEY", ""));
    assert!(said.contains("there is no key"), "{said}");
    std::fs::set_permissions(&keys, Permissions::from_mode(0o644)).unwrap();
    let said = store.refused(&mut list(path));
    let open =
        format!("everybody may read or write the key file {path}: `chmod o-rw {path}` first");
    assert!(said.contains(&open), "{said}");
}

/// At whatever moment: what is there is what was there, and goes on to be sealed.
#[test]
fn a_sealing_that_is_killed_leaves_a_store_that_can_be_sealed() {
    const SEALED: &str = "SELECT count(*) FROM totp WHERE key LIKE 's1.%'";
    let store = Store::new();
    store.fill();
    let rows: String = (0..3000)
        .map(|n| {
            format!(
                "INSERT INTO user (workspace, id, username, username_key, federated, deactivated)
                 VALUES ('default', 'u{n}', 'u{n}', 'u{n}', 0, 0);
                 INSERT INTO totp VALUES ('default', 'u{n}', '{COMMON_KEY}', NULL);"
            )
        })
        .collect();
    let db = store.db();
    db.execute_batch(&format!("BEGIN; {rows} COMMIT")).unwrap();
    drop(db);
    let [old, new] = [store.new_key(), store.new_key()];
    let first = store.key_file("first.key", &[&old]);
    let both = store.key_file("both.key", &[&new, &old]);
    let last = store.key_file("last.key", &[&new]);
    let enrolled = |keys: &Path| {
        let shown = store.with_keys(keys, &["workspace", "show", "--json"]);
        let shown: Value = serde_json::from_str(&shown).unwrap();
        shown["withTotp"].clone()
    };
    let mut killed = 0;
    for keys in [&first, &both] {
        for delay in (0..200).step_by(20) {
            let mut rekey = store.command(&["store", "rekey"]);
            rekey.env("HOST_HARNESS_KEY_FILE", keys);
            let rekey = rekey
                .stdout(secret_scan::file("stdout"))
                .stderr(secret_scan::file("stderr"));
            let mut child = rekey.spawn().unwrap();
            std::thread::sleep(Duration::from_millis(delay));
            child.kill().unwrap();
            killed += usize::from(child.wait().unwrap().code().is_none());
            let is_sealed = !store.rows("SELECT key_id FROM sealing").is_empty();
            let expected = if is_sealed { "3001" } else { "0" };
            assert_eq!(store.rows(SEALED), [expected]);
            if is_sealed {
                assert_eq!(enrolled(keys), 3001);
            }
        }
        store.with_keys(keys, &["store", "rekey"]);
        assert_eq!(enrolled(keys), 3001);
    }
    assert!(killed > 0, "none was killed in time");
    assert_eq!(enrolled(&last), 3001);
    assert!(!store.holds(COMMON_KEY.as_bytes()));
}

/// Who is told nothing believes that all is sealed.
#[test]
fn a_host_that_serves_what_is_not_sealed_says_so_once() {
    let sealed = Store::missing_with_key();
    sealed.text(&["workspace", "create"]);
    for (store, expected) in [(Store::new(), 1), (sealed, 0)] {
        let mut child = store
            .command(&SERVE)
            .args(["--listen", "127.0.0.1:0", "--log", "json"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut warnings = 0;
        let log = secret_scan::Kept::new("stderr", child.stderr.take().unwrap());
        for line in BufReader::new(log).lines() {
            let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
            let message = line["fields"]["message"].as_str().unwrap();
            warnings += usize::from(message.contains("is not sealed") && line["level"] == "WARN");
            if message == "listening" {
                let pid = child.id().to_string();
                assert!(Command::new("kill").arg(&pid).status().unwrap().success());
            }
        }
        assert!(child.wait().unwrap().success());
        assert_eq!(warnings, expected);
    }
}
