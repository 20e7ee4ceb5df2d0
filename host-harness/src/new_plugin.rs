//! `new-plugin`: the contract in a language of the author's choice, as a folder to begin with.
//!
//! Each template is what the project itself builds and tests: that of Rust is the plugin of
//! this repository, those of the other languages are in `templates/`.

use crate::files::folder_of;
use crate::show;
use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use plugin_sandbox::contract::WIT;
use std::path::{Path, PathBuf};

/// Characters of a plugin's name: what package registries take, and file systems.
const MAX_NAME: usize = 64;

/// What stands for the plugin's name in a template.
const NAME: &str = "my-plugin";

#[derive(Args)]
pub(crate) struct NewPlugin {
    /// The language of its source.
    #[arg(long, value_enum)]
    language: Language,
    /// The folder to write, which must be empty if it is there. Its name is the plugin's: up
    /// to 64 lower-case letters, digits and hyphens, the first a letter.
    #[arg(value_name = "NAME_OR_DIR")]
    folder: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum Language {
    Rust,
    Typescript,
    Python,
}

/// Files by their paths in the folder, and what is in them.
type Files = &'static [(&'static str, &'static str)];

const RUST: Files = &[
    (".gitignore", include_str!("../templates/rust/.gitignore")),
    ("Cargo.toml", include_str!("../templates/rust/Cargo.toml")),
    ("README.md", include_str!("../templates/rust/README.md")),
    ("chat.toml", include_str!("../templates/rust/chat.toml")),
    ("src/answer.rs", include_str!("../../src/answer.rs")),
    ("src/body.rs", include_str!("../../src/body.rs")),
    ("src/decision.rs", include_str!("../../src/decision.rs")),
    ("src/guest.rs", include_str!("../../src/guest.rs")),
    ("src/lib.rs", include_str!("../../src/lib.rs")),
    ("src/memory.rs", include_str!("../../src/memory.rs")),
    (
        "src/second_factor.rs",
        include_str!("../../src/second_factor.rs"),
    ),
];

const TYPESCRIPT: Files = &[
    (
        ".gitignore",
        include_str!("../templates/typescript/.gitignore"),
    ),
    (".npmrc", include_str!("../templates/typescript/.npmrc")),
    (
        "README.md",
        include_str!("../templates/typescript/README.md"),
    ),
    (
        "build.mjs",
        include_str!("../templates/typescript/build.mjs"),
    ),
    (
        "chat.toml",
        include_str!("../templates/typescript/chat.toml"),
    ),
    (
        "package-lock.json",
        include_str!("../templates/typescript/package-lock.json"),
    ),
    (
        "package.json",
        include_str!("../templates/typescript/package.json"),
    ),
    (
        "plugin.ts",
        include_str!("../templates/typescript/plugin.ts"),
    ),
    (
        "tsconfig.json",
        include_str!("../templates/typescript/tsconfig.json"),
    ),
];

const PYTHON: Files = &[
    (".gitignore", include_str!("../templates/python/.gitignore")),
    ("README.md", include_str!("../templates/python/README.md")),
    ("build.py", include_str!("../templates/python/build.py")),
    ("chat.toml", include_str!("../templates/python/chat.toml")),
    ("plugin.py", include_str!("../templates/python/plugin.py")),
    (
        "requirements.txt",
        include_str!("../templates/python/requirements.txt"),
    ),
];

impl Language {
    fn files(self) -> Files {
        match self {
            Self::Rust => RUST,
            Self::Typescript => TYPESCRIPT,
            Self::Python => PYTHON,
        }
    }
}

impl NewPlugin {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let folder = self.folder.display();
        let name = name_of(&self.folder)?;
        self.write(name)
            .with_context(|| format!("cannot write {folder}"))?;
        show(&format!(
            "{folder} is there: its README.md says how to build, check and serve the plugin."
        ))
    }

    /// Writes all in a folder beside, which takes the name at once: that takes no place where
    /// anything is.
    fn write(&self, name: &str) -> anyhow::Result<()> {
        let unfinished = tempfile::tempdir_in(folder_of(&self.folder))?;
        // With the rights that the user gives to new folders.
        let whole = unfinished.path().join(name);
        let wit = WIT.map(|(path, text)| (Path::new("wit").join(path), text));
        let files = self.language.files().iter();
        let files = files.map(|(path, text)| (PathBuf::from(path), *text));
        for (path, text) in files.chain(wit) {
            let path = whole.join(path);
            std::fs::create_dir_all(path.parent().unwrap_or(&whole))?;
            std::fs::write(path, text.replace(NAME, name))?;
        }
        Ok(std::fs::rename(whole, &self.folder)?)
    }
}

/// The plugin's name.
fn name_of(folder: &Path) -> anyhow::Result<&str> {
    let name = folder.file_name().and_then(|name| name.to_str());
    let is_taken = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit();
    match name {
        Some(name)
            if name.len() <= MAX_NAME
                && name.starts_with(|first: char| first.is_ascii_lowercase())
                && name.chars().all(|c| c == '-' || is_taken(c)) =>
        {
            Ok(name)
        }
        _ => bail!(
            "{} is no name for a plugin: it is of up to {MAX_NAME} lower-case letters, digits and \
             hyphens, and begins with a letter",
            folder.display()
        ),
    }
}
