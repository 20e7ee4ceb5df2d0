//! The everyday story, from one end to the other: who has lost the phone has guessed, and
//! who resets has mistyped.

use crate::secrets;
use crate::support::{ADMIN, BOB, ENABLE, PASSWORD, PASSWORD_DIGEST, Server, Session, VALIDATE};
use chat_domain::totp::{TotpKey, step_of};
use reqwest::Method;
use serde_json::json;
use std::time::Duration;

#[tokio::test]
async fn a_lost_phone_is_replaced_after_guesses_and_misspelt_names() {
    let server = Server::start().await;
    let log_in =
        |code: &str| server.log_in(json!({"user": BOB, "password": PASSWORD, "code": code}));

    for guess in 1..=6 {
        let answer = log_in("000000").send().await;
        assert_eq!(answer.status, 401);
        let (error, pause) = match guess {
            6 => ("totp-max-attempts", Some("30")),
            _ => ("totp-invalid", None),
        };
        assert!(answer.body.contains(error), "{guess}: {}", answer.body);
        let told = answer.headers.get("retry-after");
        assert_eq!(told.map(|value| value.to_str().unwrap()), pause);
    }

    let code = server.code(ADMIN);
    for name in ["bbo", "bobb", "rob"] {
        let call = server.post(ADMIN).code(&code);
        let call = call.json(&json!({"username": name}).to_string());
        let answer = call.send().await;
        assert!(
            answer.body.contains("error-invalid-user"),
            "{}",
            answer.body
        );
    }
    let call = server.post(ADMIN).code(&code).json(r#"{"username":"bob"}"#);
    assert_eq!(call.send().await.text(), r#"200 {"success":true}"#);
    assert_eq!(server.failures(), 0, "neither is locked");

    let session = Session::of(log_in("").send().await);
    let enable = session.request(&server, Method::POST, ENABLE);
    let enable = enable.code(PASSWORD_DIGEST).showing_secrets().send().await;
    let shown = enable.json();
    let secret = shown["secret"].as_str().unwrap();
    secrets::register(secret);
    let key = TotpKey::from_base32(secret).unwrap();
    let code = || {
        let code = key.code(step_of(server.now()));
        secrets::register(&code);
        code
    };
    let as_shown = |code: String| format!("{} {}", &code[..3], &code[3..]);
    let validate = session.request(&server, Method::POST, VALIDATE);
    let validate = validate.json(&json!({"code": as_shown(code())}).to_string());
    let enrolled = validate.showing_secrets().send().await;
    assert_eq!(enrolled.status, 200, "{}", enrolled.body);
    let backup_codes = enrolled.json();
    for code in backup_codes["codes"].as_array().unwrap() {
        secrets::register(code.as_str().unwrap());
    }
    server.advance(Duration::from_secs(30));
    let again = log_in(&as_shown(code())).send().await;
    assert_eq!(again.status, 200, "{}", again.body);

    let guesses = ["bobId bobId refused totp-invalid"; 5];
    let misspelt = ["adminId - refused error-invalid-user"; 3];
    let rest = [
        "adminId bobId reset -",
        "bobId bobId done -",
        "bobId bobId done -",
        "bobId bobId done -",
        "bobId bobId done -",
    ];
    let told = [
        &guesses[..],
        &["bobId bobId locked totp-max-attempts"],
        &misspelt,
        &rest,
    ];
    assert_eq!(server.audit(), told.concat());
    let mail = server.outbox();
    assert_eq!(mail.len(), 2, "bob is told of the reset: {mail:?}");
}
