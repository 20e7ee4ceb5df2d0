//! What creates a workspace with everything in it.

use super::query::{Query, Value, query};
use crate::convention::{sealed_key, sealed_setting};
use crate::seal::{BACKUP_CODE, Seal, TOTP_KEY};
use chat_domain::account::{Token, TotpFactor, skeletons, username_key};
use chat_domain::operator::{NewUser, NewWorkspace};
use chat_domain::settings::{SETTINGS, Setting};
use secrecy::{ExposeSecret, SecretString};

pub(super) fn workspace(seal: &Seal, new: &NewWorkspace) -> Vec<Query> {
    let id = &new.id;
    let mut queries = vec![query!("INSERT INTO workspace (id) VALUES ($1)", id)];
    let changed = SETTINGS
        .iter()
        .filter(|setting| setting.is_changed(&new.settings));
    queries.extend(changed.map(|setting| {
        let value = setting.value(&new.settings);
        write_setting(seal, id, setting, &value)
    }));
    for role in &new.roles {
        queries.push(insert_role(id, &role.name));
        let permissions = role.permissions.iter();
        queries.extend(permissions.map(|permission| insert_permission(id, &role.name, permission)));
    }
    queries.extend(new.users.iter().flat_map(|new| user(seal, id, new)));
    queries
}

/// A role that is there already stays as it is.
pub(super) fn insert_role(workspace: &str, name: &str) -> Query {
    query!(
        "INSERT INTO role (workspace, name) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        Value::key(workspace),
        name,
    )
}

/// A permission that the role grants already stays.
pub(super) fn insert_permission(workspace: &str, role: &str, permission: &str) -> Query {
    query!(
        "INSERT INTO role_permission (workspace, role, permission) VALUES ($1, $2, $3)
         ON CONFLICT DO NOTHING",
        Value::key(workspace),
        role,
        permission,
    )
}

pub(super) fn write_setting(
    seal: &Seal,
    workspace: &str,
    setting: &Setting,
    value: &SecretString,
) -> Query {
    query!(
        "INSERT INTO setting (workspace, name, value) VALUES ($1, $2, $3)
         ON CONFLICT (workspace, name) DO UPDATE SET value = excluded.value",
        Value::key(workspace),
        setting.name,
        sealed_setting(seal, workspace, setting, value).expose_secret(),
    )
}

pub(super) fn user(seal: &Seal, workspace: &str, new: &NewUser) -> Vec<Query> {
    let [skeleton, skeleton_as_written] = skeletons(&new.username);
    let mut queries = vec![query!(
        r#"INSERT INTO "user" (workspace, id, username, username_key, password_hash, federated,
                               deactivated, email_two_factor, skeleton, skeleton_as_written)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"#,
        Value::key(workspace),
        &new.id,
        &new.username,
        &username_key(&new.username),
        new.password_hash.as_ref().map(ExposeSecret::expose_secret),
        new.federated,
        new.deactivated,
        new.email_two_factor,
        &skeleton,
        &skeleton_as_written,
    )];
    queries.extend(new.roles.iter().map(|role| {
        query!(
            r#"INSERT INTO user_role (workspace, "user", role) VALUES ($1, $2, $3)"#,
            Value::key(workspace),
            &new.id,
            role,
        )
    }));
    queries.extend(new.emails.iter().map(|email| {
        query!(
            r#"INSERT INTO email (workspace, "user", address, verified) VALUES ($1, $2, $3, $4)"#,
            Value::key(workspace),
            &new.id,
            &email.address,
            email.verified,
        )
    }));
    let tokens = new.tokens.iter();
    queries.extend(tokens.map(|token| insert_token(workspace, &new.id, token)));
    let factor = new.totp.iter();
    queries.extend(factor.flat_map(|factor| enrol(seal, workspace, &new.id, factor)));
    queries
}

pub(super) fn enrol(seal: &Seal, workspace: &str, user: &str, factor: &TotpFactor) -> Vec<Query> {
    let mut queries = vec![query!(
        r#"INSERT INTO totp (workspace, "user", key, last_step) VALUES ($1, $2, $3, $4)"#,
        Value::key(workspace),
        user,
        &sealed_key(seal, &TOTP_KEY.of(workspace, user), &factor.key),
        factor.last_step,
    )];
    queries.extend(insert_backup_codes(
        seal,
        workspace,
        user,
        &factor.backup_code_hashes,
    ));
    queries
}

pub(super) fn replace_backup_codes(
    seal: &Seal,
    workspace: &str,
    user: &str,
    hashes: &[String],
) -> Vec<Query> {
    let mut queries = vec![query!(
        r#"DELETE FROM backup_code WHERE workspace = $1 AND "user" = $2"#,
        Value::key(workspace),
        user,
    )];
    queries.extend(insert_backup_codes(seal, workspace, user, hashes));
    queries
}

pub(super) fn insert_token(workspace: &str, user: &str, token: &Token) -> Query {
    query!(
        r#"INSERT INTO login_token (workspace, "user", hash, expires, bypass_two_factor, name)
           VALUES ($1, $2, $3, $4, $5, $6)"#,
        Value::key(workspace),
        user,
        &token.hash,
        token.expires,
        token.bypass_two_factor,
        &token.name,
    )
}

fn insert_backup_codes<'a>(
    seal: &'a Seal,
    workspace: &'a str,
    user: &'a str,
    hashes: &'a [String],
) -> impl Iterator<Item = Query> + 'a {
    hashes.iter().map(move |hash| {
        query!(
            r#"INSERT INTO backup_code (workspace, "user", hash) VALUES ($1, $2, $3)"#,
            Value::key(workspace),
            user,
            &seal.seal(&BACKUP_CODE.of(workspace, user), hash),
        )
    })
}
