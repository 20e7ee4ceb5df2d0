//! What was tried, for people and for machines.

use super::expectation::{Difference, Problem, Verdict};
use super::{SCENARIOS, Scenario};
use crate::harness::Harness;
use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};
use serde::Serialize;
use serde_json::{Value, json};
use std::fmt::Write;
use std::time::{Duration, Instant};

/// One scenario that was tried.
#[derive(Debug)]
pub struct Tried {
    /// Its name, such as `a_code_is_accepted_once`.
    pub name: &'static str,
    /// Where the contract says so.
    pub contract: &'static str,
    /// How long it took.
    pub took: Duration,
    /// How it ended.
    pub verdict: Verdict,
}

impl Tried {
    async fn of(scenario: &Scenario, harness: &Harness) -> Self {
        let start = Instant::now();
        let verdict = scenario.run(harness).await;
        Self {
            name: scenario.name,
            contract: scenario.contract,
            took: start.elapsed(),
            verdict,
        }
    }

    fn word(&self) -> &'static str {
        match &self.verdict {
            Ok(()) => "passed",
            Err(Problem::Difference(_)) => "failed",
            Err(Problem::Untried(_)) => "untried",
        }
    }

    /// One line: how it ended, its name, and how long it took.
    pub fn line(&self) -> String {
        let sentence = self.name.replace('_', " ");
        format!(
            "{:7} {sentence} ({} ms)",
            self.word(),
            self.took.as_millis()
        )
    }

    fn told(&self) -> Told<'_> {
        let difference = match &self.verdict {
            Err(Problem::Difference(difference)) => Some(difference.as_ref()),
            _ => None,
        };
        let problem = match &self.verdict {
            Err(problem @ Problem::Untried(_)) => Some(problem.to_string()),
            _ => None,
        };
        Told {
            name: self.name,
            contract: self.contract,
            verdict: self.word(),
            millis: u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX),
            difference,
            problem,
        }
    }

    fn junit(&self) -> TestCase {
        let status = match &self.verdict {
            Ok(()) => TestCaseStatus::success(),
            Err(problem) => {
                let kind = match problem {
                    Problem::Difference(_) => NonSuccessKind::Failure,
                    Problem::Untried(_) => NonSuccessKind::Error,
                };
                let mut status = TestCaseStatus::non_success(kind);
                status.set_message(self.contract);
                status.set_description(problem.to_string());
                status
            }
        };
        let mut case = TestCase::new(self.name, status);
        case.set_time(self.took);
        case
    }
}

/// A scenario that was tried, as JSON tells it.
#[derive(Serialize)]
struct Told<'a> {
    name: &'a str,
    contract: &'a str,
    verdict: &'a str,
    millis: u64,
    #[serde(flatten)]
    difference: Option<&'a Difference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

/// What became of every scenario that was tried.
#[derive(Debug)]
pub struct Report {
    /// In the order in which they were tried.
    pub tried: Vec<Tried>,
}

impl Report {
    /// Tries all scenarios whose name holds `filter`, one after the other, and tells
    /// `seen` of each as it ends.
    pub async fn of(harness: &Harness, filter: &str, mut seen: impl FnMut(&Tried)) -> Self {
        let mut tried = Vec::new();
        for scenario in SCENARIOS.iter().filter(|s| s.name.contains(filter)) {
            let one = Tried::of(scenario, harness).await;
            seen(&one);
            tried.push(one);
        }
        Self { tried }
    }

    /// Whether every scenario was tried and passed.
    pub fn is_success(&self) -> bool {
        self.tried.iter().all(|tried| tried.verdict.is_ok())
    }

    /// For people: what failed, what is expected, what was seen instead, and where
    /// the contract says so.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut passed = 0;
        for tried in &self.tried {
            let Err(problem) = &tried.verdict else {
                passed += 1;
                continue;
            };
            let _ = writeln!(text, "{}", tried.line());
            for line in problem.to_string().lines() {
                let _ = writeln!(text, "  {line}");
            }
            let _ = writeln!(text, "  see       {}\n", tried.contract);
        }
        let _ = write!(text, "{passed} of {} scenarios passed", self.tried.len());
        text
    }

    /// For machines: `{"passed":…,"failed":…,"untried":…,"scenarios":[…]}`. Each
    /// scenario has `name`, `contract`, `verdict` (`passed`, `failed` or `untried`)
    /// and `millis`; a failed one `when`, `expected` and `seen`; an untried one
    /// `problem`.
    pub fn json(&self) -> Value {
        let count = |word| {
            self.tried
                .iter()
                .filter(|tried| tried.word() == word)
                .count()
        };
        json!({
            "passed": count("passed"),
            "failed": count("failed"),
            "untried": count("untried"),
            "scenarios": self.tried.iter().map(Tried::told).collect::<Vec<_>>(),
        })
    }

    /// For machines: JUnit's XML, of one suite. An untried scenario is an error.
    ///
    /// # Errors
    ///
    /// When the document cannot be written.
    pub fn junit(&self) -> Result<String, quick_junit::SerializeError> {
        let mut suite = TestSuite::new("chat:reset-totp");
        suite.add_test_cases(self.tried.iter().map(Tried::junit));
        suite.set_time(self.tried.iter().map(|tried| tried.took).sum());
        let mut report = quick_junit::Report::new("host-harness check");
        report.add_test_suite(suite);
        report.to_string()
    }
}
