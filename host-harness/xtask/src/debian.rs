//! Debian's Rust: `rustc-web`, its library sources, its linker, its clippy; its PostgreSQL, nginx,
//! Chromium, Prometheus and Python; what clusters, packages and pictures are tried and made with; and how
//! apt-get installs them. Whether they are wanted is not known here.

use std::env;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail};

use crate::cargo::{self, output_of, step};

/// The compiler of the package `rustc-web`.
pub(crate) const RUSTC: &str = "/usr/bin/rustc";

/// Where cargo finds the sources of the package `rust-web-src`; a link to their folder.
pub(crate) const SOURCES: &str = "/usr/lib/rustlib/src/rust";

const APT_GET: &str = "/usr/bin/apt-get";
const CARGO_CLIPPY: &str = "/usr/bin/cargo-clippy";
const LINKER: &str = "/usr/bin/wasm-ld-19";

/// Where the package puts it.
const NGINX: &str = "/usr/sbin/nginx";

/// Where the versions of the package `postgresql` are.
const POSTGRESQL: &str = "/usr/lib/postgresql";

/// Where the package puts it.
const CHROMIUM: &str = "/usr/bin/chromium";

/// What makes pictures small: programs, and the packages of the same names that bring them.
const PICTURES: [(&str, &str); 2] = [("pngquant", "pngquant"), ("optipng", "optipng")];

/// What makes a cluster of several PostgreSQL: programs, and the packages that bring them.
const CLUSTER: [(&str, &str); 2] = [("etcd", "etcd-server"), ("patroni", "patroni")];

/// What inspects, installs, boots, signs, pushes and pulls packages in the tests.
const PACKAGE_USERS: [(&str, &str); 8] = [
    ("curl", "curl"),
    ("git", "git"),
    ("lintian", "lintian"),
    ("mmdebstrap", "mmdebstrap"),
    ("systemd-nspawn", "systemd-container"),
    ("docker-registry", "docker-registry"),
    ("skopeo", "skopeo"),
    ("minisign", "minisign"),
];

/// What brings [`linker`].
pub(crate) const LINKER_PACKAGE: &str = "lld-19";

/// The oldest Rust that compiles this workspace.
const OLDEST_RUST: &str = env!("CARGO_PKG_RUST_VERSION");

/// Are the compiler and the sources here, and new enough?
pub(crate) fn can_compile() -> bool {
    let version = output_of(cargo::command(RUSTC).arg("--version")).unwrap_or_default();
    is_new_enough(&version) && Path::new(SOURCES).join("library/std").is_dir()
}

/// Reads `rustc 1.96.0 (…)`.
fn is_new_enough(version: &str) -> bool {
    let minor = |version: &str| version.split('.').nth(1)?.parse::<u32>().ok();
    version.starts_with("rustc 1.") && minor(version) >= minor(OLDEST_RUST)
}

/// The linker of the package [`LINKER_PACKAGE`], where that is installed.
pub(crate) fn linker() -> Option<PathBuf> {
    let linker = PathBuf::from(LINKER);
    linker.exists().then_some(linker)
}

/// Installs what [`can_compile`] looks for, and `more` packages.
///
/// # Errors
///
/// As [`install`], or Debian's compiler is too old.
pub(crate) fn install_compiler(more: &[&str]) -> Result<()> {
    install("compiler", &[&["rustc-web", "rust-web-src"], more].concat())?;
    if !can_compile() {
        bail!("Debian's rustc-web is older than Rust {OLDEST_RUST} here");
    }
    Ok(())
}

/// Debian's `cargo clippy` into a folder, which goes with Debian's compiler; installed when it is not
/// here.
///
/// # Errors
///
/// As [`install`].
pub(crate) fn clippy(into: &Path) -> Result<Command> {
    if !Path::new(CARGO_CLIPPY).exists() {
        install("compiler", &["rust-web-clippy"])?;
    }
    let mut clippy = cargo::building(CARGO_CLIPPY, "clippy", into);
    clippy.env("CARGO", cargo::program());
    Ok(clippy)
}

/// Installs PostgreSQL's server where neither the path nor Debian's folder of its versions has it.
///
/// # Errors
///
/// As [`install`].
pub(crate) fn postgresql() -> Result<()> {
    let versions = fs::read_dir(POSTGRESQL).into_iter().flatten().flatten();
    let mut folders = versions.map(|version| version.path().join("bin"));
    match is_on_the_path("initdb") || folders.any(|folder| folder.join("initdb").exists()) {
        true => Ok(()),
        false => install("database", &["postgresql"]),
    }
}

/// Installs Python with what makes environments, where it is not there.
///
/// # Errors
///
/// As [`install`].
pub(crate) fn python() -> Result<()> {
    let mut python = cargo::command("python3");
    let asked = python.args(["-c", "import ensurepip, venv"]).output();
    match asked.is_ok_and(|asked| asked.status.success()) {
        true => Ok(()),
        false => install("python", &["python3-venv"]),
    }
}

/// Installs nginx, as far as it is not here.
///
/// # Errors
///
/// As [`install`].
pub(crate) fn nginx() -> Result<()> {
    match Path::new(NGINX).exists() {
        true => Ok(()),
        false => install("proxy", &["nginx-light"]),
    }
}

/// Installs Chromium, and the typeface that pages look best in, as far as it is not here.
///
/// # Errors
///
/// As [`install`].
pub(crate) fn chromium() -> Result<()> {
    match Path::new(CHROMIUM).exists() {
        true => Ok(()),
        false => install("browser", &["chromium", "fonts-inter"]),
    }
}

/// Installs what makes pictures small, as far as it is not here.
///
/// # Errors
///
/// As [`install`].
pub(crate) fn pictures() -> Result<()> {
    install_missing("pictures", &PICTURES)
}

/// Installs Prometheus with its promtool, as far as it is not here; without what Debian recommends
/// beside it, which watches the machine.
///
/// # Errors
///
/// As [`install`].
pub(crate) fn prometheus() -> Result<()> {
    match ["prometheus", "promtool"]
        .iter()
        .all(|program| is_on_the_path(program))
    {
        true => Ok(()),
        false => install("monitoring", &["--no-install-recommends", "prometheus"]),
    }
}

/// Installs what signs, as far as it is not here.
///
/// # Errors
///
/// As [`install`].
pub(crate) fn minisign() -> Result<()> {
    install_missing("signatures", &[("minisign", "minisign")])
}

/// Installs what tries packages as their users do: a clean Debian that boots, a registry and what
/// speaks with it.
///
/// # Errors
///
/// As [`install`].
pub(crate) fn package_users() -> Result<()> {
    install_missing("packages", &PACKAGE_USERS)
}

/// Installs what makes a cluster of several PostgreSQL, as far as it is not here.
///
/// # Errors
///
/// As [`install`].
pub(crate) fn cluster() -> Result<()> {
    postgresql()?;
    install_missing("cluster", &CLUSTER)
}

/// Installs the packages of those programs that are not on the path.
fn install_missing(what: &str, programs: &[(&str, &str)]) -> Result<()> {
    let missing = programs
        .iter()
        .filter(|(program, _)| !is_on_the_path(program));
    let packages: Vec<_> = missing.map(|(_, package)| *package).collect();
    match packages.is_empty() {
        true => Ok(()),
        false => install(what, &packages),
    }
}

fn is_on_the_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(program).exists())
}

/// Installs packages, which only root may, as a step of this name.
///
/// # Errors
///
/// This is no Debian, we are not root, or apt-get fails; the message names the command to run.
fn install(what: &str, packages: &[&str]) -> Result<()> {
    let packages = packages.join(" ");
    if !Path::new(APT_GET).exists() {
        bail!("there is no apt-get here to install {packages}");
    }
    let by_hand = format!("apt-get update && apt-get install --yes {packages}");
    if output_of(cargo::command("id").arg("-u")).as_deref() != Some("0") {
        bail!("only root may install {packages}; run `sudo sh -c '{by_hand}'`");
    }
    step(&format!(
        "{what}: installing {packages} from Debian, about a minute …"
    ));
    let (status, output) = quietly(&by_hand)?;
    if !status.success() {
        eprintln!("{}", last_lines(&output, 15));
        bail!("cannot install {packages}; run `{by_hand}`");
    }
    Ok(())
}

/// Runs a shell line and keeps what it says.
fn quietly(line: &str) -> Result<(ExitStatus, String)> {
    let mut shell = cargo::command("sh");
    shell
        .args(["-c", &format!("exec 2>&1; {line}")])
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut child = shell.spawn().with_context(|| cargo::cannot_start(&shell))?;
    let mut output = Vec::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_end(&mut output)?;
    }
    let text = String::from_utf8_lossy(&output).into_owned();
    Ok((child.wait()?, text))
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
    fn a_compiler_older_than_the_workspace_asks_for_is_refused() {
        assert!(is_new_enough("rustc 1.96.0 (ac68faa20 2026-05-25)"));
        assert!(is_new_enough("rustc 1.100.0"));
        assert!(!is_new_enough("rustc 1.85.0 (4d91de4e4 2025-02-17)"));
        assert!(!is_new_enough(""));
    }

    #[test]
    fn a_shell_line_says_how_it_ended_and_why() -> Result<()> {
        let (status, output) = quietly("echo reason >&2; false")?;
        assert_eq!((status.code(), output.as_str()), (Some(1), "reason\n"));
        Ok(())
    }

    #[test]
    fn only_the_end_of_a_long_output_is_shown() {
        assert_eq!(last_lines("a\nb\nc\n", 2), "b\nc");
        assert_eq!(last_lines("a", 2), "a");
    }
}
