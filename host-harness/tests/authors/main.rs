//! What authors of plugins are given: folders to begin with, and a server that follows them.
//!
//! `cargo xtask test` has written and built the folders, as their READMEs say.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on must fail"
)]

mod dev;
mod new_plugin;
mod served;

use std::ffi::OsStr;
use std::process::{Command, Output, Stdio};

fn host_harness<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_host-harness"));
    command
        .stdin(Stdio::null())
        .env_remove("RUST_LOG")
        .args(args);
    command
}

/// Whether it succeeds, standard output and standard error.
fn run(command: &mut Command) -> (bool, String, String) {
    let output = command.output().unwrap();
    secret_scan::keep_output(&output);
    let Output {
        status,
        stdout,
        stderr,
    } = output;
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.success(), text(stdout), text(stderr))
}
