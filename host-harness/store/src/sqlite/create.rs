//! Creates a workspace with everything in it.

use super::{SqlResult, token};
use chat_domain::account::TotpFactor;
use chat_domain::directory::{NewUser, NewWorkspace};
use chat_domain::settings::SETTINGS;
use secrecy::{ExposeSecret, SecretString};
use tokio_rusqlite::rusqlite::{Transaction, params};

pub(super) fn create_workspace(tx: &Transaction<'_>, workspace: &NewWorkspace) -> SqlResult<()> {
    tx.execute("INSERT INTO workspace (id) VALUES (?1)", [&workspace.id])?;
    for setting in &SETTINGS {
        if setting.is_changed(&workspace.settings) {
            let value = setting.value(&workspace.settings);
            write_setting(tx, &workspace.id, setting.name, &value)?;
        }
    }
    for role in &workspace.roles {
        insert_role(tx, &workspace.id, &role.name)?;
        for permission in &role.permissions {
            insert_permission(tx, &workspace.id, &role.name, permission)?;
        }
    }
    workspace
        .users
        .iter()
        .try_for_each(|user| create_user(tx, &workspace.id, user))
}

/// A role that is there already stays as it is.
pub(super) fn insert_role(tx: &Transaction<'_>, workspace: &str, name: &str) -> SqlResult<()> {
    tx.prepare_cached("INSERT OR IGNORE INTO role (workspace, name) VALUES (?1, ?2)")?
        .execute([workspace, name])?;
    Ok(())
}

/// A permission that the role grants already stays.
pub(super) fn insert_permission(
    tx: &Transaction<'_>,
    workspace: &str,
    role: &str,
    permission: &str,
) -> SqlResult<()> {
    tx.prepare_cached(
        "INSERT OR IGNORE INTO role_permission (workspace, role, permission) VALUES (?1, ?2, ?3)",
    )?
    .execute([workspace, role, permission])?;
    Ok(())
}

pub(super) fn write_setting(
    tx: &Transaction<'_>,
    workspace: &str,
    name: &str,
    value: &SecretString,
) -> SqlResult<()> {
    tx.prepare_cached(
        "INSERT OR REPLACE INTO setting (workspace, name, value) VALUES (?1, ?2, ?3)",
    )?
    .execute([workspace, name, value.expose_secret()])?;
    Ok(())
}

pub(super) fn create_user(tx: &Transaction<'_>, workspace: &str, user: &NewUser) -> SqlResult<()> {
    tx.execute(
        "INSERT INTO user (workspace, id, username, username_key, password_hash, federated,
                           deactivated, email_two_factor)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            workspace,
            user.id,
            user.username,
            user.username.to_lowercase(),
            user.password_hash.as_ref().map(ExposeSecret::expose_secret),
            user.federated,
            user.deactivated,
            user.email_two_factor
        ],
    )?;
    for role in &user.roles {
        tx.execute(
            "INSERT INTO user_role (workspace, user, role) VALUES (?1, ?2, ?3)",
            params![workspace, user.id, role],
        )?;
    }
    for email in &user.emails {
        tx.execute(
            "INSERT INTO email (workspace, user, address, verified) VALUES (?1, ?2, ?3, ?4)",
            params![workspace, user.id, email.address, email.verified],
        )?;
    }
    for new in &user.tokens {
        token::insert(tx, workspace, &user.id, new)?;
    }
    match &user.totp {
        Some(factor) => enrol(tx, workspace, &user.id, factor),
        None => Ok(()),
    }
}

pub(super) fn enrol(
    tx: &Transaction<'_>,
    workspace: &str,
    user: &str,
    factor: &TotpFactor,
) -> SqlResult<()> {
    tx.execute(
        "INSERT INTO totp (workspace, user, key, last_step) VALUES (?1, ?2, ?3, ?4)",
        params![
            workspace,
            user,
            factor.key.expose(),
            factor.last_step.map(u64::cast_signed)
        ],
    )?;
    insert_backup_codes(tx, workspace, user, &factor.backup_code_hashes)
}

pub(super) fn replace_backup_codes(
    tx: &Transaction<'_>,
    workspace: &str,
    user: &str,
    hashes: &[String],
) -> SqlResult<()> {
    tx.prepare_cached("DELETE FROM backup_code WHERE workspace = ?1 AND user = ?2")?
        .execute([workspace, user])?;
    insert_backup_codes(tx, workspace, user, hashes)
}

fn insert_backup_codes(
    tx: &Transaction<'_>,
    workspace: &str,
    user: &str,
    hashes: &[String],
) -> SqlResult<()> {
    let mut insert =
        tx.prepare_cached("INSERT INTO backup_code (workspace, user, hash) VALUES (?1, ?2, ?3)")?;
    for hash in hashes {
        insert.execute([workspace, user, hash])?;
    }
    Ok(())
}
