//! The stores of a process: opened when they are used, closed when they are
//! not.

use chat_server::clock::Clock;
use chat_server::stores::{IDLE, MAX_OPEN, Stores, files_each};
use chat_testing::{Data, now, seal, until};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// A mail that is to be sent long after [`now`].
const LATER: &str = "INSERT INTO outbox (workspace, message_id, recipient, subject, body, queued,
                                         expires, holds_code, next_try)
     VALUES ('acme', 'm', 'a@example.com', 's', 'b', 0, 9000000000000000, 0, 8000000000000000)";

fn stores() -> Arc<Stores> {
    Stores::new(Clock::new(now), seal())
}

/// Waits until what ends in the background has ended.
async fn open_files_settle(path: &Path, expected: bool) {
    until("the file is open, or not", || is_held(path) == expected).await;
}

/// Whether this process has the file open.
fn is_held(path: &Path) -> bool {
    times_held(std::process::id(), path) > 0
}

/// How often a process has the file open.
pub(crate) fn times_held(process: u32, path: &Path) -> usize {
    let path = path.canonicalize().unwrap();
    open_files(process).filter(|file| *file == path).count()
}

/// How often this process has the file, or one that SQLite keeps beside it, open.
fn held_files(path: &Path) -> usize {
    let path = path.canonicalize().unwrap();
    let beside = |file: &PathBuf| {
        let text = file.to_str().unwrap_or_default();
        text.starts_with(path.to_str().unwrap())
    };
    open_files(std::process::id()).filter(beside).count()
}

fn open_files(process: u32) -> impl Iterator<Item = PathBuf> {
    let files = std::fs::read_dir(format!("/proc/{process}/fd")).unwrap();
    files.filter_map(|file| std::fs::read_link(file.unwrap().path()).ok())
}

#[tokio::test]
async fn a_store_is_opened_when_it_is_first_used_and_closed_when_nobody_does() {
    let data = Data::closed().await;
    let stores = stores();
    let file = stores.at(&data.url());
    assert!(Arc::ptr_eq(&file, &stores.at(&data.url())));
    assert_eq!(stores.open(), 0);
    assert!(!is_held(&data.path()));

    let store = file.get().await.unwrap();
    assert!(store.settings("acme").await.unwrap().is_some());
    assert_eq!(stores.open(), 1);
    stores.close_idle(Duration::ZERO).await;
    assert_eq!(stores.open(), 1, "it is in use");
    drop(store);
    stores.close_idle(IDLE).await;
    assert_eq!(stores.open(), 1, "it was used just now");
    stores.close_idle(Duration::ZERO).await;
    assert_eq!(stores.open(), 0);
    open_files_settle(&data.path(), false).await;

    let store = file.get().await.unwrap();
    assert!(store.settings("acme").await.unwrap().is_some());
}

#[tokio::test]
async fn a_store_that_no_workspace_names_any_more_is_closed() {
    let data = Data::closed().await;
    let stores = stores();
    let file = stores.at(&data.url());
    file.get().await.unwrap();
    assert!(is_held(&data.path()));
    drop(file);
    assert_eq!(stores.open(), 0);
    open_files_settle(&data.path(), false).await;
}

/// Mail that another process queues, such as an operator's command, is seen at once.
#[tokio::test]
async fn a_few_stores_are_all_open_while_they_are_tended() {
    let data = [Data::closed().await, Data::closed().await];
    let stores = stores();
    let files = data.each_ref().map(|data| stores.at(&data.url()));
    let tending = tokio::spawn(stores.clone().tend(std::future::pending()));
    until("all are open", || stores.open() == files.len()).await;
    tending.abort();
}

#[tokio::test]
async fn what_a_wrong_clock_has_left_is_counted_in_the_stores_that_are_open() {
    let data = Data::closed().await;
    data.edit(
        "UPDATE totp SET last_step = 1000000000000 WHERE workspace = 'acme' AND user = 'alice'",
    );
    let stores = stores();
    let hosted = stores.at(&data.url());
    drop(hosted.get().await.unwrap());
    assert_eq!(stores.clock_faults(), 0);
    let tending = tokio::spawn(stores.clone().tend(std::future::pending()));
    until("it is counted", || stores.clock_faults() > 0).await;
    assert_eq!(stores.clock_faults(), 1);
    tending.abort();
}

#[tokio::test]
async fn of_many_stores_one_with_mail_to_send_is_opened_by_itself_and_not_closed() {
    let (idle, mail) = (Data::closed().await, Data::closed().await);
    mail.edit(LATER);
    let stores = stores();
    let files = [stores.at(&idle.url()), stores.at(&mail.url())];
    let folder = tempfile::tempdir().unwrap();
    let others = (0..MAX_OPEN).map(|number| {
        let path = folder.path().join(format!("{number}.sqlite"));
        std::fs::copy(idle.path(), &path).unwrap();
        stores.at(&path.into())
    });
    let others: Vec<_> = others.collect();
    let stop = Arc::new(Notify::new());
    let stopped = stop.clone();
    let tending = tokio::spawn(stores.clone().tend(async move { stopped.notified().await }));
    until("one is open", || stores.open() > 0).await;
    stores.close_idle(Duration::ZERO).await;
    assert_eq!(stores.open(), 1);
    assert!(is_held(&mail.path()));
    open_files_settle(&idle.path(), false).await;
    stop.notify_one();
    tending.await.unwrap();
    drop((files, others));
}

/// Their files would soon be more than a process may have open: also where a mail server is
/// gone and mail waits in each.
#[tokio::test]
async fn many_stores_do_not_stay_open_together() {
    let data = Data::closed().await;
    data.edit(LATER);
    let stores = stores();
    let folder = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    for number in 0..=MAX_OPEN {
        let path = folder.path().join(format!("{number}.sqlite"));
        std::fs::copy(data.path(), &path).unwrap();
        let file = stores.at(&path.into());
        file.get().await.unwrap();
        files.push(file);
    }
    assert!(stores.open() < MAX_OPEN, "{}", stores.open());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_store_holds_no_more_files_than_are_counted_for_it() {
    let data = Data::closed().await;
    let file = stores().at(&data.url());
    let store = file.get().await.unwrap();
    let mut readers = JoinSet::new();
    for _ in 0..200 {
        let store = store.clone();
        readers.spawn(async move { store.settings("acme").await.unwrap() });
    }
    while readers.join_next().await.is_some() {
        let held = held_files(&data.path());
        assert!((5..=files_each()).contains(&held), "{held}");
    }
}

/// Otherwise its mail waits until somebody looks for it.
#[tokio::test]
async fn a_store_that_is_taken_while_it_is_being_closed_stays_open() {
    let data = Data::closed().await;
    let stores = stores();
    let file = stores.at(&data.url());
    drop(file.get().await.unwrap());
    let (store, ()) = tokio::join!(
        biased;
        async {
            tokio::task::yield_now().await;
            file.get().await.unwrap()
        },
        stores.close_idle(Duration::ZERO)
    );
    assert_eq!(stores.open(), 1);
    assert!(Arc::ptr_eq(&store, &file.get().await.unwrap()));
}
