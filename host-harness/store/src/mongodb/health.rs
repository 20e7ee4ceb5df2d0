//! What is not as it should be.

use super::account::{ACCOUNTS, USERS, failures_in};
use super::audit_log::AUDIT;
use super::database::{Look, Transaction};
use super::failure::Failure;
use super::field::{Fields, id_of};
use super::outbox::OUTBOX;
use super::{list, settings};
use crate::convention::NEVER;
use crate::seal::Seal;
use chat_domain::attempts::{FREE_FAILURES, Failures};
use chat_domain::audit::{Action, Decision};
use chat_domain::health::{GUESSED, Health, LockedAccount, MOST_SHOWN, MailProblem};
use chat_domain::time::Timestamp;
use mongodb::bson::doc;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// As [`Store::health`](crate::Store::health).
pub(super) async fn health(
    transaction: &mut Transaction,
    seal: &Seal,
    workspace: &str,
    now: Timestamp,
) -> Result<Health, Failure> {
    Ok(Health {
        locked: locked(transaction, seal, workspace, now).await?,
        mail_problems: mail_problems(transaction, workspace).await?,
        resets: {
            let done = [Decision::Reset, Decision::Done].map(Decision::name);
            let resets = Look::at(doc! {
                "action": Action::ResetTotp.name(), "decision": { "$in": done.to_vec() },
            });
            let resets = resets.sorted(doc! { "_id": -1 }).first(MOST_SHOWN.into());
            let resets = transaction.find(AUDIT, resets).await?;
            list::named(transaction, &resets).await?
        },
    })
}

async fn locked(
    transaction: &mut Transaction,
    seal: &Seal,
    workspace: &str,
    now: Timestamp,
) -> Result<Vec<LockedAccount>, Failure> {
    let settings = settings::read(transaction, seal, workspace).await?;
    let failed = Look::at(doc! { "failures.count": { "$gte": i64::from(FREE_FAILURES) } });
    let failed = failed.sorted(doc! { "failures.count": -1, "_id": 1 });
    let mut locked = Vec::new();
    for document in transaction.find(ACCOUNTS, failed).await? {
        let id = id_of(&document);
        let own = Fields::of(&document, ACCOUNTS, &id);
        let failures = match own.document("failures")? {
            Some(failures) => failures_in(own.within(failures, "failures."))?,
            None => Failures::default(),
        };
        let Some(lock) = failures.why_locked(&settings, now) else {
            continue;
        };
        let user = Look::at(doc! { "_id": &id }).only(doc! { "username": 1 });
        let Some(user) = transaction.one(USERS, user).await? else {
            continue;
        };
        let username = Fields::of(&user, USERS, &id).text("username")?;
        locked.push(LockedAccount {
            workspace: workspace.to_owned(),
            username: username.unwrap_or_default().to_owned(),
            failures: failures.count,
            lock,
            guesses: guesses(transaction, &id, now).await?,
        });
        if locked.len() >= MOST_SHOWN as usize {
            break;
        }
    }
    Ok(locked)
}

/// From where the account was guessed at, and how often, most first.
async fn guesses(
    transaction: &mut Transaction,
    user: &str,
    now: Timestamp,
) -> Result<Vec<(String, u32)>, Failure> {
    let refused = [Decision::Refused, Decision::Locked].map(Decision::name);
    let guesses = Look::at(doc! {
        "at": { "$gte": now.before(GUESSED).millis() },
        "caller": user,
        "address": { "$ne": null },
        "proof": { "$ne": null },
        "action": { "$ne": Action::Guess.name() },
        "decision": { "$in": refused.to_vec() },
    });
    let guesses = guesses.only(doc! { "address": 1, "calls": 1 });
    let mut calls = BTreeMap::<String, u32>::new();
    for record in transaction.find(AUDIT, guesses).await? {
        let record = Fields::of(&record, AUDIT, "a record");
        let from = record.needed_text("address")?.to_owned();
        let so_far = calls.entry(from).or_default();
        *so_far = so_far.saturating_add(record.count("calls")?);
    }
    let mut calls: Vec<_> = calls.into_iter().collect();
    calls.sort_by_key(|(_, calls)| Reverse(*calls));
    calls.truncate(MOST_SHOWN as usize);
    Ok(calls)
}

/// Why mail was not sent, and how much of it, most first.
async fn mail_problems(
    transaction: &mut Transaction,
    workspace: &str,
) -> Result<Vec<MailProblem>, Failure> {
    let all = Look::default().only(doc! { "last_problem": 1, "next_try": 1 });
    let mut problems = BTreeMap::<Option<String>, [u32; 2]>::new();
    for mail in transaction.find(OUTBOX, all).await? {
        let mail = Fields::of(&mail, OUTBOX, "a mail");
        let problem = mail.text("last_problem")?.map(str::to_owned);
        let [waiting, dead] = problems.entry(problem).or_default();
        match mail.needed_number("next_try")? {
            NEVER => *dead += 1,
            _ => *waiting += 1,
        }
    }
    let problems = problems.into_iter();
    let mut problems: Vec<_> = problems
        .map(|(problem, [waiting, dead_letters])| MailProblem {
            workspace: workspace.to_owned(),
            problem,
            waiting,
            dead_letters,
        })
        .collect();
    problems.sort_by_key(|problem| Reverse(problem.waiting + problem.dead_letters));
    problems.truncate(MOST_SHOWN as usize);
    Ok(problems)
}
