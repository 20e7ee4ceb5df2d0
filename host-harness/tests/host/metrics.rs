//! What the server counts while it answers.

use crate::http::{Server, built, text};
use chat_testing::guest::Guest;
use chat_testing::{Data, admin_code};
use reqwest::Method;

#[tokio::test]
async fn answers_calls_and_records_are_counted() {
    let trapping = Guest {
        export: "(unreachable)",
        ..Guest::default()
    };
    let server = Server::start(Data::new().await, trapping.plugin()).await;
    server.reset_as("admin").await;
    server.reset_as("admin").await;
    server.reset_as("nobody").await;
    let text = server.metrics();
    for line in [
        r#"chat_http_answers_total{route="/api/v1/users.resetTOTP",status="502"} 2"#,
        r#"chat_http_answers_total{route="/api/v1/users.resetTOTP",status="401"} 1"#,
        r#"chat_http_answer_seconds_count{route="/api/v1/users.resetTOTP"} 3"#,
        r#"chat_plugin_calls_total{outcome="plugin-trap"} 2"#,
        "chat_plugin_guest_seconds_count 2",
        "chat_audit_records_total 2",
        "chat_audit_failures_total 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

#[tokio::test]
async fn resets_are_counted_as_answered_recorded_and_refused() {
    let server = Server::start(Data::new().await, built()).await;
    let answer = server.reset_as("admin").await;
    assert_eq!(answer.text, r#"200 {"success":true}"#);
    // The same code again.
    server.reset_as("admin").await;
    server.data.edit("DROP TABLE audit");
    server.reset_as("admin").await;
    let text = server.metrics();
    for line in [
        r#"chat_plugin_calls_total{outcome="answered"} 3"#,
        r#"chat_refusals_total{reason="totp-invalid"} 1"#,
        r#"chat_refusals_total{reason="totp-max-attempts"} 0"#,
        "chat_audit_records_total 2",
        "chat_audit_failures_total 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

/// Once they are recorded together, for a minute or until the server stops.
#[tokio::test]
async fn calls_that_come_too_often_are_counted_as_refused() {
    let server = Server::start(Data::new().await, Guest::default().plugin()).await;
    for _ in 0..13 {
        server.reset_as("alice").await;
    }
    let metrics = server.metrics.clone();
    server.stop().await;
    let text = text(&metrics);
    let line = r#"chat_refusals_total{reason="error-too-many-requests"} 3"#;
    assert!(text.lines().any(|found| found == line), "{text}");
}

/// Or anybody could fill the memory of the server, and of what reads it.
#[tokio::test]
async fn what_a_client_chooses_makes_no_series_and_is_not_in_one() {
    let server = Server::start(Data::new().await, Guest::default().plugin()).await;
    server.reset_as("admin").await;
    for i in 0..20 {
        let method = Method::from_bytes(format!("METHOD{i}").as_bytes()).unwrap();
        server
            .request(method, &format!("/path-{i}?query-{i}"))
            .await;
        server
            .request(Method::GET, &format!("/api/docs/file-{i}"))
            .await;
    }
    let text = server.metrics();
    let unknown = text.lines().filter(|line| line.contains(r#"route="none""#));
    // One of the counter, and those of the histogram.
    assert_eq!(unknown.count(), 1 + 12 + 2, "{text}");
    let code = admin_code();
    for word in [
        "METHOD", "path-", "query-", "file-", "admin", "alice", &code,
    ] {
        assert!(!text.contains(word), "{word}\n{text}");
    }
}
