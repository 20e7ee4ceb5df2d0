//! What bounds one call of a plugin.

use crate::capabilities::Call;
use crate::limits::{Limits, MAX_ANSWER, MAX_INSTANCES, MAX_MEMORIES, MAX_TABLES};
use crate::meter::Meter;
use std::time::{Duration, Instant};
use wasmtime::{EngineWeak, ResourceLimiter, Store, UpdateDeadline};

/// Length of an epoch, by which processor time is measured: a fifth of a call's.
const EPOCH: Duration = Duration::from_millis(10);

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

/// The state of one call: what it may reach, and what it has used.
pub struct Sandbox {
    pub(crate) call: Call,
    limits: Limits,
    memory: usize,
    table_elements: usize,
    memory_refused: bool,
}

impl Sandbox {
    pub(crate) fn new(mut call: Call, limits: Limits) -> Self {
        call.meter = Meter::new(limits);
        Self {
            call,
            limits,
            memory: 0,
            table_elements: 0,
            memory_refused: false,
        }
    }

    /// The capabilities, for one host call.
    pub(crate) fn lend(&mut self) -> &mut Call {
        &mut self.call
    }

    /// Whether the plugin was refused memory.
    pub(crate) fn memory_refused(&self) -> bool {
        self.memory_refused
    }

    /// The linear memories that the plugin had in the end, in bytes: they never
    /// shrink.
    pub(crate) fn memory(&self) -> usize {
        self.memory
    }

    /// Puts `store` under its sandbox's limits, from the instantiation on: a
    /// start function can loop, too.
    pub(crate) fn enforce(store: &mut Store<Self>) {
        let limits = &store.data().limits;
        // Of one host call, or of the answer: what is longer is never copied.
        let fuel = limits.bytes_out.saturating_add(MAX_ANSWER);
        let mut budget = Budget::new(limits.cpu_time, Instant::now());
        store.set_hostcall_fuel(fuel);
        store.limiter(|sandbox| sandbox);
        // The contract has no resources.
        store.set_max_component_handles(0);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(move |context| {
            let host_time = context.data().call.meter.host_time();
            if !budget.pays(Instant::now(), host_time) {
                return Ok(UpdateDeadline::Interrupt);
            }
            Ok(UpdateDeadline::YieldCustom(
                1,
                Box::pin(tokio::task::yield_now()),
            ))
        });
    }
}

/// The time that a plugin has left.
struct Budget {
    left: Duration,
    seen: Instant,
    host_time: Duration,
}

impl Budget {
    fn new(cpu_time: Duration, start: Instant) -> Self {
        Self {
            left: cpu_time,
            seen: start,
            host_time: Duration::ZERO,
        }
    }

    /// Pays for the time since the last payment that was not spent in the host,
    /// an epoch at most: what is more, the plugin waited for its turn on a
    /// processor. False where nothing is left to pay with.
    fn pays(&mut self, now: Instant, host_time: Duration) -> bool {
        let in_host = host_time.saturating_sub(self.host_time);
        let elapsed = now.saturating_duration_since(self.seen);
        let billed = elapsed.saturating_sub(in_host).min(EPOCH);
        (self.seen, self.host_time) = (now, host_time);
        let left = self.left.checked_sub(billed);
        self.left = left.unwrap_or_default();
        left.is_some()
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

    const MILLISECOND: Duration = Duration::from_millis(1);

    /// Payments until nothing is left, `elapsed` apart with `in_host` of it in the
    /// host.
    fn payments(elapsed: Duration, in_host: Duration) -> u32 {
        let start = Instant::now();
        let mut budget = Budget::new(50 * MILLISECOND, start);
        let pays = |n: &u32| budget.pays(start + elapsed * *n, in_host * *n);
        u32::try_from((1..1000).take_while(pays).count()).unwrap()
    }

    #[test]
    fn the_plugins_own_time_is_billed_to_the_millisecond() {
        assert_eq!(payments(10 * MILLISECOND, Duration::ZERO), 5);
        assert_eq!(payments(5 * MILLISECOND, 4 * MILLISECOND), 50);
    }

    #[test]
    fn waiting_for_the_host_is_not_billed() {
        assert_eq!(payments(100 * MILLISECOND, 100 * MILLISECOND), 999);
        assert_eq!(payments(105 * MILLISECOND, 100 * MILLISECOND), 10);
    }

    #[test]
    fn waiting_for_a_processor_is_billed_for_one_epoch() {
        assert_eq!(payments(1000 * MILLISECOND, Duration::ZERO), 5);
    }
}
