//! What arrives.

use crate::support::{ACME, Data, FROM, GLOBEX, SmtpServer};
use chat_server::delivery::deliver;
use std::time::Duration;
use tokio::sync::oneshot;

/// And nothing is left in the store.
#[tokio::test]
async fn a_notice_arrives_once_at_each_verified_address() {
    let server = SmtpServer::start();
    let data = Data::new(&server.url(), &["alice@example.com", "alice@example.org"]).await;
    data.queue_notice(ACME).await;
    data.advance(Duration::from_secs(3600));
    data.deliver_due().await;
    data.advance(Duration::from_secs(3600));
    data.deliver_due().await;
    assert!(data.outbox().await.is_empty());
    let mut received = server.stop();
    received.sort_by(|a, b| a.to.cmp(&b.to));
    assert_eq!(received.len(), 2);
    for (mail, address) in received
        .iter()
        .zip(["alice@example.com", "alice@example.org"])
    {
        assert_eq!(mail.from, "chat@acme.example");
        assert_eq!(mail.to, [address]);
        assert_eq!((mail.secure, &mail.user), (false, &None));
        let (id, rest) = mail
            .data
            .split_once("Message-ID: <")
            .and_then(|(_, rest)| rest.split_once("@acme.example>\r\n"))
            .unwrap();
        assert!(
            id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()),
            "{id}"
        );
        assert!(rest.contains("Auto-Submitted"));
        assert_eq!(
            mail.data,
            format!(
                "From: \"Acme chat\" <chat@acme.example>\r\n\
                 To: {address}\r\n\
                 Subject: Two Factor TOTP Reset Notification\r\n\
                 Date: Fri, 13 Feb 2009 23:31:30 +0000\r\n\
                 Message-ID: <{id}@acme.example>\r\n\
                 Auto-Submitted: auto-generated\r\n\
                 MIME-Version: 1.0\r\n\
                 Content-Type: text/plain; charset=utf-8\r\n\
                 Content-Transfer-Encoding: quoted-printable\r\n\
                 \r\n\
                 Your two-factor authentication by TOTP was reset by Admin at 2009-02-13T23:=\r\n31:30Z.\r\n\
                 \r\n\
                 You have been logged out everywhere. Log in again and enrol your\r\n\
                 authenticator app anew.\r\n\
                 \r\n\
                 From: 192.0.2.1\r\n\
                 \r\n\
                 If this was neither you nor asked for by you, tell your workspace's\r\n\
                 administrator at once.\r\n\r\n"
            )
        );
    }
}

#[tokio::test]
async fn a_code_arrives_and_is_not_left_in_the_files() {
    let server = SmtpServer::start();
    let data = Data::new(&server.url(), &["alice@example.com"]).await;
    data.queue_code(ACME, "135790").await;
    assert!(data.files_hold(b"135-790"));
    data.deliver_due().await;
    let mail = server.receive();
    assert!(
        mail.data.contains("The code for Alice is 135-790."),
        "{}",
        mail.data
    );
    assert!(!data.files_hold(b"135-790"));
}

/// The worker sees what another process queues, without being told.
#[tokio::test]
async fn a_mail_is_sent_soon_after_it_is_queued() {
    let server = SmtpServer::start();
    let data = Data::new(&server.url(), &["alice@example.com"]).await;
    let (stop, stopped) = oneshot::channel();
    let worker = tokio::spawn(deliver(data.another_handle().await, data.clock(), async {
        let _ = stopped.await;
    }));
    data.queue_notice(ACME).await;
    let server = tokio::task::spawn_blocking(move || {
        assert_eq!(server.receive().to, ["alice@example.com"]);
        server
    })
    .await
    .unwrap();
    stop.send(()).unwrap();
    worker.await.unwrap();
    assert!(data.outbox().await.is_empty());
    assert!(server.stop().is_empty());
}

#[tokio::test]
async fn each_workspace_has_its_own_server_and_sender() {
    let (ours, theirs) = (SmtpServer::start(), SmtpServer::start());
    let data = Data::new(&ours.url(), &["alice@acme.example"]).await;
    data.add(GLOBEX, "Admin", &theirs.url(), &["alice@globex.example"])
        .await;
    data.set(GLOBEX, "mail-from", "chat@globex.example");
    data.queue_notice(ACME).await;
    data.queue_notice(GLOBEX).await;
    data.deliver_due().await;
    let ours = ours.stop();
    let theirs = theirs.stop();
    assert_eq!((ours.len(), theirs.len()), (1, 1));
    assert_eq!(ours[0].from, "chat@acme.example");
    assert_eq!(ours[0].to, ["alice@acme.example"]);
    assert_eq!(theirs[0].from, "chat@globex.example");
    assert_eq!(theirs[0].to, ["alice@globex.example"]);
    assert!(theirs[0].data.contains("From: chat@globex.example\r\n"));
}

/// Names, subjects and addresses with line breaks make no header and no
/// recipient (OWASP ASVS 5.0, 1.3.11).
#[tokio::test]
async fn nothing_can_add_a_header_or_a_recipient() {
    let server = SmtpServer::start();
    let data = Data::new(&server.url(), &["alice@example.com"]).await;
    data.add(
        GLOBEX,
        "Eve\r\nBcc: eve@evil.example\r\n\r\n.\r\nMAIL FROM:<eve@evil.example>",
        &server.url(),
        &["alice@globex.example"],
    )
    .await;
    data.queue_notice(ACME).await;
    data.queue_notice(GLOBEX).await;
    data.edit(
        "UPDATE outbox SET subject = 'Hello' || char(13, 10) || 'Bcc: eve@evil.example', \
                           body = '.' || char(10) || '..' || char(10) || 'end'
         WHERE workspace = 'default'",
    );
    data.deliver_due().await;
    let mut received = server.stop();
    received.sort_by(|a, b| a.to.cmp(&b.to));
    let recipients: Vec<_> = received.iter().flat_map(|mail| &mail.to).collect();
    assert_eq!(recipients, ["alice@example.com", "alice@globex.example"]);
    for mail in &received {
        let (headers, _) = mail.data.split_once("\r\n\r\n").unwrap();
        let names: Vec<_> = headers
            .lines()
            .filter_map(|line| line.split_once(": "))
            .collect();
        let names: Vec<_> = names.iter().map(|(name, _)| *name).collect();
        assert_eq!(
            names,
            [
                "From",
                "To",
                "Subject",
                "Date",
                "Message-ID",
                "Auto-Submitted",
                "MIME-Version",
                "Content-Type",
                "Content-Transfer-Encoding"
            ]
        );
    }
    assert!(
        received[0]
            .data
            .contains("Subject: Hello  Bcc: eve@evil.example\r\n")
    );
    assert!(
        received[0].data.ends_with("\r\n\r\n.\r\n..\r\nend\r\n"),
        "{}",
        received[0].data
    );
    let name = "was reset by EveBcc: eve@evil.example.MAIL FROM:<eve@evil.example> at";
    let text = received[1].data.replace("=\r\n", "");
    assert!(text.contains(name), "{text}");
}

#[tokio::test]
async fn an_address_with_a_line_break_is_given_up() {
    let server = SmtpServer::start();
    let hostile = [
        "alice@example.com\r\nRCPT TO:<eve@evil.example>",
        "alice@example.com>\r\nDATA",
        "\"a\r\nb\"@example.com",
        "alice",
        "",
    ];
    let data = Data::new(&server.url(), &hostile).await;
    data.queue_notice(ACME).await;
    data.deliver_due().await;
    for line in data.outbox().await {
        assert!(
            line.contains(" dead letter tries=1 mail cannot be sent to this address: "),
            "{line}"
        );
    }
    assert_eq!(data.mails().await.len(), hostile.len());
    assert!(server.stop().is_empty());
}

#[tokio::test]
async fn a_sender_with_letters_of_any_script_is_encoded() {
    let server = SmtpServer::start();
    let data = Data::new(&server.url(), &["alice@example.com"]).await;
    data.set(ACME, "mail-from", &FROM.replace("Acme", "Äcme 会"));
    data.queue_notice(ACME).await;
    data.deliver_due().await;
    let mail = server.receive();
    assert!(mail.data.is_ascii());
    assert!(mail.data.starts_with("From: =?utf-8?b?"), "{}", mail.data);
}
