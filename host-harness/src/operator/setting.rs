//! `setting`: show and change a workspace's settings.

use super::table::headed;
use super::{Desk, Report, input};
use anyhow::bail;
use chat_domain::operator::{Operation, Problem};
use chat_domain::settings::{SETTINGS, Setting, Settings};
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List the settings, their values and what they mean.
    List,
    /// Print the value of a setting.
    Get(Which),
    /// Change a setting; a server takes it from its next request on.
    ///
    /// Example: host-harness setting set totp-window 2
    Set {
        #[command(flatten)]
        which: Which,
        /// The value. Without it, it is asked for without echo, or read as one
        /// line from standard input: a secret always is.
        value: Option<String>,
        #[command(flatten)]
        even: EvenFixed,
    },
    /// Give a setting its default value back.
    Reset {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        even: EvenFixed,
    },
}

/// Which setting.
#[derive(Args)]
pub(crate) struct Which {
    /// The setting.
    #[arg(value_name = "NAME", value_parser = setting_name())]
    setting: &'static Setting,
}

/// What is done in spite of a configuration.
#[derive(Args)]
pub(crate) struct EvenFixed {
    /// Even where a configuration fixes it: one that is no longer read.
    #[arg(long)]
    force: bool,
}

fn setting_name() -> impl TypedValueParser<Value = &'static Setting> {
    let names = SETTINGS
        .iter()
        .map(|setting| PossibleValue::new(setting.name).help(setting.meaning));
    PossibleValuesParser::new(names)
        .try_map(|name| Setting::named(&name).ok_or_else(|| format!("there is no setting {name}")))
}

pub(super) async fn run(desk: &Desk, command: Command) -> anyhow::Result<Report> {
    match command {
        Command::List => list(desk).await,
        Command::Get(Which { setting }) => {
            let settings = desk.settings().await?;
            Ok(Report {
                text: value(setting, &settings),
                json: described(setting, &settings),
            })
        }
        Command::Set { which, value, even } => {
            let value = entered(which.setting, value)?;
            set(desk, which.setting, value, &even).await
        }
        Command::Reset { which, even } => {
            let default = which.setting.value(&Settings::default());
            set(desk, which.setting, default, &even).await
        }
    }
}

async fn list(desk: &Desk) -> anyhow::Result<Report> {
    let settings = desk.settings().await?;
    let row = |setting: &Setting| {
        let state = if setting.is_changed(&settings) {
            "changed"
        } else {
            "default"
        };
        [
            setting.name.to_owned(),
            shown(setting, &settings),
            state.to_owned(),
            setting.meaning.to_owned(),
        ]
    };
    Ok(Report {
        text: headed(
            ["NAME", "VALUE", "STATE", "MEANING"],
            SETTINGS.iter().map(row).collect(),
        ),
        json: SETTINGS
            .iter()
            .map(|setting| described(setting, &settings))
            .collect(),
    })
}

async fn set(
    desk: &Desk,
    setting: &'static Setting,
    value: SecretString,
    even: &EvenFixed,
) -> anyhow::Result<Report> {
    let operation = Operation {
        forced: even.force,
        ..desk.operation()
    };
    desk.store.set_setting(operation, setting, value).await??;
    let settings = desk.settings().await?;
    Ok(Report {
        text: format!("{} is {}", setting.name, shown(setting, &settings)),
        json: described(setting, &settings),
    })
}

fn entered(setting: &Setting, value: Option<String>) -> anyhow::Result<SecretString> {
    match value {
        Some(_) if setting.is_secret() => bail!(
            "{name} is a secret, which is no argument: `setting set {name}` asks for it, or reads \
             one line of standard input",
            name = setting.name
        ),
        Some(value) => Ok(value.into()),
        None => input::secret(&format!("{}: ", setting.name)),
    }
}

impl Desk {
    pub(super) async fn settings(&self) -> anyhow::Result<Settings> {
        let settings = self.store.settings(&self.workspace).await?;
        let unknown = || Problem::UnknownWorkspace(self.workspace.clone());
        Ok(settings.ok_or_else(unknown)?)
    }
}

/// The value, for people: an empty one is seen.
fn shown(setting: &Setting, settings: &Settings) -> String {
    let value = value(setting, settings);
    if value.is_empty() {
        return "[empty]".to_owned();
    }
    value
}

/// The value; of a secret, whether there is one.
fn value(setting: &Setting, settings: &Settings) -> String {
    let value = setting.value(settings);
    match (setting.is_secret(), value.expose_secret()) {
        (true, "") => "[not set]".to_owned(),
        (true, _) => "[set]".to_owned(),
        (false, value) => value.to_owned(),
    }
}

fn described(setting: &Setting, settings: &Settings) -> Value {
    json!({
        "name": setting.name,
        "value": value(setting, settings),
        "changed": setting.is_changed(settings),
        "meaning": setting.meaning,
    })
}
