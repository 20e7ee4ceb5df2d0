//! A store in a file of its own, looked at past the store.

use crate::{account_of, shown};
use chat_store::Store;
use chat_store::seal::Seal;
use chat_store::sqlite::Sqlite;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;

/// The folder of the file.
pub(super) struct File(TempDir);

impl File {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(super) async fn open_or_create(&self, seal: &Seal) -> Arc<dyn Store> {
        Sqlite::open_or_create(&self.path(), seal).await.unwrap()
    }

    /// Another file in the same folder, which is made.
    pub(super) async fn another(&self) -> Arc<dyn Store> {
        let none = self.0.path().join("none");
        Sqlite::open_or_create(&none, &Seal::none()).await.unwrap()
    }

    pub(super) fn path(&self) -> PathBuf {
        self.0.path().join("store.sqlite")
    }

    pub(super) fn connect(&self) -> Connection {
        Connection::open(self.path()).unwrap()
    }

    pub(super) fn refuse_records(&self, why: &str) {
        let trigger = format!(
            "CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, '{why}'); END"
        );
        self.connect().execute_batch(&trigger).unwrap();
    }

    /// The rows of all tables but these, without these columns.
    pub(super) fn rows(&self, tables_but: &[&str], without: &[&str], seal: &Seal) -> Vec<String> {
        let db = self.connect();
        let mut tables = db
            .prepare(
                "SELECT name FROM sqlite_master
                 WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
            )
            .unwrap();
        let tables = tables
            .query_map([], |row| row.get::<_, String>(0))
            .unwrap()
            .map(Result::unwrap)
            .filter(|table| !tables_but.contains(&table.as_str()));
        let rows = tables.flat_map(|table| rows(&db, &table, without, seal));
        rows.collect()
    }
}

fn rows(db: &Connection, table: &str, without: &[&str], seal: &Seal) -> Vec<String> {
    let query = format!("SELECT *, {} FROM {table}", account_of(table));
    let mut query = db.prepare(&query).unwrap();
    let mut columns: Vec<_> = query
        .column_names()
        .into_iter()
        .map(str::to_owned)
        .collect();
    columns.pop();
    query
        .query_map([], |row| Ok(line(table, &columns, row, without, seal)))
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

fn line(table: &str, columns: &[String], row: &Row<'_>, without: &[&str], seal: &Seal) -> String {
    let workspace: String = row.get("workspace").unwrap_or_default();
    let account: String = row.get(columns.len()).unwrap();
    let columns = columns.iter().enumerate();
    let columns = columns.filter(|(_, column)| !without.contains(&column.as_str()));
    let values = columns.map(|(index, column)| {
        let value = match row.get_ref(index).unwrap() {
            ValueRef::Null => "null".to_owned(),
            ValueRef::Integer(number) => number.to_string(),
            ValueRef::Real(number) => number.to_string(),
            ValueRef::Text(_) if column == "message_id" => "…".to_owned(),
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
                let text = String::from_utf8_lossy(bytes);
                shown(seal, table, column, [&workspace, &account], &text)
            }
        };
        format!(" {column}={value}")
    });
    format!("{table}:{}", values.collect::<String>())
}
