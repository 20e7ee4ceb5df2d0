//! Decisions that wait for their turn, the same for every database whose writer has a queue and
//! commits several at once.

use crate::{Decide, Result, StoreError};
use chat_domain::dossier::{Dossier, Question};
use chat_domain::order::Change;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// One decision that somebody waits for. It may be taken more than once.
pub(crate) struct Piece {
    pub(crate) question: Question,
    decide: Decide,
    done: oneshot::Sender<Result<()>>,
    since: Instant,
}

/// Who waits for a [`Piece`].
pub(crate) struct Waiting(oneshot::Receiver<Result<()>>);

impl Piece {
    pub(crate) fn new(question: Question, decide: Decide) -> (Self, Waiting) {
        let (done, ended) = oneshot::channel();
        let piece = Self {
            question,
            decide,
            done,
            since: Instant::now(),
        };
        (piece, Waiting(ended))
    }

    /// What is changed where this is known.
    ///
    /// # Errors
    ///
    /// When the decision panicked.
    pub(crate) fn decide(&mut self, dossier: &Dossier) -> Result<Vec<Change>> {
        let decide = AssertUnwindSafe(|| (self.decide)(dossier));
        catch_unwind(decide).map_err(|_panic| StoreError("it panicked".into()))
    }

    /// Whether it has waited for so long.
    pub(crate) fn has_waited(&self, patience: Duration) -> bool {
        self.since.elapsed() >= patience
    }

    /// Tells how it ended.
    pub(crate) fn tell(self, result: Result<()>) {
        // Nobody may be waiting any more.
        let _ = self.done.send(result);
    }
}

/// Tells all that it ended so.
pub(crate) fn tell_all(pieces: Vec<Piece>, result: impl Fn() -> Result<()>) {
    for piece in pieces {
        piece.tell(result());
    }
}

impl Waiting {
    /// How it ended.
    ///
    /// # Errors
    ///
    /// As it ended, or when nobody is left to tell.
    pub(crate) async fn ended(self) -> Result<()> {
        let ended = self.0.await;
        ended.map_err(|_| StoreError("its writer is gone".into()))?
    }
}
