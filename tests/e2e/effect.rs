//! What a reset changes: the named target's named fields, and nothing else.

use crate::support::{ADMIN, ALICE, BOB, CAROL, Server, id};

const SPENT: &str = "66666666";

#[tokio::test]
async fn a_reset_removes_the_factor_ends_the_sessions_tells_the_user_and_spends_the_step() {
    let server = Server::start().await;
    let before = server.dump();
    assert_eq!(server.reset(ALICE).send().await.status, 200);
    let changes = before.changes(&server.dump());
    let rows: Vec<String> = changes
        .iter()
        .map(|change| change.split(' ').take(4).collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        rows,
        [
            "- backup_code default aliceId",
            "- backup_code default aliceId",
            "- login_token default aliceId",
            "- totp default adminId",
            "- totp default aliceId",
            "+ outbox 1 default",
            "+ outbox 2 default",
            "+ totp default adminId",
        ]
    );
    assert!(changes.last().unwrap().ends_with(SPENT), "{changes:?}");
    assert_eq!(server.audit(), ["adminId aliceId reset -"]);
}

#[tokio::test]
async fn the_targets_tokens_stop_working_at_once_and_the_callers_stay() {
    let server = Server::start().await;
    assert_eq!(server.post(ALICE).send().await.status, 400);
    assert_eq!(server.reset(ALICE).send().await.status, 200);
    assert_eq!(server.post(ALICE).send().await.status, 401);
    let another = server.another().await;
    assert_eq!(another.post(ALICE).send().await.status, 401);
    assert_eq!(server.post(ADMIN).send().await.status, 400);
    assert_eq!(server.post(BOB).send().await.status, 400);
}

#[tokio::test]
async fn one_notice_waits_for_each_verified_address_and_holds_no_secret() {
    let server = Server::start().await;
    let code = server.code(ADMIN);
    assert_eq!(server.reset(ALICE).send().await.status, 200);
    let outbox = server.outbox();
    assert_eq!(outbox.len(), 2);
    for (mail, address) in outbox
        .iter()
        .zip(["alice@example.com", "alice@work.example.com"])
    {
        let notice = format!(
            "{address} Two Factor TOTP Reset Notification \
             Your two-factor authentication by TOTP was reset by admin at 2033-05-18T03:33:00Z."
        );
        assert!(mail.starts_with(&notice), "{mail}");
    }
    for secret in ["Token", "the TOTP key", &code] {
        assert!(!outbox.iter().any(|row| row.contains(secret)));
    }
}

#[tokio::test]
async fn nothing_to_remove_is_a_success_that_changes_nothing_but_the_spent_step() {
    let server = Server::start().await;
    let before = server.dump();
    let answer = server.reset(CAROL).send().await;
    assert_eq!(answer.text(), r#"200 {"success":true}"#);
    let changes = before.changes(&server.dump());
    assert!(
        changes
            .iter()
            .all(|change| change[2..].starts_with("totp default adminId")),
        "{changes:?}"
    );
    assert_eq!(changes.len(), 2);
    assert_eq!(server.audit(), ["adminId carolId nothing-enrolled -"]);
    assert_eq!(server.post(CAROL).send().await.status, 400);
}

#[tokio::test]
async fn a_reset_of_oneself_needs_no_permission_is_told_and_ends_ones_own_sessions() {
    for body in ["", "{}"] {
        let server = Server::start().await;
        let before = server.dump();
        let call = server.post(ALICE).code(server.code(ALICE)).json(body);
        assert_eq!(call.send().await.text(), r#"200 {"success":true}"#);
        let changes = before.changes(&server.dump());
        let (told, gone): (Vec<_>, Vec<_>) = changes
            .iter()
            .partition(|change| change.starts_with("+ outbox "));
        assert_eq!((told.len(), gone.len()), (2, 4), "{changes:?}");
        assert!(
            gone.iter()
                .all(|change| change.starts_with("- ") && change.contains("aliceId"))
        );
        assert!(server.outbox()[0].contains("was reset by yourself"));
        assert_eq!(server.post(ALICE).send().await.status, 401);
        assert_eq!(server.audit(), ["aliceId aliceId reset -"]);
    }
}

/// Naming oneself is the path for others: by permission, with a notice.
#[tokio::test]
async fn an_administrator_who_names_themselves_is_told() {
    let server = Server::start().await;
    assert_eq!(server.reset(ADMIN).send().await.status, 200);
    assert_eq!(server.dump().rows("outbox").len(), 2);
    assert_eq!(server.post(ADMIN).send().await.status, 401);
}

#[tokio::test]
async fn a_retry_of_a_reset_that_was_done_succeeds() {
    let server = Server::start().await;
    assert_eq!(server.reset(ALICE).send().await.status, 200);
    server.advance(std::time::Duration::from_secs(30));
    assert_eq!(
        server.reset(ALICE).send().await.text(),
        r#"200 {"success":true}"#
    );
    assert_eq!(server.dump().rows("outbox").len(), 2);
}

/// The answer's request id leads to the audit record.
#[tokio::test]
async fn every_decision_is_recorded_under_its_request_id() {
    let server = Server::start().await;
    let refused = server.post(ADMIN).json("{}").send().await;
    let done = server.reset(ALICE).send().await;
    for answer in [refused, done] {
        let request_id = answer.headers["x-request-id"].to_str().unwrap();
        let found: String = server
            .store()
            .query_row(
                "SELECT caller FROM audit WHERE request_id = ?1",
                [request_id],
                |row| row.get(0),
            )
            .unwrap();
        assert_eq!(found, id(ADMIN));
    }
}
