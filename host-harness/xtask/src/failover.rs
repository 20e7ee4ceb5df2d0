//! A PostgreSQL that leads a cluster lost while clients ask, for as many rounds as one likes.

use std::ffi::OsString;

use anyhow::{Context as _, Result};

use crate::cargo::{self, step};
use crate::{component, debian, host};

/// The test that does it.
const TEST: &str = "what_was_answered_outlives_the_loss_of_the_leader";

/// Rounds where nothing is said: some minutes.
const ROUNDS: u64 = 10;

/// How often the leader is lost.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failover {
    rounds: u64,
}

impl Failover {
    /// Reads `[--rounds N]`.
    ///
    /// # Errors
    ///
    /// What cannot be understood, in words for the user.
    pub(crate) fn parse(args: &[OsString]) -> Result<Self, String> {
        let rounds = match args {
            [] => Some(ROUNDS),
            [option, number] if option == "--rounds" => {
                number.to_str().and_then(|number| number.parse().ok())
            }
            _ => None,
        };
        let rounds = rounds.filter(|rounds| *rounds > 0);
        let complaint = "`cargo xtask failover` takes `--rounds N` alone, one at least";
        Ok(Self {
            rounds: rounds.ok_or(complaint)?,
        })
    }

    /// Installs what makes a cluster, builds the plugin, the host and what asks it, and runs
    /// that: progress goes to stderr, and at the end a table of what was done.
    ///
    /// # Errors
    ///
    /// Something cannot be installed or does not compile, or an answer was not kept.
    pub(crate) fn run(&self) -> Result<()> {
        debian::cluster().context("three PostgreSQL follow one that leads")?;
        eprint!("{}", component::build()?);
        let program = host::build_optimised()?;
        step(&format!("failover: {} rounds …", self.rounds));
        let mut tests = cargo::cargo("test");
        tests
            .args(["--workspace", "--test", "torture", TEST])
            .args(["--", "--exact", "--ignored", "--nocapture"])
            .env("TORTURE_PROGRAM", program)
            .env("TORTURE_ROUNDS", self.rounds.to_string());
        cargo::run(&mut tests, "an answer was not kept; the reason is above")?;
        step("failover: finished");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<u64, String> {
        let args: Vec<_> = line.split_whitespace().map(OsString::from).collect();
        Failover::parse(&args).map(|failover| failover.rounds)
    }

    #[test]
    fn ten_rounds_are_run_unless_another_number_is_said() {
        assert_eq!(parse(""), Ok(ROUNDS));
        assert_eq!(parse("--rounds 3"), Ok(3));
        for line in ["3", "--rounds", "--rounds 0", "--rounds x", "--rounds 1 2"] {
            let complaint = "`cargo xtask failover` takes `--rounds N` alone, one at least";
            assert_eq!(parse(line), Err(complaint.to_owned()), "{line}");
        }
    }
}
