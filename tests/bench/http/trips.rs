//! How often a request waits for PostgreSQL: counted on the way there.

use crate::Measured;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;

/// Bytes that are passed on together.
const BUFFER: usize = 1 << 16;

/// A way to a server on which trips are counted.
pub(crate) struct Way {
    pub(crate) address: SocketAddr,
    trips: Arc<AtomicU64>,
}

impl Way {
    /// Leads to `server`, on a thread of its own: others wait for what is asked over it.
    pub(crate) fn to(server: SocketAddr) -> Measured<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let way = Self {
            address: listener.local_addr()?,
            trips: Arc::default(),
        };
        let trips = way.trips.clone();
        let runtime = Builder::new_current_thread().enable_all().build()?;
        thread::spawn(move || {
            runtime.block_on(async move {
                let Ok(listener) = TcpListener::from_std(listener) else {
                    return;
                };
                while let Ok((client, _)) = listener.accept().await {
                    let Ok(server) = TcpStream::connect(server).await else {
                        return;
                    };
                    pass_on(client, server, &trips);
                }
            });
        });
        Ok(way)
    }

    /// So many until now: a trip begins with the first that a client says after the server
    /// has spoken.
    pub(crate) fn trips(&self) -> u64 {
        self.trips.load(Ordering::Relaxed)
    }
}

fn pass_on(client: TcpStream, server: TcpStream, trips: &Arc<AtomicU64>) {
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let has_spoken = Arc::new(AtomicBool::new(true));
    let (trips, spoken) = (trips.clone(), has_spoken.clone());
    tokio::spawn(copy(from_client, to_server, move || {
        if spoken.swap(false, Ordering::Relaxed) {
            trips.fetch_add(1, Ordering::Relaxed);
        }
    }));
    tokio::spawn(copy(from_server, to_client, move || {
        has_spoken.store(true, Ordering::Relaxed);
    }));
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, note: impl Fn()) {
    let mut buffer = vec![0; BUFFER];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        note();
        let bytes = buffer.get(..read).unwrap_or_default();
        if to.write_all(bytes).await.is_err() {
            return;
        }
    }
}
