//! What was done in a run, counted.

use crate::request::{Act, Outcome, Proof, Request};
use crate::trial::GRANTED;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// The figures of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) rounds: u64,
    /// Processes that were killed while they served.
    pub(crate) kills: u64,
    /// Databases that were ended.
    pub(crate) blows: u64,
    /// Processes that were killed while they started.
    pub(crate) early_kills: u64,
    /// Looks before anything was started again.
    pub(crate) cold_looks: u64,
    pub(crate) asked: u64,
    pub(crate) done: u64,
    pub(crate) refused: u64,
    pub(crate) failed: u64,
    /// How these were answered.
    pub(crate) failures: BTreeMap<String, u64>,
    /// Of these, what was done as a whole.
    pub(crate) failed_and_done: u64,
    pub(crate) unanswered: Unanswered,
    pub(crate) not_sent: u64,
    /// Resets that were answered as done.
    pub(crate) resets: u64,
    /// Codes of what was answered as done.
    pub(crate) codes_spent: u64,
    /// Wrong codes that were answered as such.
    pub(crate) guesses: u64,
    /// Requests of which it was known what they must be answered.
    pub(crate) sure_requests: u64,
    pub(crate) notices: usize,
    pub(crate) waiting: usize,
    pub(crate) arrived: u64,
    pub(crate) arrived_again: u64,
    /// The longest time of each round in which a leader was lost that no reset was answered as
    /// done.
    pub(crate) silences: Vec<Duration>,
    pub(crate) loading: Duration,
    pub(crate) starting: Duration,
    pub(crate) looking: Duration,
}

/// Requests that were not answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unanswered {
    /// They are there as a whole.
    pub(crate) done: u64,
    pub(crate) resets_done: u64,
    /// They were refused, as their records tell.
    pub(crate) refused: u64,
    /// Nothing of them is there.
    pub(crate) nothing: u64,
    pub(crate) resets_nothing: u64,
}

impl Figures {
    /// Counts a request of which this is recorded.
    pub(crate) fn count(&mut self, request: &Request, decision: Option<&str>) {
        self.asked += 1;
        let is_reset = matches!(request.act, Act::Reset(_));
        match &request.outcome {
            Outcome::NotSent => self.not_sent += 1,
            Outcome::Answered(_) if request.is_acknowledged() => {
                self.done += 1;
                self.resets += u64::from(is_reset && decision == Some("reset"));
                self.codes_spent += u64::from(request.proof.code().is_some());
            }
            Outcome::Answered(_) if request.is_refused() => {
                self.refused += 1;
                self.guesses += u64::from(matches!(request.proof, Proof::Wrong(_)));
            }
            Outcome::Answered(answer) => {
                self.failed += 1;
                let error = answer.error.as_deref().unwrap_or("without an error");
                let how = format!("{} {error}", answer.status);
                *self.failures.entry(how).or_default() += 1;
                let is_done = decision.is_some_and(|decision| GRANTED.contains(&decision));
                self.failed_and_done += u64::from(is_done);
            }
            Outcome::Unanswered => {
                let lost = &mut self.unanswered;
                let (count, resets) = match decision {
                    None => (&mut lost.nothing, Some(&mut lost.resets_nothing)),
                    Some(decision) if GRANTED.contains(&decision) => {
                        (&mut lost.done, Some(&mut lost.resets_done))
                    }
                    Some(_) => (&mut lost.refused, None),
                };
                *count += 1;
                if let Some(resets) = resets {
                    *resets += u64::from(is_reset);
                }
            }
        }
    }

    /// One line, to be read while it goes on.
    pub(crate) fn progress(&self) -> String {
        format!(
            "round {}: {} kills, {} requests, {} resets answered as done, {} requests unanswered",
            self.rounds,
            self.kills + self.early_kills + self.blows,
            self.asked,
            self.resets,
            self.unanswered.done + self.unanswered.refused + self.unanswered.nothing
        )
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lost = &self.unanswered;
        let seconds = |time: Duration| {
            let each = time.as_secs_f64() / (self.rounds.max(1)) as f64;
            format!("{:.1} s ({:.0} ms a round)", time.as_secs_f64(), each * 1e3)
        };
        let rows = [
            ("rounds", self.rounds.to_string()),
            ("processes killed while they served", self.kills.to_string()),
            ("… while they started", self.early_kills.to_string()),
            ("databases ended", self.blows.to_string()),
            ("looks before a start", self.cold_looks.to_string()),
            ("requests", self.asked.to_string()),
            ("… answered as done", self.done.to_string()),
            ("… refused", self.refused.to_string()),
            ("… answered that something failed", self.failed.to_string()),
            ("… and done as a whole", self.failed_and_done.to_string()),
            ("… unanswered, and done as a whole", lost.done.to_string()),
            ("… unanswered, and refused", lost.refused.to_string()),
            (
                "… unanswered, and nothing of it there",
                lost.nothing.to_string(),
            ),
            ("… that found nobody", self.not_sent.to_string()),
            (
                "resets answered as done, all there",
                self.resets.to_string(),
            ),
            (
                "… unanswered, and done as a whole",
                lost.resets_done.to_string(),
            ),
            (
                "… unanswered, and nothing of it there",
                lost.resets_nothing.to_string(),
            ),
            (
                "codes answered as right, all spent",
                self.codes_spent.to_string(),
            ),
            (
                "codes answered as wrong, all counted",
                self.guesses.to_string(),
            ),
            (
                "requests whose answer was known",
                self.sure_requests.to_string(),
            ),
            ("notices, each once", self.notices.to_string()),
            ("… that wait", self.waiting.to_string()),
            ("mails that arrived", self.arrived.to_string()),
            ("… again, after a kill", self.arrived_again.to_string()),
            ("time under load", seconds(self.loading)),
            ("time to start", seconds(self.starting)),
            ("time to look", seconds(self.looking)),
        ];
        for (name, value) in rows {
            writeln!(f, "{name:<42} {value}")?;
        }
        for (how, times) in &self.failures {
            writeln!(f, "answered {how:<33} {times}")?;
        }
        let mut silences = self.silences.clone();
        silences.sort();
        let quantiles = [
            ("shortest time without a reset", 0),
            ("median", silences.len() / 2),
            ("longest", silences.len().saturating_sub(1)),
        ];
        for (name, index) in quantiles {
            if let Some(silence) = silences.get(index) {
                writeln!(f, "{name:<42} {:.1} s", silence.as_secs_f64())?;
            }
        }
        Ok(())
    }
}
