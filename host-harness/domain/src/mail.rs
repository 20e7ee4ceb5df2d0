//! What members are told by e-mail.

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

/// The notice that `caller` has reset the reader's TOTP factor. Its subject is
/// that of Rocket.Chat's.
pub fn reset_notice(caller: &str, at: Timestamp) -> Letter {
    let caller = printable(caller);
    Letter {
        subject: "Two Factor TOTP Reset Notification",
        body: format!(
            "Your two-factor authentication by TOTP was reset by {caller} at {at}.\n\
             \n\
             You have been logged out everywhere. Log in again and enrol your\n\
             authenticator app anew. If you did not ask for this, tell your\n\
             workspace's administrator at once.\n"
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
        let letter = reset_notice("eve\r\n\r\nYou have won", Timestamp::from_millis(0));
        let body = letter.body.expose_secret();
        assert!(
            body.starts_with(
                "Your two-factor authentication by TOTP was reset by eveYou have won at"
            ),
            "{body}"
        );
    }
}
