//! The package in `wit/`.

use std::path::Path;
use wit_parser::{PackageId, Resolve, WorldId};

/// The world that the plugin targets.
pub fn world() -> (Resolve, WorldId) {
    let (resolve, package) = package();
    let world = resolve
        .select_world(&[package], Some("reset-totp-plugin"))
        .unwrap();
    (resolve, world)
}

/// The whole package.
pub fn package() -> (Resolve, PackageId) {
    let mut resolve = Resolve::default();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
    let (package, _) = resolve.push_path(folder).unwrap();
    (resolve, package)
}
