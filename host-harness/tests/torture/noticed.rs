//! What the trial must notice: a store in which one thing is not as the clients were told.

use crate::account::Account;
use crate::client::{Crowd, Intent, next_code};
use crate::figures::Figures;
use crate::host::{Host, Trouble};
use crate::request::{Act, Answer, Outcome, Proof, Request, Whom};
use crate::site::{Kind, Secrets, Site, look};
use crate::trial::Trial;
use chat_store::seal::Seal;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rusqlite::Connection;
use std::path::Path;

/// Their places in the cast: administrators, who act, and members, who are reset.
const ADMIN: usize = 0;
const OTHER: usize = 1;
const GUESSER: usize = 2;
const MEMBER: usize = 11;
const NEIGHBOUR: usize = 12;

/// What becomes of a store that has kept everything.
const SPOILT: [(&str, &str); 14] = [
    (
        "an answered reset is not recorded",
        "DELETE FROM audit WHERE decision = 'reset' AND target = 'user1'",
    ),
    (
        "a refusal is not recorded",
        "DELETE FROM audit WHERE decision = 'refused'",
    ),
    (
        "a reset is recorded as another's",
        "UPDATE audit SET target = 'user3' WHERE target = 'user1'",
    ),
    (
        "a reset is recorded for another request",
        "UPDATE audit SET request_id = 'another' WHERE target = 'user1'",
    ),
    (
        "a factor is still there",
        "INSERT INTO totp SELECT workspace, 'user1', key, NULL FROM totp WHERE user = 'user4'",
    ),
    (
        "a factor is gone of which nothing is recorded",
        "DELETE FROM backup_code WHERE user = 'user4'; DELETE FROM totp WHERE user = 'user4'",
    ),
    (
        "a session is still there",
        "INSERT INTO login_token SELECT workspace, 'user1', 'hash', expires, bypass_two_factor, name
         FROM login_token WHERE user = 'user4'",
    ),
    (
        "a token is gone",
        "DELETE FROM login_token WHERE user = 'user4'",
    ),
    (
        "a step is not spent",
        "UPDATE totp SET last_step = last_step - 1 WHERE user = 'admin0'",
    ),
    (
        "a backup code is not spent",
        "UPDATE backup_code SET spent = 0 WHERE user = 'admin1'",
    ),
    (
        "a guess is not counted",
        "UPDATE failed_attempt SET count = count - 1 WHERE user = 'admin2'",
    ),
    (
        "a guess is counted twice",
        "UPDATE failed_attempt SET count = count + 1 WHERE user = 'admin2'",
    ),
    (
        "a notice is not there",
        "DELETE FROM outbox WHERE recipient = 'user1@1.example'",
    ),
    (
        "a notice is there twice",
        "CREATE TEMP TABLE one AS SELECT * FROM outbox WHERE recipient = 'user1@1.example';
         UPDATE one SET id = 1000, message_id = 'another'; INSERT INTO outbox SELECT * FROM one",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_differs_from_the_answers_is_noticed() {
    let (site, accounts, requests) = kept().await;
    let copy = site.store().with_file_name("spoilt.sqlite");
    for (what, sql) in SPOILT {
        std::fs::copy(site.store(), &copy).unwrap();
        let faults = judge(&copy, &accounts, &requests).await;
        assert_eq!(faults, Ok(()), "{what}");
        edit(&copy, sql);
        let faults = judge(&copy, &accounts, &requests).await;
        assert!(faults.is_err(), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_the_store_does_not_bear_out_is_noticed() {
    let (site, accounts, mut requests) = kept().await;
    let unheard = Request {
        number: 1000,
        outcome: Outcome::NotSent,
        ..requests.last().unwrap().clone()
    };
    requests.push(unheard.clone());
    let faults = judge(&site.store(), &accounts, &requests).await;
    assert_eq!(faults, Ok(()), "not sent");
    for (status, error) in [(200, None), (400, Some("totp-invalid")), (429, None)] {
        requests.pop();
        requests.push(Request {
            outcome: Outcome::Answered(Answer {
                status,
                error: error.map(str::to_owned),
                ..Answer::default()
            }),
            ..unheard.clone()
        });
        let faults = judge(&site.store(), &accounts, &requests).await;
        assert!(faults.is_err(), "{status}");
    }
}

/// A store that holds all that the clients of these requests were told. Its mail waits: what
/// has arrived is in no store.
async fn kept() -> (Site, Vec<Account>, Vec<Request>) {
    let (site, accounts) =
        Site::new(Kind::Sqlite, Secrets::Plain, &mut StdRng::seed_from_u64(1)).await;
    edit(
        &site.store(),
        "UPDATE setting SET value = '' WHERE name = 'mail-server'",
    );
    let host = Host::start(&site.config("host"), &Trouble::default()).await;
    let requests = requests(&accounts, &site, &host).await;
    host.kill().await;
    edit(&site.store(), "");
    let faults = judge(&site.store(), &accounts, &requests).await;
    assert_eq!(faults, Ok(()));
    (site, accounts, requests)
}

/// An administrator resets a member, another does so by a backup code, and one guesses.
async fn requests(accounts: &[Account], site: &Site, host: &Host) -> Vec<Request> {
    let crowd = Crowd::new(accounts.to_vec(), site.mail.clone());
    let factor = |caller: usize| accounts[caller].factor.as_ref().unwrap();
    let code = next_code(&factor(ADMIN).key, None).unwrap();
    let backup_code = factor(OTHER).backup_codes.plain(false).remove(0);
    let mut requests = Vec::new();
    for (caller, member, proof, status) in [
        (ADMIN, MEMBER, code, 200),
        (OTHER, NEIGHBOUR, Proof::BackupCode(backup_code), 200),
        (GUESSER, MEMBER, Proof::Wrong("aaaaaaaa".to_owned()), 400),
    ] {
        let intent = Intent {
            caller,
            act: Act::Reset(Whom::Member(member)),
            by_mail: false,
            token: accounts[caller].token(),
            proof,
        };
        let request = crowd.ask(&host.url, intent).await;
        let answered = request.answer().map(|answer| answer.status);
        assert_eq!(answered, Some(status));
        requests.push(request);
    }
    requests
}

async fn judge(
    store: &Path,
    accounts: &[Account],
    requests: &[Request],
) -> Result<(), Vec<String>> {
    let look = look(store, &Seal::none(), accounts, 0).await;
    let mut trial = Trial::new(accounts.to_vec(), false);
    trial.judge(requests, &look, &[], &mut Figures::default())
}

fn edit(store: &Path, sql: &str) {
    let db = Connection::open(store).unwrap();
    db.execute_batch(sql).unwrap();
    db.pragma_update(None, "wal_checkpoint", "TRUNCATE")
        .unwrap();
}
