//! What is not as it should be, of all workspaces.

use super::{Db, SqlResult, list, read};
use crate::convention::NEVER;
use chat_domain::attempts::{FREE_FAILURES, Failures};
use chat_domain::audit::{Action, Decision, StoredRecord};
use chat_domain::health::{GUESSED, Health, LockedAccount, MOST_SHOWN, MailProblem};
use chat_domain::time::Timestamp;
use rusqlite::{Connection, params};

pub(super) fn health(db: Db<'_>, now: Timestamp) -> SqlResult<Health> {
    Ok(Health {
        locked: locked(db, now)?,
        mail_problems: mail_problems(&db)?,
        resets: resets(&db)?,
    })
}

fn locked(db: Db<'_>, now: Timestamp) -> SqlResult<Vec<LockedAccount>> {
    let mut query = db.prepare(
        "SELECT user.workspace, id, username, count, locked_until, told
         FROM failed_attempt JOIN user ON user.workspace = failed_attempt.workspace AND id = user
         WHERE count >= ?1 ORDER BY count DESC",
    )?;
    let mut rows = query.query([FREE_FAILURES])?;
    let mut locked = Vec::new();
    while let Some(row) = rows.next()? {
        let (workspace, user): (String, String) = (row.get(0)?, row.get(1)?);
        let failures = Failures {
            count: row.get(3)?,
            locked_until: read::moment(row, 4)?,
            told: row.get(5)?,
        };
        let settings = read::settings(db, &workspace)?.unwrap_or_default();
        if let Some(lock) = failures.why_locked(&settings, now) {
            locked.push(LockedAccount {
                username: row.get(2)?,
                failures: failures.count,
                lock,
                guesses: guesses(&db, &workspace, &user, now)?,
                workspace,
            });
        }
        if locked.len() >= MOST_SHOWN as usize {
            break;
        }
    }
    Ok(locked)
}

fn guesses(
    db: &Connection,
    workspace: &str,
    user: &str,
    now: Timestamp,
) -> SqlResult<Vec<(String, u32)>> {
    db.prepare(
        "SELECT address, sum(calls) FROM audit
         WHERE workspace = ?1 AND at >= ?2 AND caller = ?3 AND address IS NOT NULL
           AND proof IS NOT NULL AND action <> ?4 AND decision IN (?5, ?6)
         GROUP BY address ORDER BY 2 DESC LIMIT ?7",
    )?
    .query_map(
        params![
            workspace,
            now.before(GUESSED).millis(),
            user,
            Action::Guess.name(),
            Decision::Refused.name(),
            Decision::Locked.name(),
            MOST_SHOWN
        ],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?
    .collect()
}

fn mail_problems(db: &Connection) -> SqlResult<Vec<MailProblem>> {
    db.prepare(
        "SELECT workspace, last_problem, count(*) FILTER (WHERE next_try < ?1),
                count(*) FILTER (WHERE next_try = ?1)
         FROM outbox GROUP BY workspace, last_problem ORDER BY count(*) DESC LIMIT ?2",
    )?
    .query_map(params![NEVER, MOST_SHOWN], |row| {
        Ok(MailProblem {
            workspace: row.get(0)?,
            problem: row.get(1)?,
            waiting: row.get(2)?,
            dead_letters: row.get(3)?,
        })
    })?
    .collect()
}

/// By an administrator, or by an operator.
fn resets(db: &Connection) -> SqlResult<Vec<StoredRecord>> {
    let mut query = db.prepare(&format!(
        "SELECT {} FROM audit {}
         WHERE action = ?1 AND decision IN (?2, ?3) ORDER BY audit.id DESC LIMIT ?4",
        list::RECORD,
        list::WITH_NAMES
    ))?;
    let reset = Action::ResetTotp.name();
    let [by_administrator, by_operator] = [Decision::Reset, Decision::Done].map(Decision::name);
    let rows = query.query_map(
        params![reset, by_administrator, by_operator, MOST_SHOWN],
        list::record_in,
    )?;
    rows.collect()
}
