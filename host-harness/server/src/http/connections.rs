//! The connections of a listener: how many are open, and how long one may keep the
//! server waiting.
//!
//! Where all places are taken, the connection that has been idle for longest is closed for
//! the next: one on which no request has arrived whole. So neither half a request nor none
//! at all takes a place from a client that behaves.

use crate::metrics::Metrics;
use crate::{delivery, stores};
use axum::Router;
use axum::body::{Body, HttpBody as _};
use axum::extract::ConnectInfo;
use http_body_util::BodyExt as _;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections of clients, where the process may open files enough: many times the calls
/// that run and wait. Each takes some 30 KiB of memory while half a request is in it, and
/// [`MAX_HEAD`] at most.
const MAX_CLIENTS: usize = 4096;

/// Connections of operators: scrapers and a few commands.
const MAX_OPERATORS: usize = 32;

/// Files that are not for clients: those of the stores, connections to mail servers, those of
/// operators, and what is read and listened to.
const RESERVED_FILES: usize =
    stores::MAX_OPEN * stores::FILES_EACH + delivery::LIMIT + 2 * MAX_OPERATORS;

/// How long a connection may stay open without a byte of a request: longer than the 60 s
/// after which reverse proxies usually close theirs, so that none sends a request into a
/// connection that is being closed.
const IDLE_LIMIT: Duration = Duration::from_secs(75);

/// How long the head of a request may take from its first byte: it is one or two packets.
const HEAD_LIMIT: Duration = Duration::from_secs(10);

/// How long a client may take nothing of its answer.
const SEND_LIMIT: Duration = Duration::from_secs(10);

/// How long an answer or the body of a request may stand still once the server is told to
/// stop: with a client that is there, something of it moves in a round trip.
const LAST_LIMIT: Duration = Duration::from_secs(1);

/// Longest head of a request, in bytes: eight times what usual proxies pass on.
const MAX_HEAD: usize = 64 * 1024;

/// How long nothing is accepted after that failed for want of files or memory: by then the
/// connection that was closed has given some back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// How long there must have been room before it is said again that there is none.
const QUIET: Duration = Duration::from_secs(60);

/// The places of a listener's connections.
pub(crate) struct Room {
    listener: &'static str,
    bound: usize,
    places: Arc<Semaphore>,
    idle: Mutex<Idle>,
    /// A connection can be closed that could not be before.
    fell_idle: Notify,
    /// One that was chosen to be closed answers a request first.
    spared: Notify,
    metrics: Arc<Metrics>,
}

/// The connections that may be closed for others, by the order in which they fell idle.
#[derive(Default)]
struct Idle {
    next: u64,
    connections: BTreeMap<u64, CancellationToken>,
}

impl Idle {
    /// Says its place among them.
    fn insert(&mut self, connection: CancellationToken) -> u64 {
        let age = self.next;
        self.next += 1;
        self.connections.insert(age, connection);
        age
    }
}

impl Room {
    /// As much as the process has, which is given as many files as it may have.
    pub(crate) fn for_clients(metrics: Arc<Metrics>) -> Self {
        Self::new("clients", places(files()), metrics)
    }

    pub(crate) fn for_operators(metrics: Arc<Metrics>) -> Self {
        Self::new("operators", MAX_OPERATORS, metrics)
    }

    fn new(listener: &'static str, bound: usize, metrics: Arc<Metrics>) -> Self {
        metrics.connected(listener, 0);
        Self {
            listener,
            bound,
            places: Arc::new(Semaphore::new(bound)),
            idle: Mutex::default(),
            fell_idle: Notify::new(),
            spared: Notify::new(),
            metrics,
        }
    }

    /// A place that is free; where none is, the oldest idle connection gives its own up.
    async fn place(&self, crowding: &mut Crowding) -> Option<OwnedSemaphorePermit> {
        loop {
            if let Ok(place) = self.places.clone().try_acquire_owned() {
                return Some(place);
            }
            let (fell_idle, spared) = (self.fell_idle.notified(), self.spared.notified());
            let choose_again = match self.close_oldest_idle(crowding) {
                true => spared,
                false => fell_idle,
            };
            tokio::select! {
                place = self.places.clone().acquire_owned() => return place.ok(),
                () = choose_again => (),
            }
        }
    }

    /// Whether there was one.
    fn close_oldest_idle(&self, crowding: &mut Crowding) -> bool {
        if crowding.is_news(Instant::now()) {
            tracing::warn!(
                listener = self.listener,
                connections = self.bound - self.places.available_permits(),
                "no more connections can be open: for each further one, the one that was idle \
                 for longest is closed. A reverse proxy in front, or a higher limit of open \
                 files (ulimit -n), makes room"
            );
        }
        let Some((_, connection)) = self.idle().connections.pop_first() else {
            return false;
        };
        connection.cancel();
        self.metrics.closed_for_room(self.listener);
        true
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Files that the process may have open, once its limit is raised as far as they are needed
/// and it may.
fn files() -> usize {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return 0;
    };
    let wanted = (MAX_CLIENTS + RESERVED_FILES) as u64;
    let raised = wanted.min(hard).max(soft);
    let is_raised = setrlimit(Resource::RLIMIT_NOFILE, raised, hard).is_ok();
    let files = if is_raised { raised } else { soft };
    files.try_into().unwrap_or(usize::MAX)
}

/// How many of so many files are for clients: where there are few, a quarter. Of the 1024 that
/// a process may have by default, the stores' are left then.
fn places(files: usize) -> usize {
    let left = files.saturating_sub(RESERVED_FILES);
    left.max(files / 4).clamp(1, MAX_CLIENTS)
}

/// When there was no room last.
#[derive(Default)]
struct Crowding(Option<Instant>);

impl Crowding {
    fn is_news(&mut self, now: Instant) -> bool {
        let last = self.0.replace(now);
        last.is_none_or(|last| now - last >= QUIET)
    }
}

/// Serves what connects to `listener`. Once `stop` is cancelled, accepts nothing more,
/// closes what is idle, and ends when each request that has begun is answered.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    room: Room,
    stop: CancellationToken,
) {
    let room = Arc::new(room);
    let router = TowerToHyperService::new(router);
    let connections = TaskTracker::new();
    let accepting = async {
        let mut crowding = Crowding::default();
        loop {
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) if is_of_one_client(&error) => continue,
                Err(error) => {
                    tracing::debug!(%error, "nothing can be accepted");
                    room.close_oldest_idle(&mut crowding);
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Some(place) = room.place(&mut crowding).await else {
                return;
            };
            let connection = Connection::new(room.clone(), place);
            connections.spawn(attend(
                stream,
                peer,
                router.clone(),
                connection,
                stop.clone(),
            ));
        }
    };
    tokio::select! {
        () = stop.cancelled() => (),
        () = accepting => (),
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// Whether a client went before it was accepted, which is nothing to others.
fn is_of_one_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}

/// Answers the requests of a connection until it ends, or keeps the server waiting.
async fn attend(
    stream: TcpStream,
    peer: SocketAddr,
    router: TowerToHyperService<Router>,
    connection: Arc<Connection>,
    stop: CancellationToken,
) {
    let watched = TokioIo::new(Watched {
        stream,
        connection: connection.clone(),
    });
    let service = service_fn(|mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        let answer = router.call(connection.arriving(request));
        let connection = connection.clone();
        async move {
            let answer = answer.await;
            connection.enter(Phase::Sending);
            answer
        }
    });
    let mut served = pin!(
        http1::Builder::new()
            .header_read_timeout(None)
            .max_buf_size(MAX_HEAD)
            .serve_connection(watched, service)
    );
    let mut timer = pin!(sleep_until(Instant::now()));
    let mut closing = Closing::No;
    loop {
        let given_up = poll_fn(|cx| connection.poll_given_up(closing, timer.as_mut(), cx));
        tokio::select! {
            biased;
            _ = served.as_mut() => return,
            () = connection.evicted.cancelled(), if closing == Closing::No => {
                closing = Closing::ForRoom;
            }
            () = stop.cancelled(), if closing != Closing::AtStop => closing = Closing::AtStop,
            () = given_up => return,
        }
        // It ends with the answer that it is at.
        served.as_mut().graceful_shutdown();
    }
}

/// Why a connection is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    No,
    ForRoom,
    AtStop,
}

/// What a connection is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No byte of a request has arrived.
    Idle,
    /// The head of a request has begun to arrive.
    Head,
    /// The body of a request arrives.
    Body,
    /// A request is decided.
    Answering,
    /// An answer is on its way.
    Sending,
}

impl Phase {
    /// Whether the client has yet to send what can be decided.
    fn is_idle(self) -> bool {
        matches!(self, Self::Idle | Self::Head | Self::Body)
    }

    /// How long it may last; none where that is not for the connection to say.
    fn limit(self, closing: Closing) -> Option<Duration> {
        match (self, closing) {
            (Self::Idle | Self::Head, Closing::AtStop) => Some(Duration::ZERO),
            (Self::Idle | Self::Head | Self::Body, Closing::ForRoom) => Some(Duration::ZERO),
            (Self::Idle, Closing::No) => Some(IDLE_LIMIT),
            (Self::Head, Closing::No) => Some(HEAD_LIMIT),
            (Self::Body | Self::Sending, Closing::AtStop) => Some(LAST_LIMIT),
            (Self::Sending, Closing::No | Closing::ForRoom) => Some(SEND_LIMIT),
            (Self::Body, Closing::No) | (Self::Answering, _) => None,
        }
    }
}

/// An open connection, as the room knows it.
struct Connection {
    room: Arc<Room>,
    /// It gives its place to another.
    evicted: CancellationToken,
    state: Mutex<State>,
    _place: OwnedSemaphorePermit,
}

struct State {
    phase: Phase,
    /// When the phase began, or something of the body or the answer moved.
    since: Instant,
    /// Its place among those that are idle.
    age: Option<u64>,
}

impl Connection {
    fn new(room: Arc<Room>, place: OwnedSemaphorePermit) -> Arc<Self> {
        room.metrics.connected(room.listener, 1);
        let connection = Self {
            room,
            evicted: CancellationToken::new(),
            state: Mutex::new(State {
                phase: Phase::Sending,
                since: Instant::now(),
                age: None,
            }),
            _place: place,
        };
        connection.enter(Phase::Idle);
        Arc::new(connection)
    }

    fn enter(&self, phase: Phase) {
        self.change(&mut self.state(), phase);
    }

    fn change(&self, state: &mut State, phase: Phase) {
        state.phase = phase;
        state.since = Instant::now();
        match (phase.is_idle(), state.age) {
            (true, None) => {
                state.age = Some(self.room.idle().insert(self.evicted.clone()));
                self.room.fell_idle.notify_waiters();
            }
            (false, Some(age)) => {
                state.age = None;
                if self.room.idle().connections.remove(&age).is_none() {
                    self.room.spared.notify_waiters();
                }
            }
            _ => (),
        }
    }

    /// A request, until whose body is read to its end or given up nothing is decided.
    fn arriving(self: &Arc<Self>, request: Request<Incoming>) -> Request<Body> {
        if request.body().is_end_stream() {
            self.enter(Phase::Answering);
            return request.map(Body::new);
        }
        self.enter(Phase::Body);
        let arriving = Arriving(self.clone());
        request.map(|body| {
            Body::new(body.map_frame(move |frame| {
                let _held_as_long_as_the_body = &arriving;
                frame
            }))
        })
    }

    /// Ready once the client has kept the server waiting for too long.
    fn poll_given_up(
        &self,
        closing: Closing,
        mut timer: Pin<&mut Sleep>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let (phase, since) = {
            let state = self.state();
            (state.phase, state.since)
        };
        let Some(limit) = phase.limit(closing) else {
            return Poll::Pending;
        };
        let end = since + limit;
        if timer.deadline() != end {
            timer.as_mut().reset(end);
        }
        timer.poll(cx)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(age) = self.state().age {
            self.room.idle().connections.remove(&age);
        }
        self.room.metrics.connected(self.room.listener, -1);
    }
}

/// Held as long as the body of a request arrives.
struct Arriving(Arc<Connection>);

impl Drop for Arriving {
    fn drop(&mut self) {
        let mut state = self.0.state();
        if state.phase == Phase::Body {
            self.0.change(&mut state, Phase::Answering);
        }
    }
}

/// A stream that tells the connection what arrives and what is taken.
struct Watched {
    stream: TcpStream,
    connection: Arc<Connection>,
}

impl Watched {
    fn stream(self: Pin<&mut Self>) -> Pin<&mut TcpStream> {
        Pin::new(&mut self.get_mut().stream)
    }

    fn sent(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let mut state = self.connection.state();
        if state.phase == Phase::Sending && written.is_ready() {
            state.since = Instant::now();
        }
        written
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = self.as_mut().stream().poll_read(cx, buffer);
        if buffer.filled().len() > before {
            let mut state = self.connection.state();
            match state.phase {
                Phase::Idle => self.connection.change(&mut state, Phase::Head),
                Phase::Body => state.since = Instant::now(),
                Phase::Head | Phase::Answering | Phase::Sending => (),
            }
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = self.as_mut().stream().poll_write(cx, bytes);
        self.sent(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.as_mut().stream().poll_write_vectored(cx, slices);
        self.sent(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Flushed is what was written whole: every answer here is one piece.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = self.as_mut().stream().poll_flush(cx);
        let mut state = self.connection.state();
        if state.phase == Phase::Sending && flushed.is_ready() {
            self.connection.change(&mut state, Phase::Idle);
        }
        drop(state);
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_clients_beside_all_stores_and_never_none() {
        for (files, clients) in [
            (0, 1),
            (256, 64),
            (1024, 256),
            (4096, 3136),
            (20_000, MAX_CLIENTS),
            (usize::MAX, MAX_CLIENTS),
        ] {
            assert_eq!(places(files), clients, "{files}");
        }
        assert!(places(1024) + stores::MAX_OPEN * stores::FILES_EACH <= 1024);
    }

    #[test]
    fn a_client_may_keep_the_server_waiting_for_so_long() {
        use Closing::{AtStop, ForRoom, No};
        for (phase, limits) in [
            (Phase::Idle, [Some(75), Some(0), Some(0)]),
            (Phase::Head, [Some(10), Some(0), Some(0)]),
            (Phase::Body, [None, Some(0), Some(1)]),
            (Phase::Answering, [None, None, None]),
            (Phase::Sending, [Some(10), Some(10), Some(1)]),
        ] {
            let found = [No, ForRoom, AtStop].map(|closing| phase.limit(closing));
            let expected = limits.map(|limit| limit.map(Duration::from_secs));
            assert_eq!(found, expected, "{phase:?}");
        }
    }

    #[test]
    fn that_there_is_no_room_is_said_again_only_after_there_was() {
        let (mut crowding, mut now) = (Crowding::default(), Instant::now());
        assert!(crowding.is_news(now));
        for _ in 0..10 {
            now += QUIET / 2;
            assert!(!crowding.is_news(now));
        }
        assert!(crowding.is_news(now + QUIET));
    }
}
