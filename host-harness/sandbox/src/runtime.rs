//! The one engine of a process: what it compiles and runs, and how many calls it
//! runs at a time.

use crate::limits::{Limits, MAX_INSTANCES, MAX_MEMORIES, MAX_TABLES};
use crate::sandbox::spawn_ticker;
use crate::turns::{Crowd, Turns};
use std::fmt;
use std::num::{NonZeroUsize, ParseIntError};
use std::str::FromStr;
use std::sync::Arc;
use wasmtime::error::Context as _;
use wasmtime::{Config, Enabled, Engine, PoolingAllocationConfig};

/// How much of a memory, a table and a stack is wiped after a call by writing
/// zeros, in bytes; the system is asked for new pages where a call had more. The
/// memory of our plugin has 64 KiB, and its calls use less than 16 KiB of stack.
const MEMORY_KEPT: usize = 128 * 1024;
const TABLE_KEPT: usize = 64 * 1024;
const STACK_KEPT: usize = 16 * 1024;

/// The stack of a call, in bytes, and how much of it the plugin may use: the rest
/// is for the host's functions. The less there is, the less the system searches
/// for pages to take back.
const STACK: usize = 256 * 1024;
const PLUGIN_STACK: usize = 128 * 1024;

/// Addresses after a memory that nobody may touch, where addresses are scarce, in bytes: a
/// page, as code that names a field of what it has compared needs no further comparison.
const GUARD: u64 = 64 * 1024;

/// Frames of a trap's backtrace: enough to find the place.
const BACKTRACE_FRAMES: Option<NonZeroUsize> = NonZeroUsize::new(4);

/// What a process gives to the calls of all its workspaces together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Calls that run at a time. Each holds 27 KiB and its guest's memory.
    pub calls: usize,
    /// Calls that wait for their turn; more are refused with 503.
    pub waiting: usize,
    /// Size of the largest plugin, in bytes, up to
    /// [`MAX_FILE`](crate::admission::MAX_FILE). To compile one takes a second and 30 MiB a
    /// mebibyte.
    pub plugin_bytes: usize,
    /// What no workspace's limits exceed.
    pub ceiling: Limits,
}

impl Default for Capacity {
    fn default() -> Self {
        Self {
            calls: 128,
            waiting: 256,
            // Fifty times the size of ours.
            plugin_bytes: 4 * 1024 * 1024,
            ceiling: Limits::default(),
        }
    }
}

/// The engine, with room for as many calls as its [`Capacity`] says.
pub struct Runtime {
    pub(crate) engine: Engine,
    pub(crate) addresses: Addresses,
    pub(crate) capacity: Capacity,
    pub(crate) turns: Arc<Turns>,
}

impl Runtime {
    /// An engine, whose epochs a thread advances until it is gone.
    ///
    /// # Errors
    ///
    /// When the operating system gives no thread, or too few addresses for so many calls;
    /// the message says what to change then.
    pub fn new(capacity: Capacity) -> wasmtime::Result<Self> {
        let (engine, addresses) = engine(&capacity)?;
        spawn_ticker(engine.weak())?;
        let turns = Arc::new(Turns::new(capacity.calls, capacity.waiting));
        Ok(Self {
            engine,
            addresses,
            capacity,
            turns,
        })
    }

    /// What it gives to calls.
    pub fn capacity(&self) -> &Capacity {
        &self.capacity
    }

    /// How many calls run and wait.
    pub fn crowd(&self) -> Crowd {
        self.turns.crowd()
    }
}

/// Addresses that each memory of a call reserves, in bytes. Compiled code depends on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Addresses(u64);

impl Addresses {
    /// All that a plugin can name: what it must not touch, the processor notices.
    const AMPLE: Self = Self(4 * 1024 * 1024 * 1024);

    /// No more than the memory itself: before each access, code compares the address.
    fn scarce(ceiling: &Limits) -> Self {
        Self((ceiling.memory as u64).next_multiple_of(GUARD))
    }

    /// What compiles, and runs nothing.
    pub(crate) fn compiler(self) -> wasmtime::Result<Engine> {
        Engine::new(&self.config())
    }

    fn config(self) -> Config {
        let mut config = Config::new();
        if self != Self::AMPLE {
            config.memory_reservation(self.0).memory_guard_size(GUARD);
        }
        config
            .epoch_interruption(true)
            // What is admitted takes one processor from the calls, not all.
            .parallel_compilation(false)
            .async_stack_size(STACK)
            .max_wasm_stack(PLUGIN_STACK)
            // Nothing of a call is left on the stack of the next, should compiled
            // code ever read what it has not written.
            .async_stack_zeroing(true)
            .wasm_backtrace_max_frames(BACKTRACE_FRAMES)
            // What no plugin needs is no way to attack: results that differ from
            // machine to machine, and code that few programs use.
            .concurrency_support(false)
            .wasm_memory64(false)
            .wasm_relaxed_simd(false)
            .wasm_tail_call(false);
        config
    }
}

/// As [`FromStr`] reads it.
impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Addresses {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// With as many addresses as there are.
fn engine(capacity: &Capacity) -> wasmtime::Result<(Engine, Addresses)> {
    let made = |addresses: Addresses| {
        let mut config = addresses.config();
        config.allocation_strategy(pool(capacity));
        Engine::new(&config).map(|engine| (engine, addresses))
    };
    let error = match made(Addresses::AMPLE) {
        Ok(made) => return Ok(made),
        Err(error) => error,
    };
    let scarce = Addresses::scarce(&capacity.ceiling);
    let made = made(scarce);
    let memories = capacity
        .calls
        .saturating_add(1)
        .saturating_mul(MAX_MEMORIES) as u64;
    let needed = |addresses: Addresses| memories.saturating_mul(addresses.0) >> 20;
    let (ample, least) = (needed(Addresses::AMPLE), needed(scarce));
    if made.is_ok() {
        tracing::warn!(
            %error,
            wanted_mebibytes = ample,
            "the system gives few addresses: plugins are slower, as each of their accesses to \
             memory is checked; a higher `ulimit -v`, or fewer `calls` in [host], mends it"
        );
    }
    made.with_context(|| {
        format!(
            "the system does not give the {least} MiB of addresses that {} calls at a time need: \
             raise `ulimit -v`, or lower `calls` of [host] or `memory-bytes` of [host.limits]",
            capacity.calls
        )
    })
}

/// Places for calls, reserved once and reused, and one for the instance that an
/// admission makes: it neither waits for a call nor takes the place of one. There
/// is room for all that [`Sandbox`](crate::sandbox::Sandbox) grants, and a module
/// that wants a little more is loaded: the sandbox says no, and why.
fn pool(capacity: &Capacity) -> PoolingAllocationConfig {
    let all = capacity.calls.saturating_add(1);
    let places = |each: usize| count(all.saturating_mul(each));
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(places(1))
        .total_stacks(places(1))
        .total_core_instances(places(MAX_INSTANCES))
        .total_memories(places(MAX_MEMORIES))
        .total_tables(places(MAX_TABLES))
        .max_memories_per_module(count(2 * MAX_MEMORIES))
        .max_tables_per_module(count(2 * MAX_TABLES))
        .max_memory_size(capacity.ceiling.memory)
        .table_elements(capacity.ceiling.table_elements)
        // A place that was used for a plugin is cheapest for the same plugin.
        .max_unused_warm_slots(places(MAX_MEMORIES))
        .linear_memory_keep_resident(MEMORY_KEPT)
        .table_keep_resident(TABLE_KEPT)
        .async_stack_keep_resident(STACK_KEPT)
        // It passes over pages that are swapped out: their secrets would stay.
        .pagemap_scan(Enabled::No);
    pool
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::{DefaultHasher, Hash, Hasher};

    fn code(engine: &Engine) -> u64 {
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        hasher.finish()
    }

    #[test]
    fn what_a_compiler_makes_the_engine_with_these_addresses_takes_and_no_other() {
        let capacity = Capacity::default();
        let (engine, addresses) = engine(&capacity).unwrap();
        let scarce = Addresses::scarce(&capacity.ceiling);
        let text = addresses.to_string();
        let told: Addresses = text.parse().unwrap();
        assert_eq!(code(&told.compiler().unwrap()), code(&engine));
        assert_ne!(code(&scarce.compiler().unwrap()), code(&engine));
    }
}
