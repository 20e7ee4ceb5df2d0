//! What every store promises of mail that waits: the tests know a store as the trait and as
//! `Data`'s words only.

use super::new_data;
use chat_domain::outbox::{
    Among, Claim, Count, LEASE, LEAST_TRIES, LONGEST_PAUSE, NextTry, OutboxCount,
};
use chat_domain::time::Timestamp;
use chat_store::seal::MAIL_BODY;
use chat_testing::ask::Ask as _;
use chat_testing::{ACME, Data, GLOBEX, after, now};
use secrecy::ExposeSecret;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// When none of the mails is tried any more.
const LATE: i64 = 9_000_000_000_000;

/// Mails, each of a workspace, tried next at this moment and given up at that.
fn queue(data: &Data, mails: &[(&str, &str, i64, i64)]) {
    for (workspace, name, next_try, expires) in mails {
        let holds_code = name.starts_with("code");
        let body = match holds_code {
            true => data.sealed(&MAIL_BODY, workspace, "alice", "b"),
            false => "b".to_owned(),
        };
        data.edit(&format!(
            "INSERT INTO outbox (workspace, user, message_id, recipient, subject, body, queued,
                                 expires, holds_code, next_try)
             VALUES ('{workspace}', 'alice', '{name}', '{name}@example.com', 's', '{body}', 5,
                     {expires}, {holds_code}, {next_try})"
        ));
    }
}

fn millis(moment: Timestamp, more: i64) -> i64 {
    moment.millis() + more
}

fn name(claim: Option<Claim>) -> String {
    claim.map_or("none".to_owned(), |claim| claim.message_id)
}

#[tokio::test]
async fn the_mail_that_has_been_due_longest_is_claimed_first() {
    let data = new_data().await;
    let at = |more| millis(now(), more);
    queue(
        &data,
        &[
            (ACME, "later", at(1), LATE),
            (ACME, "second", at(-1), LATE),
            (GLOBEX, "first", at(-2), LATE),
            (ACME, "third", at(-1), LATE),
            (ACME, "dead", i64::MAX, LATE),
            (ACME, "code that has expired", at(-3), at(0)),
            (ACME, "code", at(0), at(1)),
        ],
    );
    assert_eq!(
        data.store.next_mail_due(now()).await.unwrap(),
        Some(Timestamp::from_millis(at(-3)))
    );
    let first = data.store.claim(now()).await.unwrap().unwrap();
    assert_eq!((first.workspace.as_str(), first.tries), (GLOBEX, 1));
    assert_eq!(first.message_id, "first");
    assert_eq!(first.recipient, "first@example.com");
    assert_eq!(
        (
            first.subject.as_str(),
            first.body.as_ref().unwrap().expose_secret()
        ),
        ("s", "b")
    );
    assert_eq!(first.queued.millis(), 5);
    assert!(!first.was_put_off);
    for expected in ["second", "third", "code", "none"] {
        assert_eq!(name(data.store.claim(now()).await.unwrap()), expected);
    }
    let expired = data.store.expired_mails(now()).await.unwrap();
    assert_eq!(expired.len(), 1);
    // Whoever claims it says in time what became of it.
    let again = now() + LEASE;
    assert_eq!(name(data.store.claim(again).await.unwrap()), "later");
    let again = data.store.claim(again).await.unwrap().unwrap();
    assert_eq!((again.message_id.as_str(), again.tries), ("second", 2));
}

#[tokio::test]
async fn what_waits_and_what_is_given_up_is_counted_by_its_kind() {
    let data = new_data().await;
    let count = async || data.store.outbox_count().await.unwrap();
    assert_eq!(count().await, OutboxCount::default());
    let never = i64::MAX;
    queue(
        &data,
        &[
            (ACME, "old", 0, LATE),
            (GLOBEX, "new", LATE, LATE),
            (ACME, "dead", never, LATE),
            (ACME, "sockets", 0, LATE),
            (ACME, "dead sockets", never, LATE),
            (GLOBEX, "more dead sockets", never, LATE),
        ],
    );
    data.edit("UPDATE outbox SET queued = 4 WHERE message_id = 'old'");
    data.edit("UPDATE outbox SET queued = 3 WHERE message_id = 'dead'");
    data.edit("UPDATE outbox SET recipient = 'rocket-chat' WHERE message_id LIKE '%sockets'");
    let expected = OutboxCount {
        mails: Count {
            waiting: 2,
            dead_letters: 1,
            oldest: Some(Timestamp::from_millis(4)),
        },
        sockets: Count {
            waiting: 1,
            dead_letters: 2,
            oldest: Some(Timestamp::from_millis(5)),
        },
    };
    assert_eq!(count().await, expected);
}

#[tokio::test]
async fn mail_is_claimed_among_workspaces() {
    let data = new_data().await;
    queue(
        &data,
        &[
            (ACME, "a", 0, LATE),
            (GLOBEX, "g", 1, LATE),
            (GLOBEX, "h", 2, LATE),
        ],
    );
    let claim = async |among: Among<'_>| {
        let claim = data.store.claim_mail(now(), among).await;
        name(claim.unwrap())
    };
    let [acme, globex, other] = [ACME, GLOBEX, "initech"].map(str::to_owned);
    assert_eq!(claim(Among::Only("initech")).await, "none");
    assert_eq!(
        claim(Among::AllBut(&[acme.clone(), globex.clone()])).await,
        "none"
    );
    assert_eq!(claim(Among::AllBut(&[acme, other])).await, "g");
    assert_eq!(claim(Among::Only(GLOBEX)).await, "h");
    assert_eq!(claim(Among::Only(GLOBEX)).await, "none");
    assert_eq!(claim(Among::AllBut(&[globex])).await, "a");
}

/// A clock that was ahead has put it off.
#[tokio::test]
async fn mail_that_was_put_off_too_far_is_due() {
    let data = new_data().await;
    let longest = now() + LONGEST_PAUSE * 2;
    queue(&data, &[(ACME, "usual", longest.millis(), LATE)]);
    assert_eq!(
        data.store.next_mail_due(now()).await.unwrap(),
        Some(longest)
    );
    assert_eq!(name(data.store.claim(now()).await.unwrap()), "none");
    data.edit("UPDATE outbox SET next_try = next_try + 1");
    assert_eq!(data.store.next_mail_due(now()).await.unwrap(), Some(now()));
    let claim = data.store.claim(now()).await.unwrap().unwrap();
    assert!(claim.was_put_off);
}

#[tokio::test]
async fn what_became_of_a_mail_is_noted() {
    let data = new_data().await;
    queue(
        &data,
        &[
            (ACME, "sent", 0, LATE),
            (ACME, "not", 1, LATE),
            (ACME, "never", 2, LATE),
        ],
    );
    let mut claims = Vec::new();
    for _ in 0..3 {
        claims.push(data.store.claim(now()).await.unwrap().unwrap());
    }
    let [sent, not, never] = claims.as_slice() else {
        unreachable!("three were queued")
    };
    data.store.sent(sent).await.unwrap();
    let next = NextTry::At(after(10));
    assert!(!data.store.not_sent(not, "down", next, now()).await.unwrap());
    assert!(
        data.store
            .not_sent(never, "no", NextTry::Never, now())
            .await
            .unwrap()
    );
    let mails = data.store.all_mails(ACME).await.unwrap();
    let shown: Vec<_> = mails
        .iter()
        .map(|mail| {
            let problem = mail.last_problem.as_deref();
            (
                mail.recipient.as_str(),
                mail.claimed,
                mail.next_try,
                mail.tries,
                problem,
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            ("not@example.com", false, next, 1, Some("down")),
            ("never@example.com", false, NextTry::Never, 1, Some("no")),
        ]
    );
    assert!(data.store.all_mails(GLOBEX).await.unwrap().is_empty());
    let first = mails.first().unwrap().id;
    for (after, most, expected) in [(0, 1, &mails[..1]), (first, 9, &mails[1..])] {
        let page = data.store.mails(ACME, after, most).await.unwrap();
        assert_eq!(page, expected, "{most} after {after}");
    }
    // Somebody else has claimed it meanwhile.
    data.store.claim(after(10)).await.unwrap().unwrap();
    let before = data.dump();
    data.store
        .not_sent(not, "late", next, after(11))
        .await
        .unwrap();
    assert_eq!(before.changes(&data.dump()), "");
}

#[tokio::test]
async fn a_notice_is_given_up_after_its_tries_and_a_code_with_its_time() {
    let data = new_data().await;
    queue(
        &data,
        &[
            (ACME, "tried", 0, 1),
            (ACME, "young", 0, 1),
            (ACME, "code", 0, 1),
            (ACME, "live", 0, LATE),
        ],
    );
    data.edit(&format!(
        "UPDATE outbox SET tries = {LEAST_TRIES} WHERE message_id IN ('tried', 'live')"
    ));
    let given_up = data.store.give_up_expired(now()).await.unwrap();
    assert_eq!(given_up.len(), 2);
    let mails = data.store.all_mails(ACME).await.unwrap();
    let shown = mails
        .iter()
        .map(|mail| (mail.recipient.as_str(), mail.next_try));
    let dead = shown.filter(|(_, next)| *next == NextTry::Never);
    assert_eq!(
        dead.collect::<Vec<_>>(),
        [("tried@example.com", NextTry::Never)]
    );
    assert_eq!(mails.len(), 3, "the code is gone");
    assert!(data.store.give_up_expired(now()).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_code_that_waits_is_shown_to_no_operator() {
    let data = new_data().await;
    queue(&data, &[(ACME, "code", 0, LATE), (ACME, "notice", 0, LATE)]);
    let mails = data.store.all_mails(ACME).await.unwrap();
    let bodies: Vec<_> = mails.iter().map(|mail| mail.body.as_deref()).collect();
    assert_eq!(bodies, [None, Some("b")]);
}

/// Several processes deliver: each mail is claimed by one, and none is left.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_hosts_that_deliver_each_mail_is_claimed_by_one() {
    const MAILS: usize = 40;
    let data = new_data().await;
    let names: Vec<_> = (0..MAILS).map(|number| format!("mail {number}")).collect();
    let mails: Vec<_> = names
        .iter()
        .map(|name| (ACME, name.as_str(), 0, LATE))
        .collect();
    queue(&data, &mails);
    let hosts = [data.store.clone(), data.another_handle().await];
    let mut deliveries = JoinSet::new();
    for number in 0..8 {
        let store = Arc::clone(&hosts[number % 2]);
        deliveries.spawn(async move {
            let mut claimed = Vec::new();
            while let Some(claim) = store.claim(now()).await.unwrap() {
                claimed.push(claim.message_id.clone());
                tokio::time::sleep(Duration::from_millis(1)).await;
                store.sent(&claim).await.unwrap();
            }
            claimed
        });
    }
    let mut claimed: Vec<_> = deliveries.join_all().await.concat();
    claimed.sort();
    let mut names = names;
    names.sort();
    assert_eq!(claimed, names);
    assert!(data.store.all_mails(ACME).await.unwrap().is_empty());
}
