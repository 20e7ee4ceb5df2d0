//! Who writes when, and who waits for whom.

use crate::suite::new_data;
use crate::suite::store::{refusal, totp};
use chat_domain::account::Token;
use chat_domain::audit::AuditRecord;
use chat_domain::dossier::{Dossier, Question};
use chat_domain::operator::NewWorkspace;
use chat_domain::order::Change;
use chat_domain::outbox::LEASE;
use chat_domain::settings::Settings;
use chat_domain::standing::RefuseMalformed;
use chat_store::Unavailable;
use chat_store::postgres::Postgres;
use chat_testing::ask::{Ask as _, source};
use chat_testing::proxy::{Cut, Proxy};
use chat_testing::{ACME, Data, GLOBEX, now, seal, step, token_hash};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio_postgres::Client;

/// Somebody else who keeps acme.
async fn keep_acme(data: &Data) -> Client {
    let lock = chat_testing::postgres::connect(data.database().url())
        .await
        .unwrap();
    let keep = "BEGIN; SELECT 1 FROM workspace WHERE id = 'acme' FOR UPDATE";
    lock.batch_execute(keep).await.unwrap();
    lock
}

/// Transactions that have written.
fn transactions(data: &Data) -> i64 {
    data.database()
        .numbers("SELECT count(*) FROM commit_mark WHERE committed")[0]
}

fn record_of(workspace: &str) -> AuditRecord {
    AuditRecord {
        workspace: workspace.to_owned(),
        ..refusal()
    }
}

/// Writes that wait for another are one transaction.
#[tokio::test]
async fn what_waits_is_committed_together() {
    const WRITES: usize = 32;
    let data = new_data().await;
    let before = transactions(&data);
    let lock = keep_acme(&data).await;
    let mut writes = JoinSet::new();
    for _ in 0..WRITES {
        let store = data.store.clone();
        writes.spawn(async move { store.reset(totp(step())).await.unwrap() });
    }
    // The others wait for the first.
    data.database().until_waiting(1).await;
    lock.batch_execute("ROLLBACK").await.unwrap();
    let outcomes = writes.join_all().await;
    let done = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(done, 1, "each was decided after the one before it");
    let together = transactions(&data) - before;
    assert!(together <= 2, "{together} transactions");
}

/// Changes of which the last cannot be made: nobody has that id.
fn impossible() -> Vec<Change> {
    let token = Token {
        hash: "hash".to_owned(),
        expires: None,
        name: None,
        bypass_two_factor: false,
    };
    let user = "nobody".to_owned();
    vec![Change::Record(refusal()), Change::AddToken { user, token }]
}

/// The pieces that are committed with it, before and after, are what they would be without it.
#[tokio::test]
async fn a_piece_that_fails_or_panics_takes_nothing_with_it() {
    for is_last in [true, false] {
        let data = new_data().await;
        let before = transactions(&data);
        let lock = keep_acme(&data).await;
        let store = data.store.clone();
        // One waits for the lock, and the others behind it.
        let first = tokio::spawn(async move { store.record(refusal()).await });
        data.database().until_waiting(1).await;
        let mut others = Vec::new();
        for piece in 0..7 {
            let store = data.store.clone();
            let fails = matches!(piece, 1 | 2) || (is_last && piece == 6);
            let panics = piece == 4;
            let write = tokio::spawn(async move {
                match (fails, panics) {
                    (true, _) => {
                        store
                            .transact(Question::of(ACME), Box::new(|_| impossible()))
                            .await
                    }
                    (_, true) => {
                        let panics = Box::new(|_: &_| panic!("a rule has a bug"));
                        store.transact(Question::of(ACME), panics).await
                    }
                    _ => store.record(refusal()).await,
                }
            });
            others.push((fails || panics, write));
            tokio::task::yield_now().await;
        }
        lock.batch_execute("ROLLBACK").await.unwrap();
        first.await.unwrap().unwrap();
        let mut written = 1;
        for (fails, write) in others {
            let ended = write.await.unwrap();
            assert_eq!(ended.is_err(), fails, "{ended:?}");
            written += i64::from(!fails);
        }
        let records = data.database().numbers("SELECT count(*) FROM audit");
        assert_eq!(records, [written]);
        assert_eq!(transactions(&data) - before, 2);
    }
}

#[tokio::test]
async fn a_piece_that_fails_alone_leaves_nothing_and_nobody_waiting() {
    let data = new_data().await;
    let before = data.dump();
    let unknown = data.store.record(record_of("initech")).await.unwrap_err();
    assert!(unknown.unavailable().is_none(), "{unknown}");
    let panics = Box::new(|_: &_| panic!("a rule has a bug"));
    let panicked = data.store.transact(Question::of(ACME), panics).await;
    assert_eq!(
        panicked.unwrap_err().to_string(),
        "the store failed: it panicked"
    );
    assert_eq!(before.changes(&data.dump()), "");
    data.store.record(refusal()).await.unwrap();
}

#[tokio::test]
async fn a_workspace_that_is_kept_keeps_no_other() {
    let data = new_data().await;
    let _lock = keep_acme(&data).await;
    let begun = Instant::now();
    let acme = data.store.clone();
    let acme = tokio::spawn(async move { acme.record(refusal()).await });
    tokio::task::yield_now().await;
    data.store.record(record_of(GLOBEX)).await.unwrap();
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
    let busy = acme.await.unwrap().unwrap_err();
    assert_eq!(busy.unavailable(), Some(&Unavailable::Busy));
    assert!(
        begun.elapsed() < Duration::from_millis(2500),
        "{:?}",
        begun.elapsed()
    );
    // Readers wait for nobody.
    assert!(data.store.settings(ACME).await.unwrap().is_some());
}

/// A flood of malformed requests of strangers neither waits for the lock nor takes it from
/// those who reset.
#[tokio::test]
async fn a_malformed_request_of_a_stranger_needs_no_transaction() {
    let data = new_data().await;
    let refuse = |token_hash: String| RefuseMalformed {
        workspace: ACME.to_owned(),
        user: "admin".to_owned(),
        token_hash,
        now: now(),
        request_id: "request-1".to_owned(),
        source: source(),
        recent_calls: 0,
    };
    let lock = keep_acme(&data).await;
    let stranger = data.store.decide(refuse(token_hash("alice-token"))).await;
    let stranger = stranger.unwrap();
    assert!(stranger.standing.is_none() && !stranger.recorded);
    lock.batch_execute("ROLLBACK").await.unwrap();
    let admin = data.store.decide(refuse(token_hash("admin-token"))).await;
    assert!(admin.unwrap().recorded);
}

/// It has the lock and says nothing: the server ends its transaction before others give up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_stalls_in_a_transaction_keeps_no_other_out() {
    let data = new_data().await;
    let proxy = Proxy::before(&data.database().url()).await;
    let stalled = Postgres::open(proxy.url(), &seal()).await.unwrap();
    stalled.record(refusal()).await.unwrap();
    proxy.cut(Cut::SilenceBefore);
    let stalled = tokio::spawn(async move { stalled.record(refusal()).await });
    while proxy.done() == 0 {
        tokio::task::yield_now().await;
    }
    let begun = Instant::now();
    data.store.record(refusal()).await.unwrap();
    assert!(
        begun.elapsed() < Duration::from_millis(1500),
        "{:?}",
        begun.elapsed()
    );
    assert!(stalled.await.unwrap().is_err());
    let records = data.database().numbers("SELECT count(*) FROM audit");
    assert_eq!(records, [2]);
}

/// Another host would claim it while what became of the last try is noted.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_mail_that_is_decided_about_is_claimed_by_nobody() {
    let data = new_data().await;
    data.edit(
        "INSERT INTO outbox (workspace, message_id, recipient, subject, body, queued, expires,
                             holds_code, next_try)
         VALUES ('acme', 'm', 'a', 's', 'b', 0, 9000000000000, FALSE, 0)",
    );
    let mail = data.store.claim(now()).await.unwrap().unwrap();
    let later = now() + LEASE;
    let other = data.another_handle().await;
    let claims = Arc::new(Mutex::new(Vec::new()));
    let (claimed, claimant, runtime) = (claims.clone(), other.clone(), Handle::current());
    let decide = move |_: &Dossier| {
        let (claimant, (send, receive)) = (claimant.clone(), channel());
        let runtime = runtime.clone();
        std::thread::spawn(move || {
            let claim = runtime.block_on(claimant.claim(later)).unwrap();
            send.send(claim.is_some()).unwrap();
        });
        claimed.lock().unwrap().push(receive.recv().unwrap());
        Vec::new()
    };
    let question = Question::of(ACME).with_mail(mail.id);
    data.store
        .transact(question, Box::new(decide))
        .await
        .unwrap();
    assert_eq!(*claims.lock().unwrap(), [false]);
    assert!(other.claim(later).await.unwrap().is_some());
}

/// It is decided again, with what there is by then.
#[tokio::test]
async fn a_workspace_that_another_host_creates_at_the_same_time_is_there() {
    let data = new_data().await;
    let other = chat_testing::postgres::connect(data.database().url())
        .await
        .unwrap();
    let create = "BEGIN; INSERT INTO workspace VALUES ('initech')";
    other.batch_execute(create).await.unwrap();
    let new = NewWorkspace {
        id: "initech".to_owned(),
        settings: Settings::default(),
        roles: Vec::new(),
        users: Vec::new(),
    };
    let store = data.store.clone();
    let created = tokio::spawn(async move { store.create_workspace(new).await });
    data.database().until_waiting(1).await;
    other.batch_execute("COMMIT").await.unwrap();
    assert!(!created.await.unwrap().unwrap());
}
