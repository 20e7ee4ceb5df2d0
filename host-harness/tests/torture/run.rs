//! The rounds: clients ask, a process is killed, and what is left is looked at.

use crate::account::Account;
use crate::client::{Crowd, Intent, next_code, now, spent_code};
use crate::figures::Figures;
use crate::host::{Host, Trouble};
use crate::request::{Act, Outcome, Proof, Request, Whom};
use crate::site::{Blow, Kind, Secrets, Site};
use crate::trial::Trial;
use chat_domain::time::Timestamp;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Rounds of each test in the suite: half a minute for all on two cores. A database takes longer
/// to be there again than a host does.
const fn rounds_of_the_suite(kind: Kind) -> u64 {
    match kind {
        Kind::Sqlite => 60,
        Kind::Postgres => 30,
        Kind::Cluster => 1,
        Kind::RocketChat => 20,
    }
}

/// Clients of all processes together.
const CLIENTS: usize = 12;

/// The longest time under load, in which some dozens of requests are answered.
const LONGEST_LOAD: Duration = Duration::from_millis(150);

/// How long clients go on asking after another server leads: some requests of each are answered
/// as if nothing had been.
const AFTER_A_LOSS: Duration = Duration::from_secs(5);

/// The longest life of a process that is killed before it serves.
const LONGEST_START: Duration = Duration::from_millis(120);

/// How long others go on after a process was killed.
const AFTER_A_KILL: Duration = Duration::from_millis(10);

/// Rounds after which the file is checked as a whole, and mail may catch up.
const CALM_ROUNDS: u64 = 200;

/// How long mail may catch up.
const CALM: Duration = Duration::from_secs(3);

/// How often it is told how far the run is.
const TOLD_EVERY: Duration = Duration::from_secs(5);

/// What is run.
pub(crate) struct Plan {
    kind: Kind,
    rounds: u64,
    hosts: usize,
    seed: u64,
}

impl Plan {
    /// As `cargo xtask torture` says; in the suite nobody says anything, and there are so many
    /// hosts.
    pub(crate) fn of(kind: Kind, hosts: usize) -> Self {
        let number = |name: &str| {
            let text = std::env::var(name).ok()?;
            Some(
                text.parse()
                    .unwrap_or_else(|_| panic!("{name} is no number")),
            )
        };
        let asked = number("TORTURE_HOSTS").map(|hosts| usize::try_from(hosts).unwrap());
        Self {
            kind,
            rounds: number("TORTURE_ROUNDS").unwrap_or(rounds_of_the_suite(kind)),
            hosts: asked.unwrap_or(hosts).max(1),
            seed: number("TORTURE_SEED").unwrap_or_else(rand::random),
        }
    }

    /// What is random in a round, whatever was in those before.
    fn random(&self, round: u64) -> StdRng {
        StdRng::seed_from_u64(self.seed ^ round.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}

/// Whom a round ends.
#[derive(Clone, Copy)]
enum Victim {
    /// The host of this number.
    Host(usize),
    Database(Blow),
}

/// A run, and what there is of it at a moment.
struct Run {
    site: Site,
    hosts: Vec<Option<Host>>,
    /// How often a host was started: each has a name of its own.
    started: u64,
    /// The names of those that were killed since the last look.
    gone: Vec<String>,
    crowd: Arc<Crowd>,
    trial: Trial,
    figures: Figures,
    trouble: Trouble,
    /// Requests since the last look.
    requests: Vec<Request>,
}

/// Runs what the plan says, and prints the figures.
///
/// # Panics
///
/// Where an answer was not kept; the folder is left for people to look at.
pub(crate) async fn rounds(plan: Plan) -> Figures {
    let Plan {
        kind, hosts, seed, ..
    } = plan;
    say(&format!("{kind:?}, seed {seed}, {hosts} hosts"));
    let mut run = Run::new(&plan).await;
    let mut told = Instant::now();
    for round in 1..=plan.rounds {
        let faults = run.round(plan.random(round), round).await;
        if let Err(faults) = faults {
            run.fail(&plan, round, &faults);
        }
        if told.elapsed() > TOLD_EVERY {
            told = Instant::now();
            say(&run.figures.progress());
        }
    }
    if let Err(faults) = run.end().await {
        run.fail(&plan, plan.rounds, &faults);
    }
    say(&format!("\n{}", run.figures));
    run.figures
}

fn say(text: &str) {
    // Nobody may be reading.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// The longest time within these moments in which no reset was answered as done.
fn longest_silence(requests: &[Request], start: Timestamp, end: Timestamp) -> Option<Duration> {
    let resets = requests
        .iter()
        .filter(|request| request.is_acknowledged() && matches!(request.act, Act::Reset(_)));
    let answers = resets
        .map(|request| request.ended)
        .filter(|ended| (start..end).contains(ended));
    let mut moments: Vec<_> = answers.chain([start, end]).collect();
    moments.sort();
    moments.windows(2).map(|pair| pair[1] - pair[0]).max()
}

impl Run {
    async fn new(plan: &Plan) -> Self {
        let (site, accounts) = Site::new(plan.kind, Secrets::Sealed, &mut plan.random(0)).await;
        let mut run = Self {
            crowd: Arc::new(Crowd::new(accounts.clone(), site.mail.clone())),
            trial: Trial::new(accounts, site.may_be_unknown()),
            site,
            hosts: Vec::new(),
            started: 0,
            gone: Vec::new(),
            figures: Figures::default(),
            trouble: Trouble::default(),
            requests: Vec::new(),
        };
        for _ in 0..plan.hosts {
            let host = run.start().await;
            run.hosts.push(Some(host));
        }
        run
    }

    async fn start(&mut self) -> Host {
        self.started += 1;
        let name = format!("host-{}", self.started);
        Host::start(&self.site.config(&name), &self.trouble).await
    }

    fn fail(self, plan: &Plan, round: u64, faults: &[String]) -> ! {
        let log = self.trouble.lines().join("\n");
        let (seed, hosts) = (plan.seed, plan.hosts);
        say(&format!(
            "\n{}\nthe last lines of the hosts' log:\n{log}",
            self.figures
        ));
        let folder = self.site.keep();
        panic!(
            "seed {seed}, {hosts} hosts, round {round}: {} promises are broken; the store is in \
             {}:\n{}",
            faults.len(),
            folder.display(),
            faults.join("\n")
        );
    }

    /// Load, a kill, a look, a start and a few requests whose answers are known.
    async fn round(&mut self, mut random: StdRng, round: u64) -> Result<(), Vec<String>> {
        let start = Instant::now();
        let victim = self.choose(&mut random);
        self.load(victim, &mut random).await;
        self.figures.rounds = round;
        self.figures.loading += start.elapsed();
        let is_alone = self.hosts.len() == 1 && matches!(victim, Victim::Host(_));
        let is_cold = is_alone && random.random_range(0..3) == 0;
        if is_cold {
            self.figures.cold_looks += 1;
            self.look().await?;
        }
        let start = Instant::now();
        if let Victim::Host(number) = victim {
            if random.random_range(0..10) == 0 {
                let life = random.random_range(Duration::ZERO..LONGEST_START);
                let name = format!("early-{round}");
                Host::start_in_vain(&self.site.config(&name), life).await;
                self.gone.push(name);
                self.figures.early_kills += 1;
            }
            let host = self.start().await;
            self.hosts[number] = Some(host);
        }
        self.figures.starting += start.elapsed();
        if !is_cold {
            self.look().await?;
        }
        self.site.mend().await;
        let asked = random.random_range(0..self.hosts.len());
        self.ask_what_is_known(asked, &mut random).await?;
        if round.is_multiple_of(CALM_ROUNDS) {
            self.calm_down().await?;
        }
        Ok(())
    }

    /// Where there is a database that can be ended, it is as often as a host is; of a cluster it
    /// is each time.
    fn choose(&self, random: &mut StdRng) -> Victim {
        let blow = self.site.blows().choose(random).copied();
        match blow.filter(|blow| *blow == Blow::LoseLeader || random.random()) {
            Some(blow) => Victim::Database(blow),
            None => Victim::Host(random.random_range(0..self.hosts.len())),
        }
    }

    /// Clients ask all processes until one of these is killed.
    async fn load(&mut self, victim: Victim, random: &mut StdRng) {
        self.crowd.inform(&self.trial.accounts);
        let start = now();
        let stop = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        let urls: Vec<_> = self
            .hosts
            .iter()
            .flatten()
            .map(|host| host.url.clone())
            .collect();
        for url in urls.iter().cycle().take(CLIENTS) {
            let (crowd, url, seed, stop) = (
                self.crowd.clone(),
                url.clone(),
                random.random(),
                stop.clone(),
            );
            clients.spawn(async move { crowd.act(&url, seed, &stop).await });
        }
        sleep(random.random_range(Duration::ZERO..LONGEST_LOAD)).await;
        match victim {
            Victim::Host(number) => {
                if let Some(host) = self.hosts[number].take() {
                    self.gone.push(host.name().to_owned());
                    host.kill().await;
                    self.figures.kills += 1;
                }
                if self.hosts.len() > 1 {
                    sleep(random.random_range(Duration::ZERO..AFTER_A_KILL)).await;
                }
            }
            Victim::Database(Blow::LoseLeader) => {
                self.site.strike(Blow::LoseLeader, random).await;
                self.figures.blows += 1;
                self.site.settle(&[]).await;
                sleep(AFTER_A_LOSS).await;
            }
            Victim::Database(blow) => {
                self.site.strike(blow, random).await;
                self.figures.blows += 1;
                // Until it is back, and longer, hosts are asked all the same.
                sleep(random.random_range(Duration::ZERO..LONGEST_LOAD)).await;
                self.site.settle(&[]).await;
            }
        }
        let end = now();
        stop.store(true, Ordering::Relaxed);
        while let Some(asked) = clients.join_next().await {
            self.requests.extend(asked.unwrap());
        }
        if let Victim::Database(Blow::LoseLeader) = victim {
            let silence = longest_silence(&self.requests, start, end);
            self.figures.silences.extend(silence);
        }
    }

    /// Holds the store to all requests since the last look.
    async fn look(&mut self) -> Result<(), Vec<String>> {
        let start = Instant::now();
        self.site.settle(&std::mem::take(&mut self.gone)).await;
        let trial = &mut self.trial;
        let look = self.site.look(&trial.accounts, trial.last_record).await;
        let arrived = self.site.mail.arrived(trial.arrived);
        let mut requests = std::mem::take(&mut self.requests);
        requests.sort_by_key(|request| request.number);
        trial.judge(&requests, &look, &arrived, &mut self.figures)?;
        self.figures.looking += start.elapsed();
        match self.trouble.panics() {
            panics if panics.is_empty() => Ok(()),
            panics => Err(panics),
        }
    }

    /// A few accounts ask what has one right answer: a token, a code that was used, and one
    /// that was not.
    async fn ask_what_is_known(
        &mut self,
        host: usize,
        random: &mut StdRng,
    ) -> Result<(), Vec<String>> {
        let Some(url) = self.hosts[host].as_ref().map(|host| host.url.clone()) else {
            return Ok(());
        };
        let accounts = self.trial.accounts.clone();
        let mut faults = Vec::new();
        for account in accounts.sample(random, 2) {
            let (id, is_enrolled) = (&account.person.id, account.factor.is_some());
            let (token, expected) = match account.token() {
                Some(token) => (token, (200, is_enrolled)),
                None => ("no token".to_owned(), (401, false)),
            };
            let me = self.crowd.me(&url, id, &token).await;
            self.figures.sure_requests += 1;
            if me != Some(expected) {
                faults.push(format!("{id} is answered {me:?} and not {expected:?}"));
            }
        }
        let caller = random.random_range(0..accounts.len());
        let target = random.random_range(0..accounts.len());
        let code = spent_code(&accounts[caller], random);
        let spent = code.map(|code| (code, "totp-invalid"));
        let factor = accounts[caller].factor.as_ref();
        let right = factor.and_then(|factor| next_code(&factor.key, factor.last_step));
        let right = right.map(|code| (code, "done"));
        for (proof, expected) in [spent, right].into_iter().flatten() {
            let asked = self.sure_request(&url, caller, target, proof).await;
            let Some(answer) = asked else { continue };
            self.figures.sure_requests += 1;
            if answer != expected {
                let id = &accounts[caller].person.id;
                faults.push(format!("{id} is answered {answer} and not {expected}"));
            }
        }
        match faults.is_empty() {
            true => Ok(()),
            false => Err(faults),
        }
    }

    /// What an administrator's request to reset is answered; none where the account cannot ask.
    async fn sure_request(
        &mut self,
        url: &str,
        caller: usize,
        target: usize,
        proof: Proof,
    ) -> Option<String> {
        let account: &Account = &self.trial.accounts[caller];
        let is_able = account.person.is_admin && !account.may_be_locked() && caller != target;
        let token = account.token().filter(|_| is_able)?;
        let intent = Intent {
            caller,
            act: Act::Reset(Whom::Member(target)),
            by_mail: false,
            token: Some(token),
            proof,
        };
        let request = self.crowd.ask(url, intent).await;
        let answer = match &request.outcome {
            Outcome::Answered(answer) if answer.status == 200 => "done".to_owned(),
            Outcome::Answered(answer) => answer.error.clone().unwrap_or_default(),
            Outcome::Unanswered | Outcome::NotSent => "not".to_owned(),
        };
        self.requests.push(request);
        Some(answer)
    }

    /// Lets mail catch up, and checks the file.
    async fn calm_down(&mut self) -> Result<(), Vec<String>> {
        let deadline = Instant::now() + CALM;
        loop {
            self.look().await?;
            let before = self.figures.waiting;
            sleep(CALM / 10).await;
            self.look().await?;
            if self.figures.waiting == before || Instant::now() > deadline {
                break;
            }
        }
        match self.site.check().await {
            problems if problems.is_empty() => Ok(()),
            problems => Err(problems),
        }
    }

    /// Looks a last time, when nothing serves any more.
    async fn end(&mut self) -> Result<(), Vec<String>> {
        self.calm_down().await?;
        for host in self.hosts.iter_mut().filter_map(Option::take) {
            self.gone.push(host.name().to_owned());
            host.kill().await;
        }
        self.look().await?;
        match self.site.check().await {
            problems if problems.is_empty() => Ok(()),
            problems => Err(problems),
        }
    }
}
