//! What bounds one call of a plugin.

use crate::capabilities::Call;
use std::time::Duration;
use wasmtime::{EngineWeak, ResourceLimiter, Store, UpdateDeadline};

/// Length of an epoch, by which processor time is measured: a fifth of a call's.
const EPOCH: Duration = Duration::from_millis(10);

/// How many epochs in which the host was called are not billed to the plugin: it
/// may have waited. A decision makes about ten host calls.
const UNBILLED_EPOCHS: u32 = 16;

/// Memories, tables and core instances of one call: the component of our plugin
/// has one memory, two tables and three instances. Each memory reserves 4 GiB of
/// addresses.
pub(crate) const MAX_MEMORIES: usize = 4;
pub(crate) const MAX_TABLES: usize = 8;
pub(crate) const MAX_INSTANCES: usize = 16;

/// Advances the engine's epoch, by which sandboxes measure processor time,
/// until the engine is gone.
pub(crate) fn spawn_ticker(engine: EngineWeak) -> std::io::Result<()> {
    std::thread::Builder::new()
        .name("epoch ticker".to_owned())
        .spawn(move || {
            while let Some(engine) = engine.upgrade() {
                engine.increment_epoch();
                drop(engine);
                std::thread::sleep(EPOCH);
            }
        })?;
    Ok(())
}

/// What one call may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From the start to the answer, the host's own work included, but for the
    /// end of a reset that the store has begun: that is waited for.
    pub wall_time: Duration,
    /// In the plugin alone, but for up to 160 ms between host calls that may have
    /// been waiting for them.
    pub cpu_time: Duration,
    /// In all linear memories together, in bytes.
    pub memory: usize,
    /// In all tables together, in elements.
    pub table_elements: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // As long as a person waits; a disk that is slow must not fail a reset.
            wall_time: Duration::from_secs(5),
            // A decision takes far less than one millisecond.
            cpu_time: Duration::from_millis(50),
            // A decision takes less than two.
            memory: 16 * 1024 * 1024,
            // The function table of our plugin has about a hundred.
            table_elements: 10_000,
        }
    }
}

/// The state of one call: what it may reach, and what it has used.
pub struct Sandbox {
    pub(crate) call: Call,
    limits: Limits,
    memory: usize,
    table_elements: usize,
    memory_refused: bool,
    /// The host was called since the last epoch.
    host_called: bool,
}

impl Sandbox {
    pub(crate) fn new(call: Call, limits: Limits) -> Self {
        Self {
            call,
            limits,
            memory: 0,
            table_elements: 0,
            memory_refused: false,
            host_called: false,
        }
    }

    /// The capabilities, for one host call.
    pub(crate) fn lend(&mut self) -> &mut Call {
        self.host_called = true;
        &mut self.call
    }

    /// Whether the plugin was refused memory.
    pub(crate) fn memory_refused(&self) -> bool {
        self.memory_refused
    }

    /// Puts `store` under its sandbox's limits, from the instantiation on: a
    /// start function can loop, too.
    pub(crate) fn enforce(store: &mut Store<Self>) {
        let mut budget = Budget::new(&store.data().limits);
        store.limiter(|sandbox| sandbox);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(move |mut context| {
            let host_called = std::mem::take(&mut context.data_mut().host_called);
            if !budget.pays(host_called) {
                return Ok(UpdateDeadline::Interrupt);
            }
            Ok(UpdateDeadline::YieldCustom(
                1,
                Box::pin(tokio::task::yield_now()),
            ))
        });
    }
}

/// The epochs that a call has left.
struct Budget {
    billed: u128,
    unbilled: u32,
}

impl Budget {
    fn new(limits: &Limits) -> Self {
        Self {
            billed: limits.cpu_time.as_millis() / EPOCH.as_millis(),
            unbilled: UNBILLED_EPOCHS,
        }
    }

    /// Pays for an epoch; false where nothing is left to pay with.
    fn pays(&mut self, host_called: bool) -> bool {
        if host_called && self.unbilled > 0 {
            self.unbilled -= 1;
        } else if self.billed > 0 {
            self.billed -= 1;
        } else {
            return false;
        }
        true
    }
}

/// Wasmtime asks per memory and per table; the limits are for their sum.
impl ResourceLimiter for Sandbox {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let granted = grow(&mut self.memory, self.limits.memory, desired - current);
        self.memory_refused |= !granted;
        Ok(granted)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let limit = self.limits.table_elements;
        let granted = grow(&mut self.table_elements, limit, desired - current);
        self.memory_refused |= !granted;
        Ok(granted)
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES
    }

    fn tables(&self) -> usize {
        MAX_TABLES
    }

    fn instances(&self) -> usize {
        MAX_INSTANCES
    }
}

fn grow(used: &mut usize, limit: usize, by: usize) -> bool {
    let wanted = used.saturating_add(by);
    let granted = wanted <= limit;
    if granted {
        *used = wanted;
    }
    granted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::store::{Caller, sqlite::Sqlite};
    use std::sync::Arc;

    #[test]
    fn waiting_for_the_host_is_not_billed_up_to_a_bound() {
        let mut budget = Budget::new(&Limits::default());
        let waited = (0..UNBILLED_EPOCHS).filter(|_| budget.pays(true)).count();
        assert_eq!(waited, 16);
        let computed = (0..100).filter(|_| budget.pays(false)).count();
        assert_eq!(computed, 5, "the processor time is whole after the waits");
        assert!(
            !budget.pays(true),
            "calls to the host do not buy endless time"
        );
    }

    #[tokio::test]
    async fn every_host_call_is_noted() {
        let folder = tempfile::tempdir().unwrap();
        let store = Sqlite::open_or_create(&folder.path().join("store.sqlite")).await;
        let caller = Caller {
            id: "alice".to_owned(),
            token_hash: String::new(),
            bypass_token: false,
        };
        let call = Call::new(
            Arc::new(store.unwrap()),
            "acme".to_owned(),
            caller,
            Timestamp::from_millis(0),
            "request-1".to_owned(),
            None,
        );
        let mut sandbox = Sandbox::new(call, Limits::default());
        assert!(!sandbox.host_called);
        sandbox.lend();
        assert!(sandbox.host_called);
    }
}
