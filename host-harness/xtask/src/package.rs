//! What people install, in `target/package`: a Debian package of the host, the plugin and its contract
//! as a registry holds them, and lists of what they are made of.
//!
//! The same sources make the same plugin, byte for byte, in every folder. What is in the other files
//! depends on nothing but the sources either, where the host's compiler and libraries are the same.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::cargo::{self, output_of, step};
use crate::component;
use crate::debian;
use crate::host;
use crate::install;
use crate::licenses;
use crate::tools;

/// The host's program.
const HOST: &str = "host-harness";

/// What makes packages of the plugin.
const PLUGIN_PACKAGE: &str = "plugin-package";

/// How lists of what a program is made of are called while they lie among its sources, without
/// `.json`.
const LIST: &str = "made-of";

/// Where completions of a shell belong.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/host-harness"),
    (
        "fish",
        "usr/share/fish/vendor_completions.d/host-harness.fish",
    ),
    ("zsh", "usr/share/zsh/vendor-completions/_host-harness"),
];

/// How packages are made.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Package {
    /// Of the host as tests compile it, not as it is released.
    quick: bool,
    /// The file of the secret key that signs the plugin.
    key: Option<PathBuf>,
}

impl Package {
    /// Reads the task's arguments.
    ///
    /// # Errors
    ///
    /// There are others than those that it knows.
    pub(crate) fn parse(args: Vec<OsString>) -> Result<Self, String> {
        let mut package = Self::default();
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            match (arg.to_str(), &package) {
                (Some("--quick"), Self { quick: false, .. }) => package.quick = true,
                (Some("--sign"), Self { key: None, .. }) => {
                    let key = args.next().ok_or("--sign takes the file of a secret key")?;
                    package.key = Some(key.into());
                }
                _ => {
                    return Err(
                        "`cargo xtask package` takes --quick and --sign KEY alone".to_owned()
                    );
                }
            }
        }
        Ok(package)
    }

    /// Makes them, and prints of each file its SHA-256, size and name.
    ///
    /// # Errors
    ///
    /// Something does not compile, a tool cannot be installed, the key does not sign, or a file cannot
    /// be written.
    pub(crate) fn make(self) -> Result<()> {
        let folder = cargo::target_dir().join("package");
        let moment = moment();
        let programs: &[&str] = if self.quick {
            &[PLUGIN_PACKAGE, HOST]
        } else {
            &[PLUGIN_PACKAGE]
        };
        eprint!("{}", component::build_with(programs)?);
        let program = if self.quick {
            host::program(HOST)
        } else {
            install::build()?
        };
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        let tree = folder.join("tree");
        plant(&program, &tree)?;
        let plugin = folder.join("reset_totp.wasm");
        fs::copy(component::path(), &plugin)?;
        if let Some(key) = &self.key {
            sign(&plugin, key)?;
        }
        let metadata = licenses::metadata()?;
        lists(&folder, &moment, &metadata)?;
        fs::write(tree.join("changelog"), changelog(&metadata, &moment)?)?;
        self.deb(&folder, &moment)?;
        fs::remove_dir_all(tree)?;
        step("packages: for registries …");
        let mut pack = cargo::command(host::program(PLUGIN_PACKAGE));
        pack.arg(&folder).env("SOURCE_DATE_EPOCH", moment);
        let listed = cargo::output_or(
            &mut pack,
            "the plugin cannot be packed; the reason is above",
        )?;
        step(&format!("packages: written to {}", folder.display()));
        Ok(write!(io::stdout(), "{listed}")?)
    }

    fn deb(&self, folder: &Path, moment: &str) -> Result<()> {
        let tool = tools::DEB.find_or_install()?;
        step("packages: for Debian …");
        let mut deb = cargo::command(tool);
        deb.args(["--no-build", "--locked", "--quiet", "--package", HOST])
            .arg("--output")
            .arg(folder)
            .env("SOURCE_DATE_EPOCH", moment);
        if self.quick {
            deb.args(["--compress-system", "--compress-type", "gz", "--fast"]);
        }
        cargo::run(&mut deb, "there is no Debian package; the reason is above")
    }
}

/// When the sources were last changed, in seconds of the Unix epoch: packages bear that date.
fn moment() -> String {
    let mut last = cargo::command("git");
    last.args(["log", "-1", "--format=%ct"]);
    env::var("SOURCE_DATE_EPOCH")
        .ok()
        .or_else(|| output_of(&mut last))
        .unwrap_or_else(|| "0".to_owned())
}

/// Puts what Debian's package installs where the package installs it, but below `tree`.
fn plant(program: &Path, tree: &Path) -> Result<()> {
    step("packages: manual pages and completions …");
    let installed = tree.join("usr/bin").join(HOST);
    copy(program, &installed)?;
    let mut strip = cargo::command("strip");
    cargo::run(
        strip.arg(&installed),
        "the program's symbols cannot be taken out; the reason is above",
    )?;
    copy(
        &component::path(),
        &tree.join("usr/lib").join(HOST).join("reset_totp.wasm"),
    )?;
    let pages = tree.join("usr/share/man/man1");
    fs::create_dir_all(&pages)?;
    let mut man = cargo::command(&installed);
    cargo::run(
        man.arg("man").arg(&pages),
        "the manual cannot be written; the reason is above",
    )?;
    for (shell, path) in COMPLETIONS {
        let path = tree.join(path);
        fs::create_dir_all(path.parent().unwrap_or(tree))?;
        let mut completions = cargo::command(&installed);
        completions.args(["completions", shell]);
        completions.stdout(File::create(&path)?);
        cargo::run_for_its_output(&mut completions, "there are no completions")?;
    }
    Ok(())
}

/// Signs as a host wants it: the signature lies beside the file.
fn sign(plugin: &Path, key: &Path) -> Result<()> {
    debian::minisign()?;
    step("plugin: signing …");
    let mut minisign = cargo::command("minisign");
    minisign
        .arg("-S")
        .arg("-s")
        .arg(env::current_dir()?.join(key))
        .arg("-m")
        .arg(plugin);
    cargo::run(
        &mut minisign,
        "the plugin is not signed; the reason is above",
    )
}

/// Writes, in CycloneDX's form, of what crates the plugin and the host are made, and what the licenses
/// of these ask to be passed on.
fn lists(folder: &Path, moment: &str, metadata: &Value) -> Result<()> {
    let tool = tools::CYCLONEDX.find_or_install()?;
    step("packages: what they are made of …");
    for (manifest_folder, target, program) in [
        (
            "",
            &["--target", "wasm32-unknown-unknown"][..],
            "reset_totp",
        ),
        (HOST, &[], HOST),
    ] {
        let mut list = cargo::command(&tool);
        list.args(["cyclonedx", "--format", "json", "--spec-version", "1.5"])
            .args(["--no-build-deps", "--quiet", "--override-filename", LIST])
            .args(target)
            .env("SOURCE_DATE_EPOCH", moment);
        let listed = cargo::run(&mut list, "there is no list; the reason is above");
        let written = cargo::workspace().join(manifest_folder).join(LIST);
        let text = fs::read_to_string(written.with_extension("json"));
        remove_lists(cargo::workspace())?;
        listed?;
        // Where the sources lay is nobody's business, and differs.
        let here = cargo::workspace().to_string_lossy();
        let text = text?.replace(here.as_ref(), "/source");
        let texts = licenses::of(&text, metadata)?;
        fs::write(folder.join(program).with_extension("licenses.txt"), texts)?;
        fs::write(folder.join(program).with_extension("cdx.json"), text)?;
    }
    Ok(())
}

/// The changelog that Debian wants: it names ours, which is for all systems.
fn changelog(metadata: &Value, moment: &str) -> Result<String> {
    let packages = metadata["packages"].as_array();
    let host = packages.and_then(|packages| packages.iter().find(|p| p["name"] == HOST));
    let host = host.context("cargo does not tell of the host")?;
    let maintainer = host
        .pointer("/metadata/deb/maintainer")
        .and_then(Value::as_str);
    let mut date = cargo::command("date");
    let date = output_of(
        date.args(["--utc", "--rfc-email", "--date"])
            .arg(format!("@{moment}")),
    );
    Ok(format!(
        "{HOST} ({}-1) unstable; urgency=medium\n\n  * What is new is in changelog.gz, beside this file.\n\n \
         -- {}  {}\n",
        host["version"].as_str().unwrap_or_default(),
        maintainer.context("the package has no maintainer")?,
        date.context("there is no date")?.trim(),
    ))
}

/// The tool leaves one beside each manifest of the workspace.
fn remove_lists(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default();
        let is_of_sources = ![".git", "target", "node_modules"]
            .map(OsStr::new)
            .contains(&name);
        if path.is_dir() && is_of_sources {
            remove_lists(&path)?;
        } else if path.file_stem() == Some(OsStr::new(LIST)) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to.parent().unwrap_or(to))?;
    fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Package, String> {
        Package::parse(line.split_whitespace().map(OsString::from).collect())
    }

    #[test]
    fn packages_may_be_quick_and_signed() {
        assert_eq!(parse(""), Ok(Package::default()));
        let both = Package {
            quick: true,
            key: Some("release.key".into()),
        };
        assert_eq!(parse("--sign release.key --quick"), Ok(both));
        for wrong in ["--sign", "--quick --quick", "quick", "--sign a --sign b"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
