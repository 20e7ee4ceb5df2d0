//! The power is cut at every sync of a store's file, and between: what was answered is there
//! afterwards, and everything else wholly or not at all.
//!
//! A process that is killed shows nothing of this, since the system keeps what it was told. Here
//! the disk is simulated: SQLite's writes and syncs are noted as they are made ([`vfs`]), and
//! from the notes follows what a disk may hold after a cut at any of them ([`disk`]).
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test ends where what it needs is not there"
)]

mod disk;
mod orders;
mod stage;
mod vfs;

use disk::{Arrived, Deed, Disk, Synchronous};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use stage::{Given, Loss, Run, STORE};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::task::JoinSet;

/// Of the moments that are no sync's, one in so many is tried.
const OTHER_MOMENTS: u32 = 16;

/// Disks that are looked at at the same time.
const AT_ONCE: usize = 4;

/// What came of cutting the power.
#[derive(Default)]
struct Cuts {
    /// Moments at which it was cut.
    moments: usize,
    /// Disks that could be the outcome.
    disks: usize,
    /// Of these, what does not hold what it must, and why.
    losses: Vec<Loss>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_outlives_a_power_cut_and_nothing_is_done_by_half() {
    let mut run = Run::new().await;
    orders::give_all(&mut run).await;
    let given = Arc::new(run.end());
    let syncs = |file: &str| {
        let deeds = given.deeds.iter();
        let syncs = deeds.filter(|deed| matches!(deed, Deed::Sync(name) if name == file));
        syncs.count()
    };
    let (merges, commits) = (syncs(STORE), syncs(&format!("{STORE}-wal")));
    println!(
        "{} orders, {commits} syncs of the log, {merges} of the file",
        given.orders
    );
    assert!(
        merges >= 4,
        "the log is merged into the file while orders are given"
    );

    let seed = rand::random();
    let full = cut(&given, Synchronous::Full, seed, 1).await;
    println!("{} moments, {} disks", full.moments, full.disks);
    assert!(full.losses.is_empty(), "seed {seed}: {:#?}", full.losses);
    for level in [Synchronous::Normal, Synchronous::Off] {
        let control = cut(&given, level, seed, 8).await;
        let losses = control.losses.iter();
        let lost = losses
            .filter(|loss| matches!(loss, Loss::Answered(_)))
            .count();
        println!(
            "{level:?}: {lost} of {} disks have lost what was answered",
            control.disks
        );
        assert!(lost > 0, "{level:?} loses nothing: nothing is tested");
    }
}

/// Cuts the power before every sync and at some other moments; of these moments one in `share`.
async fn cut(given: &Arc<Given>, level: Synchronous, seed: u64, share: u32) -> Cuts {
    let mut chance = SmallRng::seed_from_u64(seed);
    let mut cuts = Cuts::default();
    let mut disk = Disk::default();
    let mut answered = BTreeSet::new();
    let mut last = None;
    let mut looks = JoinSet::new();
    for deed in level.of(&given.deeds) {
        let rarity = match deed {
            Deed::Sync(_) => share,
            _ => share * OTHER_MOMENTS,
        };
        if chance.random_ratio(1, rarity) {
            cuts.moments += 1;
            let nothing = disk.after_a_cut(Arrived::Nothing);
            let some = disk.after_a_cut(Arrived::Some(&mut chance));
            for files in [nothing, some] {
                let outcome = (files, answered.clone());
                if last.as_ref() == Some(&outcome) {
                    continue;
                }
                last = Some(outcome.clone());
                cuts.disks += 1;
                if looks.len() == AT_ONCE {
                    cuts.losses.extend(looks.join_next().await.and_then(ended));
                }
                let given = given.clone();
                looks.spawn(async move {
                    let (files, answered) = outcome;
                    given.is_held(&files, &answered).await.err()
                });
            }
        }
        if let Deed::Answered(order) = &deed {
            answered.insert(*order);
        }
        disk.take(&deed);
    }
    cuts.losses
        .extend(looks.join_all().await.into_iter().flatten());
    cuts
}

fn ended(look: Result<Option<Loss>, tokio::task::JoinError>) -> Option<Loss> {
    look.unwrap()
}
