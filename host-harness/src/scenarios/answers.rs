//! Every documented answer to the byte, and every documented refusal's effect:
//! none.

use super::documented::{
    FEDERATED_USER, INVALID_USER, NOT_ALLOWED, NOT_ENABLED, NOT_PROVIDED, SUCCESS, invalid, named,
    required,
};
use super::expectation::{
    Verdict, answers, expect, refuses, reset, reset_with, server, server_with,
};
use crate::harness::{
    ADMIN, ALICE, BOB, CAROL, DEACTIVATED, FEDERATED, Harness, MODERATOR, Server,
};
use chat_domain::settings::Settings;
use std::time::Duration;

/// The content type that curl adds to a body.
const FORM: &str = "application/x-www-form-urlencoded";

/// Time enough for a new code.
const STEP: Duration = Duration::from_secs(30);

pub(super) async fn a_permitted_caller_resets_a_member(harness: &Harness) -> Verdict {
    let server = server(harness).await?;
    let when = "the administrator resets alice with a right code";
    answers(when, reset(&server, ALICE), SUCCESS).await?;
    removed(&server, when, &[ALICE])
}

/// Expects that these alone lost their TOTP.
fn removed(server: &Server, when: &str, users: &[&str]) -> Verdict {
    let left = server.snapshot()?;
    for user in [ADMIN, ALICE, BOB, MODERATOR, DEACTIVATED] {
        let expected = !users.contains(&user);
        let has_totp = left.mentions("totp", &format!("{user}Id"));
        expect(&format!("{when}: {user} has TOTP"), expected, has_totp)?;
    }
    Ok(())
}

/// JSON under the content type that curl adds.
pub(super) async fn the_documented_call_resets_the_named_member(harness: &Harness) -> Verdict {
    let server = server(harness).await?;
    let when = r#"curl sends --data '{ "userId":"aliceId" }' as a form"#;
    let request = server.post(ADMIN).code(server.code(ADMIN));
    let request = request.header("content-type", FORM);
    answers(when, request.body(r#"{ "userId":"aliceId" }"#), SUCCESS).await?;
    removed(&server, when, &[ALICE])
}

pub(super) async fn every_key_and_form_names_the_member(harness: &Harness) -> Verdict {
    let json = "application/json";
    for (content_type, body) in [
        (json, r#"{"userId":"aliceId"}"#),
        (json, r#"{"username":"ALICE"}"#),
        (json, r#"{"user":"alice"}"#),
        (json, r#"{"user":"alice","userId":"aliceId","username":""}"#),
        ("text/plain", r#"{"userId":"aliceId"}"#),
        (json, "\u{feff}{\"userId\":\"aliceId\"}"),
        (FORM, "username=Alice"),
    ] {
        let server = server(harness).await?;
        let when = format!("the body is {body}, the content type {content_type}");
        let request = server.post(ADMIN).code(server.code(ADMIN));
        let request = request.header("content-type", content_type).body(body);
        answers(&when, request, SUCCESS).await?;
        removed(&server, &when, &[ALICE])?;
    }
    Ok(())
}

pub(super) async fn nobody_named_means_the_caller(harness: &Harness) -> Verdict {
    for caller in [ALICE, ADMIN] {
        for body in ["", "{}"] {
            let server = server(harness).await?;
            let when = format!("{caller} sends the body `{body}`");
            let request = server.post(caller).code(server.code(caller)).json(body);
            answers(&when, request, SUCCESS).await?;
            removed(&server, &when, &[caller])?;
            // One for each verified address.
            expect(&format!("{when}: mail"), 2, server.mail()?.len())?;
        }
    }
    Ok(())
}

/// The path for others: by permission, with a notice.
pub(super) async fn who_names_themselves_is_a_member_like_any_other(harness: &Harness) -> Verdict {
    let server = server(harness).await?;
    let when = "alice, who may not reset others, names herself";
    let request = server.post(ALICE).code(server.code(ALICE));
    refuses(&server, when, request.json(&named(ALICE)), NOT_ALLOWED).await?;
    let when = "the administrator names themselves";
    answers(when, reset(&server, ADMIN), SUCCESS).await?;
    expect(&format!("{when}: mail"), 2, server.mail()?.len())
}

pub(super) async fn nothing_enrolled_is_a_success_without_a_notice(harness: &Harness) -> Verdict {
    let server = server(harness).await?;
    let when = "the administrator resets carol, who has no TOTP";
    answers(when, reset(&server, CAROL), SUCCESS).await?;
    removed(&server, when, &[])?;
    expect(&format!("{when}: mail"), 0, server.mail()?.len())
}

pub(super) async fn a_retry_after_a_reset_succeeds(harness: &Harness) -> Verdict {
    let server = server(harness).await?;
    for time in ["first", "second"] {
        let when = format!("the administrator resets alice a {time} time");
        answers(&when, reset(&server, ALICE), SUCCESS).await?;
        expect(&format!("{when}: mail"), 2, server.mail()?.len())?;
        server.advance(STEP);
    }
    Ok(())
}

/// Whoever comes back comes back as anybody.
pub(super) async fn a_deactivated_member_is_reset(harness: &Harness) -> Verdict {
    let server = server(harness).await?;
    let when = "the administrator resets a deactivated member";
    answers(when, reset(&server, DEACTIVATED), SUCCESS).await?;
    removed(&server, when, &[DEACTIVATED])
}

/// An empty header is none. What was not tried counts no failure.
pub(super) async fn a_missing_code_is_asked_for(harness: &Harness) -> Verdict {
    let server = server(harness).await?;
    let expected = required("totp", r#""totp""#);
    for caller in [ADMIN, MODERATOR, ALICE] {
        for body in [named(BOB), named("nobody"), "{}".to_owned()] {
            let when = format!("{caller} sends {body} without a code");
            let request = || server.post(caller).json(&body);
            refuses(&server, &when, request(), &expected).await?;
            let when = format!("{caller} sends {body} with an empty code");
            refuses(&server, &when, request().code(""), &expected).await?;
        }
        let when = format!("{caller} has sent no code: failures");
        expect(&when, 0, server.failures(caller)?)?;
    }
    Ok(())
}

pub(super) async fn a_wrong_code_is_refused_and_counted(harness: &Harness) -> Verdict {
    let server = server(harness).await?;
    for caller in [ADMIN, MODERATOR, ALICE] {
        for failures in 1..=2 {
            let when = format!("{caller} sends the code 000000");
            let request = server.post(caller).code("000000").json(&named(BOB));
            refuses(&server, &when, request, &invalid("totp")).await?;
            expect(
                &format!("{when}: failures"),
                failures,
                server.failures(caller)?,
            )?;
        }
    }
    Ok(())
}

pub(super) async fn a_caller_without_the_permission_is_refused(harness: &Harness) -> Verdict {
    for (caller, target) in [(MODERATOR, ALICE), (ALICE, BOB), (ALICE, ADMIN)] {
        let server = server(harness).await?;
        let when = format!("{caller} resets {target} with a right code");
        let request = server.post(caller).code(server.code(caller));
        refuses(&server, &when, request.json(&named(target)), NOT_ALLOWED).await?;
    }
    Ok(())
}

/// Ids are compared byte for byte, names without regard to case, and another
/// workspace's account is nobody's.
pub(super) async fn an_unknown_member_is_refused(harness: &Harness) -> Verdict {
    let server = server(harness).await?;
    for body in [
        r#"{"userId":"nobodyId"}"#,
        r#"{"userId":"ALICEID"}"#,
        r#"{"userId":"alice"}"#,
        r#"{"username":"aliceId"}"#,
        r#"{"username":"ali"}"#,
        r#"{"username":"^a"}"#,
        r#"{"userId":"malloryId"}"#,
        r#"{"username":"mallory"}"#,
    ] {
        server.advance(Duration::from_secs(3600));
        let when = format!("the administrator sends {body}");
        let request = server.post(ADMIN).code(server.code(ADMIN)).json(body);
        refuses(&server, &when, request, INVALID_USER).await?;
    }
    Ok(())
}

pub(super) async fn blank_names_are_no_names(harness: &Harness) -> Verdict {
    let server = server(harness).await?;
    for body in [r#"{"userId":""}"#, r#"{"userId":" ","username":""}"#] {
        let when = format!("the administrator sends {body}");
        let request = server.post(ADMIN).code(server.code(ADMIN)).json(body);
        refuses(&server, &when, request, NOT_PROVIDED).await?;
    }
    Ok(())
}

pub(super) async fn a_member_of_another_server_is_refused(harness: &Harness) -> Verdict {
    let server = server(harness).await?;
    let when = "the administrator resets a federated member";
    refuses(&server, when, reset(&server, FEDERATED), FEDERATED_USER).await
}

pub(super) async fn where_second_factors_are_off_nobody_else_is_reset(
    harness: &Harness,
) -> Verdict {
    let settings = Settings {
        two_factor_enabled: false,
        ..Settings::default()
    };
    let server = server_with(harness, settings).await?;
    let when = "two-factor is off, and the administrator resets bob";
    let request = server.post(ADMIN).json(&named(BOB));
    refuses(&server, when, request, NOT_ENABLED).await?;
    let request = reset_with(&server, "000000", BOB);
    refuses(&server, when, request, NOT_ENABLED).await?;
    let when = "two-factor is off, and alice resets her own without a code";
    answers(when, server.post(ALICE), SUCCESS).await
}
