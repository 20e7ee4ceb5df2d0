//! The rules, held to tables (what is known → what is answered and changed) and to
//! laws that no sequence of requests may break; without a database.
//!
//! | to find | look into |
//! |---|---|
//! | who is there, and how the tables ask | `acme` |
//! | the log that proves itself | `audit_log` |
//! | the tables | `account`, `attempts`, `mailed_code`, `member`, `operator`, `outbox`, `preview`, `proof`, `reset`, `standing` |
//! | schedules of random requests, and what must hold whatever they are | `laws` |
//!
//! The store in memory, the schedules and the laws are `chat-model`'s, which the tests of the
//! stores know, too.
#![expect(
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a test that cannot go on must fail"
)]

mod account;
mod acme;
mod attempts;
mod audit_log;
mod laws;
mod mailed_code;
mod member;
mod names;
mod operator;
mod outbox;
mod preview;
mod proof;
mod reset;
mod retention;
mod standing;

use chat_model::{model, text};
