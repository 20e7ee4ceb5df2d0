//! What is served: a store with a cast of accounts, the configuration of its hosts, and a
//! look at what the store holds.

use crate::account::{Account, BackupCodes, Factor, Person};
use crate::cluster::Cluster;
use crate::host::program;
use crate::mail_server::MailServer;
use crate::request::News;
use crate::rocket_chat;
use bcrypt::Version;
use chat_domain::account::{Email, Profile, Token, TotpFactor};
use chat_domain::dossier::{Question, Subject};
use chat_domain::operator::{NewUser, NewWorkspace, default_roles};
use chat_domain::password;
use chat_domain::settings::Settings;
use chat_domain::time::Timestamp;
use chat_domain::token;
use chat_domain::totp::{self, TotpKey};
use chat_store::StoreUrl;
use chat_store::seal::{Keys, Seal, new_key};
use chat_testing::guest::plugin_bytes;
use chat_testing::mongodb::Database;
use chat_testing::postgres::{AtItsEnd, Durability, Server, connect};
use mongodb::bson::{Document, doc};
use plugin_sandbox::digest::Digest;
use rand::RngExt;
use rand::rngs::StdRng;
use rusqlite::Connection;
use secrecy::{ExposeSecret, SecretString};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::sleep;

/// The database of the store, where it is in PostgreSQL.
const DATABASE: &str = "chat";

/// How long a database that has ended may take until it answers again, and the pause between
/// two looks whether it does.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(5);

/// The file of the keys, where secrets are sealed.
const KEYS: &str = "chat.key";

/// The one that is served.
pub(crate) const WORKSPACE: &str = "default";

/// Administrators: enough that some act while others are reset.
const ADMINS: usize = 10;

/// Members, of whom every third has opted in to codes by e-mail.
const MEMBERS: usize = 18;

/// Steps before and after the current one: so many codes can be used at a time.
pub(crate) const TOTP_WINDOW: u32 = 5;

/// The password of everybody.
pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// What bcrypt costs here: the least that it takes, since log-ins are many.
const COST: u32 = 4;

/// A folder with everything in it, and the store.
pub(crate) struct Site {
    folder: TempDir,
    place: Place,
    seal: Seal,
    pub(crate) mail: MailServer,
}

/// Where the store is.
enum Place {
    /// In the folder.
    Sqlite,
    /// In a server of its own, at this URL.
    Postgres(Server, String),
    /// In several, of which one leads, at this URL.
    Cluster(Box<Cluster>, String),
    /// In a Rocket.Chat's own.
    RocketChat(Database),
}

/// Which store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
    Cluster,
    RocketChat,
}

/// Whether what the store keeps secret is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Secrets {
    Plain,
    Sealed,
}

/// What a database is told that ends it; one that has ended is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blow {
    /// SIGKILL to its first process.
    Kill,
    /// An immediate shutdown.
    Quit,
    /// SIGKILL to a process that serves a host.
    KillOne,
    /// The machine of the server that leads loses power.
    LoseLeader,
}

/// What the store holds at a moment at which no client waits for an answer.
pub(crate) struct Look {
    /// The audit trail in the order of its commits.
    pub(crate) records: Vec<Record>,
    pub(crate) outbox: Vec<Queued>,
    /// In the order of the cast.
    pub(crate) profiles: Vec<Profile>,
}

/// A record of the audit trail.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) id: i64,
    pub(crate) request_id: String,
    pub(crate) action: String,
    pub(crate) caller: String,
    pub(crate) target: Option<String>,
    pub(crate) decision: String,
    pub(crate) reason: Option<String>,
    pub(crate) proof: Option<String>,
    pub(crate) told: Option<u32>,
    pub(crate) agent: Option<String>,
}

/// A mail that waits.
#[derive(Clone, Debug)]
pub(crate) struct Queued {
    pub(crate) message_id: String,
    pub(crate) recipient: String,
    pub(crate) subject: String,
    pub(crate) holds_code: bool,
    pub(crate) queued: Timestamp,
}

impl Site {
    /// Makes the store and fills it; says what each account has.
    pub(crate) async fn new(
        kind: Kind,
        secrets: Secrets,
        random: &mut StdRng,
    ) -> (Self, Vec<Account>) {
        let mail = MailServer::start().await;
        let accounts: Vec<_> = cast()
            .map(|(person, is_enrolled)| holder(person, is_enrolled, random))
            .collect();
        let hash = hash(PASSWORD);
        let place = match kind {
            Kind::Sqlite => Place::Sqlite,
            Kind::RocketChat => {
                let (theirs, ours) = settings_of_rocket_chat(&mail);
                let hash = hash.expose_secret();
                Place::RocketChat(rocket_chat::filled(&accounts, hash, theirs, &ours))
            }
            Kind::Postgres => {
                // On its disk, as in production.
                let server = Server::start_with(Durability::Disk, AtItsEnd::Restarts);
                let url = server.create(DATABASE, "template0");
                Place::Postgres(server, url)
            }
            Kind::Cluster => {
                let cluster = Cluster::start().await;
                let url = cluster.create(DATABASE).await;
                Place::Cluster(Box::new(cluster), url)
            }
        };
        let folder = tempfile::tempdir().unwrap();
        let keys = new_key();
        let file = folder.path().join(KEYS);
        std::fs::write(&file, keys.expose_secret()).unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        let seal = match secrets {
            Secrets::Plain => Seal::none(),
            Secrets::Sealed => Keys::parse(keys.expose_secret()).unwrap().into(),
        };
        let site = Self {
            folder,
            place,
            seal,
            mail,
        };
        let settings = Settings {
            totp_window: TOTP_WINDOW,
            missing_factor_allowed: true,
            password_fallback: false,
            rate_limit_calls: 0,
            sessions: 1000,
            mail_server: format!("smtp://{}", site.mail.address).into(),
            mail_from: "chat@example.com".to_owned(),
            ..Settings::default()
        };
        let users = accounts.iter().map(|account| new_user(account, &hash));
        let workspace = NewWorkspace {
            id: WORKSPACE.to_owned(),
            settings,
            roles: default_roles(),
            users: users.collect(),
        };
        let store = site.url("driver").open_or_create(&site.seal).await.unwrap();
        if kind != Kind::RocketChat {
            assert!(store.create_workspace(workspace).await.unwrap());
        }
        let plugin = site.folder.path().join("plugin.wasm");
        std::fs::write(plugin, plugin_bytes()).unwrap();
        (site, accounts)
    }

    /// The configuration of a host that calls itself so.
    pub(crate) fn config(&self, host: &str) -> PathBuf {
        let keys = match self.seal.is_none() {
            true => String::new(),
            false => format!("key-file = \"{KEYS}\"\n"),
        };
        let text = format!(
            "[host]\nlisten = \"127.0.0.1:0\"\ncache = \"code\"\n{keys}\
             [plugins]\nfiles = [\"plugin.wasm\"]\n\
             [workspaces.{WORKSPACE}]\nhosts = [\"*\"]\nneighbours = true\nstore = \"{}\"\nplugin = \"{}\"\n\
             grants = [\"wall-clock\", \"users\", \"permissions\", \"settings\", \"secrets\"]\n",
            self.address(host),
            Digest::of(&plugin_bytes())
        );
        let config = self.folder.path().join(format!("{host}.toml"));
        std::fs::write(&config, text).unwrap();
        config
    }

    /// The address of the store, for who calls itself so.
    fn address(&self, host: &str) -> String {
        match &self.place {
            Place::Sqlite => self.store().display().to_string(),
            Place::Postgres(_, url) | Place::Cluster(_, url) => {
                format!("{url}&application_name={host}")
            }
            Place::RocketChat(database) => format!("{}&appName={host}", database.url()),
        }
    }

    /// The URL of the database for a superuser; none where it has none.
    fn superusers_url(&self) -> Option<String> {
        match &self.place {
            Place::Sqlite | Place::RocketChat(_) => None,
            Place::Postgres(server, _) => Some(server.superusers_url(DATABASE)),
            Place::Cluster(cluster, _) => Some(cluster.superusers_url(DATABASE)),
        }
    }

    fn url(&self, host: &str) -> StoreUrl {
        self.address(host).parse().unwrap()
    }

    /// The file, where the store is in SQLite.
    pub(crate) fn store(&self) -> PathBuf {
        self.folder.path().join("store.sqlite")
    }

    /// Where it may be that a failure is answered to what was done: a host that lost its
    /// database cannot always tell.
    pub(crate) fn may_be_unknown(&self) -> bool {
        !matches!(self.place, Place::Sqlite)
    }

    /// Leaves everything where it is, for people to look at.
    pub(crate) fn keep(self) -> PathBuf {
        if let Place::Cluster(cluster, _) = self.place {
            cluster.keep();
        }
        self.folder.keep()
    }

    /// What can end the database.
    pub(crate) fn blows(&self) -> &'static [Blow] {
        match self.place {
            Place::Sqlite | Place::RocketChat(_) => &[],
            Place::Postgres(..) => &[Blow::Kill, Blow::Quit, Blow::KillOne],
            Place::Cluster(..) => &[Blow::LoseLeader],
        }
    }

    /// Ends the database so.
    pub(crate) async fn strike(&mut self, blow: Blow, random: &mut StdRng) {
        match &mut self.place {
            Place::Sqlite | Place::RocketChat(_) => (),
            Place::Postgres(server, _) => match blow {
                Blow::Kill => server.signal("KILL"),
                Blow::Quit => server.signal("QUIT"),
                Blow::KillOne => server.kill_one_that_serves(DATABASE, random.random()),
                Blow::LoseLeader => (),
            },
            Place::Cluster(cluster, _) => cluster.lose_leader().await,
        }
    }

    /// Brings back what does not come back by itself.
    pub(crate) async fn mend(&mut self) {
        if let Place::Cluster(cluster, _) = &mut self.place {
            cluster.mend().await;
        }
    }

    /// Waits until the database answers, and works no more for hosts that call themselves so
    /// and were killed.
    pub(crate) async fn settle(&self, gone: &[String]) {
        if let Place::RocketChat(database) = &self.place {
            return rocket_chat::settle(database);
        }
        let Some(url) = self.superusers_url() else {
            return;
        };
        let left = "SELECT 1 FROM pg_stat_activity WHERE application_name = ANY($1)";
        let begun = Instant::now();
        loop {
            if let Ok(client) = connect(url.clone()).await
                && let Ok(rows) = client.query(left, &[&gone]).await
                && rows.is_empty()
            {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "the database does not answer");
            sleep(PAUSE).await;
        }
    }

    /// What the store holds, of the audit trail what came after the record with this id.
    pub(crate) async fn look(&self, accounts: &[Account], after: i64) -> Look {
        if let Place::RocketChat(database) = &self.place {
            return Look {
                records: rocket_chat::records(database, after),
                outbox: rocket_chat::outbox(database),
                profiles: profiles(self.url("driver"), &self.seal, accounts).await,
            };
        }
        let Some(url) = self.superusers_url() else {
            return look(&self.store(), &self.seal, accounts, after).await;
        };
        let client = connect(url).await.unwrap();
        let records = client.query(&records_after("$1"), &[&after]).await.unwrap();
        let outbox = client.query(OUTBOX, &[]).await.unwrap();
        Look {
            records: records.iter().map(postgres::record).collect(),
            outbox: outbox.iter().map(postgres::queued).collect(),
            profiles: profiles(self.url("driver"), &self.seal, accounts).await,
        }
    }

    /// What is not in the store as it must be: by its database, by what reads all of it, and by
    /// the audit trail, which proves itself.
    pub(crate) async fn check(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for command in [["store", "check"], ["audit", "verify"]] {
            let mut program = Command::new(program());
            program
                .args(command)
                .env("HOST_HARNESS_STORE", self.address("driver"));
            if !self.seal.is_none() {
                program.env("HOST_HARNESS_KEY_FILE", self.folder.path().join(KEYS));
            }
            let done = program.output().await.unwrap();
            if !done.status.success() {
                let said = [done.stdout, done.stderr].concat();
                problems.push(String::from_utf8_lossy(&said).into_owned());
            }
        }
        if let Some(url) = self.superusers_url() {
            let client = connect(url).await.unwrap();
            let checked = client.batch_execute(CHECK).await;
            problems.extend(checked.err().map(|error| error.to_string()));
        }
        problems
    }
}

/// All indexes, and that each finds every row (PostgreSQL's documentation, "amcheck").
const CHECK: &str = "
    CREATE EXTENSION IF NOT EXISTS amcheck;
    SELECT bt_index_check(index => index.oid, heapallindexed => TRUE)
    FROM pg_class AS index
    JOIN pg_am ON pg_am.oid = index.relam
    JOIN pg_index ON pg_index.indexrelid = index.oid
    WHERE amname = 'btree' AND index.relpersistence = 'p' AND indisready AND indisvalid";

/// What a store in this file holds.
pub(crate) async fn look(store: &Path, seal: &Seal, accounts: &[Account], after: i64) -> Look {
    let db = Connection::open(store).unwrap();
    let mut records = db.prepare(&records_after("?1")).unwrap();
    let records = records.query_map([after], sqlite::record).unwrap();
    let records = records.map(Result::unwrap).collect();
    let mut outbox = db.prepare(OUTBOX).unwrap();
    let outbox = outbox.query_map([], sqlite::queued).unwrap();
    let outbox = outbox.map(Result::unwrap).collect();
    Look {
        records,
        outbox,
        profiles: profiles(store.into(), seal, accounts).await,
    }
}

async fn profiles(url: StoreUrl, seal: &Seal, accounts: &[Account]) -> Vec<Profile> {
    let store = url.open(seal).await.unwrap();
    let question = accounts
        .iter()
        .fold(Question::of(WORKSPACE), |question, account| {
            let subject = Subject::id(&account.person.id);
            question.about(subject.with_backup_codes().with_tokens())
        });
    let dossier = store.read(&question).await.unwrap();
    dossier.accounts.into_iter().map(Option::unwrap).collect()
}

fn records_after(id: &str) -> String {
    format!(
        "SELECT id, request_id, action, caller, target, decision, reason, proof, told, agent
         FROM audit WHERE id > {id} ORDER BY id"
    )
}

const OUTBOX: &str = "SELECT message_id, recipient, subject, holds_code, queued FROM outbox";

/// Rows as SQLite gives them.
mod sqlite {
    use super::{Queued, Record, Timestamp};
    use rusqlite::{Result, Row};

    pub(super) fn record(row: &Row<'_>) -> Result<Record> {
        Ok(Record {
            id: row.get(0)?,
            request_id: row.get(1)?,
            action: row.get(2)?,
            caller: row.get(3)?,
            target: row.get(4)?,
            decision: row.get(5)?,
            reason: row.get(6)?,
            proof: row.get(7)?,
            told: row.get(8)?,
            agent: row.get(9)?,
        })
    }

    pub(super) fn queued(row: &Row<'_>) -> Result<Queued> {
        Ok(Queued {
            message_id: row.get(0)?,
            recipient: row.get(1)?,
            subject: row.get(2)?,
            holds_code: row.get(3)?,
            queued: Timestamp::from_millis(row.get(4)?),
        })
    }
}

/// The same as PostgreSQL gives them.
mod postgres {
    use super::{Queued, Record, Timestamp};
    use tokio_postgres::Row;

    pub(super) fn record(row: &Row) -> Record {
        let told: Option<i64> = row.get(8);
        Record {
            id: row.get(0),
            request_id: row.get(1),
            action: row.get(2),
            caller: row.get(3),
            target: row.get(4),
            decision: row.get(5),
            reason: row.get(6),
            proof: row.get(7),
            told: told.map(|told| told.try_into().unwrap()),
            agent: row.get(9),
        }
    }

    pub(super) fn queued(row: &Row) -> Queued {
        Queued {
            message_id: row.get(0),
            recipient: row.get(1),
            subject: row.get(2),
            holds_code: row.get(3),
            queued: Timestamp::from_millis(row.get(4)),
        }
    }
}

/// What [`Site::new`] sets, as Rocket.Chat has it, and as the store has what that does not know.
fn settings_of_rocket_chat(
    mail: &MailServer,
) -> (Vec<Document>, [(&'static str, &'static str); 2]) {
    let (host, port) = (
        mail.address.ip().to_string(),
        i32::from(mail.address.port()),
    );
    let theirs = vec![
        doc! { "_id": "Accounts_TwoFactorAuthentication_MaxDelta", "value": TOTP_WINDOW },
        doc! { "_id": "Accounts_TwoFactorAuthentication_Enforce_Password_Fallback", "value": false },
        doc! { "_id": "API_Enable_Rate_Limiter", "value": false },
        doc! { "_id": "SMTP_Host", "value": host },
        doc! { "_id": "SMTP_Port", "value": port },
        doc! { "_id": "From_Email", "value": "chat@example.com" },
    ];
    (
        theirs,
        [("missing-factor-allowed", "true"), ("sessions", "1000")],
    )
}

/// All accounts, and whether each has TOTP at the beginning.
fn cast() -> impl Iterator<Item = (Person, bool)> {
    let person = |role: &str, number: usize| {
        let id = format!("{role}{number}");
        // Some have one address, some two.
        let addresses = (0..=number % 2).map(|n| format!("{id}@{n}.example"));
        Person {
            is_admin: role == "admin",
            verified: addresses.collect(),
            has_mailed_codes: role == "user" && number.is_multiple_of(3),
            id,
        }
    };
    let admins = (0..ADMINS).map(move |number| (person("admin", number), true));
    let members = (0..MEMBERS).map(move |number| {
        let is_enrolled = !number.is_multiple_of(6);
        (person("user", number), is_enrolled)
    });
    admins.chain(members)
}

/// What the account has at the beginning: a personal access token, and TOTP where it is
/// enrolled.
fn holder(person: Person, is_enrolled: bool, random: &mut StdRng) -> Account {
    let mut account = Account::new(person);
    let codes = totp::BackupCodes::generate(random);
    let codes = codes.expose().into_iter().map(str::to_owned).collect();
    let all = News {
        token: Some(token::generate(random).expose_secret().to_owned()),
        key: Some(TotpKey::generate(random)).filter(|_| is_enrolled),
        backup_codes: Some(codes),
        mailed: false,
    };
    all.keep_secret();
    account.hold(all.token.unwrap_or_default(), false);
    account.factor = all.key.map(|key| Factor {
        key,
        last_step: None,
        backup_codes: BackupCodes::of(all.backup_codes),
    });
    account
}

fn new_user(account: &Account, password_hash: &SecretString) -> NewUser {
    let person = &account.person;
    let email = |address: String, verified| Email { address, verified };
    let verified = person.verified.iter().map(|to| email(to.clone(), true));
    let unverified = email(format!("{}@old.example", person.id), false);
    let role = if person.is_admin { "admin" } else { "user" };
    NewUser {
        id: person.id.clone(),
        username: person.id.clone(),
        password_hash: Some(password_hash.clone()),
        roles: vec![role.to_owned()],
        emails: verified.chain([unverified]).collect(),
        email_two_factor: person.has_mailed_codes,
        tokens: account.tokens.keys().map(|hash| token(hash)).collect(),
        totp: account.factor.as_ref().map(|factor| TotpFactor {
            key: factor.key.clone(),
            last_step: None,
            backup_code_hashes: match &factor.backup_codes {
                BackupCodes::Known(codes) => codes.keys().cloned().collect(),
                BackupCodes::Unseen => Vec::new(),
            },
            spent_code_hashes: Vec::new(),
        }),
        ..NewUser::default()
    }
}

/// A personal access token.
fn token(hash: &str) -> Token {
    Token {
        hash: hash.to_owned(),
        expires: None,
        name: Some("of a program".to_owned()),
        bypass_two_factor: false,
    }
}

fn hash(password: &str) -> SecretString {
    let digest = password::digest(&password.into());
    let parts = bcrypt::hash_with_salt(digest.expose_secret(), COST, [7; 16]).unwrap();
    parts.format_for_version(Version::TwoB).into()
}
