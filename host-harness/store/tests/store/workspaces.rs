//! What every store promises that makes workspaces: the tests know a store as the trait and as
//! `Data`'s words only.

use super::audit_log::{past, record_in};
use super::new_data;
use chat_domain::dossier::{Question, Subject};
use chat_domain::operator::NewWorkspace;
use chat_domain::order::Record;
use chat_domain::settings::Settings;
use chat_store::Store;
use chat_testing::{ACME, GLOBEX, now};
use std::sync::Arc;
use tokio::task::JoinSet;

/// Two hosts that read the same configuration.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_those_who_create_a_workspace_at_once_one_does() {
    let data = new_data().await;
    let stores = [data.store.clone(), data.another_handle().await];
    for round in 0..5 {
        let mut creations = JoinSet::new();
        for number in 0..8 {
            let store = Arc::clone(&stores[number % 2]);
            let new = NewWorkspace {
                id: format!("new-{round}"),
                settings: Settings::default(),
                roles: Vec::new(),
                users: Vec::new(),
            };
            creations.spawn(async move { store.create_workspace(new).await.unwrap() });
        }
        let created = creations.join_all().await;
        assert_eq!(created.iter().filter(|created| **created).count(), 1);
    }
}

/// Many writers of many workspaces, by two handles as two processes have them.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn hosts_append_at_once_and_every_log_is_whole() {
    const EACH: u64 = 40;
    let data = new_data().await;
    for number in 0..6 {
        let id = format!("workspace-{number}");
        let new = NewWorkspace {
            id,
            settings: Settings::default(),
            roles: Vec::new(),
            users: Vec::new(),
        };
        assert!(data.store.create_workspace(new).await.unwrap());
    }
    let handles = [data.store.clone(), data.another_handle().await];
    let mut writers = JoinSet::new();
    for workspace in 0..6 {
        for handle in &handles {
            for number in 0..EACH {
                let store: Arc<dyn Store> = handle.clone();
                let record = record_in(&format!("workspace-{workspace}"), number);
                writers.spawn(async move {
                    // The other handle may keep the store busy for longer than one waits.
                    while store.decide(Record(record.clone())).await.is_err() {}
                });
            }
        }
    }
    writers.join_all().await;
    data.assert_logs_are_whole().await;
    for workspace in 0..6 {
        let size = past(&data, &format!("workspace-{workspace}")).await.size;
        assert_eq!(size, 2 * EACH);
    }
}

/// As they are compared, whatever a server's language is.
#[tokio::test]
async fn lists_are_sorted_byte_by_byte() {
    let data = new_data().await;
    data.edit(
        "INSERT INTO role VALUES ('acme', 'Zoo'), ('acme', 'ärger'), ('acme', '_');
         INSERT INTO role_permission VALUES ('acme', 'Zoo', 'b'), ('acme', 'Zoo', 'B'),
                                            ('acme', 'Zoo', 'a-b'), ('acme', 'Zoo', 'aa');
         INSERT INTO user_role VALUES ('acme', 'bob', 'ärger'), ('acme', 'bob', 'Zoo'),
                                      ('acme', 'bob', '_');
         INSERT INTO email VALUES ('acme', 'bob', 'a_b@x', TRUE), ('acme', 'bob', 'aB@x', TRUE),
                                  ('acme', 'bob', 'aa@x', TRUE);
         INSERT INTO fixed_setting VALUES ('acme', 'b', ''), ('acme', 'B', ''), ('acme', 'a', '');
         UPDATE user SET username_key = 'Zz' WHERE id = 'bob';
         INSERT INTO workspace VALUES ('Zoo'), ('_')",
    );
    let roles = data.store.roles(ACME).await.unwrap().unwrap();
    let names: Vec<_> = roles.iter().map(|role| role.name.as_str()).collect();
    assert_eq!(names, ["Zoo", "_", "admin", "moderator", "user", "ärger"]);
    assert_eq!(roles.first().unwrap().permissions, ["B", "a-b", "aa", "b"]);
    let question = Question::of(ACME)
        .about(Subject::id("bob").as_seen())
        .with_role_names()
        .with_fixed_settings();
    let dossier = data.store.read(&question).await.unwrap();
    assert_eq!(dossier.role_names, names);
    let fixed: Vec<_> = dossier
        .fixed_settings
        .iter()
        .map(|f| f.name.as_str())
        .collect();
    assert_eq!(fixed, ["B", "a", "b"]);
    let bob = dossier.caller().unwrap();
    assert_eq!(bob.roles, ["Zoo", "_", "user", "ärger"]);
    assert_eq!(bob.permissions, ["B", "a-b", "aa", "b", "view-history"]);
    let emails: Vec<_> = bob.emails.iter().map(|e| e.address.as_str()).collect();
    assert_eq!(emails, ["aB@x", "a_b@x", "aa@x", "bob@acme.example"]);
    let profiles = data.store.profiles(ACME).await.unwrap();
    assert_eq!(profiles.first().unwrap().user.id, "bob");
    let workspaces = data.store.workspaces(now()).await.unwrap();
    let workspaces: Vec<_> = workspaces.iter().map(|w| w.id.as_str()).collect();
    assert_eq!(workspaces, ["Zoo", "_", ACME, GLOBEX]);
}
