//! A way to the server that can be cut where a transaction is about to be committed.
#![expect(
    clippy::indexing_slicing,
    reason = "a test ends where a message is not whole"
)]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};

/// The statement that goes out with a COMMIT, and with no other.
const MARK: &str = "INSERT INTO commit_mark (id, committed) VALUES ($1, TRUE)";

/// Where the way ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The server gets no COMMIT.
    Before,
    /// The server gets the COMMIT, and has answered before the way is cut: nobody gets the
    /// answer.
    After,
    /// The server gets the COMMIT, and the way is cut at that moment.
    Meanwhile,
    /// As [`Cut::Before`], and nobody is told that there is no way any more.
    SilenceBefore,
    /// As [`Cut::After`], and nobody is told.
    SilenceAfter,
}

/// What is to come.
#[derive(Default)]
struct Plan {
    /// How the next COMMITs are cut.
    cuts: Vec<Cut>,
    /// No other connection is let through once one was cut.
    closes: bool,
    is_closed: bool,
    /// How many were cut.
    done: usize,
}

/// A proxy before a server.
pub struct Proxy {
    url: String,
    plan: Arc<Mutex<Plan>>,
}

impl Proxy {
    /// Before the server of the database at `url`.
    pub async fn before(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (login, place) = url.split_once('@').unwrap();
        let (server, rest) = place.split_once('/').unwrap();
        let plan = Arc::new(Mutex::new(Plan::default()));
        tokio::spawn(accept(listener, server.to_owned(), plan.clone()));
        Self {
            url: format!("{login}@127.0.0.1:{port}/{rest}"),
            plan,
        }
    }

    /// The database, through this.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Cuts the next COMMIT so.
    pub fn cut(&self, cut: Cut) {
        self.plan.lock().unwrap().cuts.push(cut);
    }

    /// From the next cut on nobody gets through.
    pub fn close_at_the_cut(&self) {
        self.plan.lock().unwrap().closes = true;
    }

    /// How many COMMITs were cut.
    pub fn done(&self) -> usize {
        self.plan.lock().unwrap().done
    }
}

async fn accept(listener: TcpListener, server: String, plan: Arc<Mutex<Plan>>) {
    loop {
        let (client, _) = listener.accept().await.unwrap();
        if plan.lock().unwrap().is_closed {
            continue;
        }
        let server = TcpStream::connect(&server).await.unwrap();
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let state = Arc::new(State::default());
        tokio::spawn(answers(from_server, to_client, state.clone()));
        tokio::spawn(requests(from_client, to_server, plan.clone(), state));
    }
}

/// What both directions of a connection know.
#[derive(Default)]
struct State {
    /// What the server answers goes nowhere.
    is_deaf: Mutex<bool>,
    /// The server has said something.
    answered: Notify,
    /// It is over.
    over: watch::Sender<bool>,
}

impl State {
    fn end(&self) {
        self.over.send_replace(true);
    }
}

async fn answers(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, state: Arc<State>) {
    let mut buffer = vec![0; 64 * 1024];
    let mut over = state.over.subscribe();
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read.unwrap_or(0),
            _ = over.wait_for(|is_over| *is_over) => return,
        };
        state.answered.notify_one();
        if *state.is_deaf.lock().unwrap() {
            if read == 0 {
                // Nobody is told before it is over.
                let _ = over.wait_for(|is_over| *is_over).await;
                return;
            }
            continue;
        }
        if read == 0 || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

/// Whole messages (PostgreSQL's documentation, "Message Formats"): a type, the length, the rest. The
/// first of a connection has no type.
async fn requests(
    from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    plan: Arc<Mutex<Plan>>,
    state: Arc<State>,
) {
    let mut from = BufReader::new(from);
    let mut statements = HashMap::new();
    let mut is_first = true;
    loop {
        let mut message = Vec::new();
        if !is_first {
            let Ok(kind) = from.read_u8().await else {
                return state.end();
            };
            message.push(kind);
        }
        is_first = false;
        let Ok(length) = from.read_u32().await else {
            return state.end();
        };
        message.extend(length.to_be_bytes());
        let begin = message.len();
        message.resize(begin + usize::try_from(length).unwrap() - 4, 0);
        if from.read_exact(&mut message[begin..]).await.is_err() {
            return state.end();
        }
        if message[0] == b'P' {
            let mut texts = message[begin..].split(|byte| *byte == 0);
            let text = |text: Option<&[u8]>| String::from_utf8(text.unwrap().to_vec()).unwrap();
            let (name, sql) = (text(texts.next()), text(texts.next()));
            statements.insert(name, sql);
        }
        if let Some(cut) = cut_at(&message[begin..], message[0], &statements, &plan) {
            return end(cut, &message, from, to, &state).await;
        }
        if to.write_all(&message).await.is_err() {
            return state.end();
        }
    }
}

fn cut_at(
    body: &[u8],
    kind: u8,
    statements: &HashMap<String, String>,
    plan: &Mutex<Plan>,
) -> Option<Cut> {
    if kind != b'B' {
        return None;
    }
    let statement = body.split(|byte| *byte == 0).nth(1)?;
    let statement = String::from_utf8(statement.to_vec()).unwrap();
    if statements.get(&statement).map(String::as_str) != Some(MARK) {
        return None;
    }
    let mut plan = plan.lock().unwrap();
    let cut = plan.cuts.pop()?;
    plan.done += 1;
    plan.is_closed = plan.closes;
    Some(cut)
}

async fn end(
    cut: Cut,
    message: &[u8],
    mut from: BufReader<OwnedReadHalf>,
    mut to: OwnedWriteHalf,
    state: &State,
) {
    if cut != Cut::Meanwhile {
        *state.is_deaf.lock().unwrap() = true;
    }
    if matches!(cut, Cut::After | Cut::Meanwhile | Cut::SilenceAfter) {
        to.write_all(message).await.unwrap();
        let mut buffer = vec![0; 64 * 1024];
        // The rest of the trip was written with the mark.
        let read = from.read(&mut buffer).await.unwrap();
        to.write_all(&buffer[..read]).await.unwrap();
    }
    if matches!(cut, Cut::After | Cut::SilenceAfter) {
        // The server has answered when it has said nothing for a while.
        let quiet = Duration::from_millis(100);
        while tokio::time::timeout(quiet, state.answered.notified())
            .await
            .is_ok()
        {}
    }
    if matches!(cut, Cut::SilenceBefore | Cut::SilenceAfter) {
        return std::future::pending().await;
    }
    state.end();
}
