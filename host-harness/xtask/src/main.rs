//! The project's tasks, behind the alias `cargo xtask`.
//!
//! | file | what it knows |
//! |---|---|
//! | `toolchain` | which compiler makes WebAssembly on this machine, and how it is called |
//! | `component` | how the compiled plugin becomes `target/reset_totp.wasm`, and what it asks of a host |
//! | `cargo` | how one cargo runs inside another, and how a step reports itself |
//!
//! Progress goes to stderr; stdout carries results only, so that a task can be piped.

mod cargo;
mod component;
mod toolchain;

use std::process::ExitCode;

use anyhow::Result;

const USAGE: &str = "\
The tasks of this project. Each builds what it needs first.

Usage: cargo xtask <task> [args…]

  build           compile the plugin to a WASI component, target/reset_totp.wasm,
                  and print its size, its SHA-256, its imports and its exports

The first build needs the Rust target wasm32-unknown-unknown. It is taken from rustup; where
rustup's servers cannot be reached, from the Debian packages rustc-web and rust-web-src.
";

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Task {
    Help,
    Build,
}

fn main() -> ExitCode {
    let task = match Task::parse(std::env::args().skip(1)) {
        Ok(task) => task,
        Err(complaint) => {
            eprintln!("{complaint}");
            return ExitCode::from(2);
        }
    };
    match task.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

impl Task {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        match args.next().as_deref() {
            None | Some("help" | "-h" | "--help") => Ok(Self::Help),
            Some("build") => Ok(Self::Build),
            Some(other) => Err(format!(
                "unknown task `{other}`; `cargo xtask` lists the tasks"
            )),
        }
    }

    fn run(self) -> Result<()> {
        match self {
            Self::Help => print!("{USAGE}"),
            Self::Build => print!("{}", component::build()?),
        }
        Ok(())
    }
}
