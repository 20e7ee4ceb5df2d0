//! What can happen to a log.

use super::kept_place;
use std::fmt;

/// What happened to a log. A record is named by its place, counted from zero.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each says by its text what its fields are")]
pub enum Fault {
    /// A record is not as it was logged.
    Edited { index: u64, request_id: String },
    /// A record is gone and no tombstone says why.
    Removed { index: u64 },
    /// A record is gone and its tombstone is nobody's who has the secret.
    FalselyErased { index: u64 },
    /// A record is there that has a tombstone.
    Restored { index: u64 },
    /// In the place of a record is another.
    Moved { index: u64, from: u64 },
    /// A record is there once more.
    Copied { index: i64, of: u64 },
    /// A record is beside the log.
    Added { index: i64, request_id: String },
    /// Records are gone with their leaves.
    CutOut { first: u64, last: u64 },
    /// A leaf is not as it was logged; its record is.
    LeafEdited { index: u64 },
    /// The first record is not the one that was logged, nor is its leaf; of those up to the last,
    /// to which the first should lead, nothing can be said.
    Rewritten { first: u64, last: u64 },
    /// The last records are gone with their leaves.
    Truncated { left: u64, of: u64 },
    /// The head of the log is not that of its leaves.
    HeadEdited { size: u64, leaves: u64 },
    /// The log ends before a checkpoint.
    RolledBack { size: u64, checkpoint: u64 },
    /// The log begins otherwise than that of a checkpoint.
    Forked { checkpoint: u64 },
}

impl Fault {
    /// The name of what happened.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Edited { .. } => "edited",
            Self::Removed { .. } => "removed",
            Self::FalselyErased { .. } => "falsely-erased",
            Self::Restored { .. } => "restored",
            Self::Moved { .. } => "moved",
            Self::Copied { .. } => "copied",
            Self::Added { .. } => "added",
            Self::CutOut { .. } => "cut-out",
            Self::LeafEdited { .. } => "leaf-edited",
            Self::Rewritten { .. } => "rewritten",
            Self::Truncated { .. } => "truncated",
            Self::HeadEdited { .. } => "head-edited",
            Self::RolledBack { .. } => "rolled-back",
            Self::Forked { .. } => "forked",
        }
    }

    /// The place that it is about.
    pub fn index(&self) -> i64 {
        let index = match self {
            Self::Copied { index, .. } | Self::Added { index, .. } => return *index,
            Self::Edited { index, .. }
            | Self::Removed { index }
            | Self::FalselyErased { index }
            | Self::Restored { index }
            | Self::Moved { index, .. }
            | Self::LeafEdited { index } => *index,
            Self::CutOut { first, .. } | Self::Rewritten { first, .. } => *first,
            Self::Truncated { left, .. } => *left,
            Self::HeadEdited { size, .. } | Self::RolledBack { size, .. } => *size,
            Self::Forked { checkpoint } => *checkpoint,
        };
        kept_place(index)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Edited { index, request_id } => {
                let request_id = request_id.escape_debug();
                write!(f, "record {index} (request {request_id}) was edited")
            }
            Self::Removed { index } => write!(f, "record {index} was removed"),
            Self::FalselyErased { index } => write!(
                f,
                "record {index} was removed by somebody who has not the log's secret: its tombstone is false"
            ),
            Self::Restored { index } => {
                write!(f, "record {index} is there, and its tombstone, too")
            }
            Self::Moved { index, from } => write!(
                f,
                "records are in another order: in the place of record {index} is record {from}"
            ),
            Self::Copied { index, of } => {
                write!(f, "record {of} was duplicated: a copy is in place {index}")
            }
            Self::Added { index, request_id } => {
                let request_id = request_id.escape_debug();
                write!(
                    f,
                    "a record (request {request_id}) was added past the log, in place {index}"
                )
            }
            Self::CutOut { first, last } if first == last => {
                write!(f, "record {first} was removed, and its leaf with it")
            }
            Self::CutOut { first, last } => write!(
                f,
                "the records {first} to {last} were removed, and their leaves with them"
            ),
            Self::LeafEdited { index } => write!(
                f,
                "the leaf of record {index} was edited; the record is as it was logged"
            ),
            Self::Rewritten { first, last } => {
                write!(f, "record {first} ")?;
                if first != last {
                    write!(f, "(and perhaps more up to record {last}) ")?;
                }
                write!(
                    f,
                    "is another than was logged, and its leaf is by somebody who has not the log's secret"
                )
            }
            Self::Truncated { left, of } => write!(
                f,
                "the log was truncated: of {of} records the last {} are gone, with their leaves",
                of.saturating_sub(*left)
            ),
            Self::HeadEdited { size, leaves } if size == leaves => write!(
                f,
                "the end of the log was edited: nobody who has the log's secret has ended it after \
                 {size} records"
            ),
            Self::HeadEdited { size, leaves } => write!(
                f,
                "the head of the log was edited: it is not that of the leaves; it is after {size} records, \
                 and there are {leaves} leaves"
            ),
            Self::RolledBack { size, checkpoint } => write!(
                f,
                "the log was rolled back: it has {size} records, and had {checkpoint} at the checkpoint"
            ),
            Self::Forked { checkpoint } => write!(
                f,
                "the log was forked: its first {checkpoint} records are not those of the checkpoint"
            ),
        }
    }
}
