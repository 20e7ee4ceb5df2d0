//! What holds of the book before it is built: every chapter is in its table of contents.
#![expect(
    clippy::unwrap_used,
    reason = "a test ends where what it needs is not there"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The table of contents, which is no chapter.
const SUMMARY: &str = "SUMMARY.md";

#[test]
fn every_chapter_is_in_the_summary_once_and_nothing_else_is() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../book/src");
    let summary = fs::read_to_string(source.join(SUMMARY)).unwrap();
    let listed = summary.split("](").skip(1);
    let listed: Vec<_> = listed.filter_map(|rest| rest.split(')').next()).collect();
    let mut chapters = BTreeSet::new();
    add_chapters(&source, "", &mut chapters);
    chapters.remove(SUMMARY);
    let as_set: BTreeSet<_> = listed.iter().map(|path| (*path).to_owned()).collect();
    assert_eq!(as_set, chapters);
    assert_eq!(listed.len(), chapters.len(), "one is listed twice");
}

/// Adds all Markdown below a folder of the book's, by its path in the book.
fn add_chapters(source: &Path, folder: &str, chapters: &mut BTreeSet<String>) {
    for entry in fs::read_dir(source.join(folder)).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{folder}{}", entry.file_name().into_string().unwrap());
        if entry.file_type().unwrap().is_dir() {
            add_chapters(source, &format!("{path}/"), chapters);
        } else if path.ends_with(".md") {
            chapters.insert(path);
        }
    }
}
