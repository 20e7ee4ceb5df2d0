//! What is particular to the store in a SQLite file.

use crate::KIND;
use crate::suite::store::{refusal, totp};
use chat_domain::account::Selector;
use chat_domain::operator::Role;
use chat_domain::reset::Receipt;
use chat_domain::standing::RefuseMalformed;
use chat_domain::time::Timestamp;
use chat_domain::totp::TotpKey;
use chat_store::seal::Seal;
use chat_store::sqlite::{Sqlite, advice, holds_mail, survey};
use chat_testing::ask::{Ask as _, source};
use chat_testing::{Data, now, seal, step, token_hash};
use rusqlite::Connection;
use rusqlite::types::Value;
use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

#[tokio::test]
async fn a_file_of_a_newer_program_is_left_alone() {
    let data = Data::new().await;
    data.edit("PRAGMA user_version = 99");
    let before = data.dump();
    let error = Sqlite::open(&data.path(), &seal()).await.err().unwrap();
    assert_eq!(
        error.to_string(),
        "the store failed: a newer program wrote it: use that one"
    );
    assert_eq!(before.changes(&data.dump()), "");
}

/// Whether or not that program marks its files.
#[tokio::test]
async fn another_programs_database_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    for (name, mark) in [("unmarked", 0), ("marked", 0x1234_5678)] {
        let path = folder.path().join(name);
        let theirs = Connection::open(&path).unwrap();
        theirs.pragma_update(None, "application_id", mark).unwrap();
        theirs
            .execute_batch("CREATE TABLE note (text TEXT); INSERT INTO note VALUES ('milk')")
            .unwrap();
        let before = std::fs::read(&path).unwrap();
        for result in [
            Sqlite::open(&path, &Seal::none()).await,
            Sqlite::open_or_create(&path, &Seal::none()).await,
        ] {
            assert_eq!(
                result.err().unwrap().to_string(),
                "the store failed: it is another program's database"
            );
        }
        assert!(std::fs::read(&path).unwrap() == before, "{name}");
    }
    let names = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(names, 2, "no journal is left");
}

/// Two programs that are started at once on a fresh machine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_can_make_the_same_file_at_once() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..50 {
        let path = folder.path().join(round.to_string());
        let start = Arc::new(Barrier::new(2));
        let mut programs = JoinSet::new();
        for _ in 0..2 {
            let (path, start) = (path.clone(), start.clone());
            programs.spawn(async move {
                start.wait().await;
                Sqlite::open_or_create(&path, &Seal::none()).await.map(drop)
            });
        }
        for result in programs.join_all().await {
            assert!(result.is_ok(), "round {round}: {result:?}");
        }
    }
}

/// A store of the first version keeps what it holds.
#[tokio::test]
async fn an_older_file_is_brought_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite");
    let old = Connection::open(&path).unwrap();
    old.execute_batch(include_str!("../../src/sqlite/schema/1.sql"))
        .unwrap();
    old.execute_batch(
        "PRAGMA application_id = 0x746f7470;
         PRAGMA user_version = 1;
         INSERT INTO workspace VALUES ('acme', 1, 0, 2, 0, 1, 0);
         INSERT INTO workspace VALUES ('globex', 0, 1, 1, 1, 0, 1);
         INSERT INTO user VALUES ('acme', 'alice', 'Alice', 'alice', NULL, 0, 0);
         INSERT INTO user VALUES ('acme', 'u2', 'Müller', 'müller', NULL, 0, 0);
         INSERT INTO user VALUES ('acme', 'u3', 'MÜLLER', 'müller', NULL, 0, 0);
         INSERT INTO role_permission VALUES ('acme', 'admin', 'edit-other-user-totp');
         INSERT INTO user_role VALUES ('acme', 'alice', 'user');
         INSERT INTO login_token VALUES ('acme', 'alice', 'hash', NULL, 1);
         INSERT INTO totp VALUES ('acme', 'alice', x'00ff', 7);
         INSERT INTO backup_code VALUES ('acme', 'alice', 'of a code');
         INSERT INTO outbox VALUES (5, 'acme', 'alice@example.com', 'Hello', 'You', 1000);
         INSERT INTO audit VALUES (1, 'acme', 1000, 'r', 'alice', NULL, 'refused', 'x');",
    )
    .unwrap();
    drop(old);
    let store = Sqlite::open(&path, &Seal::none()).await.unwrap();
    let acme = store.settings("acme").await.unwrap().unwrap();
    assert!(acme.two_factor_enabled && acme.missing_factor_allowed);
    assert!(!acme.totp_enabled && !acme.password_fallback && !acme.bypass_token_allowed);
    assert_eq!(acme.totp_window, 2);
    let globex = store.settings("globex").await.unwrap().unwrap();
    assert!(!globex.two_factor_enabled && globex.totp_enabled && globex.password_fallback);
    assert!(!globex.missing_factor_allowed && globex.bypass_token_allowed);
    assert_eq!(globex.totp_window, 1);
    let now = Timestamp::from_millis(0);
    let caller = store.authenticate("acme", "alice", "hash", now).await;
    assert!(caller.unwrap().unwrap().bypass_token);
    let roles = store.roles("acme").await.unwrap().unwrap();
    let role = |name: &str, permissions: &[&str], members: &[&str]| Role {
        name: name.to_owned(),
        permissions: permissions.iter().map(ToString::to_string).collect(),
        members: members.iter().map(ToString::to_string).collect(),
    };
    assert_eq!(
        roles,
        [
            role("admin", &["edit-other-user-totp"], &[]),
            role("user", &[], &["Alice"]),
        ]
    );
    let profiles = store.profiles("acme").await.unwrap();
    let factor = profiles[0].factor.as_ref().unwrap();
    assert_eq!(factor.key.expose(), [0, 0xff]);
    assert_eq!(factor.last_step, Some(7));
    assert_eq!(factor.backup_code_hashes, ["of a code"]);
    let db = Connection::open(&path).unwrap();
    let mail: (String, i64, i64) = db
        .query_row(
            "SELECT recipient, length(message_id), (expires / 1000 - unixepoch() + 1800) / 3600
             FROM outbox WHERE id = 5 AND next_try = queued",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .unwrap();
    let waits = ("alice@example.com".to_owned(), 32, 72);
    assert_eq!(mail, waits, "for as long as a new one");
    let action: String = db
        .query_row("SELECT action FROM audit", [], |row| row.get(0))
        .unwrap();
    assert_eq!(action, "reset-totp");
    // Of two names that are the same by now, the second account keeps its own.
    for (name, id) in [
        ("mu\u{308}ller", "u2"),
        ("MÜLLER", "u3"),
        ("alice", "alice"),
    ] {
        let named = Selector::Username(name.to_owned());
        let found = store.find_user("acme", named).await.unwrap();
        assert_eq!(found.unwrap().id, id, "{name}");
    }
    let look_alike = Selector::LookAlike("a1ice".to_owned());
    let found = store.find_user("acme", look_alike).await.unwrap();
    assert_eq!(found.unwrap().id, "alice");
}

#[tokio::test]
async fn the_file_says_whose_it_is_and_that_readers_do_not_wait() {
    let data = Data::new().await;
    let pragma = |name: &str| -> Value {
        let value = data
            .connect()
            .pragma_query_value(None, name, |row| row.get(0));
        value.unwrap()
    };
    assert_eq!(pragma("journal_mode"), Value::Text("wal".to_owned()));
    assert_eq!(pragma("application_id"), Value::Integer(0x746f_7470));
    assert_eq!(pragma("user_version"), Value::Integer(6));
}

#[tokio::test]
async fn a_file_that_is_no_database_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    let text = "not a database, but the notes of someone. ".repeat(100);
    std::fs::write(&path, &text).unwrap();
    let error = Sqlite::open(&path, &Seal::none()).await.err().unwrap();
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
    let error = Sqlite::open(&path, &Seal::none())
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("unable to open database file"), "{error}");
    assert!(!path.exists());
    Sqlite::open_or_create(&path, &Seal::none()).await.unwrap();
    Sqlite::open(&path, &Seal::none()).await.unwrap();
}

/// What is written into a file without a name is lost, and a backup that takes the name
/// would be spoilt by what was left to be merged.
#[tokio::test]
async fn a_file_that_was_deleted_or_replaced_is_not_written_and_not_spoilt() {
    for replaced in [false, true] {
        let data = Data::new().await;
        let path = data.path().to_owned();
        let backup = path.with_extension("backup");
        data.connect()
            .execute("VACUUM INTO ?1", [backup.to_str().unwrap()])
            .unwrap();
        let bytes = std::fs::read(&backup).unwrap();
        assert!(data.store.next_mail_due(now()).await.is_ok());
        match replaced {
            true => std::fs::rename(&backup, &path).unwrap(),
            false => std::fs::remove_file(&path).unwrap(),
        }
        let record = data.store.record(refusal()).await.unwrap_err().to_string();
        assert!(record.contains("moved, replaced or deleted"), "{record}");
        assert!(data.store.next_mail_due(now()).await.is_err(), "not ready");
        assert!(data.store.workspaces(now()).await.is_err());
        drop(data.store);
        // The writer closes on a thread of its own.
        while has_open(path.parent().unwrap()) {
            std::thread::yield_now();
        }
        if replaced {
            assert!(std::fs::read(&path).unwrap() == bytes, "it is as it was");
        } else {
            assert!(!path.exists());
        }
    }
}

/// Whether this process holds a file of the folder open, be it deleted.
fn has_open(folder: &Path) -> bool {
    let mut files = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    files.any(|file| std::fs::read_link(file.path()).is_ok_and(|path| path.starts_with(folder)))
}

/// Nobody may ever open the other end of the pipe.
#[tokio::test]
async fn a_pipe_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("chat.sqlite");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    for problem in [
        Sqlite::open(&pipe, &Seal::none()).await.err().unwrap(),
        Sqlite::open_or_create(&pipe, &Seal::none())
            .await
            .err()
            .unwrap(),
        survey(&pipe, &Seal::none()).await.err().unwrap(),
        holds_mail(&pipe).await.err().unwrap(),
    ] {
        assert_eq!(
            problem.to_string(),
            "the store failed: it is no regular file"
        );
    }
}

/// As the service's user could make in its folder, to have root's commands make or change a file of
/// root's. A folder that is a link is as good as any: so is the service's own.
#[tokio::test]
async fn a_link_of_another_user_leads_to_nothing_but_what_is_theirs() {
    const ANOTHER: Option<u32> = Some(65_534);
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let open = async |path: PathBuf| Sqlite::open_or_create(&path, &seal()).await.map(drop);
    std::fs::create_dir(path("private")).unwrap();
    symlink(path("private"), path("public")).unwrap();
    open(path("public/chat.sqlite")).await.unwrap();
    symlink(path("private/chat.sqlite"), path("own")).unwrap();
    open(path("own")).await.unwrap();
    if lchown(path("public"), ANOTHER, ANOTHER).is_err() {
        eprintln!("not root: what another user does cannot be tried");
        return;
    }
    open(path("public/chat.sqlite")).await.unwrap();
    symlink(path("made"), path("dangling")).unwrap();
    lchown(path("dangling"), ANOTHER, ANOTHER).unwrap();
    lchown(path("own"), ANOTHER, ANOTHER).unwrap();
    for link in ["dangling", "own"] {
        let error = open(path(link)).await.unwrap_err().to_string();
        assert!(
            error.contains("a link to what is not its owner's"),
            "{error}"
        );
    }
    assert!(!path("made").exists());
    chown(path("private/chat.sqlite"), ANOTHER, ANOTHER).unwrap();
    open(path("own")).await.unwrap();
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
    let data = Data::plain(KIND).await;
    let secret = TotpKey::new(b"acme/alice".to_vec()).to_base32();
    let secret = secret.as_bytes();
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

/// Writes that wait for another are one wait for the disk: the write-ahead log marks
/// the last page of each commit.
#[tokio::test]
async fn what_waits_is_committed_together() {
    const WRITES: usize = 32;
    let data = Data::new().await;
    let log = data.path().with_extension("sqlite-wal");
    let before = commits(&log);
    let lock = data.connect();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut writes = JoinSet::new();
    for _ in 0..WRITES {
        let store = data.store.clone();
        writes.spawn(async move { store.reset(totp(step())).await.unwrap() });
    }
    // None can be done before the lock is given back.
    tokio::task::yield_now().await;
    lock.execute_batch("ROLLBACK").unwrap();
    let outcomes = writes.join_all().await;
    let done = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(done, 1, "each was decided after the one before it");
    let together = commits(&log) - before;
    assert!(together <= 2, "{together} commits");
}

/// How many commits the write-ahead log holds: pages whose frame says how large the
/// file is after it (SQLite's file format, section 4.1).
fn commits(log: &Path) -> usize {
    const HEADER: usize = 32;
    const FRAME_HEADER: usize = 24;
    let log = std::fs::read(log).unwrap();
    let word = |at: usize| u32::from_be_bytes(log.get(at..at + 4).unwrap().try_into().unwrap());
    let frame = FRAME_HEADER + usize::try_from(word(8)).unwrap();
    let frames = (HEADER..log.len()).step_by(frame);
    frames.filter(|at| word(at + 4) != 0).count()
}

/// A flood of malformed requests of strangers neither waits for the write lock nor takes
/// it from those who reset.
#[tokio::test]
async fn a_malformed_request_of_a_stranger_needs_no_transaction() {
    let data = Data::new().await;
    let refuse = |token_hash: String| RefuseMalformed {
        workspace: "acme".to_owned(),
        user: "admin".to_owned(),
        token_hash,
        now: now(),
        request_id: "request-1".to_owned(),
        source: source(),
        recent_calls: 0,
    };
    let lock = data.connect();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let stranger = data.store.decide(refuse(token_hash("alice-token"))).await;
    let stranger = stranger.unwrap();
    assert!(stranger.standing.is_none() && !stranger.recorded);
    lock.execute_batch("ROLLBACK").unwrap();
    let admin = data.store.decide(refuse(token_hash("admin-token"))).await;
    assert!(admin.unwrap().recorded);
}

/// A secret in a file of everybody's.
#[tokio::test]
async fn a_file_that_everybody_may_write_is_refused_and_one_that_they_may_read_is_told() {
    let data = Data::new().await;
    let path = data.path();
    let set = |mode| std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    for mode in [0o602, 0o666] {
        set(mode);
        let refused = Sqlite::open(&path, &seal())
            .await
            .err()
            .unwrap()
            .to_string();
        let mend = format!(
            "everybody may write it: `chmod o-w {}` first",
            path.display()
        );
        assert!(refused.ends_with(&mend), "{refused}");
    }
    set(0o644);
    assert!(Sqlite::open(&path, &seal()).await.is_ok());
    let told = advice(&path).unwrap();
    assert!(
        told.ends_with(&format!("`chmod o-r {}`", path.display())),
        "{told}"
    );
    set(0o640);
    assert_eq!(advice(&path), None);
}
