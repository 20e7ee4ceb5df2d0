//! The one engine of a process: what it compiles and runs, and how many calls it
//! runs at a time.

use crate::admission::Admissions;
use crate::sandbox::{Limits, spawn_ticker};
use std::sync::Arc;
use wasmtime::{Config, Engine};

/// What a process gives to the calls of all its workspaces together.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    /// Calls that run at a time. Each holds 27 KiB and its guest's memory.
    pub calls: usize,
    /// Calls that wait for their turn; more are refused with 503.
    pub waiting: usize,
    /// What no workspace's limits exceed.
    pub ceiling: Limits,
}

impl Default for Capacity {
    fn default() -> Self {
        Self {
            calls: 64,
            waiting: 256,
            ceiling: Limits::default(),
        }
    }
}

/// The engine, with room for as many calls as its [`Capacity`] says.
pub struct Runtime {
    pub(crate) engine: Engine,
    pub(crate) capacity: Capacity,
    pub(crate) admissions: Arc<Admissions>,
}

impl Runtime {
    /// An engine, whose epochs a thread advances until it is gone.
    ///
    /// # Errors
    ///
    /// When the operating system gives no thread or no addresses.
    pub fn new(capacity: Capacity) -> wasmtime::Result<Self> {
        let engine = Engine::new(&config(&capacity))?;
        spawn_ticker(engine.weak())?;
        Ok(Self {
            engine,
            capacity,
            admissions: Arc::default(),
        })
    }
}

fn config(_capacity: &Capacity) -> Config {
    let mut config = Config::new();
    config.epoch_interruption(true);
    config
}
