//! Which compiler makes WebAssembly on this machine.
//!
//! rustup's target is preferred: its standard library comes compiled. Debian packages no standard
//! library for this target, so with Debian's compiler cargo builds it from Debian's sources, with
//! nothing from outside the Debian and crates registries. What is on the machine already is used
//! before anything is fetched.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::cargo::{self, output_of, step};
use crate::debian;

/// The target that imports nothing by itself: the component imports what the plugin names.
const TARGET: &str = "wasm32-unknown-unknown";

/// The crate of the plugin.
const PLUGIN: &str = "reset-totp";

/// The crates of the components around it.
const SERVER: [&str; 2] = ["wasi-http-accounts", "wasi-http-front"];

/// Long enough for 20 MB on a slow line, short enough for a line that leads nowhere.
const RUSTUP_PATIENCE: Duration = Duration::from_secs(60);

/// The plugin's stack in bytes: with its data, and 20 KB for what it allocates, it fits in the one
/// page of memory that a host holds, and wipes, for every call.
const STACK_SIZE: &str = "-Clink-arg=-zstack-size=32768";

/// What the plugin's build does not take over from the environment of the host's build.
const HOST_ONLY: [&str; 10] = [
    "CARGO_BUILD_RUSTC_WORKSPACE_WRAPPER",
    "CARGO_BUILD_RUSTC_WRAPPER",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_PROFILE_",
    "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTFLAGS",
];

/// The plugin's own target directory: two cargos that share one wait for each other.
fn target_dir() -> PathBuf {
    cargo::target_dir().join("plugin")
}

/// The folder in which [`Toolchain::build`] leaves the plugin.
pub(crate) fn modules() -> PathBuf {
    target_dir().join(TARGET).join("plugin")
}

/// A compiler for [`TARGET`].
#[derive(Clone, Copy)]
pub(crate) enum Toolchain {
    /// The compiler that builds the host, with rustup's compiled standard library.
    Rustup,
    /// Debian's compiler, and the standard library from its sources.
    Debian,
}

impl Toolchain {
    /// Finds a compiler, or installs one; says in one line which.
    ///
    /// # Errors
    ///
    /// There is none, and it cannot be installed from here; the message names the command to run.
    pub(crate) fn find_or_install() -> Result<Self> {
        if rustup_target_is_installed() {
            step("compiler: rustup's, with its target wasm32-unknown-unknown");
            return Ok(Self::Rustup);
        }
        if debian::can_compile() && linker().is_some() {
            step("compiler: Debian's rustc-web, with the standard library from rust-web-src");
            return Ok(Self::Debian);
        }
        if rustup_adds_target() {
            step("compiler: rustup's, with its target wasm32-unknown-unknown, added just now");
            return Ok(Self::Rustup);
        }
        install_debians_compiler()?;
        step("compiler: Debian's rustc-web, installed just now");
        Ok(Self::Debian)
    }

    /// Compiles the plugin for [`TARGET`] into [`modules`], in the plugin's own profile. As a library
    /// for other crates, too, it could not be optimised as a whole.
    pub(crate) fn build(self) -> Command {
        let rustc = cargo::building(cargo::program(), "rustc", &target_dir());
        let mut build = self.aimed(rustc, &[PLUGIN]);
        build.args(["--crate-type", "cdylib"]);
        build
    }

    /// Compiles for [`TARGET`] into [`modules`] what makes a server of the plugin.
    pub(crate) fn build_server(self) -> Command {
        let build = cargo::building(cargo::program(), "build", &target_dir());
        self.aimed(build, &SERVER)
    }

    /// `cargo clippy` of what [`Self::build`] and [`Self::build_server`] compile.
    ///
    /// # Errors
    ///
    /// Debian's clippy is needed and cannot be installed from here.
    pub(crate) fn clippy(self) -> Result<Command> {
        let clippy = match self {
            Self::Rustup => cargo::building(cargo::program(), "clippy", &target_dir()),
            Self::Debian => debian::clippy(&target_dir())
                .context("the plugin's lints need the clippy of its compiler")?,
        };
        Ok(self.aimed(clippy, &[&[PLUGIN], &SERVER[..]].concat()))
    }

    /// Compiles the plugin in another folder than the workspace's as its author would; and says
    /// where the module is then.
    pub(crate) fn build_in(self, folder: &Path) -> (Command, PathBuf) {
        let into = folder.join("target");
        let mut build = self.for_target(cargo::building(cargo::program(), "build", &into));
        build.current_dir(folder).arg("--release");
        (build, into.join(TARGET).join("release/reset_totp.wasm"))
    }

    fn aimed(self, command: Command, packages: &[&str]) -> Command {
        let mut command = self.for_target(command);
        command
            .args(packages.iter().flat_map(|package| ["--package", package]))
            .args(["--lib", "--profile", "plugin"])
            .env("CARGO_ENCODED_RUSTFLAGS", self.rustflags());
        command
    }

    fn for_target(self, mut command: Command) -> Command {
        for name in cargo::variables_starting_with(&HOST_ONLY) {
            command.env_remove(name);
        }
        command.args(["--target", TARGET]);
        if let Self::Debian = self {
            command
                .arg("-Zbuild-std=std,panic_abort")
                .env("RUSTC", debian::RUSTC)
                .env("RUSTC_BOOTSTRAP", "1"); // a stable cargo takes -Z only with this
            if let Some(linker) = linker() {
                command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
            }
        }
        command
    }

    /// The compiler's flags, in cargo's encoding. No path of this machine stays in the output, so
    /// that the same compiler makes the same bytes in every folder.
    fn rustflags(self) -> OsString {
        let mut flags = vec![
            OsString::from(STACK_SIZE),
            remap(cargo::workspace(), "/plugin"),
        ];
        flags.extend(cargo_home().map(|home| remap(&home, "/cargo")));
        if let Self::Debian = self {
            let sources = Path::new(debian::SOURCES);
            flags.push(remap(sources, "/rust"));
            flags.extend(sources.canonicalize().map(|path| remap(&path, "/rust")));
        }
        flags.join(OsStr::new("\u{1f}"))
    }
}

fn remap(from: &Path, to: &str) -> OsString {
    let mut flag = OsString::from("--remap-path-prefix=");
    flag.push(from);
    flag.push("=");
    flag.push(to);
    flag
}

fn cargo_home() -> Option<PathBuf> {
    let default = || Some(env::home_dir()?.join(".cargo"));
    env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(default)
}

/// The folder of the compiler that builds the host.
fn host_sysroot() -> Option<PathBuf> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    output_of(cargo::command(rustc).args(["--print", "sysroot"])).map(PathBuf::from)
}

/// What links WebAssembly for [`Toolchain::Debian`].
fn linker() -> Option<PathBuf> {
    rustups_linker().or_else(debian::linker)
}

/// The linker that comes with rustup's compiler.
fn rustups_linker() -> Option<PathBuf> {
    let host = format!("{}-unknown-linux-gnu", env::consts::ARCH);
    let library = host_sysroot()?.join("lib/rustlib").join(host);
    let linker = library.join("bin/rust-lld");
    linker.exists().then_some(linker)
}

/// Debian's compiler with a linker, in the place of rustup's target.
fn install_debians_compiler() -> Result<()> {
    let missing: &[&str] = match linker() {
        Some(_) => &[],
        None => &[debian::LINKER_PACKAGE],
    };
    debian::install_compiler(missing).with_context(|| {
        format!(
            "the Rust target {TARGET} is missing; where rustup's servers can be reached, run \
             `rustup target add {TARGET}`; Debian's compiler cannot take its place"
        )
    })
}

fn rustup_target_is_installed() -> bool {
    let library = |root: PathBuf| root.join("lib/rustlib").join(TARGET).join("lib");
    host_sysroot()
        .map(library)
        .is_some_and(|path| path.is_dir())
}

/// Lets rustup fetch its target. A failure is no error: there is another way.
fn rustup_adds_target() -> bool {
    step("compiler: asking rustup for the target wasm32-unknown-unknown, a minute at most …");
    let rustup = cargo::command("rustup")
        .args(["target", "add", TARGET])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let status = rustup
        .ok()
        .and_then(|child| wait_for(child, RUSTUP_PATIENCE));
    status.is_some_and(|status| status.success()) && rustup_target_is_installed()
}

/// Waits for a child, but ends it when `patience` is over.
fn wait_for(mut child: Child, patience: Duration) -> Option<ExitStatus> {
    let start = Instant::now();
    while start.elapsed() < patience {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) => thread::sleep(Duration::from_millis(50)),
            Err(_) => break,
        }
    }
    // These fail only when the child has ended by itself meanwhile.
    let _ = child.kill();
    let _ = child.wait();
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_never_ends_is_ended() -> Result<()> {
        let child = Command::new("sleep").arg("60").spawn()?;
        assert_eq!(wait_for(child, Duration::ZERO), None);
        Ok(())
    }
}
