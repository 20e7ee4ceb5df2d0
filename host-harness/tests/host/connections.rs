//! What clients do to a process by connections alone: none takes the place of one that
//! behaves, and none holds up its end.

use crate::process::Process;
use chat_testing::guest::Guest;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

/// Connections that each hold back the rest of a request.
const HALF_OPEN: usize = 5000;

/// Connections of clients that a process has room for that may open 1024 files.
const ROOM: usize = 256;

/// Files that a process holds with one store open, and connections of operators.
const OTHER_FILES: usize = 64;

/// How long an answer may take on a machine that is busy with the attack, too.
const PROMPT: Duration = Duration::from_secs(2);

/// Half a head.
const HALF_HEAD: &str = "POST /api/v1/login HTTP/1.1\r\nhost: acme.example\r\n";

/// A head without the body that it announces.
const HEAD: &str =
    "POST /api/v1/login HTTP/1.1\r\nhost: acme.example\r\ncontent-length: 30\r\n\r\n";

/// A request with a short answer.
const SMALL: &str = "GET /nowhere HTTP/1.1\r\nhost: acme.example\r\n\r\n";

/// One with a long answer.
const LARGE: &str = "GET /api/openapi.json HTTP/1.1\r\nhost: acme.example\r\n\r\n";

#[tokio::test]
async fn five_thousand_half_requests_take_no_place_from_a_client_that_behaves() {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    assert!(
        hard > HALF_OPEN as u64 + 500,
        "{soft}, {hard}: it needs more files"
    );
    let guest = Guest::default().component();
    let process = Process::start_by("ulimit -n 1024; exec \"$@\"", &guest).await;
    let mut regular = Regular::connect(&process);
    let mut half_open = Vec::new();
    for number in 0..HALF_OPEN {
        let half = if number % 2 == 0 { HALF_HEAD } else { HEAD };
        half_open.push(send(&process, half));
        if number % 100 == 0 {
            let start = Instant::now();
            assert_eq!(process.reset("acme.example").await, 400);
            regular.ask();
            assert!(start.elapsed() < PROMPT, "{number}: {:?}", start.elapsed());
            let files = open_files(&process);
            assert!(files <= ROOM + OTHER_FILES, "{number}: {files}");
        }
    }
    // By now the last of them are accepted, too.
    assert_eq!(process.reset("acme.example").await, 400);
    let (_, metrics) = process.asked("/metrics").await;
    let open = sample(&metrics, r#"chat_http_connections{listener="clients"}"#);
    assert!((2..=ROOM).contains(&open), "{open}");
    let closed = sample(
        &metrics,
        r#"chat_http_connections_closed_for_room_total{listener="clients"}"#,
    );
    assert!(closed >= HALF_OPEN - ROOM, "{closed}");

    let (status, time, log) = process.stop();
    assert!(status.success(), "{status} {log:?}");
    assert!(time < PROMPT, "{time:?}");
    let told = log
        .iter()
        .filter(|line| line.contains("no more connections can be open"));
    assert_eq!(told.count(), 1);
    let warnings = log.iter().filter(|line| line.contains(r#""level":"WARN""#));
    assert_eq!(warnings.count(), 1, "{log:?}");
}

/// Others than the connections may hold the files.
#[tokio::test]
async fn where_the_system_gives_no_file_for_a_connection_an_idle_one_gives_its_own() {
    let process = Process::start(&Guest::default().component()).await;
    assert_eq!(process.reset("acme.example").await, 400);
    let limit = format!("--nofile={}", open_files(&process) + 5);
    let id = process.id().to_string();
    let limited = Command::new("prlimit")
        .args(["--pid", &id, &limit])
        .status();
    assert!(limited.unwrap().success());
    let mut half_open = Vec::new();
    for _ in 0..50 {
        half_open.push(send(&process, HALF_HEAD));
    }
    let start = Instant::now();
    assert_eq!(process.reset("acme.example").await, 400);
    assert!(start.elapsed() < PROMPT, "{:?}", start.elapsed());
    let (status, _, log) = process.stop();
    assert!(status.success(), "{status} {log:?}");
    let told = log.iter().filter(|line| line.contains(r#""level":"WARN""#));
    assert_eq!(told.count(), 1, "{log:?}");
}

#[tokio::test]
async fn clients_that_keep_it_waiting_do_not_hold_up_its_end() {
    let process = Process::start(&Guest::default().component()).await;
    let mut idle = Regular::connect(&process);
    idle.ask();
    let half = send(&process, HALF_HEAD);
    let again = send(&process, &format!("{SMALL}{HALF_HEAD}"));
    let body = send(&process, HEAD);
    let deaf = deaf(&process);
    let (status, time, log) = process.stop();
    assert!(status.success(), "{status} {log:?}");
    assert!(time < PROMPT, "{time:?}");
    drop((idle, half, again, body, deaf));
}

#[tokio::test]
async fn half_a_head_is_waited_for_ten_seconds() {
    let process = Process::start(&Guest::default().component()).await;
    let mut half = send(&process, HALF_HEAD);
    let start = Instant::now();
    half.read_to_end(&mut Vec::new()).unwrap();
    let time = start.elapsed();
    let expected = Duration::from_secs(9)..Duration::from_secs(13);
    assert!(expected.contains(&time), "{time:?}");
    assert_eq!(process.reset("acme.example").await, 400);
}

/// Asks for more than the buffers of a socket take, and reads nothing.
fn deaf(process: &Process) -> TcpStream {
    let mut client = send(process, "");
    let stalled = Duration::from_millis(300);
    client.set_write_timeout(Some(stalled)).unwrap();
    while client.write_all(LARGE.as_bytes()).is_ok() {}
    client
}

/// A client that asks by one connection again and again.
pub(crate) struct Regular(TcpStream);

impl Regular {
    pub(crate) fn connect(process: &Process) -> Self {
        Self(send(process, ""))
    }

    pub(crate) fn ask(&mut self) {
        self.0.write_all(SMALL.as_bytes()).unwrap();
        let mut answer = [0; 4096];
        let length = self.0.read(&mut answer).unwrap();
        assert!(length > 12 && answer.starts_with(b"HTTP/1.1 404 "));
    }
}

/// A connection on which these bytes were sent.
fn send(process: &Process, bytes: &str) -> TcpStream {
    let address = process.url.strip_prefix("http://").unwrap();
    let mut client = TcpStream::connect(address).unwrap();
    client
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    client.write_all(bytes.as_bytes()).unwrap();
    client
}

fn open_files(process: &Process) -> usize {
    let files = std::fs::read_dir(format!("/proc/{}/fd", process.id()));
    files.unwrap().count()
}

pub(crate) fn sample(metrics: &str, name: &str) -> usize {
    let mut lines = metrics.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)).unwrap();
    value.trim().parse().unwrap()
}
