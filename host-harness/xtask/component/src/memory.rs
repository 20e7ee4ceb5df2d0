//! The plugin's memory, in a module of its own that is instantiated first.
//!
//! What the host lends is bound to its caller's memory and `realloc` before the caller can be
//! instantiated. Where the plugin holds its memory itself, `wit-component` breaks this circle with
//! two more modules: one that calls through a table, and one that fills the table when it starts.
//! They cost each call 2 CPU µs. Here the memory, its data and a `realloc` come first, and the
//! plugin imports its memory: two instances instead of three, one table instead of two, and none
//! has anything to start.

use anyhow::{Context, Result, anyhow, bail};
use wasm_encoder::reencode::{
    self, Reencode, ReencodeComponent, RoundtripReencoder, component_utils, utils,
};
use wasm_encoder::{
    Component, ComponentSectionId, DataSection, ExportSection, GlobalSection, ImportSection,
    InstanceSection, MemorySection, MemoryType, Module, RawSection, Section as _,
};
use wasmparser::{
    CustomSectionReader, Data, Export, ExternalKind, Global, ImportSectionReader, Instance,
    MemorySectionReader, Operator, Parser, Payload, Validator,
};

type Reencoded<T = ()> = Result<T, reencode::Error<anyhow::Error>>;

/// The allocator's one word, which the plugin exports: the first free address.
const FIRST_FREE: &str = "FIRST_FREE";

/// How the functions are named that a host would call to give an answer's memory back. An
/// instance that has answered is dropped.
const AFTER_ANSWER: &str = "cabi_post_";

/// The modules that `wit-component` adds to the plugin, by their place in the component: what
/// calls through a table and holds the memory that the plugin imports, and what fills the table.
const SHIM: u32 = 1;
const FIXUP: u32 = 2;

/// What the module holds that comes first, taken out of the plugin's.
pub(crate) struct Memory {
    ty: MemoryType,
    first_free: Option<i32>,
    data: DataSection,
    /// The plugin's constant globals: its addresses.
    addresses: Vec<Option<i32>>,
}

/// Takes the memory and its data out of the plugin's module, which imports it then.
///
/// # Errors
///
/// It is no module with a memory.
pub(crate) fn take(module: &[u8]) -> Result<(Vec<u8>, Memory)> {
    let mut memory = Memory {
        ty: memory_type(module)?,
        first_free: None,
        data: DataSection::new(),
        addresses: Vec::new(),
    };
    let mut rest = Module::new();
    let taken = memory.parse_core_module(&mut rest, Parser::new(0), module);
    taken.map_err(explained)?;
    Ok((rest.finish(), memory))
}

fn memory_type(module: &[u8]) -> Result<MemoryType> {
    for payload in Parser::new(0).parse_all(module) {
        if let Payload::MemorySection(memories) = payload? {
            let memory = memories.into_iter().next().context("no memory")??;
            return Ok(memory.into());
        }
    }
    bail!("the plugin has no memory")
}

impl Reencode for Memory {
    type Error = anyhow::Error;

    /// By this name `wit-component` knows it.
    fn parse_import_section(
        &mut self,
        imports: &mut ImportSection,
        section: ImportSectionReader<'_>,
    ) -> Reencoded {
        utils::parse_import_section(self, imports, section)?;
        imports.import("env", "memory", self.ty);
        Ok(())
    }

    fn parse_memory_section(
        &mut self,
        _: &mut MemorySection,
        _: MemorySectionReader<'_>,
    ) -> Reencoded {
        Ok(())
    }

    fn parse_global(&mut self, globals: &mut GlobalSection, global: Global<'_>) -> Reencoded {
        let address = match global.init_expr.get_operators_reader().read()? {
            Operator::I32Const { value } => Some(value),
            _ => None,
        };
        self.addresses.push(address);
        utils::parse_global(self, globals, global)
    }

    fn parse_export(&mut self, exports: &mut ExportSection, export: Export<'_>) -> Reencoded {
        if export.name == FIRST_FREE {
            let address = self.addresses.get(export.index as usize);
            self.first_free = address.copied().flatten();
        } else if export.kind != ExternalKind::Memory && !export.name.starts_with(AFTER_ANSWER) {
            utils::parse_export(self, exports, export)?;
        }
        Ok(())
    }

    fn parse_data(&mut self, _: &mut DataSection, data: Data<'_>) -> Reencoded {
        let data = RoundtripReencoder.parse_data(&mut self.data, data);
        data.map_err(|error| reencode::Error::UserError(anyhow!("{error}")))
    }

    fn data_count(&mut self, _: u32) -> Reencoded<u32> {
        Ok(0)
    }
}

impl Memory {
    /// Puts the memory's module into the plugin's component, in the place of those that
    /// `wit-component` added.
    ///
    /// # Errors
    ///
    /// The plugin does not export its allocator's word, or the component is not as `wit-component`
    /// makes it.
    pub(crate) fn put_first(&self, component: &[u8]) -> Result<Vec<u8>> {
        let mut whole = Component::new();
        let mut put = PutFirst {
            memory: self,
            modules: 0,
        };
        let put = put.parse_component(&mut whole, Parser::new(0), component);
        put.map_err(explained)?;
        let whole = whole.finish();
        Validator::new().validate_all(&whole)?;
        Ok(whole)
    }

    /// The module, with `realloc` under this name.
    fn module(&self, realloc: &str) -> Result<Vec<u8>> {
        let pages = self.ty.minimum;
        let first_free = self
            .first_free
            .context("the plugin exports no FIRST_FREE")?;
        let mut module = wat::parse_str(format!(
            r#"(module
              (memory (export "$memory") {pages})
              (func (export "{realloc}")
                (param $block i32) (param $length i32) (param $align i32) (param $size i32)
                (result i32)
                (local $free i32) (local $start i32) (local $end i32) (local $missing i32)
                ;; No host moves a block.
                (if (local.get $block) (then unreachable))
                (local.set $free (i32.load (i32.const {first_free})))
                (local.set $start
                  (i32.and
                    (i32.add (local.get $free) (i32.sub (local.get $align) (i32.const 1)))
                    (i32.sub (i32.const 0) (local.get $align))))
                (local.set $end (i32.add (local.get $start) (local.get $size)))
                (if (i32.or
                      (i32.lt_u (local.get $start) (local.get $free))
                      (i32.lt_u (local.get $end) (local.get $start)))
                  (then unreachable))
                (local.set $missing
                  (i32.sub
                    (i32.shr_u (i32.sub (local.get $end) (i32.const 1)) (i32.const 16))
                    (i32.sub (memory.size) (i32.const 1))))
                (if (i32.gt_s (local.get $missing) (i32.const 0))
                  (then
                    (if (i32.eq (memory.grow (local.get $missing)) (i32.const -1))
                      (then unreachable))))
                (i32.store (i32.const {first_free}) (local.get $end))
                (local.get $start)))"#
        ))?;
        self.data.append_to(&mut module);
        Ok(module)
    }
}

struct PutFirst<'a> {
    memory: &'a Memory,
    /// How many modules came before.
    modules: u32,
}

impl Reencode for PutFirst<'_> {
    type Error = anyhow::Error;
}

impl ReencodeComponent for PutFirst<'_> {
    fn parse_component_submodule(
        &mut self,
        component: &mut Component,
        _: Parser,
        module: &[u8],
    ) -> Reencoded {
        let place = self.modules;
        self.modules += 1;
        let replaced = match place {
            SHIM => {
                let realloc = only_function(module).map_err(reencode::Error::UserError)?;
                let memory = self.memory.module(&realloc);
                memory.map_err(reencode::Error::UserError)?
            }
            FIXUP => return Ok(()),
            _ => module.to_vec(),
        };
        component.section(&RawSection {
            id: ComponentSectionId::CoreModule.into(),
            data: &replaced,
        });
        Ok(())
    }

    fn parse_instance(
        &mut self,
        instances: &mut InstanceSection,
        instance: Instance<'_>,
    ) -> Reencoded {
        match instance {
            Instance::Instantiate {
                module_index: FIXUP,
                ..
            } => Ok(()),
            _ => component_utils::parse_instance(self, instances, instance),
        }
    }

    /// The names of what is inside are for debuggers, and three times longer than what calls it.
    fn parse_component_custom_section(
        &mut self,
        component: &mut Component,
        section: CustomSectionReader<'_>,
    ) -> Reencoded {
        match section.name() {
            "component-name" => Ok(()),
            _ => component_utils::parse_component_custom_section(self, component, section),
        }
    }
}

/// The name of the one function that a module exports: of all that calls through a table, only
/// `realloc` is left where the memory is imported.
fn only_function(module: &[u8]) -> Result<String> {
    let mut functions = Vec::new();
    for payload in Parser::new(0).parse_all(module) {
        if let Payload::ExportSection(exports) = payload? {
            for export in exports {
                let export = export?;
                if export.kind == ExternalKind::Func {
                    functions.push(export.name.to_owned());
                }
            }
        }
    }
    match <[String; 1]>::try_from(functions) {
        Ok([only]) => Ok(only),
        Err(more) => bail!("more than `realloc` is called through a table: {more:?}"),
    }
}

fn explained(error: reencode::Error<anyhow::Error>) -> anyhow::Error {
    match error {
        reencode::Error::UserError(error) => error,
        other => anyhow!("{other}"),
    }
}
