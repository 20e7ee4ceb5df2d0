//! What members are told by e-mail.

use crate::audit::Source;
use crate::time::Timestamp;
use secrecy::{ExposeSecret, SecretString};

/// A mail, but for whom it is to.
#[derive(Debug)]
pub struct Letter {
    /// One line of text.
    pub subject: &'static str,
    /// Plain text.
    pub body: SecretString,
    /// The body holds a code: nobody but the recipient may read it, and it is of
    /// no use once it has expired.
    pub holds_code: bool,
}

/// What a holder is told about their second factor, password or tokens.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// Their TOTP factor was removed by this account, or by an operator.
    Reset {
        /// A username, or who else.
        by: &'a str,
    },
    /// They have removed it themselves, and are logged out everywhere.
    OwnReset,
    /// A key to enrol was shown.
    KeyShown,
    /// TOTP was enrolled.
    Enrolled,
    /// TOTP was given up by its code.
    Disabled,
    /// There are new backup codes.
    NewBackupCodes,
    /// A backup code was used.
    BackupCodeUsed {
        /// How many are left.
        left: usize,
    },
    /// Guesses have locked the second factor for the first time.
    Locked {
        /// Wrong codes in a row.
        failures: u32,
        /// When it may be tried again.
        until: Timestamp,
    },
    /// Guesses have locked the second factor for good.
    GuessedOut {
        /// Wrong codes in a row.
        failures: u32,
    },
    /// There is a new password.
    NewPassword,
    /// There is a new login token.
    NewToken {
        /// Its name; empty for that of a session.
        name: &'a str,
    },
}

impl Event<'_> {
    /// The subject of a reset by another is Rocket.Chat's.
    fn subject(&self) -> &'static str {
        match self {
            Self::Reset { .. } | Self::OwnReset => "Two Factor TOTP Reset Notification",
            Self::KeyShown => "Two-factor authentication: a key was shown",
            Self::Enrolled => "Two-factor authentication was enrolled",
            Self::Disabled => "Two-factor authentication was given up",
            Self::NewBackupCodes => "Two-factor authentication: new backup codes",
            Self::BackupCodeUsed { .. } => "Two-factor authentication: a backup code was used",
            Self::Locked { .. } => "Two-factor authentication is locked for a while",
            Self::GuessedOut { .. } => "Two-factor authentication is locked",
            Self::NewPassword => "Your password was changed",
            Self::NewToken { .. } => "A login token was created",
        }
    }

    /// What happened, and what it means for the reader.
    fn story(&self, at: Timestamp) -> String {
        match self {
            Self::Reset { by } => format!(
                "Your two-factor authentication by TOTP was reset by {} at {at}.\n\n\
                 You have been logged out everywhere. Log in again and enrol your\n\
                 authenticator app anew.",
                printable(by)
            ),
            Self::OwnReset => format!(
                "Your two-factor authentication by TOTP was reset by yourself at {at}.\n\n\
                 You have been logged out everywhere. Log in again and enrol your\n\
                 authenticator app anew."
            ),
            Self::KeyShown => format!(
                "A key to enrol two-factor authentication by TOTP was shown at {at}.\n\n\
                 It counts once a code of it is entered."
            ),
            Self::Enrolled => format!(
                "Two-factor authentication by TOTP was enrolled at {at}.\n\n\
                 Your other sessions have been logged out."
            ),
            Self::Disabled => {
                format!("Two-factor authentication by TOTP was given up at {at}, by its code.")
            }
            Self::NewBackupCodes => {
                format!("New backup codes were made at {at}. The old ones are void.")
            }
            Self::BackupCodeUsed { left } => {
                format!("A backup code was used at {at}; {left} are left.")
            }
            Self::Locked { failures, until } => format!(
                "{failures} wrong codes in a row were entered for you, the last at {at}.\n\n\
                 Even a right code is refused until {until}."
            ),
            Self::GuessedOut { failures } => format!(
                "{failures} wrong codes in a row were entered for you, the last at {at}.\n\n\
                 No code is accepted until an administrator has replaced your second factor,\n\
                 or an operator of the server has unlocked it."
            ),
            Self::NewPassword => format!(
                "Your password was changed by an operator of the server at {at}.\n\n\
                 Your sessions have ended."
            ),
            Self::NewToken { name: "" } => {
                format!("You were logged in by an operator of the server at {at}.")
            }
            Self::NewToken { name } => format!(
                "The personal access token {} was created by an operator of the server at {at}.",
                printable(name)
            ),
        }
    }
}

/// The notice that something has happened to the reader's account.
pub fn notice(event: &Event<'_>, at: Timestamp, source: Option<&Source>) -> Letter {
    // What the program calls itself is a stranger's text: it has no place in a mail of ours.
    let from = source.map(|source| format!("\nFrom: {}\n", source.address));
    let from = from.unwrap_or_default();
    Letter {
        subject: event.subject(),
        body: format!(
            "{}\n{from}\n\
             If this was neither you nor asked for by you, tell your workspace's\n\
             administrator at once.\n",
            event.story(at)
        )
        .into(),
        holds_code: false,
    }
}

/// The mail that brings `user` a code of six digits.
pub fn email_code(user: &str, code: &SecretString, expires: Timestamp) -> Letter {
    let user = printable(user);
    let (first, last) = code.expose_secret().split_at_checked(3).unwrap_or_default();
    Letter {
        subject: "Authentication Code",
        body: format!(
            "The code for {user} is {first}-{last}. Enter its six digits.\n\
             \n\
             It can be used once, until {expires}. If you did not ask for it,\n\
             somebody else knows your password: change it.\n"
        )
        .into(),
        holds_code: true,
    }
}

/// A name that cannot begin a line of its own.
fn printable(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_shown_in_two_halves() {
        let letter = email_code("alice", &"012345".into(), Timestamp::from_millis(0));
        let body = letter.body.expose_secret();
        assert!(body.starts_with("The code for alice is 012-345."), "{body}");
        assert!(!letter.subject.contains("012"));
    }

    #[test]
    fn a_name_cannot_write_a_line_of_its_own() {
        let by = "eve\r\n\r\nYou have won";
        let source = Source {
            address: [192, 0, 2, 1].into(),
            agent: Some("x\r\n\r\ny".to_owned()),
        };
        let at = Timestamp::from_millis(0);
        let letter = notice(&Event::Reset { by }, at, Some(&source));
        let body = letter.body.expose_secret();
        assert!(
            body.starts_with(
                "Your two-factor authentication by TOTP was reset by eveYou have won at"
            ),
            "{body}"
        );
        assert!(body.contains("\nFrom: 192.0.2.1\n"), "{body}");
    }
}
