//! The population in a store of the peers.

use crate::Measured;
use crate::population::{Account, Population};
use rusqlite::{Connection, Transaction, params};
use std::path::Path;

const SCHEMA: &str = include_str!("../peers/schema.sql");

/// What a role may do, as in this host's default roles.
const PERMISSIONS: &str = "INSERT INTO role_permission VALUES
    ('admin', 'api-bypass-rate-limit'), ('admin', 'edit-other-user-totp')";

/// Makes the store at `path`; its sessions end at `expires`, in milliseconds of Unix
/// time.
pub(crate) fn fill(path: &Path, population: &Population, expires: i64) -> Measured<()> {
    let mut connection = Connection::open(path)?;
    let tx = connection.transaction()?;
    tx.execute_batch(SCHEMA)?;
    tx.execute(PERMISSIONS, [])?;
    for account in population.sorted() {
        insert(&tx, account, expires)?;
    }
    Ok(tx.commit()?)
}

fn insert(tx: &Transaction<'_>, account: &Account, expires: i64) -> Measured<()> {
    let Account {
        id, username, role, ..
    } = account;
    tx.prepare_cached("INSERT INTO user (id, username, username_key) VALUES (?1, ?2, ?2)")?
        .execute([id, username])?;
    tx.prepare_cached("INSERT INTO user_role VALUES (?1, ?2)")?
        .execute(params![id, role])?;
    tx.prepare_cached("INSERT INTO email VALUES (?1, ?2, TRUE)")?
        .execute([id, &account.email()])?;
    tx.prepare_cached("INSERT INTO login_token VALUES (?1, ?2, ?3)")?
        .execute(params![id, account.token_hash(), expires])?;
    tx.prepare_cached("INSERT INTO totp (user, secret) VALUES (?1, ?2)")?
        .execute([id, &account.secret()])?;
    for hash in &account.backup_code_hashes {
        tx.prepare_cached("INSERT INTO backup_code VALUES (?1, ?2)")?
            .execute([id, hash])?;
    }
    Ok(())
}
