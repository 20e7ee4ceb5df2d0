//! What writes in a workspace, in one transaction after the other. What waits while one is in
//! flight is committed together next: each piece in a savepoint of its own, all answered after
//! the one wait for the disk. A piece that fails takes nothing with it. Different workspaces
//! are written at the same time.
//!
//! A transaction has the workspace's row locked before it reads: what it read still holds when
//! it commits, whatever other hosts do. It leaves a mark: where the answer to its COMMIT is
//! lost, a second transaction writes the same mark, and finds the first one's or keeps it from
//! ever being written. What was done is then known, and nothing is done twice.

use super::apply::{self, Log};
use super::audit_log;
use super::database::{Connection, Database, LIST_PATIENCE, PATIENCE, begin, commit, tries_until};
use super::failure::{Failure, Kind};
use super::query::{Query, Value, get, query};
use super::read::{self, HeldCode, Purpose, Read};
use crate::piece::{Piece, tell_all};
use crate::seal::Seal;
use crate::{Decide, Result, StoreError, Unavailable};
use chat_domain::dossier::Question;
use chat_domain::order::Change;
use chat_domain::time::Timestamp;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tokio_postgres::Row;

/// Pieces that are committed together at most. Each is one trip, so that the first does not wait
/// long for the last; and PostgreSQL keeps 64 savepoints of a transaction at hand, more are looked
/// up by all who read what it wrote.
const TOGETHER: usize = 32;

/// How long it is tried to learn what became of a transaction whose answer is lost, beyond
/// [`PATIENCE`].
const DOUBT: Duration = Duration::from_secs(1);

/// How often marks are removed, and how old they are then: whoever asks for one does so within
/// seconds.
const SWEEP_EVERY: Duration = Duration::from_secs(10 * 60);
const KEPT_MARKS: Duration = Duration::from_secs(60 * 60);

/// Nobody else writes in the workspace until the transaction ends. Rows that refer to it can
/// be written nevertheless.
const LOCK: &str = "SELECT 1 FROM workspace WHERE id = $1 FOR NO KEY UPDATE";

const SAVE: &str = "SAVEPOINT piece";
const RELEASE: &str = "RELEASE SAVEPOINT piece";
const UNDO: &str = "ROLLBACK TO SAVEPOINT piece";

const MARK: &str = "INSERT INTO commit_mark (id, committed) VALUES ($1, TRUE)";

/// It waits for a transaction that is writing the same mark. It writes in any case, so that its
/// own commit is not acknowledged before whatever it has found is as durable.
const ASK: &str = "
    INSERT INTO commit_mark AS mark (id, committed) VALUES ($1, FALSE)
    ON CONFLICT (id) DO UPDATE SET at = mark.at RETURNING committed";

const SWEEP: &str = "
    DELETE FROM commit_mark
    WHERE at < (extract(epoch FROM clock_timestamp()) * 1000)::BIGINT - $1";

/// What writes.
pub(super) struct Writer {
    database: Arc<Database>,
    seal: Seal,
    /// Of each workspace that is being written, what waits.
    queues: Mutex<HashMap<String, Vec<Piece>>>,
    swept: Mutex<Instant>,
}

/// How a try to commit pieces ended.
enum Ended {
    /// Each in its way.
    Committed(Vec<Outcome>),
    /// Nothing was done, since the piece at this index cannot be.
    Refused(usize, StoreError),
    /// Nothing was done.
    Failed(Failure),
    /// Nobody knows whether it was done.
    Unknown,
}

/// How a piece ended in a transaction, if that is committed.
type Outcome = Result<()>;

impl Writer {
    pub(super) fn of(database: Arc<Database>, seal: Seal) -> Arc<Self> {
        Arc::new(Self {
            database,
            seal,
            queues: Mutex::default(),
            swept: Mutex::new(Instant::now()),
        })
    }

    /// Reads, decides and makes the changes, in a transaction that no other of the workspace
    /// comes between; they are durable when this returns. Whoever stops waiting for it does not
    /// stop it.
    pub(super) async fn write(self: &Arc<Self>, question: Question, decide: Decide) -> Result<()> {
        let workspace = question.workspace.clone();
        let (piece, waiting) = Piece::new(question, decide);
        let is_first = {
            let mut queues = self.queues();
            let is_first = !queues.contains_key(&workspace);
            queues.entry(workspace.clone()).or_default().push(piece);
            is_first
        };
        if is_first {
            tokio::spawn(self.clone().write_all(workspace));
        }
        waiting.ended().await
    }

    /// Until nothing waits any more in the workspace.
    async fn write_all(self: Arc<Self>, workspace: String) {
        let mut turn = Turn {
            writer: self,
            workspace,
            has_ended: false,
        };
        while let Some(batch) = turn.next() {
            turn.writer.commit(&turn.workspace, batch).await;
        }
    }

    fn queues(&self) -> MutexGuard<'_, HashMap<String, Vec<Piece>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits the pieces, in as many tries as there is time for, and tells those who wait.
    async fn commit(self: &Arc<Self>, workspace: &str, batch: Vec<Piece>) {
        let (late, mut batch): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .partition(|piece| piece.has_waited(PATIENCE));
        tell_all(late, || Err(Unavailable::Busy.into()));
        let mut tries = tries_until(Instant::now() + PATIENCE);
        while !batch.is_empty() {
            match self.try_once(workspace, &mut batch, tries.deadline).await {
                Ended::Committed(outcomes) => {
                    for (piece, outcome) in batch.drain(..).zip(outcomes) {
                        piece.tell(outcome);
                    }
                    self.sweep_in_time();
                }
                Ended::Refused(index, error) => {
                    batch.remove(index).tell(Err(error));
                }
                Ended::Failed(failure) => {
                    if let Err(failure) = tries.again(failure).await {
                        return tell_all(batch, || Err(failure.clone().into()));
                    }
                }
                Ended::Unknown => return tell_all(batch, || Err(Unavailable::Unknown.into())),
            }
        }
    }

    async fn try_once(&self, workspace: &str, batch: &mut [Piece], deadline: Instant) -> Ended {
        let connection = match self.database.connection(deadline).await {
            Ok(connection) => connection,
            Err(failure) => return Ended::Failed(failure),
        };
        let mark: [u8; 16] = rand::random();
        let mut transaction =
            Transaction::begin(connection, &self.seal, workspace, batch.len(), deadline);
        let done = match transaction.work(batch).await {
            Ok(()) => transaction.commit(&mark).await,
            Err(undone) => Err(undone),
        };
        let Transaction {
            mut connection,
            outcomes,
            ..
        } = transaction;
        let Err(undone) = done else {
            return Ended::Committed(outcomes);
        };
        connection.roll_back(deadline).await;
        drop(connection);
        match undone {
            Undone::Piece(error) => Ended::Refused(outcomes.len().saturating_sub(1), error),
            Undone::All(failure) => Ended::Failed(failure),
            Undone::Unknown(failure) => match self.was_committed(&mark, deadline + DOUBT).await {
                Some(true) => Ended::Committed(outcomes),
                Some(false) => Ended::Failed(failure),
                None => Ended::Unknown,
            },
        }
    }

    /// Whether the transaction with this mark was committed; if not, it never will be. None
    /// where nobody tells in time.
    async fn was_committed(&self, mark: &[u8], deadline: Instant) -> Option<bool> {
        let mut tries = tries_until(deadline);
        loop {
            let asked = self.database.write(vec![query!(ASK, mark)], deadline);
            match asked.await {
                Ok(found) => {
                    let rows = found.first()?;
                    return get(rows.first()?, 0).ok();
                }
                Err(failure) => tries.again(failure).await.ok()?,
            }
        }
    }

    /// Removes old marks, if that was not done for long.
    fn sweep_in_time(self: &Arc<Self>) {
        let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        if swept.elapsed() >= SWEEP_EVERY {
            *swept = Instant::now();
            let writer = self.clone();
            // Where it fails, the next removes more.
            tokio::spawn(async move { writer.sweep(KEPT_MARKS).await });
        }
    }

    /// Removes the marks that are older.
    async fn sweep(&self, kept: Duration) -> std::result::Result<(), Failure> {
        let kept = i64::try_from(kept.as_millis()).unwrap_or(i64::MAX);
        let deadline = Instant::now() + LIST_PATIENCE;
        let swept = self.database.write(vec![query!(SWEEP, kept)], deadline);
        swept.await.map(drop)
    }
}

fn lock(workspace: &str) -> Query {
    query!(LOCK, Value::key(workspace))
}

/// The turn of a workspace: while there is one, what comes is put in its queue. When it ends,
/// also by a panic, nobody waits for it.
struct Turn {
    writer: Arc<Writer>,
    workspace: String,
    has_ended: bool,
}

impl Turn {
    /// What waits, which ends the turn where nothing does.
    fn next(&mut self) -> Option<Vec<Piece>> {
        let mut queues = self.writer.queues();
        let queue = queues.get_mut(&self.workspace)?;
        if queue.is_empty() {
            queues.remove(&self.workspace);
            self.has_ended = true;
            return None;
        }
        let most = queue.len().min(TOGETHER);
        Some(queue.drain(..most).collect())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.has_ended {
            self.writer.queues().remove(&self.workspace);
        }
    }
}

/// One transaction, which makes the changes of several pieces.
struct Transaction<'a> {
    connection: Connection,
    seal: &'a Seal,
    workspace: &'a str,
    deadline: Instant,
    /// What is sent with whatever is sent next: what begins the transaction, or what the last
    /// piece has decided.
    pending: Vec<Query>,
    /// It has one piece, which needs no savepoint.
    is_one: bool,
    /// There is a workspace, and no other writes in it.
    is_locked: bool,
    /// What is pending creates the workspace.
    creates: bool,
    has_changes: bool,
    /// Where the audit log of the workspace ends, as of the last trip.
    head: Vec<Row>,
    /// How each piece ends, if this is committed.
    outcomes: Vec<Result<()>>,
}

/// Why a transaction has not been committed.
enum Undone {
    /// The last piece cannot be.
    Piece(StoreError),
    /// Nothing of it can be now.
    All(Failure),
    /// It may have been: the answer is lost.
    Unknown(Failure),
}

/// What was pending has done, and what was found after it.
type Trip = (
    std::result::Result<Vec<Vec<Row>>, Failure>,
    std::result::Result<Vec<Vec<Row>>, Failure>,
);

impl<'a> Transaction<'a> {
    fn begin(
        connection: Connection,
        seal: &'a Seal,
        workspace: &'a str,
        pieces: usize,
        deadline: Instant,
    ) -> Self {
        let mut pending = begin(workspace);
        pending.push(lock(workspace));
        Self {
            connection,
            seal,
            workspace,
            deadline,
            pending,
            is_one: pieces == 1,
            is_locked: false,
            creates: false,
            has_changes: false,
            head: Vec::new(),
            outcomes: Vec::new(),
        }
    }

    /// Decides all pieces, and makes the changes of all but the last, which are pending then.
    async fn work(&mut self, batch: &mut [Piece]) -> std::result::Result<(), Undone> {
        for piece in batch {
            let found = self.read(&piece.question).await?;
            let decided = match found {
                Ok(found) => decide(piece, self.seal, found),
                Err(failure) => Err(failure.into()),
            };
            let outcome = match decided {
                Ok((codes, changes)) => self.change(&codes, &changes).await?,
                Err(error) => Err(error),
            };
            self.outcomes.push(outcome);
            if !self.is_one {
                self.pending.push(query!(RELEASE));
            }
        }
        Ok(())
    }

    /// What `question` finds after what is pending was done; what the last piece cannot do is
    /// undone.
    async fn read(
        &mut self,
        question: &Question,
    ) -> std::result::Result<std::result::Result<Vec<Vec<Row>>, Failure>, Undone> {
        let (before, mut found) = self.trip(question).await;
        match before {
            Ok(rows) if self.outcomes.is_empty() => {
                self.is_locked = rows.last().is_some_and(|rows| !rows.is_empty());
            }
            Ok(_) => (),
            Err(failure) => {
                let failure = self.refusal(failure);
                let Some(last) = self.outcomes.last_mut() else {
                    return Err(Undone::All(failure));
                };
                if failure.is_the_servers() {
                    return Err(Undone::All(failure));
                }
                *last = Err(failure.into());
                self.undo().await?;
                found = self.trip(question).await.1;
            }
        }
        self.creates = false;
        match found {
            Err(failure) if failure.is_the_servers() => Err(Undone::All(failure)),
            Err(failure) if self.is_one => {
                self.outcomes.push(Ok(()));
                Err(Undone::Piece(failure.into()))
            }
            Err(failure) => {
                self.undo().await?;
                self.pending.push(query!(SAVE));
                Ok(Err(failure))
            }
            found => Ok(found),
        }
    }

    /// Sends what is pending, and asks `question`.
    async fn trip(&mut self, question: &Question) -> Trip {
        let mut trip = std::mem::take(&mut self.pending);
        let before = trip.len();
        if !self.is_one {
            trip.push(query!(SAVE));
        }
        let begun = trip.len();
        trip.extend(read::queries(question, Purpose::Change));
        trip.push(audit_log::head(self.workspace));
        let mut found = self.connection.part(&trip, self.deadline).await;
        let answer: std::result::Result<Vec<_>, _> = found.split_off(begun).into_iter().collect();
        let answer = answer.map(|mut answer| {
            self.head = answer.pop().unwrap_or_default();
            answer
        });
        found.truncate(before);
        (found.into_iter().collect(), answer)
    }

    /// Undoes what the last piece has done.
    async fn undo(&mut self) -> std::result::Result<(), Undone> {
        let undo = [query!(UNDO), query!(RELEASE)];
        let undone = self.connection.part(&undo, self.deadline).await;
        let undone: std::result::Result<Vec<_>, _> = undone.into_iter().collect();
        undone.map(drop).map_err(Undone::All)
    }

    /// Makes `changes` pending, or tells why they cannot be made. Where there was no workspace to
    /// be locked, there may be one by now.
    async fn change(
        &mut self,
        codes: &[HeldCode],
        changes: &[Change],
    ) -> std::result::Result<Result<()>, Undone> {
        if changes.is_empty() {
            return Ok(Ok(()));
        }
        let creates = changes
            .iter()
            .any(|change| matches!(change, Change::CreateWorkspace(_)));
        if !self.is_locked && !creates {
            let found = self.connection.one(lock(self.workspace), self.deadline);
            if !found.await.map_err(Undone::All)?.is_empty() {
                return Err(Undone::All(created_meanwhile()));
            }
        }
        let old = match changes.iter().find_map(erases_before) {
            Some(before) => {
                let old = audit_log::old(self.workspace, before);
                let found = self.connection.one(old, self.deadline).await;
                found.map_err(Undone::All)?
            }
            None => Vec::new(),
        };
        let open = audit_log::open_in(self.seal, &self.head, self.workspace);
        let queries = open.and_then(|open| {
            let mut log = Log { open, old };
            apply::queries(self.seal, self.workspace, codes, changes, &mut log)
        });
        match queries {
            Ok(queries) => self.pending.extend(queries),
            Err(error) => return Ok(Err(error)),
        }
        self.has_changes = true;
        self.creates = creates;
        self.is_locked |= creates;
        Ok(Ok(()))
    }

    /// Makes what is pending, and all durable.
    async fn commit(&mut self, mark: &[u8]) -> std::result::Result<(), Undone> {
        let mut trip = std::mem::take(&mut self.pending);
        let pending = trip.len();
        if self.has_changes {
            trip.push(query!(MARK, mark));
        }
        trip.extend(commit());
        let mut found = self.connection.part(&trip, self.deadline).await;
        match found.pop() {
            Some(Ok(_)) => self.connection.ended(),
            Some(Err(failure)) if failure.kind == Kind::Lost && self.has_changes => {
                return Err(Undone::Unknown(failure));
            }
            Some(Err(failure)) => found.push(Err(failure)),
            None => (),
        }
        let failed = found.into_iter().enumerate();
        let failed = failed.filter_map(|(index, found)| Some((index, found.err()?)));
        match failed
            .map(|(index, failure)| (index, self.refusal(failure)))
            .next()
        {
            None => Ok(()),
            Some((index, failure)) if index < pending && !failure.is_the_servers() => {
                Err(Undone::Piece(failure.into()))
            }
            Some((_, failure)) => Err(Undone::All(failure)),
        }
    }

    /// What it means that what is pending failed so: where the workspace is there already,
    /// another host has created it just now.
    fn refusal(&self, failure: Failure) -> Failure {
        match failure.kind {
            Kind::Duplicate if self.creates => created_meanwhile(),
            _ => failure,
        }
    }
}

/// Which audit records the change erases.
fn erases_before(change: &Change) -> Option<Timestamp> {
    match change {
        Change::Prune(retention) => retention.records_before,
        _ => None,
    }
}

fn created_meanwhile() -> Failure {
    Failure::new(Kind::Conflict, "the workspace was created meanwhile")
}

/// What a piece changes where this was found, and the backup codes that were.
fn decide(
    piece: &mut Piece,
    seal: &Seal,
    found: Vec<Vec<Row>>,
) -> Result<(Vec<HeldCode>, Vec<Change>)> {
    let Read { dossier, codes } = read::dossier(seal, &piece.question, found)?;
    Ok((codes, piece.decide(&dossier)?))
}

#[cfg(test)]
mod tests {
    use super::super::address::Access;
    use super::*;

    #[tokio::test]
    async fn marks_are_removed_when_nobody_asks_for_them_any_more() {
        let home = chat_testing::postgres::Database::with_store(&Default::default());
        home.edit(
            "INSERT INTO commit_mark (id, committed) VALUES ('0', TRUE);
             INSERT INTO commit_mark (id, at, committed) SELECT '1', at - 3601000, TRUE
             FROM commit_mark;
             INSERT INTO commit_mark (id, at, committed) SELECT '2', at - 3500000, FALSE
             FROM commit_mark WHERE id = '0'",
        );
        let database = Database::at(&home.url(), Access::Write).unwrap();
        Writer::of(Arc::new(database), Seal::none())
            .sweep(KEPT_MARKS)
            .await
            .unwrap();
        let left = home.numbers("SELECT length(id)::BIGINT FROM commit_mark WHERE id <> '1'");
        assert_eq!(left, [1, 1]);
        assert_eq!(home.numbers("SELECT count(*) FROM commit_mark"), [2]);
    }
}
