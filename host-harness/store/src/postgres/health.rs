//! What is not as it should be, of all workspaces.

use super::failure::Failure;
use super::list;
use super::list::{all_settings_in, failures_in, record_in, records_where};
use super::query::{Query, count, get, query};
use crate::convention::NEVER;
use crate::seal::Seal;
use chat_domain::attempts::FREE_FAILURES;
use chat_domain::audit::{Action, Decision};
use chat_domain::health::{GUESSED, Health, LockedAccount, MOST_SHOWN, MailProblem};
use chat_domain::time::Timestamp;
use tokio_postgres::Row;

/// Whose failures may be a lock.
const FAILURES: &str = r#"
    SELECT "user".workspace, id, username, count, locked_until, told
    FROM failed_attempt JOIN "user" ON "user".workspace = failed_attempt.workspace
                                   AND "user".id = failed_attempt."user"
    WHERE count >= $1 ORDER BY count DESC"#;

const GUESSES: &str = "
    SELECT address, sum(calls)::BIGINT FROM audit
    WHERE workspace = $1 AND at >= $2 AND caller = $3 AND address IS NOT NULL
      AND proof IS NOT NULL AND action <> $4 AND decision IN ($5, $6)
    GROUP BY address ORDER BY 2 DESC LIMIT $7";

const MAIL_PROBLEMS: &str = "
    SELECT workspace, last_problem, count(*) FILTER (WHERE next_try < $1),
           count(*) FILTER (WHERE next_try = $1)
    FROM outbox GROUP BY workspace, last_problem ORDER BY count(*) DESC LIMIT $2";

/// By an administrator, or by an operator.
const RESETS: &str =
    records_where!("action = $1 AND decision IN ($2, $3) ORDER BY audit.id DESC LIMIT $4");

/// What [`health_in`] reads.
pub(super) fn health() -> Vec<Query> {
    let [by_administrator, by_operator] = [Decision::Reset, Decision::Done].map(Decision::name);
    vec![
        query!(FAILURES, FREE_FAILURES),
        query!(list::ALL_SETTINGS),
        query!(MAIL_PROBLEMS, NEVER, MOST_SHOWN),
        query!(
            RESETS,
            Action::ResetTotp.name(),
            by_administrator,
            by_operator,
            MOST_SHOWN
        ),
    ]
}

/// Without the guesses, and the workspace and id of each locked account, of which [`guesses`]
/// asks for them.
pub(super) fn health_in(
    found: &[Vec<Row>],
    seal: &Seal,
    now: Timestamp,
) -> Result<(Health, Vec<[String; 2]>), Failure> {
    let [failures, settings, mail_problems, resets] = found else {
        return Ok((Health::default(), Vec::new()));
    };
    let settings = all_settings_in(settings, seal)?;
    let mut locked = Vec::new();
    let mut accounts = Vec::new();
    for row in failures {
        let workspace: String = get(row, 0)?;
        let failures = failures_in(row, 3)?;
        let settings = settings.get(&workspace).cloned().unwrap_or_default();
        if let Some(lock) = failures.why_locked(&settings, now) {
            accounts.push([workspace.clone(), get(row, 1)?]);
            locked.push(LockedAccount {
                username: get(row, 2)?,
                failures: failures.count,
                lock,
                guesses: Vec::new(),
                workspace,
            });
        }
        if locked.len() >= MOST_SHOWN as usize {
            break;
        }
    }
    let health = Health {
        locked,
        mail_problems: mail_problems
            .iter()
            .map(mail_problem_in)
            .collect::<Result<_, _>>()?,
        resets: resets.iter().map(record_in).collect::<Result<_, _>>()?,
    };
    Ok((health, accounts))
}

pub(super) fn guesses([workspace, user]: &[String; 2], now: Timestamp) -> Query {
    query!(
        GUESSES,
        workspace,
        now.before(GUESSED),
        user,
        Action::Guess.name(),
        Decision::Refused.name(),
        Decision::Locked.name(),
        MOST_SHOWN,
    )
}

pub(super) fn guesses_in(rows: &[Row]) -> Result<Vec<(String, u32)>, Failure> {
    let guesses = rows.iter().map(|row| Ok((get(row, 0)?, count(row, 1)?)));
    guesses.collect()
}

fn mail_problem_in(row: &Row) -> Result<MailProblem, Failure> {
    Ok(MailProblem {
        workspace: get(row, 0)?,
        problem: get(row, 1)?,
        waiting: count(row, 2)?,
        dead_letters: count(row, 3)?,
    })
}
