//! What a chat server's accounts are, and every rule of what may be done with them.
//!
//! It knows members, operators, second factors, tokens, mail and the audit trail: as
//! values. It must never know where they are kept (no SQL), how they are asked for (no
//! HTTP, no command line), who else decides (no plugin), what the time is or what is
//! random: these come in as arguments, and nothing here waits.
//!
//! A rule is an [`order::Order`]: what must be known to decide it, and a pure function from
//! that to an answer and a list of changes. A store reads, applies and commits; a dry run
//! reads and decides.
//!
//! | to find | look into |
//! |---|---|
//! | the one effect, and who may have it | [`reset`] |
//! | how a second factor is proved and spent | [`proof`] |
//! | attempts, failures and locks | [`attempts`] |
//! | log-in, enrolment and what else members do to themselves | [`member`] |
//! | who is logged in, and what they may | [`standing`] |
//! | what a wrong clock has left | [`clock_fault`] |
//! | what proves that the audit trail is as it was written | [`audit_log`] |
//! | codes by e-mail | [`mailed_code`] |
//! | the accounts as a list | [`directory`] |
//! | what operators do | [`operator`], with mail [`outbox`] |
//! | how long what has been is kept | [`retention`] |
//! | what is not as it should be | [`health`] |
//! | what a rule may ask for, and what it may change | [`dossier`], [`order`] |
//! | the nouns | [`account`], [`audit`], [`mail`], [`mail_server`], [`password`], [`rocket_chat`], [`settings`], [`time`], [`token`], [`totp`] |

pub mod account;
pub mod attempts;
pub mod audit;
pub mod audit_log;
pub mod clock_fault;
pub mod directory;
pub mod dossier;
pub mod health;
pub mod mail;
pub mod mail_server;
pub mod mailed_code;
pub mod member;
pub mod operator;
pub mod order;
pub mod outbox;
pub mod password;
pub mod proof;
pub mod reset;
pub mod retention;
pub mod rocket_chat;
pub mod settings;
pub mod sockets;
pub mod standing;
pub mod time;
pub mod token;
pub mod totp;
