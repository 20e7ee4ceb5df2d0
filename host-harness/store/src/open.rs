//! Opens the store at an address, whichever it is.

use crate::mongodb::{self, Mongodb};
use crate::postgres::{self, Postgres};
use crate::seal::{self, NotAdmitted, Seal};
use crate::sqlite::{self, Sqlite};
use crate::{Result, Store, StoreError, StoreUrl};
use chat_domain::operator::SettingPlace;
use chat_domain::settings::Settings;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The settings of a workspace, and which of them a configuration says.
#[derive(Debug, Default)]
pub struct Surveyed {
    /// All.
    pub settings: Settings,
    /// Those of a configuration, sorted by name.
    pub fixed: Vec<SettingPlace>,
}

impl Surveyed {
    /// What is known of each workspace.
    pub(crate) fn of_all(
        settings: impl IntoIterator<Item = (String, Settings)>,
        fixed: impl IntoIterator<Item = (String, SettingPlace)>,
    ) -> BTreeMap<String, Self> {
        let mut surveyed: BTreeMap<String, Self> = BTreeMap::new();
        for (workspace, settings) in settings {
            surveyed.entry(workspace).or_default().settings = settings;
        }
        for (workspace, place) in fixed {
            surveyed.entry(workspace).or_default().fixed.push(place);
        }
        surveyed
    }
}

/// # Errors
///
/// Every function fails when the store cannot be reached, read or written, it is not a
/// store, or it was written by a newer version; those that are given a [`Seal`] also as
/// [`Seal::admit`].
impl StoreUrl {
    /// Opens the store, which must exist, and brings its schema up to date. It answers from
    /// the runtime that opened it, which must outlive its use.
    pub async fn open(&self, seal: &Seal) -> Result<Arc<dyn Store>> {
        match self {
            Self::Sqlite(path) => Sqlite::open(path, seal).await,
            Self::Postgres(url) => Postgres::open(url, seal).await,
            Self::Mongodb(url) => Mongodb::open(url, seal).await,
        }
    }

    /// Opens the store, and makes it first where there is none: a file, or what an empty
    /// database needs. It is sealed then where there is a key.
    pub async fn open_or_create(&self, seal: &Seal) -> Result<Arc<dyn Store>> {
        match self {
            Self::Sqlite(path) => Sqlite::open_or_create(path, seal).await,
            Self::Postgres(url) => Postgres::open_or_create(url, seal).await,
            Self::Mongodb(url) => Mongodb::open_or_create(url, seal).await,
        }
    }

    /// Opens the store to look at it, where it cannot be written: what would change it fails.
    pub async fn open_to_look(&self, seal: &Seal) -> Result<Arc<dyn Store>> {
        match self {
            Self::Sqlite(path) => Sqlite::open_to_look(path, seal).await,
            Self::Postgres(url) => Postgres::open_to_look(url, seal).await,
            Self::Mongodb(url) => Mongodb::open_to_look(url, seal).await,
        }
    }

    /// Its workspaces and the settings of each, after a look that leaves nothing open. An
    /// older store is brought up to date.
    pub async fn survey(&self, seal: &Seal) -> Result<BTreeMap<String, Surveyed>> {
        match self {
            Self::Sqlite(path) => sqlite::survey(path, seal).await,
            Self::Postgres(url) => postgres::survey(url, seal).await,
            Self::Mongodb(url) => mongodb::survey(url, seal).await,
        }
    }

    /// Whether it holds mail to be sent, or is of an older version and cannot tell: a look
    /// that costs one short-lived connection.
    pub async fn holds_mail(&self) -> Result<bool> {
        match self {
            Self::Sqlite(path) => sqlite::holds_mail(path).await,
            Self::Postgres(url) => postgres::holds_mail(url).await,
            Self::Mongodb(url) => mongodb::holds_mail(url).await,
        }
    }

    /// Seals everything in it under the key that seals, whether it is under another key or not
    /// sealed at all; gives how many values there were. A store that is sealed may be served
    /// meanwhile, as [`crate::seal::rekey()`] says; one that is not must not be.
    pub async fn rekey(&self, seal: &Seal) -> Result<u64> {
        match self.open(seal).await {
            Ok(store) if !seal.is_none() => {
                if let Self::Postgres(url) = self {
                    postgres::end_sealing(url).await?;
                }
                seal::rekey(&*store).await
            }
            Ok(_) => Err(StoreError("there is no key to seal it under".into())),
            Err(error) if error.0.downcast_ref() == Some(&NotAdmitted::Unsealed) => match self {
                Self::Sqlite(path) => sqlite::seal_first(path, seal).await,
                Self::Postgres(url) => postgres::seal_first(url, seal).await,
                Self::Mongodb(url) => mongodb::seal_first(url, seal).await,
            },
            Err(error) => Err(error),
        }
    }

    /// What an operator should mend where it is kept.
    pub fn advice(&self) -> Option<String> {
        match self {
            Self::Sqlite(path) => sqlite::advice(path),
            Self::Postgres(_) | Self::Mongodb(_) => None,
        }
    }

    /// What may help whoever could not open it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Sqlite(path) if !path.exists() => "; `host-harness workspace create` makes one",
            Self::Sqlite(_) | Self::Postgres(_) | Self::Mongodb(_) => "",
        }
    }
}
