//! The places of a listener's connections, and who gives one up for another.

use crate::metrics::Metrics;
use crate::{delivery, files, stores};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Connections of clients, where the process may open files enough: many times the calls
/// that run and wait. Each takes some 30 KiB of memory while half a request is in it, and
/// 64 KiB more where that is long.
const MAX_CLIENTS: usize = 4096;

/// Connections of operators: scrapers and a few commands.
const MAX_OPERATORS: usize = 32;

/// How long there must have been room before it is said again that there is none.
const QUIET: Duration = Duration::from_secs(60);

/// The places of a listener's connections.
pub(crate) struct Room {
    pub(super) listener: &'static str,
    bound: usize,
    places: Arc<Semaphore>,
    idle: Mutex<Idle>,
    /// A connection can be closed that could not be before.
    fell_idle: Notify,
    /// One that was chosen to be closed answers a request first.
    spared: Notify,
    pub(super) metrics: Arc<Metrics>,
}

/// The connections that may be closed for others, by the order in which they fell idle.
#[derive(Default)]
struct Idle {
    next: u64,
    connections: BTreeMap<u64, CancellationToken>,
}

impl Idle {
    /// Says its place among them.
    fn insert(&mut self, connection: CancellationToken) -> u64 {
        let age = self.next;
        self.next += 1;
        self.connections.insert(age, connection);
        age
    }
}

impl Room {
    /// As much as the process has, which is given as many files as it may have.
    pub(crate) fn for_clients(metrics: Arc<Metrics>) -> Self {
        let files = files::raised(MAX_CLIENTS + reserved_files(stores::MAX_OPEN));
        Self::new("clients", places(files), metrics)
    }

    pub(crate) fn for_operators(metrics: Arc<Metrics>) -> Self {
        Self::new("operators", MAX_OPERATORS, metrics)
    }

    fn new(listener: &'static str, bound: usize, metrics: Arc<Metrics>) -> Self {
        metrics.connected(listener, 0);
        Self {
            listener,
            bound,
            places: Arc::new(Semaphore::new(bound)),
            idle: Mutex::default(),
            fell_idle: Notify::new(),
            spared: Notify::new(),
            metrics,
        }
    }

    /// A place that is free; where none is, the oldest idle connection gives its own up.
    pub(super) async fn place(&self, crowding: &mut Crowding) -> Option<OwnedSemaphorePermit> {
        loop {
            if let Ok(place) = self.places.clone().try_acquire_owned() {
                return Some(place);
            }
            let (fell_idle, spared) = (self.fell_idle.notified(), self.spared.notified());
            let choose_again = match self.close_oldest_idle(crowding) {
                true => spared,
                false => fell_idle,
            };
            tokio::select! {
                place = self.places.clone().acquire_owned() => return place.ok(),
                () = choose_again => (),
            }
        }
    }

    /// Whether there was one.
    pub(super) fn close_oldest_idle(&self, crowding: &mut Crowding) -> bool {
        if crowding.is_news(Instant::now()) {
            tracing::warn!(
                listener = self.listener,
                connections = self.bound - self.places.available_permits(),
                "no more connections can be open: for each further one, the one that was idle \
                 for longest is closed. A reverse proxy in front, or a higher limit of open \
                 files (ulimit -n), makes room"
            );
        }
        let Some((_, connection)) = self.idle().connections.pop_first() else {
            return false;
        };
        connection.cancel();
        self.metrics.closed_for_room(self.listener);
        true
    }

    /// A connection is idle from now on; says its place among those that are.
    pub(super) fn fell_idle(&self, connection: CancellationToken) -> u64 {
        let age = self.idle().insert(connection);
        self.fell_idle.notify_waiters();
        age
    }

    /// The one of that place answers a request.
    pub(super) fn is_busy(&self, age: u64) {
        let was_chosen = self.idle().connections.remove(&age).is_none();
        if was_chosen {
            self.spared.notify_waiters();
        }
    }

    /// The one of that place is closed.
    pub(super) fn is_gone(&self, age: u64) {
        self.idle().connections.remove(&age);
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Files that are not for clients, where `stores` are open: those of the stores, connections to
/// mail servers, those of operators, and what is read and listened to.
fn reserved_files(stores: usize) -> usize {
    stores * stores::files_each() + delivery::LIMIT + 2 * MAX_OPERATORS
}

/// How many of so many files are for clients: where there are few, a quarter, beside which the
/// stores' are left.
fn places(files: usize) -> usize {
    let left = files.saturating_sub(reserved_files(stores::max_open(files)));
    left.max(files / 4).clamp(1, MAX_CLIENTS)
}

/// When there was no room last.
#[derive(Default)]
pub(super) struct Crowding(Option<Instant>);

impl Crowding {
    fn is_news(&mut self, now: Instant) -> bool {
        let last = self.0.replace(now);
        last.is_none_or(|last| now - last >= QUIET)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_clients_beside_all_stores_and_never_none() {
        for (files, clients) in [
            (0, 1),
            (256, 64),
            (1024, 256),
            (1_000_000, MAX_CLIENTS),
            (usize::MAX, MAX_CLIENTS),
        ] {
            assert_eq!(places(files), clients, "{files}");
        }
        for files in [1024, 4096, 1_000_000] {
            let of_stores = stores::max_open(files) * stores::files_each();
            assert!(places(files) + of_stores <= files, "{files}");
        }
    }

    #[test]
    fn that_there_is_no_room_is_said_again_only_after_there_was() {
        let (mut crowding, mut now) = (Crowding::default(), Instant::now());
        assert!(crowding.is_news(now));
        for _ in 0..10 {
            now += QUIET / 2;
            assert!(!crowding.is_news(now));
        }
        assert!(crowding.is_news(now + QUIET));
    }
}
