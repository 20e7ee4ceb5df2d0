//! A small, real, plugin-capable chat server: it loads the plugin, lends it the
//! capabilities of `wit/`, commits what it decides and serves it over HTTP, with
//! what clients need around it: log-in, enrolment of TOTP, mail.
//!
//! Each layer knows only those below:
//!
//! | module | what it knows |
//! |---|---|
//! | [`scenarios`], [`harness`] | what a plugin is held to, and the server to try one on |
//! | [`hosting`], [`config`] | many workspaces in one process, as a file says |
//! | [`server`], [`admin`] | HTTP: for clients, and for whoever runs the process |
//! | [`metrics`], [`telemetry`] | what is told of the work: numbers, log, traces |
//! | [`workspace`] | whose call it is, when its turn is, and whether its plugin is fit |
//! | [`admission`], [`grants`], [`runtime`] | from a file to a plugin, or to a report that says why not; the engine |
//! | [`measure`] | a call taken apart, for the benchmark |
//! | [`plugin`], [`sandbox`], [`outcome`], [`capabilities`] | one bounded call, how it ended, and the contract's imports, one file an interface |
//! | [`turns`], [`breaker`] | how many calls run, and which plugins are left alone |
//! | [`stores`], [`delivery`] | which store files are open, and what sends the mail that they hold |
//! | [`store`] | the chat server's data, [`store::directory`] for operators, [`store::outbox`] for mail; [`store::sqlite`] keeps it in a file |
//! | [`settings`], [`attempts`], [`digest`], [`mail`], [`mail_server`], [`password`], [`token`], [`totp`], [`clock`] | the domain's nouns |
//! | [`contract`] | the types generated from `wit/` |
//!
//! What always holds:
//!
//! - No instance exists before the caller is authenticated, and none serves a
//!   second call.
//! - The plugin reaches one workspace and one caller; it cannot name others.
//! - A reset is one transaction of the store, which checks permission, target
//!   and proof itself.
//! - A code is accepted once, and every path that takes one shares one count of
//!   failures.
//! - Mail leaves at least once, and never holds up what causes it.
//! - A plugin that fails in any way has decided nothing more: the answer is an
//!   error, and every attempt stays counted.
//!
//! ```no_run
//! use arc_swap::ArcSwap;
//! use host_harness::{clock::Clock, plugin::Plugin, runtime::{Capacity, Runtime}, sandbox::Limits};
//! use host_harness::{metrics::Metrics, server, stores::Stores, workspace::{Workspace, Workspaces}};
//! use std::{path::Path, sync::Arc};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let runtime = Runtime::new(Capacity::default())?;
//! let workspace = Workspace::new(
//!     "default".to_owned(),
//!     Stores::new(Clock::system()).file(Path::new("store.sqlite")),
//!     Plugin::load(&runtime, Path::new("target/reset_totp.wasm"))?,
//!     Limits::default(),
//! );
//! let app = server::App {
//!     workspaces: Arc::new(ArcSwap::from_pointee(Workspaces::only(workspace))),
//!     clock: Clock::system(),
//!     trusted_proxies: Vec::new(),
//!     metrics: Arc::new(Metrics::default()),
//! };
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//! server::serve(listener, app, std::future::pending()).await?;
//! # Ok(())
//! # }
//! ```

pub mod admin;
pub mod admission;
pub mod attempts;
pub mod breaker;
pub mod capabilities;
pub mod clock;
pub mod config;
pub mod contract;
pub mod delivery;
pub mod digest;
pub mod grants;
pub mod harness;
pub mod hosting;
pub mod mail;
pub mod mail_server;
pub mod measure;
pub mod metrics;
pub mod outcome;
pub mod password;
pub mod plugin;
pub mod runtime;
pub mod sandbox;
pub mod scenarios;
pub mod server;
pub mod settings;
pub mod store;
pub mod stores;
pub mod telemetry;
pub mod token;
pub mod totp;
pub mod turns;
pub mod workspace;
