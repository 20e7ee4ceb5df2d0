//! No secret of a test is found in anything that the suite printed.
//!
//! A test says which secrets it uses ([`register`]) and keeps what the programs under test write
//! ([`keep`], [`keep_output`], [`Kept`], [`file()`]). When all tests have run, the program
//! `secret-scan` looks for each secret in all of it ([`search()`]), also as hexadecimal, as base64 and
//! as a list of bytes. So a secret is found, too, that was written before anybody registered it, or
//! by another process.
//!
//! Secrets and outputs lie in `target/suite`, a folder a test program: `secrets`, one a line in
//! hexadecimal, and the outputs beside it. `cargo xtask test` empties it, and keeps there what the
//! test programs themselves print.
//!
//! For tests alone: nothing that is shipped depends on it.

mod evidence;
mod search;

pub use evidence::{Kept, file, keep, keep_output, register, suite};
pub use search::{Found, Report, search};
