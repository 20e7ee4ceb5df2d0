//! `status`: what a tired person asks at three in the morning, on one screen.

use super::process::Process;
use super::table::printable;
use super::{audit, count};
use crate::files::folder_of;
use crate::keys::KeyFile;
use anyhow::ensure;
use chat_domain::attempts::Lock;
use chat_domain::audit::StoredRecord;
use chat_domain::clock_fault::Horizon;
use chat_domain::health::{Health, LockedAccount, MailProblem};
use chat_domain::time::Timestamp;
use chat_server::clock::Clock;
use chat_store::seal::{KeySource, NotAdmitted, Seal};
use chat_store::{Store, StoreUrl};
use clap::Args;
use nix::errno::Errno;
use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, access};
use serde_json::{Value, json};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a disk should have free: a store and its log grow by some hundred megabytes before
/// anybody looks again.
const LEAST_FREE: u64 = 500 << 20;

/// What helps where a store does not work.
const MEND_STORE: &str = "make room, or give the host's user the file and its folder; a file that was \
                          moved belongs back";

/// The same for a database on a server.
const MEND_DATABASE: &str = "start its server, or name by --store where it is and who logs in";

/// The same for Rocket.Chat's database.
const EXAMINE: &str = "host-harness doctor, which looks closer";

/// What helps where a store is sealed and the keys are not there.
const NAME_KEYS: &str = "name the file of its keys by --key-file or HOST_HARNESS_KEY_FILE";

/// Which process, which store, and how to answer.
#[derive(Args)]
#[command(next_help_heading = "Where, and how to answer")]
pub(crate) struct Where {
    #[command(flatten)]
    process: Process,
    /// A store, where the process does not name it.
    #[arg(
        long,
        env = "HOST_HARNESS_STORE",
        hide_env_values = true,
        value_name = "STORE"
    )]
    store: Option<OsString>,
    #[command(flatten)]
    keys: KeyFile,
}

/// One line: what it is about, how that is, and the command that mends it.
struct Line {
    about: &'static str,
    is_well: bool,
    text: String,
    mend: Option<String>,
}

impl Line {
    fn well(about: &'static str, text: String) -> Self {
        Self {
            about,
            is_well: true,
            text,
            mend: None,
        }
    }

    fn wrong(about: &'static str, text: String, mend: &str) -> Self {
        Self {
            about,
            is_well: false,
            text,
            mend: Some(mend.to_owned()),
        }
    }

    fn shown(&self) -> String {
        let mark = if self.is_well { "ok" } else { "!!" };
        let line = format!("{mark}  {:<7}  {}", self.about, self.text);
        match &self.mend {
            Some(mend) => format!("{line}\n             → {mend}"),
            None => line,
        }
    }

    fn described(&self) -> Value {
        json!({
            "about": self.about,
            "ok": self.is_well,
            "text": self.text,
            "mend": self.mend,
        })
    }
}

pub(super) async fn run(place: &Where) -> anyhow::Result<()> {
    let now = Clock::system().now();
    let process = &place.process;
    let mut lines = Vec::new();
    let mut stores = Vec::new();
    let mut key_file = None;
    match process
        .ask(reqwest::Method::GET, "/status", String::new())
        .await
    {
        Ok(status) => {
            stores = stores_of(&status);
            key_file = status
                .get("keyFile")
                .and_then(Value::as_str)
                .map(PathBuf::from);
            match of_process(process, &status).await {
                Ok(found) => lines.extend(found),
                Err(error) => lines.push(Line::wrong(
                    "process",
                    error.to_string(),
                    "what a store's line says, or a restart: it answered once and not again",
                )),
            }
        }
        Err(error) => lines.push(Line::wrong(
            "process",
            error.to_string(),
            "host-harness serve --config FILE, or with --admin-listen; without either it has no such listener",
        )),
    }
    let mut resets = Vec::new();
    if let Some(named) = &place.store {
        let named = StoreUrl::of(named)?;
        match stores.iter_mut().find(|known| is_same(&known.url, &named)) {
            // It has the password, which no process tells.
            Some(known) => known.url = named,
            None => stores.push(KnownStore::at(named)),
        }
    }
    let seal = match keys(place, key_file) {
        Ok(seal) => seal,
        Err(error) => {
            lines.push(Line::wrong("seal", error.to_string(), NAME_KEYS));
            Seal::none()
        }
    };
    for store in &stores {
        let (found, store_resets) = of_store(store, &seal, now).await;
        lines.extend(found);
        resets.extend(store_resets);
    }
    resets.sort_by_key(|reset| reset.at);
    print(place, &lines, &resets)?;
    ensure!(lines.iter().all(|line| line.is_well), "not all is well");
    Ok(())
}

/// Those that the command is given, or those of the process.
fn keys(place: &Where, of_process: Option<PathBuf>) -> anyhow::Result<Seal> {
    let source = match (place.keys.source()?, of_process) {
        (KeySource::Nowhere, Some(path)) => KeySource::File(path),
        (given, _) => given,
    };
    Ok(source.seal()?)
}

fn print(place: &Where, lines: &[Line], resets: &[StoredRecord]) -> anyhow::Result<()> {
    if place.process.json {
        let report = json!({
            "ok": lines.iter().all(|line| line.is_well),
            "lines": lines.iter().map(Line::described).collect::<Value>(),
            "resets": resets.iter().map(audit::described).collect::<Value>(),
        });
        return crate::show(&report.to_string());
    }
    let lines: Vec<_> = lines.iter().map(Line::shown).collect();
    let lines = lines.join("\n");
    let last = match resets.is_empty() {
        true => "nobody was reset yet".to_owned(),
        false => audit::table_of_many(resets),
    };
    crate::show(&format!("{lines}\n\nThe last resets\n{last}"))
}

/// A store, and what its process says of it.
struct KnownStore {
    url: StoreUrl,
    /// Whether the process could write it; none where it did not try.
    written: Option<bool>,
    problem: Option<String>,
    /// Another file has its name, or none.
    moved: bool,
}

impl KnownStore {
    fn at(url: StoreUrl) -> Self {
        Self {
            url,
            written: None,
            problem: None,
            moved: false,
        }
    }
}

fn stores_of(status: &Value) -> Vec<KnownStore> {
    let stores = status.get("stores").and_then(Value::as_array);
    let known = stores.into_iter().flatten().filter_map(|store| {
        let flag = |name| store.get(name).and_then(Value::as_bool);
        let problem = store.get("problem").and_then(Value::as_str);
        Some(KnownStore {
            url: store.get("url")?.as_str()?.parse().ok()?,
            written: flag("written"),
            problem: problem.map(str::to_owned),
            moved: flag("moved").unwrap_or_default(),
        })
    });
    known.collect()
}

fn is_same(one: &StoreUrl, other: &StoreUrl) -> bool {
    match (one.path(), other.path()) {
        (Some(one), Some(other)) => {
            one == other || one.canonicalize().ok() == other.canonicalize().ok()
        }
        _ => one.to_string() == other.to_string(),
    }
}

async fn of_process(process: &Process, status: &Value) -> anyhow::Result<Vec<Line>> {
    let number = |value: &Value, name: &str| value.get(name).and_then(Value::as_u64);
    let workspaces = number(status, "workspaces").unwrap_or_default();
    let calls = number(status, "calls").unwrap_or_default();
    let (workspaces, calls) = (usize::try_from(workspaces)?, usize::try_from(calls)?);
    let mut lines = vec![Line::well(
        "process",
        format!(
            "serves {}, {} now",
            count(workspaces, "workspace"),
            count(calls, "call")
        ),
    )];
    let reasons = process.readiness().await?;
    match reasons.is_empty() {
        true => lines.push(Line::well("ready", "for requests".to_owned())),
        false => lines.extend(reasons.into_iter().map(|reason| {
            let mend = "what its store's line says; then it is ready by itself";
            Line::wrong("ready", reason, mend)
        })),
    }
    let plugins = status.get("plugins").and_then(Value::as_array);
    for plugin in plugins.into_iter().flatten() {
        let digest = plugin
            .get("digest")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let used = usize::try_from(number(plugin, "workspaces").unwrap_or_default())?;
        let text = format!("{digest} decides in {}", count(used, "workspace"));
        lines.push(Line::well("plugin", text));
    }
    let breakers = process
        .ask(reqwest::Method::GET, "/breakers", String::new())
        .await?;
    let breakers = breakers.get("breakers").and_then(Value::as_array);
    for breaker in breakers.into_iter().flatten() {
        let member = |name| {
            breaker
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let (workspace, state) = (member("workspace"), member("state"));
        lines.push(Line::wrong(
            "breaker",
            format!("of {workspace} is {state}: its plugin keeps failing"),
            &format!("host-harness breaker reset {workspace}, once the plugin is mended"),
        ));
    }
    Ok(lines)
}

async fn of_store(
    known: &KnownStore,
    seal: &Seal,
    now: Timestamp,
) -> (Vec<Line>, Vec<StoredRecord>) {
    let url = &known.url;
    let shown = printable(&url.to_string());
    let at_store = format!("--store {shown}");
    let mend = match url {
        StoreUrl::Sqlite(_) => MEND_STORE,
        StoreUrl::Postgres(_) => MEND_DATABASE,
        StoreUrl::Mongodb(_) => EXAMINE,
    };
    let wrong = |problem: String| Line::wrong("store", format!("{shown}: {problem}"), mend);
    let is_written = match (known.written, url.path()) {
        (Some(true), _) => Ok(true),
        (Some(false), _) => Err(known.problem.clone().unwrap_or_default()),
        (None, Some(path)) => require_writable(path)
            .map(|()| true)
            .map_err(|error| error.to_string()),
        // A look says more.
        (None, None) => Ok(false),
    };
    let mut lines = Vec::from_iter(url.path().map(|path| disk(path, &shown)));
    lines.extend(match is_written {
        Ok(true) => Some(Line::well("store", format!("{shown} can be written"))),
        Ok(false) => None,
        Err(problem) => Some(wrong(problem)),
    });
    // What stands in its place is not touched, not even by a look.
    if known.moved {
        return (lines, Vec::new());
    }
    let store = match url.open_to_look(seal).await {
        Ok(store) => store,
        Err(error) => {
            let text = format!("{shown}: {}", error.0);
            lines.push(match error.0.downcast_ref() {
                Some(NotAdmitted::Unsealed) => Line::wrong("seal", text, &rekey(&shown)),
                Some(NotAdmitted::NoKey(_) | NotAdmitted::OtherKey(_)) => {
                    Line::wrong("seal", text, NAME_KEYS)
                }
                _ => wrong(error.0.to_string()),
            });
            return (lines, Vec::new());
        }
    };
    lines.push(of_seal(&store, seal, &shown, mend).await);
    match look(&store, now).await {
        Ok((health, clock_faults)) => {
            lines.extend(of_contents(&health, clock_faults, &at_store));
            (lines, health.resets)
        }
        Err(error) => {
            lines.push(wrong(error.0.to_string()));
            (lines, Vec::new())
        }
    }
}

/// What is wrong in an open store.
fn of_contents(health: &Health, clock_faults: u32, at_store: &str) -> Vec<Line> {
    let mail = health.mail_problems.iter();
    let mut lines: Vec<_> = mail.map(|mail| of_mail(mail, at_store)).collect();
    if lines.is_empty() {
        lines.push(Line::well("mail", "none waits".to_owned()));
    }
    let locked = health.locked.iter();
    lines.extend(locked.map(|account| of_account(account, at_store)));
    if health.locked.is_empty() {
        let text = "no account is locked by guesses".to_owned();
        lines.push(Line::well("locks", text));
    }
    if clock_faults > 0 {
        lines.push(Line::wrong(
            "clock",
            format!(
                "{clock_faults} moments lie too far ahead: a clock was wrong; they count as past"
            ),
            "host-harness user unlock USER, where a code is refused all the same",
        ));
    }
    lines
}

/// How what is secret in an open store is kept.
async fn of_seal(store: &Arc<dyn Store>, seal: &Seal, shown: &str, mend: &str) -> Line {
    let Some(key) = seal.key_id() else {
        let text = format!(
            "{shown} is not sealed: who copies it has its TOTP keys; `host-harness store new-key`, \
             then `store rekey`, would seal it"
        );
        return Line::well("seal", text);
    };
    match store.sealing().await {
        Ok(Some(sealing)) if sealing.key_id == key => {
            Line::well("seal", format!("{shown} is sealed under the key {key}"))
        }
        Ok(_) => {
            let text = format!("{shown} is not all under the first key, {key}");
            Line::wrong("seal", text, &rekey(shown))
        }
        Err(error) => Line::wrong("seal", format!("{shown}: {}", error.0), mend),
    }
}

fn rekey(shown: &str) -> String {
    format!("host-harness store rekey --store {shown}")
}

async fn look(store: &Arc<dyn Store>, now: Timestamp) -> chat_store::Result<(Health, u32)> {
    let health = store.health(now).await?;
    Ok((health, store.clock_faults(Horizon::at(now)).await?))
}

/// The file, its folder and what SQLite puts beside it.
fn require_writable(path: &Path) -> nix::Result<()> {
    access(path, AccessFlags::W_OK)?;
    access(folder_of(path), AccessFlags::W_OK)?;
    for ending in ["-wal", "-shm"] {
        let mut beside = path.as_os_str().to_owned();
        beside.push(ending);
        match access(Path::new(&beside), AccessFlags::W_OK) {
            Ok(()) | Err(Errno::ENOENT) => (),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn disk(path: &Path, shown: &str) -> Line {
    let size = path
        .metadata()
        .map(|file| file.len() >> 10)
        .unwrap_or_default();
    let Ok(found) = statvfs(folder_of(path)) else {
        return Line::wrong("disk", format!("of {shown} is not there"), "mount it");
    };
    let free = found
        .blocks_available()
        .saturating_mul(found.fragment_size());
    let text = format!("{} MiB free, {shown} has {size} KiB", free >> 20);
    match free < LEAST_FREE {
        true => Line::wrong(
            "disk",
            text,
            "make room; `host-harness prune` removes what is old",
        ),
        false => Line::well("disk", text),
    }
}

fn of_mail(mail: &MailProblem, at_store: &str) -> Line {
    let workspace = &mail.workspace;
    let text = format!(
        "of {workspace}: {} waiting, {}: {}",
        mail.waiting,
        count(mail.dead_letters as usize, "dead letter"),
        mail.problem.as_deref().unwrap_or("not tried yet")
    );
    match mail.problem {
        None => Line::well("mail", text),
        Some(_) => Line::wrong(
            "mail",
            text,
            &format!(
                "host-harness outbox retry --all --workspace {workspace} {at_store}, once the cause is gone"
            ),
        ),
    }
}

fn of_account(account: &LockedAccount, at_store: &str) -> Line {
    let LockedAccount {
        workspace,
        username,
        failures,
        lock,
        guesses,
    } = account;
    let until = match lock {
        Lock::Until(until) => format!("until {until}"),
        Lock::UntilReplaced => "until its second factor is replaced".to_owned(),
    };
    let from: Vec<_> = guesses
        .iter()
        .map(|(address, times)| format!("{address} ({times})"))
        .collect();
    let from = match from.is_empty() {
        true => "none in the last hour".to_owned(),
        false => format!("in the last hour from {}", from.join(", ")),
    };
    let unlock = format!("host-harness user unlock {username} --workspace {workspace} {at_store}");
    let mend = match lock {
        Lock::Until(_) => unlock,
        Lock::UntilReplaced => format!(
            "host-harness user reset-totp {username} --workspace {workspace} {at_store}; where \
             no TOTP was guessed at, {unlock} --force"
        ),
    };
    Line::wrong(
        "locks",
        format!("{username} of {workspace} by {failures} wrong codes, {until}; {from}"),
        &mend,
    )
}
