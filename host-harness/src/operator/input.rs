//! Secrets, which are never an argument: other users of the machine see those,
//! and the shell keeps them.

use anyhow::{Context, bail};
use secrecy::{ExposeSecret, SecretString};
use std::io::{BufRead, IsTerminal};

/// Bytes of a line that are read: more than any value has.
const LINE_LIMIT: u64 = 4096;

/// A new password: asked for twice on a terminal, or a line of standard input.
pub(super) fn new_password(username: &str) -> anyhow::Result<SecretString> {
    let password = secret(&format!("New password of {username}: "))?;
    if password.expose_secret().is_empty() {
        bail!("the password is empty; nothing was changed");
    }
    if is_asked() {
        let again = secret("Once more: ")?;
        if again.expose_secret() != password.expose_secret() {
            bail!("the two passwords differ; nothing was changed");
        }
    }
    Ok(password)
}

/// What a person enters without seeing it, or a line of standard input.
pub(super) fn secret(prompt: &str) -> anyhow::Result<SecretString> {
    if is_asked() {
        return Ok(rpassword::prompt_password(prompt)
            .context("cannot ask on this terminal")?
            .into());
    }
    line(std::io::stdin().lock())
}

fn is_asked() -> bool {
    std::io::stdin().is_terminal()
}

fn line(input: impl BufRead) -> anyhow::Result<SecretString> {
    let mut text = String::new();
    input
        .take(LINE_LIMIT)
        .read_line(&mut text)
        .context("standard input is not text")?;
    let line = text.strip_suffix('\n');
    let whole = line.or((text.len() as u64 != LINE_LIMIT).then_some(text.as_str()));
    let whole = whole.with_context(|| format!("the line is over {LINE_LIMIT} bytes"))?;
    if text.is_empty() {
        bail!("standard input is empty: give the value there as one line, or use a terminal");
    }
    Ok(whole.strip_suffix('\r').unwrap_or(whole).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_ends_at_its_end_or_with_the_input() {
        for (input, expected) in [
            ("secret\n", "secret"),
            ("secret\r\n", "secret"),
            (" secret \nmore\n", " secret "),
            ("secret", "secret"),
            ("\n", ""),
        ] {
            let read = line(input.as_bytes()).unwrap();
            assert_eq!(read.expose_secret(), expected, "{input:?}");
        }
    }

    #[test]
    fn no_line_or_too_long_a_line_is_refused() {
        let long = "x".repeat(5000);
        for (input, problem) in [
            ("", "standard input is empty"),
            (long.as_str(), "the line is over 4096 bytes"),
        ] {
            let error = line(input.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        }
        assert!(line(&b"\xff\n"[..]).is_err());
    }
}
