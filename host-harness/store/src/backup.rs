//! Copies of a whole store, made while it is served. A backup is a store in a SQLite file,
//! whichever kind of store it is a copy of: it can be looked at as it is, and restored into
//! either kind. So a deployment that has outgrown one file moves to PostgreSQL. Rocket.Chat's own
//! database is copied by its own tools alone.

use crate::{Result, StoreError, StoreUrl, mongodb, postgres, sqlite};
use std::fs::File;
use std::io;
use std::path::Path;

/// The tables that hold what was told to a store; those that others refer to come first.
pub(crate) const TABLES: [&str; 19] = [
    "sealing",
    "workspace",
    "setting",
    "fixed_setting",
    "role",
    "role_permission",
    "user",
    "user_role",
    "email",
    "login_token",
    "totp",
    "backup_code",
    "pending_totp",
    "email_code",
    "failed_attempt",
    "outbox",
    "audit",
    "audit_leaf",
    "audit_log",
];

/// Rows that travel together: some hundred kilobytes, so that neither side waits for each.
pub(crate) const TOGETHER: usize = 1000;

/// What a column of a row holds. A flag is 0 or 1.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    Null,
    Number(i64),
    Text(String),
    Bytes(Vec<u8>),
}

/// Some rows of a table.
pub(crate) struct Rows {
    /// Which of [`TABLES`].
    pub(crate) table: usize,
    pub(crate) rows: Vec<Vec<Cell>>,
}

impl Rows {
    /// What is sent last: where it does not come, who sends has failed.
    pub(crate) const END: Self = Self {
        table: TABLES.len(),
        rows: Vec::new(),
    };
}

/// Why a side of a copy ends: the other has, and says why.
#[derive(Debug, thiserror::Error)]
#[error("the other side of the copy has ended")]
pub(crate) struct OtherSideEnded;

impl From<OtherSideEnded> for StoreError {
    fn from(ended: OtherSideEnded) -> Self {
        Self(Box::new(ended))
    }
}

/// How a copy has ended whose sides have ended so.
fn both(one: Result<()>, other: Result<()>) -> Result<()> {
    match one {
        Err(error) if error.0.is::<OtherSideEnded>() => other.and(Err(error)),
        one => one.and(other),
    }
}

/// The names of the columns of each of [`TABLES`], as they are copied.
pub(crate) type Columns = Vec<Vec<String>>;

/// The names of columns, as statements list them.
pub(crate) fn listed(columns: &[String]) -> String {
    let quoted: Vec<_> = columns.iter().map(|name| format!("\"{name}\"")).collect();
    quoted.join(", ")
}

/// # Errors
///
/// When either place cannot be read or written, or is not as it must be; nothing is left of a
/// copy that failed.
impl StoreUrl {
    /// Copies the store, as it is at one moment, into a file at `to`, where there is none. The
    /// store may be served meanwhile; it must be of this version.
    pub async fn back_up(&self, to: &Path) -> Result<()> {
        make(to, async |to| match self {
            Self::Sqlite(from) => sqlite::copy::file(from, to).await,
            Self::Postgres(from) => {
                let (columns, rows, written) = sqlite::copy::writer(to).await?;
                let sent = postgres::copy::send(from, &columns, rows).await;
                let written = written.await.map_err(|panic| StoreError(panic.into()))?;
                both(sent, written)
            }
            Self::Mongodb(_) => Err(mongodb::no_copies()),
        })
        .await
    }

    /// Makes the store out of the backup in the file at `from`: in a file where there is none,
    /// or in an empty database. Into a database it must be of this version; an older one is
    /// brought up to date by being restored into a file first, and opened.
    pub async fn restore(&self, from: &Path) -> Result<()> {
        match self {
            Self::Sqlite(to) => make(to, async |to| sqlite::copy::file(from, to).await).await,
            Self::Postgres(to) => {
                let (columns, rows, read) = sqlite::copy::reader(from).await?;
                let received = postgres::copy::receive(to, &columns, rows).await;
                let read = read.await.map_err(|panic| StoreError(panic.into()))?;
                both(received, read)
            }
            Self::Mongodb(_) => Err(mongodb::no_copies()),
        }
    }
}

impl StoreUrl {
    /// What is broken where the store is kept, of itself and between its rows; nothing where
    /// all is well. Databases on a server keep both by themselves.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub async fn problems(&self) -> Result<Vec<String>> {
        match self {
            Self::Sqlite(path) => sqlite::copy::problems(path).await,
            Self::Postgres(_) | Self::Mongodb(_) => Ok(Vec::new()),
        }
    }
}

/// Makes a file, which its owner alone can read: it has its name once it is whole.
async fn make(path: &Path, fill: impl AsyncFnOnce(&Path) -> Result<()>) -> Result<()> {
    let failed = |error| StoreError(format!("{}: {error}", path.display()).into());
    if path.symlink_metadata().is_ok() {
        return Err(failed(io::Error::other(
            "there is a file of that name already",
        )));
    }
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".partial-");
    let file = tempfile::Builder::new().prefix(&name).tempfile_in(folder);
    let file = file.map_err(failed)?;
    fill(file.path()).await?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist_noclobber(path)
        .map_err(|error| failed(error.error))?;
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::Seal;
    use rusqlite::Connection;

    /// What a store keeps for itself.
    const OWN: [&str; 1] = ["probe"];

    #[tokio::test]
    async fn every_table_is_copied() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        drop(
            sqlite::Sqlite::open_or_create(&path, &Seal::none())
                .await
                .unwrap(),
        );
        let db = Connection::open(&path).unwrap();
        let mut tables: Vec<String> = db
            .prepare(
                "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'",
            )
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .map(std::result::Result::unwrap)
            .collect();
        tables.retain(|table| !OWN.contains(&table.as_str()));
        tables.sort();
        let mut copied = TABLES.to_vec();
        copied.sort_unstable();
        assert_eq!(tables, copied);
    }
}
