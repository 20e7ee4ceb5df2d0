//! The log of the audit trail, in its collections; moments are milliseconds of Unix time.
//!
//! | collection | a document |
//! |---|---|
//! | `reset_totp_audit` | a record: its fields, the workspace, `idx`, its place in the log, and `salt` |
//! | `reset_totp_audit_leaf` | `{_id, hash, mac, erased}`: a leaf, by its place |
//! | `reset_totp_audit_log` | `{_id: "log", size, edge, mac, end, secret}`: where the log ends; the secret is sealed |

use super::database::{Look, Transaction};
use super::failure::Failure;
use super::field::Fields;
use crate::audit_log::{BrokenLog, ERASED_TOGETHER, Entry, HeadRow, LeafRow, OpenLog};
use crate::seal::Seal;
use chat_domain::audit::{RecordFilter, StoredRecord};
use chat_domain::audit_log::record::{LoggedRecord, Version};
use chat_domain::audit_log::{KeptRecord, PAGE, Page, kept_place};
use chat_domain::time::Timestamp;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Document, doc};

pub(super) const AUDIT: &str = "reset_totp_audit";
pub(super) const LEAVES: &str = "reset_totp_audit_leaf";
pub(super) const LOG: &str = "reset_totp_audit_log";

/// The one document of [`LOG`].
const HEAD: &str = "log";

/// What a record is called where something is wrong with it.
const A_RECORD: &str = "a record";

/// The log; none where there are no records yet.
///
/// It fails with [`BrokenLog`], too, where there is one that is none.
pub(super) async fn open(
    transaction: &mut Transaction,
    seal: &Seal,
    workspace: &str,
) -> Result<Option<OpenLog>, Failure> {
    let head = transaction.one(LOG, Look::at(doc! { "_id": HEAD })).await?;
    let Some(head) = head else {
        return Ok(None);
    };
    let fields = Fields::of(&head, LOG, HEAD);
    let row = HeadRow {
        size: fields.needed_number("size")?,
        edge: fields.bytes("edge")?.unwrap_or_default(),
        mac: fields.bytes("mac")?.unwrap_or_default(),
        end: fields.bytes("end")?.unwrap_or_default(),
        secret: fields.needed_text("secret")?.to_owned(),
    };
    Ok(Some(OpenLog::of(&row, workspace, seal)?))
}

/// Records that are appended together, and where the log ends then.
pub(super) struct Appended {
    records: Vec<Document>,
    leaves: Vec<Document>,
    is_first: bool,
}

impl Appended {
    pub(super) fn to(log: Option<&OpenLog>) -> Self {
        Self {
            records: Vec::new(),
            leaves: Vec::new(),
            is_first: log.is_none(),
        }
    }

    /// Appends a record under this id.
    pub(super) fn push(
        &mut self,
        log: &mut Option<OpenLog>,
        record: LoggedRecord,
        id: i64,
    ) -> Result<(), Failure> {
        let mut open = match log.take() {
            Some(log) => log.go_on(&record.workspace)?,
            None => OpenLog::new(),
        };
        let Entry { record, salt, leaf } = open.append(record);
        *log = Some(open);
        let index = kept_place(leaf.index);
        self.records.push(doc! {
            "_id": id,
            "workspace": record.workspace,
            "at": record.at,
            "request_id": record.request_id,
            "action": record.action,
            "caller": record.caller,
            "target": record.target,
            "decision": record.decision,
            "reason": record.reason,
            "address": record.address,
            "agent": record.agent,
            "proof": record.proof,
            "told": record.told,
            "calls": record.calls,
            "idx": index,
            "salt": bytes(&salt),
        });
        self.leaves.push(doc! {
            "_id": index,
            "hash": bytes(&leaf.hash.0),
            "mac": bytes(leaf.mac.as_bytes()),
        });
        Ok(())
    }

    /// Writes them, and where the log ends.
    pub(super) async fn write(
        self,
        transaction: &mut Transaction,
        seal: &Seal,
        workspace: &str,
        log: Option<&OpenLog>,
    ) -> Result<(), Failure> {
        let Some(log) = log.filter(|_| !self.records.is_empty()) else {
            return Ok(());
        };
        transaction.insert(AUDIT, self.records).await?;
        transaction.insert(LEAVES, self.leaves).await?;
        let row = log.row(workspace, seal);
        let mut end = doc! {
            "size": row.size,
            "edge": bytes(&row.edge),
            "mac": bytes(&row.mac),
            "end": bytes(&row.end),
        };
        match self.is_first {
            true => {
                end.insert("_id", HEAD);
                end.insert("secret", row.secret);
                transaction.insert(LOG, vec![end]).await
            }
            false => {
                let filter = doc! { "_id": HEAD };
                transaction
                    .update_there(LOG, filter, doc! { "$set": end })
                    .await
            }
        }
    }
}

fn bytes(bytes: &[u8]) -> Binary {
    Binary {
        subtype: BinarySubtype::Generic,
        bytes: bytes.to_vec(),
    }
}

/// As [`Store::log`](crate::Store::log).
pub(super) async fn page(
    transaction: &mut Transaction,
    seal: &Seal,
    workspace: &str,
    from: i64,
) -> Result<Option<Page>, Failure> {
    let open = open(transaction, seal, workspace).await?;
    let most = i64::from(PAGE);
    let leaves = Look::at(doc! { "_id": { "$gte": from } }).sorted(doc! { "_id": 1 });
    let leaves = transaction.find(LEAVES, leaves.first(most)).await?;
    let leaves = leaves.iter().map(|leaf| Ok(leaf_in(leaf)?.leaf()?));
    let leaves: Result<Vec<_>, Failure> = leaves.collect();
    let records = Look::at(doc! { "idx": { "$gte": from } }).sorted(doc! { "idx": 1, "_id": 1 });
    let records = transaction.find(AUDIT, records.first(2 * most)).await?;
    let records: Result<Vec<_>, Failure> = records.iter().map(kept_in).collect();
    let (leaves, records) = (leaves?, records?);
    match open {
        Some(log) => Ok(Some(Page::of(log.head, log.secret, leaves, records))),
        None if leaves.is_empty() && records.is_empty() => Ok(None),
        None => Err(BrokenLog::NoHead(workspace.to_owned()).into()),
    }
}

fn leaf_in(leaf: &Document) -> Result<LeafRow, Failure> {
    let fields = Fields::of(leaf, LEAVES, "a leaf");
    Ok(LeafRow {
        index: fields.needed_number("_id")?,
        hash: fields.bytes("hash")?.unwrap_or_default(),
        mac: fields.bytes("mac")?.unwrap_or_default(),
        erased: fields.bytes("erased")?,
    })
}

fn kept_in(record: &Document) -> Result<KeptRecord, Failure> {
    let fields = Fields::of(record, AUDIT, A_RECORD);
    let owned = |name: &str| Ok::<_, Failure>(fields.text(name)?.map(str::to_owned));
    let needed = |name: &str| Ok::<_, Failure>(fields.needed_text(name)?.to_owned());
    Ok(KeptRecord {
        index: fields.needed_number("idx")?,
        salt: fields.bytes("salt")?.unwrap_or_default(),
        record: LoggedRecord {
            action: needed("action")?,
            address: owned("address")?,
            agent: owned("agent")?,
            at: fields.needed_number("at")?,
            calls: fields.needed_number("calls")?,
            caller: needed("caller")?,
            decision: needed("decision")?,
            proof: owned("proof")?,
            reason: owned("reason")?,
            request_id: needed("request_id")?,
            target: owned("target")?,
            told: fields.number("told")?,
            version: Version::default(),
            workspace: needed("workspace")?,
        },
    })
}

/// When the oldest record was written.
pub(super) async fn oldest(transaction: &mut Transaction) -> Result<Option<Timestamp>, Failure> {
    let look = Look::default()
        .only(doc! { "at": 1 })
        .sorted(doc! { "at": 1 });
    match transaction.one(AUDIT, look).await? {
        Some(record) => Fields::of(&record, AUDIT, A_RECORD).millis("at"),
        None => Ok(None),
    }
}

/// Erases records of before, so many as one transaction may, the oldest first.
pub(super) async fn erase(
    transaction: &mut Transaction,
    log: Option<&OpenLog>,
    before: Timestamp,
) -> Result<(), Failure> {
    let old = Look::at(doc! { "at": { "$lt": before.millis() } }).sorted(doc! { "at": 1 });
    let old = transaction
        .find(AUDIT, old.first(ERASED_TOGETHER.into()))
        .await?;
    let kept: Result<Vec<_>, _> = old.iter().map(kept_in).collect();
    let kept = kept?;
    let places: Vec<_> = kept.iter().map(|kept| kept.index).collect();
    let leaves = Look::at(doc! { "_id": { "$in": places } });
    let leaves = transaction.find(LEAVES, leaves).await?;
    let leaves: Result<Vec<_>, _> = leaves.iter().map(leaf_in).collect();
    let leaves = leaves?;
    let mut tombstones = Vec::new();
    for kept in &kept {
        let mut leaves = leaves.iter();
        let leaf = leaves.find(|leaf| leaf.index == kept.index);
        let hash = leaf.map(|leaf| leaf.hash.as_slice());
        if let Some(tombstone) = log.and_then(|log| log.tombstone(kept, hash)) {
            tombstones.push(doc! {
                "q": { "_id": kept.index },
                "u": { "$set": { "erased": bytes(tombstone.as_bytes()) } },
            });
        }
    }
    transaction.update_each(LEAVES, tombstones).await?;
    let ids: Vec<_> = old.iter().filter_map(|record| record.get("_id")).collect();
    transaction
        .delete(AUDIT, doc! { "_id": { "$in": ids } })
        .await
}

/// The records that the filter finds, newest first.
pub(super) async fn records(
    transaction: &mut Transaction,
    filter: &RecordFilter,
) -> Result<Vec<Document>, Failure> {
    let RecordFilter {
        caller,
        target,
        action,
        since,
        before,
        request_id,
        most,
    } = filter;
    let mut at = Document::new();
    if let Some(since) = since {
        at.insert("$gte", since.millis());
    }
    let mut found = Document::new();
    if let Some(before) = before {
        let millis = before.at.millis();
        at.insert("$lte", millis);
        let earlier = doc! { "at": { "$lt": millis } };
        let lower = doc! { "idx": { "$lt": before.index } };
        found.insert("$or", vec![earlier, lower]);
    }
    if !at.is_empty() {
        found.insert("at", at);
    }
    let action = action.map(|action| action.name().to_owned());
    for (name, value) in [
        ("caller", caller),
        ("target", target),
        ("action", &action),
        ("request_id", request_id),
    ] {
        if let Some(value) = value {
            found.insert(name, value);
        }
    }
    let look = Look::at(found).sorted(doc! { "at": -1, "_id": -1 });
    transaction.find(AUDIT, look.first((*most).into())).await
}

/// A record, without the names of accounts.
pub(super) fn record_in(record: &Document) -> Result<StoredRecord, Failure> {
    let fields = Fields::of(record, AUDIT, A_RECORD);
    let told = fields.number("told")?.map(u32::try_from);
    let index = fields.number("idx")?;
    let kept = kept_in(record)?.record;
    Ok(StoredRecord {
        workspace: kept.workspace,
        at: Timestamp::from_millis(kept.at),
        request_id: kept.request_id,
        action: kept.action,
        caller: kept.caller,
        caller_name: None,
        target: kept.target,
        target_name: None,
        decision: kept.decision,
        reason: kept.reason,
        address: kept.address,
        agent: kept.agent,
        proof: kept.proof,
        told: told.and_then(Result::ok),
        calls: fields.count("calls")?,
        index: index.and_then(|index| u64::try_from(index).ok()),
    })
}
