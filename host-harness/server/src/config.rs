//! The configuration file of a process that serves many workspaces: what it may
//! say, and what it says.
//!
//! The file is TOML; `config.example.toml` documents every key. A value here is
//! checked as far as the file alone tells; whether its plugins and stores exist
//! is for whoever opens them.

mod host;
mod limits;
mod problem;
mod reader;
#[cfg(test)]
mod tests;
mod workspace;

pub(crate) use host::collector;
pub use host::{admin_address, network};
pub use problem::ConfigError;

use chat_domain::settings::Setting;
use chat_store::StoreUrl;
use ipnet::IpNet;
use plugin_sandbox::admission::TrustRoot;
use plugin_sandbox::digest::Digest;
use plugin_sandbox::grants::Grants;
use plugin_sandbox::limits::Limits;
use plugin_sandbox::regular_file;
use plugin_sandbox::runtime::Capacity;
use reader::{Key, Reader};
use secrecy::{ExposeSecret, SecretString};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use url::Url;

/// Largest file that is read, in bytes: a hundred thousand workspaces take less.
const MAX_FILE: u64 = 64 * 1024 * 1024;

/// The port of the public listener when the file names none.
const DEFAULT_PORT: u16 = 3000;

/// What a configuration file says. Every path is absolute, or relative to where
/// the file's own path is.
#[derive(Debug, Default)]
pub struct Config {
    /// What the process does for all workspaces.
    pub host: Host,
    /// Files of plugins, in the order of the file; a workspace names the one it
    /// uses by digest.
    pub plugins: Vec<PathBuf>,
    /// At least one, sorted by id; no two are served under one host name.
    pub workspaces: Vec<WorkspaceEntry>,
}

/// What a process does for all its workspaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Where clients call.
    pub listen: SocketAddr,
    /// Where metrics, health and the operator's requests are answered, on this
    /// machine alone: there is no log-in.
    pub admin_listen: Option<SocketAddr>,
    /// Networks of proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// The folder of compiled code.
    pub cache: Option<PathBuf>,
    /// The file of the keys under which the stores are sealed.
    pub key_file: Option<PathBuf>,
    /// Whose signatures are accepted; when there are any, every plugin must have
    /// one.
    pub trust: Vec<TrustRoot>,
    /// How many calls run and wait, and what no workspace's limits exceed.
    pub capacity: Capacity,
    /// The OpenTelemetry collector that is sent every span.
    pub otlp: Option<Url>,
}

impl Default for Host {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, DEFAULT_PORT).into(),
            admin_listen: None,
            trusted_proxies: Vec::new(),
            cache: None,
            key_file: None,
            trust: Vec::new(),
            capacity: Capacity::default(),
            otlp: None,
        }
    }
}

/// One workspace, with what it has from the defaults. Equal parts of many
/// workspaces are one in memory.
#[derive(Debug)]
pub struct WorkspaceEntry {
    /// Unique in the file, and the id in the store.
    pub id: Box<str>,
    /// The host names under which it is served, in lower case; or
    /// [`ANY_HOST`](crate::workspace::ANY_HOST) for every name that no other has.
    pub hosts: Box<[Box<str>]>,
    /// Its store.
    pub store: StoreUrl,
    /// Its plugin.
    pub plugin: Digest,
    /// What it lends to the plugin.
    pub grants: Arc<Grants>,
    /// What one call may use: nowhere more than the host's ceiling.
    pub limits: Arc<Limits>,
    /// Whether the routes beside the plugin's are served, where it is said.
    pub neighbours: Option<bool>,
    /// The settings that the file fixes, sorted by name; each is valid.
    pub settings: Arc<Vec<SettingEntry>>,
}

impl WorkspaceEntry {
    /// Whether the routes beside the plugin's are served.
    pub fn serves_neighbours(&self) -> bool {
        self.neighbours.unwrap_or(!self.store.is_rocket_chats())
    }
}

/// A setting that the file fixes, whatever the store says.
#[derive(Clone)]
pub struct SettingEntry {
    /// Which.
    pub setting: &'static Setting,
    /// As [`Setting::set`] reads it.
    pub value: SecretString,
    /// The line of the file, from 1.
    pub line: usize,
}

impl fmt::Debug for SettingEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = match self.setting.is_secret() {
            true => "[redacted]",
            false => self.value.expose_secret(),
        };
        write!(f, "{} = {value:?}", self.setting.name)
    }
}

/// The tables of the file, in the order in which they are read: the host's
/// ceiling is over the limits of the defaults, which are those of a workspace.
const TABLES: [Key<Draft>; 4] = [
    Key {
        name: "host",
        read: |draft, entry, reader| reader.table(entry, &host::KEYS, &mut draft.config.host),
    },
    Key {
        name: "plugins",
        read: |draft, entry, reader| {
            reader.table(entry, &host::PLUGIN_KEYS, &mut draft.config.plugins);
        },
    },
    Key {
        name: "defaults",
        read: |draft, entry, reader| {
            let mut defaults = draft.defaults();
            reader.table(entry, &workspace::DEFAULT_KEYS, &mut defaults);
            draft.defaults = Some(defaults);
        },
    },
    Key {
        name: "workspaces",
        read: |draft, entry, reader| {
            draft.config.workspaces = workspace::read_all(entry, &draft.defaults(), reader);
        },
    },
];

/// What was read so far.
#[derive(Default)]
struct Draft {
    config: Config,
    defaults: Option<workspace::Draft>,
}

/// Whether what a line gives to this key is surely no secret.
fn is_quotable(key: &str) -> bool {
    let setting = Setting::named(key).is_some_and(|setting| !setting.is_secret());
    setting
        || host::KEYS.iter().any(|known| known.name == key)
        || limits::LIMITS.iter().any(|known| known.name == key)
        || workspace::KEYS.iter().any(|known| known.name == key)
}

impl Draft {
    fn defaults(&self) -> workspace::Draft {
        let ceiling = &self.config.host.capacity.ceiling;
        let given = self.defaults.clone();
        given.unwrap_or_else(|| workspace::Draft::under(*ceiling))
    }
}

fn mode(path: &Path) -> std::io::Result<u32> {
    Ok(std::fs::metadata(path)?.permissions().mode())
}

/// Permission bits by which everybody may write a file, and read it. Many systems give each
/// user a group of their own, which may write what they make.
const ALL_WRITE: u32 = 0o002;
const ALL_READ: u32 = 0o004;

impl Config {
    /// Reads the file at `path`.
    ///
    /// # Errors
    ///
    /// See [`ConfigError`]: when the file cannot be read, is larger than 64 MiB, may be
    /// written by everybody, or says anything that is not understood or not possible.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |cause: String| ConfigError::unreadable(path, cause);
        let bytes = regular_file::read(path, MAX_FILE + 1);
        let bytes = bytes.map_err(|error| unreadable(error.to_string()))?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(unreadable(format!("it is larger than {MAX_FILE} bytes")));
        }
        let text = String::from_utf8(bytes).map_err(|_| unreadable("it is not UTF-8".into()))?;
        let mode = mode(path).map_err(|error| unreadable(error.to_string()))?;
        if mode & ALL_WRITE != 0 {
            let shown = path.display();
            let cause = format!("everybody may write it: `chmod o-w {shown}` first");
            return Err(unreadable(cause));
        }
        Self::parse(&text, path)
    }

    /// What an operator should mend in the file at `path`, which says this: everybody may
    /// read a password that it holds.
    pub fn advice(&self, path: &Path) -> Option<String> {
        let is_open = mode(path).is_ok_and(|mode| mode & ALL_READ != 0);
        let shown = path.display();
        (is_open && self.holds_a_secret()).then(|| {
            format!("{shown} holds a password and everybody may read it: `chmod o-r {shown}`")
        })
    }

    fn holds_a_secret(&self) -> bool {
        let fixed = self.workspaces.iter().flat_map(|w| w.settings.iter());
        let mut secrets = fixed.filter(|fixed| fixed.setting.is_secret());
        secrets.any(|fixed| !fixed.value.expose_secret().is_empty())
            || self.workspaces.iter().any(|w| w.store.holds_password())
    }

    /// Reads `text` as that of the file at `path`.
    ///
    /// # Errors
    ///
    /// As [`Config::read`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut reader = Reader::new(text, folder);
        let mut draft = Draft::default();
        reader.file(&TABLES, &mut draft, is_quotable);
        if draft.config.workspaces.is_empty() {
            reader.refuse_lack("there is no workspace: one begins with [workspaces.ID]");
        }
        reader.finish(path)?;
        Ok(draft.config)
    }
}
