//! What an account does to itself.

use super::create::{enrol, replace_backup_codes};
use super::look_up::{authenticate, find_user, is_password, methods, settings, totp};
use super::second_factor::{
    begin_email_attempt, begin_totp_attempt, clear_failures, count_failure, is_locked, remove_totp,
    spend,
};
use super::{SqlResult, Step, Stop, outcome, record, token};
use chat_domain::account::{Selector, TotpFactor};
use chat_domain::audit::{AuditRecord, Decision};
use chat_domain::change::PENDING_KEY_LIFETIME;
use chat_domain::change::{Act, Authority, Change, Code, Denial};
use chat_domain::directory::NewToken;
use chat_domain::reset::{Attempt, Proof, Refusal};
use chat_domain::settings::Settings;
use chat_domain::totp::TotpKey;
use secrecy::{ExposeSecret, SecretString};
use tokio_rusqlite::rusqlite::{OptionalExtension, Transaction, params};

impl From<Denial> for Stop<Denial> {
    fn from(denial: Denial) -> Self {
        Self::Refused(denial)
    }
}

pub(super) fn commit(tx: &Transaction<'_>, change: &Change) -> SqlResult<Result<(), Denial>> {
    let outcome = outcome(apply(tx, change))?;
    record(
        tx,
        &AuditRecord {
            at: change.now,
            workspace: change.workspace.clone(),
            request_id: change.request_id.clone(),
            action: change.act.action(),
            caller: change.user.clone(),
            target: Some(change.user.clone()),
            decision: outcome.err().map_or(Decision::Done, Denial::decision),
            reason: outcome.err().map(|denial| denial.id().to_owned()),
        },
    )?;
    Ok(outcome)
}

/// A denial leaves before the first change, but for the count of failures.
fn apply(tx: &Transaction<'_>, change: &Change) -> Step<(), Denial> {
    let workspace = change.workspace.as_str();
    let settings = settings(tx, workspace)?.ok_or(Denial::NotAuthenticated)?;
    if !holds(tx, change)? {
        return Err(Denial::NotAuthenticated.into());
    }
    match &change.act {
        Act::LogIn(token) => log_in(tx, change, &settings, token),
        Act::BeginEnrolment(key) => begin_enrolment(tx, change, &settings, key),
        Act::ConfirmTotp { backup_code_hashes } => {
            confirm_totp(tx, change, &settings, backup_code_hashes)
        }
        Act::DisableTotp => {
            prove_totp(tx, change, &settings)?;
            remove_totp(tx, workspace, &change.user)?;
            Ok(())
        }
        Act::ReplaceBackupCodes { backup_code_hashes } => {
            prove_totp(tx, change, &settings)?;
            replace_backup_codes(tx, workspace, &change.user, backup_code_hashes)?;
            Ok(())
        }
    }
}

/// Whether the account is active and its holder still asks.
fn holds(tx: &Transaction<'_>, change: &Change) -> SqlResult<bool> {
    let (workspace, user) = (change.workspace.as_str(), change.user.as_str());
    match &change.authority {
        Authority::Token(hash) => {
            Ok(authenticate(tx, workspace, user, hash, change.now)?.is_some())
        }
        Authority::Password(hash) => is_password(tx, workspace, user, hash),
    }
}

fn log_in(
    tx: &Transaction<'_>,
    change: &Change,
    settings: &Settings,
    token: &NewToken,
) -> Step<(), Denial> {
    let (workspace, user) = (change.workspace.as_str(), change.user.as_str());
    let methods = methods(tx, workspace, user)?;
    if settings.two_factor_enabled && (methods.totp || methods.email) {
        prove(tx, change, settings)?;
    }
    token::forget_ended(tx, workspace, user, change.now)?;
    token::insert(tx, workspace, user, token)?;
    Ok(())
}

fn begin_enrolment(
    tx: &Transaction<'_>,
    change: &Change,
    settings: &Settings,
    key: &TotpKey,
) -> Step<(), Denial> {
    let (workspace, user) = (change.workspace.as_str(), change.user.as_str());
    require_unenrolled(tx, change, settings)?;
    let excused = settings.missing_factor_allowed && !methods(tx, workspace, user)?.any();
    if !excused {
        prove(tx, change, settings)?;
    }
    tx.prepare_cached(
        "INSERT OR REPLACE INTO pending_totp (workspace, user, key, expires)
         VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute(params![
        workspace,
        user,
        key.expose(),
        (change.now + PENDING_KEY_LIFETIME).millis()
    ])?;
    Ok(())
}

/// Checks that the account may enrol TOTP, and has not.
fn require_unenrolled(
    tx: &Transaction<'_>,
    change: &Change,
    settings: &Settings,
) -> Step<(), Denial> {
    let (workspace, user) = (change.workspace.as_str(), change.user.as_str());
    if !settings.uses_totp() {
        return Err(Denial::NotEnabled.into());
    }
    let account = find_user(tx, workspace, &Selector::Id(user.to_owned()))?;
    if account.is_none_or(|account| account.federated) {
        return Err(Denial::Federated.into());
    }
    if totp(tx, workspace, user)?.is_some() {
        return Err(Denial::AlreadyEnrolled.into());
    }
    Ok(())
}

fn confirm_totp(
    tx: &Transaction<'_>,
    change: &Change,
    settings: &Settings,
    backup_code_hashes: &[String],
) -> Step<(), Denial> {
    let (workspace, user) = (change.workspace.as_str(), change.user.as_str());
    let (Some(Code::Totp(code)), Authority::Token(session)) = (&change.code, &change.authority)
    else {
        return Err(Denial::CodeRequired.into());
    };
    require_unenrolled(tx, change, settings)?;
    let key = pending_key(tx, change)?.ok_or(Denial::NotEnrolled)?;
    let step = pending_step(tx, change, settings, &key, code)?;
    let factor = TotpFactor {
        key,
        last_step: Some(step),
        backup_code_hashes: backup_code_hashes.to_vec(),
    };
    remove_totp(tx, workspace, user)?;
    enrol(tx, workspace, user, &factor)?;
    token::end_sessions(tx, workspace, user, Some(session))?;
    Ok(())
}

fn pending_key(tx: &Transaction<'_>, change: &Change) -> SqlResult<Option<TotpKey>> {
    tx.prepare_cached(
        "SELECT key FROM pending_totp WHERE workspace = ?1 AND user = ?2 AND expires > ?3",
    )?
    .query_row(
        params![change.workspace, change.user, change.now.millis()],
        |row| row.get(0).map(TotpKey::new),
    )
    .optional()
}

/// The step of `code`, a code of the pending key. Success does not clear the
/// count of failures: who only holds the account's token knows that key.
fn pending_step(
    tx: &Transaction<'_>,
    change: &Change,
    settings: &Settings,
    key: &TotpKey,
    code: &SecretString,
) -> Step<u64, Denial> {
    let (workspace, user, now) = (change.workspace.as_str(), change.user.as_str(), change.now);
    if is_locked(tx, workspace, user, now)? {
        return Err(Denial::Locked.into());
    }
    match key.matching_step(code.expose_secret(), now, settings.totp_window) {
        Some(step) => Ok(step),
        None => {
            count_failure(tx, workspace, user, now)?;
            Err(Denial::WrongCode.into())
        }
    }
}

fn prove_totp(tx: &Transaction<'_>, change: &Change, settings: &Settings) -> Step<(), Denial> {
    if totp(tx, &change.workspace, &change.user)?.is_none() {
        return Err(Denial::NotEnrolled.into());
    }
    prove(tx, change, settings)
}

/// Counts the attempt, checks the code and spends it; success clears the count.
/// A code for a factor that the account may not use is none.
fn prove(tx: &Transaction<'_>, change: &Change, settings: &Settings) -> Step<(), Denial> {
    let (workspace, user, now) = (change.workspace.as_str(), change.user.as_str(), change.now);
    let proof = match &change.code {
        None => return Err(Denial::CodeRequired.into()),
        Some(Code::Totp(code)) => {
            let factor = begun(begin_totp_attempt(tx, workspace, user, now)?)?;
            let step = factor
                .key
                .matching_step(code.expose_secret(), now, settings.totp_window);
            let code = code.clone();
            step.map_or_else(
                || Proof::BackupCode(code.clone()),
                |step| Proof::TotpStep {
                    step,
                    code: code.clone(),
                },
            )
        }
        Some(Code::Email(code)) => {
            begun(begin_email_attempt(tx, workspace, user, now)?)?;
            Proof::EmailCode(code.clone())
        }
        Some(Code::Password(_)) if !methods(tx, workspace, user)?.password => {
            return Err(Denial::CodeRequired.into());
        }
        Some(Code::Password(compared)) => Proof::Password(compared.clone()?),
    };
    match outcome(spend(tx, workspace, user, &proof, now))? {
        Ok(()) => Ok(clear_failures(tx, workspace, user)?),
        Err(Refusal::Replayed) => Err(Denial::Replayed.into()),
        Err(_) => Err(Denial::WrongCode.into()),
    }
}

fn begun<F>(attempt: Attempt<F>) -> Result<F, Denial> {
    match attempt {
        Attempt::Begun(factor) => Ok(factor),
        Attempt::Locked => Err(Denial::Locked),
        Attempt::Unavailable => Err(Denial::CodeRequired),
    }
}
