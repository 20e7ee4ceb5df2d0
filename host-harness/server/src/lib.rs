//! A process that serves workspaces of a chat server.
//!
//! It knows HTTP, configurations and what runs meanwhile: mail that is delivered, stores
//! that are opened and closed, numbers and traces. It must never know SQL, WebAssembly or
//! a command line.
//!
//! | module | what it knows |
//! |---|---|
//! | [`hosting`], [`config`] | many workspaces in one process, as a file says |
//! | [`http`], [`admin`] | HTTP: for clients, and for whoever runs the process |
//! | [`workspace`] | whose call it is, when its turn is, and whether its plugin is fit |
//! | [`stores`], [`delivery`] | which store files are open, and what sends the mail that they hold |
//! | [`metrics`], [`telemetry`] | what is told of the work: numbers, log, traces |
//! | [`clock`] | the time |
//!
//! What always holds: no instance of a plugin exists before the caller is authenticated;
//! mail leaves at least once, and never holds up what causes it.
//!
//! ```no_run
//! use arc_swap::ArcSwap;
//! use chat_server::workspace::{HostedWorkspace, Workspaces};
//! use chat_store::seal::Seal;
//! use chat_server::{clock::Clock, http, metrics::Metrics, stores::Stores};
//! use plugin_sandbox::runtime::{Capacity, Runtime};
//! use plugin_sandbox::{admission::Admissions, limits::Limits};
//! use std::{path::Path, sync::Arc};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let admissions = Admissions::new(Runtime::new(Capacity::default())?);
//! let workspace = HostedWorkspace::new(
//!     "default".to_owned(),
//!     Stores::new(Clock::system(), Seal::none()).at(&Path::new("store.sqlite").into()),
//!     admissions.load(Path::new("target/reset_totp.wasm"))?,
//!     Limits::default(),
//! );
//! let app = http::App {
//!     workspaces: Arc::new(ArcSwap::from_pointee(Workspaces::only(workspace))),
//!     clock: Clock::system(),
//!     trusted_proxies: Vec::new(),
//!     metrics: Arc::new(Metrics::default()),
//! };
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//! http::serve(listener, app, std::future::pending()).await?;
//! # Ok(())
//! # }
//! ```

pub mod admin;
pub mod clock;
pub mod config;
pub mod delivery;
mod files;
pub mod hosting;
pub mod http;
pub mod metrics;
mod outbound;
pub mod stores;
pub mod telemetry;
pub mod workspace;
