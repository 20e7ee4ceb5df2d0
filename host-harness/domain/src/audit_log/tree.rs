//! The Merkle tree of a log (RFC 6962, section 2.1): of it the right edge is kept, which is
//! enough to append and to know the root.

use super::{HASH_BYTES, Hash, hash_of};
use tlog_tiles::{EMPTY_HASH, node_hash};

/// Leaves of a tree at most: more than a program writes in a thousand years, and so few that no
/// place of a node overflows.
const MOST_LEAVES: u64 = 1 << 48;

/// The roots of a tree's complete subtrees, the largest first: one for each bit of its size
/// that is set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Edge {
    size: u64,
    roots: Vec<Hash>,
}

impl Edge {
    /// The one that [`Edge::to_bytes`] wrote; none where a tree of this size has no such edge, or
    /// there is no such tree.
    pub fn from_bytes(size: u64, bytes: &[u8]) -> Option<Self> {
        let hashes = bytes.chunks(HASH_BYTES).map(hash_of);
        let roots: Vec<_> = hashes.collect::<Option<_>>()?;
        let fits = u32::try_from(roots.len()) == Ok(size.count_ones());
        (fits && size < MOST_LEAVES).then_some(Self { size, roots })
    }

    /// As a store keeps it: one hash after the other.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.roots.iter().flat_map(|root| root.0).collect()
    }

    /// Leaves of the tree.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The tree has one leaf more.
    pub fn push(&mut self, leaf: Hash) {
        self.push_and_tell(leaf, |_, _, _| ());
    }

    /// As [`Edge::push`]; tells each node that is complete now by its level, its place in that
    /// and its hash.
    pub(super) fn push_and_tell(&mut self, leaf: Hash, mut tell: impl FnMut(u8, u64, Hash)) {
        let (mut level, mut node) = (0, leaf);
        tell(level, self.size, node);
        while (self.size >> level) & 1 == 1 {
            let Some(left) = self.roots.pop() else { break };
            node = node_hash(left, node);
            level += 1;
            tell(level, self.size >> level, node);
        }
        self.roots.push(node);
        self.size += 1;
    }

    /// The hash of the whole tree.
    pub fn root(&self) -> Hash {
        let roots = self.roots.iter().rev().copied();
        let root = roots.reduce(|right, left| node_hash(left, right));
        root.unwrap_or(EMPTY_HASH)
    }
}
