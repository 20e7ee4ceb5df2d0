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
    let log_in = |code: &str| {
        let call = server.log_in(json!({"user": BOB, "password": PASSWORD, "code": code}));
        call.from("203.0.113.7")
    };

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
        let call = server.post(ADMIN).code(&code).from("198.51.100.1");
        let call = call.json(&json!({"username": name}).to_string());
        let answer = call.send().await;
        assert!(
            answer.body.contains("error-invalid-user"),
            "{}",
            answer.body
        );
    }
    let call = server.post(ADMIN).code(&code).from("198.51.100.1");
    let call = call.json(r#"{"username":"bob"}"#);
    assert_eq!(call.send().await.text(), r#"200 {"success":true}"#);
    assert_eq!(server.failures(), 0, "neither is locked");

    let session = Session::of(log_in("").send().await);
    let enable = session.request(&server, Method::POST, ENABLE);
    let enable = enable
        .from("203.0.113.7")
        .code(PASSWORD_DIGEST)
        .showing_secrets()
        .send()
        .await;
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
    let enrolled = validate.from("203.0.113.7").showing_secrets().send().await;
    assert_eq!(enrolled.status, 200, "{}", enrolled.body);
    let backup_codes = enrolled.json();
    for code in backup_codes["codes"].as_array().unwrap() {
        secrets::register(code.as_str().unwrap());
    }
    server.advance(Duration::from_secs(30));
    let again = log_in(&as_shown(code())).send().await;
    assert_eq!(again.status, 200, "{}", again.body);

    let bob = |line: &str| format!("{line} from 203.0.113.7");
    let ada = |line: &str| format!("{line} from 198.51.100.1");
    let guess = || bob("log-in bobId bobId refused totp-invalid by totp told -");
    let misspelt = || ada("reset-totp adminId - refused error-invalid-user by totp told -");
    assert_eq!(
        server.whole_audit(),
        [
            guess(),
            guess(),
            guess(),
            guess(),
            bob("guess bobId bobId locked 5 in a row by totp told 2"),
            guess(),
            bob("log-in bobId bobId locked totp-max-attempts by totp told -"),
            misspelt(),
            misspelt(),
            misspelt(),
            ada("reset-totp adminId bobId reset - by totp told 2"),
            bob("log-in bobId bobId done - by - told -"),
            bob("begin-enrolment bobId bobId done - by password told 2"),
            bob("confirm-totp bobId bobId done - by totp told 2"),
            bob("log-in bobId bobId done - by totp told -"),
        ]
    );

    let mails = server.outbox();
    let told = |address: &str| {
        let to = format!("{address} ");
        let mails = mails.iter().filter_map(|mail| mail.strip_prefix(&to));
        mails.map(str::to_owned).collect::<Vec<_>>()
    };
    for address in ["bob@example.com", "bob@work.example.com"] {
        let told = told(address);
        let steps = [
            (
                "Two-factor authentication is locked for a while 5 wrong codes",
                "203.0.113.7",
            ),
            (
                "Two Factor TOTP Reset Notification Your two-factor",
                "198.51.100.1",
            ),
            ("Two-factor authentication: a key was shown", "203.0.113.7"),
            ("Two-factor authentication was enrolled", "203.0.113.7"),
        ];
        assert_eq!(told.len(), steps.len(), "{told:?}");
        for (mail, (step, from)) in told.iter().zip(steps) {
            assert!(mail.starts_with(step), "{mail}");
            assert!(mail.contains(&format!("\nFrom: {from}\n")), "{mail}");
        }
    }
    assert_eq!(mails.len(), 8, "and nobody else of anything: {mails:?}");
}
