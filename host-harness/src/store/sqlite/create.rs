//! Creates a workspace with everything in it.

use super::SqlResult;
use crate::clock::Timestamp;
use crate::store::{NewUser, NewWorkspace, TotpFactor};
use secrecy::ExposeSecret;
use tokio_rusqlite::rusqlite::{Transaction, params};

pub(super) fn create_workspace(tx: &Transaction<'_>, workspace: &NewWorkspace) -> SqlResult<()> {
    let settings = &workspace.settings;
    tx.execute(
        "INSERT INTO workspace (id, two_factor_enabled, totp_enabled, totp_window,
                                password_fallback, missing_factor_allowed, bypass_token_allowed)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            workspace.id,
            settings.two_factor_enabled,
            settings.totp_enabled,
            settings.totp_window,
            settings.password_fallback,
            settings.missing_factor_allowed,
            settings.bypass_token_allowed
        ],
    )?;
    for role in &workspace.roles {
        for permission in &role.permissions {
            tx.execute(
                "INSERT INTO role_permission (workspace, role, permission) VALUES (?1, ?2, ?3)",
                params![workspace.id, role.name, permission],
            )?;
        }
    }
    workspace
        .users
        .iter()
        .try_for_each(|user| create_user(tx, &workspace.id, user))
}

fn create_user(tx: &Transaction<'_>, workspace: &str, user: &NewUser) -> SqlResult<()> {
    tx.execute(
        "INSERT INTO user (workspace, id, username, username_key, password_hash, federated,
                           deactivated)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            workspace,
            user.id,
            user.username,
            user.username.to_lowercase(),
            user.password_hash.as_ref().map(ExposeSecret::expose_secret),
            user.federated,
            user.deactivated
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
    for token in &user.tokens {
        tx.execute(
            "INSERT INTO login_token (workspace, user, hash, expires, bypass_two_factor)
             VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                workspace,
                user.id,
                token.hash,
                token.expires.map(Timestamp::millis),
                token.bypass_two_factor
            ],
        )?;
    }
    match &user.totp {
        Some(factor) => enrol(tx, workspace, &user.id, factor),
        None => Ok(()),
    }
}

fn enrol(tx: &Transaction<'_>, workspace: &str, user: &str, factor: &TotpFactor) -> SqlResult<()> {
    tx.execute(
        "INSERT INTO totp (workspace, user, key, last_step) VALUES (?1, ?2, ?3, ?4)",
        params![
            workspace,
            user,
            factor.key.expose(),
            factor.last_step.map(u64::cast_signed)
        ],
    )?;
    for hash in &factor.backup_code_hashes {
        tx.execute(
            "INSERT INTO backup_code (workspace, user, hash) VALUES (?1, ?2, ?3)",
            params![workspace, user, hash],
        )?;
    }
    Ok(())
}
