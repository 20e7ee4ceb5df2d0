//! What a workspace lends to its plugin. What is not granted is not linked.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// One interface that a plugin may import.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Capability {
    /// `wasi:clocks/wall-clock`
    WallClock,
    /// `chat:reset-totp/users`
    Users,
    /// `chat:reset-totp/permissions`
    Permissions,
    /// `chat:reset-totp/settings`
    Settings,
    /// `chat:reset-totp/secrets`
    Secrets,
}

impl Capability {
    /// All that there are, in the order of the contract.
    pub const ALL: [Self; 5] = [
        Self::WallClock,
        Self::Users,
        Self::Permissions,
        Self::Settings,
        Self::Secrets,
    ];

    /// As configurations write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::WallClock => "wall-clock",
            Self::Users => "users",
            Self::Permissions => "permissions",
            Self::Settings => "settings",
            Self::Secrets => "secrets",
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text names no capability.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("no capability has this name")]
pub struct UnknownCapability;

impl FromStr for Capability {
    type Err = UnknownCapability;

    fn from_str(name: &str) -> Result<Self, UnknownCapability> {
        let mut all = Self::ALL.into_iter();
        all.find(|capability| capability.name() == name)
            .ok_or(UnknownCapability)
    }
}

/// What is granted; nothing by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Grants(BTreeSet<Capability>);

impl Grants {
    /// Everything that the contract has.
    pub fn all() -> Self {
        Capability::ALL.into_iter().collect()
    }

    /// Whether `capability` is granted.
    pub fn allow(&self, capability: Capability) -> bool {
        self.0.contains(&capability)
    }

    /// What is granted, in the order of the contract.
    pub fn iter(&self) -> impl Iterator<Item = Capability> {
        self.0.iter().copied()
    }
}

impl FromIterator<Capability> for Grants {
    fn from_iter<T: IntoIterator<Item = Capability>>(capabilities: T) -> Self {
        Self(capabilities.into_iter().collect())
    }
}
