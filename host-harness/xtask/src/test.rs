//! Every test of the workspace, run against the built plugin and counted.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail};

use crate::cargo::{self, step};
use crate::component;
use crate::debian;
use crate::npm;
use crate::typescript;

/// The sum over all test programs.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
    skipped: u64,
}

/// Builds the plugin and the one in TypeScript, installs the clients that call the server in the
/// tests and the database that one of the stores is in, runs the tests with `args` for `cargo test`, and prints their number as the last line of
/// stdout.
///
/// # Errors
///
/// A plugin or a test does not compile, npm or PostgreSQL is missing, a test fails, or no test ran.
pub(crate) fn run(args: &[OsString]) -> Result<()> {
    eprint!("{}", component::build()?);
    debian::postgresql().context("the tests start a PostgreSQL of their own")?;
    npm::install("tests/clients").context("the tests run Rocket.Chat's client")?;
    typescript::build()?;
    step("tests: compiling and running …");
    let mut tests = cargo::cargo("test");
    tests.args(["--workspace", "--no-fail-fast"]).args(args);
    let (status, tally) = run_and_count(&mut tests)?;
    step("tests: finished");
    writeln!(io::stdout(), "{tally}")?;
    tally.verdict(status)
}

fn run_and_count(tests: &mut Command) -> Result<(ExitStatus, Tally)> {
    let mut child = tests
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| cargo::cannot_start(tests))?;
    let tally = match child.stdout.take() {
        Some(output) => copy_and_count(output, io::stdout())?,
        None => Tally::default(),
    };
    Ok((child.wait()?, tally))
}

/// Passes on line by line what the test programs print, and adds up their results.
fn copy_and_count(from: impl Read, mut to: impl Write) -> io::Result<Tally> {
    let mut tally = Tally::default();
    let mut lines = BufReader::new(from);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line)? > 0 {
        to.write_all(&line)?;
        to.flush()?;
        tally.add(&String::from_utf8_lossy(&line));
        line.clear();
    }
    Ok(tally)
}

impl Tally {
    /// Adds one test program's line, `test result: ok. 3 passed; 0 failed; 1 ignored; …`; any
    /// other line counts nothing.
    fn add(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else {
            return;
        };
        for part in result.split(['.', ';']) {
            match part.trim().split_once(' ') {
                Some((count, "passed")) => self.passed += count.parse().unwrap_or(0),
                Some((count, "failed")) => self.failed += count.parse().unwrap_or(0),
                Some((count, "ignored")) => self.skipped += count.parse().unwrap_or(0),
                _ => {}
            }
        }
    }

    fn verdict(&self, status: ExitStatus) -> Result<()> {
        if self.failed > 0 {
            bail!("a test failed; its output is above");
        }
        if !status.success() {
            bail!("a test program does not compile or ended before its result; see above");
        }
        if self.passed == 0 {
            bail!("no test ran; `cargo xtask test` without arguments runs them all");
        }
        Ok(())
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 {
            write!(f, ", {} skipped", self.skipped)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    const OUTPUT: &str = "\
running 3 tests
test result_of_a_reset ... ok
test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.12s

the word 9 passed; 9 failed in a test's own output counts nothing
test result: FAILED. 40 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 3.00s
";

    fn tally(passed: u64, failed: u64, skipped: u64) -> Tally {
        Tally {
            passed,
            failed,
            skipped,
        }
    }

    /// The complaint's first words.
    fn verdict(tally: &Tally, exit_code: i32) -> String {
        let status = ExitStatus::from_raw(exit_code << 8);
        let complaint = tally.verdict(status).err().map(|error| error.to_string());
        complaint
            .unwrap_or_default()
            .split(' ')
            .take(3)
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn the_results_of_all_test_programs_are_added_up_and_their_output_is_passed_on()
    -> io::Result<()> {
        let mut copy = Vec::new();
        let counted = copy_and_count(OUTPUT.as_bytes(), &mut copy)?;
        assert_eq!(counted, tally(42, 1, 1));
        assert_eq!(copy, OUTPUT.as_bytes());
        Ok(())
    }

    #[test]
    fn skipped_tests_are_named_only_when_there_are_some() {
        assert_eq!(tally(42, 0, 0).to_string(), "42 passed, 0 failed");
        assert_eq!(tally(2, 1, 3).to_string(), "2 passed, 1 failed, 3 skipped");
    }

    #[test]
    fn success_needs_a_test_that_passed_and_nothing_that_failed() {
        assert_eq!(verdict(&tally(1, 0, 1), 0), "");
        assert_eq!(verdict(&tally(1, 1, 0), 101), "a test failed;");
        assert_eq!(verdict(&tally(1, 0, 0), 101), "a test program");
        assert_eq!(verdict(&tally(0, 0, 5), 0), "no test ran;");
    }
}
