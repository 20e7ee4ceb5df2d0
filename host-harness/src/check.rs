//! `check`: tries every scenario of the contract on a plugin.

use crate::show;
use anyhow::{Context, ensure};
use chat_server::config::Config;
use chat_server::telemetry::{self, LogFormat};
use clap::{Args, ValueEnum};
use host_harness::harness::{Candidate, Harness};
use host_harness::scenarios::Report;
use std::path::PathBuf;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// The exit code when nothing could be tried.
const NOT_TRIED: u8 = 2;

#[derive(Args)]
pub(crate) struct Check {
    /// The plugin: a component that targets the world of wit/.
    #[arg(value_name = "PLUGIN")]
    plugin: PathBuf,
    /// A configuration file, on whose host it is tried with all that a call may have, and
    /// with its cache.
    /// Default: a host that sets no limits.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The form of the report on standard output: for people, as JUnit's XML, or as
    /// one line of JSON.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Try only the scenarios whose name holds this, such as `code`.
    #[arg(long, value_name = "NAME", default_value = "")]
    filter: String,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Junit,
    Json,
}

impl Check {
    /// Tries the scenarios and prints the report: 0 when all passed, 1 when one did
    /// not, 2 when there is nothing to report.
    pub(crate) async fn run(self) -> ExitCode {
        match self.report().await {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("host-harness: {error:#}");
                ExitCode::from(NOT_TRIED)
            }
        }
    }

    fn harness(&self) -> anyhow::Result<Harness> {
        let Some(config) = &self.config else {
            return Ok(Harness::load(&self.plugin)?);
        };
        let host = Config::read(config)?.host;
        let candidate = Candidate::read(&self.plugin)?;
        let cache = host.cache.as_deref();
        Ok(Harness::within(host.capacity, cache, &candidate)?)
    }

    /// Whether all passed.
    async fn report(self) -> anyhow::Result<bool> {
        let _telemetry = std::env::var_os(EnvFilter::DEFAULT_ENV)
            .map(|_| telemetry::start(LogFormat::Text, None))
            .transpose()?;
        let harness = self
            .harness()
            .with_context(|| format!("cannot check {}", self.plugin.display()))?;
        let report = Report::of(&harness, &self.filter, |tried| {
            eprintln!("{}", tried.line())
        });
        let report = report.await;
        ensure!(
            !report.tried.is_empty(),
            "no scenario has {} in its name",
            self.filter
        );
        match self.format {
            Format::Text => show(&report.text())?,
            Format::Junit => show(report.junit()?.trim_end())?,
            Format::Json => show(&report.json().to_string())?,
        }
        Ok(report.is_success())
    }
}
