//! A host that cannot answer: nothing is decided after a failure, and nothing of
//! the call was done.

use super::documented::{SUCCESS, sent};
use super::expectation::{Problem, Verdict, answers, differs, reset, reset_with};
use super::second_factor::{mailed, password_digest};
use crate::harness::{ALICE, BACKUP_CODES, CAROL, DAVE, ERIN, Harness, Request, Server, Snapshot};
use chat_domain::settings::Settings;
use plugin_sandbox::capabilities::{Fault, FaultKind};
use plugin_sandbox::limits::Limits;
use std::time::Duration;

/// Host calls after which a request is not followed further.
const MAX_CALLS: u32 = 64;

/// How long a host call may take: longer than any that answers.
const PATIENCE: Duration = Duration::from_millis(500);

/// After it there is another code, too, and the one by e-mail has ended.
const AFTER_ANY_LOCK: Duration = Duration::from_secs(2 * 60 * 60);

/// What a request is proved by.
#[derive(Clone, Copy, Debug)]
enum Proof {
    Totp,
    BackupCode,
    EmailCode,
    Password,
    Nothing,
}

pub(super) async fn a_host_call_that_fails_is_no_yes(harness: &Harness) -> Verdict {
    for proof in [
        Proof::Totp,
        Proof::BackupCode,
        Proof::EmailCode,
        Proof::Password,
        Proof::Nothing,
    ] {
        every_fault(harness, proof, FaultKind::Error).await?;
    }
    Ok(())
}

pub(super) async fn a_host_call_that_never_ends_is_no_yes(harness: &Harness) -> Verdict {
    every_fault(harness, Proof::Totp, FaultKind::Silence).await
}

/// Lets the first host call of a request fail, then the second of another and so on,
/// until a request has no more of them and succeeds.
async fn every_fault(harness: &Harness, proof: Proof, kind: FaultKind) -> Verdict {
    let server = server(harness, kind).await?;
    for nth in 1..=MAX_CALLS {
        server.advance(AFTER_ANY_LOCK);
        let request = request(&server, proof).await?;
        let before = server.snapshot()?;
        let function = None;
        server.plant([Fault {
            function,
            nth,
            kind,
        }]);
        let answer = request.send().await?;
        server.plant([]);
        let when = format!("the proof is {proof:?}, and host call {nth} ends in {kind:?}");
        if answer.text() == SUCCESS {
            return Ok(());
        }
        if !answer.status.is_server_error() {
            return differs(&when, "a status of 500 or more".to_owned(), answer.text());
        }
        unchanged_but_for_tries(&server, &when, &before)?;
    }
    let when = format!("the proof is {proof:?}: host calls");
    differs(&when, format!("at most {MAX_CALLS}"), "more".to_owned())
}

/// Carol has no second factor and is excused from one.
async fn server(harness: &Harness, kind: FaultKind) -> Result<Server, Problem> {
    let settings = Settings {
        missing_factor_allowed: true,
        rate_limit_calls: 0,
        ..Settings::default()
    };
    // Where nothing is waited for, a busy machine may take its time.
    let limits = match kind {
        FaultKind::Error | FaultKind::Panic => harness.limits(),
        FaultKind::Silence => Limits {
            host_call_time: PATIENCE,
            ..harness.limits()
        },
    };
    let setup = harness.cast().settings(settings).limits(limits);
    Ok(setup.start().await?)
}

/// One that succeeds where no host call fails.
async fn request(server: &Server, proof: Proof) -> Result<Request, Problem> {
    let own = |user: &str| server.post(user).json("{}");
    Ok(match proof {
        Proof::Totp => reset(server, ALICE),
        Proof::BackupCode => {
            let [code, _] = BACKUP_CODES;
            reset_with(server, code, ALICE)
        }
        Proof::EmailCode => {
            let when = "erin, who has codes by e-mail, sends none";
            answers(when, own(ERIN), &sent(ERIN, r#""email""#)).await?;
            own(ERIN).code(mailed(server, ERIN, when)?)
        }
        Proof::Password => own(DAVE).code(password_digest()),
        Proof::Nothing => own(CAROL),
    })
}

/// A try of a code by e-mail is counted with the code, too.
fn unchanged_but_for_tries(server: &Server, when: &str, before: &Snapshot) -> Verdict {
    let mut changes = before.changes(&server.snapshot()?);
    changes.retain(|change| !change.contains(" email_code "));
    if changes.is_empty() {
        return Ok(());
    }
    differs(when, "nothing is changed".to_owned(), changes.join("; "))
}
