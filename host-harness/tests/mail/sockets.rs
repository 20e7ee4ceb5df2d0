//! Sockets that a stand-in for Rocket.Chat is asked to close.

use crate::support::{ACME, Data};
use axum::Router;
use axum::extract::{Json, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use chat_domain::audit::{RecordFilter, StoredRecord};
use chat_domain::operator::{ChangeUser, Operation, UserChange};
use chat_domain::outbox::RemoveMail;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;

const SECOND: Duration = Duration::from_secs(1);

/// What the service account is known by.
const TOKEN: &str = "s3rvice-t0ken";

/// A stand-in for Rocket.Chat, which answers what it is told to, and then that it is done.
#[derive(Clone, Default)]
struct RocketChat {
    answers: Arc<Mutex<VecDeque<(u16, Value)>>>,
    /// Whose logins it was asked to end.
    asked: Arc<Mutex<Vec<String>>>,
}

impl RocketChat {
    /// Serves it; gives the setting that names it.
    async fn start(&self) -> String {
        secret_scan::register(TOKEN);
        let route = post(Self::log_out).with_state(self.clone());
        let router = Router::new().route("/chat/api/v1/users.logout", route);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://service:{TOKEN}@{address}/chat")
    }

    async fn log_out(
        State(this): State<Self>,
        headers: HeaderMap,
        Json(body): Json<Value>,
    ) -> (StatusCode, Json<Value>) {
        assert_eq!(headers.get("x-user-id").unwrap(), "service");
        assert_eq!(headers.get("x-auth-token").unwrap(), TOKEN);
        let user = body.get("userId").unwrap().as_str().unwrap().to_owned();
        this.asked.lock().unwrap().push(user);
        let done = (
            200,
            json!({"success": true, "message": "User alice has been logged out!"}),
        );
        let (status, body) = this.answers.lock().unwrap().pop_front().unwrap_or(done);
        (StatusCode::from_u16(status).unwrap(), Json(body))
    }

    fn answers(&self, status: u16, body: Value) {
        self.answers.lock().unwrap().push_back((status, body));
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// What the audit trail says of sockets.
async fn records(data: &Data) -> Vec<StoredRecord> {
    let filter = RecordFilter {
        most: 10,
        ..RecordFilter::default()
    };
    let mut records = data.store.records(ACME, &filter).await.unwrap();
    records.retain(|record| record.action == "close-sockets");
    records
}

#[tokio::test]
async fn rocket_chat_is_asked_again_until_it_has_closed_the_sockets() {
    let rocket_chat = RocketChat::default();
    let data = Data::new("", &[]).await;
    data.set(ACME, "rocket-chat", &rocket_chat.start().await);
    data.queue_notice(ACME).await;
    let totp = json!({"success": false, "errorType": "totp-required", "error": "TOTP Required"});
    let unauthorized = json!({"success": false, "error": "unauthorized"});
    for (tries, pause, status, body, problem) in [
        (
            1,
            10,
            503,
            json!({"message": TOKEN}),
            "Rocket.Chat answered 503 Service Unavailable",
        ),
        (
            2,
            20,
            401,
            json!({"status": "error"}),
            "does not know the service account",
        ),
        (3, 40, 403, unauthorized, "a role with logout-other-user"),
        (4, 80, 400, totp, "its token must bypass that"),
        (5, 160, 302, json!({}), "Rocket.Chat answered 302 Found"),
        (
            6,
            320,
            200,
            json!({"success": "of a sort"}),
            "and not that it is done",
        ),
    ] {
        rocket_chat.answers(status, body);
        data.deliver_due().await;
        let outbox = data.outbox().await;
        let begin = format!("rocket-chat waiting in {pause} tries={tries} ");
        assert!(outbox[0].starts_with(&begin), "{outbox:?}");
        assert!(
            outbox[0].contains(problem) && !outbox[0].contains(TOKEN),
            "{outbox:?}"
        );
        data.advance(pause * SECOND);
    }
    assert!(
        records(&data).await.is_empty(),
        "nothing has become of it yet"
    );
    data.deliver_due().await;
    assert!(data.outbox().await.is_empty());
    assert_eq!(rocket_chat.asked(), ["alice"; 7]);
    let records = records(&data).await;
    let [closed] = records.as_slice() else {
        panic!("{records:?}");
    };
    let said = [&closed.decision, &closed.caller, &closed.request_id];
    assert_eq!(said, ["done", "host", "request"]);
    assert_eq!(closed.target.as_deref(), Some("alice"));
    data.deliver_due().await;
    assert_eq!(rocket_chat.asked().len(), 7, "once");
}

/// 72 hours by default, and as many tries as a notice has.
#[tokio::test]
async fn sockets_that_stay_open_are_recorded() {
    let data = Data::new("", &[]).await;
    data.set(
        ACME,
        "rocket-chat",
        &format!("http://service:{TOKEN}@127.0.0.1:1"),
    );
    data.queue_notice(ACME).await;
    for _ in 0..100 {
        data.deliver_due().await;
        data.advance(3600 * SECOND);
    }
    let outbox = data.outbox().await;
    assert!(
        outbox[0].starts_with("rocket-chat dead letter"),
        "{outbox:?}"
    );
    let records = records(&data).await;
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(
        [&records[0].decision, &records[0].request_id],
        ["failed", "request"]
    );
}

fn operation(data: &Data) -> Operation {
    Operation {
        workspace: ACME.to_owned(),
        now: data.now(),
        request_id: "command".to_owned(),
        forced: false,
    }
}

#[tokio::test]
async fn sockets_that_an_operator_leaves_open_are_recorded() {
    let data = Data::new("", &[]).await;
    let rocket_chat = format!("http://service:{TOKEN}@127.0.0.1:1");
    data.set(ACME, "rocket-chat", &rocket_chat);
    data.queue_notice(ACME).await;
    let id = data.mails().await[0].id;
    let operation = operation(&data);
    let removed = data.store.decide(RemoveMail { operation, id }).await;
    removed.unwrap().unwrap();
    assert!(data.outbox().await.is_empty());
    let records = records(&data).await;
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(records[0].decision, "failed");
}

/// Rocket.Chat would end the personal access tokens, too.
#[tokio::test]
async fn sockets_stay_open_where_some_tokens_stay() {
    let data = Data::new("", &[]).await;
    let rocket_chat = format!("http://service:{TOKEN}@127.0.0.1:1");
    data.set(ACME, "rocket-chat", &rocket_chat);
    for (change, closed) in [
        (UserChange::SetPassword("hash".into()), 0),
        (UserChange::RevokeAllTokens, 1),
    ] {
        let order = ChangeUser {
            operation: operation(&data),
            user: "alice".to_owned(),
            change,
        };
        data.store.decide(order).await.unwrap().unwrap();
        assert_eq!(data.outbox().await.len(), closed);
    }
}

#[tokio::test]
async fn nobody_is_asked_where_no_rocket_chat_is_named() {
    let data = Data::new("", &[]).await;
    data.queue_notice(ACME).await;
    assert!(data.outbox().await.is_empty());
}
