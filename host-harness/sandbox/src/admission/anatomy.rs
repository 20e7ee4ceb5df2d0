//! What a component is made of, found in one pass that believes nothing, before
//! anything that takes longer than its bytes are long.

use super::functions::Functions;
use super::problem::{Problem, quoted};
use crate::limits::{Limits, MAX_INSTANCES, MAX_MEMORIES, MAX_TABLES};
use serde::Serialize;
use wasmparser::{
    BinaryReader, ComponentInstance, ComponentName, ComponentNameSectionReader,
    CustomSectionReader, Instance, MemoryType, Parser, Payload, ProducersSectionReader, TableType,
};

/// Components in each other, the outermost included: ours are two.
const MAX_DEPTH: usize = 4;

/// Instances of components. Components can multiply their instances: with
/// sixteen they make a few hundred at most. Ours has one.
const MAX_COMPONENT_INSTANCES: usize = 16;

/// Core modules and components: ours has five, one in Python 38.
const MAX_MODULES: usize = 64;

/// Imports, and exports: the contract has five, and one.
const MAX_NAMES: usize = 64;

/// Tools that are named in a report.
const MAX_PRODUCERS: usize = 16;

/// Bytes in a page of memory.
const PAGE: u64 = 64 * 1024;

/// What an instance takes from the start, as the file declares it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Needs {
    /// Instances of core modules.
    pub core_instances: usize,
    /// Linear memories.
    pub memories: usize,
    /// Bytes in all memories at the start.
    pub memory: u64,
    /// Bytes that they may grow to; none where one has no bound of its own.
    pub max_memory: Option<u64>,
    /// Tables.
    pub tables: usize,
    /// Elements in all tables at the start.
    pub table_elements: u64,
}

/// A tool that made the component, as the component says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Producer {
    /// For example `rustc`.
    pub name: String,
    /// For example `1.95.0`.
    pub version: String,
}

/// What a component says of itself, and its parts.
#[derive(Debug, Default)]
pub(super) struct Anatomy {
    /// Its name, where it has one.
    pub(super) name: Option<String>,
    /// What made it.
    pub(super) producers: Vec<Producer>,
    /// The names of the imports, in their order.
    pub(super) imports: Vec<String>,
    /// Those of the exports.
    pub(super) exports: Vec<String>,
    /// What an instance takes.
    pub(super) needs: Needs,
    modules: usize,
    component_instances: usize,
    functions: Functions,
}

impl Anatomy {
    /// Takes `bytes` apart.
    ///
    /// # Errors
    ///
    /// [`Problem::Invalid`], and [`Problem::TooComplex`] as soon as that is so.
    pub(super) fn of(bytes: &[u8]) -> Result<Self, Problem> {
        let mut anatomy = Self {
            needs: Needs {
                max_memory: Some(0),
                ..Needs::default()
            },
            ..Self::default()
        };
        let mut depth = 0;
        for payload in Parser::new(0).parse_all(bytes) {
            let payload = payload.map_err(invalid)?;
            match payload {
                Payload::Version { .. } => depth += 1,
                Payload::End(_) => depth -= 1,
                _ => {}
            }
            within("components in each other", depth, MAX_DEPTH)?;
            anatomy.add(payload, depth == 1)?;
        }
        Ok(anatomy)
    }

    fn add(&mut self, payload: Payload<'_>, outermost: bool) -> Result<(), Problem> {
        match payload {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                self.modules += 1;
                self.functions.begin_module();
                within("modules and components", self.modules, MAX_MODULES)?;
            }
            Payload::InstanceSection(instances) => {
                for instance in instances {
                    let instance = instance.map_err(invalid)?;
                    let made = matches!(instance, Instance::Instantiate { .. });
                    self.needs.core_instances += usize::from(made);
                }
            }
            Payload::ComponentInstanceSection(instances) => {
                for instance in instances {
                    let instance = instance.map_err(invalid)?;
                    let made = matches!(instance, ComponentInstance::Instantiate { .. });
                    self.component_instances += usize::from(made);
                }
                let found = self.component_instances;
                within("instances of components", found, MAX_COMPONENT_INSTANCES)?;
            }
            Payload::MemorySection(memories) => {
                for memory in memories {
                    self.needs.add_memory(memory.map_err(invalid)?);
                }
            }
            Payload::TableSection(tables) => {
                for table in tables {
                    self.needs.add_table(table.map_err(invalid)?.ty);
                }
            }
            Payload::TypeSection(types) => {
                for group in types {
                    self.functions.add_types(group.map_err(invalid)?)?;
                }
            }
            Payload::FunctionSection(types) => self.functions.declare(types)?,
            Payload::CodeSectionEntry(body) => self.functions.add(&body)?,
            Payload::ComponentImportSection(imports) if outermost => {
                within("imports", imports.count() as usize, MAX_NAMES)?;
                for import in imports {
                    self.imports
                        .push(import.map_err(invalid)?.name.name.to_owned());
                }
                within("imports", self.imports.len(), MAX_NAMES)?;
            }
            Payload::ComponentExportSection(exports) if outermost => {
                within("exports", exports.count() as usize, MAX_NAMES)?;
                for export in exports {
                    self.exports
                        .push(quoted(export.map_err(invalid)?.name.name));
                }
                within("exports", self.exports.len(), MAX_NAMES)?;
            }
            Payload::CustomSection(section) => self.read(&section),
            _ => {}
        }
        Ok(())
    }

    /// What the component says of itself; nonsense says nothing.
    fn read(&mut self, section: &CustomSectionReader<'_>) {
        let reader = BinaryReader::new(section.data(), 0);
        match section.name() {
            "component-name" if self.name.is_none() => {
                let names = ComponentNameSectionReader::new(reader);
                self.name = names.flatten().find_map(|name| match name {
                    ComponentName::Component { name, .. } => Some(quoted(name)),
                    _ => None,
                });
            }
            "producers" => {
                let Ok(fields) = ProducersSectionReader::new(reader) else {
                    return;
                };
                let values = fields.into_iter().flatten().flat_map(|field| field.values);
                for value in values.flatten() {
                    let producer = Producer {
                        name: quoted(value.name),
                        version: quoted(value.version),
                    };
                    let room = self.producers.len() < MAX_PRODUCERS;
                    if room && !self.producers.contains(&producer) {
                        self.producers.push(producer);
                    }
                }
            }
            _ => {}
        }
    }
}

impl Needs {
    /// What of this is more than a call gets within `ceiling`.
    pub(super) fn exceeding(&self, ceiling: &Limits) -> Vec<Problem> {
        let rows: [(&'static str, u64, usize); 5] = [
            ("core instances", self.core_instances as u64, MAX_INSTANCES),
            ("memories", self.memories as u64, MAX_MEMORIES),
            ("bytes of memory", self.memory, ceiling.memory),
            ("tables", self.tables as u64, MAX_TABLES),
            (
                "table elements",
                self.table_elements,
                ceiling.table_elements,
            ),
        ];
        let exceeds = |(what, needed, limit): (&'static str, u64, usize)| {
            let limit = limit as u64;
            (needed > limit).then_some(Problem::NeedsTooMuch {
                what,
                needed,
                limit,
            })
        };
        rows.into_iter().filter_map(exceeds).collect()
    }

    fn add_memory(&mut self, memory: MemoryType) {
        let bytes = |pages: u64| pages.saturating_mul(PAGE);
        self.memories += 1;
        self.memory = self.memory.saturating_add(bytes(memory.initial));
        let maximum = memory.maximum.map(bytes);
        self.max_memory = self
            .max_memory
            .zip(maximum)
            .map(|(sum, maximum)| sum.saturating_add(maximum));
    }

    fn add_table(&mut self, table: TableType) {
        self.tables += 1;
        self.table_elements = self.table_elements.saturating_add(table.initial);
    }
}

pub(super) fn within(what: &'static str, found: usize, limit: usize) -> Result<(), Problem> {
    if found > limit {
        return Err(Problem::TooComplex { what, found, limit });
    }
    Ok(())
}

pub(super) fn invalid(error: wasmparser::Error) -> Problem {
    Problem::Invalid {
        reason: quoted(&error.to_string()),
    }
}
