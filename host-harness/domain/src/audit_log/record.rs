//! What of a record is hashed: its canonical form, version 1.

use super::Hash;
use crate::audit::AuditRecord;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What RFC 6962, section 2.1, puts before the input of a leaf.
const LEAF: [u8; 1] = [0];

/// A record as the log has it. Its canonical form is JSON by RFC 8785: the members, which are
/// these, ordered by name; no blanks; whole numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(missing_docs, reason = "the fields are those of `AuditRecord`")]
pub struct LoggedRecord {
    pub action: String,
    pub address: Option<String>,
    pub agent: Option<String>,
    /// Milliseconds of Unix time.
    pub at: i64,
    pub calls: i64,
    pub caller: String,
    pub decision: String,
    pub proof: Option<String>,
    pub reason: Option<String>,
    pub request_id: String,
    pub target: Option<String>,
    pub told: Option<i64>,
    /// Of this form.
    pub version: Version,
    pub workspace: String,
}

/// The version of the canonical form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum Version {
    /// The only one so far.
    #[default]
    One,
}

impl From<Version> for u8 {
    fn from(version: Version) -> Self {
        match version {
            Version::One => 1,
        }
    }
}

impl TryFrom<u8> for Version {
    type Error = String;

    fn try_from(version: u8) -> Result<Self, String> {
        match version {
            1 => Ok(Self::One),
            _ => Err(format!("records of version {version} are unknown")),
        }
    }
}

/// A NUL becomes U+FFFD: not every store keeps one.
impl From<&AuditRecord> for LoggedRecord {
    fn from(record: &AuditRecord) -> Self {
        let source = record.source.as_ref();
        let kept = |text: &String| text.replace('\0', "\u{fffd}");
        Self {
            action: record.action.name().to_owned(),
            address: source.map(|source| source.address.to_string()),
            agent: source.and_then(|source| source.agent.as_ref()).map(kept),
            at: record.at.millis(),
            calls: record.calls.into(),
            caller: kept(&record.caller),
            decision: record.decision.name().to_owned(),
            proof: record.proof.map(str::to_owned),
            reason: record.reason.as_ref().map(kept),
            request_id: kept(&record.request_id),
            target: record.target.as_ref().map(kept),
            told: record.told.map(i64::from),
            version: Version::One,
            workspace: kept(&record.workspace),
        }
    }
}

impl LoggedRecord {
    /// The text that is hashed.
    pub fn canonical(&self) -> String {
        #[expect(
            clippy::expect_used,
            reason = "no map whose keys are no text, no number that is none"
        )]
        serde_json::to_string(self).expect("JSON")
    }

    /// The leaf of this record: the hash (RFC 6962, section 2.1) of an input which is the salt
    /// and the canonical form.
    pub fn leaf_hash(&self, salt: &[u8]) -> Hash {
        let mut hash = Sha256::new();
        hash.update(LEAF);
        hash.update(salt);
        hash.update(self.canonical());
        Hash(hash.finalize().into())
    }
}
