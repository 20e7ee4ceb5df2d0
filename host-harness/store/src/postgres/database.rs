//! Connections to a server, and trips over them: what is sent together is answered together,
//! after the time of one way there and back.

use super::address::{self, Access};
use super::failure::{Failure, Kind};
use super::query::{Query, Value, query};
use crate::lists::{Lists, Turn};
use crate::tries::{Pauses, Tries};
use deadpool_postgres::{ClientWrapper, Hook, HookError, Object, Pool, Runtime};
use std::future::{Future, poll_fn};
use std::task::Poll;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};

/// The role that sees one workspace: who writes and reads in one takes it for as long.
pub(super) const WORKSPACE_ROLE: &str = "chat_workspace";

/// Connections of a store: as many workspaces are written at a time. A server has a hundred by
/// default, and several hosts share them.
const CONNECTIONS: usize = 16;

/// How long a call tries: longer than a fail-over of connections and a few conflicts take, and
/// shorter than a call of a plugin's may, so that a store that is stuck is named.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// Lists that are made at a time: most connections are left to those who log in and reset.
const LISTS: usize = 4;

const _: () = assert!(2 * LISTS <= CONNECTIONS);

/// How long a statement that lists may take: on a large store it takes seconds, and less than
/// the administrators' page waits.
const STATEMENT_IN_LIST: Duration = Duration::from_secs(10);

/// How long a list may take once it has its turn: longer than one statement, so that the server
/// ends that and the connection is kept.
pub(super) const LIST_PATIENCE: Duration = STATEMENT_IN_LIST.saturating_add(Duration::from_secs(1));

/// How long a statement may take within a transaction that writes: others wait for its
/// workspace.
pub(super) const STATEMENT_IN_WRITE: Duration = Duration::from_secs(2);

const PAUSES: Pauses = Pauses {
    first: Duration::from_millis(10),
    longest: Duration::from_millis(200),
};

/// Tries to do something in this database.
pub(super) fn tries_until(deadline: Instant) -> Tries {
    Tries::until(deadline, PAUSES)
}

const BEGIN_TO_READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
pub(super) const BEGIN_TO_WRITE: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";
pub(super) const COMMIT: &str = "COMMIT";
const ROLLBACK: &str = "ROLLBACK";

/// What a connection begins with. Tables are found where they were made, also by another role, and
/// no temporary one before them. A statement is planned once, where the server can do that: to plan
/// it for each look-up takes ten times as long as that.
const PREPARE_SESSION: &str = "
    SELECT set_config('search_path', quote_ident(current_schema()) || ', pg_temp', FALSE);
    SELECT set_config('plan_cache_mode', 'force_generic_plan', FALSE)
    WHERE current_setting('plan_cache_mode', TRUE) IS NOT NULL";

/// What one query found, or why it did not.
pub(super) type Found = Result<Vec<Row>, Failure>;

/// A database, by connections that are kept.
pub(super) struct Database {
    pool: Pool,
    lists: Lists,
}

impl Database {
    /// # Errors
    ///
    /// As [`address::manager`].
    pub(super) fn at(url: &str, access: Access) -> Result<Self, Failure> {
        let prepare = Hook::async_fn(|client: &mut ClientWrapper, _| {
            Box::pin(async move {
                let prepared = client.batch_execute(PREPARE_SESSION).await;
                prepared.map_err(HookError::Backend)
            })
        });
        let pool = Pool::builder(address::manager(url, access)?)
            .max_size(CONNECTIONS)
            .runtime(Runtime::Tokio1)
            .post_create(prepare)
            .build()
            .map_err(|error| Failure::new(Kind::Fault, error.to_string()))?;
        let lists = Lists::new(LISTS);
        Ok(Self { pool, lists })
    }

    /// A connection, had in time.
    pub(super) async fn connection(&self, deadline: Instant) -> Result<Connection, Failure> {
        let object = timeout_at(deadline, self.pool.get()).await;
        let object = object.map_err(|_| self.why_none())??;
        Ok(Connection {
            object: Some(object),
            is_clean: true,
            answers_by: None,
            turn: None,
        })
    }

    /// Why no connection was had in time.
    fn why_none(&self) -> Failure {
        let status = self.pool.status();
        match status.size >= status.max_size && status.waiting > 0 {
            true => Failure::new(Kind::Busy, "all connections are in use"),
            false => Failure::silence(),
        }
    }

    /// What these find as of one moment: in one workspace, or in all.
    pub(super) async fn read(
        &self,
        workspace: Option<&str>,
        queries: impl Fn() -> Vec<Query>,
    ) -> Result<Vec<Vec<Row>>, Failure> {
        let mut tries = tries_until(Instant::now() + PATIENCE);
        loop {
            let found = match self.connection(tries.deadline).await {
                Ok(mut connection) => {
                    let begin = begin_to_read(workspace);
                    connection.find(begin, queries(), tries.deadline).await
                }
                Err(failure) => Err(failure),
            };
            match found {
                Ok(found) => return Ok(found),
                Err(failure) => tries.again(failure).await?,
            }
        }
    }

    /// As [`Database::read`] what may take long, when it has its turn.
    ///
    /// # Errors
    ///
    /// [`Unavailable::Crowded`](crate::Unavailable::Crowded) where it has none in time.
    pub(super) async fn list(
        &self,
        workspace: Option<&str>,
        queries: impl Fn() -> Vec<Query>,
    ) -> crate::Result<Vec<Vec<Row>>> {
        let mut turn = Some(self.lists.turn(workspace).await?);
        let mut tries = tries_until(Instant::now() + LIST_PATIENCE);
        loop {
            let found = match self.connection(tries.deadline).await {
                Ok(mut connection) => {
                    connection.turn = turn.take();
                    let mut begin = begin_to_read(workspace);
                    begin.push(limit(STATEMENT_IN_LIST));
                    let found = connection.find(begin, queries(), tries.deadline).await;
                    turn = connection.turn.take();
                    found
                }
                Err(failure) => Err(failure),
            };
            match found {
                Ok(found) => return Ok(found),
                Err(failure) => tries.again(failure).await?,
            }
        }
    }

    /// What these find, and do, in a transaction over all workspaces, which is durable then.
    /// Where its answer is lost, it may have been done.
    pub(super) async fn write(
        &self,
        queries: Vec<Query>,
        deadline: Instant,
    ) -> Result<Vec<Vec<Row>>, Failure> {
        let mut trip = vec![query!(BEGIN_TO_WRITE)];
        trip.extend(queries);
        trip.extend(commit());
        let mut connection = self.connection(deadline).await?;
        let mut found = connection.whole(trip, deadline).await?;
        found.truncate(found.len() - commit().len());
        Ok(found.split_off(1))
    }
}

/// What begins a transaction that reads in one workspace, or in all.
fn begin_to_read(workspace: Option<&str>) -> Vec<Query> {
    let mut begin = vec![query!(BEGIN_TO_READ)];
    begin.extend(workspace.map(enter));
    begin
}

/// What begins a transaction that writes in one workspace.
pub(super) fn begin(workspace: &str) -> Vec<Query> {
    vec![
        query!(BEGIN_TO_WRITE),
        enter(workspace),
        limit(STATEMENT_IN_WRITE),
    ]
}

/// What commits. A limit of time would end the wait for a synchronous standby, and the server
/// would answer as though that had what it lacks.
pub(super) fn commit() -> [Query; 2] {
    [limit(Duration::ZERO), query!(COMMIT)]
}

/// Within the transaction nothing but the workspace is there.
fn enter(workspace: &str) -> Query {
    query!(
        "SELECT set_config('role', $1, TRUE), set_config('chat.workspace', $2, TRUE)",
        WORKSPACE_ROLE,
        Value::key(workspace),
    )
}

/// How long a statement of the transaction may take; zero is for ever.
fn limit(time: Duration) -> Query {
    query!(
        "SELECT set_config('statement_timeout', $1, TRUE)",
        &time.as_millis().to_string(),
    )
}

/// A connection that goes back to the others, unless what it is in the middle of is not known.
pub(super) struct Connection {
    object: Option<Object>,
    /// It is between two transactions, or will be by itself.
    is_clean: bool,
    /// Until when the server answers what was sent; none where it has.
    answers_by: Option<Instant>,
    /// That of the list which it is used for.
    turn: Option<Turn>,
}

impl Connection {
    /// Sends a whole transaction, which leaves nothing open whether or not it is waited for.
    ///
    /// # Errors
    ///
    /// What failed first: the transaction never was, or its answer is lost.
    async fn whole(
        &mut self,
        queries: Vec<Query>,
        deadline: Instant,
    ) -> Result<Vec<Vec<Row>>, Failure> {
        self.trip(&queries, deadline).await.into_iter().collect()
    }

    /// What these find in a transaction that `begin` begins.
    async fn find(
        &mut self,
        begin: Vec<Query>,
        queries: Vec<Query>,
        deadline: Instant,
    ) -> Result<Vec<Vec<Row>>, Failure> {
        let before = begin.len();
        let mut trip = begin;
        trip.extend(queries);
        trip.push(query!(COMMIT));
        let mut found = self.whole(trip, deadline).await?;
        found.pop();
        Ok(found.split_off(before))
    }

    /// As [`Connection::whole`] a part of a transaction, which stays open.
    pub(super) async fn part(&mut self, queries: &[Query], deadline: Instant) -> Vec<Found> {
        self.is_clean = false;
        self.trip(queries, deadline).await
    }

    /// What one query finds, by itself or in the transaction that is open.
    pub(super) async fn one(&mut self, query: Query, deadline: Instant) -> Found {
        let found = self.trip(&[query], deadline).await.pop();
        found.unwrap_or_else(|| Err(Failure::silence()))
    }

    /// Runs statements that nothing is given to, and that find nothing.
    pub(super) async fn script(&mut self, script: &str, deadline: Instant) -> Result<(), Failure> {
        self.is_clean = false;
        let Some(client) = &self.object else {
            return Err(Failure::silence());
        };
        match timeout_at(deadline, client.batch_execute(script)).await {
            Ok(ran) => Ok(ran?),
            Err(_) => {
                self.discard();
                Err(Failure::silence())
            }
        }
    }

    /// The client itself, for what no query does.
    pub(super) fn client(&self) -> Option<&Client> {
        self.object.as_deref().map(|client| &**client)
    }

    /// The transaction has ended.
    pub(super) fn ended(&mut self) {
        self.is_clean = true;
    }

    /// Undoes the transaction that is open, if one is.
    pub(super) async fn roll_back(&mut self, deadline: Instant) {
        if self.is_clean {
            return;
        }
        let found = self.trip(&[query!(ROLLBACK)], deadline).await;
        self.is_clean = found.iter().all(Result::is_ok);
    }

    /// What each finds, in their order. Where one cannot even be asked, none is.
    async fn trip(&mut self, queries: &[Query], deadline: Instant) -> Vec<Found> {
        let Some(client) = &self.object else {
            return silence(queries);
        };
        self.answers_by = Some(deadline);
        let answered = timeout_at(deadline, send(client, queries)).await;
        self.answers_by = None;
        match answered {
            Ok(found) => found,
            Err(_) => {
                self.is_clean = false;
                self.discard();
                silence(queries)
            }
        }
    }

    /// Closes the connection, whatever it is in the middle of.
    fn discard(&mut self) {
        if let Some(object) = self.object.take() {
            drop(Object::take(object));
        }
    }
}

/// Whoever asked may have gone away in the middle.
impl Drop for Connection {
    fn drop(&mut self) {
        match (self.answers_by, Handle::try_current()) {
            _ if !self.is_clean => self.discard(),
            (None, _) => (),
            (Some(_), Err(_)) => self.discard(),
            (Some(deadline), Ok(runtime)) => {
                if let Some(object) = self.object.take() {
                    runtime.spawn(settle(object, self.turn.take(), deadline));
                }
            }
        }
    }
}

/// Waits for the answer that nobody waits for any more: until then the connection, and the turn, are
/// nobody else's.
async fn settle(object: Object, turn: Option<Turn>, deadline: Instant) {
    let answered = timeout_at(deadline, object.batch_execute("")).await;
    if !matches!(answered, Ok(Ok(()))) {
        drop(Object::take(object));
    }
    drop(turn);
}

fn silence(queries: &[Query]) -> Vec<Found> {
    queries.iter().map(|_| Err(Failure::silence())).collect()
}

/// Prepares what the connection has not prepared yet, and sends all.
async fn send(client: &ClientWrapper, queries: &[Query]) -> Vec<Found> {
    let prepared = queries.iter().map(|query| client.prepare_cached(query.sql));
    let prepared: Result<Vec<_>, _> = all(prepared).await.into_iter().collect();
    let statements = match prepared {
        Ok(statements) => statements,
        Err(error) => {
            let failure = Failure::from(error);
            return queries.iter().map(|_| Err(failure.clone())).collect();
        }
    };
    let asked = statements
        .iter()
        .zip(queries)
        .map(|(statement, query)| async move {
            let values = query
                .values
                .iter()
                .map(|value| value as &(dyn ToSql + Sync));
            let values: Vec<_> = values.collect();
            Ok(client.query(statement, &values).await?)
        });
    all(asked).await
}

/// All outcomes. What the futures send at first goes out in their order, before any answer is
/// waited for.
async fn all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut waiting: Vec<_> = futures
        .map(|future| (Some(Box::pin(future)), None))
        .collect();
    poll_fn(|context| {
        let mut is_done = true;
        for (future, outcome) in &mut waiting {
            if let Some(polled) = future {
                match polled.as_mut().poll(context) {
                    Poll::Ready(ready) => (*future, *outcome) = (None, Some(ready)),
                    Poll::Pending => is_done = false,
                }
            }
        }
        match is_done {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
    waiting
        .into_iter()
        .filter_map(|(_, outcome)| outcome)
        .collect()
}
