//! The same decision over the same store without a sandbox: the plugin's own function,
//! called by an axum handler. What this host's request takes more is the sandbox.

use crate::{Measured, WORKSPACE};
use axum::Router;
use axum::body::to_bytes;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use chat_domain::account::{Caller, Selector, TotpFactor};
use chat_domain::attempts::{Attempt, BeginTotpAttempt, Needed};
use chat_domain::audit::{Action, AuditRecord, Decision, Source, new_request_id};
use chat_domain::proof::{Proof, Tried};
use chat_domain::reset::{Receipt, Refusal, RefuseReset, Reset, Target};
use chat_domain::standing::{RefuseMalformed, Standing};
use chat_domain::time::Timestamp;
use chat_domain::token;
use chat_domain::totp::entered;
use chat_server::clock::Clock;
use chat_server::telemetry::{self, LogFormat};
use chat_store::Store;
use chat_store::seal::Seal;
use chat_store::sqlite::Sqlite;
use reset_totp::contract::chat::reset_totp::{secrets, users};
use reset_totp::contract::exports::chat::reset_totp::handler;
use reset_totp::decision::{Host, decide};
use secrecy::SecretString;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use tokio::net::TcpListener;

/// The first argument that makes a server of this program; the store's file and the
/// port follow.
pub(crate) const COMMAND: &str = "serve-native";

/// Bytes of a body that are read.
const MAX_BODY: usize = 64 * 1024;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const NO_SNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

type Shared = Arc<dyn Store>;

/// Serves the store at `path` on `port`.
pub(crate) fn serve(path: &Path, port: &str) -> Measured<()> {
    let port: u16 = port.parse()?;
    let _telemetry = telemetry::start(LogFormat::Text, None)?;
    tokio::runtime::Runtime::new()?.block_on(async {
        let store: Shared = Sqlite::open(path, &Seal::none()).await?;
        let route = post(handle).with_state(store);
        let app = Router::new().route("/api/v1/users.resetTOTP", route);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let app = app.into_make_service_with_connect_info::<SocketAddr>();
        Ok(axum::serve(listener, app).await?)
    })
}

async fn handle(
    State(store): State<Shared>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let (start, id) = (Instant::now(), new_request_id(&mut rand::rng()));
    let (status, body) = match answer(&store, &id, peer, request).await {
        Ok(response) => (response.status, response.body),
        Err(problem) => (
            500,
            json!({"success": false, "error": problem.to_string()}).to_string(),
        ),
    };
    let millis = start.elapsed().as_secs_f64() * 1e3;
    tracing::info!(request_id = id, status, millis, "answered");
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = [
        (header::CONTENT_TYPE, JSON),
        (header::CACHE_CONTROL, NO_STORE),
        (header::X_CONTENT_TYPE_OPTIONS, NO_SNIFF),
        (REQUEST_ID, HeaderValue::try_from(id).unwrap_or(NO_STORE)),
    ];
    (status, headers, body).into_response()
}

type Answered = Result<handler::Response, Box<dyn std::error::Error + Send + Sync>>;

async fn answer(store: &Shared, id: &str, peer: SocketAddr, request: Request) -> Answered {
    let now = Clock::system().now();
    let (parts, body) = request.into_parts();
    let text = |name| header_of(&parts.headers, name);
    let agent = text("user-agent");
    let source = Source::new(peer.ip(), agent.as_ref().map(String::as_bytes));
    let (Some(user), Some(token)) = (text("x-user-id"), text("x-auth-token")) else {
        return Ok(not_logged_in());
    };
    let hash = token::hash(&SecretString::from(token));
    if parts.uri.query().is_some_and(|query| !query.is_empty()) {
        return malformed(store, id, (user, hash), source, now).await;
    }
    let standing = store.standing(WORKSPACE, &user, &hash, now).await?;
    let Some(standing) = standing else {
        return Ok(not_logged_in());
    };
    if !standing.is_unlimited() {
        return Ok(response(429, &json!({"success": false})));
    }
    let call = Call {
        store,
        id,
        standing,
        source,
        now,
    };
    let request = handler::Request {
        content_type: text("content-type"),
        two_factor_code: text("x-2fa-code"),
        two_factor_method: text("x-2fa-method"),
        body: to_bytes(body, MAX_BODY).await?.into(),
    };
    call.decide(&request).await
}

async fn malformed(
    store: &Shared,
    id: &str,
    (user, token_hash): (String, String),
    source: Source,
    now: Timestamp,
) -> Answered {
    let order = RefuseMalformed {
        workspace: WORKSPACE.to_owned(),
        user,
        token_hash,
        now,
        request_id: id.to_owned(),
        source,
        recent_calls: 0,
    };
    if store.decide(order).await?.standing.is_none() {
        return Ok(not_logged_in());
    }
    let problem = "the query is not empty: the body names the member";
    let body = json!({"success": false, "errorType": "invalid-params", "error": problem});
    Ok(response(400, &body))
}

fn header_of(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?;
    Some(value.to_owned())
}

fn not_logged_in() -> handler::Response {
    let message = "You must be logged in to do this.";
    response(401, &json!({"status": "error", "message": message}))
}

fn response(status: u16, body: &Value) -> handler::Response {
    let body = body.to_string();
    handler::Response { status, body }
}

/// One request of a caller who is logged in.
struct Call<'a> {
    store: &'a Shared,
    id: &'a str,
    standing: Standing,
    source: Source,
    now: Timestamp,
}

impl Call<'_> {
    async fn decide(&self, request: &handler::Request) -> Answered {
        let code = request.two_factor_code.clone().unwrap_or_default();
        let attempt = match self.standing.methods.totp && !code.is_empty() {
            true => self.begin().await?,
            false => Attempt::Unavailable,
        };
        let mut lent = Lent {
            now: self.now.seconds(),
            standing: &self.standing,
            attempt,
            is_there: true,
            outcome: Ok(Receipt::Removed),
            order: RefCell::default(),
        };
        let Caller {
            id, bypass_token, ..
        } = self.standing.caller.clone();
        let caller = handler::Caller { id, bypass_token };
        let response = decide(&lent, &caller, request);
        let Some(order) = lent.order.take() else {
            let decision = match lent.attempt {
                Attempt::Locked { .. } => Decision::Locked,
                _ => Decision::Refused,
            };
            let tried = match lent.attempt {
                Attempt::Begun(_) => Some(Tried::Totp(entered(&code.into()))),
                _ => None,
            };
            self.record(decision, &response.body, tried).await?;
            return Ok(response);
        };
        let tried = Some(Tried::Totp(entered(&code.clone().into())));
        self.commit(order, code.into(), &mut lent).await?;
        if lent.outcome.is_ok() {
            return Ok(response);
        }
        let response = decide(&lent, &caller, request);
        self.record(Decision::Refused, &response.body, tried)
            .await?;
        Ok(response)
    }

    async fn begin(&self) -> chat_store::Result<Attempt<TotpFactor>> {
        let order = BeginTotpAttempt {
            workspace: WORKSPACE.to_owned(),
            user: self.standing.caller.id.clone(),
            needed: Needed::Key,
            now: self.now,
        };
        self.store.decide(order).await
    }

    /// Looks up what the decision took for granted, and does what it ordered.
    async fn commit(
        &self,
        (proof, target): Order,
        code: SecretString,
        lent: &mut Lent<'_>,
    ) -> chat_store::Result<()> {
        let (store, caller) = (self.store, &self.standing.caller);
        let target = match target {
            secrets::Target::Caller => Target::Caller,
            secrets::Target::User(id) => {
                let selector = Selector::Id(id.clone());
                lent.is_there = store.find_user(WORKSPACE, selector).await?.is_some();
                Target::User(id)
            }
        };
        let order = Reset {
            workspace: WORKSPACE.to_owned(),
            caller: caller.clone(),
            proof: match proof {
                secrets::Proof::TotpStep(step) => Proof::TotpStep { step, code },
                secrets::Proof::BackupCode(_) => Proof::BackupCode(code),
                _ => Proof::None,
            },
            target,
            now: self.now,
            request_id: self.id.to_owned(),
            source: self.source.clone(),
        };
        lent.outcome = store.decide(order).await?.map_err(|refusal| match refusal {
            Refusal::NotAuthenticated
            | Refusal::NotPermitted
            | Refusal::NotEnabled
            | Refusal::Federated => secrets::Refusal::NotPermitted,
            Refusal::UnknownTarget => secrets::Refusal::UnknownTarget,
            Refusal::Replayed | Refusal::WrongProof => secrets::Refusal::ProofRefused,
        });
        tracing::info!(caller = caller.id, action = "reset-totp", outcome = ?lent.outcome);
        Ok(())
    }

    /// Writes the audit record of a request that changed nothing.
    async fn record(
        &self,
        decision: Decision,
        answer: &str,
        tried: Option<Tried>,
    ) -> chat_store::Result<()> {
        let answer: Value = serde_json::from_str(answer).unwrap_or_default();
        let reason = answer.get("errorType").and_then(Value::as_str);
        let (caller, action) = (self.standing.caller.id.clone(), Action::ResetTotp);
        tracing::info!(
            caller,
            action = action.name(),
            decision = decision.name(),
            reason
        );
        let record = AuditRecord {
            at: self.now,
            workspace: WORKSPACE.to_owned(),
            request_id: self.id.to_owned(),
            action,
            caller,
            target: None,
            decision,
            reason: reason.map(str::to_owned),
            source: Some(self.source.clone()),
            proof: None,
            told: None,
            calls: 1,
        };
        self.store.decide(RefuseReset { record, tried }).await
    }
}

type Order = (secrets::Proof, secrets::Target);

/// What the decision is lent: what was read before, and that the member is there and
/// the caller may, which is looked up where it orders a reset.
struct Lent<'a> {
    now: u64,
    standing: &'a Standing,
    attempt: Attempt<TotpFactor>,
    is_there: bool,
    outcome: Result<Receipt, secrets::Refusal>,
    order: RefCell<Option<Order>>,
}

impl Host for Lent<'_> {
    fn now(&self) -> u64 {
        self.now
    }
    fn find(&self, selector: &users::Selector) -> Option<users::User> {
        let (users::Selector::Id(name) | users::Selector::Username(name)) = selector;
        self.is_there.then(|| users::User {
            id: name.clone(),
            username: name.clone(),
            federated: false,
        })
    }
    fn caller_has(&self, permission: &str) -> bool {
        self.standing.may(permission)
    }
    fn two_factor_enabled(&self) -> bool {
        self.standing.settings.two_factor_enabled
    }
    fn totp_window(&self) -> u8 {
        self.standing.settings.totp_window.try_into().unwrap_or(0)
    }
    fn missing_factor_allowed(&self) -> bool {
        self.standing.settings.missing_factor_allowed
    }
    fn bypass_token_allowed(&self) -> bool {
        self.standing.settings.bypass_token_allowed
    }
    fn methods(&self) -> Vec<secrets::Method> {
        let totp = self.standing.methods.totp.then_some(secrets::Method::Totp);
        totp.into_iter().collect()
    }
    fn begin_totp_code_attempt(&self) -> Result<secrets::TotpKey, secrets::AttemptRefusal> {
        match &self.attempt {
            Attempt::Begun(factor) => Ok(secrets::TotpKey {
                key: factor.key.expose().to_vec(),
                last_step: factor.last_step,
            }),
            Attempt::Locked { .. } => Err(secrets::AttemptRefusal::Locked),
            Attempt::Unavailable => Err(secrets::AttemptRefusal::Unavailable),
        }
    }
    fn begin_backup_code_attempt(&self) -> Result<Vec<u8>, secrets::AttemptRefusal> {
        Err(secrets::AttemptRefusal::Unavailable)
    }
    fn send_email_code(&self) -> Result<secrets::EmailCode, secrets::AttemptRefusal> {
        Err(secrets::AttemptRefusal::Unavailable)
    }
    fn check_email_code(&self, _: &str) -> Result<bool, secrets::AttemptRefusal> {
        Err(secrets::AttemptRefusal::Unavailable)
    }
    fn check_password(&self, _: &str) -> Result<bool, secrets::AttemptRefusal> {
        Err(secrets::AttemptRefusal::Unavailable)
    }
    fn reset(
        &self,
        proof: &secrets::Proof,
        target: &secrets::Target,
    ) -> Result<secrets::Receipt, secrets::Refusal> {
        self.order.replace(Some((proof.clone(), target.clone())));
        match &self.outcome {
            Ok(Receipt::Removed) => Ok(secrets::Receipt::Removed),
            Ok(Receipt::NothingEnrolled) => Ok(secrets::Receipt::NothingEnrolled),
            Err(refusal) => Err(refusal.clone()),
        }
    }
}
