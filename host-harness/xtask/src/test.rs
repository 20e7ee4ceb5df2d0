//! Every test of the workspace, run against the built plugin and counted.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, ErrorKind, IsTerminal as _, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;

use anyhow::{Context, Result, bail};

use crate::cargo::{self, step};
use crate::component;
use crate::debian;
use crate::host;
use crate::npm;
use crate::python;
use crate::templates::{self, Language};
use crate::tools;

/// How a test program's last line begins.
const RESULT: &str = "test result: ";

/// The sum over all test programs.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
    skipped: u64,
}

/// What finds the secrets of the tests in what they and the programs under test have written.
const SECRET_SCAN: &str = "secret-scan";

/// Makes test programs print, too, what tests have printed that pass.
const SHOW_OUTPUT: &str = "--show-output";

/// Test programs that are given secrets, or start programs that are: each keeps what is written.
const KEEP_OUTPUTS: [&str; 13] = [
    "authors", "book", "check", "cli", "config", "e2e", "host", "hosts", "mail", "operator",
    "runtimes", "torture", "traces",
];

/// Builds the plugin, a server of it and those that authors begin with, installs the clients that call the
/// server in the tests, the databases that two of the stores are in, a proxy, a browser, what watches a host and
/// what runs the plugin in other hosts, runs the tests with `args` for `cargo test`, looks for the secrets of
/// the tests in all that was written meanwhile, and prints the number of tests as the last line of stdout.
///
/// # Errors
///
/// A plugin or a test does not compile, npm or what Debian brings is missing, a test fails, no test ran, a
/// secret was written, or tests that should have kept what is written have not.
pub(crate) fn run(args: &[OsString]) -> Result<()> {
    eprint!(
        "{}",
        component::build_with(&[SECRET_SCAN, templates::HOST])?
    );
    component::compose_server()?;
    debian::postgresql().context("the tests start a PostgreSQL of their own")?;
    debian::nginx().context("the tests start a proxy of their own")?;
    debian::prometheus().context("the tests start a Prometheus of their own")?;
    python::secantusdb().context("the tests start a server that speaks MongoDB's protocol")?;
    debian::package_users().context("the tests install packages as their users do")?;
    tools::WKG.find_or_install()?;
    python::wasmtime().context("the tests run the plugin in Python")?;
    npm::install("tests/runtimes").context("the tests run the plugin in Node.js")?;
    npm::install("tests/clients").context("the tests run Rocket.Chat's client")?;
    browser()?;
    for language in Language::ALL {
        language.build()?;
    }
    let suite = empty_suite()?;
    step("tests: compiling and running …");
    let (status, tally) = run_and_count(&mut tests(args), args, &suite)?;
    step("tests: finished; looking for secrets in what was written …");
    let scanned = scan(&suite, args.is_empty());
    writeln!(io::stdout(), "{tally}")?;
    tally.verdict(status)?;
    scanned
}

/// Installs the browser that the tests open the administrators' page in, and what drives it.
///
/// # Errors
///
/// npm or Chromium is missing.
pub(crate) fn browser() -> Result<()> {
    debian::chromium().context("the tests open the administrators' page in a browser")?;
    npm::install("tests/page").context("the tests drive a browser")
}

/// `cargo test` with these arguments.
fn tests(args: &[OsString]) -> Command {
    let mut tests = cargo::cargo("test");
    tests.args(["--workspace", "--no-fail-fast"]).args(args);
    if !args.iter().any(|arg| arg == "--") {
        tests.arg("--");
    }
    if !args.iter().any(|arg| arg == SHOW_OUTPUT) {
        tests.arg(SHOW_OUTPUT);
    }
    // Its output is passed on: cargo cannot see that it goes to a terminal.
    if io::stderr().is_terminal() && env::var_os("CARGO_TERM_COLOR").is_none() {
        tests.env("CARGO_TERM_COLOR", "always");
    }
    tests
}

/// The folder where tests keep their secrets and what is written, with nothing in it.
fn empty_suite() -> Result<PathBuf> {
    let suite = cargo::target_dir().join("suite");
    match fs::remove_dir_all(&suite) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
        _ => fs::create_dir_all(&suite)?,
    }
    Ok(suite)
}

/// Says how many secrets were looked for, in how much.
fn scan(suite: &Path, all_ran: bool) -> Result<()> {
    let mut scan = cargo::command(host::program(SECRET_SCAN));
    cargo::run_for_its_output(
        scan.arg(suite),
        "a secret was written; the places are above, by their names in target/suite",
    )?;
    let names: io::Result<Vec<_>> = fs::read_dir(suite)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect();
    let names = names?;
    let has_kept = |test: &&&str| {
        names
            .iter()
            .any(|name| name.split('-').next() == Some(test))
    };
    let mut silent = KEEP_OUTPUTS.iter().filter(|test| !has_kept(test));
    match silent.next() {
        Some(test) if all_ran => bail!("{test} kept nothing of what was written in its tests"),
        _ => Ok(()),
    }
}

/// Keeps in `suite` what the test programs write.
fn run_and_count(
    tests: &mut Command,
    args: &[OsString],
    suite: &Path,
) -> Result<(ExitStatus, Tally)> {
    let mut child = tests
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| cargo::cannot_start(tests))?;
    let mut stdout = Output {
        shows_successes: args.iter().any(|arg| arg == SHOW_OUTPUT),
        kept: File::create(suite.join("stdout"))?,
    };
    let mut stderr = Output {
        shows_successes: true,
        kept: File::create(suite.join("stderr"))?,
    };
    let errors = child.stderr.take();
    let errors = thread::spawn(move || errors.map(|from| stderr.pass_on(from, io::stderr())));
    let results = child.stdout.take();
    let tally = results.map(|from| stdout.pass_on(from, io::stdout()));
    errors.join().ok().flatten().transpose()?;
    Ok((child.wait()?, tally.transpose()?.unwrap_or_default()))
}

/// What test programs print.
struct Output<W> {
    /// Also what tests have printed that pass.
    shows_successes: bool,
    /// Gets all of it.
    kept: W,
}

impl<W: Write> Output<W> {
    /// Passes it on line by line, and adds up the results.
    fn pass_on(&mut self, from: impl Read, mut to: impl Write) -> io::Result<Tally> {
        let mut tally = Tally::default();
        let mut lines = BufReader::new(from);
        let mut line = Vec::new();
        let mut is_of_successes = false;
        while lines.read_until(b'\n', &mut line)? > 0 {
            self.kept.write_all(&line)?;
            is_of_successes = match line.trim_ascii_end() {
                b"successes:" => true,
                b"failures:" => false,
                line => is_of_successes && !line.starts_with(RESULT.as_bytes()),
            };
            if self.shows_successes || !is_of_successes {
                to.write_all(&line)?;
                to.flush()?;
            }
            tally.add(&String::from_utf8_lossy(&line));
            line.clear();
        }
        Ok(tally)
    }
}

impl Tally {
    /// Adds one test program's line, `test result: ok. 3 passed; 0 failed; 1 ignored; …`; any
    /// other line counts nothing.
    fn add(&mut self, line: &str) {
        let Some(result) = line.strip_prefix(RESULT) else {
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

successes:

---- result_of_a_reset stdout ----
a word

successes:
    result_of_a_reset

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

    /// What is shown of [`OUTPUT`], what is kept of it, and the results.
    fn passed_on(shows_successes: bool) -> io::Result<(String, String, Tally)> {
        let mut output = Output {
            shows_successes,
            kept: Vec::new(),
        };
        let mut shown = Vec::new();
        let counted = output.pass_on(OUTPUT.as_bytes(), &mut shown)?;
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Ok((text(&shown), text(&output.kept), counted))
    }

    #[test]
    fn the_results_of_all_test_programs_are_added_up_and_their_output_is_passed_on()
    -> io::Result<()> {
        let all = (OUTPUT.to_owned(), OUTPUT.to_owned(), tally(42, 1, 1));
        assert_eq!(passed_on(true)?, all);
        Ok(())
    }

    #[test]
    fn what_passing_tests_have_printed_is_kept_and_not_shown() -> io::Result<()> {
        let (shown, kept, counted) = passed_on(false)?;
        assert_eq!((kept.as_str(), counted), (OUTPUT, tally(42, 1, 1)));
        let hidden = "\
successes:

---- result_of_a_reset stdout ----
a word

successes:
    result_of_a_reset

";
        assert_eq!(shown, OUTPUT.replace(hidden, ""));
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
