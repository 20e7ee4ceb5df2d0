//! An account of every kind. Each has TOTP, the backup codes [`BACKUP_CODES`], the
//! password [`PASSWORD`] and three addresses, the third of them not verified, where
//! nothing else is said.

use super::{Harness, Setup, User};

/// May reset others, and call as often as it likes.
pub const ADMIN: &str = "admin";
/// May reset others, and is no administrator otherwise.
pub const HELPER: &str = "helper";
/// Has other rights.
pub const MODERATOR: &str = "moderator";
/// A member.
pub const ALICE: &str = "alice";
/// Another member.
pub const BOB: &str = "bob";
/// Has neither TOTP nor a password.
pub const CAROL: &str = "carol";
/// Has no TOTP.
pub const DAVE: &str = "dave";
/// Has no TOTP, but opted in to codes by e-mail.
pub const ERIN: &str = "erin";
/// Has TOTP and opted in to codes by e-mail.
pub const FRANK: &str = "frank";
/// Belongs to another server of a federation; has no password.
pub const FEDERATED: &str = "federated";
/// An administrator who can no longer log in.
pub const DEACTIVATED: &str = "deactivated";
/// A program; may call as often as it likes.
pub const BOT: &str = "bot";
/// In another workspace of the same store, an administrator there.
pub const MALLORY: &str = "mallory";

/// The backup codes of all who have TOTP.
pub const BACKUP_CODES: [&str; 2] = ["ABCD2345", "wxyz6789"];

/// The password of all who have one.
pub const PASSWORD: &str = "correct horse battery staple";

impl Harness {
    /// A server to set up, with an account of every kind.
    pub fn cast(&self) -> Setup<'_> {
        self.server()
            .role("helper", &["edit-other-user-totp"])
            .role("moderator", &["edit-other-user-password"])
            .user(somebody(ADMIN).role("admin"))
            .user(somebody(HELPER).role("helper"))
            .user(somebody(MODERATOR).role("moderator"))
            .user(somebody(ALICE))
            .user(somebody(BOB))
            .user(bare(CAROL).without_totp())
            .user(somebody(DAVE).without_totp())
            .user(somebody(ERIN).without_totp().email_codes())
            .user(somebody(FRANK).email_codes())
            .user(bare(FEDERATED).federated())
            .user(somebody(DEACTIVATED).role("admin").deactivated())
            .user(somebody(BOT).role("bot"))
            .elsewhere(somebody(MALLORY).role("admin"))
    }
}

fn somebody(name: &str) -> User {
    bare(name).password(PASSWORD)
}

/// Without a password.
fn bare(name: &str) -> User {
    User::named(name)
        .email(&format!("{name}@work.example.com"))
        .unverified_email(&format!("{name}@old.example.com"))
        .backup_codes(BACKUP_CODES)
}
