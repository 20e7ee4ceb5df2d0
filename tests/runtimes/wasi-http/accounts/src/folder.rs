//! The folder that the runtime lends, and the one file in it.

use crate::fail;
use wasip2::filesystem::preopens::get_directories;
use wasip2::filesystem::types::{Descriptor, DescriptorFlags, ErrorCode, OpenFlags, PathFlags};

const FILE: &str = "accounts.json";

/// What is written before it takes the place of [`FILE`].
const UNFINISHED: &str = "accounts.json.new";

/// Bytes that are read at a time.
const PIECE: u64 = 64 * 1024;

pub(crate) fn read() -> Vec<u8> {
    try_to_read().unwrap_or_else(|error| fail(&format!("{FILE} cannot be read: {error}")))
}

/// The file is as before or as after, whenever the runtime ends.
pub(crate) fn replace(text: &[u8]) {
    try_to_replace(text)
        .unwrap_or_else(|error| fail(&format!("{FILE} cannot be written: {error}")));
}

fn try_to_read() -> Result<Vec<u8>, ErrorCode> {
    let nothing = OpenFlags::empty();
    let file = folder().open_at(PathFlags::empty(), FILE, nothing, DescriptorFlags::READ)?;
    let mut text = Vec::new();
    loop {
        let (piece, is_last) = file.read(PIECE, text.len() as u64)?;
        if piece.is_empty() {
            return Ok(text);
        }
        text.extend(piece);
        if is_last {
            return Ok(text);
        }
    }
}

fn try_to_replace(mut text: &[u8]) -> Result<(), ErrorCode> {
    let folder = folder();
    let new = OpenFlags::CREATE | OpenFlags::TRUNCATE;
    let file = folder.open_at(PathFlags::empty(), UNFINISHED, new, DescriptorFlags::WRITE)?;
    let mut offset = 0;
    while !text.is_empty() {
        let written = file.write(text, offset)?;
        offset += written;
        let written = usize::try_from(written).unwrap_or(text.len());
        text = text.get(written..).unwrap_or_default();
    }
    file.sync()?;
    folder.rename_at(UNFINISHED, &folder, FILE)?;
    // Some runtimes can do this to no folder; the name outlives the process, though not the power.
    let _ = folder.sync();
    Ok(())
}

fn folder() -> Descriptor {
    let lent = get_directories().into_iter().next();
    let Some((folder, _)) = lent else {
        fail("the runtime lends no folder");
    };
    folder
}
