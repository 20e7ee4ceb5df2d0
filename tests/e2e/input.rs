//! Input that no honest client sends: refused, and nothing changed.

use crate::support::{ADMIN, ALICE, BACKUP_CODES, FORM, RESET_TOTP, Server, id};
use reqwest::Method;

/// Rocket.Chat CVE-2021-22911, CVE-2022-32211, CVE-2022-35248: what is not
/// understood never changes whom a request is about.
#[tokio::test]
async fn a_body_that_is_not_understood_costs_no_attempt_and_changes_nothing() {
    let deep = format!(
        r#"{{"userId":{}1{}}}"#,
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    for body in [
        r#"{"userId":{"$ne":null}}"#,
        r#"{"userId":{"$regex":"^a"}}"#,
        r#"{"userId":["aliceId"]}"#,
        r#"{"userId":1}"#,
        r#"{"userId":true}"#,
        r#"{"userId":null}"#,
        r#"{"userID":"aliceId"}"#,
        r#"{"userid":"aliceId"}"#,
        r#"{"userId":"aliceId","force":"true"}"#,
        r#"{"userId":"aliceId","userId":"bobId"}"#,
        r#"{"userId":"aliceId""#,
        r#"{"userId":"aliceId"}{}"#,
        r#"{"userId":"\ud800"}"#,
        r#"["aliceId"]"#,
        r#""aliceId""#,
        "null",
        "true",
        "userId=aliceId",
        "hello",
        " ",
        "\0",
        "\u{feff}",
        "\u{feff}\u{feff}{}",
        deep.as_str(),
    ] {
        refused(body.as_bytes(), "application/json", 400).await;
    }
    refused(b"{\"userId\":\"alice\xffId\"}", "application/json", 400).await;
    refused(b"userid=aliceId", FORM, 400).await;
    refused(b"userId=aliceId&userId=bobId", FORM, 400).await;
    refused(b"userId=%ff", FORM, 400).await;
    refused(b"userId=aliceId", "multipart/form-data; boundary=x", 400).await;
}

#[tokio::test]
async fn a_body_of_a_megabyte_is_refused() {
    let name = "u".repeat(1024 * 1024);
    refused(&vec![b' '; 1024 * 1024], "application/json", 413).await;
    refused(
        format!(r#"{{"userId":"{name}"}}"#).as_bytes(),
        "application/json",
        413,
    )
    .await;
}

#[tokio::test]
async fn a_body_at_the_limit_is_read() {
    let server = Server::start().await;
    for (length, status) in [(64 * 1024, 400), (64 * 1024 + 1, 413)] {
        let name = "u".repeat(length - r#"{"userId":""}"#.len());
        let call = server.post(ADMIN).code(server.code(ADMIN));
        let answer = call.json(&format!(r#"{{"userId":"{name}"}}"#)).send().await;
        assert_eq!(answer.status.as_u16(), status, "{}", answer.body);
    }
}

async fn refused(body: &[u8], content_type: &str, status: u16) {
    let server = Server::start().await;
    let before = server.dump();
    let answer = server
        .post(ADMIN)
        .code(server.code(ADMIN))
        .header("content-type", content_type)
        .body(body)
        .send()
        .await;
    let shown = String::from_utf8_lossy(body.get(..80).unwrap_or(body));
    assert_eq!(answer.status.as_u16(), status, "{shown}");
    assert!(
        answer
            .body
            .starts_with(r#"{"success":false,"errorType":"invalid-params","error":""#),
        "{shown}: {}",
        answer.body
    );
    assert_eq!(server.dump(), before, "{shown}");
    assert_eq!(
        server.audit(),
        ["adminId - refused invalid-params"],
        "{shown}"
    );
    assert_eq!(
        server.reset(ALICE).send().await.status,
        200,
        "no attempt was spent: {shown}"
    );
}

/// A member named in the query must not turn into the caller.
#[tokio::test]
async fn a_query_is_refused() {
    let server = Server::start().await;
    let before = server.dump();
    for body in ["", r#"{"userId":"bobId"}"#] {
        let answer = server
            .request(Method::POST, &format!("{RESET_TOTP}?userId=bobId"))
            .header("x-user-id", id(ADMIN))
            .header("x-auth-token", "adminToken")
            .code(server.code(ADMIN))
            .json(body)
            .send()
            .await;
        assert_eq!(
            answer.text(),
            r#"400 {"success":false,"errorType":"invalid-params","error":"the query is not empty: the body names the member"}"#
        );
    }
    assert_eq!(server.dump(), before);
}

#[tokio::test]
async fn the_error_says_what_is_wrong_and_where() {
    let server = Server::start().await;
    for (body, error) in [
        (
            r#"{"userID":"aliceId"}"#,
            "unknown key `userID`, expected `userId`, `username` or `user` at line 1 column 20",
        ),
        ("hello", "the body is not a JSON object"),
    ] {
        let answer = server.post(ADMIN).json(body).send().await;
        assert_eq!(
            answer.text(),
            format!(r#"400 {{"success":false,"errorType":"invalid-params","error":"{error}"}}"#)
        );
    }
}

#[tokio::test]
async fn selectors_that_disagree_are_refused() {
    for body in [
        r#"{"userId":"aliceId","username":"bob"}"#,
        r#"{"userId":"aliceId","user":"nobody"}"#,
        r#"{"userId":"nobodyId","user":"alice"}"#,
        r#"{"username":"alice","user":"bob"}"#,
    ] {
        let server = Server::start().await;
        let before = server.dump();
        let call = server.post(ADMIN).code(server.code(ADMIN)).json(body);
        assert_eq!(
            call.send().await.text(),
            r#"400 {"success":false,"errorType":"invalid-params","error":"the keys name different users"}"#
        );
        assert_eq!(server.dump(), before);
    }
}

/// As apps and mails show them, and as they are pasted.
#[tokio::test]
async fn a_code_is_taken_as_people_see_it() {
    let shapes: [fn(&str) -> String; 6] = [
        |code| format!("{} {}", &code[..3], &code[3..]),
        |code| format!("{}-{}", &code[..3], &code[3..]),
        |code| format!("{}\u{a0}{}", &code[..3], &code[3..]),
        |code| format!(" {code} "),
        |code| format!("\u{a0}{code}"),
        |code| format!("\t{} {}", &code[..3], &code[3..]),
    ];
    for shape in shapes {
        let server = Server::start().await;
        let code = shape(&server.code(ADMIN));
        let call = server.post(ADMIN).code(&code);
        let call = call.json(r#"{"userId":"aliceId"}"#);
        let answer = call.send().await;
        assert_eq!(answer.text(), r#"200 {"success":true}"#, "{code:?}");
    }
    let server = Server::start().await;
    let call = server.post(ADMIN).code(format!(" {} ", BACKUP_CODES[0]));
    let answer = call.json(r#"{"userId":"aliceId"}"#).send().await;
    assert_eq!(answer.text(), r#"200 {"success":true}"#);
}

/// Six ASCII digits or eight characters of the backup alphabet. What has neither form
/// is no guess: it is not counted.
#[tokio::test]
async fn a_malformed_code_is_a_wrong_one_and_no_guess() {
    let shapes: [fn(&str) -> String; 11] = [
        |code| format!("{code}x"),
        |code| code[..5].to_owned(),
        |code| format!("{}  {}", &code[..3], &code[3..]),
        |code| format!("{}--{}", &code[..3], &code[3..]),
        |code| format!("{} {}", &code[..2], &code[2..]),
        |code| format!("{}_{}", &code[..3], &code[3..]),
        |code| format!("+{code}"),
        |code| format!("0{code}"),
        |code| format!("{code}{code}"),
        |code| format!("\"{code}\""),
        |code| {
            let full_width = |digit: char| char::from_u32(digit as u32 - 0x30 + 0xff10);
            code.chars().filter_map(full_width).collect()
        },
    ];
    for shape in shapes {
        let server = Server::start().await;
        let before = server.dump();
        let code = shape(&server.code(ADMIN));
        let call = server
            .post(ADMIN)
            .code(&code)
            .json(r#"{"userId":"aliceId"}"#);
        assert_eq!(
            call.send().await.text(),
            r#"400 {"success":false,"error":"TOTP Invalid [totp-invalid]","errorType":"totp-invalid","details":{"method":"totp","codeGenerated":false}}"#,
            "{code}"
        );
        assert_eq!(server.dump(), before);
        assert_eq!(server.failures(), 0, "{code}");
    }
}

/// Decoded by nobody, it would be decided by other bytes than its sender means.
#[tokio::test]
async fn a_body_that_is_encoded_is_not_read() {
    let server = Server::start().await;
    let before = server.dump();
    let call = || {
        let call = server.post(ADMIN).code(server.code(ADMIN));
        call.json(r#"{"userId":"aliceId"}"#)
    };
    for encoding in ["gzip", "br", "identity, gzip", "zstd"] {
        let answer = call().header("content-encoding", encoding).send().await;
        assert_eq!(
            answer.text(),
            r#"415 {"success":false,"errorType":"invalid-params","error":"Content-Encoding: bodies are taken as they are"}"#
        );
    }
    assert_eq!(server.dump(), before);
    let plain = call().header("content-encoding", "Identity").send().await;
    assert_eq!(plain.text(), r#"200 {"success":true}"#);
}

#[tokio::test]
async fn a_header_that_is_repeated_or_no_text_or_too_long_is_refused() {
    let long = "1".repeat(257);
    for header in ["x-2fa-code", "x-2fa-method", "content-type"] {
        let problems: [(&[&[u8]], &str); 3] = [
            (&[b"287082", b"287082"], "is repeated"),
            (&[b"\xff\xfe"], "is not UTF-8"),
            (&[long.as_bytes()], "is longer than 256 bytes"),
        ];
        for (values, problem) in problems {
            let server = Server::start().await;
            let before = server.dump();
            let call = server
                .post(ADMIN)
                .body(format!(r#"{{"userId":"{}"}}"#, id(ALICE)));
            let call = values
                .iter()
                .fold(call, |call, value| call.header(header, value));
            assert_eq!(
                call.send().await.text(),
                format!(
                    r#"400 {{"success":false,"errorType":"invalid-params","error":"the header {header} {problem}"}}"#
                )
            );
            assert_eq!(server.dump(), before);
        }
    }
}

#[tokio::test]
async fn a_header_at_the_limit_is_read() {
    let server = Server::start().await;
    let longest = server.post(ADMIN).code("1".repeat(256)).json("{}");
    let answer = longest.send().await;
    assert_eq!(answer.json()["errorType"], "totp-invalid");
}
