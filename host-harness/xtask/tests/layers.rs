//! Which crate may depend on which, and which crates bring what one layer alone may know.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test ends where what it needs is not there"
)]

use std::collections::BTreeSet;
use std::env;
use std::process::Command;

use serde_json::Value;

/// Each may depend on those before it.
const LAYERS: [&str; 5] = [
    "chat-domain",
    "chat-store",
    "plugin-sandbox",
    "chat-server",
    "host-harness",
];

/// The words of the tests: only tests depend on it, those of the layers that it knows and of those
/// above.
const TESTING: &str = "chat-testing";
const KNOWN_TO_TESTING: [&str; 3] = ["chat-domain", "chat-store", "plugin-sandbox"];

/// A chat server in memory, which knows the domain alone: only tests depend on it.
const MODEL: &str = "chat-model";

/// What finds secrets in the outputs of tests: only tests depend on it.
const SECRET_SCAN: &str = "secret-scan";

/// The plugin, and the tests over HTTP, which know the whole host.
const PLUGIN: &str = "reset-totp";

/// What begins with the first is for the second alone.
const OWNED: [(&str, &str); 7] = [
    ("deadpool", "chat-store"),
    ("mongodb", "chat-store"),
    ("rusqlite", "chat-store"),
    ("tokio-postgres", "chat-store"),
    ("wasmparser", "plugin-sandbox"),
    ("wasmtime", "plugin-sandbox"),
    ("wit-", "plugin-sandbox"),
];

/// But these are no part of the host.
const EXEMPT: [(&str, &str); 12] = [
    (TESTING, "rusqlite"),       // looks into the file past the store
    (TESTING, "tokio-postgres"), // and into the database
    (TESTING, "mongodb"),        // and into Rocket.Chat's
    (TESTING, "wit-component"),  // makes guests
    (TESTING, "wit-parser"),
    (PLUGIN, "wit-bindgen"),               // the other side of the contract
    ("wasi-http-accounts", "wit-bindgen"), // components around the plugin
    ("wasi-http-front", "wit-bindgen"),
    ("plugin-component", "wit-component"),
    ("plugin-component", "wit-parser"),
    ("plugin-component", "wasmparser"),
    ("xtask", "wit-component"), // reads the published contract
];

/// What waits, or speaks HTTP or SQL, and all that begins so and has a hyphen after it: not in the
/// domain, nor in anything that it depends on. Of `lettre` the domain takes how an address is written
/// and none of what sends; that brings `httpdate`, which knows a format of dates, and `fastrand`.
/// `bcrypt` brings `getrandom`, and is given its salts.
const NOT_IN_DOMAIN: [&str; 16] = [
    "async", "axum", "futures", "http", "hyper", "mio", "mongodb", "reqwest", "rusqlite", "rustls",
    "socket2", "sqlx", "tokio", "tower", "wasmtime", "wit",
];

/// One line of a `Cargo.toml`.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Dependency {
    from: String,
    to: String,
    /// For tests, examples and benchmarks.
    dev: bool,
}

#[test]
fn a_layer_depends_on_those_below_it_alone() {
    let (members, dependencies) = workspace();
    let arrows = dependencies.iter().filter(|d| members.contains(&d.to));
    let wrong: Vec<_> = arrows.filter(|d| !is_allowed(d)).map(line).collect();
    assert!(wrong.is_empty(), "not in the list: {}", wrong.join(", "));
}

#[test]
fn databases_and_webassembly_are_each_one_layers_own() {
    let (_, dependencies) = workspace();
    let is_foreign = |d: &&Dependency| {
        let owner = OWNED.iter().find(|(name, _)| d.to.starts_with(name));
        let exempt = EXEMPT.contains(&(d.from.as_str(), d.to.as_str()));
        !d.dev && !exempt && owner.is_some_and(|(_, owner)| *owner != d.from)
    };
    let wrong: Vec<_> = dependencies.iter().filter(is_foreign).map(line).collect();
    assert!(wrong.is_empty(), "another layer's: {}", wrong.join(", "));
}

#[test]
fn the_domain_neither_waits_nor_speaks_http_or_sql() {
    let tree = ["tree", "--package", "chat-domain", "--edges", "normal"];
    let tree = cargo(&[&tree[..], &["--prefix", "none", "--locked", "--offline"]].concat());
    let names = tree.lines().filter_map(|line| line.split(' ').next());
    let is_wrong = |name: &&str| {
        let is_its = |rest: &str| rest.is_empty() || rest.starts_with('-');
        let mut wrong = NOT_IN_DOMAIN.iter();
        wrong.any(|wrong| name.strip_prefix(wrong).is_some_and(is_its))
    };
    let names: BTreeSet<_> = names.collect();
    assert!(names.contains("chat-domain") && names.contains("lettre"));
    let wrong: Vec<_> = names.into_iter().filter(is_wrong).collect();
    assert!(wrong.is_empty(), "in the domain: {}", wrong.join(", "));
}

fn is_allowed(Dependency { from, to, dev }: &Dependency) -> bool {
    let place = |name: &str| LAYERS.iter().position(|layer| *layer == name);
    match (from.as_str(), to.as_str()) {
        (TESTING, SECRET_SCAN) => true,
        (_, SECRET_SCAN) => *dev,
        (PLUGIN, to) => *dev && (place(to).is_some() || to == TESTING),
        (MODEL, to) => to == "chat-domain",
        (from, MODEL) => *dev && place(from).is_some(),
        (TESTING, to) => KNOWN_TO_TESTING.contains(&to),
        (from, TESTING) => *dev && place(from) > place("chat-domain"),
        (from, to) => place(to).is_some() && place(from) > place(to),
    }
}

fn line(Dependency { from, to, dev }: &Dependency) -> String {
    let dev = if *dev { " (in tests)" } else { "" };
    format!("{from} → {to}{dev}")
}

/// The workspace's crates, and what each says that it depends on.
fn workspace() -> (BTreeSet<String>, BTreeSet<Dependency>) {
    let metadata = cargo(&[
        "metadata",
        "--no-deps",
        "--format-version",
        "1",
        "--offline",
    ]);
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let name = |value: &Value| value["name"].as_str().unwrap().to_owned();
    let dependencies = packages.iter().flat_map(|package| {
        let all = package["dependencies"].as_array().unwrap();
        all.iter().map(move |dependency| Dependency {
            from: name(package),
            to: name(dependency),
            dev: dependency["kind"] == "dev",
        })
    });
    (packages.iter().map(name).collect(), dependencies.collect())
}

fn cargo(args: &[&str]) -> String {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap());
    let output = cargo
        .args(args)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "cargo {}: {errors}",
        args.join(" ")
    );
    String::from_utf8(output.stdout).unwrap()
}
