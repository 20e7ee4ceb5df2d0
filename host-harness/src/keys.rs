//! Which keys open and seal what a store keeps secret.

use anyhow::bail;
use chat_store::seal::{KeySource, Seal};
use clap::Args;
use std::path::PathBuf;

/// A key itself, where there is no file.
const KEY: &str = "HOST_HARNESS_KEY";

/// Where the keys are.
#[derive(Args)]
pub(crate) struct KeyFile {
    /// The file of the keys under which the store is sealed, where it is; or
    /// HOST_HARNESS_KEY holds a key itself.
    #[arg(
        long,
        global = true,
        env = "HOST_HARNESS_KEY_FILE",
        hide_env_values = true,
        value_name = "FILE"
    )]
    key_file: Option<PathBuf>,
}

impl KeyFile {
    /// Where the keys come from.
    pub(crate) fn source(&self) -> anyhow::Result<KeySource> {
        let key = std::env::var_os(KEY).map(|key| key.into_string());
        Ok(match (&self.key_file, key) {
            (Some(_), Some(_)) => bail!("{KEY} and a key file are both given: one is enough"),
            (Some(file), None) => KeySource::File(file.clone()),
            (None, Some(Ok(key))) => KeySource::Text(key.into()),
            (None, Some(Err(_))) => bail!("{KEY} is no text"),
            (None, None) => KeySource::Nowhere,
        })
    }

    /// What seals and opens by these keys.
    pub(crate) fn seal(&self) -> anyhow::Result<Seal> {
        Ok(self.source()?.seal()?)
    }
}
