//! The same schedule on every store: it answers what the model answers, and holds in the end what
//! the model holds.

use chat_domain::audit::{RecordFilter, StoredRecord};
use chat_domain::clock_fault::Horizon;
use chat_domain::health::Health;
use chat_domain::time::Timestamp;
use chat_model::asked::{Asked, claimed};
use chat_model::lists::{Contents, State};
use chat_model::schedule::{Schedule, Step};
use chat_model::seeds;
use chat_model::text;
use chat_store::Store;
use chat_testing::Data;
use tokio::task::JoinSet;

/// Schedules that are always the same, beside those that have found something.
const SAME: u64 = 40;

/// And new ones.
const NEW: u64 = 8;

/// Stores at a time, each of which waits for the disk.
const AT_ONCE: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_answers_and_holds_what_the_model_does() {
    let first = seeds::fresh();
    let mut replays = JoinSet::new();
    for seed in seeds::kept().chain(0..SAME).chain(first..first + NEW) {
        if replays.len() == AT_ONCE {
            replays.join_next().await.unwrap().unwrap();
        }
        let (journal, state) = Schedule::of(seed).journal();
        replays.spawn(replay(seed, journal, state));
    }
    replays.join_all().await;
}

async fn replay(seed: u64, journal: Vec<Step>, expected: State) {
    let data = Data::empty(crate::KIND).await;
    for (place, Step { asked, answer }) in journal.iter().enumerate() {
        let given = give(&*data.store, asked).await;
        assert_eq!(given, *answer, "seed {seed}, step {place}: {asked:?}");
    }
    let state = state(&*data.store, expected.now).await;
    assert_eq!(expected.differs(&state), None, "seed {seed}");
}

async fn give(store: &dyn Store, asked: &Asked) -> String {
    match asked {
        Asked::Order(order) => store.decide(order.clone()).await.unwrap(),
        Asked::Read(question) => text::dossier(&store.read(question).await.unwrap()),
        Asked::Claim(now, only) => {
            let claim = store.claim_mail(*now, Asked::among(only.as_ref())).await;
            claimed(claim.unwrap().as_ref())
        }
    }
}

async fn state(store: &dyn Store, now: Timestamp) -> State {
    let summaries = store.workspaces(now).await.unwrap();
    let mut contents = Vec::new();
    for summary in &summaries {
        contents.push(contents_of(store, &summary.id).await);
    }
    let health = store.health(now).await.unwrap();
    State {
        now,
        summaries,
        outbox_count: store.outbox_count().await.unwrap(),
        next_mail_due: store.next_mail_due(now).await.unwrap(),
        expired: store.expired_mails(now).await.unwrap(),
        clock_faults: store.clock_faults(Horizon::at(now)).await.unwrap(),
        health: Health {
            resets: health.resets.into_iter().map(anywhere).collect(),
            ..health
        },
        contents,
    }
}

async fn contents_of(store: &dyn Store, workspace: &str) -> Contents {
    let profiles = store.profiles(workspace).await.unwrap();
    let mut accounts = Vec::new();
    for profile in &profiles {
        let question = Contents::question(workspace, &profile.user.id);
        let mut found = store.read(&question).await.unwrap().accounts;
        accounts.extend(found.pop().flatten());
    }
    let all = RecordFilter {
        most: u32::MAX,
        ..RecordFilter::default()
    };
    let records = store.records(workspace, &all).await.unwrap();
    Contents {
        profiles,
        accounts,
        roles: store.all_roles(workspace).await.unwrap(),
        mails: store.all_mails(workspace).await.unwrap(),
        records: records.into_iter().map(anywhere).collect(),
    }
}

/// The model knows no log.
fn anywhere(record: StoredRecord) -> StoredRecord {
    StoredRecord {
        index: None,
        ..record
    }
}
