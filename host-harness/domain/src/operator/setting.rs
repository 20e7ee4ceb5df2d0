//! What operators do to settings, and what a configuration says they are.

use super::{Answer, Granted, Operation, Problem};
use crate::audit::Action;
use crate::dossier::{Dossier, Question};
use crate::order::{Change, Decided, Order};
use crate::settings::{Setting, Settings};
use secrecy::{ExposeSecret, SecretString};

/// Sets a setting, whatever it was before. One that a configuration fixes is only set where that
/// is forced: the configuration was lost, or it fixes the setting again when it is next read.
#[derive(Clone, Debug)]
pub struct SetSetting {
    /// Where and when.
    pub operation: Operation,
    /// Which.
    pub setting: &'static Setting,
    /// As [`Setting::set`] reads it.
    pub value: SecretString,
}

impl Order for SetSetting {
    type Answer = Answer<()>;

    fn question(&self) -> Question {
        self.operation.question().with_fixed_settings()
    }

    fn decide(&self, dossier: &Dossier) -> Decided<Self::Answer> {
        Operation::decided(self.grant(dossier))
    }
}

impl SetSetting {
    fn grant(&self, dossier: &Dossier) -> Granted<()> {
        self.operation.require_workspace(dossier)?;
        let setting = self.setting;
        let (fixed, others): (Vec<_>, Vec<_>) = dossier
            .fixed_settings
            .iter()
            .cloned()
            .partition(|fixed| fixed.name == setting.name);
        let mut changes = self.operation.set(setting, &self.value)?;
        if let Some(fixed) = fixed.first() {
            if !self.operation.forced {
                let (name, place) = (setting.name, fixed.place.clone());
                return Err(Problem::FixedSetting { name, place });
            }
            changes.push(Change::FixSettings(others));
        }
        Ok(((), changes))
    }
}

/// A setting whose value a configuration says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingPlace {
    /// Its name.
    pub name: String,
    /// The file that says it, and where in it.
    pub place: String,
}

/// Makes the settings of a workspace what a configuration says, and keeps others from changing
/// them. The answer is how many were not so.
#[derive(Clone, Debug)]
pub struct FixSettings {
    /// Where and when.
    pub operation: Operation,
    /// Each setting and its value, as [`Setting::set`] reads it, and where that is said.
    pub settings: Vec<(&'static Setting, SecretString, String)>,
}

impl Order for FixSettings {
    type Answer = Answer<usize>;

    fn question(&self) -> Question {
        let question = self.operation.question().with_settings();
        question.with_fixed_settings().looking_first()
    }

    fn decide(&self, dossier: &Dossier) -> Decided<Self::Answer> {
        Operation::decided(self.grant(dossier))
    }
}

impl FixSettings {
    fn grant(&self, dossier: &Dossier) -> Granted<usize> {
        self.operation.require_workspace(dossier)?;
        let known = dossier.settings.clone().unwrap_or_default();
        let mut changes = Vec::new();
        let mut written = 0;
        for (setting, value, _) in &self.settings {
            let mut wanted = known.clone();
            setting.set(&mut wanted, value.expose_secret())?;
            let value = setting.value(&wanted);
            if value.expose_secret() != setting.value(&known).expose_secret() {
                changes.extend(self.operation.set(setting, &value)?);
                written += 1;
            }
        }
        let fixed = self
            .settings
            .iter()
            .map(|(setting, _, place)| SettingPlace {
                name: setting.name.to_owned(),
                place: place.clone(),
            });
        let mut fixed: Vec<_> = fixed.collect();
        fixed.sort_by(|a, b| a.name.cmp(&b.name));
        if fixed != dossier.fixed_settings {
            changes.push(Change::FixSettings(fixed));
        }
        Ok((written, changes))
    }
}

impl Operation {
    /// What sets a setting, and records it.
    fn set(&self, setting: &'static Setting, value: &SecretString) -> Answer<Vec<Change>> {
        let mut settings = Settings::default();
        setting.set(&mut settings, value.expose_secret())?;
        let value = setting.value(&settings);
        let detail = match setting.is_secret() {
            true => setting.name.to_owned(),
            false => format!("{}: {}", setting.name, value.expose_secret()),
        };
        let value = setting.is_changed(&settings).then_some(value);
        let record = self.record(Action::ChangeSetting, None, Some(detail));
        let name = setting.name;
        let set = Change::SetSetting { name, value };
        Ok(vec![set, Change::Record(record)])
    }
}
