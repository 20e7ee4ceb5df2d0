//! Mail that waits to be sent.

use super::SqlResult;
use crate::clock::Timestamp;
use crate::mail::Letter;
use secrecy::ExposeSecret;
use tokio_rusqlite::rusqlite::{Transaction, named_params};

/// Queues `letter` for every verified address of `user`.
pub(super) fn queue(
    tx: &Transaction<'_>,
    workspace: &str,
    user: &str,
    letter: &Letter,
    now: Timestamp,
    expires: Timestamp,
) -> SqlResult<()> {
    tx.prepare_cached(
        "INSERT INTO outbox (workspace, message_id, recipient, subject, body, queued, expires,
                             holds_code, next_try)
         SELECT workspace, lower(hex(randomblob(16))), address, :subject, :body, :now, :expires,
                :holds_code, :now
         FROM email WHERE workspace = :workspace AND user = :user AND verified",
    )?
    .execute(named_params! {
        ":subject": letter.subject,
        ":body": letter.body.expose_secret(),
        ":now": now.millis(),
        ":expires": expires.millis(),
        ":holds_code": letter.holds_code,
        ":workspace": workspace,
        ":user": user,
    })?;
    Ok(())
}
