//! What this host offers to a plugin and expects of it: the world in `wit/`, held
//! against what a component imports and exports.
//!
//! `wit_component::targets` asks the same question and stops at the first
//! difference. Here each import is held to the contract on its own, by the same
//! rules, so that the report names all of them; nothing decodes a hostile
//! component into WIT.

use super::problem::{Problem, nearest, quoted};
use crate::contract::WIT;
use crate::grants::{Capability, Grants};
use std::sync::LazyLock;
use wasmparser::component_types::{
    ComponentAnyTypeId, ComponentDefinedType, ComponentEntityType, ComponentItem, ComponentType,
    SubtypeCx,
};
use wasmparser::types::{Types, TypesRef};
use wasmparser::{Validator, WasmFeatures};
use wit_parser::{Resolve, SourceMap, UnresolvedPackageGroup};

/// What a plugin may be made of. Not in it: 64-bit memories, threads, exceptions,
/// garbage collection, relaxed SIMD, tail calls, the asynchronous ABI.
pub(super) const FEATURES: WasmFeatures = WasmFeatures::MUTABLE_GLOBAL
    .union(WasmFeatures::SATURATING_FLOAT_TO_INT)
    .union(WasmFeatures::SIGN_EXTENSION)
    .union(WasmFeatures::REFERENCE_TYPES)
    .union(WasmFeatures::MULTI_VALUE)
    .union(WasmFeatures::BULK_MEMORY)
    .union(WasmFeatures::SIMD)
    .union(WasmFeatures::FLOATS)
    .union(WasmFeatures::MULTI_MEMORY)
    .union(WasmFeatures::EXTENDED_CONST)
    .union(WasmFeatures::COMPONENT_MODEL);

/// Problems of one import that are told: a plugin can have any number, and each
/// takes time to describe.
const MAX_DIFFERENCES: usize = 16;

/// The name of the world in the package.
const WORLD: &str = "reset-totp-plugin";

/// Where the packages are that the contract takes from others.
const DEPENDENCIES: &str = "deps/";

/// The contract as a component whose one export is the world's type.
static ENCODED: LazyLock<Result<Vec<u8>, String>> =
    LazyLock::new(|| encode().map_err(|error| format!("{error:#}")));

/// How the host answers an import.
#[derive(Debug)]
pub(super) struct Answer {
    /// The interface, where it is one of the contract.
    pub(super) capability: Option<Capability>,
    /// What is wrong with it; nothing where it is granted.
    pub(super) problems: Vec<Problem>,
}

/// A component's types beside those of the world.
pub(super) struct Comparison {
    world: Types,
    component: Types,
}

impl Comparison {
    /// Validates `bytes`.
    ///
    /// # Errors
    ///
    /// When they are no valid component of [`FEATURES`].
    pub(super) fn new(bytes: &[u8]) -> anyhow::Result<Self> {
        let encoded = ENCODED.as_ref().map_err(|error| anyhow::anyhow!("{error}"));
        // One validator: only its types can be compared with each other.
        let mut validator = Validator::new_with_features(FEATURES);
        let world = validator.validate_all(encoded?)?;
        validator.reset();
        let component = validator.validate_all(bytes)?;
        Ok(Self { world, component })
    }

    /// How the host answers the import `name`.
    pub(super) fn import(&self, name: &str, grants: &Grants) -> Answer {
        let Some(capability) = Capability::of_import(name) else {
            let offered = Capability::ALL.map(Capability::interface);
            return Answer {
                capability: None,
                problems: vec![Problem::UnknownImport {
                    import: quoted(name),
                    nearest: nearest(name, offered),
                }],
            };
        };
        let mut problems = self.differences(name, capability);
        if !grants.allow(capability) {
            problems.push(Problem::NotGranted { capability });
        }
        Answer {
            capability: Some(capability),
            problems,
        }
    }

    /// What is wrong with the exports.
    pub(super) fn exports(&self) -> Vec<Problem> {
        let Some(world) = self.world() else {
            return Vec::new();
        };
        let component = self.component.as_ref();
        let mut problems = Vec::new();
        for (name, expected) in &world.exports {
            let found = component.component_item_for_export(name);
            match found {
                None => problems.push(Problem::MissingExport {
                    export: name.clone(),
                }),
                Some(found) => problems.extend(
                    self.mismatch(Sides::Export, &found.ty, &expected.ty)
                        .map(|difference| Problem::Mismatch {
                            item: name.clone(),
                            difference,
                        }),
                ),
            }
        }
        problems
    }

    /// How the instance that is wanted under `name` differs from the one that is
    /// offered. What differs in a type differs in the functions that use it: then
    /// only the types are named.
    fn differences(&self, name: &str, capability: Capability) -> Vec<Problem> {
        let interface = capability.interface();
        let offered = self.world().and_then(|world| world.imports.get(interface));
        let wanted = self.component.as_ref().component_item_for_import(name);
        let (Some(offered), Some(wanted)) = (offered, wanted) else {
            return Vec::new();
        };
        let instances = (&offered.ty, &wanted.ty);
        let (ComponentEntityType::Instance(offers), ComponentEntityType::Instance(wants)) =
            instances
        else {
            let difference = self.mismatch(Sides::Import, &offered.ty, &wanted.ty);
            let problem = difference.map(|difference| Problem::Mismatch {
                item: interface.to_owned(),
                difference,
            });
            return problem.into_iter().collect();
        };
        let (Some(offers), Some(wants)) = (
            self.world.as_ref().get(*offers),
            self.component.as_ref().get(*wants),
        ) else {
            return Vec::new();
        };
        let (mut types, mut functions) = (Vec::new(), Vec::new());
        for (item, wanted) in &wants.exports {
            if types.len().max(functions.len()) >= MAX_DIFFERENCES {
                break;
            }
            let is_type = matches!(wanted.ty, ComponentEntityType::Type { .. });
            let list = if is_type { &mut types } else { &mut functions };
            let offered = offers.exports.get(item);
            list.extend(self.difference(interface, item, offered, wanted, || {
                nearest(item, offers.exports.keys().map(String::as_str))
            }));
        }
        if types.is_empty() { functions } else { types }
    }

    fn difference(
        &self,
        interface: &str,
        item: &str,
        offered: Option<&ComponentItem>,
        wanted: &ComponentItem,
        nearest: impl FnOnce() -> Option<String>,
    ) -> Option<Problem> {
        let Some(offered) = offered else {
            return Some(Problem::UnknownItem {
                interface: interface.to_owned(),
                item: quoted(item),
                nearest: nearest(),
            });
        };
        let difference = self.mismatch(Sides::Import, &offered.ty, &wanted.ty)?;
        Some(Problem::Mismatch {
            item: format!("{interface}.{item}"),
            difference,
        })
    }

    /// How `found` is not what is `expected`. For an import the host's is found
    /// and the plugin's expected; for an export it is the other way round.
    fn mismatch(
        &self,
        sides: Sides,
        found: &ComponentEntityType,
        expected: &ComponentEntityType,
    ) -> Option<String> {
        let (world, component) = (self.world.as_ref(), self.component.as_ref());
        let (mut context, plugin, host) = match sides {
            Sides::Import => (
                SubtypeCx::new_with_refs(world, component),
                names(component, expected),
                names(world, found),
            ),
            Sides::Export => (
                SubtypeCx::new_with_refs(component, world),
                names(component, found),
                names(world, expected),
            ),
        };
        let error = context.component_entity_type(found, expected, 0).err()?;
        let reason = quoted(&error.message().replace('\n', ": "));
        let more = |a: &[String], b: &[String]| a.iter().find(|name| !b.contains(name)).cloned();
        Some(match (more(&plugin, &host), more(&host, &plugin), sides) {
            (Some(name), _, _) => {
                format!("the plugin has `{}`, the contract does not", quoted(&name))
            }
            (None, Some(name), _) => format!("the contract has `{name}`, the plugin does not"),
            (None, None, Sides::Import) => {
                format!("{} (expected by the plugin, found in the contract)", reason)
            }
            (None, None, Sides::Export) => {
                format!("{} (expected by the contract, found in the plugin)", reason)
            }
        })
    }

    /// The world's type.
    fn world(&self) -> Option<&ComponentType> {
        let types = self.world.as_ref();
        let package = types.component_item_for_export(WORLD)?;
        let outer = component_type(types, &package.ty)?;
        let (_, world) = outer.exports.iter().next()?;
        component_type(types, &world.ty)
    }
}

#[derive(Clone, Copy)]
enum Sides {
    Import,
    Export,
}

fn component_type<'a>(types: TypesRef<'a>, ty: &ComponentEntityType) -> Option<&'a ComponentType> {
    let id = match ty {
        ComponentEntityType::Component(id) => id,
        ComponentEntityType::Type {
            referenced: ComponentAnyTypeId::Component(id),
            ..
        } => id,
        _ => return None,
    };
    types.get(*id)
}

/// The fields, cases or flags of a type.
fn names(types: TypesRef<'_>, ty: &ComponentEntityType) -> Vec<String> {
    let ComponentEntityType::Type {
        referenced: ComponentAnyTypeId::Defined(id),
        ..
    } = ty
    else {
        return Vec::new();
    };
    match types.get(*id) {
        Some(ComponentDefinedType::Record(record)) => {
            record.fields.keys().map(ToString::to_string).collect()
        }
        Some(ComponentDefinedType::Variant(variant)) => {
            variant.cases.keys().map(ToString::to_string).collect()
        }
        Some(ComponentDefinedType::Enum(cases)) => cases.iter().map(ToString::to_string).collect(),
        Some(ComponentDefinedType::Flags(flags)) => flags.iter().map(ToString::to_string).collect(),
        _ => Vec::new(),
    }
}

fn encode() -> anyhow::Result<Vec<u8>> {
    let mut resolve = Resolve::default();
    let (others, own): (Vec<_>, Vec<_>) = WIT
        .into_iter()
        .partition(|(path, _)| path.starts_with(DEPENDENCIES));
    resolve.push_group(parse(&others)?)?;
    let package = resolve.push_group(parse(&own)?)?;
    wit_component::encode(&resolve, package, false)
}

fn parse(files: &[(&str, &str)]) -> anyhow::Result<UnresolvedPackageGroup> {
    let mut sources = SourceMap::default();
    for (name, text) in files {
        sources.push_str(name, *text);
    }
    sources.parse().map_err(|(_, error)| error.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_capabilities_are_the_worlds_imports() {
        let comparison = Comparison::new(&wat::parse_str("(component)").unwrap()).unwrap();
        let imports: Vec<_> = comparison.world().unwrap().imports.keys().collect();
        assert_eq!(imports, Capability::ALL.map(Capability::interface));
    }
}
