//! Mail that waits to be sent.

use super::{Db, SqlResult};
use crate::convention::{NEVER, next_try, next_try_millis, opened_body, put_off, sealed_body};
use chat_domain::outbox::{
    Claim, Count, Expired, LEASE, LEAST_TRIES, NextTry, OutboxCount, Post, StoredMail,
};
use chat_domain::sockets::ROCKET_CHAT;
use chat_domain::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, named_params, params};
use secrecy::ExposeSecret;

/// Which mails are due: those whose time has come, and those that a clock which was ahead has
/// put off.
const DUE: &str = "(next_try <= :now OR (next_try > :put_off AND next_try < :never))";

/// Which mails are tried no more: as [`StoredMail::state`] says.
const EXPIRED: &str = "(expires <= :now AND (holds_code OR tries >= :least_tries))";

pub(super) fn queue(db: Db<'_>, workspace: &str, post: &Post) -> SqlResult<()> {
    db.prepare_cached(
        "INSERT INTO outbox (workspace, user, message_id, recipient, subject, body, queued,
                             expires, holds_code, next_try)
         VALUES (:workspace, :user, lower(hex(randomblob(16))), :recipient, :subject, :body,
                 :queued, :expires, :holds_code, :queued)",
    )?
    .execute(named_params! {
        ":workspace": workspace,
        ":user": post.user,
        ":recipient": post.recipient,
        ":subject": post.subject,
        ":body": sealed_body(db.seal, workspace, post).expose_secret(),
        ":queued": post.queued.millis(),
        ":expires": post.expires.millis(),
        ":holds_code": post.holds_code,
    })?;
    Ok(())
}

pub(super) fn next_mail_due(db: &Connection, now: Timestamp) -> SqlResult<Option<Timestamp>> {
    let (first, last): (Option<i64>, Option<i64>) = db
        .prepare_cached(
            "SELECT (SELECT min(next_try) FROM outbox WHERE next_try < ?1),
                    (SELECT max(next_try) FROM outbox WHERE next_try < ?1)",
        )?
        .query_row([NEVER], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let was_put_off = last.is_some_and(|last| last > put_off(now));
    Ok(match was_put_off {
        true => Some(now),
        false => first.map(Timestamp::from_millis),
    })
}

/// Whether there is mail to be sent.
pub(super) fn holds_mail(db: &Connection) -> SqlResult<bool> {
    db.prepare_cached("SELECT 1 FROM outbox WHERE next_try < ?1")?
        .exists([NEVER])
}

/// The id of the account that a mail is for.
pub(super) fn holder(db: &Connection, workspace: &str, id: i64) -> SqlResult<Option<String>> {
    let holder = db
        .prepare_cached("SELECT user FROM outbox WHERE workspace = ?1 AND id = ?2")?
        .query_row(params![workspace, id], |row| row.get(0))
        .optional()?;
    Ok(holder.flatten())
}

pub(super) fn count(db: &Connection) -> SqlResult<OutboxCount> {
    let mut query = db.prepare_cached(
        "SELECT recipient = ?2, count(*) FILTER (WHERE next_try < ?1),
                count(*) FILTER (WHERE next_try = ?1), min(queued) FILTER (WHERE next_try < ?1)
         FROM outbox GROUP BY 1",
    )?;
    let mut rows = query.query(params![NEVER, ROCKET_CHAT])?;
    let mut counted = OutboxCount::default();
    while let Some(row) = rows.next()? {
        let kind = match row.get(0)? {
            true => &mut counted.sockets,
            false => &mut counted.mails,
        };
        *kind = Count {
            waiting: row.get(1)?,
            dead_letters: row.get(2)?,
            oldest: row.get::<_, Option<i64>>(3)?.map(Timestamp::from_millis),
        };
    }
    Ok(counted)
}

/// Of all workspaces but those of a JSON array, or of one.
pub(super) fn claim_mail(
    db: Db<'_>,
    now: Timestamp,
    but: &str,
    only: Option<&str>,
) -> SqlResult<Option<Claim>> {
    let found: Option<(i64, i64)> = db
        .prepare_cached(&format!(
            "SELECT id, next_try FROM outbox WHERE {DUE} AND NOT {EXPIRED}
               AND workspace NOT IN (SELECT value FROM json_each(:but))
               AND (:only IS NULL OR workspace = :only)
             ORDER BY next_try, id LIMIT 1"
        ))?
        .query_row(
            named_params! {
                ":now": now.millis(),
                ":put_off": put_off(now),
                ":never": NEVER,
                ":least_tries": LEAST_TRIES,
                ":but": but,
                ":only": only,
            },
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    let Some((id, next_try)) = found else {
        return Ok(None);
    };
    db.prepare_cached(
        "UPDATE outbox SET tries = tries + 1, claimed = 1, next_try = ?2 WHERE id = ?1
         RETURNING id, workspace, message_id, recipient, subject, body, queued, tries, holds_code,
                   user",
    )?
    .query_row([id, (now + LEASE).millis()], |row| {
        let workspace: String = row.get(1)?;
        let (body, user): (String, Option<String>) = (row.get(5)?, row.get(9)?);
        let body = opened_body(db.seal, &workspace, user.as_deref(), row.get(8)?, body);
        Ok(Claim {
            id: row.get(0)?,
            workspace,
            message_id: row.get(2)?,
            recipient: row.get(3)?,
            subject: row.get(4)?,
            body,
            queued: Timestamp::from_millis(row.get(6)?),
            tries: row.get(7)?,
            was_put_off: next_try > put_off(now),
        })
    })
    .optional()
}

pub(super) fn expired_mails(db: &Connection, now: Timestamp) -> SqlResult<Vec<Expired>> {
    db.prepare_cached(&format!(
        "SELECT id, workspace FROM outbox WHERE {DUE} AND {EXPIRED}"
    ))?
    .query_map(
        named_params! {
            ":now": now.millis(),
            ":put_off": put_off(now),
            ":never": NEVER,
            ":least_tries": LEAST_TRIES,
        },
        |row| {
            Ok(Expired {
                id: row.get(0)?,
                workspace: row.get(1)?,
            })
        },
    )?
    .collect()
}

/// Nobody is sending the mail any more. The last problem stays where there is no other.
pub(super) fn postpone(
    db: &Connection,
    workspace: &str,
    id: i64,
    next: NextTry,
    problem: Option<&str>,
    doubtful: u32,
) -> SqlResult<()> {
    db.prepare_cached(
        "UPDATE outbox SET claimed = 0, next_try = ?3, last_problem = coalesce(?4, last_problem),
                doubtful = ?5
         WHERE workspace = ?1 AND id = ?2",
    )?
    .execute(params![
        workspace,
        id,
        next_try_millis(next),
        problem,
        doubtful
    ])?;
    Ok(())
}

/// What operators see of a mail, as [`mail_in`] reads it; a condition follows.
macro_rules! mails_where {
    ($condition:literal) => {
        concat!(
            "SELECT id, queued, expires, claimed, next_try, tries, recipient, subject,
                    CASE WHEN holds_code THEN NULL ELSE body END, last_problem, doubtful
             FROM outbox WHERE workspace = ?1 AND ",
            $condition
        )
    };
}

/// As [`Store::mails`](crate::Store::mails).
pub(super) fn mails(
    db: &Connection,
    workspace: &str,
    after: i64,
    most: u32,
) -> SqlResult<Vec<StoredMail>> {
    db.prepare_cached(mails_where!("id > ?2 ORDER BY id LIMIT ?3"))?
        .query_map(params![workspace, after, most], mail_in)?
        .collect()
}

pub(super) fn mail(db: &Connection, workspace: &str, id: i64) -> SqlResult<Option<StoredMail>> {
    db.prepare_cached(mails_where!("id = ?2"))?
        .query_row(params![workspace, id], mail_in)
        .optional()
}

fn mail_in(row: &Row<'_>) -> SqlResult<StoredMail> {
    Ok(StoredMail {
        id: row.get(0)?,
        queued: Timestamp::from_millis(row.get(1)?),
        expires: Timestamp::from_millis(row.get(2)?),
        claimed: row.get(3)?,
        next_try: next_try(row.get(4)?),
        tries: row.get(5)?,
        recipient: row.get(6)?,
        subject: row.get(7)?,
        body: row.get(8)?,
        last_problem: row.get(9)?,
        doubtful: row.get(10)?,
    })
}

/// Makes a mail due at `due`.
pub(super) fn retry(
    db: &Connection,
    workspace: &str,
    id: i64,
    due: Timestamp,
    expires: Timestamp,
) -> SqlResult<()> {
    db.prepare_cached(
        "UPDATE outbox SET claimed = 0, next_try = ?3, expires = ?4, doubtful = 0
         WHERE workspace = ?1 AND id = ?2",
    )?
    .execute(params![workspace, id, due.millis(), expires.millis()])?;
    Ok(())
}
