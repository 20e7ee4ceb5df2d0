//! Who may reset whom: every kind of caller and every kind of target.

use crate::support::{
    ADMIN, ALICE, BOB, BOT, CAROL, DEACTIVATED, ERIN, FEDERATED, FRANK, HELPER, MALLORY, MODERATOR,
    PASSWORD_DIGEST, Server, id,
};

const SUCCESS: &str = r#"200 {"success":true}"#;
const NOT_ALLOWED: &str = r#"400 {"success":false,"error":"Not allowed [error-not-allowed]","errorType":"error-not-allowed"}"#;
const INVALID_USER: &str = r#"400 {"success":false,"error":"The required \"userId\" or \"username\" param provided does not match any users [error-invalid-user]","errorType":"error-invalid-user"}"#;
const FEDERATED_USER: &str = r#"400 {"success":false,"error":"Federated Users cant have TOTP [error-not-allowed]","errorType":"error-not-allowed","details":{"function":"resetTOTP"}}"#;
const NOT_LOGGED_IN: &str =
    r#"401 {"status":"error","message":"You must be logged in to do this."}"#;
const LOCKED: &str = r#"400 {"success":false,"error":"TOTP Maximun Failed Attempts Reached [totp-max-attempts]","errorType":"totp-max-attempts","details":{"method":"totp","codeGenerated":false}}"#;

/// How a caller is prepared, and what meets a target that can be reset.
enum Caller {
    /// Holds the permission.
    Permitted,
    /// Holds it, but has failed too often.
    Locked,
    /// Holds it, and has no TOTP but a password.
    WithoutTotp,
    NotPermitted,
    /// Has no valid login here.
    Outside,
}

/// Each target, and what becomes of it when a permitted caller names it. `None`
/// is the caller.
const TARGETS: [(Option<&str>, &str); 11] = [
    (None, SUCCESS),
    (Some(ADMIN), SUCCESS),
    (Some(HELPER), SUCCESS),
    (Some(ALICE), SUCCESS),
    (Some(CAROL), SUCCESS),
    (Some(DEACTIVATED), SUCCESS),
    (Some(BOT), SUCCESS),
    (Some(BOB), SUCCESS),
    (Some(FEDERATED), FEDERATED_USER),
    (Some(MALLORY), INVALID_USER),
    (Some("nobody"), INVALID_USER),
];

/// Self, equal, higher (the administrator by a helper, by design: the permission
/// alone decides), lower, without TOTP, deactivated, bot, locked, federated, of
/// another workspace, unknown.
#[tokio::test]
async fn every_caller_meets_every_target_as_documented() {
    for (caller, kind) in [
        (ADMIN, Caller::Permitted),
        (HELPER, Caller::Permitted),
        (HELPER, Caller::Locked),
        (HELPER, Caller::WithoutTotp),
        (MODERATOR, Caller::NotPermitted),
        (ALICE, Caller::NotPermitted),
        (FRANK, Caller::NotPermitted),
        (BOT, Caller::NotPermitted),
        (DEACTIVATED, Caller::Outside),
        (MALLORY, Caller::Outside),
    ] {
        for (target, reset) in TARGETS {
            let server = Server::start().await;
            lock(&server, BOB);
            let expected = match kind {
                Caller::Permitted => reset,
                Caller::Locked => {
                    lock(&server, caller);
                    LOCKED
                }
                Caller::WithoutTotp => {
                    let id = id(caller);
                    let store = server.store();
                    store
                        .execute("DELETE FROM backup_code WHERE user = ?1", [&id])
                        .unwrap();
                    store
                        .execute("DELETE FROM totp WHERE user = ?1", [&id])
                        .unwrap();
                    reset
                }
                Caller::NotPermitted => NOT_ALLOWED,
                Caller::Outside => NOT_LOGGED_IN,
            };
            let code = match kind {
                Caller::WithoutTotp => PASSWORD_DIGEST.to_owned(),
                _ => server.code(caller),
            };
            let target = target.unwrap_or(caller);
            let body = format!(r#"{{"userId":"{}"}}"#, id(target));
            let before = server.dump();
            let answer = server.post(caller).code(code).json(&body).send().await;
            assert_eq!(answer.text(), expected, "{caller} resets {target}");
            if expected == SUCCESS {
                let after = server.dump();
                let left = after.rows("totp");
                let has_totp = left.iter().any(|row| row.contains(&id(target)));
                assert!(!has_totp, "{caller} resets {target}");
                let lost = before.rows("totp").len() - left.len();
                let had = before
                    .rows("totp")
                    .iter()
                    .any(|row| row.contains(&id(target)));
                assert_eq!(lost, usize::from(had), "{caller} resets {target}");
            } else {
                assert_eq!(server.dump(), before, "{caller} resets {target}");
            }
        }
    }
}

/// A member without the permission may still reset their own by naming nobody.
#[tokio::test]
async fn every_caller_may_reset_their_own() {
    for (caller, expected) in [
        (ADMIN, SUCCESS),
        (MODERATOR, SUCCESS),
        (ALICE, SUCCESS),
        (BOT, SUCCESS),
        (FRANK, SUCCESS),
        (DEACTIVATED, NOT_LOGGED_IN),
        (MALLORY, NOT_LOGGED_IN),
    ] {
        let server = Server::start().await;
        let answer = server
            .post(caller)
            .code(server.code(caller))
            .json("{}")
            .send()
            .await;
        assert_eq!(answer.text(), expected, "{caller}");
        // Whoever had something to lose is told, where an address is verified.
        let told = server
            .outbox()
            .iter()
            .all(|mail| mail.contains("by yourself"));
        assert!(told, "{caller}");
    }
    let server = Server::start().await;
    lock(&server, ALICE);
    let answer = server
        .post(ALICE)
        .code(server.code(ALICE))
        .json("{}")
        .send()
        .await;
    assert_eq!(answer.text(), LOCKED);
    let erin = server.post(ERIN).json("{}").send().await;
    assert!(erin.body.contains(r#""method":"email""#), "{}", erin.body);
}

/// As after too many wrong codes.
fn lock(server: &Server, user: &str) {
    let until = server.now().millis() + 30_000;
    server
        .store()
        .execute(
            "INSERT INTO failed_attempt (workspace, user, count, locked_until)
             VALUES ('default', ?1, 5, ?2)",
            (id(user), until),
        )
        .unwrap();
}
