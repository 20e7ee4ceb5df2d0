//! Why an operator's command cannot be done, and what can be done instead.

use crate::settings::InvalidSetting;

/// Why an operator's command cannot be done; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// There is no such workspace.
    #[error("there is no workspace {0}; `host-harness workspace list` shows all")]
    UnknownWorkspace(String),
    /// There is no such account.
    #[error("there is no user {0}; `host-harness user list` shows all")]
    UnknownUser(String),
    /// The name is one account's id and another's username.
    #[error("{name} is the id of {username} and the username of {id}: name the one you mean so")]
    AmbiguousUser {
        /// What was asked for.
        name: String,
        /// The username of the account with this id.
        username: String,
        /// The id of the account with this username.
        id: String,
    },
    /// Another account has this username.
    #[error("the username {0} is taken")]
    UsernameTaken(String),
    /// People cannot tell the username from another's.
    #[error("the username {name} looks like {taken}, which is taken")]
    UsernameLooksTaken {
        /// What was asked for.
        name: String,
        /// The other account's username.
        taken: String,
    },
    /// The username is another account's id.
    #[error("the username {0} is the id of another account")]
    UsernameIsId(String),
    /// The username is not of the form that the workspace wants.
    #[error(
        "a username is 1 to 64 characters that {pattern} matches, and not `.` or `..`; `host-harness \
         setting set username-pattern` takes another pattern"
    )]
    InvalidUsername {
        /// The setting.
        pattern: String,
    },
    /// Another account has this address, or this one has it twice.
    #[error("the address {0} is taken: it can be one account's, once")]
    AddressTaken(String),
    /// There is no such role.
    #[error("there is no role {name}; there are {}", known.join(", "))]
    UnknownRole {
        /// What was asked for.
        name: String,
        /// The workspace's roles, sorted.
        known: Vec<String>,
    },
    /// The account has TOTP already.
    #[error(
        "{0} has TOTP already; `host-harness user reset-totp {0}` removes it, and \
         `host-harness user backup-codes {0}` makes codes to log in by without the phone"
    )]
    AlreadyEnrolled(String),
    /// The workspace does not use TOTP.
    #[error("the workspace does not use TOTP: set two-factor-enabled and totp-enabled to true")]
    NotEnabled,
    /// The account has no TOTP.
    #[error("{0} has no TOTP; `host-harness user enrol-totp {0}` enrols it")]
    NotEnrolled(String),
    /// The account belongs to another server.
    #[error("{0} belongs to another server of the federation: TOTP is enrolled there")]
    Federated(String),
    /// The account has a token of this name.
    #[error("{user} has a token {token} already; choose another name or revoke that one")]
    TokenNameTaken {
        /// The account's username.
        user: String,
        /// The token's name.
        token: String,
    },
    /// The account has no token of this name.
    #[error("{user} has no token {token}; `host-harness token list {user}` shows all")]
    UnknownToken {
        /// The account's username.
        user: String,
        /// What was asked for.
        token: String,
    },
    /// Nobody would be left who may reset others.
    #[error(
        "nobody would be left who may reset another's TOTP: `host-harness role give` a role that \
         grants edit-other-user-totp to somebody first, or add --force"
    )]
    LastAdministrator,
    /// So many failures in a row that the factor is to be replaced.
    #[error(
        "{failures} wrong codes in a row: `host-harness user reset-totp {user}` removes the TOTP that \
         was guessed at, `user password {user}` replaces a password; to let the same factor be tried \
         again, add --force"
    )]
    GuessedOut {
        /// The account's username.
        user: String,
        /// How many.
        failures: u32,
    },
    /// The configuration says what the setting is.
    #[error(
        "{name} is fixed by {place}: change it there and reload, or take it out there; where that \
         file is no longer read, add --force"
    )]
    FixedSetting {
        /// The setting.
        name: &'static str,
        /// The file, and where in it.
        place: String,
    },
    /// The workspace has no such mail.
    #[error("there is no mail {0}; `host-harness outbox list` shows all")]
    UnknownMail(i64),
    /// Somebody is sending the mail.
    #[error("mail {0} is being sent; try again in a few minutes")]
    MailBeingSent(i64),
    /// The mail holds a code that is accepted no longer.
    #[error("mail {0} held a code that has expired; ask for a new one")]
    CodeExpired(i64),
    /// The value is not one of the setting's.
    #[error(transparent)]
    InvalidSetting(#[from] InvalidSetting),
}
