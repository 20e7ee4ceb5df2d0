//! The words of the scenarios: what is expected, and what is seen instead.

use super::documented::named;
use crate::harness::{ADMIN, Answer, Error, Harness, Request, Server};
use chat_domain::settings::Settings;
use serde::Serialize;
use std::fmt;
use std::fmt::Debug;

/// How a scenario ended.
pub type Verdict = Result<(), Problem>;

/// Why a promise was not seen to be kept.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The plugin does something else.
    #[error(transparent)]
    Difference(#[from] Box<Difference>),
    /// The host could not try it.
    #[error("it could not be tried: {0}")]
    Untried(#[from] Error),
}

/// What is expected and what was seen.
#[derive(Debug, Serialize, thiserror::Error)]
pub struct Difference {
    /// What was done.
    pub when: String,
    /// What the contract promises then.
    pub expected: String,
    /// What the plugin did.
    pub seen: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "when      {}", self.when)?;
        writeln!(f, "expected  {}", self.expected)?;
        write!(f, "seen      {}", self.seen)
    }
}

/// Expects what is shown alike.
pub(super) fn expect<E: Debug + PartialEq<S>, S: Debug>(
    when: &str,
    expected: E,
    seen: S,
) -> Verdict {
    if expected == seen {
        return Ok(());
    }
    differs(when, format!("{expected:?}"), format!("{seen:?}"))
}

pub(super) fn differs(when: &str, expected: String, seen: String) -> Verdict {
    Err(difference(when, expected, seen))
}

pub(super) fn difference(when: &str, expected: String, seen: String) -> Problem {
    let when = when.to_owned();
    Problem::Difference(Box::new(Difference {
        when,
        expected,
        seen,
    }))
}

/// Expects this answer, status and body.
pub(super) async fn answers(when: &str, request: Request, expected: &str) -> Verdict {
    let answer = request.send().await?.text();
    if answer == expected {
        return Ok(());
    }
    differs(when, expected.to_owned(), answer)
}

/// Expects this refusal, and that it changed nothing but the records of attempts and
/// decisions.
pub(super) async fn refuses(
    server: &Server,
    when: &str,
    request: Request,
    expected: &str,
) -> Verdict {
    let before = server.snapshot()?;
    answers(when, request, expected).await?;
    unchanged(server, when, &before)
}

/// Expects a refusal of a body that is not understood, of which nobody promises the
/// rest of the text.
pub(super) async fn refuses_body(server: &Server, when: &str, request: Request) -> Verdict {
    let before = server.snapshot()?;
    let answer = request.send().await?;
    if !is_invalid_params(&answer) {
        let expected = format!("{}…", super::documented::INVALID_PARAMS);
        return differs(when, expected, answer.text());
    }
    unchanged(server, when, &before)
}

fn is_invalid_params(answer: &Answer) -> bool {
    answer.text().starts_with(super::documented::INVALID_PARAMS) && answer.json().is_object()
}

pub(super) fn unchanged(server: &Server, when: &str, before: &crate::harness::Snapshot) -> Verdict {
    let changes = before.changes(&server.snapshot()?);
    if changes.is_empty() {
        return Ok(());
    }
    differs(when, "nothing is changed".to_owned(), changes.join("; "))
}

/// A server with an account of every kind, which may call as often as it likes.
pub(super) async fn server(harness: &Harness) -> Result<Server, Problem> {
    server_with(harness, Settings::default()).await
}

/// The same with these settings.
pub(super) async fn server_with(harness: &Harness, settings: Settings) -> Result<Server, Problem> {
    let settings = Settings {
        rate_limit_calls: 0,
        ..settings
    };
    Ok(harness.cast().settings(settings).start().await?)
}

/// The administrator's request to reset `target`, with this code.
pub(super) fn reset_with(server: &Server, code: &str, target: &str) -> Request {
    server.post(ADMIN).code(code).json(&named(target))
}

/// The same with the code that is right now.
pub(super) fn reset(server: &Server, target: &str) -> Request {
    reset_with(server, &server.code(ADMIN), target)
}
