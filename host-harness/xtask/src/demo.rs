//! The host with the plugin, started.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::cargo::{self, step};
use crate::{component, host};

const HOST: &str = "host-harness";

/// Builds the plugin and the host, then becomes `host-harness demo`: signals reach the host
/// itself, and its exit code is the task's. Nothing is printed to stdout before.
///
/// # Errors
///
/// A build fails, or the host cannot be started. On success there is no return.
pub(crate) fn start(args: &[OsString]) -> Result<()> {
    eprint!("{}", component::build_with(&[HOST])?);
    step("host: starting");
    let mut host = Command::new(host::program(HOST));
    host.arg("demo")
        .arg("--plugin")
        .arg(component::path())
        .args(args);
    Err(host.exec()).with_context(|| cargo::cannot_start(&host))
}
