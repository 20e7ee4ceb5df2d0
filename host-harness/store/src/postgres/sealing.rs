//! What is sealed, as the tables keep it.

use super::database::{
    BEGIN_TO_WRITE, COMMIT, Connection, Database, LIST_PATIENCE, PATIENCE, tries_until,
};
use super::failure::{Failure, Kind};
use super::query::{Query, get, query};
use crate::StoreError;
use crate::convention::Unread;
use crate::seal::{Position, Renewed, SEALED, Seal, SealedColumn, Sealing, StoreIs, Unopened};
use crate::tries::Tries;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};

/// Values that are sealed before the next are read, where nobody waits for them.
const TOGETHER: u32 = 10_000;

/// How long a store may take to be sealed.
const WHOLE: Duration = Duration::from_secs(6 * 60 * 60);

/// What the store says of its seal.
pub(super) const ROW: &str = "SELECT key_id, check_value FROM sealing";

pub(super) fn row_in(row: &Row) -> Result<Sealing, Failure> {
    Ok(Sealing {
        key_id: get(row, 0)?,
        check_value: get(row, 1)?,
    })
}

pub(super) fn write(sealing: &Sealing) -> Query {
    query!(
        "INSERT INTO sealing (id, key_id, check_value) VALUES (1, $1, $2)
         ON CONFLICT (id) DO UPDATE SET
            key_id = excluded.key_id, check_value = excluded.check_value",
        &sealing.key_id,
        &sealing.check_value,
    )
}

/// What is nothing to work by will be none another time.
impl From<Unread> for Failure {
    fn from(unread: Unread) -> Self {
        Self::new(Kind::Fault, unread.to_string())
    }
}

impl From<Unopened> for Failure {
    fn from(unopened: Unopened) -> Self {
        Unread::from(unopened).into()
    }
}

/// Nobody else writes in these workspaces until the transaction ends: what a writer has read is
/// what it changes.
const LOCK: &str = "SELECT 1 FROM workspace WHERE id = ANY ($1) ORDER BY id FOR NO KEY UPDATE";

/// As [`Store::renew`](crate::Store::renew), of one column at most.
pub(super) async fn renew(
    database: &Database,
    seal: &Seal,
    from: &Position,
    most: u32,
) -> Result<Renewed, Failure> {
    let mut tries = tries_until(Instant::now() + LIST_PATIENCE);
    loop {
        let renewed = match database.connection(tries.deadline).await {
            Ok(mut connection) => renew_once(&mut connection, seal, from, most, &tries).await,
            Err(failure) => Err(failure),
        };
        match renewed {
            Ok(renewed) => return Ok(renewed),
            Err(failure) => tries.again(failure).await?,
        }
    }
}

async fn renew_once(
    connection: &mut Connection,
    seal: &Seal,
    from: &Position,
    most: u32,
    tries: &Tries,
) -> Result<Renewed, Failure> {
    connection.script(BEGIN_TO_WRITE, tries.deadline).await?;
    let renewing = renew_some(connection, seal, from, most, StoreIs::Sealed);
    let renewed = timeout_at(tries.deadline, renewing).await;
    let renewed = renewed.unwrap_or_else(|_| Err(Failure::silence()));
    let committed = match renewed {
        Ok(renewed) => {
            let committed = connection.script(COMMIT, tries.deadline).await;
            committed.map(|()| renewed)
        }
        Err(failure) => Err(failure),
    };
    match committed {
        Ok(_) => connection.ended(),
        Err(_) => connection.roll_back(tries.deadline).await,
    }
    committed
}

/// Within the transaction that is open.
async fn renew_some(
    connection: &Connection,
    seal: &Seal,
    from: &Position,
    most: u32,
    store: StoreIs,
) -> Result<Renewed, Failure> {
    let mut renewed = Renewed::default();
    let Some(sealed) = SEALED.get(from.column) else {
        return Ok(renewed);
    };
    let client = connection.client().ok_or_else(Failure::silence)?;
    let mut values = values_after(client, seal, sealed, from, most).await?;
    let is_last = values.len() < usize::try_from(most).unwrap_or(usize::MAX);
    renewed.next = Some(match values.last().filter(|_| !is_last) {
        Some(last) => last.clone(),
        None => Position {
            column: from.column + 1,
            ..Position::default()
        },
    });
    let mut texts = Vec::with_capacity(values.len());
    values.retain(|value| {
        let place = sealed.of(&value.workspace, &value.account);
        match seal.renew(&place, &value.text, store) {
            Ok(text) => texts.push(text),
            Err(unopened) => {
                renewed.unopened.push(unopened);
                return false;
            }
        }
        true
    });
    renewed.values = u32::try_from(values.len()).unwrap_or(u32::MAX);
    write_all(client, sealed, values, texts).await?;
    Ok(renewed)
}

/// Those that are not under the key that seals, so many at most.
async fn values_after(
    client: &Client,
    seal: &Seal,
    sealed: &SealedColumn,
    from: &Position,
    most: u32,
) -> Result<Vec<Position>, Failure> {
    let SealedColumn {
        table,
        column,
        account,
        condition,
        ..
    } = sealed;
    let query = format!(
        "SELECT workspace, {account}, {column} FROM {table}
         WHERE {condition} AND left({column}, length($1)) <> $1
           AND (workspace, {account}, {column}) > ($2, $3, $4)
         ORDER BY workspace, {account}, {column} LIMIT $5"
    );
    let beginning = seal.beginning().unwrap_or_default();
    let (workspace, account, text) = (&from.workspace, &from.account, &from.text);
    let most = i64::from(most);
    let given: [&(dyn ToSql + Sync); 5] = [&beginning, workspace, account, text, &most];
    let rows = client.query(&query, &given).await?;
    let values = rows.iter().map(|row| {
        Ok(Position {
            column: from.column,
            workspace: get(row, 0)?,
            account: get(row, 1)?,
            text: get(row, 2)?,
        })
    });
    values.collect()
}

/// What was changed meanwhile is left to whoever looks again.
async fn write_all(
    client: &Client,
    sealed: &SealedColumn,
    values: Vec<Position>,
    texts: Vec<String>,
) -> Result<(), Failure> {
    let SealedColumn {
        table,
        column,
        account,
        condition,
        ..
    } = sealed;
    let (mut workspaces, mut accounts, mut old) = (Vec::new(), Vec::new(), Vec::new());
    for value in values {
        workspaces.push(value.workspace);
        accounts.push(value.account);
        old.push(value.text);
    }
    client.query(LOCK, &[&workspaces]).await?;
    let update = format!(
        "UPDATE {table} SET {column} = new_text
         FROM unnest($1::TEXT[], $2::TEXT[], $3::TEXT[], $4::TEXT[])
                  AS renewed (of_workspace, of_account, old_text, new_text)
         WHERE {condition} AND workspace = of_workspace AND {account} = of_account
           AND {column} = old_text"
    );
    let given: [&(dyn ToSql + Sync); 4] = [&workspaces, &accounts, &old, &texts];
    client.execute(&update, &given).await?;
    Ok(())
}

/// Who opens the store waits, and finds it sealed.
const KEEP_OUT: &str = "LOCK TABLE sealing IN ACCESS EXCLUSIVE MODE";

/// Whoever has it open already, as of now.
const OTHERS: [&str; 2] = [
    "SELECT pg_stat_clear_snapshot()",
    "SELECT 1 FROM pg_stat_activity
     WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()",
];

/// The pause between two looks whether those who have ended are gone.
const POLL: Duration = Duration::from_millis(20);

/// # Errors
///
/// When somebody has the store open for longer than it takes to go.
async fn require_alone(connection: &mut Connection, deadline: Instant) -> crate::Result<()> {
    let begun = Instant::now();
    loop {
        let [clear, others] = OTHERS;
        connection.one(query!(clear), deadline).await?;
        if connection.one(query!(others), deadline).await?.is_empty() {
            return Ok(());
        }
        if begun.elapsed() >= PATIENCE {
            return Err(StoreError(
                "another program has it open: stop the hosts that serve it, and what else works \
                 on it"
                    .into(),
            ));
        }
        sleep(POLL).await;
    }
}

/// Seals a store that is not, in one transaction. Gives how many values there were; [`rewrite`] is
/// what follows.
///
/// # Errors
///
/// When the server fails, or somebody has the store open.
pub(super) async fn seal_first(database: &Database, seal: &Seal) -> crate::Result<u64> {
    let deadline = Instant::now() + WHOLE;
    let mut connection = database.connection(Instant::now() + PATIENCE).await?;
    let begin = format!("{BEGIN_TO_WRITE}; SET LOCAL statement_timeout = 0; {KEEP_OUT}");
    connection.script(&begin, deadline).await?;
    require_alone(&mut connection, deadline).await?;
    // Somebody may have sealed it just now.
    let rows = connection.one(query!(ROW), deadline).await?;
    let sealing = rows.first().map(row_in).transpose()?;
    Seal::none().admit(sealing.as_ref())?;
    let mut values = 0;
    let mut next = Some(Position::default());
    while let Some(from) = next {
        let renewed = renew_some(&connection, seal, &from, TOGETHER, StoreIs::Plain).await?;
        if let Some(unopened) = renewed.unopened.into_iter().next() {
            return Err(unopened.into());
        }
        values += u64::from(renewed.values);
        next = renewed.next;
    }
    if let Some(row) = seal.sealing() {
        connection.one(write(&row), deadline).await?;
    }
    let holds_plain = "UPDATE chat_store SET holds_plain = TRUE";
    connection.script(holds_plain, deadline).await?;
    connection.script(COMMIT, deadline).await?;
    connection.ended();
    Ok(values)
}

/// Leaves nothing in the files of tables of what was there before the store was sealed, unless that
/// is done already. Others wait for each table meanwhile.
///
/// # Errors
///
/// When the server fails: the rest is done the next time.
pub(super) async fn rewrite(database: &Database) -> crate::Result<()> {
    let deadline = Instant::now() + WHOLE;
    let mut connection = database.connection(Instant::now() + PATIENCE).await?;
    let holds_plain = query!("SELECT 1 FROM chat_store WHERE holds_plain");
    if connection.one(holds_plain, deadline).await?.is_empty() {
        return Ok(());
    }
    let unlimited = "SET statement_timeout = 0; SET lock_timeout = 0";
    connection.script(unlimited, deadline).await?;
    for SealedColumn { table, .. } in SEALED {
        let rewrite = format!("VACUUM FULL {table}");
        let rewritten = connection.script(&rewrite, deadline).await;
        rewritten.map_err(|failure| {
            let why = StoreError::from(failure);
            StoreError(
                format!(
                    "it is sealed, but {table} may still hold what it was, until the same command \
                     is run again: {why}"
                )
                .into(),
            )
        })?;
    }
    let done = "UPDATE chat_store SET holds_plain = FALSE";
    Ok(connection.script(done, deadline).await?)
}
