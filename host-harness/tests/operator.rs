//! The operator's commands, through the program and a store's file.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]
#![expect(
    clippy::indexing_slicing,
    reason = "a JSON member that is missing is null"
)]

#[path = "operator/audit_log.rs"]
mod audit_log;
#[path = "operator/backup.rs"]
mod backup;
#[path = "operator/sealed.rs"]
mod sealed;

use chat_domain::password;
use chat_domain::totp::{TotpKey, step_of};
use chat_server::clock::Clock;
use chat_testing::guest::PLUGIN;
use chat_testing::served::{Served, reset_bob};
use rusqlite::Connection;
use rusqlite::types::Value as Cell;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// A backup code that nobody has.
const WRONG_CODE: &str = "aaaaaaaa";

/// Bytes of the shortest secret that is given on standard input; the tests give nonsense, too.
const SHORTEST: usize = 6;

/// Characters of the key of a store: 32 bytes in base64.
const KEY_LENGTH: usize = 44;

/// What these tell on standard output is secret; all other output of a command tells no secret.
const TELLING: [[&str; 2]; 4] = [
    ["user", "enrol-totp"],
    ["user", "backup-codes"],
    ["token", "create"],
    ["store", "new-key"],
];

/// A store's file, and the program on it.
struct Store {
    folder: TempDir,
    /// Of the environment.
    key: Option<String>,
}

impl Store {
    /// With the workspace `default`.
    fn new() -> Self {
        let store = Self::missing();
        store.text(&["workspace", "create"]);
        store
    }

    fn missing() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder, key: None }
    }

    /// One that is to be sealed.
    fn missing_with_key() -> Self {
        let mut store = Self::missing();
        store.key = Some(store.text(&["store", "new-key"]));
        store
    }

    fn path(&self) -> PathBuf {
        self.beside("store.sqlite")
    }

    /// A file in the folder of the store, in which commands run.
    fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_host-harness"));
        command
            .args(args)
            .current_dir(self.folder.path())
            .env("HOST_HARNESS_STORE", self.path())
            .envs(self.key.iter().map(|key| ("HOST_HARNESS_KEY", key)))
            .stdin(Stdio::null());
        command
    }

    /// What it answers, with this on its standard input.
    fn run(&self, args: &[&str], input: &str) -> Output {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Who refuses the arguments reads nothing.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        let secrets = input.lines().filter(|line| line.len() >= SHORTEST);
        secrets.for_each(secret_scan::register);
        keep(args, &output);
        output
    }

    /// What it prints when it succeeds.
    fn text_with(&self, args: &[&str], input: &str) -> String {
        let output = self.run(args, input);
        let problem = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{args:?}: {problem}");
        assert_eq!(problem, "", "{args:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn text(&self, args: &[&str]) -> String {
        self.text_with(args, "")
    }

    /// What it prints, and why it fails.
    fn fails(&self, args: &[&str]) -> (String, String) {
        let output = self.run(args, "");
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (text(output.stdout), text(output.stderr))
    }

    /// The one line of JSON that it prints when it succeeds.
    fn json(&self, args: &[&str]) -> Value {
        let args = [args, &["--json"]].concat();
        let text = self.text(&args);
        assert_eq!(text.lines().count(), 1, "{args:?}");
        serde_json::from_str(&text).unwrap()
    }

    /// Adds a user with the role `user`; gives the id.
    fn add(&self, username: &str) -> String {
        let user = self.json(&["user", "add", username, "--role", "user"]);
        user["id"].as_str().unwrap().to_owned()
    }

    fn db(&self) -> Connection {
        Connection::open(self.path()).unwrap()
    }

    /// The rows of a query, the columns separated by blanks.
    fn rows(&self, sql: &str) -> Vec<String> {
        let db = self.db();
        let mut query = db.prepare(sql).unwrap();
        let columns = query.column_count();
        let rows = query.query_map([], |row| {
            let cells = (0..columns).map(|column| match row.get(column).unwrap() {
                Cell::Null => "-".to_owned(),
                Cell::Integer(number) => number.to_string(),
                Cell::Text(text) => text,
                other => format!("{other:?}"),
            });
            Ok(cells.collect::<Vec<_>>().join(" "))
        });
        rows.unwrap().map(Result::unwrap).collect()
    }

    /// Everything that the store holds, but for the order of rows.
    fn dump(&self) -> Vec<String> {
        let tables = self.rows("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name");
        let rows = tables.iter().flat_map(|table| {
            let rows = self.rows(&format!("SELECT * FROM {table}"));
            rows.into_iter().map(move |row| format!("{table}: {row}"))
        });
        rows.collect()
    }

    /// What the audit trail says, with usernames for ids.
    fn audit(&self) -> Vec<String> {
        self.rows(
            "SELECT caller, action, coalesce(username, '-'), decision, reason FROM audit
             LEFT JOIN user ON user.workspace = audit.workspace AND user.id = target
             ORDER BY audit.id",
        )
    }

    /// Begins a session of `user`, as a log-in does.
    fn begin_session(&self, user: &str, hash: &str) {
        self.db()
            .execute(
                "INSERT INTO login_token (workspace, user, hash, expires, bypass_two_factor)
                 SELECT workspace, id, ?2, 4102444800000, 0 FROM user WHERE username = ?1",
                [user, hash],
            )
            .unwrap();
    }
}

/// The text without the secrets that differ from run to run.
fn masked(text: &str, secrets: &[(&str, &str)]) -> String {
    let mut text = text.to_owned();
    for (secret, name) in secrets {
        assert!(text.contains(secret), "{text} lacks {name}");
        text = text.replace(secret, name);
    }
    text
}

#[test]
fn a_member_is_added_locked_unlocked_reset_and_enrolled_again() {
    for store in [Store::missing(), Store::missing_with_key()] {
        a_member_is_helped(&store);
    }
}

fn a_member_is_helped(store: &Store) {
    store.text(&["workspace", "create", "default"]);
    let add = ["user", "add", "ada", "--role", "admin", "--password"];
    store.text_with(&add, "correct horse\n");
    store.add("bob");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let enrolled = store.json(&["user", "enrol-totp", "ada"]);
    let key = TotpKey::from_base32(&text(&enrolled["secret"])).unwrap();
    store.text(&["user", "enrol-totp", "bob"]);
    store.text(&["token", "create", "bob", "phone"]);
    let token = store.json(&["token", "create", "ada", "ci"]);
    let (user, token) = (&text(&token["userId"]), &text(&token["token"]));
    let server = serve(store);
    let right_code = || {
        let code = key.code(step_of(Clock::system().now()));
        secret_scan::register(&code);
        code
    };

    for _ in 0..5 {
        let answer = reset_bob(&server.url, user, token, WRONG_CODE);
        assert!(answer.contains("totp-invalid"), "{answer}");
    }
    let answer = reset_bob(&server.url, user, token, &right_code());
    assert!(answer.contains("totp-max-attempts"), "{answer}");
    let locked = store.json(&["user", "show", "ada"]);
    assert_eq!(locked["failures"], 5);
    let until = text(&locked["lockedUntil"]);
    assert!(
        store
            .text(&["user", "show", "ada"])
            .ends_with(&format!("failures      5, locked until {until}\n"))
    );
    assert_eq!(store.json(&["workspace", "show"])["locked"], 1);

    assert_eq!(
        store.text(&["user", "unlock", "ADA"]),
        "ada can try again at once: the failures are forgotten.\n"
    );
    let unlocked = store.json(&["user", "show", "ada"]);
    assert_eq!(unlocked["failures"], 0);
    assert_eq!(unlocked["lockedUntil"], Value::Null);
    let answer = reset_bob(&server.url, user, token, &right_code());
    assert!(answer.ends_with(r#"{"success":true}"#), "{answer}");
    assert_eq!(store.json(&["user", "show", "bob"])["hasTotp"], false);
    assert_eq!(store.json(&["token", "list", "bob"]), json!([]));
    store.text(&["user", "enrol-totp", "bob"]);

    store.text(&["user", "deactivate", "ada", "--force"]);
    let answer = reset_bob(&server.url, user, token, &right_code());
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    server.stop();
    let audit = store.audit();
    let of_operator: Vec<_> = audit
        .iter()
        .filter_map(|record| record.strip_prefix("operator "))
        .collect();
    assert_eq!(
        of_operator,
        [
            "add-user ada done admin",
            "add-user bob done user",
            "enrol-totp ada done -",
            "enrol-totp bob done -",
            "create-token bob done phone",
            "create-token ada done ci",
            "unlock ada done -",
            "enrol-totp bob done -",
            "deactivate ada done -",
        ]
    );
}

/// Nobody else could reset her.
#[test]
fn the_only_administrator_who_has_lost_phone_and_codes_is_helped() {
    let store = Store::missing();
    store.text(&["workspace", "create", "default"]);
    let add = [
        "user",
        "add",
        "ada",
        "--role",
        "admin",
        "--email",
        "ada@example.com",
    ];
    store.text(&add);
    store.text(&["user", "enrol-totp", "ada"]);
    store.text(&["token", "create", "ada", "ci"]);
    assert_eq!(
        store.text(&["user", "reset-totp", "ada"]),
        "ada has TOTP no more; 1 token is ended. The holder is told by e-mail. \
         `host-harness user enrol-totp ada` enrols it anew; by HTTP the holder can.\n"
    );
    assert_eq!(store.json(&["user", "show", "ada"])["hasTotp"], false);
    assert_eq!(store.json(&["token", "list", "ada"]), json!([]));
    let mail = store.json(&["outbox", "list"]);
    assert_eq!(mail[0]["recipient"], "ada@example.com");
    let audit = store.audit();
    assert_eq!(audit.last().unwrap(), "operator reset-totp ada done -");
    store.text(&["user", "enrol-totp", "ada"]);
}

/// Keeps what a command has written, but for the secrets that it was asked for.
fn keep(args: &[&str], output: &Output) {
    if !TELLING.iter().any(|command| args.starts_with(command)) {
        return secret_scan::keep_output(output);
    }
    secret_scan::keep("stderr", &output.stderr);
    let text = String::from_utf8_lossy(&output.stdout);
    let told: Value = serde_json::from_str(&text).unwrap_or_default();
    let codes = told["backupCodes"].as_array().into_iter().flatten();
    for secret in codes.chain([&told["secret"], &told["token"], &told["key"]]) {
        secret_scan::register(secret.as_str().unwrap_or_default());
    }
    for line in text.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        match words[..] {
            ["X-Auth-Token" | "secret", secret] => secret_scan::register(secret),
            [key] if key.len() == KEY_LENGTH => secret_scan::register(key),
            [_, _, _, _] if words.iter().all(|word| word.len() == 8) => {
                words.iter().for_each(secret_scan::register);
            }
            _ => {}
        }
    }
}

/// A server on the store's file.
fn serve(store: &Store) -> Served {
    let mut serve = store.command(&["serve", "--listen", "127.0.0.1:0", "--log", "json"]);
    Served::start(serve.args(["--plugin", PLUGIN]))
}

#[test]
fn people_read_text() {
    let store = Store::missing();
    assert_eq!(
        store.text(&["workspace", "create", "default"]),
        "The workspace default is created; `host-harness user add` adds its users.\n"
    );
    store.text(&["workspace", "create", "acme"]);
    let added = store.text(&[
        "user",
        "add",
        "alice",
        "--email",
        "alice@example.com",
        "--unverified-email",
        "alice@example.org",
        "--role",
        "user",
        "--role",
        "admin",
        "--email-two-factor",
    ]);
    let id = store.json(&["user", "show", "alice"])["id"].clone();
    let alice = id.as_str().unwrap();
    assert_eq!(
        masked(&added, &[(alice, "ID")]),
        "alice is added, with the id ID.\n"
    );
    store.text(&["user", "add", "fred", "--federated"]);
    let shown = store.text(&["user", "show", alice]);
    assert_eq!(
        masked(&shown, &[(alice, "ID")]),
        "username      alice\n\
         id            ID\n\
         state         active\n\
         server        this\n\
         roles         admin, user\n\
         e-mail        alice@example.com (verified), alice@example.org (not verified)\n\
         password      not set\n\
         TOTP          not enrolled\n\
         e-mail codes  opted in\n\
         failures      0\n"
    );
    let fred = store.json(&["user", "show", "fred"])["id"].clone();
    store.text(&["user", "enrol-totp", "alice"]);
    store.text(&["user", "deactivate", "fred"]);
    assert_eq!(
        masked(
            &store.text(&["user", "list"]),
            &[(alice, "alice's id"), (fred.as_str().unwrap(), "fred's id")]
        ),
        "USERNAME  ID                STATE        TOTP  ROLES\n\
         alice     alice's id  active       yes   admin, user\n\
         fred      fred's id  deactivated  no    -\n"
    );
    assert_eq!(
        store.text(&["workspace", "list"]),
        "ID       USERS\nacme     0\ndefault  2\n"
    );
    store.text(&["setting", "set", "totp-window", "2"]);
    assert_eq!(
        store.text(&["workspace", "show"]),
        "id                default\n\
         users             2\n\
         deactivated       1\n\
         with TOTP         1\n\
         locked            0\n\
         roles             admin, app, bot, user\n\
         changed settings  totp-window\n"
    );
    assert_eq!(
        store.text(&["role", "list"]),
        "ROLE   PERMISSIONS                                  MEMBERS\n\
         admin  api-bypass-rate-limit, edit-other-user-totp  alice\n\
         app    api-bypass-rate-limit                        -\n\
         bot    api-bypass-rate-limit                        -\n\
         user   -                                            alice\n"
    );
    for (args, expected) in [
        (
            &["role", "allow", "helpdesk", "edit-other-user-totp"][..],
            "helpdesk grants: edit-other-user-totp\n",
        ),
        (
            &["role", "deny", "helpdesk", "edit-other-user-totp"],
            "helpdesk grants: -\n",
        ),
        (
            &["role", "give", "helpdesk", "alice"],
            "alice has the roles: admin, helpdesk, user\n",
        ),
        (
            &["role", "take", "admin", "alice", "--force"],
            "alice has the roles: helpdesk, user\n",
        ),
    ] {
        assert_eq!(store.text(args), expected);
        assert_eq!(store.text(args), expected, "what is so already stays so");
    }
    for (args, expected) in [
        (
            &["user", "deactivate", "fred"],
            "fred is deactivated; 0 tokens are ended.\n",
        ),
        (&["user", "activate", "fred"], "fred is active.\n"),
        (&["setting", "get", "totp-window"], "2\n"),
        (&["setting", "get", "mail-from"], "\n"),
        (&["setting", "reset", "totp-window"], "totp-window is 1\n"),
        (&["setting", "reset", "mail-from"], "mail-from is [empty]\n"),
    ] {
        assert_eq!(store.text(args), expected);
    }
    let settings = store.text(&["setting", "list"]);
    let first: Vec<_> = settings.lines().take(3).collect();
    assert_eq!(
        first,
        [
            "NAME                    VALUE            STATE    MEANING",
            "two-factor-enabled      true             default  second factors are used at all",
            "totp-enabled            true             default  TOTP is one of them",
        ]
    );
}

#[test]
fn scripts_read_json() {
    let store = Store::missing();
    assert_eq!(
        store.json(&["workspace", "create"]),
        json!({"id": "default"})
    );
    let add = [
        "user",
        "add",
        "alice",
        "--email",
        "alice@example.com",
        "--role",
        "user",
        "--password",
        "--json",
    ];
    let alice: Value = serde_json::from_str(&store.text_with(&add, "correct horse")).unwrap();
    let id = alice["id"].as_str().unwrap();
    assert!(id.len() == 16 && id.bytes().all(|b| b.is_ascii_hexdigit()));
    let mut expected = json!({
        "id": id,
        "username": "alice",
        "deactivated": false,
        "federated": false,
        "roles": ["user"],
        "emails": [{"address": "alice@example.com", "verified": true}],
        "hasPassword": true,
        "hasTotp": false,
        "backupCodesLeft": null,
        "emailTwoFactor": false,
        "failures": 0,
        "locked": false,
        "lockedUntil": null,
    });
    assert_eq!(alice, expected);
    assert_eq!(store.json(&["user", "show", "alice"]), expected);
    assert_eq!(store.json(&["user", "list"]), json!([expected]));
    expected["endedTokens"] = 0.into();
    expected["deactivated"] = true.into();
    assert_eq!(store.json(&["user", "deactivate", "alice"]), expected);
    expected["deactivated"] = false.into();
    assert_eq!(store.json(&["user", "activate", "alice"]), expected);
    assert_eq!(store.json(&["user", "unlock", "alice"]), expected);
    expected["roles"] = json!(["bot", "user"]);
    assert_eq!(store.json(&["role", "give", "bot", "alice"]), expected);
    let workspace = json!({
        "id": "default",
        "users": 1,
        "deactivated": 0,
        "withTotp": 0,
        "locked": 0,
        "roles": ["admin", "app", "bot", "user"],
        "changedSettings": [],
    });
    assert_eq!(store.json(&["workspace", "show"]), workspace);
    assert_eq!(store.json(&["workspace", "list"]), json!([workspace]));
    let bot =
        json!({"name": "bot", "permissions": ["api-bypass-rate-limit"], "members": ["alice"]});
    assert_eq!(store.json(&["role", "list"])[2], bot);
    let helpdesk = json!({"name": "helpdesk", "permissions": ["x"], "members": []});
    assert_eq!(store.json(&["role", "allow", "helpdesk", "x"]), helpdesk);
    let window = json!({
        "name": "totp-window",
        "value": "2",
        "changed": true,
        "meaning": "time steps of 30 s accepted before and after the current one, 0 to 10",
    });
    let set = store.json(&["setting", "set", "totp-window", "2"]);
    assert_eq!(set, window);
    assert_eq!(store.json(&["setting", "get", "totp-window"]), window);
    let all = store.json(&["setting", "list"]);
    assert_eq!((all.as_array().unwrap().len(), &all[2]), (24, &window));
}

/// By `--store` or by the environment, before the command's own words or after.
#[test]
fn the_store_and_the_workspace_can_be_named_anywhere() {
    let store = Store::new();
    store.text(&["workspace", "create", "acme"]);
    store.text(&["user", "--workspace", "acme", "add", "alice"]);
    let path = store.path();
    let path = path.to_str().unwrap();
    let mut list = store.command(&["user", "list", "--store", path, "--workspace", "acme"]);
    let output = list.env_remove("HOST_HARNESS_STORE").output().unwrap();
    secret_scan::keep_output(&output);
    assert!(String::from_utf8(output.stdout).unwrap().contains("alice"));
    assert_eq!(store.json(&["user", "list"]), json!([]));
    assert_eq!(
        store.json(&["workspace", "show", "--workspace", "acme"])["users"],
        1
    );
}

#[test]
fn what_cannot_be_done_is_said_in_one_line_and_changes_nothing() {
    let store = Store::new();
    let alice = store.add("alice");
    let bob = store.json(&["user", "add", "bob", "--email", "bob@example.com"]);
    let bob = bob["id"].as_str().unwrap();
    store.text(&["user", "add", "fred", "--federated"]);
    store.text(&["user", "enrol-totp", "alice"]);
    store.text(&["token", "create", "alice", "ci"]);
    // Carol has had alice's id as her name since names were not held to that.
    let carol = store.add("carol");
    let renamed = format!(
        "UPDATE user SET username = '{alice}', username_key = '{alice}' WHERE id = '{carol}'"
    );
    store.db().execute(&renamed, []).unwrap();
    let before = store.dump();
    let no_user = "there is no user nobody; `host-harness user list` shows all";
    let no_role = "there is no role admn; there are admin, app, bot, user";
    let no_workspace = "there is no workspace acme; `host-harness workspace list` shows all";
    let no_name = "a username is 1 to 64 characters that [0-9a-zA-Z-_.]+ matches, and not `.` or \
                   `..`; `host-harness setting set username-pattern` takes another pattern";
    let is_an_id = format!("the username {bob} is the id of another account");
    let ambiguous =
        format!("{alice} is the id of alice and the username of {carol}: name the one you mean so");
    let cases = [
        (
            "workspace create",
            "",
            "the store has a workspace default already; choose another id",
        ),
        ("workspace show --workspace acme", "", no_workspace),
        ("user list --workspace acme", "", no_workspace),
        ("user add zoe --workspace acme", "", no_workspace),
        ("role allow x y --workspace acme", "", no_workspace),
        ("role list --workspace acme", "", no_workspace),
        ("setting list --workspace acme", "", no_workspace),
        ("setting reset mail-from --workspace acme", "", no_workspace),
        ("user add ALICE", "", "the username ALICE is taken"),
        (
            "user add a1ice",
            "",
            "the username a1ice looks like alice, which is taken",
        ),
        ("user add аlice", "", no_name),
        ("user add mü", "", no_name),
        ("user add ..", "", no_name),
        ("user add .", "", no_name),
        ("user add BOB_ID", "", &is_an_id),
        (
            "user add zoe --email BOB@example.com",
            "",
            "the address BOB@example.com is taken: it can be one account's, once",
        ),
        (
            "user add zoe --email z@example.com --unverified-email Z@example.com",
            "",
            "the address Z@example.com is taken: it can be one account's, once",
        ),
        ("user add zoe --role user --role admn", "", no_role),
        (
            "user add zoe --password",
            "\n",
            "the password is empty; nothing was changed",
        ),
        (
            "user add zoe --password",
            "",
            "standard input is empty: give the value there as one line, or use a terminal",
        ),
        ("user show nobody", "", no_user),
        ("user password nobody", "x", no_user),
        ("user unlock nobody", "", no_user),
        ("user deactivate nobody", "", no_user),
        ("user deactivate ALICE_ID", "", &ambiguous),
        (
            "user enrol-totp alice",
            "",
            "alice has TOTP already; `host-harness user reset-totp alice` removes it, and \
             `host-harness user backup-codes alice` makes codes to log in by without the phone",
        ),
        (
            "user enrol-totp fred",
            "",
            "fred belongs to another server of the federation: TOTP is enrolled there",
        ),
        (
            "user backup-codes bob",
            "",
            "bob has no TOTP; `host-harness user enrol-totp bob` enrols it",
        ),
        ("role give admn alice", "", no_role),
        ("role take admn alice", "", no_role),
        ("role deny admn x", "", no_role),
        ("role give admin nobody", "", no_user),
        ("token create nobody ci", "", no_user),
        (
            "token create alice ci",
            "",
            "alice has a token ci already; choose another name or revoke that one",
        ),
        (
            "token revoke alice cd",
            "",
            "alice has no token cd; `host-harness token list alice` shows all",
        ),
        ("token list nobody", "", no_user),
        (
            "setting set totp-window 11",
            "",
            "totp-window: it is a whole number, 0 to 10",
        ),
        (
            "setting set totp-window",
            "x",
            "totp-window: it is a whole number, 0 to 10",
        ),
        (
            "setting set mail-server",
            "http://user:hunter2@host",
            "mail-server: it is not a mail server's URL such as smtps://USER:PASSWORD@HOST",
        ),
        (
            "setting set mail-server smtps://user:hunter2@host",
            "",
            "mail-server is a secret, which is no argument: `setting set mail-server` asks for it, \
             or reads one line of standard input",
        ),
    ];
    for (line, input, problem) in cases {
        let line = line.replace("ALICE_ID", &alice).replace("BOB_ID", bob);
        let args: Vec<_> = line.split(' ').collect();
        let output = store.run(&args, input);
        secret_scan::register("hunter2");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(stderr, format!("host-harness: {problem}\n"), "{line}");
        assert_eq!(output.status.code(), Some(1), "{line}");
        assert!(output.stdout.is_empty(), "{line}");
        assert_eq!(store.dump(), before, "{line}");
    }
}

#[test]
fn a_missing_store_is_said_and_not_made() {
    let store = Store::missing();
    for args in [["workspace", "list"], ["user", "list"]] {
        let output = store.run(&args, "");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(
            stderr.starts_with("host-harness: cannot open the store /"),
            "{stderr}"
        );
        assert!(stderr.contains("`host-harness workspace create` makes one"));
        assert_eq!(stderr.lines().count(), 1);
        assert!(!store.path().exists());
        let mut unnamed = store.command(&args);
        let output = unnamed.env_remove("HOST_HARNESS_STORE").output().unwrap();
        secret_scan::keep_output(&output);
        assert_eq!(
            String::from_utf8(output.stderr).unwrap(),
            "host-harness: which store? Name it by --store STORE or by HOST_HARNESS_STORE\n"
        );
    }
}

/// The command line is refused before anything is opened.
#[test]
fn a_password_is_never_an_argument_and_names_are_plain() {
    let store = Store::missing();
    for (args, problem) in [
        (
            &["user", "add", "zoe", "--password=hunter2"][..],
            "unexpected value '[not repeated]' for '--password' found",
        ),
        (
            &["user", "add", "zoe", "--password", "hunter2"],
            "unexpected argument '[not repeated]' found",
        ),
        (
            &["user", "password", "zoe", "hunter2"],
            "unexpected argument '[not repeated]' found",
        ),
        (
            &["user", "add", "zoe", "--email", "zoe"],
            "an address is like alice@example.com",
        ),
        (
            &["user", "add", "zoe", "--email-two-factor"],
            "--email <ADDR>",
        ),
        (
            &["role", "allow", "help desk", "x"],
            "a name is 1 to 64 letters, digits, `-`, `_` and `.`",
        ),
        (&["token", "create", "zoe", "my token"], "a name is 1 to 64"),
        (&["token", "revoke", "zoe"], "<NAME|--all>"),
        (&["token", "revoke", "zoe", "ci", "--all"], "cannot be used"),
        (
            &["setting", "get", "totp-windw"],
            "a similar value exists: 'totp-window'",
        ),
    ] {
        let output = store.run(args, "");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(stderr.contains(problem), "{args:?}: {stderr}");
        assert!(!stderr.contains("hunter2"), "{args:?}: {stderr}");
        assert!(!store.path().exists());
    }
}

/// Whoever knew the old password may hold a session.
#[test]
fn a_new_password_ends_the_sessions_and_is_kept_as_a_hash_alone() {
    let store = Store::new();
    let add = ["user", "add", "alice", "--password"];
    store.text_with(&add, "correct horse\n");
    let hash = || store.rows("SELECT password_hash FROM user").remove(0);
    let old = hash();
    store.text(&["token", "create", "alice", "ci"]);
    store.begin_session("alice", "hash of a session");
    store.begin_session("alice", "hash of another");
    assert_eq!(
        store.text_with(&["user", "password", "alice"], "battery staple\n"),
        "alice has a new password; 2 sessions are ended. Personal access tokens stay. No address \
         is verified: nobody can be told.\n"
    );
    assert_eq!(store.rows("SELECT name FROM login_token"), ["ci"]);
    let new = hash();
    assert_ne!(new, old);
    let digest = password::digest(&"battery staple".into());
    assert!(bcrypt::verify(digest.expose_secret(), &new).unwrap());
    assert!(store.dump().iter().all(|row| !row.contains("battery")));
}

#[test]
fn an_enrolment_is_shown_once_with_its_key_and_codes() {
    let store = Store::new();
    store.add("alice");
    store.begin_session("alice", "hash of a session");
    let text = store.text(&["user", "enrol-totp", "alice"]);
    let secret = store.rows("SELECT key FROM totp").remove(0);
    let (picture, rest) = text.split_once("secret  ").unwrap();
    let (codes, _) = rest.rsplit_once("\n\n").unwrap();
    let codes: Vec<_> = codes.lines().skip(5).collect();
    let codes = codes.join("\n");
    assert_eq!(
        masked(rest, &[(&codes, "CODES"), (&secret, "KEY")]),
        "KEY\n\
         URL     otpauth://totp/default:alice?secret=KEY&issuer=default\n\n\
         Backup codes, each for one use:\n\n\
         CODES\n\n\
         None of this is shown again. No address is verified: nobody can be told.\n"
    );
    let first = "alice has TOTP now; 1 session is ended. Scan this with an authenticator app:\n\n";
    let picture = picture.strip_prefix(first).unwrap().trim_end();
    // How large a code is depends on which digits the key has: ISO/IEC 18004 writes them denser.
    let widths: Vec<_> = picture.lines().map(|line| line.chars().count()).collect();
    let width = widths[0];
    assert!([41, 45].contains(&width), "version 4 or 5: {picture}");
    assert!(widths.iter().all(|other| *other == width), "{picture}");
    assert_eq!(widths.len(), width.div_ceil(2));
    assert!(picture.chars().all(|c| " ▀▄█\n".contains(c)), "{picture}");

    let stored = || {
        let mut hashes = store.rows("SELECT hash FROM backup_code");
        hashes.sort();
        hashes
    };
    assert_eq!(hashes(codes.split_whitespace()), stored());
    let json = store.json(&["user", "backup-codes", "alice"]);
    let new = json["backupCodes"].as_array().unwrap();
    assert_eq!(new.len(), 12);
    assert_eq!(
        hashes(new.iter().map(|code| code.as_str().unwrap())),
        stored()
    );
    let text = store.text(&["user", "backup-codes", "alice"]);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(
        (lines[0], lines[6]),
        (
            "New backup codes of alice, each for one use; the old ones are void:",
            "They are not shown again. No address is verified: nobody can be told."
        )
    );
    let codes = lines[2..5].join(" ");
    assert_eq!(hashes(codes.split_whitespace()), stored());
    let shown = store.json(&["user", "show", "alice"]);
    assert_eq!(shown["backupCodesLeft"], 12);
    for secret in [secret.as_str()]
        .into_iter()
        .chain(codes.split_whitespace())
    {
        assert!(!shown.to_string().contains(secret));
    }
}

fn hashes<'a>(codes: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut hashes: Vec<_> = codes.map(chat_domain::totp::code_hash).collect();
    hashes.sort();
    hashes
}

#[test]
fn a_token_is_shown_once_and_then_known_by_its_name() {
    let store = Store::new();
    let alice = store.add("alice");
    let text = store.text(&["token", "create", "alice", "ci", "--bypass-two-factor"]);
    let token = text
        .lines()
        .nth(1)
        .unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap();
    assert_eq!(token.len(), 43);
    assert_eq!(
        masked(&text, &[(token, "TOKEN"), (&alice, "ID")]),
        "X-User-Id     ID\nX-Auth-Token  TOKEN\n\nThe token is not shown again.\n"
    );
    let hash = store.rows("SELECT hash FROM login_token").remove(0);
    assert_eq!(hash, chat_domain::token::hash(&token.into()));
    let json = store.json(&["token", "create", "alice", "phone"]);
    let other = json["token"].as_str().unwrap();
    assert_eq!(
        json,
        json!({"userId": alice, "name": "phone", "token": other, "bypassTwoFactor": false})
    );
    store.begin_session("alice", "hash of a session");
    store
        .db()
        .execute(
            "INSERT INTO login_token SELECT workspace, id, 'ended', 1000, 0, NULL FROM user",
            [],
        )
        .unwrap();
    let list = store.text(&["token", "list", "alice"]);
    assert_eq!(
        list,
        "KIND      NAME   EXPIRES               BYPASSES 2FA\n\
         personal  ci     never                 yes\n\
         personal  phone  never                 no\n\
         session   -      2100-01-01T00:00:00Z  no\n"
    );
    let session = json!({
        "kind": "session",
        "name": null,
        "expires": "2100-01-01T00:00:00Z",
        "bypassTwoFactor": false,
    });
    let list = store.json(&["token", "list", "alice"]);
    assert_eq!(list[2], session);
    for secret in [token, other, &hash] {
        assert!(!list.to_string().contains(secret));
    }
    assert_eq!(
        store.text(&["token", "revoke", "alice", "ci"]),
        "alice: 1 token is ended.\n"
    );
    assert_eq!(
        store
            .json(&["token", "list", "alice"])
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert_eq!(
        store.text(&["token", "revoke", "alice", "--all"]),
        "alice: 3 tokens are ended.\n"
    );
    assert!(store.rows("SELECT 1 FROM login_token").is_empty());
}

#[test]
fn a_secret_setting_is_kept_and_never_shown() {
    let store = Store::new();
    let url = "smtps://chat:hunter2@mail.example";
    secret_scan::register("hunter2");
    assert_eq!(
        store.text(&["setting", "get", "mail-server"]),
        "[not set]\n"
    );
    let set = store.text_with(&["setting", "set", "mail-server"], url);
    assert_eq!(set, "mail-server is [set]\n");
    assert_eq!(
        store.rows("SELECT value FROM setting WHERE name = 'mail-server'"),
        [url]
    );
    for args in [&["setting", "get", "mail-server"][..], &["setting", "list"]] {
        for output in [store.text(args), store.json(args).to_string()] {
            assert!(
                output.contains("[set]") && !output.contains("hunter2"),
                "{output}"
            );
        }
    }
    let dump = store.dump();
    let holding = dump.iter().filter(|row| row.contains("hunter2"));
    assert_eq!(holding.count(), 1, "the audit trail does not have it");
    assert_eq!(
        store.text(&["setting", "reset", "mail-server"]),
        "mail-server is [not set]\n"
    );
    assert!(store.rows("SELECT name FROM setting").is_empty());
}

/// OWASP ASVS 5.0 V16.3.3: an operator who unlocks an account is in the trail, too.
#[test]
fn every_change_is_recorded() {
    let store = Store::new();
    let changes = [
        ("user add alice", "add-user alice done -"),
        ("user password alice", "set-password alice done -"),
        ("user enrol-totp alice", "enrol-totp alice done -"),
        (
            "user backup-codes alice",
            "replace-backup-codes alice done -",
        ),
        ("user unlock alice", "unlock alice done -"),
        ("user deactivate alice", "deactivate alice done -"),
        ("user activate alice", "activate alice done -"),
        ("role give bot alice", "give-role alice done bot"),
        ("role take bot alice", "take-role alice done bot"),
        ("token create alice ci", "create-token alice done ci"),
        ("token revoke alice ci", "revoke-tokens alice done ci"),
        ("token revoke alice --all", "revoke-tokens alice done -"),
        (
            "role allow helpdesk x",
            "allow-permission - done helpdesk: x",
        ),
        ("role deny helpdesk x", "deny-permission - done helpdesk: x"),
        (
            "setting set totp-window 2",
            "change-setting - done totp-window: 2",
        ),
        (
            "setting reset totp-window",
            "change-setting - done totp-window: 1",
        ),
    ];
    let looks = [
        "workspace list",
        "user show alice",
        "user list",
        "role list",
        "token list alice",
        "setting list",
    ];
    for line in changes.iter().map(|(line, _)| *line).chain(looks) {
        store.text_with(&line.split(' ').collect::<Vec<_>>(), "correct horse");
    }
    let expected = changes.map(|(_, record)| format!("operator {record}"));
    assert_eq!(store.audit(), expected);
    let ids = store.rows("SELECT DISTINCT request_id FROM audit WHERE length(request_id) = 32");
    assert_eq!(ids.len(), changes.len());
    let moments = store.rows("SELECT 1 FROM audit WHERE abs(at - unixepoch() * 1000) < 600000");
    assert_eq!(moments.len(), changes.len());
}

#[test]
fn a_command_waits_until_another_program_has_written() {
    let store = Store::new();
    store.add("alice");
    let db = store.db();
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut child = store
        .command(&["user", "deactivate", "alice"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let files = PathBuf::from(format!("/proc/{}/fd", child.id()));
    let has_opened = || {
        let files = std::fs::read_dir(&files).unwrap();
        let mut files = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
        files.any(|file| file == store.path())
    };
    while !has_opened() {
        std::thread::yield_now();
    }
    assert!(child.try_wait().unwrap().is_none());
    db.execute_batch("INSERT INTO setting VALUES ('default', 'totp-window', '2'); COMMIT")
        .unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(store.json(&["user", "show", "alice"])["deactivated"], true);
    assert_eq!(store.json(&["setting", "get", "totp-window"])["value"], "2");
}

#[test]
fn the_audit_trail_is_listed_by_who_whom_what_and_when() {
    let store = Store::new();
    store.text(&["user", "add", "alice", "--email", "alice@example.com"]);
    let bob = store.add("bob");
    store.text(&["user", "enrol-totp", "alice"]);
    store.text(&["user", "enrol-totp", "bob"]);
    let guess = format!(
        "INSERT INTO audit (workspace, at, request_id, action, caller, target, decision, reason,
                            address, agent, proof, calls)
         VALUES ('default', unixepoch() * 1000 - 7200000, 'r', 'log-in', '{bob}', '{bob}',
                 'limited', 'error-too-many-requests', '203.0.113.7', 'curl/8', 'totp', 3)"
    );
    store.db().execute(&guess, []).unwrap();
    let all = store.text(&["audit", "list"]);
    let all: Vec<_> = all.lines().collect();
    assert!(all[0].starts_with("TIME"), "{all:?}");
    let words = |line: &str| -> Vec<String> {
        let words = line
            .split("  ")
            .map(str::trim)
            .filter(|word| !word.is_empty());
        words.skip(1).map(str::to_owned).collect()
    };
    assert_eq!(
        words(all[1]),
        [
            "bob",
            "log-in",
            "bob",
            "limited 3 times",
            "error-too-many-requests",
            "totp",
            "-",
            "203.0.113.7 curl/8"
        ],
        "the oldest first"
    );
    let told = [
        "operator",
        "enrol-totp",
        "alice",
        "done",
        "-",
        "-",
        "1",
        "-",
    ];
    assert_eq!(words(all[4]), told);
    let untold = [
        "operator",
        "enrol-totp",
        "bob",
        "done",
        "-",
        "-",
        "nobody",
        "-",
    ];
    assert_eq!(words(all[5]), untold);
    let listed = |args: &[&str]| {
        let list = store.json(&[&["audit", "list"], args].concat());
        let records = list.as_array().unwrap().iter().map(|record| {
            let text = |name: &str| record[name].as_str().unwrap_or("-").to_owned();
            format!("{} {}", text("action"), text("targetName"))
        });
        records.collect::<Vec<_>>().join(", ")
    };
    assert_eq!(listed(&["--by", "BOB"]), "log-in bob");
    assert_eq!(
        listed(&["--by", "operator", "--of", "alice"]),
        "add-user alice, enrol-totp alice"
    );
    assert_eq!(
        listed(&["--action", "add-user"]),
        "add-user alice, add-user bob"
    );
    assert_eq!(
        listed(&["--since", "1h", "--of", "bob"]),
        "add-user bob, enrol-totp bob"
    );
    assert_eq!(
        listed(&["--since", "2001-01-01T00:00:00Z", "--most", "1"]),
        "enrol-totp bob"
    );
    assert_eq!(
        store.text(&["audit", "list", "--by", "alice"]),
        "no record\n"
    );
    for args in [
        &["audit", "list", "--of", "nobody"][..],
        &["audit", "list", "--workspace", "acme"],
        &["audit", "list", "--since", "soon"],
        &["audit", "list", "--action", "add"],
    ] {
        assert!(!store.run(args, "").status.success(), "{args:?}");
    }
}

#[test]
fn what_is_older_than_it_is_kept_is_removed_when_it_is_asked_for() {
    let store = Store::new();
    store.add("alice");
    let old = "UPDATE audit SET at = at - 11 * 86400000";
    store.db().execute(old, []).unwrap();
    assert_eq!(store.text(&["prune"]), "nothing is older than it is kept\n");
    store.text(&["setting", "set", "audit-days", "10"]);
    assert_eq!(
        store.text(&["prune"]),
        "what is older than it is kept is removed\n"
    );
    assert_eq!(
        store.rows("SELECT action FROM audit"),
        ["change-setting", "prune"]
    );
    assert_eq!(store.json(&["prune"]), json!({"pruned": false}));
}

/// A disk that is full, or mounted read-only, is looked at all the same.
#[test]
fn a_store_that_cannot_be_written_can_be_looked_at() {
    let store = Store::new();
    store.add("alice");
    // What is in the log beside the file cannot be read where no file can be made.
    let db = store.db();
    db.pragma_update(None, "wal_checkpoint", "TRUNCATE")
        .unwrap();
    drop(db);
    let folder = store.folder.path();
    let modes = [(store.path(), 0o444), (folder.to_owned(), 0o555)];
    for (path, mode) in &modes {
        std::fs::set_permissions(path, Permissions::from_mode(*mode)).unwrap();
    }
    let as_nobody = |args: &[&str]| {
        let harness = env!("CARGO_BIN_EXE_host-harness");
        let program = folder.join("host-harness");
        let mut command = if nix::unistd::geteuid().is_root() {
            // What is in a folder of root's can be run from here. Another process copies it: what
            // a test beside this one starts then would keep it open, and busy.
            let copied = Command::new("cp").arg(harness).arg(&program).status();
            assert!(copied.unwrap().success());
            let mut command = Command::new("setpriv");
            command
                .args(["--reuid=65534", "--clear-groups"])
                .arg(&program);
            command
        } else {
            Command::new(harness)
        };
        command.args(args).env("HOST_HARNESS_STORE", store.path());
        let output = command.output().unwrap();
        secret_scan::keep_output(&output);
        output
    };
    let list = as_nobody(&["user", "list", "--json"]);
    let said = String::from_utf8(list.stderr).unwrap();
    assert!(list.status.success(), "{said}");
    assert!(
        said.starts_with("host-harness: the store can only be looked at: "),
        "{said}"
    );
    assert!(String::from_utf8(list.stdout).unwrap().contains("alice"));
    let add = as_nobody(&["user", "add", "bob"]);
    let said = String::from_utf8(add.stderr).unwrap();
    assert!(!add.status.success());
    assert!(
        said.contains("it cannot be written: its file, folder or disk is read-only"),
        "{said}"
    );
    std::fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
}

/// Where no process serves, the stores say what they can.
#[test]
fn a_status_names_what_is_wrong_and_what_mends_it() {
    let store = Store::new();
    let alice = store.add("alice");
    let status = |json: bool| {
        let admin = ["status", "--admin", "127.0.0.1:9"];
        let format: &[&str] = if json { &["--json"] } else { &[] };
        let output = store.run(&[&admin[..], format].concat(), "");
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stdout).unwrap()
    };
    let path = store.path();
    let path = path.to_str().unwrap();
    let well = status(false);
    for line in [
        "no process answers operators at 127.0.0.1:9",
        &format!("ok  store    {path} can be written"),
        &format!("ok  seal     {path} is not sealed: who copies it has its TOTP keys; "),
        "ok  mail     none waits",
        "ok  locks    no account is locked by guesses",
        "nobody was reset yet",
    ] {
        assert!(well.contains(line), "{line}: {well}");
    }
    let set_version = |version: u32| {
        let db = store.db();
        db.pragma_update(None, "user_version", version).unwrap();
    };
    set_version(2);
    let older = status(false);
    assert!(older.contains("another version wrote it"), "{older}");
    let version = store
        .db()
        .pragma_query_value(None, "user_version", |row| row.get(0));
    assert_eq!(version, Ok(2_u32), "a look changes nothing");
    set_version(6);
    let now = "unixepoch() * 1000";
    store
        .db()
        .execute_batch(&format!(
            "INSERT INTO failed_attempt (workspace, user, count, locked_until) VALUES ('default', '{alice}', 6, {now} + 60000);
             INSERT INTO audit (workspace, at, request_id, action, caller, target, decision, address,
                                proof)
             VALUES ('default', {now}, 'r', 'log-in', '{alice}', '{alice}', 'refused',
                     '203.0.113.7', 'totp'),
                    ('default', {now}, 's', 'reset-totp', 'operator', '{alice}', 'reset',
                     '198.51.100.1', 'totp');
             INSERT INTO outbox (workspace, user, message_id, recipient, subject, body, queued,
                                 expires, holds_code, next_try, last_problem)
             VALUES ('default', '{alice}', 'm', 'a@example.com', 's', 'b', 0, 1, 0,
                     9223372036854775807, 'connecting: refused');
             INSERT INTO email_code VALUES ('default', '{alice}', 'h', 9e15, 0, 9e15, 1);"
        ))
        .unwrap();
    let wrong = status(false);
    for line in [
        "!!  mail     of default: 0 waiting, 1 dead letter: connecting: refused",
        &format!("host-harness outbox retry --all --workspace default --store {path}"),
        "!!  locks    alice of default by 6 wrong codes, until ",
        "; in the last hour from 203.0.113.7 (1)",
        &format!("host-harness user unlock alice --workspace default --store {path}"),
        "!!  clock    1 moments lie too far ahead",
        "198.51.100.1",
    ] {
        assert!(wrong.contains(line), "{line}: {wrong}");
    }
    let report: Value = serde_json::from_str(&status(true)).unwrap();
    assert_eq!(report["ok"], false);
    assert_eq!(report["resets"][0]["targetName"], "alice");
    let lines = report["lines"].as_array().unwrap();
    assert!(
        lines
            .iter()
            .all(|line| line["ok"] == line["mend"].is_null()),
        "{lines:?}"
    );
}
