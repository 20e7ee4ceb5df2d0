//! What happens where mail cannot be sent.

use crate::support::{ACME, Data, GLOBEX, SmtpServer};
use chat_domain::mailed_code::EmailCode;
use chat_domain::outbox::{LEASE, MOST_DOUBTFUL_TRIES};
use chat_server::clock::Clock;
use chat_server::delivery::{DELIVERY_LIMIT, WORKSPACE_LIMIT, deliver, deliver_due};
use chat_testing::ask::Ask as _;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_missing_setting_is_named_and_mail_goes_soon_after_it_is_set() {
    let server = SmtpServer::start();
    let data = Data::new("", &["alice@example.com"]).await;
    data.set(ACME, "mail-from", "");
    data.queue_notice(ACME).await;
    for (setting, value, missing) in [
        (
            "mail-server",
            server.url().as_str(),
            "settings mail-server and mail-from have",
        ),
        ("mail-server", "", "setting mail-from has"),
        (
            "mail-from",
            "chat@acme.example",
            "settings mail-server and mail-from have",
        ),
        ("mail-server", &server.url(), "setting mail-server has"),
    ] {
        data.deliver_due().await;
        let outbox = data.outbox().await;
        assert!(
            outbox[0].starts_with("alice@example.com waiting in 30 "),
            "{outbox:?}"
        );
        assert!(
            outbox[0].ends_with(&format!(" the {missing} no value")),
            "{outbox:?}"
        );
        data.set(ACME, setting, value);
        data.advance(30 * SECOND);
    }
    data.deliver_due().await;
    assert!(data.outbox().await.is_empty());
    assert_eq!(server.stop_and_list(), ["alice@example.com"]);
}

#[tokio::test]
async fn a_server_that_is_down_gets_each_mail_once_when_it_is_back() {
    let server = SmtpServer::start();
    let front = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = front.local_addr().unwrap();
    drop(front);
    let data = Data::new(
        &format!("smtp://{address}"),
        &["a@example.com", "b@example.com"],
    )
    .await;
    data.queue_notice(ACME).await;
    for (tries, pause) in [(1, 10), (2, 20), (3, 40)] {
        data.deliver_due().await;
        let outbox = data.outbox().await;
        assert_eq!(outbox.len(), 2);
        for (line, to) in outbox.iter().zip(["a", "b"]) {
            let expected = format!(
                "{to}@example.com waiting in {pause} tries={tries} connecting: Connection error: \
                 Connection refused"
            );
            assert!(line.starts_with(&expected), "{line}");
        }
        data.advance(pause * SECOND - Duration::from_millis(1));
        data.deliver_due().await;
        assert!(data.mails().await.iter().all(|mail| mail.tries == tries));
        data.advance(Duration::from_millis(1));
    }
    let front = TcpListener::bind(address).await.unwrap();
    let port = server.port;
    tokio::spawn(async move {
        while let Ok((mut client, _)) = front.accept().await {
            let mut server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            tokio::spawn(async move { copy_bidirectional(&mut client, &mut server).await });
        }
    });
    data.deliver_due().await;
    assert!(data.outbox().await.is_empty());
    assert_eq!(server.stop_and_list(), ["a@example.com", "b@example.com"]);
}

/// RFC 5321 section 4.2.1: 4yz may be tried again, 5yz not.
#[tokio::test]
async fn a_recipient_is_deferred_or_refused_for_itself_alone() {
    let server = SmtpServer::start();
    let recipients = [
        "alice@example.com",
        "defer-once@example.com",
        "reject@example.com",
    ];
    let data = Data::new(&server.url(), &recipients).await;
    data.queue_notice(ACME).await;
    data.deliver_due().await;
    let refused = "reject@example.com dead letter tries=1 naming the recipient: the server answered \
                   550: No such mailbox";
    assert_eq!(
        data.outbox().await,
        [
            "defer-once@example.com waiting in 10 tries=1 naming the recipient: the server answered \
             451: Try again later",
            refused
        ]
    );
    data.advance(10 * SECOND);
    data.deliver_due().await;
    assert_eq!(data.outbox().await, [refused]);
    data.advance(1000 * 3600 * SECOND);
    data.deliver_due().await;
    assert_eq!(data.outbox().await, [refused]);
    assert_eq!(
        server.stop_and_list(),
        ["alice@example.com", "defer-once@example.com"]
    );
}

/// RFC 3463 section 3.8: what a server says to strangers is about the settings.
#[tokio::test]
async fn a_recipient_refused_by_policy_is_tried_again() {
    let server = SmtpServer::start();
    let data = Data::new(&server.url(), &["relay@example.com"]).await;
    data.queue_notice(ACME).await;
    data.deliver_due().await;
    assert_eq!(
        data.outbox().await,
        [
            "relay@example.com waiting in 10 tries=1 naming the recipient: the server answered \
          554: 5.7.1 Relay access denied"
        ]
    );
}

/// The same class, wherever it comes: what the sender's domain lacks is mended by its owner.
#[tokio::test]
async fn a_message_refused_by_policy_is_tried_again() {
    let server = SmtpServer::start();
    let data = Data::new(&server.url(), &["policy@example.com"]).await;
    data.queue_notice(ACME).await;
    data.deliver_due().await;
    assert_eq!(
        data.outbox().await,
        [
            "policy@example.com waiting in 10 tries=1 handing in the message: the server answered \
             554"
        ]
    );
}

#[tokio::test]
async fn a_mail_that_may_have_arrived_is_copied_so_often_and_no_more() {
    let server = SmtpServer::start();
    let data = Data::new(&server.url(), &["cut@example.com"]).await;
    data.queue_notice(ACME).await;
    for tries in 1..MOST_DOUBTFUL_TRIES {
        data.deliver_due().await;
        let outbox = data.outbox().await;
        let doubt =
            format!("tries={tries} may have arrived {tries} times: handing in the message: ");
        assert!(outbox[0].contains(&doubt), "{outbox:?}");
        data.advance(3600 * SECOND);
    }
    for _ in 0..3 {
        data.deliver_due().await;
        data.advance(3600 * SECOND);
    }
    let outbox = data.outbox().await;
    let dead = "cut@example.com dead letter tries=3 may have arrived 3 times: ";
    assert!(outbox[0].starts_with(dead), "{outbox:?}");
    assert_eq!(server.stop().len(), 3);
}

#[tokio::test]
async fn what_waits_for_one_server_goes_by_few_connections() {
    let server = SmtpServer::start();
    let mut addresses: Vec<_> = (100..140).map(|n| format!("a{n}@example.com")).collect();
    addresses.extend(["defer@example.com", "reject@example.com"].map(str::to_owned));
    let known: Vec<_> = addresses.iter().map(String::as_str).collect();
    let data = Data::new(&server.url(), &known).await;
    data.queue_notice(ACME).await;
    data.deliver_due().await;
    let outbox = data.outbox().await;
    assert_eq!(
        outbox.len(),
        2,
        "the one that is put off, and the refused one: {outbox:?}"
    );
    let received = server.stop();
    assert_eq!(received.len(), 40);
    let connections: BTreeSet<_> = received.iter().map(|mail| &mail.connection).collect();
    assert!(connections.len() <= WORKSPACE_LIMIT, "{connections:?}");
}

/// A code that cannot arrive blocks no other.
#[tokio::test]
async fn a_code_whose_mail_died_may_be_asked_for_again_at_once() {
    let server = SmtpServer::start();
    let data = Data::new(
        &server.url(),
        &["reject@example.com", "reject2@example.com"],
    )
    .await;
    data.queue_code(ACME, "135790").await;
    data.deliver_due().await;
    assert!(data.outbox().await.is_empty());
    data.queue_code(ACME, "246801").await;
    assert_eq!(data.outbox().await.len(), 2);
    // Where one of two addresses has it, it is the code.
    let data = Data::new(&server.url(), &["alice@example.com", "reject@example.com"]).await;
    data.queue_code(ACME, "135790").await;
    data.deliver_due().await;
    let again = data
        .store
        .send_email_code(ACME, "alice", "246801".into(), data.now());
    assert!(matches!(again.await.unwrap(), EmailCode::Live { .. }));
}

/// A wrong clock is forgotten once it is right.
#[tokio::test]
async fn mail_that_a_clock_which_was_ahead_has_put_off_goes_at_once() {
    let server = SmtpServer::start();
    let data = Data::new(&server.url(), &["alice@example.com"]).await;
    data.queue_notice_at(ACME, data.now() + 24 * 3600 * SECOND)
        .await;
    assert_eq!(
        data.store.next_mail_due(data.now()).await.unwrap(),
        Some(data.now())
    );
    data.deliver_due().await;
    assert!(data.outbox().await.is_empty());
    assert_eq!(server.stop_and_list(), ["alice@example.com"]);
}

#[tokio::test]
async fn a_code_whose_recipient_is_refused_is_removed() {
    let server = SmtpServer::start();
    let data = Data::new(&server.url(), &["reject@example.com"]).await;
    data.queue_code(ACME, "135790").await;
    data.deliver_due().await;
    assert!(data.outbox().await.is_empty());
    assert!(!data.files_hold(b"135-790"));
}

#[tokio::test]
async fn a_wrong_password_is_tried_again() {
    let server = SmtpServer::start_with(&serde_json::json!({
        "tls": "none", "user": "chat", "password": "right"
    }));
    let url = |password: &str| format!("smtp://chat:{password}@127.0.0.1:{}", server.port);
    let data = Data::new(&url("wrong"), &["alice@example.com"]).await;
    data.queue_notice(ACME).await;
    data.deliver_due().await;
    assert_eq!(
        data.outbox().await,
        ["alice@example.com waiting in 10 tries=1 logging in: the server answered 535"]
    );
    data.set(ACME, "mail-server", &url("right"));
    data.advance(10 * SECOND);
    data.deliver_due().await;
    let mail = server.receive();
    assert_eq!((mail.user.as_deref(), mail.secure), (Some("chat"), false));
}

#[tokio::test]
async fn a_mail_whose_time_is_over_is_a_dead_letter_and_a_code_is_removed() {
    let data = Data::new("", &["alice@example.com"]).await;
    data.queue_notice(ACME).await;
    data.queue_code(ACME, "135790").await;
    data.deliver_due().await;
    data.advance(3600 * SECOND - Duration::from_millis(1));
    data.deliver_due().await;
    assert_eq!(data.mails().await.len(), 2);
    data.advance(Duration::from_millis(1));
    data.deliver_due().await;
    assert_eq!(data.mails().await.len(), 1, "a code lasts an hour");
    assert!(!data.files_hold(b"135-790"));
    data.advance(71 * 3600 * SECOND - Duration::from_millis(1));
    data.deliver_due().await;
    assert!(data.outbox().await[0].starts_with("alice@example.com waiting in 0 "));
    data.advance(Duration::from_millis(1));
    // A clock that was wrong must not let a notice die that was hardly tried.
    for tries in [3, 4] {
        let waits = format!("alice@example.com waiting in 0 tries={tries} ");
        let outbox = data.outbox().await;
        assert!(outbox[0].starts_with(&waits), "{outbox:?}");
        data.deliver_due().await;
        data.advance(30 * SECOND);
    }
    let dead = ["alice@example.com dead letter tries=5 the setting mail-server has no value"];
    assert_eq!(data.outbox().await, dead, "before anyone has looked");
    for _ in 0..2 {
        data.deliver_due().await;
        assert_eq!(data.outbox().await, dead);
        assert_eq!(data.store.next_mail_due(data.now()).await.unwrap(), None);
    }
    let server = SmtpServer::start();
    data.set(ACME, "mail-server", &server.url());
    data.deliver_due().await;
    assert!(server.stop().is_empty());
}

/// A process that ends after it has claimed a mail.
#[tokio::test]
async fn a_claim_is_taken_over_after_the_lease() {
    let server = SmtpServer::start();
    let data = Data::new(&server.url(), &["alice@example.com"]).await;
    data.queue_notice(ACME).await;
    let claim = data.store.claim(data.now()).await.unwrap().unwrap();
    data.advance(LEASE - Duration::from_millis(1));
    data.deliver_due().await;
    assert_eq!(
        data.outbox().await,
        ["alice@example.com being sent in 0 tries=1 "]
    );
    data.advance(Duration::from_millis(1));
    let later = data.store.claim(data.now()).await.unwrap().unwrap();
    assert_eq!((later.id, &later.message_id), (claim.id, &claim.message_id));
    let never = chat_domain::outbox::NextTry::Never;
    let late = data.store.not_sent(&claim, "late", never, data.now());
    late.await.unwrap();
    let outbox = data.outbox().await;
    assert_eq!(
        outbox,
        ["alice@example.com being sent in 300 tries=2 "],
        "a late outcome counts nothing"
    );
    data.advance(LEASE);
    data.deliver_due().await;
    assert_eq!(server.stop_and_list(), ["alice@example.com"]);
}

#[tokio::test]
async fn a_late_outcome_removes_no_code_that_another_process_sends() {
    let data = Data::new("", &["alice@example.com"]).await;
    data.queue_code(ACME, "135790").await;
    let claim = data.store.claim(data.now()).await;
    data.advance(LEASE);
    let later = data.store.claim(data.now()).await;
    assert_eq!(later.unwrap().unwrap().tries, 2);
    let never = chat_domain::outbox::NextTry::Never;
    let claim = claim.unwrap().unwrap();
    let late = data.store.not_sent(&claim, "late", never, data.now());
    late.await.unwrap();
    assert_eq!(
        data.outbox().await,
        ["alice@example.com being sent in 300 tries=2 "]
    );
}

/// What is claimed in its last moment is sent, and nobody else removes it
/// meanwhile; what has expired is claimed by nobody.
#[tokio::test]
async fn a_mail_expires_before_it_is_claimed_or_after_the_lease() {
    let data = Data::new("", &["alice@example.com"]).await;
    data.queue_code(ACME, "135790").await;
    data.advance(3600 * SECOND - Duration::from_millis(1));
    let last = data.store.claim(data.now()).await;
    assert!(last.unwrap().is_some());
    data.advance(LEASE - Duration::from_millis(1));
    assert!(
        data.store
            .give_up_expired(data.now())
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        data.outbox().await,
        ["alice@example.com being sent in 0 tries=1 "]
    );
    data.advance(Duration::from_millis(1));
    let next = data.store.claim(data.now()).await;
    assert!(next.unwrap().is_none());
    assert_eq!(
        data.store.give_up_expired(data.now()).await.unwrap().len(),
        1
    );
    assert!(data.mails().await.is_empty());
}

/// Two processes' worth of workers on one store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_send_each_of_fifty_mails_once() {
    let server = SmtpServer::start();
    let addresses: Vec<_> = (10..60).map(|n| format!("a{n}@example.com")).collect();
    let known: Vec<_> = addresses.iter().map(String::as_str).collect();
    let data = Data::new(&server.url(), &known).await;
    data.queue_notice(ACME).await;
    let (store, clock) = (data.another_handle().await, data.clock());
    let other = tokio::spawn(async move { deliver_due(&store, &clock).await });
    data.deliver_due().await;
    other.await.unwrap().unwrap();
    assert!(data.outbox().await.is_empty());
    assert_eq!(server.stop_and_list(), addresses);
}

/// A server that accepts connections and then says nothing.
async fn silent_server() -> (String, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    (
        format!("smtp://{}", listener.local_addr().unwrap()),
        listener,
    )
}

#[tokio::test]
async fn a_dead_server_of_one_workspace_delays_no_other() {
    let server = SmtpServer::start();
    let (silent, listener) = silent_server().await;
    let addresses: Vec<_> = (0..300).map(|n| format!("a{n}@example.com")).collect();
    let known: Vec<_> = addresses.iter().map(String::as_str).collect();
    let data = Data::new(&silent, &known).await;
    data.add(GLOBEX, "Admin", &server.url(), &["alice@globex.example"])
        .await;
    data.queue_notice(ACME).await;
    data.advance(SECOND);
    data.queue_notice(GLOBEX).await;
    let worker = tokio::spawn(deliver(
        data.store.clone(),
        data.clock(),
        std::future::pending(),
    ));
    let mut silenced = Vec::new();
    for _ in 0..WORKSPACE_LIMIT {
        silenced.push(listener.accept().await.unwrap());
    }
    let mail = tokio::task::spawn_blocking(move || server.receive())
        .await
        .unwrap();
    assert_eq!(mail.to, ["alice@globex.example"]);
    let being_sent = data.outbox().await;
    let being_sent = being_sent.iter().filter(|line| line.contains("being sent"));
    assert_eq!(being_sent.count(), WORKSPACE_LIMIT);
    worker.abort();
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up_in_time() {
    let (silent, listener) = silent_server().await;
    let data = Data::new(&silent, &["alice@example.com"]).await;
    data.queue_notice(ACME).await;
    tokio::time::pause();
    let started = tokio::time::Instant::now();
    data.deliver_due().await;
    assert!(started.elapsed() >= DELIVERY_LIMIT);
    drop(listener);
    assert_eq!(
        data.outbox().await,
        ["alice@example.com waiting in 10 tries=1 it took longer than 120 s"]
    );
}

/// The stop signal does not wait for a server that says nothing.
#[tokio::test]
async fn a_stop_waits_for_deliveries_only_so_long() {
    let (silent, listener) = silent_server().await;
    let data = Data::new(&silent, &["alice@example.com"]).await;
    data.queue_notice(ACME).await;
    let mut silenced = Vec::new();
    let stop = async {
        silenced.push(listener.accept().await.unwrap());
        tokio::time::pause();
    };
    deliver(data.store.clone(), data.clock(), stop).await;
    let outbox = data.outbox().await;
    assert_eq!(outbox, ["alice@example.com being sent in 300 tries=1 "]);
}

/// An error of the store is not the end of the worker.
#[tokio::test]
async fn the_worker_survives_a_store_that_fails() {
    let server = SmtpServer::start();
    let data = Data::new(&server.url(), &["alice@example.com"]).await;
    data.queue_notice(ACME).await;
    data.edit("ALTER TABLE outbox RENAME TO hidden");
    let (look, looks) = channel();
    let now = data.now();
    let clock = Clock::new(move || {
        let _ = look.send(());
        now
    });
    let worker = tokio::spawn(deliver(data.store.clone(), clock, std::future::pending()));
    // It looks a second time when the first was in vain.
    tokio::task::spawn_blocking(move || looks.iter().take(2).count())
        .await
        .unwrap();
    data.edit("ALTER TABLE hidden RENAME TO outbox");
    let mail = tokio::task::spawn_blocking(move || server.receive())
        .await
        .unwrap();
    assert_eq!(mail.to, ["alice@example.com"]);
    worker.abort();
}

/// Nor is a panic.
#[tokio::test]
async fn the_worker_survives_a_panic() {
    let server = SmtpServer::start();
    let data = Data::new(&server.url(), &["alice@example.com"]).await;
    data.queue_notice(ACME).await;
    let (now, has_panicked) = (data.now(), AtomicBool::new(false));
    let clock = Clock::new(move || {
        assert!(has_panicked.swap(true, Ordering::SeqCst), "panics once");
        now
    });
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let worker = tokio::spawn(deliver(data.store.clone(), clock, async {
        let _ = stopped.await;
    }));
    let mail = tokio::task::spawn_blocking(move || server.receive())
        .await
        .unwrap();
    assert_eq!(mail.to, ["alice@example.com"]);
    stop.send(()).unwrap();
    worker.await.unwrap();
}

/// A setting that this program would not take is not the end either.
#[tokio::test]
async fn a_setting_that_is_no_value_defers_the_mail() {
    let data = Data::new("", &["alice@example.com"]).await;
    data.queue_notice(ACME).await;
    data.edit("INSERT OR REPLACE INTO setting VALUES ('default', 'mail-server', 'smtp://chat:hunter2@mail.example')");
    data.deliver_due().await;
    let outbox = data.outbox().await;
    assert!(
        outbox[0].contains("waiting in 10 tries=1 the settings cannot be read: "),
        "{outbox:?}"
    );
    assert!(!outbox[0].contains("hunter2"));
}
