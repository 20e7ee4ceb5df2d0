//! Compiled code, kept between starts of the host in a folder of its own.
//!
//! Whoever can forge compiled code can do anything that the host can. So the
//! folder must belong to the host's user, nobody else may write to it, and every
//! entry carries the HMAC-SHA-256 of its name and its code by a random key that
//! is kept there, too, for the host's user alone.

use super::compiler::MAX_CODE;
use super::problem::causes;
use crate::digest::Digest;
use data_encoding::HEXLOWER;
use hmac::{Hmac, Mac};
use secrecy::{ExposeSecret, SecretSlice};
use sha2::Sha256;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, FileTimes};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use tempfile::NamedTempFile;
use wasmtime::Engine;
use wasmtime::component::Component;

/// The file that holds the key.
const KEY: &str = "key";

/// Bytes in the key, and in a tag.
const KEY_BYTES: usize = 32;
const TAG_BYTES: usize = 32;

/// Largest entry that is read: the largest code.
const MAX_ENTRY: u64 = MAX_CODE + TAG_BYTES as u64;

/// Entries that are kept, those that were used last: many times the plugins of a host. Others
/// are of plugins and of engines that are gone.
const MAX_ENTRIES: usize = 100;

/// What others may not do with the folder, and with the key.
const OTHERS_WRITE: u32 = 0o022;
const OTHERS_ANYTHING: u32 = 0o077;

/// Why a folder cannot hold compiled code.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// Another user could put code into it.
    #[error("{} {problem}: `chmod 700` it, or name another folder", folder.display())]
    Exposed {
        /// The folder.
        folder: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// It cannot be made, read or written.
    #[error("cannot use {}: {source}", folder.display())]
    Unusable {
        /// The folder.
        folder: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// A folder of compiled code.
pub struct CodeCache {
    folder: PathBuf,
    key: SecretSlice<u8>,
}

impl CodeCache {
    /// The cache in `folder`, which is made where it is not there.
    ///
    /// # Errors
    ///
    /// See [`CacheError`].
    pub fn open(folder: &Path) -> Result<Self, CacheError> {
        let unusable = |source| CacheError::Unusable {
            folder: folder.to_owned(),
            source,
        };
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(unusable)?;
        let user = user(folder).map_err(unusable)?;
        if let Some(problem) = exposure(folder, user).map_err(unusable)? {
            return Err(CacheError::Exposed {
                folder: folder.to_owned(),
                problem,
            });
        }
        let key = key(&folder.join(KEY), user).map_err(unusable)?;
        Ok(Self {
            folder: folder.to_owned(),
            key,
        })
    }

    /// The component that `digest` names, as it was compiled for this engine. An
    /// entry that is not the host's own is removed.
    pub(super) fn load(&self, engine: &Engine, digest: &Digest) -> Option<Component> {
        let name = entry_name(engine, digest);
        let path = self.folder.join(&name);
        match self.read(&path, &name).and_then(|code| {
            // SAFETY: the tag says that this host's user wrote exactly these bytes,
            // which the compiler gave, under this name. They are in memory: nobody
            // changes them now.
            let component = unsafe { Component::deserialize(engine, &code) };
            component.map_err(|error| Some(causes(error.chain())))
        }) {
            Ok(component) => {
                note_use(&path);
                Some(component)
            }
            Err(None) => None,
            Err(Some(problem)) => {
                tracing::warn!(path = %path.display(), problem, "compiled code is thrown away");
                if let Err(error) = fs::remove_file(&path) {
                    tracing::warn!(path = %path.display(), %error, "it cannot be removed");
                }
                None
            }
        }
    }

    /// Keeps compiled code. What cannot be kept is compiled again next time.
    pub(super) fn store(&self, engine: &Engine, digest: &Digest, code: &[u8]) {
        let name = entry_name(engine, digest);
        let tag = self.tag(&name, code).finalize().into_bytes();
        let folder = self.folder.display();
        if let Err(error) = self.write(&name, &[&tag, code]) {
            tracing::warn!(%folder, %error, "compiled code is not kept");
        }
        if let Err(error) = self.prune() {
            tracing::warn!(%folder, %error, "compiled code that nobody uses is not removed");
        }
    }

    /// Removes all but the [`MAX_ENTRIES`] that were used last. Others may do so at the same
    /// time.
    fn prune(&self) -> io::Result<()> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            if is_entry_name(&entry.file_name())
                && let Some(metadata) = unless_gone(entry.metadata())?
            {
                entries.push((metadata.accessed()?, entry.path()));
            }
        }
        entries.sort();
        let excess = entries.len().saturating_sub(MAX_ENTRIES);
        let mut oldest = entries.into_iter().take(excess);
        oldest.try_for_each(|(_, path)| unless_gone(fs::remove_file(path)).map(drop))
    }

    /// The code of an entry; `None` where there is no such entry.
    fn read(&self, path: &Path, name: &str) -> Result<Vec<u8>, Option<String>> {
        let file = match File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(None),
            file => file,
        };
        let mut entry = Vec::new();
        file.and_then(|file| file.take(MAX_ENTRY).read_to_end(&mut entry))
            .map_err(|error| Some(error.to_string()))?;
        let (tag, code) = entry
            .split_at_checked(TAG_BYTES)
            .ok_or_else(|| Some("it is too short".to_owned()))?;
        let right = self.tag(name, code).verify_slice(tag);
        right.map_err(|_| Some("this host did not write it".to_owned()))?;
        Ok(code.to_vec())
    }

    /// Whole or not at all: a reader, and a host that is killed, never sees a part.
    fn write(&self, name: &str, parts: &[&[u8]]) -> io::Result<()> {
        let mut file = NamedTempFile::new_in(&self.folder)?;
        for part in parts {
            file.write_all(part)?;
        }
        file.as_file().sync_all()?;
        file.persist(self.folder.join(name))?;
        Ok(())
    }

    fn tag(&self, name: &str, code: &[u8]) -> Hmac<Sha256> {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
        let mut tag =
            Hmac::<Sha256>::new_from_slice(self.key.expose_secret()).expect("any length is right");
        // No name is part of another: all have the same length.
        tag.update(name.as_bytes());
        tag.update(code);
        tag
    }
}

/// The same for the same plugin and engine: its version, its settings, and what
/// the processor can do.
fn entry_name(engine: &Engine, digest: &Digest) -> String {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    let engine = hasher.finish();
    format!("{}-{engine:016x}", HEXLOWER.encode(digest.as_bytes()))
}

/// None where the file is not there.
fn unless_gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

fn is_entry_name(name: &OsStr) -> bool {
    let name = name.to_str().and_then(|name| name.split_once('-'));
    name.is_some_and(|(digest, engine)| {
        let is_hex = |text: &str, digits: usize| {
            text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit())
        };
        is_hex(digest, 64) && is_hex(engine, 16)
    })
}

/// Where that cannot be, the entry is only removed sooner.
fn note_use(path: &Path) {
    let times = FileTimes::new().set_accessed(SystemTime::now());
    let noted = File::open(path).and_then(|file| file.set_times(times));
    if let Err(error) = noted {
        tracing::debug!(path = %path.display(), %error, "its use is not noted");
    }
}

/// Who runs this: a file that is made now is theirs.
fn user(folder: &Path) -> io::Result<u32> {
    Ok(NamedTempFile::new_in(folder)?.as_file().metadata()?.uid())
}

/// How another than `user` could get at the folder.
fn exposure(folder: &Path, user: u32) -> io::Result<Option<&'static str>> {
    let found = fs::symlink_metadata(folder)?;
    Ok(if !found.is_dir() {
        Some("is a link")
    } else if found.uid() != user {
        Some("belongs to another user")
    } else if found.mode() & OTHERS_WRITE != 0 {
        Some("can be written by other users")
    } else {
        None
    })
}

/// The key in the file at `path`. Where there is none, or one that others than
/// `user` may have read or written, a new one is made: what the old one vouched for
/// is compiled anew.
fn key(path: &Path, user: u32) -> io::Result<SecretSlice<u8>> {
    if let Some(key) = existing_key(path, user)? {
        return Ok(key);
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    // A temporary file is for its user alone.
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(&rand::random::<[u8; KEY_BYTES]>())?;
    file.as_file().sync_all()?;
    if let Err(error) = file.persist_noclobber(path)
        && error.error.kind() != ErrorKind::AlreadyExists
    {
        return Err(error.error);
    }
    // Another process may have been faster.
    existing_key(path, user)?.ok_or_else(|| io::Error::other("its key does not stay"))
}

fn existing_key(path: &Path, user: u32) -> io::Result<Option<SecretSlice<u8>>> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        found => found?,
    };
    // Before the folder was closed to others, one of them may have left a key in it.
    let is_own = found.uid() == user && found.mode() & OTHERS_ANYTHING == 0;
    if found.is_file() && is_own {
        let key = fs::read(path)?;
        if key.len() == KEY_BYTES {
            return Ok(Some(key.into()));
        }
    }
    tracing::warn!(path = %path.display(), "the key of the compiled code is replaced");
    fs::remove_file(path)?;
    Ok(None)
}
