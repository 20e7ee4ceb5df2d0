//! The servers that are measured, each a process of its own.

use crate::case::CLIENTS;
use crate::cores::Cores;
use crate::{Measured, WORKSPACE, native};
use data_encoding::HEXLOWER;
use nix::time::{ClockId, clock_getcpuclockid};
use nix::unistd::Pid;
use sha2::{Digest, Sha256};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take until it answers.
const START_LIMIT: Duration = Duration::from_secs(30);

/// The pause between two looks whether it does.
const START_PAUSE: Duration = Duration::from_millis(20);

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// This host, with the plugin in its sandbox.
    Host,
    /// The same decision and store without a sandbox, behind axum.
    Native,
    Fastify,
    Express,
}

impl Kind {
    /// This host first: the others are compared with it.
    pub(crate) const ALL: [Self; 4] = [Self::Host, Self::Native, Self::Fastify, Self::Express];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Host => "this host",
            Self::Native => "native axum",
            Self::Fastify => "Fastify",
            Self::Express => "Express",
        }
    }

    /// The file of its store, in `folder`.
    pub(crate) fn store(self, folder: &Path) -> PathBuf {
        folder.join(match self {
            Self::Host => "host.sqlite",
            Self::Native => "native.sqlite",
            Self::Fastify => "fastify.sqlite",
            Self::Express => "express.sqlite",
        })
    }

    fn command(self, target: &Path, store: &Path, address: SocketAddr) -> Measured<Command> {
        let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench/peers");
        let port = address.port().to_string();
        Ok(match self {
            Self::Host => {
                let plugin = target.join("reset_totp.wasm");
                let file = store.with_extension("toml");
                std::fs::write(&file, configuration(&plugin, store, address)?)?;
                let mut command = Command::new(target.join("release/host-harness"));
                command.arg("serve").arg("--config").arg(file);
                command
            }
            Self::Native => {
                let mut command = Command::new(std::env::current_exe()?);
                command.arg(native::COMMAND).arg(store).arg(port);
                command
            }
            Self::Fastify | Self::Express => {
                let mut command = Command::new("node");
                let program = match self {
                    Self::Fastify => "fastify.mjs",
                    _ => "express.mjs",
                };
                command.arg(peers.join(program)).arg(store).arg(port);
                command.env("NODE_ENV", "production");
                command
            }
        })
    }
}

/// A server that answers; it ends when it is dropped.
pub(crate) struct Server {
    pub(crate) kind: Kind,
    pub(crate) address: SocketAddr,
    process: Child,
    clock: ClockId,
}

impl Server {
    /// Starts a server on the store that is kept for it in `folder`. Its log goes where
    /// nobody reads it, as it is written.
    pub(crate) fn start(kind: Kind, cores: &Cores, target: &Path, folder: &Path) -> Measured<Self> {
        let address = free_address()?;
        let mut command = kind.command(target, &kind.store(folder), address)?;
        command.stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let process = cores.as_server(|| command.spawn())?;
        let process = process.map_err(|problem| format!("{command:?}: {problem}"))?;
        let id = Pid::from_raw(process.id().try_into()?);
        let mut server = Self {
            kind,
            address,
            process,
            clock: clock_getcpuclockid(id)?,
        };
        match server.answers()? {
            true => Ok(server),
            false => Err(format!("it does not answer: {command:?}").into()),
        }
    }

    fn answers(&mut self) -> Measured<bool> {
        let start = Instant::now();
        while start.elapsed() < START_LIMIT && self.process.try_wait()?.is_none() {
            if TcpStream::connect(self.address).is_ok() {
                return Ok(true);
            }
            std::thread::sleep(START_PAUSE);
        }
        Ok(false)
    }

    /// The processor time of all its threads, also of those that have ended.
    pub(crate) fn processor_time(&self) -> Measured<Duration> {
        Ok(self.clock.now()?.into())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Of this host: as it is by default, but for a queue as long as there are clients. A
/// workspace has a quarter of it.
fn configuration(plugin: &Path, store: &Path, address: SocketAddr) -> Measured<String> {
    let digest = HEXLOWER.encode(&Sha256::digest(std::fs::read(plugin)?));
    let waiting = 4 * CLIENTS.into_iter().max().unwrap_or_default();
    Ok(format!(
        "[host]\nlisten = \"{address}\"\nwaiting = {waiting}\n\
         [plugins]\nfiles = [{plugin:?}]\n\
         [defaults]\nstore = {store:?}\nplugin = \"sha256:{digest}\"\n\
         grants = [\"wall-clock\", \"users\", \"permissions\", \"settings\", \"secrets\"]\n\
         [workspaces.{WORKSPACE}]\nhosts = [\"*\"]\n"
    ))
}

/// An address that nobody listens on.
fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}
