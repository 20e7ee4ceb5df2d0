//! Clients: each acts for one account after another, and no two for one account at a time.

use crate::account::{Account, perform};
use crate::mail_server::MailServer;
use crate::request::{Act, Answer, News, Outcome, Proof, Request, Whom};
use crate::site::{PASSWORD, TOTP_WINDOW};
use chat_domain::mailed_code::RESEND_AFTER;
use chat_domain::time::Timestamp;
use chat_domain::totp::{self, TotpKey, code_hash, step_of};
use chat_server::clock::Clock;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Steps from the current one whose codes are used: fewer than [`TOTP_WINDOW`], since time
/// goes on.
const WINDOW: u64 = TOTP_WINDOW as u64 - 1;

/// Wrong codes that an account gives: the next but one would lock it.
const GUESSES: u32 = 3;

/// Sessions of an account, beyond which one is ended.
const SESSIONS: usize = 8;

/// After how long another code by e-mail is asked for: it is sent then.
const ASK_AGAIN: Duration = Duration::from_secs(RESEND_AFTER.as_secs() + 1);

/// The pause of a client for whom there is nobody to act for.
const PAUSE: Duration = Duration::from_millis(2);

/// What all clients know.
pub(crate) struct Crowd {
    minds: Mutex<Minds>,
    mail: MailServer,
    http: reqwest::Client,
    numbers: AtomicU64,
}

/// The accounts as their holders take them to be, and who is acting.
struct Minds {
    accounts: Vec<Account>,
    busy: Vec<bool>,
}

/// What somebody is about to ask.
pub(crate) struct Intent {
    pub(crate) caller: usize,
    pub(crate) act: Act,
    pub(crate) by_mail: bool,
    pub(crate) token: Option<String>,
    pub(crate) proof: Proof,
}

pub(crate) fn now() -> Timestamp {
    Clock::system().now()
}

impl Crowd {
    pub(crate) fn new(accounts: Vec<Account>, mail: MailServer) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let busy = vec![false; accounts.len()];
        Self {
            minds: Mutex::new(Minds { accounts, busy }),
            mail,
            http,
            numbers: AtomicU64::new(0),
        }
    }

    fn minds(&self) -> MutexGuard<'_, Minds> {
        self.minds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the holders what they have.
    pub(crate) fn inform(&self, accounts: &[Account]) {
        self.minds().accounts = accounts.to_vec();
    }

    /// One client, until it gets no answer or `stop` is set; what it asked.
    pub(crate) async fn act(&self, url: &str, seed: u64, stop: &AtomicBool) -> Vec<Request> {
        let mut random = StdRng::seed_from_u64(seed);
        let mut asked = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let Some((caller, target, account)) = self.minds().choose(&mut random) else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            // To find a right code takes milliseconds.
            let intent = intent(caller, &account, target, &self.mail, &mut random);
            let Some(intent) = intent else {
                self.minds().busy[caller] = false;
                continue;
            };
            let request = self.ask(url, intent).await;
            self.minds().learn(&request);
            let is_over = request.answer().is_none();
            asked.push(request);
            if is_over {
                break;
            }
        }
        asked
    }

    /// Asks, and waits for the answer.
    pub(crate) async fn ask(&self, url: &str, intent: Intent) -> Request {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed) + 1;
        let id = {
            let minds = self.minds();
            minds.accounts[intent.caller].person.id.clone()
        };
        let begun = now();
        let sent = self.request(url, number, &id, &intent).send().await;
        let outcome = match sent {
            Ok(response) => answer(response).await,
            Err(error) if error.is_connect() => Outcome::NotSent,
            Err(_) => Outcome::Unanswered,
        };
        Request {
            number,
            caller: intent.caller,
            act: intent.act,
            token: intent.token,
            by_mail: intent.by_mail,
            proof: intent.proof,
            begun,
            ended: now(),
            outcome,
        }
    }

    fn request(&self, url: &str, number: u64, id: &str, intent: &Intent) -> RequestBuilder {
        let Intent { act, proof, .. } = intent;
        let mut request = self
            .http
            .post(format!("{url}{}", act.path()))
            .header("user-agent", number.to_string())
            .header("content-type", "application/json");
        if let Some(token) = intent.token.as_ref().filter(|_| *act != Act::LogIn) {
            request = request.header("x-user-id", id);
            request = request.header("x-auth-token", token);
        }
        if intent.by_mail {
            request = request.header("x-2fa-method", "email");
        }
        let in_header = matches!(
            act,
            Act::Reset(_) | Act::Malformed | Act::LogIn | Act::BeginEnrolment
        );
        if let Some(code) = proof.code().filter(|_| in_header) {
            request = request.header("x-2fa-code", code);
        }
        let body = match act {
            Act::Reset(Whom::Own) | Act::BeginEnrolment | Act::LogOut => json!({}),
            Act::Reset(Whom::Nobody) => json!({"userId": "nobody"}),
            Act::Reset(Whom::Member(member)) => {
                json!({"userId": self.minds().accounts[*member].person.id})
            }
            Act::Malformed => json!({"userid": "alice"}),
            Act::LogIn => json!({"user": id, "password": PASSWORD}),
            Act::ConfirmTotp | Act::DisableTotp | Act::ReplaceBackupCodes => {
                json!({"code": proof.code().unwrap_or_default()})
            }
        };
        request.body(body.to_string())
    }

    /// Whether the host knows the token: status and, of an account that is logged in, whether
    /// TOTP is enrolled. None where no answer came.
    pub(crate) async fn me(&self, url: &str, id: &str, token: &str) -> Option<(u16, bool)> {
        let request = self.http.get(format!("{url}/api/v1/me"));
        let request = request
            .header("x-user-id", id)
            .header("x-auth-token", token);
        let response = request.send().await.ok()?;
        let status = response.status().as_u16();
        let body: Value = serde_json::from_str(&response.text().await.ok()?).ok()?;
        let enrolled = body.pointer("/services/totp/enabled") == Some(&json!(true));
        Some((status, enrolled))
    }
}

async fn answer(response: Response) -> Outcome {
    let status = response.status().as_u16();
    let id = response.headers().get("x-request-id");
    let id = id.and_then(|id| id.to_str().ok()).unwrap_or_default();
    let id = id.to_owned();
    let Ok(text) = response.text().await else {
        return Outcome::Unanswered;
    };
    let body: Value = serde_json::from_str(&text).unwrap_or_default();
    let string = |place: &str| {
        let value = body.pointer(place).and_then(Value::as_str);
        value.map(str::to_owned)
    };
    let codes = body.get("codes").and_then(Value::as_array);
    let text = |code: &Value| code.as_str().map(str::to_owned);
    let news = News {
        token: string("/data/authToken"),
        key: string("/secret").and_then(|secret| TotpKey::from_base32(&secret)),
        backup_codes: codes.map(|codes| codes.iter().filter_map(text).collect()),
        mailed: body.pointer("/details/codeGenerated") == Some(&json!(true)),
    };
    news.keep_secret();
    Outcome::Answered(Answer {
        status,
        id,
        // A log-in has its error's id elsewhere.
        error: string("/errorType").or_else(|| string("/error")),
        news,
    })
}

/// The code of the first step after `last` that is accepted now and whose code no other such
/// step has.
pub(crate) fn next_code(key: &TotpKey, last: Option<u64>) -> Option<Proof> {
    let current = step_of(now());
    let accepted: Vec<_> = (current - WINDOW - 2..=current + WINDOW + 2)
        .map(|step| (step, key.code(step)))
        .collect();
    let usable = accepted.iter().find(|(step, code)| {
        let is_alone = accepted.iter().filter(|(_, other)| other == code).count() == 1;
        step.abs_diff(current) <= WINDOW && Some(*step) > last && is_alone
    });
    usable.map(|(step, code)| Proof::Step {
        key: key.clone(),
        step: *step,
        code: code.clone(),
    })
}

/// What could be a backup code and is none, or the other one.
fn wrong_code(key: &TotpKey, random: &mut StdRng) -> Proof {
    if random.random() {
        return wrong_digits(key, random);
    }
    let codes = totp::BackupCodes::generate(random);
    Proof::Wrong(codes.expose().into_iter().take(1).collect())
}

/// Six digits that are no code of this key for any step that is accepted now.
fn wrong_digits(key: &TotpKey, random: &mut StdRng) -> Proof {
    let current = step_of(now());
    let steps = current - WINDOW - 2..=current + WINDOW + 2;
    let right: Vec<_> = steps.map(|step| key.code(step)).collect();
    loop {
        let code = format!("{:06}", random.random_range(0..1_000_000));
        if !right.contains(&code) {
            return Proof::Wrong(code);
        }
    }
}

impl Minds {
    /// Somebody who does not act yet, but does from now on; somebody else; and what the first
    /// one has.
    fn choose(&mut self, random: &mut StdRng) -> Option<(usize, usize, Account)> {
        let idle: Vec<_> = (0..self.busy.len()).filter(|n| !self.busy[*n]).collect();
        let caller = *idle.choose(random)?;
        let others = (0..self.busy.len()).filter(|other| *other != caller);
        let others: Vec<_> = others.collect();
        let target = *others.choose(random)?;
        self.busy[caller] = true;
        Some((caller, target, self.accounts[caller].clone()))
    }

    /// What the answer tells the caller.
    fn learn(&mut self, request: &Request) {
        self.busy[request.caller] = false;
        if request.is_acknowledged() {
            // A holder may be wrong about what they have.
            let _ = perform(&mut self.accounts, request);
            return;
        }
        let Some(answer) = request.answer() else {
            return;
        };
        let caller = &mut self.accounts[request.caller];
        if answer.status == 401 && request.act != Act::LogIn {
            caller.tokens.clear();
        }
        if answer.news.mailed {
            caller.mailed = Some((String::new(), now()));
        }
        if let Proof::Wrong(_) = request.proof {
            caller.failures.1 += 1;
        }
        if let Proof::Mailed(code) = &request.proof {
            caller.used_codes.insert(code_hash(code));
        }
    }
}

/// The next thing that the holder of this account asks; none where they had better wait.
fn intent(
    caller: usize,
    account: &Account,
    target: usize,
    mail: &MailServer,
    random: &mut StdRng,
) -> Option<Intent> {
    let token = account.token();
    let die = random.random_range(0..100);
    let asks = |act: Act, by_mail: bool, proof: Proof| {
        Some(Intent {
            caller,
            act,
            by_mail,
            token: token.clone(),
            proof,
        })
    };
    let by_mail = account.factor.is_none() || random.random_range(0..8) == 0;
    let by_mail = account.is_asked_by_mail(by_mail);
    let proof = match (by_mail, &account.factor) {
        (true, _) => mailed_code(account, mail),
        (false, Some(factor)) => {
            let codes = factor.backup_codes.plain(false);
            let code = codes
                .choose(random)
                .filter(|_| random.random_range(0..8) == 0);
            let code = code.map(|code| Proof::BackupCode(code.clone()));
            code.or_else(|| next_code(&factor.key, factor.last_step))
        }
        (false, None) => Some(Proof::None),
    };
    // A code by e-mail that has not come is asked for; once is enough.
    let asked_lately = account.mailed.as_ref();
    let asked_lately = asked_lately.is_some_and(|(_, asked)| now() - *asked < ASK_AGAIN);
    let proof = match proof {
        None if by_mail && !asked_lately => Proof::None,
        None => return None,
        Some(proof) => proof,
    };
    if account.may_be_locked() && die >= 10 {
        return None;
    }
    if account.token().is_none() {
        return asks(Act::LogIn, by_mail, proof);
    }
    if account.tokens.len() > SESSIONS {
        return asks(Act::LogOut, false, Proof::None);
    }
    let Some(factor) = &account.factor else {
        return match account.shown_key(now()) {
            Some(key) if die < 8 && account.failures.1 < GUESSES => {
                asks(Act::ConfirmTotp, false, wrong_digits(key, random))
            }
            Some(key) if die < 88 => asks(Act::ConfirmTotp, false, next_code(key, None)?),
            _ if die < 94 => asks(Act::BeginEnrolment, by_mail, proof),
            _ => asks(Act::Reset(Whom::Own), by_mail, proof),
        };
    };
    let whom = match account.person.is_admin {
        true => Whom::Member(target),
        false => Whom::Own,
    };
    match die {
        0..10 if account.failures.1 < GUESSES => {
            let acts = [Act::Reset(whom), Act::LogIn, Act::DisableTotp];
            let act = *acts.choose(random)?;
            let is_by_mail = by_mail && act != Act::DisableTotp;
            let wrong = match is_by_mail {
                // A code by mail is digits: what has another form is no guess at it.
                true => wrong_digits(&factor.key, random),
                false => wrong_code(&factor.key, random),
            };
            asks(act, is_by_mail, wrong)
        }
        10..15 => asks(Act::Reset(whom), false, spent_code(account, random)?),
        15..19 => asks(Act::Reset(whom), false, Proof::None),
        19..22 => asks(Act::Reset(Whom::Nobody), by_mail, proof),
        22..24 => asks(Act::Malformed, false, Proof::None),
        24..28 => asks(Act::LogOut, false, Proof::None),
        28..35 => asks(Act::LogIn, by_mail, proof),
        35..39 => asks(
            Act::DisableTotp,
            false,
            next_code(&factor.key, factor.last_step)?,
        ),
        39..45 => {
            let proof = next_code(&factor.key, factor.last_step)?;
            asks(Act::ReplaceBackupCodes, false, proof)
        }
        45..48 if !account.person.is_admin => {
            asks(Act::Reset(Whom::Member(target)), by_mail, proof)
        }
        _ if account.person.is_admin || die < 70 => asks(Act::Reset(whom), by_mail, proof),
        _ => None,
    }
}

/// A code that the account was mailed and has not used.
fn mailed_code(account: &Account, mail: &MailServer) -> Option<Proof> {
    let code = mail.code(account.person.verified.first()?)?;
    let is_used = account.used_codes.contains(&code_hash(&code));
    (!is_used).then_some(Proof::Mailed(code))
}

/// A code that was used already.
pub(crate) fn spent_code(account: &Account, random: &mut StdRng) -> Option<Proof> {
    let factor = account.factor.as_ref()?;
    let codes = factor.backup_codes.plain(true);
    let code = codes.choose(random).filter(|_| random.random());
    if let Some(code) = code {
        return Some(Proof::BackupCode(code.clone()));
    }
    let step = factor.last_step?;
    let is_accepted = step.abs_diff(step_of(now())) <= WINDOW;
    is_accepted.then(|| Proof::Step {
        key: factor.key.clone(),
        step,
        code: factor.key.code(step),
    })
}
