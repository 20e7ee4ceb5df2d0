//! Beside a Rocket.Chat, on its own database: the route comes through nginx by the recipe.

use crate::proxy::{after_scheme, stand_in, start_nginx};
use crate::{Host, WORKSPACE, code_of, key_of, race, token_of};
use chat_domain::password;
use chat_domain::token;
use chat_domain::totp::TotpKey;
use chat_server::clock::Clock;
use chat_testing::KEY;
use chat_testing::mongodb::{Database, differences};
use mongodb::bson::{DateTime, Document, doc};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;
use tokio::time::sleep;

/// The password of everybody who has one.
const PASSWORD: &str = "correct horse battery staple";

/// Of it, with the fewest rounds that there are.
fn bcrypt_of(password: &str) -> String {
    let digest = password::digest(&password.into());
    bcrypt::hash(digest.expose_secret(), 4).unwrap()
}

/// An account, with TOTP where there is a key, and a session.
fn user(id: &str, role: &str, key: Option<TotpKey>) -> Document {
    let session = doc! {
        "when": DateTime::now(),
        "hashedToken": token::hash(&token_of(id).as_str().into()),
    };
    let mut services = doc! {
        "password": { "bcrypt": bcrypt_of(PASSWORD) },
        "resume": { "loginTokens": [session] },
    };
    if let Some(key) = key {
        secret_scan::register(key.to_base32());
        let secret = key.to_base32();
        services.insert(
            "totp",
            doc! { "enabled": true, "secret": secret, "hashedBackup": ["of-a-code"] },
        );
    }
    doc! {
        "_id": id,
        "username": id,
        "name": id,
        "emails": [{ "address": format!("{id}@example.com"), "verified": true }],
        "type": "user",
        "status": "online",
        "active": true,
        "roles": [role],
        "services": services,
        "settings": { "preferences": { "language": "de" } },
    }
}

/// A Rocket.Chat with so many administrators `a0`… and members `m0`…, all with TOTP, a phone that is
/// told of messages, and a session; and `dave`, who has none of that but a password.
fn rocket_chat(pairs: usize) -> Database {
    let database = Database::of_rocket_chat(WORKSPACE);
    let permission = |id: &str| doc! { "_id": id, "roles": ["admin"] };
    database.insert(
        "rocketchat_permissions",
        vec![
            permission("edit-other-user-totp"),
            permission("logout-other-user"),
        ],
    );
    let setting = |id: &str, value: bool| doc! { "_id": id, "value": value, "packageValue": true };
    database.insert(
        "rocketchat_settings",
        vec![
            setting("Accounts_TwoFactorAuthentication_Enabled", true),
            setting("API_Enable_Rate_Limiter", false),
        ],
    );
    let migrated = doc! { "_id": "control", "version": 319, "locked": false };
    database.insert("migrations", vec![migrated]);
    let users = (0..pairs).flat_map(|n| {
        [("a", "admin"), ("m", "user")].map(|(letter, role)| {
            let id = format!("{letter}{n}");
            user(&id, role, Some(key_of(&id)))
        })
    });
    let users: Vec<_> = users.chain([user("dave", "user", None)]).collect();
    let phone = |user: &Document| {
        let id = user.get_str("_id").unwrap();
        doc! { "_id": format!("phone-of-{id}"), "userId": id, "token": { "gcm": "f00" } }
    };
    let session = |user: &Document| {
        let id = user.get_str("_id").unwrap();
        doc! { "_id": format!("session-of-{id}"), "type": "session", "userId": id }
    };
    database.insert("_raix_push_app_tokens", users.iter().map(phone).collect());
    database.insert("rocketchat_sessions", users.iter().map(session).collect());
    database.insert("users", users);
    database
}

/// The documented call, by curl.
fn curl(url: &str, caller: &str, code: &str, target: &str) -> Value {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "20"])
        .arg(format!("{url}/api/v1/users.resetTOTP"))
        .args(["--header", &format!("X-Auth-Token: {}", token_of(caller))])
        .args(["--header", &format!("X-User-Id: {caller}")])
        .args(["--header", &format!("x-2fa-code: {code}")])
        .args(["--header", "Content-type: application/json"])
        .args(["--data", &format!(r#"{{ "userId":"{target}" }}"#)])
        .output()
        .unwrap();
    secret_scan::keep_output(&output);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_call_through_the_proxy_changes_what_belongs_to_the_reset_alone() {
    let database = rocket_chat(1);
    let host = Host::start(&database.url());
    let nginx = start_nginx(after_scheme(host.url()), &stand_in().await).await;
    let before = database.everything();
    let answer = curl(&nginx.url(), "a0", &code_of("a0"), "m0");
    assert_eq!(answer, json!({"success": true}));
    let changes = differences(&before, &database.everything());
    let (ours, theirs): (Vec<_>, Vec<_>) = changes
        .iter()
        .partition(|change| change.contains(" reset_totp_"));
    assert_eq!(
        theirs,
        [
            "+ rocketchat_sessions session-of-m0 logoutAt",
            "- _raix_push_app_tokens phone-of-m0 _id",
            "- _raix_push_app_tokens phone-of-m0 token.gcm",
            "- _raix_push_app_tokens phone-of-m0 userId",
            "- users m0 services.totp.enabled",
            "- users m0 services.totp.hashedBackup",
            "- users m0 services.totp.secret",
            "~ users m0 services.resume.loginTokens",
        ]
    );
    assert!(
        ours.iter()
            .any(|change| change.contains(" reset_totp_audit "))
    );
    let again = curl(&nginx.url(), "a0", &code_of("a0"), "m0");
    assert_eq!(again["errorType"], "totp-invalid", "a code counts once");

    // The other routes are Rocket.Chat's, and not served past it either.
    let me = reqwest::get(format!("{}/api/v1/me", host.url()))
        .await
        .unwrap();
    assert_eq!(me.status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_requests_with_one_code_through_two_hosts_on_rocket_chat_one_succeeds() {
    /// As the server of these tests has time for.
    const ROUNDS: usize = 5;
    let database = rocket_chat(ROUNDS);
    let hosts = [Host::start(&database.url()), Host::start(&database.url())];
    let client = crate::client();
    for round in 0..ROUNDS {
        race(&client, &hosts, round).await;
    }
    let resets = database.find("reset_totp_audit", doc! { "decision": "reset" });
    assert_eq!(resets.len(), ROUNDS);
}

/// Its log-in, enrolment and all else by the host, too, which `serve --neighbours` allows.
#[tokio::test(flavor = "multi_thread")]
async fn the_official_client_lives_its_journey_through_the_proxy() {
    let database = rocket_chat(1);
    let host = Host::start_with(&database.url(), &["--neighbours"]);
    let place = after_scheme(host.url());
    let nginx = start_nginx(place, place).await;
    let input = json!({
        "url": nginx.url(),
        "now": soon_after_a_step().await,
        "admin": {
            "username": "a0",
            "password": PASSWORD,
            "totpSecret": key_of("a0").to_base32(),
        },
        "member": {"username": "dave", "password": PASSWORD},
    });
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/clients");
    let mut child = Command::new("node")
        .current_dir(folder)
        .arg("journey.mjs")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.to_string().as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let problem = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}{problem}");
    assert_eq!(said.lines().count(), 7, "{said}");
    let resets = database.find("reset_totp_audit", doc! { "decision": "reset" });
    assert_eq!(resets.len(), 1);
}

/// Milliseconds of Unix time, at which the time step of TOTP lasts longer than the journey does.
async fn soon_after_a_step() -> i64 {
    const STEP: i64 = 30_000;
    const JOURNEY: i64 = 15_000;
    loop {
        let now = Clock::system().now().millis();
        if STEP - now % STEP > JOURNEY {
            return now;
        }
        sleep(Duration::from_millis(100)).await;
    }
}

fn doctor(url: &str) -> (Output, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_host-harness"))
        .args(["doctor", url])
        .env("HOST_HARNESS_KEY", KEY)
        .output()
        .unwrap();
    secret_scan::keep_output(&output);
    let said = String::from_utf8([&output.stdout[..], &output.stderr].concat()).unwrap();
    (output, said)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_looks_and_changes_nothing() {
    let database = rocket_chat(2);
    let before = database.everything();
    let (output, said) = doctor(&database.url());
    assert!(output.status.success(), "{said}");
    assert_eq!(differences(&before, &database.everything()), [""; 0]);
    for expected in [
        "ok  server ",
        "replica set secantus",
        "Rocket.Chat's data has come to its migration 319",
        "ok  accounts  5, of which 5 active and 0 of other servers; 4 with TOTP",
        "edit-other-user-totp is held by 2 active accounts, by the roles: admin",
        "!   settings  calls are not limited",
        "!   settings  no mail can be sent: whoever is reset is not told",
        "!   sockets   nobody closes the open sockets of whoever is reset",
        "ok  store     nothing of this program's is there yet; `serve` makes it, sealed",
        "It would be served; what is marked with ! weakens what a reset promises.",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }

    // A field of another type is named, and what it holds is not.
    let broken = doc! { "$set": { "services.totp.secret": 12_345, "services.totp.since": 1 } };
    database.update("users", "m1", broken);
    let (output, said) = doctor(&database.url());
    assert!(output.status.success(), "{said}");
    for expected in [
        "1 cannot be read, and their requests would fail: users.services.totp.secret of m1",
        "fields that this program does not know, and leaves alone: services.totp.since",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    assert!(!said.contains("12345"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_refuses_what_would_not_be_served() {
    let empty = Database::empty(WORKSPACE);
    let (output, said) = doctor(&empty.url());
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("there is no Rocket.Chat in this database"),
        "{said}"
    );
    assert!(said.contains("It would not be served"), "{said}");
    let nobody = "mongodb://chat:s3cret@127.0.0.1:1/rocketchat?replicaSet=rs0";
    secret_scan::register("s3cret");
    let (output, said) = doctor(nobody);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("!!  server"), "{said}");
    assert!(!said.contains("s3cret"), "{said}");
    let (output, said) = doctor("chat.sqlite");
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("is no Rocket.Chat's database"), "{said}");
}
