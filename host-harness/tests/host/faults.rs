//! A store that fails, or loses an answer, at each trip of each request: what the client is
//! told and what is done agree, and the same request again completes it.

use crate::http::{PATH, Server, built};
use crate::trips::{Fate, Watched};
use chat_domain::member::{Act, Authority, MemberChange};
use chat_domain::operator::{Operation, UserChange};
use chat_domain::password;
use chat_domain::settings::Settings;
use chat_domain::totp::TotpKey;
use chat_testing::ask::{Ask as _, source};
use chat_testing::{ACME, BACKUP_CODES, Data, admin_code, code_of, now, step, token_hash};
use plugin_sandbox::plugin::Plugin;
use secrecy::SecretString;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use tokio::task::JoinSet;

/// Compiled once.
static PLUGIN: LazyLock<Arc<Plugin>> = LazyLock::new(|| Arc::new(built()));

/// More trips than any request takes.
const MOST_TRIPS: usize = 10;

/// The code that bob is mailed, and another one.
const MAILED_CODE: &str = "135790";
const WRONG_CODE: &str = "135791";

/// The key that bob is shown.
const SHOWN_KEY: &[u8] = b"the key that bob is shown";

const PASSWORD: &str = "correct horse battery staple";

/// What is there before the request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    /// What is always there.
    Nothing,
    /// Bob has opted in to codes by e-mail.
    OptedIn,
    /// The same, and he was sent [`MAILED_CODE`].
    Mailed,
    /// Bob was shown [`SHOWN_KEY`].
    KeyShown,
    /// Alice has [`PASSWORD`].
    Password,
}

/// A request that succeeds, or is refused, where no trip fails.
struct Request {
    name: &'static str,
    before: Before,
    path: &'static str,
    caller: &'static str,
    /// As a header.
    code: Option<String>,
    /// As a header, when the first one may be spent.
    next_code: Option<String>,
    body: String,
    /// The same with the next code.
    next_body: Option<String>,
    /// What is answered.
    answer: &'static str,
    /// What is recorded with it.
    record: (&'static str, &'static str),
    /// Whether it is done: a question that is answered 1.
    done: &'static str,
    /// Notices that go out with it.
    notices: usize,
}

/// The administrator's request to reset alice, with a right code.
fn reset() -> Request {
    Request {
        name: "a reset by a code",
        before: Before::Nothing,
        path: PATH,
        caller: "admin",
        code: Some(admin_code()),
        next_code: Some(code_of(ACME, "admin", step() + 1)),
        body: r#"{"userId":"alice"}"#.to_owned(),
        next_body: None,
        answer: r#"200 {"success":true}"#,
        record: ("reset-totp", "reset"),
        done: "SELECT NOT EXISTS (SELECT 1 FROM totp WHERE workspace = 'acme' AND user = 'alice')
                  AND NOT EXISTS (SELECT 1 FROM login_token
                                  WHERE workspace = 'acme' AND user = 'alice')",
        notices: 2,
    }
}

/// A refusal, of which nothing is done.
fn refusal() -> Request {
    Request {
        done: "SELECT 0",
        notices: 0,
        ..reset()
    }
}

/// The administrator's request about their own factor, with the code in the body.
fn own(code: String, next_code: String) -> Request {
    let body = |code| format!(r#"{{"code":"{code}"}}"#);
    Request {
        code: None,
        next_code: None,
        body: body(code),
        next_body: Some(body(next_code)),
        notices: 1,
        ..reset()
    }
}

fn requests() -> Vec<Request> {
    let [backup_code, other_backup_code] = BACKUP_CODES;
    let next_code = code_of(ACME, "admin", step() + 1);
    let shown = TotpKey::new(SHOWN_KEY.to_vec());
    let password = |code: String| {
        format!(r#"{{"user":"alice.acme","password":"{PASSWORD}","code":"{code}"}}"#)
    };
    let bob = || Request {
        caller: "bob",
        code: None,
        next_code: None,
        body: "{}".to_owned(),
        notices: 0,
        ..reset()
    };
    vec![
        reset(),
        Request {
            name: "a reset by a backup code",
            code: Some(backup_code.to_owned()),
            next_code: Some(other_backup_code.to_owned()),
            // The caller is told, too.
            notices: 3,
            ..reset()
        },
        Request {
            name: "a reset of oneself",
            caller: "alice",
            code: Some(code_of(ACME, "alice", step())),
            next_code: Some(code_of(ACME, "alice", step() + 1)),
            body: "{}".to_owned(),
            ..reset()
        },
        Request {
            name: "a reset by a code by e-mail, where nothing is enrolled",
            before: Before::Mailed,
            code: Some(MAILED_CODE.to_owned()),
            next_code: Some(MAILED_CODE.to_owned()),
            record: ("reset-totp", "nothing-enrolled"),
            done: "SELECT NOT EXISTS (SELECT 1 FROM email_code WHERE user = 'bob')",
            ..bob()
        },
        Request {
            name: "a reset without any factor",
            record: ("reset-totp", "nothing-enrolled"),
            done: "SELECT EXISTS (SELECT 1 FROM audit WHERE decision = 'nothing-enrolled')",
            ..bob()
        },
        Request {
            name: "a log-in",
            before: Before::Password,
            path: "/api/v1/login",
            caller: "",
            code: None,
            next_code: None,
            body: password(code_of(ACME, "alice", step())),
            next_body: Some(password(code_of(ACME, "alice", step() + 1))),
            answer: r#"200 {"status":"success""#,
            record: ("log-in", "done"),
            done: "SELECT EXISTS (SELECT 1 FROM login_token
                                  WHERE workspace = 'acme' AND user = 'alice'
                                    AND expires > 1234567890000 + 86400000)",
            notices: 0,
        },
        Request {
            name: "a key is shown",
            path: "/api/v1/users.enableTotp",
            answer: r#"200 {"secret":"#,
            record: ("begin-enrolment", "done"),
            done: "SELECT EXISTS (SELECT 1 FROM pending_totp WHERE user = 'bob')",
            notices: 1,
            ..bob()
        },
        Request {
            name: "a key is proved",
            before: Before::KeyShown,
            path: "/api/v1/users.validateTotp",
            body: format!(r#"{{"code":"{}"}}"#, shown.code(step())),
            answer: r#"200 {"codes":"#,
            record: ("confirm-totp", "done"),
            done: "SELECT EXISTS (SELECT 1 FROM totp WHERE workspace = 'acme' AND user = 'bob')
                      AND NOT EXISTS (SELECT 1 FROM pending_totp WHERE user = 'bob')",
            notices: 1,
            ..bob()
        },
        Request {
            name: "TOTP is given up",
            path: "/api/v1/users.disableTotp",
            record: ("disable-totp", "done"),
            done: "SELECT NOT EXISTS (SELECT 1 FROM totp
                                      WHERE workspace = 'acme' AND user = 'admin')",
            ..own(admin_code(), next_code.clone())
        },
        Request {
            name: "backup codes are replaced",
            path: "/api/v1/users.regenerateTotpCodes",
            answer: r#"200 {"codes":"#,
            record: ("replace-backup-codes", "done"),
            done: "SELECT count(*) = 12 FROM backup_code
                   WHERE workspace = 'acme' AND user = 'admin'",
            ..own(admin_code(), next_code)
        },
        Request {
            name: "a log-out",
            path: "/api/v1/logout",
            body: String::new(),
            answer: r#"200 {"status":"success""#,
            record: ("log-out", "done"),
            done: "SELECT NOT EXISTS (SELECT 1 FROM login_token
                                      WHERE workspace = 'acme' AND user = 'bob')",
            ..bob()
        },
        Request {
            name: "a wrong code",
            code: Some("000000".to_owned()),
            next_code: Some("000001".to_owned()),
            answer: r#"400 {"success":false,"error":"TOTP Invalid [totp-invalid]""#,
            record: ("reset-totp", "refused"),
            ..refusal()
        },
        Request {
            name: "a wrong code by e-mail",
            before: Before::Mailed,
            code: Some(WRONG_CODE.to_owned()),
            next_code: Some(WRONG_CODE.to_owned()),
            answer: r#"400 {"success":false,"error":"TOTP Invalid [totp-invalid]""#,
            record: ("reset-totp", "refused"),
            done: "SELECT 0",
            ..bob()
        },
        Request {
            name: "no code",
            code: None,
            next_code: None,
            answer: r#"400 {"success":false,"error":"TOTP Required [totp-required]""#,
            record: ("reset-totp", "refused"),
            ..refusal()
        },
        Request {
            name: "a code by e-mail is asked for",
            before: Before::OptedIn,
            answer: r#"400 {"success":false,"error":"TOTP Required [totp-required]""#,
            record: ("reset-totp", "refused"),
            // It is mailed before the refusal is recorded.
            done: "SELECT 0",
            ..bob()
        },
        Request {
            name: "no such member",
            body: r#"{"userId":"nobody"}"#.to_owned(),
            answer: r#"400 {"success":false"#,
            record: ("reset-totp", "refused"),
            ..refusal()
        },
        Request {
            name: "what is not understood",
            body: "{".to_owned(),
            answer: r#"400 {"success":false,"errorType":"invalid-params""#,
            record: ("reset-totp", "refused"),
            ..refusal()
        },
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trip_that_fails_leaves_nothing_and_the_same_again_completes_it() {
    every_request(Fate::Failed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trip_whose_answer_is_lost_leaves_all_or_nothing_and_the_same_again_completes_it() {
    every_request(Fate::Lost).await;
}

/// All at the same time, each in a store of its own: they wait for the disk.
async fn every_request(fate: Fate) {
    let mut tasks = JoinSet::new();
    for request in requests() {
        tasks.spawn(async move { every_trip(&request, fate).await });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
}

/// Lets the first trip of a request fare so, then the second of another and so on, until a
/// request has no more of them.
async fn every_trip(request: &Request, fate: Fate) {
    for nth in 1.. {
        assert!(nth <= MOST_TRIPS, "{}: more trips", request.name);
        let trips = Arc::new(AtomicUsize::new(0));
        let mut data = request.before.data().await;
        let before = data.dump_without(&ATTEMPTS);
        data.store = Watched::around(data.store.clone(), &trips, move |number| {
            if number == nth { fate } else { Fate::Made }
        });
        let server = Server::start(data, PLUGIN.clone()).await;
        let first = request.send(&server, false).await;
        let name = format!("{}, trip {nth} is {fate:?}: {first}", request.name);
        if trips.load(Ordering::Relaxed) < nth {
            assert!(first.starts_with(request.answer), "{name}");
            assert!(nth > 1, "{name}");
            return;
        }
        assert!(first.starts_with("500 "), "{name}");
        let after_first = State::of(&server.data, request);
        let told = if after_first.is_done {
            request.notices
        } else {
            0
        };
        assert_eq!(after_first.notices, told, "{name}: notices");
        after_first.check(request, &name);
        if !after_first.is_done {
            let changes = before.changes(&server.data.dump_without(&ATTEMPTS));
            assert_eq!(changes, "", "{name}");
        }
        if fate == Fate::Failed {
            assert!(!after_first.is_done, "{name}");
        }

        let second = request.send(&server, true).await;
        let after_second = State::of(&server.data, request);
        after_second.check(request, &format!("{name}, and then {second}"));
        let is_refusal = request.answer.starts_with("400 ");
        assert!(
            after_second.is_done || is_refusal,
            "{name}, and then {second}"
        );
        let is_answered = second.starts_with(request.answer);
        let is_clear = after_second.failures == 0 || is_refusal;
        let is_complete = is_answered && is_clear || after_first.is_done;
        assert!(is_complete, "{name}, and then {second}");
    }
}

/// What attempts and refusals leave, whatever becomes of them.
const ATTEMPTS: [&str; 4] = ["audit", "failed_attempt", "email_code", "outbox"];

/// What the store tells of a request.
struct State {
    is_done: bool,
    /// Records of what was done.
    records: usize,
    /// Notices that wait.
    notices: usize,
    /// Failed attempts of the caller.
    failures: u32,
}

impl State {
    fn of(data: &Data, request: &Request) -> Self {
        let db = data.connect();
        let number = |sql: &str| db.query_row(sql, [], |row| row.get::<_, u32>(0)).unwrap();
        let count = |sql: &str| usize::try_from(number(sql)).unwrap();
        let (action, decision) = request.record;
        Self {
            is_done: number(request.done) == 1,
            records: count(&format!(
                "SELECT count(*) FROM audit
                 WHERE action = '{action}' AND decision = '{decision}'"
            )),
            notices: count("SELECT count(*) FROM outbox WHERE NOT holds_code"),
            failures: number("SELECT coalesce(sum(count), 0) FROM failed_attempt"),
        }
    }

    /// What is done is recorded and told, and what is not is not.
    fn check(&self, request: &Request, name: &str) {
        if request.answer.starts_with("400 ") {
            assert_eq!(self.notices, 0, "{name}");
            assert!(self.failures <= 2, "{name}");
            return;
        }
        assert_eq!(self.records > 0, self.is_done, "{name}: records");
        // Asked again, some is done again.
        let told = request.notices..=2 * request.notices;
        assert!(
            !self.is_done || told.contains(&self.notices),
            "{name}: notices"
        );
        assert!(self.failures <= 1, "{name}: {} failures", self.failures);
    }
}

impl Request {
    async fn send(&self, server: &Server, is_next: bool) -> String {
        let next = self.next_body.as_ref().filter(|_| is_next);
        let body = next.unwrap_or(&self.body);
        let code = if is_next { &self.next_code } else { &self.code };
        let mut headers = String::new();
        if !self.caller.is_empty() {
            let caller = self.caller;
            headers += &format!("x-user-id: {caller}\r\nx-auth-token: {caller}-token\r\n");
        }
        if let Some(code) = code {
            headers += &format!("x-2fa-code: {code}\r\n");
        }
        let request = format!(
            "POST {} HTTP/1.1\r\nhost: acme\r\n{headers}connection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.path,
            body.len()
        );
        let answer = server.ask(&request).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap();
        format!("{status} {body}")
    }
}

impl Before {
    async fn data(self) -> Data {
        let data = Data::with(Settings {
            missing_factor_allowed: true,
            rate_limit_calls: 0,
            ..Settings::default()
        })
        .await;
        match self {
            Self::Nothing => (),
            Self::OptedIn | Self::Mailed => {
                data.edit("UPDATE user SET email_two_factor = 1 WHERE id = 'bob'");
            }
            Self::KeyShown => {
                let change = MemberChange {
                    workspace: ACME.to_owned(),
                    user: "bob".to_owned(),
                    authority: Authority::Token(token_hash("bob-token")),
                    act: Act::BeginEnrolment(TotpKey::new(SHOWN_KEY.to_vec())),
                    code: None,
                    now: now(),
                    request_id: "before".to_owned(),
                    source: source(),
                };
                data.store.change(change).await.unwrap().unwrap();
            }
            Self::Password => {
                let operation = Operation {
                    workspace: ACME.to_owned(),
                    request_id: "before".to_owned(),
                    now: now(),
                    forced: false,
                };
                let change = UserChange::SetPassword(HASH.clone());
                let changed = data.store.change_user(operation, "alice", change);
                changed.await.unwrap().unwrap();
            }
        }
        if self == Self::Mailed {
            let code = MAILED_CODE.into();
            data.store
                .send_email_code(ACME, "bob", code, now())
                .await
                .unwrap();
        }
        // What made it so is not what is looked at.
        data.edit("DELETE FROM audit; DELETE FROM outbox");
        data
    }
}

/// Made once.
static HASH: LazyLock<SecretString> = LazyLock::new(|| {
    let digest = password::digest(&PASSWORD.into());
    password::hash(&digest, &mut rand::rng()).unwrap()
});
