//! What the host lends to one call of the plugin: one file an interface.
//!
//! A capability acts for the workspace and the caller that [`Call`] holds; the
//! plugin cannot name others. Every function goes through one gate, which counts
//! and bounds it. Where the store fails, the capability traps with the
//! [`StoreError`](chat_store::StoreError) and the call is over.

mod bytes;
mod faults;
mod gate;
mod permissions;
mod secrets;
mod settings;
mod users;
mod wall_clock;

pub use faults::{Fault, FaultKind, Faults};

use crate::limits::Limits;
use crate::meter::Meter;
use chat_domain::attempts::Lock;
use chat_domain::audit::Source;
use chat_domain::proof::Tried;
use chat_domain::reset;
use chat_domain::standing::Standing;
use chat_domain::time::Timestamp;
use chat_domain::totp::entered;
use chat_store::Store;
use secrecy::SecretString;
use std::pin::Pin;
use std::sync::Arc;

/// One call: on whose behalf, and what the host saw the plugin do.
pub struct Call {
    /// The chat server's data.
    pub store: Arc<dyn Store>,
    /// The workspace of the request.
    pub workspace: String,
    /// Who makes the request, and what was known of them when it was accepted: what is
    /// asked of that costs no trip to the store.
    pub standing: Arc<Standing>,
    /// When it was accepted. Time stands still during the call.
    pub now: Timestamp,
    /// The request's id.
    pub request_id: String,
    /// Where it came from.
    pub source: Source,
    /// The `x-2fa-code` that the request carried, as [`entered`] gives it.
    pub code: Option<SecretString>,
    /// What the host saw so far.
    pub observed: Observed,
    /// What a test has planted in the host.
    pub faults: Faults,
    /// What was used of the host.
    pub(crate) meter: Meter,
    /// The hash of the caller's password, once the password was compared in this
    /// call and is right.
    proved_password: Option<SecretString>,
    /// The request's code was compared with the one that the caller was sent, and
    /// is right.
    proved_email_code: Option<SecretString>,
    /// What the attempt has tried that the store is at work on, and the work: whether it was
    /// counted.
    attempt: Option<(Option<Tried>, Work<bool>)>,
    /// The target of the reset that the store is at work on, and the work.
    reset: Option<(String, Work<ResetOutcome>)>,
}

/// Work of the host that outlives the plugin's patience.
type Work<T> = Pin<Box<dyn Future<Output = wasmtime::Result<T>> + Send>>;

/// How a reset that the store worked on ended.
pub type ResetOutcome = Result<reset::Receipt, reset::Refusal>;

/// What the host saw a plugin do in one call.
#[derive(Debug, Default)]
pub struct Observed {
    /// How the plugin's last attempt began; none before the first.
    pub attempt: Option<ObservedAttempt>,
    /// What that attempt compared, as far as it got; none where it handed nothing out.
    pub tried: Option<Tried>,
    /// The id of the account that was reset, or else of the one last found.
    pub target: Option<String>,
    /// How the last reset ended that got as far as the store.
    pub reset: Option<ResetOutcome>,
}

/// How an attempt to prove the caller's second factor began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObservedAttempt {
    /// It was counted, and the caller's TOTP factor handed out or the code
    /// compared.
    Begun {
        /// The code that the request carried was right once, and was used.
        spent_code: bool,
    },
    /// Nothing was: too many failures in a row.
    Locked(Lock),
}

impl Observed {
    /// Whether a reset was committed.
    pub fn committed(&self) -> bool {
        matches!(self.reset, Some(Ok(_)))
    }
}

impl Call {
    /// A call that has done nothing yet, within the usual limits.
    pub fn new(
        store: Arc<dyn Store>,
        workspace: String,
        standing: Arc<Standing>,
        now: Timestamp,
        request_id: String,
        source: Source,
        code: Option<SecretString>,
    ) -> Self {
        Self {
            store,
            workspace,
            standing,
            now,
            request_id,
            source,
            code: code.as_ref().map(entered),
            observed: Observed::default(),
            faults: Faults::default(),
            meter: Meter::new(Limits::default()),
            proved_password: None,
            proved_email_code: None,
            attempt: None,
            reset: None,
        }
    }
}
