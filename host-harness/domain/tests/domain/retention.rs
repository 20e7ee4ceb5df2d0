//! How long what has been is kept.

use crate::acme::{acme, decided, now, session};
use crate::model::{Model, Workspace};
use crate::operator::operation;
use chat_domain::operator::Operation;
use chat_domain::outbox::NextTry;
use chat_domain::retention::Prune;
use chat_domain::time::Timestamp;
use std::time::Duration;

const DAY: u64 = 24 * 60 * 60;

fn days_ago(days: u64) -> Timestamp {
    now().before(Duration::from_secs(days * DAY))
}

/// Where the oldest record and the oldest dead letter are so many days old.
fn aged(record: u64, letter: u64) -> impl Fn(&mut Workspace) {
    move |acme| {
        acme.settings.audit_days = 10;
        acme.settings.dead_letter_days = 5;
        acme.edit("admin")
            .tokens
            .retain(|token| token.hash != "admin-ended");
        for at in [days_ago(record), now()] {
            acme.note(at);
        }
        for queued in [days_ago(letter), now()] {
            acme.queue_dead_letter(queued);
        }
    }
}

fn pruned(edit: impl Fn(&mut Workspace)) -> (bool, String) {
    let (answer, changes) = decided(edit, &Prune(operation()));
    (answer.unwrap(), changes)
}

#[test]
fn what_is_older_than_it_is_kept_is_removed_and_that_is_recorded() {
    let limits = "prune records -864000s dead letters -432000s sessions now\n\
                  record operator prune - done kept: records since 2009-02-03T23:31:30Z, dead \
                  letters since 2009-02-08T23:31:30Z now\n";
    let limits = limits.to_owned();
    assert_eq!(pruned(aged(11, 0)), (true, limits.clone()));
    assert_eq!(pruned(aged(0, 6)), (true, limits.clone()));
    // To the millisecond at which it is as old as it is kept, it stays.
    assert_eq!(pruned(aged(10, 5)), (false, String::new()));
    let ended = |acme: &mut Workspace| {
        aged(0, 0)(acme);
        acme.edit("bob")
            .tokens
            .push(session("over", Timestamp::from_millis(1)));
    };
    assert_eq!(pruned(ended), (true, limits));
}

#[test]
fn what_is_kept_for_ever_is_never_removed() {
    let kept = |acme: &mut Workspace| {
        aged(9000, 9000)(acme);
        acme.settings.audit_days = 0;
        acme.settings.dead_letter_days = 0;
    };
    assert_eq!(pruned(kept), (false, String::new()));
}

#[test]
fn a_second_time_there_is_nothing_left_and_what_is_younger_stays() {
    let mut workspace = acme();
    aged(11, 6)(&mut workspace);
    let mut model = Model::new("acme", workspace);
    assert!(model.ask(&Prune(operation())).0.unwrap());
    assert!(!model.ask(&Prune(operation())).0.unwrap());
    let left = model.workspace("acme");
    assert_eq!(
        left.audit.len(),
        2,
        "the young one, and that of the pruning"
    );
    assert_eq!(left.outbox.len(), 1);
    assert!(
        left.outbox
            .iter()
            .all(|mail| mail.next_try == NextTry::Never)
    );
}

#[test]
fn nothing_is_removed_of_what_is_not_there() {
    let elsewhere = Prune(Operation {
        workspace: "globex".to_owned(),
        ..operation()
    });
    let (answer, changes) = decided(|_| (), &elsewhere);
    assert!(answer.is_err() && changes.is_empty());
}
