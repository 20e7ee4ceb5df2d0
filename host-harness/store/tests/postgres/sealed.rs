//! How a database that is not sealed becomes so.

use crate::KIND;
use crate::suite::sealed::{CODE, MAIL_PASSWORD, fill};
use chat_domain::totp::{TotpKey, code_hash};
use chat_store::postgres::{Postgres, survey};
use chat_store::seal::Seal;
use chat_store::{Result, StoreUrl};
use chat_testing::postgres::Database;
use chat_testing::{BACKUP_CODES, Data, seal};

async fn rekey(url: &str, seal: &Seal) -> Result<u64> {
    url.parse::<StoreUrl>().unwrap().rekey(seal).await
}

/// What of the secrets is found as the tables have them.
fn found(data: &Data) -> Vec<String> {
    let [one, other] = BACKUP_CODES.map(code_hash);
    let key = |bytes: &str| TotpKey::new(bytes.into()).to_base32();
    let secrets = [
        "543-210".to_owned(),
        code_hash(CODE),
        MAIL_PASSWORD.to_owned(),
        one,
        other,
        key("acme/alice"),
        key("acme/shown"),
        key("globex/admin"),
    ];
    let kept = data.dump_as_kept();
    let mut secrets = Vec::from(secrets);
    secrets.retain(|secret| kept.lines().any(|line| line.contains(secret)));
    secrets
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_not_sealed_is_sealed_once_nobody_uses_it() {
    let mut data = Data::plain(KIND).await;
    fill(&data).await;
    assert_eq!(found(&data).len(), 8);
    let url = data.database().url();
    let before = data.dump();
    for refused in [
        Postgres::open(&url, &seal()).await.err(),
        Postgres::open_or_create(&url, &seal()).await.err(),
        Postgres::open_to_look(&url, &seal()).await.err(),
        survey(&url, &seal()).await.err(),
    ] {
        let refused = refused.unwrap().to_string();
        assert!(refused.contains("`host-harness store rekey`"), "{refused}");
    }
    let refused = rekey(&url, &seal()).await.unwrap_err().to_string();
    assert_eq!(
        refused,
        "the store failed: another program has it open: stop the hosts that serve it, and what else \
         works on it"
    );
    let none = rekey(&url, &Seal::none()).await.unwrap_err().to_string();
    assert_eq!(none, "the store failed: there is no key to seal it under");
    assert_eq!(before.changes(&data.dump()), "");
    data.close().await;
    assert_eq!(rekey(&url, &seal()).await.unwrap(), 38);
    assert_eq!(found(&data), [""; 0]);
    let refused = Postgres::open(&url, &Seal::none()).await.err().unwrap();
    assert!(refused.to_string().contains("--key-file"), "{refused}");
    data.seal = seal();
    let store = data.another_handle().await;
    let settings = store.settings("acme").await.unwrap().unwrap();
    assert!(!format!("{settings:?}").contains(MAIL_PASSWORD));
    assert_eq!(rekey(&url, &seal()).await.unwrap(), 0);

    // What was killed before it had written the tables anew is ended by the same command.
    let of_pages = "SELECT pg_relation_filenode('totp')::BIGINT";
    let before_that = data.database().numbers(of_pages);
    assert_eq!(rekey(&url, &seal()).await.unwrap(), 0);
    assert_eq!(data.database().numbers(of_pages), before_that);
    data.edit("UPDATE chat_store SET holds_plain = TRUE");
    assert_eq!(rekey(&url, &seal()).await.unwrap(), 0);
    assert_ne!(data.database().numbers(of_pages), before_that);
}

/// A secret that is written meanwhile would be under another key, or under none.
#[tokio::test]
async fn a_database_that_is_sealed_is_brought_up_to_date_with_its_key_alone() {
    let database = Database::empty();
    for script in [
        include_str!("../../src/postgres/schema/3.sql"),
        include_str!("../../src/postgres/schema/4.sql"),
        "CREATE TABLE chat_store (version BIGINT NOT NULL);
         INSERT INTO chat_store VALUES (4);
         INSERT INTO sealing VALUES (1, 'another', 'of another key')",
    ] {
        database.edit(script);
    }
    for wrong in [Seal::none(), seal()] {
        assert!(Postgres::open(&database.url(), &wrong).await.is_err());
        assert_eq!(database.numbers("SELECT version FROM chat_store"), [4]);
    }
}

/// One that a version wrote which knew of no seal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_database_is_not_touched_by_a_host_that_has_a_key() {
    let database = Database::empty();
    database.edit(include_str!("../../src/postgres/schema/3.sql"));
    database.edit(
        "CREATE TABLE chat_store (version BIGINT NOT NULL);
         INSERT INTO chat_store VALUES (3);
         INSERT INTO workspace VALUES ('acme');
         INSERT INTO user (workspace, id, username, username_key, federated, deactivated)
         VALUES ('acme', 'alice', 'Alice', 'alice', FALSE, FALSE);
         INSERT INTO totp VALUES ('acme', 'alice', convert_to('a key of alice', 'UTF8'), 7);
         INSERT INTO pending_totp VALUES ('acme', 'alice', convert_to('another', 'UTF8'), 8);
         INSERT INTO backup_code VALUES ('acme', 'alice', 'of a code', TRUE)",
    );
    let url = database.url();
    let version = || database.numbers("SELECT version FROM chat_store");
    let refused = Postgres::open(&url, &seal()).await.err().unwrap();
    assert!(refused.to_string().contains("store rekey"), "{refused}");
    assert_eq!(version(), [3], "it is as it was");
    assert_eq!(rekey(&url, &seal()).await.unwrap(), 3);
    assert_eq!(version(), [6]);
    let store = Postgres::open(&url, &seal()).await.unwrap();
    let profiles = store.profiles("acme").await.unwrap();
    let factor = profiles[0].factor.as_ref().unwrap();
    assert_eq!(factor.key.expose(), b"a key of alice");
    assert_eq!(factor.last_step, Some(7));
    assert_eq!(factor.spent_code_hashes, ["of a code"]);
    let pending = profiles[0].pending_key.as_ref().unwrap();
    assert_eq!(pending.key.expose(), b"another");
}
