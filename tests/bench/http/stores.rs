//! The stores of all servers, filled before they start.

use crate::population::Population;
use crate::server::Kind;
use crate::{Measured, host_store, peer_store};
use rusqlite::Connection;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

/// How long a session lasts.
const SESSION: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// How long a look at a store waits for its server.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// The stores in one folder.
pub(crate) struct Stores {
    folder: PathBuf,
    outboxes: Vec<(Kind, Connection)>,
    /// Takes a connection and says nothing: what delivers mail waits.
    _mail_server: TcpListener,
}

impl Stores {
    /// Makes the folder, and in it a store for each server.
    pub(crate) async fn fill(folder: &Path, population: &Population) -> Measured<Self> {
        let _ = std::fs::remove_dir_all(folder);
        std::fs::create_dir_all(folder)?;
        let mail_server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let expires = (UNIX_EPOCH.elapsed()? + SESSION).as_millis().try_into()?;
        let (host, peers) = (folder.join("hosts"), folder.join("peers"));
        host_store::fill(&host, population, mail_server.local_addr()?, expires).await?;
        peer_store::fill(&peers, population, expires)?;
        let mut outboxes = Vec::new();
        for kind in Kind::ALL {
            let from = match kind {
                Kind::Host | Kind::Native => &host,
                Kind::Fastify | Kind::Express => &peers,
            };
            outboxes.push((kind, copy(from, &kind.store(folder))?));
        }
        Ok(Self {
            folder: folder.to_owned(),
            outboxes,
            _mail_server: mail_server,
        })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Empties the outbox, as if all notices had been sent: mail is no part of a
    /// request, and no server is to carry more of it than another. What has to be moved
    /// from the write-ahead log is left to the server.
    pub(crate) fn deliver(&self, kind: Kind) -> Measured<()> {
        let of_kind = self.outboxes.iter().filter(|(its, _)| *its == kind);
        for (_, store) in of_kind {
            store.execute_batch("PRAGMA wal_autocheckpoint = 0; DELETE FROM outbox;")?;
        }
        Ok(())
    }

    pub(crate) fn remove(self) -> std::io::Result<()> {
        drop(self.outboxes);
        std::fs::remove_dir_all(self.folder)
    }
}

/// A compact copy, opened.
fn copy(from: &Path, to: &Path) -> Measured<Connection> {
    let to_name = to.to_str().ok_or("the target folder's name is not UTF-8")?;
    Connection::open(from)?.execute("VACUUM INTO ?1", [to_name])?;
    let store = Connection::open(to)?;
    store.busy_timeout(BUSY_TIMEOUT)?;
    store.pragma_update(None, "journal_mode", "WAL")?;
    Ok(store)
}
