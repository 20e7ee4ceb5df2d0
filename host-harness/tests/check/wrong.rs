//! Every scenario can fail, and each wrong plugin fails where it is wrong: a check
//! that passes whatever it meets proves nothing.

use chat_testing::guest::PLUGIN;
use expect_test::{Expect, expect};
use host_harness::harness::Harness;
use host_harness::scenarios::{Problem, Report, SCENARIOS};
use std::path::{Path, PathBuf};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// A component whose handler does what `export` says in WebAssembly text, and then
/// answers with `status` and `body`. At address 0 is the text `aliceId`.
fn component(export: &str, status: u16, body: &str) -> Vec<u8> {
    let (data, length) = (body.escape_default(), body.len());
    let module = format!(
        r#"(module
  (import "chat:reset-totp/users@0.1.0" "find" (func $find (param i32 i32 i32 i32)))
  (import "chat:reset-totp/secrets@0.1.0" "begin-totp-attempt" (func $begin (param i32)))
  (import "chat:reset-totp/secrets@0.1.0" "reset"
    (func $reset (param i32 i64 i32 i32 i32 i32 i32)))
  (memory (export "memory") 4)
  (global $next (mut i32) (i32.const 65536))
  (data (i32.const 0) "aliceId")
  (data (i32.const 1024) "{data}")
  (func $look-up
    (call $find (i32.const 0) (i32.const 0) (i32.const 7) (i32.const 512)))
  (func $reset-own
    ;; Proof 4 is none, target 0 the caller.
    (call $reset (i32.const 4) (i64.const 0) (i32.const 0)
      (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 512)))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $room i32)
    (local.set $room (global.get $next))
    (global.set $next
      (i32.and (i32.add (i32.add (local.get $room) (local.get 3)) (i32.const 15)) (i32.const -16)))
    (local.get $room))
  (func (export "chat:reset-totp/handler@0.1.0#reset-totp")
    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
    {export}
    (i32.store16 (i32.const 256) (i32.const {status}))
    (i32.store (i32.const 260) (i32.const 1024))
    (i32.store (i32.const 264) (i32.const {length}))
    (i32.const 256)))"#
    );
    let mut module = wat::parse_str(module).unwrap();
    let mut resolve = Resolve::default();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit");
    let (package, _) = resolve.push_path(folder).unwrap();
    let world = resolve.select_world(&[package], None).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false).unwrap();
    ComponentEncoder::default()
        .module(&module)
        .unwrap()
        .encode()
        .unwrap()
}

/// Our plugin, but for one of its texts.
fn with_other_text(text: &str, other: &str) -> Vec<u8> {
    assert_eq!(text.len(), other.len());
    let mut bytes = std::fs::read(PLUGIN).unwrap();
    let found = |bytes: &[u8]| bytes.windows(text.len()).position(|w| w == text.as_bytes());
    let at = found(&bytes).unwrap();
    bytes[at..at + text.len()].copy_from_slice(other.as_bytes());
    assert_eq!(found(&bytes), None, "{text} is there once");
    bytes
}

async fn report(plugin: &[u8], filter: &str) -> Report {
    let harness = Harness::new(plugin).unwrap();
    Report::of(&harness, filter, |_tried| ()).await
}

#[tokio::test]
async fn our_plugin_keeps_every_promise() {
    let harness = Harness::load(PLUGIN).unwrap();
    let report = Report::of(&harness, "", |_tried| ()).await;
    assert!(report.is_success(), "{}", report.text());
    assert_eq!(report.tried.len(), SCENARIOS.len());
}

/// A plugin that refuses everything in the contract's form keeps none, and no
/// scenario takes that for trouble of the host's.
#[tokio::test]
async fn every_scenario_can_fail() {
    let refuser = component("", 400, r#"{"success":false}"#);
    for tried in report(&refuser, "").await.tried {
        let failed = matches!(tried.verdict, Err(Problem::Difference(_)));
        assert!(failed, "{}", tried.line());
    }
}

/// Where an item, a law or a chapter of this name would be.
fn is_there(place: &str) -> bool {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let (file, rest) = place.split_once(", ").unwrap_or((place, ""));
    let item = rest.split(':').next().unwrap();
    if file.starts_with("RFC ") {
        return rest.is_empty();
    }
    if file == "book" {
        let title = format!("# {item}");
        let begins = |path: &Path| {
            let text = std::fs::read_to_string(path).unwrap();
            text.lines().next() == Some(&title)
        };
        return chapters(&root.join("book/src"))
            .iter()
            .any(|path| begins(path));
    }
    let text = std::fs::read_to_string(root.join(file)).unwrap();
    if let Some(number) = item.strip_prefix("law ") {
        return text.contains(&format!("\n/// {number}. "));
    }
    text.lines().map(str::trim).any(|line| {
        let kinds = ["", "record ", "variant ", "enum "];
        let named = kinds.iter().any(|kind| {
            let named = line.strip_prefix(kind);
            let rest = named.and_then(|rest| rest.strip_prefix(item));
            rest.is_some_and(|rest| rest.starts_with([':', ',', '(', ' ']))
        });
        named && !item.is_empty()
    })
}

fn chapters(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<_>, Vec<_>) = paths.partition(|path| path.is_dir());
    let files = files.into_iter();
    let files = files.filter(|path| path.extension().is_some_and(|end| end == "md"));
    files
        .chain(folders.iter().flat_map(|folder| chapters(folder)))
        .collect()
}

#[test]
fn every_scenario_names_a_place_that_is_there() {
    for scenario in SCENARIOS {
        for place in scenario.contract.split("; ") {
            assert!(is_there(place), "{}: {place}", scenario.name);
        }
    }
    for nowhere in [
        "wit/secrets.wit, no-such-function: what it says",
        "wit/world.wit, law 9",
        "book, No such chapter: what it says",
        "the endpoint",
    ] {
        let found = std::panic::catch_unwind(|| is_there(nowhere));
        assert!(!found.unwrap_or(false), "{nowhere}");
    }
}

/// Of a plugin that asks for another permission: what was done, what is expected, what was
/// seen, and where the contract says so.
#[tokio::test]
async fn the_whole_text_of_a_report_tells_what_is_broken_and_where_that_is_said() {
    let plugin = with_other_text("edit-other-user-totp", "edit-other-user-info");
    let report = report(&plugin, "permission").await;
    let took = |word: &str| {
        word.strip_prefix('(')
            .is_some_and(|n| n.parse::<u32>().is_ok())
    };
    let text: Vec<_> = report
        .text()
        .split(' ')
        .map(|word| if took(word) { "(…" } else { word }.to_owned())
        .collect();
    expect![[r#"
        failed  who holds the permission may reset anybody here (… ms)
          when      admin resets admin with a right code
          expected  200 {"success":true}
          seen      400 {"success":false,"error":"Not allowed [error-not-allowed]","errorType":"error-not-allowed"}
          see       wit/permissions.wit, caller-has: edit-other-user-totp

        4 of 5 scenarios passed"#]].assert_eq(&text.join(" "));
}

/// The names of the scenarios that failed.
fn failed(report: &Report) -> Vec<&str> {
    let failed = report.tried.iter().filter(|tried| tried.verdict.is_err());
    failed.map(|tried| tried.name).collect()
}

/// What one scenario tells of a plugin, without how long it took.
async fn told(plugin: &[u8], scenario: &str, expected: Expect) {
    let report = report(plugin, scenario).await;
    assert_eq!(report.tried.len(), 1, "{scenario}");
    match &report.tried[0].verdict {
        Err(problem) => expected.assert_eq(&problem.to_string()),
        Ok(()) => panic!("{scenario} passes"),
    }
}

const INVALID_PARAMS: &str = r#"{"success":false,"errorType":"invalid-params","error":"no"}"#;
const NOT_ALLOWED: &str = r#"{"success":false,"error":"Not allowed [error-not-allowed]","errorType":"error-not-allowed"}"#;
const REQUIRED: &str = r#"{"success":false,"error":"TOTP Required [totp-required]","errorType":"totp-required","details":{"method":"totp","codeGenerated":false,"availableMethods":["totp"]}}"#;
const SUCCESS: &str = r#"{"success":true}"#;

#[tokio::test]
async fn a_plugin_that_counts_before_it_reads_is_found() {
    let plugin = component("(call $begin (i32.const 512))", 400, INVALID_PARAMS);
    told(
        &plugin,
        "a_malformed_body_costs_no_attempt",
        expect![[r#"
        when      the administrator sends {"userId":{"$ne":null}} and a wrong code: failures
        expected  0
        seen      1"#]],
    )
    .await;
    let honest = component("", 400, INVALID_PARAMS);
    let report = report(&honest, "a_malformed_body_is_refused_before").await;
    assert!(report.is_success(), "{}", report.text());
}

#[tokio::test]
async fn a_plugin_that_looks_up_before_it_asks_for_the_permission_is_found() {
    let plugin = component("(call $look-up)", 400, NOT_ALLOWED);
    told(
        &plugin,
        "without_the_permission_nobody",
        expect![[r#"
        when      the moderator, who may not, sends {"userId":"aliceId"} and a right code: looked up
        expected  None
        seen      Some("aliceId")"#]],
    )
    .await;
    let honest = component("", 400, NOT_ALLOWED);
    let report = report(&honest, "without_the_permission_nobody").await;
    assert!(report.is_success(), "{}", report.text());
}

#[tokio::test]
async fn a_plugin_that_counts_where_no_code_came_is_found() {
    let plugin = component("(call $begin (i32.const 512))", 400, REQUIRED);
    told(
        &plugin,
        "a_missing_code_is_asked_for",
        expect![[r#"
        when      admin has sent no code: failures
        expected  0
        seen      3"#]],
    )
    .await;
    let honest = component("", 400, REQUIRED);
    let report = report(&honest, "a_missing_code_is_asked_for").await;
    assert!(report.is_success(), "{}", report.text());
}

/// The right answer, after a change that nobody asked for.
#[tokio::test]
async fn a_plugin_that_resets_the_caller_instead_is_found() {
    let plugin = component("(call $reset-own)", 200, SUCCESS);
    told(&plugin, "where_second_factors_are_off", expect![[r#"
        when      two-factor is off, and the administrator resets bob
        expected  400 {"success":false,"error":"Two factor authentication is not enabled [error-two-factor-not-enabled]","errorType":"error-two-factor-not-enabled"}
        seen      200 {"success":true}"#]]).await;
}

#[tokio::test]
async fn a_plugin_that_claims_what_it_did_not_do_is_found() {
    let plugin = component("", 200, SUCCESS);
    told(&plugin, "a_permitted_caller_resets", expect![[r#"
        when      the administrator resets alice with a right code
        expected  200 {"success":true}
        seen      502 {"success":false,"error":"The request could not be decided [plugin-bad-answer]","errorType":"plugin-bad-answer"}"#]]).await;
}

#[tokio::test]
async fn a_plugin_that_traps_is_found() {
    let plugin = component("(unreachable)", 200, SUCCESS);
    told(&plugin, "a_wrong_code_is_refused", expect![[r#"
        when      admin sends the code 000000
        expected  400 {"success":false,"error":"TOTP Invalid [totp-invalid]","errorType":"totp-invalid","details":{"method":"totp","codeGenerated":false}}
        seen      502 {"success":false,"error":"The request could not be decided [plugin-trap]","errorType":"plugin-trap"}"#]]).await;
}

/// One letter of one answer.
#[tokio::test]
async fn a_plugin_that_words_an_answer_otherwise_fails_where_it_is_given_alone() {
    let plugin = with_other_text("TOTP Maximun", "TOTP Maximum");
    let report = report(&plugin, "").await;
    let mut failed = failed(&report);
    // Who loses the race may be locked by then, or not.
    failed.retain(|name| *name != "of_parallel_requests_with_one_code_one_succeeds");
    assert_eq!(
        failed,
        [
            "after_five_failures_the_right_code_is_refused_until_the_lock_ends",
            "a_code_by_e_mail_ends_with_its_tries",
        ]
    );
}

#[tokio::test]
async fn a_plugin_that_asks_for_another_permission_fails_wherever_one_is_needed() {
    let plugin = with_other_text("edit-other-user-totp", "edit-other-user-info");
    let report = report(&plugin, "resets").await;
    let text = report.text();
    assert!(text.contains("seen      400 {\"success\":false,\"error\":\"Not allowed"));
    assert_eq!(failed(&report)[0], "a_permitted_caller_resets_a_member");
}
