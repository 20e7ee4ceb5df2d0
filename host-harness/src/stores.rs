//! The store files of a process: each is opened when a workspace in it is first
//! used.

use crate::store::sqlite::Sqlite;
use crate::store::{self, Store};
use arc_swap::ArcSwapOption;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::Mutex;

/// A store, open or not.
pub struct StoreFile {
    path: PathBuf,
    open: ArcSwapOption<Open>,
    opening: Mutex<()>,
}

/// What holds a store open.
struct Open {
    store: Arc<dyn Store>,
}

impl StoreFile {
    /// The store in the file at `path`, which is opened when it is first used.
    pub fn at(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            open: ArcSwapOption::empty(),
            opening: Mutex::new(()),
        }
    }

    /// A store that is open and stays so. Whoever opened it delivers its mail.
    pub fn opened(store: Arc<dyn Store>) -> Self {
        let file = Self::at(Path::new(""));
        file.open.store(Some(Arc::new(Open { store })));
        file
    }

    /// The store; opens the file where it is not.
    ///
    /// # Errors
    ///
    /// As [`Sqlite::open`].
    pub async fn get(&self) -> store::Result<Arc<dyn Store>> {
        if let Some(open) = &*self.open.load() {
            return Ok(open.store.clone());
        }
        let _opening = self.opening.lock().await;
        if let Some(open) = &*self.open.load() {
            return Ok(open.store.clone());
        }
        let store: Arc<dyn Store> = Arc::new(Sqlite::open(&self.path).await?);
        self.open.store(Some(Arc::new(Open {
            store: store.clone(),
        })));
        Ok(store)
    }
}
