//! The audit trail as a log that proves itself, through the program, a store's file, and a verifier
//! that shares no code with it.

use crate::Store;
use rusqlite::Connection;
use serde_json::{Value, json};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

impl Store {
    /// Whose audit trail has a record for each of so many users.
    fn with_records(records: usize) -> Self {
        let store = Self::new();
        (0..records).for_each(|number| store.record(number));
        store
    }

    fn record(&self, number: usize) {
        self.text(&["user", "add", &format!("user{number}")]);
    }

    /// Keeps what it prints in a file.
    fn keep_in(&self, name: &str, args: &[&str]) {
        std::fs::write(self.beside(name), self.text(args)).unwrap();
    }

    /// Changes the data past the program.
    fn edit(&self, sql: &str) {
        let db = Connection::open(self.path()).unwrap();
        db.execute_batch(sql).unwrap();
    }

    fn key(&self) -> String {
        let key = self.text(&["audit", "checkpoint", "--key"]);
        key.trim_end().to_owned()
    }
}

const NOT_WHOLE: &str = "host-harness: the audit log is not whole\n";

#[test]
fn a_log_is_verified_and_what_was_done_to_it_is_named() {
    let store = Store::with_records(0);
    assert_eq!(
        store.text(&["audit", "verify"]),
        "default has no audit record yet\n"
    );
    (0..3).for_each(|number| store.record(number));
    assert_eq!(
        store.text(&["audit", "verify"]),
        "the audit log of default is whole: 3 records\n"
    );
    let whole = store.json(&["audit", "verify"]);
    assert_eq!(
        (
            &whole["workspace"],
            &whole["whole"],
            &whole["size"],
            &whole["faults"]
        ),
        (&json!("default"), &json!(true), &json!(3), &json!([]))
    );
    store.edit(
        "UPDATE audit SET reason = 'forged\nok' WHERE idx = 1; DELETE FROM audit WHERE idx = 2",
    );
    let request = store.json(&["audit", "list"])[1]["requestId"].clone();
    let edited = format!(
        "record 1 (request {}) was edited",
        request.as_str().unwrap()
    );
    let told = format!("!!  {edited}\n!!  record 2 was removed\n");
    let failed = (told, NOT_WHOLE.to_owned());
    assert_eq!(store.fails(&["audit", "verify"]), failed);
    let (json, _) = store.fails(&["audit", "verify", "--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        json["faults"],
        json!([
            {"fault": "edited", "index": 1, "text": edited},
            {"fault": "removed", "index": 2, "text": "record 2 was removed"},
        ])
    );
    let elsewhere = store
        .fails(&["audit", "verify", "--workspace", "elsewhere"])
        .1;
    assert!(
        elsewhere.contains("there is no workspace elsewhere"),
        "{elsewhere}"
    );
}

/// What the program removes as old it vouches for, but not for what it finds changed.
#[test]
fn what_somebody_has_made_old_is_removed_and_named() {
    let store = Store::with_records(3);
    store.text(&["setting", "set", "audit-days", "10"]);
    store.edit("UPDATE audit SET at = at - 11 * 86400000 WHERE idx < 2");
    store.text(&["prune"]);
    let (removed, _) = store.fails(&["audit", "verify"]);
    let expected = "!!  record 0 was removed\n!!  record 1 was removed\n";
    assert_eq!(removed, expected);
}

#[test]
fn a_checkpoint_finds_what_was_rolled_back_forked_or_begun_anew() {
    let store = Store::with_records(2);
    store.edit(&format!(
        "VACUUM INTO '{}'",
        store.beside("older.sqlite").display()
    ));
    store.record(2);
    store.keep_in("monday.txt", &["audit", "checkpoint"]);
    let verify = ["audit", "verify", "--checkpoint", "monday.txt"];
    let goes_on = "; it goes on from a checkpoint of 3\n";
    assert!(
        store
            .text(&verify)
            .ends_with(&format!("whole: 3 records{goes_on}"))
    );
    store.record(3);
    assert!(
        store
            .text(&verify)
            .ends_with(&format!("whole: 4 records{goes_on}"))
    );
    let note = std::fs::read_to_string(store.beside("monday.txt")).unwrap();
    std::fs::write(store.beside("edited.txt"), note.replace("\n3\n", "\n2\n")).unwrap();
    let edited = store
        .fails(&["audit", "verify", "--checkpoint", "edited.txt"])
        .1;
    assert!(edited.contains("edited.txt is not believed"), "{edited}");

    for beside in ["store.sqlite-wal", "store.sqlite-shm"] {
        // The last who closes the store removes them.
        let _ = std::fs::remove_file(store.beside(beside));
    }
    std::fs::rename(store.beside("older.sqlite"), store.path()).unwrap();
    let (told, failed) = store.fails(&verify);
    let rolled_back =
        "!!  the log was rolled back: it has 2 records, and had 3 at the checkpoint\n";
    assert_eq!((told.as_str(), failed.as_str()), (rolled_back, NOT_WHOLE));
    store.record(7);
    let forked = "!!  the log was forked: its first 3 records are not those of the checkpoint\n";
    assert_eq!(store.fails(&verify).0, forked);
    assert!(
        store.text(&["audit", "verify"]).contains("is whole"),
        "by itself"
    );

    let other = Store::with_records(4);
    std::fs::copy(store.beside("monday.txt"), other.beside("monday.txt")).unwrap();
    let (_, other_key) = other.fails(&verify);
    assert!(
        other_key.contains("the key of this log has not signed it"),
        "{other_key}"
    );
    other.edit("DELETE FROM audit; DELETE FROM audit_leaf; DELETE FROM audit_log");
    let (_, removed) = other.fails(&verify);
    assert!(
        removed.contains("the audit log of default was removed"),
        "{removed}"
    );
}

#[test]
fn an_export_is_verified_without_the_store_and_every_change_of_it_is_found() {
    let store = Store::with_records(4);
    let key = store.key();
    let report = store.text(&["audit", "export", "log.jsonl"]);
    assert_eq!(report, format!("4 records in log.jsonl, signed by {key}\n"));
    let mode = std::fs::metadata(store.beside("log.jsonl"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o077, 0, "it has names and addresses");
    let again = store.fails(&["audit", "export", "log.jsonl"]).1;
    assert!(again.contains("cannot write log.jsonl"), "{again}");

    std::fs::rename(store.path(), store.beside("gone.sqlite")).unwrap();
    let verify = ["audit", "verify", "--file", "log.jsonl", "--key", &key];
    assert_eq!(
        store.text(&verify),
        "the export log.jsonl is whole: 4 records\n"
    );
    let untrusted = store.text(&["audit", "verify", "--file", "log.jsonl"]);
    assert!(
        untrusted.contains("only you can say, by --key"),
        "{untrusted}"
    );
    let other = Store::with_records(1).key();
    let (told, failed) = store.fails(&["audit", "verify", "--file", "log.jsonl", "--key", &other]);
    assert!(
        told.contains("the key of this log has not signed it"),
        "{told}"
    );
    assert_eq!(failed, NOT_WHOLE);

    let export = std::fs::read_to_string(store.beside("log.jsonl")).unwrap();
    let edited = export.replacen("\"operator\"", "\"somebody\"", 1);
    assert_ne!(edited, export);
    std::fs::write(store.beside("log.jsonl"), edited).unwrap();
    let (told, _) = store.fails(&verify);
    assert!(
        told.contains("was edited") && told.contains("it is not as it was signed"),
        "{told}"
    );
    let missing = store.fails(&["audit", "verify", "--file", "nowhere"]).1;
    assert!(missing.contains("cannot read nowhere"), "{missing}");
}

#[test]
fn of_a_log_that_is_not_whole_nothing_is_signed() {
    let store = Store::with_records(3);
    let request = store.json(&["audit", "list"])[0]["requestId"].clone();
    let prove = ["audit", "prove", request.as_str().unwrap()];
    store.text(&prove);
    store.edit("UPDATE audit SET caller = 'mallory' WHERE idx = 2");
    for args in [
        &["audit", "checkpoint"][..],
        &["audit", "export", "log.jsonl"],
        &prove,
    ] {
        let (told, failed) = store.fails(args);
        assert_eq!(told, "");
        assert!(
            failed.contains("not whole, so nothing of it is signed"),
            "{failed}"
        );
    }
    assert!(!store.beside("log.jsonl").exists());
    let left = std::fs::read_dir(store.folder.path()).unwrap().count();
    assert!(left <= 3, "the store and its two files");
}

#[test]
fn a_record_is_proved_by_its_place_or_its_request() {
    let store = Store::with_records(5);
    let request = store.json(&["audit", "list"])[3]["requestId"].clone();
    let by_request = store.json(&["audit", "prove", request.as_str().unwrap()]);
    let by_place = store.json(&["audit", "prove", "3"]);
    assert_eq!(by_request, by_place);
    assert_eq!(by_place["records"][0]["index"], 3);
    assert_eq!(by_place["records"][0]["record"]["requestId"], request);
    assert_eq!(by_place["key"], store.key());
    let list = store.json(&["audit", "list", "--request", request.as_str().unwrap()]);
    assert_eq!(list[0]["index"], 3);
    for (record, why) in [
        ("5", "the log has no record 5"),
        ("nobody", "no record is of the request nobody"),
    ] {
        let (_, failed) = store.fails(&["audit", "prove", record]);
        assert!(failed.contains(why), "{failed}");
    }
}

/// What the verifier says of `proof`, which trusts `key`.
fn verified(key: &str, proof: &Value) -> Result<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/clients");
    let mut child = Command::new("node")
        .arg("audit-verifier.mjs")
        .arg(key)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(proof.to_string().as_bytes()).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    match output.status.success() {
        true => Ok(text(output.stdout)),
        false => Err(text(output.stderr)),
    }
}

/// The text with another first character.
fn other(text: &Value) -> Value {
    let text = text.as_str().unwrap();
    let (first, rest) = text.split_at(1);
    json!(format!("{}{rest}", if first == "A" { "B" } else { "A" }))
}

/// It knows the standards and Node.js alone.
#[test]
fn an_independent_verifier_believes_what_is_proved_and_no_change_of_it() {
    let store = Store::with_records(3);
    store.keep_in("older.txt", &["audit", "checkpoint"]);
    (3..11).for_each(|number| store.record(number));
    let key = store.key();
    for place in 0..11_u8 {
        let proof = store.json(&["audit", "prove", &place.to_string()]);
        let said = "a checkpoint of 11 records is signed\n";
        let expected = format!("{said}record {place} is in the log\n");
        assert_eq!(verified(&key, &proof), Ok(expected));
    }
    let proof = store.json(&["audit", "prove", "6", "--since", "older.txt"]);
    let said = verified(&key, &proof).unwrap();
    assert!(
        said.ends_with("the log of 3 records is its beginning\n"),
        "{said}"
    );

    type Edit = fn(&mut Value);
    let edits: [(Edit, &str); 11] = [
        (
            |p| p["records"][0]["record"]["caller"] = json!("mallory"),
            "record 6 is not in the log",
        ),
        (
            |p| p["records"][0]["record"]["at"] = json!(1),
            "record 6 is not in the log",
        ),
        (
            |p| p["records"][0]["salt"] = other(&p["records"][0]["salt"]),
            "record 6 is not in the log",
        ),
        (
            |p| p["records"][0]["index"] = json!(7),
            "record 7 is not in the log",
        ),
        (
            |p| p["records"][0]["index"] = json!(11),
            "there is no such place",
        ),
        (
            |p| p["records"][0]["proof"][1] = other(&p["records"][0]["proof"][1]),
            "record 6 is not in the log",
        ),
        (
            |p| drop(p["records"][0]["proof"].as_array_mut().unwrap().pop()),
            "the proof is too short",
        ),
        (
            |p| {
                p["records"][0]["proof"]
                    .as_array_mut()
                    .unwrap()
                    .push(json!("AAAA"))
            },
            "the proof is too long",
        ),
        (
            |p| {
                p["checkpoint"] = json!(
                    p["checkpoint"]
                        .as_str()
                        .unwrap()
                        .replace("\n11\n", "\n12\n")
                )
            },
            "the signature is wrong",
        ),
        (
            |p| p["consistency"][0] = other(&p["consistency"][0]),
            "it was forked",
        ),
        (
            |p| p["since"] = json!(p["since"].as_str().unwrap().replace("\n3\n", "\n2\n")),
            "the signature is wrong",
        ),
    ];
    for (edit, why) in edits {
        let mut edited = proof.clone();
        edit(&mut edited);
        assert_ne!(edited, proof);
        let refused = verified(&key, &edited).unwrap_err();
        assert!(refused.contains(why), "{why}: {refused}");
    }
    let stranger = Store::with_records(1).key();
    let refused = verified(&stranger, &proof).unwrap_err();
    assert!(refused.contains("the key has signed nothing"), "{refused}");
}

/// Whoever has it could write another log.
#[test]
fn no_command_prints_the_secret() {
    let store = Store::with_records(2);
    let secret: String = Connection::open(store.path())
        .unwrap()
        .query_row("SELECT secret FROM audit_log", [], |row| row.get(0))
        .unwrap();
    assert_eq!(secret.len(), 44);
    secret_scan::register(&secret);
    store.text(&["audit", "export", "log.jsonl"]);
    let mut printed = std::fs::read_to_string(store.beside("log.jsonl")).unwrap();
    for args in [
        &["audit", "verify"][..],
        &["audit", "checkpoint"],
        &["audit", "checkpoint", "--key"],
        &["audit", "prove", "1"],
        &["audit", "list"],
    ] {
        printed += &store.text(args);
        printed += &store.json(args).to_string();
    }
    assert!(!printed.contains(&secret));
}
