//! What administrators see of the others: the members and their second factors, and what a reset
//! would do. Nobody else sees anything.

use crate::support::{
    ADMIN, ALICE, Answer, BOB, CAROL, DAVE, DEACTIVATED, ERIN, FEDERATED, FRANK, HELPER, MALLORY,
    MODERATOR, Server, WRONG_DIGEST, id,
};
use chat_domain::settings::Settings;
use reqwest::Method;
use rusqlite::params;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

const MEMBERS: &str = "/api/v1/second-factor.members";
const PREVIEW: &str = "/api/v1/second-factor.preview";
const AUDIT: &str = "/api/v1/second-factor.audit";
const OUTBOX: &str = "/api/v1/second-factor.outbox";
const UNLOCK: &str = "/api/v1/second-factor.unlock";
const QR: &str = "/api/v1/second-factor.qr";

const NOT_ALLOWED: &str = r#"400 {"success":false,"error":"Not allowed [error-not-allowed]","errorType":"error-not-allowed"}"#;

async fn get(server: &Server, caller: &str, path: &str) -> Answer {
    server.request_of(caller, Method::GET, path).send().await
}

async fn preview(server: &Server, target: &str) -> Value {
    let path = format!("{PREVIEW}?userId={}", id(target));
    let answer = get(server, ADMIN, &path).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

fn lock(server: &Server, user: &str, failures: u32) {
    let until = server.now() + Duration::from_secs(60);
    let locked = params![id(user), failures, until.millis()];
    let lock = "INSERT INTO failed_attempt (workspace, user, count, locked_until)
                VALUES ('default', ?1, ?2, ?3)";
    server.store().execute(lock, locked).unwrap();
}

#[tokio::test]
async fn an_administrator_sees_the_members_and_their_second_factors() {
    let server = Server::start().await;
    lock(&server, ALICE, 5);
    let answer = get(&server, HELPER, &format!("{MEMBERS}?search=ALICE@old")).await;
    let expected = json!({
        "members": [{
            "_id": "aliceId",
            "username": "alice",
            "name": null,
            "emails": [
                {"address": "alice@example.com", "verified": true},
                {"address": "alice@work.example.com", "verified": true},
                {"address": "alice@old.example.com", "verified": false},
            ],
            "roles": ["user"],
            "active": true,
            "federated": false,
            "secondFactor": {"totp": true, "pending": false, "email": false, "backupCodesRemaining": 2},
            "locked": {"until": "2033-05-18T03:34:00.000Z"},
            "sessions": 1,
        }],
        "next": null,
        "success": true,
    });
    assert_eq!(answer.json(), expected);
    let answer = get(&server, ADMIN, MEMBERS).await.json();
    let members = answer["members"].as_array().unwrap();
    let of = |user: &str| {
        let found = members.iter().find(|member| member["_id"] == id(user));
        found.unwrap_or_else(|| panic!("{user}"))
    };
    assert_eq!(members.len(), 12);
    assert_eq!(of(CAROL)["secondFactor"]["totp"], false);
    assert_eq!(of(ERIN)["secondFactor"]["email"], true);
    assert_eq!(of(FRANK)["secondFactor"]["totp"], true);
    assert_eq!(of(DEACTIVATED)["active"], false);
    assert_eq!(of(FEDERATED)["federated"], true);
    assert_eq!(of(BOB)["locked"], Value::Null);
}

#[tokio::test]
async fn those_who_are_locked_can_be_listed_alone_until_their_locks_end() {
    let server = Server::start().await;
    lock(&server, ALICE, 5);
    lock(&server, BOB, 100);
    let locked = async || {
        let answer = get(&server, ADMIN, &format!("{MEMBERS}?locked=true&count=1")).await;
        let first = answer.json();
        let Some(next) = first["next"].as_str() else {
            return vec![first["members"].clone()];
        };
        let path = format!("{MEMBERS}?locked=true&count=1&after={next}");
        let second = get(&server, ADMIN, &path).await.json();
        assert_eq!(second["next"], Value::Null);
        vec![first["members"].clone(), second["members"].clone()]
    };
    let pages = locked().await;
    assert_eq!(pages[0][0]["_id"], id(ALICE));
    assert_eq!(pages[1][0]["_id"], id(BOB));
    assert_eq!(pages[1][0]["locked"], json!({"forGood": true}));
    server.advance(Duration::from_secs(61));
    let pages = locked().await;
    let members: Vec<_> = pages
        .iter()
        .flat_map(|page| page.as_array().unwrap())
        .collect();
    assert_eq!(members.len(), 1, "{members:?}");
    assert_eq!(members[0]["_id"], id(BOB));
}

#[tokio::test]
async fn a_thousand_members_are_listed_once_each_while_others_are_added() {
    let server = Server::start().await;
    let add = |name: &str| {
        let row = params![name];
        let add = "INSERT INTO user (workspace, id, username, username_key, federated, deactivated)
                   VALUES ('default', ?1, ?1, ?1, FALSE, FALSE)";
        server.store().execute(add, row).unwrap();
    };
    let store = server.store();
    let many = "WITH RECURSIVE n (n) AS (VALUES (0) UNION ALL SELECT n + 1 FROM n WHERE n < 999)
                INSERT INTO user (workspace, id, username, username_key, federated, deactivated)
                SELECT 'default', 'm' || n, printf('m%04d', n), printf('m%04d', n), FALSE, FALSE
                FROM n";
    store.execute(many, []).unwrap();
    let (mut listed, mut after) = (Vec::new(), String::new());
    for page in 0.. {
        let answer = get(&server, ADMIN, &format!("{MEMBERS}?count=100{after}"))
            .await
            .json();
        let members = answer["members"].as_array().unwrap();
        let names = members
            .iter()
            .map(|member| member["username"].as_str().unwrap().to_owned());
        listed.extend(names);
        let Some(next) = answer["next"].as_str() else {
            break;
        };
        after = format!("&after={next}");
        add(&format!("a{page}"));
        add(&format!("n{page}"));
    }
    let each: BTreeSet<_> = listed.iter().collect();
    assert_eq!(each.len(), listed.len(), "listed twice");
    assert!(listed.is_sorted());
    let of_before = listed
        .iter()
        .filter(|name| name.starts_with("m") && name.len() == 5);
    assert_eq!(of_before.count(), 1000);
    assert!(each.contains(&"n9".to_owned()) && !each.contains(&"a9".to_owned()));
}

/// The rule is one: what is foreseen happens, and nothing else.
#[tokio::test]
async fn a_preview_tells_what_the_reset_then_does_and_does_nothing() {
    let server = Server::start().await;
    lock(&server, ALICE, 5);
    let session = "INSERT INTO login_token (workspace, user, hash, expires, bypass_two_factor)
                   VALUES ('default', 'aliceId', 'h', ?1, FALSE)";
    let ends = server.now() + Duration::from_secs(60);
    server.store().execute(session, [ends.millis()]).unwrap();
    let (before, records) = (server.dump(), server.audit());
    let seen = preview(&server, ALICE).await;
    assert!(before.changes(&server.dump()).is_empty());
    assert_eq!((server.audit(), server.failures()), (records, 5));
    assert_eq!(seen["member"]["_id"], id(ALICE));
    let mut without_member = seen.clone();
    without_member.as_object_mut().unwrap().remove("member");
    let notice = "Two Factor TOTP Reset Notification";
    assert_eq!(
        without_member,
        json!({
            "removes": ["totp", "backupCodes", "failures"],
            "sessions": 2,
            "tokens": 0,
            "closesSockets": false,
            "mails": [
                {"to": "alice@example.com", "subject": notice},
                {"to": "alice@work.example.com", "subject": notice},
            ],
            "refused": null,
            "success": true,
        })
    );
    assert_eq!(server.reset(ALICE).send().await.status, 200);
    let mails: Vec<_> = server
        .outbox()
        .iter()
        .map(|mail| mail.split(" Your").next().unwrap().to_owned())
        .collect();
    let foreseen = seen["mails"].as_array().unwrap().iter();
    let text = |mail: &Value, name: &str| mail[name].as_str().unwrap().to_owned();
    let foreseen = foreseen.map(|mail| format!("{} {}", text(mail, "to"), text(mail, "subject")));
    assert_eq!(mails, foreseen.collect::<Vec<_>>());
    assert_eq!(server.failures(), 0);
    let seen = preview(&server, ALICE).await;
    assert_eq!(
        (&seen["removes"], &seen["sessions"], &seen["tokens"]),
        (&json!([]), &json!(0), &json!(0))
    );
    assert_eq!(seen["member"]["secondFactor"]["totp"], false);
}

#[tokio::test]
async fn a_preview_tells_why_a_reset_would_be_refused() {
    let server = Server::start().await;
    let seen = preview(&server, FEDERATED).await;
    let federated = json!({"error": "Federated Users cant have TOTP [error-not-allowed]", "errorType": "error-not-allowed"});
    assert_eq!(seen["refused"], federated);
    assert_eq!((&seen["removes"], &seen["mails"]), (&json!([]), &json!([])));
    let seen = preview(&server, DAVE).await;
    assert_eq!(
        (&seen["removes"], &seen["refused"]),
        (&json!([]), &Value::Null)
    );
    for unknown in ["nobody", "mallory", "", "alice'"] {
        let answer = get(&server, ADMIN, &format!("{PREVIEW}?userId={unknown}")).await;
        let invalid = r#"400 {"success":false,"error":"The required \"userId\" or \"username\" param provided does not match any users [error-invalid-user]","errorType":"error-invalid-user"}"#;
        assert_eq!(answer.text(), invalid, "{unknown}");
    }
    let off = Server::start_with(Settings {
        two_factor_enabled: false,
        ..Settings::default()
    })
    .await;
    let seen = preview(&off, ALICE).await;
    assert_eq!(seen["refused"]["errorType"], "error-two-factor-not-enabled");
    assert_eq!(seen["removes"], json!([]));
}

/// Every route that shows something of others.
fn routes() -> [String; 4] {
    let preview = format!("{PREVIEW}?userId={}", id(ALICE));
    [
        MEMBERS.to_owned(),
        preview,
        AUDIT.to_owned(),
        OUTBOX.to_owned(),
    ]
}

#[tokio::test]
async fn whoever_may_not_reset_others_learns_nothing_of_them() {
    let server = Server::start().await;
    for route in routes() {
        let before = server.dump();
        for caller in [MODERATOR, ALICE, FRANK] {
            let answer = get(&server, caller, &route).await;
            assert_eq!(answer.text(), NOT_ALLOWED, "{caller} {route}");
        }
        for caller in [DEACTIVATED, MALLORY] {
            let answer = get(&server, caller, &route).await;
            assert_eq!(answer.status, 401, "{caller} {route}");
        }
        // Whatever else is wrong with it.
        let asked = format!("{}?x=y", route.split('?').next().unwrap());
        let answer = get(&server, MODERATOR, &asked).await;
        assert_eq!(answer.text(), NOT_ALLOWED);
        assert!(before.changes(&server.dump()).is_empty());
        assert_eq!(server.audit(), [""; 0]);
    }
}

#[tokio::test]
async fn the_routes_of_administrators_are_limited_like_others() {
    let mut server = Server::start().await;
    for route in routes() {
        for call in 0..10 {
            let answer = get(&server, HELPER, &route).await;
            assert_eq!(answer.status, 200, "{route}: {}", answer.body);
            let remaining = (9 - call).to_string();
            assert_eq!(answer.headers["x-ratelimit-remaining"], remaining);
        }
        assert_eq!(get(&server, HELPER, &route).await.status, 429, "{route}");
        assert_eq!(get(&server, ADMIN, &route).await.status, 200, "{route}");
    }
    server.restart().await;
    let looks = "look helperId - limited error-too-many-requests from 127.0.0.1 4 times";
    assert_eq!(server.limited(), [looks]);
}

#[tokio::test]
async fn a_query_that_is_not_understood_is_refused_as_such() {
    let server = Server::start().await;
    let long = |length: usize| "x".repeat(length);
    for query in [
        "count=0",
        "count=101",
        "count=-1",
        "count=1e1",
        "count=99999999999999999999",
        "count=1&count=2",
        "limit=1",
        "locked=maybe",
        "locked=1",
        "after=",
        "after=ada",
        "after=%00",
        "after[$gt]=",
        "search[$regex]=a",
        "search=a%00b",
        "search=a%0Ab",
        &format!("search={}", long(129)),
        &format!("after=username:{}", long(1016)),
    ] {
        let answer = get(&server, ADMIN, &format!("{MEMBERS}?{query}")).await;
        assert_eq!(answer.status, 400, "{query}: {}", answer.body);
        let body = answer.json();
        assert_eq!(body["errorType"], "invalid-params", "{query}");
        assert!(!answer.body.contains("xxxx"), "{}", answer.body);
    }
    for query in [
        "",
        "search=",
        "search=%25",
        "search=%F0%9F%98%80",
        "search=%FF",
        "count=1",
        "count=100",
        "locked=false",
        "after=username:",
        "after=username:%00",
        "after=address:x",
        "after=username:%27%3B--",
        &format!("search={}", long(128)),
        &format!("after=username:{}", long(1015)),
    ] {
        let answer = get(&server, ADMIN, &format!("{MEMBERS}?{query}")).await;
        assert_eq!(answer.status, 200, "{query}: {}", answer.body);
    }
    for query in ["", "userId", "user=a", "userId=a&userId=b", "userId[$ne]=x"] {
        let answer = get(&server, ADMIN, &format!("{PREVIEW}?{query}")).await;
        assert_eq!(answer.status, 400, "{query}: {}", answer.body);
    }
}

#[tokio::test]
async fn the_audit_trail_is_listed_newest_first_and_is_whole() {
    let server = Server::start().await;
    assert_eq!(server.reset(ALICE).send().await.status, 200);
    server.advance(Duration::from_secs(30));
    assert_eq!(server.reset("nobody").send().await.status, 400);
    let answer = get(&server, ADMIN, AUDIT).await.json();
    let proof =
        json!({"state": "whole", "size": 2, "faults": 0, "checkedAt": "2033-05-18T03:33:30.000Z"});
    assert_eq!(answer["proof"], proof);
    assert_eq!(answer["next"], Value::Null);
    let mut records = answer["records"].as_array().unwrap().clone();
    let request = records[1]["request"].take();
    assert_eq!(request.as_str().unwrap().len(), 32);
    assert_eq!(
        records[1],
        json!({
            "number": 0,
            "at": "2033-05-18T03:33:00.000Z",
            "action": "reset-totp",
            "by": {"_id": "adminId", "username": "admin"},
            "of": {"_id": "aliceId", "username": "alice"},
            "outcome": "reset",
            "reason": null,
            "address": "127.0.0.1",
            "userAgent": null,
            "proof": "totp",
            "told": 2,
            "calls": 1,
            "request": null,
        })
    );
    assert_eq!(
        (&records[0]["of"], &records[0]["outcome"]),
        (&Value::Null, &json!("refused"))
    );
    let numbers = async |query: &str| {
        let answer = get(&server, ADMIN, &format!("{AUDIT}?{query}")).await;
        assert_eq!(answer.status, 200, "{query}: {}", answer.body);
        let records = answer.json()["records"].as_array().unwrap().clone();
        records
            .iter()
            .map(|record| record["number"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    for (query, expected) in [
        ("by=admin", &[1, 0][..]),
        ("by=adminId", &[1, 0]),
        ("by=ADMIN", &[1, 0]),
        ("by=operator", &[]),
        ("by=nobody", &[]),
        ("by=malloryId", &[]),
        ("of=alice", &[0]),
        ("of=aliceId&by=admin", &[0]),
        ("action=reset-totp", &[1, 0]),
        ("action=unlock", &[]),
        ("since=2033-05-18T03:33:30Z", &[1]),
        ("since=2033-05-18T03:33:31Z", &[]),
        ("count=1", &[1]),
    ] {
        assert_eq!(numbers(query).await, expected, "{query}");
    }
    let first = get(&server, ADMIN, &format!("{AUDIT}?count=1"))
        .await
        .json();
    let next = first["next"].as_str().unwrap();
    let second = get(&server, ADMIN, &format!("{AUDIT}?count=1&before={next}"))
        .await
        .json();
    assert_eq!(
        (&second["records"][0]["number"], &second["next"]),
        (&json!(0), &Value::Null)
    );
    assert_eq!(second["proof"], Value::Null);
    for query in [
        "action=reset",
        "since=yesterday",
        "before=x",
        "before=1.2.3",
        "count=0",
        "most=1",
    ] {
        let answer = get(&server, ADMIN, &format!("{AUDIT}?{query}")).await;
        assert_eq!(answer.json()["errorType"], "invalid-params", "{query}");
    }
    server
        .store()
        .execute("UPDATE audit SET target = 'bobId' WHERE idx = 0", [])
        .unwrap();
    let answer = get(&server, ADMIN, AUDIT).await.json();
    assert_eq!(
        (&answer["proof"]["state"], &answer["proof"]["faults"]),
        (&json!("broken"), &json!(1))
    );
}

#[tokio::test]
async fn mail_is_listed_without_what_is_in_it() {
    let server = Server::start().await;
    assert_eq!(server.reset(ALICE).send().await.status, 200);
    let asked = server
        .request_of(ERIN, Method::POST, "/api/v1/users.enableTotp")
        .send()
        .await;
    assert_eq!(asked.json()["errorType"], "totp-required");
    let code = server.sent_code(ERIN).unwrap();
    let dead = format!(
        "UPDATE outbox SET next_try = {}, tries = 5, last_problem = 'no such mailbox' WHERE id = 2",
        i64::MAX
    );
    server.store().execute(&dead, []).unwrap();
    let answer = get(&server, ADMIN, OUTBOX).await;
    assert!(!answer.body.contains(&code) && !answer.body.contains("was reset by"));
    let answer = answer.json();
    let notice = "Two Factor TOTP Reset Notification";
    let at = "2033-05-18T03:33:00.000Z";
    assert_eq!(
        answer["mails"].as_array().unwrap()[..2],
        [
            json!({"id": 1, "to": "alice@example.com", "subject": notice, "state": "waiting",
                   "queued": at, "tries": 0, "nextTry": at, "lastError": null}),
            json!({"id": 2, "to": "alice@work.example.com", "subject": notice, "state": "dead",
                   "queued": at, "tries": 5, "nextTry": null, "lastError": "no such mailbox"}),
        ]
    );
    let (mut ids, mut after) = (Vec::new(), String::new());
    loop {
        let page = get(&server, ADMIN, &format!("{OUTBOX}?count=1{after}"))
            .await
            .json();
        ids.push(page["mails"][0]["id"].as_i64().unwrap());
        let Some(next) = page["next"].as_str() else {
            break;
        };
        after = format!("&after={next}");
    }
    assert_eq!(ids, [1, 2, 3, 4]);
    for query in ["after=x", "after=99999999999999999999", "count=0", "id=1"] {
        let answer = get(&server, ADMIN, &format!("{OUTBOX}?{query}")).await;
        assert_eq!(answer.json()["errorType"], "invalid-params", "{query}");
    }
}

#[tokio::test]
async fn an_administrator_unlocks_a_member_by_a_second_factor_and_it_is_recorded() {
    let server = Server::start().await;
    lock(&server, ALICE, 5);
    let unlock = |caller: &str, user: &str| {
        let body = json!({"userId": user}).to_string();
        server.request_of(caller, Method::POST, UNLOCK).json(&body)
    };
    let required = r#"400 {"success":false,"error":"TOTP Required [totp-required]","errorType":"totp-required","details":{"method":"totp","codeGenerated":false,"availableMethods":["totp"]}}"#;
    let answer = unlock(ADMIN, &id(ALICE)).send().await;
    assert_eq!(answer.text(), required);
    let wrong = unlock(ADMIN, &id(ALICE)).code("000000").send().await;
    assert_eq!(wrong.json()["errorType"], "totp-invalid");
    for user in ["nobody", "malloryId", ""] {
        let answer = unlock(ADMIN, user).code(server.code(ADMIN)).send().await;
        assert_eq!(answer.json()["errorType"], "error-invalid-user", "{user}");
    }
    assert_eq!(server.failures(), 6, "five of alice, and a guess");
    let code = server.code(ADMIN);
    let answer = unlock(ADMIN, &id(ALICE)).code(&code).send().await;
    assert_eq!(answer.text(), r#"200 {"success":true}"#);
    assert_eq!(server.failures(), 0);
    let record = server.whole_audit().pop().unwrap();
    assert_eq!(
        record,
        "unlock adminId aliceId done - by totp told - from 127.0.0.1"
    );
    let answer = unlock(ADMIN, &id(ALICE)).code(&code).send().await;
    assert_eq!(answer.json()["errorType"], "totp-invalid");
    lock(&server, BOB, 100);
    server.advance(Duration::from_secs(30));
    let answer = unlock(ADMIN, &id(BOB))
        .code(server.code(ADMIN))
        .send()
        .await;
    assert_eq!(answer.json()["errorType"], "error-2fa-guessed-out");
    for caller in [MODERATOR, ALICE] {
        let answer = unlock(caller, &id(BOB))
            .code(server.code(caller))
            .send()
            .await;
        assert_eq!(answer.text(), NOT_ALLOWED);
        let record = server.whole_audit().pop().unwrap();
        assert_eq!(
            record,
            format!(
                "unlock {} - refused error-not-allowed by - told - from 127.0.0.1",
                id(caller)
            )
        );
    }
    assert_eq!(unlock(MALLORY, &id(BOB)).send().await.status, 401);
    assert_eq!(server.failures(), 100);
    for body in [
        "",
        "{}",
        r#"{"userId":1}"#,
        r#"{"userId":{"$ne":null}}"#,
        r#"{"userId":"a","x":1}"#,
    ] {
        let answer = server
            .request_of(ADMIN, Method::POST, UNLOCK)
            .json(body)
            .send()
            .await;
        assert_eq!(answer.json()["errorType"], "invalid-params", "{body}");
    }
}

/// Where nothing is asked for, a guess is none: it would lock whoever is not told of it.
#[tokio::test]
async fn a_second_factor_that_no_unlock_asks_for_is_not_compared() {
    let off = Settings {
        two_factor_enabled: false,
        ..Settings::default()
    };
    let bypass = Settings {
        bypass_token_allowed: true,
        ..Settings::default()
    };
    let not_enabled = r#"400 {"success":false,"error":"Two factor authentication is not enabled [error-two-factor-not-enabled]","errorType":"error-two-factor-not-enabled"}"#;
    let done = r#"200 {"success":true}"#;
    let give = |role: &str, user: &str| {
        format!(
            "INSERT INTO user_role (workspace, user, role) VALUES ('default', '{user}', '{role}');"
        )
    };
    let edits = [
        give("helper", &id(ERIN)),
        give("helper", &id(DAVE)),
        "UPDATE login_token SET bypass_two_factor = TRUE;".to_owned(),
    ];
    for (settings, expected) in [(off, not_enabled), (bypass, done)] {
        let server = Server::start_with(settings).await;
        server.store().execute_batch(&edits.concat()).unwrap();
        // One with codes by e-mail, one with a password alone.
        for (caller, wrong) in [(ERIN, "012345"), (DAVE, WRONG_DIGEST)] {
            for _ in 0..5 {
                let body = json!({"userId": id(ALICE)}).to_string();
                let unlock = server.request_of(caller, Method::POST, UNLOCK);
                let answer = unlock.json(&body).code(wrong).send().await;
                assert_eq!(answer.text(), expected, "{caller}");
            }
            assert_eq!(server.failures(), 0, "{caller}");
        }
    }
}

#[tokio::test]
async fn a_key_is_drawn_for_whoever_is_logged_in_and_nothing_else() {
    let server = Server::start().await;
    let ask = async |caller: &str, url: &str| {
        let body = json!({ "url": url }).to_string();
        let request = server.request_of(caller, Method::POST, QR);
        request.json(&body).send().await
    };
    let draw = async |url: &str| ask(ADMIN, url).await;
    let key = "otpauth://totp/Acme:ada?secret=MFRGGZDFMZTWQ2LK&issuer=Acme";
    let answer = draw(key).await.json();
    let svg = answer["svg"].as_str().unwrap();
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>"), "{svg}");
    assert!(svg.contains("viewBox=") && !svg.contains("MFRGG"), "{svg}");
    assert!(!svg.contains("script") && !svg.contains("href"), "{svg}");
    assert_eq!(ask(ALICE, key).await.json(), answer);
    assert_eq!(ask(MALLORY, key).await.status, 401);
    let longest = format!("{key}&x={}", "x".repeat(1024 - key.len() - 3));
    assert_eq!(draw(&longest).await.status, 200);
    for url in [
        "",
        "https://example.com",
        "otpauth://hotp/a?secret=MFRGGZDF",
        "OTPAUTH://totp/a",
        "otpauth://totp/a b",
        "otpauth://totp/<script>",
        "otpauth://totp/é",
        &format!("{longest}x"),
    ] {
        let answer = draw(url).await;
        assert_eq!(answer.status, 400, "{url}: {}", answer.body);
        assert_eq!(answer.json()["errorType"], "invalid-params");
        assert!(!answer.body.contains("script") && !answer.body.contains("example"));
    }
}
