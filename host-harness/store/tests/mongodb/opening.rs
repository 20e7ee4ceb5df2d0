//! Which databases are opened, and what is said of others.

use crate::fixtures::{fill, profile};
use chat_domain::settings::Setting;
use chat_store::mongodb::RocketChats;
use chat_store::seal::Seal;
use chat_store::{StoreUrl, Unavailable};
use chat_testing::mongodb::Database;
use chat_testing::{ACME, KEY, NEW_KEY, now, seal, seal_of};
use mongodb::bson::doc;
use secrecy::ExposeSecret;

fn url(text: &str) -> StoreUrl {
    text.parse().unwrap()
}

async fn refusal(url: &StoreUrl, seal: &Seal) -> String {
    url.open(seal).await.err().unwrap().to_string()
}

#[tokio::test]
async fn what_is_no_store_is_not_opened() {
    let empty = Database::empty(ACME);
    let refused = refusal(&url(&empty.url()), &seal()).await;
    assert_eq!(
        refused,
        "the store failed: there is no Rocket.Chat in this database: name the one of its MONGO_URL"
    );
    let rocket_chat = Database::of_rocket_chat(ACME);
    let before = rocket_chat.everything();
    let refused = url(&rocket_chat.url()).open_to_look(&seal()).await;
    let refused = refused.err().unwrap().to_string();
    assert!(
        refused.contains("holds nothing of this program's yet"),
        "{refused}"
    );
    let surveyed = url(&rocket_chat.url()).survey(&seal()).await.unwrap();
    assert_eq!(surveyed.keys().collect::<Vec<_>>(), [ACME]);
    assert_eq!(rocket_chat.everything(), before, "a look makes nothing");
    drop(rocket_chat.open_or_create(&seal()).await);
    rocket_chat.update(
        "reset_totp_store",
        "store",
        doc! { "$set": { "version": 3_i64 } },
    );
    let refused = refusal(&url(&rocket_chat.url()), &seal()).await;
    assert!(refused.contains("a newer program wrote it"), "{refused}");
}

/// Whoever looks for a few records of a long audit trail reads no others.
#[tokio::test]
async fn a_store_of_the_first_version_has_the_indexes_of_this_one() {
    let rocket_chat = Database::of_rocket_chat(ACME);
    drop(rocket_chat.open_or_create(&seal()).await);
    let kept = rocket_chat.everything();
    rocket_chat.run(vec![
        doc! { "dropIndexes": "reset_totp_audit", "index": "*" },
        doc! {
            "update": "reset_totp_store",
            "updates": [{ "q": { "_id": "store" }, "u": { "$set": { "version": 1_i64 } } }],
        },
    ]);
    drop(rocket_chat.open_or_create(&seal()).await);
    assert_eq!(rocket_chat.everything(), kept);
    // One that is not there cannot be dropped.
    for name in ["caller_1_at_1", "target_1_at_1", "action_1_at_1"] {
        rocket_chat.run(vec![
            doc! { "dropIndexes": "reset_totp_audit", "index": name },
        ]);
    }
}

/// And none of them shows the password.
#[tokio::test]
async fn an_address_that_is_none_is_told_so() {
    for text in [
        "mongodb://chat:hunter2@127.0.0.1",
        "mongodb://chat:hunter2@127.0.0.1:99999999/rocketchat",
        "mongodb://chat:hunter2@/rocketchat",
        "mongodb://chat:hunter2@127.0.0.1:hunter2/rocketchat",
        "mongodb://127.0.0.1/rocketchat?workspace=a%20b",
    ] {
        let refused = refusal(&url(text), &seal()).await;
        assert!(!refused.contains("hunter2"), "{refused}");
        let is_told = refused.contains("mongodb://USER:PASSWORD@HOST/DATABASE")
            || refused.contains("a workspace's id is");
        assert!(is_told, "{text}: {refused}");
    }
    let no_file = url("mongodb://chat:hunter2@127.0.0.1/rocketchat?tls=true&tlsCAFile=/none/x");
    let refused = refusal(&no_file, &seal()).await;
    assert!(
        refused.contains("/none/x") && !refused.contains("hunter2"),
        "{refused}"
    );
    let nobody = url("mongodb://chat:hunter2@127.0.0.1:1/rocketchat?replicaSet=rs0");
    let error = nobody.open(&seal()).await.err().unwrap();
    assert!(
        matches!(error.unavailable(), Some(Unavailable::Unreachable(_))),
        "{error}"
    );
    assert!(!error.to_string().contains("hunter2"), "{error}");
}

#[tokio::test]
async fn the_workspace_is_called_as_everywhere_or_as_the_address_says() {
    let database = Database::of_rocket_chat(ACME);
    drop(database.open_or_create(&seal()).await);
    let (plain, _) = database
        .url()
        .split_once("&workspace=")
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    for (address, expected) in [(database.url(), ACME), (plain, "default")] {
        let store = url(&address).open(&seal()).await.unwrap();
        let workspaces = store.workspaces(now()).await.unwrap();
        let ids: Vec<_> = workspaces
            .iter()
            .map(|workspace| workspace.id.as_str())
            .collect();
        assert_eq!(ids, [expected]);
        let surveyed = url(&address).survey(&seal()).await.unwrap();
        assert_eq!(surveyed.keys().collect::<Vec<_>>(), [expected]);
        assert!(!url(&address).holds_mail().await.unwrap());
    }
}

/// Several hosts begin at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_store_is_made_once() {
    let database = Database::of_rocket_chat(ACME);
    fill(&database);
    let seal = seal();
    let opened = (0..4).map(|_| database.open_or_create(&seal));
    for store in futures_util::future::join_all(opened).await {
        assert!(profile(&*store, "alice").await.unwrap().is_some());
    }
    assert_eq!(database.everything()["reset_totp_store"].len(), 2);
}

/// A mail server of ours is sealed, comes before Rocket.Chat's, and comes under another key.
#[tokio::test]
async fn what_is_ours_and_secret_is_sealed() {
    let database = Database::of_rocket_chat(ACME);
    let host = doc! { "_id": "SMTP_Host", "value": "mail.rocket.example" };
    database.insert("rocketchat_settings", vec![host]);
    let store = database.open_or_create(&seal()).await;
    let server = async |of: &dyn chat_store::Store| {
        let settings = of.settings(ACME).await.unwrap().unwrap();
        settings.mail_server.expose_secret().to_owned()
    };
    assert_eq!(server(&*store).await, "smtp://mail.rocket.example");
    let ours = "smtps://chat:hunter2@mail.acme.example";
    let setting = Setting::named("mail-server").unwrap();
    let set = store.set_setting(crate::fixtures::operation(), setting, ours.into());
    set.await.unwrap().unwrap();
    assert_eq!(server(&*store).await, ours);
    let kept = |database: &Database| {
        let kept = database
            .document("reset_totp_settings", "mail-server")
            .unwrap();
        kept.get_str("value").unwrap().to_owned()
    };
    assert!(kept(&database).starts_with("s1."));
    let log = database.document("reset_totp_audit_log", "log").unwrap();
    assert!(log.get_str("secret").unwrap().starts_with("s1."));
    // The secret of the log, and the mail server.
    let both = seal_of(&[NEW_KEY, KEY]);
    assert_eq!(url(&database.url()).rekey(&both).await.unwrap(), 2);
    let new = seal_of(&[NEW_KEY]);
    assert!(kept(&database).starts_with(&new.beginning().unwrap()));
    let store = url(&database.url()).open(&new).await.unwrap();
    assert_eq!(server(&*store).await, ours);
    assert!(
        store
            .check_log(ACME, None)
            .await
            .unwrap()
            .unwrap()
            .faults
            .is_empty()
    );
    for seal in [seal_of(&[KEY]), Seal::none()] {
        let refused = refusal(&url(&database.url()), &seal).await;
        assert!(refused.contains("it is sealed under the key"), "{refused}");
    }
}

#[tokio::test]
async fn a_store_that_is_not_sealed_is_sealed_by_a_change_of_its_key() {
    let database = Database::of_rocket_chat(ACME);
    let store = database.open_or_create(&Seal::none()).await;
    let setting = Setting::named("mail-from").unwrap();
    let set = store.set_setting(
        crate::fixtures::operation(),
        setting,
        "a@acme.example".into(),
    );
    set.await.unwrap().unwrap();
    let refused = refusal(&url(&database.url()), &seal()).await;
    assert!(refused.contains("it is not sealed"), "{refused}");
    assert_eq!(url(&database.url()).rekey(&seal()).await.unwrap(), 1);
    let log = database.document("reset_totp_audit_log", "log").unwrap();
    assert!(log.get_str("secret").unwrap().starts_with("s1."));
    let store = url(&database.url()).open(&seal()).await.unwrap();
    assert!(
        store
            .check_log(ACME, None)
            .await
            .unwrap()
            .unwrap()
            .faults
            .is_empty()
    );
}

/// Who encrypts verifies, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_reached_by_tls_where_its_certificate_is_known() {
    let database = Database::encrypted(ACME);
    fill(&database);
    let store = database.open_or_create(&seal()).await;
    assert!(profile(&*store, "alice").await.unwrap().is_some());
    let known = database.url();
    let (before, after) = known.split_once("&tlsCAFile=").unwrap();
    let (_, after) = after.split_once('&').unwrap();
    let unknown = format!("{before}&{after}");
    let plain = unknown.replace("&tls=true", "");
    for address in [unknown, plain] {
        let error = url(&address).open(&seal()).await.err().unwrap();
        let is_kept_out = matches!(error.unavailable(), Some(Unavailable::Unreachable(_)));
        assert!(is_kept_out, "{address}: {error}");
    }
}

#[tokio::test]
async fn it_is_copied_by_its_own_tools() {
    let database = Database::of_rocket_chat(ACME);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backup");
    let (to, from) = (
        url(&database.url()).back_up(&file).await,
        url(&database.url()).restore(&file).await,
    );
    for refused in [to, from] {
        let refused = refused.unwrap_err();
        assert!(refused.0.is::<RocketChats>());
        assert!(refused.to_string().contains("mongodump and mongorestore"));
    }
    assert!(!file.exists());
}
