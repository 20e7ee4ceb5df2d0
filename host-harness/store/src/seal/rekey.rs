//! A store that is served comes under another key: one bounded transaction after another, so
//! that others get their turn. Interrupted, it is begun again.

use super::Unopened;
use crate::{Result, Store, StoreError};

/// Values that are sealed anew in one transaction: some tens of milliseconds, in which others
/// wait.
const TOGETHER: u32 = 1000;

/// Values that could not be opened, of which are told.
const TOLD: usize = 5;

/// Where a store goes on: after a value, in the order in which it has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Which of [`SEALED`](super::SEALED).
    pub column: usize,
    /// The workspace of the value's row; empty before the first.
    pub workspace: String,
    /// The account of the value's row.
    pub account: String,
    /// The value.
    pub text: String,
}

/// What one transaction did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Renewed {
    /// Values that were sealed anew.
    pub values: u32,
    /// Values that could not be opened, and were left as they are.
    pub unopened: Vec<Unopened>,
    /// Where to go on; none at the end.
    pub next: Option<Position>,
}

/// Seals everything anew, under the key that seals, that is under another; then the store says
/// that it is under that key. Gives how many values there were.
///
/// Others may write meanwhile, also under another key: it is looked until nothing is found.
///
/// # Errors
///
/// When the store fails, or a value cannot be opened: all others are sealed anew then, and
/// the store says that it is under the key under which it was.
pub async fn rekey(store: &dyn Store) -> Result<u64> {
    let mut values = 0;
    loop {
        let found = renew_all(store).await?;
        values += found.values;
        if found.values == 0 {
            found.require_all_opened()?;
            store.set_sealing().await?;
            return Ok(values);
        }
    }
}

/// What was found from the first column to the last.
#[derive(Default)]
struct Found {
    values: u64,
    unopened: u64,
    /// The first of these.
    told: Vec<Unopened>,
}

async fn renew_all(store: &dyn Store) -> Result<Found> {
    let mut found = Found::default();
    let mut next = Some(Position::default());
    while let Some(position) = next {
        let renewed = store.renew(position, TOGETHER).await?;
        found.values += u64::from(renewed.values);
        for unopened in renewed.unopened {
            found.unopened += 1;
            if found.told.len() < TOLD {
                found.told.push(unopened);
            }
        }
        next = renewed.next;
    }
    Ok(found)
}

impl Found {
    fn require_all_opened(&self) -> Result<()> {
        if self.unopened == 0 {
            return Ok(());
        }
        let told: Vec<_> = self.told.iter().map(ToString::to_string).collect();
        let problem = format!(
            "everything else is sealed anew, but these values, {} in all, cannot be opened: {}",
            self.unopened,
            told.join("; ")
        );
        Err(StoreError(problem.into()))
    }
}
