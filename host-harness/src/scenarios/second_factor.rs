//! The caller's second factor: right once, and for a while.

use super::documented::{SUCCESS, invalid, locked, named, required, sent};
use super::expectation::{
    Problem, Verdict, answers, difference, differs, expect, refuses, reset, reset_with, server,
    server_with,
};
use crate::harness::{
    ADMIN, ALICE, BACKUP_CODES, BOB, CAROL, DAVE, ERIN, FRANK, Harness, PASSWORD, Server, User,
};
use chat_domain::password;
use chat_domain::settings::Settings;
use secrecy::ExposeSecret;
use std::time::Duration;
use tokio::task::JoinSet;

/// A time step of RFC 6238.
const STEP: Duration = Duration::from_secs(30);

/// The methods of who has TOTP alone.
const TOTP: &str = r#""totp""#;

pub(super) async fn the_window_is_one_step_either_way(harness: &Harness) -> Verdict {
    for into_step in [0, 29] {
        for (steps, expected) in [
            (-2, invalid("totp")),
            (-1, SUCCESS.to_owned()),
            (0, SUCCESS.to_owned()),
            (1, SUCCESS.to_owned()),
            (2, invalid("totp")),
        ] {
            let server = server(harness).await?;
            server.advance(Duration::from_secs(into_step));
            let when = format!(
                "the code is that of {steps} steps from now, {into_step} s into the current step"
            );
            let code = server.code_at(ADMIN, steps);
            answers(&when, reset_with(&server, &code, ALICE), &expected).await?;
        }
    }
    Ok(())
}

pub(super) async fn the_window_is_the_workspaces(harness: &Harness) -> Verdict {
    for (totp_window, steps, expected) in [
        (0, 0, SUCCESS.to_owned()),
        (0, -1, invalid("totp")),
        (0, 1, invalid("totp")),
        (2, -2, SUCCESS.to_owned()),
        (2, 3, invalid("totp")),
    ] {
        let settings = Settings {
            totp_window,
            ..Settings::default()
        };
        let server = server_with(harness, settings).await?;
        let when = format!("the window is {totp_window}, and the code {steps} steps from now");
        let code = server.code_at(ADMIN, steps);
        answers(&when, reset_with(&server, &code, ALICE), &expected).await?;
    }
    Ok(())
}

/// The answer is that of a wrong code, whoever is named.
pub(super) async fn a_code_is_accepted_once(harness: &Harness) -> Verdict {
    let server = server(harness).await?;
    let code = server.code(ADMIN);
    let when = "a code is used";
    answers(when, reset_with(&server, &code, ALICE), SUCCESS).await?;
    for target in [ALICE, BOB, "nobody", "federated"] {
        let when = format!("it is used again, for {target}");
        let request = reset_with(&server, &code, target);
        refuses(&server, &when, request, &invalid("totp")).await?;
    }
    Ok(())
}

pub(super) async fn a_code_older_than_the_last_accepted_one_is_refused(
    harness: &Harness,
) -> Verdict {
    let server = server(harness).await?;
    let next = server.code_at(ADMIN, 1);
    let when = "the code of the next step is used";
    answers(when, reset_with(&server, &next, ALICE), SUCCESS).await?;
    let when = "after it, the code of this step is used";
    refuses(&server, when, reset(&server, BOB), &invalid("totp")).await?;
    server.advance(STEP);
    let when = "in the next step, its code is used again";
    refuses(&server, when, reset(&server, BOB), &invalid("totp")).await?;
    let following = server.code_at(ADMIN, 1);
    let when = "in the next step, the code of the following one is used";
    answers(when, reset_with(&server, &following, BOB), SUCCESS).await
}

pub(super) async fn a_clock_set_back_allows_no_reuse(harness: &Harness) -> Verdict {
    let server = server(harness).await?;
    let when = "a code is used";
    answers(when, reset(&server, ALICE), SUCCESS).await?;
    for steps in 1..=3 {
        server.set_clock_back(STEP);
        let when = format!("the clock is {steps} steps back, and the code of then is used");
        refuses(&server, &when, reset(&server, BOB), &invalid("totp")).await?;
    }
    Ok(())
}

/// Gitea CVE-2026-20779. Half of them meet each of two servers.
pub(super) async fn of_parallel_requests_with_one_code_one_succeeds(harness: &Harness) -> Verdict {
    let server = server(harness).await?;
    let another = server.another().await?;
    let code = server.code(ADMIN);
    let mut sent = JoinSet::new();
    for target in [ALICE, BOB].repeat(8) {
        for server in [&server, &another] {
            sent.spawn(reset_with(server, &code, target).send());
        }
    }
    let when = "32 requests come at once with one code";
    let refusals = [invalid("totp"), locked("totp")];
    let mut succeeded = 0;
    for answer in sent.join_all().await {
        let answer = answer?.text();
        if answer == SUCCESS {
            succeeded += 1;
        } else if !refusals.contains(&answer) {
            return differs(
                when,
                format!("{SUCCESS} or {}", refusals.join(" or ")),
                answer,
            );
        }
    }
    expect(&format!("{when}: those that succeed"), 1, succeeded)
}

pub(super) async fn anothers_code_is_a_wrong_one(harness: &Harness) -> Verdict {
    let server = server(harness).await?;
    let when = "the administrator resets alice with alice's code";
    let request = reset_with(&server, &server.code(ALICE), ALICE);
    refuses(&server, when, request, &invalid("totp")).await
}

/// As apps and mails show them, and as they are pasted.
pub(super) async fn a_code_is_taken_as_people_see_it(harness: &Harness) -> Verdict {
    let shapes: [fn(&str) -> String; 3] = [
        |code| format!("{}-{}", first_half(code), last_half(code)),
        |code| format!("{} {}", first_half(code), last_half(code)),
        |code| format!("\u{a0}{code} "),
    ];
    for shape in shapes {
        let server = server(harness).await?;
        let code = shape(&server.code(ADMIN));
        let when = format!("the right code is written `{code}`");
        answers(&when, reset_with(&server, &code, ALICE), SUCCESS).await?;
    }
    Ok(())
}

/// Six ASCII digits, or eight characters of the backup alphabet: what has neither form is
/// no guess, and is not counted.
pub(super) async fn a_malformed_code_is_a_wrong_one(harness: &Harness) -> Verdict {
    let shapes: [fn(&str) -> String; 9] = [
        |code| format!("{code}x"),
        |code| code.chars().take(5).collect(),
        |code| format!("{}--{}", first_half(code), last_half(code)),
        |code| format!("{}  {}", first_half(code), last_half(code)),
        |code| format!("+{code}"),
        |code| format!("0{code}"),
        |code| format!("{code}{code}"),
        |code| format!("\"{code}\""),
        // Full-width digits.
        |code| {
            let wide = |c: char| char::from_u32(u32::from(c) - 0x30 + 0xff10);
            code.chars().filter_map(wide).collect()
        },
    ];
    for shape in shapes {
        let server = server(harness).await?;
        let code = shape(&server.code(ADMIN));
        let when = format!("the right code is written `{code}`");
        let request = reset_with(&server, &code, ALICE);
        refuses(&server, &when, request, &invalid("totp")).await?;
        expect(&format!("{when}: failures"), 0, server.failures(ADMIN)?)?;
    }
    Ok(())
}

fn first_half(code: &str) -> String {
    code.chars().take(3).collect()
}

fn last_half(code: &str) -> String {
    code.chars().skip(3).collect()
}

pub(super) async fn a_backup_code_works_once(harness: &Harness) -> Verdict {
    let server = server(harness).await?;
    let [first, second] = BACKUP_CODES;
    let other_case = first.to_lowercase();
    for (when, code, target, expected) in [
        ("in lower case", &*other_case, ALICE, invalid("totp")),
        ("for the first time", first, ALICE, SUCCESS.to_owned()),
        ("for the second time", first, BOB, invalid("totp")),
        ("as another one", second, BOB, SUCCESS.to_owned()),
    ] {
        let when = format!("a backup code is used {when}");
        answers(&when, reset_with(&server, code, target), &expected).await?;
    }
    Ok(())
}

pub(super) async fn a_refused_request_spends_no_code(harness: &Harness) -> Verdict {
    let server = server(harness).await?;
    let [backup_code, _] = BACKUP_CODES;
    for (code, target) in [(server.code(ADMIN), ALICE), (backup_code.to_owned(), BOB)] {
        let when = "a right code comes for nobody";
        let answer = reset_with(&server, &code, "nobody").send().await?;
        expect(when, 400, answer.status.as_u16())?;
        let when = format!("then the same code, for {target}");
        answers(&when, reset_with(&server, &code, target), SUCCESS).await?;
    }
    Ok(())
}

/// NIST SP 800-63B section 5.2.2.
pub(super) async fn after_five_failures_the_right_code_is_refused_until_the_lock_ends(
    harness: &Harness,
) -> Verdict {
    let server = server(harness).await?;
    for time in 1..=4 {
        let when = format!("a wrong code comes, {time} of 5");
        let request = reset_with(&server, "000000", ALICE);
        refuses(&server, &when, request, &invalid("totp")).await?;
    }
    let when = "a wrong code comes, 5 of 5";
    answers(when, reset_with(&server, "000000", ALICE), &invalid("totp")).await?;
    // The administrator is told of the lock, at each verified address.
    expect(&format!("{when}: mail"), 2, server.mail()?.len())?;
    for (wait, when) in [(0, "at once"), (29_999, "29.999 s")] {
        server.advance(Duration::from_millis(wait));
        let when = format!("after five wrong codes a right one comes, {when} later");
        refuses(&server, &when, reset(&server, ALICE), &locked("totp")).await?;
    }
    server.advance(Duration::from_millis(1));
    let when = "after five wrong codes a right one comes, 30 s later";
    answers(when, reset(&server, ALICE), SUCCESS).await
}

pub(super) async fn a_success_clears_the_failures(harness: &Harness) -> Verdict {
    let server = server(harness).await?;
    for target in [ALICE, BOB] {
        for _ in 0..4 {
            let when = "a wrong code comes";
            answers(
                when,
                reset_with(&server, "000000", target),
                &invalid("totp"),
            )
            .await?;
        }
        let when = "a right code comes after four wrong ones";
        answers(when, reset(&server, target), SUCCESS).await?;
        expect(&format!("{when}: failures"), 0, server.failures(ADMIN)?)?;
        server.advance(STEP);
    }
    Ok(())
}

/// A caller with TOTP is never asked for something weaker.
pub(super) async fn the_method_is_the_servers_choice(harness: &Harness) -> Verdict {
    for method in ["totp", "email", "password", "none", "TOTP", ""] {
        let server = server(harness).await?;
        let request = |code: &str| reset_with(&server, code, ALICE).header("x-2fa-method", method);
        let when = |code| format!("x-2fa-method is `{method}`, and {code}");
        let asked = required("totp", TOTP);
        refuses(&server, &when("there is no code"), request(""), &asked).await?;
        let wrong = invalid("totp");
        refuses(
            &server,
            &when("a wrong code comes"),
            request("000000"),
            &wrong,
        )
        .await?;
        let right = request(&server.code(ADMIN));
        answers(&when("a right code comes"), right, SUCCESS).await?;
    }
    Ok(())
}

/// A code of one is none of the other.
pub(super) async fn who_has_two_methods_may_choose(harness: &Harness) -> Verdict {
    let server = server(harness).await?;
    let own = |method: &str| server.post(FRANK).header("x-2fa-method", method).json("{}");
    let both = r#""totp","email""#;
    let when = "frank, who has TOTP and codes by e-mail, names no method of them";
    answers(when, own("password"), &required("totp", both)).await?;
    expect(&format!("{when}: mail"), 0, server.mail()?.len())?;
    let when = "frank, who has TOTP and codes by e-mail, asks for a code by e-mail";
    answers(when, own("email"), &sent(FRANK, both)).await?;
    let (mailed, totp) = (mailed(&server, FRANK, when)?, server.code(FRANK));
    let when = "he enters the code by e-mail as one of TOTP";
    answers(when, own("totp").code(&mailed), &invalid("totp")).await?;
    let when = "he enters a code of TOTP as one by e-mail";
    answers(when, own("email").code(&totp), &invalid("email")).await?;
    let when = "he enters the code by e-mail as such";
    answers(when, own("email").code(&mailed), SUCCESS).await
}

/// The code that waits for `user` in the outbox.
pub(super) fn mailed(server: &Server, user: &str, when: &str) -> Result<String, Problem> {
    server.sent_code(user)?.ok_or_else(|| {
        difference(
            &format!("{when}: mail"),
            format!("a code for {user}"),
            "no mail with a code".to_owned(),
        )
    })
}

pub(super) async fn a_code_by_e_mail_is_sent_once_and_accepted_once(harness: &Harness) -> Verdict {
    let server = server(harness).await?;
    let own = || server.post(ERIN).json("{}");
    let email = r#""email""#;
    let when = "erin, who has codes by e-mail, sends none";
    answers(when, own(), &sent(ERIN, email)).await?;
    expect(&format!("{when}: mail"), 2, server.mail()?.len())?;
    let code = mailed(&server, ERIN, when)?;
    let when = "she sends none again, while the code is valid";
    let live = required("email", email).replace(
        r#""availableMethods""#,
        r#""codeExpires":"2033-05-18T04:33:00.000Z","emailOrUsername":"erin","availableMethods""#,
    );
    answers(when, own(), &live).await?;
    expect(&format!("{when}: mail"), 2, server.mail()?.len())?;
    let when = "she enters it";
    answers(when, own().code(&code), SUCCESS).await?;
    let when = "she enters it again";
    answers(when, own().code(&code), &invalid("email")).await
}

/// Not only for the length of the account's lock.
pub(super) async fn a_code_by_e_mail_ends_with_its_tries(harness: &Harness) -> Verdict {
    let server = server(harness).await?;
    let own = || server.post(ERIN).json("{}");
    let when = "erin, who has codes by e-mail, sends none";
    answers(when, own(), &sent(ERIN, r#""email""#)).await?;
    let code = mailed(&server, ERIN, when)?;
    let wrong = if code == "000000" { "000001" } else { "000000" };
    for time in 1..=5 {
        let when = format!("she enters a wrong code, {time} of 5");
        answers(&when, own().code(wrong), &invalid("email")).await?;
    }
    server.advance(Duration::from_secs(60));
    let when = "a minute after five wrong codes she enters the right one";
    answers(when, own().code(&code), &locked("email")).await?;
    let when = "a minute after five wrong codes she asks for another";
    answers(when, own(), &locked("email")).await
}

/// Its SHA-256, in lower-case hexadecimal.
pub(super) fn password_digest() -> String {
    let digest = password::digest(&PASSWORD.into());
    digest.expose_secret().to_owned()
}

pub(super) async fn the_password_is_the_factor_of_who_has_no_other(harness: &Harness) -> Verdict {
    let server = server(harness).await?;
    let digest = password_digest();
    let own = || server.post(DAVE).json("{}");
    let when = "dave, who has only a password, sends no code";
    refuses(&server, when, own(), &required("password", "")).await?;
    for wrong in [PASSWORD, "000000", &digest.to_uppercase()] {
        let when = format!("dave, who has only a password, sends the code {wrong}");
        refuses(&server, &when, own().code(wrong), &invalid("password")).await?;
    }
    let when = "dave, who has only a password, sends its digest";
    answers(when, own().code(&digest), SUCCESS).await
}

pub(super) async fn the_password_does_not_take_the_place_of_totp(harness: &Harness) -> Verdict {
    let server = server(harness).await?;
    let when = "the administrator, who has TOTP, sends the password's digest";
    let request = reset_with(&server, &password_digest(), ALICE);
    let request = request.header("x-2fa-method", "password");
    refuses(&server, when, request, &invalid("totp")).await
}

pub(super) async fn without_the_fallback_the_password_is_no_factor(harness: &Harness) -> Verdict {
    let settings = Settings {
        password_fallback: false,
        ..Settings::default()
    };
    let server = server_with(harness, settings).await?;
    let when = "the password is no factor, and dave, who has no other, sends its digest";
    let request = server.post(DAVE).code(password_digest()).json("{}");
    refuses(&server, when, request, &required("totp", "")).await
}

pub(super) async fn a_caller_without_any_factor_is_refused_unless_excused(
    harness: &Harness,
) -> Verdict {
    for (missing_factor_allowed, expected) in
        [(false, required("totp", "")), (true, SUCCESS.to_owned())]
    {
        let settings = Settings {
            missing_factor_allowed,
            ..Settings::default()
        };
        let server = server_with(harness, settings).await?;
        for code in ["", "000000"] {
            let when = format!(
                "missing-factor-allowed is {missing_factor_allowed}, and carol, who has no \
                 factor, sends the code `{code}`"
            );
            let request = server.post(CAROL).code(code).json("{}");
            answers(&when, request, &expected).await?;
            // A success ends her log-in.
            if missing_factor_allowed {
                break;
            }
        }
    }
    Ok(())
}

pub(super) async fn a_bypass_token_bypasses_where_that_is_allowed(harness: &Harness) -> Verdict {
    for (bypass_token_allowed, expected) in
        [(false, required("totp", TOTP)), (true, SUCCESS.to_owned())]
    {
        let settings = Settings {
            bypass_token_allowed,
            ..Settings::default()
        };
        let setup = harness.server().settings(settings);
        let setup = setup.user(User::named("ada").role("admin").bypass_token());
        let server = setup
            .user(User::named("eve").role("admin"))
            .user(User::named("bob"));
        let server = server.start().await?;
        let when = |who| {
            format!("bypass-token-allowed is {bypass_token_allowed}, and {who} sends no code")
        };
        let request = server.post("eve").json(&named("bob"));
        let asked = required("totp", TOTP);
        answers(&when("eve, whose token bypasses nothing,"), request, &asked).await?;
        let request = server.post("ada").json(&named("bob"));
        answers(&when("ada, whose token bypasses,"), request, &expected).await?;
    }
    Ok(())
}
