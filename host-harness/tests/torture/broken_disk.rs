//! A host whose store is spoilt, or can be written no more: it says so, it answers, and it
//! does not panic.

use crate::account::Account;
use crate::client::{Crowd, Intent, next_code};
use crate::figures::Figures;
use crate::host::{Host, Trouble};
use crate::request::{Act, Proof, Request, Whom};
use crate::site::{Kind, Secrets, Site};
use crate::trial::Trial;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rusqlite::Connection;
use std::process::Command;

/// Bytes of a page, which SQLite chooses.
const PAGE: usize = 4096;

/// Files in which single bytes are changed, and how many in each.
const FLIPPED_FILES: u64 = 8;
const FLIPPED_BYTES: usize = 40;

/// Of this many pages one is tried.
const PAGES_APART: usize = 5;

/// An administrator and a member, by their places in the cast.
const ADMIN: usize = 0;
const MEMBER: usize = 11;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_whose_file_is_spoilt_says_so_or_answers_and_does_not_panic() {
    let (site, accounts) =
        Site::new(Kind::Sqlite, Secrets::Plain, &mut StdRng::seed_from_u64(2)).await;
    let db = Connection::open(site.store()).unwrap();
    db.pragma_update(None, "wal_checkpoint", "TRUNCATE")
        .unwrap();
    drop(db);
    let file = std::fs::read(site.store()).unwrap();
    let (mut refused, mut served) = (0, 0);
    for (what, bytes) in spoilt(&file) {
        for beside in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{beside}", site.store().display()));
        }
        std::fs::write(site.store(), bytes).unwrap();
        let trouble = Trouble::default();
        match Host::try_start(&site.config("host"), &trouble, "exec \"$@\"").await {
            Err(said) => {
                refused += 1;
                assert!(said.contains("host-harness: "), "{what}: {said}");
                assert!(said.contains("store.sqlite"), "{what}: {said}");
                assert!(!said.contains("panicked"), "{what}: {said}");
            }
            Ok(host) => {
                served += 1;
                for request in requests(&accounts, &site, &host).await {
                    let answer = request.answer().unwrap_or_else(|| panic!("{what}"));
                    let is_expected = [200, 400, 401, 500, 503].contains(&answer.status);
                    assert!(is_expected, "{what}: {}", answer.status);
                }
                host.kill().await;
                assert_eq!(trouble.panics(), Vec::<String>::new(), "{what}");
            }
        }
    }
    // Each way is gone.
    assert!(
        refused > 0 && served > 0,
        "{refused} refused, {served} served"
    );
}

/// What may become of a file, and in words.
fn spoilt(file: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut spoilt = vec![
        ("nothing is left".to_owned(), Vec::new()),
        (
            "a text is in its place".to_owned(),
            b"a letter\n".repeat(1000),
        ),
        ("half is left".to_owned(), file[..file.len() / 2].to_vec()),
        (
            "it ends within a page".to_owned(),
            file[..file.len() - PAGE / 2].to_vec(),
        ),
    ];
    for page in (0..file.len() / PAGE).step_by(PAGES_APART) {
        let mut bytes = file.to_vec();
        bytes[page * PAGE..(page + 1) * PAGE].fill(0);
        spoilt.push((format!("page {page} is empty"), bytes));
    }
    for seed in 0..FLIPPED_FILES {
        let mut random = StdRng::seed_from_u64(seed);
        let mut bytes = file.to_vec();
        for _ in 0..FLIPPED_BYTES {
            let place = random.random_range(0..bytes.len());
            bytes[place] ^= random.random_range(1..=u8::MAX);
        }
        spoilt.push((format!("bytes are changed, by {seed}"), bytes));
    }
    spoilt
}

/// The limit is that of the process, as a quota is one of its user: what is written beyond it
/// fails, until there is room again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_no_more_may_be_written_requests_fail_until_it_may() {
    let (site, accounts) =
        Site::new(Kind::Sqlite, Secrets::Plain, &mut StdRng::seed_from_u64(3)).await;
    let trouble = Trouble::default();
    // Otherwise the first write beyond the limit would end the process.
    let line = "trap '' XFSZ; exec \"$@\"";
    let host = Host::try_start(&site.config("host"), &trouble, line)
        .await
        .unwrap();
    let limit = |bytes: &str| {
        let (pid, limit) = (host.id().to_string(), format!("--fsize={bytes}:unlimited"));
        let done = Command::new("prlimit")
            .args(["--pid", &pid, &limit])
            .status();
        assert!(done.unwrap().success());
    };
    limit("1");
    let mut requests = requests(&accounts, &site, &host).await;
    for request in &requests {
        let answer = request.answer().unwrap();
        let (status, error) = (answer.status, answer.error.as_deref());
        let expected = (503, Some("host-store-unavailable"));
        let log = trouble.lines();
        assert_eq!((status, error), expected, "{:?}: {log:#?}", request.act);
    }
    let look = site.look(&accounts, 0).await;
    let mut trial = Trial::new(accounts.clone(), false);
    let judged = trial.judge(&requests, &look, &[], &mut Figures::default());
    assert_eq!(judged, Ok(()));

    limit("unlimited");
    requests = self::requests(&accounts, &site, &host).await;
    let statuses: Vec<_> = requests
        .iter()
        .map(|request| request.answer().unwrap().status)
        .collect();
    assert_eq!(statuses, [200, 400, 200]);
    host.kill().await;
    assert_eq!(trouble.panics(), Vec::<String>::new());
}

/// A reset, a guess and a log-in.
async fn requests(accounts: &[Account], site: &Site, host: &Host) -> Vec<Request> {
    let crowd = Crowd::new(accounts.to_vec(), site.mail.clone());
    let key = |account: usize| &accounts[account].factor.as_ref().unwrap().key;
    let wrong = Proof::Wrong("aaaaaaaa".to_owned());
    let mut requests = Vec::new();
    for (caller, act, proof) in [
        (
            ADMIN,
            Act::Reset(Whom::Member(MEMBER + 1)),
            next_code(key(ADMIN), None),
        ),
        (ADMIN, Act::Reset(Whom::Member(MEMBER)), Some(wrong)),
        (MEMBER, Act::LogIn, next_code(key(MEMBER), None)),
    ] {
        let intent = Intent {
            caller,
            act,
            by_mail: false,
            token: accounts[caller].token(),
            proof: proof.unwrap(),
        };
        requests.push(crowd.ask(&host.url, intent).await);
    }
    requests
}
