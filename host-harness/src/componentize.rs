//! `componentize`: the last step of building a plugin in Rust or C.

use crate::files::folder_of;
use anyhow::{Context, anyhow, bail};
use clap::Args;
use plugin_sandbox::regular_file;
use std::fs::Permissions;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

/// Largest module, in bytes: with what helps to debug it, one is several times as large as the largest
/// plugin.
const MAX_MODULE: u64 = 256 << 20;

#[derive(Args)]
pub(crate) struct Componentize {
    /// The core module, such as target/wasm32-unknown-unknown/release/my_plugin.wasm.
    #[arg(value_name = "MODULE")]
    module: PathBuf,
    /// Where to write the component, in the place of what may be there.
    #[arg(value_name = "PLUGIN")]
    plugin: PathBuf,
}

impl Componentize {
    /// Writes the component, whole or not at all.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let (module, plugin) = (self.module.display(), self.plugin.display());
        let bytes = regular_file::read(&self.module, MAX_MODULE + 1);
        let bytes = bytes.with_context(|| format!("cannot read {module}"))?;
        if bytes.len() as u64 > MAX_MODULE {
            bail!("cannot read {module}: it is larger than {MAX_MODULE} bytes");
        }
        let component = plugin_sandbox::componentize(&bytes)
            .map_err(|reason| anyhow!("{module} cannot be made a component: {reason}"))?;
        self.write(&component)
            .with_context(|| format!("cannot write {plugin}"))
    }

    fn write(&self, component: &[u8]) -> std::io::Result<()> {
        let folder = folder_of(&self.plugin);
        // As any other file, others may read it where the umask lets them.
        let mut unfinished = tempfile::Builder::new()
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(folder)?;
        unfinished.write_all(component)?;
        unfinished.persist(&self.plugin)?;
        Ok(())
    }
}
