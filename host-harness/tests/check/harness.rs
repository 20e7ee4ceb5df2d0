//! The harness's words: what they make, and what cannot be made.

use chat_domain::settings::Settings;
use chat_testing::guest::PLUGIN;
use host_harness::harness::{Fault, FaultKind, Harness, HostCall, User};
use plugin_sandbox::admission::Candidate;
use plugin_sandbox::grants::Capability;
use plugin_sandbox::limits::Limits;
use reqwest::Method;
use std::path::Path;
use std::time::Duration;

fn harness() -> Harness {
    Harness::load(PLUGIN).unwrap()
}

const SUCCESS: &str = r#"200 {"success":true}"#;

#[tokio::test]
async fn a_user_is_as_the_test_says() {
    let harness = harness();
    let server = harness
        .server()
        .role("helpdesk", &["edit-other-user-totp"])
        .user(User::named("ada").role("helpdesk").role("user"))
        .user(User::named("bob").password("hunter2").without_totp())
        .user(User::named("eve").deactivated())
        .start()
        .await
        .unwrap();
    let log_in = |body: &str| {
        server
            .request(Method::POST, "/api/v1/login")
            .json(body)
            .send()
    };
    let bob = log_in(r#"{"user":"bob","password":"hunter2"}"#)
        .await
        .unwrap();
    assert_eq!(bob.status, 200, "{}", bob.body);
    assert_eq!(bob.json()["data"]["userId"], "bobId");
    let nobody = log_in(r#"{"user":"ada","password":"hunter2"}"#)
        .await
        .unwrap();
    assert_eq!(nobody.status, 401, "who was given no password has none");
    let eve = server
        .request_of("eve", Method::GET, "/api/v1/me")
        .send()
        .await
        .unwrap();
    assert_eq!(eve.status, 401);
    let reset = server.post("ada").code(server.code("ada"));
    let reset = reset.json(r#"{"userId":"eveId"}"#).send().await.unwrap();
    assert_eq!(reset.text(), SUCCESS);
    assert_eq!(server.mail().unwrap()[0].recipient, "eve@example.com");
}

#[tokio::test]
async fn what_happened_is_told() {
    let harness = harness();
    let ada = User::named("ada").role("admin").backup_codes(["ABCD2345"]);
    let server = harness.server().user(ada).user(User::named("bob"));
    let mut server = server.start().await.unwrap();
    let before = server.snapshot().unwrap();
    let wrong = server
        .post("ada")
        .code("000000")
        .json("{}")
        .send()
        .await
        .unwrap();
    assert_eq!(wrong.status, 400);
    assert!(before.changes(&server.snapshot().unwrap()).is_empty());
    assert_eq!(server.failures("ada").unwrap(), 1);
    server.restart().await.unwrap();
    let right = server.another().await.unwrap();
    let right = right.post("ada").code("ABCD2345").json(r#"{"user":"bob"}"#);
    assert_eq!(right.send().await.unwrap().text(), SUCCESS);
    let audit: Vec<_> = server
        .audit()
        .unwrap()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        audit,
        ["adaId - refused totp-invalid", "adaId bobId reset -"]
    );
    assert_eq!(server.failures("ada").unwrap(), 0);
    let changes = before.changes(&server.snapshot().unwrap());
    assert!(
        changes[0].starts_with("- backup_code default adaId"),
        "{changes:?}"
    );
}

#[tokio::test]
async fn the_clock_stands_still_until_it_is_put() {
    let harness = harness();
    let server = harness
        .server()
        .user(User::named("ada"))
        .start()
        .await
        .unwrap();
    let (start, code) = (server.now(), server.code("ada"));
    server.advance(Duration::from_secs(30));
    assert_eq!(server.code_at("ada", -1), code);
    server.set_clock_back(Duration::from_secs(30));
    assert_eq!(server.now(), start);
    // A log-in lasts 90 days.
    server.advance(Duration::from_secs(90 * 24 * 3600));
    let late = server
        .request_of("ada", Method::GET, "/api/v1/me")
        .send()
        .await
        .unwrap();
    assert_eq!(late.status, 401);
}

#[tokio::test]
async fn what_cannot_be_set_up_is_an_error_that_says_why() {
    let harness = harness();
    let twins = harness
        .server()
        .user(User::named("ada"))
        .user(User::named("ada"));
    let error = twins.start().await.err().unwrap().to_string();
    assert!(error.contains("UNIQUE"), "{error}");
    let stranger = harness.server().user(User::named("ada").role("pope"));
    let error = stranger.start().await.err().unwrap().to_string();
    assert!(error.contains("FOREIGN KEY"), "{error}");
    let server = harness.server().start().await.unwrap();
    let request = server.post("ada").header("not a header", "x");
    assert!(request.send().await.is_err());
}

#[test]
fn a_plugin_that_the_host_refuses_is_an_error_that_says_why() {
    for (bytes, problem) in [
        (&b"hello"[..], "the plugin is refused: [not-webassembly]"),
        (b"\0asm\x01\0\0\0", "the plugin is refused: [core-module]"),
    ] {
        let error = Harness::new(bytes).err().unwrap().to_string();
        assert!(error.starts_with(problem), "{error}");
    }
    let candidate = Candidate::read(Path::new(PLUGIN)).unwrap();
    let grants = [Capability::WallClock, Capability::Users]
        .into_iter()
        .collect();
    let error = Harness::granting(&candidate, grants)
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains("it needs `secrets`, which is not granted"),
        "{error}"
    );
}

#[tokio::test]
async fn settings_and_another_workspace_are_as_the_test_says() {
    let harness = harness();
    let settings = Settings {
        two_factor_enabled: false,
        ..Settings::default()
    };
    let server = harness.server().settings(settings).user(User::named("ada"));
    let server = server.elsewhere(User::named("mallory").role("admin"));
    let server = server.start().await.unwrap();
    let stranger = server.post("mallory").send().await.unwrap();
    assert_eq!(stranger.status, 401);
    assert_eq!(server.post("ada").send().await.unwrap().text(), SUCCESS);
}

#[tokio::test]
async fn a_host_call_fails_as_it_is_told_and_only_so_long() {
    let harness = harness();
    let ada = User::named("ada").role("admin");
    let server = harness.server().user(ada).user(User::named("bob"));
    let limits = Limits {
        host_call_time: Duration::from_millis(500),
        ..Limits::default()
    };
    let server = server.limits(limits).start().await.unwrap();
    let request = || {
        let request = server.post("ada").code(server.code("ada"));
        request.json(r#"{"userId":"bobId"}"#)
    };
    let before = server.snapshot().unwrap();
    for (kind, code) in [
        (FaultKind::Error, "host-store"),
        (FaultKind::Silence, "host-call-time"),
        (FaultKind::Panic, "host-panic"),
    ] {
        server.plant([Fault {
            function: Some(HostCall::Find),
            nth: 1,
            kind,
        }]);
        let answer = request().send().await.unwrap();
        assert_eq!(answer.json()["errorType"], code, "{}", answer.text());
        let recorded = server.audit().unwrap().pop().unwrap().to_string();
        assert_eq!(recorded, format!("adaId - failed {code}"));
        assert!(before.changes(&server.snapshot().unwrap()).is_empty());
    }
    server.plant([Fault {
        function: Some(HostCall::Find),
        nth: 2,
        kind: FaultKind::Error,
    }]);
    assert_eq!(
        request().send().await.unwrap().text(),
        SUCCESS,
        "it is called once"
    );
    assert_eq!(server.failures("ada").unwrap(), 0);
}
