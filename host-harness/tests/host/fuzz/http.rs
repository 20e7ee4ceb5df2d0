//! Requests that are nearly right, byte by byte over TCP.

use super::engine::fuzz;
use super::request::{Body, ContentType, Damage};
use arc_swap::ArcSwap;
use bolero::TypeGenerator;
use bolero::generator::produce;
use chat_server::clock::Clock;
use chat_server::http::{self, App};
use chat_server::metrics::Metrics;
use chat_server::stores::HostedStore;
use chat_server::workspace::{HostedWorkspace, Workspaces};
use chat_testing::guest::plugin_bytes;
use chat_testing::guest::{ADMISSIONS, limits};
use chat_testing::{ACME, Data, Dump, now};
use plugin_sandbox::plugin::Plugin;
use serde_json::Value;
use std::collections::HashMap;
use std::future::pending;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// What a refused request may change.
const RECORDS: [&str; 2] = ["audit", "failed_attempt"];

/// How long an answer to a whole request is waited for, and the end of a
/// connection.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long more is waited for where the request may not be whole.
const GLANCE: Duration = Duration::from_millis(20);

/// Between two requests, so that no lock and no rate limit is left of the first.
const PAUSE: Duration = Duration::from_secs(2 * 3600);

/// A good request, of somebody else.
const GOOD: &str = "GET /api/v1/me HTTP/1.1\r\nhost: x\r\nx-user-id: alice\r\n\
                    x-auth-token: alice-token\r\nconnection: close\r\n\r\n";

/// A request as a client writes it, but for what is odd.
#[derive(Debug, TypeGenerator)]
struct Case {
    content_type: ContentType,
    code: Option<Content>,
    body: Body,
    #[generator(produce::<Vec<Oddity>>().with().len(0..3usize))]
    oddities: Vec<Oddity>,
}

#[derive(Clone, Debug, TypeGenerator)]
enum Oddity {
    Verb(Verb),
    Query(String),
    Login(Login),
    Header(Header),
    Framing(Framing),
    Damage(Damage),
}

#[derive(Clone, Debug, TypeGenerator)]
enum Verb {
    Get,
    Put,
    Options,
    Lower,
    OldVersion,
    LaterVersion,
    Absolute,
}

#[derive(Clone, Debug, TypeGenerator)]
enum Login {
    Twice,
    Another,
    Absent,
}

#[derive(Clone, Debug, TypeGenerator)]
struct Header {
    name: Name,
    value: Content,
    form: Form,
}

#[derive(Clone, Debug, TypeGenerator)]
enum Name {
    Code,
    Method,
    ContentType,
    ContentEncoding,
    ContentLength,
    TransferEncoding,
    Host,
    Expect,
    Upgrade,
    ForwardedFor,
    MethodOverride,
    Origin,
    Anything(String),
}

#[derive(Clone, Debug, TypeGenerator)]
enum Content {
    Code(#[generator(0..1_000_000u32)] u32),
    Word(Word),
    Number(u64),
    Long(#[generator(200..20_000u16)] u16),
    Printable(Vec<u8>),
    Anything(Vec<u8>),
}

#[derive(Clone, Debug, TypeGenerator)]
enum Word {
    Totp,
    Email,
    Password,
    Gzip,
    Chunked,
    Continue,
    List,
    Operator,
    Empty,
}

/// How a header line is written.
#[derive(Clone, Debug, TypeGenerator)]
enum Form {
    Right,
    Wrong(WrongForm),
}

#[derive(Clone, Debug, TypeGenerator)]
enum WrongForm {
    Folded,
    SpaceBeforeColon,
    OnlyLineFeed,
    NoColon,
}

/// How the end of the body is told.
#[derive(Clone, Debug, TypeGenerator)]
enum Framing {
    LengthOff(i16),
    Chunked(u8),
    ChunkedWithoutEnd,
    Both,
    Untold,
}

static SERVER: LazyLock<Server> = LazyLock::new(Server::start);

/// OWASP ASVS 5.0 V1.5 and V4.2: whatever comes is refused as documented, changes
/// nothing, and keeps nobody else from an answer.
#[test]
fn whatever_is_in_a_request_it_is_refused_and_nothing_changes() {
    LazyLock::force(&SERVER);
    fuzz(150, |case: &Case| {
        for answer in SERVER.answers_to(case) {
            answer.is_a_refusal();
        }
        SERVER.answers_others();
        SERVER.is_unchanged();
    });
}

struct Server {
    /// Runs it.
    _runtime: Runtime,
    data: Data,
    before: Dump,
    address: SocketAddr,
    pauses: Arc<AtomicU64>,
}

impl Server {
    /// The administrator has no code left: none is right.
    fn start() -> Self {
        let runtime = Runtime::new().unwrap();
        let data = runtime.block_on(Data::new());
        data.edit("UPDATE totp SET last_step = 9223372036854775807; DELETE FROM backup_code");
        let workspace = HostedWorkspace::new(
            ACME.to_owned(),
            Arc::new(HostedStore::opened(data.url(), data.store.clone())),
            Arc::new(Plugin::unadmitted(ADMISSIONS.runtime(), &plugin_bytes()).unwrap()),
            limits(),
        );
        let pauses = Arc::new(AtomicU64::new(0));
        let passed = pauses.clone();
        let app = App {
            workspaces: Arc::new(ArcSwap::from_pointee(Workspaces::only(workspace))),
            clock: Clock::new(move || {
                now() + PAUSE * passed.load(Ordering::SeqCst).try_into().unwrap()
            }),
            trusted_proxies: vec!["127.0.0.1/32".parse().unwrap()],
            metrics: Arc::new(Metrics::default()),
        };
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(http::serve(listener, app, pending()));
        Self {
            before: data.dump_without(&RECORDS),
            _runtime: runtime,
            data,
            address,
            pauses,
        }
    }

    /// All that comes back until the server closes the connection.
    fn answers_to(&self, case: &Case) -> Vec<Answer> {
        self.pauses.fetch_add(1, Ordering::SeqCst);
        let mut client = TcpStream::connect(self.address).unwrap();
        // It may be closed before everything is sent.
        let _ = client.write_all(&case.bytes());
        let patience = if case.is_whole() { PATIENCE } else { GLANCE };
        let mut received = Vec::new();
        client.set_read_timeout(Some(patience)).unwrap();
        while Answer::first_of(&received).is_none()
            && receive(&mut client, &mut received).is_ok_and(|count| count > 0)
        {}
        let _ = client.shutdown(Shutdown::Write);
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        loop {
            match receive(&mut client, &mut received) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("it stays open"),
                Err(_) => break,
            }
        }
        let answers = Answer::all_of(&received);
        assert!(!case.is_whole() || !answers.is_empty(), "no answer");
        answers
    }

    fn answers_others(&self) {
        let mut client = TcpStream::connect(self.address).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(GOOD.as_bytes()).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }

    fn is_unchanged(&self) {
        let changes = self.before.changes(&self.data.dump_without(&RECORDS));
        assert_eq!(changes, "");
    }
}

/// Reads what there is, and says how many bytes it was.
fn receive(client: &mut TcpStream, received: &mut Vec<u8>) -> std::io::Result<usize> {
    let mut buffer = [0; 4096];
    let count = client.read(&mut buffer)?;
    received.extend_from_slice(&buffer[..count]);
    Ok(count)
}

#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

impl Answer {
    fn all_of(mut received: &[u8]) -> Vec<Self> {
        let mut answers = Vec::new();
        while let Some((answer, rest)) = Self::first_of(received) {
            answers.push(answer);
            received = rest;
        }
        let shown = received.escape_ascii();
        assert!(received.is_empty(), "this is no answer: {shown}");
        answers
    }

    /// The first answer, and what follows it.
    fn first_of(received: &[u8]) -> Option<(Self, &[u8])> {
        let end = received.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
        let (head, rest) = received.split_at(end + 4);
        let mut lines = std::str::from_utf8(head).unwrap().trim_end().split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap();
        let status = status.parse().unwrap();
        let headers: HashMap<_, _> = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        if status == 100 {
            return Self::first_of(rest);
        }
        let length = headers
            .get("content-length")
            .map_or(Ok(0), |length| length.parse());
        let (body, rest) = rest.split_at_checked(length.unwrap())?;
        let body = body.to_vec();
        Some((
            Self {
                status,
                headers,
                body,
            },
            rest,
        ))
    }

    /// What cannot be read as HTTP is refused before the server sees it.
    fn is_a_refusal(&self) {
        assert!((400..500).contains(&self.status), "{self:?}");
        if self.headers.contains_key("x-request-id") {
            self.is_the_servers();
        } else {
            assert!(matches!(self.status, 400 | 414 | 431), "{self:?}");
            assert!(self.body.is_empty(), "{self:?}");
        }
    }

    fn is_the_servers(&self) {
        let header = |name: &str| self.headers.get(name).map(String::as_str);
        assert_eq!(header("content-type"), Some("application/json"), "{self:?}");
        assert_eq!(header("cache-control"), Some("no-store"), "{self:?}");
        assert_eq!(
            header("x-content-type-options"),
            Some("nosniff"),
            "{self:?}"
        );
        let body: Value = serde_json::from_slice(&self.body).unwrap();
        let refused = body["success"] == false || body["status"] == "error";
        assert!(refused, "{body}");
    }
}

impl Case {
    /// Whether the server can tell where it ends.
    fn is_whole(&self) -> bool {
        let whole = |oddity: &Oddity| match oddity {
            Oddity::Verb(_) | Oddity::Query(_) | Oddity::Login(_) => true,
            Oddity::Framing(framing) => matches!(framing, Framing::Chunked(_)),
            Oddity::Header(_) | Oddity::Damage(_) => false,
        };
        self.oddities.iter().all(whole)
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.first_line().into_bytes();
        if self.odd(Oddity::host).is_none() {
            bytes.extend_from_slice(b"host: x\r\n");
        }
        bytes.extend_from_slice(self.login().as_bytes());
        if let Some(content_type) = self.content_type.text() {
            bytes.extend_from_slice(format!("content-type: {content_type}\r\n").as_bytes());
        }
        if let Some(code) = &self.code {
            bytes.extend([b"x-2fa-code: ", &code.bytes()[..], b"\r\n"].concat());
        }
        for oddity in &self.oddities {
            if let Oddity::Header(header) = oddity {
                bytes.extend(header.line());
            }
        }
        let body = self.body.bytes();
        match self.odd(Oddity::framing) {
            Some(framing) => framing.end(&mut bytes, &body),
            None => {
                let length = format!("content-length: {}\r\n\r\n", body.len());
                bytes.extend_from_slice(length.as_bytes());
                bytes.extend_from_slice(&body);
            }
        }
        match self.odd(Oddity::damage) {
            Some(damage) => damage.done_to(bytes),
            None => bytes,
        }
    }

    fn odd<'a, T>(&'a self, kind: impl Fn(&'a Oddity) -> Option<&'a T>) -> Option<&'a T> {
        self.oddities.iter().find_map(kind)
    }

    fn first_line(&self) -> String {
        const PATH: &str = "/api/v1/users.resetTOTP";
        let query = self.odd(Oddity::query);
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        let (method, host, version) = match self.odd(Oddity::verb) {
            None => ("POST", "", "HTTP/1.1"),
            Some(Verb::Get) => ("GET", "", "HTTP/1.1"),
            Some(Verb::Put) => ("PUT", "", "HTTP/1.1"),
            Some(Verb::Options) => ("OPTIONS", "", "HTTP/1.1"),
            Some(Verb::Lower) => ("post", "", "HTTP/1.1"),
            Some(Verb::OldVersion) => ("POST", "", "HTTP/1.0"),
            Some(Verb::LaterVersion) => ("POST", "", "HTTP/2.0"),
            Some(Verb::Absolute) => ("POST", "http://x", "HTTP/1.1"),
        };
        format!("{method} {host}{PATH}{query} {version}\r\n")
    }

    fn login(&self) -> &'static str {
        match self.odd(Oddity::login) {
            None => "x-user-id: admin\r\nx-auth-token: admin-token\r\n",
            Some(Login::Twice) => {
                "x-user-id: admin\r\nx-auth-token: admin-token\r\nx-user-id: admin\r\n"
            }
            Some(Login::Another) => "x-user-id: admin\r\nx-auth-token: alice-token\r\n",
            Some(Login::Absent) => "",
        }
    }
}

impl Oddity {
    fn verb(&self) -> Option<&Verb> {
        match self {
            Self::Verb(verb) => Some(verb),
            _ => None,
        }
    }

    fn query(&self) -> Option<&String> {
        match self {
            Self::Query(query) => Some(query),
            _ => None,
        }
    }

    fn login(&self) -> Option<&Login> {
        match self {
            Self::Login(login) => Some(login),
            _ => None,
        }
    }

    /// A header that stands for the one that names the host.
    fn host(&self) -> Option<&Header> {
        match self {
            Self::Header(header) if matches!(header.name, Name::Host) => Some(header),
            _ => None,
        }
    }

    fn framing(&self) -> Option<&Framing> {
        match self {
            Self::Framing(framing) => Some(framing),
            _ => None,
        }
    }

    fn damage(&self) -> Option<&Damage> {
        match self {
            Self::Damage(damage) => Some(damage),
            _ => None,
        }
    }
}

impl Header {
    fn line(&self) -> Vec<u8> {
        let (between, end): (&[u8], &[u8]) = match self.form {
            Form::Right => (b": ", b"\r\n"),
            Form::Wrong(WrongForm::Folded) => (b":\r\n ", b"\r\n"),
            Form::Wrong(WrongForm::SpaceBeforeColon) => (b" : ", b"\r\n"),
            Form::Wrong(WrongForm::OnlyLineFeed) => (b": ", b"\n"),
            Form::Wrong(WrongForm::NoColon) => (b" ", b"\r\n"),
        };
        [
            self.name.text().as_bytes(),
            between,
            &self.value.bytes(),
            end,
        ]
        .concat()
    }
}

impl Name {
    fn text(&self) -> &str {
        match self {
            Self::Code => "x-2fa-code",
            Self::Method => "X-2FA-Method",
            Self::ContentType => "content-type",
            Self::ContentEncoding => "content-encoding",
            Self::ContentLength => "content-length",
            Self::TransferEncoding => "transfer-encoding",
            Self::Host => "host",
            Self::Expect => "expect",
            Self::Upgrade => "upgrade",
            Self::ForwardedFor => "x-forwarded-for",
            Self::MethodOverride => "x-http-method-override",
            Self::Origin => "origin",
            Self::Anything(text) => text,
        }
    }
}

impl Content {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Code(code) => format!("{code:06}").into_bytes(),
            Self::Word(word) => word.text().as_bytes().to_vec(),
            Self::Number(number) => number.to_string().into_bytes(),
            Self::Long(length) => vec![b'1'; (*length).into()],
            Self::Printable(bytes) => bytes.iter().map(|byte| printable(*byte)).collect(),
            Self::Anything(bytes) => bytes.clone(),
        }
    }
}

/// What may stand in a header, UTF-8 or not.
fn printable(byte: u8) -> u8 {
    if byte.is_ascii_graphic() || byte >= 0x80 {
        byte
    } else {
        b'!'
    }
}

impl Word {
    fn text(&self) -> &'static str {
        match self {
            Self::Totp => "totp",
            Self::Email => "email",
            Self::Password => "password",
            Self::Gzip => "gzip",
            Self::Chunked => "chunked",
            Self::Continue => "100-continue",
            Self::List => "287082, 287082",
            Self::Operator => r#"{"$ne":null}"#,
            Self::Empty => "",
        }
    }
}

impl Framing {
    /// Ends the head and writes the body.
    fn end(&self, bytes: &mut Vec<u8>, body: &[u8]) {
        let chunked = "transfer-encoding: chunked\r\n";
        let head = match self {
            Self::LengthOff(by) => {
                let length = body.len().saturating_add_signed((*by).into());
                format!("content-length: {length}\r\n")
            }
            Self::Chunked(_) | Self::ChunkedWithoutEnd => chunked.to_owned(),
            Self::Both => format!("content-length: {}\r\n{chunked}", body.len()),
            Self::Untold => String::new(),
        };
        bytes.extend_from_slice(format!("{head}\r\n").as_bytes());
        let (size, end) = match self {
            Self::Chunked(size) => ((*size).into(), "0\r\n\r\n"),
            Self::Both => (usize::MAX, "0\r\n\r\n"),
            Self::ChunkedWithoutEnd => (usize::MAX, ""),
            _ => return bytes.extend_from_slice(body),
        };
        for chunk in body.chunks(1.max(size)) {
            bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(end.as_bytes());
    }
}
