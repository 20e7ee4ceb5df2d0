//! The same decision over the same store without a sandbox: the plugin's own function,
//! called by an axum handler. What this host's request takes more is the sandbox.

use crate::{Measured, WORKSPACE};
use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use host_harness::clock::{Clock, Timestamp};
use host_harness::settings::Settings;
use host_harness::store::sqlite::Sqlite;
use host_harness::store::{
    self, Action, Attempt, AuditRecord, BYPASS_RATE_LIMIT, Decision, Methods, Proof, Receipt,
    Refusal, Reset, Selector, Store, Target, TotpFactor, new_request_id,
};
use host_harness::telemetry::{self, LogFormat};
use host_harness::token;
use reset_totp::contract::chat::reset_totp::{secrets, users};
use reset_totp::contract::exports::chat::reset_totp::handler;
use reset_totp::decision::{EDIT_OTHER_USER_TOTP, Host, decide};
use secrecy::SecretString;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::net::Ipv4Addr;
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
        let store: Shared = Arc::new(Sqlite::open(path).await?);
        let route = post(handle).with_state(store);
        let app = Router::new().route("/api/v1/users.resetTOTP", route);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        Ok(axum::serve(listener, app).await?)
    })
}

async fn handle(State(store): State<Shared>, request: Request) -> Response {
    let (start, id) = (Instant::now(), new_request_id());
    let (status, body) = match answer(&store, &id, request).await {
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

async fn answer(store: &Shared, id: &str, request: Request) -> Answered {
    let now = Clock::system().now();
    let (parts, body) = request.into_parts();
    let text = |name| header_of(&parts.headers, name);
    let (Some(user), Some(token)) = (text("x-user-id"), text("x-auth-token")) else {
        return Ok(not_logged_in());
    };
    let hash = token::hash(&SecretString::from(token));
    let caller = store.authenticate(WORKSPACE, &user, &hash, now).await?;
    let Some(caller) = caller else {
        return Ok(not_logged_in());
    };
    let settings = store.settings(WORKSPACE).await?.unwrap_or_default();
    if settings.rate_limit_calls != 0
        && !store
            .has_permission(WORKSPACE, &caller.id, BYPASS_RATE_LIMIT)
            .await?
    {
        return Ok(response(429, &json!({"success": false})));
    }
    let call = Call {
        store,
        id,
        caller,
        now,
    };
    if parts.uri.query().is_some_and(|query| !query.is_empty()) {
        let problem = "the query is not empty: the body names the member";
        let body = json!({"success": false, "errorType": "invalid-params", "error": problem});
        let response = response(400, &body);
        call.record(Decision::Refused, &response.body).await?;
        return Ok(response);
    }
    let request = handler::Request {
        content_type: text("content-type"),
        two_factor_code: text("x-2fa-code"),
        two_factor_method: text("x-2fa-method"),
        body: to_bytes(body, MAX_BODY).await?.into(),
    };
    call.decide(settings, &request).await
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
    caller: store::Caller,
    now: Timestamp,
}

impl Call<'_> {
    async fn decide(&self, settings: Settings, request: &handler::Request) -> Answered {
        let (store, user) = (self.store, self.caller.id.as_str());
        let methods = store.methods(WORKSPACE, user).await?;
        let code = request.two_factor_code.clone().unwrap_or_default();
        let attempt = match methods.totp && !code.is_empty() {
            true => store.begin_totp_attempt(WORKSPACE, user, self.now).await?,
            false => Attempt::Unavailable,
        };
        let mut lent = Lent {
            now: self.now.seconds(),
            settings,
            methods,
            attempt,
            is_permitted: true,
            is_there: true,
            outcome: Ok(Receipt::Removed),
            order: RefCell::default(),
        };
        let caller = handler::Caller {
            id: user.to_owned(),
            bypass_token: self.caller.bypass_token,
        };
        let response = decide(&lent, &caller, request);
        let Some(order) = lent.order.take() else {
            let decision = match lent.attempt {
                Attempt::Locked => Decision::Locked,
                _ => Decision::Refused,
            };
            self.record(decision, &response.body).await?;
            return Ok(response);
        };
        self.commit(order, code.into(), &mut lent).await?;
        if lent.outcome.is_ok() {
            return Ok(response);
        }
        let response = decide(&lent, &caller, request);
        self.record(Decision::Refused, &response.body).await?;
        Ok(response)
    }

    /// Looks up what the decision took for granted, and does what it ordered.
    async fn commit(
        &self,
        (proof, target): Order,
        code: SecretString,
        lent: &mut Lent,
    ) -> store::Result<()> {
        let (store, caller) = (self.store, &self.caller);
        let permission = EDIT_OTHER_USER_TOTP;
        lent.is_permitted = store
            .has_permission(WORKSPACE, &caller.id, permission)
            .await?;
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
        };
        lent.outcome = store.reset(order).await?.map_err(|refusal| match refusal {
            Refusal::NotPermitted => secrets::Refusal::NotPermitted,
            Refusal::UnknownTarget => secrets::Refusal::UnknownTarget,
            Refusal::Replayed | Refusal::WrongProof => secrets::Refusal::ProofRefused,
        });
        tracing::info!(caller = caller.id, action = "reset-totp", outcome = ?lent.outcome);
        Ok(())
    }

    /// Writes the audit record of a request that changed nothing.
    async fn record(&self, decision: Decision, answer: &str) -> store::Result<()> {
        let answer: Value = serde_json::from_str(answer).unwrap_or_default();
        let reason = answer.get("errorType").and_then(Value::as_str);
        let (caller, action) = (self.caller.id.clone(), Action::ResetTotp);
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
        };
        self.store.record(record).await
    }
}

type Order = (secrets::Proof, secrets::Target);

/// What the decision is lent: what was read before, and that the member is there and
/// the caller may, which is looked up where it orders a reset.
struct Lent {
    now: u64,
    settings: Settings,
    methods: Methods,
    attempt: Attempt<TotpFactor>,
    is_permitted: bool,
    is_there: bool,
    outcome: Result<Receipt, secrets::Refusal>,
    order: RefCell<Option<Order>>,
}

impl Host for Lent {
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
    fn caller_has(&self, _: &str) -> bool {
        self.is_permitted
    }
    fn two_factor_enabled(&self) -> bool {
        self.settings.two_factor_enabled
    }
    fn totp_window(&self) -> u8 {
        self.settings.totp_window.try_into().unwrap_or(0)
    }
    fn missing_factor_allowed(&self) -> bool {
        self.settings.missing_factor_allowed
    }
    fn bypass_token_allowed(&self) -> bool {
        self.settings.bypass_token_allowed
    }
    fn methods(&self) -> Vec<secrets::Method> {
        let totp = self.methods.totp.then_some(secrets::Method::Totp);
        totp.into_iter().collect()
    }
    fn begin_totp_attempt(&self) -> Result<secrets::TotpFactor, secrets::AttemptRefusal> {
        match &self.attempt {
            Attempt::Begun(factor) => Ok(secrets::TotpFactor {
                key: factor.key.expose().to_vec(),
                last_step: factor.last_step,
                backup_code_hashes: factor.backup_code_hashes.clone(),
            }),
            Attempt::Locked => Err(secrets::AttemptRefusal::Locked),
            Attempt::Unavailable => Err(secrets::AttemptRefusal::Unavailable),
        }
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
