//! Processes killed while clients ask them, for as many rounds as one likes. In
//! `cargo xtask test` the same program runs some hundreds.

use std::ffi::OsString;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};

use crate::cargo::{self, step};
use crate::{component, debian, host};

/// The stores that there are, and the test that tortures each.
const STORES: [(&str, &str); 2] = [
    ("sqlite", "what_was_answered_outlives_a_kill_on_sqlite"),
    (
        "postgres",
        "what_was_answered_outlives_a_kill_on_postgresql",
    ),
];

/// Rounds where nothing is said: some minutes.
const ROUNDS: u64 = 1000;

/// What is tortured, and for how long.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Torture {
    store: (&'static str, &'static str),
    rounds: u64,
    hosts: u64,
    /// What all that is random follows from; another each time where there is none.
    seed: Option<u64>,
}

impl Torture {
    /// Reads `[--store NAME] [--rounds N] [--hosts N] [--seed S]`.
    ///
    /// # Errors
    ///
    /// What cannot be understood, in words for the user.
    pub(crate) fn parse(args: &[OsString]) -> Result<Self, String> {
        let [first, ..] = STORES;
        let mut torture = Self {
            store: first,
            rounds: ROUNDS,
            hosts: 1,
            seed: None,
        };
        let mut args = args.iter().map(|arg| arg.to_string_lossy().into_owned());
        while let Some(arg) = args.next() {
            let value = args.next().unwrap_or_default();
            let number = || {
                let number = value.parse::<u64>().ok();
                number.ok_or(format!("`{arg}` takes a number"))
            };
            let count = || match number()? {
                0 => Err(format!("`{arg}` takes one at least")),
                number => Ok(number),
            };
            match arg.as_str() {
                "--rounds" => torture.rounds = count()?,
                "--hosts" => torture.hosts = count()?,
                "--seed" => torture.seed = Some(number()?),
                "--store" => {
                    let store = STORES.into_iter().find(|(name, _)| *name == value);
                    let names = STORES.map(|(name, _)| name).join(", ");
                    let unknown = format!("`{value}` is no store; the stores are {names}");
                    torture.store = store.ok_or(unknown)?;
                }
                _ => return Err(format!("`cargo xtask torture` does not know `{arg}`")),
            }
        }
        Ok(torture)
    }

    /// Builds the plugin, the host and what tortures it, and runs that: progress goes to
    /// stderr, and at the end a table of what was done.
    ///
    /// # Errors
    ///
    /// Something does not compile, or an answer was not kept: what was random is above.
    pub(crate) fn run(&self) -> Result<()> {
        debian::postgresql().context("a database is killed, too")?;
        eprint!("{}", component::build()?);
        let program = host::build_optimised()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let seed = self.seed.unwrap_or(now.unwrap_or_default().as_secs());
        let (store, test) = self.store;
        let (rounds, hosts) = (self.rounds, self.hosts);
        step(&format!(
            "torture: {rounds} rounds on {store}, {hosts} hosts, seed {seed} …"
        ));
        let mut tests = cargo::cargo("test");
        tests
            .args(["--workspace", "--test", "torture", test])
            .args(["--", "--exact", "--nocapture"])
            .env("TORTURE_PROGRAM", program)
            .env("TORTURE_ROUNDS", rounds.to_string())
            .env("TORTURE_HOSTS", hosts.to_string())
            .env("TORTURE_SEED", seed.to_string());
        let complaint = format!(
            "an answer was not kept; `cargo xtask torture --store {store} --hosts {hosts} --seed \
             {seed}` does the same again, as far as processes let it"
        );
        cargo::run(&mut tests, &complaint)?;
        step("torture: finished");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Torture, String> {
        let args: Vec<_> = line.split_whitespace().map(OsString::from).collect();
        Torture::parse(&args)
    }

    #[test]
    fn a_thousand_rounds_of_one_host_on_sqlite_are_run_unless_something_else_is_said() {
        let [sqlite, ..] = STORES;
        let usual = Torture {
            store: sqlite,
            rounds: ROUNDS,
            hosts: 1,
            seed: None,
        };
        assert_eq!(parse("").as_ref(), Ok(&usual));
        let all = Torture {
            rounds: 7,
            hosts: 3,
            seed: Some(0),
            ..usual
        };
        let line = "--store sqlite --rounds 7 --hosts 3 --seed 0";
        assert_eq!(parse(line), Ok(all));
    }

    #[test]
    fn what_cannot_be_understood_is_named() {
        for (line, complaint) in [
            ("--rounds", "`--rounds` takes a number"),
            ("--rounds 0", "`--rounds` takes one at least"),
            ("--hosts two", "`--hosts` takes a number"),
            (
                "--store oracle",
                "`oracle` is no store; the stores are sqlite, postgres",
            ),
            ("again", "`cargo xtask torture` does not know `again`"),
        ] {
            assert_eq!(parse(line), Err(complaint.to_owned()));
        }
    }
}
