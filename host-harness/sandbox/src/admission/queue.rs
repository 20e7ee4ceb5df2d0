//! Whose turn it is to be admitted.

use crate::digest::Digest;
use std::collections::HashSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Admissions at a time: one that takes as long as it may keeps no other waiting, and the
/// calls keep what processors there are but two.
const MAX_ADMISSIONS: usize = 2;

/// Admissions that are under way, at most one of a digest: the next finds what it left.
#[derive(Default)]
pub(super) struct Queue {
    under_way: Mutex<HashSet<Digest>>,
    ended: Condvar,
}

/// The turn of one plugin, until it is dropped.
pub(super) struct Turn<'a> {
    queue: &'a Queue,
    digest: Digest,
}

impl Queue {
    /// Waits until it is this plugin's turn.
    pub(super) fn turn(&self, digest: Digest) -> Turn<'_> {
        let must_wait = |under_way: &mut HashSet<Digest>| {
            under_way.len() >= MAX_ADMISSIONS || under_way.contains(&digest)
        };
        let waited = self.ended.wait_while(self.lock(), must_wait);
        let mut under_way = waited.unwrap_or_else(PoisonError::into_inner);
        under_way.insert(digest);
        Turn {
            queue: self,
            digest,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<Digest>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.queue.lock().remove(&self.digest);
        self.queue.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::thread;

    #[test]
    fn two_plugins_are_admitted_at_a_time_and_each_once() {
        let [a, b, c] = ["a", "b", "c"].map(|text| Digest::of(text.as_bytes()));
        let queue = Queue::default();
        let (sender, order) = channel();
        let first = queue.turn(a);
        thread::scope(|scope| {
            let waits = |digest, name| {
                let (queue, sender) = (&queue, sender.clone());
                scope.spawn(move || {
                    let _turn = queue.turn(digest);
                    sender.send(name).unwrap();
                });
            };
            waits(a, "a again");
            waits(b, "b");
            assert_eq!(order.recv().unwrap(), "b");
            let second = queue.turn(c);
            assert!(order.try_recv().is_err());
            drop(first);
            assert_eq!(order.recv().unwrap(), "a again");
            drop(second);
        });
    }
}
