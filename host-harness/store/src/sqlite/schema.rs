//! The schema and its versions.

use super::{SqlResult, audit_log, sealing};
use crate::convention::{A_NEWER_PROGRAMS, ANOTHER_PROGRAMS};
use crate::seal::Seal;
use crate::{Result, StoreError};
use chat_domain::account::{skeletons, username_key};
use chat_domain::totp::TotpKey;
use rusqlite::{Connection, TransactionBehavior, params};

/// One script a version; `user_version` counts those applied.
pub(super) const MIGRATIONS: [&str; VERSION as usize] = [
    include_str!("schema/1.sql"),
    include_str!("schema/2.sql"),
    include_str!("schema/3.sql"),
    include_str!("schema/4.sql"),
    include_str!("schema/5.sql"),
    include_str!("schema/6.sql"),
];
const VERSION: u32 = 6;

/// The version from which on names are kept as they are compared now.
const NAMES_COMPARED: u32 = 3;

/// The version from which on a store can be sealed, and keys are text.
const SEALED: u32 = 4;
/// The version from which on the audit trail is a log.
const LOGGED: u32 = 5;

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

/// Applies the migrations that the file lacks. A store that is new is sealed where there is a key.
///
/// # Errors
///
/// When it is not a store that this program can use, or as [`Seal::admit`].
pub(super) fn migrate(db: &mut Connection, seal: &Seal) -> Result<()> {
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
    let sealing = match applied {
        _ if is_new => seal.sealing(),
        SEALED.. => sealing::read(&tx)?,
        _ => None,
    };
    seal.admit(sealing.as_ref())?;
    tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    for (version, script) in (1..=VERSION).zip(MIGRATIONS) {
        if version > applied {
            if version == SEALED {
                write_base32(&tx)?;
            }
            tx.execute_batch(script)?;
        }
    }
    if applied < NAMES_COMPARED {
        compare_names(&tx)?;
    }
    if let Some(sealing) = sealing {
        sealing::write(&tx, &sealing)?;
    }
    if applied < LOGGED {
        audit_log::begin(seal.over(&tx))?;
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

/// Keys become base32, which their columns hold as bytes yet.
fn write_base32(db: &Connection) -> SqlResult<()> {
    for table in ["totp", "pending_totp"] {
        let keys: Vec<(String, String, Vec<u8>)> = db
            .prepare(&format!("SELECT workspace, user, key FROM {table}"))?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .collect::<SqlResult<_>>()?;
        let update = format!("UPDATE {table} SET key = ?3 WHERE workspace = ?1 AND user = ?2");
        let mut update = db.prepare(&update)?;
        for (workspace, user, key) in keys {
            let base32 = TotpKey::new(key).to_base32().into_bytes();
            update.execute(params![workspace, user, base32])?;
        }
    }
    Ok(())
}

fn applied(db: &Connection) -> SqlResult<u32> {
    db.pragma_query_value(None, "user_version", |row| row.get(0))
}
