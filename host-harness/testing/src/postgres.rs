//! A PostgreSQL server of the tests' own, and databases in it.
//!
//! The first test that wants one starts it, in a folder of its own, and it ends with the test
//! process, however that ends: a shell that holds the other end of a pipe ends it then, and
//! removes the folder. A database is a copy of one that holds an empty store.

use crate::certificates::SelfSigned;
use crate::{PATIENCE, account_of, free_port, shown, until};
use chat_store::Store;
use chat_store::postgres::Postgres;
use chat_store::seal::Seal;
use std::cmp::Reverse;
use std::fs::DirEntry;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, NoTls, Row};

/// Where Debian's packages put each version's programs.
const DEBIAN: &str = "/usr/lib/postgresql";

/// Whose the server is where the tests run as root, which PostgreSQL does not.
const USER: &str = "postgres";

/// The login of the stores: no superuser, but one that may make the role which sees one
/// workspace.
const LOGIN: &str = "chat";

/// The database that others are copies of.
const TEMPLATE: &str = "chat_template";

/// What belongs to the store and holds nothing that was told to it.
const NOT_SHOWN: [&str; 2] = ["chat_store", "commit_mark"];

/// A server that runs until this is dropped, or the process ends.
pub struct Server {
    port: u16,
    folder: PathBuf,
    /// What ends it when the process does.
    shell: Child,
}

/// The server of this process.
fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let server = Server::start(Durability::None);
        let url = server.create(TEMPLATE, "template0");
        wait_for(async move {
            Postgres::open_or_create(&url, &Seal::none())
                .await
                .map(drop)
        })
        .unwrap();
        server
    })
}

/// What a server does for what it has acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Nothing: what was killed with the machine would be lost.
    None,
    /// It is on the disk, as in production.
    Disk,
}

/// What becomes of a server that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtItsEnd {
    /// It is not there any more.
    Stays,
    /// It is started again, at the same place.
    Restarts,
}

impl Server {
    /// With nothing in it but a superuser's login, and that of the stores.
    pub fn start(durability: Durability) -> Self {
        Self::start_with(durability, AtItsEnd::Stays)
    }

    /// The same, where this becomes of one that has ended.
    pub fn start_with(durability: Durability, at_its_end: AtItsEnd) -> Self {
        let programs = programs();
        let folder = tempfile::tempdir().unwrap().keep();
        let port = free_port();
        let log = folder.join("log");
        SelfSigned::new("localhost").write(&folder, "server.crt", "server.key");
        let mut shell = Command::new("sh");
        shell
            .args(["-c", SCRIPT, "sh"])
            .args([&programs, &folder])
            .arg(port.to_string())
            .arg(match durability {
                Durability::None => "off",
                Durability::Disk => "on",
            })
            .arg(match at_its_end {
                AtItsEnd::Stays => "stays",
                AtItsEnd::Restarts => "restarts",
            })
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap());
        let mut server = Self {
            port,
            folder,
            shell: shell.spawn().unwrap(),
        };
        server.wait(&log);
        server.run_as_superuser(&format!("CREATE ROLE {LOGIN} LOGIN CREATEROLE"));
        server
    }

    /// Makes a database like another, which nobody uses then; gives its URL.
    pub fn create(&self, name: &str, like: &str) -> String {
        self.run_as_superuser(&format!(
            "CREATE DATABASE {name} OWNER {LOGIN} TEMPLATE {like}"
        ));
        self.url(LOGIN, name)
    }

    /// Sends its first process a signal, such as `KILL`; nothing where there is none.
    pub fn signal(&self, signal: &str) {
        let pid = std::fs::read_to_string(self.folder.join("data/postmaster.pid"));
        if let Some(pid) = pid.unwrap_or_default().lines().next() {
            send(signal, pid);
        }
    }

    /// Kills a process that serves a database, which one `which` decides; nothing where there
    /// is none. The server ends all others then, and recovers.
    pub fn kill_one_that_serves(&self, database: &str, which: u64) {
        let url = self.superusers_url(database);
        let pids = wait_for(async move {
            let others = "SELECT pid FROM pg_stat_activity
                          WHERE datname = current_database() AND pid <> pg_backend_pid()";
            let rows = connect(url).await?.query(others, &[]).await?;
            Ok::<Vec<i32>, tokio_postgres::Error>(rows.iter().map(|row| row.get(0)).collect())
        });
        let pids = pids.unwrap_or_default();
        let which = which.checked_rem(pids.len().try_into().unwrap());
        let pid = which.and_then(|which| pids.get(usize::try_from(which).ok()?));
        if let Some(pid) = pid {
            send("KILL", &pid.to_string());
        }
    }

    /// The URL of a database for a superuser.
    pub fn superusers_url(&self, database: &str) -> String {
        self.url(USER, database)
    }

    fn wait(&mut self, log: &Path) {
        let begun = Instant::now();
        let url = self.url(USER, "postgres");
        while let Err(error) = wait_for(connect(url.clone())) {
            let log = || std::fs::read_to_string(log).unwrap_or_default();
            let has_ended = self.shell.try_wait().unwrap().is_some();
            assert!(
                !has_ended && begun.elapsed() < PATIENCE,
                "PostgreSQL does not start: {error}\n{}",
                log()
            );
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// The URL of a database, for a login.
    pub fn url(&self, login: &str, database: &str) -> String {
        let port = self.port;
        format!("postgres://{login}@127.0.0.1:{port}/{database}?sslmode=disable")
    }

    /// Runs statements that only a superuser may.
    pub fn run_as_superuser(&self, sql: &str) {
        run(self.url(USER, "postgres"), sql.to_owned()).unwrap();
    }

    /// The certificate that it shows, whose name is `localhost`.
    pub fn certificate(&self) -> PathBuf {
        self.folder.join("server.crt")
    }
}

/// What ends all processes of a terminal ends the server by the pipe. Texts are sorted otherwise than
/// the store wants them, where it does not say so.
const SCRIPT: &str = r#"
    trap '' HUP INT TERM
    programs=$1 folder=$2 port=$3 durable=$4 at_its_end=$5
    as=
    chmod go= "$folder/server.key"
    if [ "$(id -u)" = 0 ]; then
        chown postgres: "$folder" "$folder"/*
        as="setpriv --reuid=postgres --regid=postgres --clear-groups"
    fi
    cd "$folder"
    $as "$programs/initdb" --pgdata="$folder/data" --username=postgres --auth=trust --no-sync \
        --encoding=UTF8 --locale=C.UTF-8 --locale-provider=icu --icu-locale=en-US \
        </dev/null >&2 || exit
    serve() {
        exec $as "$programs/postgres" -D "$folder/data" -p "$port" \
            -c listen_addresses=127.0.0.1 -c unix_socket_directories="$folder" -c ssl=on \
            -c ssl_cert_file="$folder/server.crt" -c ssl_key_file="$folder/server.key" \
            -c max_connections=300 -c fsync=$durable -c full_page_writes=$durable \
            -c autovacuum=$durable -c max_wal_size=4GB \
            -c recovery_init_sync_method=syncfs </dev/null >&2
    }
    if [ "$at_its_end" = restarts ]; then
        # While processes of the last one are there, none begins.
        until [ -e stop ]; do (serve); sleep 0.05; done &
        cat
        touch stop
        while kill -0 $! && sleep 0.05; do
            kill -QUIT "$(head -n 1 data/postmaster.pid)"
        done 2>/dev/null
    else
        serve &
        cat
        kill -QUIT $!
    fi
    wait
    cd /
    rm -rf "$folder"
"#;

/// The folder of PostgreSQL's programs: of the newest version that Debian has brought, or the first
/// of the path that has them.
pub fn programs() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let of_path = std::env::split_paths(&path);
    let versions = std::fs::read_dir(DEBIAN).into_iter().flatten().flatten();
    let number = |version: &DirEntry| version.file_name().to_str()?.parse::<u32>().ok();
    let mut versions: Vec<_> = versions.collect();
    versions.sort_by_key(|version| Reverse(number(version)));
    let of_debian = versions.iter().map(|version| version.path().join("bin"));
    let mut folders = of_debian.chain(of_path);
    let has_both = |folder: &PathBuf| {
        let mut programs = ["initdb", "postgres"].iter();
        programs.all(|program| folder.join(program).exists())
    };
    let found = folders.find(has_both);
    let missing =
        "the tests need PostgreSQL: `apt-get install postgresql`, as `cargo xtask test` does";
    assert!(found.is_some(), "{missing}");
    found.unwrap()
}

fn send(signal: &str, pid: &str) {
    let sent = Command::new("kill").args(["-s", signal, pid]).status();
    // It may have ended by itself just now.
    sent.unwrap();
}

/// A database, which is another's after this.
pub struct Database {
    name: String,
    /// What is left is no empty store.
    is_spoilt: AtomicBool,
}

/// Databases with an empty store that nobody uses: to empty one takes a tenth of the time that it
/// takes to make one.
static UNUSED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Nobody is in it any more, and all that the store was told is gone.
const EMPTY: &str = "
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid();
    DO $$
    DECLARE name TEXT;
    BEGIN
        SET LOCAL session_replication_role = replica;
        FOR name IN SELECT quote_ident(tablename) FROM pg_tables
                    WHERE schemaname = 'public' AND tablename <> 'chat_store' LOOP
            EXECUTE 'DELETE FROM ' || name;
        END LOOP;
        FOR name IN SELECT quote_ident(sequencename) FROM pg_sequences LOOP
            EXECUTE 'ALTER SEQUENCE ' || name || ' RESTART';
        END LOOP;
    END $$";

impl Database {
    /// With an empty store, which is sealed by this.
    pub fn with_store(seal: &Seal) -> Self {
        let unused = UNUSED.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let database = match unused {
            Some(name) => Self {
                name,
                is_spoilt: AtomicBool::new(false),
            },
            None => Self::new(&format!("TEMPLATE {TEMPLATE}")),
        };
        if let Some(sealing) = seal.sealing() {
            let (key_id, check_value) = (sealing.key_id, sealing.check_value);
            database.edit(&format!(
                "INSERT INTO sealing VALUES (1, '{key_id}', '{check_value}')"
            ));
        }
        database
    }

    /// With nothing.
    pub fn empty() -> Self {
        Self::like("TEMPLATE template0")
    }

    /// With nothing, and what `CREATE DATABASE` says.
    pub fn like(what: &str) -> Self {
        let database = Self::new(what);
        database.is_spoilt.store(true, Ordering::Relaxed);
        database
    }

    fn new(like: &str) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("chat_{}", MADE.fetch_add(1, Ordering::Relaxed));
        server().run_as_superuser(&format!("CREATE DATABASE {name} OWNER {LOGIN} {like}"));
        let is_spoilt = AtomicBool::new(false);
        Self { name, is_spoilt }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        server().url(LOGIN, &self.name)
    }

    /// The certificate of its server.
    pub fn certificate(&self) -> PathBuf {
        server().certificate()
    }

    /// Its URL for a superuser of the server.
    pub fn superusers_url(&self) -> String {
        server().url(USER, &self.name)
    }

    /// A second handle on its store, as another process has one.
    pub(super) async fn open(&self, seal: &Seal) -> Arc<dyn Store> {
        Postgres::open(&self.url(), seal).await.unwrap()
    }

    /// Runs statements past the store.
    pub fn edit(&self, sql: &str) {
        self.try_to_edit(sql).unwrap();
    }

    /// As [`Database::edit`].
    ///
    /// # Errors
    ///
    /// What the server says.
    pub fn try_to_edit(&self, sql: &str) -> Result<(), String> {
        if SPOILING.iter().any(|word| sql.contains(word)) {
            self.is_spoilt.store(true, Ordering::Relaxed);
        }
        run(self.url(), translated(sql))
    }

    /// The first column of what a query finds, past the store.
    pub fn numbers(&self, sql: &str) -> Vec<i64> {
        let (url, sql) = (self.url(), sql.to_owned());
        wait_for(async move {
            let rows = connect(url).await?.query(&sql, &[]).await?;
            Ok::<_, tokio_postgres::Error>(rows.iter().map(|row| row.get(0)).collect())
        })
        .unwrap()
    }

    /// Until so many wait in it for what others keep.
    pub async fn until_waiting(&self, waiting: i64) {
        let count = "SELECT count(*) FROM pg_stat_activity
                     WHERE datname = current_database() AND wait_event_type = 'Lock'";
        let what = format!("{waiting} wait");
        until(&what, || self.numbers(count) == [waiting]).await;
    }

    pub(super) fn refuse_records(&self, why: &str) {
        let trigger = format!(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql
             AS $$ BEGIN RAISE EXCEPTION '{why}'; END $$;
             CREATE TRIGGER full_disk BEFORE INSERT ON audit FOR EACH ROW
             EXECUTE FUNCTION refuse()"
        );
        self.edit(&trigger);
    }

    /// The rows of all tables but these, without these columns.
    pub(super) fn rows(&self, tables_but: &[&str], without: &[&str], seal: &Seal) -> Vec<String> {
        let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        let (mut tables_but, without): (Vec<String>, Vec<_>) = (owned(tables_but), owned(without));
        tables_but.extend(NOT_SHOWN.map(str::to_owned));
        let (url, seal) = (self.url(), seal.clone());
        wait_for(async move { rows(url, &tables_but, &without, &seal).await }).unwrap()
    }
}

/// Words of statements that leave more behind than rows of the store.
const SPOILING: [&str; 5] = ["ALTER", "CREATE", "DROP", "GRANT", "chat_store"];

impl Drop for Database {
    /// Whether or not it is done by the end: the server goes, too.
    fn drop(&mut self) {
        let name = std::mem::take(&mut self.name);
        let is_spoilt = self.is_spoilt.load(Ordering::Relaxed);
        thread::spawn(move || match is_spoilt {
            true => server().run_as_superuser(&format!("DROP DATABASE {name} WITH (FORCE)")),
            false => {
                run(server().url(USER, &name), EMPTY.to_owned()).unwrap();
                let mut unused = UNUSED.lock().unwrap_or_else(PoisonError::into_inner);
                unused.push(name);
            }
        });
    }
}

async fn rows(
    url: String,
    tables_but: &[String],
    without: &[String],
    seal: &Seal,
) -> Result<Vec<String>, tokio_postgres::Error> {
    let client = connect(url).await?;
    let tables = "SELECT tablename::TEXT FROM pg_tables WHERE schemaname = current_schema()";
    let tables = client.query(tables, &[]).await?;
    let tables = tables.iter().map(|row| row.get(0));
    let mut lines = Vec::new();
    for table in tables.filter(|table: &String| !tables_but.contains(table)) {
        let query = format!(r#"SELECT *, {} FROM "{table}""#, account_of(&table));
        let rows = client.query(&query, &[]).await?;
        lines.extend(rows.iter().map(|row| line(&table, row, without, seal)));
    }
    Ok(lines)
}

/// As SQLite's rows are shown.
fn line(table: &str, row: &Row, without: &[String], seal: &Seal) -> String {
    let workspace: String = row.try_get("workspace").unwrap_or_default();
    let (_, columns) = row.columns().split_last().unwrap();
    let account: String = row.get(columns.len());
    let columns = columns.iter().enumerate();
    let is_shown = |name: &str| !without.iter().any(|left_out| left_out == name);
    let columns = columns.filter(|(_, column)| is_shown(column.name()));
    let values = columns.map(|(index, column)| {
        let number = |number: Option<i64>| number.map(|number| number.to_string());
        let value = match *column.type_() {
            Type::BOOL => number(row.get::<_, Option<bool>>(index).map(i64::from)),
            Type::INT8 => number(row.get(index)),
            Type::BYTEA => row
                .get::<_, Option<Vec<u8>>>(index)
                .map(|bytes| String::from_utf8_lossy(&bytes).escape_debug().to_string()),
            _ if column.name() == "message_id" => Some("…".to_owned()),
            _ => row
                .get::<_, Option<String>>(index)
                .map(|text| shown(seal, table, column.name(), [&workspace, &account], &text)),
        };
        format!(" {}={}", column.name(), value.as_deref().unwrap_or("null"))
    });
    format!("{table}:{}", values.collect::<String>())
}

/// What the tests write in SQLite's words: `user` is none of PostgreSQL's names unless it is
/// quoted.
fn translated(sql: &str) -> String {
    let pieces = sql
        .split('\'')
        .enumerate()
        .map(|(index, piece)| match index % 2 == 0 {
            true => words(piece),
            false => piece.to_owned(),
        });
    pieces.collect::<Vec<_>>().join("'")
}

fn words(sql: &str) -> String {
    let mut translated = String::new();
    let mut word = String::new();
    for letter in sql.chars().chain([' ']) {
        if letter.is_alphanumeric() || matches!(letter, '_' | '"') {
            word.push(letter);
            continue;
        }
        match word.as_str() {
            "user" => translated.push_str("\"user\""),
            other => translated.push_str(other),
        }
        word.clear();
        translated.push(letter);
    }
    translated.pop();
    translated
}

/// A connection past the store, of the test's own runtime.
///
/// # Errors
///
/// When it cannot be had.
pub async fn connect(url: String) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

fn run(url: String, sql: String) -> Result<(), String> {
    let ran = wait_for(async move { connect(url).await?.batch_execute(&sql).await });
    ran.map_err(|error| match error.as_db_error() {
        Some(refusal) => refusal.message().to_owned(),
        None => error.to_string(),
    })
}

/// Waits for what a test's own runtime, which may be waiting for the test, does not run.
fn wait_for<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    let thread = thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(future)
    });
    thread.join().unwrap()
}
