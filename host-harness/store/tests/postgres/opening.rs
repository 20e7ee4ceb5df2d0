//! What becomes of a database that is opened.

use crate::suite::new_data;
use chat_store::postgres::{Postgres, holds_mail, survey};
use chat_store::seal::Seal;
use chat_store::{Store, StoreError, StoreUrl, Unavailable};
use chat_testing::postgres::{Database, Durability, Server, connect};
use chat_testing::{ACME, GLOBEX, now, seal};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

type Opened = Result<Arc<dyn Store>, StoreError>;

fn problem(opened: Opened) -> String {
    opened.err().unwrap().to_string()
}

#[tokio::test]
async fn a_store_is_made_only_where_asked() {
    let database = Database::empty();
    for opened in [
        Postgres::open(&database.url(), &seal()).await,
        Postgres::open_to_look(&database.url(), &seal()).await,
    ] {
        assert_eq!(
            problem(opened),
            "the store failed: there is no store in this database; `host-harness workspace create` \
             makes one"
        );
    }
    assert_eq!(
        database.numbers("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"),
        [0]
    );
    Postgres::open_or_create(&database.url(), &seal())
        .await
        .unwrap();
    Postgres::open_or_create(&database.url(), &seal())
        .await
        .unwrap();
    Postgres::open(&database.url(), &seal()).await.unwrap();
    assert_eq!(database.numbers("SELECT version FROM chat_store"), [6]);
}

#[tokio::test]
async fn a_store_of_a_newer_program_is_left_alone() {
    let data = new_data().await;
    data.edit("UPDATE chat_store SET version = 99");
    let before = data.dump();
    let url = data.database().url();
    for opened in [
        Postgres::open(&url, &seal()).await,
        Postgres::open_or_create(&url, &seal()).await,
        Postgres::open_to_look(&url, &seal()).await,
    ] {
        assert_eq!(
            problem(opened),
            "the store failed: a newer program wrote it: use that one"
        );
    }
    assert_eq!(before.changes(&data.dump()), "");
    assert_eq!(
        data.database().numbers("SELECT version FROM chat_store"),
        [99]
    );
}

#[tokio::test]
async fn another_programs_database_is_left_alone() {
    for theirs in [
        "CREATE TABLE note (text TEXT)",
        "CREATE VIEW note AS SELECT 1",
    ] {
        let database = Database::empty();
        database.edit(theirs);
        for opened in [
            Postgres::open(&database.url(), &seal()).await,
            Postgres::open_or_create(&database.url(), &seal()).await,
        ] {
            assert_eq!(
                problem(opened),
                "the store failed: it is another program's database"
            );
        }
        let tables = "SELECT count(*) FROM pg_class
                      WHERE relnamespace = 'public'::REGNAMESPACE AND relkind IN ('r', 'v')";
        assert_eq!(database.numbers(tables), [1]);
    }
}

/// Where the login has a schema of its own, the role finds its tables, too.
#[tokio::test]
async fn the_tables_are_in_the_schema_of_the_login() {
    let database = Database::empty();
    database.edit("CREATE SCHEMA chat; CREATE TABLE public.note (text TEXT)");
    let store = Postgres::open_or_create(&database.url(), &seal())
        .await
        .unwrap();
    assert!(store.settings(ACME).await.unwrap().is_none());
    let ours = "SELECT count(*) FROM pg_tables WHERE schemaname = 'chat' AND tablename = 'totp'";
    assert_eq!(database.numbers(ours), [1]);
}

/// A server that hangs while its machine goes on takes connections, and says nothing.
#[tokio::test]
async fn a_server_that_says_nothing_keeps_nobody_from_the_next() {
    let database = Database::empty();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("@{},", silent.local_addr().unwrap());
    let url = database.url().replacen('@', &silent, 1);
    let store = Postgres::open_or_create(&url, &seal()).await.unwrap();
    let start = Instant::now();
    for _ in 0..5 {
        assert!(store.settings(ACME).await.unwrap().is_none());
    }
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "it is not asked again"
    );
}

/// Two programs that are started at once on a fresh database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_can_make_the_same_store_at_once() {
    for round in 0..5 {
        let database = Database::empty();
        let start = Arc::new(Barrier::new(2));
        let mut programs = JoinSet::new();
        for _ in 0..2 {
            let (url, start) = (database.url(), start.clone());
            programs.spawn(async move {
                start.wait().await;
                Postgres::open_or_create(&url, &seal()).await.map(drop)
            });
        }
        for result in programs.join_all().await {
            assert!(result.is_ok(), "round {round}: {result:?}");
        }
    }
}

#[tokio::test]
async fn a_database_of_another_encoding_is_refused() {
    let database =
        Database::like("TEMPLATE template0 LOCALE 'C' LOCALE_PROVIDER libc ENCODING 'LATIN1'");
    let opened = Postgres::open_or_create(&database.url(), &seal()).await;
    assert_eq!(
        problem(opened),
        "the store failed: the database keeps texts as LATIN1: it takes one of UTF8"
    );
}

/// Whether the login may make the role, and what it says where it may not.
#[tokio::test]
async fn a_missing_role_is_made_or_asked_for() {
    let server = Server::start(Durability::None);
    server.run_as_superuser("CREATE ROLE plain LOGIN");
    server.run_as_superuser("CREATE DATABASE plain OWNER plain");
    let url = server.url("plain", "plain");
    let refused = problem(Postgres::open_or_create(&url, &seal()).await);
    let mend = "CREATE ROLE chat_workspace NOLOGIN; GRANT chat_workspace TO";
    assert!(refused.contains(&format!("`{mend}`")), "{refused}");
    server.run_as_superuser(&format!("{mend} plain"));
    Postgres::open_or_create(&url, &seal()).await.unwrap();
    Postgres::open(&url, &seal()).await.unwrap();
    server.run_as_superuser("ALTER ROLE chat_workspace BYPASSRLS");
    let refused = problem(Postgres::open(&url, &seal()).await);
    assert!(
        refused.contains("is not held to row-level security"),
        "{refused}"
    );
    server.run_as_superuser("ALTER ROLE chat_workspace NOBYPASSRLS");
    server.run_as_superuser("REVOKE chat_workspace FROM plain");
    let refused = problem(Postgres::open(&url, &seal()).await);
    assert!(refused.contains(&format!("`{mend}`")), "{refused}");
}

/// Nobody is kept waiting for a server that is not there, or a port that says nothing.
#[tokio::test]
async fn a_server_that_does_not_answer_is_named_in_time() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!(
        "postgres://chat@{}/chat?sslmode=disable",
        silent.local_addr().unwrap()
    );
    for url in ["postgres://chat@127.0.0.1:1/chat?sslmode=disable", &silent] {
        let begun = Instant::now();
        let error = Postgres::open(url, &seal()).await.err().unwrap();
        assert!(
            matches!(error.unavailable(), Some(Unavailable::Unreachable(_))),
            "{error}"
        );
        assert!(
            begun.elapsed() < Duration::from_secs(3),
            "{:?}",
            begun.elapsed()
        );
    }
}

#[tokio::test]
async fn a_login_or_a_database_that_is_not_there_is_named_at_once() {
    let database = Database::empty();
    for (part, problem) in [
        ("chat@", "role \"nobody\" does not exist"),
        ("/chat_", "database \"nobody"),
    ] {
        let with = part.replace("chat", "nobody");
        let url = database.url().replacen(part, &with, 1);
        let begun = Instant::now();
        let error = Postgres::open(&url, &seal()).await.err().unwrap();
        assert!(error.unavailable().is_none(), "{error}");
        assert!(error.to_string().contains(problem), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(1));
    }
}

/// As where a cluster's standby comes first.
#[tokio::test]
async fn of_several_hosts_the_one_that_writes_is_found() {
    let data = new_data().await;
    let database = data.database();
    let url = database
        .url()
        .replace("@127.0.0.1", "@127.0.0.1:1,127.0.0.1");
    let store = Postgres::open(&url, &seal()).await.unwrap();
    assert!(store.settings(ACME).await.unwrap().is_some());
    let name = database.url();
    let name = name.rsplit('/').next().unwrap().split('?').next().unwrap();
    database.edit(&format!(
        "ALTER DATABASE {name} SET default_transaction_read_only = on"
    ));
    let error = Postgres::open(&database.url(), &seal())
        .await
        .err()
        .unwrap();
    assert!(
        error.to_string().contains("does not allow writes"),
        "{error}"
    );
    assert!(
        matches!(error.unavailable(), Some(Unavailable::Unreachable(_))),
        "{error}"
    );
    let look = Postgres::open_to_look(&database.url(), &seal())
        .await
        .unwrap();
    assert!(look.settings(ACME).await.unwrap().is_some());
    // A standby may lack what was acknowledged.
    let folder = tempfile::tempdir().unwrap();
    let backup = folder.path().join("backup");
    let refused = data.url().back_up(&backup).await.unwrap_err().to_string();
    assert!(refused.contains("does not allow writes"), "{refused}");
    assert!(!backup.exists());
}

/// Whoever opened it before it is whole would find a store that is empty and not sealed, and keep to
/// that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_being_restored_is_opened_when_it_is_whole() {
    let data = new_data().await;
    let folder = tempfile::tempdir().unwrap();
    let backup = folder.path().join("backup");
    data.url().back_up(&backup).await.unwrap();
    let database = Database::empty();
    let made = Postgres::open_or_create(&database.url(), &Seal::none()).await;
    drop(made.unwrap());
    let last = connect(database.url()).await.unwrap();
    let hold = "BEGIN; LOCK TABLE audit_log IN SHARE MODE";
    last.batch_execute(hold).await.unwrap();
    let target: StoreUrl = database.url().parse().unwrap();
    let restoring = tokio::spawn(async move { target.restore(&backup).await });
    database.until_waiting(1).await;
    let url = database.url();
    let opening = tokio::spawn(async move { Postgres::open(&url, &seal()).await });
    database.until_waiting(2).await;
    last.batch_execute("ROLLBACK").await.unwrap();
    restoring.await.unwrap().unwrap();
    let store = opening.await.unwrap().unwrap();
    assert!(store.settings(ACME).await.unwrap().is_some());
}

/// With the certificate of a server that is really that one.
#[tokio::test]
async fn who_encrypts_verifies_the_server() {
    let data = new_data().await;
    let plain = data.database().url();
    let certificate = data.database().certificate();
    let certificate = certificate.to_str().unwrap().replace('/', "%2F");
    let url = |host: &str, parameters: &str| {
        let url = plain.replace("127.0.0.1", host);
        url.replace("sslmode=disable", parameters)
    };
    for (host, parameters, works) in [
        (
            "localhost",
            format!("sslmode=require&sslrootcert={certificate}"),
            true,
        ),
        (
            "localhost",
            format!("sslmode=verify-full&sslrootcert={certificate}"),
            true,
        ),
        ("localhost", format!("sslrootcert={certificate}"), true),
        (
            "127.0.0.1",
            format!("sslmode=verify-full&sslrootcert={certificate}"),
            false,
        ),
        ("localhost", "sslmode=verify-full".to_owned(), false),
        ("localhost", "sslmode=require".to_owned(), false),
        ("localhost", "sslmode=disable".to_owned(), true),
    ] {
        let opened = Postgres::open(&url(host, &parameters), &seal()).await;
        assert_eq!(opened.is_ok(), works, "{host} {parameters}");
        if let Err(error) = opened {
            assert!(error.to_string().contains("certificate"), "{error}");
        }
    }
}

#[tokio::test]
async fn a_survey_and_a_look_for_mail_leave_nothing_open() {
    let data = new_data().await;
    data.edit(
        "INSERT INTO setting VALUES ('acme', 'totp-window', '2');
         INSERT INTO fixed_setting VALUES ('acme', 'totp-window', 'line 2'),
                                          ('acme', 'login-days', 'line 1')",
    );
    let url = data.database().url();
    let surveyed = survey(&url, &seal()).await.unwrap();
    let [acme, globex] = [ACME, GLOBEX].map(|workspace| surveyed.get(workspace).unwrap());
    assert_eq!(
        (acme.settings.totp_window, globex.settings.totp_window),
        (2, 1)
    );
    let fixed: Vec<_> = acme.fixed.iter().map(|fixed| fixed.name.as_str()).collect();
    assert_eq!(fixed, ["login-days", "totp-window"]);
    assert!(globex.fixed.is_empty());
    assert!(!holds_mail(&url).await.unwrap());
    data.edit(
        "INSERT INTO outbox (workspace, message_id, recipient, subject, body, queued, expires,
                             holds_code, next_try)
         VALUES ('acme', 'm', 'a', 's', 'b', 0, 1, FALSE, 9223372036854775807)",
    );
    assert!(!holds_mail(&url).await.unwrap(), "a dead letter");
    data.edit("UPDATE outbox SET next_try = 0");
    assert!(holds_mail(&url).await.unwrap());
    let look = Postgres::open_to_look(&url, &seal()).await.unwrap();
    assert!(look.next_mail_due(now()).await.unwrap().is_some());
}
