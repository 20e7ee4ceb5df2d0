//! Orders as they were given to a store, and what it must hold after a cut among them.

use crate::disk::Deed;
use crate::vfs::Watched;
use chat_domain::order::Order;
use chat_store::seal::Seal;
use chat_store::sqlite::Sqlite;
use chat_store::{Result, Store};
use rusqlite::Connection;
use rusqlite::types::ValueRef;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::task::JoinSet;

/// The file's name.
pub(crate) const STORE: &str = "store.sqlite";

/// The rows of a store, each as one line.
type Rows = BTreeSet<String>;

/// Why a disk does not hold what it must.
#[derive(Debug)]
#[expect(dead_code, reason = "a test that fails prints it")]
pub(crate) enum Loss {
    /// What was answered is not there.
    Answered(String),
    /// What was not answered is there by half, or the store is broken.
    Broken(String),
}

/// Orders that were given at once: one, or a crowd's.
struct Stage {
    before: Rows,
    after: Rows,
    /// The numbers of the orders, and what is in each row that an order changes, and in none
    /// that another of the stage does.
    orders: Vec<(usize, String)>,
}

/// Orders that are given to a store, and everything that the disk is told meanwhile.
pub(crate) struct Run {
    folder: TempDir,
    watched: Arc<Watched>,
    store: Arc<dyn Store>,
    /// What the store held when it was made.
    empty: Rows,
    stages: Vec<Stage>,
    given: usize,
}

/// A run that has ended.
pub(crate) struct Given {
    pub(crate) deeds: Vec<Deed>,
    stages: Vec<Stage>,
    /// How many orders were answered.
    pub(crate) orders: usize,
}

impl Run {
    /// With a store that is new.
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let watched = Arc::new(Watched::new(folder.path()));
        let path = folder.path().join(STORE);
        let store = Sqlite::open_or_create(&path, &Seal::none()).await.unwrap();
        Self {
            empty: rows(&path).unwrap(),
            store,
            watched,
            folder,
            stages: Vec::new(),
            given: 0,
        }
    }

    pub(crate) fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    /// Waits for the answer to one order.
    pub(crate) async fn one<T>(&mut self, order: impl Future<Output = Result<T>>) -> T {
        let number = self.number();
        let answer = order.await.unwrap();
        self.watched.answered(number);
        self.end_stage(vec![(number, String::new())]);
        answer
    }

    /// Waits for the answers to orders that are given at once, each of an account's own.
    pub(crate) async fn all<O>(
        &mut self,
        orders: impl Iterator<Item = (String, O)>,
    ) -> Vec<O::Answer>
    where
        O: Order + Send + 'static,
        O::Answer: Send + 'static,
    {
        let mut numbers = Vec::new();
        let mut given = JoinSet::new();
        for (id, order) in orders {
            let number = self.number();
            numbers.push((number, id));
            let (store, watched) = (self.store(), self.watched.clone());
            given.spawn(async move {
                let answer = store.decide(order).await.unwrap();
                watched.answered(number);
                answer
            });
        }
        let answers = given.join_all().await;
        self.end_stage(numbers);
        answers
    }

    /// Merges the log into the file, as another program may.
    pub(crate) fn merge(&self) {
        let db = Connection::open(self.folder.path().join(STORE)).unwrap();
        db.execute_batch("PRAGMA wal_checkpoint").unwrap();
    }

    fn number(&mut self) -> usize {
        self.given += 1;
        self.given - 1
    }

    fn end_stage(&mut self, orders: Vec<(usize, String)>) {
        let before = self.stages.last().map(|stage| stage.after.clone());
        self.stages.push(Stage {
            before: before.unwrap_or_else(|| self.empty.clone()),
            after: rows(&self.folder.path().join(STORE)).unwrap(),
            orders,
        });
    }

    pub(crate) fn end(self) -> Given {
        let Self {
            store,
            watched,
            stages,
            given: orders,
            ..
        } = self;
        drop(store);
        let watched = Arc::into_inner(watched).unwrap();
        Given {
            deeds: watched.deeds(),
            stages,
            orders,
        }
    }
}

impl Given {
    /// Whether a store that is opened in `files` holds every order that was answered, and
    /// every other wholly or not at all.
    ///
    /// # Errors
    ///
    /// What it does not hold, or holds by half; or why it cannot be opened.
    pub(crate) async fn is_held(
        &self,
        files: &BTreeMap<String, Vec<u8>>,
        answered: &BTreeSet<usize>,
    ) -> std::result::Result<(), Loss> {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            std::fs::write(folder.path().join(name), content).unwrap();
        }
        let path = folder.path().join(STORE);
        let store = Sqlite::open_or_create(&path, &Seal::none()).await;
        let store = store.map_err(|error| Loss::Broken(error.to_string()))?;
        let held = rows(&path).map_err(Loss::Broken)?;
        drop(store);
        let is_open = |stage: &&Stage| !stage.orders.iter().all(|(n, _)| answered.contains(n));
        let stage = self.stages.iter().find(is_open).or(self.stages.last());
        stage.unwrap().is_held(&held, answered)
    }
}

impl Stage {
    fn is_held(&self, held: &Rows, answered: &BTreeSet<usize>) -> std::result::Result<(), Loss> {
        let mut others = self.before.intersection(&self.after);
        if let Some(lost) = others.find(|row| !held.contains(*row)) {
            return Err(Loss::Answered(lost.clone()));
        }
        let gone: Rows = self.before.difference(&self.after).cloned().collect();
        let new: Rows = self.after.difference(&self.before).cloned().collect();
        for (number, key) in &self.orders {
            let all = |rows: &Rows, are: bool| {
                let mut own = rows.iter().filter(|row| row.contains(key));
                own.all(|row| held.contains(row) == are)
            };
            let is_done = all(&gone, false) && all(&new, true);
            let is_undone = all(&gone, true) && all(&new, false);
            if !is_done && answered.contains(number) {
                return Err(Loss::Answered(format!("order {number}")));
            }
            if !is_done && !is_undone {
                return Err(Loss::Broken(format!("order {number} is done by half")));
            }
        }
        let is_strange = |row: &&String| !self.before.contains(*row) && !self.after.contains(*row);
        match held.iter().find(is_strange) {
            // What all orders of a crowd change together is in between.
            Some(strange) if self.orders.len() == 1 => Err(Loss::Broken(strange.clone())),
            _ => Ok(()),
        }
    }
}

/// All rows of a store that is sound.
fn rows(path: &Path) -> std::result::Result<Rows, String> {
    sound_rows(&Connection::open(path).map_err(|e| e.to_string())?).map_err(|e| e.to_string())
}

fn sound_rows(db: &Connection) -> rusqlite::Result<Rows> {
    let integrity: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    if integrity != "ok" {
        return Ok(Rows::from([integrity]));
    }
    let mut rows = Rows::new();
    let broken = db.prepare("PRAGMA foreign_key_check")?.exists([])?;
    rows.extend(broken.then(|| "a reference is broken".to_owned()));
    let tables: Vec<String> = db
        .prepare(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
        )?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for table in tables {
        let mut query = db.prepare(&format!("SELECT * FROM {table}"))?;
        let columns = query.column_count();
        let mut found = query.query([])?;
        while let Some(row) = found.next()? {
            let mut line = table.clone();
            for column in 0..columns {
                line.push('|');
                match row.get_ref(column)? {
                    ValueRef::Null => {}
                    ValueRef::Integer(number) => line.push_str(&number.to_string()),
                    ValueRef::Real(number) => line.push_str(&number.to_string()),
                    ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
                        line.push_str(&String::from_utf8_lossy(bytes));
                    }
                }
            }
            rows.insert(line);
        }
    }
    Ok(rows)
}
