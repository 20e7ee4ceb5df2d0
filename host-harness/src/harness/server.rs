//! A server that runs, and its clock.

use super::Error;
use super::request::Request;
use super::setup::{STORE, WORKSPACE};
use super::user::{auth_token, id, totp_key};
use arc_swap::ArcSwap;
use chat_domain::time::Timestamp;
use chat_domain::totp::step_of;
use chat_server::clock::Clock;
use chat_server::http::{self, App};
use chat_server::stores::HostedStore;
use chat_server::workspace::{HostedWorkspace, Workspaces};
use chat_store::StoreUrl;
use chat_store::seal::Seal;
use ipnet::IpNet;
use plugin_sandbox::capabilities::Fault;
use plugin_sandbox::limits::Limits;
use plugin_sandbox::plugin::Plugin;
use reqwest::{Client, Method};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The route that the plugin answers.
const RESET_TOTP: &str = "/api/v1/users.resetTOTP";

/// A server that runs until this is dropped.
pub struct Server {
    url: String,
    client: Client,
    site: Arc<Site>,
    store: Arc<HostedStore>,
    workspaces: Arc<ArcSwap<Workspaces>>,
    /// Stops it when this is gone.
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<std::io::Result<()>>,
}

/// What servers on the same store have in common.
struct Site {
    folder: TempDir,
    seal: Seal,
    plugin: Arc<Plugin>,
    limits: Limits,
    /// Milliseconds of Unix time.
    now: Arc<AtomicI64>,
}

impl Server {
    pub(super) async fn start(
        folder: TempDir,
        seal: Seal,
        plugin: Arc<Plugin>,
        limits: Limits,
        now: i64,
    ) -> Result<Self, Error> {
        let now = Arc::new(AtomicI64::new(now));
        Self::at(Arc::new(Site {
            folder,
            seal,
            plugin,
            limits,
            now,
        }))
        .await
    }

    async fn at(site: Arc<Site>) -> Result<Self, Error> {
        let url = StoreUrl::from(site.folder.path().join(STORE));
        let store = url.open(&site.seal).await?;
        let store = Arc::new(HostedStore::opened(url, store));
        let workspace = site.workspace(&store);
        let workspaces = Arc::new(ArcSwap::from_pointee(Workspaces::only(workspace)));
        let app = site.app(&workspaces);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(http::serve(listener, app, async {
            let _ = stopped.await;
        }));
        Ok(Self {
            url,
            client: Client::new(),
            site,
            store,
            workspaces,
            stop: Some(stop),
            running,
        })
    }

    /// Lets host calls of the plugin fail, from the next request on, as these faults
    /// say and no others.
    pub fn plant(&self, faults: impl IntoIterator<Item = Fault>) {
        let mut workspace = self.site.workspace(&self.store);
        workspace.faults = faults.into_iter().collect();
        self.workspaces.store(Arc::new(Workspaces::only(workspace)));
    }

    /// A second server beside this one, on the same store and by the same clock, as
    /// another host process is one.
    ///
    /// # Errors
    ///
    /// [`Error::Store`] and [`Error::Server`].
    pub async fn another(&self) -> Result<Self, Error> {
        Self::at(self.site.clone()).await
    }

    /// Ends the server and puts a new one in its place.
    ///
    /// # Errors
    ///
    /// [`Error::Store`] and [`Error::Server`].
    pub async fn restart(&mut self) -> Result<(), Error> {
        self.stop = None;
        let ended = (&mut self.running).await;
        ended.map_err(std::io::Error::from)??;
        *self = Self::at(self.site.clone()).await?;
        Ok(())
    }

    /// Where the server is, for a client of another making.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The store's file, for what these words do not say.
    pub fn store_file(&self) -> PathBuf {
        self.site.folder.path().join(STORE)
    }

    /// What opens what the store keeps sealed.
    pub(super) fn seal(&self) -> &Seal {
        &self.site.seal
    }

    /// Any request, of nobody.
    pub fn request(&self, method: Method, path: &str) -> Request {
        Request::new(self.client.request(method, format!("{}{path}", self.url)))
    }

    /// A request of `user`, by the log-in that every user has.
    pub fn request_of(&self, user: &str, method: Method, path: &str) -> Request {
        self.request(method, path)
            .header("x-user-id", id(user))
            .header("x-auth-token", auth_token(user))
    }

    /// A request of `caller` to reset, without a second factor and with an empty
    /// body.
    pub fn post(&self, caller: &str) -> Request {
        self.request_of(caller, Method::POST, RESET_TOTP)
    }

    /// The code of `user` that is right now.
    pub fn code(&self, user: &str) -> String {
        self.code_at(user, 0)
    }

    /// The code of `user`, `steps` time steps of 30 s from now.
    pub fn code_at(&self, user: &str, steps: i64) -> String {
        totp_key(user).code(step_of(self.now()).saturating_add_signed(steps))
    }

    /// The moment at which the clock stands.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.site.now.load(Ordering::SeqCst))
    }

    /// Puts the clock forward.
    pub fn advance(&self, duration: Duration) {
        self.site.now.fetch_add(millis(duration), Ordering::SeqCst);
    }

    /// Puts the clock back.
    pub fn set_clock_back(&self, duration: Duration) {
        self.site.now.fetch_sub(millis(duration), Ordering::SeqCst);
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl Site {
    fn workspace(&self, store: &Arc<HostedStore>) -> HostedWorkspace {
        HostedWorkspace::new(
            WORKSPACE.to_owned(),
            store.clone(),
            self.plugin.clone(),
            self.limits,
        )
    }

    fn app(&self, workspaces: &Arc<ArcSwap<Workspaces>>) -> App {
        let now = self.now.clone();
        App {
            workspaces: workspaces.clone(),
            clock: Clock::new(move || Timestamp::from_millis(now.load(Ordering::SeqCst))),
            // A client that says for whom it speaks is believed.
            trusted_proxies: vec![IpNet::from(IpAddr::from(Ipv4Addr::LOCALHOST))],
            metrics: Arc::default(),
        }
    }
}
