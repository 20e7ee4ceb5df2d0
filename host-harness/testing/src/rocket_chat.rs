//! The tests' two workspaces as Rocket.Chat keeps them, a database each, and as tables: what the
//! tests of all stores change and look at is rows, so each document is read as the rows that another
//! store would have for it, and written from them.
#![expect(
    clippy::indexing_slicing,
    reason = "a test ends where what it needs is not there"
)]

use crate::mongodb::{Database, Everything};
use crate::sqlite::File;
use crate::{ACME, GLOBEX};
use async_trait::async_trait;
use chat_domain::account::{Profile, skeletons, username_key};
use chat_domain::audit::{RecordFilter, StoredRecord};
use chat_domain::audit_log::Page;
use chat_domain::clock_fault::Horizon;
use chat_domain::directory::{AccountFilter, AccountPage};
use chat_domain::dossier::{Dossier, Question};
use chat_domain::health::{Health, MOST_SHOWN};
use chat_domain::operator::{NewWorkspace, Role, WorkspaceSummary};
use chat_domain::outbox::{Among, Claim, Expired, MailState, OutboxCount, StoredMail};
use chat_domain::time::Timestamp;
use chat_store::mongodb::Mongodb;
use chat_store::seal::{
    BACKUP_CODE, PENDING_KEY, Position, Renewed, Seal, SealedColumn, Sealing, TOTP_KEY,
};
use chat_store::{Decide, Result, Store, StoreUrl};
use data_encoding::HEXLOWER;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, DateTime, Document, doc};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Milliseconds of a day.
const DAY: i64 = 24 * 60 * 60 * 1000;

/// Days that a session lasts where no setting says otherwise.
const LOGIN_DAYS: i64 = 90;

/// Where the two workspaces are.
pub struct RocketChat {
    databases: [(&'static str, Database); 2],
    /// The same as tables.
    mirror: File,
    seal: Seal,
}

/// A row, by its columns.
type Row = BTreeMap<String, Value>;

/// The rows of each table.
type Tables = BTreeMap<&'static str, Vec<Row>>;

/// The tables that are filled; those that others refer to come first.
const TABLES: [&str; 18] = [
    "workspace",
    "setting",
    "fixed_setting",
    "role",
    "role_permission",
    "user",
    "user_role",
    "email",
    "login_token",
    "totp",
    "backup_code",
    "pending_totp",
    "email_code",
    "failed_attempt",
    "outbox",
    "audit",
    "audit_leaf",
    "audit_log",
];

impl RocketChat {
    /// With these two workspaces.
    pub(super) async fn with(seal: &Seal, workspaces: [NewWorkspace; 2]) -> Self {
        let mirror = File::new();
        let store = mirror.open_or_create(seal).await;
        for workspace in workspaces {
            assert!(store.create_workspace(workspace).await.unwrap());
        }
        let databases = [ACME, GLOBEX].map(|name| (name, Database::of_rocket_chat(name)));
        let rocket_chat = Self {
            databases,
            mirror,
            seal: seal.clone(),
        };
        for (_, database) in &rocket_chat.databases {
            drop(database.open_or_create(seal).await);
        }
        let before = rocket_chat.everything();
        rocket_chat.write(&before);
        rocket_chat
    }

    /// The database of a workspace.
    pub fn database(&self, workspace: &str) -> &Database {
        let mut databases = self.databases.iter();
        let found = databases.find(|(name, _)| *name == workspace);
        &found.unwrap().1
    }

    pub(super) fn url(&self) -> StoreUrl {
        StoreUrl::Mongodb(self.database(ACME).url().into())
    }

    /// A handle on both workspaces, as a process has one on each.
    pub(super) async fn open(&self, seal: &Seal) -> Result<Arc<dyn Store>> {
        let mut stores = Vec::new();
        for (name, database) in &self.databases {
            stores.push((*name, Mongodb::open(&database.url(), seal).await?));
        }
        Ok(Arc::new(Both(stores)))
    }

    /// Changes both by statements of SQLite's.
    pub(super) fn edit(&self, sql: &str) {
        let before = self.read();
        self.mirror.connect().execute_batch(sql).unwrap();
        self.write(&before);
    }

    pub(super) fn refuse_records(&self) {
        for (_, database) in &self.databases {
            let nothing = doc! { "_id": "nothing is" };
            let refuse = doc! { "collMod": "reset_totp_audit", "validator": nothing };
            database.run(vec![refuse]);
        }
    }

    /// The rows of all tables but these, without these columns.
    pub(super) fn rows(&self, tables_but: &[&str], without: &[&str], seal: &Seal) -> Vec<String> {
        self.read();
        self.mirror.rows(tables_but, without, seal)
    }

    fn everything(&self) -> [Everything; 2] {
        let databases = self.databases.each_ref();
        databases.map(|(_, database)| database.everything())
    }

    /// Reads both into the mirror.
    fn read(&self) -> [Everything; 2] {
        let everything = self.everything();
        let mut db = self.mirror.connect();
        let transaction = db.transaction().unwrap();
        let clear = TABLES
            .iter()
            .rev()
            .map(|table| format!("DELETE FROM {table};"));
        let clear: String = clear.collect();
        transaction
            .execute_batch(&format!(
                "PRAGMA defer_foreign_keys = ON; {clear} DELETE FROM probe;"
            ))
            .unwrap();
        for ((workspace, _), everything) in self.databases.iter().zip(&everything) {
            let tables = Reading {
                seal: &self.seal,
                workspace,
                everything,
                tables: Tables::new(),
            }
            .tables();
            for table in TABLES {
                for row in tables.get(table).into_iter().flatten() {
                    insert(&transaction, table, row);
                }
            }
            let probe = everything["reset_totp_store"].get("probe");
            if let Some(probe) = probe {
                let row = Row::from([
                    ("id".to_owned(), Value::Integer(1)),
                    ("at".to_owned(), value(&probe["at"])),
                ]);
                insert(&transaction, "probe", &row);
            }
        }
        let numbers = ["outbox", "audit"].map(|table| {
            format!(
                "UPDATE sqlite_sequence SET seq =
                     max(seq, (SELECT coalesce(max(abs(id)), 0) FROM {table}))
                 WHERE name = '{table}';"
            )
        });
        transaction.execute_batch(&numbers.concat()).unwrap();
        transaction.commit().unwrap();
        everything
    }

    /// Writes the mirror into both, where they were so before.
    fn write(&self, before: &[Everything; 2]) {
        let db = self.mirror.connect();
        for ((workspace, database), before) in self.databases.iter().zip(before) {
            let after = Writing {
                seal: &self.seal,
                workspace,
                db: &db,
            }
            .everything(before);
            database.rewrite(before, after);
        }
    }
}

fn insert(db: &Connection, table: &str, row: &Row) {
    let columns: Vec<_> = row.keys().map(|name| format!("\"{name}\"")).collect();
    let places = vec!["?"; columns.len()].join(", ");
    let insert = format!(
        "INSERT INTO {table} ({}) VALUES ({places})",
        columns.join(", ")
    );
    db.execute(&insert, params_from_iter(row.values())).unwrap();
}

/// A value as a table has it.
fn value(bson: &Bson) -> Value {
    match bson {
        Bson::Null => Value::Null,
        Bson::Boolean(flag) => Value::Integer((*flag).into()),
        Bson::Int32(number) => Value::Integer((*number).into()),
        Bson::Int64(number) => Value::Integer(*number),
        Bson::String(text) => Value::Text(text.clone()),
        Bson::Binary(binary) => Value::Blob(binary.bytes.clone()),
        Bson::DateTime(date) => Value::Integer(date.timestamp_millis()),
        other => unreachable!("{other} is in no table"),
    }
}

fn bson(value: &Value) -> Bson {
    match value {
        Value::Null => Bson::Null,
        Value::Integer(number) => Bson::Int64(*number),
        Value::Text(text) => Bson::String(text.clone()),
        Value::Blob(bytes) => Bson::Binary(Binary {
            subtype: BinarySubtype::Generic,
            bytes: bytes.clone(),
        }),
        Value::Real(number) => unreachable!("{number} is in no document"),
    }
}

/// As the store marks a key.
fn mark_of(base32: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(base32)[..16])
}

/// The documents of a workspace, read as rows.
struct Reading<'a> {
    seal: &'a Seal,
    workspace: &'a str,
    everything: &'a Everything,
    tables: Tables,
}

impl Reading<'_> {
    fn row(&mut self, table: &'static str, values: &[(&str, Value)]) {
        let mut row = Row::from([(
            "workspace".to_owned(),
            Value::Text(self.workspace.to_owned()),
        )]);
        if table == "workspace" {
            row.clear();
        }
        for (name, value) in values {
            row.insert((*name).to_owned(), value.clone());
        }
        self.tables.entry(table).or_default().push(row);
    }

    fn sealed(&self, column: &SealedColumn, account: &str, text: &str) -> Value {
        let place = column.of(self.workspace, account);
        Value::Text(self.seal.seal(&place, text))
    }

    fn collection(&self, name: &str) -> Vec<(String, Document)> {
        let documents = self.everything.get(name).into_iter().flatten();
        documents
            .map(|(id, document)| (id.clone(), document.clone()))
            .collect()
    }

    fn tables(mut self) -> Tables {
        self.row(
            "workspace",
            &[("id", Value::Text(self.workspace.to_owned()))],
        );
        let days = self.settings();
        for (name, _) in self.collection("rocketchat_roles") {
            self.row("role", &[("name", Value::Text(name))]);
        }
        for (permission, document) in self.collection("rocketchat_permissions") {
            for role in document.get_array("roles").unwrap() {
                let permission = Value::Text(permission.clone());
                let row = [("role", value(role)), ("permission", permission)];
                self.row("role_permission", &row);
            }
        }
        for (id, user) in self.collection("users") {
            self.user(&id, &user, days);
        }
        for (id, own) in self.collection("reset_totp_accounts") {
            self.own(&id, &own);
        }
        for (collection, table) in [
            ("reset_totp_outbox", "outbox"),
            ("reset_totp_audit", "audit"),
            ("reset_totp_audit_leaf", "audit_leaf"),
            ("reset_totp_audit_log", "audit_log"),
        ] {
            for (_, document) in self.collection(collection) {
                let values = document.iter().map(|(name, field)| {
                    let name = match (name.as_str(), table) {
                        ("_id", "audit_leaf") => "idx",
                        ("_id", _) => "id",
                        (name, _) => name,
                    };
                    (name.to_owned(), value(field))
                });
                let mut row: Row = values.collect();
                if table == "audit_log" {
                    row.remove("id");
                }
                // Both number their own.
                if let Some(Value::Integer(id)) = row.get_mut("id")
                    && self.workspace != ACME
                {
                    *id = -*id;
                }
                let workspace = Value::Text(self.workspace.to_owned());
                row.insert("workspace".to_owned(), workspace);
                self.tables.entry(table).or_default().push(row);
            }
        }
        self.tables
    }

    /// Gives how many days a session lasts.
    fn settings(&mut self) -> i64 {
        let mut days = LOGIN_DAYS;
        let mut limits = true;
        for (name, document) in self.collection("rocketchat_settings") {
            let theirs = &document["value"];
            let text = match theirs {
                Bson::Boolean(flag) => flag.to_string(),
                Bson::Int64(number) => number.to_string(),
                Bson::String(text) => text.clone(),
                other => unreachable!("{other} is no setting's"),
            };
            let ours = OURS.iter().find(|(_, rockets)| *rockets == name);
            match (ours, name.as_str()) {
                (Some(("login-days", _)), _) => {
                    days = text.parse().unwrap();
                    self.setting("login-days", &text);
                }
                (Some((ours, _)), _) => self.setting(ours, &text),
                (None, "API_Enable_Rate_Limiter") => limits = false,
                (None, "API_Enable_Rate_Limiter_Limit_Time_Default") => {
                    let seconds: i64 = text.parse().unwrap();
                    self.setting("rate-limit-seconds", &(seconds / 1000).to_string());
                }
                (None, "Language") => self.setting("language", &text),
                (None, "API_CORS_Origin") => self.setting("cors-origins", &text.replace(',', " ")),
                (None, _) => (),
            }
        }
        if !limits {
            self.setting("rate-limit-calls", "0");
        }
        for (name, document) in self.collection("reset_totp_settings") {
            self.setting(&name, document.get_str("value").unwrap());
        }
        for (name, document) in self.collection("reset_totp_fixed_settings") {
            let row = [
                ("name", Value::Text(name)),
                ("place", value(&document["place"])),
            ];
            self.row("fixed_setting", &row);
        }
        days
    }

    fn setting(&mut self, name: &str, text: &str) {
        let row = [
            ("name", Value::Text(name.to_owned())),
            ("value", Value::Text(text.to_owned())),
        ];
        self.row("setting", &row);
    }

    fn user(&mut self, id: &str, user: &Document, days: i64) {
        let key = || Value::Text(id.to_owned());
        let username = user.get_str("username").unwrap();
        let [skeleton, as_written] = skeletons(username);
        let none = Document::new();
        let services = user.get_document("services").unwrap_or(&none);
        let service = |name: &str| services.get_document(name).unwrap_or(&none).clone();
        let password = service("password");
        let flag = |flag: bool| Value::Integer(flag.into());
        let email_two_factor = service("email2fa").get_bool("enabled").unwrap_or_default();
        self.row(
            "user",
            &[
                ("id", key()),
                ("username", Value::Text(username.to_owned())),
                ("username_key", Value::Text(username_key(username))),
                ("skeleton", Value::Text(skeleton)),
                ("skeleton_as_written", Value::Text(as_written)),
                (
                    "password_hash",
                    value(password.get("bcrypt").unwrap_or(&Bson::Null)),
                ),
                (
                    "federated",
                    flag(user.get_bool("federated").unwrap_or_default()),
                ),
                ("deactivated", flag(!user.get_bool("active").unwrap())),
                ("email_two_factor", flag(email_two_factor)),
            ],
        );
        for role in user.get_array("roles").unwrap() {
            self.row("user_role", &[("user", key()), ("role", value(role))]);
        }
        for email in user.get_array("emails").unwrap() {
            let email = email.as_document().unwrap();
            let row = [
                ("user", key()),
                ("address", value(&email["address"])),
                ("verified", value(&email["verified"])),
            ];
            self.row("email", &row);
        }
        for token in service("resume")
            .get_array("loginTokens")
            .unwrap_or(&vec![])
        {
            let token = token.as_document().unwrap();
            let expires = match token.get_datetime("when") {
                Ok(when) => Value::Integer(when.timestamp_millis() + days * DAY),
                Err(_) => Value::Null,
            };
            let row = [
                ("user", key()),
                ("hash", value(&token["hashedToken"])),
                ("expires", expires),
                ("name", value(token.get("name").unwrap_or(&Bson::Null))),
                (
                    "bypass_two_factor",
                    flag(token.get_bool("bypassTwoFactor").unwrap_or_default()),
                ),
            ];
            self.row("login_token", &row);
        }
        let totp = service("totp");
        if let (Ok(true), Ok(secret)) = (totp.get_bool("enabled"), totp.get_str("secret")) {
            let own = self.everything["reset_totp_accounts"].get(id);
            let own = own.cloned().unwrap_or_default();
            let key_column = self.sealed(&TOTP_KEY, id, secret);
            let last_step = value(own.get("last_step").unwrap_or(&Bson::Null));
            let row = [
                ("user", key()),
                ("key", key_column),
                ("last_step", last_step),
            ];
            self.row("totp", &row);
            for (codes, spent) in [
                (totp.get_array("hashedBackup").cloned(), false),
                (own.get_array("spent").cloned(), true),
            ] {
                for hash in codes.unwrap_or_default() {
                    let hash = self.sealed(&BACKUP_CODE, id, hash.as_str().unwrap());
                    let row = [("user", key()), ("hash", hash), ("spent", flag(spent))];
                    self.row("backup_code", &row);
                }
            }
        }
        if let Ok(shown) = totp.get_str("tempSecret") {
            let own = self.everything["reset_totp_accounts"].get(id);
            let pending = own.and_then(|own| own.get_document("pending").ok());
            let until = pending.filter(|pending| pending.get_str("of").unwrap() == mark_of(shown));
            let until = until.map_or(0, |pending| pending.get_i64("until").unwrap());
            let row = [
                ("user", key()),
                ("key", self.sealed(&PENDING_KEY, id, shown)),
                ("expires", Value::Integer(until)),
            ];
            self.row("pending_totp", &row);
        }
    }

    fn own(&mut self, id: &str, own: &Document) {
        let row_of = |document: &Document| {
            let mut row = vec![("user", Value::Text(id.to_owned()))];
            row.extend(document.iter().map(|(name, field)| (&**name, value(field))));
            row.iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect::<Vec<_>>()
        };
        for (field, table) in [("failures", "failed_attempt"), ("code", "email_code")] {
            if let Ok(document) = own.get_document(field) {
                let row = row_of(document);
                let row: Vec<_> = row
                    .iter()
                    .map(|(name, value)| (name.as_str(), value.clone()))
                    .collect();
                self.row(table, &row);
            }
        }
    }
}

/// Which of Rocket.Chat's settings say the same.
const OURS: [(&str, &str); 9] = [
    (
        "two-factor-enabled",
        "Accounts_TwoFactorAuthentication_Enabled",
    ),
    (
        "totp-enabled",
        "Accounts_TwoFactorAuthentication_By_TOTP_Enabled",
    ),
    (
        "email-enabled",
        "Accounts_TwoFactorAuthentication_By_Email_Enabled",
    ),
    (
        "password-fallback",
        "Accounts_TwoFactorAuthentication_Enforce_Password_Fallback",
    ),
    ("totp-window", "Accounts_TwoFactorAuthentication_MaxDelta"),
    (
        "email-code-seconds",
        "Accounts_TwoFactorAuthentication_By_Email_Code_Expiration",
    ),
    (
        "email-code-failures",
        "Accounts_TwoFactorAuthentication_Max_Invalid_Email_Code_Attempts",
    ),
    ("login-days", "Accounts_LoginExpiration"),
    (
        "rate-limit-calls",
        "API_Enable_Rate_Limiter_Limit_Calls_Default",
    ),
];

/// Rows, written as the documents of a workspace.
struct Writing<'a> {
    seal: &'a Seal,
    workspace: &'a str,
    db: &'a Connection,
}

impl Writing<'_> {
    fn rows(&self, table: &str, of: &str) -> Vec<Row> {
        let column = match table {
            "workspace" => "id",
            _ => "workspace",
        };
        let query = format!("SELECT * FROM {table} WHERE {column} = ? {of}");
        let mut query = self.db.prepare(&query).unwrap();
        let names: Vec<_> = query
            .column_names()
            .iter()
            .map(ToString::to_string)
            .collect();
        let rows = query.query_map([self.workspace], |row| {
            let values = names.iter().enumerate();
            values
                .map(|(place, name)| Ok((name.clone(), row.get(place)?)))
                .collect()
        });
        rows.unwrap().map(std::result::Result::unwrap).collect()
    }

    fn opened(&self, column: &SealedColumn, account: &str, text: &Value) -> String {
        let place = column.of(self.workspace, account);
        match self.seal.open(&place, text_of(text)) {
            Ok(opened) => opened.expose_secret().to_owned(),
            // A test says so.
            Err(_) => text_of(text).to_owned(),
        }
    }

    fn everything(&self, before: &Everything) -> Everything {
        let mut after = Everything::new();
        let mut put = |collection: &str, document: Document| {
            let collection = after.entry(collection.to_owned()).or_default();
            collection.insert(crate::mongodb::id_of(&document), document);
        };
        let mut days = LOGIN_DAYS;
        for row in self.rows("setting", "") {
            let (name, text) = (text_of(&row["name"]), text_of(&row["value"]));
            if name == "login-days" {
                days = text.parse().unwrap();
            }
            for (collection, document) in setting(name, text) {
                put(collection, document);
            }
        }
        for row in self.rows("fixed_setting", "") {
            let fixed = doc! { "_id": bson(&row["name"]), "place": bson(&row["place"]) };
            put("reset_totp_fixed_settings", fixed);
        }
        for row in self.rows("role", "") {
            let name = bson(&row["name"]);
            let role = doc! { "_id": &name, "name": &name, "scope": "Users", "protected": false };
            put("rocketchat_roles", role);
        }
        let mut granted = BTreeMap::<String, Vec<Bson>>::new();
        for row in self.rows("role_permission", "") {
            let permission = text_of(&row["permission"]).to_owned();
            granted
                .entry(permission)
                .or_default()
                .push(bson(&row["role"]));
        }
        for (permission, roles) in granted {
            put(
                "rocketchat_permissions",
                doc! { "_id": permission, "roles": roles },
            );
        }
        for row in self.rows("user", "") {
            put("users", self.user(&row, days));
            if let Some(own) = self.own(text_of(&row["id"])) {
                put("reset_totp_accounts", own);
            }
        }
        for (collection, table) in [
            ("reset_totp_outbox", "outbox"),
            ("reset_totp_audit", "audit"),
            ("reset_totp_audit_leaf", "audit_leaf"),
            ("reset_totp_audit_log", "audit_log"),
        ] {
            for row in self.rows(table, "") {
                put(collection, document_of(table, row));
            }
        }
        // What is in no table is as it was, but for the numbers that were given last.
        for collection in [
            "reset_totp_commit_mark",
            "rocketchat_sessions",
            "_raix_push_app_tokens",
            "reset_totp_store",
        ] {
            let documents = before.get(collection).cloned().unwrap_or_default();
            after.insert(collection.to_owned(), documents);
        }
        let turn = after.get_mut("reset_totp_store").unwrap();
        let turn = turn.get_mut("turn").unwrap();
        for (name, table) in [("mails", "outbox"), ("records", "audit")] {
            let last = format!("SELECT coalesce(max(abs(id)), 0) FROM {table}");
            let last: i64 = self.db.query_row(&last, [], |row| row.get(0)).unwrap();
            turn.insert(name, last.max(turn.get_i64(name).unwrap()));
        }
        after
    }

    fn user(&self, row: &Row, days: i64) -> Document {
        let id = text_of(&row["id"]);
        let of = format!("AND user = '{id}'");
        let mut services = Document::new();
        if !is_null(&row["password_hash"]) {
            services.insert("password", doc! { "bcrypt": bson(&row["password_hash"]) });
        }
        if is_true(&row["email_two_factor"]) {
            services.insert("email2fa", doc! { "enabled": true });
        }
        let mut totp = Document::new();
        if let Some(row) = self.rows("totp", &of).first() {
            totp.insert("enabled", true);
            totp.insert("secret", self.opened(&TOTP_KEY, id, &row["key"]));
            let codes = self.rows("backup_code", &format!("{of} AND NOT spent"));
            let codes = codes.iter();
            let codes = codes.map(|row| self.opened(&BACKUP_CODE, id, &row["hash"]));
            let mut codes: Vec<_> = codes.collect();
            codes.sort();
            totp.insert("hashedBackup", codes);
        }
        if let Some(row) = self.rows("pending_totp", &of).first() {
            if totp.is_empty() {
                totp.insert("enabled", false);
            }
            totp.insert("tempSecret", self.opened(&PENDING_KEY, id, &row["key"]));
        }
        if !totp.is_empty() {
            services.insert("totp", totp);
        }
        let tokens = self.rows("login_token", &of).into_iter().map(|row| {
            let mut token = doc! { "hashedToken": bson(&row["hash"]) };
            match &row["expires"] {
                Value::Integer(expires) => {
                    token.insert("when", DateTime::from_millis(expires - days * DAY));
                }
                _ => {
                    token.insert("type", "personalAccessToken");
                    token.insert("bypassTwoFactor", is_true(&row["bypass_two_factor"]));
                }
            }
            if !is_null(&row["name"]) {
                token.insert("name", bson(&row["name"]));
            }
            token
        });
        let tokens: Vec<_> = tokens.collect();
        services.insert("resume", doc! { "loginTokens": tokens });
        let emails = self.rows("email", &of).into_iter().map(|row| {
            doc! { "address": bson(&row["address"]), "verified": is_true(&row["verified"]) }
        });
        let emails: Vec<_> = emails.collect();
        let roles = self.rows("user_role", &of);
        let roles: Vec<_> = roles.iter().map(|row| bson(&row["role"])).collect();
        let mut user = doc! {
            "_id": id,
            "type": "user",
            "name": bson(&row["username"]),
            "username": bson(&row["username"]),
            "active": !is_true(&row["deactivated"]),
            "emails": emails,
            "roles": roles,
            "services": services,
        };
        if is_true(&row["federated"]) {
            user.insert("federated", true);
        }
        user
    }

    fn own(&self, id: &str) -> Option<Document> {
        let of = format!("AND user = '{id}'");
        let mut own = doc! { "_id": id };
        if let Some(row) = self.rows("totp", &of).first() {
            if !is_null(&row["last_step"]) {
                own.insert("last_step", bson(&row["last_step"]));
            }
            let spent = self.rows("backup_code", &format!("{of} AND spent"));
            let spent = spent.iter();
            let spent: Vec<_> = spent
                .map(|row| self.opened(&BACKUP_CODE, id, &row["hash"]))
                .collect();
            if !spent.is_empty() {
                own.insert("spent", spent);
            }
        }
        if let Some(row) = self.rows("pending_totp", &of).first() {
            let key = self.opened(&PENDING_KEY, id, &row["key"]);
            let until = bson(&row["expires"]);
            own.insert("pending", doc! { "of": mark_of(&key), "until": until });
        }
        for (field, table) in [("failures", "failed_attempt"), ("code", "email_code")] {
            if let Some(row) = self.rows(table, &of).pop() {
                let fields = row.iter().filter(|(name, value)| {
                    !matches!(name.as_str(), "workspace" | "user") && !is_null(value)
                });
                let fields: Document = fields
                    .map(|(name, value)| (name.clone(), bson(value)))
                    .collect();
                own.insert(field, fields);
            }
        }
        (own.len() > 1).then_some(own)
    }
}

fn setting(name: &str, text: &str) -> Vec<(&'static str, Document)> {
    const ROCKETS: &str = "rocketchat_settings";
    let number = || text.parse::<i64>().unwrap();
    let ours = OURS.iter().find(|(ours, _)| *ours == name);
    match (name, ours) {
        ("rate-limit-calls", _) if text == "0" => {
            vec![(
                ROCKETS,
                doc! { "_id": "API_Enable_Rate_Limiter", "value": false },
            )]
        }
        ("rate-limit-seconds", _) => {
            let id = "API_Enable_Rate_Limiter_Limit_Time_Default";
            vec![(ROCKETS, doc! { "_id": id, "value": number() * 1000 })]
        }
        ("cors-origins", _) => vec![
            (ROCKETS, doc! { "_id": "API_Enable_CORS", "value": true }),
            (
                ROCKETS,
                doc! { "_id": "API_CORS_Origin", "value": text.replace(' ', ",") },
            ),
        ],
        ("language", _) => vec![(ROCKETS, doc! { "_id": "Language", "value": text })],
        (_, Some((_, rockets))) => {
            let value = match text {
                "true" => Bson::Boolean(true),
                "false" => Bson::Boolean(false),
                _ => Bson::Int64(number()),
            };
            vec![(ROCKETS, doc! { "_id": *rockets, "value": value })]
        }
        _ => vec![("reset_totp_settings", doc! { "_id": name, "value": text })],
    }
}

fn document_of(table: &str, row: Row) -> Document {
    let mut document = Document::new();
    for (name, value) in row {
        let name = match (name.as_str(), table) {
            ("idx", "audit_leaf") | ("id", _) => "_id",
            ("workspace", "outbox" | "audit_leaf" | "audit_log") => continue,
            (name, _) => name,
        };
        let value = match name {
            "_id" if table != "audit_leaf" => match value {
                Value::Integer(id) => Bson::Int64(id.abs()),
                other => bson(&other),
            },
            "holds_code" | "claimed" => Bson::Boolean(is_true(&value)),
            _ => bson(&value),
        };
        let is_kept = value != Bson::Null || table == "audit";
        if is_kept {
            document.insert(name, value);
        }
    }
    if table == "audit_log" {
        document.insert("_id", "log");
    }
    document
}

fn text_of(value: &Value) -> &str {
    match value {
        Value::Text(text) => text,
        other => unreachable!("{other:?} is no text"),
    }
}

fn is_null(value: &Value) -> bool {
    *value == Value::Null
}

fn is_true(value: &Value) -> bool {
    !matches!(value, Value::Null | Value::Integer(0))
}

/// The stores of both workspaces as one.
struct Both(Vec<(&'static str, Arc<dyn Store>)>);

impl Both {
    /// That of a workspace; one that is in none, is in the first no more than in others.
    fn of(&self, workspace: &str) -> &Arc<dyn Store> {
        let found = self.0.iter().find(|(name, _)| *name == workspace);
        let (_, store) = found.or(self.0.first()).unwrap();
        store
    }

    fn all(&self) -> impl Iterator<Item = &Arc<dyn Store>> {
        self.0.iter().map(|(_, store)| store)
    }
}

#[async_trait]
impl Store for Both {
    async fn read(&self, question: &Question) -> Result<Dossier> {
        self.of(&question.workspace).read(question).await
    }

    async fn transact(&self, question: Question, decide: Decide) -> Result<()> {
        let store = self.of(&question.workspace);
        store.transact(question, decide).await
    }

    async fn workspaces(&self, now: Timestamp) -> Result<Vec<WorkspaceSummary>> {
        let mut all = Vec::new();
        for store in self.all() {
            all.extend(store.workspaces(now).await?);
        }
        Ok(all)
    }

    async fn profiles(&self, workspace: &str) -> Result<Vec<Profile>> {
        self.of(workspace).profiles(workspace).await
    }

    async fn accounts(&self, workspace: &str, filter: &AccountFilter) -> Result<AccountPage> {
        self.of(workspace).accounts(workspace, filter).await
    }

    async fn all_roles(&self, workspace: &str) -> Result<Vec<Role>> {
        self.of(workspace).all_roles(workspace).await
    }

    async fn mails(&self, workspace: &str, after: i64, most: u32) -> Result<Vec<StoredMail>> {
        self.of(workspace).mails(workspace, after, most).await
    }

    async fn next_mail_due(&self, now: Timestamp) -> Result<Option<Timestamp>> {
        let mut next = None;
        for store in self.all() {
            let due = store.next_mail_due(now).await?;
            next = [next, due].into_iter().flatten().min();
        }
        Ok(next)
    }

    async fn outbox_count(&self) -> Result<OutboxCount> {
        let mut sum = OutboxCount::default();
        for store in self.all() {
            let count = store.outbox_count().await?;
            sum.mails += count.mails;
            sum.sockets += count.sockets;
        }
        Ok(sum)
    }

    async fn claim_mail(&self, now: Timestamp, among: Among<'_>) -> Result<Option<Claim>> {
        let mut due = Vec::new();
        for (place, (workspace, store)) in self.0.iter().enumerate() {
            let mails = store.all_mails(workspace).await?.into_iter();
            let waiting = mails.filter_map(|mail| match mail.state(now) {
                MailState::Waiting(next) => Some(next),
                MailState::BeingSent(_) | MailState::DeadLetter => None,
            });
            due.push((waiting.min(), place, store));
        }
        due.sort_by_key(|(due, place, _)| (due.is_none(), *due, *place));
        for (_, _, store) in due {
            if let Some(claim) = store.claim_mail(now, among).await? {
                return Ok(Some(claim));
            }
        }
        Ok(None)
    }

    async fn expired_mails(&self, now: Timestamp) -> Result<Vec<Expired>> {
        let mut all = Vec::new();
        for store in self.all() {
            all.extend(store.expired_mails(now).await?);
        }
        Ok(all)
    }

    async fn records(&self, workspace: &str, filter: &RecordFilter) -> Result<Vec<StoredRecord>> {
        self.of(workspace).records(workspace, filter).await
    }

    async fn log(&self, workspace: &str, from: i64) -> Result<Option<Page>> {
        self.of(workspace).log(workspace, from).await
    }

    async fn clock_faults(&self, horizon: Horizon) -> Result<u32> {
        let mut sum = 0;
        for store in self.all() {
            sum += store.clock_faults(horizon).await?;
        }
        Ok(sum)
    }

    async fn health(&self, now: Timestamp) -> Result<Health> {
        let mut all = Health::default();
        for store in self.all() {
            let health = store.health(now).await?;
            all.locked.extend(health.locked);
            all.mail_problems.extend(health.mail_problems);
            all.resets.splice(0..0, health.resets);
        }
        let most = MOST_SHOWN as usize;
        all.locked.sort_by_key(|locked| Reverse(locked.failures));
        all.locked.truncate(most);
        Ok(all)
    }

    async fn probe(&self, now: Timestamp) -> Result<()> {
        self.of(ACME).probe(now).await
    }

    async fn sealing(&self) -> Result<Option<Sealing>> {
        self.of(ACME).sealing().await
    }

    async fn renew(&self, from: Position, most: u32) -> Result<Renewed> {
        self.of(ACME).renew(from, most).await
    }

    async fn set_sealing(&self) -> Result<()> {
        self.of(ACME).set_sealing().await
    }
}
