//! What is changed of Rocket.Chat's documents: the named fields, and nothing else.

use crate::fixtures::{at, filled, key, operation, profile, reset, reset_of_alice};
use chat_domain::account::Token;
use chat_domain::attempts::{Attempt, BeginEmailAttempt};
use chat_domain::audit::{AuditRecord, Decision};
use chat_domain::member::{Act, Authority, Code, Denial, MemberChange};
use chat_domain::operator::{NewUser, NewWorkspace, RoleChange, UserChange};
use chat_domain::order::Order;
use chat_domain::proof::{Compared, Proof, Tried};
use chat_domain::reset::{Receipt, Refusal, RefuseReset, Reset, Target};
use chat_domain::settings::{Setting, Settings};
use chat_domain::totp::{TotpKey, code_hash};
use chat_store::mongodb::RocketChats;
use chat_store::{Store, StoreError};
use chat_testing::ask::{Ask as _, done_by, source};
use chat_testing::mongodb::{Database, Everything, differences};
use chat_testing::{ACME, after, caller_of, now, step, token_hash};
use mongodb::bson::{Bson, Document, doc};

/// Those of Rocket.Chat's collections.
fn rockets(before: &Everything, after: &Everything) -> Vec<String> {
    let mut lines = differences(before, after);
    lines.retain(|line| !line.contains(" reset_totp_"));
    lines
}

#[tokio::test]
async fn a_reset_changes_these_fields_and_no_others() {
    let (database, store) = filled().await;
    let before = database.everything();
    let outcome = reset(&*store, reset_of_alice()).await.unwrap();
    assert_eq!(outcome, Ok(Receipt::Removed));
    let after = database.everything();
    assert_eq!(
        rockets(&before, &after),
        [
            "+ rocketchat_sessions s1 logoutAt",
            "- _raix_push_app_tokens p1 _id",
            "- _raix_push_app_tokens p1 appName",
            "- _raix_push_app_tokens p1 authToken",
            "- _raix_push_app_tokens p1 enabled",
            "- _raix_push_app_tokens p1 token.gcm",
            "- _raix_push_app_tokens p1 userId",
            "- _raix_push_app_tokens p2 _id",
            "- _raix_push_app_tokens p2 appName",
            "- _raix_push_app_tokens p2 authToken",
            "- _raix_push_app_tokens p2 enabled",
            "- _raix_push_app_tokens p2 token.gcm",
            "- _raix_push_app_tokens p2 userId",
            "- users alice services.totp.enabled",
            "- users alice services.totp.hashedBackup",
            "- users alice services.totp.secret",
            "~ users alice services.resume.loginTokens",
        ]
    );
    let alice = &after["users"]["alice"];
    let services = alice.get_document("services").unwrap();
    assert!(!services.contains_key("totp"));
    let resume = services.get_document("resume").unwrap();
    assert_eq!(resume, &doc! { "loginTokens": [] });
    let own = &after["reset_totp_accounts"];
    assert_eq!(own["admin"].get_i64("last_step").unwrap(), 41_152_263);
    let mails: Vec<_> = after["reset_totp_outbox"].values().collect();
    let [mail] = mails.as_slice() else {
        unreachable!("one address is verified")
    };
    assert_eq!(mail.get_str("recipient").unwrap(), "alice@acme.example");
    assert_eq!(after["reset_totp_audit"].len(), 1);
    assert_eq!(after["reset_totp_commit_mark"].len(), 1);
    // Nothing is changed by the same code again.
    let again = reset(&*store, reset_of_alice()).await.unwrap();
    assert_eq!(again, Err(Refusal::Replayed));
    assert_eq!(differences(&after, &database.everything()), [""; 0]);
}

/// Alice's own language comes before that of the workspace, which comes before English.
#[tokio::test]
async fn a_notice_is_in_the_members_language_or_the_workspaces() {
    const GERMAN: &str = "Zwei-Faktor-Authentifizierung per TOTP zurückgesetzt";
    const ENGLISH: &str = "Two Factor TOTP Reset Notification";
    for (own, workspace, subject) in [
        (Some("de"), None, GERMAN),
        (Some("de-AT"), Some(Bson::from("en")), GERMAN),
        (Some("en"), Some("de".into()), ENGLISH),
        (Some("fr"), Some("de".into()), GERMAN),
        (None, Some("de-IN".into()), GERMAN),
        (None, Some("fr".into()), ENGLISH),
        // What is only shown keeps nobody from a reset, whatever its type.
        (Some("de"), Some(7.into()), GERMAN),
        (None, Some(7.into()), ENGLISH),
        (None, None, ENGLISH),
    ] {
        let (database, store) = filled().await;
        let language = match own {
            Some(language) => doc! { "$set": { "language": language } },
            None => doc! { "$unset": { "language": "" } },
        };
        database.update("users", "alice", language);
        if let Some(language) = workspace.clone() {
            let language = doc! { "_id": "Language", "value": language };
            database.insert("rocketchat_settings", vec![language]);
        }
        reset(&*store, reset_of_alice()).await.unwrap().unwrap();
        let outbox = &database.everything()["reset_totp_outbox"];
        let subjects: Vec<_> = outbox
            .values()
            .map(|m| m.get_str("subject").unwrap())
            .collect();
        assert_eq!(subjects, [subject], "{own:?} {workspace:?}");
    }
}

/// A phone that is lost while it was being enrolled.
#[tokio::test]
async fn a_reset_removes_a_key_that_rocket_chat_has_shown() {
    let (database, store) = filled().await;
    let pending = doc! { "enabled": false, "tempSecret": key().to_base32() };
    database.update(
        "users",
        "bob",
        doc! { "$set": { "services.totp": pending } },
    );
    let before = database.everything();
    let of_bob = Reset {
        target: Target::User("bob".to_owned()),
        ..reset_of_alice()
    };
    let outcome = reset(&*store, of_bob).await.unwrap();
    assert_eq!(outcome, Ok(Receipt::Removed));
    let changes = rockets(&before, &database.everything());
    let totp = changes.iter().filter(|line| line.contains("services.totp"));
    assert_eq!(
        totp.collect::<Vec<_>>(),
        [
            "- users bob services.totp.enabled",
            "- users bob services.totp.tempSecret",
        ]
    );
    assert!(changes.contains(&"~ users bob services.resume.loginTokens".to_owned()));
}

fn own(user: &str, act: Act, code: Option<Code>) -> MemberChange {
    MemberChange {
        workspace: ACME.to_owned(),
        user: user.to_owned(),
        authority: Authority::Token(token_hash(&format!("{user}-token"))),
        act,
        code,
        now: now(),
        request_id: "request-1".to_owned(),
        source: source(),
    }
}

fn services(everything: &Everything, user: &str) -> Document {
    let user = &everything["users"][user];
    user.get_document("services").unwrap().clone()
}

#[tokio::test]
async fn an_enrolment_is_written_as_rocket_chat_writes_it() {
    let (database, store) = filled().await;
    let password = doc! { "services.password": { "bcrypt": "hash" } };
    database.update("users", "bob", doc! { "$set": password });
    let new_key = TotpKey::new(b"another key of 32 characters....".to_vec());
    let begin = own(
        "bob",
        Act::BeginEnrolment(new_key.clone()),
        Some(Code::Password(Ok("hash".into()))),
    );
    store.decide(begin).await.unwrap().unwrap();
    let totp = services(&database.everything(), "bob");
    let shown = doc! { "enabled": false, "tempSecret": new_key.to_base32() };
    assert_eq!(totp.get_document("totp").unwrap(), &shown);

    let codes = vec![code_hash("a2b3c4d5")];
    let confirm = own(
        "bob",
        Act::ConfirmTotp {
            backup_code_hashes: codes.clone(),
        },
        Some(Code::Totp(new_key.code(step()).into())),
    );
    store.decide(confirm).await.unwrap().unwrap();
    let totp = services(&database.everything(), "bob");
    let enrolled = doc! {
        "enabled": true, "secret": new_key.to_base32(), "hashedBackup": &codes,
    };
    assert_eq!(totp.get_document("totp").unwrap(), &enrolled);

    let next = new_key.code(step() + 1);
    let disable = own("bob", Act::DisableTotp, Some(Code::Totp(next.into())));
    store.decide(disable).await.unwrap().unwrap();
    assert!(!services(&database.everything(), "bob").contains_key("totp"));
}

/// The session that stays is that which asked.
#[tokio::test]
async fn a_session_is_written_and_ended_as_rocket_chat_does() {
    let (database, store) = filled().await;
    let password = doc! { "services.password": { "bcrypt": "hash" } };
    database.update("users", "bob", doc! { "$set": password });
    let log_in = MemberChange {
        authority: Authority::Password("hash".into()),
        ..own(
            "bob",
            Act::LogIn(Token {
                hash: "new".to_owned(),
                expires: Some(after(90 * 24 * 60 * 60)),
                name: None,
                bypass_two_factor: false,
            }),
            None,
        )
    };
    store.decide(log_in).await.unwrap().unwrap();
    let sessions = |everything: &Everything| {
        let services = services(everything, "bob");
        let resume = services.get_document("resume").unwrap();
        resume.get_array("loginTokens").unwrap().clone()
    };
    let written = sessions(&database.everything());
    let new = doc! { "hashedToken": "new", "when": at(0) };
    assert_eq!(written.last().unwrap(), &Bson::from(new.clone()));
    let before = database.everything();
    store
        .log_out(ACME, "bob", &token_hash("bob-token"))
        .await
        .unwrap();
    let after = database.everything();
    assert_eq!(sessions(&after), [Bson::from(new)]);
    let changes = rockets(&before, &after);
    assert_eq!(
        changes.first().unwrap(),
        "+ rocketchat_sessions s3 logoutAt"
    );
    assert!(changes.contains(&"- _raix_push_app_tokens p3 _id".to_owned()));
    assert_eq!(
        changes.last().unwrap(),
        "~ users bob services.resume.loginTokens"
    );
}

/// By both shapes in which it has kept them.
#[tokio::test]
async fn a_code_that_rocket_chat_has_mailed_is_counted_and_spent() {
    const OLDER: &str = "$2b$04$older";
    let code = doc! { "code": SLOW_HASH, "expire": at(60_000) };
    let older = doc! { "code": OLDER, "expire": at(10_000) };
    for (kept, attempts) in [
        (Bson::from(code.clone()), "services.emailCode.attempts"),
        (
            Bson::Array(vec![older.into(), code.into()]),
            "services.emailCode",
        ),
    ] {
        let (database, store) = filled().await;
        mailed(&database, kept);
        let before = database.everything();
        let attempt = BeginEmailAttempt {
            workspace: ACME.to_owned(),
            user: "bob".to_owned(),
            now: now(),
        };
        let Attempt::Begun(Some(handed)) = store.decide(attempt).await.unwrap() else {
            unreachable!("bob was sent a code")
        };
        assert_eq!(handed, SLOW_HASH);
        let after = database.everything();
        let [change] = rockets(&before, &after).try_into().unwrap();
        assert_eq!(change[2..], format!("users bob {attempts}"));
        let held = profile(&*store, "bob").await.unwrap().unwrap();
        assert_eq!(held.mailed_code.unwrap().failures, 1);
        for (compared, expected) in [
            (OLDER, Err(Refusal::WrongProof)),
            (SLOW_HASH, Ok(Receipt::NothingEnrolled)),
            (SLOW_HASH, Err(Refusal::WrongProof)),
        ] {
            let order = bobs_reset(compared);
            assert_eq!(reset(&*store, order).await.unwrap(), expected, "{compared}");
        }
        assert!(!services(&database.everything(), "bob").contains_key("emailCode"));
    }
}

/// Whoever compared a code in the one turn that all hosts wait for would have it for a quarter of
/// a minute, which nobody may.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_code_is_compared_in_a_turn() {
    let (database, store) = filled().await;
    let code = doc! { "code": SLOW_HASH, "expire": at(60_000) };
    mailed(&database, code.into());
    let refused = |tried| RefuseReset {
        record: AuditRecord {
            decision: Decision::Refused,
            ..done_by(ACME, "bob")
        },
        tried: Some(tried),
    };
    for compared in [Compared::Wrong, Compared::Right(SLOW_HASH.into())] {
        let attempt = store.begin_email_attempt(ACME, "bob", now()).await;
        assert!(matches!(attempt.unwrap(), Attempt::Begun(Some(_))));
        let refused = refused(Tried::Email(compared));
        store.decide(refused).await.unwrap();
    }
    let begin = |compared| {
        let key = TotpKey::new(b"another key of 32 characters....".to_vec());
        own("bob", Act::BeginEnrolment(key), Some(Code::Email(compared)))
    };
    let wrong = store.decide(begin(Err(Denial::WrongCode))).await.unwrap();
    assert_eq!(wrong, Err(Denial::WrongCode));
    let outcome = reset(&*store, bobs_reset("another")).await.unwrap();
    assert_eq!(outcome, Err(Refusal::WrongProof));
    let right = begin(Ok(SLOW_HASH.into()));
    assert_eq!(store.decide(right).await.unwrap(), Ok(()));
}

/// As bcrypt of a code looks, with so many rounds that nobody has ever compared it.
const SLOW_HASH: &str = "$2b$18$bHj5EaYL7vVsUeLZZBAA6uF/TtIkpi1XlEBzD2ZvJHvdZ5HOkUwTW";

/// Bob has opted in, and was sent this by Rocket.Chat.
fn mailed(database: &Database, kept: Bson) {
    let opted_in = doc! {
        "services.emailCode": kept, "services.email2fa": { "enabled": true },
    };
    database.update("users", "bob", doc! { "$set": opted_in });
}

/// By a code that was compared with what has this hash.
fn bobs_reset(compared: &str) -> Reset {
    Reset {
        caller: caller_of("bob"),
        proof: Proof::EmailCode(compared.into()),
        target: Target::Caller,
        ..reset_of_alice()
    }
}

/// What was noted of a factor goes with it, also where Rocket.Chat replaces it.
#[tokio::test]
async fn what_was_noted_of_a_factor_is_not_of_the_next() {
    let (database, store) = filled().await;
    reset(&*store, reset_of_alice()).await.unwrap().unwrap();
    for _ in 0..3 {
        store
            .begin_totp_attempt(ACME, "admin", now())
            .await
            .unwrap();
    }
    let admin = profile(&*store, "admin").await.unwrap().unwrap();
    assert_eq!(admin.factor.unwrap().last_step, Some(step()));
    assert_eq!(admin.failures.count, 3);
    let new_key = TotpKey::new(b"another key of 32 characters....".to_vec());
    let replaced = doc! { "services.totp.secret": new_key.to_base32() };
    database.update("users", "admin", doc! { "$set": replaced });
    let admin = profile(&*store, "admin").await.unwrap().unwrap();
    assert_eq!(admin.factor.unwrap().last_step, None);
    assert_eq!(admin.failures.count, 0);
    store
        .begin_totp_attempt(ACME, "admin", now())
        .await
        .unwrap();
    let own = database.document("reset_totp_accounts", "admin").unwrap();
    assert!(!own.contains_key("last_step"));
    let failures = own.get_document("failures").unwrap();
    assert_eq!(failures.get_i64("count").unwrap(), 1);
}

/// Each is refused by name, and nothing is changed.
#[tokio::test]
async fn what_is_rocket_chats_is_refused() {
    let (database, store) = filled().await;
    let before = database.everything();
    async fn ended<O>(store: &dyn Store, order: O) -> StoreError
    where
        O: Order + Send + 'static,
        O::Answer: Send + 'static,
    {
        store.decide(order).await.err().unwrap()
    }
    use chat_domain::operator::{AddUser, ChangeRole, ChangeUser, CreateWorkspace, SetSetting};
    let changed = |change| ChangeUser {
        operation: operation(),
        user: "alice".to_owned(),
        change,
    };
    let personal = Token {
        hash: "h".to_owned(),
        expires: None,
        name: Some("new".to_owned()),
        bypass_two_factor: false,
    };
    let told = [
        ended(
            &*store,
            CreateWorkspace(NewWorkspace {
                id: "new".to_owned(),
                settings: Settings::default(),
                roles: Vec::new(),
                users: Vec::new(),
            }),
        )
        .await,
        ended(
            &*store,
            AddUser {
                operation: operation(),
                user: NewUser {
                    id: "new".to_owned(),
                    username: "new".to_owned(),
                    ..NewUser::default()
                },
            },
        )
        .await,
        ended(&*store, changed(UserChange::SetPassword("hash".into()))).await,
        ended(&*store, changed(UserChange::Deactivate)).await,
        ended(&*store, changed(UserChange::GiveRole("admin".to_owned()))).await,
        ended(&*store, changed(UserChange::CreateToken(personal))).await,
        ended(
            &*store,
            ChangeRole {
                operation: operation(),
                role: "user".to_owned(),
                change: RoleChange::Allow("x".to_owned()),
            },
        )
        .await,
        ended(
            &*store,
            SetSetting {
                operation: operation(),
                setting: Setting::named("totp-window").unwrap(),
                value: "2".into(),
            },
        )
        .await,
    ];
    let here = "the store failed: the store is Rocket.Chat's own database: ";
    let texts = told.map(|error| {
        assert!(error.0.is::<RocketChats>(), "{error}");
        error.to_string()
    });
    assert_eq!(
        texts,
        [
            "the store failed: Rocket.Chat's database holds one workspace, acme, which Rocket.Chat \
             has made"
                .to_owned(),
            format!("{here}accounts are made in Rocket.Chat"),
            format!("{here}passwords are set in Rocket.Chat"),
            format!("{here}accounts are activated and deactivated in Rocket.Chat"),
            format!("{here}roles and permissions are changed in Rocket.Chat"),
            format!("{here}personal access tokens are made in Rocket.Chat"),
            format!("{here}roles and permissions are changed in Rocket.Chat"),
            "the store failed: totp-window is said by Rocket.Chat's own setting \
             Accounts_TwoFactorAuthentication_MaxDelta: set it there"
                .to_owned(),
        ]
    );
    assert_eq!(differences(&before, &database.everything()), [""; 0]);
    // Sessions and tokens, a lock, and a reset are an operator's here, too.
    for change in [
        UserChange::RevokeToken("ci".to_owned()),
        UserChange::RevokeAllTokens,
        UserChange::Unlock,
        UserChange::ResetTotp,
    ] {
        let name = format!("{change:?}");
        let done = store.change_user(operation(), "alice", change).await;
        assert!(done.unwrap().is_ok(), "{name}");
    }
}
