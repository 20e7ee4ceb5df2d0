//! Processes and databases killed while clients ask them, for as many rounds as one likes. In
//! `cargo xtask test` the same program runs some dozens.

use std::ffi::OsString;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};

use crate::cargo::{self, step};
use crate::{component, debian, host, python};

/// What is tortured; the first where nothing is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Store {
    Sqlite,
    Postgres,
    /// Three PostgreSQL, of which the one that leads is lost.
    Cluster,
    /// A Rocket.Chat's own database.
    Mongodb,
}

const STORES: [Store; 4] = [
    Store::Sqlite,
    Store::Postgres,
    Store::Cluster,
    Store::Mongodb,
];

impl Store {
    fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
            Self::Cluster => "cluster",
            Self::Mongodb => "mongodb",
        }
    }

    fn test(self) -> &'static str {
        match self {
            Self::Sqlite => "what_was_answered_outlives_a_kill_on_sqlite",
            Self::Postgres => "what_was_answered_outlives_a_kill_on_postgresql",
            Self::Cluster => "what_was_answered_outlives_the_loss_of_the_leader",
            Self::Mongodb => "what_was_answered_outlives_a_kill_on_rocket_chats_database",
        }
    }

    /// Rounds where nothing is said: some minutes.
    fn rounds(self) -> u64 {
        match self {
            Self::Sqlite | Self::Postgres => 1000,
            Self::Cluster => 10,
            Self::Mongodb => 300,
        }
    }

    fn hosts(self) -> u64 {
        match self {
            Self::Sqlite => 1,
            Self::Postgres | Self::Cluster | Self::Mongodb => 2,
        }
    }

    /// Installs what makes it, as far as that is not here.
    fn install(self) -> Result<()> {
        match self {
            Self::Sqlite => Ok(()),
            Self::Postgres => debian::postgresql(),
            Self::Cluster => debian::cluster(),
            Self::Mongodb => python::secantusdb(),
        }
    }
}

/// What is tortured, and for how long.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Torture {
    store: Store,
    rounds: Option<u64>,
    hosts: Option<u64>,
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
        let mut torture = Self {
            store: Store::Sqlite,
            rounds: None,
            hosts: None,
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
                "--rounds" => torture.rounds = Some(count()?),
                "--hosts" => torture.hosts = Some(count()?),
                "--seed" => torture.seed = Some(number()?),
                "--store" => {
                    let store = STORES.into_iter().find(|store| store.name() == value);
                    let names = STORES.map(Store::name).join(", ");
                    let unknown = format!("`{value}` is no store; the stores are {names}");
                    torture.store = store.ok_or(unknown)?;
                }
                _ => return Err(format!("`cargo xtask torture` does not know `{arg}`")),
            }
        }
        Ok(torture)
    }

    /// Installs what makes the store, builds the plugin, the host and what tortures it, and runs
    /// that: progress goes to stderr, and at the end a table of what was done.
    ///
    /// # Errors
    ///
    /// Something does not compile, or an answer was not kept: what was random is above.
    pub(crate) fn run(&self) -> Result<()> {
        self.store.install().context("it is killed, too")?;
        eprint!("{}", component::build()?);
        let program = host::build_optimised()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let seed = self.seed.unwrap_or(now.unwrap_or_default().as_secs());
        let (store, test) = (self.store.name(), self.store.test());
        let rounds = self.rounds.unwrap_or(self.store.rounds());
        let hosts = self.hosts.unwrap_or(self.store.hosts());
        step(&format!(
            "torture: {rounds} rounds on {store}, {hosts} hosts, seed {seed} …"
        ));
        let mut tests = cargo::cargo("test");
        tests
            .args(["--workspace", "--test", "torture", test])
            .args(["--", "--exact", "--include-ignored", "--nocapture"])
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
    fn a_file_is_tortured_unless_something_else_is_said() {
        let usual = Torture {
            store: Store::Sqlite,
            rounds: None,
            hosts: None,
            seed: None,
        };
        assert_eq!(parse(""), Ok(usual));
        let all = Torture {
            store: Store::Cluster,
            rounds: Some(7),
            hosts: Some(3),
            seed: Some(0),
        };
        let line = "--store cluster --rounds 7 --hosts 3 --seed 0";
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
                "`oracle` is no store; the stores are sqlite, postgres, cluster, mongodb",
            ),
            ("again", "`cargo xtask torture` does not know `again`"),
        ] {
            assert_eq!(parse(line), Err(complaint.to_owned()));
        }
    }
}
