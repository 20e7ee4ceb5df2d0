//! The keys of `[defaults]` and of each workspace.

use super::reader::{Entry, Key, Reader, suggestion};
use super::{SettingEntry, WorkspaceEntry, limits};
use crate::workspace::ANY_HOST;
use chat_domain::operator::{NAME_FORM, is_name};
use chat_domain::settings::{SETTINGS, Setting, Settings};
use chat_store::{InvalidUrl, StoreUrl};
use plugin_sandbox::digest::Digest;
use plugin_sandbox::grants::{Capability, Grants};
use plugin_sandbox::limits::Limits;
use std::collections::{BTreeSet, HashMap};
use std::net::Ipv6Addr;
use std::sync::Arc;
use toml::de::DeValue;

/// Characters of a host name (RFC 1035 section 2.3.4).
const HOST_LIMIT: usize = 253;

/// A workspace as far as it was read: it begins as a copy of the defaults, with
/// which it shares what it does not change.
#[derive(Clone)]
pub(super) struct Draft {
    ceiling: Limits,
    /// The keys that must be there and are, right or wrong.
    given: BTreeSet<&'static str>,
    hosts: Box<[Box<str>]>,
    store: Option<StoreUrl>,
    plugin: Option<Digest>,
    grants: Arc<Grants>,
    limits: Arc<Limits>,
    neighbours: Option<bool>,
    settings: Arc<Vec<SettingEntry>>,
}

impl Draft {
    /// What a workspace has when the file says nothing.
    pub(super) fn under(ceiling: Limits) -> Self {
        Self {
            ceiling,
            given: BTreeSet::new(),
            hosts: Box::default(),
            store: None,
            plugin: None,
            grants: Arc::default(),
            limits: Arc::new(limits::usual_under(&ceiling)),
            neighbours: None,
            settings: Arc::default(),
        }
    }
}

const HOSTS: Key<Draft> = Key {
    name: "hosts",
    read: |draft, entry, reader| {
        draft.given.insert(HOSTS.name);
        reader.texts(entry, &mut draft.hosts, host_name);
        if entry.is_empty_list() {
            reader.refuse(entry, "at least one is needed");
        }
    },
};

const STORE: Key<Draft> = Key {
    name: "store",
    read: |draft, entry, reader| {
        draft.given.insert(STORE.name);
        let folder = reader.folder();
        let default = draft.store.clone();
        reader.text(entry, &mut draft.store, |text| {
            let url: StoreUrl = text.parse().map_err(|e: InvalidUrl| e.to_string())?;
            let url = url.under(folder);
            // Those that name the default's store again share its address.
            let same = default.filter(|default| *default == url);
            Ok(Some(same.unwrap_or(url)))
        });
    },
};

const PLUGIN: Key<Draft> = Key {
    name: "plugin",
    read: |draft, entry, reader| {
        draft.given.insert(PLUGIN.name);
        reader.text(entry, &mut draft.plugin, |text| {
            text.parse().map(Some).map_err(|error| format!("{error}"))
        });
    },
};

const GRANTS: Key<Draft> = Key {
    name: "grants",
    read: |draft, entry, reader| {
        reader.texts(entry, Arc::make_mut(&mut draft.grants), capability);
    },
};

const LIMITS: Key<Draft> = Key {
    name: "limits",
    read: |draft, entry, reader| {
        let limits = Arc::make_mut(&mut draft.limits);
        limits::read(entry, reader, limits, Some(&draft.ceiling));
    },
};

const NEIGHBOURS: Key<Draft> = Key {
    name: "neighbours",
    read: |draft, entry, reader| match entry.value() {
        DeValue::Boolean(switch) => draft.neighbours = Some(*switch),
        _ => reader.refuse(entry, "it is true or false"),
    },
};

const SETTINGS_TABLE: Key<Draft> = Key {
    name: "settings",
    read: |draft, entry, reader| {
        read_settings(entry, reader, Arc::make_mut(&mut draft.settings));
    },
};

pub(super) const DEFAULT_KEYS: [Key<Draft>; 6] =
    [STORE, PLUGIN, GRANTS, LIMITS, NEIGHBOURS, SETTINGS_TABLE];

pub(super) const KEYS: [Key<Draft>; 7] = [
    HOSTS,
    STORE,
    PLUGIN,
    GRANTS,
    LIMITS,
    NEIGHBOURS,
    SETTINGS_TABLE,
];

/// Reads all workspaces, sorted by id; of those with a problem some are left out.
pub(super) fn read_all(
    entry: &Entry<'_>,
    defaults: &Draft,
    reader: &mut Reader<'_>,
) -> Vec<WorkspaceEntry> {
    let mut owners = HashMap::new();
    let entries = reader.entries(entry);
    let mut workspaces = Vec::with_capacity(entries.len());
    for entry in entries {
        let mut draft = defaults.clone();
        if !is_name(entry.name()) {
            reader.refuse_key(&entry, &format!("a workspace's id is {NAME_FORM}"));
        }
        reader.table(&entry, &KEYS, &mut draft);
        for host in &draft.hosts {
            let owner = owners.insert(host.clone(), entry.name().to_owned());
            if let Some(owner) = owner {
                let what = format!("the host `{host}` is that of the workspace {owner} already");
                reader.refuse_key(&entry, &what);
            }
        }
        workspaces.extend(finish(&entry, draft, reader));
    }
    workspaces
}

fn finish(entry: &Entry<'_>, draft: Draft, reader: &mut Reader<'_>) -> Option<WorkspaceEntry> {
    for key in [HOSTS.name, STORE.name, PLUGIN.name] {
        if entry.is_table() && !draft.given.contains(key) {
            reader.refuse_key(entry, &format!("it lacks `{key}`"));
        }
    }
    Some(WorkspaceEntry {
        id: entry.name().into(),
        hosts: draft.hosts,
        store: draft.store?,
        plugin: draft.plugin?,
        grants: draft.grants,
        limits: draft.limits,
        neighbours: draft.neighbours,
        settings: draft.settings,
    })
}

/// Reads a table of settings over `settings`.
fn read_settings(entry: &Entry<'_>, reader: &mut Reader<'_>, settings: &mut Vec<SettingEntry>) {
    for entry in reader.entries(entry) {
        let Some(setting) = Setting::named(entry.name()) else {
            reader.unknown(&entry, SETTINGS.iter().map(|setting| setting.name));
            continue;
        };
        match fixed(setting, entry.value(), reader.line(&entry)) {
            Ok(fixed) => {
                settings.retain(|other| other.setting.name != setting.name);
                settings.push(fixed);
            }
            Err(what) if setting.is_secret() => reader.refuse_secret(&entry, &what),
            Err(what) => reader.refuse(&entry, &what),
        }
    }
    settings.sort_unstable_by_key(|fixed| fixed.setting.name);
    settings.shrink_to_fit();
}

fn fixed(
    setting: &'static Setting,
    value: &DeValue<'_>,
    line: usize,
) -> Result<SettingEntry, String> {
    let text = match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Boolean(switch) => switch.to_string(),
        DeValue::Integer(number) => number.to_string(),
        _ => return Err("it is a text, a whole number, true or false".to_owned()),
    };
    let mut settings = Settings::default();
    let set = setting.set(&mut settings, &text);
    set.map_err(|invalid| invalid.problem().to_owned())?;
    Ok(SettingEntry {
        setting,
        value: setting.value(&settings),
        line,
    })
}

/// As requests write it, but for the port: letters, digits, `-`, `_` and `.`, or
/// an IPv6 address in brackets. Browsers write other letters in Punycode.
fn host_name(text: &str) -> Result<Box<str>, String> {
    let address = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let is_label = |label: &str| {
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        !label.is_empty() && label.bytes().all(is_plain)
    };
    let is_name = text == ANY_HOST || text.len() <= HOST_LIMIT && text.split('.').all(is_label);
    match address.map(str::parse::<Ipv6Addr>) {
        // As browsers write it.
        Some(Ok(address)) => return Ok(format!("[{address}]").into()),
        None if is_name => return Ok(text.to_ascii_lowercase().into()),
        _ => (),
    }
    Err(format!(
        "it is a list of host names such as chat.example, without port, or `{ANY_HOST}` for every \
         other; letters beyond ASCII are written in Punycode (xn--…)"
    ))
}

fn capability(text: &str) -> Result<Capability, String> {
    let names = Capability::ALL.iter().map(|capability| capability.name());
    let unknown = |_| format!("there is no such capability; {}", suggestion(text, names));
    text.parse().map_err(unknown)
}
