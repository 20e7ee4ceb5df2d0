//! Lists that take long, and who else wants something of the server meanwhile.

use crate::suite::new_data;
use chat_domain::audit::{Action, RecordFilter, StoredRecord};
use chat_store::{Result, Store, Unavailable};
use chat_testing::{ACME, Data, GLOBEX, PATIENCE, now, token_hash, until};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::{JoinHandle, yield_now};

/// Far less than a list takes here, and far more than a look-up does.
const AT_ONCE: Duration = Duration::from_secs(5);

/// As many as a store has connections.
const MANY: usize = 16;

/// A store in which it takes for ever to read the audit trail.
async fn with_a_slow_trail() -> Data {
    let data = new_data().await;
    data.edit(
        "ALTER TABLE audit RENAME TO kept;
         CREATE VIEW audit AS SELECT kept.* FROM kept, pg_sleep(3600);
         GRANT SELECT ON audit TO chat_workspace;
         INSERT INTO kept (workspace, at, request_id, caller, decision)
         VALUES ('acme', 0, 'r', 'alice', 'done')",
    );
    data
}

fn list(store: &Arc<dyn Store>) -> JoinHandle<Result<Vec<StoredRecord>>> {
    let store = store.clone();
    tokio::spawn(async move {
        let filter = RecordFilter {
            most: 1,
            ..RecordFilter::default()
        };
        store.records(ACME, &filter).await
    })
}

/// How many lists the server is at.
fn at_work(data: &Data) -> i64 {
    data.database().numbers(
        "SELECT count(*) FROM pg_stat_activity
         WHERE datname = current_database() AND wait_event = 'PgSleep'",
    )[0]
}

async fn until_at_work(data: &Data, lists: i64) {
    let what = format!("the server is at {lists}");
    until(&what, || at_work(data) == lists).await;
}

/// Ends the lists that the server is at, as its limit of time does.
fn cancel_lists(data: &Data) {
    data.edit(
        "SELECT pg_cancel_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND wait_event = 'PgSleep'",
    );
}

async fn is_served(store: &Arc<dyn Store>) {
    let begun = Instant::now();
    let hash = token_hash("alice-token");
    let standing = store.standing(ACME, "alice", &hash, now()).await;
    assert!(standing.unwrap().is_some());
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
}

/// Whoever resets is authenticated all the same, and other workspaces list.
#[tokio::test]
async fn lists_that_take_long_keep_nobody_from_anything_but_lists() {
    let data = with_a_slow_trail().await;
    let store = data.another_handle().await;
    let mut lists: Vec<_> = (0..MANY).map(|_| list(&store)).collect();
    // All of them have asked by then.
    yield_now().await;
    is_served(&store).await;
    until_at_work(&data, 2).await;
    let begun = Instant::now();
    store.all_roles(GLOBEX).await.unwrap();
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    is_served(&store).await;
    for list in lists.split_off(2) {
        let error = list.await.unwrap().unwrap_err();
        assert_eq!(error.unavailable(), Some(&Unavailable::Crowded), "{error}");
    }
    assert!(!lists.iter().any(JoinHandle::is_finished));
    cancel_lists(&data);
    for list in lists {
        let error = list.await.unwrap().unwrap_err();
        assert_eq!(error.unavailable(), Some(&Unavailable::Busy), "{error}");
    }
}

/// Somebody who clicks away: what the server is at belongs to nobody, and still counts.
#[tokio::test]
async fn a_list_that_nobody_waits_for_any_more_is_in_nobodys_way() {
    let data = with_a_slow_trail().await;
    let store = data.another_handle().await;
    for lists in 1..=2 {
        let list = list(&store);
        until_at_work(&data, lists).await;
        list.abort();
        assert!(list.await.unwrap_err().is_cancelled());
    }
    for _ in 0..MANY {
        is_served(&store).await;
    }
    let error = list(&store).await.unwrap().unwrap_err();
    assert_eq!(error.unavailable(), Some(&Unavailable::Crowded), "{error}");
    assert_eq!(at_work(&data), 2);
    cancel_lists(&data);
    data.edit("DROP VIEW audit; ALTER TABLE kept RENAME TO audit");
    assert_eq!(list(&store).await.unwrap().unwrap().len(), 1);
}

/// The server ends it, and whoever waits for it is told.
#[tokio::test]
async fn a_list_that_takes_too_long_is_ended() {
    let data = with_a_slow_trail().await;
    let store = data.another_handle().await;
    let begun = Instant::now();
    let error = list(&store).await.unwrap().unwrap_err();
    assert_eq!(error.unavailable(), Some(&Unavailable::Busy), "{error}");
    assert!(begun.elapsed() < PATIENCE);
    until_at_work(&data, 0).await;
}

/// However long the trail is: newest first, it begins with those of others.
#[tokio::test]
async fn records_are_found_by_whom_and_what_they_are_about() {
    let data = new_data().await;
    data.edit(
        "INSERT INTO audit (workspace, at, request_id, caller, target, decision)
         SELECT 'acme', n, 'r' || n, 'admin', 'bob', 'done' FROM generate_series(1, 20000) n;
         INSERT INTO audit (workspace, at, request_id, caller, target, decision, action)
         VALUES ('acme', 0, 'first', 'alice', 'carol', 'done', 'unlock');
         ANALYZE",
    );
    let fetched = || {
        let sum = "SELECT idx_tup_fetch + seq_tup_read FROM pg_stat_user_tables
                   WHERE relname = 'audit'";
        data.database().numbers(sum)[0]
    };
    let connections = || {
        let others = "SELECT count(*) FROM pg_stat_activity
                      WHERE datname = current_database() AND pid <> pg_backend_pid()";
        data.database().numbers(others)[0]
    };
    let (others, looked) = (
        connections(),
        RecordFilter {
            most: 51,
            ..RecordFilter::default()
        },
    );
    let some = |text: &str| Some(text.to_owned());
    for filter in [
        RecordFilter {
            caller: some("alice"),
            ..looked.clone()
        },
        RecordFilter {
            target: some("carol"),
            ..looked.clone()
        },
        RecordFilter {
            action: Some(Action::Unlock),
            ..looked.clone()
        },
        RecordFilter {
            caller: some("admin"),
            target: some("carol"),
            ..looked.clone()
        },
    ] {
        let before = fetched();
        let store = data.another_handle().await;
        let found = store.records(ACME, &filter).await.unwrap();
        let found: Vec<_> = found.iter().map(|record| &*record.request_id).collect();
        match (&filter.caller, &filter.target) {
            (Some(_), Some(_)) => assert!(found.is_empty()),
            _ => assert_eq!(found, ["first"]),
        }
        // The server counts for a connection when that ends, at the latest.
        drop(store);
        until("it has counted", || connections() <= others).await;
        let read = fetched() - before;
        assert!(read < 10, "{read} rows were read by {filter:?}");
    }
}
