//! The log of the audit trail, in its tables.

use super::failure::Failure;
use super::query::{Query, Value, get, query};
use crate::Result;
use crate::audit_log::{BrokenLog, ERASED_TOGETHER, Entry, HeadRow, LeafRow, OpenLog};
use crate::seal::Seal;
use chat_domain::audit_log::record::{LoggedRecord, Version};
use chat_domain::audit_log::{KeptRecord, PAGE, Page, kept_place};
use chat_domain::time::Timestamp;
use std::collections::BTreeMap;
use tokio_postgres::Row;

const HEAD: &str = "SELECT size, edge, mac, \"end\", secret FROM audit_log WHERE workspace = $1";

const LEAVES: &str = "
    SELECT idx, hash, mac, erased FROM audit_leaf
    WHERE workspace = $1 AND idx >= $2 ORDER BY idx LIMIT $3";

/// Records as [`kept_in`] reads them, after one column. A condition follows.
macro_rules! kept {
    ($first:literal, $condition:literal) => {
        concat!(
            "SELECT ",
            $first,
            ", audit.idx, salt, action, address, agent, at, calls, caller, decision, proof, reason,
                request_id, target, told, audit.workspace
             FROM audit WHERE ",
            $condition
        )
    };
}

const KEPT: &str = kept!(
    "0",
    "workspace = $1 AND idx >= $2 ORDER BY idx, id LIMIT $3"
);

/// The leaf is the last column.
const OLD: &str = concat!(
    "SELECT old.*, hash FROM (",
    kept!("id", "workspace = $1 AND at < $2 ORDER BY at LIMIT $3"),
    ") AS old LEFT JOIN audit_leaf USING (workspace, idx)"
);

const ALL: &str = kept!("id", "id > $1 ORDER BY id LIMIT $2");

/// The record, its leaf, and where the log ends then, which follows.
macro_rules! append {
    ($head:literal) => {
        concat!(
            "WITH record AS (
                INSERT INTO audit (workspace, at, request_id, action, caller, target, decision,
                                   reason, address, agent, proof, told, calls, idx, salt)
                VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)),
            leaf AS (
                INSERT INTO audit_leaf (workspace, idx, hash, mac) VALUES ($1, $14, $16, $17)) ",
            $head
        )
    };
}

const APPEND: &str = append!(
    "UPDATE audit_log SET size = $18, edge = $19, mac = $17, \"end\" = $20 WHERE workspace = $1"
);

const APPEND_FIRST: &str = append!(
    "INSERT INTO audit_log (workspace, size, edge, mac, \"end\", secret)
     VALUES ($1, $18, $19, $17, $20, $21)"
);

const ERASE: &str = "DELETE FROM audit WHERE id = ANY($1)";

const BURY: &str = "
    UPDATE audit_leaf SET erased = tombstone.mac
    FROM unnest($2::BIGINT[], $3::BYTEA[]) AS tombstone (idx, mac)
    WHERE audit_leaf.workspace = $1 AND audit_leaf.idx = tombstone.idx";

const PLACE: &str = "UPDATE audit SET idx = $2, salt = $3 WHERE id = $1";
const LEAF: &str = "INSERT INTO audit_leaf (workspace, idx, hash, mac) VALUES ($1, $2, $3, $4)";
const FIRST_HEAD: &str = "
    INSERT INTO audit_log (workspace, size, edge, mac, \"end\", secret)
    VALUES ($1, $2, $3, $4, $5, $6)";

/// Where the log of a workspace ends.
pub(super) fn head(workspace: &str) -> Query {
    query!(HEAD, Value::key(workspace))
}

/// The log of a workspace; none where it has no records yet.
pub(super) fn open_in(seal: &Seal, rows: &[Row], workspace: &str) -> Result<Option<OpenLog>> {
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    let row = HeadRow {
        size: get(row, 0)?,
        edge: get(row, 1)?,
        mac: get(row, 2)?,
        end: get(row, 3)?,
        secret: get(row, 4)?,
    };
    Ok(Some(OpenLog::of(&row, workspace, seal)?))
}

/// Writes a record, its leaf and where the log ends then.
pub(super) fn append(
    seal: &Seal,
    log: &mut Option<OpenLog>,
    record: LoggedRecord,
) -> Result<Query> {
    let is_first = log.is_none();
    let mut open = match log.take() {
        Some(log) => log.go_on(&record.workspace)?,
        None => OpenLog::new(),
    };
    let Entry { record, salt, leaf } = open.append(record);
    let log = log.insert(open);
    let mut query = query!(
        APPEND,
        &record.workspace,
        record.at,
        &record.request_id,
        &record.action,
        &record.caller,
        &record.target,
        &record.decision,
        &record.reason,
        &record.address,
        &record.agent,
        &record.proof,
        record.told,
        record.calls,
        kept_place(leaf.index),
        &salt[..],
        &leaf.hash.0[..],
        leaf.mac.as_bytes(),
        kept_place(log.head.size()),
        &log.head.edge.to_bytes()[..],
        log.head.end.as_bytes(),
    );
    if is_first {
        query.sql = APPEND_FIRST;
        query
            .values
            .push(Value::from(&log.row(&record.workspace, seal).secret));
    }
    Ok(query)
}

/// As [`Store::log`](crate::Store::log).
pub(super) fn page(workspace: &str, from: i64) -> Vec<Query> {
    let page = i64::from(PAGE);
    let workspace = || Value::key(workspace);
    vec![
        query!(HEAD, workspace()),
        query!(LEAVES, workspace(), from, page),
        query!(KEPT, workspace(), from, 2 * page),
    ]
}

pub(super) fn page_in(seal: &Seal, found: &[Vec<Row>], workspace: &str) -> Result<Option<Page>> {
    let [head, leaves, records] = found else {
        return Ok(None);
    };
    let leaves: Result<Vec<_>> = leaves.iter().map(|row| Ok(leaf_in(row)?.leaf()?)).collect();
    let records: Result<Vec<_>> = records.iter().map(|row| Ok(kept_in(row)?)).collect();
    let (leaves, records) = (leaves?, records?);
    match open_in(seal, head, workspace)? {
        Some(log) => Ok(Some(Page::of(log.head, log.secret, leaves, records))),
        None if leaves.is_empty() && records.is_empty() => Ok(None),
        None => Err(BrokenLog::NoHead(workspace.to_owned()).into()),
    }
}

fn leaf_in(row: &Row) -> std::result::Result<LeafRow, Failure> {
    Ok(LeafRow {
        index: get(row, 0)?,
        hash: get(row, 1)?,
        mac: get(row, 2)?,
        erased: get(row, 3)?,
    })
}

fn kept_in(row: &Row) -> std::result::Result<KeptRecord, Failure> {
    Ok(KeptRecord {
        index: get(row, 1)?,
        salt: get(row, 2)?,
        record: LoggedRecord {
            action: get(row, 3)?,
            address: get(row, 4)?,
            agent: get(row, 5)?,
            at: get(row, 6)?,
            calls: get(row, 7)?,
            caller: get(row, 8)?,
            decision: get(row, 9)?,
            proof: get(row, 10)?,
            reason: get(row, 11)?,
            request_id: get(row, 12)?,
            target: get(row, 13)?,
            told: get(row, 14)?,
            version: Version::default(),
            workspace: get(row, 15)?,
        },
    })
}

/// Records of before, so many as one transaction may erase, the oldest first.
pub(super) fn old(workspace: &str, before: Timestamp) -> Query {
    query!(OLD, Value::key(workspace), before, ERASED_TOGETHER)
}

/// Erases them.
pub(super) fn erase(log: Option<&OpenLog>, workspace: &str, old: &[Row]) -> Result<Vec<Query>> {
    let (mut ids, mut places, mut tombstones) = (Vec::new(), Vec::new(), Vec::new());
    for row in old {
        let (kept, leaf): (_, Option<Vec<u8>>) = (kept_in(row)?, get(row, 16)?);
        ids.push(get::<i64>(row, 0)?);
        if let Some(tombstone) = log.and_then(|log| log.tombstone(&kept, leaf.as_deref())) {
            places.push(kept.index);
            tombstones.push(tombstone.as_bytes().to_vec());
        }
    }
    Ok(vec![
        query!(BURY, Value::key(workspace), places, tombstones),
        query!(ERASE, ids),
    ])
}

/// Records in the order in which they were written, from after the one with this id on.
pub(super) fn all_after(id: i64) -> Query {
    query!(ALL, id, i64::from(PAGE))
}

/// Appends the records to logs; gives what writes that, and the id of the last.
pub(super) fn begin(
    logs: &mut BTreeMap<String, OpenLog>,
    records: &[Row],
) -> std::result::Result<(Vec<Query>, Option<i64>), Failure> {
    let mut queries = Vec::new();
    let mut last = None;
    for row in records {
        let (id, kept): (i64, _) = (get(row, 0)?, kept_in(row)?);
        let workspace = kept.record.workspace.clone();
        let log = logs.entry(workspace.clone()).or_insert_with(OpenLog::new);
        let Entry { salt, leaf, .. } = log.append(kept.record);
        let at = kept_place(leaf.index);
        queries.push(query!(PLACE, id, at, &salt[..]));
        queries.push(query!(
            LEAF,
            &workspace,
            at,
            &leaf.hash.0[..],
            leaf.mac.as_bytes()
        ));
        last = Some(id);
    }
    Ok((queries, last))
}

/// Writes where each log ends.
pub(super) fn first_heads(seal: &Seal, logs: &BTreeMap<String, OpenLog>) -> Vec<Query> {
    let heads = logs.iter().map(|(workspace, log)| {
        let row = log.row(workspace, seal);
        query!(
            FIRST_HEAD,
            workspace,
            row.size,
            &row.edge[..],
            &row.mac[..],
            &row.end[..],
            &row.secret,
        )
    });
    heads.collect()
}
