//! A file that is not sealed comes under a key.

use super::{Access, BUSY_TIMEOUT, blocking, connect, is_busy, schema, sealing};
use crate::seal::{Position, Seal, StoreIs};
use crate::{Result, StoreError};
use rusqlite::TransactionBehavior;
use std::path::Path;

/// Values that are sealed before the next are read, where nobody waits for them.
const TOGETHER: u32 = 10_000;

/// Seals a store that is not sealed, in one transaction; then nothing is left of what it was. Gives
/// how many values there were.
///
/// # Errors
///
/// As [`Sqlite::open`](super::Sqlite::open); when somebody has the store open.
pub(crate) async fn seal_first(path: &Path, seal: &Seal) -> Result<u64> {
    let (path, seal) = (path.to_owned(), seal.clone());
    blocking(move || seal_all(&path, &seal)).await
}

fn seal_all(path: &Path, seal: &Seal) -> Result<u64> {
    let mut connection = connect(path, BUSY_TIMEOUT, Access::Write)?;
    // Whoever has it open goes on to write what is not sealed.
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    if !schema::is_current(&connection).map_err(taken)? {
        schema::migrate(&mut connection, &Seal::none())?;
    }
    let tx = connection
        .transaction_with_behavior(TransactionBehavior::Exclusive)
        .map_err(taken)?;
    // Somebody may have sealed it just now.
    Seal::none().admit(sealing::read(&tx)?.as_ref())?;
    let mut values = 0;
    let mut next = Some(Position::default());
    while let Some(from) = next {
        let renewed = sealing::renew(seal.over(&tx), &from, TOGETHER, StoreIs::Plain)?;
        if let Some(unopened) = renewed.unopened.into_iter().next() {
            return Err(unopened.into());
        }
        values += u64::from(renewed.values);
        next = renewed.next;
    }
    if let Some(row) = seal.sealing() {
        sealing::write(&tx, &row)?;
    }
    tx.commit()?;
    // What was deleted is overwritten; what pages had between their rows, and the log, go, too.
    connection.execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)")?;
    Ok(values)
}

fn taken(error: rusqlite::Error) -> StoreError {
    match is_busy(&error) {
        true => StoreError(
            "another program has it open: stop the host that serves it, and what else works on it"
                .into(),
        ),
        false => error.into(),
    }
}
