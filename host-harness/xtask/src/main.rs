//! The project's tasks, behind the alias `cargo xtask`.
//!
//! | file | what it knows |
//! |---|---|
//! | `toolchain` | which compiler makes WebAssembly on this machine, and how it is called |
//! | `debian` | what Debian packages of Rust, and how they are installed |
//! | `component` | how the plugin becomes `target/reset_totp.wasm`, beside the host's build, and a server of it |
//! | `host` | how programs of the host are compiled so that tests share what they are made of |
//! | `demo` | how the host is started with the plugin |
//! | `test` | how the workspace's tests are run and counted |
//! | `bench` | how the cost of a sandbox and of a whole request is measured |
//! | `templates` | how what `host-harness new-plugin` writes becomes `target/new-plugin/LANGUAGE/plugin.wasm` |
//! | `python` | how Python's programs are installed, each in an environment of its own |
//! | `npm` | how the JavaScript programs of a folder are installed |
//! | `fuzz` | how the fuzz targets run for longer than a test |
//! | `torture` | how processes are killed for longer than in a test |
//! | `mutants` | how bugs are planted that the tests must notice |
//! | `book` | how the book becomes pages, and that no link in it is broken |
//! | `checks` | what a commit is held to besides its tests |
//! | `screenshots` | how the book's pictures of the administrators' page are taken |
//! | `install` | how the program is built that is released |
//! | `package` | how what people install is made: for Debian, for registries |
//! | `tools` | which programs of others tasks run, and how they are installed |
//! | `cargo` | how one cargo runs inside another, and how a step reports itself |
//!
//! Progress and compilers' output go to stderr; stdout carries results only.

mod bench;
mod book;
mod cargo;
mod checks;
mod component;
mod debian;
mod demo;
mod fuzz;
mod host;
mod install;
mod licenses;
mod mutants;
mod npm;
mod package;
mod python;
mod screenshots;
mod templates;
mod test;
mod toolchain;
mod tools;
mod torture;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::mem;
use std::process::ExitCode;

use anyhow::Result;
use bench::Pace;
use fuzz::Fuzz;
use mutants::Mutants;
use package::Package;
use torture::Torture;

const USAGE: &str = "\
The tasks of this project. Each one builds what it needs first.

Usage: cargo xtask <task> [args…]

  build           compile the plugin to a WASI component, target/reset_totp.wasm,
                  and print its size, its SHA-256, its imports and its exports
  compose         compile the plugin, and make of it a server for runtimes of wasi:http,
                  target/reset_totp_server.wasm
  demo [args…]    start the host with the plugin; args go to the host
  test [args…]    run every test of the workspace against the built plugin, look for the secrets of
                  the tests in all that was written meanwhile, and count the tests;
                  args go to `cargo test`: `cargo xtask test backup_code` runs the tests
                  with backup_code in their name
  bench [--quick] measure what a fresh sandbox costs beside the plugin as a native function,
                  and a whole request beside Fastify and Express; numbers for machines go
                  to target/bench.json, and a picture to book/src/images/resets.svg; --quick is
                  rougher, and draws none
  fuzz [target] [--seconds N] [--from CASE]
                  look for input that breaks admission, http, body, decision or the rules for
                  any sequence of requests, a minute each
  torture [--store sqlite|postgres|cluster|mongodb] [--rounds N] [--hosts N] [--seed S]
                  kill hosts or the database while clients ask, 1,000 times where nothing is said,
                  and hold every account to what the clients were answered; of a cluster, three
                  PostgreSQL under Patroni, the one that leads is lost, 10 times
  mutants [rules|plugin] [--shard K/N]
                  plant small bugs in the rules and in the plugin, one after the other, and list
                  those that no test notices; an hour or more
  book            make pages of the book, target/book/index.html, and look for broken links in
                  them, in README and in what lies beside it
  screenshots     take the pictures of the administrators' page in book/src/images
  check           formatting, licences and sources of all dependencies, lints (host and
                  WebAssembly), documentation and the book, as CI wants them
  advisories      look for published flaws in all dependencies, by the list of RustSec
  install [--root FOLDER]
                  compile and install the host as it is released: the program names all that it
                  is made of, for `cargo audit bin` and its like
  package [--quick] [--sign KEY]
                  make what people install, in target/package: a Debian package of the host, the
                  plugin and its contract for registries, and lists of what they are made of; print
                  the SHA-256 and size of each; --sign signs the plugin by a secret key of minisign;
                  --quick packs the host as the tests compile it

The plugin needs the Rust target wasm32-unknown-unknown. It is added by rustup; where rustup's
servers cannot be reached, Debian's packages rustc-web and rust-web-src take its place.
";

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Task {
    Help,
    Build,
    Compose,
    Demo(Vec<OsString>),
    Test(Vec<OsString>),
    Bench(Pace),
    Fuzz(Fuzz),
    Torture(Torture),
    Mutants(Mutants),
    Book,
    Screenshots,
    Check,
    Advisories,
    Install(Option<OsString>),
    Package(Package),
}

fn main() -> ExitCode {
    let task = match Task::parse(std::env::args_os().skip(1).collect()) {
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
    fn parse(mut args: Vec<OsString>) -> Result<Self, String> {
        if args.is_empty() {
            return Ok(Self::Help);
        }
        let name = args.remove(0).to_string_lossy().into_owned();
        match (name.as_str(), args.is_empty()) {
            ("help" | "-h" | "--help", _) => Ok(Self::Help),
            ("build", true) => Ok(Self::Build),
            ("compose", true) => Ok(Self::Compose),
            ("bench", true) => Ok(Self::Bench(Pace::Full)),
            ("bench", false) if args == ["--quick"] => Ok(Self::Bench(Pace::Quick)),
            ("bench", false) => Err("`cargo xtask bench` takes --quick alone".to_owned()),
            ("book", true) => Ok(Self::Book),
            ("screenshots", true) => Ok(Self::Screenshots),
            ("check", true) => Ok(Self::Check),
            ("advisories", true) => Ok(Self::Advisories),
            ("install", true) => Ok(Self::Install(None)),
            ("install", false) => match &mut args[..] {
                [option, root] if option == "--root" => Ok(Self::Install(Some(mem::take(root)))),
                _ => Err("`cargo xtask install` takes --root FOLDER alone".to_owned()),
            },
            ("build" | "compose" | "book" | "screenshots" | "check" | "advisories", false) => {
                Err(format!("`cargo xtask {name}` takes no arguments"))
            }
            ("package", _) => Package::parse(args).map(Self::Package),
            ("demo", _) => Ok(Self::Demo(args)),
            ("test", _) => Ok(Self::Test(args)),
            ("fuzz", _) => Fuzz::parse(&args).map(Self::Fuzz),
            ("torture", _) => Torture::parse(&args).map(Self::Torture),
            ("mutants", _) => Mutants::parse(&args).map(Self::Mutants),
            _ => Err(format!(
                "unknown task `{name}`; `cargo xtask` lists the tasks"
            )),
        }
    }

    fn run(self) -> Result<()> {
        match self {
            Self::Help => Ok(io::stdout().write_all(USAGE.as_bytes())?),
            Self::Build => Ok(write!(io::stdout(), "{}", component::build()?)?),
            Self::Compose => Ok(write!(io::stdout(), "{}", component::compose()?)?),
            Self::Demo(args) => demo::start(&args),
            Self::Test(args) => test::run(&args),
            Self::Bench(pace) => bench::run(pace),
            Self::Fuzz(fuzz) => fuzz.run(),
            Self::Torture(torture) => torture.run(),
            Self::Mutants(mutants) => mutants.run(),
            Self::Book => Ok(writeln!(io::stdout(), "{}", book::build()?.display())?),
            Self::Screenshots => screenshots::run(),
            Self::Check => checks::run(),
            Self::Advisories => checks::advisories(),
            Self::Install(root) => install::run(root),
            Self::Package(package) => package.make(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Task, String> {
        Task::parse(line.split_whitespace().map(OsString::from).collect())
    }

    #[test]
    fn no_argument_and_help_explain_the_tasks() {
        for line in ["", "help", "-h", "--help"] {
            assert_eq!(parse(line), Ok(Task::Help), "{line:?}");
        }
    }

    #[test]
    fn demo_and_test_pass_their_arguments_on() {
        let args = ["--release".into(), "x".into()];
        assert_eq!(parse("demo --release x"), Ok(Task::Demo(args.to_vec())));
        assert_eq!(parse("test --release x"), Ok(Task::Test(args.to_vec())));
        assert_eq!(parse("test --help"), Ok(Task::Test(vec!["--help".into()])));
    }

    #[test]
    fn build_screenshots_and_check_take_no_arguments_and_bench_may_be_quick() {
        assert_eq!(parse("build"), Ok(Task::Build));
        assert_eq!(parse("compose"), Ok(Task::Compose));
        assert_eq!(parse("bench"), Ok(Task::Bench(Pace::Full)));
        assert_eq!(parse("bench --quick"), Ok(Task::Bench(Pace::Quick)));
        assert_eq!(
            parse("bench --quick twice"),
            Err("`cargo xtask bench` takes --quick alone".to_owned())
        );
        assert_eq!(parse("book"), Ok(Task::Book));
        assert_eq!(parse("screenshots"), Ok(Task::Screenshots));
        assert_eq!(parse("check"), Ok(Task::Check));
        assert_eq!(parse("install"), Ok(Task::Install(None)));
        let here = Task::Install(Some("here".into()));
        assert_eq!(parse("install --root here"), Ok(here));
        assert_eq!(
            parse("install here"),
            Err("`cargo xtask install` takes --root FOLDER alone".to_owned())
        );
        assert_eq!(
            parse("check src"),
            Err("`cargo xtask check` takes no arguments".to_owned())
        );
    }

    #[test]
    fn an_unknown_task_is_named() {
        assert_eq!(
            parse("bulid --release"),
            Err("unknown task `bulid`; `cargo xtask` lists the tasks".to_owned())
        );
    }
}
