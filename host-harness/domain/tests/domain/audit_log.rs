//! The log that proves itself: what is done to it past the host is found and named.

#![expect(
    clippy::indexing_slicing,
    reason = "a test that cannot go on must fail"
)]

use crate::acme::{here, record_of};
use chat_domain::audit::{ACTIONS, AuditRecord, Decision};
use chat_domain::audit_log::check::{Check, Past, Report};
use chat_domain::audit_log::checkpoint::{Distrust, VerifierKey, origin};
use chat_domain::audit_log::export::{Export, ExportCheck, ExportFault, ExportReport};
use chat_domain::audit_log::fault::Fault;
use chat_domain::audit_log::proof::Prover;
use chat_domain::audit_log::record::LoggedRecord;
use chat_domain::audit_log::tree::Edge;
use chat_domain::audit_log::{
    Hash, Head, KeptRecord, Leaf, Mac, PAGE, Page, SALT_BYTES, Secret, new_salt,
};
use chat_domain::settings::Settings;
use chat_domain::time::Timestamp;
use expect_test::expect;
use secrecy::ExposeSecret;
use tlog_tiles::{check_record, check_tree, record_hash};

const ORIGIN: &str = "chat.example/acme";

fn record(number: u64) -> LoggedRecord {
    LoggedRecord::from(&AuditRecord {
        at: Timestamp::from_millis(i64::try_from(number).unwrap()),
        workspace: "acme".to_owned(),
        request_id: format!("request-{number}"),
        action: ACTIONS[0],
        caller: "admin".to_owned(),
        target: Some("zoë\t\"\u{1}\n".to_owned()),
        decision: Decision::Refused,
        reason: None,
        source: Some(here()),
        proof: Some("totp"),
        told: Some(2),
        calls: 1,
    })
}

fn secret() -> Secret {
    Secret::from_text("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").unwrap()
}

fn another_secret() -> Secret {
    Secret::from_text("ICECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").unwrap()
}

/// A log as a store keeps it.
struct Log {
    secret: Secret,
    head: Head,
    leaves: Vec<Leaf>,
    records: Vec<KeptRecord>,
}

impl Log {
    fn of(records: u64) -> Self {
        let mut log = Self {
            secret: secret(),
            head: Head::default(),
            leaves: Vec::new(),
            records: Vec::new(),
        };
        (0..records).for_each(|number| log.append(number));
        log
    }

    fn append(&mut self, number: u64) {
        let mut salt = [0; SALT_BYTES];
        salt[..8].copy_from_slice(&number.to_be_bytes());
        let record = record(number);
        let leaf = self.head.append(&self.secret, &salt, &record);
        self.records.push(KeptRecord {
            index: i64::try_from(leaf.index).unwrap(),
            salt: salt.to_vec(),
            record,
        });
        self.leaves.push(leaf);
    }

    /// As who has the secret does.
    fn erase(&mut self, index: usize) {
        let at = i64::try_from(index).unwrap();
        let kept = self.records.iter().position(|kept| kept.index == at);
        let kept = self.records.remove(kept.unwrap());
        let leaf = &mut self.leaves[index];
        leaf.erased = kept.tombstone(&self.secret, leaf.index, leaf.hash);
        assert!(leaf.erased.is_some());
    }

    fn pages(&self) -> Vec<Page> {
        let mut from = Some(Page::FIRST);
        let mut pages = Vec::new();
        while let Some(first) = from {
            let mut leaves = self.leaves.clone();
            leaves.sort_by_key(|leaf| leaf.index);
            leaves.retain(|leaf| i64::try_from(leaf.index).unwrap() >= first);
            leaves.truncate(PAGE.into());
            let mut records = self.records.clone();
            records.sort_by_key(|kept| kept.index);
            records.retain(|kept| kept.index >= first);
            records.truncate(2 * usize::from(PAGE));
            let (head, secret) = (self.head.clone(), self.secret.clone());
            let page = Page::of(head, secret, leaves, records);
            from = page.next.map(|next| i64::try_from(next).unwrap());
            pages.push(page);
        }
        pages
    }

    fn report_after(&self, past: Option<Past>) -> Report {
        let mut check = Check::new(past);
        let pages = self.pages();
        pages.iter().for_each(|page| check.page(page));
        check.finish(pages.last().unwrap())
    }

    fn report(&self) -> Report {
        self.report_after(None)
    }

    fn past(&self) -> Past {
        let (size, root) = (self.head.size(), self.head.edge.root());
        Past { size, root }
    }

    /// The faults, as they are told.
    fn faults(&self) -> Vec<String> {
        self.report().faults.iter().map(Fault::to_string).collect()
    }

    fn export(&self) -> String {
        let signer = self.secret.signer(ORIGIN);
        let (mut export, mut text) = Export::begin(&signer);
        for page in self.pages() {
            text += &export.page(&page);
        }
        text + &export.end(&self.head, &signer).unwrap()
    }

    fn key(&self) -> VerifierKey {
        VerifierKey::parse(&self.secret.signer(ORIGIN).verifier_key()).unwrap()
    }
}

fn looked_at(export: &[u8], trusted: Option<&VerifierKey>) -> ExportReport {
    let mut check = ExportCheck::new(None);
    for line in export.split_inclusive(|byte| *byte == b'\n') {
        check.line(line);
    }
    check.finish(trusted)
}

/// The faults of an export, as they are told.
fn export_faults(export: &str) -> Vec<String> {
    let report = looked_at(export.as_bytes(), None);
    report.faults.iter().map(ExportFault::to_string).collect()
}

#[test]
fn no_two_logs_have_one_secret_and_no_two_records_one_salt() {
    let random = &mut rand::rng();
    assert_ne!(new_salt(random), new_salt(random));
    let [one, other] = [(); 2].map(|()| Secret::new(random).to_text());
    assert_ne!(one.expose_secret(), other.expose_secret());
}

#[test]
fn a_record_is_hashed_in_canonical_json() {
    expect![[r#"{"action":"reset-totp","address":"192.0.2.1","agent":"test","at":1,"calls":1,"caller":"admin","decision":"refused","proof":"totp","reason":null,"requestId":"request-1","target":"zoë\t\"\u0001\n","told":2,"version":1,"workspace":"acme"}"#]]
        .assert_eq(&record(1).canonical());
    let salt = [3; SALT_BYTES];
    let input = [&salt, record(1).canonical().as_bytes()].concat();
    assert!(
        record(1).leaf_hash(&salt) == record_hash(&input),
        "RFC 6962, section 2.1"
    );
    let read: LoggedRecord = serde_json::from_str(&record(1).canonical()).unwrap();
    assert_eq!(read, record(1));
}

/// Not every store keeps a NUL: what is hashed is what is kept.
#[test]
fn a_nul_is_no_part_of_a_record() {
    let mut given = record_of("ad\0min");
    given.reason = Some("\0".to_owned());
    let record = LoggedRecord::from(&given);
    assert_eq!(
        (record.caller.as_str(), record.reason.as_deref()),
        ("ad\u{fffd}min", Some("\u{fffd}"))
    );
}

/// What stands in one member cannot be taken for another's.
#[test]
fn no_two_records_have_one_canonical_form() {
    type Edit = fn(&mut LoggedRecord);
    let edits: [Edit; 14] = [
        |_| (),
        |r| r.action = "log-in".to_owned(),
        |r| r.address = None,
        |r| r.address = Some("null".to_owned()),
        |r| r.agent = Some("test\",\"at\":1".to_owned()),
        |r| r.at = -1,
        |r| r.calls = 2,
        |r| r.caller = String::new(),
        |r| r.decision = "done".to_owned(),
        |r| r.proof = None,
        |r| r.reason = Some(String::new()),
        |r| r.request_id = "request-10".to_owned(),
        |r| (r.target, r.told) = (None, None),
        |r| r.workspace = "globex".to_owned(),
    ];
    let forms = edits.map(|edit| {
        let mut record = record(1);
        edit(&mut record);
        record.canonical()
    });
    let distinct: std::collections::BTreeSet<_> = forms.iter().collect();
    assert_eq!(distinct.len(), edits.len());
}

#[test]
fn a_log_as_it_was_written_is_whole_whatever_its_size() {
    for size in (0..70).chain([PAGE - 1, PAGE, PAGE + 1, 2 * PAGE].map(u64::from)) {
        let log = Log::of(size);
        let report = log.report();
        assert_eq!(report.faults, []);
        assert_eq!((report.size, report.erased), (size, 0));
        assert!(report.root == log.head.edge.root());
        let edge = Edge::from_bytes(size, &log.head.edge.to_bytes());
        assert_eq!(edge.as_ref(), Some(&log.head.edge), "a store keeps it");
        assert!(Edge::from_bytes(size + 1, &log.head.edge.to_bytes()).is_none() || size % 2 == 1);
    }
}

/// Of the example of RFC 6962, section 2.1.3, in the order of its figure.
#[test]
fn the_root_is_that_of_the_standard() {
    fn root(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => tlog_tiles::EMPTY_HASH,
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
                tlog_tiles::node_hash(root(left), root(right))
            }
        }
    }
    let mut edge = Edge::default();
    let mut leaves = Vec::new();
    for number in 0_u8..40 {
        assert!(edge.root() == root(&leaves), "{number} leaves");
        leaves.push(record_hash(&[number]));
        edge.push(record_hash(&[number]));
    }
}

#[test]
fn an_edited_record_is_named() {
    type Edit = fn(&mut LoggedRecord);
    let edits: [Edit; 13] = [
        |r| r.action.push('x'),
        |r| r.address = None,
        |r| r.agent = None,
        |r| r.at += 1,
        |r| r.calls += 1,
        |r| r.caller.push('x'),
        |r| r.decision = "done".to_owned(),
        |r| r.proof = Some("password".to_owned()),
        |r| r.reason = Some(String::new()),
        |r| r.target = Some("mallory".to_owned()),
        |r| r.told = Some(0),
        |r| r.workspace.push('x'),
        |_| (),
    ];
    for (number, edit) in edits.into_iter().enumerate() {
        let mut log = Log::of(9);
        edit(&mut log.records[4].record);
        if number == 12 {
            log.records[4].salt[0] ^= 1;
        }
        assert_eq!(log.faults(), ["record 4 (request request-4) was edited"]);
    }
    let mut log = Log::of(9);
    log.records[4].record.request_id = "forged\nrecord 5".to_owned();
    assert_eq!(
        log.faults(),
        ["record 4 (request forged\\nrecord 5) was edited"]
    );
}

#[test]
fn a_removed_record_is_named_with_or_without_its_leaf() {
    let mut log = Log::of(9);
    log.records.remove(4);
    assert_eq!(log.faults(), ["record 4 was removed"]);
    log.leaves.remove(4);
    assert_eq!(log.faults(), ["record 4 was removed, and its leaf with it"]);
    log.leaves.drain(4..6);
    log.records.drain(4..5);
    let gone = "the records 4 to 6 were removed, and their leaves with them";
    assert_eq!(log.faults(), [gone]);
}

/// The places close up, as if it had never been.
#[test]
fn a_removed_record_is_found_where_the_others_are_counted_anew() {
    let mut log = Log::of(9);
    log.records.remove(4);
    log.leaves.remove(4);
    log.records[4..].iter_mut().for_each(|kept| kept.index -= 1);
    log.leaves[4..].iter_mut().for_each(|leaf| leaf.index -= 1);
    let moved = |index: u64| {
        let from = index + 1;
        format!("records are in another order: in the place of record {index} is record {from}")
    };
    let mut expected: Vec<_> = (4..8).map(moved).collect();
    expected
        .push("the log was truncated: of 9 records the last 1 are gone, with their leaves".into());
    assert_eq!(log.faults(), expected);
}

#[test]
fn reordered_records_are_named_with_or_without_their_leaves() {
    for places in [[2, 6], [3, 4], [0, 8]] {
        let [a, b] = places;
        let expected = [
            format!("records are in another order: in the place of record {a} is record {b}"),
            format!("records are in another order: in the place of record {b} is record {a}"),
        ];
        let mut log = Log::of(9);
        let [first, second] = places.map(|place| log.records[place].index);
        log.records[a].index = second;
        log.records[b].index = first;
        assert_eq!(log.faults(), expected);
        (log.leaves[a].index, log.leaves[b].index) = (b as u64, a as u64);
        assert_eq!(log.faults(), expected);
    }
}

#[test]
fn a_duplicated_record_is_named_wherever_it_is() {
    let copy_to = |index: i64| {
        let mut log = Log::of(9);
        let mut copy = log.records[2].clone();
        copy.index = index;
        log.records.push(copy);
        log
    };
    for index in [-1, 2, 5, 9, i64::MAX] {
        let expected = format!("record 2 was duplicated: a copy is in place {index}");
        assert_eq!(copy_to(index).faults(), [expected]);
    }
    let mut log = copy_to(5);
    log.records.remove(5);
    let expected = "record 2 was duplicated: a copy is in place 5";
    assert_eq!(log.faults(), [expected], "in the place of another");
}

#[test]
fn a_record_past_the_log_is_named() {
    let mut log = Log::of(9);
    let mut other = log.records[2].clone();
    (other.index, other.record) = (9, record(99));
    log.records.push(other);
    let expected = "a record (request request-99) was added past the log, in place 9";
    assert_eq!(log.faults(), [expected]);
    // With a leaf that somebody makes who has not the secret.
    let mut forger = Log::of(9);
    forger.secret = another_secret();
    let leaf = forger
        .head
        .append(&forger.secret, &[0; SALT_BYTES], &record(99));
    log.records[9].salt = vec![0; SALT_BYTES];
    log.leaves.push(leaf);
    let forged = "record 9 is another than was logged, and its leaf is by somebody who has not the \
                  log's secret";
    let head = "the head of the log was edited: it is not that of the leaves; it is after 9 records, \
                and there are 10 leaves";
    assert_eq!(log.faults(), [forged, head]);
    log.head = forger.head;
    assert_eq!(log.faults(), [forged]);
}

#[test]
fn a_record_that_is_rewritten_with_its_leaf_is_named() {
    let mut log = Log::of(9);
    log.records[4].record.caller = "mallory".to_owned();
    log.leaves[4].hash = log.records[4].leaf_hash();
    let expected = "record 4 is another than was logged, and its leaf is by somebody who has not \
                    the log's secret";
    assert_eq!(log.faults(), [expected]);
    log.leaves[4].mac = Mac::from_bytes(&[7; 32]).unwrap();
    let more = expected.replace("record 4", "record 4 (and perhaps more up to record 5)");
    assert_eq!(log.faults(), [more], "nothing leads to the next one");
    log.leaves[4] = Log::of(9).leaves[4].clone();
    assert_eq!(log.faults(), ["record 4 (request request-4) was edited"]);
}

#[test]
fn an_edited_leaf_is_named() {
    let expected = "the leaf of record 4 was edited; the record is as it was logged";
    for index in [4, 8] {
        let mut log = Log::of(9);
        log.leaves[index].hash.0[0] ^= 1;
        assert_eq!(log.faults(), [expected.replace('4', &index.to_string())]);
        let mut log = Log::of(9);
        let link = [7; 32];
        log.leaves[index].mac = Mac::from_bytes(&link).unwrap();
        assert_eq!(log.faults(), [expected.replace('4', &index.to_string())]);
        log.leaves[index].hash.0[0] ^= 1;
        assert_eq!(
            log.faults(),
            [expected.replace('4', &index.to_string())],
            "both"
        );
    }
}

#[test]
fn a_truncated_log_is_named_with_or_without_its_leaves() {
    let mut log = Log::of(9);
    log.records.truncate(7);
    assert_eq!(
        log.faults(),
        ["record 7 was removed", "record 8 was removed"]
    );
    log.leaves.truncate(7);
    let expected = "the log was truncated: of 9 records the last 2 are gone, with their leaves";
    assert_eq!(log.faults(), [expected]);
    let mut log = Log::of(9);
    log.leaves.clear();
    let expected = "the log was truncated: of 9 records the last 9 are gone, with their leaves";
    assert_eq!(log.faults(), [expected], "what is left has no leaf");
}

#[test]
fn an_edited_head_is_named() {
    type Edit = fn(&mut Log);
    let edits: [Edit; 4] = [
        |log| log.head.mac = Mac::START,
        |log| log.head = Log::of(8).head,
        |log| log.head.edge = Log::of(8).head.edge,
        |log| {
            let bytes = [&[7; 32], &log.head.edge.to_bytes()[32..]].concat();
            log.head.edge = Edge::from_bytes(9, &bytes).unwrap();
        },
    ];
    for edit in edits {
        let mut log = Log::of(9);
        edit(&mut log);
        let size = log.head.size();
        let expected = match size {
            9 => END_EDITED.to_owned(),
            _ => format!(
                "the head of the log was edited: it is not that of the leaves; it is after {size} \
                 records, and there are 9 leaves"
            ),
        };
        assert_eq!(log.faults(), [expected]);
    }
}

const END_EDITED: &str =
    "the end of the log was edited: nobody who has the log's secret has ended it after 9 records";

/// All that is needed for it but the secret is kept beside the log.
#[test]
fn a_log_that_was_cut_off_with_its_head_is_named() {
    let whole = Log::of(9);
    let mut log = Log::of(10);
    log.leaves.pop();
    log.records.pop();
    log.head.mac = log.leaves[8].mac;
    log.head.edge = whole.head.edge;
    assert_eq!(log.faults(), [END_EDITED]);
    log.head.end = Log::of(8).head.end;
    assert_eq!(log.faults(), [END_EDITED], "the end of another place");
}

/// Whoever puts an older copy of everything in the place of the log leaves it whole by itself.
#[test]
fn a_log_that_was_rolled_back_is_named_by_a_checkpoint() {
    let past = Log::of(9).past();
    let expected = "the log was rolled back: it has 7 records, and had 9 at the checkpoint";
    let log = Log::of(7);
    assert_eq!(log.report().faults, []);
    let faults = log.report_after(Some(past)).faults;
    assert_eq!(
        faults.iter().map(Fault::to_string).collect::<Vec<_>>(),
        [expected]
    );
}

/// Of two that have once been one, each is whole by itself.
#[test]
fn a_forked_log_is_named_by_a_checkpoint() {
    let [mut one, mut other] = [(); 2].map(|()| Log::of(5));
    for number in 5..9 {
        one.append(number);
        other.append(100 + number);
    }
    assert_eq!(other.report().faults, []);
    let before = Log::of(5).past();
    for size in 0..=9 {
        let mut edge = Edge::default();
        let leaves = one.leaves.iter().take(size);
        leaves.for_each(|leaf| edge.push(leaf.hash));
        let (size, root) = (edge.size(), edge.root());
        let past = Past { size, root };
        assert_eq!(one.report_after(Some(past)).faults, []);
        let faults = other.report_after(Some(past)).faults;
        let expected = match size {
            0..=5 => vec![],
            _ => vec![Fault::Forked { checkpoint: size }],
        };
        assert_eq!(faults, expected);
    }
    assert_eq!(other.report_after(Some(before)).faults, []);
    let told = Fault::Forked { checkpoint: 9 }.to_string();
    assert_eq!(
        told,
        "the log was forked: its first 9 records are not those of the checkpoint"
    );
}

/// What is in the log of another workspace, or of another store, is chained under another secret.
#[test]
fn a_leaf_of_another_log_is_not_taken_for_one_of_this() {
    let mut log = Log::of(9);
    let mut other = Log::of(0);
    other.secret = another_secret();
    (100..109).for_each(|number| other.append(number));
    log.leaves[4] = other.leaves[4].clone();
    log.records[4] = other.records[4].clone();
    let expected = Fault::Rewritten { first: 4, last: 5 };
    assert_eq!(
        log.report().faults,
        [expected],
        "nothing leads to the next one"
    );
}

#[test]
fn a_person_is_erased_and_nothing_else_is_touched() {
    let mut log = Log::of(9);
    let past = log.past();
    for index in [0, 4, 8] {
        log.erase(index);
    }
    let report = log.report_after(Some(past));
    assert_eq!((report.faults, report.erased, report.size), (vec![], 3, 9));
    assert!(report.root == past.root, "the checkpoint of before holds");
    let export = log.export();
    assert!(!export.contains("request-4") && export.contains("request-5"));
    let report = looked_at(export.as_bytes(), Some(&log.key()));
    assert_eq!((report.faults, report.erased), (vec![], 3));
}

#[test]
fn only_who_has_the_secret_erases() {
    let mut log = Log::of(9);
    log.erase(4);
    let tombstone = log.leaves[4].erased;
    log.records.remove(5 - 1);
    for forged in [tombstone, Mac::from_bytes(&[0; 32])] {
        log.leaves[5].erased = forged;
        let expected = "record 5 was removed by somebody who has not the log's secret: its \
                        tombstone is false";
        assert_eq!(log.faults(), [expected]);
    }
    let mut log = Log::of(9);
    let kept = log.records[4].clone();
    log.erase(4);
    log.records.insert(4, kept);
    assert_eq!(log.faults(), ["record 4 is there, and its tombstone, too"]);
}

/// Or a host that removes what is old would hide what somebody has made old.
#[test]
fn what_is_not_as_it_was_logged_has_no_tombstone() {
    let log = Log::of(9);
    let (leaf, mut kept) = (&log.leaves[4], log.records[4].clone());
    assert!(kept.tombstone(&log.secret, leaf.index, leaf.hash).is_some());
    kept.record.at = 0;
    assert!(kept.tombstone(&log.secret, leaf.index, leaf.hash).is_none());
}

#[test]
fn faults_beyond_number_are_counted() {
    let mut log = Log::of(1200);
    log.records.clear();
    let report = log.report();
    assert_eq!((report.faults.len(), report.further), (1000, 200));
    let mut log = Log::of(1200);
    log.secret = another_secret();
    let expected = Fault::Rewritten {
        first: 0,
        last: 1199,
    };
    assert_eq!(log.report().faults, [expected]);
}

#[test]
fn a_checkpoint_is_believed_of_the_key_that_signed_it_alone() {
    let log = Log::of(9);
    let signer = log.secret.signer(ORIGIN);
    let note = signer.sign(9, log.past().root).unwrap();
    let lines: Vec<_> = note.lines().collect();
    assert_eq!(lines[..2], [ORIGIN, "9"]);
    assert!(lines[4].starts_with(&format!("— {ORIGIN} ")));
    assert_eq!(log.key().open(&note).unwrap().past, log.past());
    assert_eq!(log.secret.open(&note), Ok(log.past()));
    let other = another_secret();
    let other_key = VerifierKey::parse(&other.signer(ORIGIN).verifier_key()).unwrap();
    assert_eq!(other_key.open(&note), Err(Distrust::Unsigned));
    assert_eq!(other.open(&note), Err(Distrust::Unsigned));
    // Its log had another name then.
    let renamed = log
        .secret
        .signer("elsewhere.example/acme")
        .sign(9, log.past().root)
        .unwrap();
    assert_eq!(log.secret.open(&renamed), Ok(log.past()));
    assert_eq!(log.key().open(&renamed), Err(Distrust::Unsigned));
    for at in 0..note.len() {
        let mut bytes = note.clone().into_bytes();
        for flip in [1, 32, 128] {
            bytes[at] ^= flip;
            let edited = String::from_utf8_lossy(&bytes);
            assert!(log.key().open(&edited).is_err(), "{edited}");
            bytes[at] ^= flip;
        }
    }
    for text in ["", "no key", "a+b+c", &signer.verifier_key()[1..]] {
        assert_eq!(VerifierKey::parse(text).err(), Some(Distrust::MalformedKey));
    }
}

/// It may be asked for again, by every host.
#[test]
fn the_key_and_the_signature_are_the_same_whenever_they_are_made() {
    let log = Log::of(9);
    let kept = log.secret.to_text();
    let read = Secret::from_text(kept.expose_secret()).unwrap();
    let [one, other] = [&log.secret, &read].map(|secret| {
        let signer = secret.signer(ORIGIN);
        (
            signer.verifier_key(),
            signer.sign(9, log.past().root).unwrap(),
        )
    });
    assert_eq!(one, other);
    assert!(!format!("{:?}", log.secret).contains(kept.expose_secret()));
    for text in ["", "AAAA", "not base64", &kept.expose_secret()[1..]] {
        assert!(Secret::from_text(text).is_none(), "{text}");
    }
}

#[test]
fn a_log_is_called_by_its_issuer_and_its_workspace() {
    let mut settings = Settings::default();
    assert_eq!(origin(&settings, "acme"), "host-harness/acme");
    settings.totp_issuer = "Acme + Söhne/x".to_owned();
    assert_eq!(
        origin(&settings, "a.b-c_d"),
        "Acme%20%2B%20S%C3%B6hne%2Fx/a.b-c_d"
    );
    let secret = Log::of(0).secret;
    let signer = secret.signer(&origin(&settings, "acme"));
    assert!(signer.sign(0, Edge::default().root()).is_ok());
    assert!(VerifierKey::parse(&signer.verifier_key()).is_ok());
}

#[test]
fn a_record_is_proved_to_be_in_the_log_without_the_others() {
    for size in 1..40 {
        let log = Log::of(size);
        let root = log.past().root;
        let mut prover = Prover::new(size);
        assert!((0..size).all(|index| prover.ask_for_leaf(index)));
        assert!((1..=size).all(|past| prover.ask_for_beginning(past)));
        assert!(!prover.ask_for_leaf(size) && !prover.ask_for_beginning(size + 1));
        assert!(!prover.ask_for_beginning(0));
        let more = Log::of(size + 3);
        more.leaves.iter().for_each(|leaf| prover.leaf(leaf.hash));
        assert!(prover.root() == root, "what came later is passed over");
        for leaf in &log.leaves {
            let path = prover.path(leaf.index).unwrap();
            check_record(&path, size, root, leaf.index, leaf.hash).unwrap();
            let other = record_hash(b"another");
            assert!(check_record(&path, size, root, leaf.index, other).is_err());
            let elsewhere = (leaf.index + 1) % size;
            assert!(size == 1 || check_record(&path, size, root, elsewhere, leaf.hash).is_err());
        }
        for past in 1..=size {
            let past = Log::of(past).past();
            let proof = prover.beginning(past.size).unwrap();
            check_tree(&proof, size, root, past.size, past.root).unwrap();
            let forked = record_hash(b"forked");
            assert!(check_tree(&proof, size, root, past.size, forked).is_err());
        }
    }
}

#[test]
fn what_was_not_asked_for_is_not_proved() {
    let log = Log::of(9);
    let mut prover = Prover::new(9);
    assert!(prover.ask_for_leaf(3));
    assert!(prover.path(3).is_none(), "no leaf has passed");
    log.leaves.iter().for_each(|leaf| prover.leaf(leaf.hash));
    assert!(prover.path(3).is_some());
    assert!(prover.path(5).is_none() && prover.beginning(3).is_none());
}

#[test]
fn an_export_is_verified_without_the_store() {
    let mut log = Log::of(u64::from(PAGE) + 5);
    log.erase(3);
    let export = log.export();
    for trusted in [None, Some(&log.key())] {
        let report = looked_at(export.as_bytes(), trusted);
        assert_eq!((report.faults, report.further), (vec![], 0));
        assert_eq!((report.size, report.erased), (u64::from(PAGE) + 5, 1));
        assert_eq!(report.key, Some(log.secret.signer(ORIGIN).verifier_key()));
    }
    let stranger = another_secret().signer(ORIGIN).verifier_key();
    let report = looked_at(
        export.as_bytes(),
        Some(&VerifierKey::parse(&stranger).unwrap()),
    );
    assert_eq!(report.faults, [ExportFault::End(Distrust::Unsigned)]);
    let empty = Log::of(0).export();
    assert_eq!(looked_at(empty.as_bytes(), Some(&log.key())).faults, []);
}

#[test]
fn an_export_has_one_form() {
    let mut log = Log::of(2);
    log.erase(1);
    expect![[r#"
        {"format":"host-harness audit log","key":"chat.example/acme+970e8dff+AXOva3A7mUab+mg4PpJA0Ybo2tkwgpxX3cGv/5qYjvpO","version":1}
        {"index":0,"leaf":"MdI35QB1jALuL9RMOgdzxWPs/weLS5QBTC/116r8nvs=","record":{"action":"reset-totp","address":"192.0.2.1","agent":"test","at":0,"calls":1,"caller":"admin","decision":"refused","proof":"totp","reason":null,"requestId":"request-0","target":"zoë\t\"\u0001\n","told":2,"version":1,"workspace":"acme"},"salt":"AAAAAAAAAAAAAAAAAAAAAA=="}
        {"erased":true,"index":1,"leaf":"KI3xHZwwDCytJDQY1s7JCw3nEQhRBwoMmHZ0Nc467Hg="}
        chat.example/acme
        2
        qSDFSwmfCjee8qIwsiuhu2YknlUGs7ynx0piN5usXaQ=
        sha256 Dap5rnMl86Qz1a3f9FL6T/qGTOo+mGy8xLvBC2hubUI=

        — chat.example/acme lw6N/8b3llm1b+QXmFa9snjmeTgJ0HuhHLPWSRNea35z0KUyLU71AFDQixuiE6n4gkymcwbqziFz65f/vWHBoAnRTA0=
    "#]]
    .assert_eq(&log.export());
}

fn is_found(export: &[u8], at: usize, byte: u8, trusted: Option<&VerifierKey>) -> bool {
    let mut edited = export.to_vec();
    edited[at] = byte;
    !looked_at(&edited, trusted).faults.is_empty()
}

#[test]
fn every_change_of_a_byte_of_an_export_is_found() {
    let mut log = Log::of(5);
    log.erase(1);
    let (export, key) = (log.export().into_bytes(), log.key());
    for (at, byte) in export.iter().enumerate() {
        for flip in [1, 0x20, 0xff] {
            for trusted in [None, Some(&key)] {
                let is_found = is_found(&export, at, byte ^ flip, trusted);
                assert!(is_found, "byte {at} ^ {flip}");
            }
        }
    }
}

/// Where no digest is above it.
#[test]
fn every_other_value_of_every_byte_of_the_end_of_an_export_is_found() {
    let export = Log::of(0).export().into_bytes();
    let end = 1 + export.iter().position(|byte| *byte == b'\n').unwrap();
    for (at, byte) in export.iter().enumerate().skip(end) {
        for other in (0..=u8::MAX).filter(|other| other != byte) {
            assert!(is_found(&export, at, other, None), "byte {at} is {other}");
        }
    }
}

/// Of another key, which a reader of notes passes over, or the same again.
#[test]
fn a_further_signature_of_an_export_is_found() {
    let export = Log::of(2).export();
    let signature = export.lines().last().unwrap();
    for further in [signature, "— x AAAAAAA="] {
        let longer = format!("{export}{further}\n");
        let report = looked_at(longer.as_bytes(), None);
        assert_eq!(report.faults, [ExportFault::Bytes], "{further}");
    }
}

#[test]
fn every_byte_that_an_export_lacks_or_has_more_is_found() {
    let mut log = Log::of(2);
    log.erase(1);
    let export = log.export().into_bytes();
    for at in 0..export.len() {
        let mut shorter = export.clone();
        shorter.remove(at);
        assert!(
            !looked_at(&shorter, None).faults.is_empty(),
            "without byte {at}"
        );
        assert!(
            !looked_at(&export[..at], None).faults.is_empty(),
            "{at} bytes"
        );
        let mut longer = export.clone();
        longer.insert(at, export[at]);
        assert!(
            !looked_at(&longer, None).faults.is_empty(),
            "byte {at} twice"
        );
    }
}

#[test]
fn what_was_done_to_an_export_is_named() {
    let export = Log::of(6).export();
    let lines: Vec<_> = export.split_inclusive('\n').collect();
    let with = |edit: fn(&mut Vec<&str>)| {
        let mut lines = lines.clone();
        edit(&mut lines);
        export_faults(&lines.concat())
    };
    let unsigned = "it is not as it was signed";
    let edited = export.replace("request-3", "request-x");
    assert_eq!(
        export_faults(&edited),
        ["record 3 (request request-x) was edited", unsigned]
    );
    let removed = "record 3 was removed, and its leaf with it";
    assert_eq!(with(|lines| drop(lines.drain(4..5))), [removed, unsigned]);
    let reordered = "records are in another order: in the place of record 4 is record 3";
    assert_eq!(with(|lines| lines.swap(4, 5)), [reordered, unsigned]);
    let copied = "record 3 was duplicated: a copy is in place 4";
    assert_eq!(with(|lines| lines.insert(5, lines[4])), [copied, unsigned]);
    let truncated = "the log was truncated: of 6 records the last 2 are gone, with their leaves";
    assert_eq!(with(|lines| drop(lines.drain(5..7))), [truncated, unsigned]);
    let unread = "line 5 was edited: it should be that of record 3";
    assert_eq!(with(|lines| lines[4] = "{}\n"), [unread, unsigned]);
    assert_eq!(
        with(|lines| lines[6] = "{}\n"),
        [unread.replace('5', "7").replace('3', "5"), unsigned.into()]
    );
    let cut =
        "the checkpoint at its end is not believed: it is no signed checkpoint, or was edited";
    assert_eq!(with(|lines| lines.truncate(6)), [cut]);
    // The end of another, of the same log.
    let longer = Log::of(7).export();
    let end = longer.split_inclusive('\n').skip(8).collect::<String>();
    let spliced = lines[..7].concat() + &end;
    let lacks = "the log was truncated: of 7 records the last 1 are gone, with their leaves";
    assert_eq!(export_faults(&spliced), [lacks, unsigned]);
    // A record with a leaf that fits.
    let mut forked = Log::of(6);
    forked.records[3].record.caller = "mallory".to_owned();
    forked.leaves[3].hash = forked.records[3].leaf_hash();
    let forked = "the log was forked: its first 6 records are not those of the checkpoint";
    let mut other = Log::of(6);
    other.records[3].record.caller = "mallory".to_owned();
    other.leaves[3].hash = other.records[3].leaf_hash();
    let other = other.export();
    let spliced = other.split_inclusive('\n').take(7).collect::<String>() + &lines[7..].concat();
    assert_eq!(export_faults(&spliced), [forked, unsigned]);
}

/// Signed by a key of one's own, an export of anything is whole; only who knows the key sees it.
#[test]
fn an_export_by_another_key_is_whole_but_for_who_knows_the_key() {
    let log = Log::of(3);
    let mut other = Log::of(0);
    other.secret = another_secret();
    (0..3).for_each(|number| other.append(number));
    assert_eq!(export_faults(&other.export()), Vec::<String>::new());
    let faults = looked_at(other.export().as_bytes(), Some(&log.key())).faults;
    assert_eq!(faults, [ExportFault::End(Distrust::Unsigned)]);
}
