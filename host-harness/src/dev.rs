//! `dev`: the demonstration of a plugin that is being written.

use crate::{Common, Hosted, demo, only, run, show};
use anyhow::Context;
use chat_server::config::{Config, Host};
use chat_server::hosting::Hosting;
use chat_server::telemetry::LogFormat;
use chat_store::StoreUrl;
use chat_store::seal::KeySource;
use clap::Args;
use plugin_sandbox::admission::{Candidate, Policy, Report, examine};
use plugin_sandbox::grants::{Capability, Grants};
use std::fmt::Write;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::interval;

/// How often the file is looked at: sooner than anybody asks again, and next to no work. Looking
/// finds what the system's own notices miss: a file that is replaced by a rename, or that lies in a
/// container's or a network's file system.
const LOOK: Duration = Duration::from_millis(200);

#[derive(Args)]
pub(crate) struct Dev {
    /// The plugin: a component that targets the world of wit/.
    #[arg(value_name = "PLUGIN")]
    plugin: PathBuf,
    /// A configuration file, whose host's limits and cache it is served with.
    /// Default: a host that sets none.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The address and port to listen on; port 0 takes any free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:3000")]
    listen: SocketAddr,
    /// The form of the log.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log: LogFormat,
}

impl Dev {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let given = self.config.as_deref().map(Config::read).transpose()?;
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        let (store, credentials) = demo::workspace(folder.path())
            .await
            .context("cannot make a workspace")?;
        let watched = Watched {
            store: store.into(),
            host: given.map(|config| config.host).unwrap_or_default(),
            common: Common {
                plugin: self.plugin,
                listen: self.listen,
                trusted_proxy: Vec::new(),
                log: self.log,
            },
        };
        // Before it is read: what changes meanwhile is seen afterwards.
        let look = Look::at(&watched.common.plugin);
        let candidate = watched.read()?;
        let hosted = Hosted {
            config: watched.config(&candidate),
            file: None,
            keys: KeySource::Nowhere,
        };
        run(hosted, self.log, |hosting, url| {
            demo::guide(url, &credentials)?;
            show(&watched.served(&watched.report(&candidate)))?;
            tokio::spawn(watched.keep_serving(look, hosting.clone()));
            Ok(())
        })
        .await
    }
}

/// A plugin's file, and what serves the plugin in it.
struct Watched {
    store: StoreUrl,
    /// Whose limits and cache count.
    host: Host,
    common: Common,
}

impl Watched {
    fn read(&self) -> anyhow::Result<Candidate> {
        let path = &self.common.plugin;
        Candidate::read(path).with_context(|| format!("cannot read the plugin {}", path.display()))
    }

    /// What one call may use is the ceiling.
    fn config(&self, candidate: &Candidate) -> Config {
        let mut config = only(self.store.clone(), candidate, &self.common);
        config.host.capacity = self.host.capacity;
        config.host.cache.clone_from(&self.host.cache);
        for workspace in &mut config.workspaces {
            workspace.limits = self.host.capacity.ceiling.into();
        }
        config
    }

    fn report(&self, candidate: &Candidate) -> Report {
        let policy = Policy {
            grants: Grants::all(),
            ..Policy::default()
        };
        examine(candidate, &policy, &self.host.capacity)
    }

    /// Loads the plugin again whenever its file has changed and is as it was a look before: a
    /// program that writes it has ended, or pauses.
    async fn keep_serving(self, served: Look, hosting: Arc<Hosting>) {
        let (mut tried, mut last) = (served.clone(), served);
        let mut looks = interval(LOOK);
        loop {
            looks.tick().await;
            let now = Look::at(&self.common.plugin);
            let rests = now == last;
            last = now;
            if rests && last != tried {
                tried = last.clone();
                let told = match self.load(&hosting).await {
                    Ok(report) => self.served(&report),
                    Err(problem) => self.refused(&problem),
                };
                // Whoever reads it may be gone: then nobody is left to serve for.
                if show(&told).is_err() {
                    return;
                }
            }
        }
    }

    /// Why not, where it is not served.
    async fn load(&self, hosting: &Arc<Hosting>) -> Result<Report, String> {
        let candidate = self.read().map_err(|error| format!("{error:#}"))?;
        let report = self.report(&candidate);
        if !report.admissible() {
            let problems = report.problems.iter();
            let lines = problems.map(|problem| format!("[{}] {problem}", problem.code()));
            return Err(lines.collect::<Vec<_>>().join("\n"));
        }
        let replaced = hosting.replace(self.config(&candidate)).await;
        replaced.map_err(|refused| refused.to_string())?;
        Ok(report)
    }

    fn served(&self, report: &Report) -> String {
        let asked = |capability: &Capability| {
            let mut imports = report.imports.iter();
            imports.any(|import| import.capability == Some(*capability))
        };
        let names: Vec<_> = Capability::ALL
            .into_iter()
            .filter(asked)
            .map(Capability::name)
            .collect();
        let mut text = format!("{} is served", self.common.plugin.display());
        if let Some(digest) = report.digest {
            let _ = write!(text, ", {digest}");
        }
        let _ = write!(text, "\n  it may use {}\n", names.join(", "));
        text
    }

    fn refused(&self, problem: &str) -> String {
        let path = self.common.plugin.display();
        let mut text = format!("{path} is not served; the plugin before it goes on\n");
        for line in problem.lines() {
            let _ = writeln!(text, "  {line}");
        }
        text
    }
}

/// What the system says of a file that is not read.
#[derive(Clone, PartialEq, Eq)]
struct Look(Option<Changed>);

/// When and to what it was changed last. Of the times, only this one nobody can set.
#[derive(Clone, PartialEq, Eq)]
struct Changed {
    seconds: i64,
    nanoseconds: i64,
    inode: u64,
    length: u64,
}

impl Look {
    fn at(path: &Path) -> Self {
        Self(std::fs::metadata(path).ok().map(|found| Changed {
            seconds: found.ctime(),
            nanoseconds: found.ctime_nsec(),
            inode: found.ino(),
            length: found.size(),
        }))
    }
}
