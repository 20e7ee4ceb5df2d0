//! The one connection that writes, on a thread of its own. What waits while it writes
//! is committed together next: each piece in a savepoint of its own, all answered
//! after the one wait for the disk. A piece that fails takes nothing with it.

use super::place::Place;
use super::{SqlResult, StoreError};
use crate::Result;
use rusqlite::Connection;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// Pieces that are committed together at most: some milliseconds of work, so that the
/// first does not wait long for the last.
const TOGETHER: usize = 128;

pub(super) struct Writer {
    queue: mpsc::Sender<Piece>,
}

type Work = Box<dyn FnMut(&Connection) -> SqlResult<()> + Send>;

/// One transaction that somebody waits for. It may be worked on more than once.
struct Piece {
    work: Work,
    done: oneshot::Sender<Result<()>>,
}

impl Writer {
    /// # Errors
    ///
    /// When the operating system gives no thread.
    pub(super) fn spawn(connection: Connection, place: Place, runtime: Handle) -> Result<Self> {
        let (queue, pieces) = mpsc::channel();
        std::thread::Builder::new()
            .name("store writer".to_owned())
            .spawn(move || write_all(&connection, &place, &pieces, &runtime))
            .map_err(|error| StoreError(error.into()))?;
        Ok(Self { queue })
    }

    /// Does `work` in a transaction that no other writer, of this process or
    /// another, comes between; it is durable when this returns. Whoever stops waiting
    /// for it does not stop it.
    pub(super) async fn write(
        &self,
        work: impl FnMut(&Connection) -> SqlResult<()> + Send + 'static,
    ) -> Result<()> {
        let (done, ended) = oneshot::channel();
        let work = Box::new(work);
        let gone = |_| StoreError("its writer is gone".into());
        self.queue
            .send(Piece { work, done })
            .map_err(|_| gone(()))?;
        ended.await.map_err(|_| gone(()))?
    }

    /// As [`Writer::write`], with an answer.
    pub(super) async fn answer<T: Send + 'static>(
        &self,
        mut work: impl FnMut(&Connection) -> SqlResult<T> + Send + 'static,
    ) -> Result<T> {
        let answer = Arc::new(Mutex::new(None));
        let found = answer.clone();
        self.write(move |db| {
            let value = work(db)?;
            *found.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
            Ok(())
        })
        .await?;
        let answer = answer.lock().unwrap_or_else(PoisonError::into_inner).take();
        answer.ok_or_else(|| StoreError("nothing was answered".into()))
    }
}

/// Whoever is about to write as well gets the processor first, where it is short: the more
/// is written together, the less often all wait for the disk.
fn write_all(
    connection: &Connection,
    place: &Place,
    pieces: &mpsc::Receiver<Piece>,
    runtime: &Handle,
) {
    while let Ok(first) = pieces.recv() {
        std::thread::yield_now();
        let mut batch = vec![first];
        batch.extend(pieces.try_iter().take(TOGETHER - 1));
        let results = match place.require() {
            Ok(()) => commit(connection, &mut batch),
            Err(lost) => all_failed(&lost, batch.len()),
        };
        answer(batch, results, runtime);
    }
}

/// Tells those who wait: more than one from a thread of theirs, since to wake it for each of
/// them would cost more than their pieces.
fn answer(batch: Vec<Piece>, results: Vec<Result<()>>, runtime: &Handle) {
    let is_one = batch.len() == 1;
    let answers = batch.into_iter().map(|piece| piece.done).zip(results);
    let answers: Vec<_> = answers.collect();
    let answer = move || {
        for (done, result) in answers {
            // Nobody may be waiting any more.
            let _ = done.send(result);
        }
    };
    match is_one {
        true => answer(),
        false => drop(runtime.spawn(async move { answer() })),
    }
}

/// Commits the pieces together, or one by one where together they cannot be.
fn commit(db: &Connection, batch: &mut [Piece]) -> Vec<Result<()>> {
    if let [piece] = batch {
        return vec![alone(db, piece)];
    }
    let transaction = match Transaction::begin(db) {
        Ok(transaction) => transaction,
        Err(busy) => return all_failed(&busy.into(), batch.len()),
    };
    match together(transaction, batch) {
        Some(results) => results,
        None => one_by_one(db, batch),
    }
}

/// Each in a transaction of its own; where another program writes meanwhile, all that
/// are left are told after one wait.
fn one_by_one(db: &Connection, batch: &mut [Piece]) -> Vec<Result<()>> {
    let pieces = batch.len();
    let mut results = Vec::with_capacity(pieces);
    for piece in batch {
        match Transaction::begin(db) {
            Ok(transaction) => results.push(in_transaction(transaction, piece)),
            Err(busy) => {
                results.extend(all_failed(&busy.into(), pieces - results.len()));
                break;
            }
        }
    }
    results
}

fn all_failed(error: &StoreError, pieces: usize) -> Vec<Result<()>> {
    let text = error.0.to_string();
    let failed = || match error.unavailable() {
        Some(why) => Err(why.clone().into()),
        None => Err(StoreError(text.as_str().into())),
    };
    std::iter::repeat_with(failed).take(pieces).collect()
}

fn alone(db: &Connection, piece: &mut Piece) -> Result<()> {
    in_transaction(Transaction::begin(db)?, piece)
}

fn in_transaction(transaction: Transaction<'_>, piece: &mut Piece) -> Result<()> {
    piece.work(transaction.0)?;
    Ok(transaction.commit()?)
}

/// How each piece ended that was committed with the others; none where nothing was
/// committed: the disk is full, for example.
fn together(transaction: Transaction<'_>, pieces: &mut [Piece]) -> Option<Vec<Result<()>>> {
    let db = transaction.0;
    let mut results = Vec::with_capacity(pieces.len());
    for piece in pieces {
        results.push(in_savepoint(db, piece).ok()?);
    }
    transaction.commit().ok()?;
    Some(results)
}

/// How the piece ended, which has left nothing behind where it failed.
///
/// # Errors
///
/// When the whole transaction can go on no more.
fn in_savepoint(db: &Connection, piece: &mut Piece) -> SqlResult<Result<()>> {
    run(db, "SAVEPOINT piece")?;
    let result = piece.work(db);
    if result.is_err() {
        run(db, "ROLLBACK TO piece")?;
    }
    run(db, "RELEASE piece")?;
    Ok(result)
}

impl Piece {
    fn work(&mut self, db: &Connection) -> Result<()> {
        let work = AssertUnwindSafe(|| (self.work)(db));
        match catch_unwind(work) {
            Ok(result) => Ok(result?),
            Err(_panic) => Err(StoreError("it panicked".into())),
        }
    }
}

/// A transaction that no other writer comes between. Dropped, it never was.
struct Transaction<'a>(&'a Connection);

impl<'a> Transaction<'a> {
    fn begin(db: &'a Connection) -> SqlResult<Self> {
        run(db, "BEGIN IMMEDIATE")?;
        Ok(Self(db))
    }

    fn commit(self) -> SqlResult<()> {
        run(self.0, "COMMIT")
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if !self.0.is_autocommit() {
            // Where even this fails, the next transaction cannot begin, and says so.
            let _ = run(self.0, "ROLLBACK");
        }
    }
}

fn run(db: &Connection, sql: &str) -> SqlResult<()> {
    db.prepare_cached(sql)?.execute([]).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    type Ended = oneshot::Receiver<Result<()>>;

    fn notes() -> (tempfile::TempDir, Connection) {
        let folder = tempfile::tempdir().unwrap();
        let db = Connection::open(folder.path().join("notes")).unwrap();
        db.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE note (text TEXT UNIQUE)")
            .unwrap();
        (folder, db)
    }

    fn piece(work: impl FnMut(&Connection) -> SqlResult<()> + Send + 'static) -> (Piece, Ended) {
        let (done, ended) = oneshot::channel();
        let work = Box::new(work);
        (Piece { work, done }, ended)
    }

    fn insert(text: &'static str) -> Piece {
        piece(move |db| run(db, &format!("INSERT INTO note VALUES ('{text}')"))).0
    }

    fn kept(db: &Connection) -> Vec<String> {
        let mut query = db.prepare("SELECT text FROM note ORDER BY text").unwrap();
        let rows = query.query_map([], |row| row.get(0)).unwrap();
        rows.map(std::result::Result::unwrap).collect()
    }

    fn commit_all(db: &Connection, mut batch: Vec<Piece>) -> Vec<bool> {
        let results = commit(db, &mut batch);
        assert!(db.is_autocommit(), "no transaction is left open");
        results.iter().map(Result::is_ok).collect()
    }

    #[test]
    fn a_piece_that_fails_takes_nothing_with_it_and_leaves_nothing() {
        let (_folder, db) = notes();
        let half = piece(|db| {
            run(db, "INSERT INTO note VALUES ('half')")?;
            run(db, "INSERT INTO note VALUES ('one')")
        });
        let batch = vec![insert("one"), half.0, insert("two")];
        assert_eq!(commit_all(&db, batch), [true, false, true]);
        assert_eq!(kept(&db), ["one", "two"]);
    }

    #[test]
    fn a_piece_that_panics_takes_nothing_with_it_and_leaves_nothing() {
        for others in [true, false] {
            let (_folder, db) = notes();
            let panics = piece(|db| {
                run(db, "INSERT INTO note VALUES ('half')")?;
                panic!("a rule has a bug")
            });
            let (batch, kept_notes) = match others {
                true => (
                    vec![insert("one"), panics.0, insert("two")],
                    vec!["one", "two"],
                ),
                false => (vec![panics.0], vec![]),
            };
            let results = commit_all(&db, batch);
            assert_eq!(results.iter().filter(|is_ok| !**is_ok).count(), 1);
            assert_eq!(kept(&db), kept_notes);
        }
    }

    /// As SQLite does where the disk is full, for example.
    #[test]
    fn where_the_whole_transaction_is_lost_each_piece_is_done_by_itself() {
        let (_folder, db) = notes();
        let tries = Arc::new(AtomicUsize::new(0));
        let tried = tries.clone();
        let loses = piece(move |db| {
            tried.fetch_add(1, Ordering::Relaxed);
            run(db, "INSERT INTO note VALUES ('half')")?;
            run(db, "ROLLBACK")?;
            run(db, "not SQL")
        });
        let batch = vec![insert("one"), loses.0, insert("two")];
        assert_eq!(commit_all(&db, batch), [true, false, true]);
        assert_eq!(kept(&db), ["one", "two"]);
        assert_eq!(tries.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn where_another_program_writes_all_pieces_are_told_after_one_wait() {
        let (folder, db) = notes();
        db.busy_timeout(std::time::Duration::ZERO).unwrap();
        let other = Connection::open(folder.path().join("notes")).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let mut batch = vec![insert("one"), insert("two")];
        for result in commit(&db, &mut batch) {
            let error = result.unwrap_err().to_string();
            assert!(error.contains("busy for too long"), "{error}");
        }
        other.execute_batch("ROLLBACK").unwrap();
        assert_eq!(commit_all(&db, batch), [true, true]);
    }
}
