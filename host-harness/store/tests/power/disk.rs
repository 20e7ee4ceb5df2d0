//! A disk that loses its power: what it was told, and what it then holds.
//!
//! What was written and not synced has arrived or not, sector by sector and in any order; a file
//! that has grown may hold anything where nothing has arrived. A name that was made or removed
//! counts for sure once the folder was synced, which SQLite does with the first sync of a journal
//! or a log that it has made, and where it says so as it removes one.

use rand::RngExt;
use rand::rngs::SmallRng;
use std::collections::BTreeMap;

/// What a disk writes as a whole: the smallest that there is.
const SECTOR: usize = 512;

/// A file's name in its folder.
pub(crate) type Name = String;

/// What a disk was told; or what somebody was told meanwhile.
#[derive(Clone, Debug)]
pub(crate) enum Deed {
    /// The file was opened, and made where there was none.
    Open(Name),
    Write {
        file: Name,
        offset: usize,
        bytes: Vec<u8>,
    },
    Truncate {
        file: Name,
        size: usize,
    },
    Sync(Name),
    Remove {
        file: Name,
        /// The folder was synced, too.
        durable: bool,
    },
    /// The order with this number was answered.
    Answered(usize),
}

/// Which syncs count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Synchronous {
    /// All.
    Full,
    /// As with `PRAGMA synchronous = NORMAL`: not those of a log that only commit.
    Normal,
    /// As with `PRAGMA synchronous = OFF`: none.
    Off,
}

impl Synchronous {
    /// The deeds, without the syncs that do not count.
    pub(crate) fn of(self, deeds: &[Deed]) -> Vec<Deed> {
        let is_of_checkpoint = |later: &[Deed]| {
            let mut later = later.iter();
            let next = later.find(|deed| !matches!(deed, Deed::Answered(_)));
            matches!(next, Some(Deed::Write { file, .. }) if !is_log(file))
        };
        let counts = |place: usize, deed: &Deed| match deed {
            Deed::Sync(file) => match self {
                Self::Full => true,
                Self::Normal => !is_log(file) || is_of_checkpoint(&deeds[place + 1..]),
                Self::Off => false,
            },
            _ => true,
        };
        let deeds = deeds.iter().enumerate();
        let kept = deeds.filter(|(place, deed)| counts(*place, deed));
        kept.map(|(_, deed)| deed.clone()).collect()
    }
}

fn is_log(file: &str) -> bool {
    file.ends_with("-wal")
}

fn is_journal(file: &str) -> bool {
    file.ends_with("-journal")
}

/// What has arrived of what was not synced.
pub(crate) enum Arrived<'a> {
    Nothing,
    Some(&'a mut SmallRng),
}

/// A disk while it has power.
#[derive(Default)]
pub(crate) struct Disk {
    inodes: Vec<Inode>,
    /// Names as programs see them.
    seen: BTreeMap<Name, usize>,
    /// Names as they are on the disk.
    kept: BTreeMap<Name, usize>,
}

#[derive(Default)]
struct Inode {
    synced: Vec<u8>,
    unsynced: Vec<Deed>,
}

impl Disk {
    pub(crate) fn take(&mut self, deed: &Deed) {
        match deed {
            Deed::Open(file) => {
                if !self.seen.contains_key(file) {
                    self.seen.insert(file.clone(), self.inodes.len());
                    self.inodes.push(Inode::default());
                }
            }
            Deed::Write { file, .. } | Deed::Truncate { file, .. } => {
                self.inode(file).unsynced.push(deed.clone());
            }
            Deed::Sync(file) => {
                let inode = self.inode(file);
                for deed in std::mem::take(&mut inode.unsynced) {
                    put(&mut inode.synced, &deed, 0);
                }
                if is_log(file) || is_journal(file) {
                    self.sync_folder();
                }
            }
            Deed::Remove { file, durable } => {
                self.seen.remove(file);
                if *durable {
                    self.sync_folder();
                }
            }
            Deed::Answered(_) => {}
        }
    }

    fn inode(&mut self, file: &str) -> &mut Inode {
        &mut self.inodes[self.seen[file]]
    }

    fn sync_folder(&mut self) {
        self.kept.clone_from(&self.seen);
    }

    /// The files that are there when the power is back.
    pub(crate) fn after_a_cut(&self, mut arrived: Arrived<'_>) -> BTreeMap<Name, Vec<u8>> {
        let mut names: Vec<_> = self.kept.keys().chain(self.seen.keys()).collect();
        names.sort();
        names.dedup();
        let mut files = BTreeMap::new();
        for name in names {
            let is_new = match &mut arrived {
                Arrived::Some(chance) => chance.random(),
                Arrived::Nothing => false,
            };
            let folder = if is_new { &self.seen } else { &self.kept };
            if let Some(inode) = folder.get(name) {
                let content = self.inodes[*inode].after_a_cut(&mut arrived);
                files.insert(name.clone(), content);
            }
        }
        files
    }
}

impl Inode {
    fn after_a_cut(&self, arrived: &mut Arrived<'_>) -> Vec<u8> {
        let mut content = self.synced.clone();
        let Arrived::Some(chance) = arrived else {
            return content;
        };
        // Few, half or nearly all of the sectors; what is between them is zero, or anything.
        let arrives = [0.1, 0.5, 0.9, 0.99][chance.random_range(0..4)];
        let between = [0, 0xaa, chance.random()][chance.random_range(0..3)];
        for deed in &self.unsynced {
            for part in parts(deed) {
                if chance.random_bool(arrives) {
                    put(&mut content, &part, between);
                }
            }
        }
        content
    }
}

/// What a disk does one by one to do `deed`: sector by sector.
fn parts(deed: &Deed) -> Vec<Deed> {
    let Deed::Write {
        file,
        offset,
        bytes,
    } = deed
    else {
        return vec![deed.clone()];
    };
    let mut parts = Vec::new();
    let (mut offset, mut rest) = (*offset, bytes.as_slice());
    while !rest.is_empty() {
        let size = (SECTOR - offset % SECTOR).min(rest.len());
        let (bytes, after) = rest.split_at(size);
        parts.push(Deed::Write {
            file: file.clone(),
            offset,
            bytes: bytes.to_vec(),
        });
        (offset, rest) = (offset + size, after);
    }
    parts
}

/// Does it to the content; what it leaves open is filled.
fn put(content: &mut Vec<u8>, deed: &Deed, between: u8) {
    match deed {
        Deed::Write { offset, bytes, .. } => {
            let end = offset + bytes.len();
            if content.len() < end {
                content.resize(end, between);
            }
            content[*offset..end].copy_from_slice(bytes);
        }
        Deed::Truncate { size, .. } => content.resize(*size, between),
        _ => {}
    }
}
