//! The chain of MACs, looked at link by link.

use super::{Hash, Leaf, Mac, Secret};
use std::collections::BTreeSet;

/// Leaves off the chain of which is looked for where they come from: each is tried in the places
/// around each, after each, which is some hundred thousand MACs.
const MOST_UNCHAINED: usize = 32;

/// How the links before the next leaf are.
pub(super) struct Chain {
    secret: Secret,
    /// The link of the last leaf.
    last: Mac,
    /// What it should be, where it is another: by the hash of the leaf, or of a record in its
    /// place.
    expected: Vec<Mac>,
    /// Leaves that are not chained to those before them.
    unchained: Vec<Unchained>,
}

struct Unchained {
    index: u64,
    hash: Hash,
    mac: Mac,
    /// The link of the leaf before it.
    before: Mac,
}

/// How a leaf is chained to those before it.
pub(super) enum Link {
    /// As it was logged; or to what is not there.
    Whole,
    /// As it was logged, but the leaf before it is not.
    LastWas(EditedLeaf),
    /// With this hash, not with its own.
    Logged(Hash),
    /// It is not; of one such leaf it is not looked for any more where it comes from.
    Broken { given_up: Option<u64> },
}

/// A leaf that is not as it was logged, though its record is.
pub(super) struct EditedLeaf {
    pub(super) index: u64,
    /// Not its link alone.
    pub(super) was_hash: bool,
}

impl Chain {
    pub(super) fn new(secret: &Secret) -> Self {
        Self {
            secret: secret.clone(),
            last: Mac::START,
            expected: Vec::new(),
            unchained: Vec::new(),
        }
    }

    /// The link of the last leaf.
    pub(super) fn last(&self) -> Mac {
        self.last
    }

    /// The next leaf, and the hashes of the records in its place.
    pub(super) fn leaf(&mut self, leaf: &Leaf, found: &[Hash], is_after_gap: bool) -> Link {
        let before = std::mem::replace(&mut self.last, leaf.mac);
        let expected = std::mem::take(&mut self.expected);
        let secret = self.secret.clone();
        let fits = |before: &Mac, hash| secret.link(before, leaf.index, hash) == leaf.mac;
        // To what it was chained is gone with the gap.
        if is_after_gap || fits(&before, leaf.hash) {
            return Link::Whole;
        }
        if let Some(which) = expected.iter().position(|before| fits(before, leaf.hash)) {
            return self
                .last_was_edited(which)
                .map_or(Link::Whole, Link::LastWas);
        }
        if let Some(logged) = found.iter().find(|found| fits(&before, **found)) {
            return Link::Logged(*logged);
        }
        let hashes = [leaf.hash].into_iter().chain(found.iter().copied());
        self.expected = hashes
            .map(|hash| secret.link(&before, leaf.index, hash))
            .collect();
        self.unchained.push(Unchained {
            index: leaf.index,
            hash: leaf.hash,
            mac: leaf.mac,
            before,
        });
        let is_too_many = self.unchained.len() > MOST_UNCHAINED;
        let given_up = is_too_many.then(|| self.unchained.swap_remove(MOST_UNCHAINED - 1).index);
        Link::Broken { given_up }
    }

    /// The log ends with this link.
    pub(super) fn end(&mut self, mac: Mac) -> Option<EditedLeaf> {
        let which = self.expected.iter().position(|expected| *expected == mac);
        which.and_then(|which| self.last_was_edited(which))
    }

    /// What comes after the last leaf shows which link was expected of it.
    fn last_was_edited(&mut self, which: usize) -> Option<EditedLeaf> {
        let leaf = self.unchained.pop()?;
        Some(EditedLeaf {
            index: leaf.index,
            was_hash: which > 0,
        })
    }

    /// The places of the leaves that are not chained, and where each comes from, if that is known.
    pub(super) fn whence(&self) -> Vec<(u64, Option<u64>)> {
        let around = |leaf: &Unchained| {
            let index = leaf.index;
            [index, index.saturating_add(1), index.saturating_sub(1)]
        };
        let places: BTreeSet<_> = self.unchained.iter().flat_map(around).collect();
        let links = self
            .unchained
            .iter()
            .flat_map(|leaf| [leaf.before, leaf.mac]);
        let links: Vec<_> = [Mac::START].into_iter().chain(links).collect();
        let origin = |leaf: &Unchained| {
            places.iter().find_map(|from| {
                let fits = |before: &&Mac| self.secret.link(before, *from, leaf.hash) == leaf.mac;
                links.iter().find(fits).map(|before| (*from, *before))
            })
        };
        let origins: Vec<_> = self.unchained.iter().map(origin).collect();
        let whence = self.unchained.iter().zip(&origins).map(|(leaf, origin)| {
            // To what it was chained may be gone; but another is chained to it.
            let next = origins
                .iter()
                .flatten()
                .find(|(_, before)| *before == leaf.mac);
            let by_next = next.and_then(|(next, _)| next.checked_sub(1));
            (leaf.index, origin.map(|(from, _)| from).or(by_next))
        });
        whence.collect()
    }
}
