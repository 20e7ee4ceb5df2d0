//! Which compiler makes WebAssembly on this machine.
//!
//! rustup's target is preferred: its standard library comes compiled. Debian packages no standard
//! library for this target, so with Debian's compiler cargo builds it from Debian's sources, with
//! nothing from outside the Debian and crates registries. What is already on the machine is used
//! before anything is fetched.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::cargo::{self, step};

/// The target that imports nothing by itself: what the component imports is what the plugin says.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

/// Long enough for 20 MB on a slow line, short enough for a line that goes nowhere.
const RUSTUP_PATIENCE: Duration = Duration::from_secs(60);

/// The plugin's stack in bytes: sixteen times less than the linker's default, since a host pays
/// for it in every instance.
const STACK_SIZE: &str = "-Clink-arg=-zstack-size=65536";

const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_STD: &str = "/usr/lib/rustlib/src/rust/library/std/Cargo.toml";
const DEBIAN_LINKER: &str = "/usr/bin/wasm-ld-19";

/// The first minor version of Rust 1 that compiles this workspace (`rust-version`).
const OLDEST_RUSTC: u32 = 95;

/// What the plugin's build must not take over from the host's.
const HOST_ONLY: [&str; 10] = [
    "CARGO_BUILD_RUSTC_WRAPPER",
    "CARGO_BUILD_RUSTC_WORKSPACE_WRAPPER",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_PROFILE_",
    "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTFLAGS",
];

/// A compiler for [`TARGET`].
pub(crate) enum Toolchain {
    /// The compiler that builds the host, with rustup's compiled standard library.
    Rustup,
    /// Debian's `rustc-web`, which builds the standard library of `rust-web-src`.
    Debian { linker: PathBuf },
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
        if let Some(debian) = Self::debian() {
            step("compiler: Debian's rustc-web, which builds the standard library from source");
            return Ok(debian);
        }
        if rustup_adds_target() {
            step("compiler: rustup's, with its target wasm32-unknown-unknown, just added");
            return Ok(Self::Rustup);
        }
        install_debian_packages(&debian_packages())?;
        step("compiler: Debian's rustc-web, just installed, which builds the standard library");
        Self::debian().with_context(|| {
            format!(
                "Debian's rustc-web is older than Rust 1.{OLDEST_RUSTC}, or came without its \
                 sources; run `rustup target add {TARGET}` where rustup's servers can be reached"
            )
        })
    }

    fn debian() -> Option<Self> {
        let usable = debian_rustc_minor()? >= OLDEST_RUSTC && Path::new(DEBIAN_STD).exists();
        let linker = linker()?;
        usable.then_some(Self::Debian { linker })
    }

    /// `cargo <subcommand>` for the plugin's library on [`TARGET`], in the plugin's own profile.
    pub(crate) fn cargo(&self, subcommand: &str) -> Command {
        let mut command = cargo::cargo(subcommand);
        for name in cargo::variables_starting_with(&HOST_ONLY) {
            command.env_remove(name);
        }
        command
            .args(["--package", "reset-totp", "--lib", "--profile", "plugin"])
            .args(["--target", TARGET])
            .env("CARGO_ENCODED_RUSTFLAGS", rustflags());
        if let Self::Debian { linker } = self {
            command
                .arg("-Zbuild-std=std,panic_abort")
                .env("RUSTC", DEBIAN_RUSTC)
                .env("RUSTC_BOOTSTRAP", "1") // lets a stable cargo accept -Z
                .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
        }
        command
    }
}

/// The flags of every plugin build, in cargo's encoding. No path of this machine stays in the
/// output, so that two folders and two machines make the same bytes with the same compiler.
fn rustflags() -> OsString {
    let mut flags = vec![OsString::from(STACK_SIZE)];
    flags.push(remap(cargo::workspace(), "/plugin"));
    if let Some(home) = cargo_home() {
        flags.push(remap(&home, "/cargo"));
    }
    if let Ok(sources) = Path::new("/usr/lib/rustlib/src/rust").canonicalize() {
        flags.push(remap(&sources, "/rust"));
    }
    flags.push(remap(Path::new("/usr/lib/rustlib/src/rust"), "/rust"));
    flags.join(OsStr::new("\u{1f}"))
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

fn rustup_target_is_installed() -> bool {
    sysroot().is_some_and(|root| root.join("lib/rustlib").join(TARGET).join("lib").is_dir())
}

/// The folder of the compiler that builds the host.
fn sysroot() -> Option<PathBuf> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    output_of(cargo::command(rustc).args(["--print", "sysroot"])).map(PathBuf::from)
}

/// The minor version of Debian's compiler: 96 of `rustc 1.96.0 (…)`.
fn debian_rustc_minor() -> Option<u32> {
    minor_version(&output_of(cargo::command(DEBIAN_RUSTC).arg("--version"))?)
}

fn minor_version(version: &str) -> Option<u32> {
    version
        .strip_prefix("rustc 1.")?
        .split('.')
        .next()?
        .parse()
        .ok()
}

/// rustup's own linker, which comes with every compiler of rustup's, or Debian's.
fn linker() -> Option<PathBuf> {
    let rustup = || {
        let host = format!("{}-unknown-linux-gnu", env::consts::ARCH);
        Some(
            sysroot()?
                .join("lib/rustlib")
                .join(host)
                .join("bin/rust-lld"),
        )
    };
    rustup()
        .filter(|path| path.exists())
        .or_else(|| Some(PathBuf::from(DEBIAN_LINKER)).filter(|path| path.exists()))
}

fn output_of(command: &mut Command) -> Option<String> {
    let output = command
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

/// Lets rustup fetch its target. A failure is no error: there is another way.
fn rustup_adds_target() -> bool {
    step("compiler: asking rustup for the target wasm32-unknown-unknown, a minute at most …");
    let mut rustup = cargo::command("rustup");
    rustup.args(["target", "add", TARGET]);
    let child = rustup
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let status = child
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
    // Both fail only when the child has ended by itself, which is as good.
    let _ = child.kill();
    let _ = child.wait();
    None
}

fn debian_packages() -> Vec<&'static str> {
    let mut packages = vec!["rustc-web", "rust-web-src"];
    if linker().is_none() {
        packages.push("lld-19");
    }
    packages
}

/// Installs packages from Debian's registry, which only root may.
///
/// # Errors
///
/// This is no Debian, not root's process, or apt-get fails; the message names the command to run.
fn install_debian_packages(packages: &[&str]) -> Result<()> {
    let names = packages.join(" ");
    let by_hand = format!("apt-get update && apt-get install --yes {names}");
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!("no Rust target {TARGET} here; run `rustup target add {TARGET}`");
    }
    if output_of(cargo::command("id").arg("-u")).as_deref() != Some("0") {
        bail!(
            "no Rust target {TARGET} here, and rustup cannot fetch it; run `sudo sh -c '{by_hand}'`"
        );
    }
    step(&format!(
        "compiler: installing {names} from Debian, about a minute …"
    ));
    let script = format!("apt-get update && apt-get install --yes --no-install-recommends {names}");
    apt(&script).with_context(|| format!("cannot install {names}; run `{by_hand}` and look"))
}

/// Runs a shell line of apt-get's; its output is shown only when it fails.
fn apt(script: &str) -> Result<()> {
    let mut child = cargo::command("sh")
        .args(["-c", &format!("exec 2>&1; {script}")])
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut output = Vec::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_end(&mut output)?;
    }
    let status = child.wait()?;
    if !status.success() {
        eprintln!("{}", last_lines(&String::from_utf8_lossy(&output), 15));
        bail!("apt-get failed ({status})");
    }
    Ok(())
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let skipped = lines.len().saturating_sub(count);
    lines
        .into_iter()
        .skip(skipped)
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_minor_version_is_read_from_what_rustc_says() {
        let debian = "rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)";
        assert_eq!(minor_version(debian), Some(96));
        assert_eq!(minor_version("rustc 2.0.0"), None);
        assert_eq!(minor_version(""), None);
    }

    #[test]
    fn only_the_end_of_a_long_output_is_shown() {
        assert_eq!(last_lines("a\nb\nc\n", 2), "b\nc");
        assert_eq!(last_lines("a", 2), "a");
    }
}
