//! Files as the earlier versions of the schema left them.

use chat_domain::account::Selector;
use chat_domain::audit::RecordFilter;
use chat_domain::time::Timestamp;
use chat_store::StoreUrl;
use chat_store::seal::Seal;
use rusqlite::Connection;
use secrecy::ExposeSecret;
use std::path::Path;

/// A dump of each, with two workspaces.
const FIXTURES: [&str; 3] = [
    include_str!("../fixtures/1.sql"),
    include_str!("../fixtures/2.sql"),
    include_str!("../fixtures/3.sql"),
];

/// What makes the tables, but for how it is laid out.
fn schema(path: &Path) -> Vec<String> {
    let db = Connection::open(path).unwrap();
    let mut query = db
        .prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name")
        .unwrap();
    let words = |sql: String| sql.split_whitespace().collect::<Vec<_>>().join(" ");
    let found = query.query_map([], |row| row.get(0)).unwrap();
    found.map(|sql| words(sql.unwrap())).collect()
}

#[tokio::test]
async fn a_file_of_every_earlier_version_keeps_what_it_holds() {
    let folder = tempfile::tempdir().unwrap();
    let fresh = folder.path().join("fresh");
    drop(
        StoreUrl::from(fresh.as_path())
            .open_or_create(&Seal::none())
            .await
            .unwrap(),
    );
    for (version, dump) in (1..).zip(FIXTURES) {
        let path = folder.path().join(version.to_string());
        let old = Connection::open(&path).unwrap();
        old.pragma_update(None, "foreign_keys", "OFF").unwrap();
        old.execute_batch(dump).unwrap();
        let applied: i64 = old
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .unwrap();
        assert_eq!(applied, version);
        drop(old);

        // A backup of it is brought up to date where it is restored.
        let (backup, restored) = (
            path.with_extension("backup"),
            path.with_extension("restored"),
        );
        StoreUrl::from(path.as_path())
            .back_up(&backup)
            .await
            .unwrap();
        let copy = StoreUrl::from(restored.as_path());
        copy.restore(&backup).await.unwrap();

        for url in [StoreUrl::from(path.as_path()), copy] {
            let store = url.open(&Seal::none()).await.unwrap();
            let settings = store.settings("acme").await.unwrap().unwrap();
            assert_eq!(settings.totp_window, 2);
            assert_eq!(
                settings.mail_server.expose_secret().is_empty(),
                version == 1
            );
            let now = Timestamp::from_millis(5000);
            let holder = |hash: &'static str| store.token_holder("acme", hash, now);
            let alice = holder("hash of a session").await.unwrap().unwrap();
            assert_eq!(alice.user.username, "Alice");
            assert!(alice.backup_codes.is_some());
            assert!(holder("hash of a token").await.unwrap().is_some());
            let bob = store.find_user("acme", Selector::Username("BOB".to_owned()));
            assert_eq!(bob.await.unwrap().unwrap().id, "u2");
            let roles = store.roles("acme").await.unwrap().unwrap();
            let admin = roles.iter().find(|role| role.name == "admin").unwrap();
            assert_eq!(admin.members, ["Alice"]);
            let mails = store.list_mail("acme", now).await.unwrap().unwrap();
            assert_eq!(mails.len(), if version == 1 { 1 } else { 2 });
            let all = RecordFilter {
                most: 10,
                ..RecordFilter::default()
            };
            let records = store.records("acme", &all).await.unwrap();
            let known: Vec<_> = records
                .iter()
                .map(|record| record.request_id.as_str())
                .collect();
            assert_eq!(
                known,
                ["r1", "r2", "r3"][..if version == 3 { 3 } else { 2 }]
            );
            // They are in a log now, in the order in which they were written.
            let log = store.check_log("acme", None).await.unwrap().unwrap();
            assert_eq!((log.faults, log.size), (vec![], known.len() as u64));
            let places: Vec<_> = records.iter().filter_map(|record| record.index).collect();
            assert!(places.is_sorted() && places.len() == known.len());
            drop(store);
            assert_eq!(
                schema(url.path().unwrap()),
                schema(&fresh),
                "version {version}"
            );
        }
    }
}
