//! The order of the checks: body, second factor, permission, setting, user. So a
//! malformed body costs no attempt, and who lacks the permission never learns who
//! exists.

use super::documented::{NOT_ALLOWED, NOT_ENABLED, SUCCESS, invalid, named, required};
use super::expectation::{
    Verdict, answers, expect, refuses, refuses_body, reset, server, server_with,
};
use crate::harness::{ADMIN, ALICE, BOB, Error, Harness, MODERATOR, Server};
use chat_domain::settings::Settings;

/// What is no JSON object with the known keys, each of them once and a text.
const MALFORMED: [&str; 17] = [
    r#"{"userId":{"$ne":null}}"#,
    r#"{"userId":{"$regex":"^a"}}"#,
    r#"{"userId":["aliceId"]}"#,
    r#"{"userId":1}"#,
    r#"{"userId":true}"#,
    r#"{"userId":null}"#,
    r#"{"userId":"aliceId""#,
    r#"{"userId":"aliceId"}{}"#,
    r#"{"userId":"\ud800"}"#,
    r#"["aliceId"]"#,
    r#""aliceId""#,
    "null",
    "userId=aliceId",
    "hello",
    " ",
    "\0",
    "\u{feff}\u{feff}{}",
];

/// Rocket.Chat CVE-2021-22911 and CVE-2022-32211.
pub(super) async fn a_malformed_body_costs_no_attempt(harness: &Harness) -> Verdict {
    let server = server(harness).await?;
    let deep = format!(
        r#"{{"userId":{}1{}}}"#,
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    let bodies = MALFORMED.map(str::as_bytes).into_iter();
    for body in bodies.chain([deep.as_bytes(), b"{\"userId\":\"alice\xffId\"}"]) {
        let shown: String = String::from_utf8_lossy(body).chars().take(60).collect();
        for (kind, code) in [
            ("right", server.code(ADMIN)),
            ("wrong", "000000".to_owned()),
        ] {
            let when = format!("the administrator sends {shown} and a {kind} code");
            let request = server.post(ADMIN).code(code);
            let request = request.header("content-type", "application/json");
            refuses_body(&server, &when, request.body(body)).await?;
            expect(&format!("{when}: failures"), 0, server.failures(ADMIN)?)?;
        }
    }
    let when = "the code that came with malformed bodies is used";
    answers(when, reset(&server, ALICE), SUCCESS).await
}

pub(super) async fn a_malformed_body_is_refused_before_a_code_is_asked_for(
    harness: &Harness,
) -> Verdict {
    let server = server(harness).await?;
    for caller in [ADMIN, ALICE] {
        let when = format!("{caller} sends `hello` without a code");
        refuses_body(&server, &when, server.post(caller).json("hello")).await?;
    }
    Ok(())
}

/// Rocket.Chat CVE-2022-35248: what is misspelt must not turn "him" into "me".
pub(super) async fn unknown_and_repeated_keys_are_refused(harness: &Harness) -> Verdict {
    let server = server(harness).await?;
    for body in [
        r#"{"userID":"aliceId"}"#,
        r#"{"userid":"aliceId"}"#,
        r#"{"userId":"aliceId","force":"true"}"#,
        r#"{"userId":"aliceId","userId":"bobId"}"#,
        r#"{"userId":"aliceId","userId":"aliceId"}"#,
    ] {
        let when = format!("the administrator sends {body} and a right code");
        let request = server.post(ADMIN).code(server.code(ADMIN)).json(body);
        refuses_body(&server, &when, request).await?;
    }
    for body in [
        "userid=aliceId",
        "userId=aliceId&userId=bobId",
        "userId=%ff",
    ] {
        let when = format!("the administrator sends the form {body} and a right code");
        let request = server.post(ADMIN).code(server.code(ADMIN));
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        refuses_body(&server, &when, request.body(body)).await?;
    }
    Ok(())
}

pub(super) async fn keys_that_disagree_are_refused(harness: &Harness) -> Verdict {
    for body in [
        r#"{"userId":"aliceId","username":"bob"}"#,
        r#"{"userId":"aliceId","user":"nobody"}"#,
        r#"{"userId":"nobodyId","user":"alice"}"#,
        r#"{"username":"alice","user":"bob"}"#,
    ] {
        let server = server(harness).await?;
        let when = format!("the administrator sends {body} and a right code");
        let request = server.post(ADMIN).code(server.code(ADMIN)).json(body);
        refuses_body(&server, &when, request).await?;
    }
    Ok(())
}

pub(super) async fn the_code_comes_before_the_permission(harness: &Harness) -> Verdict {
    let server = server(harness).await?;
    let request = || server.post(MODERATOR).json(&named(ALICE));
    let when = "the moderator, who may not, resets alice without a code";
    let expected = required("totp", r#""totp""#);
    refuses(&server, when, request(), &expected).await?;
    let when = "the moderator, who may not, resets alice with a wrong code";
    refuses(&server, when, request().code("000000"), &invalid("totp")).await
}

pub(super) async fn the_code_comes_before_the_look_up(harness: &Harness) -> Verdict {
    let server = server(harness).await?;
    for target in [ALICE, "nobody"] {
        let when = format!("the administrator names `{target}` with a wrong code");
        let request = server.post(ADMIN).code("000000").json(&named(target));
        refuses(&server, &when, request, &invalid("totp")).await?;
        expect(&format!("{when}: looked up"), None, looked_up(&server)?)?;
    }
    Ok(())
}

/// Whom the last request made the plugin find.
fn looked_up(server: &Server) -> Result<Option<String>, Error> {
    Ok(server.audit()?.pop().and_then(|record| record.target))
}

pub(super) async fn without_the_permission_nobody_is_looked_up(harness: &Harness) -> Verdict {
    let server = server(harness).await?;
    for body in [
        named(ALICE),
        named("nobody"),
        r#"{"userId":""}"#.to_owned(),
        r#"{"username":"alice"}"#.to_owned(),
    ] {
        let when = format!("the moderator, who may not, sends {body} and a right code");
        let request = server.post(MODERATOR).code(server.code(MODERATOR));
        refuses(&server, &when, request.json(&body), NOT_ALLOWED).await?;
        expect(&format!("{when}: looked up"), None, looked_up(&server)?)?;
    }
    Ok(())
}

pub(super) async fn the_permission_comes_before_the_setting(harness: &Harness) -> Verdict {
    let server = without_second_factors(harness).await?;
    let when = "two-factor is off, and alice, who may not, resets bob";
    let request = server.post(ALICE).json(&named(BOB));
    refuses(&server, when, request, NOT_ALLOWED).await
}

pub(super) async fn the_setting_comes_before_the_look_up(harness: &Harness) -> Verdict {
    let server = without_second_factors(harness).await?;
    for (target, expected) in [(BOB, NOT_ENABLED), ("nobody", NOT_ENABLED)] {
        let when = format!("two-factor is off, and the administrator resets {target}");
        let request = server.post(ADMIN).json(&named(target));
        refuses(&server, &when, request, expected).await?;
        expect(&format!("{when}: looked up"), None, looked_up(&server)?)?;
    }
    Ok(())
}

async fn without_second_factors(harness: &Harness) -> Result<Server, super::Problem> {
    let settings = Settings {
        two_factor_enabled: false,
        ..Settings::default()
    };
    server_with(harness, settings).await
}
