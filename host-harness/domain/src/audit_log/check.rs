//! Whether a log is whole, and what happened to it where it is not.

use super::chain::{Chain, EditedLeaf, Link};
use super::fault::Fault;
use super::tree::Edge;
use super::{Hash, KeptRecord, Leaf, Mac, Page, Secret, kept_place};
use std::collections::BTreeSet;

/// Faults that are told of one log: nobody reads more, and the others are counted.
const MOST_TOLD: usize = 1000;

/// Records that are in no place of theirs, and of which is looked for where they come from.
const MOST_STRAYS: usize = 10_000;

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Records that were ever logged.
    pub size: u64,
    /// Those that were erased.
    pub erased: u64,
    /// The root of the tree over the leaves that are there.
    pub root: Hash,
    /// What happened, by place; none where the log is whole.
    pub faults: Vec<Fault>,
    /// Faults that were found beside these.
    pub further: u64,
}

/// What a log is compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Past {
    /// Records that there were.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Hash,
}

/// A look at a log, leaf by leaf.
pub struct Check {
    faults: Vec<Fault>,
    further: u64,
    erased: u64,
    edge: Edge,
    /// The place after the last leaf.
    next: u64,
    /// Places without a leaf before others that have one, as first and last.
    gaps: Vec<[u64; 2]>,
    /// Whether a leaf is none that the host wrote there, so that the tree is another.
    is_broken: bool,
    chain: Option<Chain>,
    /// By how its hash begins, the place of a leaf: eight bytes distinguish all that there are.
    known: Vec<(u64, u64)>,
    strays: Vec<Stray>,
    /// Places whose records are not there.
    vacant: BTreeSet<u64>,
    /// Places of leaves that are told of.
    told: BTreeSet<u64>,
    past: Option<Past>,
    /// The root of as many leaves as there were in the past.
    root_then: Option<Hash>,
}

/// A record that is not what its place has the leaf of.
struct Stray {
    index: i64,
    hash: Hash,
    request_id: String,
    /// Whether it is in the place of another, and not beside it.
    is_instead: bool,
}

/// What is said of a record that is not there.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Tombstone {
    /// Who has the secret has erased it.
    True,
    /// Somebody says so.
    False,
}

/// Where a log says that it ends.
pub(super) struct End {
    pub(super) size: u64,
    pub(super) root: Hash,
    /// Of a log with a chain.
    pub(super) mac: Option<Mac>,
    /// Who has the secret says so, or whoever has signed it.
    pub(super) is_true: bool,
}

impl Check {
    /// Of a log that is the `past` one and more.
    pub fn new(past: Option<Past>) -> Self {
        let edge = Edge::default();
        Self {
            faults: Vec::new(),
            further: 0,
            erased: 0,
            next: 0,
            gaps: Vec::new(),
            is_broken: false,
            chain: None,
            known: Vec::new(),
            strays: Vec::new(),
            vacant: BTreeSet::new(),
            told: BTreeSet::new(),
            past,
            root_then: Some(edge.root()),
            edge,
        }
    }

    /// The next part of the log.
    pub fn page(&mut self, page: &Page) {
        self.chain.get_or_insert_with(|| Chain::new(&page.secret));
        let mut records = page.records.as_slice();
        for leaf in &page.leaves {
            let place = kept_place(leaf.index);
            let (before, rest) = records.split_at(records.partition_point(|r| r.index < place));
            let (here, rest) = rest.split_at(rest.partition_point(|r| r.index == place));
            before.iter().for_each(|record| self.beside(record));
            self.leaf(&page.secret, leaf, here);
            records = rest;
        }
        records.iter().for_each(|record| self.beside(record));
    }

    /// A record whose place has no leaf.
    fn beside(&mut self, kept: &KeptRecord) {
        self.stray(kept.index, kept.leaf_hash(), kept, false);
    }

    fn leaf(&mut self, secret: &Secret, leaf: &Leaf, records: &[KeptRecord]) {
        let hashes: Vec<_> = records.iter().map(KeptRecord::leaf_hash).collect();
        let hash = self.chained(leaf, &hashes);
        let tombstone = leaf.erased.map(|erased| {
            let is_true = erased == secret.tombstone(leaf.index, hash);
            if is_true {
                Tombstone::True
            } else {
                Tombstone::False
            }
        });
        self.place(leaf.index, hash, tombstone, records.iter().zip(hashes));
    }

    /// What the hash of the leaf was when it was logged, as far as can be said: that of a record
    /// which is there, of `found`, where it fits to the chain and the leaf's own does not.
    fn chained(&mut self, leaf: &Leaf, found: &[Hash]) -> Hash {
        let is_after_gap = leaf.index != self.next;
        let Some(chain) = &mut self.chain else {
            return leaf.hash;
        };
        match chain.leaf(leaf, found, is_after_gap) {
            Link::Whole => (),
            Link::LastWas(edited) => self.edited(edited),
            Link::Logged(hash) => {
                self.tell(Fault::LeafEdited { index: leaf.index });
                return hash;
            }
            Link::Broken { given_up } => {
                given_up.into_iter().for_each(|index| self.rewritten(index));
            }
        }
        leaf.hash
    }

    fn edited(&mut self, EditedLeaf { index, was_hash }: EditedLeaf) {
        self.tell(Fault::LeafEdited { index });
        if was_hash {
            // The record was held to it.
            self.is_broken = true;
            self.told.insert(index);
        }
    }

    /// What is in the place `index`: a leaf, what is said of its record, and records with the
    /// leaf that each would have.
    pub(super) fn place<'a>(
        &mut self,
        index: u64,
        hash: Hash,
        tombstone: Option<Tombstone>,
        records: impl Iterator<Item = (&'a KeptRecord, Hash)>,
    ) {
        if index < self.next {
            return self.late(index);
        }
        if index > self.next {
            self.gaps.push([self.next, index - 1]);
            self.is_broken = true;
        }
        self.next = index.saturating_add(1);
        self.known.push((beginning(hash), index));
        self.edge.push(hash);
        if self.past.is_some_and(|past| past.size == self.edge.size()) {
            self.root_then = Some(self.edge.root());
        }
        let mut records: Vec<_> = records.collect();
        let right = records.iter().position(|(_, found)| *found == hash);
        let is_there = right.map(|right| records.remove(right)).is_some();
        match tombstone {
            _ if is_there && tombstone.is_some() => self.tell(Fault::Restored { index }),
            _ if is_there => (),
            Some(Tombstone::True) if records.is_empty() => self.erased += 1,
            Some(Tombstone::False) if records.is_empty() => {
                self.tell(Fault::FalselyErased { index });
            }
            _ => {
                if records.is_empty() {
                    self.tell(Fault::Removed { index });
                }
                if self.vacant.len() < MOST_STRAYS {
                    self.vacant.insert(index);
                }
            }
        }
        for (kept, found) in records {
            self.stray(kept_place(index), found, kept, !is_there);
        }
    }

    /// The last `places` could not be read, if that is where the place `next` is behind them.
    pub(super) fn pass_over(&mut self, places: u64, next: u64) {
        if places > 0 && self.next.checked_add(places) == Some(next) {
            self.next = next;
            self.is_broken = true;
        }
    }

    /// A leaf of an earlier place comes after others.
    fn late(&mut self, index: u64) {
        self.is_broken = true;
        let position = self.edge.size();
        let gap = self
            .gaps
            .iter()
            .position(|[first, last]| (first..=last).contains(&&index));
        let Some(gap) = gap else {
            return self.tell(Fault::Copied {
                index: kept_place(position),
                of: index,
            });
        };
        let [first, last] = self.gaps.swap_remove(gap);
        let before = (first < index).then(|| [first, index - 1]);
        let after = (index < last).then(|| [index + 1, last]);
        self.gaps.extend(before.into_iter().chain(after));
        self.tell(Fault::Moved {
            index: position,
            from: index,
        });
    }

    fn stray(&mut self, index: i64, hash: Hash, kept: &KeptRecord, is_instead: bool) {
        let stray = Stray {
            index,
            hash,
            request_id: kept.record.request_id.clone(),
            is_instead,
        };
        match self.strays.len() < MOST_STRAYS {
            true => self.strays.push(stray),
            false => self.tell(stray.of_unknown_origin()),
        }
    }

    fn rewritten(&mut self, index: u64) {
        self.is_broken = true;
        match self.faults.last_mut() {
            Some(Fault::Rewritten { last, .. }) if last.checked_add(1) == Some(index) => {
                *last = index
            }
            _ => self.tell(Fault::Rewritten {
                first: index,
                last: index,
            }),
        }
    }

    fn tell(&mut self, fault: Fault) {
        match self.faults.len() < MOST_TOLD {
            true => self.faults.push(fault),
            false => self.further += 1,
        }
    }

    /// An end after the last leaf.
    pub(super) fn end_as_it_is(&self) -> End {
        End {
            size: self.next,
            root: self.edge.root(),
            mac: None,
            is_true: true,
        }
    }

    /// What was found of the whole log, which ends with the `last` page.
    pub fn finish(self, last: &Page) -> Report {
        let head = &last.head;
        self.finish_at(&End {
            size: head.size(),
            root: head.edge.root(),
            mac: Some(head.mac),
            is_true: head.is_ended_by(&last.secret),
        })
    }

    pub(super) fn finish_at(mut self, end: &End) -> Report {
        let is_last_link = match self.chain.take().zip(end.mac) {
            Some((mut chain, mac)) => {
                let edited = chain.end(mac);
                let is_last_link = chain.last() == mac || edited.is_some();
                edited.into_iter().for_each(|edited| self.edited(edited));
                self.whence_unchained(chain);
                is_last_link
            }
            None => end.mac.is_none(),
        };
        self.whence_strays(end.size);
        for [first, last] in std::mem::take(&mut self.gaps) {
            self.tell(Fault::CutOut { first, last });
        }
        self.compare_end(end, is_last_link);
        self.compare_past(end.size);
        self.faults.sort_by_key(Fault::index);
        self.faults.dedup_by(|next, fault| match (fault, next) {
            (Fault::Rewritten { last: end, .. }, Fault::Rewritten { first, last }) => {
                let is_next = end.checked_add(1) == Some(*first);
                if is_next {
                    *end = *last;
                }
                is_next
            }
            _ => false,
        });
        Report {
            size: end.size,
            erased: self.erased,
            root: self.edge.root(),
            faults: self.faults,
            further: self.further,
        }
    }

    fn compare_end(&mut self, end: &End, is_last_link: bool) {
        let leaves = self.next;
        if leaves < end.size {
            let of = end.size;
            return self.tell(Fault::Truncated { left: leaves, of });
        }
        let is_right = end.root == self.edge.root() && is_last_link && end.is_true;
        if leaves > end.size || (!self.is_broken && !is_right) {
            let size = end.size;
            self.tell(match end.mac {
                None if leaves == size => Fault::Forked { checkpoint: size },
                _ => Fault::HeadEdited { size, leaves },
            });
        }
    }

    fn compare_past(&mut self, size: u64) {
        let Some(past) = self.past else { return };
        let checkpoint = past.size;
        if checkpoint > size.max(self.next) {
            self.tell(Fault::RolledBack { size, checkpoint });
        } else if !self.is_broken && checkpoint <= self.next && self.root_then != Some(past.root) {
            self.tell(Fault::Forked { checkpoint });
        }
    }

    /// Tells where leaves come from that are not chained.
    fn whence_unchained(&mut self, chain: Chain) {
        for (index, from) in chain.whence() {
            self.told.insert(index);
            match from {
                // What is before it has changed places.
                Some(from) if from == index => (),
                Some(from) => {
                    self.is_broken = true;
                    self.tell(Fault::Moved { index, from });
                }
                None => self.rewritten(index),
            }
        }
    }

    /// Tells where records come from that are not in their places. What is in a place that is
    /// told of already is not told of again.
    fn whence_strays(&mut self, size: u64) {
        self.known.sort_unstable();
        for stray in std::mem::take(&mut self.strays) {
            let at = self
                .known
                .partition_point(|(hash, _)| *hash < beginning(stray.hash));
            let known = self
                .known
                .get(at)
                .filter(|(hash, _)| *hash == beginning(stray.hash));
            let index = u64::try_from(stray.index).ok();
            let fault = match known {
                Some(&(_, from)) => match index {
                    Some(index) if stray.is_instead && self.vacant.contains(&from) => {
                        Fault::Moved { index, from }
                    }
                    _ => Fault::Copied {
                        index: stray.index,
                        of: from,
                    },
                },
                None if index.is_some_and(|index| self.is_told(index, size)) => continue,
                None => stray.of_unknown_origin(),
            };
            self.tell(fault);
        }
    }

    /// Whether it is told that the leaf in the place `index` is gone or another.
    fn is_told(&self, index: u64, size: u64) -> bool {
        let mut gaps = self.gaps.iter();
        self.told.contains(&index)
            || (self.next..size).contains(&index)
            || gaps.any(|[first, last]| (first..=last).contains(&&index))
    }
}

impl Stray {
    /// What has happened where no leaf is its.
    fn of_unknown_origin(self) -> Fault {
        let (index, request_id) = (self.index, self.request_id);
        match u64::try_from(index) {
            Ok(index) if self.is_instead => Fault::Edited { index, request_id },
            _ => Fault::Added { index, request_id },
        }
    }
}

/// The first eight bytes.
fn beginning(hash: Hash) -> u64 {
    let bytes = hash.0.first_chunk();
    bytes.copied().map(u64::from_be_bytes).unwrap_or_default()
}
