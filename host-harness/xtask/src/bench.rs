//! What a fresh sandbox, idle workspaces and a whole request cost, measured.

use std::process::Command;

use anyhow::{Context, Result};

use crate::cargo::{self, step};
use crate::component;
use crate::npm;
use crate::templates::{self, Language};

const BENCHES: [&str; 3] = ["sandbox", "workspaces", "http"];

/// How long is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// As long as the numbers need.
    Full,
    /// For a rough look.
    Quick,
}

/// Builds the plugin, the host and the benchmarks and runs these: they print tables to stdout
/// and write `target/bench.json`.
///
/// # Errors
///
/// The plugin, the host or a benchmark does not compile, what is compared cannot be installed,
/// or the plugin or a server does not answer as it should.
pub(crate) fn run(pace: Pace) -> Result<()> {
    eprint!("{}", component::build_with(&[templates::HOST])?);
    Language::TypeScript.build()?;
    npm::install("tests/bench/peers").context("the benchmark compares with other servers")?;
    step("benchmark: compiling the host, optimised; minutes the first time …");
    let mut host = cargo::cargo("build");
    host.args(["--release", "--bin", "host-harness"]);
    run_both(&mut host, &BENCHES, &[])?;
    step("benchmark: running …");
    let [sandbox, workspaces, http] = BENCHES;
    run_both(&mut cargo::cargo("bench"), &[sandbox, workspaces], &[])?;
    let options: &[_] = match pace {
        Pace::Full => &[],
        Pace::Quick => &["--", "--quick"],
    };
    run_both(&mut cargo::cargo("bench"), &[http], options)?;
    step("benchmark: finished; target/bench.json has the same numbers");
    Ok(())
}

/// Runs cargo for the host and the benchmarks, which so share what they depend on.
fn run_both(command: &mut Command, benches: &[&str], options: &[&str]) -> Result<()> {
    command.args(["--package", "host-harness", "--package", "reset-totp"]);
    for bench in benches {
        command.args(["--bench", bench]);
    }
    cargo::run_for_its_output(
        command.args(options),
        "the host or a benchmark does not compile or failed; the reason is above",
    )
}
