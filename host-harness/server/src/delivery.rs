//! The delivery of mail: what sends what waits in the outbox.
//!
//! Every process that serves a store runs one [`deliver`]. A mail is claimed by
//! one of them at a time, so that it arrives once; where a process ends before
//! it has noted that a mail was sent, another sends it again after
//! [`LEASE`]. Both bear the same `Message-ID`.
//!
//! | outcome | what happens |
//! |---|---|
//! | accepted | the mail is removed |
//! | 4xx, no connection, no TLS, wrong password, sender refused, a policy (5.7.x) | tried again, after [`FIRST_PAUSE`] doubling to [`LONGEST_PAUSE`] |
//! | recipient or message refused with another 5xx | a dead letter at once; removed where it holds a code |
//! | handed in, and no answer | the same, but [`MOST_DOUBTFUL_TRIES`](chat_domain::outbox::MOST_DOUBTFUL_TRIES) times: each may be a copy |
//! | a setting is missing | tried again after [`MISSING_SETTING_PAUSE`] |
//! | sockets that Rocket.Chat has not closed | the same as a server that is down |
//! | its time is over, and a notice was tried [`LEAST_TRIES`](chat_domain::outbox::LEAST_TRIES) times | a dead letter; removed where it holds a code |

mod rocket_chat;
mod smtp;

use self::rocket_chat::NotClosed;
use self::smtp::{Connection, NotSent, Smtp};
use crate::clock::Clock;
use chat_domain::mail_server::MailServer;
use chat_domain::outbox::{self, Among, Claim, GiveUp, LEASE, LONGEST_PAUSE, NextTry};
use chat_domain::rocket_chat::RocketChat;
use chat_domain::settings::Settings;
use chat_domain::sockets::{NoteClosed, Sockets};
use chat_domain::time::Timestamp;
use chat_store::{Store, StoreError};
use lettre::message::header::{ContentType, HeaderName, HeaderValue, MIME_VERSION_1_0};
use lettre::message::{Mailbox, Message};
use lettre::{Address, address::AddressError};
use secrecy::{ExposeSecret, SecretString};
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, UNIX_EPOCH};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// How long one delivery may take, from the look-up of the server's address to
/// its answer. Servers that check a message while they are asked to take it are
/// slow, and one that is given up too early may have taken it.
pub const DELIVERY_LIMIT: Duration = Duration::from_secs(2 * 60);

/// Deliveries at a time for one workspace: its mail server is not flooded, and
/// while that is dead others' mail goes on.
pub const WORKSPACE_LIMIT: usize = 4;

/// Deliveries at a time, each with a connection: a quarter of the 1024 files that
/// a process may open by default.
pub const LIMIT: usize = 256;

/// How often the store is asked whether mail is due: a mail queued by any process
/// is seen within a second, and a look at an index costs microseconds.
pub const POLL: Duration = Duration::from_secs(1);

/// The pause after a mail's first failed try; it doubles with each.
pub const FIRST_PAUSE: Duration = Duration::from_secs(10);

/// The pause where a setting is missing: mail goes soon after it is set.
pub const MISSING_SETTING_PAUSE: Duration = Duration::from_secs(30);

/// How long deliveries in progress may go on after the stop signal: as long as
/// requests may.
pub const STOP_LIMIT: Duration = Duration::from_secs(15);

/// Mails that are sent by one connection, one after another: servers close those that never
/// end.
const CONNECTION_MAILS: usize = 100;

/// Tries to note in the store what became of a delivery, [`POLL`] apart: they
/// outlast another process that keeps the store busy.
const NOTE_TRIES: u32 = 10;

/// Characters of a problem that are kept: a line or two on a screen.
const MAX_PROBLEM: usize = 200;

/// No claim ends while its delivery goes on and is noted.
const _: () = assert!(DELIVERY_LIMIT.as_secs() + 60 < LEASE.as_secs());

/// Delivers the mail of all workspaces until `stop` is ready; then finishes the
/// deliveries in progress, for [`STOP_LIMIT`] at most. It survives every error
/// of the store, and a look or a delivery that panics.
pub async fn deliver(store: Arc<dyn Store>, clock: Clock, stop: impl Future<Output = ()> + Send) {
    let mut deliveries = Deliveries::new(store, clock);
    let mut stop = pin!(stop);
    loop {
        match caught(deliveries.start_due()).await {
            Ok(Ok(())) => (),
            Ok(Err(error)) => tracing::error!(%error, "cannot look for mail that is due"),
            Err(Panicked) => tracing::error!("a look for mail that is due panicked"),
        }
        tokio::select! {
            () = &mut stop => break,
            () = deliveries.one_ends(), if !deliveries.are_done() => (),
            () = sleep(POLL) => (),
        }
    }
    deliveries.closing.cancel();
    let finish = async {
        while !deliveries.are_done() {
            deliveries.one_ends().await;
        }
    };
    if timeout(STOP_LIMIT, finish).await.is_err() {
        tracing::warn!("stopped while mail was being sent; it is sent again");
    }
}

struct Panicked;

/// Awaits `work`, and lets no panic out. What it leaves half done in
/// [`Deliveries`] is a claim at most, which ends.
async fn caught<T>(work: impl Future<Output = T>) -> Result<T, Panicked> {
    let mut work = pin!(work);
    poll_fn(
        |cx| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(_) => Poll::Ready(Err(Panicked)),
        },
    )
    .await
}

/// Tries every mail that is due once, and returns when all have been.
///
/// # Errors
///
/// When the store fails.
pub async fn deliver_due(store: &Arc<dyn Store>, clock: &Clock) -> chat_store::Result<()> {
    let mut deliveries = Deliveries::new(store.clone(), clock.clone());
    loop {
        deliveries.start_due().await?;
        if deliveries.are_done() {
            return Ok(());
        }
        deliveries.one_ends().await;
    }
}

/// The deliveries in progress.
struct Deliveries {
    store: Arc<dyn Store>,
    clock: Clock,
    tasks: JoinSet<()>,
    /// The workspace of each.
    workspaces: HashMap<Id, String>,
    /// No more mail is claimed.
    closing: CancellationToken,
}

impl Deliveries {
    fn new(store: Arc<dyn Store>, clock: Clock) -> Self {
        Self {
            store,
            clock,
            tasks: JoinSet::new(),
            workspaces: HashMap::new(),
            closing: CancellationToken::new(),
        }
    }

    fn are_done(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Starts what is due, as far as the limits allow.
    async fn start_due(&mut self) -> chat_store::Result<()> {
        let now = self.clock.now();
        if self
            .store
            .next_mail_due(now)
            .await?
            .is_none_or(|due| due > now)
        {
            return Ok(());
        }
        for expired in self.store.expired_mails(now).await? {
            let (mail, workspace) = (expired.id, expired.workspace.clone());
            match self.store.decide(GiveUp { expired, now }).await? {
                Some(true) => {
                    tracing::info!(mail, workspace, "a code expired before it was sent");
                }
                Some(false) => tracing::warn!(mail, workspace, "gave up: a dead letter"),
                None => (),
            }
        }
        while self.tasks.len() < LIMIT {
            let busy = self.busy_workspaces();
            let now = self.clock.now();
            let Some(claim) = self.store.claim_mail(now, Among::AllBut(&busy)).await? else {
                break;
            };
            let workspace = claim.workspace.clone();
            let delivery = Delivery {
                store: self.store.clone(),
                clock: self.clock.clone(),
                open: None,
            };
            let delivery = delivery.run(claim, self.closing.clone());
            let task = self.tasks.spawn(delivery).id();
            self.workspaces.insert(task, workspace);
        }
        Ok(())
    }

    /// Those that have no delivery to spare.
    fn busy_workspaces(&self) -> Vec<String> {
        let mut counts = HashMap::<_, usize>::new();
        for workspace in self.workspaces.values() {
            *counts.entry(workspace).or_default() += 1;
        }
        let busy = counts.into_iter().filter(|(_, n)| *n >= WORKSPACE_LIMIT);
        busy.map(|(workspace, _)| workspace.clone()).collect()
    }

    /// Waits for the next to end.
    async fn one_ends(&mut self) {
        let Some(ended) = self.tasks.join_next_with_id().await else {
            return;
        };
        let id = match &ended {
            Ok((id, ())) => *id,
            Err(error) => JoinError::id(error),
        };
        self.workspaces.remove(&id);
        if ended.is_err() {
            tracing::error!("a delivery broke off; the mail is sent again");
        }
    }
}

/// One mail after another of a workspace, by one connection as long as that does.
struct Delivery {
    store: Arc<dyn Store>,
    clock: Clock,
    open: Option<Open>,
}

/// What was done of what waits.
enum Sent {
    Mail,
    /// Rocket.Chat has closed these.
    Closed(Sockets),
}

/// A connection, and the setting that it was opened by.
struct Open {
    connection: Connection,
    server: SecretString,
}

impl Delivery {
    /// Sends the mail, and then what else is due, until `closing`.
    async fn run(mut self, claim: Claim, closing: CancellationToken) {
        let workspace = claim.workspace.clone();
        let mut next = Some(claim);
        for _ in 0..CONNECTION_MAILS {
            let Some(claim) = next.take() else { break };
            self.deliver(&claim).await;
            if self.open.is_none() || closing.is_cancelled() {
                break;
            }
            let now = self.clock.now();
            let claimed = self.store.claim_mail(now, Among::Only(&workspace)).await;
            next = claimed.unwrap_or_else(|error| {
                tracing::error!(%error, "cannot look for mail that is due");
                None
            });
        }
        self.close().await;
    }

    async fn deliver(&mut self, claim: &Claim) {
        let (mail, workspace, tries) = (claim.id, claim.workspace.as_str(), claim.tries);
        if claim.was_put_off {
            tracing::warn!(
                mail,
                workspace,
                "a clock that was ahead had put it off; it is sent now"
            );
        }
        let sent = timeout(DELIVERY_LIMIT, self.send(claim)).await;
        let sent = sent.unwrap_or_else(|_elapsed| {
            let open = self.open.as_ref();
            let doubtful = open.is_some_and(|open| open.connection.has_handed_in());
            Err(Failure::TimedOut { doubtful })
        });
        let failure = match sent {
            Ok(Sent::Mail) => {
                let order = outbox::NoteSent {
                    workspace: claim.workspace.clone(),
                    id: mail,
                };
                note(mail, || self.store.decide(order.clone())).await;
                tracing::info!(mail, workspace, tries, "sent");
                return;
            }
            Ok(Sent::Closed(Sockets { user, request_id })) => {
                let order = NoteClosed {
                    workspace: claim.workspace.clone(),
                    id: mail,
                    now: self.clock.now(),
                };
                note(mail, || self.store.decide(order.clone())).await;
                tracing::info!(mail, workspace, tries, user, request_id, "sockets closed");
                return;
            }
            Err(failure) => failure,
        };
        let now = self.clock.now();
        let order = outbox::NoteNotSent {
            workspace: claim.workspace.clone(),
            id: mail,
            tries,
            problem: failure.for_operators(),
            doubtful: failure.is_doubtful(),
            next: failure.next_try(tries, now),
            now,
        };
        let is_final = note(mail, || self.store.decide(order.clone())).await;
        let is_final = is_final.unwrap_or(false);
        if tries > 1 && matches!(failure, Failure::Missing(_)) {
            tracing::debug!(mail, workspace, tries, problem = %failure, "still not sent");
        } else {
            tracing::warn!(mail, workspace, tries, is_final, problem = %failure, "not sent");
        }
        let can_go_on = match (&failure, &mut self.open) {
            (Failure::Server(problem), Some(open)) if problem.is_answered() => {
                open.connection.reset().await
            }
            (Failure::Recipient(_) | Failure::Message(_), Some(_)) => true,
            _ => false,
        };
        if !can_go_on {
            self.close().await;
        }
    }

    async fn send(&mut self, claim: &Claim) -> Result<Sent, Failure> {
        let settings = self.store.settings(&claim.workspace).await;
        let settings = settings.map_err(Failure::Settings)?.unwrap_or_default();
        let body = claim
            .body
            .as_ref()
            .map_err(|why| Failure::Body(why.clone()))?;
        if let Some(sockets) = Sockets::of(&claim.recipient, body.expose_secret()) {
            let rocket_chat = settings.rocket_chat.expose_secret();
            if rocket_chat.is_empty() {
                return Err(Failure::Missing("setting rocket-chat has"));
            }
            let rocket_chat = RocketChat::parse(rocket_chat).map_err(unreadable)?;
            let closed = rocket_chat::log_out(&rocket_chat, &sockets.user).await;
            closed.map_err(Failure::RocketChat)?;
            return Ok(Sent::Closed(sockets));
        }
        let (server, from) = server_and_sender(&settings)?;
        let to = claim.recipient.parse().map_err(Failure::Recipient)?;
        let message = message(claim, body, &from, &to).map_err(Failure::Message)?;
        let text = &settings.mail_server;
        let is_same = |open: &Open| open.server.expose_secret() == text.expose_secret();
        if !self.open.as_ref().is_some_and(is_same) {
            self.close().await;
        }
        let open = match &mut self.open {
            Some(open) => open,
            none => none.insert(Open {
                connection: Smtp(&server).connect().await.map_err(Failure::Server)?,
                server: text.clone(),
            }),
        };
        open.connection
            .send(&from.email, &to, &message.formatted())
            .await
            .map_err(Failure::Server)?;
        Ok(Sent::Mail)
    }

    async fn close(&mut self) {
        if let Some(open) = self.open.take() {
            open.connection.close().await;
        }
    }
}

/// Writes an outcome to the store, and gives its answer. It matters more than a try of a mail
/// does: without it the mail is sent again.
async fn note<T, F: Future<Output = chat_store::Result<T>>>(
    mail: i64,
    write: impl Fn() -> F,
) -> Option<T> {
    for _ in 0..NOTE_TRIES {
        match write().await {
            Ok(answer) => return Some(answer),
            Err(error) => tracing::error!(mail, %error, "cannot note what became of it"),
        }
        sleep(POLL).await;
    }
    None
}

fn server_and_sender(settings: &Settings) -> Result<(MailServer, Mailbox), Failure> {
    let server = settings.mail_server.expose_secret();
    match (server.is_empty(), settings.mail_from.is_empty()) {
        (true, true) => Err(Failure::Missing("settings mail-server and mail-from have")),
        (true, false) => Err(Failure::Missing("setting mail-server has")),
        (false, true) => Err(Failure::Missing("setting mail-from has")),
        // Both were checked when they were read.
        (false, false) => Ok((
            MailServer::parse(server).map_err(unreadable)?,
            settings.mail_from.parse().map_err(unreadable)?,
        )),
    }
}

fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> Failure {
    Failure::Settings(StoreError(error.into()))
}

/// The whole message, the same at every try while `mail-from` is.
fn message(
    claim: &Claim,
    body: &SecretString,
    from: &Mailbox,
    to: &Address,
) -> Result<Message, lettre::error::Error> {
    let is_automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
    let queued = UNIX_EPOCH + Duration::from_millis(claim.queued.millis().unsigned_abs());
    Message::builder()
        .from(from.clone())
        .to(to.clone().into())
        .subject(one_line(&claim.subject))
        .date(queued)
        .message_id(Some(format!(
            "<{}@{}>",
            claim.message_id,
            from.email.domain()
        )))
        .raw_header(HeaderValue::new(is_automatic, "auto-generated".to_owned()))
        .header(MIME_VERSION_1_0)
        .header(ContentType::TEXT_PLAIN)
        .body(body.expose_secret().to_owned())
}

/// A text that cannot begin another header.
fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// Why a mail was not sent. As text it holds nothing of the mail and nothing
/// that the server said: it goes to the log.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the {0} no value")]
    Missing(&'static str),
    #[error("the settings cannot be read: {0}")]
    Settings(StoreError),
    #[error("mail cannot be sent to this address: {0}")]
    Recipient(AddressError),
    #[error("{0}")]
    Body(String),
    #[error("the message cannot be written: {0}")]
    Message(lettre::error::Error),
    #[error("{0}")]
    Server(NotSent),
    #[error("{0}")]
    RocketChat(NotClosed),
    #[error("it took longer than {} s", DELIVERY_LIMIT.as_secs())]
    TimedOut {
        /// It had been handed in.
        doubtful: bool,
    },
}

impl Failure {
    fn next_try(&self, tries: u32, now: Timestamp) -> NextTry {
        match self {
            Self::Recipient(_) => NextTry::Never,
            Self::Server(problem) if problem.is_final() => NextTry::Never,
            Self::Missing(_) => NextTry::At(now + MISSING_SETTING_PAUSE),
            _ => NextTry::At(now + pause_after(tries)),
        }
    }

    /// Whether the mail may have arrived all the same.
    fn is_doubtful(&self) -> bool {
        match self {
            Self::Server(problem) => problem.is_doubtful(),
            Self::TimedOut { doubtful } => *doubtful,
            _ => false,
        }
    }

    /// With what the server said, in one printable line.
    fn for_operators(&self) -> String {
        let words = match self {
            Self::Server(problem) => problem.words(),
            _ => None,
        };
        let text = match words {
            Some(words) => format!("{self}: {words}"),
            None => self.to_string(),
        };
        one_line(&text).chars().take(MAX_PROBLEM).collect()
    }
}

/// How long a mail waits after that many tries.
fn pause_after(tries: u32) -> Duration {
    let doublings = tries.saturating_sub(1).min(u32::BITS - 1);
    FIRST_PAUSE
        .saturating_mul(1 << doublings)
        .min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_from_ten_seconds_to_an_hour() {
        let pauses = [1, 2, 3, 9, 10, 11, 1000, u32::MAX].map(|n| pause_after(n).as_secs());
        assert_eq!(pauses, [10, 20, 40, 2560, 3600, 3600, 3600, 3600]);
    }
}
