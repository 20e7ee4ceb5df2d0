//! What is acknowledged was done, once; what is not was not, or it says that nobody knows.

use crate::fixtures::{fill, reset, reset_of_alice};
use chat_domain::reset::Receipt;
use chat_store::{Store, Unavailable};
use chat_testing::mongodb::Database;
use chat_testing::{ACME, seal};
use mongodb::bson::{DateTime, doc};
use std::sync::Arc;

async fn alone() -> (Database, Arc<dyn Store>) {
    let database = Database::alone(ACME);
    fill(&database);
    let store = database.open_or_create(&seal()).await;
    (database, store)
}

fn records(database: &Database) -> usize {
    database.everything()["reset_totp_audit"].len()
}

/// The driver asks a second time by itself; the store, until the time is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_is_done_once() {
    let lost = doc! { "failCommands": ["commitTransaction"], "closeConnection": true };
    let doubtful = doc! {
        "failCommands": ["commitTransaction"],
        "writeConcernError": { "code": 64, "errmsg": "waiting for replication timed out" },
    };
    // It was applied, and is not undone.
    let interrupted = doc! {
        "failCommands": ["commitTransaction"],
        "writeConcernError": { "code": 11_601, "errmsg": "operation was interrupted" },
    };
    for (times, fault) in [
        (1, &interrupted),
        (1, &lost),
        (2, &lost),
        (3, &lost),
        (1, &doubtful),
        (3, &doubtful),
    ] {
        let (database, store) = alone().await;
        database.fail_commands(doc! { "times": times }, fault.clone());
        let outcome = reset(&*store, reset_of_alice()).await.unwrap();
        assert_eq!(outcome, Ok(Receipt::Removed), "{times} {fault}");
        assert_eq!(records(&database), 1, "{times} {fault}");
    }
}

/// Whoever asks past the commit keeps it from ever being made.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_never_is_answered_is_not_done_and_says_so() {
    let (database, store) = alone().await;
    let before = database.everything();
    let fault = doc! { "failCommands": ["commitTransaction"], "closeConnection": true };
    database.fail_commands(doc! { "times": 100_000 }, fault);
    let told = reset(&*store, reset_of_alice()).await.unwrap_err();
    let why = told.unavailable();
    let may_be = matches!(
        why,
        Some(Unavailable::Unreachable(_) | Unavailable::Busy | Unavailable::Unknown)
    );
    assert!(may_be, "{told}");
    database.fail_no_commands();
    let after = database.everything();
    for (collection, documents) in &before {
        if collection != "reset_totp_commit_mark" {
            assert_eq!(documents, &after[collection], "{collection}");
        }
    }
}

/// The servers would end that after a minute.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_was_killed_in_its_turn_keeps_nobody_from_theirs() {
    // Its login is this one's: none. One of an older version does not say it.
    for login in [Some(""), None] {
        let (database, store) = alone().await;
        database.abandon_turn(10_000, login);
        let outcome = reset(&*store, reset_of_alice()).await.unwrap();
        assert_eq!(outcome, Ok(Receipt::Removed), "{login:?}");
    }
    // One that may live has its turn; of another login's nobody is told whether it is ended.
    for (ago, login) in [(0, ""), (10_000, "other@admin")] {
        let (database, store) = alone().await;
        database.abandon_turn(ago, Some(login));
        let told = reset(&*store, reset_of_alice()).await;
        let told = told.unwrap_err();
        // On a machine that is slow, the time is over within a try.
        let waited = matches!(
            told.unavailable(),
            Some(Unavailable::Busy | Unavailable::Unreachable(_))
        );
        assert!(waited, "{told}");
        let left = database.find("reset_totp_writer", doc! { "login": login });
        assert!(!left.is_empty(), "{login}");
    }
}

/// Whoever noted it first would write under a session of which nobody knows, whose turn nobody
/// ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_written_under_a_session_that_was_not_said() {
    let (database, store) = alone().await;
    let busy = doc! { "failCommands": ["update"], "errorCode": 50 };
    database.fail_commands(doc! { "times": 1 }, busy);
    let told = reset(&*store, reset_of_alice()).await.unwrap_err();
    assert_eq!(told.unavailable(), Some(&Unavailable::Busy));
    assert!(database.find("reset_totp_writer", doc! {}).is_empty());
    let outcome = reset(&*store, reset_of_alice()).await.unwrap();
    assert_eq!(outcome, Ok(Receipt::Removed));
    assert_eq!(database.find("reset_totp_writer", doc! {}).len(), 1);
}

/// Their transactions are undone by then, whoever's they were.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_of_an_hour_ago_are_forgotten() {
    let (database, store) = alone().await;
    let hours_ago = DateTime::from_millis(DateTime::now().timestamp_millis() - 2 * 3_600_000);
    let old = doc! { "_id": "old", "login": "other@admin", "seen": hours_ago };
    database.insert("reset_totp_writer", vec![old]);
    database.abandon_turn(10_000, Some(""));
    let outcome = reset(&*store, reset_of_alice()).await.unwrap();
    assert_eq!(outcome, Ok(Receipt::Removed));
    let old = database.find("reset_totp_writer", doc! { "_id": "old" });
    assert!(old.is_empty());
}

/// The whole transaction is tried again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_met_another_or_lost_its_server_is_tried_again() {
    let conflict = |command: &str| {
        doc! {
            "failCommands": [command], "errorCode": 112,
            "errorLabels": ["TransientTransactionError"],
        }
    };
    for fault in [
        conflict("findAndModify"),
        conflict("update"),
        conflict("insert"),
        conflict("commitTransaction"),
        doc! { "failCommands": ["update"], "closeConnection": true },
        doc! { "failCommands": ["insert"], "closeConnection": true },
        doc! { "failCommands": ["find"], "closeConnection": true },
        // Another host has ended the session, which the servers do not always call transient.
        doc! { "failCommands": ["find"], "errorCode": 11_601 },
    ] {
        let (database, store) = alone().await;
        database.fail_commands(doc! { "times": 3 }, fault.clone());
        let outcome = reset(&*store, reset_of_alice()).await.unwrap();
        assert_eq!(outcome, Ok(Receipt::Removed), "{fault}");
        assert_eq!(records(&database), 1, "{fault}");
    }
}
