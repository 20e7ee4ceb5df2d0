//! Files that operators name.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::Path;

/// The first `limit` bytes of the file at `path`.
///
/// # Errors
///
/// When it cannot be read, or is no regular file: the other end of a pipe would be waited
/// for for ever.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    require(&fs::metadata(path)?)?;
    let file = File::open(path)?;
    require(&file.metadata()?)?;
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn require(metadata: &fs::Metadata) -> io::Result<()> {
    match metadata.is_file() {
        true => Ok(()),
        false => Err(io::Error::new(
            ErrorKind::InvalidInput,
            "it is no regular file",
        )),
    }
}
