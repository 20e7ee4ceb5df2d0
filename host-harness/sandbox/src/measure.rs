//! A call taken apart, for the benchmark. No request is served here: an instance
//! that lives on breaks the law that none serves a second call.

use crate::capabilities::Call;
use crate::contract::ResetTotpPlugin;
use crate::contract::exports::chat::reset_totp::handler::{Request, Response};
use crate::limits::Limits;
use crate::plugin::{Plugin, caller};
use crate::sandbox::Sandbox;
use std::time::Duration;
use wasmtime::{Result, Store};

/// How long the parts of one call took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stages {
    /// To make the store and put it under its limits.
    pub store: Duration,
    /// To instantiate the plugin in it.
    pub instantiate: Duration,
    /// To hand over the request, decide and take the answer, host calls included.
    pub call: Duration,
    /// To drop all that, and wipe what the next call reuses.
    pub drop: Duration,
}

impl std::ops::AddAssign for Stages {
    fn add_assign(&mut self, other: Self) {
        self.store += other.store;
        self.instantiate += other.instantiate;
        self.call += other.call;
        self.drop += other.drop;
    }
}

/// An instance that lives on.
pub struct Warm {
    store: Store<Sandbox>,
    instance: ResetTotpPlugin,
}

impl Plugin {
    /// Runs a call in stages, each timed by `clock`.
    ///
    /// # Errors
    ///
    /// When the call traps.
    pub async fn stages(
        &self,
        call: Call,
        request: &Request,
        limits: Limits,
        clock: impl Fn() -> Duration,
    ) -> Result<Stages> {
        let caller = caller(&call);
        let start = clock();
        let mut store = self.store(call, limits);
        let stored = clock();
        let instance = self.component.instantiate_async(&mut store).await?;
        let instantiated = clock();
        instance
            .chat_reset_totp_handler()
            .call_reset_totp(&mut store, &caller, request)
            .await?;
        let called = clock();
        drop(store);
        let dropped = clock();
        Ok(Stages {
            store: stored - start,
            instantiate: instantiated - stored,
            call: called - instantiated,
            drop: dropped - called,
        })
    }

    /// Instantiates the plugin and drops it, without a call.
    ///
    /// # Errors
    ///
    /// When its start function traps.
    pub async fn instantiate(&self, call: Call, limits: Limits) -> Result<()> {
        let mut store = self.store(call, limits);
        self.component.instantiate_async(&mut store).await?;
        Ok(())
    }

    /// An instance for many calls, which `limits` bound together.
    ///
    /// # Errors
    ///
    /// When its start function traps.
    pub async fn warm(&self, call: Call, limits: Limits) -> Result<Warm> {
        let mut store = self.store(call, limits);
        let instance = self.component.instantiate_async(&mut store).await?;
        Ok(Warm { store, instance })
    }
}

impl Warm {
    /// One more call.
    ///
    /// # Errors
    ///
    /// When it traps.
    pub async fn reset_totp(&mut self, call: Call, request: &Request) -> Result<Response> {
        let caller = caller(&call);
        self.store.data_mut().call = call;
        self.instance
            .chat_reset_totp_handler()
            .call_reset_totp(&mut self.store, &caller, request)
            .await
    }
}
