//! Looks for the secrets of the tests in everything that was kept of them.
//!
//! `secret-scan [FOLDER]` searches [`secret_scan::suite`] where no folder is named, prints what was
//! looked for as one line to stdout and each place to stderr, and ends with 1 where there is one.

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

use secret_scan::{search, suite};

/// Places that are shown: more of them say nothing more.
const SHOWN: usize = 20;

fn main() -> ExitCode {
    let folder = env::args_os().nth(1).map_or_else(suite, PathBuf::from);
    match search(&folder) {
        Ok(report) => {
            for found in report.found.iter().take(SHOWN) {
                eprintln!("{found}");
            }
            println!("{report}");
            ExitCode::from(u8::from(!report.found.is_empty()))
        }
        Err(error) => {
            eprintln!("cannot search {}: {error}", folder.display());
            ExitCode::from(2)
        }
    }
}
