//! What is wrong with a configuration file, and where.

use std::fmt;
use std::path::{Path, PathBuf};

/// Problems that are shown of one file: who has more has one cause for most.
const SHOWN: usize = 50;

/// Why a configuration file is not taken. It says everything that is wrong, each
/// with file, line and column, and shows no value that may be a secret.
#[derive(Debug)]
pub struct ConfigError {
    path: PathBuf,
    causes: Causes,
}

#[derive(Debug)]
enum Causes {
    Unreadable(String),
    /// At least one, in the order of the file.
    Problems(Vec<Problem>),
}

/// One thing that is wrong.
#[derive(Debug)]
pub(super) struct Problem {
    /// Bytes before it.
    pub(super) offset: usize,
    pub(super) what: String,
    /// The part of the file that it is about.
    pub(super) quote: Option<String>,
    /// Counted from one; the column in characters.
    pub(super) position: (usize, usize),
}

impl ConfigError {
    pub(super) fn unreadable(path: &Path, cause: String) -> Self {
        Self {
            path: path.to_owned(),
            causes: Causes::Unreadable(cause),
        }
    }

    /// For the problems of `source`, in any order.
    pub(super) fn of(path: &Path, source: &str, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.offset);
        let (mut line, mut begin, mut at) = (1, 0, 0);
        for problem in &mut problems {
            let passed = source.get(at..problem.offset).unwrap_or_default();
            line += passed.matches('\n').count();
            begin = passed.rfind('\n').map_or(begin, |end| at + end + 1);
            at = problem.offset;
            let before = source.get(begin..at).unwrap_or_default();
            problem.position = (line, before.chars().count() + 1);
        }
        Self {
            path: path.to_owned(),
            causes: Causes::Problems(problems),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        let problems = match &self.causes {
            Causes::Unreadable(cause) => return write!(f, "{path}: cannot read it: {cause}"),
            Causes::Problems(problems) => problems,
        };
        for (number, problem) in problems.iter().take(SHOWN).enumerate() {
            let separator = if number == 0 { "" } else { "\n" };
            let (line, column) = problem.position;
            write!(f, "{separator}{path}:{line}:{column}: {}", problem.what)?;
            if let Some(quote) = &problem.quote {
                write!(f, "\n    {quote}")?;
            }
        }
        match problems.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "\n{path}: and {more} more"),
        }
    }
}

impl std::error::Error for ConfigError {}
