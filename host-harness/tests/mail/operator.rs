//! `host-harness outbox`, as an operator meets it.

use crate::support::{ACME, Data, GLOBEX, SmtpServer, host_harness};
use chat_domain::outbox::Mail;
use chat_server::clock::Clock;
use chat_testing::ask::Ask as _;
use serde_json::{Value, json};
use std::process::Output;
use std::time::Duration;

/// Exit code, standard output and standard error.
fn outbox(data: &Data, args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = host_harness();
    command
        .arg("outbox")
        .args(args)
        .arg("--store")
        .arg(data.path());
    let output = command.output().unwrap();
    secret_scan::keep_output(&output);
    let Output {
        status,
        stdout,
        stderr,
    } = output;
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

/// What a command that must succeed prints.
fn prints(data: &Data, args: &[&str]) -> String {
    let (code, stdout, stderr) = outbox(data, args);
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{args:?}");
    stdout
}

/// The one line of a command that must fail.
fn refuses(data: &Data, args: &[&str]) -> String {
    let (code, stdout, stderr) = outbox(data, args);
    assert_eq!((code, stdout.as_str()), (Some(1), ""), "{args:?} {stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    stderr
}

/// A notice that waits, one that is a dead letter, a code that waits, and the
/// other workspace's notice.
async fn data() -> (Data, [String; 4]) {
    let data = Data::at(Clock::system().now()).await;
    let server = SmtpServer::start();
    let addresses = ["alice@example.com", "reject@example.com"];
    data.add(ACME, "Admin", &server.url(), &addresses).await;
    data.add(GLOBEX, "Admin", "", &["alice@globex.example"])
        .await;
    data.queue_notice(ACME).await;
    data.edit(
        "UPDATE outbox SET next_try = next_try + 3600000 WHERE recipient = 'alice@example.com'",
    );
    data.deliver_due().await;
    data.edit("UPDATE email SET verified = user = 'alice' AND address = 'alice@example.com'");
    data.queue_code(ACME, "135790").await;
    data.edit("UPDATE email SET verified = 1 WHERE address = 'alice@globex.example'");
    data.queue_notice(GLOBEX).await;
    let mut ids: Vec<_> = data
        .mails()
        .await
        .iter()
        .map(|mail| mail.id.to_string())
        .collect();
    let theirs = data.store.list_mail(GLOBEX, data.now()).await;
    let theirs = theirs.unwrap().unwrap();
    ids.extend(theirs.iter().map(|mail| mail.id.to_string()));
    (data, ids.try_into().unwrap())
}

#[tokio::test]
async fn a_list_says_what_waits_and_why() {
    let (data, ids) = data().await;
    let queued = data.now();
    let later = queued + Duration::from_secs(3600);
    let [notice, dead, code, theirs] = &ids;
    let expected = format!(
        "ID  QUEUED                STATE        TRIES  NEXT TRY              RECIPIENT           SUBJECT                             LAST PROBLEM\n\
         {notice}   {queued}  waiting      0      {later}  alice@example.com   Two Factor TOTP Reset Notification  -\n\
         {dead}   {queued}  dead letter  1      -                     reject@example.com  Two Factor TOTP Reset Notification  naming the recipient: the server answered 550: No such mailbox\n\
         {code}   {queued}  waiting      0      {queued}  alice@example.com   Authentication Code                 -\n"
    );
    assert_eq!(prints(&data, &["list"]), expected);
    let list: Value = serde_json::from_str(&prints(&data, &["list", "--json"])).unwrap();
    assert_eq!(
        list[1],
        json!({
            "id": dead.parse::<i64>().unwrap(),
            "queued": queued.to_string(),
            "expires": (queued + Duration::from_secs(72 * 3600)).to_string(),
            "state": "dead letter",
            "tries": 1,
            "nextTry": null,
            "recipient": "reject@example.com",
            "subject": "Two Factor TOTP Reset Notification",
            "lastProblem": "naming the recipient: the server answered 550: No such mailbox",
        })
    );
    assert_eq!(list.as_array().unwrap().len(), 3);
    let other = prints(&data, &["list", "--workspace", GLOBEX]);
    assert!(
        other.contains("alice@globex.example") && other.lines().count() == 2,
        "{other}"
    );
    assert!(other.lines().nth(1).unwrap().starts_with(theirs.as_str()));
    data.edit("DELETE FROM outbox");
    assert_eq!(prints(&data, &["list"]), "no mail waits\n");
    assert_eq!(prints(&data, &["list", "--json"]), "[]\n");
}

#[tokio::test]
async fn a_mail_is_shown_with_its_text_but_never_with_a_code() {
    let (data, [notice, _, code, _]) = data().await;
    let queued = data.now();
    let text = format!(
        "Your two-factor authentication by TOTP was reset by Admin at {queued}.\n\
         \n\
         You have been logged out everywhere. Log in again and enrol your\n\
         authenticator app anew.\n\
         \n\
         From: 192.0.2.1\n\
         \n\
         If this was neither you nor asked for by you, tell your workspace's\n\
         administrator at once.\n"
    );
    assert_eq!(
        prints(&data, &["show", &notice]),
        format!(
            "id            {notice}\n\
             queued        {queued}\n\
             state         waiting\n\
             tries         0\n\
             next try      {}\n\
             recipient     alice@example.com\n\
             subject       Two Factor TOTP Reset Notification\n\
             last problem  -\n\
             gives up      {}\n\
             \n\
             {text}",
            queued + Duration::from_secs(3600),
            queued + Duration::from_secs(72 * 3600)
        )
    );
    let shown: Value = serde_json::from_str(&prints(&data, &["show", &notice, "--json"])).unwrap();
    assert_eq!(shown["text"], text);
    let shown = prints(&data, &["show", &code]);
    assert!(
        shown.ends_with("\n\nThe text holds a code and is not shown.\n"),
        "{shown}"
    );
    let shown = prints(&data, &["show", &code, "--json"]);
    assert!(shown.contains(r#""text":null"#), "{shown}");
    for args in [
        ["list"].as_slice(),
        &["list", "--json"],
        &["show", &code],
        &["show", &code, "--json"],
    ] {
        let shown = prints(&data, args);
        assert!(
            !shown.contains("135-790") && !shown.contains("135790"),
            "{shown}"
        );
    }
}

#[tokio::test]
async fn a_dead_letter_is_sent_when_it_is_tried_again() {
    let (data, [_, dead, ..]) = data().await;
    let server = SmtpServer::start();
    data.set(ACME, "mail-server", &server.url());
    data.edit("UPDATE outbox SET recipient = 'bob@example.com' WHERE recipient LIKE 'reject%'");
    assert_eq!(
        prints(&data, &["retry", &dead]),
        format!("mail {dead} is due\n")
    );
    data.advance(Duration::from_secs(60));
    data.deliver_due().await;
    assert!(
        server
            .stop_and_list()
            .contains(&"bob@example.com".to_owned())
    );
}

/// A dead letter has the workspace's whole time again.
#[tokio::test]
async fn an_expired_mail_waits_as_a_new_one_when_it_is_tried_again() {
    let (data, [notice, ..]) = data().await;
    data.edit("UPDATE outbox SET expires = queued");
    data.deliver_due().await;
    let retried = prints(&data, &["retry", &notice, "--json"]);
    assert_eq!(retried, format!("{{\"id\":{notice},\"state\":\"due\"}}\n"));
    let mails = data.mails().await;
    let mail = mails
        .iter()
        .find(|mail| mail.id.to_string() == notice)
        .unwrap();
    assert_eq!(mail.state.name(), "waiting");
    let day = Duration::from_secs(24 * 3600);
    assert!(mail.expires >= data.now() + 3 * day);
    assert!(mail.expires <= Clock::system().now() + 3 * day);
}

#[tokio::test]
async fn a_mail_that_waits_keeps_its_end_when_it_is_tried_again() {
    let (data, ids) = data().await;
    for id in [&ids[0], &ids[2]] {
        let sooner = "UPDATE outbox SET expires = expires - 60000";
        data.edit(sooner);
        let end = |mails: Vec<Mail>| {
            let mut mails = mails.into_iter();
            mails
                .find(|mail| mail.id.to_string() == *id)
                .unwrap()
                .expires
        };
        let before = end(data.mails().await);
        prints(&data, &["retry", id]);
        assert_eq!(end(data.mails().await), before);
    }
}

/// Nobody could use it.
#[tokio::test]
async fn an_expired_code_is_not_tried_again() {
    let (data, [_, _, code, _]) = data().await;
    data.edit("UPDATE outbox SET expires = queued WHERE holds_code");
    let (mails, audit) = (data.mails().await, data.audit());
    assert_eq!(
        refuses(&data, &["retry", &code]),
        format!("host-harness: mail {code} held a code that has expired; ask for a new one\n")
    );
    assert_eq!((data.mails().await, data.audit()), (mails, audit));
    data.deliver_due().await;
    assert!(!data.files_hold(b"135-790"));
}

#[tokio::test]
async fn a_mail_that_is_being_sent_is_not_sent_twice() {
    let (data, [_, _, code, _]) = data().await;
    let claim = data.store.claim(data.now()).await.unwrap().unwrap();
    assert_eq!(claim.id.to_string(), code);
    assert!(prints(&data, &["list"]).contains("being sent"));
    assert_eq!(
        refuses(&data, &["retry", &code]),
        format!("host-harness: mail {code} is being sent; try again in a few minutes\n")
    );
}

#[tokio::test]
async fn everything_that_can_be_is_tried_again_at_once() {
    let (data, [_, dead, _, _]) = data().await;
    let claim = data.store.claim(data.now()).await.unwrap().unwrap();
    assert_eq!(prints(&data, &["retry", "--all"]), "2 mails due\n");
    let list: Value = serde_json::from_str(&prints(&data, &["list", "--json"])).unwrap();
    let states = list.as_array().unwrap().iter().map(|mail| {
        let state = mail["state"].as_str().unwrap();
        format!("{} {state}", mail["id"])
    });
    let states: Vec<_> = states.collect();
    assert!(states.contains(&format!("{dead} waiting")), "{states:?}");
    assert!(
        states.contains(&format!("{} being sent", claim.id)),
        "{states:?}"
    );
    let (code, _, stderr) = outbox(&data, &["retry"]);
    assert_eq!(code, Some(2), "{stderr}");
}

/// What an operator did is in the audit trail.
#[tokio::test]
async fn a_removed_mail_is_gone_and_recorded() {
    let (data, [notice, dead, code, _]) = data().await;
    assert_eq!(
        prints(&data, &["remove", &dead]),
        format!("mail {dead} is removed\n")
    );
    assert_eq!(
        prints(&data, &["remove", &code, "--json"]),
        format!("{{\"id\":{code},\"state\":\"removed\"}}\n")
    );
    assert!(!data.files_hold(b"135-790"));
    assert_eq!(
        prints(&data, &["retry", &notice]),
        format!("mail {notice} is due\n")
    );
    assert_eq!(data.mails().await.len(), 1);
    assert_eq!(
        data.audit().split_off(2),
        [
            format!("default remove-mail operator done mail {dead}"),
            format!("default remove-mail operator done mail {code}"),
            format!("default retry-mail operator done mail {notice}"),
        ]
    );
}

#[tokio::test]
async fn another_workspaces_mail_is_unknown() {
    let (data, [notice, .., theirs]) = data().await;
    let audit = data.audit();
    for command in ["show", "retry", "remove"] {
        for id in [theirs.as_str(), "999"] {
            assert_eq!(
                refuses(&data, &[command, id]),
                format!(
                    "host-harness: there is no mail {id}; `host-harness outbox list` shows all\n"
                )
            );
        }
        let error = refuses(&data, &[command, &notice, "--workspace", GLOBEX]);
        assert!(error.contains("there is no mail"), "{error}");
        let error = refuses(&data, &[command, &notice, "--workspace", "none"]);
        assert_eq!(
            error,
            "host-harness: there is no workspace none; `host-harness workspace list` shows all\n"
        );
    }
    assert_eq!(data.mails().await.len(), 3);
    assert_eq!(data.audit(), audit, "nothing was done");
}

#[test]
fn a_store_that_is_not_there_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("missing.sqlite");
    let mut command = host_harness();
    command.args(["outbox", "list", "--store"]).arg(&path);
    let output = command.output().unwrap();
    secret_scan::keep_output(&output);
    let Output { status, stderr, .. } = output;
    let stderr = String::from_utf8(stderr).unwrap();
    assert_eq!(
        (status.code(), stderr.lines().count()),
        (Some(1), 1),
        "{stderr}"
    );
    assert!(stderr.contains("cannot open the store") && stderr.contains("missing.sqlite"));
    assert!(!path.exists());
}

/// Whoever chose an address does not write on the operator's screen.
#[tokio::test]
async fn nothing_in_a_mail_moves_the_cursor() {
    let (data, [notice, ..]) = data().await;
    data.edit(
        "UPDATE outbox SET recipient = 'a' || char(27) || '[2J' || char(10) || 'b', subject = recipient,
                           last_problem = char(13, 155), body = char(27, 7) || 'x'",
    );
    for args in [["list"].as_slice(), &["show", &notice]] {
        let shown = prints(&data, args);
        assert!(
            shown.contains("a\\u{1b}[2J\\nb") || args == ["list"],
            "{shown}"
        );
        assert!(
            shown.chars().all(|c| c == '\n' || !c.is_control()),
            "{shown:?}"
        );
    }
}
