//! `check-config` as an operator meets it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

use chat_domain::operator::NewWorkspace;
use chat_domain::settings::Settings;
use chat_store::seal::Seal;
use chat_store::sqlite::Sqlite;
use chat_testing::guest::plugin_bytes;
use plugin_sandbox::digest::Digest;
use serde_json::{Value, json};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;
use tempfile::TempDir;

/// The built plugin.
static PLUGIN: LazyLock<Vec<u8>> = LazyLock::new(plugin_bytes);

/// A folder with a plugin, a store that has the workspace `acme`, and a
/// configuration file.
struct Place {
    folder: TempDir,
}

impl Place {
    async fn new() -> Self {
        let place = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        std::fs::write(place.path("plugin.wasm"), &*PLUGIN).unwrap();
        let store = Sqlite::open_or_create(&place.path("chat.sqlite"), &Seal::none()).await;
        let workspace = NewWorkspace {
            id: "acme".to_owned(),
            settings: Settings::default(),
            roles: Vec::new(),
            users: Vec::new(),
        };
        assert!(store.unwrap().create_workspace(workspace).await.unwrap());
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// With this file, in which `DIGEST` stands for the plugin's.
    fn check(&self, text: &str, args: &[&str]) -> Output {
        let text = text.replace("DIGEST", &Digest::of(&PLUGIN).to_string());
        let path = self.path("host.toml");
        std::fs::write(&path, text).unwrap();
        // It may hold a password.
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        check(&path, args)
    }

    /// What it prints to standard output.
    fn accepts(&self, text: &str, args: &[&str]) -> String {
        let output = self.check(text, args);
        let problem = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && problem.is_empty(), "{problem}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What it says is wrong, without the folder.
    fn refuses(&self, text: &str) -> String {
        let output = self.check(text, &[]);
        let problem = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{problem}");
        assert!(output.stdout.is_empty());
        problem.replace(&format!("{}/", self.folder.path().display()), "")
    }
}

fn check(path: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_host-harness"));
    let command = command.arg("check-config").arg(path).args(args);
    let output = command.output().unwrap();
    secret_scan::keep_output(&output);
    output
}

const RIGHT: &str = r#"
[plugins]
files = ["plugin.wasm"]
[workspaces.acme]
hosts = ["acme.example", "*"]
store = "chat.sqlite"
plugin = "DIGEST"
grants = ["secrets", "users", "settings", "permissions", "wall-clock"]
settings.mail-server = "smtps://ada:hunter2@mail.example"
"#;

#[tokio::test]
async fn what_can_be_served_is_shown_in_a_table_and_as_json() {
    let place = Place::new().await;
    let digest = Digest::of(&PLUGIN).to_string();
    let store = place.path("chat.sqlite").display().to_string();
    let text = place.accepts(RIGHT, &[]);
    for part in [
        "listen        127.0.0.1:3000\n",
        "WORKSPACE  HOSTS ",
        "acme.example, *",
        "wall-clock, users, permissions, settings, secrets",
        &digest,
        &store,
    ] {
        assert!(text.contains(part), "{text} lacks {part}");
    }
    let line = place.accepts(RIGHT, &["--json"]);
    assert_eq!(line.lines().count(), 1);
    secret_scan::register("hunter2");
    assert!(!format!("{text}{line}").contains("hunter2"));
    assert_eq!(
        serde_json::from_str::<Value>(&line).unwrap(),
        json!({
            "listen": "127.0.0.1:3000",
            "adminListen": null,
            "workspaces": [{
                "id": "acme",
                "hosts": ["acme.example", "*"],
                "store": store,
                "plugin": digest,
                "grants": ["wall-clock", "users", "permissions", "settings", "secrets"],
                "fixedSettings": ["mail-server"],
            }],
        })
    );
}

#[tokio::test]
async fn everything_that_the_file_says_wrong_is_said_with_its_place() {
    let place = Place::new().await;
    let text = RIGHT.replace("grants", "grant").replace("\"*\"", "\"a b\"");
    let problem = place.refuses(&text);
    assert!(
        problem.starts_with("host-harness: host.toml:5:26: hosts: it is a list"),
        "{problem}"
    );
    let unknown = "\nhost.toml:8:1: unknown key `grant`; did you mean `grants`?\n";
    assert!(problem.contains(unknown), "{problem}");
}

#[tokio::test]
async fn every_plugin_store_and_workspace_that_is_not_there_is_said() {
    let place = Place::new().await;
    let zeros = format!("sha256:{}", "0".repeat(64));
    let text = RIGHT
        .replace("[\"plugin.wasm\"]", "[\"plugin.wasm\", \"other.wasm\"]")
        .replace("\"wall-clock\"", "")
        + &format!(
            "[workspaces.beta]\nhosts = [\"beta.example\"]\nstore = \"chat.sqlite\"\nplugin = \"{zeros}\"\n\
             [workspaces.gamma]\nhosts = [\"gamma.example\"]\nstore = \"other.sqlite\"\nplugin = \"DIGEST\"\ngrants = [\"wall-clock\", \"users\", \"permissions\", \"settings\", \"secrets\"]\n"
        );
    let digest = Digest::of(&PLUGIN);
    assert_eq!(
        place.refuses(&text),
        format!(
            "host-harness: host.toml cannot be served:\n  \
             cannot read the plugin other.wasm: No such file or directory (os error 2)\n  \
             no file of [plugins] has the digest that the workspace beta names, {zeros}; there are: {digest} (plugin.wasm)\n  \
             the plugin plugin.wasm is not admitted for the workspace acme: [not-granted] it needs `wall-clock`, which is not granted: grant it, or use another plugin\n  \
             the store chat.sqlite has no workspace beta; `host-harness workspace create beta --store chat.sqlite` makes it\n  \
             cannot open the store other.sqlite; `host-harness workspace create` makes one: the store failed: unable to open database file: other.sqlite\n"
        )
    );
    assert!(!place.path("other.sqlite").exists());
}

/// A stranger who may write it says which plugin decides.
#[tokio::test]
async fn a_file_that_everybody_may_write_is_refused() {
    let place = Place::new().await;
    place.accepts(RIGHT, &[]);
    let path = place.path("host.toml");
    for (mode, refused) in [(0o600, false), (0o664, false), (0o646, true), (0o602, true)] {
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let output = check(&path, &[]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.success(), !refused, "{mode:o}: {said}");
        assert_eq!(said.contains("chmod o-w"), refused, "{mode:o}: {said}");
    }
}

#[tokio::test]
async fn a_password_that_everybody_may_read_is_told_of() {
    let place = Place::new().await;
    place.accepts(RIGHT, &[]);
    let path = place.path("host.toml");
    for (mode, told) in [(0o640, false), (0o644, true)] {
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let output = check(&path, &[]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        assert_eq!(said.contains("chmod o-r"), told, "{mode:o}: {said}");
        assert!(!said.contains("hunter2"));
    }
}

/// Nobody may ever write into the pipe.
#[tokio::test]
async fn a_pipe_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let said = String::from_utf8(check(&pipe, &[]).stderr).unwrap();
    assert!(said.contains("it is no regular file"), "{said}");
    let place = Place::new().await;
    let files = format!("[\"plugin.wasm\", {pipe:?}]");
    let said = place.refuses(&RIGHT.replace("[\"plugin.wasm\"]", &files));
    assert!(said.contains("it is no regular file"), "{said}");
}

#[test]
fn a_file_that_is_not_there_is_said() {
    let output = check(Path::new("nowhere.toml"), &[]);
    let problem = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        problem.starts_with("host-harness: nowhere.toml: cannot read it: No such file"),
        "{problem}"
    );
}

/// They share one store, which is opened once.
#[tokio::test]
async fn ten_thousand_workspaces_are_checked() {
    let place = Place::new().await;
    let tables = (0..10_000).map(|n| {
        format!("[workspaces.w{n}]\nhosts = [\"w{n}.example\"]\nstore = \"chat.sqlite\"\nplugin = \"DIGEST\"\n")
    });
    let problem = place.refuses(&(RIGHT.to_owned() + &tables.collect::<String>()));
    assert_eq!(problem.lines().count(), 52);
    assert!(problem.ends_with("\n  and 9951 more\n"), "{problem}");
}
