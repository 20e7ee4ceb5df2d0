//! The package in `wit/`: what a reader of it alone must find.

use chat_testing::contract::{package, world};
use plugin_sandbox::host_call::HostCall;
use std::collections::BTreeSet;
use wit_parser::{Docs, Stability, TypeDefKind, WorldItem};

/// The case that stands for those of later versions; the world's documentation
/// explains it.
const GROWS: &str = "other";

#[test]
fn every_item_of_the_contract_is_documented_and_says_since_when() {
    let (resolve, package) = package();
    let mut bare = Vec::new();
    let mut check = |name: &str, docs: &Docs, stability: Option<&Stability>| {
        if docs.is_empty() {
            bare.push(format!("{name} is not documented"));
        }
        if stability.is_some_and(Stability::is_unknown) {
            bare.push(format!("{name} does not say @since"));
        }
    };
    let package = resolve.packages.get(package).unwrap();
    for (name, id) in &package.worlds {
        let world = resolve.worlds.get(*id).unwrap();
        check(name, &world.docs, Some(&world.stability));
    }
    for (name, id) in &package.interfaces {
        let interface = resolve.interfaces.get(*id).unwrap();
        check(name, &interface.docs, Some(&interface.stability));
        for (function, item) in &interface.functions {
            check(
                &format!("{name}.{function}"),
                &item.docs,
                Some(&item.stability),
            );
        }
        for (ty, id) in &interface.types {
            let item = resolve.types.get(*id).unwrap();
            check(&format!("{name}.{ty}"), &item.docs, Some(&item.stability));
            for (part, docs) in parts(&item.kind) {
                check(&format!("{name}.{ty}.{part}"), docs, None);
            }
        }
    }
    assert!(bare.is_empty(), "{bare:#?}");
}

/// The fields or cases of a type.
fn parts(kind: &TypeDefKind) -> Vec<(&str, &Docs)> {
    match kind {
        TypeDefKind::Record(record) => record
            .fields
            .iter()
            .map(|field| (field.name.as_str(), &field.docs))
            .collect(),
        TypeDefKind::Variant(variant) => variant
            .cases
            .iter()
            .filter(|case| case.name != GROWS)
            .map(|case| (case.name.as_str(), &case.docs))
            .collect(),
        TypeDefKind::Enum(cases) => cases
            .cases
            .iter()
            .map(|case| (case.name.as_str(), &case.docs))
            .collect(),
        _ => Vec::new(),
    }
}

/// Each is counted, bounded and traced under its own name.
#[test]
fn every_function_that_the_host_lends_has_a_name() {
    let (resolve, world) = world();
    let imports = resolve.worlds[world].imports.values();
    let interfaces = imports.map(|import| match import {
        WorldItem::Interface { id, .. } => &resolve.interfaces[*id],
        other => panic!("{other:?}"),
    });
    let functions: BTreeSet<_> = interfaces
        .flat_map(|interface| {
            let name = interface.name.as_deref().unwrap();
            let functions = interface.functions.keys();
            functions.map(move |function| format!("{name}.{function}"))
        })
        .collect();
    let named = HostCall::ALL.map(|call| call.name().to_owned());
    assert_eq!(functions, BTreeSet::from(named));
}
