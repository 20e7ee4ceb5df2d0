//! Backups as an operator makes, restores and checks them.

use crate::Store;
use rusqlite::Connection;

#[test]
fn a_store_is_copied_restored_and_checked() {
    let store = Store::new();
    store.add("alice");
    store.text(&["user", "enrol-totp", "alice"]);
    let backup = store.beside("monday.sqlite");
    let name = backup.to_str().unwrap();
    assert_eq!(
        store.text(&["store", "backup", name]),
        format!("{name} holds the store as it was just now\n")
    );
    let again = store.fails(&["store", "backup", name]).1;
    assert!(again.contains("of that name already"), "{again}");

    // Lost, and made again out of the copy.
    let before = store.text(&["user", "show", "alice"]);
    let there = store.fails(&["store", "restore", name]).1;
    assert!(there.contains("of that name already"), "{there}");
    for ending in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{ending}", store.path().display()));
    }
    assert_eq!(
        store.text(&["store", "restore", name]),
        format!(
            "the store {} is as it was in {name}, with 1 workspace\n",
            store.path().display()
        )
    );
    assert_eq!(store.text(&["user", "show", "alice"]), before);
    assert_eq!(
        store.text(&["store", "check"]),
        "1 workspace with 1 account: everything can be read\n"
    );
}

#[test]
fn what_is_broken_is_found_by_a_check() {
    let store = Store::new();
    store.add("alice");
    let db = Connection::open(store.path()).unwrap();
    db.pragma_update(None, "foreign_keys", "OFF").unwrap();
    db.execute("UPDATE user SET id = 'other'", []).unwrap();
    let orphan = store.fails(&["store", "check"]).1;
    assert!(orphan.contains("refers to none"), "{orphan}");

    db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    drop(db);
    let mut bytes = std::fs::read(store.path()).unwrap();
    let begin = bytes.len() / 2;
    for byte in &mut bytes[begin..] {
        *byte ^= 0x55;
    }
    std::fs::write(store.path(), bytes).unwrap();
    let broken = store.fails(&["store", "check"]).1;
    assert!(broken.starts_with("host-harness: "), "{broken}");
    assert_eq!(broken.lines().count(), 1, "{broken}");
}
