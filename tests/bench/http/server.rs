//! The servers that are measured, each a process of its own.

use crate::case::CLIENTS;
use crate::cores::Cores;
use crate::{Measured, WORKSPACE, native};
use data_encoding::HEXLOWER;
use nix::time::{ClockId, clock_getcpuclockid};
use nix::unistd::Pid;
use sha2::{Digest, Sha256};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
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
    /// This host on PostgreSQL.
    Postgres,
    /// Two of this host on one PostgreSQL, half of the clients each.
    TwoHosts,
}

impl Kind {
    /// This host first: the others are compared with it.
    pub(crate) const ALL: [Self; 6] = [
        Self::Host,
        Self::Native,
        Self::Fastify,
        Self::Express,
        Self::Postgres,
        Self::TwoHosts,
    ];

    /// Those whose store is a file.
    pub(crate) const ON_FILES: [Self; 4] = [Self::Host, Self::Native, Self::Fastify, Self::Express];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Host => "this host",
            Self::Native => "native axum",
            Self::Fastify => "Fastify",
            Self::Express => "Express",
            Self::Postgres => "PostgreSQL",
            Self::TwoHosts => "two hosts",
        }
    }

    /// What its files are called.
    pub(crate) fn stem(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Native => "native",
            Self::Fastify => "fastify",
            Self::Express => "express",
            Self::Postgres => "postgres",
            Self::TwoHosts => "two",
        }
    }

    fn processes(self) -> usize {
        match self {
            Self::TwoHosts => 2,
            _ => 1,
        }
    }

    fn command(
        self,
        target: &Path,
        store: &str,
        folder: &Path,
        address: SocketAddr,
    ) -> Measured<Command> {
        let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench/peers");
        let port = address.port().to_string();
        Ok(match self {
            Self::Host | Self::Postgres | Self::TwoHosts => {
                let plugin = target.join("reset_totp.wasm");
                let file = folder.join(format!("{}-{port}.toml", self.stem()));
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
    /// Of each process.
    pub(crate) addresses: Vec<SocketAddr>,
    processes: Vec<Process>,
}

struct Process {
    child: Child,
    clock: ClockId,
}

impl Server {
    /// Starts a server on the store at this address. Its log goes where nobody reads it, as it
    /// is written.
    pub(crate) fn start(
        kind: Kind,
        cores: &Cores,
        target: &Path,
        store: &str,
        folder: &Path,
    ) -> Measured<Self> {
        let mut server = Self {
            kind,
            addresses: Vec::new(),
            processes: Vec::new(),
        };
        for _ in 0..kind.processes() {
            let address = free_address()?;
            let mut command = kind.command(target, store, folder, address)?;
            let process = Process::start(&mut command, cores)?;
            server.addresses.push(address);
            server.processes.push(process);
            if !server.answers(address)? {
                return Err(format!("it does not answer: {command:?}").into());
            }
        }
        Ok(server)
    }

    fn answers(&mut self, address: SocketAddr) -> Measured<bool> {
        let start = Instant::now();
        while start.elapsed() < START_LIMIT && self.is_alive()? {
            if TcpStream::connect(address).is_ok() {
                return Ok(true);
            }
            std::thread::sleep(START_PAUSE);
        }
        Ok(false)
    }

    fn is_alive(&mut self) -> Measured<bool> {
        let mut alive = true;
        for process in &mut self.processes {
            alive &= process.child.try_wait()?.is_none();
        }
        Ok(alive)
    }

    /// The processor time of all its threads, also of those that have ended.
    pub(crate) fn processor_time(&self) -> Measured<Duration> {
        let times = self.processes.iter().map(|process| process.clock.now());
        let times: Result<Vec<_>, _> = times.collect();
        Ok(times?.into_iter().map(Duration::from).sum())
    }
}

impl Process {
    fn start(command: &mut Command, cores: &Cores) -> Measured<Self> {
        command.stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = cores.as_server(|| command.spawn())?;
        let child = child.map_err(|problem| format!("{command:?}: {problem}"))?;
        let id = Pid::from_raw(child.id().try_into()?);
        let clock = clock_getcpuclockid(id)?;
        Ok(Self { child, clock })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Of this host: as it is by default, but for a queue as long as there are clients. A
/// workspace has a quarter of it.
fn configuration(plugin: &Path, store: &str, address: SocketAddr) -> Measured<String> {
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
