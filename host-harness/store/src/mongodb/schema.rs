//! The store's own collections, beside Rocket.Chat's, which are never made or changed in their form.

use super::account::ACCOUNTS;
use super::audit_log::{AUDIT, LEAVES, LOG};
use super::database::Database;
use super::failure::Failure;
use super::field::Fields;
use super::outbox::OUTBOX;
use super::settings::{FIXED_SETTINGS, ROCKET_SETTINGS, SETTINGS};
use super::turn::SESSIONS;
use crate::convention::A_NEWER_PROGRAMS;
use crate::seal::{Seal, Sealing};
use mongodb::IndexModel;
use mongodb::bson::{Document, doc};
use mongodb::options::IndexOptions;
use std::time::Duration;

/// Documents of which there is one each: [`VERSION_OF`], [`TURN`] and [`PROBE`].
pub(super) const STORE: &str = "reset_totp_store";

/// `{version, key_id, check_value}`: that there is a store, and under which key it is sealed.
const VERSION_OF: &str = "store";

/// `{turn, mails, records}`: what every transaction writes first, and the numbers that were given
/// last.
pub(super) const TURN: &str = "turn";

/// `{at}`: written to see whether anything can be.
pub(super) const PROBE: &str = "probe";

/// `{_id, committed, at}`: of each transaction, so long as somebody may ask for it.
pub(super) const MARKS: &str = "reset_totp_commit_mark";

/// How old marks are when the server removes them: whoever asks for one does so within seconds.
const KEPT_MARKS: Duration = Duration::from_secs(60 * 60);

/// Every collection of the store's.
const COLLECTIONS: [&str; 10] = [
    STORE,
    MARKS,
    SESSIONS,
    ACCOUNTS,
    SETTINGS,
    FIXED_SETTINGS,
    OUTBOX,
    AUDIT,
    LEAVES,
    LOG,
];

/// Of 1 a store had fewer indexes, and else the same.
const VERSION: i64 = 2;

/// What is said of a database with none of Rocket.Chat's collections.
const NO_ROCKET_CHAT: &str = "there is no Rocket.Chat in this database: name the one of its \
                              MONGO_URL";

/// What is said of a database of Rocket.Chat's without a store.
const NO_STORE: &str = "Rocket.Chat's database holds nothing of this program's yet; \
                        `host-harness serve` makes it";

/// What is said of a server that is alone.
const NO_REPLICA_SET: &str = "the server is no replica set, which transactions need, and \
                              Rocket.Chat, too: add replicaSet=NAME to the URL, or make it one";

/// Makes what is missing, if it may: sealed, where there is a key.
///
/// # Errors
///
/// When it is not Rocket.Chat's database, or none that this program can use; or as
/// [`Seal::admit`].
pub(super) async fn prepare(
    database: &Database,
    may_create: bool,
    seal: &Seal,
) -> crate::Result<()> {
    require_rocket_chat(database).await?;
    if look(database).await?.is_none() {
        if !may_create {
            return Err(Failure::fault(NO_STORE).into());
        }
        create(database, seal).await?;
    }
    admit(database, seal).await?;
    Ok(bring_up_to_date(database).await?)
}

async fn bring_up_to_date(database: &Database) -> Result<(), Failure> {
    let older = doc! { "_id": VERSION_OF, "version": { "$lt": VERSION } };
    let store = database.collection(STORE);
    if store.find_one(older.clone()).await?.is_some() {
        index(database).await?;
        let set = doc! { "$set": { "version": VERSION } };
        store.update_one(older, set).await?;
    }
    Ok(())
}

/// Whether the store may be opened.
///
/// # Errors
///
/// As [`prepare`]; when there is no store.
pub(super) async fn admit(database: &Database, seal: &Seal) -> crate::Result<()> {
    match look(database).await? {
        Some(store) => Ok(seal.admit(sealing_in(&store)?.as_ref())?),
        None => Err(Failure::fault(NO_STORE).into()),
    }
}

pub(super) async fn require_rocket_chat(database: &Database) -> Result<(), Failure> {
    let hello = database.command(doc! { "hello": 1 }).await?;
    let is_set = hello.contains_key("setName");
    let is_router = hello.get_str("msg").is_ok_and(|msg| msg == "isdbgrid");
    if !is_set && !is_router {
        return Err(Failure::fault(NO_REPLICA_SET));
    }
    let collections = database.collections().await?;
    match collections.iter().any(|name| name == ROCKET_SETTINGS) {
        true => Ok(()),
        false => Err(Failure::fault(NO_ROCKET_CHAT)),
    }
}

/// As [`admit`], and so is a Rocket.Chat where there is no store yet.
///
/// # Errors
///
/// As [`prepare`].
pub(super) async fn admit_any(database: &Database, seal: &Seal) -> crate::Result<()> {
    require_rocket_chat(database).await?;
    match look(database).await? {
        Some(_) => admit(database, seal).await,
        None => Ok(()),
    }
}

/// What says that there is a store; none where there is not.
async fn look(database: &Database) -> Result<Option<Document>, Failure> {
    let found = database.collection(STORE);
    let Some(store) = found.find_one(doc! { "_id": VERSION_OF }).await? else {
        return Ok(None);
    };
    let version = Fields::of(&store, STORE, VERSION_OF).needed_number("version")?;
    match version > VERSION {
        true => Err(Failure::fault(A_NEWER_PROGRAMS)),
        false => Ok(Some(store)),
    }
}

/// Several hosts may do so at once.
async fn create(database: &Database, seal: &Seal) -> Result<(), Failure> {
    for name in COLLECTIONS {
        database.create(name).await?;
    }
    index(database).await?;
    let mut store = doc! { "version": VERSION };
    if let Some(sealing) = seal.sealing() {
        store.insert("key_id", sealing.key_id);
        store.insert("check_value", sealing.check_value);
    }
    for (id, document) in [
        (
            TURN,
            doc! { "turn": 0_i64, "mails": 0_i64, "records": 0_i64 },
        ),
        (VERSION_OF, store),
    ] {
        let made = database.collection(STORE);
        let made = made.update_one(doc! { "_id": id }, doc! { "$setOnInsert": document });
        made.upsert(true).await?;
    }
    Ok(())
}

/// Makes the indexes that are missing.
async fn index(database: &Database) -> Result<(), Failure> {
    let index = |keys: Document| IndexModel::builder().keys(keys).build();
    let unique = |keys: Document| {
        let options = IndexOptions::builder().unique(true).build();
        IndexModel::builder().keys(keys).options(options).build()
    };
    let removed_in_time = IndexOptions::builder().expire_after(KEPT_MARKS).build();
    let marks = IndexModel::builder()
        .keys(doc! { "at": 1 })
        .options(removed_in_time)
        .build();
    for (collection, index) in [
        (MARKS, marks),
        (ACCOUNTS, index(doc! { "failures.count": 1 })),
        (OUTBOX, index(doc! { "next_try": 1, "_id": 1 })),
        (OUTBOX, unique(doc! { "message_id": 1 })),
        (AUDIT, index(doc! { "at": 1, "_id": 1 })),
        (AUDIT, index(doc! { "idx": 1, "_id": 1 })),
        (AUDIT, index(doc! { "caller": 1, "at": 1 })),
        (AUDIT, index(doc! { "target": 1, "at": 1 })),
        (AUDIT, index(doc! { "action": 1, "at": 1 })),
    ] {
        database.collection(collection).create_index(index).await?;
    }
    Ok(())
}

/// What the store says of its seal; none where it is not sealed.
pub(super) async fn sealing(database: &Database) -> Result<Option<Sealing>, Failure> {
    match look(database).await? {
        Some(store) => sealing_in(&store),
        None => Ok(None),
    }
}

fn sealing_in(store: &Document) -> Result<Option<Sealing>, Failure> {
    let fields = Fields::of(store, STORE, VERSION_OF);
    let Some(key_id) = fields.text("key_id")? else {
        return Ok(None);
    };
    Ok(Some(Sealing {
        key_id: key_id.to_owned(),
        check_value: fields.needed_text("check_value")?.to_owned(),
    }))
}

/// Says that everything is under this key.
pub(super) async fn set_sealing(database: &Database, sealing: &Sealing) -> Result<(), Failure> {
    let set = doc! { "key_id": &sealing.key_id, "check_value": &sealing.check_value };
    let store = database.collection(STORE);
    let written = store.update_one(doc! { "_id": VERSION_OF }, doc! { "$set": set });
    written.await?;
    Ok(())
}
