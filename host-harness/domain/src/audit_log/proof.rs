//! That a record is in a log, and that a log is the beginning of another, for those to whom the
//! other records are not shown (RFC 6962, sections 2.1.1 and 2.1.2).

use super::tree::Edge;
use super::{HASH_BYTES, Hash};
use std::cell::RefCell;
use std::collections::BTreeMap;
use tlog_tiles::{Error, HashReader, prove_record, prove_tree, stored_hash_index};

/// Passes a log's leaves by, and keeps of the tree's nodes what proofs are made of.
pub struct Prover {
    edge: Edge,
    size: u64,
    /// Nodes, by their places in the order of `stored_hash_index`.
    nodes: BTreeMap<u64, Option<[u8; HASH_BYTES]>>,
}

impl Prover {
    /// Of a tree of `size` leaves.
    pub fn new(size: u64) -> Self {
        Self {
            edge: Edge::default(),
            size,
            nodes: BTreeMap::new(),
        }
    }

    /// It is to prove that the leaf in the place `index` is in the tree. To be said before the
    /// leaves; false where there is no such place.
    pub fn ask_for_leaf(&mut self, index: u64) -> bool {
        let size = self.size;
        index < size && self.ask(|nodes| prove_record(size, index, nodes))
    }

    /// It is to prove that the tree of the first `beginning` leaves is its beginning. To be said
    /// before the leaves; false where it was never that large, or that small.
    pub fn ask_for_beginning(&mut self, beginning: u64) -> bool {
        let size = self.size;
        (1..=size).contains(&beginning) && self.ask(|nodes| prove_tree(size, beginning, nodes))
    }

    fn ask(&mut self, prove: impl FnOnce(&Needed) -> Result<Vec<Hash>, Error>) -> bool {
        let needed = Needed::default();
        // It fails for want of what is noted by that.
        let _ = prove(&needed);
        self.nodes
            .extend(needed.0.into_inner().into_iter().map(|node| (node, None)));
        true
    }

    /// The next leaf; one beyond the tree is passed over.
    pub fn leaf(&mut self, hash: Hash) {
        if self.edge.size() >= self.size {
            return;
        }
        let nodes = &mut self.nodes;
        self.edge.push_and_tell(hash, |level, place, hash| {
            if let Some(node) = nodes.get_mut(&stored_hash_index(level, place)) {
                *node = Some(hash.0);
            }
        });
    }

    /// The tree's root, once all leaves have passed.
    pub fn root(&self) -> Hash {
        self.edge.root()
    }

    /// The path from a leaf that was asked for to the root, from below; none where it was not, or
    /// leaves are missing.
    pub fn path(&self, index: u64) -> Option<Vec<Hash>> {
        prove_record(self.size, index, self).ok()
    }

    /// What leads from the root of the first `size` leaves to that of all; none as in
    /// [`Prover::path`].
    pub fn beginning(&self, size: u64) -> Option<Vec<Hash>> {
        prove_tree(self.size, size, self).ok()
    }
}

impl HashReader for Prover {
    fn read_hashes(&self, places: &[u64]) -> Result<Vec<Hash>, Error> {
        let node = |place| self.nodes.get(place).copied().flatten().map(Hash);
        let nodes: Option<_> = places.iter().map(node).collect();
        nodes.ok_or(Error::IndexesNotInTree)
    }
}

/// Notes which nodes a proof takes.
#[derive(Default)]
struct Needed(RefCell<Vec<u64>>);

impl HashReader for Needed {
    fn read_hashes(&self, places: &[u64]) -> Result<Vec<Hash>, Error> {
        self.0.borrow_mut().extend(places);
        Err(Error::IndexesNotInTree)
    }
}
