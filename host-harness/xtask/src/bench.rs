//! What a fresh sandbox and idle workspaces cost, measured.

use anyhow::Result;

use crate::cargo::{self, step};
use crate::component;

/// Builds the plugin and the benchmark and runs it: it prints a table to stdout and writes
/// `target/bench.json`.
///
/// # Errors
///
/// The plugin or the benchmark does not compile, or the plugin does not decide as it should.
pub(crate) fn run() -> Result<()> {
    eprint!("{}", component::build()?);
    step("benchmark: compiling the host, optimised; minutes the first time, then running …");
    let mut bench = cargo::cargo("bench");
    bench.args(["--package", "reset-totp"]);
    bench.args(["--bench", "sandbox", "--bench", "workspaces"]);
    cargo::run_for_its_output(
        &mut bench,
        "the benchmark does not compile or failed; the reason is above",
    )?;
    step("benchmark: finished; target/bench.json has the same numbers");
    Ok(())
}
