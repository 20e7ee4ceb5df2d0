//! `store`: seal what a store keeps secret, and change the key.

use super::{File, Report, count};
use anyhow::Context;
use chat_store::seal::new_key;
use clap::Subcommand;
use secrecy::ExposeSecret;
use serde_json::json;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Print a new key: the line of a key file.
    ///
    /// Example: (umask 077; host-harness store new-key > chat.key)
    NewKey,
    /// Seal everything under the first key of the key file.
    ///
    /// A store that is under another key of the file may be served meanwhile, by hosts that have
    /// read the file with both. One that is not sealed yet must not: stop its hosts first.
    /// Interrupted, it is begun again.
    ///
    /// Example: host-harness store rekey --store chat.sqlite --key-file chat.key
    Rekey,
}

pub(super) async fn run(file: &File, command: Command) -> anyhow::Result<Report> {
    match command {
        Command::NewKey => {
            let key = new_key();
            Ok(Report {
                text: key.expose_secret().to_owned(),
                json: json!({"key": key.expose_secret()}),
            })
        }
        Command::Rekey => rekey(file).await,
    }
}

async fn rekey(file: &File) -> anyhow::Result<Report> {
    let url = file.url()?;
    let seal = file.keys.seal()?;
    let key = seal.key_id().context(
        "under which key? Name its file by --key-file or by HOST_HARNESS_KEY_FILE; `host-harness \
         store new-key` prints a key",
    )?;
    let values = url.rekey(&seal).await;
    let values = values.with_context(|| format!("cannot seal the store {url}"))?;
    let sealed = count(usize::try_from(values)?, "value");
    Ok(Report {
        text: format!("{sealed} sealed; everything is under the key {key} now"),
        json: json!({"values": values, "keyId": key}),
    })
}
