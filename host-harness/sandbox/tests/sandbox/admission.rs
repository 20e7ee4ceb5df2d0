//! What is admitted, and what is refused with which words: each step in turn, on
//! files that are hostile, stale, or nearly right.

use chat_testing::guest::plugin_bytes;
use chat_testing::guest::{Guest, LOOP};
use data_encoding::BASE64;
use minisign::KeyPair;
use plugin_sandbox::admission::{
    Admissions, Candidate, Kind, Policy, Rejected, Report, TrustRoot, examine,
};
use plugin_sandbox::digest::Digest;
use plugin_sandbox::grants::{Capability, Grants};
use plugin_sandbox::plugin::Plugin;
use plugin_sandbox::runtime::{Capacity, Runtime};
use std::io::Cursor;
use std::sync::{Arc, LazyLock};

/// Admissions to an engine with the usual ceiling.
static ADMISSIONS: LazyLock<Admissions> =
    LazyLock::new(|| Admissions::new(Runtime::new(Capacity::default()).unwrap()));

const MISSING: &str =
    "[missing-export] it does not export chat:reset-totp/handler@0.1.0, which this host calls";

#[tokio::test]
async fn the_built_plugin_is_admitted() {
    let bytes = plugin_bytes();
    let plugin = admit(&bytes).await.unwrap();
    assert_eq!(plugin.digest(), Digest::of(&bytes));
    let report = looked_at(&bytes);
    assert!(report.admissible(), "{report}");
    assert_eq!(report.kind, Kind::Component);
    let imports: Vec<_> = report.imports.iter().map(|i| i.capability).collect();
    assert_eq!(imports, Capability::ALL.map(Some));
    let needs = report.needs.unwrap();
    assert_eq!((needs.memories, needs.memory), (1, 64 * 1024));
    assert_eq!((needs.core_instances, needs.tables), (2, 1));
}

#[tokio::test]
async fn a_guest_that_keeps_the_contract_is_admitted() {
    admit(&Guest::default().component()).await.unwrap();
}

#[tokio::test]
async fn a_file_that_is_no_component_is_called_what_it_is() {
    let built = plugin_bytes();
    let (truncated, _) = built.split_at(built.len() / 2);
    let compiled = wasmtime::Engine::default().precompile_component(b"\0asm\x0d\0\x01\0");
    let cases: [(&str, &[u8], &str); 9] = [
        ("an empty file", b"", "not-webassembly"),
        ("text", b"(component)", "not-webassembly"),
        ("chance", &[0x5a; 1000], "not-webassembly"),
        ("a core module", b"\0asm\x01\0\0\0", "core-module"),
        ("compiled code", &compiled.unwrap(), "precompiled"),
        ("half a component", truncated, "invalid"),
        ("four bytes", b"\0asm", "invalid"),
        ("an unknown kind", b"\0asm\x0e\0\x01\0", "invalid"),
        ("a header alone", b"\0asm\x0d\0\x01\0", "missing-export"),
    ];
    for (name, bytes, code) in cases {
        assert_eq!(codes(&refused(bytes).await), [code], "{name}");
    }
}

#[tokio::test]
async fn what_the_host_does_not_offer_is_named_with_what_is_nearest() {
    let cases = [
        (
            r#"(component (import "wasi:cli/environment@0.2.0" (instance
                 (export "get-arguments" (func (result (list string)))))))"#,
            "[unknown-import] it imports `wasi:cli/environment@0.2.0`, which this host does \
             not offer",
        ),
        (
            r#"(component (import "chat:reset-totp/setings@0.1.0" (instance)))"#,
            "[unknown-import] it imports `chat:reset-totp/setings@0.1.0`, which this host does \
             not offer; the nearest that there is: `chat:reset-totp/settings@0.1.0`",
        ),
        // The world's next version.
        (
            r#"(component (import "chat:reset-totp/settings@0.2.0" (instance
                 (export "totp-window" (func (result u8))))))"#,
            "[unknown-import] it imports `chat:reset-totp/settings@0.2.0`, which this host does \
             not offer; the nearest that there is: `chat:reset-totp/settings@0.1.0`",
        ),
        (
            r#"(component (import "chat:reset-totp/settings@0.1.0" (instance
                 (export "totp-windows" (func (result u8))))))"#,
            "[unknown-item] it imports `totp-windows` of chat:reset-totp/settings@0.1.0, which \
             has no such item; the nearest that there is: `totp-window`",
        ),
        (
            r#"(component (import "run" (func)))"#,
            "[unknown-import] it imports `run`, which this host does not offer",
        ),
    ];
    for (text, expected) in cases {
        let rejected = refused(&wat::parse_str(text).unwrap()).await;
        assert_eq!(rejected.to_string(), format!("{expected}; {MISSING}"));
    }
}

#[tokio::test]
async fn what_differs_from_the_contract_is_named_exactly() {
    let secrets = |text: &str| {
        format!(r#"(component (import "chat:reset-totp/secrets@0.1.0" (instance {text})))"#)
    };
    let cases = [
        (
            secrets(
                r#"(type $r (enum "removed" "nothing-enrolled" "postponed"))
                   (export "receipt" (type (eq $r)))"#,
            ),
            "secrets@0.1.0.receipt is not that of the contract: the plugin has `postponed`, the \
             contract does not",
        ),
        (
            secrets(
                r#"(type $r (enum "removed"))
                   (export "receipt" (type (eq $r)))"#,
            ),
            "secrets@0.1.0.receipt is not that of the contract: the contract has \
             `nothing-enrolled`, the plugin does not",
        ),
        (
            secrets(
                r#"(type $e (record (field "sent-now" bool) (field "expires" s64)
                     (field "recipient" string)))
                   (export "email-code" (type (eq $e)))"#,
            ),
            "secrets@0.1.0.email-code is not that of the contract: type mismatch in record \
             field `expires`: expected primitive `s64` found primitive `u64` (expected by the plugin, \
             found in the contract)",
        ),
        (
            secrets(r#"(export "methods" (func (param "caller" string)))"#),
            "secrets@0.1.0.methods is not that of the contract: expected 1 parameters, found 0 \
             (expected by the plugin, found in the contract)",
        ),
        (
            r#"(component (import "chat:reset-totp/users@0.1.0" (func)))"#.to_owned(),
            "users@0.1.0 is not that of the contract: expected func, found instance (expected \
             by the plugin, found in the contract)",
        ),
    ];
    for (text, expected) in cases {
        let rejected = refused(&wat::parse_str(text).unwrap()).await;
        let expected = format!("[mismatch] chat:reset-totp/{expected}; {MISSING}");
        assert_eq!(rejected.to_string(), expected);
    }
}

#[tokio::test]
async fn an_export_of_another_type_is_named_exactly() {
    let component = wat::parse_str(
        r#"(component
             (core module $m (func (export "f")))
             (core instance $i (instantiate $m))
             (func $f (canon lift (core func $i "f")))
             (instance $h (export "reset-totp" (func $f)))
             (export "chat:reset-totp/handler@0.1.0" (instance $h)))"#,
    );
    let rejected = refused(&component.unwrap()).await;
    let text = rejected.to_string();
    let expected = "[mismatch] chat:reset-totp/handler@0.1.0 is not that of the contract: ";
    assert!(text.starts_with(expected), "{text}");
    assert!(
        text.ends_with("(expected by the contract, found in the plugin)"),
        "{text}"
    );
}

#[tokio::test]
async fn a_later_patch_of_a_version_that_is_offered_serves() {
    let text = r#"(component (import "wasi:clocks/wall-clock@0.2.6" (instance
        (type $d (record (field "seconds" u64) (field "nanoseconds" u32)))
        (export "datetime" (type $t (eq $d)))
        (export "now" (func (result $t))))))"#;
    let rejected = refused(&wat::parse_str(text).unwrap()).await;
    assert_eq!(rejected.to_string(), MISSING);
}

#[tokio::test]
async fn each_import_must_be_granted() {
    let candidate = Candidate::new(plugin_bytes(), None);
    for missing in Capability::ALL {
        let grants = Capability::ALL.into_iter().filter(|c| *c != missing);
        let policy = Policy {
            grants: grants.collect(),
            ..Policy::default()
        };
        let rejected = ADMISSIONS.admit(&candidate, &policy).await.err().unwrap();
        let expected = format!(
            "[not-granted] it needs `{missing}`, which is not granted: grant it, or use \
             another plugin"
        );
        assert_eq!(rejected.to_string(), expected);
    }
    let nothing = ADMISSIONS.admit(&candidate, &Policy::default()).await;
    assert_eq!(codes(&nothing.err().unwrap()), ["not-granted"; 5]);
}

#[tokio::test]
async fn what_turned_off_features_need_is_invalid() {
    for module in [
        "(memory i64 1)",
        "(memory 1 1 shared)",
        "(tag)",
        "(table 1 externref)",
        "(func (result v128) (i8x16.relaxed_swizzle (v128.const i64x2 0 0) (v128.const i64x2 0 0)))",
        "(func return_call 0)",
    ] {
        let component = wat::parse_str(format!("(component (core module {module}))"));
        let rejected = refused(&component.unwrap()).await;
        assert_eq!(codes(&rejected), ["invalid"], "{module}: {rejected}");
    }
}

#[tokio::test]
async fn a_component_with_too_many_parts_is_not_compiled() {
    let many = |part: &str, times: usize| part.repeat(times);
    let big = format!(
        "(core module (func {}))",
        many("(drop (i64.const 0x1122334455667788))", 60_000)
    );
    let cases = [
        (
            "10,000 instances",
            format!(
                "(component $c) {}",
                many("(instance (instantiate $c))", 10_000)
            ),
            "too-complex",
        ),
        (
            "instances that multiply",
            (0..9).fold("(component $c0)".to_owned(), |text, n| {
                let next = n + 1;
                format!(
                    "(component $c{next} {text} (instance (instantiate $c{n}))
                       (instance (instantiate $c{n})))"
                )
            }),
            "too-complex",
        ),
        (
            "a thousand components",
            many("(component)", 1000),
            "too-complex",
        ),
        ("a huge function", big, "too-complex"),
        (
            "many imports",
            (0..65)
                .map(|n| format!(r#"(import "i{n}" (instance))"#))
                .collect(),
            "too-complex",
        ),
    ];
    for (name, text, code) in cases {
        let component = wat::parse_str(format!("(component {text})")).unwrap();
        let rejected = refused(&component).await;
        assert_eq!(codes(&rejected), [code], "{name}: {rejected}");
    }
    for depth in [5, 100_000] {
        let rejected = refused(&nested(depth)).await;
        assert_eq!(codes(&rejected), ["too-complex"], "{depth}: {rejected}");
    }
}

/// Each is small and valid, and took a compiler half a minute or gigabytes.
#[tokio::test]
async fn a_function_that_is_too_much_work_for_a_compiler_is_not_compiled() {
    const LIVE: &str = "(local.set 1 (i32.add (local.get 1) (local.get 0)))";
    let function = |locals: usize, body: &str| {
        let locals = "i32 ".repeat(locals);
        format!("(func (type 0) (local {locals}) {body})")
    };
    let sequence = |times: usize, block: &str| {
        format!("({block} (br_if 0 (local.get 0)) {LIVE})").repeat(times)
    };
    let nested = |times: usize| {
        let (open, close) = (
            "(loop ".repeat(times),
            " (br_if 0 (local.get 0)))".repeat(times),
        );
        format!("{open} {LIVE} {close}")
    };
    let cases = [
        (
            "variables in blocks",
            function(8_000, &sequence(8_000, "block")),
            "128016000 variables times blocks in one function",
        ),
        (
            "functions of such",
            function(8_000, &sequence(60, "block")).repeat(18),
            "17282160 variables times blocks in all functions",
        ),
        (
            "a block that hands on values",
            function(
                1,
                &"(drop (drop (i32.const 0) (i32.const 0) (block (type 1))))".repeat(800),
            ),
            "2561600 variables times blocks in one function",
        ),
        (
            "a jump to many places",
            function(1_000, "(block (br_table 0 0 (local.get 0)))")
                .replace("0 0 ", &"0 ".repeat(2_000)),
            "2002000 variables times blocks in one function",
        ),
        (
            "parameters in blocks",
            format!(
                "(type (func (param {}))) (func (type 2) {})",
                "i32 ".repeat(1_000),
                sequence(600, "block")
            ),
            "1200000 variables times blocks in one function",
        ),
        (
            "functions of many parameters",
            format!(
                r#"(type (func (param {}))) (import "m" "f" (func (type 0))) {}"#,
                "i32 ".repeat(1_000),
                format!("(func (type 0)) (func (type 2) {})", "(block)".repeat(210)).repeat(80)
            ),
            "16800000 variables times blocks in all functions",
        ),
        (
            "loops",
            function(1, &sequence(1_025, "loop")),
            "1025 loops in one function",
        ),
        (
            "loops in loops",
            function(1, &nested(65)),
            "65 loops in each other",
        ),
        (
            "results",
            "(type (func (result i32 i32 i32 i32 i32 i32 i32 i32 i32)))".to_owned(),
            "9 results of a function",
        ),
    ];
    for (name, functions, expected) in cases {
        let types = "(type (func (param i32))) (type (func (param i32 i32) (result i32 i32)))";
        let text = format!("(component (core module {types} {functions}))");
        let component = wat::parse_str(text).unwrap();
        assert!(
            component.len() < 152 * 1024,
            "{name}: {} bytes",
            component.len()
        );
        let rejected = refused(&component).await;
        assert_eq!(codes(&rejected), ["too-complex"], "{name}: {rejected}");
        let text = rejected.to_string();
        assert!(text.contains(expected), "{name}: {text}");
    }
    let within = [
        function(1_000, &sequence(500, "block")),
        function(1, &sequence(1_024, "loop")),
        function(1, &nested(64)),
    ];
    for function in within {
        let guest = Guest {
            fields: &format!(
                r#"(memory (export "memory") 1) {}"#,
                function.replace("(type 0)", "(param i32)")
            ),
            ..Guest::default()
        };
        admit(&guest.component()).await.unwrap();
    }
}

/// A report is for a person to read: a plugin could have a hundred thousand.
#[tokio::test]
async fn of_very_many_problems_some_are_told() {
    let functions: String = (0..1_000)
        .map(|n| format!(r#"(export "totp-windows-of-all-{n}" (func (result u8)))"#))
        .collect();
    let text =
        format!(r#"(component (import "chat:reset-totp/settings@0.1.0" (instance {functions})))"#);
    let rejected = refused(&wat::parse_str(text).unwrap()).await;
    let told = codes(&rejected);
    assert_eq!(
        told,
        [vec!["unknown-item"; 16], vec!["missing-export"]].concat()
    );
}

const HEADER: &[u8; 8] = b"\0asm\x0d\0\x01\0";

/// As many components in each other.
fn nested(depth: usize) -> Vec<u8> {
    // From the inside, and each part from its end.
    let mut reversed = Vec::new();
    for level in 0..depth {
        if level > 0 {
            let length = leb128(reversed.len());
            reversed.extend(length.iter().rev());
            reversed.push(4);
        }
        reversed.extend(HEADER.iter().rev());
    }
    reversed.reverse();
    reversed
}

#[tokio::test]
async fn types_in_each_other_exhaust_no_stack() {
    // Component types of one declaration, which is such a type; then an empty one.
    let types = [0x41, 1, 1].repeat(100_000);
    let mut component = HEADER.to_vec();
    component.push(7);
    component.extend(leb128(types.len() + 3));
    component.push(1);
    component.extend(types);
    component.extend([0x41, 0]);
    let rejected = refused(&component).await;
    assert_eq!(codes(&rejected), ["invalid"], "{rejected}");
    assert!(rejected.to_string().contains("too deep"), "{rejected}");
}

fn leb128(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 0x7f {
        bytes.push(u8::try_from(number & 0x7f).unwrap() | 0x80);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).unwrap());
    bytes
}

#[tokio::test]
async fn a_huge_custom_section_is_neither_kept_nor_a_reason() {
    let mut component = Guest::default().component();
    // Section 0 of 3 MiB in LEB128, with a name of 1 byte.
    component.extend(b"\0\x80\x80\xc0\x01\x01x");
    component.resize(component.len() + 3 * 1024 * 1024 - 2, 0);
    admit(&component).await.unwrap();
}

#[tokio::test]
async fn how_large_a_plugin_may_be_is_for_the_host_to_say() {
    let mut component = Guest::default().component();
    // Section 0 of 5 MiB in LEB128, with a name of 1 byte.
    component.extend(b"\0\x80\x80\xc0\x02\x01x");
    component.resize(component.len() + 5 * 1024 * 1024 - 2, 0);
    let rejected = refused(&component).await;
    assert_eq!(codes(&rejected), ["too-large"]);
    let capacity = Capacity {
        plugin_bytes: component.len(),
        ..Capacity::default()
    };
    let admissions = Admissions::new(Runtime::new(capacity).unwrap());
    let candidate = Candidate::new(component, None);
    admissions.admit(&candidate, &everything()).await.unwrap();
}

#[tokio::test]
async fn what_needs_more_than_a_call_gets_is_refused_before_it_runs() {
    let cases = [
        (
            r#"(memory (export "memory") 257)"#,
            "16842752 bytes of memory",
        ),
        (
            r#"(memory (export "memory") 129) (memory 128)"#,
            "16842752 bytes of memory",
        ),
        (
            r#"(memory (export "memory") 1) (memory 1) (memory 1) (memory 1) (memory 1)"#,
            "5 memories",
        ),
        (
            r#"(memory (export "memory") 1) (table 10001 funcref)"#,
            "table elements",
        ),
    ];
    for (fields, expected) in cases {
        let guest = Guest {
            fields,
            ..Guest::default()
        };
        let rejected = refused(&guest.component()).await;
        assert_eq!(codes(&rejected), ["needs-too-much"], "{rejected}");
        let text = rejected.to_string();
        assert!(text.contains(expected), "{text}");
    }
}

#[tokio::test]
async fn a_module_counts_as_often_as_it_is_instantiated() {
    let nested = format!(
        "(component (core module $m (memory 1)) {})",
        "(core instance (instantiate $m))".repeat(5)
    );
    let nested = wat::parse_str(nested).unwrap();
    let mut component = Guest::default().component();
    component.push(4);
    component.extend(leb128(nested.len()));
    component.extend(nested);
    // An instance of the second component, with nothing handed over.
    component.extend([5, 4, 1, 0, 1, 0]);
    let rejected = refused(&component).await;
    let expected = "[needs-too-much] it needs 6 memories, and a call gets at most 4";
    assert_eq!(rejected.to_string(), expected);
}

#[tokio::test]
async fn an_instance_is_made_before_the_plugin_serves() {
    let never_ends = format!("(func $start {LOOP}) (start $start)");
    let cases = [
        (never_ends.as_str(), "its start function takes too long"),
        ("(func $start (unreachable)) (start $start)", "unreachable"),
        (
            "(func $start (drop (call $totp-window))) (start $start)",
            "its start function calls the host",
        ),
        (
            "(func $start (call $start)) (start $start)",
            "call stack exhausted",
        ),
        (
            "(func $start (drop (memory.grow (i32.const 300)))
               (i32.store (i32.const 17000000) (i32.const 1))) (start $start)",
            "out of bounds memory access",
        ),
    ];
    for (start, expected) in cases {
        let guest = Guest {
            fields: &format!(r#"(memory (export "memory") 1) {start}"#),
            ..Guest::default()
        };
        let rejected = refused(&guest.component()).await;
        assert_eq!(codes(&rejected), ["probe-failed"], "{rejected}");
        let text = rejected.to_string();
        assert!(text.contains(expected), "{text}");
    }
}

#[tokio::test]
async fn only_the_pinned_digest_is_looked_into() {
    let candidate = Candidate::new(b"\0asm\x0d\0\x01\0".to_vec(), None);
    let pinned = Digest::of(b"another");
    let policy = Policy {
        digest: Some(pinned),
        ..everything()
    };
    let rejected = ADMISSIONS.admit(&candidate, &policy).await.err().unwrap();
    assert_eq!(codes(&rejected), ["digest-mismatch"]);
    let text = rejected.to_string();
    assert!(text.contains(&pinned.to_string()), "{text}");
    assert!(text.contains(&candidate.digest().to_string()), "{text}");
    assert!(rejected.report().needs.is_none());

    let policy = Policy {
        digest: Some(candidate.digest()),
        ..everything()
    };
    let rejected = ADMISSIONS.admit(&candidate, &policy).await.err().unwrap();
    assert_eq!(codes(&rejected), ["missing-export"]);
}

#[tokio::test]
async fn where_there_are_trust_roots_one_of_them_must_have_signed() {
    let bytes = Guest::default().component();
    let (ours, other, stranger) = (key(), key(), key());
    let policy = Policy {
        trust: vec![root(&other), root(&ours)],
        ..everything()
    };
    let mut tampered = bytes.clone();
    *tampered.last_mut().unwrap() ^= 1;
    let signature = sign(&ours, &bytes);
    // The id of a trust root on the signature of a stranger.
    let claimed = sign(&stranger, &bytes);
    let line = claimed.lines().nth(1).unwrap();
    let claimed = claimed.replace(line, &claim(line, signature.lines().nth(1).unwrap()));
    let comment = signature.replace("trusted comment: ", "trusted comment: x");
    let cases = [
        ("right", &bytes, Some(signature.clone()), None),
        ("the other root's", &bytes, Some(sign(&other, &bytes)), None),
        ("absent", &bytes, None, Some("not-signed")),
        (
            "a stranger's",
            &bytes,
            Some(sign(&stranger, &bytes)),
            Some("untrusted-key"),
        ),
        (
            "another file's",
            &bytes,
            Some(sign(&ours, b"x")),
            Some("bad-signature"),
        ),
        (
            "on a tampered file",
            &tampered,
            Some(signature),
            Some("bad-signature"),
        ),
        ("a claimed id", &bytes, Some(claimed), Some("bad-signature")),
        (
            "a changed comment",
            &bytes,
            Some(comment),
            Some("bad-signature"),
        ),
        ("empty", &bytes, Some(String::new()), Some("bad-signature")),
        (
            "nonsense",
            &bytes,
            Some("ä\n\n\n\n".to_owned()),
            Some("bad-signature"),
        ),
    ];
    for (name, bytes, signature, problem) in cases {
        let candidate = Candidate::new(bytes.clone(), signature);
        let report = examine(&candidate, &policy, &Capacity::default());
        let found: Vec<_> = report.problems.iter().map(|p| p.code()).collect();
        assert_eq!(found, Vec::from_iter(problem), "{name}");
        let admitted = ADMISSIONS.admit(&candidate, &policy).await;
        assert_eq!(admitted.is_ok(), problem.is_none(), "{name}");
        assert_eq!(report.signed_by.is_some(), problem.is_none(), "{name}");
    }
    // None is asked for where there are no roots.
    admit(&bytes).await.unwrap();
}

#[tokio::test]
async fn a_signature_is_asked_for_also_of_a_plugin_that_lives() {
    let bytes = Guest::default().component();
    let _living = admit(&bytes).await.unwrap();
    let policy = Policy {
        trust: vec![root(&key())],
        ..everything()
    };
    let rejected = ADMISSIONS
        .admit(&Candidate::new(bytes, None), &policy)
        .await;
    assert_eq!(codes(&rejected.err().unwrap()), ["not-signed"]);
}

#[tokio::test]
async fn a_plugin_is_admitted_once_for_all_that_use_it() {
    let candidate = Candidate::new(distinct("once"), None);
    let policy = everything();
    let admissions = (0..50).map(|_| ADMISSIONS.admit(&candidate, &policy));
    let mut plugins = Vec::new();
    for admission in admissions {
        plugins.push(admission.await.unwrap());
    }
    let first = plugins.first().unwrap();
    assert!(plugins.iter().all(|plugin| Arc::ptr_eq(plugin, first)));
    let fewer = Policy {
        grants: [Capability::Settings, Capability::Secrets]
            .into_iter()
            .collect(),
        ..Policy::default()
    };
    let other = ADMISSIONS.admit(&candidate, &fewer).await.unwrap();
    assert!(
        !Arc::ptr_eq(&other, first),
        "other grants are another plugin"
    );
    let weak = Arc::downgrade(first);
    drop(plugins);
    assert_eq!(weak.strong_count(), 0, "nobody keeps what nobody uses");
}

/// A guest that no other test has.
fn distinct(text: &str) -> Vec<u8> {
    let fields = format!(r#"(memory (export "memory") 1) (data (i32.const 2000) "{text}")"#);
    Guest {
        fields: &fields,
        ..Guest::default()
    }
    .component()
}

fn everything() -> Policy {
    Policy {
        grants: Grants::all(),
        ..Policy::default()
    }
}

fn looked_at(bytes: &[u8]) -> Report {
    let candidate = Candidate::new(bytes.to_vec(), None);
    examine(&candidate, &everything(), &Capacity::default())
}

async fn admit(bytes: &[u8]) -> Result<Arc<Plugin>, Rejected> {
    let candidate = Candidate::new(bytes.to_vec(), None);
    ADMISSIONS.admit(&candidate, &everything()).await
}

/// Why `bytes` are refused: in one line.
async fn refused(bytes: &[u8]) -> Rejected {
    let rejected = admit(bytes).await.err().unwrap();
    let text = rejected.to_string();
    assert!(!text.contains('\n'), "{text}");
    rejected
}

fn codes(rejected: &Rejected) -> Vec<&'static str> {
    let problems = &rejected.report().problems;
    problems.iter().map(|problem| problem.code()).collect()
}

fn key() -> KeyPair {
    KeyPair::generate_unencrypted_keypair().unwrap()
}

fn root(key: &KeyPair) -> TrustRoot {
    key.pk.to_base64().parse().unwrap()
}

fn sign(key: &KeyPair, bytes: &[u8]) -> String {
    minisign::sign(Some(&key.pk), &key.sk, Cursor::new(bytes), None, None)
        .unwrap()
        .into_string()
}

/// A signature's line with the algorithm and the key's id of another.
fn claim(line: &str, other: &str) -> String {
    let [mut line, other] = [line, other].map(|text| BASE64.decode(text.as_bytes()).unwrap());
    line.splice(..10, other.into_iter().take(10));
    BASE64.encode(&line)
}
