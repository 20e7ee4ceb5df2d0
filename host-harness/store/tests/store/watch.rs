//! What every store tells operators of what was and is, and what it removes: the tests know a
//! store as the trait and as `Data`'s words only.

use super::new_data;
use super::store::refusal;
use chat_domain::account::Selector;
use chat_domain::attempts::{FREE_FAILURES, Lock};
use chat_domain::audit::{Action, AuditRecord, Decision, RecordFilter, RecordPlace, StoredRecord};
use chat_domain::health::MOST_SHOWN;
use chat_domain::operator::{FixSettings, Operation};
use chat_domain::retention::Prune;
use chat_domain::settings::Setting;
use chat_domain::time::Timestamp;
use chat_testing::ask::Ask as _;
use chat_testing::{ACME, Data, GLOBEX, Kind, after, now};

fn operation(workspace: &str) -> Operation {
    Operation {
        workspace: workspace.to_owned(),
        now: now(),
        request_id: "command-1".to_owned(),
        forced: false,
    }
}

fn filter() -> RecordFilter {
    RecordFilter {
        caller: None,
        target: None,
        action: None,
        request_id: None,
        since: None,
        before: None,
        most: 100,
    }
}

async fn reasons(data: &Data, filter: &RecordFilter) -> String {
    let records = data.store.records(ACME, filter).await.unwrap();
    let reasons = records.into_iter().map(|record| record.reason);
    reasons.flatten().collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn records_are_found_by_whom_of_whom_what_and_when() {
    let data = new_data().await;
    for (reason, caller, target, action, seconds) in [
        ("1", "admin", Some("alice"), Action::ResetTotp, 1),
        ("2", "alice", None, Action::LogIn, 3),
        ("3", "admin", Some("gone"), Action::ResetTotp, 2),
        ("4", "operator", Some("alice"), Action::Unlock, 3),
    ] {
        let record = AuditRecord {
            at: after(seconds),
            action,
            caller: caller.to_owned(),
            target: target.map(str::to_owned),
            reason: Some(reason.to_owned()),
            ..refusal()
        };
        data.store.record(record).await.unwrap();
    }
    let elsewhere = AuditRecord {
        workspace: GLOBEX.to_owned(),
        ..refusal()
    };
    data.store.record(elsewhere).await.unwrap();
    let text = |text: &str| Some(text.to_owned());
    for (filter, expected) in [
        (filter(), "1 3 2 4"),
        (
            RecordFilter {
                most: 2,
                ..filter()
            },
            "2 4",
        ),
        (
            RecordFilter {
                caller: text("admin"),
                ..filter()
            },
            "1 3",
        ),
        (
            RecordFilter {
                target: text("alice"),
                ..filter()
            },
            "1 4",
        ),
        (
            RecordFilter {
                action: Some(Action::LogIn),
                ..filter()
            },
            "2",
        ),
        (
            RecordFilter {
                since: Some(after(2)),
                ..filter()
            },
            "3 2 4",
        ),
        (
            RecordFilter {
                since: Some(after(3)),
                ..filter()
            },
            "2 4",
        ),
        (
            RecordFilter {
                caller: text("admin"),
                target: text("gone"),
                ..filter()
            },
            "3",
        ),
        (
            RecordFilter {
                caller: text("nobody"),
                ..filter()
            },
            "",
        ),
    ] {
        assert_eq!(reasons(&data, &filter).await, expected, "{filter:?}");
    }
    let page = |before| RecordFilter {
        most: 1,
        before,
        ..filter()
    };
    let (mut walked, mut before) = (Vec::new(), None);
    loop {
        let records = data.store.records(ACME, &page(before)).await.unwrap();
        let Some(record) = records.first() else {
            break;
        };
        walked.extend(record.reason.clone());
        before = Some(RecordPlace::of(record));
    }
    assert_eq!(walked.join(" "), "4 2 3 1");
    let records = data.store.records(ACME, &filter()).await.unwrap();
    let [first, second, ..] = records.as_slice() else {
        unreachable!("four were written")
    };
    let expected = StoredRecord {
        index: Some(0),
        workspace: ACME.to_owned(),
        at: after(1),
        request_id: "request-1".to_owned(),
        action: "reset-totp".to_owned(),
        caller: "admin".to_owned(),
        caller_name: text("Admin.acme"),
        target: text("alice"),
        target_name: text("Alice.acme"),
        decision: "refused".to_owned(),
        reason: text("1"),
        address: text("192.0.2.1"),
        agent: text("test"),
        proof: None,
        told: None,
        calls: 1,
    };
    assert_eq!(format!("{first:?}"), format!("{expected:?}"));
    assert_eq!(second.target_name, None);
}

#[tokio::test]
async fn health_tells_who_is_locked_what_mail_waits_and_who_was_reset() {
    let data = new_data().await;
    let nothing = data.store.health(now()).await.unwrap();
    assert!(nothing.locked.is_empty() && nothing.mail_problems.is_empty());
    assert!(nothing.resets.is_empty());
    data.edit(&format!(
        "INSERT INTO failed_attempt VALUES
            ('acme', 'alice', {FREE_FAILURES}, {}, 0), ('globex', 'alice', 7, {}, 7),
            ('acme', 'bob', 9, {}, 0), ('acme', 'fred', 2, NULL, 0);
         INSERT INTO outbox (workspace, message_id, recipient, subject, body, queued, expires,
                             holds_code, next_try, last_problem)
         VALUES ('acme', '1', 'a', 's', 'b', 0, 1, FALSE, 0, 'down'),
                ('acme', '2', 'a', 's', 'b', 0, 1, FALSE, 9223372036854775807, 'down'),
                ('acme', '3', 'a', 's', 'b', 0, 1, FALSE, 0, 'down'),
                ('globex', '4', 'a', 's', 'b', 0, 1, FALSE, 0, NULL)",
        after(5).millis(),
        after(7).millis(),
        now().millis(),
    ));
    let guess = |address: [u8; 4], calls, decision| AuditRecord {
        caller: "alice".to_owned(),
        source: Some(chat_domain::audit::Source::new(address.into(), None)),
        proof: Some("totp"),
        calls,
        decision,
        ..refusal()
    };
    for record in [
        guess([192, 0, 2, 1], 1, Decision::Refused),
        guess([192, 0, 2, 2], 2, Decision::Locked),
        guess([192, 0, 2, 2], 3, Decision::Refused),
        guess([192, 0, 2, 3], 9, Decision::Done),
        AuditRecord {
            at: Timestamp::from_millis(0),
            ..guess([192, 0, 2, 4], 9, Decision::Refused)
        },
        AuditRecord {
            workspace: GLOBEX.to_owned(),
            target: Some("bob".to_owned()),
            decision: Decision::Reset,
            ..refusal()
        },
    ] {
        data.store.record(record).await.unwrap();
    }
    let health = data.store.health(now()).await.unwrap();
    let locked: Vec<_> = health
        .locked
        .iter()
        .map(|locked| {
            let until = match locked.lock {
                Lock::Until(until) => until,
                Lock::UntilReplaced => unreachable!("the locks end"),
            };
            (
                locked.username.as_str(),
                locked.failures,
                until,
                locked.guesses.len(),
            )
        })
        .collect();
    assert_eq!(
        locked,
        [
            ("Alice.globex", 7, after(7), 0),
            ("Alice.acme", FREE_FAILURES, after(5), 2),
        ]
    );
    let text = str::to_owned;
    assert_eq!(
        health.locked[1].guesses,
        [(text("192.0.2.2"), 5), (text("192.0.2.1"), 1)]
    );
    let problems: Vec<_> = health
        .mail_problems
        .iter()
        .map(|p| {
            (
                p.workspace.as_str(),
                p.problem.as_deref(),
                p.waiting,
                p.dead_letters,
            )
        })
        .collect();
    assert_eq!(problems, [(ACME, Some("down"), 2, 1), (GLOBEX, None, 1, 0)]);
    let resets: Vec<_> = health
        .resets
        .iter()
        .map(|reset| reset.caller_name.as_deref())
        .collect();
    // Alice's own was done by herself, as an operator's would be.
    assert_eq!(resets, [Some("Admin.globex"), Some("Alice.acme")]);
    for number in 0..MOST_SHOWN {
        data.edit(&format!(
            "INSERT INTO user (workspace, id, username, username_key, federated, deactivated)
             VALUES ('acme', 'u{number}', 'u{number}', 'u{number}', FALSE, FALSE);
             INSERT INTO failed_attempt VALUES ('acme', 'u{number}', 20, {}, 0)",
            after(9).millis()
        ));
    }
    let health = data.store.health(now()).await.unwrap();
    let most = usize::try_from(MOST_SHOWN).unwrap();
    assert_eq!(health.locked.len(), most);
    assert!(health.locked.iter().all(|locked| locked.failures == 20));
}

#[tokio::test]
async fn what_is_older_than_it_is_kept_is_removed_from_its_workspace() {
    let data = new_data().await;
    let day = 24 * 60 * 60 * 1000;
    for workspace in [ACME, GLOBEX] {
        let at = |days: i64| now().millis() - days * day;
        data.edit(&format!(
            "INSERT INTO setting VALUES ('{workspace}', 'audit-days', '10'),
                                        ('{workspace}', 'dead-letter-days', '5');
             INSERT INTO audit (workspace, at, request_id, caller, decision)
             VALUES ('{workspace}', {}, 'old', 'a', 'done'), ('{workspace}', {}, 'new', 'a', 'done');
             INSERT INTO outbox (workspace, message_id, recipient, subject, body, queued, expires,
                                 holds_code, next_try)
             VALUES ('{workspace}', '{workspace} old', 'a', 's', 'b', {}, 0, FALSE, {never}),
                    ('{workspace}', '{workspace} new', 'a', 's', 'b', {}, 0, FALSE, {never}),
                    ('{workspace}', '{workspace} waits', 'a', 's', 'b', 0, 0, FALSE, 0)",
            at(11),
            at(9),
            at(6),
            at(4),
            never = i64::MAX
        ));
    }
    let before = data.dump();
    let pruned = data
        .store
        .decide(Prune(Operation {
            now: after(1),
            ..operation(ACME)
        }))
        .await;
    assert!(pruned.unwrap().unwrap());
    let changes = before.changes(&data.dump());
    let gone: Vec<_> = changes
        .lines()
        .filter(|line| line.starts_with('-'))
        .collect();
    let is_session = |line: &&str| line.contains("login_token:");
    let (sessions, others): (Vec<&str>, Vec<&str>) = gone.into_iter().partition(is_session);
    // Rocket.Chat removes them itself.
    let expected = usize::from(crate::KIND != Kind::Mongodb);
    assert_eq!(sessions.len(), expected, "{changes}");
    for session in sessions {
        assert!(session.contains("workspace=acme user=alice"), "{session}");
    }
    let [record, letter] = others.as_slice() else {
        unreachable!("there are two others: {changes}")
    };
    assert!(record.contains("request_id=old"), "{record}");
    assert!(
        letter.contains("workspace=acme") && letter.contains("queued=12340"),
        "{letter}"
    );
    let again = data.store.decide(Prune(operation(ACME))).await;
    assert!(!again.unwrap().unwrap());
}

#[tokio::test]
async fn settings_of_a_configuration_are_written_and_noted() {
    let data = new_data().await;
    let set = |name: &str, value: &str, place: &str| {
        (
            Setting::named(name).unwrap(),
            value.into(),
            place.to_owned(),
        )
    };
    let fix = |settings| FixSettings {
        operation: operation(ACME),
        settings,
    };
    let two = vec![
        set("failure-budget", "30", "line 7"),
        set("sessions", "9", "line 8"),
    ];
    data.store.decide(fix(two)).await.unwrap().unwrap();
    let settings = data.store.settings(ACME).await.unwrap().unwrap();
    assert_eq!((settings.failure_budget, settings.sessions), (30, 9));
    let before = data.dump_without(&["audit"]);
    let one = vec![set("sessions", "9", "line 8")];
    data.store.decide(fix(one)).await.unwrap().unwrap();
    assert_eq!(
        before.changes(&data.dump_without(&["audit"])),
        "- fixed_setting: workspace=acme name=failure-budget place=line 7\n"
    );
    let others = data.store.settings(GLOBEX).await.unwrap().unwrap();
    assert_eq!(others.failure_budget, 100);
}

#[tokio::test]
async fn a_probe_is_written() {
    let data = new_data().await;
    let before = data.dump();
    for moment in [now(), after(1)] {
        data.store.probe(moment).await.unwrap();
    }
    assert_eq!(
        before.changes(&data.dump()),
        "+ probe: id=1 at=1234567891000\n"
    );
}

/// Clients can write one in JSON.
#[tokio::test]
async fn a_name_with_a_nul_in_it_is_nobodys() {
    let data = new_data().await;
    for selector in [
        Selector::Id,
        Selector::Username,
        Selector::LookAlike,
        Selector::Address,
    ] {
        for name in ["alice\0", "\0", "a\0lice@example.com"] {
            let selector = selector(name.to_owned());
            let found = data.store.find_user(ACME, selector.clone()).await;
            assert!(found.unwrap().is_none(), "{selector:?}");
        }
    }
    let settings = data.store.settings("acme\0").await;
    assert!(settings.unwrap().is_none());
    let record = AuditRecord {
        reason: Some("a\0b".to_owned()),
        ..refusal()
    };
    data.store.record(record).await.unwrap();
}
