//! What the host lends to one call of the plugin: one file an interface.
//!
//! A capability acts for the workspace and the caller that [`Call`] holds; the
//! plugin cannot name others. Where the store fails, the capability traps with
//! the [`StoreError`](crate::store::StoreError) and the call is over.

mod permissions;
mod secrets;
mod settings;
mod users;
mod wall_clock;

use crate::clock::Timestamp;
use crate::store::{Caller, Receipt, Settings, Store, StoreError};
use secrecy::SecretString;
use std::sync::Arc;

/// One call: on whose behalf, and what the host saw the plugin do.
pub struct Call {
    /// The chat server's data.
    pub store: Arc<dyn Store>,
    /// The workspace of the request.
    pub workspace: String,
    /// Who makes the request.
    pub caller: Caller,
    /// When it was accepted. Time stands still during the call.
    pub now: Timestamp,
    /// The request's id.
    pub request_id: String,
    /// The `x-2fa-code` that the request carried.
    pub code: Option<SecretString>,
    /// What the host saw so far.
    pub observed: Observed,
}

/// What the host saw a plugin do in one call.
#[derive(Debug, Default)]
pub struct Observed {
    /// The caller's TOTP factor was handed out.
    pub attempt_begun: bool,
    /// An attempt was refused because the caller is locked.
    pub locked: bool,
    /// A reset was refused because its proof was used before.
    pub replayed: bool,
    /// The id of the account that was last found or was to be reset.
    pub target: Option<String>,
    /// A reset was committed.
    pub committed: Option<Receipt>,
}

impl Call {
    /// The settings of the call's workspace.
    async fn settings(&self) -> Result<Settings, StoreError> {
        let settings = self.store.settings(&self.workspace).await?;
        settings.ok_or_else(|| StoreError("the workspace is gone".into()))
    }
}
