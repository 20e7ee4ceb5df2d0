//! Where files lie.

use std::path::Path;

/// The folder that `path` is in: the working folder where it names none.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}
