//! What is acknowledged was done, once; what is not was not, or it says that nobody knows.

use crate::suite::new_data;
use crate::suite::store::refusal;
use chat_domain::account::Selector;
use chat_domain::attempts::Attempt;
use chat_domain::operator::NewWorkspace;
use chat_domain::settings::Settings;
use chat_store::postgres::Postgres;
use chat_store::{Store, StoreError, Unavailable};
use chat_testing::ask::Ask as _;
use chat_testing::postgres::{Durability, Server};
use chat_testing::proxy::{Cut, Proxy};
use chat_testing::{ACME, Data, now, seal};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// A store behind a proxy.
async fn behind_a_proxy() -> (Data, Proxy, Arc<dyn Store>) {
    let data = new_data().await;
    let proxy = Proxy::before(&data.database().url()).await;
    let store = Postgres::open(proxy.url(), &seal()).await.unwrap();
    // All statements are prepared.
    store
        .begin_totp_attempt(ACME, "moderator", now())
        .await
        .unwrap();
    (data, proxy, store)
}

fn failures(data: &Data) -> i64 {
    let sum =
        r#"SELECT coalesce(sum(count), 0)::BIGINT FROM failed_attempt WHERE "user" = 'admin'"#;
    data.database().numbers(sum)[0]
}

fn records(data: &Data) -> i64 {
    data.database().numbers("SELECT count(*) FROM audit")[0]
}

/// Whether it is: where there was no time left, which a busy machine takes, it is not, and says so.
fn is_done(ended: &Result<(), StoreError>) -> bool {
    let why = ended.as_ref().err().map(StoreError::unavailable);
    let is_known = matches!(
        why,
        None | Some(Some(Unavailable::Unreachable(_) | Unavailable::Busy))
    );
    assert!(is_known, "{ended:?}");
    ended.is_ok()
}

/// A host that lost its connection asks, and repeats nothing blindly.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_is_done_once() {
    for cut in [Cut::Before, Cut::After, Cut::Meanwhile] {
        let (data, proxy, store) = behind_a_proxy().await;
        for attempt in 1..=3 {
            proxy.cut(cut);
            let begun = store
                .begin_totp_attempt(ACME, "admin", now())
                .await
                .unwrap();
            assert!(matches!(begun, Attempt::Begun(_)), "{cut:?}");
            assert_eq!(failures(&data), attempt, "{cut:?}");
        }
        assert_eq!(proxy.done(), 3, "{cut:?}");
    }
}

/// However often: the second answer is lost, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_whose_answers_are_lost_again_and_again_are_done_once() {
    let (data, proxy, store) = behind_a_proxy().await;
    for cut in [
        Cut::After,
        Cut::Meanwhile,
        Cut::Before,
        Cut::Before,
        Cut::Meanwhile,
        Cut::Before,
    ] {
        proxy.cut(cut);
    }
    let mut written = 0;
    while proxy.done() < 6 {
        written += i64::from(is_done(&store.record(refusal()).await));
        assert_eq!(records(&data), written);
    }
}

/// All that were committed together share its outcome.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_what_is_committed_together_all_is_done_once() {
    let (data, proxy, store) = behind_a_proxy().await;
    for _ in 0..5 {
        proxy.cut(Cut::Meanwhile);
        proxy.cut(Cut::Before);
        proxy.cut(Cut::After);
    }
    let mut writes = JoinSet::new();
    for number in 0..200 {
        let store = store.clone();
        writes.spawn(async move {
            tokio::time::sleep(Duration::from_millis(number * 5)).await;
            store.record(refusal()).await
        });
    }
    let ended = writes.join_all().await;
    let done = ended.iter().filter(|ended| is_done(ended)).count();
    assert!(done > 0);
    assert_eq!(records(&data), i64::try_from(done).unwrap());
}

/// A network that says nothing any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_sent_into_silence_is_asked_about() {
    let (data, proxy, store) = behind_a_proxy().await;
    for (cut, is_done) in [(Cut::SilenceBefore, false), (Cut::SilenceAfter, true)] {
        proxy.cut(cut);
        let (before, begun) = (records(&data), Instant::now());
        let written = store.record(refusal()).await;
        assert!(
            begun.elapsed() < Duration::from_millis(3500),
            "{:?}",
            begun.elapsed()
        );
        if let Err(error) = &written {
            let why = error.unavailable();
            assert!(matches!(why, Some(Unavailable::Unreachable(_))), "{error}");
        }
        assert_eq!(written.is_ok(), is_done, "{cut:?}");
        assert_eq!(records(&data), before + i64::from(is_done), "{cut:?}");
        // The server has noticed by now, and nobody is in the way.
        store.record(refusal()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nobody_can_be_asked_it_says_so() {
    for (cut, is_done) in [(Cut::Before, false), (Cut::After, true)] {
        let (data, proxy, store) = behind_a_proxy().await;
        proxy.close_at_the_cut();
        proxy.cut(cut);
        let begun = Instant::now();
        let error = store.record(refusal()).await.unwrap_err();
        assert_eq!(error.unavailable(), Some(&Unavailable::Unknown), "{error}");
        assert!(
            begun.elapsed() < Duration::from_secs(4),
            "{:?}",
            begun.elapsed()
        );
        assert_eq!(records(&data), i64::from(is_done));
    }
}

/// As where the server is started again: what has not been committed is done anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_connections_are_made_again_unnoticed() {
    const ROUNDS: usize = 20;
    let data = new_data().await;
    let mut calls = JoinSet::new();
    for _ in 0..8 {
        let store = data.store.clone();
        calls.spawn(async move {
            let mut written = 0;
            for _ in 0..ROUNDS {
                store.record(refusal()).await.unwrap();
                written += 1;
                let alice = Selector::Id("alice".to_owned());
                assert!(store.find_user(ACME, alice).await.unwrap().is_some());
            }
            written
        });
    }
    let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                  WHERE datname = current_database() AND pid <> pg_backend_pid()";
    for _ in 0..10 {
        data.edit(others);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let written: i64 = calls.join_all().await.iter().sum();
    assert_eq!(records(&data), written);
}

/// Nobody who stops waiting stops what was begun.
#[tokio::test]
async fn what_nobody_waits_for_any_more_is_done() {
    let data = new_data().await;
    let lock = chat_testing::postgres::connect(data.database().url())
        .await
        .unwrap();
    lock.batch_execute("BEGIN; SELECT 1 FROM workspace WHERE id = 'acme' FOR UPDATE")
        .await
        .unwrap();
    let record = data.store.record(refusal());
    let waited = tokio::time::timeout(Duration::from_millis(50), record).await;
    assert!(waited.is_err());
    assert_eq!(records(&data), 0);
    lock.batch_execute("ROLLBACK").await.unwrap();
    while records(&data) == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(records(&data), 1);
}

/// A standby that has not got it could be the next server.
#[tokio::test]
async fn nothing_is_acknowledged_that_the_synchronous_standby_has_not() {
    let server = Server::start(Durability::None);
    let url = server.create("chat", "template0");
    let store = Postgres::open_or_create(&url, &seal()).await.unwrap();
    let new = NewWorkspace {
        id: ACME.to_owned(),
        settings: Settings::default(),
        roles: Vec::new(),
        users: Vec::new(),
    };
    assert!(store.create_workspace(new).await.unwrap());
    let standby = |name: &str| {
        server.run_as_superuser(&format!(
            "ALTER SYSTEM SET synchronous_standby_names = '{name}'"
        ));
        server.run_as_superuser("SELECT pg_reload_conf()");
    };
    standby("nobody");
    // The server's processes read their settings one by one, in the background.
    let told = Instant::now();
    let (begun, error) = loop {
        let begun = Instant::now();
        if let Err(error) = store.record(refusal()).await {
            break (begun, error);
        }
        assert!(told.elapsed() < Duration::from_secs(60));
    };
    assert_eq!(error.unavailable(), Some(&Unavailable::Unknown), "{error}");
    assert!(store.probe(now()).await.is_err());
    assert!(
        begun.elapsed() < Duration::from_secs(6),
        "{:?}",
        begun.elapsed()
    );
    standby("");
    while store.record(refusal()).await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(60));
    }
}
