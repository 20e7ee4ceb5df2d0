//! `check`: tries every scenario of the contract on a plugin.

use crate::show;
use clap::{Args, ValueEnum};
use host_harness::harness::{Error, Harness};
use host_harness::scenarios::{Report, SCENARIOS};
use host_harness::telemetry::{self, LogFormat};
use std::path::PathBuf;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// The exit code when there is nothing to try.
const NOT_TRIED: u8 = 2;

#[derive(Args)]
pub(crate) struct Check {
    /// The plugin: a component that targets the world of wit/.
    #[arg(value_name = "PLUGIN")]
    plugin: PathBuf,
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
    /// not, 2 when the plugin cannot be loaded or no scenario has the name.
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let _telemetry = std::env::var_os(EnvFilter::DEFAULT_ENV)
            .map(|_| telemetry::start(LogFormat::Text, None))
            .transpose()?;
        let harness = match Harness::load(&self.plugin) {
            Ok(harness) => harness,
            Err(Error::Refused(error)) => {
                eprintln!(
                    "host-harness: cannot load the plugin {}: {error}",
                    self.plugin.display()
                );
                return Ok(ExitCode::from(NOT_TRIED));
            }
            Err(error) => return Err(error.into()),
        };
        let wanted = SCENARIOS.iter().filter(|s| s.name.contains(&self.filter));
        if wanted.count() == 0 {
            eprintln!("host-harness: no scenario has {} in its name", self.filter);
            return Ok(ExitCode::from(NOT_TRIED));
        }
        let report = Report::of(&harness, &self.filter, |tried| {
            eprintln!("{}", tried.line())
        });
        let report = report.await;
        match self.format {
            Format::Text => show(&report.text())?,
            Format::Junit => show(report.junit()?.trim_end())?,
            Format::Json => show(&report.json().to_string())?,
        }
        Ok(ExitCode::from(u8::from(!report.is_success())))
    }
}
