//! The book as pages, without a broken link.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::cargo::{self, step};
use crate::npm;
use crate::tools;

/// Where the book's text is, and what looks at its links: <https://github.com/JustinBeckwith/linkinator>.
const FOLDER: &str = "book";
const LINKINATOR: &str = "book/node_modules/linkinator/build/src/cli.js";

/// What is read beside the book. They point into it, and to each other.
const BESIDE: [&str; 4] = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
];

/// Other sites are not asked: whether they answer says nothing of a commit.
const ELSEWHERE: &str = "^https?://(?!localhost)";

/// Makes pages of the book and follows every link in them, and in what lies beside the book; gives the
/// first page.
///
/// # Errors
///
/// mdBook or npm is missing, a chapter is not as mdBook wants it, or a link leads nowhere.
pub(crate) fn build() -> Result<PathBuf> {
    let mdbook = tools::MDBOOK.find_or_install()?;
    npm::install(FOLDER).context("it follows the links of the book")?;
    step("book: making pages, and following their links …");
    let pages = cargo::target_dir().join(FOLDER);
    let mut build = cargo::command(mdbook);
    build.args(["build", FOLDER, "--dest-dir"]).arg(&pages);
    cargo::run(&mut build, "mdBook makes no pages; its reason is above")?;
    let first = pages.join("index.html");
    fs::metadata(&first).with_context(|| first.display().to_string())?;
    follow(&["target/book", "--recurse"])?;
    follow(&[&BESIDE[..], &["--markdown"]].concat())?;
    Ok(first)
}

/// Follows all links of pages that lie in the workspace.
fn follow(pages: &[&str]) -> Result<()> {
    let mut linkinator = cargo::command("node");
    linkinator.arg(LINKINATOR).args(pages).args([
        "--check-fragments",
        "--verbosity",
        "error",
        "--skip",
        ELSEWHERE,
    ]);
    cargo::run(&mut linkinator, "a link leads nowhere; it is above")
}
