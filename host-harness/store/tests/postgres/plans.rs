//! How the server finds what it is asked for.

use chat_domain::account::Selector;
use chat_domain::directory::{AccountFilter, Place};
use chat_testing::ask::Ask as _;
use chat_testing::{ACME, Data, now, token_hash};
use std::time::{Duration, Instant};

/// By each selector: more than it takes a server to be sure of a plan.
const LOOK_UPS: i64 = 7;

/// How often tables of accounts were read from end to end, and how often by an index.
fn scans(data: &Data) -> [i64; 2] {
    let scans = |kind: &str| {
        let sum = format!(
            "SELECT sum({kind})::BIGINT FROM pg_stat_user_tables
             WHERE relname IN ('user', 'email', 'login_token', 'totp', 'backup_code')"
        );
        data.database().numbers(&sum)[0]
    };
    [scans("seq_scan"), scans("idx_scan")]
}

/// Row-level security lets the planner use an index for conditions alone which it knows to tell
/// nobody what they compare.
#[tokio::test]
async fn look_ups_take_an_index_however_many_accounts_there_are() {
    let data = Data::plain(crate::KIND).await;
    data.edit(
        "INSERT INTO user (workspace, id, username, username_key, federated, deactivated, skeleton,
                           skeleton_as_written)
         SELECT 'acme', 'u' || n, 'U' || n, 'u' || n, FALSE, FALSE, 's' || n, 'w' || n
         FROM generate_series(1, 5000) n;
         INSERT INTO email SELECT workspace, id, id || '@x', TRUE FROM user WHERE id LIKE 'u%';
         INSERT INTO login_token SELECT workspace, id, 'h' || id, NULL, FALSE, NULL FROM user;
         INSERT INTO totp SELECT workspace, id, 'MFRGGZDF', NULL FROM user WHERE id LIKE 'u%';
         INSERT INTO backup_code SELECT workspace, id, 'b', FALSE FROM user WHERE id LIKE 'u%';
         ANALYZE",
    );
    let store = data.another_handle().await;
    let [read_whole, by_index] = scans(&data);
    let text = str::to_owned;
    for selector in [
        Selector::Id(text("u77")),
        Selector::Username(text("U77")),
        Selector::LookAlike(text("u77")),
        Selector::Address(text("U77@X")),
    ] {
        for _ in 0..LOOK_UPS {
            let user = store.find_user(ACME, selector.clone()).await;
            user.unwrap();
        }
    }
    for _ in 0..LOOK_UPS {
        let filter = AccountFilter {
            after: Some(Place::Username("u77".to_owned())),
            most: 50,
            ..AccountFilter::default()
        };
        let listed = store.accounts(ACME, &filter).await.unwrap();
        assert_eq!(listed.profiles.len(), 50);
    }
    let standing = store.standing(ACME, "u77", "hu77", now()).await.unwrap();
    assert!(standing.is_some());
    let holder = store.token_holder(ACME, "hu77", now()).await.unwrap();
    assert_eq!(holder.unwrap().user.id, "u77");
    let hash = token_hash("alice-token");
    store.log_out(ACME, "alice", &hash).await.unwrap();
    store.begin_totp_attempt(ACME, "u77", now()).await.unwrap();
    store.record(crate::suite::store::refusal()).await.unwrap();
    // The server counts for a connection when that ends, at the latest.
    drop(store);
    let begun = Instant::now();
    let after = loop {
        let after = scans(&data);
        if after[1] >= by_index + LOOK_UPS || begun.elapsed() > Duration::from_secs(20) {
            break after;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(after[1] > by_index, "{after:?}");
    assert_eq!(after[0], read_whole, "read from end to end");
}
