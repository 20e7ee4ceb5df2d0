//! Several hosts on one PostgreSQL, each a process of its own: what one has done holds on the
//! others at once, and nothing is done twice. And hosts behind the proxies of the recipes: beside another
//! server, lost, and exchanged.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test ends where what it needs is not there"
)]

mod nginx;
mod proxy;
mod rocket_chat;
mod upgrade;

use chat_domain::account::{EDIT_OTHER_USER_TOTP, Email, Token, TotpFactor};
use chat_domain::operator::{NewRole, NewUser, NewWorkspace};
use chat_domain::settings::Settings;
use chat_domain::token;
use chat_domain::totp::{TotpKey, step_of};
use chat_server::clock::Clock;
use chat_store::StoreUrl;
use chat_testing::guest::PLUGIN;
use chat_testing::postgres::Database;
use chat_testing::served::Served;
use chat_testing::{KEY, seal};
use reqwest::{Client, RequestBuilder, Response};
use serde_json::Value;
use std::process::Command;
use tokio::task::JoinSet;

/// Parallel requests with one code (OWASP ASVS 5.0 V15.4.2).
const AT_ONCE: usize = 64;

/// How often it is tried.
const ROUNDS: usize = 100;

/// What one server would take alone: the workspace that `serve --store` serves.
const WORKSPACE: &str = "default";

/// A process that serves the database, and ends with this.
struct Host(Served);

impl Host {
    fn start(store: &str) -> Self {
        Self::start_with(store, &[])
    }

    fn start_with(store: &str, args: &[&str]) -> Self {
        let mut serve = Command::new(env!("CARGO_BIN_EXE_host-harness"));
        serve
            .args(["serve", "--log", "json", "--listen", "127.0.0.1:0"])
            .args(["--trusted-proxy", "127.0.0.1", "--plugin", PLUGIN])
            .args(args)
            .env("HOST_HARNESS_STORE", store)
            .env("HOST_HARNESS_KEY", KEY)
            .env_remove("RUST_LOG");
        Self(Served::start(&mut serve))
    }

    fn url(&self) -> &str {
        &self.0.url
    }

    async fn reset(&self, client: &Client, caller: &str, code: &str, target: &str) -> (u16, Value) {
        let url = format!("{}{RESET_TOTP}", self.url());
        let request = reset_request(client, &url, caller, code, target);
        answer(request.send().await.unwrap()).await
    }

    /// Whether the account's token is taken.
    async fn knows(&self, client: &Client, user: &str) -> bool {
        let request = client
            .get(format!("{}/api/v1/me", self.url()))
            .header("x-user-id", user)
            .header("x-auth-token", token_of(user));
        request.send().await.unwrap().status().is_success()
    }
}

/// The documented call.
const RESET_TOTP: &str = "/api/v1/users.resetTOTP";

fn reset_request(
    client: &Client,
    url: &str,
    caller: &str,
    code: &str,
    target: &str,
) -> RequestBuilder {
    client
        .post(url)
        .header("x-user-id", caller)
        .header("x-auth-token", token_of(caller))
        .header("x-2fa-code", code)
        .body(format!(r#"{{"userId":"{target}"}}"#))
}

/// A client that asks the hosts, and no proxy of this machine.
fn client() -> Client {
    Client::builder().no_proxy().build().unwrap()
}

async fn answer(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let body = response.text().await.unwrap();
    (status, serde_json::from_str(&body).unwrap())
}

fn token_of(user: &str) -> String {
    let token = format!("{user}-token");
    secret_scan::register(&token);
    token
}

fn key_of(user: &str) -> TotpKey {
    TotpKey::new(format!("the key of {user}").into_bytes())
}

fn code_of(user: &str) -> String {
    let code = key_of(user).code(step_of(Clock::system().now()));
    secret_scan::register(&code);
    code
}

fn wrong_code_of(user: &str) -> String {
    let code: u32 = code_of(user).parse().unwrap();
    // None of the codes that are accepted now, whatever the step.
    let steps = step_of(Clock::system().now()).saturating_sub(3)..;
    let near: Vec<_> = steps.take(7).map(|step| key_of(user).code(step)).collect();
    let other = (1..).map(|n| format!("{:06}", (code + n) % 1_000_000));
    other.into_iter().find(|code| !near.contains(code)).unwrap()
}

fn user(id: String, role: &str) -> NewUser {
    NewUser {
        username: id.clone(),
        roles: vec![role.to_owned()],
        emails: vec![Email {
            address: format!("{id}@example.com"),
            verified: true,
        }],
        tokens: vec![Token {
            hash: token::hash(&token_of(&id).as_str().into()),
            expires: None,
            bypass_two_factor: false,
            name: Some("test".to_owned()),
        }],
        totp: Some(TotpFactor {
            key: key_of(&id),
            last_step: None,
            backup_code_hashes: Vec::new(),
            spent_code_hashes: Vec::new(),
        }),
        id,
        ..NewUser::default()
    }
}

/// So many administrators `a0`… and members `m0`….
async fn filled(pairs: usize) -> Database {
    let database = Database::with_store(&seal());
    fill(&database.url().parse().unwrap(), pairs).await;
    database
}

async fn fill(url: &StoreUrl, pairs: usize) {
    let store = url.open_or_create(&seal()).await.unwrap();
    let users = (0..pairs).flat_map(|n| {
        [
            user(format!("a{n}"), "admin"),
            user(format!("m{n}"), "user"),
        ]
    });
    let role = |name: &str, permission: &str| NewRole {
        name: name.to_owned(),
        permissions: vec![permission.to_owned()],
    };
    let workspace = NewWorkspace {
        id: WORKSPACE.to_owned(),
        settings: Settings {
            rate_limit_calls: 0,
            ..Settings::default()
        },
        roles: vec![
            role("admin", EDIT_OTHER_USER_TOTP),
            role("user", "view-history"),
        ],
        users: users.collect(),
    };
    assert!(store.create_workspace(workspace).await.unwrap());
}

/// Of many requests with one code of the administrator of this number, half of them to each host, one
/// resets the member.
async fn race(client: &Client, hosts: &[Host; 2], number: usize) {
    let (caller, target) = (format!("a{number}"), format!("m{number}"));
    let code = code_of(&caller);
    let mut requests = JoinSet::new();
    for host in hosts.iter().cycle().take(AT_ONCE) {
        let url = format!("{}{RESET_TOTP}", host.url());
        let request = reset_request(client, &url, &caller, &code, &target);
        requests.spawn(async move { answer(request.send().await.unwrap()).await });
    }
    let answers = requests.join_all().await;
    let succeeded = answers.iter().filter(|(status, _)| *status == 200).count();
    assert_eq!(succeeded, 1, "{caller}: {answers:?}");
    // A spent code is a wrong one, and so many in a row lock the caller.
    let refused = |(status, body): &(u16, Value)| {
        let reason = body["errorType"].as_str().unwrap_or_default();
        *status == 200 || matches!(reason, "totp-invalid" | "totp-max-attempts")
    };
    assert!(answers.iter().all(refused), "{caller}: {answers:?}");
}

/// OWASP ASVS 5.0 V6.5.1 and V15.4.2; Gitea CVE-2026-20779.
#[tokio::test(flavor = "multi_thread")]
async fn of_many_requests_with_one_code_through_two_hosts_one_succeeds() {
    let database = filled(ROUNDS).await;
    let url = database.url();
    let hosts = [Host::start(&url), Host::start(&url)];
    let client = client();
    for round in 0..ROUNDS {
        race(&client, &hosts, round).await;
    }
    let resets = "SELECT count(*) FROM audit WHERE decision = 'reset'";
    assert_eq!(database.numbers(resets), [ROUNDS as i64]);
    let notices = "SELECT count(*) FROM outbox GROUP BY \"user\" ORDER BY 1 DESC LIMIT 1";
    assert_eq!(database.numbers(notices), [1], "one a member");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_host_has_done_holds_on_the_other_at_once() {
    let database = filled(3).await;
    let url = database.url();
    let hosts = [Host::start(&url), Host::start(&url)];
    let client = client();

    // Guesses are counted wherever they come in: after five, the right code is refused, too.
    for n in 0..5 {
        let guess = wrong_code_of("a0");
        let (_, body) = hosts[n % 2].reset(&client, "a0", &guess, "m0").await;
        assert_eq!(body["errorType"], "totp-invalid", "{body}");
    }
    for host in &hosts {
        let (status, body) = host.reset(&client, "a0", &code_of("a0"), "m0").await;
        assert_ne!(status, 200, "{body}");
    }

    // A member's tokens have ended everywhere.
    for host in &hosts {
        assert!(host.knows(&client, "m1").await);
    }
    let (status, body) = hosts[0].reset(&client, "a1", &code_of("a1"), "m1").await;
    assert_eq!(status, 200, "{body}");
    for host in &hosts {
        assert!(!host.knows(&client, "m1").await);
    }

    // A setting that an operator's command has changed holds everywhere.
    for host in &hosts {
        let (_, body) = host.reset(&client, "a2", "", "m2").await;
        assert_eq!(body["errorType"], "totp-required", "{body}");
    }
    let set = Command::new(env!("CARGO_BIN_EXE_host-harness"))
        .args(["setting", "set", "two-factor-enabled", "false"])
        .env("HOST_HARNESS_STORE", database.url())
        .env("HOST_HARNESS_KEY", KEY)
        .output()
        .unwrap();
    secret_scan::keep_output(&set);
    assert!(set.status.success(), "{set:?}");
    for host in &hosts {
        let (_, body) = host.reset(&client, "a2", "", "m2").await;
        assert_eq!(body["errorType"], "error-two-factor-not-enabled", "{body}");
    }
}

/// What is wrong is named with what mends it, and without the password.
#[test]
fn a_database_that_does_not_serve_is_told_of_in_plain_words() {
    let database = Database::empty();
    secret_scan::register("s3cret");
    let url = |text: &str| text.replace("chat@", "chat:s3cret@");
    let empty = url(&database.url());
    let none = url("postgres://chat@127.0.0.1:1/chat?sslmode=disable");
    for (store, args, expected) in [
        (
            &empty,
            &["user", "list"][..],
            "there is no store in this database; `host-harness workspace create` makes one",
        ),
        (&none, &["user", "list"], "the database cannot be reached"),
        (&none, &["status"], "start its server, or name by --store"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_host-harness"))
            .args(args)
            .env("HOST_HARNESS_STORE", store)
            .output()
            .unwrap();
        secret_scan::keep_output(&output);
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(expected), "{said}");
        assert!(
            !said.contains("s3cret") && !said.contains("can be written"),
            "{said}"
        );
    }
}
