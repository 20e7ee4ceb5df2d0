//! Loads the plugin and runs it, a fresh sandbox for every call.

use crate::capabilities::{Call, Observed};
use crate::contract::exports::chat::reset_totp::handler::{Caller, Request, Response};
use crate::contract::{ResetTotpPlugin, ResetTotpPluginPre};
use crate::password::Busy;
use crate::sandbox::{Limits, Sandbox, spawn_ticker};
use crate::store::StoreError;
use serde::de::IgnoredAny;
use std::io::Read;
use std::path::Path;
use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{Config, Engine, Store, Trap};

/// Largest plugin that is loaded, in bytes: forty times the size of ours, and
/// compiled in a few seconds at most.
const MAX_PLUGIN: u64 = 4 * 1024 * 1024;

/// Largest answer that a plugin may give, in bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// Longest text of a plugin's failure that is logged, in characters.
const MAX_FAILURE_TEXT: usize = 500;

/// A loaded plugin.
pub struct Plugin {
    engine: Engine,
    component: ResetTotpPluginPre<Sandbox>,
    limits: Limits,
}

/// Why a file is not a plugin.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read it: {0}")]
    Unreadable(#[from] std::io::Error),
    /// The file is larger than any plugin.
    #[error("it is larger than {MAX_PLUGIN} bytes")]
    TooLarge,
    /// It is not a component, or one whose imports or exports are not those of
    /// `chat:reset-totp`.
    #[error("it is not a component that this host can run: {0}")]
    Incompatible(String),
}

/// The first line of each cause: the others are hexadecimal dumps.
impl From<wasmtime::Error> for LoadError {
    fn from(error: wasmtime::Error) -> Self {
        let causes = error.chain().map(|cause| {
            let text = cause.to_string();
            text.lines().next().unwrap_or_default().to_owned()
        });
        Self::Incompatible(causes.collect::<Vec<_>>().join(": "))
    }
}

/// Why a call gave no answer. Nothing was changed, unless [`Observed`] says
/// that a reset was committed; nothing of the call goes on afterwards.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The plugin computed for too long.
    #[error("the plugin used more processor time than it may")]
    CpuTime,
    /// The call took too long in all, in the plugin or in the host.
    #[error("the call took longer than it may")]
    WallTime,
    /// The plugin asked for too much memory.
    #[error("the plugin wanted more memory than it may have")]
    Memory,
    /// The plugin recursed too deeply.
    #[error("the plugin exhausted its stack")]
    Stack,
    /// The plugin stopped itself or broke the component model's rules.
    #[error("the plugin trapped: {0}")]
    Trap(String),
    /// The plugin's answer is not one that the contract allows.
    #[error("the plugin gave an answer that the contract does not allow: {0}")]
    BadAnswer(&'static str),
    /// The host has too much to do.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// The host could not do what the plugin asked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The host broke.
    #[error("the host panicked")]
    Panic,
}

impl Failure {
    /// A stable name for clients, logs and the audit trail.
    pub fn code(&self) -> &'static str {
        match self {
            Self::CpuTime => "plugin-cpu-time",
            Self::WallTime => "call-wall-time",
            Self::Memory => "plugin-memory",
            Self::Stack => "plugin-stack",
            Self::Trap(_) => "plugin-trap",
            Self::BadAnswer(_) => "plugin-bad-answer",
            Self::Busy(_) => "host-busy",
            Self::Store(_) => "host-store",
            Self::Panic => "host-panic",
        }
    }

    fn from_error(error: wasmtime::Error, sandbox: &Sandbox) -> Self {
        let error = match error.downcast::<Busy>() {
            Ok(busy) => return Self::Busy(busy),
            Err(error) => error,
        };
        match error.downcast::<StoreError>() {
            Ok(error) => Self::Store(error),
            Err(_) if sandbox.memory_refused() => Self::Memory,
            Err(error) => match error.downcast_ref::<Trap>() {
                Some(Trap::Interrupt) => Self::CpuTime,
                Some(Trap::StackOverflow) => Self::Stack,
                _ => Self::Trap(
                    format!("{error:#}")
                        .escape_debug()
                        .take(MAX_FAILURE_TEXT)
                        .collect(),
                ),
            },
        }
    }
}

impl Plugin {
    /// Loads the component in the file at `path`.
    ///
    /// # Errors
    ///
    /// See [`LoadError`].
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        let mut bytes = Vec::new();
        std::fs::File::open(path)?
            .take(MAX_PLUGIN + 1)
            .read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_PLUGIN {
            return Err(LoadError::TooLarge);
        }
        Ok(Self::new(&bytes, Limits::default())?)
    }

    /// Compiles a component, whose calls get these limits.
    ///
    /// # Errors
    ///
    /// When `bytes` is not a component, or one whose imports or exports are not
    /// those of `chat:reset-totp`.
    pub fn new(bytes: &[u8], limits: Limits) -> wasmtime::Result<Self> {
        wasmtime::ensure!(bytes.starts_with(b"\0asm"), "it is not WebAssembly");
        let engine = Engine::new(Config::new().epoch_interruption(true))?;
        let component = Component::from_binary(&engine, bytes)?;
        let mut linker = Linker::new(&engine);
        ResetTotpPlugin::add_to_linker::<_, HasSelf<Call>>(&mut linker, Sandbox::lend)?;
        let component = ResetTotpPluginPre::new(linker.instantiate_pre(&component)?)?;
        spawn_ticker(engine.weak())?;
        Ok(Self {
            engine,
            component,
            limits,
        })
    }

    /// Runs the plugin for one request in a sandbox of its own, and says what
    /// the host saw it do.
    ///
    /// # Errors
    ///
    /// See [`Failure`].
    pub async fn reset_totp(
        &self,
        call: Call,
        request: &Request,
    ) -> (Result<Response, Failure>, Observed) {
        let caller = Caller {
            id: call.caller.id.clone(),
            bypass_token: call.caller.bypass_token,
        };
        let mut store = Store::new(&self.engine, Sandbox::new(call, self.limits));
        Sandbox::enforce(&mut store);
        let answer = async {
            let instance = self.component.instantiate_async(&mut store).await?;
            instance
                .chat_reset_totp_handler()
                .call_reset_totp(&mut store, &caller, request)
                .await
        };
        let answer = tokio::time::timeout(self.limits.wall_time, answer).await;
        let mut sandbox = store.into_data();
        let finished = sandbox.call.finish_reset().await;
        let answer = match answer {
            Err(_elapsed) => finished.map_err(Failure::from).and(Err(Failure::WallTime)),
            Ok(Err(error)) => Err(Failure::from_error(error, &sandbox)),
            Ok(Ok(response)) => check(response, &sandbox.call.observed),
        };
        (answer, sandbox.call.observed)
    }
}

/// Holds an answer to the contract, and to what the host saw: "done" is
/// believed only after a commit.
fn check(response: Response, observed: &Observed) -> Result<Response, Failure> {
    let problem = if !matches!(response.status, 200 | 400..=499) {
        "its status"
    } else if (response.status == 200) != observed.committed() {
        "its status does not say whether a reset was committed"
    } else if response.body.len() > MAX_ANSWER {
        "its body is too long"
    } else if serde_json::from_str::<IgnoredAny>(&response.body).is_err() {
        "its body is not JSON"
    } else {
        return Ok(response);
    };
    Err(Failure::BadAnswer(problem))
}
