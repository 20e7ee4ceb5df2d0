//! Programs of others that tasks run, each of the one version whose answers are known; installed into
//! the target directory.

use std::fs;
use std::path::PathBuf;

use anyhow::Result;

use crate::cargo::{self, step};

/// A program that cargo installs, by the name of its crate.
pub(crate) struct Tool {
    name: &'static str,
    version: &'static str,
    /// Further arguments for `cargo install`.
    options: &'static [&'static str],
}

/// Makes pages of the book: <https://rust-lang.github.io/mdBook>. Without what serves and watches
/// them it compiles in half of the time.
pub(crate) const MDBOOK: Tool = Tool {
    name: "mdbook",
    version: "0.5.4",
    options: &["--no-default-features", "--features", "search"],
};

/// Plants bugs: <https://mutants.rs>.
pub(crate) const MUTANTS: Tool = Tool {
    name: "cargo-mutants",
    version: "27.1.0",
    options: &[],
};

/// Holds dependencies to `deny.toml`: <https://embarkstudios.github.io/cargo-deny>.
pub(crate) const DENY: Tool = Tool {
    name: "cargo-deny",
    version: "0.20.2",
    options: &[],
};

/// Puts the list of what a program is made of into it:
/// <https://github.com/rust-secure-code/cargo-auditable>.
pub(crate) const AUDITABLE: Tool = Tool {
    name: "cargo-auditable",
    version: "0.7.7",
    options: &[],
};

/// Reads what [`AUDITABLE`] put there.
pub(crate) const AUDIT_INFO: Tool = Tool {
    name: "rust-audit-info",
    version: "0.5.4",
    options: &[],
};

/// Makes Debian packages: <https://github.com/kornelski/cargo-deb>.
pub(crate) const DEB: Tool = Tool {
    name: "cargo-deb",
    version: "3.8.0",
    options: &[],
};

/// Lists what a program is made of: <https://cyclonedx.org>.
pub(crate) const CYCLONEDX: Tool = Tool {
    name: "cargo-cyclonedx",
    version: "0.5.9",
    options: &[],
};

/// Publishes packages in registries, and gets them: <https://github.com/bytecodealliance/wasm-pkg-tools>.
/// Not optimized, it compiles in three minutes instead of eight.
pub(crate) const WKG: Tool = Tool {
    name: "wkg",
    version: "0.16.1",
    options: &["--debug"],
};

/// So a tool compiles in a third to half of the time; none of them has much to compute.
const QUICKLY: [(&str, &str); 4] = [
    ("CARGO_PROFILE_DEV_DEBUG", "false"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
    ("CARGO_PROFILE_RELEASE_LTO", "off"),
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"),
];

impl Tool {
    /// Where it is, once it is there.
    ///
    /// # Errors
    ///
    /// It cannot be installed.
    pub(crate) fn find_or_install(&self) -> Result<PathBuf> {
        let Self {
            name,
            version,
            options,
        } = self;
        let root = cargo::target_dir().join("tools");
        let program = root.join("bin").join(name);
        // What cargo has installed there, a line each: `"NAME VERSION (SOURCE)" = [PROGRAMS]`.
        let installed = fs::read_to_string(root.join(".crates.toml")).unwrap_or_default();
        let line = format!("\"{name} {version} (");
        if installed.lines().any(|found| found.starts_with(&line)) && program.exists() {
            return Ok(program);
        }
        step(&format!("{name}: installing; a minute or two, once …"));
        let mut install = cargo::cargo("install");
        install
            .args(["--locked", name, "--version", version, "--root"])
            .arg(&root)
            .args(*options)
            .envs(QUICKLY);
        let complaint = format!("{name} cannot be installed; cargo's reason is above");
        cargo::run(&mut install, &complaint)?;
        Ok(program)
    }
}
