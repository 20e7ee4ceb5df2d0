//! Logging in and out, as Rocket.Chat's clients do.

use crate::support::{
    ADMIN, ALICE, BACKUP_CODES, BOB, CAROL, DAVE, DEACTIVATED, DISABLE, ERIN, FORM, FRANK, LOGIN,
    LOGOUT, MALLORY, ME, PASSWORD, PASSWORD_DIGEST, REGENERATE_CODES, RESET_TOTP, Server, Session,
};
use chat_domain::settings::Settings;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const WRONG: &str = r#"401 {"status":"error","error":403,"message":"Incorrect password"}"#;
const NOT_LOGGED_IN: &str =
    r#"401 {"status":"error","message":"You must be logged in to do this."}"#;

fn refusal(id: &str, message: &str, details: &str) -> String {
    format!(r#"401 {{"status":"error","error":"{id}","details":{details},"message":"{message}"}}"#)
}

fn plain(user: &str) -> Value {
    json!({"user": user, "password": PASSWORD})
}

fn with_code(user: &str, code: &str) -> Value {
    json!({"user": user, "password": PASSWORD, "code": code})
}

#[tokio::test]
async fn every_form_of_name_and_password_logs_in() {
    let server = Server::start().await;
    let digest = json!({"digest": PASSWORD_DIGEST, "algorithm": "sha-256"});
    for (index, credentials) in [
        plain(DAVE),
        json!({"username": "DAVE", "password": PASSWORD}),
        json!({"email": "Dave@Example.com", "password": PASSWORD}),
        json!({"user": "dave@example.com", "password": digest}),
        json!({"user": DAVE, "password": PASSWORD, "ldap": true, "code": ""}),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = server.log_in(credentials.clone()).send().await;
        assert_eq!(answer.status, 200, "{credentials}");
        let mut body = answer.json();
        let token = body["data"]["authToken"].take();
        assert_eq!(token.as_str().unwrap().len(), 43);
        assert_eq!(
            body.to_string(),
            r#"{"status":"success","data":{"userId":"daveId","authToken":null,"me":{"_id":"daveId","username":"dave","emails":[{"address":"dave@example.com","verified":true},{"address":"dave@work.example.com","verified":true},{"address":"dave@old.example.com","verified":false}],"active":true,"roles":["user"],"services":{}}}}"#
        );
        let audit = server.audit();
        assert_eq!(audit.len(), index + 1);
        assert_eq!(audit[index], "daveId daveId done -");
    }
    let form = server
        .request(Method::POST, LOGIN)
        .header("content-type", FORM)
        .body("user=dave&password=correct+horse+battery+staple")
        .showing_secrets();
    assert_eq!(form.send().await.status, 200);
}

/// The same answer, whether or not there is such an account.
#[tokio::test]
async fn a_wrong_name_or_password_is_refused_alike_and_counts_nothing() {
    let server = Server::start().await;
    let before = server.dump();
    for (credentials, client) in [
        (json!({"user": DAVE, "password": "wrong"}), 1),
        (json!({"user": DAVE, "password": ""}), 1),
        (json!({"user": DAVE, "password": PASSWORD_DIGEST}), 1),
        (plain("nobody"), 1),
        (plain("nobody@example.com"), 1),
        (plain(""), 1),
        (plain(CAROL), 1),
        (plain(DEACTIVATED), 1),
        (plain(MALLORY), 1),
        (
            json!({"username": "dave@example.com", "password": "wrong"}),
            2,
        ),
        (
            json!({"user": ADMIN, "password": "wrong", "code": server.code(ADMIN)}),
            2,
        ),
        (
            json!({"user": DAVE, "password": {"digest": PASSWORD_DIGEST.to_uppercase(), "algorithm": "sha-256"}}),
            2,
        ),
        (
            json!({"user": DAVE, "password": {"digest": PASSWORD, "algorithm": "sha-256"}}),
            2,
        ),
    ] {
        let request = server.log_in(credentials.clone());
        let request = request.from(&format!("192.0.2.{client}"));
        assert_eq!(request.send().await.text(), WRONG, "{credentials}");
    }
    assert_eq!(server.dump(), before);
    assert_eq!(server.failures(), 0);
    let recorded = |record: &String| record.ends_with(" refused incorrect-password");
    assert_eq!(server.audit().len(), 13);
    assert!(server.audit().iter().all(recorded), "{:?}", server.audit());
    assert_eq!(
        server.audit()[0],
        "daveId daveId refused incorrect-password"
    );
    assert_eq!(server.audit()[3], "unknown - refused incorrect-password");
}

/// Nothing about the request tells whether the password was right.
#[tokio::test]
async fn a_header_that_is_not_understood_is_refused_before_the_password_is_looked_at() {
    let server = Server::start().await;
    for password in [PASSWORD, "wrong"] {
        let credentials = json!({"user": ADMIN, "password": password});
        let request = server.log_in(credentials).code("x".repeat(300));
        let answer = request.send().await;
        assert_eq!(
            answer.json()["errorType"],
            "invalid-params",
            "{}",
            answer.body
        );
    }
    assert!(server.audit().is_empty());
}

/// OWASP ASVS 5.0 V6.3.8: nor does the time tell. No machine compares a password
/// in less than the ten milliseconds that are the least here.
#[tokio::test]
async fn a_name_that_is_nobodys_costs_a_comparison_too() {
    let server = Server::start().await;
    for user in ["nobody", "nobody@example.com", CAROL, DEACTIVATED] {
        let start = Instant::now();
        let refused = server.log_in(plain(user)).send().await;
        assert_eq!(refused.text(), WRONG);
        assert!(start.elapsed() >= Duration::from_millis(10), "{user}");
    }
}

#[tokio::test]
async fn a_body_that_is_not_understood_logs_nobody_in() {
    let server = Server::start().await;
    let before = server.dump();
    for body in [
        "",
        "{}",
        "null",
        "[]",
        "user=dave",
        "user=dave&password=correct+horse+battery+staple",
        r#"{"user":"dave"}"#,
        r#"{"password":"x"}"#,
        r#"{"user":{"$ne":null},"password":"x"}"#,
        r#"{"user":{"$regex":"^d"},"password":"x"}"#,
        r#"{"user":["dave"],"password":"x"}"#,
        r#"{"user":"dave","password":{"$ne":null}}"#,
        r#"{"user":"dave","password":{"digest":"x","algorithm":"md5"}}"#,
        r#"{"user":"dave","password":["x"]}"#,
        r#"{"user":"dave","username":"dave","password":"x"}"#,
        r#"{"user":"dave","user":"erin","password":"x"}"#,
        r#"{"user":"dave","password":"x","resume":"y"}"#,
        r#"{"resume":{"$ne":null}}"#,
        "{\"user\":\"dave\",\"password\":\"x\"",
    ] {
        server.advance(Duration::from_secs(60));
        let request = server.request(Method::POST, LOGIN).json(body);
        let answer = request.send().await;
        assert_eq!(answer.status, 400, "{body}");
        assert_eq!(answer.json()["errorType"], "invalid-params", "{body}");
    }
    assert_eq!(server.dump(), before);
}

/// serde's own words would quote it.
#[tokio::test]
async fn what_was_entered_is_not_quoted_back() {
    let server = Server::start().await;
    let code = server.code(ADMIN).trim_start_matches('0').to_owned();
    let body = format!(r#"{{"user":"admin","password":"x","code":{code}}}"#);
    let answer = server.request(Method::POST, LOGIN).json(&body).send().await;
    assert_eq!(
        answer.text(),
        r#"400 {"success":false,"errorType":"invalid-params","error":"a key is unknown, repeated or missing, or a value is of the wrong type, at line 1 column 44"}"#
    );
}

#[tokio::test]
async fn totp_is_asked_for_checked_and_spent() {
    let server = Server::start().await;
    let details = r#"{"method":"totp","codeGenerated":false,"availableMethods":["totp"]}"#;
    let required = refusal("totp-required", "TOTP Required", details);
    assert_eq!(server.log_in(plain(ADMIN)).send().await.text(), required);
    let details = r#"{"method":"totp","codeGenerated":false}"#;
    let invalid = refusal("totp-invalid", "TOTP Invalid", details);
    for wrong in ["000000", "67820x", "123-456", &server.code_at(ADMIN, 2)] {
        let refused = server.log_in(with_code(ADMIN, wrong)).send().await;
        assert_eq!(refused.text(), invalid);
    }
    let code = server.code(ADMIN);
    let right = server.log_in(with_code(ADMIN, &code)).send().await;
    assert_eq!(right.status, 200);
    let again = server.log_in(with_code(ADMIN, &code)).send().await;
    assert_eq!(again.text(), invalid);
    assert_eq!(
        server.audit(),
        [
            "adminId adminId refused totp-required",
            "adminId adminId refused totp-invalid",
            "adminId adminId refused totp-invalid",
            "adminId adminId refused totp-invalid",
            "adminId adminId refused totp-invalid",
            "adminId adminId done -",
            "adminId adminId replayed totp-invalid",
        ]
    );
}

/// One replay rule for every path that takes a code.
#[tokio::test]
async fn a_code_that_logged_in_resets_nobody_and_the_reverse() {
    let server = Server::start().await;
    let code = server.code(ADMIN);
    assert_eq!(
        server.log_in(with_code(ADMIN, &code)).send().await.status,
        200
    );
    let reset = server.reset(ALICE).send().await;
    assert!(reset.body.contains("totp-invalid"), "{}", reset.body);
    server.advance(Duration::from_secs(30));
    let code = server.code(ADMIN);
    assert_eq!(server.reset(ALICE).send().await.status, 200);
    let login = server.log_in(with_code(ADMIN, &code)).send().await;
    assert_eq!(login.status, 401);
}

#[tokio::test]
async fn the_code_may_come_as_a_header_and_be_a_backup_code() {
    let server = Server::start().await;
    let header = server.log_in(plain(ADMIN)).code(server.code(ADMIN));
    assert_eq!(header.send().await.status, 200);
    server.advance(Duration::from_secs(30));
    let (right, wrong) = (server.code(ADMIN), "000000");
    let in_body = |code| server.log_in(with_code(ADMIN, code));
    assert_eq!(in_body(wrong).code(&right).send().await.status, 401);
    assert_eq!(in_body(&right).code(wrong).send().await.status, 200);
    let backup = with_code(ADMIN, BACKUP_CODES[0]);
    assert_eq!(server.log_in(backup.clone()).send().await.status, 200);
    assert_eq!(server.log_in(backup).send().await.status, 401);
    assert_eq!(
        server
            .dump()
            .rows("backup_code")
            .iter()
            .filter(|row| row.contains("adminId") && row.ends_with(" 0"))
            .count(),
        1
    );
    let used = server.whole_audit();
    let from = "by backup-code told 2 from 127.0.0.1";
    assert!(
        used.contains(&format!("log-in adminId adminId done - {from}")),
        "{used:?}"
    );
    let again = "replayed totp-invalid by backup-code told - from 127.0.0.1";
    assert!(
        used.contains(&format!("log-in adminId adminId {again}")),
        "{used:?}"
    );
    let mails = server.outbox();
    let told = mails
        .iter()
        .filter(|mail| mail.contains("a backup code was used"));
    assert_eq!(told.count(), 2, "{mails:?}");
}

/// Keycloak CVE-2024-4629, Vikunja CVE-2026-35597. One count for every
/// path that takes a code.
#[tokio::test]
async fn wrong_codes_lock_the_log_in_and_the_reset_alike() {
    let server = Server::start().await;
    let wrong = || server.log_in(with_code(ADMIN, "000000"));
    for _ in 0..3 {
        assert!(wrong().send().await.body.contains("totp-invalid"));
    }
    for _ in 0..2 {
        server.post(ADMIN).code("000000").json("{}").send().await;
    }
    let details = r#"{"method":"totp","codeGenerated":false}"#;
    let locked = refusal(
        "totp-max-attempts",
        "TOTP Maximun Failed Attempts Reached",
        details,
    );
    let code = server.code(ADMIN);
    assert_eq!(
        server.log_in(with_code(ADMIN, &code)).send().await.text(),
        locked
    );
    assert!(
        server
            .reset(ALICE)
            .send()
            .await
            .body
            .contains("totp-max-attempts")
    );
    server.advance(Duration::from_secs(30));
    let code = server.code(ADMIN);
    assert_eq!(
        server.log_in(with_code(ADMIN, &code)).send().await.status,
        200
    );
    assert_eq!(server.failures(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_sixty_four_parallel_log_ins_with_one_code_one_succeeds() {
    let settings = Settings {
        rate_limit_calls: 0,
        ..Settings::default()
    };
    let server = Server::start_with(settings).await;
    let servers = [&server, &server.another().await];
    let code = server.code(ADMIN);
    let log_in = |i: usize| servers[i % 2].log_in(with_code(ADMIN, &code)).send();
    let answers = (0..64).map(log_in).collect::<JoinSet<_>>().join_all().await;
    let with = |status: u16| answers.iter().filter(|a| a.status == status).count();
    assert_eq!(with(200), 1);
    assert_eq!(with(200) + with(401) + with(503), 64);
    assert!(with(401) > 0);
}

/// Whichever path the guesses take, and whichever server they meet.
#[tokio::test(flavor = "multi_thread")]
async fn of_parallel_guesses_on_every_path_five_are_looked_at() {
    let settings = Settings {
        rate_limit_calls: 0,
        ..Settings::default()
    };
    let server = Server::start_with(settings).await;
    let servers = [&server, &server.another().await];
    let guess = |i: usize| {
        let server = servers[i / 4 % 2];
        let body = r#"{"code":"000000"}"#;
        match i % 4 {
            0 => server.log_in(with_code(ALICE, "000000")),
            1 => server.post(ALICE).code("000000").json("{}"),
            2 => server.request_of(ALICE, Method::POST, DISABLE).json(body),
            _ => server
                .request_of(ALICE, Method::POST, REGENERATE_CODES)
                .json(body),
        }
    };
    let guesses = (0..48).map(|i| guess(i).send());
    let answers = guesses.collect::<JoinSet<_>>().join_all().await;
    let with = |id: &str| answers.iter().filter(|a| a.body.contains(id)).count();
    assert_eq!(with("totp-invalid") + with("invalid-totp"), 5);
    assert_eq!(with("totp-max-attempts"), 43);
}

/// The password is no second factor of itself: it was just proved.
#[tokio::test]
async fn where_there_is_no_second_factor_or_none_is_used_the_password_is_enough() {
    let server = Server::start().await;
    assert_eq!(server.log_in(plain(DAVE)).send().await.status, 200);
    let needless = server.log_in(with_code(DAVE, "000000")).send().await;
    assert_eq!(needless.status, 200);
    assert_eq!(server.failures(), 0);
    let settings = Settings {
        two_factor_enabled: false,
        ..Settings::default()
    };
    let server = Server::start_with(settings).await;
    assert_eq!(server.log_in(plain(ADMIN)).send().await.status, 200);
}

#[tokio::test]
async fn a_code_by_e_mail_is_sent_once_and_logs_in_once() {
    let server = Server::start().await;
    let asked = server.log_in(plain(ERIN)).send().await;
    let details = r#"{"method":"email","codeGenerated":true,"emailOrUsername":"erin","availableMethods":["email"]}"#;
    assert_eq!(
        asked.text(),
        refusal("totp-required", "TOTP Required", details)
    );
    let code = server.sent_code(ERIN).unwrap();
    let again = server.log_in(plain(ERIN)).send().await;
    let details = r#"{"method":"email","codeGenerated":false,"codeExpires":"2033-05-18T04:33:00.000Z","emailOrUsername":"erin","availableMethods":["email"]}"#;
    assert_eq!(
        again.text(),
        refusal("totp-required", "TOTP Required", details)
    );
    assert_eq!(server.sent_code(ERIN).unwrap(), code);
    let right = server.log_in(with_code(ERIN, &code)).send().await;
    assert_eq!(right.status, 200);
    let spent = server.log_in(with_code(ERIN, &code)).send().await;
    let details = r#"{"method":"email","codeGenerated":false}"#;
    assert_eq!(
        spent.text(),
        refusal("totp-invalid", "TOTP Invalid", details)
    );
}

/// And no other code is sent meanwhile.
#[tokio::test]
async fn wrong_codes_by_e_mail_lock_the_log_in() {
    let server = Server::start().await;
    server.log_in(plain(ERIN)).send().await;
    let code = server.sent_code(ERIN).unwrap();
    for _ in 0..5 {
        let wrong = server.log_in(with_code(ERIN, "000000")).send().await;
        assert!(wrong.body.contains("totp-invalid"), "{}", wrong.body);
    }
    let details = r#"{"method":"email","codeGenerated":false}"#;
    let locked = refusal(
        "totp-max-attempts",
        "TOTP Maximun Failed Attempts Reached",
        details,
    );
    for credentials in [with_code(ERIN, &code), plain(ERIN)] {
        let refused = server.log_in(credentials).send().await;
        assert_eq!(refused.text(), locked);
    }
    let mails = server.outbox();
    let of = |subject: &str| mails.iter().filter(|mail| mail.contains(subject)).count();
    assert_eq!(of("Authentication Code"), 2, "no other is sent");
    assert_eq!(of("is locked for a while"), 2, "erin is told, once");
}

#[tokio::test]
async fn who_has_both_may_choose() {
    let server = Server::start().await;
    let asked = server.log_in(plain(FRANK)).send().await;
    assert!(
        asked.body.contains(
            r#""method":"totp","codeGenerated":false,"availableMethods":["totp","email"]"#
        ),
        "{}",
        asked.body
    );
    let asked = server.log_in(plain(FRANK)).header("x-2fa-method", "email");
    let asked = asked.send().await;
    assert!(
        asked
            .body
            .contains(r#""method":"email","codeGenerated":true"#),
        "{}",
        asked.body
    );
    let code = server.sent_code(FRANK).unwrap();
    let right = server
        .log_in(with_code(FRANK, &code))
        .header("x-2fa-method", "email");
    assert_eq!(right.send().await.status, 200);
}

#[tokio::test]
async fn a_session_shows_who_it_is_is_resumed_and_ends() {
    let server = Server::start().await;
    let session = Session::of(server.log_in(plain(DAVE)).send().await);
    let me = session.request(&server, Method::GET, ME).send().await;
    assert_eq!(
        me.text(),
        r#"200 {"_id":"daveId","username":"dave","emails":[{"address":"dave@example.com","verified":true},{"address":"dave@work.example.com","verified":true},{"address":"dave@old.example.com","verified":false}],"active":true,"roles":["user"],"services":{},"success":true}"#
    );
    let resumed = server.log_in(json!({"resume": session.token})).send().await;
    assert_eq!(Session::of(resumed), session);
    let out = session.request(&server, Method::POST, LOGOUT).send().await;
    assert_eq!(
        out.text(),
        r#"200 {"status":"success","data":{"message":"You've been logged out!"}}"#
    );
    for (method, path) in [(Method::GET, ME), (Method::POST, LOGOUT)] {
        let refused = session.request(&server, method, path).send().await;
        assert_eq!(refused.text(), NOT_LOGGED_IN);
    }
    let resumed = server.log_in(json!({"resume": session.token})).send().await;
    assert_eq!(
        resumed.text(),
        r#"401 {"status":"error","error":403,"message":"You've been logged out by the server. Please log in again."}"#
    );
    let other = server.request_of(DAVE, Method::GET, ME).send().await;
    assert_eq!(other.status, 200, "another session of the account stays");
}

/// A session is no token that bypasses the second factor, where those do so.
#[tokio::test]
async fn a_log_in_bypasses_no_second_factor() {
    let settings = Settings {
        bypass_token_allowed: true,
        ..Settings::default()
    };
    let server = Server::start_with(settings).await;
    let code = server.code(ADMIN);
    let session = Session::of(server.log_in(with_code(ADMIN, &code)).send().await);
    let reset = session.request(&server, Method::POST, RESET_TOTP);
    let refused = reset.json(r#"{"userId":"aliceId"}"#).send().await;
    assert!(refused.body.contains("totp-required"), "{}", refused.body);
}

#[tokio::test]
async fn who_has_totp_is_shown_so() {
    let server = Server::start().await;
    for (user, services) in [
        (ALICE, r#""services":{"totp":{"enabled":true}}"#),
        (ERIN, r#""services":{"email2fa":{"enabled":true}}"#),
        (CAROL, r#""services":{}"#),
    ] {
        let me = server.request_of(user, Method::GET, ME).send().await;
        assert!(me.body.contains(services), "{}", me.body);
    }
}

#[tokio::test]
async fn a_log_in_lasts_as_long_as_the_workspace_says() {
    let settings = Settings {
        login_days: 1,
        ..Settings::default()
    };
    let server = Server::start_with(settings).await;
    let session = Session::of(server.log_in(plain(DAVE)).send().await);
    let day = Duration::from_secs(24 * 3600);
    server.advance(day - Duration::from_millis(1));
    assert_eq!(
        session
            .request(&server, Method::GET, ME)
            .send()
            .await
            .status,
        200
    );
    server.advance(Duration::from_millis(1));
    assert_eq!(
        session
            .request(&server, Method::GET, ME)
            .send()
            .await
            .status,
        401
    );
    let resumed = server.log_in(json!({"resume": session.token})).send().await;
    assert_eq!(resumed.status, 401);
}

/// OWASP ASVS 5.0 V8.4.1: tenants.
#[tokio::test]
async fn another_workspaces_token_is_not_resumed() {
    let server = Server::start().await;
    let token = format!("{MALLORY}Token");
    let resumed = server.log_in(json!({"resume": token})).send().await;
    assert_eq!(resumed.status, 401);
}

/// bcrypt takes a core for as long as it likes; resets go on beside it.
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_that_logs_in_does_not_hold_up_a_reset() {
    let settings = Settings {
        rate_limit_calls: 0,
        ..Settings::default()
    };
    let server = Server::start_with(settings).await;
    let mut crowd: JoinSet<_> = (0..48)
        .map(|_| {
            server
                .log_in(json!({"user": BOB, "password": "wrong"}))
                .send()
        })
        .collect();
    let first = crowd.join_next().await.unwrap().unwrap();
    assert!(matches!(first.status.as_u16(), 401 | 503));
    assert_eq!(server.reset(ALICE).send().await.status, 200);
    let digest = server.post(DAVE).code(PASSWORD_DIGEST).json("{}");
    assert_eq!(digest.send().await.status, 200);
    let mut still_waiting = 0;
    while crowd.try_join_next().is_some() {}
    still_waiting += crowd.len();
    assert!(still_waiting > 0, "the crowd was gone before the resets");
}

/// Unicode Standard Annex 15: what people type is the name, however it is encoded.
#[tokio::test]
async fn a_name_is_found_however_it_is_written() {
    let server = Server::start().await;
    let store = server.store();
    let renamed = "UPDATE user SET username = 'Jürgen', username_key = 'jürgen' WHERE id = 'bobId'";
    store.execute(renamed, []).unwrap();
    for name in ["Jürgen", "ju\u{308}rgen", "JU\u{308}RGEN", "Ｊürgen"] {
        let credentials = json!({"user": name, "password": PASSWORD, "code": server.code(BOB)});
        let answer = server.log_in(credentials).send().await;
        assert_eq!(answer.status, 200, "{name}: {}", answer.body);
        server.advance(Duration::from_secs(30));
    }
    let call = server.post(ADMIN).code(server.code(ADMIN));
    let call = call.json(r#"{"username":"JU\u0308RGEN"}"#);
    assert_eq!(call.send().await.text(), r#"200 {"success":true}"#);
}
