//! What the tables say.

use super::SqlResult;
use chat_domain::account::{Account, Caller, Email, Login, Methods, Selector, User};
use chat_domain::settings::{Setting, Settings};
use chat_domain::time::Timestamp;
use chat_domain::totp::TotpKey;
use secrecy::{ExposeSecret, SecretString};
use std::collections::BTreeMap;
use tokio_rusqlite::rusqlite::types::Type;
use tokio_rusqlite::rusqlite::{self, OptionalExtension, Row, params};

pub(super) fn settings(db: &rusqlite::Connection, workspace: &str) -> SqlResult<Option<Settings>> {
    let mut query = db.prepare_cached(
        "SELECT name, value FROM workspace LEFT JOIN setting ON workspace = id WHERE id = ?1",
    )?;
    let mut rows = query.query([workspace])?;
    let mut settings = None;
    while let Some(row) = rows.next()? {
        let settings = settings.get_or_insert_with(Settings::default);
        if let Some(name) = row.get::<_, Option<String>>(0)? {
            let value: String = row.get(1)?;
            apply(settings, &name, &value)?;
        }
    }
    Ok(settings)
}

/// The workspaces and the settings of each.
pub(super) fn all_settings(db: &rusqlite::Connection) -> SqlResult<BTreeMap<String, Settings>> {
    let mut query =
        db.prepare("SELECT id, name, value FROM workspace LEFT JOIN setting ON workspace = id")?;
    let mut rows = query.query([])?;
    let mut all = BTreeMap::<_, Settings>::new();
    while let Some(row) = rows.next()? {
        let settings = all.entry(row.get(0)?).or_default();
        if let Some(name) = row.get::<_, Option<String>>(1)? {
            let value: String = row.get(2)?;
            apply(settings, &name, &value)?;
        }
    }
    Ok(all)
}

/// What this program does not know, or would not take, is no setting to work by.
fn apply(settings: &mut Settings, name: &str, value: &str) -> SqlResult<()> {
    let invalid =
        |problem: String| rusqlite::Error::FromSqlConversionFailure(1, Type::Text, problem.into());
    Setting::named(name)
        .ok_or_else(|| invalid(format!("there is no setting {name}")))?
        .set(settings, value)
        .map_err(|error| invalid(error.to_string()))
}

pub(super) fn authenticate(
    db: &rusqlite::Connection,
    workspace: &str,
    user: &str,
    token_hash: &str,
    now: Timestamp,
) -> SqlResult<Option<Caller>> {
    db.prepare_cached(
        "SELECT bypass_two_factor FROM login_token
         JOIN user ON user.workspace = login_token.workspace AND user.id = user
         WHERE login_token.workspace = ?1 AND user = ?2 AND hash = ?3
           AND (expires IS NULL OR expires > ?4) AND NOT deactivated",
    )?
    .query_row(params![workspace, user, token_hash, now.millis()], |row| {
        Ok(Caller {
            id: user.to_owned(),
            token_hash: token_hash.to_owned(),
            bypass_token: row.get(0)?,
        })
    })
    .optional()
}

pub(super) fn token_holder(
    db: &rusqlite::Connection,
    workspace: &str,
    token_hash: &str,
    now: Timestamp,
) -> SqlResult<Option<String>> {
    db.prepare_cached(
        "SELECT user FROM login_token
         JOIN user ON user.workspace = login_token.workspace AND user.id = user
         WHERE login_token.workspace = ?1 AND hash = ?2
           AND (expires IS NULL OR expires > ?3) AND NOT deactivated",
    )?
    .query_row(params![workspace, token_hash, now.millis()], |row| {
        row.get(0)
    })
    .optional()
}

pub(super) fn find_login(
    db: &rusqlite::Connection,
    workspace: &str,
    name: &str,
) -> SqlResult<Option<Login>> {
    let (sql, key) = if name.contains('@') {
        (
            "SELECT id, password_hash FROM email
             JOIN user ON user.workspace = email.workspace AND user.id = user
             WHERE email.workspace = ?1 AND lower(address) = lower(?2) AND NOT deactivated",
            name.to_owned(),
        )
    } else {
        (
            "SELECT id, password_hash FROM user
             WHERE workspace = ?1 AND username_key = ?2 AND NOT deactivated",
            name.to_lowercase(),
        )
    };
    db.prepare_cached(sql)?
        .query_row([workspace, &key], |row| {
            Ok(Login {
                user: row.get(0)?,
                password_hash: row.get::<_, Option<String>>(1)?.map(SecretString::from),
            })
        })
        .optional()
}

/// The password's hash of an active account that has a password.
pub(super) fn password_hash(
    db: &rusqlite::Connection,
    workspace: &str,
    user: &str,
) -> SqlResult<Option<SecretString>> {
    let hash = db
        .prepare_cached(
            "SELECT password_hash FROM user WHERE workspace = ?1 AND id = ?2 AND NOT deactivated",
        )?
        .query_row([workspace, user], |row| row.get::<_, Option<String>>(0))
        .optional()?;
    Ok(hash.flatten().map(SecretString::from))
}

/// Whether the account is active and `hash` is its password's.
pub(super) fn is_password(
    db: &rusqlite::Connection,
    workspace: &str,
    user: &str,
    hash: &SecretString,
) -> SqlResult<bool> {
    let stored = password_hash(db, workspace, user)?;
    Ok(stored.is_some_and(|stored| stored.expose_secret() == hash.expose_secret()))
}

pub(super) fn account(
    db: &rusqlite::Connection,
    workspace: &str,
    id: &str,
    now: Timestamp,
) -> SqlResult<Option<Account>> {
    let Some(user) = find_user(db, workspace, &Selector::Id(id.to_owned()))? else {
        return Ok(None);
    };
    let roles = db
        .prepare_cached(
            "SELECT role FROM user_role WHERE workspace = ?1 AND user = ?2 ORDER BY role",
        )?
        .query_map([workspace, id], |row| row.get(0))?
        .collect::<SqlResult<_>>()?;
    let emails = db
        .prepare_cached(
            "SELECT address, verified FROM email WHERE workspace = ?1 AND user = ?2
             ORDER BY verified DESC, address",
        )?
        .query_map([workspace, id], |row| {
            Ok(Email {
                address: row.get(0)?,
                verified: row.get(1)?,
            })
        })?
        .collect::<SqlResult<_>>()?;
    db.prepare_cached(
        "SELECT deactivated, email_two_factor, password_hash IS NOT NULL,
                CASE WHEN totp.user IS NULL THEN NULL ELSE
                    (SELECT count(*) FROM backup_code
                     WHERE backup_code.workspace = ?1 AND backup_code.user = ?2) END,
                coalesce(count, 0), locked_until
         FROM user
         LEFT JOIN totp ON totp.workspace = user.workspace AND totp.user = id
         LEFT JOIN failed_attempt
                ON failed_attempt.workspace = user.workspace AND failed_attempt.user = id
         WHERE user.workspace = ?1 AND id = ?2",
    )?
    .query_row([workspace, id], |row| {
        let until: Option<i64> = row.get(5)?;
        Ok(Account {
            user,
            deactivated: row.get(0)?,
            roles,
            emails,
            email_two_factor: row.get(1)?,
            has_password: row.get(2)?,
            backup_codes: row.get(3)?,
            failures: row.get(4)?,
            locked_until: until
                .map(Timestamp::from_millis)
                .filter(|until| *until > now),
        })
    })
    .optional()
}

pub(super) fn find_user(
    db: &rusqlite::Connection,
    workspace: &str,
    selector: &Selector,
) -> SqlResult<Option<User>> {
    let (sql, key) = match selector {
        Selector::Id(id) => (
            "SELECT id, username, federated FROM user WHERE workspace = ?1 AND id = ?2",
            id.clone(),
        ),
        Selector::Username(username) => (
            "SELECT id, username, federated FROM user WHERE workspace = ?1 AND username_key = ?2",
            username.to_lowercase(),
        ),
    };
    let user = |row: &Row<'_>| {
        Ok(User {
            id: row.get(0)?,
            username: row.get(1)?,
            federated: row.get(2)?,
        })
    };
    db.prepare_cached(sql)?
        .query_row([workspace, &key], user)
        .optional()
}

pub(super) fn has_permission(
    db: &rusqlite::Connection,
    workspace: &str,
    user: &str,
    permission: &str,
) -> SqlResult<bool> {
    db.prepare_cached(
        "SELECT 1 FROM user_role JOIN role_permission USING (workspace, role)
         WHERE workspace = ?1 AND user = ?2 AND permission = ?3",
    )?
    .exists([workspace, user, permission])
}

pub(super) fn methods(
    db: &rusqlite::Connection,
    workspace: &str,
    user: &str,
) -> SqlResult<Methods> {
    let Some(settings) = settings(db, workspace)? else {
        return Ok(Methods::default());
    };
    let methods = db
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM totp WHERE workspace = ?1 AND user = ?2),
                    email_two_factor AND EXISTS (SELECT 1 FROM email
                                                 WHERE workspace = ?1 AND user = ?2 AND verified),
                    password_hash IS NOT NULL
             FROM user WHERE workspace = ?1 AND id = ?2",
        )?
        .query_row([workspace, user], |row| {
            let totp = settings.totp_enabled && row.get(0)?;
            let email = settings.email_enabled && row.get(1)?;
            Ok(Methods {
                totp,
                email,
                password: settings.password_fallback && !totp && !email && row.get(2)?,
            })
        })
        .optional()?;
    Ok(methods.unwrap_or_default())
}

pub(super) struct Totp {
    pub(super) key: TotpKey,
    pub(super) last_step: Option<u64>,
}

pub(super) fn totp(
    db: &rusqlite::Connection,
    workspace: &str,
    user: &str,
) -> SqlResult<Option<Totp>> {
    db.prepare_cached("SELECT key, last_step FROM totp WHERE workspace = ?1 AND user = ?2")?
        .query_row([workspace, user], |row| {
            Ok(Totp {
                key: TotpKey::new(row.get(0)?),
                last_step: row.get::<_, Option<i64>>(1)?.map(i64::cast_unsigned),
            })
        })
        .optional()
}
