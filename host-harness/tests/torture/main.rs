//! Processes that are killed at random moments while clients ask them, and what is left
//! then, held to the answers that the clients had.
//!
//! | file | what it knows |
//! |---|---|
//! | `run` | the rounds: load, kill, start again, look |
//! | `cluster` | several PostgreSQL, of which one leads |
//! | `site` | what is served, and what the store holds |
//! | `rocket_chat` | the same in a Rocket.Chat's database |
//! | `host` | a process, started and killed |
//! | `mail_server` | which mail arrived |
//! | `client`, `request` | what clients ask, and are told |
//! | `account` | what an account has after each thing that is done |
//! | `trial` | the store held to the answers |
//! | `figures` | what is counted |
//! | `broken_disk` | what becomes of a host whose file is spoilt, or cannot be written |
//! | `noticed` | that a store which was not kept so is found out |
//!
//! `cargo xtask torture` runs as many rounds as it is told; the suite runs some dozens. SIGKILL
//! shows what a process leaves half done; what a disk forgets at a power cut it cannot show.
#![expect(
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on must fail"
)]

mod account;
mod broken_disk;
mod client;
mod cluster;
mod figures;
mod host;
mod mail_server;
mod noticed;
mod request;
mod rocket_chat;
mod run;
mod site;
mod trial;

use run::Plan;
use site::Kind;

/// `cargo xtask torture` runs this with as many hosts as it is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_outlives_a_kill_on_sqlite() {
    run::rounds(Plan::of(Kind::Sqlite, 1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_outlives_a_kill_of_one_of_two_hosts() {
    run::rounds(Plan::of(Kind::Sqlite, 2)).await;
}

/// A host is killed as often as the database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_outlives_a_kill_on_postgresql() {
    run::rounds(Plan::of(Kind::Postgres, 2)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_outlives_a_kill_on_rocket_chats_database() {
    run::rounds(Plan::of(Kind::RocketChat, 2)).await;
}

/// The one that leads is lost each time; the clients ask until another does, and on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "`cargo xtask torture --store cluster` runs it: it needs Patroni and etcd, and most of a minute a round"]
async fn what_was_answered_outlives_the_loss_of_the_leader() {
    run::rounds(Plan::of(Kind::Cluster, 2)).await;
}
