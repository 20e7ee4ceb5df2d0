//! What a chat server's accounts are, and what may be done with them.
//!
//! It knows the domain's nouns and rules. It must never know where data is kept, who
//! asks and how, or that there are plugins: nothing here waits, reads a file, a clock
//! or the system's randomness, or speaks SQL or HTTP. Time and randomness come in as
//! arguments.
//!
//! | module | what it knows |
//! |---|---|
//! | [`account`], [`settings`] | who there is, and what a workspace allows |
//! | [`totp`], [`password`], [`token`], [`attempts`] | by what an account proves itself, and how often it may try |
//! | [`change`], [`reset`], [`directory`] | what is done to accounts: by themselves, by one who helps, by operators |
//! | [`audit`] | what is recorded of that |
//! | [`mail`], [`mail_server`], [`outbox`] | what is told by e-mail, through whom, and what waits |
//! | [`time`] | moments |

pub mod account;
pub mod attempts;
pub mod audit;
pub mod change;
pub mod directory;
pub mod mail;
pub mod mail_server;
pub mod outbox;
pub mod password;
pub mod reset;
pub mod settings;
pub mod time;
pub mod token;
pub mod totp;
