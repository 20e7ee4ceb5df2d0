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

/// What lets everybody on the machine write or read a file.
const ALL_WRITE: u32 = 0o002;
const ALL_READ: u32 = 0o004;

/// # Errors
///
/// Where everybody may write the file: whoever does decides who is an administrator.
pub(super) fn require_own(path: &Path) -> Result<()> {
    match mode(path) & ALL_WRITE {
        0 => Ok(()),
        _ => Err(StoreError(
            format!(
                "everybody may write it: `chmod o-w {}` first",
                path.display()
            )
            .into(),
        )),
    }
}

/// What an operator should mend in the file at `path`: everybody may read what it holds.
pub(super) fn advice(path: &Path) -> Option<String> {
    let shown = path.display();
    (mode(path) & ALL_READ != 0).then(|| {
        format!(
            "{shown} holds TOTP keys and password hashes, and everybody may read it: `chmod o-r \
             {shown}`"
        )
    })
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).map_or(0, |metadata| metadata.mode())
}

/// Device and inode.
fn file(path: &Path) -> Option<(u64, u64)> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}
