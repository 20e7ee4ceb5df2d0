//! The pictures of the administrators' page in the book.

use std::fs;

use anyhow::{Context, Result};

use crate::cargo::{self, step};
use crate::component;
use crate::debian;
use crate::test;

/// Where they are.
const FOLDER: &str = "book/src/images";

/// How their names begin.
const NAME: &str = "administrators-page-";

/// The test that goes through all screens, and takes the pictures on its way.
const TEST: &str = "every_screen_can_be_read_in_both_themes_on_a_desk_and_on_a_phone";

/// Colours of a picture: the page has few, and letters need shades of each.
const COLOURS: &str = "128";

/// Takes the pictures anew, as small as they can be without being seen to be.
///
/// # Errors
///
/// The plugin does not compile, the browser or what makes pictures small is missing, or the test fails.
pub(crate) fn run() -> Result<()> {
    eprint!("{}", component::build()?);
    test::browser()?;
    debian::pictures()?;
    let folder = cargo::workspace().join(FOLDER);
    fs::create_dir_all(&folder)?;
    step("pictures: going through the screens …");
    let mut screens = cargo::cargo("test");
    screens
        .args(["--package", "reset-totp", "--test", "e2e", TEST])
        .env("SCREENSHOTS", &folder);
    cargo::run(
        &mut screens,
        "the screens cannot be shown; the reason is above",
    )?;
    for entry in fs::read_dir(&folder)? {
        let picture = entry?.path();
        let name = picture.file_name().unwrap_or_default().to_string_lossy();
        if !name.starts_with(NAME) {
            continue;
        }
        let mut fewer_colours = cargo::command("pngquant");
        fewer_colours.args([
            "--force", "--ext", ".png", "--strip", "--speed", "1", COLOURS,
        ]);
        let mut smaller = cargo::command("optipng");
        smaller.args(["-quiet", "-o5", "-strip", "all"]);
        for mut program in [fewer_colours, smaller] {
            cargo::run(program.arg(&picture), "a picture cannot be made smaller")
                .with_context(|| picture.display().to_string())?;
        }
    }
    Ok(())
}
