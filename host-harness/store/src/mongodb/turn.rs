//! Who may have the turn. A host that ends within a transaction keeps the document that every
//! transaction writes first, until the servers undo that, after a minute by default. So each says
//! under which session it writes, by which login, and when; of one that has said nothing for longer
//! than it may keep its turn, others end the session.
//!
//! A login may end its own sessions alone: of another's, `killSessions` ends nothing and says
//! nothing. So those are left to hosts with that login, or to the servers.

use super::database::{Database, PATIENCE};
use super::failure::Failure;
use futures_util::TryStreamExt;
use mongodb::ClientSession;
use mongodb::bson::{Bson, DateTime, Document, doc};
use mongodb::options::WriteConcern;
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::OnceCell;
use tokio::time::Instant;

/// `{_id, login, seen}`: the sessions under which hosts write, by which login, and when they last
/// said so, by the servers' clock.
pub(super) const SESSIONS: &str = "reset_totp_writer";

/// How long a transaction may have its turn: a hundred times what it takes.
pub(super) const LONGEST: Duration = Duration::from_secs(1);

/// How often a session that is used is said: so often one more write is made.
const SAID_EVERY: Duration = Duration::from_millis(250);

/// Of whom nothing was heard for so long has no turn any more.
const ABANDONED: Duration = Duration::from_millis(2500);

/// Nobody is taken for dead who waits for a commit.
const _: () = assert!(SAID_EVERY.as_millis() + PATIENCE.as_millis() < ABANDONED.as_millis());

/// After how long a session is forgotten, whoever's it was: the servers have undone what it began.
const FORGOTTEN: Duration = Duration::from_secs(60 * 60);

/// What a process has said and heard of who writes.
#[derive(Debug, Default)]
pub(super) struct Writers {
    said: Said,
    login: OnceCell<String>,
    /// It is logged that another login was met.
    has_warned: AtomicBool,
}

/// When this process has said each of its sessions last.
#[derive(Debug, Default)]
struct Said(Mutex<HashMap<Vec<u8>, Instant>>);

impl Writers {
    /// Once, however often it is met: whoever has to wait is answered with that.
    fn warn_of(&self, others: &str, own: &str) {
        if !self.has_warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                login = own,
                other = others,
                "another host writes by another login, whose sessions this one cannot end: give \
                 all hosts one login"
            );
        }
    }
}

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
    let said = &database.writers().said;
    if !said.is_due(&id.bytes) {
        return Ok(());
    }
    let begun = Instant::now();
    let login = login(database).await?;
    let seen = doc! { "$set": { "login": login }, "$currentDate": { "seen": true } };
    let sessions = database.collection(SESSIONS);
    let written = sessions.update_one(doc! { "_id": id.clone() }, seen);
    written
        .upsert(true)
        .write_concern(WriteConcern::nodes(1))
        .await?;
    said.note(&id.bytes, begun);
    Ok(())
}

/// By which login this process asks the servers, as `USER@DATABASE`; empty where they ask nobody
/// who it is.
async fn login(database: &Database) -> Result<&str, Failure> {
    let login = &database.writers().login;
    let asked = login.get_or_try_init(|| async {
        let status = database.command(doc! { "connectionStatus": 1 }).await?;
        Ok::<_, Failure>(login_of(&status))
    });
    Ok(asked.await?)
}

/// What `connectionStatus` says of who asks.
fn login_of(status: &Document) -> String {
    let info = status.get_document("authInfo").ok();
    let users = info.and_then(|info| info.get_array("authenticatedUsers").ok());
    let users = users.into_iter().flatten().filter_map(Bson::as_document);
    let names = users.filter_map(|user| {
        let (name, database) = (user.get_str("user").ok()?, user.get_str("db").ok()?);
        Some(format!("{name}@{database}"))
    });
    names.collect::<Vec<_>>().join(" ")
}

/// The time by the clock of the server that writes; none where it does not say.
async fn server_time(database: &Database) -> Result<Option<DateTime>, Failure> {
    let hello = database.command(doc! { "hello": 1 }).await?;
    Ok(hello.get_datetime("localTime").ok().copied())
}

fn before(now: DateTime, age: Duration) -> DateTime {
    let millis = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    DateTime::from_millis(now.timestamp_millis().saturating_sub(millis))
}

/// The logins of other hosts, whose sessions this one's login cannot end, and what that is.
pub(super) async fn other_logins(
    database: &Database,
) -> Result<(String, BTreeSet<String>), Failure> {
    let own = login(database).await?;
    let lately = match server_time(database).await? {
        Some(now) => doc! { "seen": { "$gte": before(now, FORGOTTEN) } },
        None => doc! {},
    };
    let sessions = database.collection(SESSIONS);
    let logins = sessions.distinct("login", lately).await?;
    let logins = logins.iter().filter_map(Bson::as_str);
    let others = logins.filter(|login| *login != own).map(str::to_owned);
    Ok((own.to_owned(), others.collect()))
}

/// Ends the sessions of hosts that have ended, as far as the server lets us.
pub(super) async fn end_abandoned(database: &Database) -> Result<(), Failure> {
    let Some(now) = server_time(database).await? else {
        return Ok(());
    };
    let login = login(database).await?;
    let sessions = database.collection(SESSIONS);
    let forgotten = doc! { "seen": { "$lt": before(now, FORGOTTEN) } };
    sessions.delete_many(forgotten).await?;
    let abandoned = doc! { "seen": { "$lt": before(now, ABANDONED) } };
    let abandoned = sessions.find(abandoned).await?;
    let abandoned: Vec<Document> = abandoned.try_collect().await?;
    for session in abandoned {
        let id = session.get("_id");
        match session.get_str("login") {
            Ok(others) if others != login => {
                database.writers().warn_of(others, login);
                continue;
            }
            _ => (),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_a_user_of_a_database() {
        let status = |users: Vec<Document>| doc! { "authInfo": { "authenticatedUsers": users } };
        let host = doc! { "user": "host", "db": "admin" };
        for (status, login) in [
            (status(vec![host]), "host@admin"),
            (status(Vec::new()), ""),
            (doc! {}, ""),
        ] {
            assert_eq!(login_of(&status), login);
        }
    }
}
