//! The stores of a process. Each has one worker that delivers its mail while
//! it is open. A few stay open; of many, each is opened when a workspace in it is
//! used and closed when it is idle: a workspace that nobody uses then holds no
//! file, thread or connection.

mod housekeeping;

use crate::clock::Clock;
use crate::delivery::deliver;
use crate::files;
use arc_swap::ArcSwapOption;
use chat_domain::time::Timestamp;
use chat_store::seal::Seal;
use chat_store::sqlite;
use chat_store::{Store, StoreError, StoreUrl};
use housekeeping::Housekeeping;
use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// How long a store stays open that nobody uses: opening takes a few
/// milliseconds, and an open one holds a thread and [`files_each`].
pub const IDLE: Duration = Duration::from_secs(5 * 60);

/// Stores that are all kept open, so that mail which another process queues in one is seen at
/// once, where the process may open files enough: see [`max_open`]. Where there are more, those
/// that are not in use at the moment are closed when so many are open, also where mail waits
/// in them that is not due yet.
pub const MAX_OPEN: usize = 64;

/// Of the files that a process may open, how many in a hundred are for stores: the clients have
/// a quarter at least.
const FILES_PERCENT: usize = 65;

/// How often it is looked whether there is room for a store that holds mail.
const LOOK_FOR_ROOM: Duration = Duration::from_secs(1);

/// How often idle stores are looked for.
const TEND: Duration = Duration::from_secs(30);

/// How often closed stores are asked whether mail waits in them, which another
/// process may have left there.
const LOOK_FOR_MAIL: Duration = Duration::from_secs(10 * 60);

/// How long an open store may take to say how it is: a look at an index takes
/// microseconds.
const ASK_LIMIT: Duration = Duration::from_secs(1);

/// How long a store may take for what is done for it now and then, for which the others wait:
/// mostly it takes milliseconds, and what is left of much is done the next time.
const KEEP_HOUSE_LIMIT: Duration = Duration::from_secs(60);

/// Files that an open store holds, at most: its own and the connection to a mail server.
pub fn files_each() -> usize {
    sqlite::files_each() + 1
}

/// How many stores are open at most in a process that may open so many files.
pub fn max_open(files: usize) -> usize {
    let of_stores = files / 100 * FILES_PERCENT;
    (of_stores / files_each()).clamp(1, MAX_OPEN)
}

/// The stores of a process.
pub struct Stores {
    known: Mutex<HashMap<StoreUrl, Weak<HostedStore>>>,
    clock: Clock,
    seal: Seal,
    max_open: usize,
    deliveries: TaskTracker,
    stopping: CancellationToken,
}

/// A store, open or not.
pub struct HostedStore {
    url: StoreUrl,
    seal: Seal,
    open: ArcSwapOption<Open>,
    opening: tokio::sync::Mutex<()>,
    stores: Weak<Stores>,
    /// Moments in it that a wrong clock has left, when that was last looked for.
    clock_faults: AtomicU32,
}

struct Open {
    store: Arc<dyn Store>,
    /// When it was last taken; none once it is being closed.
    used: Mutex<Option<Instant>>,
    /// Ends the delivery of its mail.
    _delivery: Option<DropGuard>,
}

/// Holders of an open store that nobody uses: [`Open`] and its delivery.
const HOLDERS: usize = 2;

impl Stores {
    /// None yet; they are sealed by this.
    pub fn new(clock: Clock, seal: Seal) -> Arc<Self> {
        Arc::new(Self {
            known: Mutex::default(),
            clock,
            seal,
            max_open: max_open(files::most()),
            deliveries: TaskTracker::new(),
            stopping: CancellationToken::new(),
        })
    }

    /// The store at `url`: one for all who ask for the same.
    pub fn at(self: &Arc<Self>, url: &StoreUrl) -> Arc<HostedStore> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = known.get(url).and_then(Weak::upgrade) {
            return store;
        }
        let store = Arc::new(HostedStore {
            url: url.clone(),
            seal: self.seal.clone(),
            open: ArcSwapOption::empty(),
            opening: tokio::sync::Mutex::default(),
            stores: Arc::downgrade(self),
            clock_faults: AtomicU32::new(0),
        });
        known.insert(url.clone(), Arc::downgrade(&store));
        store
    }

    /// Keeps all stores open where they are few; where they are many, closes those
    /// that are idle and opens those in which mail waits. When `stop` is ready, ends
    /// all deliveries, which finish what they have begun.
    pub async fn tend(self: Arc<Self>, stop: impl Future<Output = ()>) {
        let tending = async {
            let mut looked: Option<Instant> = None;
            let mut housekeeping = Housekeeping::default();
            loop {
                self.keep_house(&mut housekeeping).await;
                if self.all().len() <= self.max_open {
                    self.open_all().await;
                    sleep(TEND).await;
                    continue;
                }
                self.close_idle(IDLE).await;
                if looked.is_none_or(|looked| looked.elapsed() >= LOOK_FOR_MAIL) {
                    looked = Some(Instant::now());
                    self.open_those_with_mail().await;
                }
                sleep(TEND).await;
            }
        };
        tokio::select! {
            () = stop => (),
            () = tending => (),
        }
        self.stopping.cancel();
        self.deliveries.close();
        self.deliveries.wait().await;
    }

    async fn keep_house(&self, housekeeping: &mut Housekeeping) {
        for hosted in self.all() {
            if let Some(open) = hosted.open.load_full() {
                let store = open.store.clone();
                let seen_to =
                    housekeeping.see_to(&hosted.url, store, &self.clock, &hosted.clock_faults);
                if timeout(KEEP_HOUSE_LIMIT, seen_to).await.is_err() {
                    tracing::warn!(
                        store = %hosted.url,
                        "it takes too long to keep it in order: the rest is left for the next time"
                    );
                }
            }
        }
    }

    /// Moments in the open stores that a wrong clock has left, as far as it is known.
    pub fn clock_faults(&self) -> u64 {
        let all = self.all();
        let open = all.iter().filter(|hosted| hosted.is_open());
        open.map(|hosted| u64::from(hosted.clock_faults.load(Ordering::Relaxed)))
            .sum()
    }

    /// How many are open.
    pub fn open(&self) -> usize {
        let all = self.all();
        all.iter().filter(|hosted| hosted.is_open()).count()
    }

    /// What each open store answers to `question`. They are asked at the
    /// same time: one that is stuck holds up no other.
    pub async fn ask_open<T: Send + 'static, A>(
        &self,
        question: impl Fn(Arc<dyn Store>) -> A,
    ) -> Vec<(StoreUrl, chat_store::Result<T>)>
    where
        A: Future<Output = chat_store::Result<T>> + Send + 'static,
    {
        let mut asked = JoinSet::new();
        for hosted in self.all() {
            if let Some(open) = &*hosted.open.load() {
                let (url, answer) = (hosted.url.clone(), question(open.store.clone()));
                asked.spawn(async move { (url, within(ASK_LIMIT, answer).await) });
            }
        }
        asked.join_all().await
    }

    /// Closes those that nobody has used for so long and that hold no mail to be
    /// sent.
    pub async fn close_idle(&self, idle: Duration) {
        for hosted in self.all() {
            hosted
                .close_if_idle(idle, self.clock.now(), Timestamp::END)
                .await;
        }
    }

    /// Closes those that nobody uses at the moment and that hold no mail that is due,
    /// where many are open: a mail server that is gone must not hold a store for each
    /// of its mails. What waits in them is found at the next look.
    async fn make_room(&self) {
        if self.open() < self.max_open {
            return;
        }
        for hosted in self.all() {
            let now = self.clock.now();
            hosted.close_if_idle(Duration::ZERO, now, now).await;
        }
    }

    async fn open_all(&self) {
        for hosted in self.all() {
            if let Err(error) = hosted.get().await {
                tracing::error!(store = %hosted.url, %error, "cannot open it");
            }
        }
    }

    async fn open_those_with_mail(&self) {
        for hosted in self.all() {
            if hosted.is_open() {
                continue;
            }
            self.make_room().await;
            while self.open() >= self.max_open {
                sleep(LOOK_FOR_ROOM).await;
                self.make_room().await;
            }
            let opened = match hosted.url.holds_mail().await {
                Ok(false) => Ok(()),
                Ok(true) => hosted.get().await.map(drop),
                Err(error) => Err(error),
            };
            if let Err(error) = opened {
                tracing::error!(store = %hosted.url, %error, "cannot look for mail");
            }
        }
    }

    fn all(&self) -> Vec<Arc<HostedStore>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, store| store.strong_count() > 0);
        known.values().filter_map(Weak::upgrade).collect()
    }

    fn deliver(&self, store: Arc<dyn Store>) -> DropGuard {
        let stop = self.stopping.child_token();
        let delivery = deliver(store, self.clock.clone(), stop.clone().cancelled_owned());
        self.deliveries.spawn(delivery);
        stop.drop_guard()
    }
}

impl HostedStore {
    /// The store at `url`, which is open and stays so. Whoever opened it delivers its mail.
    pub fn opened(url: StoreUrl, store: Arc<dyn Store>) -> Self {
        Self {
            url,
            seal: Seal::none(),
            open: ArcSwapOption::from_pointee(Open {
                store,
                used: Mutex::new(Some(Instant::now())),
                _delivery: None,
            }),
            opening: tokio::sync::Mutex::default(),
            stores: Weak::new(),
            clock_faults: AtomicU32::new(0),
        }
    }

    /// The store, which is opened where it is not.
    ///
    /// # Errors
    ///
    /// As [`StoreUrl::open`].
    pub async fn get(&self) -> chat_store::Result<Arc<dyn Store>> {
        if let Some(store) = self.used() {
            return Ok(store);
        }
        let _opening = self.opening.lock().await;
        if let Some(store) = self.used() {
            return Ok(store);
        }
        let stores = self.stores.upgrade();
        if let Some(stores) = &stores {
            stores.make_room().await;
        }
        let store = self.url.open(&self.seal).await?;
        if let Some(advice) = self.url.advice() {
            tracing::warn!("{advice}");
        }
        let delivery = stores.map(|stores| stores.deliver(store.clone()));
        self.open.store(Some(Arc::new(Open {
            store: store.clone(),
            used: Mutex::new(Some(Instant::now())),
            _delivery: delivery,
        })));
        Ok(store)
    }

    /// The store where it is open, which is used now.
    fn used(&self) -> Option<Arc<dyn Store>> {
        let open = self.open.load();
        let open = open.as_ref()?;
        let mut used = open.used();
        let used = used.as_mut()?;
        *used = Instant::now();
        Some(open.store.clone())
    }

    /// Where it is kept.
    pub fn url(&self) -> &StoreUrl {
        &self.url
    }

    fn is_open(&self) -> bool {
        self.open.load().is_some()
    }

    /// Closes it where nobody has used it for so long and no mail in it is due by
    /// `until`.
    async fn close_if_idle(&self, idle: Duration, now: Timestamp, until: Timestamp) {
        let Some(open) = self.open.load_full() else {
            return;
        };
        if !open.is_idle(idle, &open.used()) {
            return;
        }
        // A store that is silent is closed: it is opened anew when it is used. One that
        // says what is wrong stays: where its file was replaced, it must not be opened anew.
        match timeout(ASK_LIMIT, open.store.next_mail_due(now)).await {
            Ok(Ok(Some(due))) if due <= until => return,
            Ok(Err(_)) => return,
            Ok(Ok(_)) | Err(_) => (),
        }
        // It may have been taken meanwhile, and mail put into it.
        let mut used = open.used();
        if open.is_idle(idle, &used) {
            *used = None;
            self.open.store(None);
        }
    }
}

async fn within<T>(
    limit: Duration,
    answer: impl Future<Output = chat_store::Result<T>>,
) -> chat_store::Result<T> {
    let silent = |_| StoreError("it does not answer".into());
    timeout(limit, answer).await.map_err(silent)?
}

impl Open {
    fn used(&self) -> MutexGuard<'_, Option<Instant>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nobody has it, or has had it for so long.
    fn is_idle(&self, idle: Duration, used: &Option<Instant>) -> bool {
        used.is_some_and(|used| used.elapsed() >= idle) && Arc::strong_count(&self.store) <= HOLDERS
    }
}
