//! `componentize`: the last step of building a plugin in Rust or C.

use crate::files::folder_of;
use anyhow::{Context, anyhow};
use clap::Args;
use std::fs::Permissions;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

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
        let bytes = std::fs::read(&self.module).with_context(|| format!("cannot read {module}"))?;
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
