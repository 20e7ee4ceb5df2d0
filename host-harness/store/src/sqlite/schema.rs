//! The schema and its versions.

use super::SqlResult;
use crate::convention::{A_NEWER_PROGRAMS, ANOTHER_PROGRAMS};
use crate::{Result, StoreError};
use chat_domain::account::{skeletons, username_key};
use rusqlite::{Connection, TransactionBehavior};

/// One script a version; `user_version` counts those applied.
const MIGRATIONS: [&str; VERSION as usize] = [
    include_str!("schema/1.sql"),
    include_str!("schema/2.sql"),
    include_str!("schema/3.sql"),
];
const VERSION: u32 = 3;

/// The version from which on names are kept as they are compared now.
const NAMES_COMPARED: u32 = 3;

/// Marks the file as this program's: "totp" in ASCII.
const APPLICATION_ID: i32 = 0x746f_7470;

/// Whether it is a store of this version.
pub(super) fn is_current(db: &Connection) -> SqlResult<bool> {
    let id: i32 = db.pragma_query_value(None, "application_id", |row| row.get(0))?;
    Ok(id == APPLICATION_ID && applied(db)? == VERSION)
}

/// # Errors
///
/// When it is not a store that this program can use.
pub(super) fn require_store(db: &Connection) -> Result<()> {
    let id: i32 = db.pragma_query_value(None, "application_id", |row| row.get(0))?;
    match id == APPLICATION_ID {
        true if applied(db)? <= VERSION => Ok(()),
        true => Err(StoreError(A_NEWER_PROGRAMS.into())),
        false => Err(StoreError(ANOTHER_PROGRAMS.into())),
    }
}

/// Applies the migrations that the file lacks.
///
/// # Errors
///
/// When it is not a store that this program can use.
pub(super) fn migrate(db: &mut Connection) -> Result<()> {
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let id: i32 = tx.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let applied = applied(&tx)?;
    let tables: u32 = tx.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let is_new = id == 0 && applied == 0 && tables == 0;
    if id != APPLICATION_ID && !is_new {
        return Err(StoreError(ANOTHER_PROGRAMS.into()));
    }
    if applied > VERSION {
        return Err(StoreError(A_NEWER_PROGRAMS.into()));
    }
    tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    for (version, script) in (1..=VERSION).zip(MIGRATIONS) {
        if version > applied {
            tx.execute_batch(script)?;
        }
    }
    if applied < NAMES_COMPARED {
        compare_names(&tx)?;
    }
    tx.pragma_update(None, "user_version", VERSION)?;
    Ok(tx.commit()?)
}

/// Of two accounts whose names are the same by now, the second keeps the key that it has.
fn compare_names(db: &Connection) -> SqlResult<()> {
    let users: Vec<[String; 3]> = db
        .prepare("SELECT workspace, id, username FROM user")?
        .query_map([], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?]))?
        .collect::<SqlResult<_>>()?;
    let mut keyed =
        db.prepare("UPDATE OR IGNORE user SET username_key = ?3 WHERE workspace = ?1 AND id = ?2")?;
    let mut drawn = db.prepare(
        "UPDATE user SET skeleton = ?3, skeleton_as_written = ?4 WHERE workspace = ?1 AND id = ?2",
    )?;
    for [workspace, id, username] in &users {
        keyed.execute([workspace, id, &username_key(username)])?;
        let [skeleton, as_written] = skeletons(username);
        drawn.execute([workspace, id, &skeleton, &as_written])?;
    }
    Ok(())
}

fn applied(db: &Connection) -> SqlResult<u32> {
    db.pragma_query_value(None, "user_version", |row| row.get(0))
}
