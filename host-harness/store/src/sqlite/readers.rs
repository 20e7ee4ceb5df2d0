//! Connections that read.
//!
//! A glance is taken on the caller's own thread: what it costs is a few microseconds of
//! look-ups in pages that are in memory, less than to wake another thread. It never
//! waits for a lock; what would have to is read again on a thread that may wait. Half of
//! the threads that serve can be in a glance at one store, so that a disk that hangs
//! leaves the others to other stores.

use super::place::Place;
use super::{BUSY_TIMEOUT, SqlResult, blocking, is_busy};
use crate::lists::Lists;
use crate::{Result, StoreError};
use rusqlite::Connection;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::available_parallelism;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::yield_now;

/// Lists that are made at a time.
const LISTS: usize = 3;

/// Connections that read and wait at the same time: one is left to whoever lists nothing.
const PATIENT: usize = LISTS + 1;

/// How often a reader lets others go first while all glances are taken, before it goes
/// to a thread that may wait: a glance takes microseconds, unless the disk hangs.
const YIELDS: usize = 100;

/// Files that a connection holds: the database and its log.
const FILES_OF_A_CONNECTION: usize = 2;

/// Files that an open store holds, at most: those of its readers and its writer, and the shared
/// memory, which all of them have together.
pub fn files_each() -> usize {
    let connections = most_glances() + PATIENT + 1;
    connections * FILES_OF_A_CONNECTION + 1
}

fn most_glances() -> usize {
    let threads = available_parallelism().map_or(1, usize::from);
    (threads / 2).max(1)
}

pub(super) struct Readers {
    place: Place,
    glances: Mutex<Glances>,
    patient: Arc<Semaphore>,
    lists: Lists,
}

struct Glances {
    idle: Vec<Connection>,
    /// Connections that may be opened yet.
    unopened: usize,
}

impl Readers {
    /// Opens the first: another process may be switching to the write-ahead log.
    pub(super) fn of(place: Place) -> SqlResult<Self> {
        let first = place.connect(BUSY_TIMEOUT)?;
        first.busy_timeout(Duration::ZERO)?;
        Ok(Self {
            place,
            glances: Mutex::new(Glances {
                idle: vec![first],
                unopened: most_glances() - 1,
            }),
            patient: Arc::new(Semaphore::new(PATIENT)),
            lists: Lists::new(LISTS),
        })
    }

    /// What `query` finds: by a glance where that does.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        query: impl Fn(&Connection) -> SqlResult<T> + Send + 'static,
    ) -> Result<T> {
        for _ in 0..YIELDS {
            match self.glance(&query) {
                None => yield_now().await,
                Some(Err(error)) if is_busy(&error) => break,
                Some(found) => return Ok(found?),
            }
        }
        self.wait_and_read(query).await
    }

    /// What `query` finds now, or that another program keeps the store busy; none where
    /// as many are looking as may.
    fn glance<T>(&self, query: impl Fn(&Connection) -> SqlResult<T>) -> Option<SqlResult<T>> {
        let connection = match self.take()? {
            Ok(connection) => connection,
            Err(error) => return Some(Err(error)),
        };
        let found = snapshot(&connection, query);
        self.glances().idle.push(connection);
        Some(found)
    }

    fn take(&self) -> Option<SqlResult<Connection>> {
        let mut glances = self.glances();
        if let Some(connection) = glances.idle.pop() {
            return Some(Ok(connection));
        }
        glances.unopened = glances.unopened.checked_sub(1)?;
        drop(glances);
        if self.place.is_lost() {
            // Another file beside this one's log would be spoilt: who waits is told.
            self.glances().unopened += 1;
            return None;
        }
        let opened = self.place.connect(Duration::ZERO);
        if opened.is_err() {
            self.glances().unopened += 1;
        }
        Some(opened)
    }

    /// What `query` lists, in one workspace or in all, when it has its turn.
    ///
    /// # Errors
    ///
    /// [`Unavailable::Crowded`](crate::Unavailable::Crowded) where it has none in time.
    pub(super) async fn list<T: Send + 'static>(
        &self,
        workspace: Option<&str>,
        query: impl FnOnce(&Connection) -> SqlResult<T> + Send + 'static,
    ) -> Result<T> {
        let turn = self.lists.turn(workspace).await?;
        self.wait_and_read(move |db| {
            let _turn = turn;
            query(db)
        })
        .await
    }

    /// What `query` finds, on a thread that may wait for the disk and other programs.
    pub(super) async fn wait_and_read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> SqlResult<T> + Send + 'static,
    ) -> Result<T> {
        let turn = self.patient.clone().acquire_owned().await;
        let turn = turn.map_err(|closed| StoreError(closed.into()))?;
        let place = self.place.clone();
        blocking(move || {
            let _turn = turn;
            place.require()?;
            let connection = place.connect(BUSY_TIMEOUT)?;
            Ok(snapshot(&connection, query)?)
        })
        .await
    }

    fn glances(&self) -> std::sync::MutexGuard<'_, Glances> {
        self.glances.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What `query` finds as of one moment.
fn snapshot<T>(db: &Connection, query: impl FnOnce(&Connection) -> SqlResult<T>) -> SqlResult<T> {
    let begun = db.prepare_cached("BEGIN")?.execute([]);
    let found = begun.and_then(|_| query(db));
    if !db.is_autocommit() {
        db.prepare_cached("COMMIT")?.execute([])?;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::Access;
    use super::*;

    fn count(db: &Connection) -> SqlResult<u32> {
        db.query_row("SELECT count(*) FROM note", [], |row| row.get(0))
    }

    /// Without a write-ahead log, which readers would not wait for.
    fn notes() -> (tempfile::TempDir, Connection, Readers) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes");
        let other = Connection::open(&path).unwrap();
        other
            .execute_batch("CREATE TABLE note (text TEXT)")
            .unwrap();
        let readers = Readers::of(Place::of(&path, Access::Write).unwrap()).unwrap();
        (folder, other, readers)
    }

    #[tokio::test]
    async fn a_reader_waits_for_another_program_that_keeps_it_out() {
        let (_folder, other, readers) = notes();
        other.execute_batch("BEGIN EXCLUSIVE").unwrap();
        let release = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            other
                .execute_batch("INSERT INTO note VALUES ('one'); COMMIT")
                .unwrap();
        };
        let (found, ()) = tokio::join!(readers.read(count), release);
        assert_eq!(found.unwrap(), 1);
        assert_eq!(readers.read(count).await.unwrap(), 1, "a glance does again");
    }

    /// They go on also where nobody waits for them any more.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn lists_that_take_long_leave_a_connection_to_others() {
        let (_folder, _other, readers) = notes();
        let (slow, long) = (std::sync::mpsc::channel::<()>(), Arc::new(readers));
        let (end, ends) = (slow.0, Arc::new(Mutex::new(slow.1)));
        let lists: Vec<_> = ["acme", "acme", "globex"]
            .map(|workspace| {
                let (readers, ends) = (long.clone(), ends.clone());
                tokio::spawn(async move {
                    let list = readers.list(Some(workspace), move |_| {
                        let _ended = ends.lock().unwrap().recv();
                        Ok(())
                    });
                    list.await
                })
            })
            .into_iter()
            .collect();
        while long.patient.available_permits() > 1 {
            yield_now().await;
        }
        assert_eq!(long.wait_and_read(count).await.unwrap(), 0);
        for list in lists {
            list.abort();
        }
        let crowded = long.list(None, count).await.unwrap_err();
        assert_eq!(crowded.unavailable(), Some(&crate::Unavailable::Crowded));
        drop(end);
        assert_eq!(long.list(None, count).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn where_all_glances_are_taken_a_reader_goes_where_it_may_wait() {
        let (_folder, _other, readers) = notes();
        let mut taken = Vec::new();
        while let Some(connection) = readers.take() {
            taken.push(connection.unwrap());
        }
        assert_eq!(readers.read(count).await.unwrap(), 0);
    }
}
