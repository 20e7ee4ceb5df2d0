//! A database, by connections that the driver keeps, and transactions in it: each reads what was
//! there when it began, and what it has written itself.

use super::failure::{self, Failure, Kind};
use super::turn::{self, Writers};
use crate::tries::{Pauses, Tries};
use chat_domain::operator::{NAME_FORM, is_name};
use futures_util::TryStreamExt;
use mongodb::action::Action;
use mongodb::bson::{Document, doc};
use mongodb::error::TRANSIENT_TRANSACTION_ERROR;
use mongodb::options::{
    ClientOptions, Collation, CollationStrength, ReadConcern, ReturnDocument, SelectionCriteria,
    WriteConcern,
};
use mongodb::{Client, ClientSession, Collection};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Connections of a store: reads, and the one transaction that writes. A server takes thousands.
const CONNECTIONS: u32 = 32;

/// How long a call tries: longer than a few conflicts take, and shorter than a call of a plugin's
/// may, so that a store that is stuck is named.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// How long a list of operators may take.
pub(super) const LIST_PATIENCE: Duration = Duration::from_secs(10);

const PAUSES: Pauses = Pauses {
    first: Duration::from_millis(4),
    longest: Duration::from_millis(50),
};

/// Tries to do something in this database.
pub(super) fn tries_until(deadline: Instant) -> Tries {
    Tries::until(deadline, PAUSES)
}

/// By what the server knows which program is connected.
const APP_NAME: &str = "host-harness";

/// What an address must be.
const FORM: &str = "it is no address of Rocket.Chat's database, such as \
                    mongodb://USER:PASSWORD@HOST/DATABASE?replicaSet=NAME";

/// What the workspace is called where the URL does not say.
const DEFAULT_WORKSPACE: &str = "default";

/// The parameter of a URL that says how the workspace is called.
const WORKSPACE: &str = "workspace=";

/// A database of Rocket.Chat's.
#[derive(Clone)]
pub(super) struct Database {
    client: Client,
    database: mongodb::Database,
    workspace: String,
    writers: Arc<Writers>,
}

impl Database {
    /// Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// When the URL is none, or names no database; where its name must be resolved, when it is
    /// not.
    pub(super) async fn at(url: &str) -> Result<Self, Failure> {
        let (url, workspace) = without_workspace(url);
        let parsed = ClientOptions::parse(&url).await;
        let mut options = parsed.map_err(|error| invalid(&url, error.into()))?;
        options.app_name.get_or_insert_with(|| APP_NAME.to_owned());
        options.max_pool_size.get_or_insert(CONNECTIONS);
        options.server_selection_timeout.get_or_insert(PATIENCE);
        options.connect_timeout.get_or_insert(PATIENCE);
        // What was acknowledged is not lost with one server; and what was written is read.
        options.write_concern = Some(WriteConcern::majority());
        options.read_concern = Some(ReadConcern::majority());
        options.selection_criteria = Some(SelectionCriteria::ReadPreference(
            mongodb::options::ReadPreference::Primary,
        ));
        let client = Client::with_options(options)?;
        let database = client.default_database();
        let database = database.ok_or_else(|| Failure::fault(FORM))?;
        let workspace = workspace.unwrap_or_else(|| DEFAULT_WORKSPACE.to_owned());
        match is_name(&workspace) {
            true => Ok(Self {
                client,
                database,
                workspace,
                writers: Arc::default(),
            }),
            false => Err(Failure::fault(format!("a workspace's id is {NAME_FORM}"))),
        }
    }

    /// Its name on the server.
    pub(super) fn database_name(&self) -> &str {
        self.database.name()
    }

    /// The id of the workspace that it is.
    pub(super) fn name(&self) -> &str {
        &self.workspace
    }

    pub(super) fn collection(&self, name: &str) -> Collection<Document> {
        self.database.collection(name)
    }

    /// The names of its collections.
    pub(super) async fn collections(&self) -> Result<Vec<String>, Failure> {
        Ok(self.database.list_collection_names().await?)
    }

    /// Asks the server something of itself.
    pub(super) async fn command(&self, command: Document) -> Result<Document, Failure> {
        Ok(self.database.run_command(command).await?)
    }

    /// Makes a collection, where it is not there.
    pub(super) async fn create(&self, name: &str) -> Result<(), Failure> {
        const IT_IS_THERE: i32 = 48;
        let created = self.database.create_collection(name).await;
        match created.map_err(|error| (failure::code(&error), error)) {
            Ok(()) | Err((Some(IT_IS_THERE), _)) => Ok(()),
            Err((_, error)) => Err(error.into()),
        }
    }

    /// What this process has said and heard of who writes.
    pub(super) fn writers(&self) -> &Writers {
        &self.writers
    }

    /// A transaction that is to write, for [`turn::LONGEST`] at most.
    pub(super) async fn begin_to_write(&self) -> Result<Transaction, Failure> {
        let session = self.client.start_session().await?;
        turn::say(self, &session).await?;
        self.begin_in(session).await
    }

    /// A transaction, which is undone where it is not committed.
    pub(super) async fn begin(&self) -> Result<Transaction, Failure> {
        self.begin_in(self.client.start_session().await?).await
    }

    async fn begin_in(&self, mut session: ClientSession) -> Result<Transaction, Failure> {
        let begun = session
            .start_transaction()
            .read_concern(ReadConcern::snapshot())
            .write_concern(WriteConcern::majority());
        begun.await?;
        Ok(Transaction {
            session,
            database: self.database.clone(),
            known: Vec::new(),
        })
    }
}

/// Why a URL is none. What is said of a text may quote it: where that holds a password, no more is
/// told than what an address is.
fn invalid(url: &str, failure: Failure) -> Failure {
    let (log_in, _) = url.rsplit_once('@').unwrap_or_default();
    let (_, password) = log_in.rsplit_once(':').unwrap_or_default();
    let told = failure.to_string();
    match failure.kind {
        Kind::Fault if password.is_empty() || !told.contains(password) => {
            Failure::fault(format!("{FORM}: {told}"))
        }
        Kind::Fault => Failure::fault(FORM),
        _ => failure,
    }
}

/// A URL as the driver takes it, and how it says that the workspace is called.
fn without_workspace(url: &str) -> (String, Option<String>) {
    let Some((place, parameters)) = url.split_once('?') else {
        return (url.to_owned(), None);
    };
    let (ours, theirs): (Vec<_>, Vec<_>) = parameters
        .split('&')
        .partition(|parameter| parameter.starts_with(WORKSPACE));
    let name = ours.last().and_then(|ours| ours.strip_prefix(WORKSPACE));
    (
        format!("{place}?{}", theirs.join("&")),
        name.map(str::to_owned),
    )
}

/// What is found in a transaction as of one moment, in as many tries as there is time for; nothing
/// is changed.
macro_rules! look {
    ($database:expr, $patience:expr, |$transaction:ident| $look:expr) => {{
        let mut tries = tries_until(Instant::now() + $patience);
        loop {
            let looked = async {
                let mut begun = $database.begin().await?;
                let $transaction = &mut begun;
                let found: std::result::Result<_, Failure> = $look.await;
                begun.undo().await;
                found
            };
            let looked = timeout_at(tries.deadline, looked).await;
            match looked.unwrap_or_else(|_| Err(Failure::silence())) {
                Ok(found) => break Ok(found),
                Err(failure) => {
                    if let Err(failure) = tries.again(failure).await {
                        break Err(failure);
                    }
                }
            }
        }
    }};
}
pub(super) use look;

/// How Rocket.Chat's own indexes compare usernames and addresses: without regard to case.
fn without_case() -> Collation {
    Collation::builder()
        .locale("en")
        .strength(CollationStrength::Secondary)
        .case_level(false)
        .build()
}

/// Which documents are looked for, and what of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Look {
    pub(super) filter: Document,
    /// What of them; nothing is everything.
    pub(super) projection: Option<Document>,
    pub(super) sort: Option<Document>,
    /// So many at most.
    pub(super) most: Option<i64>,
    /// Texts are compared without regard to case.
    pub(super) is_caseless: bool,
}

impl Look {
    pub(super) fn at(filter: Document) -> Self {
        Self {
            filter,
            ..Self::default()
        }
    }

    /// Nothing but these fields, and the id.
    pub(super) fn only(mut self, projection: Document) -> Self {
        self.projection = Some(projection);
        self
    }

    pub(super) fn sorted(mut self, sort: Document) -> Self {
        self.sort = Some(sort);
        self
    }

    pub(super) fn first(mut self, most: i64) -> Self {
        self.most = Some(most);
        self
    }

    pub(super) fn caseless(mut self) -> Self {
        self.is_caseless = true;
        self
    }
}

/// A transaction, in which one thing is done after the other.
pub(super) struct Transaction {
    session: ClientSession,
    database: mongodb::Database,
    /// What was found since the collection was written: it is found again. Of many who ask the same
    /// at once, one asks the server.
    known: Vec<Known>,
}

/// Documents that are found together, and known from then on: more than Rocket.Chat has
/// permissions; longer lists are operators', who ask once.
const MOST_KNOWN: usize = 500;

/// What was found in a collection.
struct Known {
    collection: String,
    look: Look,
    found: Vec<Document>,
}

impl Transaction {
    fn collection(&self, name: &str) -> Collection<Document> {
        self.database.collection(name)
    }

    /// The collection, which is written now.
    fn written(&mut self, name: &str) -> Collection<Document> {
        self.known.retain(|known| known.collection != name);
        self.collection(name)
    }

    pub(super) async fn find(
        &mut self,
        collection: &str,
        look: Look,
    ) -> Result<Vec<Document>, Failure> {
        let mut known = self.known.iter();
        let is_this = |known: &&Known| known.collection == collection && known.look == look;
        if let Some(known) = known.find(is_this) {
            return Ok(known.found.clone());
        }
        let found = self.ask(collection, look.clone()).await?;
        if found.len() <= MOST_KNOWN {
            self.known.push(Known {
                collection: collection.to_owned(),
                look,
                found: found.clone(),
            });
        }
        Ok(found)
    }

    async fn ask(&mut self, collection: &str, look: Look) -> Result<Vec<Document>, Failure> {
        let collection = self.collection(collection);
        let find = collection
            .find(look.filter)
            .optional(look.projection, |find, fields| find.projection(fields))
            .optional(look.sort, |find, sort| find.sort(sort))
            .optional(look.most, |find, most| find.limit(most))
            .optional(look.is_caseless.then(without_case), |find, collation| {
                find.collation(collation)
            });
        let mut cursor = find.session(&mut self.session).await?;
        Ok(cursor.stream(&mut self.session).try_collect().await?)
    }

    pub(super) async fn one(
        &mut self,
        collection: &str,
        look: Look,
    ) -> Result<Option<Document>, Failure> {
        Ok(self.find(collection, look.first(1)).await?.pop())
    }

    pub(super) async fn count(
        &mut self,
        collection: &str,
        filter: Document,
    ) -> Result<u32, Failure> {
        let collection = self.collection(collection);
        let count = collection.count_documents(filter);
        let count = count.session(&mut self.session).await?;
        Ok(count.try_into().unwrap_or(u32::MAX))
    }

    /// Changes the first document that the filter finds; whether there was one.
    pub(super) async fn update(
        &mut self,
        collection: &str,
        filter: Document,
        update: Document,
    ) -> Result<bool, Failure> {
        let collection = self.written(collection);
        let updated = collection.update_one(filter, update);
        let updated = updated.session(&mut self.session).await?;
        Ok(updated.matched_count > 0)
    }

    /// Changes a document that must be there.
    pub(super) async fn update_there(
        &mut self,
        collection: &str,
        filter: Document,
        update: Document,
    ) -> Result<(), Failure> {
        match self.update(collection, filter, update).await? {
            true => Ok(()),
            false => Err(Failure::overtaken()),
        }
    }

    /// Changes all documents that the filter finds.
    pub(super) async fn update_all(
        &mut self,
        collection: &str,
        filter: Document,
        update: Document,
    ) -> Result<(), Failure> {
        let collection = self.written(collection);
        let updated = collection.update_many(filter, update);
        updated.session(&mut self.session).await?;
        Ok(())
    }

    /// Changes documents, each by what finds it and what changes it (`{q, u}`), in one command.
    pub(super) async fn update_each(
        &mut self,
        collection: &str,
        updates: Vec<Document>,
    ) -> Result<(), Failure> {
        if updates.is_empty() {
            return Ok(());
        }
        self.known.retain(|known| known.collection != collection);
        let command = doc! { "update": collection, "updates": updates };
        let answer = self.database.run_command(command);
        let answer = answer.session(&mut self.session).await?;
        match answer.contains_key("writeErrors") {
            false => Ok(()),
            true => Err(Failure::fault("the server refuses to write it")),
        }
    }

    /// Changes the document with this id, which is made where there is none; gives it as it is
    /// then.
    pub(super) async fn upsert(
        &mut self,
        collection: &str,
        id: &str,
        update: Document,
    ) -> Result<Document, Failure> {
        let collection = self.written(collection);
        let upserted = collection
            .find_one_and_update(doc! { "_id": id }, update)
            .upsert(true)
            .return_document(ReturnDocument::After);
        let upserted = upserted.session(&mut self.session).await?;
        upserted.ok_or_else(Failure::overtaken)
    }

    pub(super) async fn insert(
        &mut self,
        collection: &str,
        documents: Vec<Document>,
    ) -> Result<(), Failure> {
        if documents.is_empty() {
            return Ok(());
        }
        let collection = self.written(collection);
        let inserted = collection.insert_many(documents);
        inserted.session(&mut self.session).await?;
        Ok(())
    }

    /// Removes all documents that the filter finds.
    pub(super) async fn delete(
        &mut self,
        collection: &str,
        filter: Document,
    ) -> Result<(), Failure> {
        let collection = self.written(collection);
        let deleted = collection.delete_many(filter);
        deleted.session(&mut self.session).await?;
        Ok(())
    }

    /// Makes it durable. What fails as [`Kind::Doubtful`] may have been done all the same, and may
    /// be asked again: that is all but what the server says to be undone.
    pub(super) async fn commit(&mut self) -> Result<(), Failure> {
        let committed = self.session.commit_transaction().await;
        committed.map_err(|error| {
            let is_undone = error.contains_label(TRANSIENT_TRANSACTION_ERROR);
            let mut failure = Failure::from(error);
            if !is_undone {
                failure.kind = Kind::Doubtful;
            }
            failure
        })
    }

    /// Undoes it. Where that fails, the server does so after a while.
    pub(super) async fn undo(mut self) {
        let _ = self.session.abort_transaction().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspaces_name_is_no_parameter_of_the_servers() {
        for (url, theirs, name) in [
            ("mongodb://a/b", "mongodb://a/b", None),
            ("mongodb://a/b?tls=true", "mongodb://a/b?tls=true", None),
            (
                "mongodb://a/b?workspace=acme",
                "mongodb://a/b?",
                Some("acme"),
            ),
            (
                "mongodb://a/b?x=1&workspace=acme&y=2",
                "mongodb://a/b?x=1&y=2",
                Some("acme"),
            ),
        ] {
            let found = without_workspace(url);
            assert_eq!(found, (theirs.to_owned(), name.map(str::to_owned)), "{url}");
        }
    }

    #[test]
    fn what_quotes_the_password_is_not_told() {
        let url = "mongodb://chat:hunter2@db/chat";
        for (told, shown) in [("no hunter2 here", false), ("no such option", true)] {
            let failure = invalid(url, Failure::fault(told)).to_string();
            assert!(failure.starts_with(FORM), "{failure}");
            assert_eq!(failure.contains(told), shown, "{failure}");
        }
        let lost = invalid(url, Failure::silence());
        assert_eq!(lost.kind, Kind::Lost);
    }
}
