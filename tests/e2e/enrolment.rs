//! A member enrols TOTP, and gives it up.

use crate::secrets;
use crate::support::{
    ADMIN, ALICE, Answer, BACKUP_CODES, CAROL, CODES_REMAINING, DAVE, DISABLE, ENABLE, ERIN, ME,
    PASSWORD_DIGEST, REGENERATE_CODES, RESET_TOTP, Request, Server, Session, VALIDATE,
    WRONG_DIGEST,
};
use chat_domain::settings::Settings;
use chat_domain::totp::{TotpKey, step_of};
use reqwest::Method;
use std::time::Duration;

const NOT_LOGGED_IN: &str =
    r#"401 {"status":"error","message":"You must be logged in to do this."}"#;
const INVALID: &str = r#"400 {"success":false,"error":"Invalid TOTP code [invalid-totp]","errorType":"invalid-totp"}"#;
const NOT_ENROLLED: &str = r#"400 {"success":false,"error":"Two factor authentication is not enabled [error-2fa-not-enabled]","errorType":"error-2fa-not-enabled"}"#;
const NOT_USED: &str = r#"400 {"success":false,"error":"Two factor authentication is not enabled [error-two-factor-not-enabled]","errorType":"error-two-factor-not-enabled"}"#;
const FEDERATED: &str = r#"400 {"success":false,"error":"Federated Users cant have TOTP [error-not-allowed]","errorType":"error-not-allowed"}"#;
const ALREADY_ENROLLED: &str = r#"400 {"success":false,"error":"Two factor authentication is already enabled [error-2fa-already-enabled]","errorType":"error-2fa-already-enabled"}"#;

/// A request with a code in the body.
fn proved(server: &Server, user: &str, path: &str, code: &str) -> Request {
    let request = server.request_of(user, Method::POST, path);
    request
        .json(&format!(r#"{{"code":"{code}"}}"#))
        .showing_secrets()
}

/// The key that dave is shown.
async fn shown(server: &Server) -> TotpKey {
    let request = server
        .request_of(DAVE, Method::POST, ENABLE)
        .code(PASSWORD_DIGEST);
    let answer = request.showing_secrets().send().await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    key(&answer)
}

fn key(answer: &Answer) -> TotpKey {
    let body = answer.json();
    let secret = body["secret"].as_str().unwrap();
    secrets::register(secret);
    let url = format!("otpauth://totp/default:dave?secret={secret}&issuer=default");
    assert_eq!(
        answer.body,
        format!(r#"{{"secret":"{secret}","url":"{url}","success":true}}"#)
    );
    TotpKey::from_base32(secret).unwrap()
}

fn code(server: &Server, key: &TotpKey, steps: i64) -> String {
    let code = key.code(step_of(server.now()).checked_add_signed(steps).unwrap());
    secrets::register(&code);
    code
}

fn backup_codes(answer: &Answer) -> Vec<String> {
    let body = answer.json();
    let codes = body["codes"].as_array().unwrap();
    let codes: Vec<String> = codes
        .iter()
        .map(|code| code.as_str().unwrap().to_owned())
        .collect();
    assert_eq!(codes.len(), 12);
    codes.iter().for_each(|code| secrets::register(code));
    codes
}

async fn remaining(server: &Server, user: &str) -> String {
    let request = server.request_of(user, Method::GET, CODES_REMAINING);
    request.send().await.text()
}

#[tokio::test]
async fn a_member_enrols_uses_and_gives_up_totp() {
    let server = Server::start().await;
    let key = shown(&server).await;
    assert_eq!(remaining(&server, DAVE).await, NOT_ENROLLED);
    let enrolled = proved(&server, DAVE, VALIDATE, &code(&server, &key, -1))
        .send()
        .await;
    let codes = backup_codes(&enrolled);
    assert_eq!(enrolled.status, 200);
    assert_eq!(
        remaining(&server, DAVE).await,
        r#"200 {"remaining":12,"success":true}"#
    );
    let me = server.request_of(DAVE, Method::GET, ME).send().await;
    assert!(
        me.body.contains(r#""totp":{"enabled":true}"#),
        "{}",
        me.body
    );
    let replaced = proved(&server, DAVE, REGENERATE_CODES, &codes[0])
        .send()
        .await;
    let new = backup_codes(&replaced);
    assert!(new.iter().all(|code| !codes.contains(code)));
    assert_eq!(
        proved(&server, DAVE, DISABLE, &codes[1])
            .send()
            .await
            .text(),
        INVALID
    );
    assert_eq!(
        remaining(&server, DAVE).await,
        r#"200 {"remaining":12,"success":true}"#
    );
    let gone = proved(&server, DAVE, DISABLE, &code(&server, &key, 0))
        .send()
        .await;
    assert_eq!(gone.text(), r#"200 {"success":true}"#);
    assert_eq!(remaining(&server, DAVE).await, NOT_ENROLLED);
    assert!(
        !server
            .dump()
            .rows("backup_code")
            .iter()
            .any(|row| row.contains("daveId"))
    );
    assert_eq!(
        server.audit(),
        [
            "daveId daveId done -",
            "daveId daveId done -",
            "daveId daveId done -",
            "daveId daveId refused totp-invalid",
            "daveId daveId done -",
        ]
    );
}

/// A stolen session must not make its own factor the account's.
#[tokio::test]
async fn to_enrol_needs_the_callers_second_factor() {
    let server = Server::start().await;
    let enable = |user| server.request_of(user, Method::POST, ENABLE);
    assert_eq!(
        enable(DAVE).send().await.text(),
        r#"400 {"success":false,"error":"TOTP Required [totp-required]","errorType":"totp-required","details":{"method":"password","codeGenerated":false,"availableMethods":[]}}"#
    );
    assert_eq!(
        enable(DAVE).code(WRONG_DIGEST).send().await.text(),
        r#"400 {"success":false,"error":"TOTP Invalid [totp-invalid]","errorType":"totp-invalid","details":{"method":"password","codeGenerated":false}}"#
    );
    let asked = enable(ERIN).code("").send().await;
    assert_eq!(
        asked.text(),
        r#"400 {"success":false,"error":"TOTP Required [totp-required]","errorType":"totp-required","details":{"method":"email","codeGenerated":true,"emailOrUsername":"erin","availableMethods":["email"]}}"#
    );
    let sent = server.sent_code(ERIN).unwrap();
    let by_mail = enable(ERIN).code(&sent).showing_secrets().send().await;
    assert_eq!(by_mail.status, 200);
    assert_eq!(
        enable(CAROL).code("000000").send().await.text(),
        r#"400 {"success":false,"error":"TOTP Required [totp-required]","errorType":"totp-required","details":{"method":"totp","codeGenerated":false,"availableMethods":[]}}"#
    );
    assert_eq!(
        enable(ALICE).code(server.code(ALICE)).send().await.text(),
        ALREADY_ENROLLED
    );
    for _ in 0..4 {
        enable(DAVE)
            .code(WRONG_DIGEST)
            .from("192.0.2.1")
            .send()
            .await;
    }
    let locked = enable(DAVE)
        .code(PASSWORD_DIGEST)
        .from("192.0.2.1")
        .send()
        .await;
    assert_eq!(
        locked.text(),
        r#"400 {"success":false,"error":"TOTP Maximun Failed Attempts Reached [totp-max-attempts]","errorType":"totp-max-attempts","details":{"method":"password","codeGenerated":false}}"#
    );
    assert_eq!(
        server.audit().last().unwrap(),
        "daveId daveId locked totp-max-attempts"
    );
    assert_eq!(server.dump().rows("pending_totp").len(), 1);
}

#[tokio::test]
async fn who_has_no_factor_at_all_enrols_where_the_workspace_allows_it() {
    let settings = Settings {
        missing_factor_allowed: true,
        ..Settings::default()
    };
    let server = Server::start_with(settings).await;
    let enable = |user| {
        server
            .request_of(user, Method::POST, ENABLE)
            .showing_secrets()
    };
    assert_eq!(enable(CAROL).send().await.status, 200);
    for has_one in [DAVE, ERIN] {
        assert_eq!(enable(has_one).send().await.status, 400, "{has_one}");
    }
}

#[tokio::test]
async fn where_totp_is_not_used_nobody_enrols() {
    for settings in [
        Settings {
            two_factor_enabled: false,
            ..Settings::default()
        },
        Settings {
            totp_enabled: false,
            ..Settings::default()
        },
    ] {
        let server = Server::start_with(settings).await;
        let enable = server
            .request_of(DAVE, Method::POST, ENABLE)
            .code(PASSWORD_DIGEST);
        assert_eq!(enable.send().await.text(), NOT_USED);
    }
}

#[tokio::test]
async fn a_shown_key_is_proved_by_its_own_code_alone_and_a_later_one_replaces_it() {
    let server = Server::start().await;
    let validate = |code: String| {
        let request = server.request_of(DAVE, Method::POST, VALIDATE);
        request
            .json(&format!(r#"{{"code":"{code}"}}"#))
            .showing_secrets()
            .send()
    };
    assert_eq!(validate("000000".to_owned()).await.text(), NOT_ENROLLED);
    let first = shown(&server).await;
    let second = shown(&server).await;
    assert_eq!(validate(code(&server, &first, 0)).await.text(), INVALID);
    assert_eq!(validate(code(&server, &second, 2)).await.text(), INVALID);
    assert_eq!(validate(BACKUP_CODES[0].to_owned()).await.text(), INVALID);
    assert_eq!(validate(code(&server, &second, 0)).await.status, 200);
    assert_eq!(
        validate(code(&server, &second, 1)).await.text(),
        ALREADY_ENROLLED
    );
    let enable = server.request_of(DAVE, Method::POST, ENABLE).send().await;
    assert_eq!(enable.text(), ALREADY_ENROLLED);
    let spent = proved(&server, DAVE, DISABLE, &code(&server, &second, 0))
        .send()
        .await;
    assert_eq!(spent.text(), INVALID, "the code that enrolled is spent");
}

/// The key that was shown counts for a while, and for who may have one.
#[tokio::test]
async fn a_shown_key_ends_with_its_time_and_with_the_right_to_it() {
    for (change, refusal) in [
        ("", NOT_ENROLLED),
        (
            "UPDATE user SET federated = 1 WHERE id = 'daveId'",
            FEDERATED,
        ),
        (
            "INSERT INTO setting VALUES ('default', 'totp-enabled', 'false')",
            NOT_USED,
        ),
    ] {
        let server = Server::start().await;
        let key = shown(&server).await;
        if change.is_empty() {
            server.advance(Duration::from_secs(15 * 60));
        }
        server.store().execute_batch(change).unwrap();
        let late = proved(&server, DAVE, VALIDATE, &code(&server, &key, 0));
        assert_eq!(late.send().await.text(), refusal);
        assert_eq!(server.failures(), 0);
    }
    let server = Server::start().await;
    let key = shown(&server).await;
    server.advance(Duration::from_millis(15 * 60 * 1000 - 1));
    let in_time = proved(&server, DAVE, VALIDATE, &code(&server, &key, 0));
    assert_eq!(in_time.send().await.status, 200);
}

/// What is refused for another reason is no failed attempt.
#[tokio::test]
async fn to_ask_for_what_cannot_be_had_counts_nothing() {
    let settings = Settings {
        totp_enabled: false,
        ..Settings::default()
    };
    let server = Server::start_with(settings).await;
    for _ in 0..6 {
        let enable = server.request_of(DAVE, Method::POST, ENABLE);
        assert_eq!(enable.code(PASSWORD_DIGEST).send().await.text(), NOT_USED);
    }
    assert_eq!(server.failures(), 0);
}

#[tokio::test]
async fn a_member_of_another_server_enrols_there_and_nothing_is_counted() {
    let server = Server::start().await;
    let moved = "UPDATE user SET federated = 1 WHERE id = 'daveId'";
    server.store().execute(moved, []).unwrap();
    for code in [PASSWORD_DIGEST, WRONG_DIGEST] {
        let enable = server.request_of(DAVE, Method::POST, ENABLE).code(code);
        assert_eq!(enable.send().await.text(), FEDERATED);
    }
    assert_eq!(server.failures(), 0);
    assert!(server.dump().rows("pending_totp").is_empty());
}

/// Who only holds a session knows the key that it was shown: its code must not
/// make the guesses at another factor forgotten.
#[tokio::test]
async fn to_prove_a_new_key_clears_no_failures() {
    let server = Server::start().await;
    let key = shown(&server).await;
    for _ in 0..3 {
        let wrong = server.post(DAVE).code(WRONG_DIGEST).json("{}");
        wrong.send().await;
    }
    assert_eq!(
        proved(&server, DAVE, VALIDATE, "000000")
            .send()
            .await
            .text(),
        INVALID
    );
    let before = server.failures();
    assert_eq!(before, 4);
    let right = proved(&server, DAVE, VALIDATE, &code(&server, &key, 0))
        .send()
        .await;
    assert_eq!(right.status, 200);
    assert_eq!(server.failures(), before);
}

/// One count for every path that takes a code.
#[tokio::test]
async fn wrong_codes_lock_every_path() {
    for path in [DISABLE, REGENERATE_CODES] {
        let server = Server::start().await;
        for _ in 0..5 {
            assert_eq!(
                proved(&server, ALICE, path, "000000").send().await.text(),
                INVALID
            );
        }
        let locked = r#"400 {"success":false,"error":"TOTP Maximun Failed Attempts Reached [totp-max-attempts]","errorType":"totp-max-attempts","details":{"method":"totp","codeGenerated":false}}"#;
        let right = server.code(ALICE);
        assert_eq!(
            proved(&server, ALICE, path, &right).send().await.text(),
            locked
        );
        assert_eq!(
            server
                .post(ALICE)
                .code(&right)
                .json("{}")
                .send()
                .await
                .text(),
            locked
        );
        assert_eq!(
            server.audit().last().unwrap(),
            "aliceId - locked totp-max-attempts"
        );
    }
}

#[tokio::test]
async fn who_has_no_totp_cannot_give_it_up_or_replace_its_codes() {
    let server = Server::start().await;
    let before = server.dump();
    for path in [DISABLE, REGENERATE_CODES] {
        for user in [CAROL, DAVE, ERIN] {
            let refused = proved(&server, user, path, "000000").send().await;
            assert_eq!(refused.text(), NOT_ENROLLED, "{user} {path}");
        }
    }
    assert_eq!(server.dump(), before);
    assert_eq!(server.failures(), 0);
}

/// One replay rule for every path that takes a code.
#[tokio::test]
async fn a_spent_code_is_spent_on_every_path() {
    let server = Server::start().await;
    let code = server.code(ADMIN);
    assert_eq!(server.reset(ALICE).send().await.status, 200);
    for path in [DISABLE, REGENERATE_CODES] {
        assert_eq!(
            proved(&server, ADMIN, path, &code).send().await.text(),
            INVALID
        );
        assert_eq!(
            server.audit().last().unwrap(),
            "adminId adminId replayed totp-invalid"
        );
    }
}

/// The spent step belongs to the secret, not to the account.
#[tokio::test]
async fn after_a_reset_the_new_key_works_in_the_same_step_and_the_old_one_does_not() {
    let server = Server::start().await;
    let lost = shown(&server).await;
    let validate = |code: &str| proved(&server, DAVE, VALIDATE, code).send();
    assert_eq!(validate(&code(&server, &lost, 0)).await.status, 200);
    let own = server.post(DAVE).code(code(&server, &lost, 1)).json("{}");
    assert_eq!(own.send().await.status, 200);
    let session = Session::of(
        server
            .log_in(serde_json::json!({"user": DAVE, "password": crate::support::PASSWORD}))
            .send()
            .await,
    );
    let enable = session
        .request(&server, Method::POST, ENABLE)
        .code(PASSWORD_DIGEST);
    let found = key(&enable.showing_secrets().send().await);
    let validate = |code: String| {
        let request = session.request(&server, Method::POST, VALIDATE);
        request
            .json(&format!(r#"{{"code":"{code}"}}"#))
            .showing_secrets()
            .send()
    };
    assert_eq!(validate(code(&server, &lost, 1)).await.text(), INVALID);
    assert_eq!(validate(code(&server, &found, 0)).await.status, 200);
    let reset = session.request(&server, Method::POST, RESET_TOTP);
    let reset = reset.code(code(&server, &found, 1)).json("{}");
    assert_eq!(reset.send().await.status, 200);
}

/// A key that was shown and not proved is part of what goes.
#[tokio::test]
async fn a_reset_removes_a_pending_key_too() {
    let server = Server::start().await;
    let key = shown(&server).await;
    let reset = server
        .post(ADMIN)
        .code(server.code(ADMIN))
        .json(r#"{"username":"dave"}"#);
    assert_eq!(reset.send().await.status, 200);
    assert!(server.dump().rows("pending_totp").is_empty());
    assert_eq!(server.audit().last().unwrap(), "adminId daveId reset -");
    let validate = proved(&server, DAVE, VALIDATE, &code(&server, &key, 0));
    assert_eq!(validate.send().await.text(), NOT_LOGGED_IN);
}

#[tokio::test]
async fn to_enrol_ends_the_accounts_other_sessions() {
    let server = Server::start().await;
    let credentials = serde_json::json!({"user": DAVE, "password": crate::support::PASSWORD});
    let other = Session::of(server.log_in(credentials).send().await);
    let key = shown(&server).await;
    assert_eq!(
        other.request(&server, Method::GET, ME).send().await.status,
        200
    );
    let validate = proved(&server, DAVE, VALIDATE, &code(&server, &key, 0));
    assert_eq!(validate.send().await.status, 200);
    assert_eq!(
        other.request(&server, Method::GET, ME).send().await.status,
        401
    );
    assert_eq!(
        server.request_of(DAVE, Method::GET, ME).send().await.status,
        200
    );
}

#[tokio::test]
async fn every_route_needs_a_login_and_understands_its_body() {
    let server = Server::start().await;
    for path in [ENABLE, VALIDATE, DISABLE, REGENERATE_CODES] {
        let bare = server
            .request(Method::POST, path)
            .json(r#"{"code":"000000"}"#);
        assert_eq!(bare.send().await.text(), NOT_LOGGED_IN);
        for body in [
            r#"{"code":{"$ne":null}}"#,
            r#"{"code":["000000"]}"#,
            r#"{"code":null}"#,
            r#"{"Code":"000000"}"#,
            r#"{"code":"000000","code":"000001"}"#,
            r#"{"code":"000000","user":"alice"}"#,
            "[]",
            "hello",
        ] {
            server.advance(Duration::from_secs(60));
            let answer = server
                .request_of(ALICE, Method::POST, path)
                .json(body)
                .send()
                .await;
            assert_eq!(answer.status, 400, "{path} {body}");
            assert_eq!(
                answer.json()["errorType"],
                "invalid-params",
                "{path} {body}"
            );
        }
    }
    let bare = server.request(Method::GET, CODES_REMAINING).send().await;
    assert_eq!(bare.text(), NOT_LOGGED_IN);
    assert_eq!(server.failures(), 0);
}
