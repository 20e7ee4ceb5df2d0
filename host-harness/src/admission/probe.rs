//! One instance, made to see that it can be: a start function may loop, trap or
//! ask for more than there is.

use super::problem::{Problem, causes};
use crate::sandbox::{Limits, MAX_INSTANCES, MAX_MEMORIES, MAX_TABLES};
use wasmtime::component::{Component, Linker};
use wasmtime::{Engine, Store, StoreLimits, StoreLimitsBuilder, Trap};

/// Epochs in which an instance must be made. Ours takes some microseconds; a
/// machine that is busy takes longer.
const MAX_EPOCHS: u64 = 100;

/// Makes an instance within `ceiling`, and throws it away. The host answers no
/// call meanwhile: nobody has called the plugin, so it decides for nobody.
///
/// # Errors
///
/// [`Problem::ProbeFailed`].
pub(super) fn probe(
    engine: &Engine,
    component: &Component,
    ceiling: &Limits,
) -> Result<(), Problem> {
    instantiate(engine, component, ceiling).map_err(|error| Problem::ProbeFailed {
        reason: match error.downcast_ref::<Trap>() {
            Some(Trap::Interrupt) => "its start function takes too long".to_owned(),
            _ => causes(error.chain()),
        },
    })
}

fn instantiate(engine: &Engine, component: &Component, ceiling: &Limits) -> wasmtime::Result<()> {
    let mut linker = Linker::<StoreLimits>::new(engine);
    linker.define_unknown_imports_as_traps(component)?;
    let limits = StoreLimitsBuilder::new()
        .memory_size(ceiling.memory)
        .table_elements(ceiling.table_elements)
        .instances(MAX_INSTANCES)
        .memories(MAX_MEMORIES)
        .tables(MAX_TABLES)
        .build();
    let mut store = Store::new(engine, limits);
    store.limiter(|limits| limits);
    store.set_epoch_deadline(MAX_EPOCHS);
    linker.instantiate(&mut store, component)?;
    Ok(())
}
