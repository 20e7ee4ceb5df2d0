//! What is served: a store with a cast of accounts, the configuration of its hosts, and a
//! look at what the store holds.

use crate::account::{Account, BackupCodes, Factor, Person};
use crate::mail_server::MailServer;
use bcrypt::Version;
use chat_domain::account::{Email, Profile, Token, TotpFactor};
use chat_domain::dossier::{Question, Subject};
use chat_domain::operator::{NewUser, NewWorkspace, default_roles};
use chat_domain::password;
use chat_domain::settings::Settings;
use chat_domain::time::Timestamp;
use chat_domain::token;
use chat_domain::totp::{self, TotpKey};
use chat_store::Store;
use chat_store::sqlite::Sqlite;
use chat_testing::guest::plugin_bytes;
use plugin_sandbox::digest::Digest;
use rand::rngs::StdRng;
use rusqlite::Connection;
use secrecy::{ExposeSecret, SecretString};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// The one that is served.
const WORKSPACE: &str = "default";

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

/// A folder with everything in it.
pub(crate) struct Site {
    folder: TempDir,
    pub(crate) mail: MailServer,
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
    pub(crate) async fn new(random: &mut StdRng) -> (Self, Vec<Account>) {
        let mail = MailServer::start().await;
        let site = Self {
            folder: tempfile::tempdir().unwrap(),
            mail,
        };
        let accounts: Vec<_> = cast()
            .map(|(person, is_enrolled)| holder(person, is_enrolled, random))
            .collect();
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
        let hash = hash(PASSWORD);
        let users = accounts.iter().map(|account| new_user(account, &hash));
        let workspace = NewWorkspace {
            id: WORKSPACE.to_owned(),
            settings,
            roles: default_roles(),
            users: users.collect(),
        };
        let store = Sqlite::open_or_create(&site.store()).await.unwrap();
        assert!(store.create_workspace(workspace).await.unwrap());
        site.configure();
        (site, accounts)
    }

    fn configure(&self) {
        let plugin = plugin_bytes();
        std::fs::write(self.folder.path().join("plugin.wasm"), &plugin).unwrap();
        let text = format!(
            "[host]\nlisten = \"127.0.0.1:0\"\ncache = \"code\"\n\
             [plugins]\nfiles = [\"plugin.wasm\"]\n\
             [workspaces.{WORKSPACE}]\nhosts = [\"*\"]\nstore = \"store.sqlite\"\n\
             plugin = \"{}\"\n\
             grants = [\"wall-clock\", \"users\", \"permissions\", \"settings\", \"secrets\"]\n",
            Digest::of(&plugin)
        );
        std::fs::write(self.config(), text).unwrap();
    }

    /// The configuration of its hosts.
    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("chat.toml")
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.folder.path().join("store.sqlite")
    }

    /// Leaves everything where it is, for people to look at.
    pub(crate) fn keep(self) -> PathBuf {
        self.folder.keep()
    }

    /// What the store holds, of the audit trail what came after the record with this id.
    pub(crate) async fn look(&self, accounts: &[Account], after: i64) -> Look {
        look(&self.store(), accounts, after).await
    }

    /// Whether the file is as SQLite wants it.
    pub(crate) fn check_file(&self) -> Vec<String> {
        let db = Connection::open(self.store()).unwrap();
        let mut problems = texts(&db, "PRAGMA integrity_check");
        problems.retain(|problem| problem != "ok");
        problems.extend(texts(
            &db,
            "SELECT \"table\" || ' refers to no ' || parent FROM pragma_foreign_key_check",
        ));
        problems
    }
}

/// The same of a store in this file.
pub(crate) async fn look(store: &Path, accounts: &[Account], after: i64) -> Look {
    let db = Connection::open(store).unwrap();
    let (records, outbox) = (records(&db, after), outbox(&db));
    drop(db);
    let store = Sqlite::open(store).await.unwrap();
    let mut profiles = Vec::with_capacity(accounts.len());
    for account in accounts {
        profiles.push(profile(&store, &account.person.id).await);
    }
    Look {
        records,
        outbox,
        profiles,
    }
}

async fn profile(store: &Arc<dyn Store>, id: &str) -> Profile {
    let subject = Subject::id(id).with_backup_codes().with_tokens();
    let question = Question::of(WORKSPACE).about(subject);
    let dossier = store.read(&question).await.unwrap();
    dossier.accounts.into_iter().flatten().next().unwrap()
}

fn texts(db: &Connection, sql: &str) -> Vec<String> {
    let mut query = db.prepare(sql).unwrap();
    let rows = query.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

fn records(db: &Connection, after: i64) -> Vec<Record> {
    let mut query = db
        .prepare(
            "SELECT id, request_id, action, caller, target, decision, reason, proof, told, agent
             FROM audit WHERE id > ?1 ORDER BY id",
        )
        .unwrap();
    let record = |row: &rusqlite::Row<'_>| {
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
    };
    let rows = query.query_map([after], record).unwrap();
    rows.map(Result::unwrap).collect()
}

fn outbox(db: &Connection) -> Vec<Queued> {
    let mut query = db
        .prepare("SELECT message_id, recipient, subject, holds_code, queued FROM outbox")
        .unwrap();
    let queued = |row: &rusqlite::Row<'_>| {
        Ok(Queued {
            message_id: row.get(0)?,
            recipient: row.get(1)?,
            subject: row.get(2)?,
            holds_code: row.get(3)?,
            queued: Timestamp::from_millis(row.get(4)?),
        })
    };
    let rows = query.query_map([], queued).unwrap();
    rows.map(Result::unwrap).collect()
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
    account.hold(token::generate(random).expose_secret().to_owned(), false);
    let codes = totp::BackupCodes::generate(random);
    let codes = codes.expose().into_iter().map(str::to_owned).collect();
    account.factor = is_enrolled.then(|| Factor {
        key: TotpKey::generate(random),
        last_step: None,
        backup_codes: BackupCodes::of(Some(codes)),
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
