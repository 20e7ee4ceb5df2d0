//! A log in one file, which is verified without the store.
//!
//! Each line but the last ones is a JSON object without blanks: first what the file is, then each
//! leaf with its record, or with the word that it is erased. The last lines are a signed
//! checkpoint of these leaves, which has beside them the SHA-256 of all lines above: every byte is
//! signed.

use super::check::{Check, End, Past, Tombstone};
use super::checkpoint::{Distrust, LogSigner, VerifierKey};
use super::fault::Fault;
use super::record::LoggedRecord;
use super::{Head, KeptRecord, Page, hash_of, kept_place};
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;

/// What the first line says of the file.
const FORMAT: &str = "host-harness audit log";

/// The version of the form.
const VERSION: u8 = 1;

/// What is signed beside the checkpoint begins so.
const DIGEST: &str = "sha256 ";

/// Bytes of a line at most: many times those of a record.
pub const MOST_BYTES: u64 = 1 << 20;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Heading {
    format: String,
    key: String,
    version: u8,
}

/// A leaf: with a record and its salt, or erased, or with none of these where it is not whole.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    #[serde(default, skip_serializing_if = "is_false")]
    erased: bool,
    index: u64,
    leaf: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    record: Option<LoggedRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    salt: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// Writes a log, page by page.
pub struct Export(Sha256);

impl Export {
    /// Of the log of `signer`, with the first line.
    pub fn begin(signer: &LogSigner) -> (Self, String) {
        let mut export = Self(Sha256::new());
        let heading = export.line(&Heading {
            format: FORMAT.to_owned(),
            key: signer.verifier_key(),
            version: VERSION,
        });
        (export, heading)
    }

    /// The next lines.
    pub fn page(&mut self, page: &Page) -> String {
        let mut records = page.records.iter().peekable();
        let lines = page.leaves.iter().map(|leaf| {
            let place = kept_place(leaf.index);
            while records.next_if(|kept| kept.index < place).is_some() {}
            let kept = records.next_if(|kept| kept.index == place);
            self.line(&Line {
                erased: leaf.erased.is_some(),
                index: leaf.index,
                leaf: leaf.hash.to_string(),
                record: kept.map(|kept| kept.record.clone()),
                salt: kept.map(|kept| BASE64.encode(&kept.salt)),
            })
        });
        lines.collect()
    }

    /// The last lines, of a log that ends at `head`.
    ///
    /// # Errors
    ///
    /// As of [`LogSigner::sign`].
    pub fn end(self, head: &Head, signer: &LogSigner) -> Result<String, Distrust> {
        let digest = format!("{DIGEST}{}\n", BASE64.encode(&self.0.finalize()));
        signer.sign_with(head.size(), head.edge.root(), &digest)
    }

    fn line(&mut self, value: &impl Serialize) -> String {
        let line = line(value);
        self.0.update(&line);
        line
    }
}

/// There is nothing in a line that is no JSON.
fn line(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default() + "\n"
}

/// What is wrong with an export.
#[derive(Clone, Debug, PartialEq)]
pub enum ExportFault {
    /// A line, counted from one, is none that an export has there.
    Line(u64),
    /// Of the log.
    Log(Fault),
    /// Its end is not believed.
    End(Distrust),
    /// Something in it, beside what the faults of the log are about, is not as it was signed.
    Bytes,
}

impl ExportFault {
    /// The name of what happened.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Line(_) => "line-edited",
            Self::Log(fault) => fault.name(),
            Self::End(_) => "end-edited",
            Self::Bytes => "bytes-edited",
        }
    }

    /// The place in the log that it is about.
    pub fn index(&self) -> Option<i64> {
        match self {
            Self::Log(fault) => Some(fault.index()),
            _ => None,
        }
    }
}

impl fmt::Display for ExportFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(1) => write!(f, "line 1 was edited: it is not that of an export"),
            Self::Line(line) => write!(
                f,
                "line {line} was edited: it should be that of record {}",
                line.saturating_sub(2)
            ),
            Self::Log(fault) => fault.fmt(f),
            Self::End(why) => write!(f, "the checkpoint at its end is not believed: {why}"),
            Self::Bytes => write!(f, "it is not as it was signed"),
        }
    }
}

/// What was found of an export.
#[derive(Clone, Debug, PartialEq)]
pub struct ExportReport {
    /// The key that it says it is signed by.
    pub key: Option<String>,
    /// Records that were ever logged.
    pub size: u64,
    /// Those that were erased.
    pub erased: u64,
    /// What is wrong with it; none where it is whole.
    pub faults: Vec<ExportFault>,
    /// Faults that were found beside these.
    pub further: u64,
}

/// A look at an export, line by line.
pub struct ExportCheck {
    check: Check,
    digest: Sha256,
    lines: u64,
    /// Lines since the last leaf that could not be read.
    unread: u64,
    key: Option<String>,
    /// The line with which the checkpoint begins.
    origin: Option<String>,
    faults: Vec<ExportFault>,
    further: u64,
    end: String,
}

/// Lines that are told of at most.
const MOST_LINES: usize = 1000;

impl ExportCheck {
    /// Of a log that is the `past` one and more.
    pub fn new(past: Option<Past>) -> Self {
        Self {
            check: Check::new(past),
            digest: Sha256::new(),
            lines: 0,
            unread: 0,
            key: None,
            origin: None,
            faults: Vec::new(),
            further: 0,
            end: String::new(),
        }
    }

    /// The next line, with its newline.
    pub fn line(&mut self, line: &[u8]) {
        self.lines += 1;
        let text = std::str::from_utf8(line).unwrap_or_default();
        if self.is_end(text) {
            self.end.push_str(text);
            return;
        }
        self.digest.update(line);
        let is_read = match self.lines {
            1 => self.heading(text),
            _ => self.leaf(text),
        };
        if !is_read {
            self.unread += u64::from(self.lines > 1);
            self.tell(ExportFault::Line(self.lines));
        }
    }

    /// Whether the line is of the checkpoint at the end.
    fn is_end(&self, text: &str) -> bool {
        let begins = match &self.origin {
            Some(origin) => text == origin,
            None => self.lines > 1 && !text.starts_with('{'),
        };
        let room = u64::try_from(self.end.len()).is_ok_and(|length| length < MOST_BYTES);
        room && (begins || !self.end.is_empty())
    }

    fn heading(&mut self, text: &str) -> bool {
        let Some(heading) = read::<Heading>(text) else {
            return false;
        };
        let key = VerifierKey::parse(&heading.key).ok();
        self.origin = key.map(|key| format!("{}\n", key.origin()));
        self.key = Some(heading.key);
        heading.format == FORMAT && heading.version == VERSION
    }

    fn leaf(&mut self, text: &str) -> bool {
        let Some(line) = read::<Line>(text) else {
            return false;
        };
        let Some(hash) = bytes(&line.leaf).and_then(|bytes| hash_of(&bytes)) else {
            return false;
        };
        let salt = line.salt.as_deref().map(bytes);
        let kept = match (line.record, salt) {
            (Some(record), Some(Some(salt))) => Some(KeptRecord {
                index: kept_place(line.index),
                salt,
                record,
            }),
            (None, None) => None,
            _ => return false,
        };
        let tombstone = line.erased.then_some(Tombstone::True);
        let kept = kept.iter().map(|kept| (kept, kept.leaf_hash()));
        self.check
            .pass_over(std::mem::take(&mut self.unread), line.index);
        self.check.place(line.index, hash, tombstone, kept);
        true
    }

    fn tell(&mut self, fault: ExportFault) {
        match self.faults.len() < MOST_LINES {
            true => self.faults.push(fault),
            false => self.further += 1,
        }
    }

    /// What was found of the whole file, which should be signed by the key that is `trusted`;
    /// where none is, by that which it names itself.
    pub fn finish(mut self, trusted: Option<&VerifierKey>) -> ExportReport {
        let named = self.key.as_deref().map(VerifierKey::parse);
        let signed = match (trusted, named) {
            (Some(key), _) => key.open(&self.end),
            (None, Some(Ok(key))) => key.open(&self.end),
            (None, _) => Err(Distrust::MalformedKey),
        };
        let end = match &signed {
            Ok(signed) => {
                self.check.pass_over(self.unread, signed.past.size);
                End {
                    size: signed.past.size,
                    root: signed.past.root,
                    mac: None,
                    is_true: true,
                }
            }
            Err(_) => self.check.end_as_it_is(),
        };
        let digest = format!("{DIGEST}{}\n", BASE64.encode(&self.digest.finalize()));
        let log = self.check.finish_at(&end);
        let mut faults = self.faults;
        faults.extend(log.faults.into_iter().map(ExportFault::Log));
        match signed {
            Ok(signed) if signed.extension == digest && is_signed_once(&self.end) => (),
            Ok(_) => faults.push(ExportFault::Bytes),
            Err(why) => faults.push(ExportFault::End(why)),
        }
        ExportReport {
            key: self.key,
            size: log.size,
            erased: log.erased,
            faults,
            further: self.further + log.further,
        }
    }
}

/// Whether a note has one signature (C2SP, "signed-note"): others, which nobody looks at, are none
/// of an export's.
fn is_signed_once(note: &str) -> bool {
    note.lines().filter(|line| line.starts_with('—')).count() == 1
}

/// What the line is, if it is written as one of its kind is.
fn read<'a, T: Serialize + Deserialize<'a>>(text: &'a str) -> Option<T> {
    let value = serde_json::from_str(text).ok()?;
    (line(&value) == text).then_some(value)
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text.as_bytes()).ok()
}
