//! A code by e-mail as the second factor of a reset.

use crate::support::{ERIN, FRANK, PASSWORD, Request, Server};
use chat_domain::settings::Settings;
use serde_json::json;
use std::time::Duration;

const INVALID: &str = r#"400 {"success":false,"error":"TOTP Invalid [totp-invalid]","errorType":"totp-invalid","details":{"method":"email","codeGenerated":false}}"#;
const LOCKED: &str = r#"400 {"success":false,"error":"TOTP Maximun Failed Attempts Reached [totp-max-attempts]","errorType":"totp-max-attempts","details":{"method":"email","codeGenerated":false}}"#;
const SENT: &str = r#"400 {"success":false,"error":"TOTP Required [totp-required]","errorType":"totp-required","details":{"method":"email","codeGenerated":true,"emailOrUsername":"erin","availableMethods":["email"]}}"#;

/// Erin's request to reset her own TOTP, of which she has none.
fn own(server: &Server) -> Request {
    server.post(ERIN).json("{}")
}

#[tokio::test]
async fn a_code_is_sent_to_every_verified_address_and_accepted_once() {
    let server = Server::start().await;
    assert_eq!(own(&server).send().await.text(), SENT);
    let code = server.sent_code(ERIN).unwrap();
    assert_eq!(
        own(&server).send().await.text(),
        r#"400 {"success":false,"error":"TOTP Required [totp-required]","errorType":"totp-required","details":{"method":"email","codeGenerated":false,"codeExpires":"2033-05-18T04:33:00.000Z","emailOrUsername":"erin","availableMethods":["email"]}}"#
    );
    let (first, last) = code.split_at(3);
    assert_eq!(
        server.outbox(),
        ["erin@example.com", "erin@work.example.com"].map(|address| format!(
            "{address} Authentication Code The code for erin is {first}-{last}. Enter its six digits.\n\n\
             It can be used once, until 2033-05-18T04:33:00Z. If you did not ask for it,\n\
             somebody else knows your password: change it.\n"
        ))
    );
    let shown = format!("{first}-{last}");
    assert_eq!(
        own(&server).code(shown).send().await.text(),
        r#"200 {"success":true}"#
    );
    assert_eq!(own(&server).code(&code).send().await.text(), INVALID);
    assert_eq!(own(&server).send().await.text(), SENT);
    assert_ne!(server.sent_code(ERIN).unwrap(), code);
}

#[tokio::test]
async fn a_code_ends_after_an_hour() {
    let server = Server::start().await;
    for (millis, status) in [(3_600_000, 400), (3_599_999, 200)] {
        own(&server).send().await;
        let code = server.sent_code(ERIN).unwrap();
        server.advance(Duration::from_millis(millis));
        assert_eq!(own(&server).code(&code).send().await.status, status);
    }
}

/// Five wrong tries end the code, not only for the length of the account's lock.
#[tokio::test]
async fn after_five_wrong_tries_the_right_code_is_refused() {
    let server = Server::start().await;
    own(&server).send().await;
    let code = server.sent_code(ERIN).unwrap();
    for _ in 0..5 {
        assert_eq!(own(&server).code("000000").send().await.text(), INVALID);
    }
    assert_eq!(own(&server).code(&code).send().await.text(), LOCKED);
    server.advance(Duration::from_secs(60));
    assert_eq!(own(&server).code(&code).send().await.text(), LOCKED);
    assert_eq!(
        own(&server).send().await.text(),
        LOCKED,
        "and no other is sent"
    );
    let mails = server.outbox();
    let codes = mails
        .iter()
        .filter(|mail| mail.contains("Authentication Code"));
    assert_eq!(codes.count(), 2, "{mails:?}");
    server.advance(Duration::from_secs(3600));
    assert_eq!(own(&server).send().await.text(), SENT);
    let code = server.sent_code(ERIN).unwrap();
    assert_eq!(own(&server).code(&code).send().await.status, 200);
    assert_eq!(server.failures(), 0);
}

#[tokio::test]
async fn without_a_code_that_was_sent_none_is_right() {
    let server = Server::start().await;
    for wrong in ["000000", "", "123456 ", "１２３４５６"] {
        let answer = own(&server).code(wrong).send().await;
        assert_eq!(answer.status, 400);
    }
    let not_hers = server
        .post(FRANK)
        .header("x-2fa-method", "email")
        .json("{}");
    not_hers.send().await;
    let code = server.sent_code(FRANK).unwrap();
    assert_eq!(own(&server).code(code).send().await.text(), INVALID);
}

/// With both, TOTP comes first, and a code of one is none of the other.
#[tokio::test]
async fn who_has_both_may_choose() {
    let server = Server::start().await;
    let call = |method: &str| server.post(FRANK).header("x-2fa-method", method).json("{}");
    assert_eq!(
        call("password").send().await.text(),
        r#"400 {"success":false,"error":"TOTP Required [totp-required]","errorType":"totp-required","details":{"method":"totp","codeGenerated":false,"availableMethods":["totp","email"]}}"#
    );
    assert!(server.outbox().is_empty());
    assert_eq!(
        call("email").send().await.text(),
        r#"400 {"success":false,"error":"TOTP Required [totp-required]","errorType":"totp-required","details":{"method":"email","codeGenerated":true,"emailOrUsername":"frank","availableMethods":["totp","email"]}}"#
    );
    let (sent, totp) = (server.sent_code(FRANK).unwrap(), server.code(FRANK));
    assert_eq!(call("totp").code(&sent).send().await.status, 400);
    assert_eq!(call("email").code(&totp).send().await.status, 400);
    assert_eq!(call("email").code(&sent).send().await.status, 200);
}

#[tokio::test]
async fn where_codes_by_e_mail_are_not_used_the_password_is_the_factor() {
    let settings = Settings {
        email_enabled: false,
        ..Settings::default()
    };
    let server = Server::start_with(settings).await;
    let answer = own(&server).send().await;
    assert!(
        answer.body.contains(r#""method":"password""#),
        "{}",
        answer.body
    );
    assert!(server.outbox().is_empty());
}

/// Such a code is not compared, and so counts as no guess.
#[tokio::test]
async fn where_second_factors_are_off_a_code_is_not_asked_for_and_none_is_wrong() {
    let settings = Settings {
        two_factor_enabled: false,
        ..Settings::default()
    };
    let server = Server::start_with(settings).await;
    for _ in 0..6 {
        let credentials = json!({"user": ERIN, "password": PASSWORD, "code": "012345"});
        assert_eq!(server.log_in(credentials).send().await.status, 200);
    }
    assert_eq!(server.failures(), 0);
}

#[tokio::test]
async fn an_address_that_was_not_verified_gets_no_code() {
    let server = Server::start().await;
    let store = server.store();
    store
        .execute("UPDATE email SET verified = 0 WHERE user = 'erinId'", [])
        .unwrap();
    let answer = own(&server).send().await;
    assert!(
        answer.body.contains(r#""method":"password""#),
        "{}",
        answer.body
    );
}

/// The workspace's own numbers count.
#[tokio::test]
async fn lifetime_and_tries_are_settings() {
    let settings = Settings {
        email_code_seconds: 120,
        email_code_failures: 2,
        ..Settings::default()
    };
    let server = Server::start_with(settings).await;
    own(&server).send().await;
    for _ in 0..2 {
        assert_eq!(own(&server).code("000000").send().await.text(), INVALID);
    }
    let code = server.sent_code(ERIN).unwrap();
    assert_eq!(own(&server).code(&code).send().await.text(), LOCKED);
    server.advance(Duration::from_secs(120));
    assert_eq!(own(&server).send().await.text(), SENT);
}

/// A mail that never came.
#[tokio::test]
async fn after_a_minute_another_code_is_sent_and_the_first_is_none() {
    let server = Server::start().await;
    assert_eq!(own(&server).send().await.text(), SENT);
    let first = server.sent_code(ERIN).unwrap();
    server.advance(Duration::from_millis(59_999));
    assert!(own(&server).send().await.body.contains("codeExpires"));
    server.advance(Duration::from_millis(1));
    assert_eq!(own(&server).send().await.text(), SENT);
    assert_eq!(
        server.outbox().len(),
        2,
        "the mails that wait are the new ones"
    );
    let second = server.sent_code(ERIN).unwrap();
    if first != second {
        assert_eq!(own(&server).code(&first).send().await.text(), INVALID);
    }
    assert_eq!(own(&server).code(&second).send().await.status, 200);
}

/// The clock was a day ahead, and is right again.
#[tokio::test]
async fn a_code_from_tomorrow_blocks_no_other() {
    let server = Server::start().await;
    server.advance(Duration::from_secs(24 * 3600));
    assert_eq!(own(&server).send().await.text(), SENT);
    server.set_clock_back(Duration::from_secs(24 * 3600));
    assert_eq!(own(&server).send().await.text(), SENT);
    let code = server.sent_code(ERIN).unwrap();
    assert_eq!(own(&server).code(&code).send().await.status, 200);
}
