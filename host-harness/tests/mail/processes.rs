//! The command `serve` as it delivers: TLS, several processes, a killed one, and
//! what it logs.

use crate::support::{ACME, Data, PATIENCE, SmtpServer, host_harness};
use chat_domain::outbox::LEASE;
use chat_server::clock::Clock;
use chat_store::seal::Seal;
use chat_testing::certificates::Certificates;
use chat_testing::guest::PLUGIN;
use chat_testing::postgres::Database;
use serde_json::json;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PASSWORD: &str = "hunter2-of-the-mail-server";

/// A server that wants TLS and a password.
fn server(certificates: &Certificates, tls: &str) -> SmtpServer {
    secret_scan::register(PASSWORD);
    SmtpServer::start_with(&json!({
        "tls": tls, "key": certificates.file("key.pem"), "cert": certificates.file("cert.pem"),
        "user": "chat@acme", "password": PASSWORD,
    }))
}

/// A running `host-harness serve`.
struct Process {
    child: Child,
    log: Receiver<String>,
}

impl Process {
    fn start(store: impl AsRef<OsStr>, ca: Option<PathBuf>, log: &str) -> Self {
        let mut command = host_harness();
        if let Some(ca) = ca {
            command.env("SSL_CERT_FILE", ca);
        }
        let mut child = command
            .env("RUST_LOG", log)
            .env("NO_COLOR", "1")
            .args(["serve", "--listen", "127.0.0.1:0", "--plugin", PLUGIN])
            .arg("--store")
            .arg(store.as_ref())
            .stdout(secret_scan::file("stdout"))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = secret_scan::Kept::new("stderr", child.stderr.take().unwrap());
        let lines = BufReader::new(stderr).lines();
        let (sender, log) = channel();
        std::thread::spawn(move || {
            let mut lines = lines.map_while(Result::ok);
            lines.try_for_each(|line| sender.send(line))
        });
        Self { child, log }
    }

    /// The log, up to the line that has this text.
    fn log_until(&self, text: &str) -> Vec<String> {
        let mut log = Vec::new();
        loop {
            let line = self.log.recv_timeout(PATIENCE);
            let line = line
                .unwrap_or_else(|_| panic!("{text} is not in {:#?}", log.iter().rev().take(20)));
            let found = line.contains(text);
            log.push(line);
            if found {
                return log;
            }
        }
    }

    /// Sends SIGTERM.
    fn tell_to_stop(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").arg(pid).status().unwrap().success());
    }

    /// Ends as told; the rest of the log.
    fn stop(mut self) -> Vec<String> {
        self.tell_to_stop();
        self.end()
    }

    fn end(&mut self) -> Vec<String> {
        assert!(self.child.wait().unwrap().success());
        self.log.iter().collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn data(server: &str, addresses: &[&str]) -> Data {
    let data = Data::at(Clock::system().now()).await;
    data.add(ACME, "Admin", server, addresses).await;
    data
}

/// RFC 8314 section 3: with TLS from the start, and with STARTTLS.
#[tokio::test]
async fn mail_goes_over_tls_to_a_server_whose_certificate_is_trusted() {
    let certificates = Certificates::new();
    for (tls, scheme, query) in [
        ("implicit", "smtps", ""),
        ("starttls", "smtp", "?tls=required"),
    ] {
        let server = server(&certificates, tls);
        let url = format!(
            "{scheme}://chat%40acme:{PASSWORD}@127.0.0.1:{}{query}",
            server.port
        );
        let data = data(&url, &["alice@example.com"]).await;
        data.queue_notice(ACME).await;
        let process = Process::start(data.path(), Some(certificates.file("ca.pem")), "info");
        let mail = server.receive();
        assert_eq!(mail.to, ["alice@example.com"], "{tls}");
        assert!(mail.secure, "{tls}");
        assert_eq!(mail.user.as_deref(), Some("chat@acme"), "{tls}");
        process.log_until(" sent ");
        process.stop();
        assert!(data.outbox().await.is_empty());
        assert!(server.stop().is_empty());
    }
}

#[tokio::test]
async fn a_server_whose_certificate_is_not_trusted_gets_no_password_and_no_mail() {
    let (certificates, others) = (Certificates::new(), Certificates::new());
    for (tls, scheme, query, step) in [
        ("implicit", "smtps", "", "connecting"),
        ("starttls", "smtp", "?tls=required", "encrypting"),
    ] {
        let server = server(&certificates, tls);
        // By name the certificate is another's, by the other CA not trusted.
        for (host, ca) in [("127.0.0.1", &others), ("localhost", &certificates)] {
            let url = format!(
                "{scheme}://chat%40acme:{PASSWORD}@{host}:{}{query}",
                server.port
            );
            let data = data(&url, &["alice@example.com"]).await;
            data.queue_notice(ACME).await;
            let process = Process::start(data.path(), Some(ca.file("ca.pem")), "info");
            let log = process.log_until("not sent");
            assert!(log.last().unwrap().contains("certificate"), "{log:#?}");
            process.stop();
            let outbox = data.outbox().await;
            assert!(outbox[0].contains(" waiting in "), "{outbox:?}");
            assert!(
                outbox[0].contains(&format!(" tries=1 {step}: ")),
                "{outbox:?}"
            );
            assert!(outbox[0].contains("certificate"), "{outbox:?}");
        }
        assert!(server.stop().is_empty());
    }
}

/// A server that no longer offers STARTTLS: an attacker in between, perhaps.
#[tokio::test]
async fn a_server_without_starttls_gets_no_mail_where_it_is_required() {
    let server = SmtpServer::start();
    let url = format!(
        "smtp://chat:{PASSWORD}@127.0.0.1:{}?tls=required",
        server.port
    );
    let data = Data::new(&url, &["alice@example.com"]).await;
    data.queue_notice(ACME).await;
    data.deliver_due().await;
    let outbox = data.outbox().await;
    assert!(outbox[0].contains("encrypting: "), "{outbox:?}");
    assert!(
        outbox[0].contains("STARTTLS is not supported"),
        "{outbox:?}"
    );
    assert!(server.stop().is_empty());
}

/// Answers that an attacker in between adds to the one to STARTTLS, which is not
/// encrypted: to the commands that follow, encrypted (RFC 3207 section 4.2).
const INJECTED: &[u8] = b"250 mail.example\r\n\
                          250 Sender accepted\r\n\
                          250 Recipient accepted\r\n\
                          354 Go on\r\n\
                          250 Message accepted\r\n";

/// Passes on what `from` says next.
async fn pass(from: &mut TcpStream, to: &mut TcpStream) -> std::io::Result<()> {
    let mut said = Vec::with_capacity(4096);
    from.read_buf(&mut said).await?;
    to.write_all(&said).await
}

/// Passes on everything up to STARTTLS, adds [`INJECTED`] to its answer, and
/// passes on the client's part of the TLS handshake and what the server says.
async fn inject(mut client: TcpStream, mut server: TcpStream) -> std::io::Result<()> {
    for _greeting_and_capabilities in 0..2 {
        pass(&mut server, &mut client).await?;
        pass(&mut client, &mut server).await?;
    }
    let mut answers = Vec::with_capacity(4096);
    server.read_buf(&mut answers).await?;
    answers.extend(INJECTED);
    client.write_all(&answers).await?;
    pass(&mut client, &mut server).await?;
    tokio::io::copy(&mut server, &mut client).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_from_before_the_encryption_counts_for_nothing_after_it() {
    let certificates = Certificates::new();
    let server = server(&certificates, "starttls");
    let front = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("smtp://{}?tls=required", front.local_addr().unwrap());
    let data = data(&url, &["alice@example.com"]).await;
    data.queue_notice(ACME).await;
    let port = server.port;
    let attack = tokio::spawn(async move {
        let (client, _) = front.accept().await.unwrap();
        let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        inject(client, server).await
    });
    let process = Process::start(data.path(), Some(certificates.file("ca.pem")), "info");
    process.log_until(" sent ");
    attack.abort();
    process.stop();
    let outbox = data.outbox().await;
    assert_eq!(outbox.len(), 1, "nobody has this mail");
    assert!(outbox[0].contains(" tries=1 encrypting: "), "{outbox:?}");
    assert!(server.stop().is_empty());
}

#[tokio::test]
async fn two_processes_send_each_of_fifty_mails_once() {
    let data = Data::at(Clock::system().now()).await;
    let store = data.path();
    each_of_fifty_mails_is_sent_once(data, store.as_os_str()).await;
}

#[tokio::test]
async fn two_processes_on_postgresql_send_each_of_fifty_mails_once() {
    let database = Database::with_store(&Seal::none());
    let data = Data::in_database(&database, Clock::system().now()).await;
    each_of_fifty_mails_is_sent_once(data, OsStr::new(&database.url())).await;
}

async fn each_of_fifty_mails_is_sent_once(data: Data, store: &OsStr) {
    let server = SmtpServer::start();
    let addresses: Vec<_> = (10..60).map(|n| format!("a{n}@example.com")).collect();
    let known: Vec<_> = addresses.iter().map(String::as_str).collect();
    data.add(ACME, "Admin", &server.url(), &known).await;
    let processes = [(), ()].map(|()| Process::start(store, None, "info"));
    for process in &processes {
        process.log_until("listening");
    }
    data.queue_notice(ACME).await;
    let mut received: Vec<_> = addresses.iter().flat_map(|_| server.receive().to).collect();
    processes
        .into_iter()
        .for_each(|process| drop(process.stop()));
    assert!(data.outbox().await.is_empty());
    received.extend(server.stop_and_list());
    received.sort();
    assert_eq!(received, addresses);
}

/// SIGKILL while the mail is being sent.
#[tokio::test]
async fn a_killed_process_is_replaced_after_the_lease() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("smtp://{}", silent.local_addr().unwrap());
    let data = data(&url, &["alice@example.com"]).await;
    data.queue_notice(ACME).await;
    let process = Process::start(data.path(), None, "info");
    let _connection = silent.accept().unwrap();
    drop(process);
    let outbox = data.outbox().await;
    assert!(
        outbox[0].starts_with("alice@example.com being sent in "),
        "{outbox:?}"
    );
    let server = SmtpServer::start();
    data.set(ACME, "mail-server", &server.url());
    data.deliver_due().await;
    assert_eq!(data.mails().await.len(), 1);
    data.advance(LEASE + PATIENCE);
    data.deliver_due().await;
    assert!(data.outbox().await.is_empty());
    assert_eq!(server.stop_and_list(), ["alice@example.com"]);
}

/// The stop signal waits for the mail that is being sent.
#[tokio::test]
async fn a_process_that_stops_finishes_the_delivery_in_progress() {
    let server = SmtpServer::start();
    let front = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("smtp://{}", front.local_addr().unwrap());
    let data = data(&url, &["alice@example.com"]).await;
    data.queue_notice(ACME).await;
    let mut process = Process::start(data.path(), None, "info");
    let (mut client, _) = front.accept().await.unwrap();
    process.log_until("listening");
    process.tell_to_stop();
    process.log_until("stopping");
    let mut upstream = TcpStream::connect(("127.0.0.1", server.port))
        .await
        .unwrap();
    tokio::io::copy_bidirectional(&mut client, &mut upstream)
        .await
        .unwrap();
    process.log_until(" sent ");
    process.end();
    assert!(data.outbox().await.is_empty());
    assert_eq!(server.stop_and_list(), ["alice@example.com"]);
}

/// The compiler writes megabytes that are not about mail.
const COMPILER: &str =
    "cranelift_codegen=off,cranelift_frontend=off,regalloc2=off,wasmtime_internal_cranelift=off";

/// At the most talkative level, for mail that is sent and mail that is not.
#[tokio::test]
async fn no_code_password_or_address_reaches_the_log() {
    let certificates = Certificates::new();
    let server = server(&certificates, "starttls");
    let url = format!(
        "smtp://chat%40acme:{PASSWORD}@127.0.0.1:{}?tls=required",
        server.port
    );
    let addresses = [
        "alice@example.com",
        "defer@example.com",
        "reject@example.com",
    ];
    let data = data(&url, &addresses).await;
    data.queue_notice(ACME).await;
    data.queue_code(ACME, "135790").await;
    let level = format!("trace,{COMPILER}");
    let process = Process::start(data.path(), Some(certificates.file("ca.pem")), &level);
    let mut log = Vec::new();
    for _ in addresses.iter().chain(&addresses) {
        log.extend(process.log_until("tries="));
    }
    secret_scan::register("a-wrong-password");
    data.set(
        ACME,
        "mail-server",
        &url.replace(PASSWORD, "a-wrong-password"),
    );
    data.edit("UPDATE outbox SET next_try = 0 WHERE NOT claimed");
    log.extend(process.log_until("logging in: the server answered 535"));
    log.extend(process.stop());
    assert!(log.iter().any(|line| line.contains("TRACE")));
    assert!(
        log.iter().any(|line| line.contains("Using ciphersuite")),
        "TLS is logged"
    );
    let base64 = |text: String| data_encoding::BASE64.encode(text.as_bytes());
    for secret in [
        PASSWORD.to_owned(),
        "a-wrong-password".to_owned(),
        base64(format!("\0chat@acme\0{PASSWORD}")),
        base64(PASSWORD.to_owned()),
        "135790".to_owned(),
        "135-790".to_owned(),
        "Your two-factor authentication".to_owned(),
        "alice@example.com".to_owned(),
        "reject@example.com".to_owned(),
    ] {
        let found = log.iter().find(|line| holds(line, &secret));
        assert_eq!(found, None, "{secret} is in the log");
    }
    assert_eq!(server.stop().len(), 2);
}

/// Whether the line of a log holds the secret as a word: a code of six digits may
/// be part of a moment, or of a random id.
fn holds(line: &str, secret: &str) -> bool {
    let outside = |c: Option<char>| c.is_none_or(|c| !c.is_ascii_alphanumeric());
    line.match_indices(secret).any(|(start, _)| {
        let (before, rest) = line.split_at(start);
        outside(before.chars().next_back()) && outside(rest[secret.len()..].chars().next())
    })
}
