//! Mail that waits to be sent.

use super::look_up::settings;
use super::{SqlResult, Sqlite, record};
use crate::Outbox;
use crate::Result;
use async_trait::async_trait;
use chat_domain::audit::Action;
use chat_domain::directory::{Operation, Problem};
use chat_domain::mail::Letter;
use chat_domain::outbox::{Claim, Expired, LEASE, Mail, MailCount, MailState, NextTry};
use chat_domain::time::Timestamp;
use secrecy::ExposeSecret;
use tokio_rusqlite::rusqlite::{
    Connection, OptionalExtension, Row, Transaction, named_params, params,
};

type Step<T> = super::Step<T, Problem>;

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

/// What `next_try` says of a dead letter: it is never due.
const NEVER: i64 = i64::MAX;

#[async_trait]
impl Outbox for Sqlite {
    async fn next_mail_due(&self) -> Result<Option<Timestamp>> {
        self.read(next_mail_due).await
    }

    async fn mail_count(&self) -> Result<MailCount> {
        self.read(mail_count).await
    }

    async fn claim_mail(&self, now: Timestamp, but: &[String]) -> Result<Option<Claim>> {
        let but = serde_json::json!(but).to_string();
        self.write(move |tx| claim_mail(tx, now, &but)).await
    }

    async fn mail_sent(&self, claim: &Claim) -> Result<()> {
        let id = claim.id;
        self.write(move |tx| {
            tx.prepare_cached("DELETE FROM outbox WHERE id = ?1")?
                .execute([id])?;
            Ok(())
        })
        .await
    }

    async fn mail_failed(&self, claim: &Claim, problem: &str, next: NextTry) -> Result<()> {
        let (id, tries, problem) = (claim.id, claim.tries, problem.to_owned());
        self.write(move |tx| mail_failed(tx, id, tries, &problem, next))
            .await
    }

    async fn expire_mail(&self, now: Timestamp) -> Result<Vec<Expired>> {
        self.write(move |tx| expire_mail(tx, now)).await
    }
}

pub(super) fn next_mail_due(db: &Connection) -> SqlResult<Option<Timestamp>> {
    db.prepare_cached("SELECT min(next_try) FROM outbox WHERE next_try < ?1")?
        .query_row([NEVER], |row| row.get(0))
        .map(|due: Option<i64>| due.map(Timestamp::from_millis))
}

fn mail_count(db: &Connection) -> SqlResult<MailCount> {
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
fn claim_mail(tx: &Transaction<'_>, now: Timestamp, but: &str) -> SqlResult<Option<Claim>> {
    tx.prepare_cached(
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

fn mail_failed(
    tx: &Transaction<'_>,
    id: i64,
    tries: u32,
    problem: &str,
    next: NextTry,
) -> SqlResult<()> {
    let claim = named_params! {":id": id, ":tries": tries};
    if next == NextTry::Never {
        tx.prepare_cached("DELETE FROM outbox WHERE id = :id AND tries = :tries AND holds_code")?
            .execute(claim)?;
    }
    let next_try = match next {
        NextTry::At(moment) => moment.millis(),
        NextTry::Never => NEVER,
    };
    tx.prepare_cached(
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

fn expire_mail(tx: &Transaction<'_>, now: Timestamp) -> SqlResult<Vec<Expired>> {
    let mut gone = tx
        .prepare_cached(
            "DELETE FROM outbox WHERE next_try <= ?1 AND expires <= ?1 AND holds_code
             RETURNING id, workspace",
        )?
        .query_map([now.millis()], |row| expired(row, true))?
        .collect::<SqlResult<Vec<_>>>()?;
    let kept = tx
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

/// The workspace's mails, oldest first.
pub(super) fn list(db: &Connection, workspace: &str, now: Timestamp) -> SqlResult<Vec<Mail>> {
    mails(db, workspace, None, now)
}

/// The workspace's mail with this id.
pub(super) fn find(db: &Connection, workspace: &str, id: i64, now: Timestamp) -> Step<Mail> {
    mails(db, workspace, Some(id), now)?
        .pop()
        .ok_or_else(|| Problem::UnknownMail(id).into())
}

/// Makes a mail due at once, for an operator.
pub(super) fn retry(tx: &Transaction<'_>, operation: &Operation, id: i64) -> Step<()> {
    let (workspace, now) = (operation.workspace.as_str(), operation.now);
    let mail = find(tx, workspace, id, now)?;
    let expires = match mail.state {
        MailState::BeingSent(_) => return Err(Problem::MailBeingSent(id).into()),
        MailState::Waiting(_) => mail.expires,
        MailState::DeadLetter if mail.holds_code() => return Err(Problem::CodeExpired(id).into()),
        MailState::DeadLetter => {
            let settings = settings(tx, workspace)?.unwrap_or_default();
            now + settings.mail_lifetime()
        }
    };
    tx.prepare_cached(
        "UPDATE outbox SET claimed = 0, next_try = ?3, expires = ?4
         WHERE workspace = ?1 AND id = ?2",
    )?
    .execute(params![workspace, id, now.millis(), expires.millis()])?;
    Ok(record_operation(tx, operation, Action::RetryMail, id)?)
}

/// Removes a mail, for an operator.
pub(super) fn remove(tx: &Transaction<'_>, operation: &Operation, id: i64) -> Step<()> {
    let removed = tx
        .prepare_cached("DELETE FROM outbox WHERE workspace = ?1 AND id = ?2")?
        .execute(params![operation.workspace, id])?;
    if removed == 0 {
        return Err(Problem::UnknownMail(id).into());
    }
    Ok(record_operation(tx, operation, Action::RemoveMail, id)?)
}

fn record_operation(
    tx: &Transaction<'_>,
    operation: &Operation,
    action: Action,
    id: i64,
) -> SqlResult<()> {
    let detail = Some(format!("mail {id}"));
    record(tx, &operation.record(action, None, detail))
}

/// The workspace's mails, or that with this id.
fn mails(
    db: &Connection,
    workspace: &str,
    id: Option<i64>,
    now: Timestamp,
) -> SqlResult<Vec<Mail>> {
    db.prepare_cached(
        "SELECT id, queued, expires, claimed, next_try, tries, recipient, subject,
                CASE WHEN holds_code THEN NULL ELSE body END, last_problem
         FROM outbox WHERE workspace = ?1 AND (?2 IS NULL OR id = ?2) ORDER BY id",
    )?
    .query_map(params![workspace, id], |row| {
        let expires = Timestamp::from_millis(row.get(2)?);
        Ok(Mail {
            id: row.get(0)?,
            queued: Timestamp::from_millis(row.get(1)?),
            expires,
            state: state(row.get(3)?, row.get(4)?, expires, now),
            tries: row.get(5)?,
            recipient: row.get(6)?,
            subject: row.get(7)?,
            body: row.get(8)?,
            last_problem: row.get(9)?,
        })
    })?
    .collect()
}

fn state(claimed: bool, next_try: i64, expires: Timestamp, now: Timestamp) -> MailState {
    let next = Timestamp::from_millis(next_try);
    if next_try == NEVER {
        MailState::DeadLetter
    } else if claimed && next > now {
        MailState::BeingSent(next)
    } else if expires <= now {
        MailState::DeadLetter
    } else {
        MailState::Waiting(next)
    }
}
