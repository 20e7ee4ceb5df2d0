//! A plugin that lies: it calls the capabilities with whatever it likes. It can
//! neither reset without a code that the request carried, nor spend one that
//! the request did not carry, nor reach another workspace.

use chat_domain::attempts::FREE_FAILURES;
use chat_domain::password;
use chat_domain::reset::Receipt;
use chat_domain::settings::Settings;
use chat_domain::time::Timestamp;
use chat_domain::totp::code_hash;
use chat_testing::ask::Ask as _;
use chat_testing::call::Calls;
use chat_testing::{ACME, BACKUP_CODES, Data, GLOBEX, admin_code, code_of, now, step};
use plugin_sandbox::capabilities::Call;
use plugin_sandbox::contract::chat::reset_totp::secrets::{Host, Proof, Target};
use secrecy::ExposeSecret;

/// What the plugin does before it claims a proof.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Attempt {
    Begun,
    Omitted,
}

struct Lie {
    name: &'static str,
    caller: &'static str,
    /// That the request carried.
    code: Option<String>,
    attempt: Attempt,
    proof: Proof,
    target: Target,
    refusal: &'static str,
}

/// Everything is as it should be; each lie differs in one thing.
impl Default for Lie {
    fn default() -> Self {
        Self {
            name: "",
            caller: "admin",
            code: Some(admin_code()),
            attempt: Attempt::Begun,
            proof: Proof::TotpStep(step()),
            target: Target::User("alice".to_owned()),
            refusal: "Refusal::ProofRefused",
        }
    }
}

impl Lie {
    /// The plugin's way to its reset, and what the host answers.
    async fn tell(self, call: &mut Call) -> String {
        if self.attempt == Attempt::Begun {
            assert!(call.begin_totp_attempt().await.unwrap().is_ok());
        }
        match call.reset(self.proof, self.target).await.unwrap() {
            Ok(receipt) => format!("{receipt:?}"),
            Err(refusal) => format!("{refusal:?}"),
        }
    }
}

#[tokio::test]
async fn the_truth_is_believed() {
    let data = Data::new().await;
    let mut call = data.call("admin", Some(&admin_code())).await;
    assert_eq!(Lie::default().tell(&mut call).await, "Receipt::Removed");
    assert_eq!(call.observed.reset, Some(Ok(Receipt::Removed)));
}

#[tokio::test]
async fn a_lie_changes_nothing_but_the_count_of_the_attempt() {
    for lie in lies() {
        let data = Data::new().await;
        let before = data.dump();
        let mut call = data.call(lie.caller, lie.code.as_deref()).await;
        let (name, refusal) = (lie.name, lie.refusal);
        let counted = match lie.attempt {
            Attempt::Begun => format!(
                "+ failed_attempt: workspace=acme user={} count=1 locked_until=null told=0\n",
                lie.caller
            ),
            Attempt::Omitted => String::new(),
        };
        assert_eq!(lie.tell(&mut call).await, refusal, "{name}");
        assert!(!call.observed.committed(), "{name}");
        assert_eq!(before.changes(&data.dump()), counted, "{name}");
    }
}

fn lies() -> Vec<Lie> {
    let user = |id: &str| Target::User(id.to_owned());
    let [backup_code, other_backup_code] = BACKUP_CODES;
    let mut lies = vec![
        Lie {
            name: "the right step, but no attempt was begun",
            attempt: Attempt::Omitted,
            ..Lie::default()
        },
        Lie {
            name: "a right backup code, but no attempt was begun",
            attempt: Attempt::Omitted,
            code: Some(backup_code.to_owned()),
            proof: Proof::BackupCode(code_hash(backup_code)),
            ..Lie::default()
        },
        Lie {
            name: "the right step of a code that the request did not carry",
            code: None,
            ..Lie::default()
        },
        Lie {
            name: "the right step, while the request carried another code",
            code: Some(code_of(ACME, "admin", step() + 500)),
            ..Lie::default()
        },
        Lie {
            name: "the target's code instead of the caller's",
            code: Some(code_of(ACME, "alice", step())),
            ..Lie::default()
        },
        Lie {
            name: "the code of the same id in another workspace",
            code: Some(code_of(GLOBEX, "admin", step())),
            ..Lie::default()
        },
        Lie {
            name: "another backup code than the request carried",
            code: Some(backup_code.to_owned()),
            proof: Proof::BackupCode(code_hash(other_backup_code)),
            ..Lie::default()
        },
        Lie {
            name: "a backup code as a step",
            code: Some(backup_code.to_owned()),
            ..Lie::default()
        },
        Lie {
            name: "a step as a backup code",
            proof: Proof::BackupCode(code_hash(&admin_code())),
            ..Lie::default()
        },
        Lie {
            name: "a caller without a second factor needs none",
            caller: "bob",
            attempt: Attempt::Omitted,
            proof: Proof::None,
            target: Target::Caller,
            ..Lie::default()
        },
        Lie {
            name: "a target of another server",
            target: user("fred"),
            refusal: "Refusal::NotPermitted",
            ..Lie::default()
        },
        Lie {
            name: "a caller without the permission",
            caller: "moderator",
            code: Some(code_of(ACME, "moderator", step())),
            refusal: "Refusal::NotPermitted",
            ..Lie::default()
        },
    ];
    // RFC 6238 section 5.2: the window is small.
    lies.extend([step() - 2, step() + 2, 0, u64::MAX].map(|step| Lie {
        name: "the right code of a step outside the window",
        code: Some(code_of(ACME, "admin", step)),
        proof: Proof::TotpStep(step),
        ..Lie::default()
    }));
    let unproved = [
        Proof::None,
        Proof::EmailCode,
        Proof::Password,
        Proof::Other("trust-me".to_owned()),
    ];
    lies.extend(unproved.map(|proof| Lie {
        name: "a proof that this call cannot have given",
        proof,
        ..Lie::default()
    }));
    // OWASP ASVS 5.0 V8.4.1: no reach across tenants.
    lies.extend(["gina", "nobody", "", "Alice.acme"].map(|id| Lie {
        name: "a target that is no id of this workspace",
        target: user(id),
        refusal: "Refusal::UnknownTarget",
        ..Lie::default()
    }));
    lies
}

#[tokio::test]
async fn a_call_resets_once() {
    // Bob has nothing to remove, and that spends the call, too.
    for (first, receipt) in [
        ("alice", "Receipt::Removed"),
        ("bob", "Receipt::NothingEnrolled"),
    ] {
        let data = Data::new().await;
        let mut call = data.call("admin", Some(&admin_code())).await;
        let to = |id: &str| Lie {
            target: Target::User(id.to_owned()),
            attempt: Attempt::Omitted,
            ..Lie::default()
        };
        assert!(call.begin_totp_attempt().await.unwrap().is_ok());
        assert_eq!(to(first).tell(&mut call).await, receipt);
        let before = data.dump();
        let again = to("moderator").tell(&mut call).await;
        assert_eq!(again, "Refusal::ProofRefused");
        assert_eq!(before.changes(&data.dump()), "");
        assert_eq!(call.observed.target.as_deref(), Some(first));
    }
}

#[tokio::test]
async fn an_excused_call_resets_once_too() {
    let data = Data::with(Settings {
        two_factor_enabled: false,
        ..Settings::default()
    })
    .await;
    let mut call = data.call("admin", None).await;
    let own = || Lie {
        attempt: Attempt::Omitted,
        proof: Proof::None,
        target: Target::Caller,
        ..Lie::default()
    };
    assert_eq!(own().tell(&mut call).await, "Receipt::Removed");
    let before = data.dump();
    assert_eq!(own().tell(&mut call).await, "Refusal::ProofRefused");
    assert_eq!(before.changes(&data.dump()), "");
}

#[tokio::test]
async fn an_attempt_counts_for_its_own_call_only() {
    let data = Data::new().await;
    let mut first = data.call("admin", Some(&admin_code())).await;
    assert!(first.begin_totp_attempt().await.unwrap().is_ok());
    let lie = Lie {
        attempt: Attempt::Omitted,
        ..Lie::default()
    };
    let mut second = data.call("admin", Some(&admin_code())).await;
    assert_eq!(lie.tell(&mut second).await, "Refusal::ProofRefused");
}

/// RFC 6238 section 5.2: what is tried after it hides no replay from the audit.
#[tokio::test]
async fn a_replay_is_not_hidden_by_another_attempt() {
    let data = Data::new().await;
    data.edit(&format!(
        "UPDATE totp SET last_step = {} WHERE user = 'admin';
         UPDATE user SET email_two_factor = 1 WHERE id = 'admin'",
        step()
    ));
    let mut call = data.call("admin", Some(&admin_code())).await;
    assert!(call.begin_totp_attempt().await.unwrap().is_ok());
    let other = call.check_email_code("123456".to_owned()).await;
    assert!(!other.unwrap().unwrap());
    let spent = plugin_sandbox::capabilities::ObservedAttempt::Begun { spent_code: true };
    assert_eq!(call.observed.attempt, Some(spent));
}

/// NIST SP 800-63B section 5.2.2: the right code is refused, too, while locked.
#[tokio::test]
async fn a_locked_caller_cannot_be_passed_off_as_free() {
    let data = Data::new().await;
    for _ in 0..FREE_FAILURES {
        let attempt = data.store.begin_totp_attempt(ACME, "admin", now());
        attempt.await.unwrap();
    }
    let before = data.dump();
    let mut call = data.call("admin", Some(&admin_code())).await;
    let refusal = call.begin_totp_attempt().await.unwrap().unwrap_err();
    assert_eq!(format!("{refusal:?}"), "AttemptRefusal::Locked");
    let lie = Lie {
        attempt: Attempt::Omitted,
        ..Lie::default()
    };
    assert_eq!(lie.tell(&mut call).await, "Refusal::ProofRefused");
    assert!(matches!(
        call.observed.attempt,
        Some(plugin_sandbox::capabilities::ObservedAttempt::Locked(_))
    ));
    assert_eq!(before.changes(&data.dump()), "");
}

/// What a plugin makes of a password: whether it was right, and the reset.
async fn by_password(data: &Data, caller: &str, carried: Option<&str>, digest: &str) -> String {
    let mut call = data.call(caller, carried).await;
    let checked = match call.check_password(digest.to_owned()).await.unwrap() {
        Ok(right) => right.to_string(),
        Err(refusal) => format!("{refusal:?}"),
    };
    let outcome = Lie {
        attempt: Attempt::Omitted,
        proof: Proof::Password,
        target: Target::Caller,
        ..Lie::default()
    };
    format!("{checked}, {}", outcome.tell(&mut call).await)
}

#[tokio::test]
async fn a_password_proves_the_caller_who_sent_it() {
    const REFUSED: &str = "Refusal::ProofRefused";
    let right = password::digest(&"correct horse".into());
    let right = right.expose_secret();
    let wrong = password::digest(&"wrong horse".into());
    let wrong = wrong.expose_secret();
    let hash = password::hash(&right.into(), &mut rand::rng()).unwrap();
    let data = Data::new().await;
    data.edit(&format!(
        "UPDATE user SET password_hash = '{}' WHERE (workspace, id) IN
         (VALUES ('acme', 'bob'), ('acme', 'admin'), ('globex', 'bob'), ('globex', 'gina'))",
        hash.expose_secret()
    ));
    let before = data.dump();
    for (name, caller, carried, digest, checked) in [
        ("a wrong one", "bob", Some(wrong), wrong, "false"),
        ("the request carried none", "bob", None, right, "false"),
        ("it carried another", "bob", Some(wrong), right, "false"),
        ("the plugin has another", "bob", Some(right), wrong, "false"),
        (
            "the caller has TOTP",
            "admin",
            Some(right),
            right,
            "AttemptRefusal::Unavailable",
        ),
        (
            "the caller has no password",
            "fred",
            Some(right),
            right,
            "AttemptRefusal::Unavailable",
        ),
    ] {
        let outcome = by_password(&data, caller, carried, digest).await;
        assert_eq!(outcome, format!("{checked}, {REFUSED}"), "{name}");
    }
    assert_eq!(
        before.changes(&data.dump()),
        "+ failed_attempt: workspace=acme user=bob count=4 locked_until=null told=0\n"
    );
    let outcome = by_password(&data, "bob", Some(right), right).await;
    assert_eq!(outcome, "true, Receipt::NothingEnrolled");
}

/// Between the comparison and the commit, as by an administrator who shuts out
/// a thief.
#[tokio::test]
async fn a_password_that_was_changed_meanwhile_proves_nothing() {
    let data = Data::new().await;
    let set = |password: &str| {
        let hash = password::hash(&password::digest(&password.into()), &mut rand::rng()).unwrap();
        let hash = hash.expose_secret();
        data.edit(&format!(
            "UPDATE user SET password_hash = '{hash}' WHERE (workspace, id) = ('acme', 'bob')"
        ));
    };
    set("correct horse");
    let digest = password::digest(&"correct horse".into());
    let mut call = data.call("bob", Some(digest.expose_secret())).await;
    let checked = call.check_password(digest.expose_secret().to_owned()).await;
    assert_eq!(checked.unwrap().ok(), Some(true));
    set("battery staple");
    let before = data.dump();
    let outcome = call.reset(Proof::Password, Target::Caller).await.unwrap();
    assert_eq!(format!("{outcome:?}"), "Err(Refusal::ProofRefused)");
    assert_eq!(before.changes(&data.dump()), "");
}

/// What a plugin makes of a code by e-mail: whether it was right, and the reset.
async fn by_email(data: &Data, caller: &str, carried: Option<&str>, code: &str) -> String {
    let mut call = data.call(caller, carried).await;
    let checked = match call.check_email_code(code.to_owned()).await.unwrap() {
        Ok(right) => right.to_string(),
        Err(refusal) => format!("{refusal:?}"),
    };
    let outcome = Lie {
        attempt: Attempt::Omitted,
        proof: Proof::EmailCode,
        target: Target::Caller,
        ..Lie::default()
    };
    format!("{checked}, {}", outcome.tell(&mut call).await)
}

#[tokio::test]
async fn a_code_by_e_mail_proves_the_caller_who_sent_it() {
    const REFUSED: &str = "Refusal::ProofRefused";
    let data = Data::new().await;
    let hash = code_hash("012345");
    data.edit("UPDATE user SET email_two_factor = 1 WHERE id IN ('alice', 'bob')");
    for (workspace, user) in [(ACME, "bob"), (ACME, "admin"), (GLOBEX, "alice")] {
        data.send_code(workspace, user, &hash, 0, 1);
    }
    let before = data.dump();
    for (name, caller, carried, code, checked) in [
        ("a wrong one", "bob", Some("543210"), "543210", "false"),
        ("the request carried none", "bob", None, "012345", "false"),
        (
            "it carried another",
            "bob",
            Some("543210"),
            "012345",
            "false",
        ),
        (
            "the plugin has another",
            "bob",
            Some("012345"),
            "543210",
            "false",
        ),
        (
            "the caller was sent none",
            "alice",
            Some("012345"),
            "012345",
            "false",
        ),
        (
            "the caller did not opt in",
            "admin",
            Some("012345"),
            "012345",
            "AttemptRefusal::Unavailable",
        ),
    ] {
        let outcome = by_email(&data, caller, carried, code).await;
        assert_eq!(outcome, format!("{checked}, {REFUSED}"), "{name}");
    }
    let mut call = data.call("bob", Some("012345")).await;
    let unchecked = call.reset(Proof::EmailCode, Target::Caller).await.unwrap();
    assert_eq!(format!("{unchecked:?}"), format!("Err({REFUSED})"));
    let row = |sign, failures| {
        format!(
            "{sign} email_code: workspace=acme user=bob hash=sealed({hash}) expires=1234567950000 \
             failures={failures} issued=1234567890000 mails=1\n"
        )
    };
    assert_eq!(
        before.changes(&data.dump()),
        format!(
            "{}{}+ failed_attempt: workspace=acme user=alice count=1 locked_until=null told=0\n\
             + failed_attempt: workspace=acme user=bob count=4 locked_until=null told=0\n",
            row('-', 0),
            row('+', 4)
        )
    );
    let outcome = by_email(&data, "bob", Some("012345"), "012345").await;
    assert_eq!(outcome, "true, Receipt::NothingEnrolled");
}

/// A wrong check after the right one, or a second call, gets nothing from it.
#[tokio::test]
async fn a_right_code_by_e_mail_counts_for_the_last_check_of_its_own_call() {
    let data = Data::new().await;
    data.edit("UPDATE user SET email_two_factor = 1 WHERE id = 'bob'");
    data.send_code(ACME, "bob", &code_hash("012345"), 0, 1);
    let mut call = data.call("bob", Some("012345")).await;
    for (code, expected) in [("012345", true), ("543210", false)] {
        let checked = call.check_email_code(code.to_owned()).await.unwrap();
        assert_eq!(checked.ok(), Some(expected));
    }
    let mut other = data.call("bob", Some("012345")).await;
    for call in [&mut call, &mut other] {
        let refused = call.reset(Proof::EmailCode, Target::Caller).await.unwrap();
        assert_eq!(format!("{refused:?}"), "Err(Refusal::ProofRefused)");
    }
}

/// The audit trail tells that it was a lock.
#[tokio::test]
async fn a_locked_caller_is_sent_no_code_and_seen_to_be_locked() {
    let data = Data::new().await;
    data.edit(
        "UPDATE user SET email_two_factor = 1 WHERE id = 'bob';
         INSERT INTO failed_attempt (workspace, user, count, locked_until) VALUES ('acme', 'bob', 5, 1234567890001)",
    );
    let before = data.dump();
    let mut asks = data.call("bob", None).await;
    let refused = asks.send_email_code().await.unwrap().unwrap_err();
    assert_eq!(format!("{refused:?}"), "AttemptRefusal::Locked");
    let mut guesses = data.call("bob", Some("012345")).await;
    let checked = guesses.check_email_code("012345".to_owned()).await;
    let refused = checked.unwrap().unwrap_err();
    assert_eq!(format!("{refused:?}"), "AttemptRefusal::Locked");
    for call in [asks, guesses] {
        let until = Timestamp::from_millis(1_234_567_890_001);
        let lock = chat_domain::attempts::Lock::Until(until);
        let seen = Some(plugin_sandbox::capabilities::ObservedAttempt::Locked(lock));
        assert_eq!(call.observed.attempt, seen);
    }
    assert_eq!(before.changes(&data.dump()), "");
}

/// Whom a plugin looks up after a reset is not whom it has reset.
#[tokio::test]
async fn a_look_up_after_a_reset_hides_no_target() {
    use plugin_sandbox::contract::chat::reset_totp::users::{Host as _, Selector};
    let data = Data::without_second_factors().await;
    let mut call = data.call("admin", None).await;
    let reset = call.reset(Proof::None, Target::Caller).await;
    reset.unwrap().unwrap();
    for other in ["alice", "nobody"] {
        call.find(Selector::Id(other.to_owned())).await.unwrap();
        assert_eq!(call.observed.target.as_deref(), Some("admin"));
    }
}
