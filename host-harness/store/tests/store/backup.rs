//! Backups: made while a store is served, restored into either kind.

use super::new_data;
use super::store::refusal;
use chat_domain::operator::{NewUser, Operation};
use chat_store::StoreUrl;
use chat_testing::ask::Ask as _;
use chat_testing::postgres::Database;
use chat_testing::{ACME, Data, Kind, now};
use std::os::unix::fs::PermissionsExt;
use tokio::task::JoinSet;

/// A row in each table that the usual data leaves empty.
const MORE: &str = "
    INSERT INTO setting VALUES ('acme', 'totp-window', '2');
    INSERT INTO fixed_setting VALUES ('acme', 'totp-window', 'chat.toml line 4');
    INSERT INTO failed_attempt VALUES ('acme', 'bob', 3, NULL, 0);
    INSERT INTO outbox (workspace, message_id, recipient, subject, body, queued, expires,
                        holds_code, tries, claimed, next_try, doubtful)
    VALUES ('acme', 'm1', 'alice@example.com', 'Hello', 'It''s you\n', 1000, 2000, FALSE, 1, TRUE,
            9223372036854775807, 0)";

/// What a store keeps for itself.
const OWN: [&str; 1] = ["probe"];

#[tokio::test]
async fn a_backup_is_restored_into_either_kind_of_store() {
    let data = new_data().await;
    data.edit(MORE);
    data.show_key(ACME, "bob", "shown", 2000);
    data.send_code(ACME, "bob", "hash", 1, 1);
    data.store.record(refusal()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let backup = folder.path().join("backup.sqlite");
    data.url().back_up(&backup).await.unwrap();
    let mode = backup.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(folder.path().read_dir().unwrap().count(), 1, "one file");
    let before = data.dump_with_log_without(&OWN);
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let restored = Data::restored(kind, &backup).await;
        let after = restored.dump_with_log_without(&OWN);
        assert_eq!(before.changes(&after), "", "{kind:?}");
        // It goes on: what is numbered gets other numbers.
        let added = restored.store.add_user(operation(), user("zoe")).await;
        assert_eq!(added.unwrap().unwrap().user.username, "zoe", "{kind:?}");
        restored.assert_logs_are_whole().await;
        // A second copy of it is the same.
        let again = folder.path().join(format!("{kind:?}"));
        restored.url().back_up(&again).await.unwrap();
        let twice = Data::restored(Kind::Sqlite, &again).await;
        let changes = restored
            .dump_with_log_without(&OWN)
            .changes(&twice.dump_with_log_without(&OWN));
        assert_eq!(changes, "", "{kind:?}");
    }
}

/// Each account is there with the record of how it came, or neither.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_of_one_moment() {
    let data = new_data().await;
    let mut writing = JoinSet::new();
    for writer in 0..4 {
        let store = data.store.clone();
        writing.spawn(async move {
            for n in 0..50 {
                let added = store.add_user(operation(), user(&format!("w{writer}-{n}")));
                added.await.unwrap().unwrap();
            }
        });
    }
    let folder = tempfile::tempdir().unwrap();
    let mut sizes = Vec::new();
    for n in 0..10 {
        let backup = folder.path().join(n.to_string());
        data.url().back_up(&backup).await.unwrap();
        let db = rusqlite::Connection::open(&backup).unwrap();
        let count = |sql: &str| db.query_row(sql, [], |row| row.get::<_, u32>(0)).unwrap();
        let users = count("SELECT count(*) FROM user WHERE username LIKE 'w%-%'");
        let records = count("SELECT count(*) FROM audit WHERE action = 'add-user'");
        assert_eq!(users, records);
        let found = db.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0));
        assert_eq!(found.unwrap(), "ok");
        sizes.push(users);
    }
    writing.join_all().await;
    assert!(sizes.is_sorted(), "{sizes:?}");
}

#[tokio::test]
async fn what_is_there_already_is_not_written_over() {
    let data = new_data().await;
    let folder = tempfile::tempdir().unwrap();
    let there = folder.path().join("there");
    std::fs::write(&there, "a letter").unwrap();
    let refused = data.url().back_up(&there).await.unwrap_err().to_string();
    assert!(refused.contains("of that name already"), "{refused}");
    assert_eq!(std::fs::read(&there).unwrap(), b"a letter");

    let backup = folder.path().join("backup");
    data.url().back_up(&backup).await.unwrap();
    let before = data.dump();
    assert!(data.url().restore(&backup).await.is_err());
    assert_eq!(before.changes(&data.dump()), "");
}

/// Neither is a backup of which a part cannot be read, not even the other part of it.
#[tokio::test]
async fn a_backup_that_is_damaged_is_not_restored() {
    let data = new_data().await;
    for number in 0..50 {
        data.store.record(refusal()).await.unwrap();
        let added = data
            .store
            .add_user(operation(), user(&format!("w{number}")))
            .await;
        added.unwrap().unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let backup = folder.path().join("backup");
    data.url().back_up(&backup).await.unwrap();
    let whole = std::fs::read(&backup).unwrap();
    let damaged = folder.path().join("damaged");
    let database = Database::empty();
    let file = StoreUrl::from(folder.path().join("file"));
    for target in [file, database.url().parse().unwrap()] {
        for part in 4..8 {
            let mut bytes = whole.clone();
            let half = whole.len() * part / 8;
            bytes[half..].fill(0xff);
            std::fs::write(&damaged, bytes).unwrap();
            assert!(target.restore(&damaged).await.is_err(), "{target}");
        }
        target.restore(&backup).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_no_backup_is_not_restored() {
    let folder = tempfile::tempdir().unwrap();
    let there = folder.path().join("letter");
    std::fs::write(
        &there,
        "a letter that is no database, whatever its name says",
    )
    .unwrap();
    let other = folder.path().join("other");
    let db = rusqlite::Connection::open(&other).unwrap();
    db.execute_batch("CREATE TABLE note (text TEXT)").unwrap();
    let target = folder.path().join("target");
    for from in [&there, &other, &folder.path().join("none")] {
        let to = StoreUrl::from(target.as_path());
        assert!(to.restore(from).await.is_err());
        assert!(!target.exists(), "{}", from.display());
    }
}

fn operation() -> Operation {
    Operation {
        workspace: ACME.to_owned(),
        now: now(),
        request_id: "r".to_owned(),
        forced: false,
    }
}

fn user(name: &str) -> NewUser {
    NewUser {
        id: name.to_owned(),
        username: name.to_owned(),
        roles: vec!["user".to_owned()],
        ..NewUser::default()
    }
}
