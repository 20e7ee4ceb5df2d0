//! What there is in a database that may be served, found by looks alone.

use super::account::{ACCOUNTS, TOKENS, USERS, account_in, fields_with_tokens};
use super::apply::{PUSH_TOKENS, SESSIONS};
use super::audit_log::AUDIT;
use super::database::{Database, LIST_PATIENCE, look, tries_until};
use super::failure::Failure;
use super::field::Fields;
use super::read::PERMISSIONS;
use super::schema::{self, STORE};
use super::settings::{self, ROCKET_SETTINGS};
use super::turn;
use crate::seal::Seal;
use chat_domain::account::{EDIT_OTHER_USER_TOTP, Profile};
use chat_domain::settings::Settings;
use futures_util::TryStreamExt;
use mongodb::bson::{Bson, Document, doc};
use secrecy::ExposeSecret;
use std::collections::BTreeSet;
use tokio::time::{Instant, timeout_at};

/// Where Rocket.Chat notes up to which version its data was brought: `{_id: "control", version,
/// locked}`.
const MIGRATIONS: &str = "migrations";

/// Which may end others' logins, and so have their sockets closed.
const LOGOUT_OTHER_USER: &str = "logout-other-user";

/// Things of one kind that are named; the others are counted.
const NAMED: usize = 5;

/// What of an account is known here, by the document that it is in.
const KNOWN: [(&str, &[&str]); 4] = [
    ("totp", &["enabled", "secret", "hashedBackup", "tempSecret"]),
    ("email2fa", &["enabled", "changedAt"]),
    ("password", &["bcrypt", "argon2", "reset", "history"]),
    ("resume", &["loginTokens"]),
];

/// What of a login token is known here.
const KNOWN_OF_TOKENS: [&str; 10] = [
    "hashedToken",
    "when",
    "type",
    "createdAt",
    "lastTokenPart",
    "name",
    "bypassTwoFactor",
    "twoFactorAuthorizedUntil",
    "twoFactorAuthorizedHash",
    "loginToken",
];

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grade {
    /// Not at all.
    Well,
    /// It would be served, and something that is promised does not hold.
    Weak,
    /// It would not be served.
    Fatal,
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is about, in a word.
    pub about: &'static str,
    /// How bad it is.
    pub grade: Grade,
    /// What was found, in a line.
    pub text: String,
    /// What mends it.
    pub mend: Option<String>,
}

impl Finding {
    fn well(about: &'static str, text: impl Into<String>) -> Self {
        Self {
            about,
            grade: Grade::Well,
            text: text.into(),
            mend: None,
        }
    }

    fn of(about: &'static str, grade: Grade, text: impl Into<String>, mend: &str) -> Self {
        Self {
            about,
            grade,
            text: text.into(),
            mend: Some(mend.to_owned()),
        }
    }
}

/// Looks at Rocket.Chat's database at `url`, and changes nothing. What cannot be looked at is a
/// finding, too.
///
/// # Errors
///
/// When the URL is none.
pub async fn examine(url: &str, seal: &Seal) -> crate::Result<Vec<Finding>> {
    let database = Database::at(url).await?;
    let mut found = Vec::new();
    let Some(collections) = of_server(&database, &mut found).await else {
        return Ok(found);
    };
    let examined = Examined {
        database: &database,
        seal,
    };
    found.extend(examined.migrations().await.unwrap_or_else(failed("data")));
    found.extend(examined.indexes().await.unwrap_or_else(failed("indexes")));
    let settings = examined.settings().await;
    match settings {
        Ok(settings) => {
            found.extend(of_settings(&settings));
            let accounts = examined.accounts(&settings).await;
            found.extend(accounts.unwrap_or_else(failed("accounts")));
        }
        Err(failure) => found.extend(failed("settings")(failure)),
    }
    found.extend(examined.holders().await.unwrap_or_else(failed("roles")));
    found.extend(examined.rights().await.unwrap_or_else(failed("rights")));
    let own = examined.own(&collections).await;
    found.extend(own.unwrap_or_else(failed("store")));
    Ok(found)
}

/// What is found where something cannot be looked at.
fn failed(about: &'static str) -> impl Fn(Failure) -> Vec<Finding> {
    move |failure| {
        let problem = crate::StoreError::from(failure).0.to_string();
        let mend = "mend what is named: requests that need it would fail";
        vec![Finding::of(about, Grade::Fatal, problem, mend)]
    }
}

/// The collections that there are; none where there is nothing to look at.
async fn of_server(database: &Database, found: &mut Vec<Finding>) -> Option<Vec<String>> {
    let asked = timeout_at(Instant::now() + LIST_PATIENCE, async {
        let hello = database.command(doc! { "hello": 1 }).await?;
        let build = database.command(doc! { "buildInfo": 1 }).await?;
        Ok::<_, Failure>((hello, build, schema::require_rocket_chat(database).await))
    });
    let asked = asked.await.unwrap_or_else(|_| Err(Failure::silence()));
    let (hello, build, admitted) = match asked {
        Ok(asked) => asked,
        Err(failure) => {
            let problem = crate::StoreError::from(failure).0.to_string();
            let mend = "start the server, or name by the URL where it is and who asks";
            found.push(Finding::of("server", Grade::Fatal, problem, mend));
            return None;
        }
    };
    let version = build.get_str("version").unwrap_or("of an unknown version");
    let set = match hello.get_str("setName") {
        Ok(set) => format!("replica set {set}"),
        Err(_) => "no replica set".to_owned(),
    };
    found.push(Finding::well("server", format!("MongoDB {version}, {set}")));
    if let Err(failure) = admitted {
        let problem = crate::StoreError::from(failure).0.to_string();
        let mend = "the URL is to be that of Rocket.Chat's MONGO_URL";
        found.push(Finding::of("server", Grade::Fatal, problem, mend));
        return None;
    }
    database.collections().await.ok()
}

fn of_settings(settings: &Settings) -> Vec<Finding> {
    let weak = |text: &str, mend: &str| Finding::of("settings", Grade::Weak, text, mend);
    let mut found = Vec::new();
    let never = "Accounts_TwoFactorAuthentication_Enabled in Rocket.Chat's administration";
    if !settings.two_factor_enabled {
        let text = "two-factor authentication is off: nobody can reset another member's factor";
        found.push(weak(text, &format!("switch on {never}")));
    } else if !settings.totp_enabled {
        let text = "TOTP is off: nobody proves a reset by it";
        let mend = "switch on Accounts_TwoFactorAuthentication_By_TOTP_Enabled";
        found.push(weak(text, mend));
    }
    if settings.rate_limit_calls == 0 {
        let text = "calls are not limited: guesses are slowed by the lock of an account alone";
        found.push(weak(text, "switch on API_Enable_Rate_Limiter"));
    }
    if settings.cors_origins.contains('*') {
        let text = "web pages of all origins may call";
        found.push(weak(text, "name yours in API_CORS_Origin"));
    }
    if settings.mail_server.expose_secret().is_empty() || settings.mail_from.is_empty() {
        let text = "no mail can be sent: whoever is reset is not told";
        let mend = "set SMTP_Host and From_Email in Rocket.Chat's administration";
        found.push(weak(text, mend));
    }
    if settings.rocket_chat.expose_secret().is_empty() {
        let text = "nobody closes the open sockets of whoever is reset";
        let mend = "host-harness setting set rocket-chat, with a service account's token";
        found.push(Finding::of("sockets", Grade::Weak, text, mend));
    }
    if found.is_empty() {
        let text = "two-factor, rate limit and mail are as they should be";
        found.push(Finding::well("settings", text));
    }
    found
}

struct Examined<'a> {
    database: &'a Database,
    seal: &'a Seal,
}

/// What a scan over all accounts has counted.
#[derive(Default)]
struct Counts {
    accounts: usize,
    active: usize,
    enrolled: usize,
    pending: usize,
    by_mail: usize,
    tokens: usize,
    federated: usize,
    unreadable: usize,
    /// The first of these.
    problems: Vec<String>,
    unknown: BTreeSet<String>,
}

impl Examined<'_> {
    async fn settings(&self) -> Result<Settings, Failure> {
        let (seal, name) = (self.seal, self.database.name());
        look!(self.database, LIST_PATIENCE, |transaction| settings::read(
            transaction,
            seal,
            name
        ))
    }

    /// How far Rocket.Chat's data is.
    async fn migrations(&self) -> Result<Vec<Finding>, Failure> {
        let control = self.database.collection(MIGRATIONS);
        let Some(control) = control.find_one(doc! { "_id": "control" }).await? else {
            let text = "Rocket.Chat has not noted how far its data is";
            let mend = "start Rocket.Chat once on this database";
            return Ok(vec![Finding::of("data", Grade::Weak, text, mend)]);
        };
        let fields = Fields::of(&control, MIGRATIONS, "control");
        let version = fields.number("version")?.unwrap_or_default();
        if fields.flag("locked")? == Some(true) {
            let text =
                format!("Rocket.Chat is bringing its data up to date, past version {version}");
            let mend =
                "wait until it has; a lock that an upgrade has left is Rocket.Chat's to mend";
            return Ok(vec![Finding::of("data", Grade::Weak, text, mend)]);
        }
        let text = format!("Rocket.Chat's data has come to its migration {version}");
        Ok(vec![Finding::well("data", text)])
    }

    /// Without these, each request reads all accounts.
    async fn indexes(&self) -> Result<Vec<Finding>, Failure> {
        const NEEDED: [&str; 2] = ["username", "emails.address"];
        let users = self.database.collection(USERS);
        let mut indexes = users.list_indexes().await?;
        let mut first = BTreeSet::new();
        while let Some(index) = indexes.try_next().await? {
            first.extend(index.keys.keys().next().cloned());
        }
        let missing: Vec<_> = NEEDED
            .into_iter()
            .filter(|field| !first.contains(*field))
            .collect();
        if missing.is_empty() {
            let text = "accounts are found by name and address";
            return Ok(vec![Finding::well("indexes", text)]);
        }
        let text = format!(
            "users has no index on {}: a request that names a member so reads all accounts",
            missing.join(" and ")
        );
        let mend = "Rocket.Chat makes it when it starts";
        Ok(vec![Finding::of("indexes", Grade::Weak, text, mend)])
    }

    async fn accounts(&self, settings: &Settings) -> Result<Vec<Finding>, Failure> {
        let mut counts = Counts::default();
        let users = self.database.collection(USERS);
        let mut users = users.find(doc! {}).projection(fields_with_tokens()).await?;
        while let Some(user) = users.try_next().await? {
            counts.accounts += 1;
            counts.note_unknown(&user);
            let account = account_in(self.seal, self.database.name(), settings, &user, None);
            match account {
                Ok(account) => counts.note(&account.profile),
                Err(failure) => {
                    counts.unreadable += 1;
                    if counts.problems.len() < NAMED {
                        let problem = crate::StoreError::from(failure);
                        counts.problems.push(problem.0.to_string());
                    }
                }
            }
        }
        Ok(counts.findings())
    }

    /// Who may reset others, and close their sockets.
    async fn holders(&self) -> Result<Vec<Finding>, Failure> {
        let mut found = Vec::new();
        for permission in [EDIT_OTHER_USER_TOTP, LOGOUT_OTHER_USER] {
            let of = self.database.collection(PERMISSIONS);
            let of = of.find_one(doc! { "_id": permission }).await?;
            let roles = match &of {
                Some(of) => Fields::of(of, PERMISSIONS, permission).texts("roles")?,
                None => Vec::new(),
            };
            let holders = self.database.collection(USERS);
            let holders = holders
                .count_documents(doc! { "roles": { "$in": &roles }, "active": true })
                .await?;
            let text = format!(
                "{permission} is held by {holders} active accounts, by the roles: {}",
                roles.join(", ")
            );
            found.push(match (holders, permission) {
                (0, EDIT_OTHER_USER_TOTP) => {
                    let text = "nobody may reset another member's factor";
                    let mend = "give a role edit-other-user-totp in Rocket.Chat's administration";
                    Finding::of("roles", Grade::Weak, text, mend)
                }
                _ => Finding::well("roles", text),
            });
        }
        Ok(found)
    }

    /// Whether the login may do what it must.
    async fn rights(&self) -> Result<Vec<Finding>, Failure> {
        let status = doc! { "connectionStatus": 1, "showPrivileges": true };
        let Ok(status) = self.database.command(status).await else {
            let text = "the server does not say what the login may do";
            return Ok(vec![Finding::well("rights", text)]);
        };
        let auth = status.get_document("authInfo").ok();
        let users = auth.and_then(|auth| auth.get_array("authenticatedUsers").ok());
        if users.is_none_or(Vec::is_empty) {
            let text = "the server lets everybody in, and does not ask who it is";
            let mend = "switch on the server's access control, where others can reach it";
            return Ok(vec![Finding::of("rights", Grade::Weak, text, mend)]);
        }
        let privileges = auth.and_then(|auth| auth.get_array("authenticatedUserPrivileges").ok());
        let privileges: Vec<_> = privileges
            .into_iter()
            .flatten()
            .filter_map(Bson::as_document)
            .collect();
        let needed = [
            (ROCKET_SETTINGS, "find"),
            (PERMISSIONS, "find"),
            (USERS, "find"),
            (USERS, "update"),
            (SESSIONS, "update"),
            (PUSH_TOKENS, "remove"),
            (STORE, "createCollection"),
            (STORE, "createIndex"),
            (ACCOUNTS, "insert"),
            (ACCOUNTS, "update"),
            (ACCOUNTS, "remove"),
        ];
        let may = |collection: &str, action: &str| {
            let mut privileges = privileges.iter();
            privileges.any(|privilege| {
                covers(privilege, self.database.database_name(), collection)
                    && has_action(privilege, action)
            })
        };
        let missing: Vec<_> = needed
            .into_iter()
            .filter(|(collection, action)| !may(collection, action))
            .map(|(collection, action)| format!("{action} {collection}"))
            .collect();
        if missing.is_empty() {
            let text = "the login may do all that is needed";
            return Ok(vec![Finding::well("rights", text)]);
        }
        let text = format!("the login may not: {}", missing.join(", "));
        let mend = "give it the role readWrite on Rocket.Chat's database";
        Ok(vec![Finding::of("rights", Grade::Fatal, text, mend)])
    }

    /// By which logins hosts write.
    async fn logins(&self) -> Result<Finding, Failure> {
        let (own, others) = turn::other_logins(self.database).await?;
        if others.is_empty() {
            return Ok(Finding::well(
                "hosts",
                "all hosts that write have this login",
            ));
        }
        let quoted = |login: &str| match login {
            "" => "none".to_owned(),
            login => login.escape_debug().to_string(),
        };
        let named: Vec<_> = others
            .iter()
            .take(NAMED)
            .map(|login| quoted(login))
            .collect();
        let text = format!(
            "hosts write by other logins than this, {}: {}; whoever is killed while it writes \
             keeps those of other logins from writing until the servers end its transaction, \
             after a minute by default",
            quoted(&own),
            named.join(", ")
        );
        let mend = "give all hosts one login; a host of before is forgotten after an hour";
        Ok(Finding::of("hosts", Grade::Weak, text, mend))
    }

    /// What this program has put into the database.
    async fn own(&self, collections: &[String]) -> Result<Vec<Finding>, Failure> {
        if !collections.iter().any(|name| name == STORE) {
            let text = match self.seal.is_none() {
                false => "nothing of this program's is there yet; `serve` makes it, sealed",
                true => {
                    "nothing of this program's is there yet; `serve` makes it, and does not seal \
                     it: name a key by --key-file to have it sealed"
                }
            };
            return Ok(vec![Finding::well("store", text)]);
        }
        let sealing = schema::sealing(self.database).await?;
        let admitted = self.seal.admit(sealing.as_ref());
        let mut found = vec![match admitted {
            Ok(()) => Finding::well("store", "this program's collections can be opened"),
            Err(refused) => {
                let mend = "name the file of its keys by --key-file or HOST_HARNESS_KEY_FILE";
                Finding::of("store", Grade::Fatal, refused.to_string(), mend)
            }
        }];
        found.push(self.logins().await?);
        let of_sockets = |decision: &str| doc! { "action": "close-sockets", "decision": decision };
        let audit = self.database.collection(AUDIT);
        let closed = audit.count_documents(of_sockets("done")).await?;
        let open = audit.count_documents(of_sockets("failed")).await?;
        let text = format!("closed after {closed} resets");
        found.extend(match (closed, open) {
            (0, 0) => None,
            (_, 0) => Some(Finding::well("sockets", text)),
            _ => {
                let text = format!("{text}, and left open after {open}");
                let mend = "host-harness audit list --action close-sockets; outbox list says why";
                Some(Finding::of("sockets", Grade::Weak, text, mend))
            }
        });
        Ok(found)
    }
}

impl Counts {
    fn note(&mut self, profile: &Profile) {
        self.active += usize::from(!profile.deactivated);
        self.enrolled += usize::from(profile.factor.is_some());
        self.pending += usize::from(profile.pending_key.is_some());
        self.by_mail += usize::from(profile.email_two_factor);
        self.federated += usize::from(profile.user.federated);
        let named = profile.tokens.iter().filter(|token| token.name.is_some());
        self.tokens += named.count();
    }

    fn note_unknown(&mut self, user: &Document) {
        let services = user.get_document("services").ok();
        for (name, known) in KNOWN {
            let service = services.and_then(|services| services.get_document(name).ok());
            let fields = service.into_iter().flat_map(Document::keys);
            let unknown = fields.filter(|field| !known.contains(&field.as_str()));
            self.unknown
                .extend(unknown.map(|field| format!("services.{name}.{field}")));
        }
        let resume = services.and_then(|services| services.get_document("resume").ok());
        let tokens = resume.and_then(|resume| resume.get_array("loginTokens").ok());
        let tokens = tokens.into_iter().flatten().filter_map(Bson::as_document);
        let unknown = tokens
            .flat_map(Document::keys)
            .filter(|field| !KNOWN_OF_TOKENS.contains(&field.as_str()));
        self.unknown
            .extend(unknown.map(|field| format!("{TOKENS}.{field}")));
    }

    fn findings(self) -> Vec<Finding> {
        let Self {
            accounts,
            active,
            enrolled,
            pending,
            by_mail,
            tokens,
            federated,
            unreadable,
            problems,
            unknown,
        } = self;
        let mut found = vec![Finding::well(
            "accounts",
            format!(
                "{accounts}, of which {active} active and {federated} of other servers; {enrolled} \
                 with TOTP, {pending} with an enrolment begun, {by_mail} with codes by e-mail; \
                 {tokens} personal access tokens"
            ),
        )];
        if unreadable > 0 {
            let text = format!(
                "{unreadable} cannot be read, and their requests would fail: {}",
                problems.join("; ")
            );
            let mend = "mend what is named in these documents";
            found.push(Finding::of("accounts", Grade::Weak, text, mend));
        }
        if !unknown.is_empty() {
            let named: Vec<_> = unknown.iter().take(NAMED).map(String::as_str).collect();
            let text = format!(
                "fields that this program does not know, and leaves alone: {}",
                named.join(", ")
            );
            found.push(Finding::well("accounts", text));
        }
        found
    }
}

/// Whether a privilege is about this collection (MongoDB's manual, "Resource Document"): an empty
/// name is every one.
fn covers(privilege: &Document, database: &str, collection: &str) -> bool {
    let Ok(resource) = privilege.get_document("resource") else {
        return false;
    };
    let is_named = |field: &str, name: &str| {
        resource
            .get_str(field)
            .is_ok_and(|named| named.is_empty() || named == name)
    };
    resource.get_bool("anyResource").is_ok_and(|any| any)
        || is_named("db", database) && is_named("collection", collection)
}

fn has_action(privilege: &Document, action: &str) -> bool {
    let actions = privilege.get_array("actions");
    let mut actions = actions.into_iter().flatten();
    actions.any(|found| found.as_str() == Some(action))
}
