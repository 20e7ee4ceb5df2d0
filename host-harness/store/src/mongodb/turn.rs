//! Who may have the turn. A host that ends within a transaction keeps the document that every
//! transaction writes first, until the servers undo that, after a minute by default. So each says
//! under which session it writes, and when; of one that has said nothing for longer than it may
//! keep its turn, others end the session.

use super::database::{Database, PATIENCE};
use super::failure::Failure;
use futures_util::TryStreamExt;
use mongodb::ClientSession;
use mongodb::bson::{Bson, DateTime, Document, doc};
use mongodb::options::WriteConcern;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// `{_id, seen}`: the sessions under which hosts write, and when they last said so, by the servers'
/// clock.
pub(super) const SESSIONS: &str = "reset_totp_writer";

/// How long a transaction may have its turn: a hundred times what it takes.
pub(super) const LONGEST: Duration = Duration::from_secs(1);

/// How often a session that is used is said: so often one more write is made.
const SAID_EVERY: Duration = Duration::from_millis(250);

/// Of whom nothing was heard for so long has no turn any more.
const ABANDONED: Duration = Duration::from_millis(2500);

/// Nobody is taken for dead who waits for a commit.
const _: () = assert!(SAID_EVERY.as_millis() + PATIENCE.as_millis() < ABANDONED.as_millis());

/// When this process has said each of its sessions last.
#[derive(Clone, Debug, Default)]
pub(super) struct Said(Arc<Mutex<HashMap<Vec<u8>, Instant>>>);

impl Said {
    /// Whether it is time to say it again; of those that are not used nothing is kept.
    fn is_due(&self, session: &[u8]) -> bool {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        said.retain(|_, at| at.elapsed() < SAID_EVERY);
        !said.contains_key(session)
    }

    fn note(&self, session: &[u8], at: Instant) {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        said.insert(session.to_vec(), at);
    }
}

/// Says that this session is about to write.
pub(super) async fn say(database: &Database, session: &ClientSession) -> Result<(), Failure> {
    let Some(Bson::Binary(id)) = session.id().get("id") else {
        return Ok(());
    };
    if !database.said().is_due(&id.bytes) {
        return Ok(());
    }
    let begun = Instant::now();
    let seen = doc! { "$currentDate": { "seen": true } };
    let sessions = database.collection(SESSIONS);
    let said = sessions.update_one(doc! { "_id": id.clone() }, seen);
    said.upsert(true)
        .write_concern(WriteConcern::nodes(1))
        .await?;
    database.said().note(&id.bytes, begun);
    Ok(())
}

/// Ends the sessions of hosts that have ended, as far as the server lets us.
pub(super) async fn end_abandoned(database: &Database) -> Result<(), Failure> {
    let hello = database.command(doc! { "hello": 1 }).await?;
    let Ok(now) = hello.get_datetime("localTime") else {
        return Ok(());
    };
    let millis = i64::try_from(ABANDONED.as_millis()).unwrap_or(i64::MAX);
    let before = DateTime::from_millis(now.timestamp_millis().saturating_sub(millis));
    let sessions = database.collection(SESSIONS);
    let abandoned = sessions.find(doc! { "seen": { "$lt": before } }).await?;
    let abandoned: Vec<Document> = abandoned.try_collect().await?;
    for session in abandoned {
        let id = session.get("_id");
        let ended = database.command(doc! { "killSessions": [{ "id": id }] });
        if ended.await.is_err() {
            continue;
        }
        let seen = session.get("seen");
        sessions
            .delete_one(doc! { "_id": id, "seen": seen })
            .await?;
    }
    Ok(())
}
