//! Creates a workspace with everything in it.

use super::{Db, SqlResult};
use crate::convention::{sealed_key, sealed_setting};
use crate::seal::{BACKUP_CODE, TOTP_KEY};
use chat_domain::account::{Token, TotpFactor, skeletons, username_key};
use chat_domain::operator::{NewUser, NewWorkspace};
use chat_domain::settings::{SETTINGS, Setting};
use chat_domain::time::Timestamp;
use rusqlite::{Connection, params};
use secrecy::{ExposeSecret, SecretString};

pub(super) fn create_workspace(db: Db<'_>, workspace: &NewWorkspace) -> SqlResult<()> {
    db.execute("INSERT INTO workspace (id) VALUES (?1)", [&workspace.id])?;
    for setting in &SETTINGS {
        if setting.is_changed(&workspace.settings) {
            let value = setting.value(&workspace.settings);
            write_setting(db, &workspace.id, setting, &value)?;
        }
    }
    for role in &workspace.roles {
        insert_role(&db, &workspace.id, &role.name)?;
        for permission in &role.permissions {
            insert_permission(&db, &workspace.id, &role.name, permission)?;
        }
    }
    workspace
        .users
        .iter()
        .try_for_each(|user| create_user(db, &workspace.id, user))
}

/// A role that is there already stays as it is.
pub(super) fn insert_role(db: &Connection, workspace: &str, name: &str) -> SqlResult<()> {
    db.prepare_cached("INSERT OR IGNORE INTO role (workspace, name) VALUES (?1, ?2)")?
        .execute([workspace, name])?;
    Ok(())
}

/// A permission that the role grants already stays.
pub(super) fn insert_permission(
    db: &Connection,
    workspace: &str,
    role: &str,
    permission: &str,
) -> SqlResult<()> {
    db.prepare_cached(
        "INSERT OR IGNORE INTO role_permission (workspace, role, permission) VALUES (?1, ?2, ?3)",
    )?
    .execute([workspace, role, permission])?;
    Ok(())
}

pub(super) fn write_setting(
    db: Db<'_>,
    workspace: &str,
    setting: &Setting,
    value: &SecretString,
) -> SqlResult<()> {
    let value = sealed_setting(db.seal, workspace, setting, value);
    db.prepare_cached(
        "INSERT OR REPLACE INTO setting (workspace, name, value) VALUES (?1, ?2, ?3)",
    )?
    .execute([workspace, setting.name, value.expose_secret()])?;
    Ok(())
}

pub(super) fn create_user(db: Db<'_>, workspace: &str, user: &NewUser) -> SqlResult<()> {
    let [skeleton, skeleton_as_written] = skeletons(&user.username);
    db.execute(
        "INSERT INTO user (workspace, id, username, username_key, password_hash, federated,
                           deactivated, email_two_factor, skeleton, skeleton_as_written)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        params![
            workspace,
            user.id,
            user.username,
            username_key(&user.username),
            user.password_hash.as_ref().map(ExposeSecret::expose_secret),
            user.federated,
            user.deactivated,
            user.email_two_factor,
            skeleton,
            skeleton_as_written
        ],
    )?;
    for role in &user.roles {
        db.execute(
            "INSERT INTO user_role (workspace, user, role) VALUES (?1, ?2, ?3)",
            params![workspace, user.id, role],
        )?;
    }
    for email in &user.emails {
        db.execute(
            "INSERT INTO email (workspace, user, address, verified) VALUES (?1, ?2, ?3, ?4)",
            params![workspace, user.id, email.address, email.verified],
        )?;
    }
    for token in &user.tokens {
        insert_token(&db, workspace, &user.id, token)?;
    }
    match &user.totp {
        Some(factor) => enrol(db, workspace, &user.id, factor),
        None => Ok(()),
    }
}

pub(super) fn enrol(db: Db<'_>, workspace: &str, user: &str, factor: &TotpFactor) -> SqlResult<()> {
    db.execute(
        "INSERT INTO totp (workspace, user, key, last_step) VALUES (?1, ?2, ?3, ?4)",
        params![
            workspace,
            user,
            sealed_key(db.seal, &TOTP_KEY.of(workspace, user), &factor.key),
            factor.last_step.map(u64::cast_signed)
        ],
    )?;
    insert_backup_codes(db, workspace, user, &factor.backup_code_hashes)
}

pub(super) fn replace_backup_codes(
    db: Db<'_>,
    workspace: &str,
    user: &str,
    hashes: &[String],
) -> SqlResult<()> {
    db.prepare_cached("DELETE FROM backup_code WHERE workspace = ?1 AND user = ?2")?
        .execute([workspace, user])?;
    insert_backup_codes(db, workspace, user, hashes)
}

pub(super) fn insert_token(
    db: &Connection,
    workspace: &str,
    user: &str,
    token: &Token,
) -> SqlResult<()> {
    db.prepare_cached(
        "INSERT INTO login_token (workspace, user, hash, expires, bypass_two_factor, name)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![
        workspace,
        user,
        token.hash,
        token.expires.map(Timestamp::millis),
        token.bypass_two_factor,
        token.name
    ])?;
    Ok(())
}

fn insert_backup_codes(
    db: Db<'_>,
    workspace: &str,
    user: &str,
    hashes: &[String],
) -> SqlResult<()> {
    let mut insert =
        db.prepare_cached("INSERT INTO backup_code (workspace, user, hash) VALUES (?1, ?2, ?3)")?;
    for hash in hashes {
        let hash = db.seal.seal(&BACKUP_CODE.of(workspace, user), hash);
        insert.execute([workspace, user, &hash])?;
    }
    Ok(())
}

/// Which row that is, only what it holds tells.
pub(super) fn spend_backup_code(
    db: Db<'_>,
    workspace: &str,
    user: &str,
    hash: &str,
) -> SqlResult<()> {
    let mut query =
        db.prepare_cached("SELECT hash FROM backup_code WHERE workspace = ?1 AND user = ?2")?;
    let texts = query.query_map([workspace, user], |row| row.get(0))?;
    let texts: Vec<String> = texts.collect::<SqlResult<_>>()?;
    let mut spend = db.prepare_cached(
        "UPDATE backup_code SET spent = 1 WHERE workspace = ?1 AND user = ?2 AND hash = ?3",
    )?;
    for text in texts {
        let held = db.seal.open(&BACKUP_CODE.of(workspace, user), &text)?;
        if held.expose_secret() == hash {
            spend.execute([workspace, user, &text])?;
        }
    }
    Ok(())
}
