//! What a configuration file may say, and what is said of one that is wrong.

use super::*;
use chat_domain::settings::SETTINGS;
use plugin_sandbox::grants::Capability;
use std::time::Duration;

const SAMPLE: &str = include_str!("../../../config.example.toml");

/// What a workspace must have, after which a test can write more.
const LEAST: &str = "workspaces.acme.hosts = [\"acme.example\"]\n";

const DIGEST: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("/etc/chat/host.toml"))
}

/// What is wrong with `text`, without the path.
fn problems(text: &str) -> String {
    let error = parse(text).unwrap_err().to_string();
    error.replace("/etc/chat/host.toml:", "")
}

/// What is wrong with a table `[host]` that has this line.
fn host_problem(line: &str) -> String {
    problems(&format!("[host]\n{line}\n"))
}

/// With `defaults` in the table of this name, and `tables` after it.
fn with_defaults(defaults: &str, tables: &str) -> String {
    format!(
        "{LEAST}[defaults]\nstore = \"chat.sqlite\"\nplugin = \"{DIGEST}\"\n{defaults}\n{tables}"
    )
}

fn only(text: &str) -> WorkspaceEntry {
    parse(text).unwrap().workspaces.remove(0)
}

fn setting(workspace: &WorkspaceEntry, name: &str) -> Option<String> {
    let fixed = workspace.settings.iter();
    let mut named = fixed.filter(|fixed| fixed.setting.name == name);
    let value = named
        .next()
        .map(|fixed| fixed.value.expose_secret().to_owned());
    assert!(named.next().is_none(), "{name} is there twice");
    value
}

#[test]
fn the_sample_is_right_and_has_every_key() {
    let config = parse(SAMPLE).unwrap();
    assert_eq!(config.host.listen, Host::default().listen);
    assert_eq!(config.host.admin_listen, "127.0.0.1:3001".parse().ok());
    assert_eq!(config.host.trusted_proxies, ["10.0.0.0/8".parse().unwrap()]);
    assert_eq!(config.host.cache, Some("/etc/chat/cache".into()));
    assert_eq!(config.host.key_file, Some("/etc/chat/chat.key".into()));
    assert_eq!(config.host.trust.len(), 1);
    assert_eq!(config.host.otlp, "http://127.0.0.1:4318".parse().ok());
    assert_eq!(config.plugins, [Path::new("/etc/chat/reset_totp.wasm")]);
    let [acme, default] = &config.workspaces[..] else {
        panic!("{:?}", config.workspaces);
    };
    assert_eq!((&*acme.id, &*default.id), ("acme", "default"));
    assert_eq!(
        (&*acme.hosts[0], &*default.hosts[0]),
        ("chat.acme.example", "*")
    );
    assert_eq!(acme.store, Path::new("/etc/chat/chat.sqlite").into());
    assert_eq!(*acme.grants, Grants::all());
    assert_eq!(acme.limits.wall_time, Duration::from_secs(1));
    assert_eq!(default.limits.cpu_time, Duration::from_millis(20));
    assert!(Arc::ptr_eq(&acme.grants, &default.grants));

    let settings = SETTINGS.iter().map(|setting| setting.name);
    let keys = host::KEYS.iter().map(|key| key.name);
    let keys = keys.chain(host::PLUGIN_KEYS.iter().map(|key| key.name));
    let keys = keys.chain(workspace::KEYS.iter().map(|key| key.name));
    let keys = keys.chain(limits::LIMITS.iter().map(|limit| limit.name));
    for key in keys.chain(settings) {
        let begins = |line: &str| {
            let written = line
                .strip_prefix(key)
                .is_some_and(|rest| rest.starts_with(" = "));
            written || line.ends_with(&format!(".{key}]"))
        };
        let at = SAMPLE.lines().position(begins);
        let at = at.unwrap_or_else(|| panic!("{key} is not in the sample"));
        let before = SAMPLE.lines().nth(at - 1).unwrap();
        assert!(before.starts_with('#'), "{key} has no comment");
    }
}

#[test]
fn the_sample_says_the_defaults() {
    let config = parse(SAMPLE).unwrap();
    let usual = Host::default();
    let (given, usual) = (config.host.capacity, usual.capacity);
    assert_eq!(given, usual);
    for fixed in &*config.workspaces[1].settings {
        let default = fixed.setting.value(&Default::default());
        let (value, name) = (fixed.value.expose_secret(), fixed.setting.name);
        assert_eq!(value, default.expose_secret(), "{name}");
        assert!(
            SAMPLE
                .to_lowercase()
                .contains(&fixed.setting.meaning.to_lowercase()),
            "{name}"
        );
    }
}

#[test]
fn what_is_left_out_has_a_default_and_nothing_is_granted() {
    let config = parse(&with_defaults("", "")).unwrap();
    assert_eq!(config.host.listen.to_string(), "127.0.0.1:3000");
    assert!(config.host.admin_listen.is_none() && config.host.cache.is_none());
    assert!(config.host.trust.is_empty() && config.host.otlp.is_none());
    assert!(config.host.key_file.is_none());
    let workspace = &config.workspaces[0];
    assert_eq!(workspace.grants.iter().count(), 0);
    assert!(workspace.settings.is_empty());
    assert_eq!(
        format!("{:?}", workspace.limits),
        format!("{:?}", Limits::default())
    );
}

#[test]
fn every_value_of_the_host_is_read() {
    let config = parse(&with_defaults(
        "",
        "[host]\nlisten = \"[::]:80\"\nadmin-listen = \"[::1]:81\"\ncalls = 4_096\nwaiting = 0\n\
         plugin-bytes = 20_000_000\n\
         [host.limits]\nwall-milliseconds = 20\ncpu-milliseconds = 10\nmemory-bytes = 0x100000\ntable-elements = 7",
    ))
    .unwrap();
    assert_eq!(config.host.listen.to_string(), "[::]:80");
    assert_eq!(config.host.admin_listen, "[::1]:81".parse().ok());
    let capacity = config.host.capacity;
    assert_eq!((capacity.calls, capacity.waiting), (4096, 0));
    assert_eq!(capacity.plugin_bytes, 20_000_000);
    assert_eq!(capacity.ceiling.wall_time, Duration::from_millis(20));
    assert_eq!(capacity.ceiling.cpu_time, Duration::from_millis(10));
    assert_eq!(capacity.ceiling.memory, 1_048_576);
    assert_eq!(capacity.ceiling.table_elements, 7);
    let limits = &config.workspaces[0].limits;
    assert_eq!(limits.table_elements, 7, "the usual is under the ceiling");
}

#[test]
fn a_raised_ceiling_gives_more_only_to_who_asks() {
    let text = with_defaults(
        "",
        "[host.limits]\nmemory-bytes = 67108864\n[workspaces.big]\nhosts = [\"big.example\"]\n\
         limits.memory-bytes = 67108864",
    );
    let memory: Vec<_> = parse(&text)
        .unwrap()
        .workspaces
        .iter()
        .map(|w| w.limits.memory)
        .collect();
    assert_eq!(memory, [16 << 20, 64 << 20]);
}

#[test]
fn a_workspace_overrides_what_it_names_and_no_more() {
    let text = with_defaults(
        "grants = [\"users\"]\nlimits = {wall-milliseconds = 100, cpu-milliseconds = 20}\n\
         settings = {totp-window = 2, login-days = 7}",
        "[workspaces.acme]\nstore = \"/srv/acme.sqlite\"\ngrants = [\"secrets\", \"wall-clock\"]\n\
         limits.cpu-milliseconds = 30\nsettings = {totp-enabled = false, login-days = 8}",
    );
    let text = text.replace(LEAST, "").replace(
        "[workspaces.acme]",
        "[workspaces.acme]\nhosts = [\"ACME.example\", \"[::1]\"]",
    );
    let acme = only(&text);
    assert_eq!(*acme.hosts, ["acme.example".into(), "[::1]".into()]);
    assert_eq!(acme.store, Path::new("/srv/acme.sqlite").into());
    assert_eq!(acme.plugin.to_string(), DIGEST);
    let grants: Vec<_> = acme.grants.iter().collect();
    assert_eq!(grants, [Capability::WallClock, Capability::Secrets]);
    assert_eq!(acme.limits.wall_time, Duration::from_millis(100));
    assert_eq!(acme.limits.cpu_time, Duration::from_millis(30));
    for (name, value) in [
        ("totp-window", "2"),
        ("login-days", "8"),
        ("totp-enabled", "false"),
    ] {
        assert_eq!(setting(&acme, name).as_deref(), Some(value));
    }
    assert_eq!(acme.settings.len(), 3);
}

#[test]
fn every_unknown_key_is_named_with_its_place_and_the_nearest() {
    let text = with_defaults(
        "plugn = 1\nhosts = [\"a.example\"]\nsettings.totp-windw = 1",
        "[hots]\n[host]\nlisten = \"127.0.0.1:80\"\n  lisen = 2\n[host.limits]\nfuel = 1\n\
         [plugins]\nfile = []\n[workspaces.acme.limits]\nmemory = 1",
    );
    let limits = limits::LIMITS.map(|limit| limit.name).join(", ");
    let told = format!(
        "5:1: unknown key `plugn`; did you mean `plugin`?\n\
         6:1: unknown key `hosts`; there are store, plugin, grants, limits, neighbours, settings\n\
         7:10: unknown key `totp-windw`; did you mean `totp-window`?\n\
         8:2: unknown key `hots`; did you mean `host`?\n\
         11:3: unknown key `lisen`; did you mean `listen`?\n\
         13:1: unknown key `fuel`; there are {limits}\n\
         15:1: unknown key `file`; did you mean `files`?\n\
         17:1: unknown key `memory`; there are {limits}"
    );
    assert_eq!(problems(&text), told);
}

#[test]
fn a_value_of_the_host_that_is_not_taken_is_quoted_with_what_is() {
    for (line, problem) in [
        (
            "listen = \"localhost\"",
            "2:10: listen: it is an address and port such as 127.0.0.1:3000\n    \"localhost\"",
        ),
        (
            "listen = 3000",
            "2:10: listen: it is a text in quotation marks\n    3000",
        ),
        ("listen = 127.0.0.1:80", "listen = 127.0.0.1:80"),
        (
            "admin-listen = \"0.0.0.0:3001\"",
            "2:16: admin-listen: it has no log-in: only an address of this machine, such as 127.0.0.1:3001, is taken\n    \"0.0.0.0:3001\"",
        ),
        (
            "admin-listen = \"127.0.0.1:3000\"",
            "2:16: admin-listen: listen, 127.0.0.1:3000, takes this port already\n    \"127.0.0.1:3000\"",
        ),
        (
            "admin-listen = \"[::1]:80\"\nlisten = \"[::]:80\"",
            "admin-listen: listen, [::]:80, takes this port already",
        ),
        (
            "trusted-proxies = [\"10.0.0.0/8\", \"10.0.0.0/33\"]",
            "2:34: trusted-proxies: it is a list of networks such as 10.0.0.0/8\n    \"10.0.0.0/33\"",
        ),
        (
            "trusted-proxies = \"10.0.0.0/8\"",
            "2:19: trusted-proxies: it is a list of texts such as [\"…\"]\n    \"10.0.0.0/8\"",
        ),
        (
            "trusted-proxies = [10]",
            "2:20: trusted-proxies: each of the list is a text in quotation marks\n    10",
        ),
        ("cache = \"\"", "2:9: cache: it is a path\n    \"\""),
        (
            "trust = [\"RWQ\"]",
            "2:10: trust: it is a list of minisign public keys, each 56 characters that begin with RWQ\n    \"RWQ\"",
        ),
        (
            "calls = 0",
            "2:9: calls: it is a whole number, 1 to 4096 calls\n    0",
        ),
        (
            "calls = 4097",
            "2:9: calls: it is a whole number, 1 to 4096 calls\n    4097",
        ),
        (
            "calls = 1.5",
            "2:9: calls: it is a whole number, 1 to 4096 calls\n    1.5",
        ),
        (
            "waiting = -1",
            "2:11: waiting: it is a whole number, 0 to 100000 calls\n    -1",
        ),
        (
            "plugin-bytes = 33554433",
            "2:16: plugin-bytes: it is a whole number, 65536 to 33554432 bytes\n    33554433",
        ),
        (
            "waiting = 100001",
            "2:11: waiting: it is a whole number, 0 to 100000 calls\n    100001",
        ),
        (
            "otlp = \"ftp://127.0.0.1:4318\"",
            "2:8: otlp: it is an address such as https://collector.example:4318, without log-in or query\n    \"ftp://127.0.0.1:4318\"",
        ),
        ("limits = 1", "2:10: limits: it is a table\n    1"),
        (
            "limits.wall-milliseconds = 9",
            "wall-milliseconds: it is a whole number, 10 to 600000 ms\n    9",
        ),
        (
            "limits.cpu-milliseconds = 60_001",
            "cpu-milliseconds: it is a whole number, 10 to 60000 ms\n    60_001",
        ),
        (
            "limits.memory-bytes = 1048575",
            "memory-bytes: it is a whole number, 1048576 to 1073741824 bytes\n    1048575",
        ),
        (
            "limits.table-elements = 0",
            "table-elements: it is a whole number, 1 to 10000000 elements\n    0",
        ),
    ] {
        let found = host_problem(line);
        assert!(
            found.contains(problem),
            "{line}:\n{found}\nlacks\n{problem}"
        );
    }
}

#[test]
fn a_value_of_a_workspace_that_is_not_taken_is_quoted_with_what_is() {
    for (line, problem) in [
        (
            "store = \"\"",
            "6:9: store: a store is a path, sqlite:PATH, postgres://USER@HOST/DATABASE or mongodb://HOST/DATABASE\n    \"\"",
        ),
        (
            "store = \"mysql://db/chat\"",
            "6:9: store: there are no stores of `mysql`; a store is a path, sqlite:PATH, postgres://… or mongodb://…\n    \"mysql://db/chat\"",
        ),
        (
            "plugin = \"sha256:00\"",
            "6:10: plugin: a digest is `sha256:` and 64 hexadecimal digits\n    \"sha256:00\"",
        ),
        (
            "grants = [\"users\", \"wall-clok\"]",
            "6:20: grants: there is no such capability; did you mean `wall-clock`?\n    \"wall-clok\"",
        ),
        (
            "grants = [\"files\"]",
            "6:11: grants: there is no such capability; there are wall-clock, users, permissions, settings, secrets\n    \"files\"",
        ),
        (
            "limits.cpu-milliseconds = 51",
            "6:27: cpu-milliseconds: 51 ms is over the ceiling of [host.limits], 50 ms\n    51",
        ),
        (
            "settings.totp-window = 11",
            "6:24: totp-window: it is a whole number, 0 to 10\n    11",
        ),
        (
            "settings.totp-enabled = \"yes\"",
            "6:25: totp-enabled: it is true or false\n    \"yes\"",
        ),
        (
            "settings.mail-hours = 1.0",
            "6:23: mail-hours: it is a text, a whole number, true or false\n    1.0",
        ),
        (
            "settings.mail-from = \"chat\"",
            "6:22: mail-from: it is not an address such as Acme chat <chat@acme.example>\n    \"chat\"",
        ),
    ] {
        let table = format!("[workspaces.other]\n{line}\nhosts = [\"*\"]");
        let found = problems(&with_defaults("", &table).replace("\n\n", "\n"));
        assert_eq!(found, problem, "{line}");
    }
}

#[test]
fn a_host_name_is_one_and_of_one_workspace() {
    for host in [
        "chat.example:80",
        "http://chat.example",
        "bücher.example",
        "",
        "a..b",
        "chat.example.",
        "*.example",
        "[::1",
        "[1.2.3.4]",
    ] {
        let text = format!("[workspaces.acme]\nhosts = [\"{host}\"]\n");
        let found = problems(&text);
        assert!(
            found.contains("2:10: hosts: it is a list of host names"),
            "{host}: {found}"
        );
    }
    let found = problems(&with_defaults(
        "",
        "[workspaces.beta]\nhosts = [\"beta.example\", \"Acme.Example\"]\n[workspaces.gamma]\nhosts = [\"*\", \"*\"]",
    ));
    assert_eq!(
        found,
        "6:13: beta: the host `acme.example` is that of the workspace acme already\n\
         8:13: gamma: the host `*` is that of the workspace gamma already"
    );
}

#[test]
fn a_workspace_says_what_it_lacks() {
    assert_eq!(
        problems("[workspaces.acme]\n[workspaces.\"a b\"]\nhosts = [\"*\"]\nstore = \"s\""),
        "1:13: acme: it lacks `hosts`\n\
         1:13: acme: it lacks `store`\n\
         1:13: acme: it lacks `plugin`\n\
         2:13: a b: a workspace's id is 1 to 64 letters, digits, `-`, `_` and `.`\n\
         2:13: a b: it lacks `plugin`"
    );
    let none = "there is no workspace: one begins with [workspaces.ID]";
    for (text, place) in [
        ("", "1:1"),
        ("[workspaces]\n", "2:1"),
        ("[host]\ncalls = 1", "2:10"),
    ] {
        assert_eq!(problems(text), format!("{place}: {none}"));
    }
}

/// What is wrong in the defaults is not said again of each workspace.
#[test]
fn a_wrong_value_is_not_called_missing() {
    let text = with_defaults("", "[workspaces.b]\nhosts = []");
    let text = format!("workspaces.c = 1\n{text}");
    let found = problems(&text.replace("sha256:", "sha1:"));
    assert_eq!(
        found,
        "1:16: c: it is a table\n    1\n\
         5:10: plugin: a digest is `sha256:` and 64 hexadecimal digits\n    \"sha1:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\"\n\
         8:9: hosts: at least one is needed"
    );
}

#[test]
fn every_line_that_is_no_toml_is_named() {
    let found = problems("[host]\nlisten = \n# é\ncalls == 4\n");
    assert!(found.starts_with("2:"), "{found}");
    assert!(found.contains("\n4:"), "{found}");
    let found = problems("[host]\ncalls = 1\ncalls = 2\n");
    assert!(
        found.contains("3:1: duplicate key\n    calls = 2"),
        "{found}"
    );
    let found = problems("[host]\ncalls = 1\u{1b}[2J\n");
    assert!(found.ends_with("    calls = 1\\u{1b}[2J"), "{found}");
    let deep = format!("host = {}", "[".repeat(100_000));
    assert!(parse(&deep).is_err());
}

#[test]
fn a_secret_is_never_shown() {
    const SECRET: &str = "hunter2";
    let url = format!("smtps://ada:{SECRET}@mail.example");
    let right = with_defaults(
        "",
        &format!("[workspaces.acme.settings]\nmail-server = \"{url}\""),
    );
    let config = parse(&right).unwrap();
    assert_eq!(
        setting(&config.workspaces[0], "mail-server"),
        Some(url.clone())
    );
    let debug = format!("{config:?}");
    assert!(
        debug.contains("[redacted]") && !debug.contains(SECRET),
        "{debug}"
    );
    for lines in [
        format!("settings.mail-server = \"http://ada:{SECRET}@mail.example\""),
        format!("settings.mail-server = \"{SECRET}\""),
        format!("settings.mail-server = [\"{url}\"]"),
        format!("settings.mail-server = {{url = \"{url}\"}}"),
        format!("settings.mial-server = \"{url}\""),
        format!("settings.mail-from = \"{url}\""),
        format!("settings = \"{url}\""),
        format!("settings = [\"{url}\"]"),
        format!("settings = {{totp-window = 99, mail-server = \"{url}\"}}"),
        format!("settings = {{totp-window = 1, mail-server = {url}}}"),
        format!("mail-server = \"{url}\""),
        format!("store = {{mail-server = \"{url}\"}}"),
        format!("store = {{mail-server = \"{SECRET}\"}}"),
        format!("settings = [\"{SECRET}\"]"),
        format!("settings.mail-server = {url}"),
        format!("settings.mial-server = {url}"),
        format!("settings.mail-server = {SECRET}"),
        format!("settings.mail-server = \"{url}\nstore = 1"),
        format!("settings.mail-server = \"\"\"\\\n  {SECRET}=\\q\"\"\""),
        format!("settings.mail-server = \"\"\"\nstore = {SECRET}"),
        format!("settings.mail-server = \"{url}\"\nsettings.mail-server = \"{url}\""),
        format!("store = \"a\" settings.mail-server = \"{SECRET}\""),
        format!("[host]\notlp = \"http://ada:{SECRET}@127.0.0.1\""),
        format!("[host.otlp]\nlog-in = \"{SECRET}\""),
    ] {
        let error = parse(&with_defaults(&lines, "")).unwrap_err();
        assert!(
            !format!("{error} {error:?}").contains(SECRET),
            "{lines}:\n{error}"
        );
    }
}

#[test]
fn of_very_many_problems_the_first_are_shown() {
    let keys: String = (0..60).map(|n| format!("key{n} = 1\n")).collect();
    let found = problems(&keys);
    assert_eq!(found.lines().count(), 51);
    assert!(found.ends_with(" and 10 more"), "{found}");
}

#[test]
fn a_file_that_cannot_be_read_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("host.toml");
    let read = || Config::read(&path).unwrap_err().to_string();
    assert!(
        read().contains("host.toml: cannot read it: No such file"),
        "{}",
        read()
    );
    std::fs::write(&path, b"\xff").unwrap();
    assert!(read().ends_with("host.toml: cannot read it: it is not UTF-8"));
    let file = std::fs::File::create(&path).unwrap();
    file.set_len(MAX_FILE + 1).unwrap();
    assert!(read().ends_with("cannot read it: it is larger than 67108864 bytes"));
}

/// A workspace costs its names; what the defaults say is there once.
#[test]
fn ten_thousand_workspaces_share_what_is_equal() {
    let tables =
        (0..10_000).map(|n| format!("[workspaces.w{n}]\nhosts = [\"w{n}.chat.example\"]\n"));
    let text = with_defaults(
        "grants = [\"users\"]\nsettings.totp-window = 2",
        &tables.collect::<String>(),
    );
    let config = parse(&text).unwrap();
    assert_eq!(config.workspaces.len(), 10_001);
    let first = &config.workspaces[0];
    for other in &config.workspaces {
        let path = |workspace: &WorkspaceEntry| workspace.store.path().map(std::ptr::from_ref);
        assert_eq!(path(first), path(other));
        assert!(Arc::ptr_eq(&first.grants, &other.grants));
        assert!(Arc::ptr_eq(&first.limits, &other.limits));
        assert!(Arc::ptr_eq(&first.settings, &other.settings));
    }
    assert!(
        size_of::<WorkspaceEntry>() <= 128,
        "{}",
        size_of::<WorkspaceEntry>()
    );
}
