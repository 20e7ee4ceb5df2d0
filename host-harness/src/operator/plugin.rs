//! `inspect` and `admit`: what a plugin can and cannot do, before it is served.

use super::Report;
use anyhow::{Context, anyhow};
use chat_server::config::Config;
use clap::Args;
use plugin_sandbox::admission::{Admissions, Candidate, CodeCache, Policy, TrustRoot, examine};
use plugin_sandbox::digest::Digest;
use plugin_sandbox::grants::{Capability, Grants};
use plugin_sandbox::runtime::{Capacity, Runtime};
use serde_json::json;
use std::path::PathBuf;

/// Which plugin, and what it would be granted.
#[derive(Args)]
pub(crate) struct Plugin {
    /// The plugin's file; its signature is the file beside it whose name has
    /// `.minisig` added.
    #[arg(value_name = "PLUGIN")]
    path: PathBuf,
    /// The digest that it must have, as a configuration pins it. Default: any.
    #[arg(long, value_name = "DIGEST")]
    digest: Option<Digest>,
    /// What it would be granted, such as `users,settings`. Default: all that
    /// there is.
    #[arg(long, value_name = "CAPABILITY", value_delimiter = ',', value_parser = capability)]
    grants: Option<Vec<Capability>>,
    /// A public key of minisign whose signature the plugin must have; may be given
    /// again. Default: none is required.
    #[arg(long, value_name = "KEY")]
    trust: Vec<TrustRoot>,
    /// A configuration file, to whose host's limits the plugin is held. Default: those of
    /// a host that sets none.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

impl Plugin {
    pub(super) fn json(&self) -> bool {
        self.json
    }

    fn candidate(&self) -> anyhow::Result<Candidate> {
        let path = self.path.display();
        Candidate::read(&self.path).with_context(|| format!("cannot read the plugin {path}"))
    }

    fn capacity(&self) -> anyhow::Result<Capacity> {
        let config = self.config.as_deref().map(Config::read).transpose()?;
        Ok(config.map_or_else(Capacity::default, |config| config.host.capacity))
    }

    fn policy(&self) -> Policy {
        let grants = self.grants.as_ref();
        Policy {
            digest: self.digest,
            grants: grants.map_or_else(Grants::all, |grants| grants.iter().copied().collect()),
            trust: self.trust.clone(),
        }
    }
}

/// The report, and whether the plugin is admissible.
pub(super) fn inspect(plugin: &Plugin) -> anyhow::Result<(Report, bool)> {
    let report = examine(&plugin.candidate()?, &plugin.policy(), &plugin.capacity()?);
    let mut json = serde_json::to_value(&report)?;
    if let Some(members) = json.as_object_mut() {
        members.insert("admissible".to_owned(), report.admissible().into());
    }
    let text = report.to_string();
    Ok((Report { text, json }, report.admissible()))
}

pub(super) async fn admit(plugin: &Plugin, cache: Option<&PathBuf>) -> anyhow::Result<Report> {
    let candidate = plugin.candidate()?;
    let runtime = Runtime::new(plugin.capacity()?)
        .map_err(|error| anyhow!("cannot start the engine: {error:#}"))?;
    let mut admissions = Admissions::new(runtime);
    if let Some(folder) = cache {
        admissions = admissions.with_cache(CodeCache::open(folder)?);
    }
    let admitted = admissions.admit(&candidate, &plugin.policy()).await;
    let path = plugin.path.display();
    let digest = admitted
        .with_context(|| format!("the plugin {path} is not admitted"))?
        .digest();
    Ok(Report {
        text: format!(
            "It is admitted. To serve this file and no other, configure:\n\nplugin = \"{digest}\""
        ),
        json: json!({"digest": digest}),
    })
}

fn capability(name: &str) -> Result<Capability, String> {
    name.parse().map_err(|_| {
        let names = Capability::ALL.map(Capability::name);
        format!("there are {}", names.join(", "))
    })
}
