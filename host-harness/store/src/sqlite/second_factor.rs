//! Attempts at a second factor: counted, checked, spent.

use super::look_up::{find_user, is_password, methods, password_hash, settings, totp};
use super::{SqlResult, Step, outbox};
use chat_domain::account::{Selector, TotpFactor};
use chat_domain::attempts::lock_after;
use chat_domain::mail;
use chat_domain::reset::{Attempt, EmailCode, Proof, Refusal};
use chat_domain::time::Timestamp;
use chat_domain::totp::{code_hash, step_of};
use secrecy::{ExposeSecret, SecretString};
use tokio_rusqlite::rusqlite::{OptionalExtension, Transaction, params};

pub(super) fn begin_totp_attempt(
    tx: &Transaction<'_>,
    workspace: &str,
    user: &str,
    now: Timestamp,
) -> SqlResult<Attempt<TotpFactor>> {
    let totp = match totp(tx, workspace, user)? {
        Some(totp) if methods(tx, workspace, user)?.totp => totp,
        _ => return Ok(Attempt::Unavailable),
    };
    if !count_failure(tx, workspace, user, now)? {
        return Ok(Attempt::Locked);
    }
    let backup_code_hashes = tx
        .prepare_cached("SELECT hash FROM backup_code WHERE workspace = ?1 AND user = ?2")?
        .query_map([workspace, user], |row| row.get(0))?
        .collect::<SqlResult<_>>()?;
    Ok(Attempt::Begun(TotpFactor {
        key: totp.key,
        last_step: totp.last_step,
        backup_code_hashes,
    }))
}

pub(super) fn begin_password_attempt(
    tx: &Transaction<'_>,
    workspace: &str,
    user: &str,
    now: Timestamp,
) -> SqlResult<Attempt<SecretString>> {
    if !methods(tx, workspace, user)?.password {
        return Ok(Attempt::Unavailable);
    }
    if !count_failure(tx, workspace, user, now)? {
        return Ok(Attempt::Locked);
    }
    Ok(match password_hash(tx, workspace, user)? {
        Some(hash) => Attempt::Begun(hash),
        None => Attempt::Unavailable,
    })
}

pub(super) fn begin_email_attempt(
    tx: &Transaction<'_>,
    workspace: &str,
    user: &str,
    now: Timestamp,
) -> SqlResult<Attempt<Option<String>>> {
    if !methods(tx, workspace, user)?.email {
        return Ok(Attempt::Unavailable);
    }
    let code = live_email_code(tx, workspace, user, now)?;
    if code.as_ref().is_some_and(|code| code.exhausted) || !count_failure(tx, workspace, user, now)?
    {
        return Ok(Attempt::Locked);
    }
    tx.prepare_cached(
        "UPDATE email_code SET failures = failures + 1 WHERE workspace = ?1 AND user = ?2",
    )?
    .execute([workspace, user])?;
    Ok(Attempt::Begun(code.map(|code| code.hash)))
}

pub(super) fn send_email_code(
    tx: &Transaction<'_>,
    workspace: &str,
    user: &str,
    code: &SecretString,
    now: Timestamp,
) -> SqlResult<EmailCode> {
    let Some(settings) = settings(tx, workspace)? else {
        return Ok(EmailCode::Unavailable);
    };
    if !methods(tx, workspace, user)?.email {
        return Ok(EmailCode::Unavailable);
    }
    if is_locked(tx, workspace, user, now)? {
        return Ok(EmailCode::Locked);
    }
    if let Some(code) = live_email_code(tx, workspace, user, now)? {
        let expires = code.expires;
        return Ok(if code.exhausted {
            EmailCode::Locked
        } else {
            EmailCode::Live { expires }
        });
    }
    let expires = now + settings.email_code_lifetime();
    tx.prepare_cached(
        "INSERT OR REPLACE INTO email_code (workspace, user, hash, expires, failures)
         VALUES (?1, ?2, ?3, ?4, 0)",
    )?
    .execute(params![
        workspace,
        user,
        code_hash(code.expose_secret()),
        expires.millis()
    ])?;
    let username = find_user(tx, workspace, &Selector::Id(user.to_owned()))?
        .map_or_else(String::new, |user| user.username);
    outbox::queue(
        tx,
        workspace,
        user,
        &mail::email_code(&username, code, expires),
        now,
        expires,
    )?;
    Ok(EmailCode::Sent { expires })
}

struct LiveEmailCode {
    hash: String,
    expires: Timestamp,
    /// Too many wrong tries.
    exhausted: bool,
}

fn live_email_code(
    tx: &Transaction<'_>,
    workspace: &str,
    user: &str,
    now: Timestamp,
) -> SqlResult<Option<LiveEmailCode>> {
    let limit = settings(tx, workspace)?.map_or(0, |settings| settings.email_code_failures);
    tx.prepare_cached(
        "SELECT hash, expires, failures FROM email_code
         WHERE workspace = ?1 AND user = ?2 AND expires > ?3",
    )?
    .query_row(params![workspace, user, now.millis()], |row| {
        Ok(LiveEmailCode {
            hash: row.get(0)?,
            expires: Timestamp::from_millis(row.get(1)?),
            exhausted: row.get::<_, u32>(2)? >= limit,
        })
    })
    .optional()
}

fn failures(
    tx: &Transaction<'_>,
    workspace: &str,
    user: &str,
) -> SqlResult<(u32, Option<Timestamp>)> {
    let failures = tx
        .prepare_cached(
            "SELECT count, locked_until FROM failed_attempt WHERE workspace = ?1 AND user = ?2",
        )?
        .query_row([workspace, user], |row| {
            let until: Option<i64> = row.get(1)?;
            Ok((row.get(0)?, until.map(Timestamp::from_millis)))
        })
        .optional()?;
    Ok(failures.unwrap_or_default())
}

pub(super) fn is_locked(
    tx: &Transaction<'_>,
    workspace: &str,
    user: &str,
    now: Timestamp,
) -> SqlResult<bool> {
    let (_, locked_until) = failures(tx, workspace, user)?;
    Ok(locked_until.is_some_and(|until| until > now))
}

/// Counts a failed attempt; false, and nothing is counted, while locked.
pub(super) fn count_failure(
    tx: &Transaction<'_>,
    workspace: &str,
    user: &str,
    now: Timestamp,
) -> SqlResult<bool> {
    let (failures, locked_until) = failures(tx, workspace, user)?;
    if locked_until.is_some_and(|until| until > now) {
        return Ok(false);
    }
    let failures = failures.saturating_add(1);
    let locked_until = lock_after(failures).map(|lock| (now + lock).millis());
    tx.prepare_cached(
        "INSERT INTO failed_attempt (workspace, user, count, locked_until)
         VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO UPDATE SET count = excluded.count, locked_until = excluded.locked_until",
    )?
    .execute(params![workspace, user, failures, locked_until])?;
    Ok(true)
}

pub(super) fn clear_failures(tx: &Transaction<'_>, workspace: &str, user: &str) -> SqlResult<()> {
    tx.prepare_cached("DELETE FROM failed_attempt WHERE workspace = ?1 AND user = ?2")?
        .execute([workspace, user])?;
    Ok(())
}

/// Checks the proof and makes it useless for any other request. That none is
/// needed is no proof.
pub(super) fn spend(
    tx: &Transaction<'_>,
    workspace: &str,
    user: &str,
    proof: &Proof,
    now: Timestamp,
) -> Step<(), Refusal> {
    let methods = methods(tx, workspace, user)?;
    let accepted = match proof {
        Proof::None => false,
        Proof::Password(hash) => methods.password && is_password(tx, workspace, user, hash)?,
        Proof::TotpStep { step, code } => {
            let window = settings(tx, workspace)?.unwrap_or_default().totp_window;
            let in_window = step.abs_diff(step_of(now)) <= u64::from(window);
            methods.totp && in_window && spend_step(tx, workspace, user, *step, code)?
        }
        Proof::BackupCode(code) => methods.totp && spend_backup_code(tx, workspace, user, code)?,
        Proof::EmailCode(code) => {
            methods.email && spend_email_code(tx, workspace, user, code, now)?
        }
    };
    accepted.then_some(()).ok_or(Refusal::WrongProof.into())
}

/// Spends the code of `step`; false where that is another. Refused where it or
/// that of a later step was spent before.
fn spend_step(
    tx: &Transaction<'_>,
    workspace: &str,
    user: &str,
    step: u64,
    code: &SecretString,
) -> Step<bool, Refusal> {
    let totp = match totp(tx, workspace, user)? {
        Some(totp) if totp.key.has_code(step, code.expose_secret()) => totp,
        _ => return Ok(false),
    };
    if totp.last_step.is_some_and(|last| step <= last) {
        return Err(Refusal::Replayed.into());
    }
    tx.prepare_cached("UPDATE totp SET last_step = ?3 WHERE workspace = ?1 AND user = ?2")?
        .execute(params![workspace, user, step.cast_signed()])?;
    Ok(true)
}

/// Spends a backup code; false where the account has no such code.
fn spend_backup_code(
    tx: &Transaction<'_>,
    workspace: &str,
    user: &str,
    code: &SecretString,
) -> SqlResult<bool> {
    let spent = tx
        .prepare_cached("DELETE FROM backup_code WHERE workspace = ?1 AND user = ?2 AND hash = ?3")?
        .execute([workspace, user, &code_hash(code.expose_secret())])?;
    Ok(spent == 1)
}

/// Spends the code that the account was sent; false where it is another, or has
/// ended.
fn spend_email_code(
    tx: &Transaction<'_>,
    workspace: &str,
    user: &str,
    code: &SecretString,
    now: Timestamp,
) -> SqlResult<bool> {
    let spent = tx
        .prepare_cached(
            "DELETE FROM email_code
             WHERE workspace = ?1 AND user = ?2 AND hash = ?3 AND expires > ?4",
        )?
        .execute(params![
            workspace,
            user,
            code_hash(code.expose_secret()),
            now.millis()
        ])?;
    Ok(spent == 1)
}

/// Forgets what the account was shown or sent and has not proved yet: a pending
/// key, a code by e-mail and the mail that brings it.
pub(super) fn forget_unproved(tx: &Transaction<'_>, workspace: &str, user: &str) -> SqlResult<()> {
    for sql in [
        "DELETE FROM pending_totp WHERE workspace = ?1 AND user = ?2",
        "DELETE FROM email_code WHERE workspace = ?1 AND user = ?2",
        "DELETE FROM outbox WHERE workspace = ?1 AND holds_code AND recipient IN
             (SELECT address FROM email WHERE workspace = ?1 AND user = ?2)",
    ] {
        tx.prepare_cached(sql)?.execute([workspace, user])?;
    }
    Ok(())
}

/// Removes secret, pending secret and backup codes; false where there were none.
pub(super) fn remove_totp(tx: &Transaction<'_>, workspace: &str, user: &str) -> SqlResult<bool> {
    let mut removed = 0;
    for sql in [
        "DELETE FROM totp WHERE workspace = ?1 AND user = ?2",
        "DELETE FROM pending_totp WHERE workspace = ?1 AND user = ?2",
    ] {
        removed += tx.prepare_cached(sql)?.execute([workspace, user])?;
    }
    Ok(removed > 0)
}
