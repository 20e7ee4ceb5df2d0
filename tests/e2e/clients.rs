//! Rocket.Chat's own clients against this server: the programs of
//! `tests/clients`, run by Node.js.

use crate::support::{
    ADMIN, ALICE, DAVE, ENABLE, ERIN, FEDERATED, MODERATOR, PASSWORD, Server, VALIDATE, node,
    totp_key,
};
use reqwest::Method;
use serde_json::{Value, json};
use std::process::Output;
use tokio::io::AsyncWriteExt;

/// What a program of `tests/clients` prints when it is given `input`.
async fn run(program: &str, input: &str) -> Output {
    let mut child = node("clients", program);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).await.unwrap();
    drop(stdin);
    child.wait_with_output().await.unwrap()
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// Enrol, log in, lose the phone, be reset by an administrator who mistypes the
/// code at first, log in, enrol again: by `@rocket.chat/api-client`, unmodified.
#[tokio::test(flavor = "multi_thread")]
async fn the_official_client_lives_the_whole_journey() {
    let server = Server::start().await;
    let input = json!({
        "url": server.url(),
        "now": server.now().millis(),
        "admin": {
            "username": ADMIN,
            "password": PASSWORD,
            "totpSecret": totp_key(ADMIN).to_base32(),
        },
        "member": {"username": DAVE, "password": PASSWORD},
    });
    let output = run("journey.mjs", &input.to_string()).await;
    let (steps, problem) = texts(&output);
    assert!(output.status.success(), "{steps}{problem}");
    assert_eq!(steps.lines().count(), 7, "{steps}");
    let resets = server.audit();
    assert!(
        resets.contains(&"adminId daveId reset -".to_owned()),
        "{resets:?}"
    );
}

/// The client's own types for refusals, and that a body which is none is noticed.
#[tokio::test(flavor = "multi_thread")]
async fn rocket_chats_own_validators_accept_the_refusals() {
    let server = Server::start().await;
    let named = |user: &str| format!(r#"{{"username":"{user}"}}"#);
    let mut bodies = Vec::new();
    for request in [
        server.post(ADMIN).json(&named(ALICE)),
        server.post(ADMIN).code("000000").json(&named(ALICE)),
        server.post(ADMIN).json("nonsense"),
        server.post(ADMIN).json(r#"{"userId":{"$ne":null}}"#),
        server
            .post(ADMIN)
            .code(server.code(ADMIN))
            .json(&named("nobody")),
        server
            .post(ADMIN)
            .code(server.code(ADMIN))
            .json(&named(FEDERATED)),
        server.post(ADMIN).code(server.code(ADMIN)).json(&named("")),
        server
            .post(MODERATOR)
            .code(server.code(MODERATOR))
            .json(&named(ALICE)),
        server.post(ERIN).json("{}"),
        server.post(ERIN).json("{}"),
        server.post(DAVE).json("{}"),
        server.request_of(ALICE, Method::POST, ENABLE),
        server
            .request_of(DAVE, Method::POST, VALIDATE)
            .json(r#"{"code":"000000"}"#),
        server.request_of(DAVE, Method::POST, VALIDATE).json("{}"),
    ] {
        bodies.push(request.send().await.json());
    }
    for _ in 0..5 {
        server.post(ADMIN).code("000000").json("{}").send().await;
    }
    let locked = server.post(ADMIN).code("000000").json("{}").send().await;
    assert!(locked.body.contains("totp-max-attempts"));
    bodies.push(locked.json());
    let line = |body: &Value| json!({"route": "r", "status": 400, "body": body}).to_string() + "\n";
    let output = run(
        "validators.mjs",
        &bodies.iter().map(line).collect::<String>(),
    )
    .await;
    let (said, problem) = texts(&output);
    assert!(output.status.success(), "{problem}");
    assert_eq!(said.trim(), "15 bodies validated");
    let wrong = run(
        "validators.mjs",
        &line(&json!({"success": true, "error": 1})),
    )
    .await;
    assert_eq!(wrong.status.code(), Some(1));
}
