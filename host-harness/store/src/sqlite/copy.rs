//! A whole store as rows, out of a file and into one.

use super::{Access, BUSY_TIMEOUT, SqlResult, blocking, connect, schema};
use crate::backup::{Cell, Columns, OtherSideEnded, Rows, TABLES, TOGETHER, listed};
use crate::convention::AN_OLDER_PROGRAMS;
use crate::seal::Seal;
use crate::{Result, StoreError};
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, ToSql, params_from_iter};
use std::path::Path;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;

/// Packets of rows that wait between the two sides.
const WAITING: usize = 4;

/// Copies the file at `from`, as it is at one moment, into the empty one at `to`.
pub(crate) async fn file(from: &Path, to: &Path) -> Result<()> {
    let (from, to) = (from.to_owned(), to.to_owned());
    blocking(move || {
        let db = connect(&from, BUSY_TIMEOUT, Access::Look)?;
        schema::require_store(&db)?;
        let name = to
            .to_str()
            .ok_or_else(|| StoreError(format!("the name {} is not UTF-8", to.display()).into()))?;
        db.execute("VACUUM INTO ?1", [name])?;
        Ok(())
    })
    .await
}

/// What SQLite finds broken in the file at `path` (its `integrity_check`), and rows that refer
/// to none.
pub(crate) async fn problems(path: &Path) -> Result<Vec<String>> {
    let path = path.to_owned();
    blocking(move || {
        let db = connect(&path, BUSY_TIMEOUT, Access::Look)?;
        schema::require_store(&db)?;
        let mut problems: Vec<String> = db
            .prepare("SELECT integrity_check FROM pragma_integrity_check")?
            .query_map([], |row| row.get(0))?
            .collect::<SqlResult<_>>()?;
        problems.retain(|problem| problem != "ok");
        let orphans: Vec<String> = db
            .prepare("SELECT DISTINCT \"table\" FROM pragma_foreign_key_check")?
            .query_map([], |row| row.get(0))?
            .collect::<SqlResult<_>>()?;
        let orphans = orphans.iter();
        problems.extend(orphans.map(|table| format!("a row of {table} refers to none")));
        Ok(problems)
    })
    .await
}

/// What of a copy goes on by itself: how it has ended.
type Copying = JoinHandle<Result<()>>;

/// Makes a store in the empty file at `path` of the rows that are sent.
pub(crate) async fn writer(path: &Path) -> Result<(Columns, Sender<Rows>, Copying)> {
    let path = path.to_owned();
    let (db, columns) = blocking(move || {
        let mut db = connect(&path, BUSY_TIMEOUT, Access::Write)?;
        // What is copied says whether it is sealed.
        schema::migrate(&mut db, &Seal::none())?;
        db.pragma_update(None, "foreign_keys", "OFF")?;
        let columns = all_columns(&db)?;
        Ok((db, columns))
    })
    .await?;
    let (sender, receiver) = channel(WAITING);
    let of_tables = columns.clone();
    let writing = tokio::task::spawn_blocking(move || write(&db, &of_tables, receiver));
    Ok((columns, sender, writing))
}

fn write(db: &Connection, columns: &Columns, mut rows: Receiver<Rows>) -> Result<()> {
    let tx = db.unchecked_transaction()?;
    loop {
        let Rows { table, rows } = rows.blocking_recv().ok_or(OtherSideEnded)?;
        let (Some(name), Some(columns)) = (TABLES.get(table), columns.get(table)) else {
            break;
        };
        let places: Vec<_> = columns.iter().map(|_| "?").collect();
        let mut insert = tx.prepare_cached(&format!(
            "INSERT INTO \"{name}\" ({}) VALUES ({})",
            listed(columns),
            places.join(", ")
        ))?;
        for row in rows {
            insert.execute(params_from_iter(row))?;
        }
    }
    if tx.prepare("PRAGMA foreign_key_check")?.exists([])? {
        return Err(StoreError("a row refers to one that is not there".into()));
    }
    Ok(tx.commit()?)
}

/// All rows of the store in the file at `path`.
pub(crate) async fn reader(path: &Path) -> Result<(Columns, Receiver<Rows>, Copying)> {
    let path = path.to_owned();
    let (db, columns) = blocking(move || {
        let db = connect(&path, BUSY_TIMEOUT, Access::Look)?;
        schema::require_store(&db)?;
        if !schema::is_current(&db)? {
            return Err(StoreError(AN_OLDER_PROGRAMS.into()));
        }
        let columns = all_columns(&db)?;
        Ok((db, columns))
    })
    .await?;
    let (sender, receiver) = channel(WAITING);
    let of_tables = columns.clone();
    let reading = tokio::task::spawn_blocking(move || read(&db, &of_tables, &sender));
    Ok((columns, receiver, reading))
}

fn read(db: &Connection, columns: &Columns, sender: &Sender<Rows>) -> Result<()> {
    let tx = db.unchecked_transaction()?;
    for (table, (name, columns)) in TABLES.iter().zip(columns).enumerate() {
        let mut query = tx.prepare(&format!("SELECT {} FROM \"{name}\"", listed(columns)))?;
        let mut found = query.query([])?;
        let mut rows = Vec::new();
        while let Some(row) = found.next()? {
            let cells = 0..columns.len();
            let cells = cells.map(|at| Ok(Cell::from(row.get::<_, Value>(at)?)));
            rows.push(cells.collect::<SqlResult<_>>()?);
            if rows.len() == TOGETHER {
                let rows = std::mem::take(&mut rows);
                send(sender, Rows { table, rows })?;
            }
        }
        send(sender, Rows { table, rows })?;
    }
    tx.commit()?;
    send(sender, Rows::END)
}

fn send(sender: &Sender<Rows>, rows: Rows) -> Result<()> {
    let sent = sender.blocking_send(rows);
    Ok(sent.map_err(|_| OtherSideEnded)?)
}

fn all_columns(db: &Connection) -> SqlResult<Columns> {
    let columns = TABLES.iter().map(|table| {
        db.prepare("SELECT name FROM pragma_table_info(?1)")?
            .query_map([table], |row| row.get(0))?
            .collect()
    });
    columns.collect()
}

impl From<Value> for Cell {
    fn from(value: Value) -> Self {
        match value {
            Value::Integer(number) => Self::Number(number),
            Value::Text(text) => Self::Text(text),
            Value::Blob(bytes) => Self::Bytes(bytes),
            // No column holds a fraction.
            Value::Null | Value::Real(_) => Self::Null,
        }
    }
}

impl ToSql for Cell {
    fn to_sql(&self) -> SqlResult<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Number(number) => ValueRef::Integer(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}
