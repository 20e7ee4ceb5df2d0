//! The one effect.

use super::look_up::{authenticate, find_user, has_permission, settings};
use super::second_factor::{clear_failures, remove_totp, spend};
use super::{SqlResult, outbox, record};
use crate::mail;
use crate::store::{
    Action, AuditRecord, Decision, EDIT_OTHER_USER_TOTP, Receipt, Refusal, Reset, Selector, Target,
};
use tokio_rusqlite::rusqlite::Transaction;

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
            action: Action::ResetTotp,
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

/// Ends every token of `user`; says how many.
pub(super) fn revoke_tokens(tx: &Transaction<'_>, workspace: &str, user: &str) -> SqlResult<usize> {
    tx.prepare_cached("DELETE FROM login_token WHERE workspace = ?1 AND user = ?2")?
        .execute([workspace, user])
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
