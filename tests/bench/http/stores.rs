//! The stores of all servers, filled before they start.

use crate::cores::Cores;
use crate::population::Population;
use crate::server::Kind;
use crate::{Measured, host_store, peer_store};
use chat_store::StoreUrl;
use chat_testing::postgres::{self, Durability};
use rusqlite::Connection;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};
use tokio_postgres::NoTls;

/// How long a session lasts.
const SESSION: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// How long a look at a store waits for its server.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// The stores in one folder.
pub(crate) struct Stores {
    folder: PathBuf,
    files: Vec<(Kind, Connection)>,
    databases: Vec<(Kind, String)>,
    /// Where the databases are.
    _postgres: postgres::Server,
    /// Takes a connection and says nothing: what delivers mail waits.
    _mail_server: TcpListener,
}

impl Stores {
    /// Makes the folder, and in it a store for each server.
    pub(crate) async fn fill(
        folder: &Path,
        population: &Population,
        cores: &Cores,
    ) -> Measured<Self> {
        let _ = std::fs::remove_dir_all(folder);
        std::fs::create_dir_all(folder)?;
        let mail_server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let expires = (UNIX_EPOCH.elapsed()? + SESSION).as_millis().try_into()?;
        let (host, peers) = (folder.join("hosts"), folder.join("peers"));
        host_store::fill(&host, population, mail_server.local_addr()?, expires).await?;
        peer_store::fill(&peers, population, expires)?;
        let mut files = Vec::new();
        for kind in Kind::ON_FILES {
            let from = match kind {
                Kind::Fastify | Kind::Express => &peers,
                _ => &host,
            };
            files.push((kind, copy(from, &file(folder, kind))?));
        }
        let postgres = cores.as_server(|| postgres::Server::start(Durability::Disk))?;
        let mut databases = Vec::new();
        for kind in [Kind::Postgres, Kind::TwoHosts] {
            // A server has a database of its own name.
            let url = postgres.create(&format!("of_{}", kind.stem()), "template0");
            StoreUrl::Postgres(url.as_str().into())
                .restore(&host)
                .await?;
            databases.push((kind, url));
        }
        Ok(Self {
            folder: folder.to_owned(),
            files,
            databases,
            _postgres: postgres,
            _mail_server: mail_server,
        })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The address of a store.
    pub(crate) fn address(&self, kind: Kind) -> String {
        let mut databases = self.databases.iter();
        match databases.find(|(its, _)| *its == kind) {
            Some((_, url)) => url.clone(),
            None => file(&self.folder, kind).display().to_string(),
        }
    }

    /// Empties the outbox, as if all notices had been sent: mail is no part of a
    /// request, and no server is to carry more of it than another. What has to be moved
    /// from the write-ahead log is left to the server.
    pub(crate) async fn deliver(&self, kind: Kind) -> Measured<()> {
        let of_kind = self.files.iter().filter(|(its, _)| *its == kind);
        for (_, store) in of_kind {
            store.execute_batch("PRAGMA wal_autocheckpoint = 0; DELETE FROM outbox;")?;
        }
        let of_kind = self.databases.iter().filter(|(its, _)| *its == kind);
        for (_, url) in of_kind {
            let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
            let connection = tokio::spawn(connection);
            client.batch_execute("DELETE FROM outbox").await?;
            drop(client);
            connection.await??;
        }
        Ok(())
    }

    pub(crate) fn remove(self) -> std::io::Result<()> {
        drop(self.files);
        std::fs::remove_dir_all(self.folder)
    }
}

/// The file of a server's store.
fn file(folder: &Path, kind: Kind) -> PathBuf {
    folder.join(format!("{}.sqlite", kind.stem()))
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
