//! Beside a Rocket.Chat: nginx by the recipe, the host, and a stand-in for Rocket.Chat.

use crate::nginx::Nginx;
use crate::{Host, RESET_TOTP, answer, code_of, fill, reset_request};
use axum::Router;
use axum::extract::Request;
use chat_domain::audit::RecordFilter;
use chat_store::StoreUrl;
use chat_testing::free_port;
use chat_testing::seal;
use chat_testing::served::ask;
use reqwest::{Client, Method};
use std::net::Ipv4Addr;
use tokio::net::TcpListener;
use tokio::task::spawn_blocking;

/// The recipe, with the addresses that it names.
const RECIPE: &str = include_str!("../../recipes/rocketchat/nginx.conf");
const OF_HOST: &str = "127.0.0.1:3010";
const OF_ROCKETCHAT: &str = "127.0.0.1:3000";
const LISTEN: &str = "listen 80;";

/// Whom the host takes the client for; nginx speaks to it from another.
const CLIENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 5);

/// nginx by the recipe, for this host and what stands for a Rocket.Chat.
pub(crate) async fn start_nginx(host: &str, rocketchat: &str) -> Nginx {
    let port = free_port();
    let places = [
        (OF_HOST, host),
        (OF_ROCKETCHAT, rocketchat),
        (LISTEN, &format!("listen 127.0.0.1:{port};")),
    ];
    Nginx::start(RECIPE, &places, port).await
}

/// What takes everything, and says what it was; gives its address.
pub(crate) async fn stand_in() -> String {
    let said = async |request: Request| format!("{} {}", request.method(), request.uri());
    let router = Router::new().fallback(said);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address.to_string()
}

pub(crate) fn after_scheme(url: &str) -> &str {
    url.split_once("://").unwrap().1
}

#[tokio::test(flavor = "multi_thread")]
async fn one_route_goes_to_the_host_and_all_else_where_it_went() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.sqlite");
    let store = StoreUrl::from(file.as_path());
    fill(&store, 2).await;
    let host = Host::start(file.to_str().unwrap());
    let nginx = start_nginx(after_scheme(host.url()), &stand_in().await).await;
    let client = Client::builder().no_proxy();
    let client = client.local_address(Some(CLIENT.into())).build().unwrap();
    let reset = |path: &str, caller: &str| {
        let url = format!("{}{path}", nginx.url());
        let request = reset_request(&client, &url, caller, &code_of(caller), "m0");
        request.header("x-forwarded-for", "6.6.6.6")
    };

    // However the route is spelt, Rocket.Chat does not get it, and the host knows its own name alone.
    for path in [
        "/api/v1/users.resettotp",
        "/api/v1/users.resetTOTP/",
        "//api//v1/users.resetTOTP",
        "/api/v1/%75sers.resetTOTP",
        "/api/v1/x/../users.resetTOTP",
    ] {
        let head = format!("POST {path} HTTP/1.1\r\nconnection: close\r\ncontent-length: 0");
        let url = nginx.url();
        let answer = spawn_blocking(move || ask(&url, &head, "")).await.unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 404 ") && answer.contains("x-request-id"),
            "{path}: {answer}"
        );
    }
    let (status, body) = answer(reset(RESET_TOTP, "a1").send().await.unwrap()).await;
    assert_eq!((status, body), (200, serde_json::json!({"success": true})));

    // It was asked by whoever asked nginx, whatever that says of itself.
    let records = store.open(&seal()).await.unwrap();
    let filter = RecordFilter {
        caller: Some("a1".to_owned()),
        most: 10,
        ..RecordFilter::default()
    };
    let records = records.records(crate::WORKSPACE, &filter).await.unwrap();
    let address = records.last().unwrap().address.clone();
    assert_eq!(address, Some(CLIENT.to_string()));

    let elsewhere = async || {
        for (method, path) in [
            (Method::GET, "/"),
            (Method::POST, "/api/v1/login"),
            (Method::GET, "/api/v1/users.resetTOTPs"),
            (Method::POST, "/api/v1/users.resetE2EKey?x=1"),
        ] {
            let url = format!("{}{path}", nginx.url());
            let said = client.request(method.clone(), url).send().await.unwrap();
            assert_eq!(said.text().await.unwrap(), format!("{method} {path}"));
        }
    };
    elsewhere().await;

    // Rocket.Chat goes on while the host is down.
    drop(host);
    let down = reset(RESET_TOTP, "a0").send().await.unwrap();
    assert_eq!(down.status(), 502);
    elsewhere().await;
}
