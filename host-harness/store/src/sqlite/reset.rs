//! The one effect.

use super::look_up::{authenticate, find_user, has_permission, methods, settings};
use super::second_factor::{clear_failures, remove_totp, spend};
use super::{SqlResult, Step, Stop, outbox, record, token};
use chat_domain::account::{EDIT_OTHER_USER_TOTP, Selector};
use chat_domain::audit::{Action, AuditRecord, Decision};
use chat_domain::mail;
use chat_domain::reset::{Proof, Receipt, Refusal, Reset, Target};
use tokio_rusqlite::rusqlite::Transaction;

impl From<Refusal> for Stop<Refusal> {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// A refusal leaves before the first change.
pub(super) fn commit(tx: &Transaction<'_>, reset: &Reset) -> Step<Receipt, Refusal> {
    let (workspace, caller) = (reset.workspace.as_str(), reset.caller.id.as_str());
    permit(tx, reset)?;
    match &reset.proof {
        Proof::None => excuse(tx, reset)?,
        proof => spend(tx, workspace, caller, proof, reset.now)?,
    }
    let target = match &reset.target {
        Target::Caller => &reset.caller.id,
        Target::User(id) => id,
    };
    let removed = remove_totp(tx, workspace, target)?;
    if removed {
        token::revoke_all(tx, workspace, target)?;
        if let Target::User(_) = reset.target {
            queue_notices(tx, reset, target)?;
        }
    }
    // Whoever is excused has proved nothing that makes guesses forgotten.
    if !matches!(reset.proof, Proof::None) {
        clear_failures(tx, workspace, caller)?;
    }
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
            action: Action::ResetTotp,
            caller: reset.caller.id.clone(),
            target: Some(target.clone()),
            decision,
            reason: None,
        },
    )?;
    Ok(receipt)
}

/// Checks that the caller may reset the target.
fn permit(tx: &Transaction<'_>, reset: &Reset) -> Step<(), Refusal> {
    let Reset {
        workspace, caller, ..
    } = reset;
    if authenticate(tx, workspace, &caller.id, &caller.token_hash, reset.now)?.is_none() {
        return Err(Refusal::NotPermitted.into());
    }
    let Target::User(id) = &reset.target else {
        return Ok(());
    };
    let enabled = settings(tx, workspace)?.is_some_and(|settings| settings.two_factor_enabled);
    if !enabled || !has_permission(tx, workspace, &caller.id, EDIT_OTHER_USER_TOTP)? {
        return Err(Refusal::NotPermitted.into());
    }
    match find_user(tx, workspace, &Selector::Id(id.clone()))? {
        None => Err(Refusal::UnknownTarget.into()),
        Some(user) if user.federated => Err(Refusal::NotPermitted.into()),
        Some(_) => Ok(()),
    }
}

/// Checks that the caller needs no proof.
fn excuse(tx: &Transaction<'_>, reset: &Reset) -> Step<(), Refusal> {
    let settings = settings(tx, &reset.workspace)?.unwrap_or_default();
    let has_factor = methods(tx, &reset.workspace, &reset.caller.id)?.any();
    let excused = !settings.two_factor_enabled
        || (reset.caller.bypass_token && settings.bypass_token_allowed)
        || (settings.missing_factor_allowed && !has_factor);
    excused.then_some(()).ok_or(Refusal::WrongProof.into())
}

fn queue_notices(tx: &Transaction<'_>, reset: &Reset, target: &str) -> SqlResult<()> {
    let Some(settings) = settings(tx, &reset.workspace)? else {
        return Ok(());
    };
    let caller = Selector::Id(reset.caller.id.clone());
    let caller = find_user(tx, &reset.workspace, &caller)?.map_or_else(String::new, |c| c.username);
    let letter = mail::reset_notice(&caller, reset.now);
    let expires = reset.now + settings.mail_lifetime();
    outbox::queue(tx, &reset.workspace, target, &letter, reset.now, expires)
}
