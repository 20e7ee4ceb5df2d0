//! `componentize`: the last step of building a plugin in Rust or C.

use anyhow::{Context, anyhow};
use clap::Args;
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
        let unfinished = self.plugin.with_extension("part");
        std::fs::write(&unfinished, component)
            .and_then(|()| std::fs::rename(&unfinished, &self.plugin))
            .with_context(|| format!("cannot write {plugin}"))
    }
}
