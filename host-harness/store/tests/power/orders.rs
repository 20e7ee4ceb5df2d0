//! Orders of every kind that a host gives in a day, one after the other and many at once.

use crate::stage::Run;
use chat_domain::account::{Caller, EDIT_OTHER_USER_TOTP, Email, Token, TotpFactor};
use chat_domain::attempts::Attempt;
use chat_domain::mailed_code::EmailCode;
use chat_domain::member::{Act, Authority, Code, MemberChange};
use chat_domain::operator::{NewRole, NewUser, NewWorkspace, Operation, UserChange};
use chat_domain::outbox::NextTry;
use chat_domain::proof::{Proof, Tried};
use chat_domain::reset::{Receipt, RefuseReset, Reset, Target};
use chat_domain::settings::{Setting, Settings};
use chat_domain::time::Timestamp;
use chat_domain::totp::{TotpKey, code_hash, step_of};
use chat_testing::ask::{Ask as _, done_by, source};
use chat_testing::{ACME, after};
use std::time::Duration;

/// Rounds of a day's orders: so many that the log is merged into the file by the store itself.
const ROUNDS: u64 = 12;

/// Rounds after which another program merges it, too.
const MERGED: [u64; 3] = [1, 4, 9];

/// Members who ask at once.
const CROWD: usize = 16;

/// Between two rounds: a code of the last is of no use any more.
const ROUND_SECONDS: u64 = 120;

pub(crate) async fn give_all(run: &mut Run) {
    let store = run.store();
    assert!(run.one(store.create_workspace(acme())).await);
    for round in 0..ROUNDS {
        give_round(run, after(round * ROUND_SECONDS), round).await;
        if round % 8 == 3 {
            crowd(run, after(round * ROUND_SECONDS), round).await;
        }
        if MERGED.contains(&round) {
            run.merge();
        }
    }
}

async fn give_round(run: &mut Run, now: Timestamp, round: u64) {
    let store = run.store();
    let operation = || Operation {
        workspace: ACME.to_owned(),
        now,
        request_id: format!("operation-{round}"),
        forced: false,
    };
    let attempt = run.one(store.begin_totp_attempt(ACME, "admin", now)).await;
    assert!(matches!(attempt, Attempt::Begun(_)));
    let reset = of_alice(now);
    assert_eq!(
        run.one(store.reset(reset.clone())).await,
        Ok(Receipt::Removed)
    );

    let attempt = run.one(store.begin_totp_attempt(ACME, "admin", now)).await;
    assert!(matches!(attempt, Attempt::Begun(_)));
    assert!(store.reset(reset.clone()).await.unwrap().is_err());
    let Proof::TotpStep { code, .. } = reset.proof else {
        unreachable!("it is by TOTP")
    };
    let refused = RefuseReset {
        record: done_by(ACME, "admin"),
        tried: Some(Tried::Totp(code)),
    };
    run.one(store.decide(refused)).await;

    let session = format!("alice-{round}");
    let token = UserChange::CreateToken(token(&session, None));
    let created = run
        .one(store.change_user(operation(), "alice", token))
        .await;
    assert!(created.is_ok());
    let key = || key(&format!("alice-{}", round + 1));
    let begin = alices(&session, Act::BeginEnrolment(key()), None, now);
    assert_eq!(run.one(store.change(begin)).await, Ok(()));
    let confirm = Act::ConfirmTotp {
        backup_code_hashes: backup_codes(round),
    };
    let code = Code::Totp(key().code(step_of(now)).into());
    let confirm = alices(&session, confirm, Some(code), now);
    assert_eq!(run.one(store.change(confirm)).await, Ok(()));

    let code = format!("{round:06}");
    let sent = store.send_email_code(ACME, "cora", code.clone().into(), now);
    assert!(matches!(run.one(sent).await, EmailCode::Sent { .. }));
    let log_in = MemberChange {
        user: "cora".to_owned(),
        authority: Authority::Password("cora-password".into()),
        ..alices(
            "",
            Act::LogIn(token_until(&format!("cora-{round}"), now)),
            Some(Code::Email(Ok(code_hash(&code).into()))),
            now,
        )
    };
    assert_eq!(run.one(store.change(log_in)).await, Ok(()));

    let claim = run.one(store.claim(now)).await.unwrap();
    run.one(store.sent(&claim)).await;
    let claim = run.one(store.claim(now)).await.unwrap();
    let later = NextTry::At(now + Duration::from_secs(10));
    run.one(store.not_sent(&claim, "greylisted", later, now))
        .await;

    let password = UserChange::SetPassword(format!("password-{round}").into());
    let changed = run
        .one(store.change_user(operation(), "bob", password))
        .await;
    assert!(changed.is_ok());
    let days = Setting::named("audit-days").unwrap();
    let value = (round + 1).to_string();
    let set = run
        .one(store.set_setting(operation(), days, value.into()))
        .await;
    assert!(set.is_ok());
    run.one(store.log_out(ACME, "cora", &format!("cora-{round}")))
        .await;
}

/// Everybody of a crowd removes their own factor, all at once.
async fn crowd(run: &mut Run, now: Timestamp, round: u64) {
    let everybody = (0..CROWD).map(|number| format!("crowd-{round}-{number:02}"));
    let orders = everybody.map(|id| {
        let order = Reset {
            caller: caller(&id),
            proof: proof(&id, now),
            target: Target::Caller,
            ..of_alice(now)
        };
        (id, order)
    });
    for answer in run.all(orders).await {
        assert_eq!(answer, Ok(Receipt::Removed));
    }
}

fn of_alice(now: Timestamp) -> Reset {
    Reset {
        workspace: ACME.to_owned(),
        caller: caller("admin"),
        proof: proof("admin", now),
        target: Target::User("alice".to_owned()),
        now,
        request_id: "request".to_owned(),
        source: source(),
    }
}

fn alices(session: &str, act: Act, code: Option<Code>, now: Timestamp) -> MemberChange {
    MemberChange {
        workspace: ACME.to_owned(),
        user: "alice".to_owned(),
        authority: Authority::Token(session.to_owned()),
        act,
        code,
        now,
        request_id: "request".to_owned(),
        source: source(),
    }
}

fn caller(id: &str) -> Caller {
    Caller {
        id: id.to_owned(),
        token_hash: format!("{id}-token"),
        bypass_token: false,
    }
}

fn proof(id: &str, now: Timestamp) -> Proof {
    let step = step_of(now);
    Proof::TotpStep {
        step,
        code: key(id).code(step).into(),
    }
}

fn key(id: &str) -> TotpKey {
    TotpKey::new(format!("key of {id}").into_bytes())
}

fn backup_codes(round: u64) -> Vec<String> {
    (0..12)
        .map(|n| code_hash(&format!("{round}-{n}")))
        .collect()
}

fn token(hash: &str, expires: Option<Timestamp>) -> Token {
    Token {
        hash: hash.to_owned(),
        expires,
        name: expires.is_none().then(|| hash.to_owned()),
        bypass_two_factor: false,
    }
}

fn token_until(hash: &str, now: Timestamp) -> Token {
    token(hash, Some(now + Duration::from_secs(3600)))
}

/// An administrator, alice who is reset, bob, cora who has codes by e-mail, and the crowds.
fn acme() -> NewWorkspace {
    let role = |name: &str, permissions: &[&str]| NewRole {
        name: name.to_owned(),
        permissions: permissions.iter().map(ToString::to_string).collect(),
    };
    let cora = NewUser {
        email_two_factor: true,
        totp: None,
        ..user("cora", "user")
    };
    let bob = NewUser {
        totp: None,
        ..user("bob", "user")
    };
    let alice = NewUser {
        totp: Some(factor("alice-0")),
        password_hash: None,
        ..user("alice", "user")
    };
    let mut users = vec![user("admin", "admin"), alice, bob, cora];
    for round in (0..ROUNDS).filter(|round| round % 8 == 3) {
        users.extend((0..CROWD).map(|number| user(&format!("crowd-{round}-{number:02}"), "user")));
    }
    NewWorkspace {
        id: ACME.to_owned(),
        settings: Settings {
            missing_factor_allowed: true,
            ..Settings::default()
        },
        roles: vec![role("admin", &[EDIT_OTHER_USER_TOTP]), role("user", &[])],
        users,
    }
}

fn user(id: &str, role: &str) -> NewUser {
    NewUser {
        id: id.to_owned(),
        username: id.to_owned(),
        password_hash: Some(format!("{id}-password").into()),
        roles: vec![role.to_owned()],
        emails: vec![Email {
            address: format!("{id}@acme.example"),
            verified: true,
        }],
        tokens: vec![token(&format!("{id}-token"), None)],
        totp: Some(factor(id)),
        ..NewUser::default()
    }
}

fn factor(id: &str) -> TotpFactor {
    TotpFactor {
        key: key(id),
        last_step: None,
        backup_code_hashes: vec![code_hash(id)],
        spent_code_hashes: Vec::new(),
    }
}
