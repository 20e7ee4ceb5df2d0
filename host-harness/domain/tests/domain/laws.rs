//! The laws that no sequence of requests may break, held to many; and that all orders are among
//! them.

use chat_model::asked::ORDERS;
use chat_model::seeds;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Schedules of some sixty requests that are always the same, and everything that is judged among
/// them.
const SAME: u64 = 300;

/// And new ones.
const NEW: u64 = 100;

#[test]
fn no_schedule_breaks_a_law() {
    seeds::hold(SAME, NEW);
}

#[test]
fn every_order_can_be_in_a_schedule() {
    let mut orders = BTreeSet::new();
    collect(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut orders,
    );
    assert_eq!(orders, ORDERS.iter().map(ToString::to_string).collect());
}

/// The names of all that are an order in the files of a folder.
fn collect(folder: &Path, orders: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, orders);
            continue;
        }
        let source = fs::read_to_string(&path).unwrap();
        let named = source.lines().filter_map(|line| {
            let name = line.strip_prefix("impl Order for ")?;
            name.split(' ').next()
        });
        orders.extend(named.map(str::to_owned));
    }
}
