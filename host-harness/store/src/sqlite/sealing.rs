//! What is sealed, as the tables keep it.

use super::{Db, SqlResult};
use crate::convention::Unread;
use crate::seal::{Position, Renewed, SEALED, SealedColumn, Sealing, StoreIs, Unopened};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, params};

/// What the store says of its seal.
pub(super) fn read(db: &Connection) -> SqlResult<Option<Sealing>> {
    db.prepare_cached("SELECT key_id, check_value FROM sealing")?
        .query_row([], |row| {
            Ok(Sealing {
                key_id: row.get(0)?,
                check_value: row.get(1)?,
            })
        })
        .optional()
}

pub(super) fn write(db: &Connection, sealing: &Sealing) -> SqlResult<()> {
    db.execute(
        "INSERT OR REPLACE INTO sealing (id, key_id, check_value) VALUES (1, ?1, ?2)",
        [&sealing.key_id, &sealing.check_value],
    )
    .map(drop)
}

/// As [`Store::renew`](crate::Store::renew).
pub(super) fn renew(db: Db<'_>, from: &Position, most: u32, store: StoreIs) -> SqlResult<Renewed> {
    let mut renewed = Renewed::default();
    let mut from = from.clone();
    let mut room = most;
    while let Some(column) = SEALED.get(from.column) {
        let values = values_after(db, column, &from, room)?;
        for value in &values {
            match renew_one(db, column, value, store)? {
                Ok(()) => renewed.values += 1,
                Err(unopened) => renewed.unopened.push(unopened),
            }
        }
        room = room.saturating_sub(u32::try_from(values.len()).unwrap_or(u32::MAX));
        match values.into_iter().next_back() {
            Some(last) if room == 0 => {
                renewed.next = Some(last);
                return Ok(renewed);
            }
            _ => {
                from = Position {
                    column: from.column + 1,
                    ..Position::default()
                }
            }
        }
    }
    Ok(renewed)
}

/// Those that are not under the key that seals, so many at most.
fn values_after(
    db: Db<'_>,
    sealed: &SealedColumn,
    from: &Position,
    most: u32,
) -> SqlResult<Vec<Position>> {
    let SealedColumn {
        table,
        column,
        account,
        condition,
        ..
    } = sealed;
    let beginning = db.seal.beginning().unwrap_or_default();
    let mut query = db.prepare_cached(&format!(
        "SELECT workspace, {account}, {column} FROM {table}
         WHERE {condition} AND substr({column}, 1, length(?1)) <> ?1
           AND (workspace, {account}, {column}) > (?2, ?3, ?4)
         ORDER BY workspace, {account}, {column} LIMIT ?5"
    ))?;
    let after = params![beginning, from.workspace, from.account, from.text, most];
    let values = query.query_map(after, |row| {
        Ok(Position {
            column: from.column,
            workspace: row.get(0)?,
            account: row.get(1)?,
            text: row.get(2)?,
        })
    })?;
    values.collect()
}

fn renew_one(
    db: Db<'_>,
    sealed: &SealedColumn,
    value: &Position,
    store: StoreIs,
) -> SqlResult<Result<(), Unopened>> {
    let place = sealed.of(&value.workspace, &value.account);
    let text = match db.seal.renew(&place, &value.text, store) {
        Ok(text) => text,
        Err(unopened) => return Ok(Err(unopened)),
    };
    let SealedColumn {
        table,
        column,
        account,
        condition,
        ..
    } = sealed;
    db.prepare_cached(&format!(
        "UPDATE {table} SET {column} = ?4
         WHERE {condition} AND workspace = ?1 AND {account} = ?2 AND {column} = ?3"
    ))?
    .execute([&value.workspace, &value.account, &value.text, &text])?;
    Ok(Ok(()))
}

/// What is nothing to work by is an error of the query that read it.
impl From<Unread> for rusqlite::Error {
    fn from(unread: Unread) -> Self {
        Self::FromSqlConversionFailure(0, Type::Text, Box::new(unread))
    }
}

impl From<Unopened> for rusqlite::Error {
    fn from(unopened: Unopened) -> Self {
        Unread::from(unopened).into()
    }
}
