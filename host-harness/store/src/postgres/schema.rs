//! The schema and its versions, and who may see what of it.

use super::audit_log;
use super::database::{Connection, Database, WORKSPACE_ROLE};
use super::failure::{Failure, Kind};
use super::query::{Query, get, query};
use super::sealing;
use crate::convention::{A_NEWER_PROGRAMS, ANOTHER_PROGRAMS};
use crate::seal::Seal;
use chat_domain::totp::TotpKey;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// One script a version, in order, of the numbers that SQLite's scripts have.
const MIGRATIONS: [(i64, &str); 4] = [
    (3, include_str!("schema/3.sql")),
    (SEALED, include_str!("schema/4.sql")),
    (LOGGED, include_str!("schema/5.sql")),
    (VERSION, include_str!("schema/6.sql")),
];
const VERSION: i64 = 6;

/// The version from which on a store can be sealed, and keys are text.
const SEALED: i64 = 4;

/// The version from which on the audit trail is a log.
const LOGGED: i64 = 5;

/// How long one who migrates waits for another who does, and for the scripts: an index on
/// millions of rows takes a minute.
const MIGRATION_PATIENCE: Duration = Duration::from_secs(600);

/// Who migrates has this lock of the database: "totp" in ASCII.
const LOCK: i64 = 0x746f_7470;

/// What is said of a database with nothing in it.
const NO_STORE: &str =
    "there is no store in this database; `host-harness workspace create` makes one";

/// The schema in which tables are found and made, what texts it can keep, and whether there
/// are a store's version and other tables. Those that belong to an extension are nobody's.
const LOOK: &str = "
    SELECT current_schema()::TEXT, current_setting('server_encoding'),
           to_regclass('chat_store') IS NOT NULL,
           EXISTS (SELECT 1 FROM pg_class
                   WHERE relnamespace = current_schema()::REGNAMESPACE
                     AND relkind IN ('r', 'p', 'v', 'm', 'f')
                     AND NOT EXISTS (SELECT 1 FROM pg_depend
                                     WHERE objid = pg_class.oid AND deptype = 'e'))";

/// What there is in a database.
enum Place {
    /// Nothing.
    Empty,
    /// A store of this version.
    Store(i64),
}

/// Brings the schema up to date; makes it where there is nothing, if it may: sealed, where there
/// is a key.
///
/// # Errors
///
/// When it is not a store that this program can use, or as [`Seal::admit`].
pub(super) async fn migrate(
    database: &Database,
    may_create: bool,
    seal: &Seal,
) -> crate::Result<()> {
    let deadline = Instant::now() + MIGRATION_PATIENCE;
    let mut connection = database
        .connection(Instant::now() + super::database::PATIENCE)
        .await?;
    match look(&mut connection, deadline).await? {
        Place::Store(VERSION) => {
            require_role(&mut connection, deadline).await?;
            return admit(&mut connection, seal, deadline).await;
        }
        Place::Empty if !may_create => return Err(Failure::new(Kind::Fault, NO_STORE).into()),
        Place::Store(version) if version < SEALED => seal.admit(None)?,
        // A log's secret must not be written under a key that is not the store's.
        Place::Store(_) => admit(&mut connection, seal, deadline).await?,
        Place::Empty => (),
    }
    create_role(&mut connection, deadline).await?;
    let mut migration = Migration {
        connection: &mut connection,
        seal,
        deadline,
    };
    match migration.run().await {
        Ok(()) => {
            connection.ended();
            require_role(&mut connection, deadline).await?;
            admit(&mut connection, seal, deadline).await
        }
        Err(failure) => {
            connection.roll_back(deadline).await;
            Err(failure.into())
        }
    }
}

/// # Errors
///
/// As [`Seal::admit`] says of the store.
async fn admit(connection: &mut Connection, seal: &Seal, deadline: Instant) -> crate::Result<()> {
    let rows = connection.one(query!(sealing::ROW), deadline).await?;
    let sealing = rows.first().map(sealing::row_in).transpose()?;
    Ok(seal.admit(sealing.as_ref())?)
}

/// As [`is_current`], and whether it may be opened.
///
/// # Errors
///
/// As [`is_current`], or as [`Seal::admit`].
pub(super) async fn is_current_and_admitted(
    database: &Database,
    seal: &Seal,
) -> crate::Result<bool> {
    let deadline = Instant::now() + super::database::PATIENCE;
    let is_current = is_current(database).await?;
    if is_current {
        let mut connection = database.connection(deadline).await?;
        admit(&mut connection, seal, deadline).await?;
    }
    Ok(is_current)
}

/// Whether it is a store of this version.
///
/// # Errors
///
/// When it is none that this program can use.
pub(super) async fn is_current(database: &Database) -> Result<bool, Failure> {
    let deadline = Instant::now() + super::database::PATIENCE;
    let mut connection = database.connection(deadline).await?;
    match look(&mut connection, deadline).await? {
        Place::Store(VERSION) => require_role(&mut connection, deadline).await.map(|()| true),
        Place::Store(_) => Ok(false),
        Place::Empty => Err(Failure::new(Kind::Fault, NO_STORE)),
    }
}

async fn look(connection: &mut Connection, deadline: Instant) -> Result<Place, Failure> {
    let fault = |problem: &str| Err(Failure::new(Kind::Fault, problem));
    let rows = connection.one(query!(LOOK), deadline).await?;
    let Some(row) = rows.first() else {
        return fault("it says nothing of its tables");
    };
    let schema: Option<String> = get(row, 0)?;
    let encoding: String = get(row, 1)?;
    if schema.is_none() {
        return fault("the database has no schema of the search path: create one, or set it");
    }
    if encoding != "UTF8" {
        let problem = format!("the database keeps texts as {encoding}: it takes one of UTF8");
        return fault(&problem);
    }
    match (get(row, 2)?, get(row, 3)?) {
        (true, _) => {
            let rows = connection.one(query!("SELECT version FROM chat_store"), deadline);
            match rows.await?.first() {
                Some(row) => match get(row, 0)? {
                    version if version > VERSION => fault(A_NEWER_PROGRAMS),
                    version => Ok(Place::Store(version)),
                },
                None => fault(ANOTHER_PROGRAMS),
            }
        }
        (false, true) => fault(ANOTHER_PROGRAMS),
        (false, false) => Ok(Place::Empty),
    }
}

/// A migration, in one transaction.
struct Migration<'a> {
    connection: &'a mut Connection,
    seal: &'a Seal,
    deadline: Instant,
}

impl Migration<'_> {
    async fn run(&mut self) -> Result<(), Failure> {
        let patience = MIGRATION_PATIENCE.as_millis();
        self.script(&format!(
            "BEGIN;
             SET LOCAL statement_timeout = 0;
             SET LOCAL lock_timeout = {patience};
             SELECT pg_advisory_xact_lock({LOCK})"
        ))
        .await?;
        let mut sealing = None;
        let applied = match look(self.connection, self.deadline).await? {
            Place::Store(version) => version,
            Place::Empty => {
                sealing = self.seal.sealing();
                self.script(
                    "CREATE TABLE chat_store (version BIGINT NOT NULL);
                     INSERT INTO chat_store VALUES (0)",
                )
                .await?;
                0
            }
        };
        for (version, script) in MIGRATIONS {
            if version > applied {
                if version == SEALED {
                    self.write_base32().await?;
                }
                self.script(script).await?;
            }
        }
        if let Some(row) = sealing {
            let write = sealing::write(&row);
            self.connection.one(write, self.deadline).await?;
        }
        if applied < LOGGED {
            self.begin_logs().await?;
        }
        self.share().await?;
        self.script(&format!(
            "UPDATE chat_store SET version = {VERSION}; COMMIT"
        ))
        .await
    }

    /// Keys become base32, which their columns hold as bytes yet.
    async fn write_base32(&mut self) -> Result<(), Failure> {
        const KEYS: [(&str, &str); 2] = [
            (
                r#"SELECT workspace, "user", key FROM totp"#,
                r#"UPDATE totp SET key = $3 WHERE workspace = $1 AND "user" = $2"#,
            ),
            (
                r#"SELECT workspace, "user", key FROM pending_totp"#,
                r#"UPDATE pending_totp SET key = $3 WHERE workspace = $1 AND "user" = $2"#,
            ),
        ];
        for (read, write) in KEYS {
            for row in self.connection.one(query!(read), self.deadline).await? {
                let (workspace, user): (String, String) = (get(&row, 0)?, get(&row, 1)?);
                let base32 = TotpKey::new(get(&row, 2)?).to_base32();
                let update = query!(write, &workspace, &user, base32.as_bytes());
                self.connection.one(update, self.deadline).await?;
            }
        }
        Ok(())
    }

    /// All records that there are become logs, in the order in which they were written.
    async fn begin_logs(&mut self) -> Result<(), Failure> {
        let mut logs = BTreeMap::new();
        let mut last = Some(0);
        while let Some(id) = last {
            let found = self.connection.one(audit_log::all_after(id), self.deadline);
            let (queries, next) = audit_log::begin(&mut logs, &found.await?)?;
            self.write(&queries).await?;
            last = next;
        }
        self.write(&audit_log::first_heads(self.seal, &logs)).await
    }

    async fn write(&mut self, queries: &[Query]) -> Result<(), Failure> {
        let written = self.connection.part(queries, self.deadline).await;
        written.into_iter().collect::<Result<Vec<_>, _>>().map(drop)
    }

    /// Of every table with a workspace, the role has the rows of the one that the transaction is
    /// in.
    async fn share(&mut self) -> Result<(), Failure> {
        const TABLES: &str = "
            SELECT quote_ident(relname), CASE WHEN relname = 'workspace' THEN 'id' ELSE attname END
            FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
            WHERE relnamespace = current_schema()::REGNAMESPACE AND relkind = 'r'
              AND (attname = 'workspace' OR (relname = 'workspace' AND attname = 'id'))
              AND NOT attisdropped";
        let schema = "SELECT quote_ident(current_schema())";
        let schema = self.connection.one(query!(schema), self.deadline).await?;
        let mut script = String::new();
        for row in &schema {
            let schema: String = get(row, 0)?;
            script += &format!("GRANT USAGE ON SCHEMA {schema} TO {WORKSPACE_ROLE};\n");
        }
        for row in self.connection.one(query!(TABLES), self.deadline).await? {
            let table: String = get(&row, 0)?;
            let column: String = get(&row, 1)?;
            script += &format!(
                "ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
                 DROP POLICY IF EXISTS one_workspace ON {table};
                 CREATE POLICY one_workspace ON {table} TO {WORKSPACE_ROLE}
                     USING ({column} = current_setting('chat.workspace', TRUE));
                 GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {WORKSPACE_ROLE};\n"
            );
        }
        self.script(&script).await
    }

    async fn script(&mut self, script: &str) -> Result<(), Failure> {
        self.connection.script(script, self.deadline).await
    }
}

/// What an administrator does where the store's login may not.
fn by_hand(why: &str) -> Failure {
    let text = format!(
        "{why}: a superuser of the server runs `CREATE ROLE {WORKSPACE_ROLE} NOLOGIN; GRANT \
         {WORKSPACE_ROLE} TO` the login of the store"
    );
    Failure::new(Kind::Fault, text)
}

/// Makes the role where it is missing, and the login a member of it. Roles are the server's:
/// another database's store may make it at this moment.
async fn create_role(connection: &mut Connection, deadline: Instant) -> Result<(), Failure> {
    if require_role(connection, deadline).await.is_ok() {
        return Ok(());
    }
    let create = format!("CREATE ROLE {WORKSPACE_ROLE} NOLOGIN");
    let created = connection.script(&create, deadline).await;
    let grant = format!("GRANT {WORKSPACE_ROLE} TO CURRENT_USER");
    let granted = connection.script(&grant, deadline).await;
    match require_role(connection, deadline).await {
        Err(failure) if failure.is_the_servers() => Err(failure),
        Err(failure) => Err(match (created, granted) {
            (Err(why), _) | (_, Err(why)) => by_hand(&crate::StoreError::from(why).0.to_string()),
            _ => failure,
        }),
        Ok(()) => Ok(()),
    }
}

/// # Errors
///
/// When the login cannot take the role, or that would see more than one workspace.
async fn require_role(connection: &mut Connection, deadline: Instant) -> Result<(), Failure> {
    let trip: [Query; 4] = [
        query!("BEGIN"),
        query!("SELECT set_config('role', $1, TRUE)", WORKSPACE_ROLE),
        query!(
            "SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = $1",
            WORKSPACE_ROLE,
        ),
        query!("COMMIT"),
    ];
    let found = connection.part(&trip, deadline).await;
    let is_over = found.last().is_some_and(Result::is_ok);
    if is_over {
        connection.ended();
    }
    let found: Result<Vec<_>, Failure> = found.into_iter().collect();
    let found = found.map_err(|failure| match failure.is_the_servers() {
        true => failure,
        false => by_hand(&crate::StoreError::from(failure).0.to_string()),
    })?;
    let sees_all = found.get(2).and_then(|rows| rows.first());
    match sees_all.map(|row| get(row, 0)).transpose()? {
        Some(false) => Ok(()),
        _ => Err(Failure::new(
            Kind::Fault,
            format!(
                "the role {WORKSPACE_ROLE} is not held to row-level security: `ALTER ROLE \
                 {WORKSPACE_ROLE} NOSUPERUSER NOBYPASSRLS`"
            ),
        )),
    }
}
