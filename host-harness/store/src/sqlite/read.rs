//! What the tables say.

use super::{Db, SqlResult, list, outbox};
use crate::convention::{opened_key, restore};
use crate::seal::{BACKUP_CODE, EMAIL_CODE, PENDING_KEY, Seal, SealedColumn, TOTP_KEY};
use chat_domain::account::{
    Email, MailedCode, PendingKey, Profile, Selector, Token, TotpFactor, User, skeletons,
    username_key,
};
use chat_domain::attempts::Failures;
use chat_domain::dossier::{Dossier, Question, Subject};
use chat_domain::settings::Settings;
use chat_domain::time::Timestamp;
use chat_domain::totp::TotpKey;
use rusqlite::{Connection, OptionalExtension, Row};
use secrecy::{ExposeSecret, SecretString};

/// The answer to `question`, in the transaction that the connection is in.
pub(super) fn dossier(db: Db<'_>, question: &Question) -> SqlResult<Dossier> {
    let workspace = question.workspace.as_str();
    let mut dossier = Dossier::default();
    if question.existence {
        dossier.exists = list::exists(&db, workspace)?;
    }
    if question.settings {
        dossier.settings = settings(db, workspace)?;
    }
    let mut holder = None;
    if let Some(hash) = &question.token_hash {
        let first = question.accounts.first();
        let Some(found) = token(&db, workspace, first, hash)? else {
            return Ok(dossier);
        };
        holder = Some(found.0);
        dossier.token = Some(found.1);
    }
    for subject in &question.accounts {
        let found = profile(db, workspace, subject, holder.as_deref())?;
        dossier.accounts.push(found);
    }
    if question.role_names {
        dossier.role_names = list::role_names(&db, workspace)?;
    }
    if let Some(name) = &question.role {
        dossier.role = list::role(&db, workspace, name)?;
    }
    if question.administrators {
        dossier.administrators = list::administrators(&db, workspace)?;
    }
    if let Some(id) = question.mail {
        dossier.mail = outbox::mail(&db, workspace, id)?;
        if let Some(holder) = outbox::holder(&db, workspace, id)? {
            dossier.mail_holder = profile(db, workspace, &Subject::id(&holder), None)?;
        }
    }
    if question.fixed_settings {
        dossier.fixed_settings = list::fixed_settings(&db, workspace)?;
    }
    if question.oldest {
        dossier.oldest = list::oldest(&db, workspace)?;
    }
    Ok(dossier)
}

pub(super) fn settings(db: Db<'_>, workspace: &str) -> SqlResult<Option<Settings>> {
    let mut query = db.prepare_cached(
        "SELECT name, value FROM workspace LEFT JOIN setting ON workspace = id WHERE id = ?1",
    )?;
    let mut rows = query.query([workspace])?;
    let mut settings = None;
    while let Some(row) = rows.next()? {
        let settings = settings.get_or_insert_with(Settings::default);
        if let Some(name) = row.get::<_, Option<String>>(0)? {
            let value: String = row.get(1)?;
            restore(db.seal, settings, workspace, &name, &value)?;
        }
    }
    Ok(settings)
}

/// The token with this hash and the id of the account that holds it, if it is the
/// first that is asked about.
fn token(
    db: &Connection,
    workspace: &str,
    first: Option<&Subject>,
    hash: &str,
) -> SqlResult<Option<(String, Token)>> {
    let held = db
        .prepare_cached(
            "SELECT user, hash, expires, name, bypass_two_factor FROM login_token
             WHERE workspace = ?1 AND hash = ?2",
        )?
        .query_row([workspace, hash], |row| {
            Ok((row.get::<_, String>(0)?, token_in(row, 1)?))
        })
        .optional()?;
    Ok(
        held.filter(|(holder, _)| match first.map(|subject| &subject.account) {
            Some(Selector::Id(id)) => id == holder,
            _ => true,
        }),
    )
}

/// `hash, expires, name, bypass_two_factor`, from this column on.
fn token_in(row: &Row<'_>, column: usize) -> SqlResult<Token> {
    Ok(Token {
        hash: row.get(column)?,
        expires: moment(row, column + 1)?,
        name: row.get(column + 2)?,
        bypass_two_factor: row.get(column + 3)?,
    })
}

pub(super) fn moment(row: &Row<'_>, column: usize) -> SqlResult<Option<Timestamp>> {
    let millis: Option<i64> = row.get(column)?;
    Ok(millis.map(Timestamp::from_millis))
}

pub(super) fn profile(
    db: Db<'_>,
    workspace: &str,
    subject: &Subject,
    token_holder: Option<&str>,
) -> SqlResult<Option<Profile>> {
    let found = match (&subject.account, token_holder) {
        (Selector::TokenHolder, None) => None,
        (Selector::TokenHolder, Some(id)) => by_id(db, workspace, id)?,
        (Selector::Id(id), _) => by_id(db, workspace, id)?,
        (Selector::Username(username), _) => by_username(db, workspace, username)?,
        (Selector::LookAlike(username), _) => by_skeleton(db, workspace, username)?,
        (Selector::Address(address), _) => by_address(db, workspace, address)?,
    };
    match found {
        Some(mut profile) => {
            fill(db, workspace, subject, &mut profile)?;
            Ok(Some(profile))
        }
        None => Ok(None),
    }
}

/// One account but for its lists, as [`profile_in`] reads it; a condition follows.
macro_rules! profile_where {
    ($condition:literal) => {
        concat!(
            "SELECT id, username, federated, deactivated, password_hash, email_two_factor,
                    email_two_factor AND EXISTS
                        (SELECT 1 FROM email
                         WHERE email.workspace = ?1 AND email.user = id AND verified),
                    totp.key, last_step, pending_totp.key, pending_totp.expires,
                    hash, email_code.expires, failures, count, locked_until, issued, mails, told
             FROM user
             LEFT JOIN totp ON totp.workspace = ?1 AND totp.user = id
             LEFT JOIN pending_totp ON pending_totp.workspace = ?1 AND pending_totp.user = id
             LEFT JOIN email_code ON email_code.workspace = ?1 AND email_code.user = id
             LEFT JOIN failed_attempt
                    ON failed_attempt.workspace = ?1 AND failed_attempt.user = id
             WHERE user.workspace = ?1 AND ",
            $condition
        )
    };
}

fn by_id(db: Db<'_>, workspace: &str, id: &str) -> SqlResult<Option<Profile>> {
    one(db, profile_where!("id = ?2"), workspace, id)
}

fn by_username(db: Db<'_>, workspace: &str, username: &str) -> SqlResult<Option<Profile>> {
    let by_key = |key: &str| one(db, profile_where!("username_key = ?2"), workspace, key);
    let key = username_key(username);
    // Older versions compared so: an account whose name has become another's is still found.
    let older = username.to_lowercase();
    if older != key
        && let Some(profile) = by_key(&older)?
    {
        return Ok(Some(profile));
    }
    by_key(&key)
}

fn by_skeleton(db: Db<'_>, workspace: &str, username: &str) -> SqlResult<Option<Profile>> {
    let [skeleton, as_written] = skeletons(username);
    let by_key = profile_where!("skeleton = ?2 LIMIT 1");
    if let Some(profile) = one(db, by_key, workspace, &skeleton)? {
        return Ok(Some(profile));
    }
    let by_writing = profile_where!("skeleton_as_written = ?2 LIMIT 1");
    one(db, by_writing, workspace, &as_written)
}

fn by_address(db: Db<'_>, workspace: &str, address: &str) -> SqlResult<Option<Profile>> {
    let sql = profile_where!(
        "id = (SELECT email.user FROM email
               WHERE email.workspace = ?1 AND lower(address) = lower(?2))"
    );
    one(db, sql, workspace, address)
}

fn one(db: Db<'_>, sql: &str, workspace: &str, key: &str) -> SqlResult<Option<Profile>> {
    let mut query = db.prepare_cached(sql)?;
    let read = |row: &Row<'_>| profile_in(db.seal, workspace, row);
    query.query_row([workspace, key], read).optional()
}

fn profile_in(seal: &Seal, workspace: &str, row: &Row<'_>) -> SqlResult<Profile> {
    let id: String = row.get(0)?;
    let text = |column: usize| -> SqlResult<_> { Ok(row.get_ref(column)?.as_str_or_null()?) };
    let key = |column: usize, sealed: &SealedColumn| -> SqlResult<Option<TotpKey>> {
        let place = sealed.of(workspace, &id);
        let key = text(column)?.map(|text| opened_key(seal, &place, text));
        Ok(key.transpose()?)
    };
    let factor = factor_in(key(7, &TOTP_KEY)?, row)?;
    let pending_key = pending_key_in(key(9, &PENDING_KEY)?, row)?;
    let place = EMAIL_CODE.of(workspace, &id);
    let hash = text(11)?.map(|text| seal.open(&place, text)).transpose()?;
    let mailed_code = mailed_code_in(hash, row)?;
    Ok(Profile {
        user: User {
            id,
            username: row.get(1)?,
            name: None,
            federated: row.get(2)?,
        },
        deactivated: row.get(3)?,
        password_hash: row.get::<_, Option<String>>(4)?.map(SecretString::from),
        email_two_factor: row.get(5)?,
        receives_codes: row.get(6)?,
        factor,
        pending_key,
        mailed_code,
        failures: Failures {
            count: row.get::<_, Option<u32>>(14)?.unwrap_or_default(),
            locked_until: moment(row, 15)?,
            told: row.get::<_, Option<u32>>(18)?.unwrap_or_default(),
        },
        ..Profile::default()
    })
}

fn factor_in(key: Option<TotpKey>, row: &Row<'_>) -> SqlResult<Option<TotpFactor>> {
    let last_step: Option<i64> = row.get(8)?;
    Ok(key.map(|key| TotpFactor {
        key,
        last_step: last_step.map(i64::cast_unsigned),
        backup_code_hashes: Vec::new(),
        spent_code_hashes: Vec::new(),
    }))
}

fn pending_key_in(key: Option<TotpKey>, row: &Row<'_>) -> SqlResult<Option<PendingKey>> {
    let expires = moment(row, 10)?;
    Ok(key
        .zip(expires)
        .map(|(key, expires)| PendingKey { key, expires }))
}

fn mailed_code_in(hash: Option<SecretString>, row: &Row<'_>) -> SqlResult<Option<MailedCode>> {
    let expires = moment(row, 12)?;
    let failures: Option<u32> = row.get(13)?;
    let issued = moment(row, 16)?;
    let mails: Option<u32> = row.get(17)?;
    Ok(hash.zip(expires).map(|(hash, expires)| MailedCode {
        hash: hash.expose_secret().to_owned(),
        issued: issued.unwrap_or(expires),
        expires,
        failures: failures.unwrap_or_default(),
        mails: mails.unwrap_or_default(),
    }))
}

/// Reads the lists that `subject` asks for.
fn fill(db: Db<'_>, workspace: &str, subject: &Subject, profile: &mut Profile) -> SqlResult<()> {
    let account = [workspace, profile.user.id.as_str()];
    if subject.emails {
        profile.emails = db
            .prepare_cached(
                "SELECT address, verified FROM email WHERE workspace = ?1 AND user = ?2
                 ORDER BY verified DESC, address",
            )?
            .query_map(account, |row| {
                Ok(Email {
                    address: row.get(0)?,
                    verified: row.get(1)?,
                })
            })?
            .collect::<SqlResult<_>>()?;
    }
    if subject.roles {
        roles(&db, account, &mut profile.roles, &mut profile.permissions)?;
    }
    if let Some(factor) = profile.factor.as_mut().filter(|_| subject.backup_codes) {
        let mut query = db.prepare_cached(
            "SELECT hash, spent FROM backup_code WHERE workspace = ?1 AND user = ?2",
        )?;
        let mut rows = query.query(account)?;
        while let Some(row) = rows.next()? {
            let hashes = match row.get(1)? {
                true => &mut factor.spent_code_hashes,
                false => &mut factor.backup_code_hashes,
            };
            let place = BACKUP_CODE.of(workspace, &profile.user.id);
            let hash = db.seal.open(&place, row.get_ref(0)?.as_str()?)?;
            hashes.push(hash.expose_secret().to_owned());
        }
        // Sealed, they are in no order.
        factor.backup_code_hashes.sort_unstable();
        factor.spent_code_hashes.sort_unstable();
    }
    if subject.tokens {
        profile.tokens = db
            .prepare_cached(
                "SELECT hash, expires, name, bypass_two_factor FROM login_token
                 WHERE workspace = ?1 AND user = ?2",
            )?
            .query_map(account, |row| token_in(row, 0))?
            .collect::<SqlResult<_>>()?;
    }
    Ok(())
}

/// The names of an account's roles, sorted, and what these grant.
fn roles(
    db: &Connection,
    account: [&str; 2],
    names: &mut Vec<String>,
    permissions: &mut Vec<String>,
) -> SqlResult<()> {
    let mut query = db.prepare_cached(
        "SELECT role, permission FROM user_role LEFT JOIN role_permission USING (workspace, role)
         WHERE workspace = ?1 AND user = ?2 ORDER BY role",
    )?;
    let mut rows = query.query(account)?;
    while let Some(row) = rows.next()? {
        let role: String = row.get(0)?;
        if names.last() != Some(&role) {
            names.push(role);
        }
        permissions.extend(row.get::<_, Option<String>>(1)?);
    }
    Ok(())
}
