//! What every store promises of the audit trail: it is a log, which names what somebody did to
//! it past the store. The tests know a store as the trait and as `Data`'s words only.

use super::store::{refusal, totp};
use super::{new_data, new_data_with};
use chat_domain::audit::{AuditRecord, RecordFilter};
use chat_domain::audit_log::check::Past;
use chat_domain::audit_log::fault::Fault;
use chat_domain::audit_log::{PAGE, Page};
use chat_domain::operator::Operation;
use chat_domain::retention::Prune;
use chat_domain::settings::Settings;
use chat_store::BrokenLog;
use chat_testing::ask::Ask as _;
use chat_testing::{ACME, Data, GLOBEX, after, step};
use tokio::task::JoinSet;

pub(crate) fn record_in(workspace: &str, number: u64) -> AuditRecord {
    AuditRecord {
        at: after(number),
        workspace: workspace.to_owned(),
        request_id: format!("request-{number}"),
        ..refusal()
    }
}

/// Where acme has nine records, and globex five.
async fn logged() -> Data {
    let data = new_data_with(Settings {
        audit_days: 10,
        ..Settings::default()
    })
    .await;
    append(&data, ACME, 0..9).await;
    append(&data, GLOBEX, 0..5).await;
    data
}

async fn append(data: &Data, workspace: &str, numbers: std::ops::Range<u64>) {
    for number in numbers {
        data.store
            .record(record_in(workspace, number))
            .await
            .unwrap();
    }
}

/// What happened to the log of acme, as it is told; that of globex is whole.
async fn faults(data: &Data) -> Vec<String> {
    let globex = data.store.check_log(GLOBEX, None).await.unwrap().unwrap();
    assert_eq!(globex.faults, []);
    let acme = data.store.check_log(ACME, None).await.unwrap().unwrap();
    acme.faults.iter().map(Fault::to_string).collect()
}

pub(crate) async fn past(data: &Data, workspace: &str) -> Past {
    let page = data
        .store
        .log(workspace, Page::FIRST)
        .await
        .unwrap()
        .unwrap();
    Past {
        size: page.head.size(),
        root: page.head.edge.root(),
    }
}

#[tokio::test]
async fn every_record_has_its_place_in_the_log_of_its_workspace() {
    let data = logged().await;
    data.store.reset(totp(step())).await.unwrap().unwrap();
    data.assert_logs_are_whole().await;
    let every = RecordFilter {
        most: 100,
        ..RecordFilter::default()
    };
    for (workspace, size) in [(ACME, 10), (GLOBEX, 5)] {
        let records = data.store.records(workspace, &every).await.unwrap();
        let mut places: Vec<_> = records.iter().filter_map(|record| record.index).collect();
        places.sort_unstable();
        assert_eq!(places, (0..size).collect::<Vec<_>>());
        assert_eq!(past(&data, workspace).await.size, size);
    }
    let of_one = RecordFilter {
        request_id: Some("request-3".to_owned()),
        ..every
    };
    let records = data.store.records(ACME, &of_one).await.unwrap();
    assert_eq!(
        records.iter().map(|r| r.index).collect::<Vec<_>>(),
        [Some(3)]
    );
}

#[tokio::test]
async fn where_nothing_was_recorded_there_is_no_log() {
    let data = new_data().await;
    for workspace in [ACME, "nowhere"] {
        assert!(
            data.store
                .log(workspace, Page::FIRST)
                .await
                .unwrap()
                .is_none()
        );
        assert!(
            data.store
                .check_log(workspace, None)
                .await
                .unwrap()
                .is_none()
        );
    }
}

/// The last of nine records goes, and the head is what it would have been without that: the tree of
/// eight leaves has one root, which is the first of the two that one of nine has.
const CUT_OFF: &str = "
    DELETE FROM audit WHERE workspace = 'acme' AND idx = 8;
    DELETE FROM audit_leaf WHERE workspace = 'acme' AND idx = 8;
    UPDATE audit_log SET size = 8, edge = substr(edge, 1, 32),
        mac = (SELECT mac FROM audit_leaf WHERE workspace = 'acme' AND idx = 7)
    WHERE workspace = 'acme'";

#[tokio::test]
async fn what_is_done_to_the_tables_past_the_host_is_named() {
    let swap = |table: &str| {
        format!(
            "UPDATE {table} SET idx = 100 WHERE workspace = 'acme' AND idx = 2;
             UPDATE {table} SET idx = 2 WHERE workspace = 'acme' AND idx = 6;
             UPDATE {table} SET idx = 6 WHERE workspace = 'acme' AND idx = 100;"
        )
    };
    let copy = |to: &str| {
        format!(
            "INSERT INTO audit (workspace, at, request_id, action, caller, target, decision, reason,
                                address, agent, proof, told, calls, idx, salt)
             SELECT workspace, at, request_id, action, caller, target, decision, reason,
                    address, agent, proof, told, calls, {to}, salt
             FROM audit WHERE workspace = 'acme' AND idx = 2;"
        )
    };
    let here = "WHERE workspace = 'acme' AND";
    let edited = "record 4 (request request-4) was edited";
    let forged =
        "is another than was logged, and its leaf is by somebody who has not the log's secret";
    let cases = [
        (format!("UPDATE audit SET at = at + 1 {here} idx = 4"), vec![edited]),
        (format!("UPDATE audit SET caller = 'bob' {here} idx = 4"), vec![edited]),
        (format!("UPDATE audit SET target = 'bob' {here} idx = 4"), vec![edited]),
        (format!("UPDATE audit SET decision = 'done' {here} idx = 4"), vec![edited]),
        (format!("UPDATE audit SET reason = NULL {here} idx = 4"), vec![edited]),
        (format!("UPDATE audit SET address = NULL {here} idx = 4"), vec![edited]),
        (format!("UPDATE audit SET agent = 'curl' {here} idx = 4"), vec![edited]),
        (format!("UPDATE audit SET proof = 'totp' {here} idx = 4"), vec![edited]),
        (format!("UPDATE audit SET told = -1 {here} idx = 4"), vec![edited]),
        (format!("UPDATE audit SET calls = -1 {here} idx = 4"), vec![edited]),
        (format!("UPDATE audit SET action = 'look' {here} idx = 4"), vec![edited]),
        (format!("UPDATE audit SET salt = (SELECT salt FROM audit {here} idx = 5) {here} idx = 4"),
            vec![edited]),
        (
            format!("UPDATE audit SET request_id = 'another' {here} idx = 4"),
            vec!["record 4 (request another) was edited"],
        ),
        (format!("DELETE FROM audit {here} idx = 4"), vec!["record 4 was removed"]),
        (
            format!("DELETE FROM audit {here} idx = 4; DELETE FROM audit_leaf {here} idx = 4"),
            vec!["record 4 was removed, and its leaf with it"],
        ),
        (
            swap("audit"),
            vec![
                "records are in another order: in the place of record 2 is record 6",
                "records are in another order: in the place of record 6 is record 2",
            ],
        ),
        (
            swap("audit") + &swap("audit_leaf"),
            vec![
                "records are in another order: in the place of record 2 is record 6",
                "records are in another order: in the place of record 6 is record 2",
            ],
        ),
        (copy("2"), vec!["record 2 was duplicated: a copy is in place 2"]),
        (copy("9"), vec!["record 2 was duplicated: a copy is in place 9"]),
        (copy("-1"), vec!["record 2 was duplicated: a copy is in place -1"]),
        (
            format!("DELETE FROM audit {here} idx = 5;") + &copy("5"),
            vec!["record 2 was duplicated: a copy is in place 5"],
        ),
        (
            "INSERT INTO audit (workspace, at, request_id, caller, decision)
             VALUES ('acme', 1, 'new', 'admin', 'done')"
                .to_owned(),
            vec!["a record (request new) was added past the log, in place -1"],
        ),
        (
            format!("DELETE FROM audit {here} idx > 6"),
            vec!["record 7 was removed", "record 8 was removed"],
        ),
        (
            format!("DELETE FROM audit {here} idx > 6; DELETE FROM audit_leaf {here} idx > 6"),
            vec!["the log was truncated: of 9 records the last 2 are gone, with their leaves"],
        ),
        (
            format!("DELETE FROM audit {here} idx = 4; UPDATE audit_leaf SET erased = mac {here} idx = 4"),
            vec!["record 4 was removed by somebody who has not the log's secret: its tombstone is false"],
        ),
        (
            format!("UPDATE audit_leaf SET erased = mac {here} idx = 4"),
            vec!["record 4 is there, and its tombstone, too"],
        ),
        (
            format!("UPDATE audit_leaf SET hash = mac {here} idx = 4"),
            vec!["the leaf of record 4 was edited; the record is as it was logged"],
        ),
        (
            format!("UPDATE audit_leaf SET mac = hash {here} idx = 4"),
            vec!["the leaf of record 4 was edited; the record is as it was logged"],
        ),
        (
            "UPDATE audit_log SET mac = (SELECT mac FROM audit_leaf WHERE idx = 3 AND workspace = 'acme')
             WHERE workspace = 'acme'".to_owned(),
            vec!["the end of the log was edited: nobody who has the log's secret has ended it after 9 records"],
        ),
        (
            CUT_OFF.to_owned(),
            vec!["the end of the log was edited: nobody who has the log's secret has ended it after 8 records"],
        ),
    ];
    for (edit, expected) in cases {
        let data = logged().await;
        assert_eq!(faults(&data).await, Vec::<String>::new());
        data.edit(&edit);
        assert_eq!(faults(&data).await, expected, "{edit}");
    }
    // What is another workspace's is no more at home here.
    let data = logged().await;
    data.edit(
        "DELETE FROM audit WHERE workspace = 'acme' AND idx = 4;
         DELETE FROM audit_leaf WHERE workspace = 'acme' AND idx = 4;
         UPDATE audit SET workspace = 'acme' WHERE workspace = 'globex' AND idx = 4;
         UPDATE audit_leaf SET workspace = 'acme' WHERE workspace = 'globex' AND idx = 4;
         UPDATE audit_log SET size = size - 1 WHERE FALSE;",
    );
    let acme = data.store.check_log(ACME, None).await.unwrap().unwrap();
    let told: Vec<_> = acme.faults.iter().map(Fault::to_string).collect();
    assert_eq!(
        told,
        [format!(
            "record 4 (and perhaps more up to record 5) {forged}"
        )]
    );
}

/// An older copy of everything, which is whole by itself; and one that went on otherwise.
#[tokio::test]
async fn a_log_that_was_rolled_back_or_forked_is_named_by_what_it_was() {
    let data = logged().await;
    let past_of_acme = past(&data, ACME).await;
    append(&data, ACME, 9..12).await;
    let report = data
        .store
        .check_log(ACME, Some(past_of_acme))
        .await
        .unwrap();
    assert_eq!(report.unwrap().faults, [], "it went on");
    let rolled_back = new_data().await;
    append(&rolled_back, ACME, 0..3).await;
    let report = rolled_back.store.check_log(ACME, Some(past_of_acme)).await;
    let expected = Fault::RolledBack {
        size: 3,
        checkpoint: 9,
    };
    assert_eq!(report.unwrap().unwrap().faults, [expected]);
    append(&rolled_back, ACME, 3..12).await;
    let report = rolled_back.store.check_log(ACME, Some(past_of_acme)).await;
    assert_eq!(
        report.unwrap().unwrap().faults,
        [Fault::Forked { checkpoint: 9 }]
    );
}

/// No audit, no change (OWASP ASVS 5.0 V16.3.3): where a log ends must be known to go on.
#[tokio::test]
async fn nothing_is_done_where_the_head_of_the_log_is_gone_or_none() {
    let gone = BrokenLog::NoHead(ACME.to_owned());
    let edited = BrokenLog::Head(ACME.to_owned());
    for (edit, broken) in [
        ("DELETE FROM audit_log WHERE workspace = 'acme'", Some(gone)),
        (
            "UPDATE audit_log SET size = 7 WHERE workspace = 'acme'",
            Some(edited.clone()),
        ),
        (
            "UPDATE audit_log SET edge = mac WHERE workspace = 'acme'",
            Some(edited),
        ),
        // It can be looked at.
        (CUT_OFF, None),
    ] {
        let data = logged().await;
        data.edit(edit);
        let before = data.dump();
        let looked = data.store.check_log(ACME, None).await;
        match &broken {
            Some(broken) => {
                assert_eq!(looked.unwrap_err().0.downcast_ref(), Some(broken), "{edit}")
            }
            None => assert_ne!(looked.unwrap().unwrap().faults, [], "{edit}"),
        }
        assert!(data.store.reset(totp(step())).await.is_err(), "{edit}");
        assert_eq!(before.changes(&data.dump()), "", "{edit}");
        data.store.record(record_in(GLOBEX, 5)).await.unwrap();
    }
}

/// A piece that fails leaves no leaf, nor a place that nothing is in.
#[tokio::test]
async fn what_fails_leaves_nothing_in_the_log() {
    let data = logged().await;
    let unknown = record_in("nowhere", 1);
    assert!(data.store.record(unknown).await.is_err());
    append(&data, ACME, 9..10).await;
    assert_eq!(faults(&data).await, Vec::<String>::new());
    assert_eq!(past(&data, ACME).await.size, 10);
}

fn prune() -> Prune {
    Prune(Operation {
        workspace: ACME.to_owned(),
        now: after(10 * 24 * 60 * 60 + 4),
        request_id: "prune-1".to_owned(),
        forced: false,
    })
}

async fn pruned(data: &Data) -> bool {
    data.store.decide(prune()).await.unwrap().unwrap()
}

#[tokio::test]
async fn what_is_older_than_it_is_kept_is_erased_and_the_log_is_whole() {
    let data = logged().await;
    let before = past(&data, ACME).await;
    assert!(pruned(&data).await);
    let report = data
        .store
        .check_log(ACME, Some(before))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((report.faults, report.erased, report.size), (vec![], 4, 10));
    let erased = RecordFilter {
        request_id: Some("request-3".to_owned()),
        most: 1,
        ..RecordFilter::default()
    };
    assert_eq!(data.store.records(ACME, &erased).await.unwrap(), []);
    assert!(!pruned(&data).await);
    // A tombstone of one place is none of another.
    data.edit(
        "DELETE FROM audit WHERE workspace = 'acme' AND idx = 5;
         UPDATE audit_leaf SET erased = (SELECT erased FROM audit_leaf WHERE workspace = 'acme' AND idx = 3)
         WHERE workspace = 'acme' AND idx = 5",
    );
    let expected =
        "record 5 was removed by somebody who has not the log's secret: its tombstone is false";
    assert_eq!(faults(&data).await, [expected]);
}

#[tokio::test]
async fn a_secret_that_was_changed_is_named() {
    let data = logged().await;
    data.edit("UPDATE audit_log SET secret = 'AAAA' WHERE workspace = 'acme'");
    let problem = data.store.check_log(ACME, None).await.unwrap_err();
    let named = "audit_log.secret in acme cannot be opened: it is not sealed, and the store is";
    assert!(problem.to_string().ends_with(named), "{problem}");
    assert!(data.store.reset(totp(step())).await.is_err());
}

/// Or whoever can write the store would have the host remove what he did, and vouch for it.
#[tokio::test]
async fn what_somebody_has_made_old_is_removed_and_named() {
    let data = logged().await;
    data.edit("UPDATE audit SET at = 1 WHERE workspace = 'acme' AND idx = 7");
    assert!(pruned(&data).await);
    assert_eq!(faults(&data).await, ["record 7 was removed"]);
    assert!(!pruned(&data).await, "it ends");
}

#[tokio::test]
async fn a_log_of_many_pages_is_read_to_its_end() {
    let data = logged().await;
    let size = 2 * u64::from(PAGE) + 3;
    let mut writes = JoinSet::new();
    // No more at a time than are written in time on a busy machine.
    const WRITERS: u64 = 20;
    for writer in 0..WRITERS {
        let store = data.store.clone();
        writes.spawn(async move {
            for number in (9 + writer..size).step_by(20) {
                store.record(record_in(ACME, number)).await.unwrap();
            }
        });
    }
    writes.join_all().await;
    let mut pages = 0;
    let last = data
        .store
        .read_log(ACME, |_| pages += 1)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((pages, last.head.size()), (3, size));
    assert_eq!(faults(&data).await, Vec::<String>::new());
    data.edit("DELETE FROM audit WHERE workspace = 'acme' AND idx IN (999, 1000, 2002)");
    let removed = [999, 1000, 2002].map(|index| format!("record {index} was removed"));
    assert_eq!(faults(&data).await, removed);
}
