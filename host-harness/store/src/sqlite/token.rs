//! Login tokens begin and end.

use super::SqlResult;
use chat_domain::directory::NewToken;
use chat_domain::time::Timestamp;
use tokio_rusqlite::rusqlite::{Transaction, params};

pub(super) fn insert(
    tx: &Transaction<'_>,
    workspace: &str,
    user: &str,
    token: &NewToken,
) -> SqlResult<()> {
    tx.prepare_cached(
        "INSERT INTO login_token (workspace, user, hash, expires, bypass_two_factor, name)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![
        workspace,
        user,
        token.hash,
        token.expires.map(Timestamp::millis),
        token.bypass_two_factor,
        token.name
    ])?;
    Ok(())
}

pub(super) fn revoke(tx: &Transaction<'_>, workspace: &str, hash: &str) -> SqlResult<()> {
    tx.prepare_cached("DELETE FROM login_token WHERE workspace = ?1 AND hash = ?2")?
        .execute([workspace, hash])?;
    Ok(())
}

/// Says how many that were. So do those below.
pub(super) fn revoke_all(tx: &Transaction<'_>, workspace: &str, user: &str) -> SqlResult<usize> {
    tx.prepare_cached("DELETE FROM login_token WHERE workspace = ?1 AND user = ?2")?
        .execute([workspace, user])
}

/// Revokes the personal access token of this name.
pub(super) fn revoke_named(
    tx: &Transaction<'_>,
    workspace: &str,
    user: &str,
    name: &str,
) -> SqlResult<usize> {
    tx.prepare_cached("DELETE FROM login_token WHERE workspace = ?1 AND user = ?2 AND name = ?3")?
        .execute([workspace, user, name])
}

/// Ends the account's sessions, but for the one of the token with the hash `but`.
/// Personal access tokens stay.
pub(super) fn end_sessions(
    tx: &Transaction<'_>,
    workspace: &str,
    user: &str,
    but: Option<&str>,
) -> SqlResult<usize> {
    tx.prepare_cached(
        "DELETE FROM login_token
         WHERE workspace = ?1 AND user = ?2 AND expires IS NOT NULL AND hash IS NOT ?3",
    )?
    .execute(params![workspace, user, but])
}

/// Forgets the sessions that have ended, so that an account's tokens do not
/// become more for ever.
pub(super) fn forget_ended(
    tx: &Transaction<'_>,
    workspace: &str,
    user: &str,
    now: Timestamp,
) -> SqlResult<usize> {
    tx.prepare_cached(
        "DELETE FROM login_token WHERE workspace = ?1 AND user = ?2 AND expires <= ?3",
    )?
    .execute(params![workspace, user, now.millis()])
}
