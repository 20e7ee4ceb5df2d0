//! What writes, in one transaction after the other. What waits while one is in flight is committed
//! together next, and all are answered after the one wait for the servers. A piece that fails takes
//! nothing with it.
//!
//! A transaction begins by taking its turn: it writes the one document that all hosts write first,
//! so that of two which overlap one is undone, and tries again. It leaves a mark: where the answer
//! to its commit is lost for good, the same mark is written past it, which finds it or keeps it from
//! ever being committed. What was done is then known, and nothing is done twice.

use super::apply::{Apply, Log, Numbers};
use super::audit_log::{self, Appended};
use super::database::{Database, PATIENCE, Transaction, tries_until};
use super::failure::{Failure, Kind};
use super::field::Fields;
use super::read;
use super::schema::{MARKS, STORE, TURN};
use super::turn;
use crate::piece::{Piece, tell_all};
use crate::seal::Seal;
use crate::{Decide, Result, Unavailable};
use chat_domain::dossier::Question;
use chat_domain::order::Change;
use data_encoding::HEXLOWER;
use mongodb::bson::{DateTime, doc};
use mongodb::options::ReturnDocument;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Pieces that are committed together at most. Each is some trips to the server, of a millisecond
/// each: so that the first does not wait long for the last, and all fit in [`turn::LONGEST`] on a
/// network that is three times as slow.
const TOGETHER: usize = 32;

/// How often a commit is asked for before it is looked what became of it.
const COMMITS: u32 = 4;

/// How often it is looked whether a host has ended within its turn, while others have to wait.
const LOOKED_EVERY: Duration = Duration::from_millis(200);

/// How long it is tried to learn what became of a transaction whose answer is lost, beyond
/// [`PATIENCE`].
const DOUBT: Duration = Duration::from_secs(1);

/// What writes.
pub(super) struct Writer {
    database: Database,
    seal: Seal,
    /// What waits, while something is being written.
    queue: Mutex<Option<Vec<Piece>>>,
}

/// How a try to commit pieces ended.
enum Ended {
    /// Each in its way.
    Committed(Vec<Result<()>>),
    /// Nothing was done, since the piece at this index cannot be.
    Refused(usize, Failure),
    /// Nothing was done.
    Failed(Failure),
    /// Nobody knows whether it was done.
    Unknown,
}

/// What a transaction has come to before it is committed.
enum Worked {
    /// Each piece ends so, and nothing is changed.
    Unchanged(Vec<Result<()>>),
    /// Each piece ends so, if this is committed.
    Changed(Vec<Result<()>>),
    Refused(usize, Failure),
}

impl Writer {
    pub(super) fn of(database: Database, seal: Seal) -> Arc<Self> {
        Arc::new(Self {
            database,
            seal,
            queue: Mutex::default(),
        })
    }

    /// Reads, decides and makes the changes, in a transaction that no other comes between; they
    /// are durable when this returns. Whoever stops waiting for it does not stop it.
    pub(super) async fn write(self: &Arc<Self>, question: Question, decide: Decide) -> Result<()> {
        let (piece, waiting) = Piece::new(question, decide);
        let is_first = {
            let mut queue = self.queue();
            let is_first = queue.is_none();
            queue.get_or_insert_default().push(piece);
            is_first
        };
        if is_first {
            tokio::spawn(self.clone().write_all());
        }
        waiting.ended().await
    }

    /// Until nothing waits any more.
    async fn write_all(self: Arc<Self>) {
        let mut turn = Turn {
            writer: self,
            has_ended: false,
        };
        while let Some(batch) = turn.next() {
            turn.writer.commit(batch).await;
        }
    }

    fn queue(&self) -> MutexGuard<'_, Option<Vec<Piece>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits the pieces, in as many tries as there is time for, and tells those who wait.
    async fn commit(&self, batch: Vec<Piece>) {
        let (late, mut batch): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .partition(|piece| piece.has_waited(PATIENCE));
        tell_all(late, || Err(Unavailable::Busy.into()));
        let mut tries = tries_until(Instant::now() + PATIENCE);
        let mut looked = Instant::now();
        while !batch.is_empty() {
            match self.try_once(&mut batch, tries.deadline).await {
                Ended::Committed(outcomes) => {
                    for (piece, outcome) in batch.drain(..).zip(outcomes) {
                        piece.tell(outcome);
                    }
                }
                Ended::Refused(index, failure) => {
                    batch.remove(index).tell(Err(failure.into()));
                }
                Ended::Failed(failure) => {
                    if failure.kind == Kind::Conflict && looked.elapsed() > LOOKED_EVERY {
                        looked = Instant::now();
                        self.end_abandoned(tries.deadline).await;
                    }
                    if let Err(failure) = tries.again(failure).await {
                        return tell_all(batch, || Err(failure.clone().into()));
                    }
                }
                Ended::Unknown => return tell_all(batch, || Err(Unavailable::Unknown.into())),
            }
        }
    }

    /// Whoever has ended within its turn has it no more, as far as the servers let us say so.
    async fn end_abandoned(&self, deadline: Instant) {
        // Where they do not, they do it themselves in time.
        let _ = timeout_at(deadline, turn::end_abandoned(&self.database)).await;
    }

    async fn try_once(&self, batch: &mut [Piece], deadline: Instant) -> Ended {
        let mark: [u8; 16] = rand::random();
        let mark = HEXLOWER.encode(&mark);
        let worked = async {
            let mut transaction = self.database.begin_to_write().await?;
            match self.work(&mut transaction, batch, &mark).await {
                Ok(worked) => Ok((transaction, worked)),
                Err(failure) => {
                    transaction.undo().await;
                    Err(failure)
                }
            }
        };
        let of_turn = Instant::now() + turn::LONGEST;
        let worked = timeout_at(deadline.min(of_turn), worked).await;
        match worked.unwrap_or_else(|_| Err(Failure::silence())) {
            Err(failure) => Ended::Failed(failure),
            Ok((transaction, Worked::Unchanged(outcomes))) => {
                transaction.undo().await;
                Ended::Committed(outcomes)
            }
            Ok((transaction, Worked::Refused(index, failure))) => {
                transaction.undo().await;
                Ended::Refused(index, failure)
            }
            Ok((mut transaction, Worked::Changed(outcomes))) => {
                match self.make_durable(&mut transaction, &mark, deadline).await {
                    Some(Ok(())) => Ended::Committed(outcomes),
                    Some(Err(failure)) => Ended::Failed(failure),
                    None => Ended::Unknown,
                }
            }
        }
    }

    /// Reads, decides and changes for all pieces.
    async fn work(
        &self,
        transaction: &mut Transaction,
        batch: &mut [Piece],
        mark: &str,
    ) -> std::result::Result<Worked, Failure> {
        let (seal, workspace) = (&self.seal, self.database.name());
        let turn = doc! { "$inc": { "turn": 1_i64 } };
        let turn = transaction.upsert(STORE, TURN, turn).await?;
        let turn = Fields::of(&turn, STORE, TURN);
        let mut numbers = Numbers {
            mails: turn.number("mails")?.unwrap_or_default(),
            records: turn.number("records")?.unwrap_or_default(),
        };
        let mut open = audit_log::open(transaction, seal, workspace).await;
        if let Err(failure) = open.as_mut().map(|_| ())
            && failure.is_the_servers()
        {
            return Err(failure.clone());
        }
        let mut log = open.map(|open| Log {
            appended: Appended::to(open.as_ref()),
            open,
        });
        let mut has_changes = false;
        let mut outcomes = Vec::with_capacity(batch.len());
        for (index, piece) in batch.iter_mut().enumerate() {
            let read = read::dossier(transaction, seal, workspace, &piece.question).await;
            let read = match read {
                Ok(read) => read,
                Err(failure) if failure.is_the_servers() => return Err(failure),
                Err(failure) => {
                    outcomes.push(Err(failure.into()));
                    continue;
                }
            };
            let decided = piece.decide(&read.dossier);
            let log = match (decided, &mut log) {
                (Err(panic), _) => Err(panic),
                (Ok(changes), _) if changes.is_empty() => Ok(None),
                (Ok(_), Err(broken)) => Err(broken.clone().into()),
                (Ok(changes), Ok(log)) => Ok(Some((changes, log))),
            };
            let (changes, log) = match log {
                Ok(Some(found)) => found,
                Ok(None) => {
                    outcomes.push(Ok(()));
                    continue;
                }
                Err(error) => {
                    outcomes.push(Err(error));
                    continue;
                }
            };
            if let Err(failure) = in_the_workspace(&piece.question, &changes, workspace) {
                outcomes.push(Err(failure.into()));
                continue;
            }
            let mut apply = Apply {
                transaction,
                seal,
                workspace,
                held: read.held,
                settings: read.settings,
                log,
                numbers: &mut numbers,
            };
            match apply.all(&changes).await {
                Ok(()) => outcomes.push(Ok(())),
                Err(failure) if failure.is_the_servers() => return Err(failure),
                Err(failure) => return Ok(Worked::Refused(index, failure)),
            }
            has_changes = true;
        }
        let Ok(Log { open, appended }) = log else {
            return Ok(Worked::Unchanged(outcomes));
        };
        if !has_changes {
            return Ok(Worked::Unchanged(outcomes));
        }
        let written = appended.write(transaction, seal, workspace, open.as_ref());
        match written.await {
            Ok(()) => (),
            Err(failure) if failure.is_the_servers() => return Err(failure),
            // Whichever piece it is: all have records.
            Err(failure) => return Ok(Worked::Refused(0, failure)),
        }
        let given = doc! { "$set": { "mails": numbers.mails, "records": numbers.records } };
        transaction.upsert(STORE, TURN, given).await?;
        let mark = doc! { "_id": mark, "committed": true, "at": DateTime::now() };
        transaction.insert(MARKS, vec![mark]).await?;
        Ok(Worked::Changed(outcomes))
    }

    /// Commits, and again where the answer is lost, as long as there is time; then asks what
    /// became of it. None where nobody tells.
    async fn make_durable(
        &self,
        transaction: &mut Transaction,
        mark: &str,
        deadline: Instant,
    ) -> Option<std::result::Result<(), Failure>> {
        let mut tries = tries_until(deadline);
        let mut left = COMMITS;
        loop {
            let Ok(committed) = timeout_at(deadline, transaction.commit()).await else {
                break;
            };
            match committed {
                Ok(()) => return Some(Ok(())),
                Err(failure) if failure.kind == Kind::Doubtful => {
                    left -= 1;
                    if left == 0 || tries.again(failure).await.is_err() {
                        break;
                    }
                }
                Err(failure) => return Some(Err(failure)),
            }
        }
        match self.was_committed(mark, deadline + DOUBT).await {
            Some(true) => Some(Ok(())),
            Some(false) => Some(Err(Failure::silence())),
            None => None,
        }
    }

    /// Whether the transaction with this mark was committed; if not, it never will be. None
    /// where nobody tells in time.
    async fn was_committed(&self, mark: &str, deadline: Instant) -> Option<bool> {
        let mut tries = tries_until(deadline);
        loop {
            // It writes in any case, so that its own write is not acknowledged before whatever
            // it has found is as durable.
            let update = doc! {
                "$setOnInsert": { "committed": false },
                "$set": { "at": DateTime::now() },
            };
            let marks = self.database.collection(MARKS);
            let asked = marks
                .find_one_and_update(doc! { "_id": mark }, update)
                .upsert(true)
                .return_document(ReturnDocument::After);
            let failure = match timeout_at(deadline, asked.into_future()).await {
                Ok(Ok(Some(found))) => return found.get_bool("committed").ok(),
                Ok(Ok(None)) => Failure::overtaken(),
                Ok(Err(error)) => error.into(),
                Err(_) => return None,
            };
            tries.again(failure).await.ok()?;
        }
    }
}

/// Nothing is changed in a workspace that is not there.
fn in_the_workspace(
    question: &Question,
    changes: &[Change],
    workspace: &str,
) -> std::result::Result<(), Failure> {
    let asked = question.workspace.as_str();
    let creates = matches!(changes, [Change::CreateWorkspace(_)]);
    match asked == workspace || creates {
        true => Ok(()),
        false => Err(Failure::fault(format!(
            "there is no workspace {}: the database holds one, {workspace}",
            asked.escape_debug()
        ))),
    }
}

/// The turn of a writer: while there is one, what comes is put in the queue. When it ends, also by
/// a panic, nobody waits for it.
struct Turn {
    writer: Arc<Writer>,
    has_ended: bool,
}

impl Turn {
    /// What waits, which ends the turn where nothing does.
    fn next(&mut self) -> Option<Vec<Piece>> {
        let mut queue = self.writer.queue();
        let waiting = queue.as_mut()?;
        if waiting.is_empty() {
            *queue = None;
            self.has_ended = true;
            return None;
        }
        let most = waiting.len().min(TOGETHER);
        Some(waiting.drain(..most).collect())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.has_ended {
            *self.writer.queue() = None;
        }
    }
}
