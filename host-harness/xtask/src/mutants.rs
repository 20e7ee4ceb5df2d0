//! Mutation testing: small bugs are planted one after the other, and the tests must notice each.
//! Those that change nothing anybody could notice are in `.cargo/mutants.toml`, with the reasons.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cargo::{self, step};
use crate::tools;

/// How long the tests of one bug may take, in seconds, before it counts as endless: many times
/// what they take on a busy machine.
const TEST_SECONDS: &str = "120";

/// The tool's exit statuses after it has run to its end: all noticed, some missed, some endless.
const ENDED: [i32; 3] = [0, 2, 3];

/// Where bugs are planted, and the tests that must notice.
#[derive(Debug, PartialEq, Eq)]
struct Part {
    name: &'static str,
    package: &'static str,
    tests: &'static [&'static str],
}

const PARTS: [Part; 2] = [
    Part {
        name: "rules",
        package: "chat-domain",
        tests: &["--lib", "--test=domain"],
    },
    Part {
        name: "plugin",
        package: "reset-totp",
        tests: &["--lib"],
    },
];

/// Which bugs are planted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mutants {
    /// All of them where there is none.
    part: Option<&'static Part>,
    /// `K/N`: of N shares of a part the one with this number, from 0.
    shard: Option<String>,
}

/// What became of the bugs, each a line that says what was planted, and where.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    noticed: Vec<String>,
    missed: Vec<String>,
    uncompilable: Vec<String>,
    endless: Vec<String>,
}

impl Mutants {
    /// Reads `[PART] [--shard K/N]`.
    ///
    /// # Errors
    ///
    /// What cannot be understood, in words for the user.
    pub(crate) fn parse(args: &[OsString]) -> Result<Self, String> {
        let mut mutants = Self {
            part: None,
            shard: None,
        };
        let mut args = args.iter().map(|arg| arg.to_string_lossy().into_owned());
        while let Some(arg) = args.next() {
            if arg == "--shard" {
                let shard = args.next().filter(|shard| is_shard(shard));
                mutants.shard = Some(shard.ok_or("`--shard` takes K/N, from 0/N on")?);
                continue;
            }
            let part = PARTS.iter().find(|part| part.name == arg);
            match part.filter(|_| mutants.part.is_none()) {
                Some(part) => mutants.part = Some(part),
                None => {
                    let names = PARTS.map(|part| part.name).join(", ");
                    return Err(format!("`{arg}` is no part; the parts are {names}"));
                }
            }
        }
        Ok(mutants)
    }

    /// Plants the bugs, and prints to stdout how many there were and each that no test noticed.
    ///
    /// # Errors
    ///
    /// The tool cannot be installed, the tests fail without a bug, or a bug was not noticed.
    pub(crate) fn run(&self) -> Result<()> {
        let tool = tools::MUTANTS.find_or_install()?;
        let chosen = |part: &&Part| self.part.is_none_or(|chosen| chosen == *part);
        let mut missed = 0;
        for part in PARTS.iter().filter(chosen) {
            let name = part.name;
            step(&format!("mutants: {name}; some seconds a bug …"));
            let outcome = part.plant(&tool, self.shard.as_deref())?;
            missed += outcome.missed.len();
            writeln!(io::stdout(), "{name}: {outcome}")?;
        }
        step("mutants: finished; target/mutants has every bug and what the tests said");
        match missed {
            0 => Ok(()),
            missed => bail!("{missed} bugs were not noticed; they are above"),
        }
    }
}

impl Part {
    fn plant(&self, tool: &Path, shard: Option<&str>) -> Result<Outcome> {
        let folder = cargo::target_dir().join("mutants").join(self.name);
        fs::create_dir_all(&folder)?;
        let mut plant = self.command(tool, &folder, shard);
        let status = plant
            .status()
            .with_context(|| cargo::cannot_start(&plant))?;
        if !status.code().is_some_and(|code| ENDED.contains(&code)) {
            bail!("the bugs of {} could not be planted; see above", self.name);
        }
        Outcome::read(&folder.join("mutants.out"))
    }

    /// The copy of the workspace in which a bug is planted is built into the one target
    /// directory, so that no dependency is compiled again.
    fn command(&self, tool: &Path, folder: &Path, shard: Option<&str>) -> Command {
        let mut plant = cargo::command(tool);
        plant
            .arg("mutants")
            .args(["--package", self.package, "--test-package", self.package])
            .args(["--timeout", TEST_SECONDS, "--colors", "never"])
            .arg("--output")
            .arg(folder)
            .env("CARGO_TARGET_DIR", cargo::target_dir())
            .stdout(io::stderr());
        for test in self.tests {
            plant.arg(format!("--cargo-test-arg={test}"));
        }
        if let Some(shard) = shard {
            plant.args(["--shard", shard]);
        }
        plant
    }
}

/// Whether `text` is `K/N`, with K below N.
fn is_shard(text: &str) -> bool {
    let numbers = text.split_once('/');
    let numbers = numbers.and_then(|(k, n)| Some((k.parse::<u32>().ok()?, n.parse().ok()?)));
    numbers.is_some_and(|(k, n)| k < n)
}

impl Outcome {
    fn read(folder: &Path) -> Result<Self> {
        let lines = |file: &str| -> Result<Vec<String>> {
            let path = folder.join(file);
            let text = fs::read_to_string(&path);
            let text = text.with_context(|| format!("cannot read {}", path.display()))?;
            Ok(text.lines().map(str::to_owned).collect())
        };
        Ok(Self {
            noticed: lines("caught.txt")?,
            missed: lines("missed.txt")?,
            uncompilable: lines("unviable.txt")?,
            endless: lines("timeout.txt")?,
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            noticed,
            missed,
            uncompilable,
            endless,
        } = self;
        let [noticed, endless] = [noticed, endless].map(Vec::len);
        write!(
            f,
            "{} bugs noticed ({endless} of them by tests that did not end), {} missed, {} that do not compile",
            noticed + endless,
            missed.len(),
            uncompilable.len()
        )?;
        for bug in missed {
            write!(f, "\n  missed: {bug}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<(Option<&'static str>, Option<String>), String> {
        let args: Vec<_> = line.split_whitespace().map(OsString::from).collect();
        let mutants = Mutants::parse(&args)?;
        Ok((mutants.part.map(|part| part.name), mutants.shard))
    }

    #[test]
    fn all_parts_are_meant_unless_one_or_a_share_is_named() {
        assert_eq!(parse(""), Ok((None, None)));
        assert_eq!(parse("plugin"), Ok((Some("plugin"), None)));
        let share = Some("3/4".to_owned());
        assert_eq!(parse("rules --shard 3/4"), Ok((Some("rules"), share)));
    }

    #[test]
    fn what_is_no_part_or_no_share_is_refused() {
        for line in ["rule", "rules plugin"] {
            let last = line.rsplit(' ').next().unwrap_or_default();
            let complaint = format!("`{last}` is no part; the parts are rules, plugin");
            assert_eq!(parse(line), Err(complaint));
        }
        for line in [
            "--shard",
            "--shard 4/4",
            "--shard 1",
            "--shard -1/2",
            "--shard /",
        ] {
            let complaint = "`--shard` takes K/N, from 0/N on".to_owned();
            assert_eq!(parse(line), Err(complaint), "{line}");
        }
    }

    #[test]
    fn what_was_missed_is_told_bug_by_bug() {
        let lines = |lines: &[&str]| lines.iter().map(ToString::to_string).collect();
        let outcome = Outcome {
            noticed: lines(&["a", "b"]),
            missed: lines(&["src/body.rs:1:2: replace a with b"]),
            uncompilable: Vec::new(),
            endless: lines(&["c"]),
        };
        assert_eq!(
            outcome.to_string(),
            "3 bugs noticed (1 of them by tests that did not end), 1 missed, 0 that do not compile\n  \
             missed: src/body.rs:1:2: replace a with b"
        );
    }
}
