//! One instance, made to see that it can be: a start function may loop, trap or
//! ask for more than there is.

use super::problem::{Problem, causes};
use crate::limits::{Limits, MAX_INSTANCES, MAX_MEMORIES, MAX_TABLES};
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Linker};
use wasmtime::{Engine, Store, StoreLimits, StoreLimitsBuilder, Trap};

/// Epochs in which an instance must be made. Ours takes some microseconds; a
/// machine that is busy takes longer.
const MAX_EPOCHS: u64 = 100;

/// The start function called a host that answers nothing yet.
#[derive(Debug, thiserror::Error)]
#[error("its start function calls the host, and nobody has called the plugin")]
struct HostCalled;

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
        reason: match (error.downcast_ref::<HostCalled>(), error.downcast_ref()) {
            (Some(called), _) => called.to_string(),
            (None, Some(Trap::Interrupt)) => "its start function takes too long".to_owned(),
            (None, Some(trap)) => trap.to_string(),
            (None, None) => causes(error.chain()),
        },
    })
}

fn instantiate(engine: &Engine, component: &Component, ceiling: &Limits) -> wasmtime::Result<()> {
    let linker = unanswered(engine, component)?;
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

/// What the component imports, each function of it a [`HostCalled`].
fn unanswered(engine: &Engine, component: &Component) -> wasmtime::Result<Linker<StoreLimits>> {
    let mut linker = Linker::new(engine);
    let ty = component.component_type();
    for (name, import) in ty.imports(engine) {
        let ComponentItem::ComponentInstance(interface) = import.ty else {
            continue;
        };
        let mut instance = linker.instance(name)?;
        for (function, item) in interface.exports(engine) {
            if let ComponentItem::ComponentFunc(_) = item.ty {
                instance.func_new(function, |_, _, _, _| Err(HostCalled.into()))?;
            }
        }
    }
    Ok(linker)
}
