//! What a member is told by e-mail.

use crate::clock::Timestamp;

/// The subject of the notice of a reset, as Rocket.Chat writes it.
pub const SUBJECT: &str = "Two Factor TOTP Reset Notification";

/// The text of the notice that `caller` has reset the reader's TOTP factor.
pub fn body(caller: &str, at: Timestamp) -> String {
    format!(
        "Your two-factor authentication by TOTP was reset by {caller} at {at}.\n\
         \n\
         You have been logged out everywhere. Log in again and enrol your\n\
         authenticator app anew. If you did not ask for this, tell your\n\
         workspace's administrator at once.\n"
    )
}
