//! What every store promises, whichever keeps the data: the tests know a store
//! as the trait and as `Data`'s words only.

use super::{new_data, new_data_with};
use chat_domain::account::{Caller, Selector, TotpFactor};
use chat_domain::attempts::Attempt;
use chat_domain::attempts::{FIRST_LOCK, FREE_FAILURES, LONGEST_LOCK};
use chat_domain::audit::{Action, AuditRecord, Decision};
use chat_domain::clock_fault::Horizon;
use chat_domain::mail::{self, Event, Language};
use chat_domain::operator::NewWorkspace;
use chat_domain::proof::Proof;
use chat_domain::reset::{Receipt, Refusal, Reset, Target};
use chat_domain::settings::{SETTINGS, Settings};
use chat_domain::time::Timestamp;
use chat_domain::totp::code_hash;
use chat_store::Store;
use chat_testing::ask::{Ask as _, source};
use chat_testing::{
    ACME, BACKUP_CODES, Data, Dump, GLOBEX, NOTICE_EXPIRES, after, caller_of, code_of, mail_row,
    now, sealed, sealed_key, step, token_hash,
};
use secrecy::ExposeSecret;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

type Outcome = Result<Receipt, Refusal>;

#[tokio::test]
async fn a_workspace_is_created_once() {
    let data = new_data().await;
    let before = data.dump();
    let again = NewWorkspace {
        id: ACME.to_owned(),
        settings: Settings {
            two_factor_enabled: false,
            ..Settings::default()
        },
        roles: Vec::new(),
        users: Vec::new(),
    };
    assert!(!data.store.create_workspace(again).await.unwrap());
    assert_eq!(before.changes(&data.dump()), "");
}

#[tokio::test]
async fn settings_are_kept_as_given() {
    let mut settings = Settings::default();
    for setting in &SETTINGS {
        let value = match setting.value(&settings).expose_secret() {
            "true" => "false",
            "false" => "true",
            "" if setting.name == "mail-from" => "chat@acme.example",
            "" if setting.name == "totp-issuer" => "Acme",
            "" if setting.name == "mail-server" => "smtps://chat:secret@mail.acme.example",
            "" if setting.name == "rocket-chat" => "https://bot:secret@chat.acme.example",
            "en" => "de",
            "" => "https://acme.example",
            _ => "7",
        };
        if let Err(error) = setting.set(&mut settings, value) {
            assert_eq!(
                error.to_string(),
                "email-code-seconds: it is a whole number, 60 to 86400"
            );
            setting.set(&mut settings, "77").unwrap();
        }
    }
    let data = new_data_with(settings.clone()).await;
    let kept = data.store.settings(ACME).await.unwrap().unwrap();
    let default = data.store.settings(GLOBEX).await.unwrap().unwrap();
    for setting in &SETTINGS {
        assert!(setting.is_changed(&kept), "{}", setting.name);
        let value = |settings| setting.value(settings).expose_secret().to_owned();
        assert_eq!(value(&kept), value(&settings));
        assert!(!setting.is_changed(&default), "{}", setting.name);
    }
    assert!(data.store.settings("Acme").await.unwrap().is_none());
}

/// A setting that another version wrote is not passed over in silence.
#[tokio::test]
async fn an_unknown_or_invalid_setting_is_the_stores_failure() {
    for (name, value, problem) in [
        ("totp-windows", "1", "there is no setting totp-windows"),
        (
            "failure-budget",
            "101",
            "failure-budget: it is a whole number, 5 to 100",
        ),
    ] {
        let data = new_data().await;
        data.edit(&format!(
            "INSERT INTO setting VALUES ('acme', '{name}', '{value}')"
        ));
        let error = data.store.settings(ACME).await.unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
}

/// OWASP ASVS 5.0 V8.4.1 (tenants) and V7.4.2 (deactivated accounts).
#[tokio::test]
async fn a_token_authenticates_its_own_active_account_until_it_ends() {
    let cases = [
        (ACME, "alice", "alice-token", true),
        (ACME, "alice", "alice-phone", true),
        (ACME, "alice", "alice-expired", false),
        (ACME, "alice", "wrong-token", false),
        (ACME, "alice", "", false),
        (ACME, "alice", "admin-token", false),
        (ACME, "admin", "alice-token", false),
        (ACME, "ALICE", "alice-token", false),
        (ACME, "Alice.acme", "alice-token", false),
        (ACME, "nobody", "alice-token", false),
        (ACME, "dora", "dora-token", false),
        (ACME, "gina", "gina-token", false),
        (GLOBEX, "alice", "alice-phone", false),
        (GLOBEX, "dora", "dora-token", true),
        (GLOBEX, "gina", "gina-token", true),
        ("initech", "alice", "alice-token", false),
    ];
    let data = new_data().await;
    for (workspace, user, token, expected) in cases {
        let hash = token_hash(token);
        let caller = data.store.authenticate(workspace, user, &hash, now());
        let expected = expected.then(|| Caller {
            id: user.to_owned(),
            token_hash: hash.clone(),
            bypass_token: false,
        });
        let caller = caller.await.unwrap();
        assert_eq!(caller, expected, "{workspace} {user} {token}");
    }
    let phone = token_hash("alice-phone");
    let later = data.store.authenticate(ACME, "alice", &phone, after(1));
    assert_eq!(later.await.unwrap(), None);
}

#[tokio::test]
async fn a_token_itself_is_not_what_the_store_compares() {
    let data = new_data().await;
    let raw = data
        .store
        .authenticate(ACME, "alice", "alice-token", now())
        .await;
    assert_eq!(raw.unwrap(), None);
}

#[tokio::test]
async fn a_bypass_token_says_that_it_is_one() {
    let data = new_data().await;
    data.edit("UPDATE login_token SET bypass_two_factor = TRUE WHERE user = 'bob'");
    let hash = token_hash("bob-token");
    let caller = data.store.authenticate(ACME, "bob", &hash, now()).await;
    assert!(caller.unwrap().unwrap().bypass_token);
}

#[tokio::test]
async fn an_account_is_found_by_its_exact_id_and_by_its_username_in_any_case() {
    let id = |id: &str| Selector::Id(id.to_owned());
    let username = |name: &str| Selector::Username(name.to_owned());
    let cases = [
        (ACME, id("alice"), Some("Alice.acme")),
        (ACME, id("dora"), Some("Dora.acme")),
        (ACME, id("Alice"), None),
        (ACME, id(" alice"), None),
        (ACME, id(""), None),
        (ACME, id("al%"), None),
        (ACME, id("Alice.acme"), None),
        (ACME, username("Alice.acme"), Some("Alice.acme")),
        (ACME, username("aLICE.ACME"), Some("Alice.acme")),
        (ACME, username("alice"), None),
        (ACME, username("Alice%"), None),
        (ACME, username("Gina.globex"), None),
        (ACME, id("gina"), None),
        (GLOBEX, id("alice"), Some("Alice.globex")),
        (GLOBEX, id("gina"), Some("Gina.globex")),
        (GLOBEX, username("gina.GLOBEX"), Some("Gina.globex")),
        ("initech", id("alice"), None),
    ];
    let data = new_data().await;
    for (workspace, selector, expected) in cases {
        let name = format!("{workspace} {selector:?}");
        let found = data.store.find_user(workspace, selector).await.unwrap();
        let found = found.map(|user| user.username);
        assert_eq!(found.as_deref(), expected, "{name}");
    }
}

#[tokio::test]
async fn a_username_is_unique_without_regard_to_case_beyond_ascii() {
    let data = new_data().await;
    data.edit("UPDATE user SET username = 'Ärger', username_key = 'ärger' WHERE id = 'bob'");
    let selector = Selector::Username("ÄRGER".to_owned());
    let found = data.store.find_user(ACME, selector).await.unwrap().unwrap();
    assert_eq!(
        (found.id.as_str(), found.username.as_str()),
        ("bob", "Ärger")
    );
}

#[tokio::test]
async fn a_found_account_says_whether_it_is_federated() {
    let data = new_data().await;
    let selector = Selector::Id("fred".to_owned());
    let fred = data.store.find_user(ACME, selector).await.unwrap().unwrap();
    assert_eq!(
        (fred.id, fred.username),
        ("fred".to_owned(), "Fred.acme".to_owned())
    );
    assert!(fred.federated);
    let selector = Selector::Id("bob".to_owned());
    let bob = data.store.find_user(ACME, selector).await.unwrap();
    assert!(!bob.unwrap().federated);
}

#[tokio::test]
async fn a_permission_comes_from_a_role_of_the_same_workspace() {
    const RESET: &str = "edit-other-user-totp";
    let cases = [
        (ACME, "admin", RESET, true),
        (ACME, "moderator", "view-full-other-user-info", true),
        (ACME, "moderator", RESET, false),
        (ACME, "alice", RESET, false),
        (ACME, "gina", RESET, false),
        (ACME, "nobody", RESET, false),
        (ACME, "admin", "", false),
        (ACME, "admin", "Edit-Other-User-TOTP", false),
        (ACME, "admin", "edit-other-user-totp ", false),
        (ACME, "admin", "%", false),
        (GLOBEX, "admin", RESET, true),
        (GLOBEX, "alice", RESET, true),
        (GLOBEX, "admin", "view-full-other-user-info", false),
        (GLOBEX, "gina", RESET, false),
        ("initech", "admin", RESET, false),
    ];
    let data = new_data().await;
    for (workspace, user, permission, expected) in cases {
        let holds = data.store.has_permission(workspace, user, permission);
        let holds = holds.await.unwrap();
        assert_eq!(holds, expected, "{workspace} {user} {permission}");
    }
}

#[tokio::test]
async fn totp_counts_as_there_while_the_workspace_allows_it() {
    let data = new_data().await;
    assert!(data.store.methods(ACME, "alice").await.unwrap().totp);
    assert!(!data.store.methods(ACME, "bob").await.unwrap().totp);
    assert!(data.store.methods(GLOBEX, "bob").await.unwrap().totp);
    data.edit("INSERT INTO setting VALUES ('acme', 'totp-enabled', 'false')");
    assert!(!data.store.methods(ACME, "alice").await.unwrap().totp);
    assert!(data.store.methods(GLOBEX, "gina").await.unwrap().totp);
    let attempt = begin(&data, "alice", now()).await;
    assert!(matches!(attempt, Attempt::Unavailable));
}

#[tokio::test]
async fn an_attempt_gives_out_the_callers_own_factor() {
    let data = new_data().await;
    for workspace in [ACME, GLOBEX] {
        let attempt = data.store.begin_totp_attempt(workspace, "alice", now());
        let Attempt::Begun(factor) = attempt.await.unwrap() else {
            unreachable!("alice has TOTP")
        };
        let code = code_of(workspace, "alice", step());
        assert!(factor.key.has_code(step(), &code), "{workspace}");
        assert_eq!(factor.last_step, None, "{workspace}");
        let mut expected = BACKUP_CODES.map(code_hash);
        expected.sort();
        assert_eq!(factor.backup_code_hashes, expected, "{workspace}");
    }
}

#[tokio::test]
async fn an_attempt_says_which_step_was_spent() {
    let data = new_data().await;
    assert_eq!(reset(&data, totp(step())).await, Ok(Receipt::Removed));
    for (workspace, spent) in [(ACME, Some(step())), (GLOBEX, None)] {
        let attempt = data.store.begin_totp_attempt(workspace, "admin", now());
        let Attempt::Begun(factor) = attempt.await.unwrap() else {
            unreachable!("the administrator has TOTP")
        };
        assert_eq!(factor.last_step, spent, "{workspace}");
    }
}

#[tokio::test]
async fn an_attempt_of_someone_without_a_factor_is_not_counted() {
    let data = new_data().await;
    let before = data.dump();
    for user in ["bob", "nobody", "gina"] {
        let attempt = begin(&data, user, now()).await;
        assert!(matches!(attempt, Attempt::Unavailable), "{user}");
    }
    assert_eq!(before.changes(&data.dump()), "");
}

/// NIST SP 800-63B section 5.2.2 and OWASP ASVS 5.0 V6.3.1: far below 100
/// failures in a row.
#[tokio::test]
async fn each_lock_is_twice_as_long_as_the_last_up_to_an_hour() {
    let data = new_data().await;
    let mut now = now();
    for _ in 0..FREE_FAILURES {
        assert!(begun(&begin(&data, "admin", now).await));
    }
    let mut lock = FIRST_LOCK;
    for failure in FREE_FAILURES..20 {
        let before = data.dump();
        let last_moment = now + (lock - Duration::from_millis(1));
        for moment in [now, last_moment] {
            let attempt = begin(&data, "admin", moment).await;
            assert!(matches!(attempt, Attempt::Locked { .. }), "{failure}");
        }
        assert_eq!(before.changes(&data.dump()), "", "a locked attempt counts");
        now = now + lock;
        assert!(begun(&begin(&data, "admin", now).await), "{failure}");
        lock = (lock * 2).min(LONGEST_LOCK);
    }
}

#[tokio::test]
async fn a_lock_is_one_accounts_in_one_workspace() {
    let data = new_data().await;
    for _ in 0..FREE_FAILURES {
        begin(&data, "admin", now()).await;
    }
    assert!(matches!(
        begin(&data, "admin", now()).await,
        Attempt::Locked { .. }
    ));
    assert!(begun(&begin(&data, "alice", now()).await));
    let elsewhere = data.store.begin_totp_attempt(GLOBEX, "admin", now());
    assert!(begun(&elsewhere.await.unwrap()));
}

#[tokio::test]
async fn a_lock_outlives_the_process() {
    let data = new_data().await;
    for _ in 0..FREE_FAILURES {
        begin(&data, "admin", now()).await;
    }
    let restarted = data.another_handle().await;
    let attempt = restarted.begin_totp_attempt(ACME, "admin", now()).await;
    assert!(matches!(attempt.unwrap(), Attempt::Locked { .. }));
}

/// Keycloak's CVE-2024-4629: parallel guesses read the counter before any wrote.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn parallel_attempts_are_all_counted() {
    let data = new_data().await;
    let other = data.another_handle().await;
    let mut guesses = JoinSet::new();
    for guess in 0..64 {
        let store = [&data.store, &other][guess % 2].clone();
        guesses.spawn(async move { store.begin_totp_attempt(ACME, "admin", now()).await });
    }
    let attempts = guesses.join_all().await;
    let begun = attempts
        .iter()
        .filter(|a| begun(a.as_ref().unwrap()))
        .count();
    assert_eq!(begun, usize::try_from(FREE_FAILURES).unwrap());
}

#[tokio::test]
async fn a_success_clears_the_failures() {
    let data = new_data().await;
    for _ in 1..FREE_FAILURES {
        begin(&data, "admin", now()).await;
    }
    assert_eq!(reset(&data, totp(step())).await, Ok(Receipt::Removed));
    for _ in 0..FREE_FAILURES {
        assert!(begun(&begin(&data, "admin", now()).await));
    }
    assert!(matches!(
        begin(&data, "admin", now()).await,
        Attempt::Locked { .. }
    ));
}

/// The whole of the one transaction (RFC 6238 section 5.2; OWASP ASVS 5.0
/// V6.5.1, V7.4.3, V16.3.3).
#[tokio::test]
async fn a_reset_changes_these_rows_and_no_others() {
    let data = new_data().await;
    begin_everywhere(&data).await;
    let before = data.dump();
    assert_eq!(reset(&data, totp(step())).await, Ok(Receipt::Removed));
    let mut expected = vec![
        "- failed_attempt: workspace=acme user=admin count=1 locked_until=null told=0".to_owned(),
        "- failed_attempt: workspace=acme user=alice count=1 locked_until=null told=0".to_owned(),
        audit("admin", "alice", "reset", "2"),
    ];
    expected.extend(spent_step("admin"));
    expected.extend(removed("alice"));
    expected.extend(
        [
            ("alice-token", "null"),
            ("alice-phone", "1234567891000"),
            ("alice-expired", "1234567890000"),
        ]
        .map(|(token, expires)| revoked("alice", token, expires)),
    );
    // Alice's third address is not verified.
    expected.extend(
        [(1, "alice@example.com"), (2, "alice@example.org")]
            .map(|(id, address)| notice(id, address)),
    );
    assert_changes(&before, &data.dump(), expected);
}

/// OWASP ASVS 5.0 V8.4.1: an id means an account of one workspace.
#[tokio::test]
async fn a_reset_stays_in_its_workspace_by_step_and_by_backup_code() {
    let [backup_code, _] = BACKUP_CODES;
    for workspace in [ACME, GLOBEX] {
        let proofs = [
            Proof::TotpStep {
                step: step(),
                code: code_of(workspace, "admin", step()).into(),
            },
            Proof::BackupCode(backup_code.into()),
        ];
        for proof in proofs {
            let data = new_data().await;
            begin_everywhere(&data).await;
            let before = data.dump();
            let order = Reset {
                workspace: workspace.to_owned(),
                proof,
                ..totp(step())
            };
            assert_eq!(reset(&data, order).await, Ok(Receipt::Removed));
            let changes = before.changes(&data.dump());
            let strays = changes
                .lines()
                .filter(|line| !line.contains(&format!(" workspace={workspace} ")));
            assert_eq!(strays.collect::<Vec<_>>(), [""; 0]);
        }
    }
}

/// An attempt of the administrator's and of alice's in both workspaces.
async fn begin_everywhere(data: &Data) {
    for workspace in [ACME, GLOBEX] {
        for user in ["admin", "alice"] {
            let attempt = data.store.begin_totp_attempt(workspace, user, now());
            assert!(begun(&attempt.await.unwrap()));
        }
    }
}

#[tokio::test]
async fn nothing_enrolled_spends_the_code_and_is_recorded() {
    let data = new_data().await;
    let before = data.dump();
    let outcome = reset(
        &data,
        Reset {
            target: user("bob"),
            ..totp(step())
        },
    )
    .await;
    assert_eq!(outcome, Ok(Receipt::NothingEnrolled));
    let mut expected = vec![audit("admin", "bob", "nothing-enrolled", "null")];
    expected.extend(spent_step("admin"));
    assert_changes(&before, &data.dump(), expected);
    let again = reset(&data, totp(step())).await;
    assert_eq!(again, Err(Refusal::Replayed));
}

#[tokio::test]
async fn ones_own_factor_needs_no_permission_and_is_told() {
    let data = new_data().await;
    let before = data.dump();
    let outcome = reset(&data, own("moderator")).await;
    assert_eq!(outcome, Ok(Receipt::Removed));
    let letter = mail::notice(Language::English, &Event::OwnReset, now(), Some(&source()));
    let mut expected = vec![
        audit("moderator", "moderator", "reset", "1"),
        mail_row(
            1,
            "moderator",
            "moderator@acme.example",
            &letter,
            NOTICE_EXPIRES,
        ),
        revoked("moderator", "moderator-token", "null"),
    ];
    expected.extend(removed("moderator"));
    assert_changes(&before, &data.dump(), expected);
}

/// RFC 6238 section 5.2: "The verifier MUST NOT accept the second attempt of
/// the OTP after the successful validation".
#[tokio::test]
async fn a_step_is_accepted_once_and_no_older_one_after_it() {
    let cases = [
        ("the same", step(), step(), Err(Refusal::Replayed)),
        ("an older one", step(), step() - 1, Err(Refusal::Replayed)),
        (
            "a newer one",
            step() - 1,
            step(),
            Ok(Receipt::NothingEnrolled),
        ),
    ];
    for (name, first, second, expected) in cases {
        let data = new_data().await;
        assert_eq!(reset(&data, totp(first)).await, Ok(Receipt::Removed));
        let before = data.dump();
        assert_eq!(reset(&data, totp(second)).await, expected, "{name}");
        if expected.is_err() {
            assert_eq!(before.changes(&data.dump()), "", "{name}");
        }
    }
}

#[tokio::test]
async fn a_clock_set_back_allows_no_reuse() {
    let data = new_data().await;
    assert_eq!(reset(&data, totp(step())).await, Ok(Receipt::Removed));
    let set_back = Timestamp::from_millis(now().millis() - 30_000);
    for step in [step(), step() - 1, step() - 2] {
        let again = Reset {
            now: set_back,
            ..totp(step)
        };
        assert_eq!(reset(&data, again).await, Err(Refusal::Replayed));
    }
}

/// RFC 6238 section 5.2: one time step for network delay, by default.
#[tokio::test]
async fn a_step_is_accepted_within_the_window() {
    for window in [0_u32, 1, 2, 10] {
        for away in -11_i64..=11 {
            let data = new_data_with(Settings {
                totp_window: window,
                ..Settings::default()
            });
            if !matches!(away.unsigned_abs().abs_diff(window.into()), 0 | 1) {
                continue;
            }
            let data = data.await;
            let outcome = reset(&data, totp(step().wrapping_add_signed(away))).await;
            let expected = if away.unsigned_abs() <= window.into() {
                Ok(Receipt::Removed)
            } else {
                Err(Refusal::WrongProof)
            };
            assert_eq!(outcome, expected, "window {window}, {away} steps away");
        }
    }
}

#[tokio::test]
async fn a_step_lasts_from_its_first_to_its_last_millisecond() {
    let settings = Settings {
        totp_window: 0,
        ..Settings::default()
    };
    for (millis, expected) in [
        (-1, Err(Refusal::WrongProof)),
        (0, Ok(Receipt::Removed)),
        (29_999, Ok(Receipt::Removed)),
        (30_000, Err(Refusal::WrongProof)),
    ] {
        let data = new_data_with(settings.clone()).await;
        let now = Timestamp::from_millis(now().millis() + millis);
        let outcome = reset(
            &data,
            Reset {
                now,
                ..totp(step())
            },
        )
        .await;
        assert_eq!(outcome, expected, "{millis} ms");
    }
}

#[tokio::test]
async fn a_wrong_code_proves_nothing() {
    let right = code_of(ACME, "admin", step());
    let codes = [
        String::new(),
        format!("{right} "),
        format!("0{right}"),
        right.chars().take(5).collect(),
        right.replace(right.chars().next().unwrap(), "x"),
        code_of(ACME, "alice", step()),
        code_of(GLOBEX, "admin", step()),
        "9".repeat(100_000),
    ];
    let data = new_data().await;
    let before = data.dump();
    for code in codes {
        let proof = Proof::TotpStep {
            step: step(),
            code: code.into(),
        };
        let outcome = reset(
            &data,
            Reset {
                proof,
                ..totp(step())
            },
        )
        .await;
        assert_eq!(outcome, Err(Refusal::WrongProof));
    }
    assert_eq!(before.changes(&data.dump()), "");
}

/// OWASP ASVS 5.0 V15.4.2 and Gitea's CVE-2026-20779: a race between reading,
/// checking and writing.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_64_parallel_resets_with_one_code_in_two_processes_one_succeeds() {
    let data = new_data().await;
    let two = vec![data.store.clone(), data.another_handle().await];
    race(&two, || totp(step()), Refusal::Replayed).await;
}

/// OWASP ASVS 5.0 V6.5.1: look-up secrets are used once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_64_parallel_resets_with_one_backup_code_one_succeeds() {
    let data = new_data().await;
    let two = vec![data.store.clone(), data.another_handle().await];
    let [code, _] = BACKUP_CODES;
    race(&two, || backup(code), Refusal::Replayed).await;
}

async fn race(stores: &[Arc<dyn Store>], make: impl Fn() -> Reset, loss: Refusal) {
    let mut racers = JoinSet::new();
    for store in stores.iter().cycle().take(64) {
        let (store, reset) = (store.clone(), make());
        racers.spawn(async move { store.reset(reset).await.unwrap() });
    }
    let outcomes = racers.join_all().await;
    let won = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    let lost = outcomes.iter().filter(|outcome| **outcome == Err(loss));
    assert_eq!((won, lost.count()), (1, 63));
}

#[tokio::test]
async fn a_backup_code_is_accepted_once() {
    let data = new_data().await;
    let [first, second] = BACKUP_CODES;
    assert_eq!(reset(&data, backup(first)).await, Ok(Receipt::Removed));
    let before = data.dump();
    assert_eq!(reset(&data, backup(first)).await, Err(Refusal::Replayed));
    for wrong in ["A1B2C3D4", "", "nonesuch", &format!("{second} ")] {
        assert_eq!(reset(&data, backup(wrong)).await, Err(Refusal::WrongProof));
    }
    assert_eq!(before.changes(&data.dump()), "");
    let next = reset(&data, backup(second)).await;
    assert_eq!(next, Ok(Receipt::NothingEnrolled));
}

#[tokio::test]
async fn a_hash_is_no_backup_code() {
    let data = new_data().await;
    let hash = code_hash("a1b2c3d4");
    assert_eq!(reset(&data, backup(&hash)).await, Err(Refusal::WrongProof));
}

/// Where the workspace has stopped to use TOTP, or the account has it since.
#[tokio::test]
async fn a_factor_that_may_not_be_used_any_more_proves_nothing() {
    for (edit, proof) in [
        (
            "INSERT INTO setting VALUES ('acme', 'totp-enabled', 'false')",
            step_of("admin", step()),
        ),
        (
            "INSERT INTO setting VALUES ('acme', 'totp-enabled', 'false')",
            Proof::BackupCode(BACKUP_CODES[0].into()),
        ),
        (
            "UPDATE user SET password_hash = 'hash' WHERE workspace = 'acme'",
            Proof::Password("hash".into()),
        ),
    ] {
        let data = new_data().await;
        data.edit(edit);
        let before = data.dump();
        let order = Reset {
            proof,
            ..totp(step())
        };
        let name = format!("{:?}", order.proof);
        let refused = reset(&data, order).await;
        assert_eq!(refused, Err(Refusal::WrongProof), "{name}");
        assert_eq!(before.changes(&data.dump()), "", "{name}");
    }
}

/// Each excuse is refused by default and has one switch.
#[tokio::test]
async fn no_proof_is_accepted_where_the_settings_excuse_the_caller() {
    let default = Settings::default;
    let cases = [
        ("has TOTP", default(), "admin", false, false),
        ("has none", default(), "bob", false, false),
        (
            "two-factor is off",
            Settings {
                two_factor_enabled: false,
                ..default()
            },
            "admin",
            false,
            true,
        ),
        (
            "has TOTP, and missing is allowed",
            Settings {
                missing_factor_allowed: true,
                ..default()
            },
            "admin",
            false,
            false,
        ),
        (
            "has none, and missing is allowed",
            Settings {
                missing_factor_allowed: true,
                ..default()
            },
            "bob",
            false,
            true,
        ),
        (
            "has a password, and missing is allowed",
            Settings {
                missing_factor_allowed: true,
                ..default()
            },
            "moderator",
            false,
            false,
        ),
        (
            "has codes by e-mail, and missing is allowed",
            Settings {
                missing_factor_allowed: true,
                ..default()
            },
            "alice",
            false,
            false,
        ),
        ("bypass token", default(), "admin", true, false),
        (
            "bypass token, and bypassing is allowed",
            Settings {
                bypass_token_allowed: true,
                ..default()
            },
            "admin",
            true,
            true,
        ),
        (
            "ordinary token, and bypassing is allowed",
            Settings {
                bypass_token_allowed: true,
                ..default()
            },
            "admin",
            false,
            false,
        ),
    ];
    for (name, settings, id, bypass_token, excused) in cases {
        let data = new_data_with(settings).await;
        if bypass_token {
            data.edit("UPDATE login_token SET bypass_two_factor = TRUE WHERE workspace = 'acme'");
        }
        data.edit(
            "DELETE FROM totp WHERE user IN ('alice', 'moderator');
             UPDATE user SET email_two_factor = TRUE WHERE id = 'alice';
             UPDATE user SET password_hash = 'hash' WHERE id = 'moderator'",
        );
        let outcome = reset(
            &data,
            Reset {
                // What counts is the token as it is kept.
                caller: Caller {
                    bypass_token: true,
                    ..caller_of(id)
                },
                proof: Proof::None,
                target: Target::Caller,
                ..totp(step())
            },
        )
        .await;
        let expected = if excused {
            Ok(())
        } else {
            Err(Refusal::WrongProof)
        };
        assert_eq!(outcome.map(|_| ()), expected, "{name}");
    }
}

/// OWASP ASVS 5.0 V8.3.1 and V8.3.2: authority is checked where the effect is,
/// and a change of it counts at once.
#[tokio::test]
async fn authority_over_others_that_was_taken_away_is_missed_at_the_commit() {
    for (edit, refusal) in [
        (
            "DELETE FROM user_role WHERE workspace = 'acme' AND user = 'admin'",
            Refusal::NotPermitted,
        ),
        (
            "DELETE FROM role_permission WHERE workspace = 'acme' AND role = 'admin'",
            Refusal::NotPermitted,
        ),
        (
            "INSERT INTO setting VALUES ('acme', 'two-factor-enabled', 'false')",
            Refusal::NotEnabled,
        ),
        (
            "UPDATE user SET federated = TRUE WHERE workspace = 'acme' AND id = 'alice'",
            Refusal::Federated,
        ),
    ] {
        let data = new_data().await;
        data.edit(edit);
        refused_for(&data, totp(step()), refusal, edit).await;
        assert!(reset(&data, own("admin")).await.is_ok(), "{edit}");
    }
}

/// OWASP ASVS 5.0 V7.4.1 and V7.4.2: a session that ended can do nothing more.
#[tokio::test]
async fn a_caller_whose_login_has_ended_can_commit_nothing() {
    for edit in [
        "DELETE FROM login_token WHERE workspace = 'acme' AND user = 'admin'",
        "UPDATE login_token SET expires = 1234567890000
         WHERE workspace = 'acme' AND user = 'admin'",
        "UPDATE user SET deactivated = TRUE WHERE workspace = 'acme' AND id = 'admin'",
    ] {
        let data = new_data().await;
        data.edit(edit);
        not_authenticated(&data, totp(step()), edit).await;
        not_authenticated(&data, own("admin"), edit).await;
    }
}

#[tokio::test]
async fn another_callers_token_proves_nobody() {
    let data = new_data().await;
    let caller = Caller {
        token_hash: token_hash("moderator-token"),
        ..caller_of("admin")
    };
    let order = Reset {
        caller,
        ..totp(step())
    };
    not_authenticated(&data, order, "moderator-token").await;
}

async fn not_authenticated(data: &Data, order: Reset, name: &str) {
    refused_for(data, order, Refusal::NotAuthenticated, name).await;
}

async fn refused_for(data: &Data, order: Reset, refusal: Refusal, name: &str) {
    let before = data.dump();
    let outcome = reset(data, order).await;
    assert_eq!(outcome, Err(refusal), "{name}");
    assert_eq!(before.changes(&data.dump()), "", "{name}");
}

/// A caller's own id as a target is like any other's.
#[tokio::test]
async fn naming_oneself_needs_the_permission_too() {
    let data = new_data().await;
    let named = Reset {
        target: user("moderator"),
        ..own("moderator")
    };
    assert_eq!(reset(&data, named).await, Err(Refusal::NotPermitted));
}

#[tokio::test]
async fn a_target_elsewhere_is_as_unknown_as_none() {
    let data = new_data().await;
    let before = data.dump();
    for id in ["gina", "nobody", "", "Alice.acme", "ALICE", "al%"] {
        let outcome = reset(
            &data,
            Reset {
                target: user(id),
                ..totp(step())
            },
        )
        .await;
        assert_eq!(outcome, Err(Refusal::UnknownTarget), "{id}");
    }
    assert_eq!(before.changes(&data.dump()), "");
}

#[tokio::test]
async fn every_account_of_this_server_can_be_reset() {
    for (id, expected) in [
        ("admin", Receipt::Removed),
        ("moderator", Receipt::Removed),
        ("dora", Receipt::Removed),
        ("bob", Receipt::NothingEnrolled),
    ] {
        let data = new_data().await;
        let outcome = reset(
            &data,
            Reset {
                target: user(id),
                ..totp(step())
            },
        )
        .await;
        assert_eq!(outcome, Ok(expected), "{id}");
    }
}

#[tokio::test]
async fn tokens_of_the_target_end_with_the_factor_on_every_handle() {
    let data = new_data().await;
    let other = data.another_handle().await;
    let hash = token_hash("alice-token");
    let alice = other.authenticate(ACME, "alice", &hash, now()).await;
    assert!(alice.unwrap().is_some());
    assert_eq!(reset(&data, totp(step())).await, Ok(Receipt::Removed));
    let alice = other.authenticate(ACME, "alice", &hash, now()).await;
    assert!(alice.unwrap().is_none());
    let hash = token_hash("admin-token");
    let admin = other.authenticate(ACME, "admin", &hash, now()).await;
    assert!(admin.unwrap().is_some());
}

pub(crate) fn refusal() -> AuditRecord {
    AuditRecord {
        at: now(),
        workspace: ACME.to_owned(),
        request_id: "request-1".to_owned(),
        action: Action::ResetTotp,
        caller: "admin".to_owned(),
        target: None,
        decision: Decision::Refused,
        reason: Some("totp-invalid".to_owned()),
        source: Some(source()),
        proof: None,
        told: None,
        calls: 1,
    }
}

#[tokio::test]
async fn a_record_is_kept_as_given() {
    let data = new_data().await;
    let before = data.dump();
    data.store.record(refusal()).await.unwrap();
    assert_eq!(
        before.changes(&data.dump()),
        "+ audit: id=1 workspace=acme at=1234567890000 request_id=request-1 caller=admin \
         target=null decision=refused reason=totp-invalid action=reset-totp address=192.0.2.1 \
         agent=test proof=null told=null calls=1\n"
    );
}

/// No audit, no reset (OWASP ASVS 5.0 V16.3.3).
#[tokio::test]
async fn a_reset_that_cannot_be_recorded_does_not_happen() {
    let data = new_data().await;
    let told = data.refuse_records("disk full");
    let before = data.dump();
    let error = data.store.reset(totp(step())).await.unwrap_err();
    assert!(error.to_string().starts_with(&told), "{error}");
    assert_eq!(before.changes(&data.dump()), "");
}

#[tokio::test]
async fn what_a_clock_that_was_ahead_has_left_is_counted() {
    let data = new_data().await;
    let horizon = Horizon::at(now());
    assert_eq!(data.store.clock_faults(horizon).await.unwrap(), 0);
    let at = |moment: Timestamp, more: i64| moment.millis() + more;
    for more in [0, 1] {
        data.edit(&format!(
            "DELETE FROM failed_attempt; DELETE FROM email_code; DELETE FROM outbox;
             DELETE FROM pending_totp;
             UPDATE totp SET last_step = {} WHERE workspace = 'acme' AND user = 'alice';
             INSERT INTO pending_totp VALUES ('acme', 'alice', 'AA', {});
             INSERT INTO failed_attempt (workspace, user, count, locked_until) VALUES ('acme', 'alice', 5, {});
             INSERT INTO email_code VALUES ('acme', 'alice', 'h', 9000000000000000, 0, {}, 1);
             INSERT INTO outbox (workspace, message_id, recipient, subject, body, queued, expires,
                                 holds_code, next_try)
             VALUES ('acme', 'm', 'a', 's', 'b', 0, 1, FALSE, {}),
                    ('acme', 'dead', 'a', 's', 'b', 0, 1, FALSE, 9223372036854775807);",
            horizon.step.cast_signed() + more,
            at(horizon.pending_key, more),
            at(horizon.lock, more),
            at(horizon.code, more),
            at(horizon.mail, more)
        ));
        let faults = data.store.clock_faults(horizon).await.unwrap();
        assert_eq!(i64::from(faults), 5 * more);
    }
}

fn assert_changes(before: &Dump, after: &Dump, mut expected: Vec<String>) {
    let changes = before.changes(after);
    let mut changes: Vec<_> = changes.lines().collect();
    changes.sort_unstable();
    expected.sort_unstable();
    assert_eq!(changes, expected);
}

/// The record of a reset by a TOTP code, told by so many mails.
fn audit(caller: &str, target: &str, decision: &str, told: &str) -> String {
    format!(
        "+ audit: id=1 workspace=acme at=1234567890000 request_id=request-1 caller={caller} \
         target={target} decision={decision} reason=null action=reset-totp address=192.0.2.1 \
         agent=test proof=totp told={told} calls=1"
    )
}

fn spent_step(user: &str) -> [String; 2] {
    let key = sealed_key(&format!("acme/{user}"));
    let row = |last| format!("totp: workspace=acme user={user} key={key} last_step={last}");
    [
        format!("- {}", row("null")),
        format!("+ {}", row("41152263")),
    ]
}

/// The rows of a factor that is gone.
fn removed(user: &str) -> Vec<String> {
    let backup_codes = BACKUP_CODES.map(|code| {
        let hash = sealed(&code_hash(code));
        format!("- backup_code: workspace=acme user={user} hash={hash} spent=0")
    });
    let key = sealed_key(&format!("acme/{user}"));
    let totp = format!("- totp: workspace=acme user={user} key={key} last_step=null");
    backup_codes.into_iter().chain([totp]).collect()
}

fn revoked(user: &str, token: &str, expires: &str) -> String {
    let hash = token_hash(token);
    format!(
        "- login_token: workspace=acme user={user} hash={hash} expires={expires} \
         bypass_two_factor=0 name=null"
    )
}

fn notice(id: u32, address: &str) -> String {
    format!(
        "+ outbox: id={id} workspace=acme message_id=… recipient={address} \
         subject=Two Factor TOTP Reset Notification \
         body=Your two-factor authentication by TOTP was reset by Admin.acme at \
         2009-02-13T23:31:30Z.\\n\\n\
         You have been logged out everywhere. Log in again and enrol your\\n\
         authenticator app anew.\\n\\nFrom: 192.0.2.1\\n\\n\
         If this was neither you nor asked for by you, tell your workspace\\'s\\n\
         administrator at once.\\n queued=1234567890000 \
         expires=1234827090000 holds_code=0 tries=0 claimed=0 next_try=1234567890000 \
         last_problem=null user=alice doubtful=0"
    )
}

async fn reset(data: &Data, reset: Reset) -> Outcome {
    data.store.reset(reset).await.unwrap()
}

async fn begin(data: &Data, user: &str, now: Timestamp) -> Attempt<TotpFactor> {
    let attempt = data.store.begin_totp_attempt(ACME, user, now);
    attempt.await.unwrap()
}

fn begun(attempt: &Attempt<TotpFactor>) -> bool {
    matches!(attempt, Attempt::Begun(_))
}

/// The administrator's reset of alice, proved by the code of `step`.
pub(crate) fn totp(step: u64) -> Reset {
    Reset {
        workspace: ACME.to_owned(),
        caller: caller_of("admin"),
        proof: step_of("admin", step),
        target: user("alice"),
        now: now(),
        request_id: "request-1".to_owned(),
        source: source(),
    }
}

/// The reset of one's own factor.
fn own(user: &str) -> Reset {
    Reset {
        caller: caller_of(user),
        proof: step_of(user, step()),
        target: Target::Caller,
        ..totp(step())
    }
}

/// The administrator's reset of alice, proved by a backup code.
fn backup(code: &str) -> Reset {
    Reset {
        proof: Proof::BackupCode(code.into()),
        ..totp(step())
    }
}

fn step_of(user: &str, step: u64) -> Proof {
    Proof::TotpStep {
        step,
        code: code_of(ACME, user, step).into(),
    }
}

fn user(id: &str) -> Target {
    Target::User(id.to_owned())
}
