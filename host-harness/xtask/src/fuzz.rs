//! The fuzz targets, run for as long as one likes. In `cargo xtask test` the same targets try a few
//! inputs.

use std::ffi::OsString;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;

use crate::cargo::{self, step};
use crate::component;

/// A target: its name for people, and the test program and module that hold its one test.
struct Target {
    name: &'static str,
    program: &'static str,
    module: &'static str,
    /// Whether it is compiled with optimisation: where the time goes into the target itself.
    release: bool,
}

const TARGETS: [Target; 5] = [
    Target {
        name: "admission",
        program: "sandbox",
        module: "fuzz::admission",
        release: false,
    },
    Target {
        name: "http",
        program: "host",
        module: "fuzz::http",
        release: false,
    },
    Target {
        name: "body",
        program: "fuzz",
        module: "body",
        release: false,
    },
    Target {
        name: "decision",
        program: "fuzz",
        module: "decision",
        release: false,
    },
    Target {
        name: "requests",
        program: "domain",
        module: "laws::no_schedule",
        release: true,
    },
];

/// What is fuzzed, and for how long.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fuzz {
    /// The name of a target; all of them where there is none.
    target: Option<String>,
    /// For each target.
    time: Duration,
    /// The case to begin with; one that was not tried lately where there is none.
    first: Option<u64>,
}

impl Fuzz {
    /// Reads `[TARGET] [--seconds N] [--from CASE]`; a minute where nothing is said.
    ///
    /// # Errors
    ///
    /// What cannot be understood, in words for the user.
    pub(crate) fn parse(args: &[OsString]) -> Result<Self, String> {
        let mut fuzz = Self {
            target: None,
            time: Duration::from_secs(60),
            first: None,
        };
        let mut args = args.iter().map(|arg| arg.to_string_lossy().into_owned());
        while let Some(arg) = args.next() {
            if arg == "--seconds" {
                let seconds = args.next().and_then(|seconds| seconds.parse().ok());
                let seconds = seconds.filter(|seconds| *seconds > 0);
                fuzz.time = Duration::from_secs(seconds.ok_or("`--seconds` takes a number")?);
            } else if arg == "--from" {
                let case = args.next().and_then(|case| case.parse().ok());
                fuzz.first = Some(case.ok_or("`--from` takes the number of a case")?);
            } else if fuzz.target.is_none() && TARGETS.iter().any(|target| target.name == arg) {
                fuzz.target = Some(arg);
            } else {
                let names = TARGETS.map(|target| target.name).join(", ");
                return Err(format!("`{arg}` is no target; the targets are {names}"));
            }
        }
        Ok(fuzz)
    }

    /// Builds the plugin and the targets, and runs these one after the other.
    ///
    /// # Errors
    ///
    /// Something does not compile, or an input was found that fails: the number of its case is
    /// above.
    pub(crate) fn run(&self) -> Result<()> {
        eprint!("{}", component::build()?);
        let chosen = |target: &&Target| self.target.as_deref().is_none_or(|t| t == target.name);
        let seconds = self.time.as_secs();
        // Another beginning each second, so that no two runs try the same.
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let first = self
            .first
            .unwrap_or(now.unwrap_or_default().as_secs() << 16);
        for target in TARGETS.iter().filter(chosen) {
            let name = target.name;
            step(&format!(
                "fuzz: {name} for {seconds} s, from case {first} …"
            ));
            let mut tests = cargo::cargo("test");
            tests
                .args(["--workspace", "--test", target.program, target.module])
                .args(target.release.then_some("--release"))
                .args(["--", "--nocapture", "--test-threads", "1"])
                .env("FUZZ_SECONDS", seconds.to_string())
                .env("FUZZ_FIRST_CASE", first.to_string());
            let complaint = format!(
                "{name} failed; `cargo xtask fuzz {name} --from CASE` begins with the case that is \
                 named above"
            );
            cargo::run(&mut tests, &complaint)?;
        }
        step("fuzz: nothing found");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Fuzz, String> {
        let args: Vec<_> = line.split_whitespace().map(OsString::from).collect();
        Fuzz::parse(&args)
    }

    fn fuzz(target: Option<&str>, seconds: u64) -> Result<Fuzz, String> {
        Ok(Fuzz {
            target: target.map(str::to_owned),
            time: Duration::from_secs(seconds),
            first: None,
        })
    }

    #[test]
    fn every_target_runs_a_minute_unless_something_else_is_said() {
        assert_eq!(parse(""), fuzz(None, 60));
        assert_eq!(parse("http"), fuzz(Some("http"), 60));
        assert_eq!(parse("body --seconds 5"), fuzz(Some("body"), 5));
        assert_eq!(parse("--seconds 5"), fuzz(None, 5));
        let begun = parse("body --from 7").map(|fuzz| fuzz.first);
        assert_eq!(begun, Ok(Some(7)));
    }

    #[test]
    fn what_is_no_target_or_no_number_is_refused() {
        let targets = "the targets are admission, http, body, decision, requests";
        for line in ["bodies", "body http"] {
            let last = line.rsplit(' ').next().unwrap_or_default();
            assert_eq!(
                parse(line),
                Err(format!("`{last}` is no target; {targets}"))
            );
        }
        for line in ["--seconds", "--seconds x", "--seconds 0", "--seconds -1"] {
            assert_eq!(parse(line), Err("`--seconds` takes a number".to_owned()));
        }
    }
}
