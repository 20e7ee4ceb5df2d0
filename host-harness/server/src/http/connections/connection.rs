//! One connection: what it is at, for how long it may be, and the stream that tells it.

use super::room::Room;
use axum::body::{Body, HttpBody as _};
use http_body_util::BodyExt as _;
use hyper::Request;
use hyper::body::Incoming;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;

/// How long a connection may stay open without a byte of a request: longer than the 60 s
/// after which reverse proxies usually close theirs, so that none sends a request into a
/// connection that is being closed.
const IDLE_LIMIT: Duration = Duration::from_secs(75);

/// How long the head of a request may take from its first byte: it is one or two packets.
const HEAD_LIMIT: Duration = Duration::from_secs(10);

/// How long a client may take nothing of its answer.
const SEND_LIMIT: Duration = Duration::from_secs(10);

/// How long a client may take for its whole answer: the longest, 1.5 MB of the documentation's
/// page, comes in it by a line of 200 kbit/s. One that takes a byte now and then does not keep
/// its place.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// How long an answer or the body of a request may stand still once the server is told to
/// stop: with a client that is there, something of it moves in a round trip.
const LAST_LIMIT: Duration = Duration::from_secs(1);

/// Why a connection is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closing {
    No,
    ForRoom,
    AtStop,
}

/// What a connection is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
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

    /// How long nothing may move in it; none where that is not for the connection to say.
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

    /// How long it may last, whatever moves in it.
    fn whole_limit(self) -> Option<Duration> {
        (self == Self::Sending).then_some(ANSWER_LIMIT)
    }
}

/// An open connection, as the room knows it.
pub(super) struct Connection {
    room: Arc<Room>,
    /// It gives its place to another.
    pub(super) evicted: CancellationToken,
    state: Mutex<State>,
    _place: OwnedSemaphorePermit,
}

struct State {
    phase: Phase,
    /// When the phase began.
    began: Instant,
    /// When that was, or something of the body or the answer moved.
    since: Instant,
    /// Its place among those that are idle.
    age: Option<u64>,
}

impl State {
    fn of(phase: Phase) -> Self {
        let now = Instant::now();
        Self {
            phase,
            began: now,
            since: now,
            age: None,
        }
    }

    /// When the client has kept the server waiting for too long.
    fn end(&self, closing: Closing) -> Option<Instant> {
        let still = self.phase.limit(closing).map(|limit| self.since + limit);
        let whole = self.phase.whole_limit().map(|limit| self.began + limit);
        still.into_iter().chain(whole).min()
    }
}

impl Connection {
    pub(super) fn new(room: Arc<Room>, place: OwnedSemaphorePermit) -> Arc<Self> {
        room.metrics.connected(room.listener, 1);
        let connection = Self {
            room,
            evicted: CancellationToken::new(),
            state: Mutex::new(State::of(Phase::Sending)),
            _place: place,
        };
        connection.enter(Phase::Idle);
        Arc::new(connection)
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.change(&mut self.state(), phase);
    }

    fn change(&self, state: &mut State, phase: Phase) {
        *state = State {
            age: state.age,
            ..State::of(phase)
        };
        match (phase.is_idle(), state.age) {
            (true, None) => {
                state.age = Some(self.room.fell_idle(self.evicted.clone()));
            }
            (false, Some(age)) => {
                state.age = None;
                self.room.is_busy(age);
            }
            _ => (),
        }
    }

    /// A request, until whose body is read to its end or given up nothing is decided.
    pub(super) fn arriving(self: &Arc<Self>, request: Request<Incoming>) -> Request<Body> {
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
    pub(super) fn poll_given_up(
        &self,
        closing: Closing,
        mut timer: Pin<&mut Sleep>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let Some(end) = self.state().end(closing) else {
            return Poll::Pending;
        };
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
            self.room.is_gone(age);
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
pub(super) struct Watched {
    pub(super) stream: TcpStream,
    pub(super) connection: Arc<Connection>,
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
    fn a_client_that_takes_its_answer_in_bytes_is_waited_for_for_a_minute() {
        let mut state = State::of(Phase::Sending);
        let mut moved = Duration::ZERO;
        for seconds in [10, 19, 28, 37, 46, 55, 60, 60] {
            state.since = state.began + moved;
            let end = state.began + Duration::from_secs(seconds);
            assert_eq!(state.end(Closing::No), Some(end), "{moved:?}");
            assert_eq!(state.end(Closing::ForRoom), Some(end), "{moved:?}");
            moved += Duration::from_secs(9);
        }
        state.phase = Phase::Body;
        assert_eq!(state.end(Closing::No), None);
    }
}
