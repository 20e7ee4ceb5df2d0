//! Clients who each wait for an answer before they ask again, on one core.

use crate::Measured;
use crate::case::Answer;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};
use std::vec;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

/// One client's connection, which stays open.
pub(crate) struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

/// How a batch went.
pub(crate) struct Batch {
    pub(crate) time: Duration,
    /// Of each request.
    pub(crate) latencies: Vec<Duration>,
}

/// Opens so many connections, by turns to each address; each has carried `greeting` once.
pub(crate) async fn connect(
    addresses: &[SocketAddr],
    clients: usize,
    greeting: &[u8],
    answer: Answer,
) -> Measured<Vec<Connection>> {
    let mut connections = Vec::with_capacity(clients);
    for address in addresses.iter().cycle().take(clients) {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut connection = Connection {
            stream,
            received: Vec::with_capacity(4096),
        };
        connection.ask(greeting, answer).await?;
        connections.push(connection);
    }
    Ok(connections)
}

/// Sends `requests`, one at a time on each connection, and expects `answer` to each.
///
/// # Errors
///
/// Another answer, or none.
pub(crate) async fn run(
    connections: Vec<Connection>,
    requests: Vec<Vec<u8>>,
    answer: Answer,
) -> Measured<Batch> {
    let mut latencies = Vec::with_capacity(requests.len());
    let requests = Rc::new(RefCell::new(requests.into_iter()));
    let start = Instant::now();
    let clients = LocalSet::new();
    let tasks: Vec<_> = connections
        .into_iter()
        .map(|connection| clients.spawn_local(client(connection, requests.clone(), answer)))
        .collect();
    clients.await;
    let time = start.elapsed();
    for task in tasks {
        latencies.extend(task.await??);
    }
    Ok(Batch { time, latencies })
}

type Requests = Rc<RefCell<vec::IntoIter<Vec<u8>>>>;

/// The latencies of its requests.
async fn client(
    mut connection: Connection,
    requests: Requests,
    answer: Answer,
) -> Result<Vec<Duration>, String> {
    let mut latencies = Vec::new();
    let next = || requests.borrow_mut().next();
    while let Some(request) = next() {
        let start = Instant::now();
        let answered = connection.ask(&request, answer).await;
        answered.map_err(|problem| problem.to_string())?;
        latencies.push(start.elapsed());
    }
    Ok(latencies)
}

impl Connection {
    async fn ask(&mut self, request: &[u8], answer: Answer) -> Measured<()> {
        self.stream.write_all(request).await?;
        self.received.clear();
        while !is_whole(&self.received)? {
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err("the server closed the connection".into());
            }
        }
        match answer.is(&self.received) {
            true => Ok(()),
            false => Err(format!(
                "the answer is not {} {} but\n{}",
                answer.status,
                answer.body,
                String::from_utf8_lossy(&self.received)
            )
            .into()),
        }
    }
}

impl Answer {
    fn is(self, received: &[u8]) -> bool {
        let status = received.strip_prefix(b"HTTP/1.1 ");
        status.is_some_and(|rest| rest.starts_with(self.status.as_bytes()))
            && received.ends_with(format!("\r\n\r\n{}", self.body).as_bytes())
    }
}

/// Whether the headers are there, and as much of a body as they say.
fn is_whole(received: &[u8]) -> Measured<bool> {
    let end = received.windows(4).position(|four| four == b"\r\n\r\n");
    let Some((head, rest)) = end.and_then(|end| received.split_at_checked(end)) else {
        return Ok(false);
    };
    let head = std::str::from_utf8(head)?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim())
    });
    let length: usize = length.ok_or("an answer has no content-length")?.parse()?;
    Ok(rest.len() >= "\r\n\r\n".len() + length)
}
