//! For authors of plugins: a server to try one on, in a few words, and all that the
//! contract asks of it. The program `host-harness` is the same for the command line.
//!
//! It knows how to set a chat server up and what to ask it. It must never know what a
//! plugin or a store is inside: what it tells of them, the layers below have told it.
//!
//! | module | what it knows |
//! |---|---|
//! | [`scenarios`] | what a plugin is held to |
//! | [`harness`] | the server to try one on, and what happened there |
//!
//! The layers below are crates of their own, each of which knows only those before it:
//! [`chat_domain`], [`chat_store`], [`plugin_sandbox`], [`chat_server`].

pub mod harness;
pub mod scenarios;
