//! Which file a store was opened in: another one under its name is not the store.

use super::{Access, SqlResult, connect};
use crate::{Result, StoreError, Unavailable};
use rusqlite::Connection;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Clone)]
pub(super) struct Place {
    path: PathBuf,
    access: Access,
    file: (u64, u64),
}

impl Place {
    /// # Errors
    ///
    /// When there is no file.
    pub(super) fn of(path: &Path, access: Access) -> Result<Self> {
        let file = file(path).ok_or_else(|| StoreError("there is no file".into()))?;
        let path = path.to_owned();
        Ok(Self { path, access, file })
    }

    /// A connection to it.
    pub(super) fn connect(&self, patience: Duration) -> SqlResult<Connection> {
        connect(&self.path, patience, self.access)
    }

    /// Whether another file has the name, or none.
    pub(super) fn is_lost(&self) -> bool {
        file(&self.path) != Some(self.file)
    }

    /// # Errors
    ///
    /// Where it is lost: what is written then would be lost, too, or spoil another file.
    pub(super) fn require(&self) -> Result<()> {
        if !self.is_lost() {
            return Ok(());
        }
        let path = self.path.display();
        Err(Unavailable::Moved(format!(
            "{path} is not the file that was opened: it was moved, replaced or deleted. Where \
                 it was moved, move it back, and leave {path}-wal alone: it holds what was \
                 committed last. To serve another file, stop the host, remove {path}-wal and \
                 {path}-shm, put it there and start the host again"
        ))
        .into())
    }
}

/// Device and inode.
fn file(path: &Path) -> Option<(u64, u64)> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}
