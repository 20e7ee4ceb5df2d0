//! The log of the audit trail, in its tables.

use super::{Db, SqlResult};
use crate::audit_log::{BrokenLog, ERASED_TOGETHER, Entry, HeadRow, LeafRow, OpenLog};
use chat_domain::audit::AuditRecord;
use chat_domain::audit_log::record::{LoggedRecord, Version};
use chat_domain::audit_log::{KeptRecord, Leaf, PAGE, Page, kept_place};
use chat_domain::time::Timestamp;
use rusqlite::types::{Type, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::collections::BTreeMap;

/// What [`kept_in`] reads.
const KEPT: &str =
    "audit.idx, salt, action, address, agent, at, calls, caller, decision, proof, reason,
     request_id, target, told, audit.workspace";

/// Writes a record, its leaf and where the log ends then.
pub(super) fn append(db: Db<'_>, record: &AuditRecord) -> SqlResult<()> {
    let workspace = record.workspace.as_str();
    let (mut log, is_new) = match open(db, workspace)? {
        Some(log) => (log.go_on(workspace)?, false),
        None => (OpenLog::new(), true),
    };
    let entry = log.append(record.into());
    write_record(&db, &entry)?;
    write_leaf(&db, workspace, &entry)?;
    if is_new {
        return write_head(db, workspace, &log);
    }
    db.prepare_cached(
        "UPDATE audit_log SET size = ?2, edge = ?3, mac = ?4, \"end\" = ?5 WHERE workspace = ?1",
    )?
    .execute(params![
        workspace,
        kept_place(log.head.size()),
        log.head.edge.to_bytes(),
        log.head.mac.as_bytes(),
        log.head.end.as_bytes()
    ])
    .map(drop)
}

/// The log of a workspace; none where it has no records yet.
fn open(db: Db<'_>, workspace: &str) -> SqlResult<Option<OpenLog>> {
    let row = db
        .prepare_cached(
            "SELECT size, edge, mac, \"end\", secret FROM audit_log WHERE workspace = ?1",
        )?
        .query_row([workspace], |row| {
            Ok(HeadRow {
                size: row.get(0)?,
                edge: row.get(1)?,
                mac: row.get(2)?,
                end: row.get(3)?,
                secret: row.get(4)?,
            })
        })
        .optional()?;
    let log = row.map(|row| OpenLog::of(&row, workspace, db.seal));
    Ok(log.transpose()?)
}

fn write_head(db: Db<'_>, workspace: &str, log: &OpenLog) -> SqlResult<()> {
    let row = log.row(workspace, db.seal);
    db.prepare_cached(
        "INSERT INTO audit_log (workspace, size, edge, mac, \"end\", secret) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![workspace, row.size, row.edge, row.mac, row.end, row.secret])
    .map(drop)
}

fn write_leaf(db: &Connection, workspace: &str, entry: &Entry) -> SqlResult<()> {
    let leaf = &entry.leaf;
    db.prepare_cached("INSERT INTO audit_leaf (workspace, idx, hash, mac) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![
            workspace,
            kept_place(leaf.index),
            leaf.hash.0,
            leaf.mac.as_bytes()
        ])
        .map(drop)
}

fn write_record(db: &Connection, entry: &Entry) -> SqlResult<()> {
    let record = &entry.record;
    db.prepare_cached(
        "INSERT INTO audit (workspace, at, request_id, action, caller, target, decision, reason,
                            address, agent, proof, told, calls, idx, salt)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
    )?
    .execute(params![
        record.workspace,
        record.at,
        record.request_id,
        record.action,
        record.caller,
        record.target,
        record.decision,
        record.reason,
        record.address,
        record.agent,
        record.proof,
        record.told,
        record.calls,
        kept_place(entry.leaf.index),
        entry.salt
    ])
    .map(drop)
}

/// As [`Store::log`](crate::Store::log).
pub(super) fn page(db: Db<'_>, workspace: &str, from: i64) -> SqlResult<Option<Page>> {
    let leaves = leaves(&db, workspace, from)?;
    let records = kept(&db, workspace, from)?;
    let Some(log) = open(db, workspace)? else {
        return match leaves.is_empty() && records.is_empty() {
            true => Ok(None),
            false => Err(BrokenLog::NoHead(workspace.to_owned()).into()),
        };
    };
    Ok(Some(Page::of(log.head, log.secret, leaves, records)))
}

fn leaves(db: &Connection, workspace: &str, from: i64) -> SqlResult<Vec<Leaf>> {
    let mut query = db.prepare_cached(
        "SELECT idx, hash, mac, erased FROM audit_leaf
         WHERE workspace = ?1 AND idx >= ?2 ORDER BY idx LIMIT ?3",
    )?;
    let rows = query.query_map(params![workspace, from, PAGE], |row| {
        let row = LeafRow {
            index: row.get(0)?,
            hash: row.get(1)?,
            mac: row.get(2)?,
            erased: row.get(3)?,
        };
        Ok(row.leaf()?)
    })?;
    rows.collect()
}

fn kept(db: &Connection, workspace: &str, from: i64) -> SqlResult<Vec<KeptRecord>> {
    let mut query = db.prepare_cached(&format!(
        "SELECT {KEPT} FROM audit WHERE workspace = ?1 AND idx >= ?2 ORDER BY idx, id LIMIT ?3"
    ))?;
    let rows = query.query_map(params![workspace, from, 2 * PAGE], |row| kept_in(row, 0))?;
    rows.collect()
}

/// A record from this column on, whatever somebody has made of it.
fn kept_in(row: &Row<'_>, column: usize) -> SqlResult<KeptRecord> {
    let text = |at| text(row, column + at);
    let needed = |at| Ok::<_, rusqlite::Error>(text(at)?.unwrap_or_default());
    Ok(KeptRecord {
        index: row.get(column)?,
        salt: row.get(column + 1)?,
        record: LoggedRecord {
            action: needed(2)?,
            address: text(3)?,
            agent: text(4)?,
            at: row.get(column + 5)?,
            calls: row.get(column + 6)?,
            caller: needed(7)?,
            decision: needed(8)?,
            proof: text(9)?,
            reason: text(10)?,
            request_id: needed(11)?,
            target: text(12)?,
            told: row.get(column + 13)?,
            version: Version::default(),
            workspace: needed(14)?,
        },
    })
}

/// A text that need not be UTF-8.
fn text(row: &Row<'_>, column: usize) -> SqlResult<Option<String>> {
    Ok(match row.get_ref(column)? {
        ValueRef::Text(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        _ => None,
    })
}

/// Erases records of before, so many as one transaction may, the oldest first.
pub(super) fn erase(db: Db<'_>, workspace: &str, before: Timestamp) -> SqlResult<()> {
    let log = open(db, workspace)?;
    let mut query = db.prepare_cached(&format!(
        "SELECT audit.id, hash, {KEPT} FROM audit LEFT JOIN audit_leaf USING (workspace, idx)
         WHERE audit.workspace = ?1 AND at < ?2 ORDER BY at LIMIT ?3"
    ))?;
    let mut delete = db.prepare_cached("DELETE FROM audit WHERE id = ?1")?;
    let mut bury =
        db.prepare_cached("UPDATE audit_leaf SET erased = ?3 WHERE workspace = ?1 AND idx = ?2")?;
    let rows = query.query_map(
        params![workspace, before.millis(), ERASED_TOGETHER],
        |row| {
            let id: i64 = row.get(0)?;
            let (hash, kept): (Option<Vec<u8>>, _) = (row.get(1)?, kept_in(row, 2)?);
            Ok((id, hash, kept))
        },
    )?;
    for (id, hash, kept) in rows.collect::<SqlResult<Vec<_>>>()? {
        let tombstone = log
            .as_ref()
            .and_then(|log| log.tombstone(&kept, hash.as_deref()));
        if let Some(tombstone) = tombstone {
            bury.execute(params![workspace, kept.index, tombstone.as_bytes()])?;
        }
        delete.execute([id])?;
    }
    Ok(())
}

/// Appends all records that there are to logs, in the order in which they were written.
pub(super) fn begin(db: Db<'_>) -> SqlResult<()> {
    let mut logs = BTreeMap::new();
    let mut query = db.prepare(&format!(
        "SELECT id, {KEPT} FROM audit WHERE id > ?1 ORDER BY id LIMIT ?2"
    ))?;
    let mut set = db.prepare("UPDATE audit SET idx = ?2, salt = ?3 WHERE id = ?1")?;
    let mut last = 0;
    loop {
        let rows = query.query_map(params![last, PAGE], |row| {
            Ok((row.get(0)?, kept_in(row, 1)?))
        })?;
        let rows: Vec<(i64, KeptRecord)> = rows.collect::<SqlResult<_>>()?;
        if rows.is_empty() {
            break;
        }
        for (id, kept) in rows {
            let workspace = kept.record.workspace.clone();
            let log = logs.entry(workspace.clone()).or_insert_with(OpenLog::new);
            let entry = log.append(kept.record);
            set.execute(params![id, kept_place(entry.leaf.index), entry.salt])?;
            write_leaf(&db, &workspace, &entry)?;
            last = id;
        }
    }
    let mut logs = logs.iter();
    logs.try_for_each(|(workspace, log)| write_head(db, workspace, log))
}

impl From<BrokenLog> for rusqlite::Error {
    fn from(broken: BrokenLog) -> Self {
        Self::FromSqlConversionFailure(0, Type::Blob, Box::new(broken))
    }
}
