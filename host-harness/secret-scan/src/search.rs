//! The search of all secrets in all outputs.

use crate::evidence::SECRETS;
use aho_corasick::{AhoCorasick, Match};
use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Bytes of a secret that is no other number or word by chance. A shorter one, such as a code of six
/// digits, is looked for in the outputs of the programs that used it, and in those of no program.
const UNMISTAKABLE: usize = 8;

/// Bytes of a secret whose base64 is no other text by chance: one character less than each third
/// byte brings remains of it.
const LONG_ENOUGH_FOR_BASE64: usize = UNMISTAKABLE;

/// What was looked for, in what, and what was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Different secrets.
    pub secrets: usize,
    /// Files.
    pub outputs: usize,
    /// Bytes in these.
    pub bytes: usize,
    /// Each place once, a secret and a form.
    pub found: Vec<Found>,
}

/// A place where a secret is. Which one is not said, or the report would tell it, too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    /// Below the folder that was searched.
    pub file: PathBuf,
    /// From 1.
    pub line: usize,
    /// A test program that registered the secret.
    pub program: String,
    /// How it is written there.
    pub form: &'static str,
}

/// A text that no output may hold.
struct Pattern {
    text: Vec<u8>,
    form: &'static str,
    /// It is this secret only where no letter or digit is beside it.
    is_word: bool,
}

/// Looks for the secrets of all programs in all files below `folder`, a folder a program.
///
/// # Errors
///
/// The folder cannot be read, or a file of secrets is not in hexadecimal.
pub fn search(folder: &Path) -> io::Result<Report> {
    let files = files(folder)?;
    let is_secrets = |file: &&PathBuf| file.file_name() == Some(OsStr::new(SECRETS));
    let mut secrets: BTreeMap<Vec<u8>, BTreeSet<OsString>> = BTreeMap::new();
    for file in files.iter().filter(is_secrets) {
        for secret in read_secrets(&folder.join(file))? {
            secrets.entry(secret).or_default().extend(program_of(file));
        }
    }
    let patterns = secrets.iter().flat_map(|(secret, programs)| {
        let forms = forms(secret).into_iter();
        forms.map(move |pattern| (pattern, secret, programs))
    });
    let patterns: Vec<_> = patterns.collect();
    let texts = patterns.iter().map(|(pattern, ..)| &pattern.text);
    let searcher = AhoCorasick::new(texts).map_err(io::Error::other)?;

    let mut report = Report {
        secrets: secrets.len(),
        ..Report::default()
    };
    for file in files.iter().filter(|file| !is_secrets(file)) {
        let output = fs::read(folder.join(file))?;
        report.outputs += 1;
        report.bytes += output.len();
        let program = program_of(file);
        let mut lines = Lines::of(&output);
        for place in searcher.find_overlapping_iter(&output) {
            let Some((pattern, secret, programs)) = patterns.get(place.pattern().as_usize()) else {
                continue;
            };
            let is_its = |program: &OsString| programs.contains(program);
            let may_be_chance = secret.len() < UNMISTAKABLE && !program.as_ref().is_none_or(is_its);
            if may_be_chance || pattern.is_word && !stands_alone(&output, place) {
                continue;
            }
            let owner = programs.first().map(|name| name.to_string_lossy());
            report.found.push(Found {
                file: file.clone(),
                line: lines.number_at(place.end()),
                program: owner.unwrap_or_default().into_owned(),
                form: pattern.form,
            });
        }
    }
    report.found.sort();
    report.found.dedup();
    Ok(report)
}

/// All files below a folder, by their names there.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = PathBuf::from(entry.file_name());
        if entry.file_type()?.is_dir() {
            let inner = self::files(&entry.path())?;
            files.extend(inner.into_iter().map(|file| name.join(file)));
        } else {
            files.push(name);
        }
    }
    files.sort();
    Ok(files)
}

/// The folder in which a file is; none for one beside these.
fn program_of(file: &Path) -> Option<OsString> {
    let folder = file.parent()?.components().next()?;
    Some(folder.as_os_str().to_owned())
}

fn read_secrets(file: &Path) -> io::Result<Vec<Vec<u8>>> {
    let text = fs::read_to_string(file)?;
    let secret = |line: &str| HEXLOWER.decode(line.as_bytes());
    let secrets: Result<_, _> = text.lines().map(secret).collect();
    secrets.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
}

/// How a secret may be written.
fn forms(secret: &[u8]) -> Vec<Pattern> {
    let mut forms = Vec::new();
    let mut add = |form, is_word, text: Vec<u8>| {
        forms.push(Pattern {
            text,
            form,
            is_word,
        });
    };
    let is_word = secret.iter().all(u8::is_ascii_alphanumeric);
    add("as it is", is_word, secret.to_vec());
    if secret.len() == 6 && secret.iter().all(u8::is_ascii_digit) {
        let (first, last) = secret.split_at(3);
        for between in [b"-", b" "] {
            let grouped = [first, between, last].concat();
            add("as a mail shows it", true, grouped);
        }
    }
    for encoding in [HEXLOWER, HEXUPPER] {
        let text = encoding.encode(secret).into_bytes();
        add("in hexadecimal", false, text);
    }
    let bytes: Vec<_> = secret.iter().map(u8::to_string).collect();
    add("as a list of bytes", true, bytes.join(", ").into_bytes());
    if secret.len() >= LONG_ENOUGH_FOR_BASE64 {
        for encoding in [BASE64_NOPAD, BASE64URL_NOPAD] {
            for before in 0..3 {
                let text = encoding.encode(&[&vec![0; before], secret].concat());
                // Those characters that nothing but the secret decides.
                let own = (before * 8).div_ceil(6)..(before + secret.len()) * 8 / 6;
                let text = text.as_bytes().get(own).unwrap_or_default();
                add("in base64", false, text.to_vec());
            }
        }
    }
    forms
}

fn stands_alone(output: &[u8], place: Match) -> bool {
    let before = place.start().checked_sub(1).and_then(|at| output.get(at));
    let after = output.get(place.end());
    let is_outside = |byte: Option<&u8>| byte.is_none_or(|byte| !byte.is_ascii_alphanumeric());
    is_outside(before) && is_outside(after)
}

/// The lines of an output, counted as one goes on in it.
struct Lines<'a> {
    rest: &'a [u8],
    at: usize,
    number: usize,
}

impl<'a> Lines<'a> {
    fn of(output: &'a [u8]) -> Self {
        Self {
            rest: output,
            at: 0,
            number: 1,
        }
    }

    /// Of a place that is not before the last one.
    fn number_at(&mut self, end: usize) -> usize {
        let (passed, rest) = self
            .rest
            .split_at_checked(end - self.at)
            .unwrap_or((self.rest, &[]));
        self.number += passed.iter().filter(|byte| **byte == b'\n').count();
        (self.rest, self.at) = (rest, end);
        self.number
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let megabytes = self.bytes.div_ceil(1_000_000);
        write!(
            f,
            "{} secrets looked for in {} outputs of {megabytes} MB: ",
            self.secrets, self.outputs
        )?;
        match self.found.len() {
            0 => write!(f, "none found"),
            found => write!(f, "found in {found} places"),
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (file, line) = (self.file.display(), self.line);
        write!(
            f,
            "{file}:{line}: a secret of {} {}",
            self.program, self.form
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found where one program has these secrets, and wrote this.
    fn found(secrets: &[&[u8]], output: &[u8]) -> Vec<(usize, &'static str)> {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("a.1");
        fs::create_dir(&program).unwrap();
        let secrets = secrets.iter().map(|secret| HEXLOWER.encode(secret) + "\n");
        fs::write(program.join(SECRETS), secrets.collect::<String>()).unwrap();
        fs::write(program.join("log"), output).unwrap();
        let report = search(folder.path()).unwrap();
        assert_eq!((report.outputs, report.bytes), (1, output.len()));
        let found = report.found.into_iter();
        found.map(|found| (found.line, found.form)).collect()
    }

    #[test]
    fn a_secret_is_found_as_a_word_and_nothing_else_is() {
        let secrets: [&[u8]; 2] = [b"483920", b"a-token_of-the-watch"];
        for text in [
            "the code 483920",
            r#"{"code":"483920"}"#,
            "x-auth-token: a-token_of-the-watch",
            "Some(a-token_of-the-watchman)",
        ] {
            assert_eq!(
                found(&secrets, text.as_bytes()),
                [(1, "as it is")],
                "{text}"
            );
        }
        for text in ["1483920", "ab483920", "483920x", "a-token", "48392"] {
            assert_eq!(found(&secrets, text.as_bytes()), [], "{text}");
        }
    }

    #[test]
    fn a_secret_is_found_in_whatever_form_it_is_written() {
        let secret = "hunter2?of>mail".as_bytes();
        let list = format!("key: {:?}", secret.to_vec());
        assert_eq!(
            found(&[secret], list.as_bytes()),
            [(1, "as a list of bytes")]
        );
        let debug = format!("{secret:02x?}").replace([' ', ','], "");
        assert_eq!(found(&[secret], debug.as_bytes()), [(1, "in hexadecimal")]);
        assert_eq!(
            found(&[secret], debug.to_uppercase().as_bytes()),
            [(1, "in hexadecimal")]
        );
        for before in ["", "a", "ab", "\0ada\0"] {
            for after in ["", "y", "yz"] {
                let whole = format!("{before}hunter2?of>mail{after}");
                for encoding in [BASE64_NOPAD, BASE64URL_NOPAD] {
                    let text = encoding.encode(whole.as_bytes());
                    assert_eq!(
                        found(&[secret], text.as_bytes()),
                        [(1, "in base64")],
                        "{text}"
                    );
                }
            }
        }
        for mail in ["Your code is 483-920.", "483 920"] {
            assert_eq!(
                found(&[b"483920"], mail.as_bytes()),
                [(1, "as a mail shows it")]
            );
        }
    }

    #[test]
    fn every_line_with_a_secret_is_named_and_bytes_that_are_no_text_hide_nothing() {
        let output = b"one\n\xff\xfe483920\xff\n\nfour 483920 483920\n";
        let lines = found(&[b"483920"], output);
        assert_eq!(lines, [(2, "as it is"), (4, "as it is")]);
    }

    #[test]
    fn a_short_secret_is_looked_for_where_it_was_used_and_a_long_one_everywhere() {
        let folder = tempfile::tempdir().unwrap();
        for (program, secrets) in [("a.1", "483920\na-long-secret"), ("b.2", "11111111")] {
            let program = folder.path().join(program);
            fs::create_dir(&program).unwrap();
            let lines = secrets
                .lines()
                .map(|s| HEXLOWER.encode(s.as_bytes()) + "\n");
            fs::write(program.join(SECRETS), lines.collect::<String>()).unwrap();
            fs::write(program.join("stderr-1"), "483920 a-long-secret").unwrap();
        }
        fs::write(folder.path().join("tests"), "483920").unwrap();
        let report = search(folder.path()).unwrap();
        let lines: Vec<_> = report.found.iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "a.1/stderr-1:1: a secret of a.1 as it is",
                "b.2/stderr-1:1: a secret of a.1 as it is",
                "tests:1: a secret of a.1 as it is",
            ]
        );
        assert_eq!(
            report.to_string(),
            "3 secrets looked for in 3 outputs of 1 MB: found in 3 places"
        );
    }
}
