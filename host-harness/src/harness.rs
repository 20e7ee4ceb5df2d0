//! A chat server to try a plugin on: a real one, in this process, on a free port,
//! with a store in a real file and a clock that stands still.
//!
//! To test a plugin of your own:
//!
//! 1. Load it, once: [`Harness::load`] takes a component's file, [`Harness::new`]
//!    its bytes. A plugin that the host refuses is an error which says why.
//! 2. Say who is there. [`Harness::server`] begins with nobody, [`Harness::cast`]
//!    with an account of every kind; [`User`] and [`Setup`] change the rest.
//! 3. [`Setup::start`] it, and send what clients send: [`Server::post`] is a request
//!    to reset, [`Server::code`] a caller's code of the moment.
//! 4. Look at the [`Answer`], and at what happened: [`Server::mail`],
//!    [`Server::audit`], [`Server::failures`], and [`Server::snapshot`] for every
//!    row that changed.
//! 5. See that a host in trouble is no yes: [`Server::plant`] lets the host calls fail
//!    that you name.
//!
//! ```
//! use host_harness::harness::{Error, Harness, User};
//!
//! # async fn example() -> Result<(), Error> {
//! let harness = Harness::load("target/my_plugin.wasm")?;
//! let server = harness
//!     .server()
//!     .user(User::named("ada").role("admin"))
//!     .user(User::named("bob"))
//!     .start()
//!     .await?;
//!
//! // Bob has lost his phone.
//! let request = server.post("ada").json(r#"{"username":"bob"}"#);
//! let answer = request.code(server.code("ada")).send().await?;
//! assert_eq!(answer.text(), r#"200 {"success":true}"#);
//! assert!(!server.snapshot()?.mentions("totp", "bobId"));
//! assert_eq!(server.mail()?.len(), 1);
//!
//! // A code is accepted once, and a refusal changes nothing.
//! let before = server.snapshot()?;
//! let request = server.post("ada").json(r#"{"username":"bob"}"#);
//! let answer = request.code(server.code("ada")).send().await?;
//! assert_eq!(answer.status, 400);
//! assert!(before.changes(&server.snapshot()?).is_empty());
//! assert_eq!(server.failures("ada")?, 1);
//! # Ok(())
//! # }
//! ```
//!
//! [`crate::scenarios`] holds what every plugin must do; `host-harness check PLUGIN`
//! runs them.

mod cast;
mod evidence;
mod request;
mod server;
mod setup;
mod user;

pub use cast::{
    ADMIN, ALICE, BACKUP_CODES, BOB, BOT, CAROL, DAVE, DEACTIVATED, ERIN, FEDERATED, FRANK, HELPER,
    MALLORY, MODERATOR, PASSWORD,
};
pub use chat_store::sqlite::evidence::{Mail, Record};
pub use evidence::Snapshot;
pub use request::{Answer, Request};
pub use server::Server;
pub use setup::Setup;
pub use user::User;

// What the words above are given and give, so that a test needs no other crate.
pub use chat_domain::settings::Settings;
pub use chat_domain::time::Timestamp;
pub use plugin_sandbox::admission::Candidate;
pub use plugin_sandbox::capabilities::{Fault, FaultKind};
pub use plugin_sandbox::grants::{Capability, Grants};
pub use plugin_sandbox::host_call::HostCall;
pub use plugin_sandbox::limits::Limits;
pub use plugin_sandbox::runtime::Capacity;

use chat_domain::password::{self, HashError};
use chat_store::StoreError;
use chat_store::sqlite::evidence::Unreadable;
use plugin_sandbox::admission::{Admissions, CacheError, CodeCache, LoadError, Policy};
use plugin_sandbox::plugin::Plugin;
use plugin_sandbox::runtime::Runtime;
use secrecy::SecretString;
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Why something could not be tried: never the answer of a plugin.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host does not take the plugin.
    #[error("the plugin is refused: {0}")]
    Refused(#[from] LoadError),
    /// The folder is no place for compiled code.
    #[error("cannot keep compiled code: {0}")]
    Cache(#[from] CacheError),
    /// There is no engine on this machine.
    #[error("cannot start the engine: {0}")]
    Engine(String),
    /// The store does not take what it was given, such as two accounts of one
    /// name, or a user of a role that the workspace does not have.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store's file cannot be looked at.
    #[error("cannot look at the store: {0}")]
    Look(#[from] Unreadable),
    /// A password cannot be hashed.
    #[error("cannot hash a password: {0}")]
    Password(#[from] HashError),
    /// There is no folder or no port, or the server broke.
    #[error("cannot serve: {0}")]
    Server(#[from] std::io::Error),
    /// A request has a header that is none, or got no answer.
    #[error("cannot ask the server: {0}")]
    Request(#[from] reqwest::Error),
}

/// A plugin, loaded and ready for any number of servers.
pub struct Harness {
    plugin: Arc<Plugin>,
    /// Those of a call, unless a server is set up otherwise.
    limits: Limits,
    /// Hashes of passwords: making one takes tens of milliseconds.
    passwords: Mutex<HashMap<String, SecretString>>,
}

impl Harness {
    /// Loads the component in the file at `path`, and grants it all that there is.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] when the host does not take it, [`Error::Engine`] when
    /// there is no engine.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, Error> {
        let candidate = Candidate::read(path.as_ref()).map_err(LoadError::from)?;
        Self::granting(&candidate, Grants::all())
    }

    /// Loads the component that `bytes` are, and grants it all that there is.
    ///
    /// # Errors
    ///
    /// As [`Harness::load`].
    pub fn new(bytes: &[u8]) -> Result<Self, Error> {
        Self::granting(&Candidate::new(bytes.to_vec(), None), Grants::all())
    }

    /// Loads a component and grants it these capabilities alone: one that imports
    /// another is refused.
    ///
    /// # Errors
    ///
    /// As [`Harness::load`].
    pub fn granting(candidate: &Candidate, grants: Grants) -> Result<Self, Error> {
        let policy = Policy {
            grants,
            ..Policy::default()
        };
        Self::admitting(candidate, &policy, Capacity::default(), None)
    }

    /// Loads a component on a host that gives this and keeps compiled code in the folder
    /// `cache` where there is one, and grants it all that there is. What one call may use is
    /// the ceiling.
    ///
    /// # Errors
    ///
    /// As [`Harness::load`], and [`Error::Cache`].
    pub fn within(
        capacity: Capacity,
        cache: Option<&Path>,
        candidate: &Candidate,
    ) -> Result<Self, Error> {
        let policy = Policy {
            grants: Grants::all(),
            ..Policy::default()
        };
        Self::admitting(candidate, &policy, capacity, cache)
    }

    fn admitting(
        candidate: &Candidate,
        policy: &Policy,
        capacity: Capacity,
        cache: Option<&Path>,
    ) -> Result<Self, Error> {
        let runtime =
            Runtime::new(capacity).map_err(|error| Error::Engine(format!("{error:#}")))?;
        let mut admissions = Admissions::new(runtime);
        if let Some(folder) = cache {
            admissions = admissions.with_cache(CodeCache::open(folder)?);
        }
        let plugin = admissions.admit_here(candidate, policy);
        Ok(Self {
            limits: capacity.ceiling,
            plugin: plugin.map_err(LoadError::from)?,
            passwords: Mutex::default(),
        })
    }

    /// What one call may use, unless a server is set up otherwise.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// A server to set up, whose workspace has nobody in it.
    pub fn server(&self) -> Setup<'_> {
        Setup::new(self)
    }

    /// How a store keeps `password`.
    fn password_hash(&self, password: &str) -> Result<SecretString, Error> {
        let mut known = self
            .passwords
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(hash) = known.get(password) {
            return Ok(hash.clone());
        }
        let hash = password::hash(&password::digest(&password.into()), &mut rand::rng())?;
        known.insert(password.to_owned(), hash.clone());
        Ok(hash)
    }
}
