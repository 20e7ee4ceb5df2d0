//! A new version without an outage, and a host that is lost: behind the proxies of the recipes, while
//! a client asks without a pause, by TLS.

use crate::nginx::Nginx;
use crate::proxy::after_scheme;
use crate::{Host, code_of, fill, filled, token_of};
use chat_store::StoreUrl;
use chat_testing::certificates::SelfSigned;
use chat_testing::{free_port, until};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tempfile::TempDir;
use tokio::task::JoinHandle;

const ONE_MACHINE: &str = include_str!("../../recipes/one-machine/nginx.conf");
const THREE_HOSTS: &str = include_str!("../../recipes/three-hosts/nginx.conf");

/// The name under which the recipes serve.
const NAME: &str = "chat.example.com";

/// Administrators, each of whom has a code and a member to reset.
const PAIRS: usize = 30;

/// Answers that are waited for between two events.
const SOME: usize = 10;

/// A certificate of our own, for the name.
struct Certificate {
    folder: TempDir,
}

impl Certificate {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        SelfSigned::new(NAME).write(folder.path(), "crt", "key");
        Self { folder }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn paths(&self) -> [String; 2] {
        ["crt", "key"].map(|name| self.path(name))
    }
}

/// What was answered so far.
#[derive(Default)]
struct Answers {
    succeeded: AtomicUsize,
    failed: AtomicUsize,
    is_over: AtomicBool,
}

/// A client that asks without a pause, with a connection a request: each administrator resets a member,
/// and then they ask who they are.
struct Client {
    answers: Arc<Answers>,
    asking: JoinHandle<()>,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.answers.is_over.store(true, Ordering::Relaxed);
    }
}

impl Client {
    fn start(port: u16, certificate: &Certificate) -> Self {
        let answers = Arc::new(Answers::default());
        let asking = tokio::task::spawn_blocking({
            let (answers, certificate) = (answers.clone(), certificate.path("crt"));
            move || {
                for number in 0.. {
                    if answers.is_over.load(Ordering::Relaxed) {
                        return;
                    }
                    let output = request(number, port, &certificate).output().unwrap();
                    let counted = match output.stdout.as_slice() {
                        b"200" => &answers.succeeded,
                        _ => &answers.failed,
                    };
                    counted.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Self { answers, asking }
    }

    /// Waits for some more answers.
    async fn is_answered(&self) {
        self.is_answered_in_all(self.answers.succeeded.load(Ordering::Relaxed) + SOME)
            .await;
    }

    async fn is_answered_in_all(&self, enough: usize) {
        let succeeded = || self.answers.succeeded.load(Ordering::Relaxed);
        until("enough is answered", || succeeded() >= enough).await;
    }

    /// Waits until all resets are done; gives how many requests failed.
    async fn end(mut self) -> usize {
        self.is_answered_in_all(PAIRS + SOME).await;
        self.answers.is_over.store(true, Ordering::Relaxed);
        (&mut self.asking).await.unwrap();
        self.answers.failed.load(Ordering::Relaxed)
    }
}

/// The request of this number, which prints the status of its answer.
fn request(number: usize, port: u16, certificate: &str) -> Command {
    let caller = format!("a{}", number % PAIRS);
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--noproxy", "*", "--output", "/dev/null"])
        .args(["--write-out", "%{http_code}", "--cacert", certificate])
        .args(["--resolve", &format!("{NAME}:{port}:127.0.0.1")])
        .args(["--header", &format!("x-user-id: {caller}")])
        .args(["--header", &format!("x-auth-token: {}", token_of(&caller))])
        .stdin(Stdio::null());
    let route = if number < PAIRS {
        curl.args(["--header", &format!("x-2fa-code: {}", code_of(&caller))])
            .args(["--data", &format!(r#"{{"userId":"m{number}"}}"#)]);
        "users.resetTOTP"
    } else {
        "me"
    };
    curl.arg(format!("https://{NAME}:{port}/api/v1/{route}"));
    curl
}

impl Host {
    /// The line of a recipe that names it, after `server`.
    fn line(&self) -> String {
        format!("server {}", after_scheme(self.url()))
    }
}

/// A recipe in which TLS is with this certificate, on this port.
fn with_tls<'a>(certificate: &'a [String; 2], listen: &'a str) -> Vec<(&'a str, &'a str)> {
    let [own, key] = certificate;
    vec![
        ("listen 443 ssl;", listen),
        ("/etc/ssl/chat/chat.crt", own),
        ("/etc/ssl/chat/chat.key", key),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn on_one_machine_a_host_is_exchanged_and_no_request_fails() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.sqlite");
    fill(&StoreUrl::from(file.as_path()), PAIRS).await;
    let file = file.to_str().unwrap();
    let certificate = Certificate::new();
    let (port, other) = (free_port(), format!("listen 127.0.0.1:{};", free_port()));
    let (paths, listen) = (certificate.paths(), format!("listen 127.0.0.1:{port} ssl;"));
    let old = Host::start(file);
    let of_old = old.line();
    let mut places = with_tls(&paths, &listen);
    places.extend([("listen 80;", &*other), ("server 127.0.0.1:3000", &of_old)]);
    let nginx = Nginx::start(ONE_MACHINE, &places, port).await;
    let client = Client::start(port, &certificate);
    client.is_answered().await;

    let new = Host::start(file);
    let (down, up) = (format!("{of_old} down;"), format!("{};", new.line()));
    let places = [
        (&*format!("{of_old};"), &*down),
        ("server 127.0.0.1:3002 down;", &up),
    ];
    nginx.reload(&places).await;
    old.0.stop();
    client.is_answered().await;
    assert_eq!(client.end().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_three_hosts_one_is_lost_and_the_others_exchanged_and_one_request_fails_at_most() {
    let database = filled(PAIRS).await;
    let url = database.url();
    let certificate = Certificate::new();
    let port = free_port();
    let (paths, listen) = (certificate.paths(), format!("listen 127.0.0.1:{port} ssl;"));
    let mut hosts = [Host::start(&url), Host::start(&url), Host::start(&url)];
    let lines = hosts.each_ref().map(Host::line);
    let mut places = with_tls(&paths, &listen);
    let theirs = [
        "server chat1:3000",
        "server chat2:3000",
        "server chat3:3000",
    ];
    places.extend(theirs.into_iter().zip(lines.iter().map(String::as_str)));
    let nginx = Nginx::start(THREE_HOSTS, &places, port).await;
    let client = Client::start(port, &certificate);
    client.is_answered().await;

    // The one request that it had.
    hosts[0].0.kill();
    client.is_answered().await;
    let lost = client.answers.failed.load(Ordering::Relaxed);
    assert!(lost <= 1, "{lost}");

    for (number, (host, line)) in hosts.iter_mut().zip(&lines).enumerate() {
        let new = Host::start(&url);
        let down = format!("{line} down");
        nginx.reload(&[(line, &down)]).await;
        let old = std::mem::replace(host, new);
        if number > 0 {
            old.0.stop();
        }
        client.is_answered().await;
        nginx.reload(&[(&down, &host.line())]).await;
        client.is_answered().await;
    }
    assert_eq!(client.end().await, lost);
}
