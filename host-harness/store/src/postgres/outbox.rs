//! Mail that waits to be sent.

use super::failure::Failure;
use super::query::{Query, Value, count, get, moment, query};
use crate::convention::{NEVER, next_try, next_try_millis, opened_body, put_off, sealed_body};
use crate::seal::Seal;
use chat_domain::outbox::{
    Among, Claim, Count, Expired, LEASE, LEAST_TRIES, NextTry, OutboxCount, Post, StoredMail,
};
use chat_domain::sockets::ROCKET_CHAT;
use chat_domain::time::Timestamp;
use secrecy::ExposeSecret;
use tokio_postgres::Row;

/// What operators see of a mail, as [`mail_in`] reads it.
macro_rules! mails_where {
    ($condition:literal) => {
        concat!(
            "SELECT id, queued, expires, claimed, next_try, tries, recipient, subject,
                    CASE WHEN holds_code THEN NULL ELSE body END, last_problem, doubtful
             FROM outbox WHERE workspace = $1 AND ",
            $condition
        )
    };
}

pub(super) const MAILS: &str = mails_where!("id > $2 ORDER BY id LIMIT $3");
pub(super) const MAIL: &str = mails_where!("id = $2");

/// Nobody claims it meanwhile.
pub(super) const MAIL_TO_CHANGE: &str = mails_where!("id = $2 FOR UPDATE");

/// Which mails are due, at $1: those whose time has come, and those that a clock which was
/// ahead has put off. $2 is the latest moment that a rule gives, $3 what is never.
macro_rules! due {
    () => {
        "(next_try <= $1 OR (next_try > $2 AND next_try < $3))"
    };
}

/// Which mails are tried no more, at $1: as [`StoredMail::state`] says; $4 are the tries that
/// a notice has at least.
macro_rules! expired {
    () => {
        "(expires <= $1 AND (holds_code OR tries >= $4))"
    };
}

const CLAIM: &str = concat!(
    "WITH due AS
        (SELECT id, next_try FROM outbox WHERE ",
    due!(),
    " AND NOT ",
    expired!(),
    " AND workspace <> ALL ($5) AND ($6::TEXT IS NULL OR workspace = $6)
         ORDER BY next_try, id LIMIT 1 FOR UPDATE SKIP LOCKED)
     UPDATE outbox SET tries = tries + 1, claimed = TRUE, next_try = $7
     FROM due WHERE outbox.id = due.id
     RETURNING outbox.id, workspace, message_id, recipient, subject, body, queued, tries,
               due.next_try, holds_code, \"user\""
);

const EXPIRED: &str = concat!(
    "SELECT id, workspace FROM outbox WHERE ",
    due!(),
    " AND ",
    expired!()
);

const NEXT_DUE: &str = "
    SELECT (SELECT min(next_try) FROM outbox WHERE next_try < $1),
           (SELECT max(next_try) FROM outbox WHERE next_try < $1)";

const COUNT: &str = "
    SELECT recipient = $2, count(*) FILTER (WHERE next_try < $1),
           count(*) FILTER (WHERE next_try = $1), min(queued) FILTER (WHERE next_try < $1)
    FROM outbox GROUP BY 1";

/// Whether there is mail to be sent.
const HOLDS_MAIL: &str = "SELECT 1 FROM outbox WHERE next_try < $1 LIMIT 1";

pub(super) fn claim(now: Timestamp, among: Among<'_>) -> Query {
    let (but, only) = match among {
        Among::AllBut(workspaces) => (workspaces.to_vec(), Value::Text(None)),
        Among::Only(workspace) => (Vec::new(), Value::key(workspace)),
    };
    query!(
        CLAIM,
        now,
        put_off(now),
        NEVER,
        LEAST_TRIES,
        but,
        only,
        now + LEASE
    )
}

pub(super) fn claim_in(seal: &Seal, row: &Row, now: Timestamp) -> Result<Claim, Failure> {
    let workspace: String = get(row, 1)?;
    let user: Option<String> = get(row, 10)?;
    let (body, holds_code) = (get(row, 5)?, get(row, 9)?);
    Ok(Claim {
        id: get(row, 0)?,
        message_id: get(row, 2)?,
        recipient: get(row, 3)?,
        subject: get(row, 4)?,
        body: opened_body(seal, &workspace, user.as_deref(), holds_code, body),
        workspace,
        queued: moment(row, 6)?,
        tries: count(row, 7)?,
        was_put_off: get::<i64>(row, 8)? > put_off(now),
    })
}

pub(super) fn expired(now: Timestamp) -> Query {
    query!(EXPIRED, now, put_off(now), NEVER, LEAST_TRIES)
}

pub(super) fn expired_in(row: &Row) -> Result<Expired, Failure> {
    Ok(Expired {
        id: get(row, 0)?,
        workspace: get(row, 1)?,
    })
}

pub(super) fn next_due() -> Query {
    query!(NEXT_DUE, NEVER)
}

pub(super) fn next_due_in(row: &Row, now: Timestamp) -> Result<Option<Timestamp>, Failure> {
    let [first, last]: [Option<i64>; 2] = [get(row, 0)?, get(row, 1)?];
    let was_put_off = last.is_some_and(|last| last > put_off(now));
    Ok(match was_put_off {
        true => Some(now),
        false => first.map(Timestamp::from_millis),
    })
}

pub(super) fn holds_mail() -> Query {
    query!(HOLDS_MAIL, NEVER)
}

pub(super) fn counts() -> Query {
    query!(COUNT, NEVER, ROCKET_CHAT)
}

pub(super) fn counts_in(rows: &[Row]) -> Result<OutboxCount, Failure> {
    let mut counted = OutboxCount::default();
    for row in rows {
        let kind = match get(row, 0)? {
            true => &mut counted.sockets,
            false => &mut counted.mails,
        };
        *kind = Count {
            waiting: count(row, 1)?,
            dead_letters: count(row, 2)?,
            oldest: get::<Option<i64>>(row, 3)?.map(Timestamp::from_millis),
        };
    }
    Ok(counted)
}

pub(super) fn mail_in(row: &Row) -> Result<StoredMail, Failure> {
    Ok(StoredMail {
        id: get(row, 0)?,
        queued: moment(row, 1)?,
        expires: moment(row, 2)?,
        claimed: get(row, 3)?,
        next_try: next_try(get(row, 4)?),
        tries: count(row, 5)?,
        recipient: get(row, 6)?,
        subject: get(row, 7)?,
        body: get(row, 8)?,
        last_problem: get(row, 9)?,
        doubtful: count(row, 10)?,
    })
}

pub(super) fn queue(seal: &Seal, workspace: &str, post: &Post) -> Query {
    query!(
        r#"INSERT INTO outbox (workspace, "user", message_id, recipient, subject, body, queued,
                               expires, holds_code, next_try)
           VALUES ($1, $2, replace(gen_random_uuid()::TEXT, '-', ''), $3, $4, $5, $6, $7, $8, $6)"#,
        Value::key(workspace),
        &post.user,
        &post.recipient,
        post.subject,
        sealed_body(seal, workspace, post).expose_secret(),
        post.queued,
        post.expires,
        post.holds_code,
    )
}

/// Nobody is sending the mail any more. The last problem stays where there is no other.
pub(super) fn postpone(
    workspace: &str,
    id: i64,
    next: NextTry,
    problem: Option<&str>,
    doubtful: u32,
) -> Query {
    query!(
        "UPDATE outbox SET claimed = FALSE, next_try = $3,
                last_problem = coalesce($4, last_problem), doubtful = $5
         WHERE workspace = $1 AND id = $2",
        Value::key(workspace),
        id,
        next_try_millis(next),
        problem,
        doubtful,
    )
}

/// Makes a mail due at `due`.
pub(super) fn retry(workspace: &str, id: i64, due: Timestamp, expires: Timestamp) -> Query {
    query!(
        "UPDATE outbox SET claimed = FALSE, next_try = $3, expires = $4, doubtful = 0
         WHERE workspace = $1 AND id = $2",
        Value::key(workspace),
        id,
        due,
        expires,
    )
}
