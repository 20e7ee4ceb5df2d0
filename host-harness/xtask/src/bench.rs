//! What a fresh sandbox, idle workspaces and a whole request cost, measured.

use anyhow::{Context, Result};

use crate::cargo::{self, step};
use crate::component;
use crate::npm;

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
    eprint!("{}", component::build()?);
    npm::install("tests/bench/peers").context("the benchmark compares with other servers")?;
    step("benchmark: compiling the host, optimised; minutes the first time …");
    let mut host = cargo::cargo("build");
    host.args(["--release", "--package", "host-harness"]);
    cargo::run(&mut host, "the host does not compile; the reason is above")?;
    step("benchmark: compiling and running …");
    bench(&["sandbox", "workspaces"], &[])?;
    bench(
        &["http"],
        if pace == Pace::Quick {
            &["--quick"]
        } else {
            &[]
        },
    )?;
    step("benchmark: finished; target/bench.json has the same numbers");
    Ok(())
}

fn bench(names: &[&str], args: &[&str]) -> Result<()> {
    let mut bench = cargo::cargo("bench");
    bench.args(["--package", "reset-totp"]);
    for name in names {
        bench.args(["--bench", name]);
    }
    bench.arg("--").args(args);
    cargo::run_for_its_output(
        &mut bench,
        "the benchmark does not compile or failed; the reason is above",
    )
}
