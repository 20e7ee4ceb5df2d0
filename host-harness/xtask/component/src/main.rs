//! Makes the plugin, compiled to WebAssembly, a WASI component, and says what that asks of a host.
//!
//! `plugin-component MODULE COMPONENT` is called by `cargo xtask`; so is `plugin-component --compose
//! COMPOSITION SERVER PACKAGE=FILE…`, which puts components together. It is a program of its own so
//! that the tasks, which are compiled before all else, need next to nothing, and so that the libraries
//! which it shares with the host are compiled once.

mod composition;

use std::env;
use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use plugin_component::{Described, describe, digest, encode};

/// What there is to know about a component.
struct Component {
    path: PathBuf,
    size: usize,
    digest: String,
    described: Described,
}

fn main() -> Result<()> {
    let mut args = env::args_os().skip(1).peekable();
    let is_composed = args.next_if(|arg| arg == "--compose").is_some();
    let (Some(from), Some(path)) = (args.next(), args.next()) else {
        bail!("usage: plugin-component [--compose] FROM TO [PACKAGE=FILE…]");
    };
    let (from, path) = (PathBuf::from(from), PathBuf::from(path));
    let bytes = match is_composed {
        true => composition::compose(&from, args)?,
        false => {
            let module =
                fs::read(&from).with_context(|| format!("cannot read {}", from.display()))?;
            encode(&module)?
        }
    };
    replace(&path, &bytes)?;
    let component = Component {
        path,
        size: bytes.len(),
        digest: digest(&bytes),
        described: describe(&bytes)?,
    };
    Ok(write!(io::stdout(), "{component}")?)
}

/// Writes beside the file first: a reader meets the old component or the new one, never half.
fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let unfinished = path.with_extension(format!("wasm.{}", std::process::id()));
    fs::write(&unfinished, bytes)
        .and_then(|()| fs::rename(&unfinished, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kilobytes = self.size.div_ceil(1000);
        writeln!(f, "path     {}", self.path.display())?;
        writeln!(f, "size     {} bytes ({kilobytes} kB)", self.size)?;
        writeln!(f, "sha-256  {}", self.digest)?;
        for import in &self.described.imports {
            writeln!(f, "import   {import}")?;
        }
        for export in &self.described.exports {
            writeln!(f, "export   {export}")?;
        }
        Ok(())
    }
}
