//! What no copy of a sealed store's file tells, and how a file that is not sealed becomes so.

use crate::KIND;
use crate::suite::sealed::{CODE, MAIL_PASSWORD, fill};
use chat_domain::totp::{TotpKey, code_hash};
use chat_store::seal::Seal;
use chat_store::sqlite::{Sqlite, survey};
use chat_store::{Result, StoreUrl};
use chat_testing::{ACME, BACKUP_CODES, Data, GLOBEX, KEY, seal};
use std::path::{Path, PathBuf};

async fn rekey(path: &Path, seal: &Seal) -> Result<u64> {
    StoreUrl::from(path).rekey(seal).await
}

/// Everything secret that [`fill`] leaves in a store, in each form that somebody might look for,
/// and what it is.
fn secrets() -> Vec<(String, Vec<u8>)> {
    let mut secrets = vec![
        ("the code".to_owned(), CODE.into()),
        ("the code in its mail".to_owned(), b"543-210".to_vec()),
        (
            "the mail server's password".to_owned(),
            MAIL_PASSWORD.into(),
        ),
        ("the key of the store".to_owned(), KEY.into()),
        (
            "the raw key of the store".to_owned(),
            b"the key of the tests, 32 bytes!!".to_vec(),
        ),
    ];
    for code in BACKUP_CODES.into_iter().chain([CODE]) {
        let hash = code_hash(code);
        secrets.push((format!("the hash of {code}"), hash.clone().into()));
        secrets.push((format!("the raw hash of {code}"), unhex(&hash)));
    }
    let users = ["admin", "moderator", "alice", "dora", "shown"];
    for (workspace, user) in [ACME, GLOBEX].iter().flat_map(|w| users.map(|u| (w, u))) {
        let what = format!("{workspace}/{user}");
        let key = what.clone().into_bytes();
        let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        secrets.push((
            format!("the key of {what} in base32"),
            TotpKey::new(key.clone()).to_base32().into(),
        ));
        secrets.push((
            format!("the key of {what} in HEX"),
            hex.to_uppercase().into(),
        ));
        secrets.push((format!("the key of {what} in hex"), hex.into()));
        secrets.push((format!("the key of {what}"), key));
    }
    secrets
}

fn unhex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// The store's file and those beside it, the log among them.
fn files(data: &Data) -> Vec<PathBuf> {
    let name = data.path().file_name().unwrap().to_owned();
    let folder = std::fs::read_dir(data.path().parent().unwrap()).unwrap();
    let paths = folder.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| {
            let beside = path.file_name().unwrap().to_str().unwrap();
            beside.starts_with(name.to_str().unwrap())
        })
        .collect()
}

/// The secrets that are found in the files.
fn found(data: &Data) -> Vec<String> {
    let files: Vec<_> = files(data)
        .into_iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect();
    let is_found = |secret: &[u8]| {
        let mut files = files.iter();
        files.any(|file| file.windows(secret.len()).any(|window| window == secret))
    };
    let found = secrets().into_iter().filter(|(_, secret)| is_found(secret));
    found.map(|(what, _)| what).collect()
}

/// The log holds every page that was written, also what was there before.
#[tokio::test]
async fn no_secret_is_in_the_files_of_a_sealed_store() {
    let data = Data::new().await;
    fill(&data).await;
    let log = data.path().with_extension("sqlite-wal");
    assert!(std::fs::metadata(log).unwrap().len() > 0, "it has a log");
    assert_eq!(found(&data), [""; 0]);
    data.edit("PRAGMA wal_checkpoint(TRUNCATE)");
    assert_eq!(found(&data), [""; 0]);
    // The search is not blind.
    let plain = Data::plain(KIND).await;
    fill(&plain).await;
    plain.edit("PRAGMA wal_checkpoint(TRUNCATE)");
    let found = found(&plain);
    for what in [
        "acme/alice in base32",
        "globex/shown in base32",
        "the mail server's",
        "a2b3c4d5",
    ] {
        assert!(
            found.iter().any(|found| found.contains(what)),
            "{what}: {found:?}"
        );
    }
    assert!(
        found.contains(&"the code in its mail".to_owned()),
        "{found:?}"
    );
    assert!(found.contains(&format!("the hash of {CODE}")), "{found:?}");
}

#[tokio::test]
async fn a_file_that_is_not_sealed_is_sealed_and_keeps_nothing_of_what_it_was() {
    let mut data = Data::plain(KIND).await;
    fill(&data).await;
    let path = data.path();
    let before = data.dump();
    let refused = rekey(&path, &seal()).await.unwrap_err().to_string();
    assert_eq!(
        refused,
        "the store failed: another program has it open: stop the host that serves it, and what else \
         works on it"
    );
    let none = rekey(&path, &Seal::none()).await.unwrap_err().to_string();
    assert_eq!(none, "the store failed: there is no key to seal it under");
    assert_eq!(before.changes(&data.dump()), "");
    data.close().await;
    for refused in [
        Sqlite::open(&path, &seal()).await.err(),
        Sqlite::open_or_create(&path, &seal()).await.err(),
        Sqlite::open_to_look(&path, &seal()).await.err(),
        survey(&path, &seal()).await.err(),
    ] {
        let refused = refused.unwrap().to_string();
        assert!(refused.contains("`host-harness store rekey`"), "{refused}");
    }
    assert_eq!(before.changes(&data.dump()), "");

    let values = loop {
        match rekey(&path, &seal()).await {
            Ok(values) => break values,
            // The writer closes on a thread of its own.
            Err(error) => assert!(error.to_string().contains("open"), "{error}"),
        }
    };
    assert_eq!(found(&data), [""; 0], "of {values} values");
    data.seal = seal();
    let changes = before.changes(&data.dump());
    let rows = |sign: char| {
        changes
            .lines()
            .filter(|line| line.starts_with(sign))
            .count()
    };
    assert_eq!(rows('+'), rows('-') + 1, "{changes}");
    let without_seals: String = changes
        .lines()
        .filter(|line| line.starts_with('+') && !line.starts_with("+ sealing:"))
        .map(|line| {
            let line = line.replacen('+', "-", 1).replace("sealed(", "");
            format!("{}\n", line.replace(')', ""))
        })
        .collect();
    let before_them: String = changes
        .lines()
        .filter(|line| line.starts_with('-'))
        .map(|line| format!("{}\n", line.replace(')', "")))
        .collect();
    assert_eq!(
        without_seals, before_them,
        "they differ in their seals alone"
    );
    for refused in [
        Sqlite::open(&path, &Seal::none()).await.err(),
        Sqlite::open_or_create(&path, &Seal::none()).await.err(),
        Sqlite::open_to_look(&path, &Seal::none()).await.err(),
        survey(&path, &Seal::none()).await.err(),
    ] {
        let refused = refused.unwrap().to_string();
        assert!(refused.contains("--key-file"), "{refused}");
    }
    assert_eq!(survey(&path, &seal()).await.unwrap().len(), 2);
    assert!(Sqlite::open_to_look(&path, &seal()).await.is_ok());
}

/// One that a version wrote which knew of no seal.
#[tokio::test]
async fn an_older_file_is_not_touched_by_a_host_that_has_a_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite");
    let old = rusqlite::Connection::open(&path).unwrap();
    for script in [
        include_str!("../../src/sqlite/schema/1.sql"),
        include_str!("../../src/sqlite/schema/2.sql"),
        include_str!("../../src/sqlite/schema/3.sql"),
    ] {
        old.execute_batch(script).unwrap();
    }
    old.execute_batch(
        "PRAGMA application_id = 0x746f7470;
         PRAGMA user_version = 3;
         INSERT INTO workspace VALUES ('acme');
         INSERT INTO user (workspace, id, username, username_key, federated, deactivated)
         VALUES ('acme', 'alice', 'Alice', 'alice', 0, 0);
         INSERT INTO totp VALUES ('acme', 'alice', CAST('a key of alice' AS BLOB), 7);
         INSERT INTO pending_totp VALUES ('acme', 'alice', CAST('another' AS BLOB), 8);
         INSERT INTO backup_code VALUES ('acme', 'alice', 'of a code', 1);",
    )
    .unwrap();
    drop(old);
    let before = std::fs::read(&path).unwrap();
    let refused = Sqlite::open(&path, &seal()).await.err().unwrap();
    assert!(refused.to_string().contains("store rekey"), "{refused}");
    assert!(std::fs::read(&path).unwrap() == before, "it is as it was");
    assert_eq!(rekey(&path, &seal()).await.unwrap(), 3);
    let store = Sqlite::open(&path, &seal()).await.unwrap();
    let profiles = store.profiles("acme").await.unwrap();
    let factor = profiles[0].factor.as_ref().unwrap();
    assert_eq!(factor.key.expose(), b"a key of alice");
    assert_eq!(factor.last_step, Some(7));
    assert_eq!(factor.spent_code_hashes, ["of a code"]);
    let pending = profiles[0].pending_key.as_ref().unwrap();
    assert_eq!(pending.key.expose(), b"another");
}
