//! A whole store as rows, out of a database and into one.

use super::address::Access;
use super::database::{Connection, Database, PATIENCE};
use super::failure::Failure;
use super::schema;
use crate::backup::{Cell, Columns, OtherSideEnded, Rows, TABLES, TOGETHER, listed};
use crate::convention::AN_OLDER_PROGRAMS;
use crate::seal::Seal;
use crate::{Result, StoreError};
use bytes::BytesMut;
use futures_util::TryStreamExt;
use std::error::Error;
use std::pin::pin;
use std::time::Duration;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::time::Instant;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Row};

/// How long a copy may take: a file on a slow disk, a network in between.
const WHOLE: Duration = Duration::from_secs(6 * 60 * 60);

/// A copy takes as long as it takes, and waits for its other side.
const UNLIMITED: &str = "SET LOCAL statement_timeout = 0;
    SET LOCAL idle_in_transaction_session_timeout = 0;
    SET LOCAL lock_timeout = 0";

/// Sends all rows of the store in the database at `url`, as of one moment.
pub(crate) async fn send(url: &str, columns: &Columns, rows: Sender<Rows>) -> Result<()> {
    // A standby may lack what the server that writes has acknowledged.
    let database = Database::at(url, Access::Write)?;
    if !schema::is_current(&database).await? {
        return Err(StoreError(AN_OLDER_PROGRAMS.into()));
    }
    let mut connection = begun(&database, "ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    for (table, (name, columns)) in TABLES.iter().zip(columns).enumerate() {
        let query = format!("SELECT {} FROM \"{name}\"", listed(columns));
        let client = client(&connection)?;
        let found = client.query_raw(&query, Vec::<String>::new()).await;
        let mut found = pin!(found.map_err(Failure::from)?);
        let mut packet = Vec::new();
        loop {
            let row = found.try_next().await.map_err(Failure::from)?;
            let is_last = row.is_none();
            packet.extend(row.map(|row| cells(&row)).transpose()?);
            if is_last || packet.len() == TOGETHER {
                let rows_of_table = Rows {
                    table,
                    rows: std::mem::take(&mut packet),
                };
                rows.send(rows_of_table).await.map_err(|_| OtherSideEnded)?;
            }
            if is_last {
                break;
            }
        }
    }
    connection
        .script("COMMIT", Instant::now() + PATIENCE)
        .await?;
    let sent = rows.send(Rows::END).await;
    Ok(sent.map_err(|_| OtherSideEnded)?)
}

/// Writes rows into the database at `url`, where there is nothing yet: all or none.
pub(crate) async fn receive(url: &str, columns: &Columns, mut rows: Receiver<Rows>) -> Result<()> {
    let database = Database::at(url, Access::Write)?;
    // What is copied says whether it is sealed.
    schema::migrate(&database, true, &Seal::none()).await?;
    let mut connection = begun(&database, "READ WRITE").await?;
    let client = client(&connection)?;
    client
        .batch_execute(KEEP_OUT)
        .await
        .map_err(Failure::from)?;
    for table in TABLES {
        let held = format!("SELECT 1 FROM \"{table}\" LIMIT 1");
        let held = client.query_opt(&held, &[]).await.map_err(Failure::from)?;
        if held.is_some() {
            return Err(StoreError(
                "there is a store already in this database".into(),
            ));
        }
    }
    let mut waiting = rows.recv().await;
    for (table, (name, columns)) in TABLES.iter().zip(columns).enumerate() {
        let listed = listed(columns);
        let like = format!("SELECT {listed} FROM \"{name}\"");
        let like = client.prepare(&like).await.map_err(Failure::from)?;
        let types: Vec<_> = like.columns().iter().map(|c| c.type_().clone()).collect();
        let copy = format!("COPY \"{name}\" ({listed}) FROM STDIN BINARY");
        let sink = client.copy_in(&copy).await.map_err(Failure::from)?;
        let mut writer = pin!(BinaryCopyInWriter::new(sink, &types));
        while let Some(packet) = waiting.take_if(|packet| packet.table == table) {
            for row in &packet.rows {
                let row: Vec<_> = row.iter().map(|cell| cell as &(dyn ToSql + Sync)).collect();
                writer.as_mut().write(&row).await.map_err(Failure::from)?;
            }
            waiting = rows.recv().await;
        }
        writer.finish().await.map_err(Failure::from)?;
    }
    if waiting.is_none_or(|packet| packet.table != Rows::END.table) {
        return Err(OtherSideEnded.into());
    }
    connection.script(NUMBER_ON, Instant::now() + WHOLE).await?;
    Ok(connection.script("COMMIT", Instant::now() + WHOLE).await?)
}

/// Whoever opens the store, or makes a workspace, waits until it is whole, and is told then.
const KEEP_OUT: &str = "LOCK TABLE workspace, sealing, chat_store IN ACCESS EXCLUSIVE MODE";

/// What is numbered goes on from the last.
const NUMBER_ON: &str = "
    SELECT setval(pg_get_serial_sequence('outbox', 'id'), max(id)) FROM outbox HAVING max(id) > 0;
    SELECT setval(pg_get_serial_sequence('audit', 'id'), max(id)) FROM audit HAVING max(id) > 0";

/// A connection within a transaction that no limit ends.
async fn begun(database: &Database, how: &str) -> Result<Connection> {
    let deadline = Instant::now() + PATIENCE;
    let mut connection = database.connection(deadline).await?;
    let script = format!("BEGIN {how}; {UNLIMITED}");
    connection.script(&script, deadline).await?;
    Ok(connection)
}

fn client(connection: &Connection) -> Result<&Client> {
    connection.client().ok_or_else(|| Failure::silence().into())
}

fn cells(row: &Row) -> std::result::Result<Vec<Cell>, Failure> {
    let columns = row.columns().iter().enumerate();
    let cells = columns.map(|(at, column)| {
        let cell = match *column.type_() {
            Type::BOOL => row
                .try_get(at)
                .map(|flag: Option<bool>| flag.map(|flag| Cell::Number(flag.into()))),
            Type::INT8 => row
                .try_get(at)
                .map(|number: Option<i64>| number.map(Cell::Number)),
            Type::BYTEA => row
                .try_get(at)
                .map(|bytes: Option<Vec<u8>>| bytes.map(Cell::Bytes)),
            _ => row
                .try_get(at)
                .map(|text: Option<String>| text.map(Cell::Text)),
        };
        Ok(cell?.unwrap_or(Cell::Null))
    });
    cells.collect()
}

impl ToSql for Cell {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> std::result::Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Number(number) if *ty == Type::BOOL => (*number != 0).to_sql(ty, out),
            Self::Number(number) => number.to_sql(ty, out),
            // PostgreSQL has no text with a NUL in it.
            Self::Text(text) => text.replace('\0', "\u{fffd}").to_sql(ty, out),
            Self::Bytes(bytes) => bytes.to_sql(ty, out),
        }
    }

    fn accepts(ty: &Type) -> bool {
        [Type::BOOL, Type::INT8, Type::TEXT, Type::BYTEA].contains(ty)
    }

    to_sql_checked!();
}
