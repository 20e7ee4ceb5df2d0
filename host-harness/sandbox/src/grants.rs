//! What a workspace lends to its plugin. What is not granted is not linked.

use serde::{Serialize, Serializer};
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

    /// The interface as a component imports it; every version of the same track
    /// serves (`0.1` here, `0.2` of WASI).
    pub fn interface(self) -> &'static str {
        match self {
            Self::WallClock => "wasi:clocks/wall-clock@0.2.0",
            Self::Users => "chat:reset-totp/users@0.1.0",
            Self::Permissions => "chat:reset-totp/permissions@0.1.0",
            Self::Settings => "chat:reset-totp/settings@0.1.0",
            Self::Secrets => "chat:reset-totp/secrets@0.1.0",
        }
    }

    /// What it lets a plugin do, after "it may".
    pub fn allows(self) -> &'static str {
        match self {
            Self::WallClock => "ask when the request was accepted; time stands still meanwhile",
            Self::Users => {
                "look up one account of the workspace at a time, by id or username: \
                 whether it exists, its id and name, whether another server keeps it"
            }
            Self::Permissions => "ask whether the caller holds a permission",
            Self::Settings => "read the workspace's four two-factor settings",
            Self::Secrets => {
                "count a failed attempt of the caller and then read the caller's own TOTP \
                 key, have a code mailed to the caller, have the caller's code or password \
                 compared, and ask for the removal of the TOTP factor of one member, of its \
                 own choice, which the host checks again and records"
            }
        }
    }

    /// What a plugin without it can not do, after "it cannot".
    pub fn forbids(self) -> &'static str {
        match self {
            Self::WallClock => "tell the time",
            Self::Users => "look up accounts",
            Self::Permissions => "ask about permissions",
            Self::Settings => "read settings",
            Self::Secrets => "read a second factor, send a code, or remove a factor",
        }
    }

    /// The one that serves an import of this name.
    pub fn of_import(name: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|capability| track(capability.interface()) == track(name))
    }

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

/// The name of an interface, and the versions that serve for each other: those of
/// one major version, or of one minor version before 1.0. A version that is not
/// three plain numbers serves for itself alone.
fn track(import: &str) -> (&str, &str) {
    let Some((name, version)) = import.split_once('@') else {
        return (import, "");
    };
    let mut numbers = version.split('.');
    let (Some(major), Some(minor), Some(patch), None) = (
        numbers.next(),
        numbers.next(),
        numbers.next(),
        numbers.next(),
    ) else {
        return (name, version);
    };
    let is_plain = |number: &str| number.bytes().all(|b| b.is_ascii_digit());
    if !is_plain(patch) || (major, minor) == ("0", "0") {
        return (name, version);
    }
    // With the dot after it, which no whole version ends in.
    let numbers = match major {
        "0" => major.len() + 1 + minor.len(),
        _ => major.len(),
    };
    (name, version.get(..=numbers).unwrap_or(version))
}

impl Serialize for Capability {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_of_the_same_track_serves() {
        for (import, capability) in [
            ("chat:reset-totp/users@0.1.0", Some(Capability::Users)),
            ("chat:reset-totp/users@0.1.7", Some(Capability::Users)),
            ("wasi:clocks/wall-clock@0.2.6", Some(Capability::WallClock)),
            ("chat:reset-totp/users@0.2.0", None),
            ("chat:reset-totp/users@1.1.0", None),
            ("chat:reset-totp/users@0.1.0-rc.1", None),
            ("chat:reset-totp/users@0.1.0-rc", None),
            ("chat:reset-totp/users@0.0.1", None),
            ("chat:reset-totp/users@0.1", None),
            ("chat:reset-totp/users", None),
            ("users", None),
            ("", None),
        ] {
            assert_eq!(Capability::of_import(import), capability, "{import}");
        }
    }
}
