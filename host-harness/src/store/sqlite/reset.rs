//! Attempts at a second factor, and the one effect.

use super::{SqlResult, authenticate, find_user, has_permission, methods, record, settings, totp};
use crate::attempts::lock_after;
use crate::clock::Timestamp;
use crate::notice;
use crate::store::{
    Attempt, AuditRecord, Decision, EDIT_OTHER_USER_TOTP, Proof, Receipt, Refusal, Reset, Selector,
    Target, TotpFactor,
};
use crate::totp::{backup_code_hash, step_of};
use secrecy::{ExposeSecret, SecretString};
use tokio_rusqlite::rusqlite::{OptionalExtension, Transaction, named_params, params};

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
    let hash = password_hash(tx, workspace, user)?;
    Ok(Attempt::Begun(hash.into()))
}

/// The password's hash of an account that has a password.
fn password_hash(tx: &Transaction<'_>, workspace: &str, user: &str) -> SqlResult<String> {
    tx.prepare_cached("SELECT password_hash FROM user WHERE workspace = ?1 AND id = ?2")?
        .query_row([workspace, user], |row| row.get(0))
}

/// Counts a failed attempt; false, and nothing is counted, while locked.
fn count_failure(
    tx: &Transaction<'_>,
    workspace: &str,
    user: &str,
    now: Timestamp,
) -> SqlResult<bool> {
    let (failures, locked_until): (u32, Option<i64>) = tx
        .prepare_cached(
            "SELECT count, locked_until FROM failed_attempt WHERE workspace = ?1 AND user = ?2",
        )?
        .query_row([workspace, user], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?
        .unwrap_or_default();
    if locked_until.is_some_and(|until| until > now.millis()) {
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

/// The one effect. A refusal leaves before the first change.
pub(super) fn commit(tx: &Transaction<'_>, reset: &Reset) -> SqlResult<Result<Receipt, Refusal>> {
    let workspace = reset.workspace.as_str();
    if let Err(refusal) = permit(tx, reset)? {
        return Ok(Err(refusal));
    }
    if let Err(refusal) = spend(tx, reset)? {
        return Ok(Err(refusal));
    }
    let target = match &reset.target {
        Target::Caller => &reset.caller.id,
        Target::User(id) => id,
    };
    let removed = remove_totp(tx, workspace, target)?;
    if removed {
        revoke_tokens(tx, workspace, target)?;
        if let Target::User(_) = reset.target {
            queue_notices(tx, reset, target)?;
        }
    }
    clear_failures(tx, workspace, &reset.caller.id)?;
    let (receipt, decision) = if removed {
        (Receipt::Removed, Decision::Reset)
    } else {
        (Receipt::NothingEnrolled, Decision::NothingEnrolled)
    };
    record(
        tx,
        &AuditRecord {
            at: reset.now,
            workspace: reset.workspace.clone(),
            request_id: reset.request_id.clone(),
            caller: reset.caller.id.clone(),
            target: Some(target.clone()),
            decision,
            reason: None,
        },
    )?;
    Ok(Ok(receipt))
}

/// Checks that the caller may reset the target.
fn permit(tx: &Transaction<'_>, reset: &Reset) -> SqlResult<Result<(), Refusal>> {
    let Reset {
        workspace, caller, ..
    } = reset;
    if authenticate(tx, workspace, &caller.id, &caller.token_hash, reset.now)?.is_none() {
        return Ok(Err(Refusal::NotPermitted));
    }
    let Target::User(id) = &reset.target else {
        return Ok(Ok(()));
    };
    let enabled = settings(tx, workspace)?.is_some_and(|settings| settings.two_factor_enabled);
    if !enabled || !has_permission(tx, workspace, &caller.id, EDIT_OTHER_USER_TOTP)? {
        return Ok(Err(Refusal::NotPermitted));
    }
    Ok(match find_user(tx, workspace, &Selector::Id(id.clone()))? {
        None => Err(Refusal::UnknownTarget),
        Some(user) if user.federated => Err(Refusal::NotPermitted),
        Some(_) => Ok(()),
    })
}

/// Checks the proof and makes it useless for any other request.
fn spend(tx: &Transaction<'_>, reset: &Reset) -> SqlResult<Result<(), Refusal>> {
    let (workspace, caller) = (reset.workspace.as_str(), reset.caller.id.as_str());
    let Some(settings) = settings(tx, workspace)? else {
        return Ok(Err(Refusal::WrongProof));
    };
    match &reset.proof {
        Proof::None => {
            let methods = methods(tx, workspace, caller)?;
            let has_factor = methods.totp || methods.password;
            let excused = !settings.two_factor_enabled
                || (reset.caller.bypass_token && settings.bypass_token_allowed)
                || (settings.missing_factor_allowed && !has_factor);
            Ok(excused.then_some(()).ok_or(Refusal::WrongProof))
        }
        Proof::Password(hash) => {
            let accepted = methods(tx, workspace, caller)?.password
                && password_hash(tx, workspace, caller)? == hash.expose_secret();
            Ok(accepted.then_some(()).ok_or(Refusal::WrongProof))
        }
        Proof::TotpStep { step, code } => {
            let Some(totp) = totp(tx, workspace, caller)? else {
                return Ok(Err(Refusal::WrongProof));
            };
            let in_window = step.abs_diff(step_of(reset.now)) <= u64::from(settings.totp_window);
            if !in_window || !totp.key.has_code(*step, code.expose_secret()) {
                return Ok(Err(Refusal::WrongProof));
            }
            if totp.last_step.is_some_and(|last| *step <= last) {
                return Ok(Err(Refusal::Replayed));
            }
            tx.prepare_cached("UPDATE totp SET last_step = ?3 WHERE workspace = ?1 AND user = ?2")?
                .execute(params![workspace, caller, step.cast_signed()])?;
            Ok(Ok(()))
        }
        Proof::BackupCode(code) => {
            let spent = tx
                .prepare_cached(
                    "DELETE FROM backup_code WHERE workspace = ?1 AND user = ?2 AND hash = ?3",
                )?
                .execute([workspace, caller, &backup_code_hash(code.expose_secret())])?;
            Ok((spent == 1).then_some(()).ok_or(Refusal::WrongProof))
        }
    }
}

/// Removes secret and backup codes; false where there were none.
fn remove_totp(tx: &Transaction<'_>, workspace: &str, user: &str) -> SqlResult<bool> {
    let removed = tx
        .prepare_cached("DELETE FROM totp WHERE workspace = ?1 AND user = ?2")?
        .execute([workspace, user])?;
    Ok(removed == 1)
}

fn revoke_tokens(tx: &Transaction<'_>, workspace: &str, user: &str) -> SqlResult<()> {
    tx.prepare_cached("DELETE FROM login_token WHERE workspace = ?1 AND user = ?2")?
        .execute([workspace, user])?;
    Ok(())
}

fn queue_notices(tx: &Transaction<'_>, reset: &Reset, target: &str) -> SqlResult<()> {
    let caller = Selector::Id(reset.caller.id.clone());
    let caller = find_user(tx, &reset.workspace, &caller)?.map_or_else(String::new, |c| c.username);
    tx.prepare_cached(
        "INSERT INTO outbox (workspace, recipient, subject, body, queued)
         SELECT workspace, address, :subject, :body, :queued FROM email
         WHERE workspace = :workspace AND user = :user AND verified",
    )?
    .execute(named_params! {
        ":subject": notice::SUBJECT,
        ":body": notice::body(&caller, reset.now),
        ":queued": reset.now.millis(),
        ":workspace": reset.workspace,
        ":user": target,
    })?;
    Ok(())
}

fn clear_failures(tx: &Transaction<'_>, workspace: &str, user: &str) -> SqlResult<()> {
    tx.prepare_cached("DELETE FROM failed_attempt WHERE workspace = ?1 AND user = ?2")?
        .execute([workspace, user])?;
    Ok(())
}
