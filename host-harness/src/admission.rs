//! From a file to a plugin.

use crate::capabilities::Call;
use crate::contract::{ResetTotpPlugin, ResetTotpPluginPre};
use crate::digest::Digest;
use crate::plugin::Plugin;
use crate::runtime::Runtime;
use crate::sandbox::Sandbox;
use std::io::Read;
use std::path::Path;
use wasmtime::component::{Component, HasSelf, Linker};

/// Largest plugin that is loaded, in bytes: forty times the size of ours, and
/// compiled in a few seconds at most.
const MAX_PLUGIN: u64 = 4 * 1024 * 1024;

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

impl Plugin {
    /// Loads the component in the file at `path`.
    ///
    /// # Errors
    ///
    /// See [`LoadError`].
    pub fn load(runtime: &Runtime, path: &Path) -> Result<Self, LoadError> {
        let mut bytes = Vec::new();
        std::fs::File::open(path)?
            .take(MAX_PLUGIN + 1)
            .read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_PLUGIN {
            return Err(LoadError::TooLarge);
        }
        Ok(Self::new(runtime, &bytes)?)
    }

    /// Compiles a component.
    ///
    /// # Errors
    ///
    /// When `bytes` is not a component, or one whose imports or exports are not
    /// those of `chat:reset-totp`.
    pub fn new(runtime: &Runtime, bytes: &[u8]) -> wasmtime::Result<Self> {
        wasmtime::ensure!(bytes.starts_with(b"\0asm"), "it is not WebAssembly");
        let engine = runtime.engine.clone();
        let component = Component::from_binary(&engine, bytes)?;
        let mut linker = Linker::new(&engine);
        ResetTotpPlugin::add_to_linker::<_, HasSelf<Call>>(&mut linker, Sandbox::lend)?;
        let component = ResetTotpPluginPre::new(linker.instantiate_pre(&component)?)?;
        Ok(Self {
            engine,
            component,
            digest: Digest::of(bytes),
            turns: runtime.turns.clone(),
        })
    }
}
