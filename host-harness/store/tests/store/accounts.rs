//! Accounts page by page, and found by a part of what they are called.

use super::new_data;
use chat_domain::attempts::FREE_FAILURES;
use chat_domain::directory::{AccountFilter, Place, Search};
use chat_domain::dossier::{Question, Subject};
use chat_domain::settings::Settings;
use chat_store::Store;
use chat_testing::ask::Ask as _;
use chat_testing::{ACME, Data, GLOBEX, after, now};
use std::collections::BTreeSet;

/// The ids of all accounts that the filter finds, in pages of so many; between two pages
/// `meanwhile` happens.
async fn walk(
    store: &dyn Store,
    workspace: &str,
    mut filter: AccountFilter,
    mut meanwhile: impl FnMut(usize),
) -> Vec<String> {
    let mut found = Vec::new();
    for page in 0.. {
        let listed = store.accounts(workspace, &filter).await.unwrap();
        assert!(listed.profiles.len() <= filter.most as usize);
        found.extend(listed.profiles.into_iter().map(|profile| profile.user.id));
        filter.after = listed.next;
        if filter.after.is_none() {
            break;
        }
        meanwhile(page);
    }
    found
}

fn of(search: &str, most: u32) -> AccountFilter {
    AccountFilter {
        search: Search::parse(search).unwrap(),
        most,
        ..AccountFilter::default()
    }
}

/// Adds accounts with these ids, which are their usernames, too.
fn add(data: &Data, ids: impl Iterator<Item = String>) {
    let rows: Vec<_> = ids
        .map(|id| format!("('acme', '{id}', '{id}', '{id}', FALSE, FALSE)"))
        .collect();
    data.edit(&format!(
        "INSERT INTO user (workspace, id, username, username_key, federated, deactivated)
         VALUES {}",
        rows.join(", ")
    ));
}

#[tokio::test]
async fn every_account_is_listed_once_by_username_while_others_are_added() {
    let data = new_data().await;
    data.edit("DELETE FROM login_token WHERE workspace = 'acme' AND user = 'bob'");
    add(&data, (0..1000).map(|n| format!("m{n:04}")));
    let mut added = Vec::new();
    let walked = walk(&*data.store, ACME, of("", 100), |page| {
        let new = [format!("a-{page}"), format!("n-{page}")];
        add(&data, new.clone().into_iter());
        added.extend(new);
    });
    let walked = walked.await;
    let members = walked
        .iter()
        .filter(|id| id.starts_with('m') && id.len() == 5);
    let expected = (0..1000).map(|n| format!("m{n:04}"));
    assert!(members.eq(&expected.collect::<Vec<_>>()), "{walked:?}");
    let each: BTreeSet<_> = walked.iter().collect();
    assert_eq!(each.len(), walked.len(), "listed twice: {walked:?}");
    for id in ["admin", "moderator", "alice", "bob", "dora", "fred"] {
        assert!(each.contains(&id.to_owned()), "{id}");
    }
    assert_eq!(added.len(), 20);
    assert!(!each.contains(&"a-5".to_owned()));
    assert!(each.contains(&"n-5".to_owned()));
}

#[tokio::test]
async fn a_listed_account_is_as_one_that_is_asked_for() {
    let data = new_data().await;
    data.show_key(ACME, "bob", "shown", 1_234_567_950_000);
    data.store
        .begin_totp_attempt(ACME, "alice", now())
        .await
        .unwrap();
    let listed = data.store.accounts(ACME, &of("", 100)).await.unwrap();
    assert_eq!(listed.next, None);
    assert_eq!(listed.profiles.len(), 6);
    for profile in listed.profiles {
        let subject = Subject::id(&profile.user.id).as_seen().with_tokens();
        let question = Question::of(ACME).about(subject);
        let mut asked = data.store.read(&question).await.unwrap().accounts;
        let mut asked = asked.pop().flatten().unwrap();
        let mut listed = profile;
        for profile in [&mut asked, &mut listed] {
            profile.tokens.sort_by(|a, b| a.hash.cmp(&b.hash));
        }
        assert_eq!(format!("{listed:?}"), format!("{asked:?}"));
    }
}

/// Every store compares what is searched for as text, in any case.
#[tokio::test]
async fn an_account_is_found_by_a_part_of_its_username_or_address() {
    let data = new_data().await;
    data.edit(
        "INSERT INTO email VALUES ('acme', 'bob', 'Robert+x_y@elsewhere.example', FALSE),
                                  ('acme', 'fred', 'robert.two@elsewhere.example', TRUE)",
    );
    let everybody = ["admin", "alice", "bob", "dora", "fred", "moderator"];
    for (search, found) in [
        ("", &everybody[..]),
        (" ", &everybody),
        ("ALICE", &["alice"]),
        ("ice.ac", &["alice"]),
        ("ELSEWHERE", &["bob", "fred"]),
        ("robert", &["bob", "fred"]),
        ("robert+", &["bob"]),
        ("x_y", &["bob"]),
        ("o", &["alice", "bob", "dora", "fred", "moderator"]),
        ("acme", &everybody),
        ("gina", &[]),
        ("globex", &[]),
        ("%", &[]),
        ("_", &["bob"]),
        (".*", &[]),
        ("^a", &[]),
        ("\\", &[]),
        ("'", &[]),
        ("a\u{2028}b", &[]),
    ] {
        for most in [1, 2, 100] {
            let walked = walk(&*data.store, ACME, of(search, most), |_| ()).await;
            let each: BTreeSet<_> = walked.iter().map(String::as_str).collect();
            assert_eq!(each.len(), walked.len(), "{search}: {walked:?}");
            assert!(each.iter().eq(found), "{search} by {most}: {walked:?}");
        }
    }
}

#[tokio::test]
async fn those_who_were_locked_are_listed_alone() {
    let data = new_data().await;
    for (user, attempts) in [("alice", FREE_FAILURES), ("admin", FREE_FAILURES - 1)] {
        for _ in 0..attempts {
            let attempt = data.store.begin_totp_attempt(ACME, user, now());
            attempt.await.unwrap();
        }
    }
    let locked = |search: &str| AccountFilter {
        lock_noted: true,
        ..of(search, 1)
    };
    for (search, found) in [
        ("", &["alice"][..]),
        ("alice@", &["alice"]),
        ("ALICE.", &["alice"]),
        ("admin", &[]),
    ] {
        let walked = walk(&*data.store, ACME, locked(search), |_| ()).await;
        assert_eq!(walked, found, "{search}");
    }
    let settings = Settings::default();
    for (now, expected) in [(after(29), 1), (after(30), 0)] {
        let (members, next) = data
            .store
            .members(ACME, locked(""), &settings, now)
            .await
            .unwrap();
        assert_eq!((members.len(), next), (expected, None));
    }
}

#[tokio::test]
async fn accounts_of_another_workspace_are_never_listed() {
    let data = new_data().await;
    let walked = walk(&*data.store, GLOBEX, of("", 2), |_| ()).await;
    assert_eq!(walked, ["admin", "alice", "bob", "dora", "gina"]);
    let walked = walk(&*data.store, GLOBEX, of("acme", 2), |_| ()).await;
    assert_eq!(walked, <[&str; 0]>::default());
    let walked = walk(&*data.store, "initech", of("", 2), |_| ()).await;
    assert_eq!(walked, <[&str; 0]>::default());
}

/// It comes from a client.
#[tokio::test]
async fn a_place_that_no_page_has_given_is_no_harm() {
    let data = new_data().await;
    for (search, place) in [
        ("", Place::Username("\u{10ffff}".to_owned())),
        ("", Place::Username("\0".to_owned())),
        ("", Place::Address(String::new())),
        ("acme", Place::Address("'; --".to_owned())),
        ("acme", Place::Address("\0".to_owned())),
    ] {
        let filter = AccountFilter {
            after: Some(place),
            ..of(search, 3)
        };
        let listed = data.store.accounts(ACME, &filter).await.unwrap();
        assert!(listed.profiles.len() <= 3);
    }
}
