//! What a request changes: the named target's named fields, or nothing.

use super::documented::{
    FEDERATED_USER, INVALID_USER, NOT_ALLOWED, NOT_LOGGED_IN, SUCCESS, error_type, named, required,
};
use super::expectation::{Verdict, answers, expect, refuses, reset, reset_with, server, unchanged};
use crate::harness::{
    ADMIN, ALICE, BOB, BOT, CAROL, DEACTIVATED, FEDERATED, FRANK, HELPER, Harness, MALLORY,
    MODERATOR, Request, Server, Snapshot,
};
use chat_domain::totp::step_of;
use std::time::Duration;

/// What is refused counts a failure, and locks at most this long.
const AFTER_ANY_LOCK: Duration = Duration::from_secs(60 * 60);

/// The changed rows, each as its sign, its table and the first two of its cells.
fn changes(server: &Server, before: &Snapshot) -> Result<Vec<String>, super::Problem> {
    let changes = before.changes(&server.snapshot()?);
    let beginning = |change: &String| change.split(' ').take(4).collect::<Vec<_>>().join(" ");
    Ok(changes.iter().map(beginning).collect())
}

/// Factor, backup codes and log-ins are gone, one notice waits for each verified
/// address, and the caller's code is spent.
pub(super) async fn a_reset_changes_the_named_member_and_nobody_else(harness: &Harness) -> Verdict {
    let server = server(harness).await?;
    let before = server.snapshot()?;
    let when = "the administrator resets alice";
    answers(when, reset(&server, ALICE), SUCCESS).await?;
    let rows = [
        "- backup_code default aliceId",
        "- backup_code default aliceId",
        "- login_token default aliceId",
        "- totp default adminId",
        "- totp default aliceId",
        "+ outbox 1 default",
        "+ outbox 2 default",
        "+ totp default adminId",
    ];
    expect(
        &format!("{when}: the rows that changed"),
        rows.map(str::to_owned).to_vec(),
        changes(&server, &before)?,
    )?;
    let spent = step_of(server.now()).to_string();
    let after = server.snapshot()?;
    let when = format!("{when}: the administrator's step is spent");
    expect(&when, true, after.mentions("totp", &spent))?;
    let recipients: Vec<_> = server
        .mail()?
        .into_iter()
        .map(|mail| mail.recipient)
        .collect();
    let addresses = ["alice@example.com", "alice@work.example.com"];
    expect(
        "the administrator resets alice: who is told",
        addresses.map(str::to_owned).to_vec(),
        recipients,
    )
}

pub(super) async fn a_reset_of_ones_own_changes_ones_own_and_is_told(harness: &Harness) -> Verdict {
    let server = server(harness).await?;
    let before = server.snapshot()?;
    let when = "alice resets her own";
    let request = server.post(ALICE).code(server.code(ALICE)).json("{}");
    answers(when, request, SUCCESS).await?;
    let rows = [
        "- backup_code default aliceId",
        "- backup_code default aliceId",
        "- login_token default aliceId",
        "- totp default aliceId",
        "+ outbox 1 default",
        "+ outbox 2 default",
    ];
    expect(
        &format!("{when}: the rows that changed"),
        rows.map(str::to_owned).to_vec(),
        changes(&server, &before)?,
    )
}

/// The permission alone decides: an administrator may be reset by a helper.
pub(super) async fn who_holds_the_permission_may_reset_anybody_here(harness: &Harness) -> Verdict {
    for caller in [ADMIN, HELPER] {
        for (target, expected) in [
            (ADMIN, SUCCESS),
            (HELPER, SUCCESS),
            (ALICE, SUCCESS),
            (CAROL, SUCCESS),
            (DEACTIVATED, SUCCESS),
            (BOT, SUCCESS),
            (FEDERATED, FEDERATED_USER),
            (MALLORY, INVALID_USER),
        ] {
            let server = server(harness).await?;
            let before = server.snapshot()?;
            let when = format!("{caller} resets {target} with a right code");
            answers(&when, resets(&server, caller, target), expected).await?;
            if expected == SUCCESS {
                lost(&server, &when, &before, target)?;
            } else {
                unchanged(&server, &when, &before)?;
            }
        }
    }
    Ok(())
}

pub(super) async fn who_does_not_hold_it_may_reset_nobody(harness: &Harness) -> Verdict {
    for (caller, expected) in [
        (MODERATOR, NOT_ALLOWED),
        (ALICE, NOT_ALLOWED),
        (FRANK, NOT_ALLOWED),
        (BOT, NOT_ALLOWED),
        (DEACTIVATED, NOT_LOGGED_IN),
        (MALLORY, NOT_LOGGED_IN),
    ] {
        let server = server(harness).await?;
        for target in [
            ADMIN,
            HELPER,
            ALICE,
            CAROL,
            DEACTIVATED,
            BOT,
            FEDERATED,
            MALLORY,
            "nobody",
        ] {
            server.advance(AFTER_ANY_LOCK);
            let when = format!("{caller} resets {target} with a right code");
            let request = resets(&server, caller, target);
            refuses(&server, &when, request, expected).await?;
        }
    }
    Ok(())
}

fn resets(server: &Server, caller: &str, target: &str) -> Request {
    let request = server.post(caller).code(server.code(caller));
    request.json(&named(target))
}

/// Expects that `target` lost its factor, if it had one, and nobody else did.
fn lost(server: &Server, when: &str, before: &Snapshot, target: &str) -> Verdict {
    let after = server.snapshot()?;
    let id = format!("{target}Id");
    let had = before.mentions("totp", &id);
    let lost = before.rows("totp").len() - after.rows("totp").len();
    expect(&format!("{when}: factors lost"), usize::from(had), lost)?;
    let when = format!("{when}: {target} has TOTP");
    expect(&when, false, after.mentions("totp", &id))
}

/// The reason is the answer's error id.
pub(super) async fn every_decision_is_recorded_with_its_reason(harness: &Harness) -> Verdict {
    let server = server(harness).await?;
    let asked = required("totp", r#""totp""#);
    let moderator = server.post(MODERATOR).code(server.code(MODERATOR));
    for (when, request, expected) in [
        (
            "no code comes",
            server.post(ADMIN).json(&named(BOB)),
            &*asked,
        ),
        (
            "the moderator resets bob",
            moderator.json(&named(BOB)),
            NOT_ALLOWED,
        ),
        ("nobody is reset", reset(&server, "nobody"), INVALID_USER),
        ("bob is reset", reset(&server, BOB), SUCCESS),
    ] {
        answers(when, request, expected).await?;
        let last = server.audit()?.pop();
        let reason = last.as_ref().and_then(|record| record.reason.as_deref());
        let recorded = format!("{when}: the reason that is recorded");
        expect(&recorded, error_type(expected), reason)?;
        let committed = last.is_some_and(|record| record.is_success());
        let recorded = format!("{when}: a success is recorded");
        expect(&recorded, expected == SUCCESS, committed)?;
    }
    let spent = reset_with(&server, &server.code(ADMIN), ALICE);
    let answer = spent.send().await?;
    let last = server.audit()?.pop().map(|record| record.decision);
    let when = "a spent code comes: the decision that is recorded";
    expect(when, Some("replayed".to_owned()), last)?;
    expect("a spent code comes", 400, answer.status.as_u16())
}
