//! The fuzz targets, run for as long as one likes and guided by the code that they reach.
//!
//! In `cargo xtask test` the same targets try a few inputs. Here they are compiled a second time,
//! into `target/fuzz`, with counters in all code of theirs and their dependencies', and libFuzzer
//! makes the inputs.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::cargo::{self, step};
use crate::component;

/// A target: its name for people, and the test program and module that hold its one test.
struct Target {
    name: &'static str,
    program: &'static str,
    module: &'static str,
}

const TARGETS: [Target; 4] = [
    Target {
        name: "admission",
        program: "host",
        module: "fuzz::admission",
    },
    Target {
        name: "http",
        program: "host",
        module: "fuzz::http",
    },
    Target {
        name: "body",
        program: "fuzz",
        module: "body",
    },
    Target {
        name: "decision",
        program: "fuzz",
        module: "decision",
    },
];

/// What makes the compiler count which code ran. The passes are those of cargo-bolero without a
/// sanitizer: there is no unsafe code here, and a sanitizer needs a nightly compiler.
const COUNTERS: &str = "--cfg fuzzing --cfg fuzzing_libfuzzer -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=16";

/// How long one input may take, in seconds: longer than any target waits for itself.
const PATIENCE: u64 = 120;

/// What a target may take, in MiB: far more than compiling a plugin of 4 MiB.
const MEMORY: u64 = 4096;

/// What is fuzzed, and for how long.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fuzz {
    /// The name of a target; all of them where there is none.
    target: Option<String>,
    /// For each target.
    time: Duration,
}

impl Fuzz {
    /// Reads `[TARGET] [--seconds N]`; a minute where nothing is said.
    ///
    /// # Errors
    ///
    /// What cannot be understood, in words for the user.
    pub(crate) fn parse(args: &[OsString]) -> Result<Self, String> {
        let mut fuzz = Self {
            target: None,
            time: Duration::from_secs(60),
        };
        let mut args = args.iter().map(|arg| arg.to_string_lossy().into_owned());
        while let Some(arg) = args.next() {
            if arg == "--seconds" {
                let seconds = args.next().and_then(|seconds| seconds.parse().ok());
                let seconds = seconds.filter(|seconds| *seconds > 0);
                fuzz.time = Duration::from_secs(seconds.ok_or("`--seconds` takes a number")?);
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
    /// Something does not compile, or an input was found that fails: it is named, and tried first
    /// the next time.
    pub(crate) fn run(&self) -> Result<()> {
        eprint!("{}", component::build()?);
        let built = build()?;
        let chosen = |target: &&Target| self.target.as_deref().is_none_or(|t| t == target.name);
        for target in TARGETS.iter().filter(chosen) {
            let program = program_in(&built, target.program);
            let program = program.context("cargo does not say where the target is")?;
            target.fuzz(&program, self.time)?;
        }
        step("fuzz: nothing found");
        Ok(())
    }
}

/// Compiles the test programs that hold the targets; returns what cargo says of it.
fn build() -> Result<String> {
    step("fuzz: compiling with counters …");
    let mut cargo = cargo::command(cargo::program());
    cargo
        .args([
            "test",
            "--no-run",
            "--message-format",
            "json-render-diagnostics",
        ])
        .args(["--package", "reset-totp", "--package", "host-harness"])
        .args(["--test", "fuzz", "--test", "host"])
        // Named, so that build scripts and macros are compiled without counters.
        .args(["--target", &host()?])
        .arg("--target-dir")
        .arg(folder())
        .env("RUSTFLAGS", COUNTERS)
        // Some times faster, and still with the checks of a debug build.
        .env("CARGO_PROFILE_DEV_OPT_LEVEL", "1")
        .stderr(Stdio::inherit());
    let output = cargo
        .output()
        .with_context(|| cargo::cannot_start(&cargo))?;
    if !output.status.success() {
        bail!("the fuzz targets do not compile; the compiler's reason is above");
    }
    Ok(String::from_utf8(output.stdout)?)
}

impl Target {
    /// Runs the target; what it learns of the code, and what it finds, stays for the next time.
    fn fuzz(&self, program: &Path, time: Duration) -> Result<()> {
        let seconds = time.as_secs();
        step(&format!("fuzz: {} for {seconds} s …", self.name));
        let (corpus, found) = (folder().join("corpus"), folder().join("found"));
        let (corpus, found) = (corpus.join(self.name), found.join(self.name));
        for folder in [&corpus, &found] {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let (corpus, found) = (corpus.display(), found.display());
        let arguments = format!(
            "{corpus} {found} -artifact_prefix={found}/ -max_total_time={seconds} -max_len=1024 \
             -timeout={PATIENCE} -rss_limit_mb={MEMORY} -print_final_stats=1"
        );
        let mut run = cargo::command(program);
        run.args([self.module, "--nocapture", "--test-threads", "1"])
            .env("BOLERO_LIBFUZZER_ARGS", arguments);
        let complaint = format!(
            "{} failed; the input is shown above and kept in {found}, and is tried first when \
             `cargo xtask fuzz {}` runs again",
            self.name, self.name
        );
        cargo::run(&mut run, &complaint)
    }
}

/// Where everything of the fuzzing is.
fn folder() -> PathBuf {
    cargo::target_dir().join("fuzz")
}

/// The target triple of this machine.
fn host() -> Result<String> {
    let mut rustc = Command::new("rustc");
    let version = cargo::output_of(rustc.arg("-vV")).context("rustc does not answer")?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host
        .context("rustc does not say for what it compiles")?
        .to_owned())
}

/// Where cargo's messages say that a test program is.
fn program_in(messages: &str, name: &str) -> Option<PathBuf> {
    let paths = messages
        .split(r#""executable":""#)
        .skip(1)
        .filter_map(|rest| rest.split('"').next().map(PathBuf::from));
    let is_it = |path: &PathBuf| {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        file.rsplit_once('-').is_some_and(|(stem, _)| stem == name)
    };
    paths.into_iter().find(is_it)
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
        })
    }

    #[test]
    fn every_target_runs_a_minute_unless_something_else_is_said() {
        assert_eq!(parse(""), fuzz(None, 60));
        assert_eq!(parse("http"), fuzz(Some("http"), 60));
        assert_eq!(parse("body --seconds 5"), fuzz(Some("body"), 5));
        assert_eq!(parse("--seconds 5"), fuzz(None, 5));
    }

    #[test]
    fn what_is_no_target_or_no_number_is_refused() {
        let targets = "the targets are admission, http, body, decision";
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

    #[test]
    fn a_program_is_found_in_cargos_messages() {
        let messages = r#"{"reason":"compiler-artifact","executable":null}
{"reason":"compiler-artifact","executable":"/target/fuzz/deps/host_harness-2"}
{"reason":"compiler-artifact","executable":"/target/fuzz/deps/host-1","fresh":true}
{"reason":"build-finished","success":true}"#;
        let program = Path::new("/target/fuzz/deps/host-1");
        assert_eq!(program_in(messages, "host").as_deref(), Some(program));
        assert_eq!(program_in(messages, "fuzz"), None);
    }
}
