//! Every documented answer, to the byte, and every documented refusal's effect:
//! none.

use crate::support::{
    ADMIN, ALICE, BOB, CAROL, FEDERATED, FORM, MALLORY, MODERATOR, RESET_TOTP, Request, Server, id,
};
use chat_domain::settings::Settings;
use reqwest::Method;

const SUCCESS: &str = r#"200 {"success":true}"#;
const NOT_LOGGED_IN: &str =
    r#"401 {"status":"error","message":"You must be logged in to do this."}"#;
const NOT_ALLOWED: &str = r#"400 {"success":false,"error":"Not allowed [error-not-allowed]","errorType":"error-not-allowed"}"#;
const INVALID_USER: &str = r#"400 {"success":false,"error":"The required \"userId\" or \"username\" param provided does not match any users [error-invalid-user]","errorType":"error-invalid-user"}"#;
const TOTP_REQUIRED: &str = r#"400 {"success":false,"error":"TOTP Required [totp-required]","errorType":"totp-required","details":{"method":"totp","codeGenerated":false,"availableMethods":["totp"]}}"#;
const TOTP_INVALID: &str = r#"400 {"success":false,"error":"TOTP Invalid [totp-invalid]","errorType":"totp-invalid","details":{"method":"totp","codeGenerated":false}}"#;

async fn refuses(request: Request, server: &Server, answer: &str) {
    let before = server.dump();
    assert_eq!(request.send().await.text(), answer);
    assert_eq!(server.dump(), before, "a refusal changes nothing: {answer}");
}

#[tokio::test]
async fn an_administrator_resets_a_member() {
    let server = Server::start().await;
    assert_eq!(server.reset(ALICE).send().await.text(), SUCCESS);
}

/// The body is JSON and the content type, which curl adds, says form.
#[tokio::test]
async fn the_documented_curl_resets_exactly_the_named_user() {
    let server = Server::start().await;
    let before = server.dump();
    let answer = server
        .post(ADMIN)
        .code(server.code(ADMIN))
        .header("content-type", FORM)
        .body(format!(r#"{{ "userId":"{}" }}"#, id(ALICE)))
        .send()
        .await;
    assert_eq!(answer.text(), SUCCESS);
    let after = server.dump();
    let of = |dump: &crate::support::Snapshot, user: &str| {
        dump.rows("totp").iter().any(|row| row.contains(&id(user)))
    };
    assert!(of(&before, ALICE) && !of(&after, ALICE));
    assert!(of(&after, BOB) && of(&after, ADMIN));
}

#[tokio::test]
async fn every_key_and_form_names_the_member() {
    for (content_type, body) in [
        ("application/json", r#"{"userId":"aliceId"}"#),
        ("application/json", r#"{"username":"ALICE"}"#),
        ("application/json", r#"{"user":"alice"}"#),
        (
            "application/json",
            r#"{"user":"alice","userId":"aliceId","username":""}"#,
        ),
        ("text/plain", r#"{"userId":"aliceId"}"#),
        (FORM, "username=Alice"),
    ] {
        let server = Server::start().await;
        let call = server
            .post(ADMIN)
            .code(server.code(ADMIN))
            .header("content-type", content_type)
            .body(body);
        assert_eq!(call.send().await.text(), SUCCESS, "{body}");
        assert!(
            !server
                .dump()
                .rows("totp")
                .iter()
                .any(|row| row.contains("aliceId")),
            "{body}"
        );
    }
}

/// Also with headers that are repeated or listed: OWASP ASVS 5.0 V4.1.3.
#[tokio::test]
async fn without_a_login_nothing_is_answered_and_nothing_is_counted() {
    let server = Server::start().await;
    let bare = || server.request(Method::POST, RESET_TOTP).code("000000");
    let (user, token) = ("x-user-id", "x-auth-token");
    for call in [
        bare(),
        bare().header(user, "adminId"),
        bare().header(token, "adminToken"),
        bare().header(user, "adminId").header(token, "wrong"),
        bare().header(user, "adminId").header(token, "aliceToken"),
        bare().header(user, "aliceId").header(token, "adminToken"),
        bare().header(user, "nobodyId").header(token, "adminToken"),
        bare().header(user, "").header(token, ""),
        bare()
            .header(user, "malloryId")
            .header(token, "malloryToken"),
        bare()
            .header(user, "adminId")
            .header(token, "adminToken")
            .header(token, "adminToken"),
        bare()
            .header(user, "adminId")
            .header(user, "aliceId")
            .header(token, "adminToken"),
        bare()
            .header(user, "adminId,aliceId")
            .header(token, "adminToken"),
        bare()
            .header(user, "adminId")
            .header(token, "adminToken,adminToken"),
        bare()
            .header(user, r#"{"$ne":null}"#)
            .header(token, "adminToken"),
        bare()
            .header(user, b"adminId\xff")
            .header(token, "adminToken"),
    ] {
        refuses(call, &server, NOT_LOGGED_IN).await;
    }
    assert_eq!(server.failures(), 0);
    assert!(server.audit().is_empty());
}

#[tokio::test]
async fn an_expired_token_is_no_login() {
    let server = Server::start().await;
    server.advance(std::time::Duration::from_secs(90 * 24 * 3600));
    refuses(server.reset(ALICE), &server, NOT_LOGGED_IN).await;
}

#[tokio::test]
async fn a_personal_access_token_does_not_expire() {
    let server = Server::start().await;
    let personal = "UPDATE login_token SET expires = NULL, name = 'ci' WHERE user = 'adminId'";
    server.store().execute(personal, []).unwrap();
    server.advance(std::time::Duration::from_secs(10 * 365 * 24 * 3600));
    assert_eq!(server.reset(ALICE).send().await.text(), SUCCESS);
}

#[tokio::test]
async fn a_caller_without_the_permission_is_refused_and_never_learns_who_exists() {
    let server = Server::start().await;
    for (caller, body) in [
        (MODERATOR, r#"{"userId":"aliceId"}"#),
        (MODERATOR, r#"{"userId":"nobodyId"}"#),
        (MODERATOR, r#"{"userId":""}"#),
        (ALICE, r#"{"userId":"bobId"}"#),
        (ALICE, r#"{"userId":"aliceId"}"#),
    ] {
        server.advance(std::time::Duration::from_secs(3600));
        let call = server.post(caller).code(server.code(caller)).json(body);
        refuses(call, &server, NOT_ALLOWED).await;
    }
    let looked_up = server
        .audit()
        .iter()
        .any(|record| !record.contains("Id - refused"));
    assert!(!looked_up, "{:?}", server.audit());
}

#[tokio::test]
async fn a_user_that_does_not_exist_is_invalid() {
    let server = Server::start().await;
    for body in [
        r#"{"userId":"nobodyId"}"#.to_owned(),
        r#"{"userId":"ALICEID"}"#.to_owned(),
        r#"{"userId":"alice"}"#.to_owned(),
        r#"{"username":"aliceId"}"#.to_owned(),
        r#"{"username":"ali"}"#.to_owned(),
        r#"{"username":"^a"}"#.to_owned(),
        format!(r#"{{"userId":"{}"}}"#, id(MALLORY)),
        format!(r#"{{"username":"{MALLORY}"}}"#),
    ] {
        server.advance(std::time::Duration::from_secs(3600));
        let call = server.post(ADMIN).code(server.code(ADMIN)).json(&body);
        refuses(call, &server, INVALID_USER).await;
    }
}

#[tokio::test]
async fn a_missing_code_is_asked_for_whoever_calls() {
    let server = Server::start().await;
    for caller in [ADMIN, MODERATOR, ALICE] {
        server.advance(std::time::Duration::from_secs(60));
        for body in [r#"{"userId":"bobId"}"#, r#"{"userId":"nobodyId"}"#, "{}"] {
            refuses(server.post(caller).json(body), &server, TOTP_REQUIRED).await;
            let empty = server.post(caller).code("").json(body);
            refuses(empty, &server, TOTP_REQUIRED).await;
        }
    }
}

#[tokio::test]
async fn a_wrong_code_is_invalid() {
    let server = Server::start().await;
    for (caller, code) in [
        (ADMIN, server.code(ALICE)),
        (MODERATOR, "000000".to_owned()),
        (ALICE, server.code_at(ALICE, 2)),
    ] {
        let call = server.post(caller).code(code).json(r#"{"userId":"bobId"}"#);
        refuses(call, &server, TOTP_INVALID).await;
    }
}

/// A caller with TOTP is never asked for something weaker.
#[tokio::test]
async fn the_method_is_the_servers_choice() {
    for method in ["totp", "email", "password", "none", "TOTP", ""] {
        let server = Server::start().await;
        let call = || server.post(ADMIN).header("x-2fa-method", method);
        let named = r#"{"userId":"aliceId"}"#;
        refuses(call().json(named), &server, TOTP_REQUIRED).await;
        refuses(call().code("000000").json(named), &server, TOTP_INVALID).await;
        let right = call().code(server.code(ADMIN)).json(named).send().await;
        assert_eq!(right.text(), SUCCESS, "{method}");
    }
}

#[tokio::test]
async fn blank_selectors_and_federated_users_have_refusals_of_their_own() {
    let server = Server::start().await;
    let call = server.post(ADMIN).code(server.code(ADMIN));
    refuses(
        call.json(r#"{"userId":" ","username":""}"#),
        &server,
        r#"400 {"success":false,"error":"The required \"userId\" or \"username\" param was not provided [error-user-param-not-provided]","errorType":"error-user-param-not-provided"}"#,
    )
    .await;
    refuses(
        server.reset(FEDERATED),
        &server,
        r#"400 {"success":false,"error":"Federated Users cant have TOTP [error-not-allowed]","errorType":"error-not-allowed","details":{"function":"resetTOTP"}}"#,
    )
    .await;
}

#[tokio::test]
async fn where_second_factors_are_off_no_code_is_asked_and_nobody_else_is_reset() {
    let settings = Settings {
        two_factor_enabled: false,
        ..Settings::default()
    };
    let server = Server::start_with(settings).await;
    let named = r#"{"userId":"bobId"}"#;
    refuses(
        server.post(ADMIN).json(named),
        &server,
        r#"400 {"success":false,"error":"Two factor authentication is not enabled [error-two-factor-not-enabled]","errorType":"error-two-factor-not-enabled"}"#,
    )
    .await;
    refuses(server.post(ALICE).json(named), &server, NOT_ALLOWED).await;
    assert_eq!(server.post(ALICE).send().await.text(), SUCCESS);
}

#[tokio::test]
async fn a_caller_without_any_factor_is_refused_unless_the_workspace_says_otherwise() {
    let nothing_available = TOTP_REQUIRED.replace(r#"["totp"]"#, "[]");
    for (missing_factor_allowed, answer) in [(false, nothing_available.as_str()), (true, SUCCESS)] {
        let settings = Settings {
            missing_factor_allowed,
            ..Settings::default()
        };
        let server = Server::start_with(settings).await;
        assert_eq!(
            server.post(CAROL).code("000000").send().await.text(),
            answer
        );
    }
}

#[tokio::test]
async fn a_token_that_bypasses_the_second_factor_is_refused_unless_the_workspace_says_otherwise() {
    for (bypass_token_allowed, answer) in [(false, TOTP_REQUIRED), (true, SUCCESS)] {
        let settings = Settings {
            bypass_token_allowed,
            ..Settings::default()
        };
        let server = Server::start_with(settings).await;
        let store = server.store();
        store
            .execute(
                "UPDATE login_token SET bypass_two_factor = (user = 'adminId')",
                [],
            )
            .unwrap();
        let named = r#"{"userId":"aliceId"}"#;
        assert_eq!(server.post(ADMIN).json(named).send().await.text(), answer);
        let other = server.post(MODERATOR).json(named).send().await;
        assert_eq!(other.text(), TOTP_REQUIRED);
    }
}

/// A deactivated account keeps its factor until it is reset, and its holder
/// comes back as anybody.
#[tokio::test]
async fn a_deactivated_member_can_be_reset_and_cannot_call() {
    let server = Server::start().await;
    server
        .store()
        .execute("UPDATE user SET deactivated = 1 WHERE id = 'aliceId'", [])
        .unwrap();
    refuses(server.post(ALICE), &server, NOT_LOGGED_IN).await;
    assert_eq!(server.reset(ALICE).send().await.text(), SUCCESS);
}

#[tokio::test]
async fn the_window_is_the_workspaces() {
    for (totp_window, status) in [(0, 400), (1, 200)] {
        let settings = Settings {
            totp_window,
            ..Settings::default()
        };
        let server = Server::start_with(settings).await;
        let earlier = server.code_at(ADMIN, -1);
        let call = server
            .post(ADMIN)
            .code(earlier)
            .json(r#"{"userId":"aliceId"}"#);
        assert_eq!(call.send().await.status, status);
    }
}

/// The words of every test check them, too; an id is of one answer alone.
#[tokio::test]
async fn every_answer_has_its_headers() {
    let server = Server::start().await;
    let mut ids = std::collections::HashSet::new();
    for request in [
        server.reset(ALICE),
        server.reset(ALICE),
        server.request(Method::POST, RESET_TOTP),
        server.request(Method::GET, RESET_TOTP),
        server.request(Method::GET, "/nowhere"),
    ] {
        let answer = request.send().await;
        assert_eq!(answer.headers["cache-control"], "no-store");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
        let id = answer.headers["x-request-id"].to_str().unwrap().to_owned();
        assert!(ids.insert(id));
    }
}

#[tokio::test]
async fn other_routes_and_methods_are_refused_as_json() {
    let server = Server::start().await;
    let not_found = r#"404 {"success":false,"error":"Resource not found"}"#;
    for path in [
        "/",
        "/api/v1/users.resettotp",
        "/api/v1/users.resetTOTP/",
        "/api/v1/%00",
    ] {
        for method in [Method::GET, Method::POST] {
            refuses(server.request(method, path), &server, not_found).await;
        }
    }
    for method in [
        Method::GET,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
    ] {
        let before = server.dump();
        let answer = server
            .request(method, RESET_TOTP)
            .header("x-user-id", "adminId")
            .header("x-auth-token", "adminToken")
            .code(server.code(ADMIN))
            .header("x-http-method-override", "POST")
            .json(r#"{"userId":"aliceId"}"#)
            .send()
            .await;
        assert_eq!(
            answer.text(),
            r#"405 {"success":false,"error":"Method not allowed"}"#
        );
        assert_eq!(answer.headers["allow"], "POST");
        assert_eq!(server.dump(), before);
    }
}
