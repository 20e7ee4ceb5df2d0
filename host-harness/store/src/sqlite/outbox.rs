//! Mail that waits to be sent.

use super::SqlResult;
use chat_domain::outbox::{Claim, Expired, LEASE, MailCount, NextTry, Post, StoredMail};
use chat_domain::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, named_params, params};
use secrecy::ExposeSecret;

/// What `next_try` says of a dead letter: it is never due.
const NEVER: i64 = i64::MAX;

pub(super) fn queue(db: &Connection, workspace: &str, post: &Post) -> SqlResult<()> {
    db.prepare_cached(
        "INSERT INTO outbox (workspace, message_id, recipient, subject, body, queued, expires,
                             holds_code, next_try)
         VALUES (:workspace, lower(hex(randomblob(16))), :recipient, :subject, :body, :queued,
                 :expires, :holds_code, :queued)",
    )?
    .execute(named_params! {
        ":workspace": workspace,
        ":recipient": post.recipient,
        ":subject": post.subject,
        ":body": post.body.expose_secret(),
        ":queued": post.queued.millis(),
        ":expires": post.expires.millis(),
        ":holds_code": post.holds_code,
    })?;
    Ok(())
}

pub(super) fn next_mail_due(db: &Connection) -> SqlResult<Option<Timestamp>> {
    db.prepare_cached("SELECT min(next_try) FROM outbox WHERE next_try < ?1")?
        .query_row([NEVER], |row| row.get(0))
        .map(|due: Option<i64>| due.map(Timestamp::from_millis))
}

pub(super) fn mail_count(db: &Connection) -> SqlResult<MailCount> {
    db.prepare_cached("SELECT count(*) FILTER (WHERE next_try < ?1), count(*) FROM outbox")?
        .query_row([NEVER], |row| {
            let (waiting, all): (u32, u32) = (row.get(0)?, row.get(1)?);
            let dead_letters = all - waiting;
            Ok(MailCount {
                waiting,
                dead_letters,
            })
        })
}

/// `but` is a JSON array of workspaces.
pub(super) fn claim_mail(db: &Connection, now: Timestamp, but: &str) -> SqlResult<Option<Claim>> {
    db.prepare_cached(
        "UPDATE outbox SET tries = tries + 1, claimed = 1, next_try = :lease_end
         WHERE id = (SELECT id FROM outbox
                     WHERE next_try <= :now AND expires > :now
                       AND workspace NOT IN (SELECT value FROM json_each(:but))
                     ORDER BY next_try, id LIMIT 1)
         RETURNING id, workspace, message_id, recipient, subject, body, queued, tries",
    )?
    .query_row(
        named_params! {
            ":lease_end": (now + LEASE).millis(),
            ":now": now.millis(),
            ":but": but,
        },
        |row| {
            Ok(Claim {
                id: row.get(0)?,
                workspace: row.get(1)?,
                message_id: row.get(2)?,
                recipient: row.get(3)?,
                subject: row.get(4)?,
                body: row.get::<_, String>(5)?.into(),
                queued: Timestamp::from_millis(row.get(6)?),
                tries: row.get(7)?,
            })
        },
    )
    .optional()
}

pub(super) fn mail_failed(
    db: &Connection,
    id: i64,
    tries: u32,
    problem: &str,
    next: NextTry,
) -> SqlResult<()> {
    let claim = named_params! {":id": id, ":tries": tries};
    if next == NextTry::Never {
        db.prepare_cached("DELETE FROM outbox WHERE id = :id AND tries = :tries AND holds_code")?
            .execute(claim)?;
    }
    let next_try = match next {
        NextTry::At(moment) => moment.millis(),
        NextTry::Never => NEVER,
    };
    db.prepare_cached(
        "UPDATE outbox SET claimed = 0, last_problem = :problem,
                next_try = CASE :next_try WHEN :never THEN :never ELSE min(:next_try, expires) END
         WHERE id = :id AND tries = :tries",
    )?
    .execute(named_params! {
        ":id": id,
        ":tries": tries,
        ":problem": problem,
        ":next_try": next_try,
        ":never": NEVER,
    })?;
    Ok(())
}

pub(super) fn expire_mail(db: &Connection, now: Timestamp) -> SqlResult<Vec<Expired>> {
    let mut gone = db
        .prepare_cached(
            "DELETE FROM outbox WHERE next_try <= ?1 AND expires <= ?1 AND holds_code
             RETURNING id, workspace",
        )?
        .query_map([now.millis()], |row| expired(row, true))?
        .collect::<SqlResult<Vec<_>>>()?;
    let kept = db
        .prepare_cached(
            "UPDATE outbox SET claimed = 0, next_try = ?2 WHERE next_try <= ?1 AND expires <= ?1
             RETURNING id, workspace",
        )?
        .query_map([now.millis(), NEVER], |row| expired(row, false))?
        .collect::<SqlResult<Vec<_>>>()?;
    gone.extend(kept);
    Ok(gone)
}

fn expired(row: &Row<'_>, removed: bool) -> SqlResult<Expired> {
    Ok(Expired {
        id: row.get(0)?,
        workspace: row.get(1)?,
        removed,
    })
}

pub(super) fn mail_sent(db: &Connection, id: i64) -> SqlResult<()> {
    db.prepare_cached("DELETE FROM outbox WHERE id = ?1")?
        .execute([id])?;
    Ok(())
}

/// The workspace's mails, or that with this id.
pub(super) fn mails(
    db: &Connection,
    workspace: &str,
    id: Option<i64>,
) -> SqlResult<Vec<StoredMail>> {
    db.prepare_cached(
        "SELECT id, queued, expires, claimed, next_try, tries, recipient, subject,
                CASE WHEN holds_code THEN NULL ELSE body END, last_problem
         FROM outbox WHERE workspace = ?1 AND (?2 IS NULL OR id = ?2) ORDER BY id",
    )?
    .query_map(params![workspace, id], |row| {
        Ok(StoredMail {
            id: row.get(0)?,
            queued: Timestamp::from_millis(row.get(1)?),
            expires: Timestamp::from_millis(row.get(2)?),
            claimed: row.get(3)?,
            next_try: match row.get(4)? {
                NEVER => NextTry::Never,
                millis => NextTry::At(Timestamp::from_millis(millis)),
            },
            tries: row.get(5)?,
            recipient: row.get(6)?,
            subject: row.get(7)?,
            body: row.get(8)?,
            last_problem: row.get(9)?,
        })
    })?
    .collect()
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
        "UPDATE outbox SET claimed = 0, next_try = ?3, expires = ?4
         WHERE workspace = ?1 AND id = ?2",
    )?
    .execute(params![workspace, id, due.millis(), expires.millis()])?;
    Ok(())
}
