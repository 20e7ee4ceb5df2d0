//! The connections of a listener: how many are open, and how long one may keep the
//! server waiting.
//!
//! Where all places are taken, the connection that has been idle for longest is closed for
//! the next: one on which no request has arrived whole. So neither half a request nor none
//! at all takes a place from a client that behaves.

mod connection;
mod room;

pub(crate) use room::Room;

use axum::Router;
use axum::extract::ConnectInfo;
use connection::{Closing, Connection, Phase, Watched};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use room::Crowding;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Longest head of a request, in bytes: eight times what usual proxies pass on.
const MAX_HEAD: usize = 64 * 1024;

/// How long nothing is accepted after that failed for want of files or memory: by then the
/// connection that was closed has given some back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// Holds the place of a connection, also where its client has gone.
#[derive(Clone)]
pub(crate) struct Held {
    _connection: Arc<Connection>,
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
        request.extensions_mut().insert(Held {
            _connection: connection.clone(),
        });
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
