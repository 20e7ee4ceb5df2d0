//! The administrators' page in a real browser: the programs of `tests/page`, run by Node.js.

use crate::secrets;
use crate::support::{
    ADMIN, ALICE, BOB, DAVE, FRANK, HELPER, MODERATOR, PASSWORD, Server, node, totp_key,
};
use reqwest::StatusCode;
use rusqlite::Connection;
use serde_json::{Map, Value, json};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

/// Whoever the programs may be.
const PEOPLE: [&str; 7] = [ADMIN, ALICE, BOB, DAVE, FRANK, HELPER, MODERATOR];

/// More members than two pages hold.
const VISITORS: usize = 60;

/// Lets a program of `tests/page` play so many steps, each of which must hold.
async fn play(program: &str, steps: usize) {
    let server = Server::start_with_visitors(VISITORS).await;
    let mut child = node("page", program);
    let mut to = child.stdin.take().unwrap();
    let mut from = BufReader::new(child.stdout.take().unwrap()).lines();
    to.write_all(format!("{}\n", introduction(&server)).as_bytes())
        .await
        .unwrap();
    let mut held = Vec::new();
    let mut writing = None;
    while let Some(line) = from.next_line().await.unwrap() {
        match line.strip_prefix('@') {
            None => held.push(line),
            Some(wish) => {
                grant(&server, wish, &mut writing);
                to.write_all(b"done\n").await.unwrap();
            }
        }
    }
    let mut problem = String::new();
    let mut errors = child.stderr.take().unwrap();
    errors.read_to_string(&mut problem).await.unwrap();
    assert!(
        child.wait().await.unwrap().success(),
        "{held:#?}\n{problem}"
    );
    assert_eq!(held.len(), steps, "{held:#?}");
}

/// What a program is told of the server.
fn introduction(server: &Server) -> Value {
    let person = |name: &&str| {
        let about = json!({"username": name, "key": totp_key(name).to_base32()});
        ((*name).to_owned(), about)
    };
    json!({
        "url": server.url(),
        "now": server.now().millis(),
        "password": PASSWORD,
        "people": PEOPLE.iter().map(person).collect::<Map<_, _>>(),
    })
}

/// Does what only the server's side can do. `writing` keeps others from writing as long as it is there.
fn grant(server: &Server, wish: &str, writing: &mut Option<Connection>) {
    match wish.split_once(' ') {
        Some(("advance", seconds)) => server.advance(Duration::from_secs(seconds.parse().unwrap())),
        Some(("secret", secret)) => secrets::register(secret),
        Some(("hold", _)) => {
            let store = server.store();
            store.execute_batch("BEGIN IMMEDIATE").unwrap();
            *writing = Some(store);
        }
        Some(("release", _)) => *writing = None,
        _ => panic!("what is {wish}?"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_who_has_never_seen_the_page_resets_a_member() {
    play("story.mjs", 9).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_enrols_by_the_picture_of_the_key() {
    play("enrolment.mjs", 8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ends_meanwhile_is_begun_again_in_place() {
    play("session.mjs", 6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_tells_what_is_wrong_and_goes_on_when_it_is_mended() {
    play("trouble.mjs", 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_without_an_answer_is_found_out_by_asking() {
    play("lost.mjs", 8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_shown_or_asks_what_another_who_was_signed_in_has_asked_for() {
    play("handover.mjs", 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_needs_no_mouse() {
    play("keyboard.mjs", 6).await;
}

/// WCAG 2.2 as far as axe can tell.
#[tokio::test(flavor = "multi_thread")]
async fn every_screen_can_be_read_in_both_themes_on_a_desk_and_on_a_phone() {
    play("looks.mjs", 4).await;
}

#[tokio::test]
async fn the_page_is_of_its_own_files_alone_and_may_be_kept_until_it_changes() {
    let server = Server::start().await;
    let client = reqwest::Client::new();
    let get = |path: &str| client.get(format!("{}{path}", server.url()));
    let page = get("/admin").send().await.unwrap();
    assert_eq!(page.url().path(), "/admin/");
    assert_eq!(page.status(), StatusCode::OK);
    let header = |name: &str| page.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(
        header("content-security-policy"),
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
         connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'"
    );
    assert_eq!(header("content-type"), "text/html; charset=utf-8");
    assert_eq!(header("referrer-policy"), "no-referrer");
    assert_eq!(header("x-content-type-options"), "nosniff");
    assert_eq!(header("cache-control"), "no-cache");
    let tag = header("etag");
    let again = get("/admin/").header("if-none-match", tag).send().await;
    assert_eq!(again.unwrap().status(), StatusCode::NOT_MODIFIED);
    for (path, status) in [
        ("/admin/main.js", 200),
        ("/admin/texts/de.json", 200),
        ("/admin/nothing.js", 404),
        ("/admin/..%2fCargo.toml", 404),
    ] {
        assert_eq!(get(path).send().await.unwrap().status(), status, "{path}");
    }
    let posted = client.post(format!("{}/admin/", server.url())).send().await;
    assert_eq!(posted.unwrap().status(), StatusCode::METHOD_NOT_ALLOWED);
}
