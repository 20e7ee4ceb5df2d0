//! Three PostgreSQL under Patroni, of which one leads and another is its synchronous standby, and
//! the etcd in which Patroni keeps who leads. All are programs of Debian's packages `patroni`,
//! `etcd-server` and `postgresql`, in a folder of their own, on free ports.

use chat_testing::certificates::SelfSigned;
use chat_testing::free_port;
use chat_testing::postgres::{connect, programs};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, geteuid};
use rand::distr::{Alphanumeric, SampleString};
use reqwest::Client;
use serde_json::Value;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::time::sleep;

/// One leads, one is its synchronous standby, and one takes that one's place.
const NODES: [&str; 3] = ["a", "b", "c"];

/// Who starts PostgreSQL where we are root, whom it refuses; and its superuser.
const USER: &str = "postgres";

/// The login of the hosts: it may make the role that sees one workspace.
const LOGIN: &str = "chat";

/// How each node is set up: as the recipe says.
const RECIPE: &str = include_str!("../../recipes/three-hosts/patroni.yml");

/// The certificate that all nodes show, in the folder of each.
const CERTIFICATE: &str = "db.crt";

/// How long it is waited for what must come: a node that has to copy everything anew takes
/// longest.
const PATIENCE: Duration = Duration::from_secs(180);

/// How often it is looked whether it has come.
const PAUSE: Duration = Duration::from_millis(100);

/// Lines of a log that are shown where something is wrong.
const LAST_LINES: usize = 10;

/// A cluster that runs until this is dropped.
pub(crate) struct Cluster {
    folder: Option<TempDir>,
    password: String,
    http: Client,
    etcd: Child,
    nodes: [Node; 3],
}

/// A PostgreSQL and the Patroni that starts and stops it.
struct Node {
    name: &'static str,
    folder: PathBuf,
    port: u16,
    patroni_port: u16,
    /// None while it is dead.
    patroni: Option<Child>,
}

/// Who does what, as a node that lives has it from etcd.
#[derive(Debug, Default)]
struct Roles {
    leader: Option<usize>,
    synchronous: usize,
    running: usize,
}

impl Cluster {
    /// Starts all, and waits until one leads and another is its synchronous standby.
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Another user's programs go through it, and read only what is theirs.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o711)).unwrap();
        let password = Alphanumeric.sample_string(&mut rand::rng(), 32);
        let clients = free_port();
        let etcd = start_etcd(&own_folder(folder.path(), "etcd"), clients);
        let mut nodes = NODES.map(|name| Node {
            name,
            folder: own_folder(folder.path(), name),
            port: free_port(),
            patroni_port: free_port(),
            patroni: None,
        });
        let certificate = SelfSigned::new("127.0.0.1");
        for node in &mut nodes {
            node.configure(clients, &password, &certificate);
            node.start();
        }
        let cluster = Self {
            folder: Some(folder),
            password,
            http: Client::builder()
                .no_proxy()
                .timeout(PAUSE * 20)
                .build()
                .unwrap(),
            etcd,
            nodes,
        };
        cluster.whole().await;
        cluster
    }

    /// Makes a database; gives its URL for a host.
    pub(crate) async fn create(&self, database: &str) -> String {
        let client = connect(self.superusers_url("postgres")).await.unwrap();
        let password = &self.password;
        for statement in [
            format!("CREATE ROLE {LOGIN} LOGIN CREATEROLE PASSWORD '{password}'"),
            format!("CREATE DATABASE {database} OWNER {LOGIN}"),
        ] {
            client.batch_execute(&statement).await.unwrap();
        }
        let certificate = self.nodes[0].folder.join(CERTIFICATE);
        format!(
            "{}&sslmode=require&sslrootcert={}",
            self.url(LOGIN, database),
            certificate.display()
        )
    }

    /// The URL of a database for a superuser.
    pub(crate) fn superusers_url(&self, database: &str) -> String {
        self.url(USER, database)
    }

    /// It names all servers; the one that leads answers.
    fn url(&self, login: &str, database: &str) -> String {
        let hosts = self
            .nodes
            .iter()
            .map(|node| format!("127.0.0.1:{}", node.port));
        let (hosts, password) = (hosts.collect::<Vec<_>>().join(","), &self.password);
        format!("postgres://{login}:{password}@{hosts}/{database}?target_session_attrs=read-write")
    }

    /// Waits until all run, one leads, and another is its synchronous standby; gives the number of
    /// the one that leads.
    pub(crate) async fn whole(&self) -> usize {
        let start = Instant::now();
        loop {
            let roles = self.roles().await;
            if let Some(leader) = roles.leader
                && roles.synchronous > 0
                && roles.running == NODES.len()
            {
                return leader;
            }
            assert!(start.elapsed() < PATIENCE, "{roles:?}\n{}", self.logs());
            sleep(PAUSE).await;
        }
    }

    /// What each Patroni said last.
    fn logs(&self) -> String {
        let logs = self.nodes.iter().map(|node| {
            let log = fs::read_to_string(node.folder.join("log")).unwrap_or_default();
            let last = log.lines().rev().take(LAST_LINES).collect::<Vec<_>>();
            let last = last.into_iter().rev().map(|line| format!("\n    {line}"));
            format!("node {}:{}\n", node.name, last.collect::<String>())
        });
        logs.collect()
    }

    async fn roles(&self) -> Roles {
        for node in &self.nodes {
            let url = format!("http://127.0.0.1:{}/cluster", node.patroni_port);
            let Ok(answer) = self.http.get(url).send().await else {
                continue;
            };
            let text = answer.text().await.unwrap_or_default();
            return Roles::of(&serde_json::from_str(&text).unwrap_or_default());
        }
        Roles::default()
    }

    /// Kills all processes of the node that leads, Patroni's and PostgreSQL's, as when its
    /// machine stops.
    pub(crate) async fn lose_leader(&mut self) {
        let leader = self.whole().await;
        self.nodes[leader].kill();
    }

    /// Starts again what was killed, and waits until a leader could be lost again.
    pub(crate) async fn mend(&mut self) {
        for node in &mut self.nodes {
            if node.patroni.is_none() {
                node.start();
            }
        }
        self.whole().await;
    }

    /// Stops, and leaves the files where they are, for people to look at.
    pub(crate) fn keep(mut self) {
        drop(self.folder.take().map(TempDir::keep));
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            node.kill();
        }
        let _ = self.etcd.kill();
        let _ = self.etcd.wait();
    }
}

impl Roles {
    /// As Patroni's REST interface tells them (`GET /cluster`).
    fn of(cluster: &Value) -> Self {
        let mut roles = Self::default();
        for member in cluster["members"].as_array().into_iter().flatten() {
            let state = member["state"].as_str().unwrap_or_default();
            roles.running += usize::from(["running", "streaming"].contains(&state));
            match member["role"].as_str() {
                Some("leader") => {
                    roles.leader = NODES.iter().position(|name| member["name"] == *name);
                }
                Some("sync_standby") => roles.synchronous += 1,
                _ => {}
            }
        }
        roles
    }
}

impl Node {
    /// The recipe, with this node's addresses, folder, certificate and passwords; one password is both.
    fn configure(&self, etcd: u16, password: &str, certificate: &SelfSigned) {
        let folder = self.folder.display().to_string();
        let place = |port: u16| format!("127.0.0.1:{port}");
        let mut text = RECIPE.to_owned();
        for (theirs, ours) in [
            ("name: db1", format!("name: {}", self.name)),
            ("0.0.0.0:8008", place(self.patroni_port)),
            ("db1:8008", place(self.patroni_port)),
            ("db1:2379,db2:2379,db3:2379", place(etcd)),
            ("0.0.0.0:5432", place(self.port)),
            ("db1:5432", place(self.port)),
            ("/var/lib/postgresql/chat", format!("{folder}/data")),
            (
                "/usr/lib/postgresql/15/bin",
                programs().display().to_string(),
            ),
            (
                "/var/lib/postgresql/.pgpass-patroni",
                format!("{folder}/pgpass"),
            ),
            ("SUPERUSER-PASSWORD", password.to_owned()),
            ("REPLICATOR-PASSWORD", password.to_owned()),
            ("/var/run/postgresql", folder.clone()),
            ("/etc/ssl/chat", folder.clone()),
            ("10.0.0.0/24", "127.0.0.1/32".to_owned()),
        ] {
            assert!(text.contains(theirs), "{theirs}");
            text = text.replace(theirs, &ours);
        }
        for (name, text) in [
            (CERTIFICATE, certificate.certificate.clone()),
            ("db.key", certificate.key.clone()),
            ("patroni.yml", text),
        ] {
            let path = self.folder.join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            give(&path);
        }
    }

    fn start(&mut self) {
        let mut patroni = unprivileged("patroni");
        patroni.arg(self.folder.join("patroni.yml"));
        self.patroni = Some(run(&mut patroni, &self.folder));
    }

    fn kill(&mut self) {
        let Some(mut patroni) = self.patroni.take() else {
            return;
        };
        // Patroni first, which would start it again.
        let _ = patroni.kill();
        let postmaster = fs::read_to_string(self.folder.join("data/postmaster.pid"));
        let postmaster = postmaster.unwrap_or_default();
        if let Some(postmaster) = postmaster.lines().next().and_then(|id| id.parse().ok()) {
            for id in [postmaster].into_iter().chain(children(postmaster)) {
                // Some have ended by themselves.
                let _ = kill(Pid::from_raw(id), Signal::SIGKILL);
            }
        }
        let _ = patroni.wait();
    }
}

fn start_etcd(folder: &Path, clients: u16) -> Child {
    let [clients, peers] = [clients, free_port()].map(|port| format!("http://127.0.0.1:{port}"));
    let mut etcd = unprivileged("etcd");
    etcd.args([
        "--name",
        "etcd",
        "--initial-cluster",
        &format!("etcd={peers}"),
    ])
    .args([
        "--listen-client-urls",
        &clients,
        "--advertise-client-urls",
        &clients,
    ])
    .args([
        "--listen-peer-urls",
        &peers,
        "--initial-advertise-peer-urls",
        &peers,
    ])
    .arg("--data-dir")
    .arg(folder.join("data"));
    run(&mut etcd, folder)
}

/// With its log in the folder.
fn run(command: &mut Command, folder: &Path) -> Child {
    let log = File::options()
        .create(true)
        .append(true)
        .open(folder.join("log"));
    let log = log.unwrap();
    let command = command.current_dir(folder).stdin(Stdio::null());
    let child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn();
    let program = command.get_program().to_string_lossy();
    child.unwrap_or_else(|error| {
        panic!("{program}: {error}; `cargo xtask torture --store cluster` installs it")
    })
}

/// A program of [`USER`] where we are root.
fn unprivileged(program: &str) -> Command {
    let mut command = Command::new(program);
    if let Some(user) = user() {
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    command
}

fn user() -> Option<User> {
    geteuid()
        .is_root()
        .then(|| User::from_name(USER).unwrap().unwrap())
}

/// A folder that programs of [`USER`] alone can read.
fn own_folder(place: &Path, name: &str) -> PathBuf {
    let folder = place.join(name);
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, Permissions::from_mode(0o700)).unwrap();
    give(&folder);
    folder
}

fn give(path: &Path) {
    if let Some(user) = user() {
        chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
    }
}

/// The processes that this one has started (proc(5), `/proc/PID/stat`: the fourth field, two
/// after the name, which ends at the last parenthesis).
fn children(parent: i32) -> Vec<i32> {
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_child = |id: &i32| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        let fields = stat.rsplit(')').next().unwrap_or_default();
        fields.split_whitespace().nth(1) == Some(&parent.to_string())
    };
    ids.filter(is_child).collect()
}
