//! The command, and the forms of its report.

use chat_testing::guest::PLUGIN;
use quick_junit::{NonSuccessKind, TestCaseStatus};
use serde_json::Value;
use std::process::{Command, Stdio};

/// What the command answers: its exit code, standard output and standard error.
fn check(plugin: &str, args: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_host-harness"))
        .stdin(Stdio::null())
        .env_remove("RUST_LOG")
        .args(["check", plugin])
        .args(args)
        .output()
        .unwrap();
    secret_scan::keep_output(&output);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

fn ours() -> String {
    PLUGIN.to_owned()
}

/// One that words an answer otherwise.
fn wrong(folder: &tempfile::TempDir) -> String {
    let mut bytes = std::fs::read(PLUGIN).unwrap();
    let text = b"TOTP Required";
    let at = bytes.windows(text.len()).position(|w| w == text).unwrap();
    bytes[at..at + text.len()].copy_from_slice(b"TOTP required");
    let path = folder.path().join("wrong.wasm");
    std::fs::write(&path, bytes).unwrap();
    path.into_os_string().into_string().unwrap()
}

#[test]
fn a_plugin_that_passes_is_told_by_exit_code_0_and_progress_goes_to_standard_error() {
    let (code, stdout, stderr) = check(&ours(), &["--filter", "backup_code"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(stdout, "1 of 1 scenarios passed\n");
    assert!(
        stderr.starts_with("passed  a backup code works once ("),
        "{stderr}"
    );
}

#[test]
fn a_plugin_that_fails_is_told_by_exit_code_1_and_what_is_expected_by_whom() {
    let folder = tempfile::tempdir().unwrap();
    let (code, stdout, stderr) = check(&wrong(&folder), &["--filter", "missing_code"]);
    assert_eq!(code, Some(1), "{stderr}");
    let lines: Vec<_> = stdout.lines().collect();
    assert!(lines[0].starts_with("failed  a missing code is asked for ("));
    assert_eq!(
        lines[1..],
        [
            r#"  when      admin sends {"userId":"bobId"} without a code"#,
            r#"  expected  400 {"success":false,"error":"TOTP Required [totp-required]","errorType":"totp-required","details":{"method":"totp","codeGenerated":false,"availableMethods":["totp"]}}"#,
            r#"  seen      400 {"success":false,"error":"TOTP required [totp-required]","errorType":"totp-required","details":{"method":"totp","codeGenerated":false,"availableMethods":["totp"]}}"#,
            "  see       book, The endpoint: the table of cases",
            "",
            "0 of 1 scenarios passed",
        ]
    );
}

#[test]
fn what_cannot_be_tried_is_told_by_exit_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text.wasm");
    std::fs::write(&text, "not a component").unwrap();
    let text = text.to_str().unwrap();
    for (plugin, filter, problem) in [
        (text, "", "[not-webassembly]"),
        ("missing.wasm", "", "cannot read it"),
        (
            &ours(),
            "no_such_scenario",
            "no scenario has no_such_scenario in its name",
        ),
    ] {
        let (code, stdout, stderr) = check(plugin, &["--filter", filter]);
        assert_eq!(code, Some(2), "{stderr}");
        assert_eq!(stdout, "");
        assert!(stderr.contains(problem), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
}

#[test]
fn a_machine_is_told_in_json() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["--filter", "is_asked_for", "--format", "json"];
    let (code, stdout, _) = check(&wrong(&folder), &args);
    assert_eq!(code, Some(1));
    assert_eq!(stdout.lines().count(), 1);
    let mut report: Value = serde_json::from_str(&stdout).unwrap();
    let scenarios = report["scenarios"].as_array_mut().unwrap();
    for scenario in scenarios {
        assert!(scenario["millis"].take().is_u64());
    }
    assert_eq!(
        report,
        serde_json::json!({
            "passed": 1,
            "failed": 1,
            "untried": 0,
            "scenarios": [{
                "name": "a_missing_code_is_asked_for",
                "contract": "book, The endpoint: the table of cases",
                "verdict": "failed",
                "millis": null,
                "when": r#"admin sends {"userId":"bobId"} without a code"#,
                "expected": r#"400 {"success":false,"error":"TOTP Required [totp-required]","errorType":"totp-required","details":{"method":"totp","codeGenerated":false,"availableMethods":["totp"]}}"#,
                "seen": r#"400 {"success":false,"error":"TOTP required [totp-required]","errorType":"totp-required","details":{"method":"totp","codeGenerated":false,"availableMethods":["totp"]}}"#,
            }, {
                "name": "a_malformed_body_is_refused_before_a_code_is_asked_for",
                "contract": "book, The endpoint: the checks come in this order",
                "verdict": "passed",
                "millis": null,
            }],
        })
    );
}

/// Read back, as a build server does.
#[test]
fn a_build_server_is_told_in_junits_xml() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["--filter", "is_asked_for", "--format", "junit"];
    let (code, stdout, _) = check(&wrong(&folder), &args);
    assert_eq!(code, Some(1));
    let report = quick_junit::Report::deserialize_from_str(&stdout).unwrap();
    assert_eq!((report.tests, report.failures, report.errors), (2, 1, 0));
    let suite = &report.test_suites[0];
    assert_eq!(suite.name.as_str(), "chat:reset-totp");
    let first = &suite.test_cases[0];
    assert_eq!(first.name.as_str(), "a_missing_code_is_asked_for");
    assert!(first.time.is_some());
    let TestCaseStatus::NonSuccess {
        kind, description, ..
    } = &first.status
    else {
        panic!("{:?}", first.status);
    };
    assert_eq!(*kind, NonSuccessKind::Failure);
    let description = description.as_ref().unwrap().as_str();
    assert!(description.contains("seen      400"), "{description}");
    let passed = &suite.test_cases[1].status;
    assert!(matches!(passed, TestCaseStatus::Success { .. }));
}
