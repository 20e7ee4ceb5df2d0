//! What is particular to the store in a SQLite file.

use crate::store::totp;
use crate::support::{Data, step};
use host_harness::store::Receipt;
use host_harness::store::sqlite::Sqlite;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

#[tokio::test]
async fn a_file_of_a_newer_program_is_left_alone() {
    let data = Data::new().await;
    data.edit("PRAGMA user_version = 99");
    let before = data.dump();
    let error = Sqlite::open(&data.path()).await.err().unwrap();
    assert_eq!(
        error.to_string(),
        "the store failed: a newer program wrote it: use that one"
    );
    assert_eq!(before.changes(&data.dump()), "");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    let text = "not a database, but the notes of someone. ".repeat(100);
    std::fs::write(&path, &text).unwrap();
    let error = Sqlite::open(&path).await.err().unwrap();
    assert_eq!(
        error.to_string(),
        "the store failed: file is not a database"
    );
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[tokio::test]
async fn a_file_that_is_not_there_is_made_only_where_asked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite");
    let error = Sqlite::open(&path).await.err().unwrap().to_string();
    assert!(error.contains("unable to open database file"), "{error}");
    assert!(!path.exists());
    Sqlite::open_or_create(&path).await.unwrap();
    Sqlite::open(&path).await.unwrap();
}

#[tokio::test]
async fn only_the_owner_can_read_the_files() {
    let data = Data::new().await;
    for file in files(&data) {
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}", file.display());
    }
}

/// What is deleted is overwritten.
#[tokio::test]
async fn a_removed_key_is_not_left_in_the_files() {
    let data = Data::new().await;
    let secret = b"acme/alice";
    data.edit("PRAGMA wal_checkpoint(TRUNCATE)");
    assert!(files_hold(&data, secret));
    let outcome = data.store.reset(totp(step())).await;
    assert_eq!(outcome.unwrap(), Ok(Receipt::Removed));
    data.edit("PRAGMA wal_checkpoint(TRUNCATE)");
    assert!(!files_hold(&data, secret));
}

fn files_hold(data: &Data, bytes: &[u8]) -> bool {
    files(data).iter().any(|file| {
        let file = std::fs::read(file).unwrap();
        file.windows(bytes.len()).any(|window| window == bytes)
    })
}

/// The database and its journals.
fn files(data: &Data) -> Vec<PathBuf> {
    let folder = data.path();
    let folder = std::fs::read_dir(folder.parent().unwrap()).unwrap();
    folder.map(|entry| entry.unwrap().path()).collect()
}
