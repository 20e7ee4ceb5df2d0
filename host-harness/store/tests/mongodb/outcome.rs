//! What is acknowledged was done, once; what is not was not, or it says that nobody knows.

use crate::fixtures::{fill, reset, reset_of_alice};
use chat_domain::reset::Receipt;
use chat_store::{Store, Unavailable};
use chat_testing::mongodb::Database;
use chat_testing::{ACME, seal};
use mongodb::bson::doc;
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
    let (database, store) = alone().await;
    database.abandon_turn(10_000);
    let outcome = reset(&*store, reset_of_alice()).await.unwrap();
    assert_eq!(outcome, Ok(Receipt::Removed));

    // One that may live has its turn.
    let (database, store) = alone().await;
    database.abandon_turn(0);
    let told = reset(&*store, reset_of_alice()).await;
    assert_eq!(told.unwrap_err().unavailable(), Some(&Unavailable::Busy));
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
    ] {
        let (database, store) = alone().await;
        database.fail_commands(doc! { "times": 3 }, fault.clone());
        let outcome = reset(&*store, reset_of_alice()).await.unwrap();
        assert_eq!(outcome, Ok(Receipt::Removed), "{fault}");
        assert_eq!(records(&database), 1, "{fault}");
    }
}
