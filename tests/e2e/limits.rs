//! How often a client may call, and from which web pages.

use crate::support::{
    ADMIN, ALICE, Answer, BOT, CODES_REMAINING, LOGIN, ME, RESET_TOTP, Request, Server,
};
use chat_domain::settings::Settings;
use reqwest::Method;
use reqwest::header::HeaderMap;
use std::time::Duration;

fn too_many(seconds: u64) -> String {
    format!(
        r#"429 {{"success":false,"error":"Error, too many requests. Please slow down. You must wait {seconds} seconds before trying this endpoint again. [error-too-many-requests]"}}"#
    )
}

/// Limit, remaining calls and the end of the window, as the headers tell.
fn told(headers: &HeaderMap) -> Option<[&str; 3]> {
    let names = ["limit", "remaining", "reset"];
    let told = names.map(|name| headers.get(format!("x-ratelimit-{name}")));
    match told {
        [None, None, None] => None,
        told => Some(told.map(|value| value.unwrap().to_str().unwrap())),
    }
}

fn me(server: &Server) -> Request {
    server.request_of(ALICE, Method::GET, ME)
}

#[tokio::test]
async fn the_eleventh_call_of_a_minute_is_refused() {
    let server = Server::start().await;
    for remaining in (0..10).rev() {
        let answer = me(&server).send().await;
        assert_eq!(answer.status, 200);
        let remaining = remaining.to_string();
        assert_eq!(
            told(&answer.headers),
            Some(["10", &remaining, "2000000040000"])
        );
    }
    server.advance(Duration::from_millis(500));
    let refused = me(&server).send().await;
    assert_eq!(refused.text(), too_many(60));
    assert_eq!(told(&refused.headers), Some(["10", "0", "2000000040000"]));
    assert_eq!(refused.headers["retry-after"], "60");
    server.advance(Duration::from_millis(59_499));
    assert_eq!(me(&server).send().await.text(), too_many(1));
    server.advance(Duration::from_millis(1));
    assert_eq!(me(&server).send().await.status, 200);
}

/// However it is called, a route has one window.
#[tokio::test]
async fn the_other_name_of_a_route_is_the_same_to_the_limit() {
    let server = Server::start().await;
    let other = "/api/v1/users.totp.codesRemaining";
    let by_other_name = || server.request_by_other_name(ALICE, other, CODES_REMAINING);
    let by_name = || server.request_of(ALICE, Method::GET, CODES_REMAINING);
    for _ in 0..5 {
        for request in [by_other_name(), by_name()] {
            let answer = request.send().await;
            assert_eq!(answer.text(), r#"200 {"remaining":2,"success":true}"#);
        }
    }
    for request in [by_other_name(), by_name()] {
        assert_eq!(request.send().await.status, 429);
    }
}

/// A refused call reaches neither the body nor the second factor.
#[tokio::test]
async fn a_call_too_many_counts_no_failure_and_is_not_decided() {
    let server = Server::start().await;
    for _ in 0..10 {
        server.post(ALICE).json("nonsense").send().await;
    }
    let (before, audit) = (server.dump(), server.audit().len());
    let refused = server.post(ALICE).code("000000").json("{}").send().await;
    assert_eq!(refused.text(), too_many(60));
    assert_eq!(server.dump(), before);
    assert_eq!((server.failures(), server.audit().len()), (0, audit));
}

#[tokio::test]
async fn each_route_and_each_address_has_a_limit_of_its_own() {
    let server = Server::start().await;
    for _ in 0..11 {
        me(&server).from("192.0.2.1").send().await;
    }
    assert_eq!(me(&server).from("192.0.2.1").send().await.status, 429);
    let other_route = server.request_of(ALICE, Method::GET, CODES_REMAINING);
    assert_eq!(other_route.from("192.0.2.1").send().await.status, 200);
    assert_eq!(me(&server).from("192.0.2.2").send().await.status, 200);
    let other_account = server.request_of(ADMIN, Method::GET, ME).from("192.0.2.1");
    assert_eq!(
        other_account.send().await.status,
        200,
        "the administrator is not limited"
    );
}

/// Whoever claims to speak for others is believed only as far as proxies that
/// are configured tell.
#[tokio::test]
async fn an_address_that_the_client_invents_changes_nothing() {
    let server = Server::start().await;
    for client in 0..10 {
        let invented = format!("198.51.100.{client}, 192.0.2.1");
        assert_eq!(me(&server).from(&invented).send().await.status, 200);
    }
    let real_ip = me(&server)
        .from("192.0.2.1")
        .header("x-real-ip", "198.51.100.7");
    assert_eq!(real_ip.send().await.status, 429);
}

#[tokio::test]
async fn what_is_not_logged_in_is_not_counted() {
    let server = Server::start().await;
    for _ in 0..12 {
        let answer = server.request(Method::GET, ME).send().await;
        assert_eq!(answer.status, 401);
        assert_eq!(told(&answer.headers), None);
    }
    assert_eq!(told(&me(&server).send().await.headers).unwrap()[1], "9");
}

/// Nobody is known before a log-in: each try counts, or passwords could be
/// guessed as fast as bcrypt goes.
#[tokio::test]
async fn a_refused_log_in_is_counted() {
    let server = Server::start().await;
    let guess = || {
        let body = r#"{"user":"alice","password":"wrong"}"#;
        server.request(Method::POST, LOGIN).json(body).send()
    };
    for _ in 0..10 {
        assert_eq!(guess().await.status, 401);
    }
    assert_eq!(guess().await.text(), too_many(60));
}

#[tokio::test]
async fn the_permission_lifts_the_limit() {
    let server = Server::start().await;
    for caller in [ADMIN, BOT] {
        for _ in 0..12 {
            let answer = server.request_of(caller, Method::GET, ME).send().await;
            assert_eq!(answer.status, 200);
            assert_eq!(told(&answer.headers), None);
        }
    }
}

#[tokio::test]
async fn the_limit_is_the_workspaces() {
    let settings = |rate_limit_calls| Settings {
        rate_limit_calls,
        rate_limit_seconds: 5,
        ..Settings::default()
    };
    let server = Server::start_with(settings(2)).await;
    for status in [200, 200, 429] {
        assert_eq!(me(&server).send().await.status, status);
    }
    server.advance(Duration::from_secs(5));
    assert_eq!(me(&server).send().await.status, 200);
    let server = Server::start_with(settings(0)).await;
    for _ in 0..20 {
        let answer = me(&server).send().await;
        assert_eq!((answer.status.as_u16(), told(&answer.headers)), (200, None));
    }
}

const PAGE: &str = "https://chat.example";

fn preflight(server: &Server, origin: &str) -> Request {
    server
        .request(Method::OPTIONS, RESET_TOTP)
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "x-2fa-code,x-auth-token")
}

fn cors(answer: &Answer) -> Vec<(String, String)> {
    let names = answer.headers.keys().map(ToString::to_string);
    names
        .filter(|name| name.starts_with("access-control-"))
        .map(|name| {
            let values = answer.headers.get_all(&name).iter();
            let values: Vec<_> = values.map(|value| value.to_str().unwrap()).collect();
            (name, values.join(","))
        })
        .collect()
}

#[tokio::test]
async fn no_page_may_call_unless_the_workspace_says_so() {
    let server = Server::start().await;
    let answer = preflight(&server, PAGE).send().await;
    assert_eq!(
        answer.text(),
        r#"405 {"success":false,"error":"Method not allowed"}"#
    );
    assert_eq!(answer.headers["allow"], "POST");
    assert!(cors(&answer).is_empty());
    let answer = me(&server).header("origin", PAGE).send().await;
    assert!(cors(&answer).is_empty());
}

#[tokio::test]
async fn an_allowed_page_may_send_the_second_factor_and_read_the_limits() {
    let settings = Settings {
        cors_origins: format!("http://localhost:3000 {PAGE}"),
        ..Settings::default()
    };
    let server = Server::start_with(settings).await;
    let answer = preflight(&server, PAGE).send().await;
    assert_eq!(answer.text(), "204 ");
    let header = |name: &str| answer.headers[name].to_str().unwrap();
    assert_eq!(header("access-control-allow-origin"), PAGE);
    assert_eq!(header("access-control-allow-methods"), "GET, POST");
    let allowed: Vec<_> = header("access-control-allow-headers").split(", ").collect();
    for name in [
        "X-User-Id",
        "X-Auth-Token",
        "Content-Type",
        "x-2fa-code",
        "x-2fa-method",
    ] {
        assert!(allowed.contains(&name), "{allowed:?}");
    }
    assert_eq!(header("vary"), "Origin");
    let answer = me(&server).header("origin", PAGE).send().await;
    assert_eq!(
        cors(&answer),
        [
            ("access-control-allow-origin", PAGE),
            (
                "access-control-expose-headers",
                "x-request-id,x-ratelimit-limit,x-ratelimit-remaining,x-ratelimit-reset,retry-after"
            ),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
    );
    let unauthorized = server
        .request(Method::GET, ME)
        .header("origin", PAGE)
        .send()
        .await;
    assert_eq!(unauthorized.headers["access-control-allow-origin"], PAGE);
    for stranger in [
        "https://chat.example.evil",
        "http://chat.example",
        "null",
        "https://CHAT.example",
    ] {
        assert_eq!(preflight(&server, stranger).send().await.status, 405);
        let answer = me(&server).header("origin", stranger).send().await;
        assert!(cors(&answer).is_empty(), "{stranger}");
    }
    let no_preflight = server
        .request(Method::OPTIONS, RESET_TOTP)
        .header("origin", PAGE);
    assert_eq!(no_preflight.send().await.status, 405);
    let no_preflight = me(&server)
        .header("origin", PAGE)
        .header("access-control-request-method", "GET");
    assert_eq!(no_preflight.send().await.status, 200);
}

#[tokio::test]
async fn a_workspace_may_allow_all_pages() {
    let settings = Settings {
        cors_origins: "*".to_owned(),
        ..Settings::default()
    };
    let server = Server::start_with(settings).await;
    let answer = preflight(&server, "https://anywhere.example").send().await;
    assert_eq!(
        answer.headers["access-control-allow-origin"],
        "https://anywhere.example"
    );
    assert!(
        !answer
            .headers
            .contains_key("access-control-allow-credentials")
    );
}

/// Whoever calls too often fills no audit trail, and is seen there.
#[tokio::test]
async fn calls_that_come_too_often_are_recorded_together() {
    let mut server = Server::start().await;
    for call in 0..13 {
        let answer = server.post(ALICE).from("203.0.113.7").send().await;
        assert_eq!(answer.status == 429, call >= 10, "{call}");
    }
    for _ in 0..12 {
        me(&server).from("203.0.113.8").send().await;
    }
    server.restart().await;
    let records = server.limited();
    assert_eq!(
        records,
        [
            "look aliceId aliceId limited error-too-many-requests from 203.0.113.8 2 times",
            "reset-totp aliceId - limited error-too-many-requests from 203.0.113.7 3 times",
        ]
    );
}
