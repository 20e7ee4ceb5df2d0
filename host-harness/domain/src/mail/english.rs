//! Mail in English.

use super::{Event, printable};
use crate::time::Timestamp;

/// The subject of a reset by another is Rocket.Chat's.
pub(super) fn subject(event: &Event<'_>) -> &'static str {
    match event {
        Event::Reset { .. } | Event::OwnReset => "Two Factor TOTP Reset Notification",
        Event::KeyShown => "Two-factor authentication: a key was shown",
        Event::Enrolled => "Two-factor authentication was enrolled",
        Event::Disabled => "Two-factor authentication was given up",
        Event::NewBackupCodes => "Two-factor authentication: new backup codes",
        Event::BackupCodeUsed { .. } => "Two-factor authentication: a backup code was used",
        Event::Locked { .. } => "Two-factor authentication is locked for a while",
        Event::GuessedOut { .. } => "Two-factor authentication is locked",
        Event::NewPassword => "Your password was changed",
        Event::NewToken { .. } => "A login token was created",
    }
}

pub(super) fn story(event: &Event<'_>, at: Timestamp) -> String {
    match event {
        Event::Reset { by } => format!(
            "Your two-factor authentication by TOTP was reset by {} at {at}.\n\n\
             You have been logged out everywhere. Log in again and enrol your\n\
             authenticator app anew.",
            match by {
                Some(username) => printable(username),
                None => "an operator of the server".to_owned(),
            }
        ),
        Event::OwnReset => format!(
            "Your two-factor authentication by TOTP was reset by yourself at {at}.\n\n\
             You have been logged out everywhere. Log in again and enrol your\n\
             authenticator app anew."
        ),
        Event::KeyShown => format!(
            "A key to enrol two-factor authentication by TOTP was shown at {at}.\n\n\
             It counts once a code of it is entered."
        ),
        Event::Enrolled => format!(
            "Two-factor authentication by TOTP was enrolled at {at}.\n\n\
             Your other sessions have been logged out."
        ),
        Event::Disabled => {
            format!("Two-factor authentication by TOTP was given up at {at}, by its code.")
        }
        Event::NewBackupCodes => {
            format!("New backup codes were made at {at}. The old ones are void.")
        }
        Event::BackupCodeUsed { left } => {
            format!("A backup code was used at {at}; {left} are left.")
        }
        Event::Locked { failures, until } => format!(
            "{failures} wrong codes in a row were entered for you, the last at {at}.\n\n\
             Even a right code is refused until {until}."
        ),
        Event::GuessedOut { failures } => format!(
            "{failures} wrong codes in a row were entered for you, the last at {at}.\n\n\
             No code is accepted until an administrator has replaced your second factor,\n\
             or an operator of the server has unlocked it."
        ),
        Event::NewPassword => format!(
            "Your password was changed by an operator of the server at {at}.\n\n\
             Your sessions have ended."
        ),
        Event::NewToken { name: "" } => {
            format!("You were logged in by an operator of the server at {at}.")
        }
        Event::NewToken { name } => format!(
            "The personal access token {} was created by an operator of the server at {at}.",
            printable(name)
        ),
    }
}

pub(super) fn from(address: &str) -> String {
    format!("From: {address}")
}

pub(super) const WARNING: &str = "\
If this was neither you nor asked for by you, tell your workspace's\n\
administrator at once.\n";

pub(super) const CODE_SUBJECT: &str = "Authentication Code";

pub(super) fn code(user: &str, code: &str, expires: Timestamp) -> String {
    format!(
        "The code for {user} is {code}. Enter its six digits.\n\
         \n\
         It can be used once, until {expires}. If you did not ask for it,\n\
         somebody else knows your password: change it.\n"
    )
}
