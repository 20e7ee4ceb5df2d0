//! What an account does to itself.

use super::create::{enrol, insert_backup_codes, insert_token};
use super::look_up::{authenticate, methods, password_hash, settings, totp};
use super::second_factor::{
    begin_email_attempt, clear_failures, count_failure, is_locked, remove_totp, spend_backup_code,
    spend_email_code, spend_step,
};
use super::{SqlResult, record};
use crate::clock::Timestamp;
use crate::settings::Settings;
use crate::store::{
    Act, Action, Attempt, AuditRecord, Authority, Change, Code, Decision, Denial, Refusal,
    TotpFactor,
};
use crate::totp::TotpKey;
use secrecy::{ExposeSecret, SecretString};
use tokio_rusqlite::rusqlite::{OptionalExtension, Transaction, params};

pub(super) fn commit(tx: &Transaction<'_>, change: &Change) -> SqlResult<Result<(), Denial>> {
    let outcome = attempt(tx, change)?;
    record(
        tx,
        &AuditRecord {
            at: change.now,
            workspace: change.workspace.clone(),
            request_id: change.request_id.clone(),
            action: match change.act {
                Act::LogIn(_) => Action::LogIn,
                Act::BeginEnrolment(_) => Action::BeginEnrolment,
                Act::ConfirmTotp { .. } => Action::ConfirmTotp,
                Act::DisableTotp => Action::DisableTotp,
                Act::ReplaceBackupCodes { .. } => Action::ReplaceBackupCodes,
            },
            caller: change.user.clone(),
            target: Some(change.user.clone()),
            decision: match outcome {
                Ok(()) => Decision::Done,
                Err(Denial::Replayed) => Decision::Replayed,
                Err(Denial::Locked) => Decision::Locked,
                Err(_) => Decision::Refused,
            },
            reason: outcome.err().map(|denial| denial.id().to_owned()),
        },
    )?;
    Ok(outcome)
}

/// A denial leaves before the first change.
fn attempt(tx: &Transaction<'_>, change: &Change) -> SqlResult<Result<(), Denial>> {
    let (workspace, user) = (change.workspace.as_str(), change.user.as_str());
    let Some(settings) = settings(tx, workspace)? else {
        return Ok(Err(Denial::NotAuthenticated));
    };
    if !holds(tx, change)? {
        return Ok(Err(Denial::NotAuthenticated));
    }
    match &change.act {
        Act::LogIn(token) => {
            let methods = methods(tx, workspace, user)?;
            if settings.two_factor_enabled
                && (methods.totp || methods.email)
                && let Err(denial) = prove(tx, change, &settings)?
            {
                return Ok(Err(denial));
            }
            insert_token(tx, workspace, user, token)?;
        }
        Act::BeginEnrolment(key) => {
            if !settings.two_factor_enabled || !settings.totp_enabled {
                return Ok(Err(Denial::NotEnabled));
            }
            if totp(tx, workspace, user)?.is_some() {
                return Ok(Err(Denial::AlreadyEnrolled));
            }
            let methods = methods(tx, workspace, user)?;
            let has_factor = methods.totp || methods.email || methods.password;
            let excused = settings.missing_factor_allowed && !has_factor;
            if !excused && let Err(denial) = prove(tx, change, &settings)? {
                return Ok(Err(denial));
            }
            tx.prepare_cached(
                "INSERT OR REPLACE INTO pending_totp (workspace, user, key) VALUES (?1, ?2, ?3)",
            )?
            .execute(params![workspace, user, key.expose()])?;
        }
        Act::ConfirmTotp { backup_code_hashes } => {
            let (Some(Code::Totp(code)), Authority::Token(token)) =
                (&change.code, &change.authority)
            else {
                return Ok(Err(Denial::CodeRequired));
            };
            if totp(tx, workspace, user)?.is_some() {
                return Ok(Err(Denial::AlreadyEnrolled));
            }
            let Some(key) = pending_key(tx, workspace, user)? else {
                return Ok(Err(Denial::NotEnrolled));
            };
            let step = match confirm(tx, change, &settings, &key, code)? {
                Ok(step) => step,
                Err(denial) => return Ok(Err(denial)),
            };
            remove_totp(tx, workspace, user)?;
            let factor = TotpFactor {
                key,
                last_step: Some(step),
                backup_code_hashes: backup_code_hashes.clone(),
            };
            enrol(tx, workspace, user, &factor)?;
            end_other_sessions(tx, workspace, user, token)?;
        }
        Act::DisableTotp | Act::ReplaceBackupCodes { .. } => {
            if totp(tx, workspace, user)?.is_none() {
                return Ok(Err(Denial::NotEnrolled));
            }
            if let Err(denial) = prove(tx, change, &settings)? {
                return Ok(Err(denial));
            }
            if let Act::ReplaceBackupCodes { backup_code_hashes } = &change.act {
                tx.prepare_cached("DELETE FROM backup_code WHERE workspace = ?1 AND user = ?2")?
                    .execute([workspace, user])?;
                insert_backup_codes(tx, workspace, user, backup_code_hashes)?;
            } else {
                remove_totp(tx, workspace, user)?;
            }
        }
    }
    Ok(Ok(()))
}

/// Whether the account is active and its holder still asks.
fn holds(tx: &Transaction<'_>, change: &Change) -> SqlResult<bool> {
    let (workspace, user) = (change.workspace.as_str(), change.user.as_str());
    match &change.authority {
        Authority::Token(hash) => {
            Ok(authenticate(tx, workspace, user, hash, change.now)?.is_some())
        }
        Authority::Password(hash) => {
            let stored = password_hash(tx, workspace, user)?;
            Ok(stored.is_some_and(|stored| stored.expose_secret() == hash.expose_secret()))
        }
    }
}

/// Counts the attempt, checks the code and spends it; success clears the count.
/// A code for a factor that the account may not use is none.
fn prove(
    tx: &Transaction<'_>,
    change: &Change,
    settings: &Settings,
) -> SqlResult<Result<(), Denial>> {
    let (workspace, user, now) = (change.workspace.as_str(), change.user.as_str(), change.now);
    let methods = methods(tx, workspace, user)?;
    let outcome = match &change.code {
        Some(Code::Totp(code)) if methods.totp => {
            if !count_failure(tx, workspace, user, now)? {
                return Ok(Err(Denial::Locked));
            }
            spend_totp_code(tx, workspace, user, code, now, settings)?
        }
        Some(Code::Email(code)) if methods.email => {
            let attempt = begin_email_attempt(tx, workspace, user, now)?;
            if matches!(attempt, Attempt::Locked) {
                return Ok(Err(Denial::Locked));
            }
            let spent = spend_email_code(tx, workspace, user, code, now)?;
            spent.then_some(()).ok_or(Denial::WrongCode)
        }
        Some(Code::Password(hash)) if methods.password => {
            let stored = password_hash(tx, workspace, user)?;
            let right = stored.is_some_and(|stored| {
                hash.as_ref()
                    .is_some_and(|hash| stored.expose_secret() == hash.expose_secret())
            });
            right.then_some(()).ok_or(Denial::WrongCode)
        }
        _ => return Ok(Err(Denial::CodeRequired)),
    };
    if outcome.is_ok() {
        clear_failures(tx, workspace, user)?;
    }
    Ok(outcome)
}

fn spend_totp_code(
    tx: &Transaction<'_>,
    workspace: &str,
    user: &str,
    code: &SecretString,
    now: Timestamp,
    settings: &Settings,
) -> SqlResult<Result<(), Denial>> {
    let key = totp(tx, workspace, user)?.map(|totp| totp.key);
    let step =
        key.and_then(|key| key.matching_step(code.expose_secret(), now, settings.totp_window));
    let Some(step) = step else {
        let spent = spend_backup_code(tx, workspace, user, code)?;
        return Ok(spent.then_some(()).ok_or(Denial::WrongCode));
    };
    Ok(
        spend_step(tx, workspace, user, step, code)?.map_err(|refusal| match refusal {
            Refusal::Replayed => Denial::Replayed,
            _ => Denial::WrongCode,
        }),
    )
}

/// The step of `code`, a code of the pending key. Success does not clear the
/// count of failures: who only holds the account's token knows that key.
fn confirm(
    tx: &Transaction<'_>,
    change: &Change,
    settings: &Settings,
    key: &TotpKey,
    code: &SecretString,
) -> SqlResult<Result<u64, Denial>> {
    let (workspace, user, now) = (change.workspace.as_str(), change.user.as_str(), change.now);
    if is_locked(tx, workspace, user, now)? {
        return Ok(Err(Denial::Locked));
    }
    match key.matching_step(code.expose_secret(), now, settings.totp_window) {
        Some(step) => Ok(Ok(step)),
        None => {
            count_failure(tx, workspace, user, now)?;
            Ok(Err(Denial::WrongCode))
        }
    }
}

fn pending_key(tx: &Transaction<'_>, workspace: &str, user: &str) -> SqlResult<Option<TotpKey>> {
    tx.prepare_cached("SELECT key FROM pending_totp WHERE workspace = ?1 AND user = ?2")?
        .query_row([workspace, user], |row| row.get(0).map(TotpKey::new))
        .optional()
}

/// Ends the account's sessions but for the one of this token; personal access
/// tokens stay.
fn end_other_sessions(
    tx: &Transaction<'_>,
    workspace: &str,
    user: &str,
    token_hash: &str,
) -> SqlResult<()> {
    tx.prepare_cached(
        "DELETE FROM login_token
         WHERE workspace = ?1 AND user = ?2 AND hash <> ?3 AND expires IS NOT NULL",
    )?
    .execute([workspace, user, token_hash])?;
    Ok(())
}
