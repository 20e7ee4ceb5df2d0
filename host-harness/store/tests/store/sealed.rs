//! What every store promises of what it keeps sealed (OWASP ASVS 5.0 V13.3.1 and V11.2.1): a
//! copy without the key tells no secret, and a value is of use in its own place alone.

use super::new_data;
use super::store::totp;
use crate::KIND;
use chat_domain::account::{Email, Profile, Token, TotpFactor};
use chat_domain::attempts::Attempt;
use chat_domain::directory::AccountFilter;
use chat_domain::dossier::{Question, Subject};
use chat_domain::mailed_code::EmailCode;
use chat_domain::member::{Act, Authority, Code, MemberChange};
use chat_domain::operator::{NewUser, Operation, UserChange};
use chat_domain::outbox::NextTry;
use chat_domain::proof::Proof;
use chat_domain::reset::{Receipt, Reset};
use chat_domain::settings::Setting;
use chat_domain::totp::{TotpKey, code_hash};
use chat_store::Store;
use chat_store::seal::{self, BACKUP_CODE, Position, SEALED, Seal};
use chat_testing::ask::{Ask as _, source};
use chat_testing::{
    ACME, BACKUP_CODES, Data, GLOBEX, KEY, NEW_KEY, after, code_of, now, seal_of, step, token_hash,
};
use secrecy::ExposeSecret;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The code that alice of both workspaces is sent.
pub(crate) const CODE: &str = "543210";

/// What logs in to the mail server.
pub(crate) const MAIL_PASSWORD: &str = "correct-horse-of-the-mail-server";

/// Values that [`fill`] leaves in the store: nine TOTP keys with two backup codes each, two keys
/// that were shown, two mail servers, and two codes in three mails.
const VALUES: u64 = 9 * 3 + 2 + 2 + 2 + 3 + 2;

/// Puts into the data whatever is sealed, in both workspaces.
pub(crate) async fn fill(data: &Data) {
    data.edit("UPDATE user SET email_two_factor = TRUE, password_hash = 'hash' WHERE id = 'alice'");
    for workspace in [ACME, GLOBEX] {
        let server = format!("smtps://chat:{MAIL_PASSWORD}@mail.{workspace}.example");
        set(&*data.store, workspace, "mail-server", &server).await;
        let sent = data
            .store
            .send_email_code(workspace, "alice", CODE.into(), now());
        assert!(matches!(sent.await.unwrap(), EmailCode::Sent { .. }));
        data.show_key(workspace, "bob", &format!("{workspace}/shown"), i64::MAX);
    }
}

async fn set(store: &dyn Store, workspace: &str, name: &str, value: &str) {
    let setting = Setting::named(name).unwrap();
    let set = store.set_setting(operation(workspace), setting, value.into());
    set.await.unwrap().unwrap();
}

fn operation(workspace: &str) -> Operation {
    Operation {
        workspace: workspace.to_owned(),
        now: now(),
        request_id: "command-1".to_owned(),
        forced: false,
    }
}

/// What the store knows of the account, with everything that is sealed.
async fn profile(store: &dyn Store, workspace: &str, user: &str) -> chat_store::Result<Profile> {
    let subject = Subject::id(user).with_backup_codes();
    let dossier = store.read(&Question::of(workspace).about(subject)).await?;
    Ok(dossier.accounts.into_iter().flatten().next().unwrap())
}

/// Everything that is sealed, as the store reads it.
async fn opened(store: &dyn Store) -> Vec<String> {
    let mut all = Vec::new();
    for workspace in [ACME, GLOBEX] {
        let settings = store.settings(workspace).await.unwrap().unwrap();
        all.push(settings.mail_server.expose_secret().to_owned());
        for listed in store.profiles(workspace).await.unwrap() {
            let user = listed.user.id;
            let profile = profile(store, workspace, &user).await.unwrap();
            if let Some(factor) = profile.factor {
                all.push(factor.key.to_base32());
                let mut hashes = factor.backup_code_hashes;
                hashes.sort();
                all.extend(hashes);
            }
            all.extend(profile.pending_key.map(|pending| pending.key.to_base32()));
            all.extend(profile.mailed_code.map(|code| code.hash));
        }
    }
    all
}

/// How many values the store keeps under the first key of `seal`, and how many under any.
fn under(data: &Data, seal: &Seal) -> (u64, u64) {
    let kept = data.dump_as_kept();
    let count = |beginning: &str| {
        let values = kept.lines().filter(|line| !line.starts_with("sealing:"));
        let under = values.map(|line| line.matches(&format!("={beginning}")).count());
        u64::try_from(under.sum::<usize>()).unwrap()
    };
    (count(&seal.beginning().unwrap()), count("s1."))
}

/// Each that is sealed is read as what was written, and every value that may be sealed is.
#[tokio::test]
async fn a_sealed_store_reads_what_a_plain_one_does() {
    let (sealed, plain) = (new_data().await, Data::plain(KIND).await);
    for data in [&sealed, &plain] {
        fill(data).await;
    }
    assert_eq!(opened(&*sealed.store).await, opened(&*plain.store).await);
    assert_eq!(under(&sealed, &sealed.seal), (VALUES, VALUES));
    assert_eq!(under(&plain, &sealed.seal), (0, 0));
    let sealing = sealed.store.sealing().await.unwrap();
    assert_eq!(sealing.map(|row| row.key_id), sealed.seal.key_id());
    assert_eq!(plain.store.sealing().await.unwrap(), None);
}

/// By a TOTP code, a backup code and a code by e-mail.
#[tokio::test]
async fn a_store_without_a_key_works_as_one_with_a_key() {
    for data in [Data::plain(KIND).await, new_data().await] {
        fill(&data).await;
        assert_eq!(
            data.store.reset(totp(step())).await.unwrap(),
            Ok(Receipt::Removed)
        );
        let [backup_code, _] = BACKUP_CODES;
        let by_code = Reset {
            proof: Proof::BackupCode(backup_code.into()),
            ..totp(step())
        };
        let again = data.store.reset(by_code.clone()).await.unwrap();
        assert_eq!(again, Ok(Receipt::NothingEnrolled));
        assert!(
            data.store.reset(by_code).await.unwrap().is_err(),
            "it is spent"
        );
        let admin = profile(&*data.store, ACME, "admin").await.unwrap();
        let factor = admin.factor.unwrap();
        assert_eq!(factor.spent_code_hashes, [code_hash(backup_code)]);
        let attempt = data.store.begin_email_attempt(GLOBEX, "alice", now());
        let Attempt::Begun(Some(hash)) = attempt.await.unwrap() else {
            unreachable!("alice was sent a code")
        };
        assert_eq!(hash, code_hash(CODE));
        let enrol = UserChange::EnrolTotp(factor_of("new key"));
        let enrolled = data
            .store
            .change_user(operation(ACME), "alice", enrol)
            .await;
        assert_eq!(enrolled.unwrap().unwrap().account.backup_codes, Some(1));
        let alice = profile(&*data.store, ACME, "alice").await.unwrap();
        assert_eq!(alice.factor.unwrap().key.expose(), b"new key");
    }
}

fn factor_of(key: &str) -> TotpFactor {
    TotpFactor {
        key: TotpKey::new(key.as_bytes().to_vec()),
        last_step: None,
        backup_code_hashes: vec![code_hash("a new code")],
        spent_code_hashes: Vec::new(),
    }
}

/// Each value in the place of another of its kind, of another account and of the same account of
/// another workspace, and what was never sealed in its place.
#[tokio::test]
async fn a_value_that_was_put_elsewhere_is_refused_as_the_stores_failure() {
    for (edit, place) in [
        (
            "UPDATE totp SET key = (SELECT key FROM totp WHERE (workspace, user) = ('acme', 'admin'))
             WHERE (workspace, user) = ('acme', 'alice')",
            "totp.key of alice in acme",
        ),
        (
            "UPDATE totp SET key = (SELECT key FROM totp WHERE (workspace, user) = ('globex', 'alice'))
             WHERE (workspace, user) = ('acme', 'alice')",
            "totp.key of alice in acme",
        ),
        (
            "INSERT INTO pending_totp
             SELECT workspace, user, key, 9000000000000000 FROM totp
             WHERE (workspace, user) = ('acme', 'alice')",
            "pending_totp.key of alice in acme",
        ),
        (
            "UPDATE email_code SET hash =
                (SELECT hash FROM email_code WHERE (workspace, user) = ('globex', 'alice'))
             WHERE (workspace, user) = ('acme', 'alice')",
            "email_code.hash of alice in acme",
        ),
        (
            "INSERT INTO backup_code
             SELECT workspace, 'alice', hash, FALSE FROM backup_code
             WHERE (workspace, user) = ('acme', 'admin')",
            "backup_code.hash of alice in acme",
        ),
        (
            "UPDATE totp SET key = 'MFRGGZDFMZTWQ2LK' WHERE (workspace, user) = ('acme', 'alice')",
            "totp.key of alice in acme",
        ),
        (
            "INSERT INTO backup_code VALUES ('acme', 'alice', 'of a code', FALSE)",
            "backup_code.hash of alice in acme",
        ),
        (
            "UPDATE email_code SET hash = 'of a code' WHERE (workspace, user) = ('acme', 'alice')",
            "email_code.hash of alice in acme",
        ),
    ] {
        let data = new_data().await;
        fill(&data).await;
        data.edit(edit);
        let before = data.dump();
        let told = profile(&*data.store, ACME, "alice").await.unwrap_err().to_string();
        let expected = format!("the store failed: {place} cannot be opened: it ");
        assert!(told.starts_with(&expected), "{told}");
        let mine = MemberChange {
            workspace: ACME.to_owned(),
            user: "alice".to_owned(),
            authority: Authority::Token(token_hash("alice-token")),
            act: Act::DisableTotp,
            code: Some(Code::Totp(code_of(ACME, "admin", step()).into())),
            now: now(),
            request_id: "request-1".to_owned(),
            source: source(),
        };
        let told = data.store.change(mine).await.unwrap_err().to_string();
        assert!(told.starts_with(&expected), "{told}");
        assert_eq!(before.changes(&data.dump()), "");
        // Nobody else is held up by it.
        assert!(profile(&*data.store, GLOBEX, "alice").await.is_ok());
        assert!(profile(&*data.store, ACME, "admin").await.is_ok());
    }
}

#[tokio::test]
async fn a_mail_server_of_another_workspace_is_refused() {
    for value in [
        "(SELECT value FROM setting WHERE (workspace, name) = ('globex', 'mail-server'))",
        "'smtps://mail.attacker.example'",
    ] {
        let data = new_data().await;
        fill(&data).await;
        data.edit(&format!(
            "UPDATE setting SET value = {value} WHERE (workspace, name) = ('acme', 'mail-server')"
        ));
        let told = data.store.settings(ACME).await.unwrap_err().to_string();
        assert!(
            told.starts_with(
                "the store failed: setting.value of mail-server in acme cannot be opened"
            ),
            "{told}"
        );
        assert!(data.store.settings(GLOBEX).await.is_ok());
        // It is mended by writing it again.
        set(&*data.store, ACME, "totp-window", "2").await;
        set(
            &*data.store,
            ACME,
            "mail-server",
            "smtp://mail.acme.example",
        )
        .await;
        let settings = data.store.settings(ACME).await.unwrap().unwrap();
        assert_eq!(
            settings.mail_server.expose_secret(),
            "smtp://mail.acme.example"
        );
    }
}

/// It is tried later, as one whose server is away; the others go.
#[tokio::test]
async fn a_mail_that_cannot_be_read_keeps_no_other() {
    let data = new_data().await;
    fill(&data).await;
    data.edit(
        "UPDATE outbox SET body = (SELECT body FROM outbox WHERE workspace = 'globex')
         WHERE workspace = 'acme' AND recipient = 'alice@example.com'",
    );
    let mut bodies = Vec::new();
    while let Some(claim) = data.store.claim(now()).await.unwrap() {
        match &claim.body {
            Ok(body) => {
                assert!(body.expose_secret().contains("543-210"));
                bodies.push(claim.recipient.clone());
                data.store.sent(&claim).await.unwrap();
            }
            Err(why) => {
                assert_eq!(
                    why,
                    "outbox.body of alice in acme cannot be opened: it was changed, or sealed for \
                     another place"
                );
                let next = NextTry::At(after(60));
                data.store.not_sent(&claim, why, next, now()).await.unwrap();
            }
        }
    }
    assert_eq!(bodies, ["alice@example.org", "alice@globex.example"]);
}

#[tokio::test]
async fn a_store_is_opened_by_its_key_alone() {
    let mut data = new_data().await;
    fill(&data).await;
    data.close().await;
    let id = data.seal.key_id().unwrap();
    let before = data.dump();
    for (seal, expected) in [
        (
            Seal::none(),
            format!(
                "it is sealed under the key {id}: name the file that holds it, by key-file in [host] \
                 of the configuration, by --key-file or by HOST_HARNESS_KEY_FILE"
            ),
        ),
        (
            seal_of(&[NEW_KEY]),
            format!("it is sealed under the key {id}, which is not among those of the key file"),
        ),
    ] {
        let told = data.open_by(&seal).await.err().unwrap().to_string();
        assert_eq!(told, format!("the store failed: {expected}"));
        assert_eq!(before.changes(&data.dump()), "");
    }
    data.edit("DELETE FROM sealing");
    let told = data.open_by(&data.seal).await.err().unwrap().to_string();
    assert_eq!(
        told,
        "the store failed: it is not sealed, and a key is configured: stop what serves it and seal \
         it by `host-harness store rekey`"
    );
}

#[tokio::test]
async fn a_store_comes_under_another_key_and_is_opened_by_that_alone() {
    let mut data = new_data().await;
    fill(&data).await;
    let before = opened(&*data.store).await;
    let both = seal_of(&[NEW_KEY, KEY]);
    let new = seal_of(&[NEW_KEY]);
    let store = data.open_by(&both).await.unwrap();
    assert_eq!(seal::rekey(&*store).await.unwrap(), VALUES);
    assert_eq!(under(&data, &new), (VALUES, VALUES));
    assert_eq!(opened(&*store).await, before);
    assert_eq!(seal::rekey(&*store).await.unwrap(), 0, "once is enough");
    drop(store);
    data.close().await;
    assert!(data.open_by(&data.seal).await.is_err());
    let store = data.open_by(&new).await.unwrap();
    assert_eq!(opened(&*store).await, before);
}

/// After every number of values, as by a process that is killed.
#[tokio::test]
async fn a_change_of_the_key_that_is_interrupted_is_begun_again() {
    let mut data = new_data().await;
    fill(&data).await;
    let before = opened(&*data.store).await;
    let both = seal_of(&[NEW_KEY, KEY]);
    let store = data.open_by(&both).await.unwrap();
    let mut done = 0;
    let mut position = Position::default();
    for most in [1, 3, 5, 7, 1] {
        let renewed = store.renew(position, most).await.unwrap();
        assert!(renewed.values <= most && renewed.unopened.is_empty());
        done += u64::from(renewed.values);
        assert_eq!(under(&data, &both), (done, VALUES));
        position = renewed.next.unwrap();
        assert_eq!(opened(&*store).await, before, "with both keys all is read");
        let told = data.open_by(&seal_of(&[NEW_KEY])).await.err().unwrap();
        assert!(
            told.to_string().contains("not among"),
            "the old key is still asked for"
        );
    }
    assert!(done > 5);
    assert_eq!(seal::rekey(&*store).await.unwrap(), VALUES - done);
    drop(store);
    data.close().await;
    let store = data.open_by(&seal_of(&[NEW_KEY])).await.unwrap();
    assert_eq!(opened(&*store).await, before);
}

/// By a host that has read both keys in their older order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_that_is_written_while_the_key_is_changed() {
    let mut data = new_data().await;
    fill(&data).await;
    for n in 0..200 {
        let user = NewUser {
            id: format!("u{n}"),
            username: format!("user{n}"),
            roles: vec!["user".to_owned()],
            emails: vec![Email {
                address: format!("u{n}@acme.example"),
                verified: true,
            }],
            totp: Some(factor_of(&format!("key {n}"))),
            ..NewUser::default()
        };
        data.store
            .add_user(operation(ACME), user)
            .await
            .unwrap()
            .unwrap();
    }
    let older = data.open_by(&seal_of(&[KEY, NEW_KEY])).await.unwrap();
    let newer = data.open_by(&seal_of(&[NEW_KEY, KEY])).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (older, stop) = (older.clone(), stop.clone());
        async move {
            let mut written = 0;
            while !stop.load(Ordering::SeqCst) {
                let replace = UserChange::ReplaceBackupCodes {
                    backup_code_hashes: vec![code_hash(&written.to_string())],
                };
                let user = format!("user{}", written % 200);
                let changed = older.change_user(operation(ACME), &user, replace).await;
                changed.unwrap().unwrap();
                written += 1;
            }
            written
        }
    });
    let mut position = Some(Position::default());
    let mut rounds = 0;
    while let Some(from) = position {
        position = newer.renew(from, 10).await.unwrap().next;
        rounds += 1;
    }
    assert!(rounds > 10, "{rounds} transactions");
    stop.store(true, Ordering::SeqCst);
    let written: usize = writer.await.unwrap();
    assert!(written > 0);
    seal::rekey(&*newer).await.unwrap();
    let new = seal_of(&[NEW_KEY]);
    let (under, all) = under(&data, &new);
    assert_eq!(under, all);
    drop((older, newer));
    data.close().await;
    let store = data.open_by(&new).await.unwrap();
    for n in 0..200_usize {
        let user = profile(&*store, ACME, &format!("u{n}")).await.unwrap();
        let factor = user.factor.unwrap();
        assert_eq!(factor.key.expose(), format!("key {n}").as_bytes());
        let last = (0..written).rfind(|i| i % 200 == n);
        let last = last.map_or(code_hash("a new code"), |i| code_hash(&i.to_string()));
        assert_eq!(factor.backup_code_hashes, [last], "u{n}");
    }
}

/// OWASP ASVS 5.0 V6.5.1: whoever spends it finds it as it is kept by now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_code_that_is_used_while_the_key_is_changed_is_spent() {
    const USERS: usize = 40;
    let data = new_data().await;
    let [code, _] = BACKUP_CODES;
    for n in 0..USERS {
        let mut totp = factor_of(&format!("key {n}"));
        totp.backup_code_hashes = vec![code_hash(code)];
        let user = NewUser {
            id: format!("u{n}"),
            username: format!("user{n}"),
            password_hash: Some("hash".into()),
            roles: vec!["user".to_owned()],
            totp: Some(totp),
            ..NewUser::default()
        };
        let added = data.store.add_user(operation(ACME), user).await;
        added.unwrap().unwrap();
    }
    let newer = data.open_by(&seal_of(&[NEW_KEY, KEY])).await.unwrap();
    let host = data.open_by(&seal_of(&[KEY, NEW_KEY])).await.unwrap();
    let older = host.clone();
    let logging_in = tokio::spawn(async move {
        for n in 0..USERS {
            let log_in = |token: &str| MemberChange {
                workspace: ACME.to_owned(),
                user: format!("u{n}"),
                authority: Authority::Password("hash".into()),
                act: Act::LogIn(Token {
                    hash: format!("{token} {n}"),
                    expires: Some(after(60)),
                    bypass_two_factor: false,
                    name: None,
                }),
                code: Some(Code::Totp(code.into())),
                now: now(),
                request_id: "request-1".to_owned(),
                source: source(),
            };
            host.change(log_in("first")).await.unwrap().unwrap();
            assert!(host.change(log_in("second")).await.unwrap().is_err());
        }
    });
    let codes = SEALED.iter().position(|sealed| *sealed == &BACKUP_CODE);
    let codes = Position {
        column: codes.unwrap(),
        ..Position::default()
    };
    // Each is sealed anew again and again.
    while !logging_in.is_finished() {
        for store in [&newer, &older] {
            store.renew(codes.clone(), 1000).await.unwrap();
        }
    }
    logging_in.await.unwrap();
    for n in 0..USERS {
        let user = profile(&*newer, ACME, &format!("u{n}")).await.unwrap();
        let factor = user.factor.unwrap();
        assert_eq!(factor.spent_code_hashes, [code_hash(code)], "u{n}");
    }
}

/// Whoever lists wants to help somebody else, too.
#[tokio::test]
async fn an_account_that_cannot_be_opened_keeps_no_other_from_a_list() {
    let data = new_data().await;
    fill(&data).await;
    let listed = async || {
        let filter = AccountFilter {
            most: 100,
            ..AccountFilter::default()
        };
        let page = data.store.accounts(ACME, &filter).await.unwrap();
        assert_eq!(page.next, None);
        let ids = page.profiles.into_iter().map(|profile| profile.user.id);
        ids.collect::<Vec<_>>()
    };
    let mut expected = listed().await;
    data.edit(
        "UPDATE totp SET key = (SELECT key FROM totp WHERE (workspace, user) = ('acme', 'admin'))
         WHERE (workspace, user) = ('acme', 'alice')",
    );
    expected.retain(|id| id != "alice");
    assert!(expected.len() > 2);
    assert_eq!(listed().await, expected);
}

/// The others come under the new key; the store goes on asking for the old one.
#[tokio::test]
async fn a_value_that_cannot_be_opened_is_named_and_left_as_it_is() {
    let data = new_data().await;
    fill(&data).await;
    data.edit(
        "UPDATE totp SET key = (SELECT key FROM totp WHERE (workspace, user) = ('acme', 'admin'))
         WHERE (workspace, user) = ('acme', 'dora')",
    );
    let store = data.open_by(&seal_of(&[NEW_KEY, KEY])).await.unwrap();
    for _ in 0..2 {
        let told = seal::rekey(&*store).await.unwrap_err().to_string();
        assert_eq!(
            told,
            "the store failed: everything else is sealed anew, but these values, 1 in all, cannot \
             be opened: totp.key of dora in acme cannot be opened: it was changed, or sealed for \
             another place"
        );
        assert_eq!(under(&data, &seal_of(&[NEW_KEY])), (VALUES - 1, VALUES));
        assert!(data.open_by(&seal_of(&[NEW_KEY])).await.is_err());
    }
    data.edit("DELETE FROM totp WHERE (workspace, user) = ('acme', 'dora')");
    assert_eq!(seal::rekey(&*store).await.unwrap(), 0);
    assert!(data.open_by(&seal_of(&[NEW_KEY])).await.is_ok());
}
