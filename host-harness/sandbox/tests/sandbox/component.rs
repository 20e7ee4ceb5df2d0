//! The built component: what it asks of a host, how large it is, and one call.

use chat_domain::reset::Receipt;
use chat_testing::ask::Ask as _;
use chat_testing::call::{Calls, request};
use chat_testing::contract;
use chat_testing::guest::{ADMISSIONS, limits, plugin_bytes};
use chat_testing::{ACME, Data, admin_code};
use plugin_sandbox::capabilities::ObservedAttempt;
use plugin_sandbox::plugin::Plugin;
use std::path::Path;
use wasmtime::Engine;
use wasmtime::component::Component;

/// Largest plugin that is worth its promise, in bytes.
const MAX_BYTES: usize = 100_000;

#[test]
fn its_imports_and_exports_are_these() {
    let engine = Engine::default();
    let component = Component::from_binary(&engine, &plugin_bytes()).unwrap();
    let ty = component.component_type();
    let imports: Vec<_> = ty.imports(&engine).map(|(name, _)| name).collect();
    let exports: Vec<_> = ty.exports(&engine).map(|(name, _)| name).collect();
    assert_eq!(
        imports,
        [
            "wasi:clocks/wall-clock@0.2.0",
            "chat:reset-totp/users@0.1.0",
            "chat:reset-totp/permissions@0.1.0",
            "chat:reset-totp/settings@0.1.0",
            "chat:reset-totp/secrets@0.1.0",
        ]
    );
    assert_eq!(exports, ["chat:reset-totp/handler@0.1.0"]);
}

#[test]
fn it_targets_the_world() {
    let (resolve, world) = contract::world();
    wit_component::targets(&resolve, world, &plugin_bytes(), false).unwrap();
}

#[test]
fn it_is_smaller_than_a_tenth_of_a_megabyte() {
    let size = plugin_bytes().len();
    assert!(size < MAX_BYTES, "{size} bytes");
}

#[test]
fn it_does_not_say_where_it_was_built() {
    let bytes = plugin_bytes();
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap();
    let home = std::env::home_dir().unwrap();
    for folder in [workspace, &home].map(|folder| folder.to_str().unwrap()) {
        let found = bytes
            .windows(folder.len())
            .any(|window| window == folder.as_bytes());
        assert!(!found, "it holds {folder}");
    }
}

#[tokio::test]
async fn it_removes_a_members_factor() {
    let data = Data::new().await;
    let plugin = Plugin::unadmitted(ADMISSIONS.runtime(), &plugin_bytes()).unwrap();
    let code = admin_code();
    let request = request(Some(&code), r#"{"userId":"alice"}"#);
    let call = data.call("admin", Some(&code)).await;
    let ended = plugin.reset_totp(call, &request, limits()).await;
    let (answer, observed) = (ended.outcome.unwrap(), ended.observed);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body, r#"{"success":true}"#);
    assert_eq!(observed.reset, Some(Ok(Receipt::Removed)));
    assert_eq!(observed.target.as_deref(), Some("alice"));
    assert!(!data.store.methods(ACME, "alice").await.unwrap().totp);

    // The same code again (RFC 6238 section 5.2).
    let before = data.dump();
    let call = data.call("admin", Some(&code)).await;
    let ended = plugin.reset_totp(call, &request, limits()).await;
    let (answer, observed) = (ended.outcome.unwrap(), ended.observed);
    assert_eq!(answer.status, 400);
    let spent = ObservedAttempt::Begun { spent_code: true };
    assert_eq!(observed.attempt, Some(spent));
    assert_eq!(observed.reset, None);
    assert_eq!(
        before.changes(&data.dump()),
        "+ failed_attempt: workspace=acme user=admin count=1 locked_until=null told=0\n"
    );
}

/// To grow costs as much as the rest of a call: what is ordinary fits in the
/// page that the linker reserved.
#[tokio::test]
async fn it_grows_its_memory_for_a_long_body_only() {
    const PAGE: usize = 64 * 1024;
    let data = Data::new().await;
    let plugin = Plugin::unadmitted(ADMISSIONS.runtime(), &plugin_bytes()).unwrap();
    let code = admin_code();
    let long = format!(r#"{{"userId":"alice{}"}}"#, " ".repeat(PAGE / 2));
    for (body, grows) in [(r#"{"userId":"alice"}"#, false), (&long, true)] {
        let request = request(Some(&code), body);
        let call = data.call("admin", Some(&code)).await;
        let memory = plugin
            .reset_totp(call, &request, limits())
            .await
            .usage
            .memory;
        assert_eq!(memory > PAGE, grows, "{memory} bytes");
    }
}

#[tokio::test]
async fn it_asks_for_a_code_and_changes_nothing() {
    let data = Data::new().await;
    let before = data.dump();
    let plugin = Plugin::unadmitted(ADMISSIONS.runtime(), &plugin_bytes()).unwrap();
    let request = request(None, r#"{"userId":"alice"}"#);
    let ended = plugin
        .reset_totp(data.call("admin", None).await, &request, limits())
        .await;
    let answer = ended.outcome.unwrap();
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains("totp-required"), "{}", answer.body);
    assert_eq!(before.changes(&data.dump()), "");
}
