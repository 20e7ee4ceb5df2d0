//! A server of the tests' own that speaks MongoDB's protocol, and databases in it, as Rocket.Chat
//! has them.
//!
//! The server is SecantusDB, which is no MongoDB: it proves documents and commands, and nothing of
//! what a replica set does when it fails over. The first test that wants one starts it, in a folder
//! of its own, and it ends with the test process, however that ends: a shell that holds the other
//! end of a pipe ends it then, and removes the folder.

use crate::certificates::SelfSigned;
use crate::{PATIENCE, free_port};
use chat_store::Store;
use chat_store::mongodb::Mongodb;
use chat_store::seal::Seal;
use futures_util::TryStreamExt;
use mongodb::Client;
use mongodb::bson::{Bson, DateTime, Document, doc};
use std::collections::BTreeMap;
use std::future::Future;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;

/// The program, and where `cargo xtask test` installs it: in the target folder.
const PROGRAM: &str = "secantusd-py";
const INSTALLED: &str = "secantusdb/bin";

/// Where it is, as its certificate says, too.
const HOST: &str = "127.0.0.1";

/// Files in its folder.
const CERTIFICATE: &str = "server.crt";
const KEY: &str = "server.key";

/// Collections that every Rocket.Chat has.
const ROCKET_CHATS: [&str; 6] = [
    "users",
    "rocketchat_settings",
    "rocketchat_permissions",
    "rocketchat_roles",
    "rocketchat_sessions",
    "_raix_push_app_tokens",
];

/// Where hosts say that they are writing.
const WRITERS: &str = "reset_totp_writer";

/// A server that runs until this is dropped, or the process ends.
pub struct Server {
    port: u16,
    folder: PathBuf,
    encryption: Encryption,
    /// Past the stores.
    client: OnceCell<Client>,
    /// What ends it when the process does.
    shell: Child,
}

/// The server of this process.
fn server() -> Arc<Server> {
    static SERVER: OnceLock<Arc<Server>> = OnceLock::new();
    let start = || Arc::new(Server::start(Encryption::None));
    SERVER.get_or_init(start).clone()
}

/// How connections to a server are protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// Not at all.
    None,
    /// By TLS alone, under a certificate of its own.
    Tls,
}

impl Server {
    /// With nothing in it.
    pub fn start(encryption: Encryption) -> Self {
        let folder = tempfile::tempdir().unwrap().keep();
        let port = free_port();
        let log = folder.join("log");
        SelfSigned::new(HOST).write(&folder, CERTIFICATE, KEY);
        let mut shell = Command::new("sh");
        shell
            .args(["-c", SCRIPT, "sh"])
            .args([&program(), &folder])
            .arg(port.to_string())
            .args(match encryption {
                Encryption::None => &[][..],
                Encryption::Tls => &["--tls-cert-file", CERTIFICATE, "--tls-key-file", KEY],
            })
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap());
        let shell = shell.spawn().unwrap();
        let client = OnceCell::new();
        let mut server = Self {
            port,
            folder,
            encryption,
            client,
            shell,
        };
        server.wait(&log);
        server
    }

    fn wait(&mut self, log: &Path) {
        let begun = Instant::now();
        while let Err(error) = TcpStream::connect((HOST, self.port)) {
            let log = || std::fs::read_to_string(log).unwrap_or_default();
            let has_ended = self.shell.try_wait().unwrap().is_some();
            assert!(
                !has_ended && begun.elapsed() < PATIENCE,
                "SecantusDB does not start: {error}\n{}",
                log()
            );
            thread::sleep(Duration::from_millis(20));
        }
    }

    async fn client(&self) -> &Client {
        let connect = async || Client::with_uri_str(&self.url("admin")).await.unwrap();
        self.client.get_or_init(connect).await
    }

    /// The URL of a database.
    pub fn url(&self, database: &str) -> String {
        let port = self.port;
        let url = format!("mongodb://{HOST}:{port}/{database}?replicaSet=secantus");
        match self.encryption {
            Encryption::None => url,
            Encryption::Tls => {
                let authority = self.folder.join(CERTIFICATE);
                format!("{url}&tls=true&tlsCAFile={}", authority.display())
            }
        }
    }
}

/// What ends all processes of a terminal ends the server by the pipe.
const SCRIPT: &str = r#"
    trap '' HUP INT TERM
    program=$1 folder=$2 port=$3
    shift 3
    cd "$folder"
    TMPDIR=$folder "$program" --host 127.0.0.1 --port "$port" --storage-path "$folder/data" \
        --enable-test-commands --log-level WARNING "$@" </dev/null >&2 &
    cat
    kill -KILL $!
    wait
    cd /
    rm -rf "$folder"
"#;

/// Where the program is: in the target folder of the test, or in that of the path.
fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let of_target = test.ancestors().map(|folder| folder.join(INSTALLED));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let of_path = std::env::split_paths(&path);
    let mut programs = of_target.chain(of_path).map(|folder| folder.join(PROGRAM));
    let missing = "the tests need SecantusDB: `pip install secantusdb==0.7.0b3` into an environment \
                   of Python's, as `cargo xtask test` does";
    let found = programs.find(|program| program.exists());
    assert!(found.is_some(), "{missing}");
    found.unwrap()
}

/// A database of a Rocket.Chat's.
pub struct Database {
    server: Arc<Server>,
    name: String,
    workspace: String,
}

/// What is done in a database.
type Work<T> = Pin<Box<dyn Future<Output = mongodb::error::Result<T>> + Send>>;

/// All documents of a database, by collection and id.
pub type Everything = BTreeMap<String, BTreeMap<String, Document>>;

impl Database {
    /// With Rocket.Chat's collections, and nothing in them, for the workspace of this id.
    pub fn of_rocket_chat(workspace: &str) -> Self {
        Self::on(server(), workspace)
    }

    /// The same on a server that no other test uses: what it is told to fail, is this one's.
    pub fn alone(workspace: &str) -> Self {
        Self::on(Arc::new(Server::start(Encryption::None)), workspace)
    }

    /// The same on a server that is reached by TLS alone.
    pub fn encrypted(workspace: &str) -> Self {
        Self::on(Arc::new(Server::start(Encryption::Tls)), workspace)
    }

    fn on(server: Arc<Server>, workspace: &str) -> Self {
        let database = Self {
            server,
            ..Self::empty(workspace)
        };
        let create = |name: &&str| doc! { "create": *name };
        database.run(ROCKET_CHATS.iter().map(create).collect());
        database
    }

    /// With nothing.
    pub fn empty(workspace: &str) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("rocketchat_{}", MADE.fetch_add(1, Ordering::Relaxed));
        Self {
            server: server(),
            name,
            workspace: workspace.to_owned(),
        }
    }

    /// Its URL, which says how the workspace is called.
    pub fn url(&self) -> String {
        let url = self.server.url(&self.name);
        format!("{url}&workspace={}", self.workspace)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The store in it, which is made where there is none.
    pub async fn open_or_create(&self, seal: &Seal) -> Arc<dyn Store> {
        Mongodb::open_or_create(&self.url(), seal).await.unwrap()
    }

    /// Has the server do these in the database, past the store.
    pub fn run(&self, commands: Vec<Document>) {
        self.with(|database| {
            Box::pin(async move {
                for command in commands {
                    let answer = database.run_command(command).await?;
                    assert!(!answer.contains_key("writeErrors"), "{answer}");
                }
                Ok(())
            })
        });
    }

    /// Begins a transaction that keeps all hosts from writing, as a host does that is killed in it
    /// and was heard of last so many milliseconds ago; it is never ended. `login` is whose session the
    /// host has said that it is; none where it is an older version, which says nothing of that.
    pub fn abandon_turn(&self, ago: i64, login: Option<&'static str>) {
        let seen = DateTime::from_millis(DateTime::now().timestamp_millis() - ago);
        self.with(move |database| {
            Box::pin(async move {
                let mut session = database.client().start_session().await?;
                session.start_transaction().await?;
                let id = session.id().get("id").cloned();
                let writers = database.collection::<Document>(WRITERS);
                let mut said = doc! { "_id": id, "seen": seen };
                said.extend(login.map(|login| ("login".to_owned(), login.into())));
                writers.insert_one(said).await?;
                let store = database.collection::<Document>("reset_totp_store");
                let turn = doc! { "$inc": { "turn": 1_i64 } };
                store
                    .update_one(doc! { "_id": "turn" }, turn)
                    .session(&mut session)
                    .await?;
                // Dropped, it would be ended.
                std::mem::forget(session);
                Ok(())
            })
        });
    }

    /// Has the server fail commands from now on, as its `failCommand` says.
    pub fn fail_commands(&self, mode: Document, data: Document) {
        self.tell_server(doc! { "configureFailPoint": "failCommand", "mode": mode, "data": data });
    }

    /// Undoes all transactions that are not committed yet.
    pub fn end_all_sessions(&self) {
        self.tell_server(doc! { "killAllSessions": [] });
    }

    /// Has it fail none any more.
    pub fn fail_no_commands(&self) {
        self.tell_server(doc! { "configureFailPoint": "failCommand", "mode": "off" });
    }

    fn tell_server(&self, command: Document) {
        self.with(|database| {
            Box::pin(async move {
                let admin = database.client().database("admin");
                admin.run_command(command).await.map(drop)
            })
        });
    }

    /// Adds documents to a collection.
    pub fn insert(&self, collection: &str, documents: Vec<Document>) {
        self.run(vec![doc! { "insert": collection, "documents": documents }]);
    }

    /// Changes the document with this id.
    pub fn update(&self, collection: &str, id: &str, update: Document) {
        let update = doc! { "q": { "_id": id }, "u": update };
        self.run(vec![doc! { "update": collection, "updates": [update] }]);
    }

    /// The documents of a collection that are so.
    pub fn find(&self, collection: &str, filter: Document) -> Vec<Document> {
        let collection = collection.to_owned();
        self.with(move |database| {
            Box::pin(async move {
                let documents = database.collection::<Document>(&collection);
                documents.find(filter).await?.try_collect().await
            })
        })
    }

    /// The document with this id.
    pub fn document(&self, collection: &str, id: &str) -> Option<Document> {
        let mut everything = self.everything();
        everything.get_mut(collection)?.remove(id)
    }

    /// All that there is, but who is writing it.
    pub fn everything(&self) -> Everything {
        self.with(|database| {
            Box::pin(async move {
                let mut everything = Everything::new();
                for name in database.list_collection_names().await? {
                    if name == WRITERS {
                        continue;
                    }
                    let documents = database.collection::<Document>(&name);
                    let documents: Vec<_> = documents.find(doc! {}).await?.try_collect().await?;
                    let documents = documents.into_iter();
                    let documents = documents.map(|document| (id_of(&document), document));
                    everything.insert(name, documents.collect());
                }
                Ok(everything)
            })
        })
    }

    /// Makes these the documents of the database, where they are others than `before`.
    pub(crate) fn rewrite(&self, before: &Everything, after: Everything) {
        let mut commands = Vec::new();
        let none = BTreeMap::new();
        for (collection, documents) in &after {
            let earlier = before.get(collection).unwrap_or(&none);
            let mut updates = Vec::new();
            for (id, document) in documents {
                if earlier.get(id) != Some(document) {
                    let filter = doc! { "_id": document.get("_id") };
                    updates.push(doc! { "q": filter, "u": document, "upsert": true });
                }
            }
            if !updates.is_empty() {
                commands.push(doc! { "update": collection, "updates": updates });
            }
        }
        for (collection, documents) in before {
            let later = after.get(collection).unwrap_or(&none);
            let gone = documents.iter().filter(|(id, _)| !later.contains_key(*id));
            let gone = gone.map(|(_, document)| {
                doc! { "q": { "_id": document.get("_id") }, "limit": 1 }
            });
            let gone: Vec<_> = gone.collect();
            if !gone.is_empty() {
                // What is removed goes first: a place may be another's by then.
                commands.insert(0, doc! { "delete": collection, "deletes": gone });
            }
        }
        self.run(commands);
    }

    fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(mongodb::Database) -> Work<T> + Send + 'static,
    ) -> T {
        let (server, name) = (self.server.clone(), self.name.clone());
        wait_for(async move { work(server.client().await.database(&name)).await }).unwrap()
    }
}

/// What differs, a line a field: `collection id field`, `+` before what is new, `-` before what is
/// gone, `~` before what has another value.
pub fn differences(before: &Everything, after: &Everything) -> Vec<String> {
    let (before, after) = (flat(before), flat(after));
    let gone = before.keys().filter(|field| !after.contains_key(*field));
    let gone = gone.map(|field| format!("- {field}"));
    let other = after
        .iter()
        .filter_map(|(field, value)| match before.get(field) {
            None => Some(format!("+ {field}")),
            Some(earlier) if earlier != value => Some(format!("~ {field}")),
            Some(_) => None,
        });
    let mut lines: Vec<_> = gone.chain(other).collect();
    lines.sort();
    lines
}

/// Every value, by collection, id and field.
fn flat(everything: &Everything) -> BTreeMap<String, Bson> {
    fn put(all: &mut BTreeMap<String, Bson>, path: &str, value: &Bson) {
        match value {
            Bson::Document(document) if !document.is_empty() => {
                for (name, value) in document {
                    put(all, &format!("{path}.{name}"), value);
                }
            }
            value => {
                all.insert(path.to_owned(), value.clone());
            }
        }
    }
    let mut all = BTreeMap::new();
    for (collection, documents) in everything {
        for (id, document) in documents {
            for (name, value) in document {
                put(&mut all, &format!("{collection} {id} {name}"), value);
            }
        }
    }
    all
}

/// The id of a document.
pub fn id_of(document: &Document) -> String {
    match document.get("_id").unwrap() {
        Bson::String(id) => id.clone(),
        id => id.to_string(),
    }
}

/// Waits for what a test's own runtime, which may be waiting for the test, does not run.
fn wait_for<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| Runtime::new().unwrap());
    let (done, ended) = mpsc::channel();
    runtime.spawn(async move {
        // The test may have ended.
        let _ = done.send(work.await);
    });
    ended.recv().unwrap()
}
