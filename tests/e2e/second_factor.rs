//! The caller's second factor: right once, and for a while.

use crate::support::{
    ADMIN, ALICE, Answer, BACKUP_CODES, BOB, DAVE, DISABLE, ERIN, MODERATOR, PASSWORD,
    PASSWORD_DIGEST, Request, Server, WRONG_DIGEST,
};
use chat_domain::settings::Settings;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::task::JoinSet;

const STEP: Duration = Duration::from_secs(30);

const SUCCESS: &str = r#"200 {"success":true}"#;

/// A log-in by password and code.
fn with_code(user: &str, code: &str) -> Value {
    json!({"user": user, "password": PASSWORD, "code": code})
}

/// RFC 6238 section 5.2, OWASP ASVS 5.0 V6.5.1. The answer is that of a wrong
/// code.
#[tokio::test]
async fn a_code_is_accepted_once() {
    let server = Server::start().await;
    let code = server.code(ADMIN);
    assert_eq!(server.reset(ALICE).send().await.status, 200);
    for target in ["aliceId", "bobId"] {
        let again = server
            .post(ADMIN)
            .code(&code)
            .json(&format!(r#"{{"userId":"{target}"}}"#))
            .send()
            .await;
        assert_eq!(
            again.text(),
            r#"400 {"success":false,"error":"TOTP Invalid [totp-invalid]","errorType":"totp-invalid","details":{"method":"totp","codeGenerated":false}}"#
        );
    }
    assert_eq!(
        server.audit(),
        [
            "adminId aliceId reset -",
            "adminId - replayed totp-invalid",
            "adminId - replayed totp-invalid"
        ]
    );
}

/// Whoever saw a code being used learns nothing with it, not even who exists.
#[tokio::test]
async fn a_spent_code_opens_no_other_answer() {
    let server = Server::start().await;
    let code = server.code(ADMIN);
    assert_eq!(server.reset(ALICE).send().await.status, 200);
    let wrong = server.post(ADMIN).code("000000").json("{}").send().await;
    for target in ["bobId", "nobodyId", "federatedId", ""] {
        let body = format!(r#"{{"userId":"{target}"}}"#);
        let spent = server.post(ADMIN).code(&code).json(&body).send().await;
        assert_eq!(spent.text(), wrong.text(), "{target}");
    }
}

#[tokio::test]
async fn a_code_older_than_the_last_accepted_one_is_refused() {
    let server = Server::start().await;
    let named = |code: String, target: &str| {
        let body = format!(r#"{{"userId":"{target}"}}"#);
        server.post(ADMIN).code(code).json(&body).send()
    };
    assert_eq!(named(server.code_at(ADMIN, 1), "aliceId").await.status, 200);
    assert_eq!(named(server.code_at(ADMIN, 0), "bobId").await.status, 400);
    assert_eq!(named(server.code_at(ADMIN, 1), "bobId").await.status, 400);
    server.advance(STEP);
    assert_eq!(named(server.code_at(ADMIN, 1), "bobId").await.status, 200);
}

#[tokio::test]
async fn a_clock_set_back_allows_no_reuse() {
    let server = Server::start().await;
    assert_eq!(server.reset(ALICE).send().await.status, 200);
    for _ in 0..3 {
        server.set_clock_back(STEP);
        assert_eq!(server.reset(BOB).send().await.status, 400);
    }
}

#[tokio::test]
async fn a_window_of_one_step_is_accepted_from_its_first_to_its_last_second() {
    for into_step in [0, 29] {
        for (steps, status) in [(-2, 400), (-1, 200), (0, 200), (1, 200), (2, 400)] {
            let server = Server::start().await;
            server.advance(Duration::from_secs(into_step));
            let code = server.code_at(ADMIN, steps);
            let answer = server
                .post(ADMIN)
                .code(code)
                .json(r#"{"userId":"aliceId"}"#);
            assert_eq!(
                answer.send().await.status,
                status,
                "{into_step} s, {steps} steps"
            );
        }
    }
}

/// Gitea CVE-2026-20779: read, check and write of the spent step must be one.
#[tokio::test(flavor = "multi_thread")]
async fn of_sixty_four_parallel_requests_with_one_code_one_succeeds() {
    let server = Server::start().await;
    let code = server.code(ADMIN);
    parallel(&server, &code).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_sixty_four_parallel_requests_with_one_backup_code_one_succeeds() {
    let server = Server::start().await;
    parallel(&server, BACKUP_CODES[0]).await;
}

/// Half of them meet each server.
async fn parallel(server: &Server, code: &str) {
    let servers = [server, &server.another().await];
    let before = server.dump().rows("totp").len();
    let named = [r#"{"userId":"aliceId"}"#, r#"{"userId":"bobId"}"#];
    let calls = (0..64).map(|i| servers[i % 2].post(ADMIN).code(code).json(named[i / 2 % 2]));
    let answers = all(calls).await;
    let with = |status: u16| {
        answers
            .iter()
            .filter(|a| a.status.as_u16() == status)
            .count()
    };
    assert_eq!((with(200), with(400)), (1, 63));
    let removed = before - server.dump().rows("totp").len();
    assert_eq!(removed, 1);
}

async fn all(requests: impl Iterator<Item = Request>) -> Vec<Answer> {
    let sent: JoinSet<Answer> = requests.map(Request::send).collect();
    sent.join_all().await
}

#[tokio::test]
async fn a_backup_code_works_once() {
    let server = Server::start().await;
    for (code, target, status) in [
        (BACKUP_CODES[0], "aliceId", 200),
        (BACKUP_CODES[0], "bobId", 400),
        ("abcd2345", "bobId", 400),
        (BACKUP_CODES[1], "bobId", 200),
    ] {
        let body = format!(r#"{{"userId":"{target}"}}"#);
        let answer = server.post(ADMIN).code(code).json(&body).send().await;
        assert_eq!(answer.status, status, "{code} {target}");
    }
}

/// A proof is spent by the reset that it authorises, and by nothing else.
#[tokio::test]
async fn a_refused_request_spends_no_code() {
    let server = Server::start().await;
    for code in [server.code(ADMIN), BACKUP_CODES[0].to_owned()] {
        for (target, status) in [("nobodyId", 400), ("carolId", 200)] {
            let body = format!(r#"{{"userId":"{target}"}}"#);
            let answer = server.post(ADMIN).code(&code).json(&body).send().await;
            assert_eq!(answer.status, status, "{target}");
        }
    }
}

const LOCKED: &str = r#"400 {"success":false,"error":"TOTP Maximun Failed Attempts Reached [totp-max-attempts]","errorType":"totp-max-attempts","details":{"method":"totp","codeGenerated":false}}"#;

/// NIST SP 800-63B section 5.2.2. Vikunja CVE-2026-35597: the count must
/// outlive the refused request; here it outlives the process, too.
#[tokio::test]
async fn after_five_failures_the_right_code_is_refused_until_the_lock_ends() {
    let mut server = Server::start().await;
    for attempt in 1..=5 {
        let wrong = server.post(ADMIN).code("000000").json("{}").send().await;
        assert!(
            wrong.body.contains("totp-invalid"),
            "{attempt}: {}",
            wrong.body
        );
    }
    assert_eq!(server.reset(ALICE).send().await.text(), LOCKED);
    server.restart().await;
    server.advance(Duration::from_millis(29_999));
    assert_eq!(server.reset(ALICE).send().await.text(), LOCKED);
    assert_eq!(
        server.audit().last().unwrap(),
        "adminId - locked totp-max-attempts"
    );
    server.advance(Duration::from_millis(1));
    assert_eq!(server.reset(ALICE).send().await.status, 200);
}

#[tokio::test]
async fn every_further_failure_doubles_the_lock_up_to_an_hour() {
    let server = Server::start().await;
    let wrong = || server.post(ADMIN).code("000000").json("{}").send();
    for _ in 1..5 {
        assert!(wrong().await.body.contains("totp-invalid"));
    }
    for lock in [30, 60, 120, 240, 480, 960, 1920, 3600, 3600] {
        assert!(wrong().await.body.contains("totp-invalid"));
        server.advance(Duration::from_secs(lock) - Duration::from_millis(1));
        assert_eq!(wrong().await.text(), LOCKED, "{lock}");
        server.advance(Duration::from_millis(1));
    }
    assert_eq!(server.reset(ALICE).send().await.status, 200);
}

#[tokio::test]
async fn success_clears_the_count() {
    let server = Server::start().await;
    for target in [ALICE, BOB] {
        for _ in 0..4 {
            let wrong = server.post(ADMIN).code("000000").json("{}").send().await;
            assert!(wrong.body.contains("totp-invalid"));
        }
        assert_eq!(server.reset(target).send().await.status, 200);
        server.advance(STEP);
    }
}

/// Or whoever holds a token that bypasses the second factor guesses at it for
/// ever.
#[tokio::test]
async fn what_excuses_from_a_proof_clears_no_failures() {
    let settings = Settings {
        bypass_token_allowed: true,
        ..Settings::default()
    };
    let server = Server::start_with(settings).await;
    for _ in 0..4 {
        server.post(ADMIN).code("000000").json("{}").send().await;
    }
    let store = server.store();
    store
        .execute("UPDATE login_token SET bypass_two_factor = 1", [])
        .unwrap();
    let excused = server.post(ADMIN).json(r#"{"userId":"carolId"}"#).send();
    assert_eq!(excused.await.status, 200);
    assert_eq!(server.failures(), 4);
}

/// Keycloak CVE-2024-4629: parallel guesses must not all read the count before
/// one writes it.
#[tokio::test(flavor = "multi_thread")]
async fn of_sixty_four_parallel_guesses_five_are_looked_at() {
    let server = Server::start().await;
    let guesses = (0..64).map(|_| server.post(ADMIN).code("000000").json("{}"));
    let answers = all(guesses).await;
    let looked_at = answers
        .iter()
        .filter(|a| a.body.contains("totp-invalid"))
        .count();
    let locked = answers.iter().filter(|a| a.text() == LOCKED).count();
    assert_eq!((looked_at, locked), (5, 59));
}

#[tokio::test]
async fn one_callers_failures_do_not_lock_another() {
    let server = Server::start().await;
    for _ in 0..6 {
        server.post(ALICE).code("000000").json("{}").send().await;
    }
    assert_eq!(
        server
            .post(ALICE)
            .code(server.code(ALICE))
            .send()
            .await
            .text(),
        LOCKED
    );
    assert_eq!(server.reset(ALICE).send().await.status, 200);
}

/// The password is the factor of those who have no other: its SHA-256, in
/// lower-case hexadecimal.
#[tokio::test]
async fn a_caller_without_another_factor_proves_the_password() {
    let server = Server::start().await;
    let digest = PASSWORD_DIGEST;
    let call = || server.post(DAVE).header("x-2fa-method", "password");
    let required = call().json("{}").send().await;
    assert_eq!(
        required.text(),
        r#"400 {"success":false,"error":"TOTP Required [totp-required]","errorType":"totp-required","details":{"method":"password","codeGenerated":false,"availableMethods":[]}}"#
    );
    for wrong in [PASSWORD, "000000", &digest.to_uppercase(), &digest[1..]] {
        let refused = call().code(wrong).json("{}").send().await;
        assert_eq!(
            refused.text(),
            r#"400 {"success":false,"error":"TOTP Invalid [totp-invalid]","errorType":"totp-invalid","details":{"method":"password","codeGenerated":false}}"#
        );
    }
    assert_eq!(call().code(digest).json("{}").send().await.status, 200);
    assert_eq!(
        server.audit().last().unwrap(),
        "daveId daveId nothing-enrolled -"
    );
    assert_eq!(call().code(digest).json("{}").send().await.status, 200);
}

#[tokio::test]
async fn a_caller_with_totp_cannot_prove_the_password_instead() {
    let server = Server::start().await;
    server
        .store()
        .execute(
            "UPDATE user SET password_hash = (SELECT password_hash FROM user WHERE id = 'daveId')",
            [],
        )
        .unwrap();
    let digest = PASSWORD_DIGEST;
    let call = server.post(ADMIN).header("x-2fa-method", "password");
    let refused = call.code(digest).json("{}").send().await;
    assert!(
        refused.body.contains(r#""method":"totp""#),
        "{}",
        refused.body
    );
    assert_eq!(refused.status, 400);
}

#[tokio::test]
async fn without_the_fallback_the_password_is_no_factor() {
    let server = Server::start_with(Settings {
        password_fallback: false,
        ..Settings::default()
    })
    .await;
    let digest = PASSWORD_DIGEST;
    let refused = server.post(DAVE).code(digest).json("{}").send().await;
    assert!(refused.body.contains("totp-required"), "{}", refused.body);
}

/// Every kind of proof shares one count.
#[tokio::test]
async fn wrong_passwords_lock_like_wrong_codes() {
    let server = Server::start().await;
    let wrong = || server.post(DAVE).code(WRONG_DIGEST).json("{}").send();
    for _ in 0..5 {
        let wrong = wrong().await;
        assert!(wrong.body.contains("totp-invalid"), "{}", wrong.body);
    }
    let locked = wrong().await;
    assert!(locked.body.contains("totp-max-attempts"), "{}", locked.body);
    let audit = server.whole_audit();
    let guess = "guess daveId daveId locked 5 in a row by password";
    let told = audit.iter().filter(|record| record.starts_with(guess));
    assert_eq!(told.count(), 1, "{audit:?}");
}

/// A text that cannot be a password's digest is no guess at it.
#[tokio::test]
async fn what_is_no_digest_is_not_counted_as_a_password() {
    let server = Server::start().await;
    for wrong in [
        PASSWORD,
        "000000",
        &PASSWORD_DIGEST.to_uppercase(),
        &PASSWORD_DIGEST[1..],
    ] {
        for _ in 0..2 {
            let refused = server.post(DAVE).code(wrong).json("{}").send().await;
            assert!(refused.body.contains("totp-invalid"), "{}", refused.body);
        }
    }
    assert_eq!(server.failures(), 0);
    let right = format!(" {PASSWORD_DIGEST} ");
    let right = server.post(DAVE).code(right).json("{}").send().await;
    assert_eq!(right.text(), SUCCESS);
}

/// Whoever mistypes a name, lacks the permission or uses a code twice has the code: it
/// must not lock them out.
#[tokio::test]
async fn a_right_or_spent_code_that_is_refused_is_no_guess() {
    let refused: [(&str, &str, &str); 6] = [
        (ADMIN, r#"{"username":"alcie"}"#, "error-invalid-user"),
        (
            ADMIN,
            r#"{"userId":"aliceId","username":"bob"}"#,
            "invalid-params",
        ),
        (
            ADMIN,
            r#"{"username":" "}"#,
            "error-user-param-not-provided",
        ),
        (ADMIN, r#"{"username":"federated"}"#, "error-not-allowed"),
        (ALICE, r#"{"username":"bob"}"#, "error-not-allowed"),
        (MODERATOR, r#"{"username":"nobody"}"#, "error-not-allowed"),
    ];
    for (caller, body, error) in refused {
        let server = Server::start().await;
        for code in [server.code(caller), BACKUP_CODES[0].to_owned()] {
            if code == BACKUP_CODES[0] && caller != ADMIN {
                continue;
            }
            for _ in 0..7 {
                let answer = server.post(caller).code(&code).json(body).send().await;
                assert!(answer.body.contains(error), "{body}: {}", answer.body);
            }
        }
        assert_eq!(server.failures(), 0, "{body}");
    }
    let server = Server::start().await;
    let code = server.code(ADMIN);
    assert_eq!(
        server.log_in(with_code(ADMIN, &code)).send().await.status,
        200
    );
    for _ in 0..7 {
        let spent = server.reset(ALICE).send().await;
        assert!(spent.body.contains("totp-invalid"), "{}", spent.body);
        let again = server.log_in(with_code(ADMIN, &code)).send().await;
        assert!(again.body.contains("totp-invalid"), "{}", again.body);
    }
    assert_eq!(server.failures(), 0);
    server.advance(STEP);
    assert_eq!(server.reset(ALICE).send().await.status, 200);
}

/// Of the password and of a code by e-mail, which has a count of its own.
#[tokio::test]
async fn a_right_password_or_mailed_code_that_is_refused_is_no_guess() {
    let server = Server::start().await;
    let refused = r#"{"username":"bob"}"#;
    for _ in 0..7 {
        let call = server.post(DAVE).code(PASSWORD_DIGEST).json(refused);
        let answer = call.send().await;
        assert!(answer.body.contains("error-not-allowed"), "{}", answer.body);
    }
    assert_eq!(server.failures(), 0);
    server.advance(Duration::from_secs(60));
    let own = || server.post(ERIN);
    own().json("{}").send().await;
    let code = server.sent_code(ERIN).unwrap();
    for _ in 0..7 {
        let answer = own().code(&code).json(refused).send().await;
        assert!(answer.body.contains("error-not-allowed"), "{}", answer.body);
    }
    assert_eq!(server.failures(), 0);
    assert_eq!(own().code(&code).json("{}").send().await.text(), SUCCESS);
}

/// RFC 9110 section 10.2.3: whoever comes back then, and no earlier, is let in.
#[tokio::test]
async fn a_lock_says_when_it_ends() {
    let server = Server::start().await;
    for _ in 0..5 {
        let wrong = server.post(ADMIN).code("000000").json("{}").send().await;
        assert!(!wrong.headers.contains_key("retry-after"), "{}", wrong.body);
    }
    for (passed, seconds) in [(0, "30"), (1, "30"), (28_999, "1"), (999, "1")] {
        server.advance(Duration::from_millis(passed));
        let code = server.code(ADMIN);
        let reset = server.reset(ALICE).send().await;
        assert_eq!(reset.text(), LOCKED);
        assert_eq!(reset.headers["retry-after"], seconds);
        let login = server.log_in(with_code(ADMIN, &code)).send().await;
        assert!(login.body.contains("totp-max-attempts"), "{}", login.body);
        assert_eq!(login.headers["retry-after"], seconds);
        let disable = server
            .request_of(ADMIN, Method::POST, DISABLE)
            .json(&format!(r#"{{"code":"{code}"}}"#));
        assert_eq!(disable.send().await.headers["retry-after"], seconds);
    }
    server.advance(Duration::from_millis(1));
    let reset = server.reset(ALICE).send().await;
    assert_eq!(reset.status, 200);
    assert!(!reset.headers.contains_key("retry-after"));
}

/// The everyday case: who has lost the phone has guessed first.
#[tokio::test]
async fn failures_go_with_the_factor() {
    let server = Server::start().await;
    for _ in 0..6 {
        server.log_in(with_code(ALICE, "000000")).send().await;
    }
    assert_eq!(server.failures(), 5);
    assert_eq!(server.reset(ALICE).send().await.status, 200);
    assert_eq!(server.failures(), 0);
}

/// NIST SP 800-63B-4 section 3.2.2: after so many failures the authenticator is disabled.
#[tokio::test]
async fn after_so_many_failures_no_code_is_right_until_the_factor_is_replaced() {
    let settings = Settings {
        failure_budget: 7,
        rate_limit_calls: 0,
        ..Settings::default()
    };
    let server = Server::start_with(settings).await;
    for failure in 1..=7 {
        let answer = server.post(ALICE).code("000000").json("{}").send().await;
        assert!(
            answer.body.contains("totp-invalid"),
            "{failure}: {}",
            answer.body
        );
        server.advance(Duration::from_secs(3600));
    }
    for _ in 0..2 {
        let call = server.post(ALICE).code(server.code(ALICE)).json("{}");
        let answer = call.send().await;
        assert!(answer.body.contains("totp-max-attempts"), "{}", answer.body);
        assert!(
            !answer.headers.contains_key("retry-after"),
            "nobody knows when"
        );
        server.advance(Duration::from_secs(30 * 24 * 3600));
    }
    let audit = server.whole_audit();
    let locked = "guess aliceId aliceId locked 7 in a row by totp told 2 from 127.0.0.1";
    assert_eq!(
        audit.iter().filter(|record| *record == locked).count(),
        1,
        "{audit:?}"
    );
    let mails = server.outbox();
    let told = mails
        .iter()
        .filter(|mail| mail.contains("until an administrator has replaced"));
    assert_eq!(told.count(), 2, "{mails:?}");
    assert_eq!(server.reset(ALICE).send().await.status, 200);
    assert_eq!(server.failures(), 0);
}
