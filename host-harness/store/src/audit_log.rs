//! The log of the audit trail, as every store keeps it: a row `audit_log` for its head, which who
//! writes in a workspace locks; a row `audit_leaf` for each leaf, which stays; and the records in
//! `audit`, until they are erased.

use crate::StoreError;
use crate::seal::{AUDIT_SECRET, Seal, Unopened};
use chat_domain::audit_log::record::LoggedRecord;
use chat_domain::audit_log::tree::Edge;
use chat_domain::audit_log::{
    Head, KeptRecord, Leaf, Mac, Salt, Secret, hash_of, kept_place, new_salt,
};
use secrecy::ExposeSecret;

/// Records that are erased in one transaction: some tens of milliseconds, in which others wait.
pub(crate) const ERASED_TOGETHER: u32 = 1000;

/// A row `audit_log`, but for its workspace.
pub(crate) struct HeadRow {
    pub(crate) size: i64,
    pub(crate) edge: Vec<u8>,
    pub(crate) mac: Vec<u8>,
    pub(crate) end: Vec<u8>,
    pub(crate) secret: String,
}

/// A row `audit_leaf`, but for its workspace.
pub(crate) struct LeafRow {
    pub(crate) index: i64,
    pub(crate) hash: Vec<u8>,
    pub(crate) mac: Vec<u8>,
    pub(crate) erased: Option<Vec<u8>>,
}

/// A row that is none of a log's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokenLog {
    /// Of this workspace, the head is none.
    #[error("the head of the audit log of {} was edited: it is none", .0.escape_debug())]
    Head(String),
    /// Of this workspace, nobody who has the secret has ended the log where it ends.
    #[error("the end of the audit log of {} was edited", .0.escape_debug())]
    End(String),
    /// Of this workspace, there are records or leaves without a head.
    #[error("the head of the audit log of {} was removed", .0.escape_debug())]
    NoHead(String),
    /// The leaf in this place is none.
    #[error("leaf {0} of the audit log was edited: it is none")]
    Leaf(i64),
    /// The secret of a log cannot be opened.
    #[error(transparent)]
    Secret(#[from] Unopened),
}

impl From<BrokenLog> for StoreError {
    fn from(broken: BrokenLog) -> Self {
        Self(Box::new(broken))
    }
}

/// A workspace's log, to be written.
pub(crate) struct OpenLog {
    pub(crate) head: Head,
    pub(crate) secret: Secret,
}

/// What is written of a record.
pub(crate) struct Entry {
    pub(crate) record: LoggedRecord,
    pub(crate) salt: Salt,
    pub(crate) leaf: Leaf,
}

impl OpenLog {
    /// Of a workspace that has no records yet.
    pub(crate) fn new() -> Self {
        Self {
            head: Head::default(),
            secret: Secret::new(&mut rand::rng()),
        }
    }

    /// What the row is, if it can be opened: to be looked at.
    pub(crate) fn of(row: &HeadRow, workspace: &str, seal: &Seal) -> Result<Self, BrokenLog> {
        let size = u64::try_from(row.size).ok();
        let edge = size.and_then(|size| Edge::from_bytes(size, &row.edge));
        let secret = seal.open(&AUDIT_SECRET.of(workspace, ""), &row.secret)?;
        let secret = Secret::from_text(secret.expose_secret());
        let macs = Mac::from_bytes(&row.mac).zip(Mac::from_bytes(&row.end));
        match (edge, macs, secret) {
            (Some(edge), Some((mac, end)), Some(secret)) => Ok(Self {
                head: Head { edge, mac, end },
                secret,
            }),
            _ => Err(BrokenLog::Head(workspace.to_owned())),
        }
    }

    /// To be written: where it was cut off, nothing is appended that would hide it.
    pub(crate) fn go_on(self, workspace: &str) -> Result<Self, BrokenLog> {
        match self.head.is_ended_by(&self.secret) {
            true => Ok(self),
            false => Err(BrokenLog::End(workspace.to_owned())),
        }
    }

    pub(crate) fn append(&mut self, record: LoggedRecord) -> Entry {
        let salt = new_salt(&mut rand::rng());
        let leaf = self.head.append(&self.secret, &salt, &record);
        Entry { record, salt, leaf }
    }

    /// The tombstone of a record that is erased, beside the leaf that it has; none where it is not
    /// as it was logged.
    pub(crate) fn tombstone(&self, kept: &KeptRecord, leaf: Option<&[u8]>) -> Option<Mac> {
        let (index, hash) = (u64::try_from(kept.index).ok()?, leaf.and_then(hash_of)?);
        kept.tombstone(&self.secret, index, hash)
    }

    /// The row of its head.
    pub(crate) fn row(&self, workspace: &str, seal: &Seal) -> HeadRow {
        let secret = self.secret.to_text();
        HeadRow {
            size: kept_place(self.head.size()),
            edge: self.head.edge.to_bytes(),
            mac: self.head.mac.as_bytes().to_vec(),
            end: self.head.end.as_bytes().to_vec(),
            secret: seal.seal(&AUDIT_SECRET.of(workspace, ""), secret.expose_secret()),
        }
    }
}

impl LeafRow {
    /// What the row is.
    pub(crate) fn leaf(&self) -> Result<Leaf, BrokenLog> {
        let erased = self.erased.as_deref().map(Mac::from_bytes);
        let (index, hash) = (u64::try_from(self.index), hash_of(&self.hash));
        match (index, hash, Mac::from_bytes(&self.mac), erased) {
            (Ok(index), Some(hash), Some(mac), None | Some(Some(_))) => Ok(Leaf {
                index,
                hash,
                mac,
                erased: erased.flatten(),
            }),
            _ => Err(BrokenLog::Leaf(self.index)),
        }
    }
}
