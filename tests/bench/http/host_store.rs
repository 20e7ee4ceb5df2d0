//! The population in a store of this host.

use crate::population::{Account, Population};
use crate::{Measured, WORKSPACE};
use chat_domain::account::{Email, Token, TotpFactor};
use chat_domain::operator::{NewUser, NewWorkspace, default_roles};
use chat_domain::settings::Settings;
use chat_domain::time::Timestamp;
use chat_domain::totp::TotpKey;
use chat_store::seal::Seal;
use chat_store::sqlite::Sqlite;
use std::net::SocketAddr;
use std::path::Path;

/// Makes the store at `path`, whose mail goes to `mail_server`; its sessions end at
/// `expires`, in milliseconds of Unix time.
pub(crate) async fn fill(
    path: &Path,
    population: &Population,
    mail_server: SocketAddr,
    expires: i64,
) -> Measured<()> {
    let store = Sqlite::open_or_create(path, &Seal::none()).await?;
    let settings = Settings {
        mail_server: format!("smtp://{mail_server}").into(),
        mail_from: "chat@example.com".to_owned(),
        ..Settings::default()
    };
    let users = population.sorted();
    let users = users.iter().map(|account| new_user(account, expires));
    let workspace = NewWorkspace {
        id: WORKSPACE.to_owned(),
        settings,
        roles: default_roles(),
        users: users.collect(),
    };
    store.create_workspace(workspace).await?;
    Ok(())
}

fn new_user(account: &Account, expires: i64) -> NewUser {
    NewUser {
        id: account.id.clone(),
        username: account.username.clone(),
        roles: vec![account.role.to_owned()],
        emails: vec![Email {
            address: account.email(),
            verified: true,
        }],
        tokens: vec![Token {
            hash: account.token_hash(),
            expires: Some(Timestamp::from_millis(expires)),
            name: None,
            bypass_two_factor: false,
        }],
        totp: Some(TotpFactor {
            key: TotpKey::new(account.key.clone()),
            last_step: None,
            backup_code_hashes: account.backup_code_hashes.clone(),
            spent_code_hashes: Vec::new(),
        }),
        ..NewUser::default()
    }
}
