//! A file that may become a plugin, before anybody has looked into it.

use super::report::Kind;
use crate::digest::Digest;
use crate::regular_file;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;

/// Largest file that is read as a plugin, in bytes, whatever a host takes: those with
/// SpiderMonkey in them have 12 MB, and those with CPython 18. A compiler takes 30 MiB for each
/// mebibyte and has 1 GiB.
pub const MAX_FILE: usize = 32 * 1024 * 1024;

/// Largest signature file that is read, in bytes. They have about 300.
const MAX_SIGNATURE: u64 = 4096;

/// What is added to a plugin's path to find its signature.
const SIGNATURE_SUFFIX: &str = ".minisig";

/// What a WebAssembly file begins with: a word, and which kind of file it is.
const MAGIC: &[u8] = b"\0asm";
const CORE_MODULE: &[u8] = b"\0asm\x01\0\0\0";
/// What compiled code begins with.
const ELF: &[u8] = b"\x7fELF";

/// A file that may become a plugin.
#[derive(Clone)]
pub struct Candidate {
    pub(super) bytes: Arc<[u8]>,
    pub(super) digest: Digest,
    pub(super) signature: Option<String>,
}

impl Candidate {
    /// One of these bytes, with its signature in the format of minisign.
    pub fn new(bytes: Vec<u8>, signature: Option<String>) -> Self {
        Self {
            digest: Digest::of(&bytes),
            bytes: bytes.into(),
            signature,
        }
    }

    /// That in the file at `path`, with the signature in the file beside it whose
    /// name has `.minisig` added, where there is one. Both are read once; of a
    /// file that is larger than [`MAX_FILE`] no more than shows that.
    ///
    /// # Errors
    ///
    /// When one of them is there and cannot be read, or is no regular file.
    pub fn read(path: &Path) -> io::Result<Self> {
        let bytes = regular_file::read(path, MAX_FILE as u64 + 1)?;
        let mut signature = path.as_os_str().to_owned();
        signature.push(SIGNATURE_SUFFIX);
        let signature = match regular_file::read(Path::new(&signature), MAX_SIGNATURE) {
            Ok(text) => Some(String::from_utf8_lossy(&text).into_owned()),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(Self::new(bytes, signature))
    }

    /// The digest of its bytes.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

/// What the first bytes of a file say that it is.
pub(super) fn kind(bytes: &[u8]) -> Kind {
    if bytes.starts_with(CORE_MODULE) {
        Kind::CoreModule
    } else if bytes.starts_with(MAGIC) {
        Kind::Component
    } else if bytes.starts_with(ELF) {
        Kind::Precompiled
    } else {
        Kind::Other
    }
}
