//! What is counted of passwords that are compared: nothing of what was not, and all of what was,
//! whether or not the client waits for it.

use crate::http::{PATH, Server, audit, built, rest};
use chat_domain::password;
use chat_testing::guest::limits;
use chat_testing::{ACME, Data, GLOBEX, until};
use plugin_sandbox::comparisons::{Place, SECOND_FACTORS};
use plugin_sandbox::limits::Limits;
use secrecy::ExposeSecret;
use std::net::Shutdown;
use std::time::Duration;
use tokio::sync::Mutex;

/// Held by a test that fills the queue, which is one in a process.
pub(crate) static QUEUE: Mutex<()> = Mutex::const_new(());

const ENABLE: &str = "/api/v1/users.enableTotp";

/// Rounds of bcrypt, as a power of two, that take about half a second: what a test does in the
/// meantime takes milliseconds.
const SLOW: u32 = 13;

/// As few as there may be.
const QUICK: u32 = 4;

/// What a client sends for the password that is `right` or `wrong`.
fn digest_of(word: &str) -> String {
    let password = format!("the {word} password of bob and gina");
    secret_scan::register(&password);
    let digest = password::digest(&password.into());
    secret_scan::register(digest.expose_secret());
    digest.expose_secret().to_owned()
}

/// Has the account no other factor than the right password, which takes so long to compare.
fn give_password(data: &Data, workspace: &str, user: &str, rounds: u32) {
    let hash = bcrypt::hash(digest_of("right"), rounds).unwrap();
    data.edit(&format!(
        "DELETE FROM totp WHERE (workspace, user) = ('{workspace}', '{user}');
         UPDATE user SET password_hash = '{hash}' WHERE (workspace, id) = ('{workspace}', '{user}')"
    ));
}

/// The account has failed so often.
fn fail(data: &Data, user: &str, count: u32) {
    data.edit(&format!(
        "INSERT INTO failed_attempt (workspace, user, count) VALUES ('{ACME}', '{user}', {count})"
    ));
}

/// Failures of all accounts.
fn failures(data: &Data) -> u32 {
    let count = "SELECT coalesce(sum(count), 0) FROM failed_attempt";
    data.connect()
        .query_row(count, [], |row| row.get(0))
        .unwrap()
}

/// A request of the user's without a body, by the password.
fn request(path: &str, user: &str, password: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: any\r\nx-user-id: {user}\r\nx-auth-token: {user}-token\r\n\
         x-2fa-code: {}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
        digest_of(password)
    )
}

/// NIST SP 800-63B section 5.2.2: whoever guesses and goes away leaves more than a count.
#[tokio::test]
async fn what_was_compared_is_recorded_after_the_client_has_gone() {
    for (password, decided, left) in [
        (
            "wrong",
            &["bob bob locked 5 in a row", "bob bob refused totp-invalid"][..],
            5,
        ),
        ("right", &["bob bob done null"], 0),
    ] {
        let data = Data::new().await;
        give_password(&data, ACME, "bob", SLOW);
        fail(&data, "bob", 4);
        let server = Server::start(data, built()).await;
        let client = server.send(&request(ENABLE, "bob", password));
        until("it is counted", || failures(&server.data) == 5).await;
        client.shutdown(Shutdown::Write).unwrap();
        // The server has noticed: it hangs up without an answer.
        assert_eq!(rest(client).await, "");
        // It stops after its last decision.
        let data = server.stop().await;
        let records = audit(&data);
        let records: Vec<_> = records
            .iter()
            .map(|record| record.split_once(' ').unwrap().1)
            .collect();
        assert_eq!(records, decided);
        assert_eq!(failures(&data), left);
    }
}

/// Nobody learns whether it was right, also where the store is slow to count it.
#[tokio::test]
async fn a_password_that_waits_too_long_to_be_compared_is_no_guess() {
    let impatient = Limits {
        host_call_time: Duration::from_millis(50),
        ..limits()
    };
    let data = Data::new().await;
    give_password(&data, ACME, "bob", SLOW);
    fail(&data, "bob", 3);
    let server = Server::start_of(ACME, data, built(), impatient).await;
    let lock = server.data.connect();
    for (password, store) in [
        ("right", "quick"),
        ("wrong", "quick"),
        ("right", "slow"),
        ("wrong", "slow"),
    ] {
        let release = async {
            if store == "slow" {
                lock.execute_batch("BEGIN IMMEDIATE").unwrap();
                tokio::time::sleep(4 * impatient.host_call_time).await;
                lock.execute_batch("ROLLBACK").unwrap();
            }
        };
        let request = request(PATH, "bob", password);
        let ((), answer) = tokio::join!(release, server.ask(&request));
        assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
        assert!(answer.contains("[host-call-time]"), "{answer}");
        assert_eq!(failures(&server.data), 3, "{password} {store}");
        let record = audit(&server.data).pop().unwrap();
        assert!(record.ends_with(" failed host-call-time"), "{record}");
    }
}

#[tokio::test]
async fn where_too_many_wait_to_be_compared_nothing_is_counted() {
    let data = Data::new().await;
    give_password(&data, GLOBEX, "gina", QUICK);
    let server = Server::start_of(GLOBEX, data, built(), limits()).await;
    let _alone = QUEUE.lock().await;
    let place = || SECOND_FACTORS.place(GLOBEX).ok();
    let crowd: Vec<Place> = std::iter::from_fn(place).collect();
    for path in [PATH, ENABLE] {
        for password in ["right", "wrong"] {
            let answer = server.ask(&request(path, "gina", password)).await;
            assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
            assert!(answer.contains("[host-busy]"), "{answer}");
            assert_eq!(failures(&server.data), 0, "{path} {password}");
        }
    }
    drop(crowd);
    let answer = server.ask(&request(ENABLE, "gina", "wrong")).await;
    assert!(answer.contains("[totp-invalid]"), "{answer}");
    assert_eq!(failures(&server.data), 1);
    let answer = server.ask(&request(ENABLE, "gina", "right")).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(failures(&server.data), 0);
}
