//! How often a request goes to the store: each trip is what a request costs beside its
//! sandbox.

use crate::http::{PATH, Server, built};
use async_trait::async_trait;
use chat_domain::account::Profile;
use chat_domain::audit::{RecordFilter, StoredRecord};
use chat_domain::audit_log::Page;
use chat_domain::clock_fault::Horizon;
use chat_domain::directory::{AccountFilter, AccountPage};
use chat_domain::dossier::{Dossier, Question};
use chat_domain::health::Health;
use chat_domain::operator::{Role, WorkspaceSummary};
use chat_domain::outbox::{Among, Claim, Expired, OutboxCount, StoredMail};
use chat_domain::settings::Settings;
use chat_domain::time::Timestamp;
use chat_store::seal::{Position, Renewed, Sealing};
use chat_store::{Decide, Result, Store, StoreError};
use chat_testing::{Data, admin_code};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A store whose trips are counted, and end as a test says.
pub(crate) struct Watched {
    store: Arc<dyn Store>,
    trips: Arc<AtomicUsize>,
    /// What becomes of the trip of this number.
    fate: Box<dyn Fn(usize) -> Fate + Send + Sync>,
}

/// What becomes of a trip to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is made.
    Made,
    /// It fails, and nothing is done.
    Failed,
    /// What is asked is done, and whoever asked is told that it failed.
    Lost,
}

impl Watched {
    /// `trips` counts from now on.
    pub(crate) fn around(
        store: Arc<dyn Store>,
        trips: &Arc<AtomicUsize>,
        fate: impl Fn(usize) -> Fate + Send + Sync + 'static,
    ) -> Arc<dyn Store> {
        Arc::new(Self {
            store,
            trips: trips.clone(),
            fate: Box::new(fate),
        })
    }

    async fn trip<T>(&self, trip: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let number = self.trips.fetch_add(1, Ordering::Relaxed) + 1;
        let fate = (self.fate)(number);
        if fate == Fate::Failed {
            return Err(StoreError("a test lets it fail".into()));
        }
        let answer = trip.await?;
        match fate {
            Fate::Lost => Err(StoreError("a test loses the answer".into())),
            Fate::Made | Fate::Failed => Ok(answer),
        }
    }
}

#[async_trait]
impl Store for Watched {
    async fn read(&self, question: &Question) -> Result<Dossier> {
        self.trip(self.store.read(question)).await
    }
    async fn transact(&self, question: Question, decide: Decide) -> Result<()> {
        self.trip(self.store.transact(question, decide)).await
    }
    async fn workspaces(&self, now: Timestamp) -> Result<Vec<WorkspaceSummary>> {
        self.trip(self.store.workspaces(now)).await
    }
    async fn profiles(&self, workspace: &str) -> Result<Vec<Profile>> {
        self.trip(self.store.profiles(workspace)).await
    }
    async fn accounts(&self, workspace: &str, filter: &AccountFilter) -> Result<AccountPage> {
        self.trip(self.store.accounts(workspace, filter)).await
    }
    async fn all_roles(&self, workspace: &str) -> Result<Vec<Role>> {
        self.trip(self.store.all_roles(workspace)).await
    }
    async fn mails(&self, workspace: &str, after: i64, most: u32) -> Result<Vec<StoredMail>> {
        self.trip(self.store.mails(workspace, after, most)).await
    }
    async fn next_mail_due(&self, now: Timestamp) -> Result<Option<Timestamp>> {
        self.trip(self.store.next_mail_due(now)).await
    }
    async fn outbox_count(&self) -> Result<OutboxCount> {
        self.trip(self.store.outbox_count()).await
    }
    async fn claim_mail(&self, now: Timestamp, among: Among<'_>) -> Result<Option<Claim>> {
        self.trip(self.store.claim_mail(now, among)).await
    }
    async fn expired_mails(&self, now: Timestamp) -> Result<Vec<Expired>> {
        self.trip(self.store.expired_mails(now)).await
    }
    async fn records(&self, workspace: &str, filter: &RecordFilter) -> Result<Vec<StoredRecord>> {
        self.trip(self.store.records(workspace, filter)).await
    }
    async fn log(&self, workspace: &str, from: i64) -> Result<Option<Page>> {
        self.trip(self.store.log(workspace, from)).await
    }
    async fn clock_faults(&self, horizon: Horizon) -> Result<u32> {
        self.trip(self.store.clock_faults(horizon)).await
    }
    async fn health(&self, now: Timestamp) -> Result<Health> {
        self.trip(self.store.health(now)).await
    }
    async fn probe(&self, now: Timestamp) -> Result<()> {
        self.trip(self.store.probe(now)).await
    }
    async fn sealing(&self) -> Result<Option<Sealing>> {
        self.trip(self.store.sealing()).await
    }
    async fn renew(&self, from: Position, most: u32) -> Result<Renewed> {
        self.trip(self.store.renew(from, most)).await
    }
    async fn set_sealing(&self) -> Result<()> {
        self.trip(self.store.set_sealing()).await
    }
}

/// A request, and how many trips its answer takes.
struct Row {
    name: &'static str,
    query: &'static str,
    /// Whole lines, each with its end.
    headers: String,
    body: String,
    answer: &'static str,
    trips: usize,
}

/// The administrator's request to reset alice, with a right code.
fn success() -> Row {
    Row {
        name: "success",
        query: "",
        headers: format!("{TOKEN}x-2fa-code: {}\r\n", admin_code()),
        body: r#"{"userId":"alice"}"#.to_owned(),
        answer: r#"{"success":true}"#,
        trips: 4,
    }
}

const TOKEN: &str = "x-user-id: admin\r\nx-auth-token: admin-token\r\n";

fn rows() -> [Row; 15] {
    let code = format!("x-2fa-code: {}\r\n", admin_code());
    let origin = "origin: https://chat.example\r\n";
    [
        Row {
            name: "nobody is logged in",
            headers: code.clone(),
            answer: "You must be logged in",
            trips: 0,
            ..success()
        },
        Row {
            name: "the token is wrong",
            headers: format!("x-user-id: admin\r\nx-auth-token: alice-token\r\n{code}"),
            answer: "You must be logged in",
            trips: 1,
            ..success()
        },
        Row {
            name: "the token is wrong, in a web page",
            headers: format!("{origin}x-user-id: admin\r\nx-auth-token: alice-token\r\n"),
            answer: "You must be logged in",
            trips: 1,
            ..success()
        },
        Row {
            name: "a query",
            query: "?userId=alice",
            answer: "the query is not empty",
            trips: 1,
            ..success()
        },
        Row {
            name: "a query, and the token is wrong",
            query: "?userId=alice",
            headers: "x-user-id: admin\r\nx-auth-token: alice-token\r\n".to_owned(),
            answer: "You must be logged in",
            trips: 1,
            ..success()
        },
        Row {
            name: "a header twice",
            headers: format!("{TOKEN}{code}{code}"),
            answer: "the header x-2fa-code is repeated",
            trips: 1,
            ..success()
        },
        Row {
            name: "a body that is too long, in a web page",
            headers: format!("{origin}{TOKEN}{code}"),
            body: " ".repeat(64 * 1024 + 1),
            answer: "the body is longer than",
            trips: 1,
            ..success()
        },
        Row {
            name: "a body that the plugin does not understand",
            body: "{".to_owned(),
            answer: "invalid-params",
            trips: 2,
            ..success()
        },
        Row {
            name: "no code",
            headers: TOKEN.to_owned(),
            answer: "totp-required",
            trips: 2,
            ..success()
        },
        Row {
            name: "no code, in a web page",
            headers: format!("{origin}{TOKEN}"),
            answer: "totp-required",
            trips: 2,
            ..success()
        },
        Row {
            name: "a wrong code",
            headers: format!("{TOKEN}x-2fa-code: 000000\r\n"),
            answer: "totp-invalid",
            trips: 3,
            ..success()
        },
        Row {
            name: "the caller may not: nobody is looked up",
            headers: format!(
                "x-user-id: moderator\r\nx-auth-token: moderator-token\r\nx-2fa-code: {}\r\n",
                chat_testing::code_of(chat_testing::ACME, "moderator", chat_testing::step())
            ),
            answer: "error-not-allowed",
            trips: 3,
            ..success()
        },
        Row {
            name: "no such member",
            body: r#"{"userId":"nobody"}"#.to_owned(),
            answer: "error-invalid-user",
            trips: 4,
            ..success()
        },
        success(),
        Row {
            name: "the code again",
            answer: "totp-invalid",
            trips: 3,
            ..success()
        },
    ]
}

#[tokio::test]
async fn a_request_goes_to_the_store_as_seldom_as_it_can() {
    let trips = Arc::new(AtomicUsize::new(0));
    let settings = Settings {
        rate_limit_calls: 100,
        ..Settings::default()
    };
    let mut data = Data::with(settings).await;
    data.store = Watched::around(data.store.clone(), &trips, |_| Fate::Made);
    let server = Server::start(data, built()).await;
    for row in rows() {
        trips.store(0, Ordering::Relaxed);
        let request = format!(
            "POST {PATH}{} HTTP/1.1\r\nhost: acme\r\n{}connection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{}",
            row.query,
            row.headers,
            row.body.len(),
            row.body
        );
        let answer = server.ask(&request).await;
        assert!(answer.contains(row.answer), "{}: {answer}", row.name);
        let taken = trips.load(Ordering::Relaxed);
        assert_eq!(taken, row.trips, "{}", row.name);
    }
}

/// Of two administrators who reset each other at the same time, one is logged out when the
/// other's reset is committed.
#[tokio::test]
async fn whose_login_ends_while_the_plugin_decides_is_told_to_log_in() {
    let trips = Arc::new(AtomicUsize::new(0));
    let mut data = Data::new().await;
    let db = std::sync::Mutex::new(data.connect());
    data.store = Watched::around(data.store.clone(), &trips, move |number| {
        if number == 4 {
            let ended = "DELETE FROM login_token WHERE user = 'admin'";
            db.lock().unwrap().execute_batch(ended).unwrap();
        }
        Fate::Made
    });
    let server = Server::start(data, built()).await;
    let answer = server.reset_as("admin").await;
    let told = r#"401 {"status":"error","message":"You must be logged in to do this."}"#;
    assert_eq!(answer.text, told);
    assert_eq!(
        trips.load(Ordering::Relaxed),
        5,
        "and the refusal is recorded"
    );
}
