//! Connections that read.
//!
//! A glance is taken on the caller's own thread: what it costs is a few microseconds of
//! look-ups in pages that are in memory, less than to wake another thread. It never
//! waits for a lock; what would have to is read again on a thread that may wait.

use super::{BUSY_TIMEOUT, SqlResult, blocking, connect, is_busy};
use crate::{Result, StoreError};
use rusqlite::Connection;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

/// Connections that are kept for glances: as many as are taken at the same time on a
/// machine of a few cores. One more is opened where all are in use.
const KEPT: usize = 4;

/// Connections that read and wait at the same time.
const PATIENT: usize = 2;

pub(super) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    patient: Arc<Semaphore>,
}

impl Readers {
    /// Opens the first.
    pub(super) fn of(path: PathBuf) -> SqlResult<Self> {
        let first = connect(&path, Duration::ZERO)?;
        Ok(Self {
            path,
            idle: Mutex::new(vec![first]),
            patient: Arc::new(Semaphore::new(PATIENT)),
        })
    }

    /// What `query` finds now, or that another program keeps the store busy.
    pub(super) fn glance<T>(
        &self,
        query: impl FnOnce(&Connection) -> SqlResult<T>,
    ) -> SqlResult<T> {
        let idle = self.idle().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => connect(&self.path, Duration::ZERO)?,
        };
        let found = query(&connection);
        let mut idle = self.idle();
        if idle.len() < KEPT {
            idle.push(connection);
        }
        found
    }

    /// What `query` finds, on a thread that may wait for the disk and other programs.
    pub(super) async fn wait_and_read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> SqlResult<T> + Send + 'static,
    ) -> Result<T> {
        let turn = self.patient.clone().acquire_owned().await;
        let turn = turn.map_err(|closed| StoreError(closed.into()))?;
        let path = self.path.clone();
        blocking(move || {
            let _turn = turn;
            let connection = connect(&path, BUSY_TIMEOUT)?;
            let snapshot = connection.unchecked_transaction()?;
            Ok(query(&snapshot)?)
        })
        .await
    }

    /// What `query` finds: by a glance where that does.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        query: fn(&Connection) -> SqlResult<T>,
    ) -> Result<T> {
        match self.glance(query) {
            Err(error) if is_busy(&error) => self.wait_and_read(query).await,
            found => Ok(found?),
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
