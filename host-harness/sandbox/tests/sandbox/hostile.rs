//! Guests that loop, grow, recurse, trap and answer nonsense: each ends with the
//! failure that names what it did, nothing is changed, and the process goes on.
//! OWASP ASVS 5.0 V16.5.3: what fails, fails closed.

use chat_domain::attempts::Attempt;
use chat_domain::reset::Receipt;
use chat_testing::ask::Ask as _;
use chat_testing::call::Calls;
use chat_testing::guest::{ADMISSIONS, ANSWER, ATTEMPTING, Guest, LOOP, limits, run, run_within};
use chat_testing::{Data, now};
use plugin_sandbox::capabilities;
use plugin_sandbox::limits::Limits;
use plugin_sandbox::outcome::Failure;
use plugin_sandbox::plugin::Plugin;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Resets the caller's own factor, and traps.
const RESETTING: Guest<'static> = Guest {
    export: "(call $reset-own) (unreachable)",
    ..Guest::BEHAVING
};

/// What an [`impatient`] call may take in all: time enough to get as far as the
/// store on a machine that is busy.
const IMPATIENCE: Duration = Duration::from_millis(500);

#[tokio::test]
async fn a_guest_that_behaves_is_answered() {
    let data = Data::new().await;
    served(&data).await;
}

#[tokio::test]
async fn a_guest_that_never_ends_is_interrupted() {
    let cases = [
        (
            "in the export",
            Guest {
                export: LOOP,
                ..Guest::default()
            },
        ),
        (
            "in the start function",
            Guest {
                fields: r#"(memory (export "memory") 1)
                    (func $start (loop $again (br $again))) (start $start)"#,
                ..Guest::default()
            },
        ),
        (
            "in realloc, while the host hands over the request",
            Guest {
                realloc: LOOP,
                ..Guest::default()
            },
        ),
    ];
    for (name, guest) in cases {
        let expected = "the plugin used more processor time than it may";
        fails(name, guest, "plugin-cpu-time", expected).await;
    }
}

#[tokio::test]
async fn a_guest_gets_no_more_memory_than_its_limit() {
    let cases = [
        (
            "growth, then a trap",
            Guest {
                export: "(if (i32.eq (memory.grow (i32.const 256)) (i32.const -1))
                           (then (unreachable)))
                         (call $answer (i32.const 400) (i32.const 0) (i32.const 17))",
                ..Guest::default()
            },
        ),
        (
            "growth page by page",
            Guest {
                export: "(loop $again
                           (br_if $again (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
                         (unreachable)",
                ..Guest::default()
            },
        ),
        (
            "one page too many from the start",
            Guest {
                fields: r#"(memory (export "memory") 257)"#,
                ..Guest::default()
            },
        ),
        (
            "two memories of 10 MiB",
            Guest {
                fields: r#"(memory (export "memory") 160) (memory 160)"#,
                ..Guest::default()
            },
        ),
        (
            "a table that is too large from the start",
            Guest {
                fields: r#"(memory (export "memory") 1) (table 10001 funcref)"#,
                ..Guest::default()
            },
        ),
        (
            "two tables of 6,000 elements",
            Guest {
                fields: r#"(memory (export "memory") 1)
                    (table 6000 funcref) (table 6000 funcref)"#,
                ..Guest::default()
            },
        ),
        (
            "a table that grows",
            Guest {
                fields: r#"(memory (export "memory") 1) (table $t 1 funcref)"#,
                export: "(drop (table.grow $t (ref.null func) (i32.const 10000))) (unreachable)",
                ..Guest::default()
            },
        ),
    ];
    for (name, guest) in cases {
        let expected = "the plugin wanted more memory than it may have";
        fails(name, guest, "plugin-memory", expected).await;
    }
}

#[tokio::test]
async fn two_instances_in_one_component_share_one_limit() {
    let small = with_another_memory(&Guest::default());
    let (answer, _) = run(&small, Data::new().await.call("admin", None).await).await;
    assert_eq!(answer.unwrap().body, ANSWER);

    let large = with_another_memory(&Guest {
        fields: r#"(memory (export "memory") 160)"#,
        ..Guest::default()
    });
    let expected = "the plugin wanted more memory than it may have";
    fails_as(&large, "two instances", "plugin-memory", expected).await;
}

/// Section 1 of a component, of 8 bytes: a core module that has nothing.
const EMPTY_MODULE: [u8; 10] = *b"\x01\x08\0asm\x01\0\0\0";

/// Section 2, of 4 bytes: 1 core instance, of module 3, without imports.
/// `wit-component` has made three modules before.
const ANOTHER_INSTANCE: [u8; 6] = [2, 4, 1, 0, 3, 0];

/// The guest, and in the same component an instance of a second core module
/// that has 10 MiB, too.
fn with_another_memory(guest: &Guest<'_>) -> Plugin {
    let module = wat::parse_str("(module (memory 160))").unwrap();
    let size = u8::try_from(module.len()).unwrap();
    let component = [
        guest.component(),
        // Section 1 is a core module.
        vec![1, size],
        module,
        ANOTHER_INSTANCE.to_vec(),
    ];
    Plugin::unadmitted(ADMISSIONS.runtime(), &component.concat()).unwrap()
}

/// 4 memories, 8 tables and 64 core instances; `wit-component` gives a guest one
/// table and three instances of its own.
#[tokio::test]
async fn a_guest_gets_no_more_memories_tables_and_instances_than_its_limit() {
    type Make = fn(usize) -> Plugin;
    let cases: [(&str, Make, usize); 3] = [
        ("memory", with_memories, 4),
        ("table", with_tables, 8 - 1),
        ("instance", with_instances, 64 - 3),
    ];
    for (name, make, most) in cases {
        let data = Data::new().await;
        let (answer, _) = run(&make(most), data.call("admin", None).await).await;
        assert_eq!(answer.unwrap().body, ANSWER, "{name}");
        let expected = format!("{name} count too high");
        fails_as(&make(most + 1), name, "plugin-trap", &expected).await;
    }
}

fn with_memories(count: usize) -> Plugin {
    let others = "(memory 1)".repeat(count - 1);
    let guest = Guest {
        fields: &format!(r#"(memory (export "memory") 1) {others}"#),
        ..Guest::default()
    };
    guest.plugin()
}

fn with_tables(count: usize) -> Plugin {
    let tables = "(table 1 funcref)".repeat(count);
    let guest = Guest {
        fields: &format!(r#"(memory (export "memory") 1) {tables}"#),
        ..Guest::default()
    };
    guest.plugin()
}

/// A guest, and in the same component so many instances of an empty module.
fn with_instances(count: usize) -> Plugin {
    let component = [
        Guest::default().component(),
        EMPTY_MODULE.to_vec(),
        ANOTHER_INSTANCE.repeat(count),
    ];
    Plugin::unadmitted(ADMISSIONS.runtime(), &component.concat()).unwrap()
}

#[tokio::test]
async fn a_guest_that_goes_on_without_the_memory_is_answered() {
    let data = Data::new().await;
    let guest = Guest {
        export: "(drop (memory.grow (i32.const 10000)))
                 (call $answer (i32.const 400) (i32.const 0) (i32.const 17))",
        ..Guest::default()
    };
    let (answer, _) = guest.run(data.call("admin", None).await).await;
    assert_eq!(answer.unwrap().body, ANSWER);
}

#[tokio::test]
async fn a_guest_that_recurses_without_end_exhausts_only_its_own_stack() {
    let guest = Guest {
        fields: r#"(memory (export "memory") 1) (func $deeper (call $deeper))"#,
        export: "(call $deeper) (unreachable)",
        ..Guest::default()
    };
    let expected = "the plugin exhausted its stack";
    fails("recursion", guest, "plugin-stack", expected).await;
}

#[tokio::test]
async fn a_guest_that_breaks_the_rules_is_trapped() {
    let cases = [
        ("unreachable", "(unreachable)", "unreachable"),
        (
            "a body that is not UTF-8",
            "(i32.store8 (i32.const 0) (i32.const 0xff))
             (call $answer (i32.const 400) (i32.const 0) (i32.const 17))",
            "utf-8",
        ),
        (
            "a body out of bounds",
            "(call $answer (i32.const 400) (i32.const 65530) (i32.const 17))",
            "out of bounds",
        ),
        (
            "a body whose end overflows",
            "(call $answer (i32.const 400) (i32.const 65530) (i32.const -1))",
            "out of bounds",
        ),
        (
            "an answer out of bounds",
            "(i32.const 65532)",
            "out of bounds",
        ),
        ("an answer askew", "(i32.const 1025)", "aligned"),
    ];
    for (name, export, reason) in cases {
        let guest = Guest {
            export,
            ..Guest::default()
        };
        fails(name, guest, "plugin-trap", reason).await;
    }
}

#[tokio::test]
async fn a_realloc_that_points_nowhere_traps_the_guest() {
    let guest = Guest {
        realloc: "(i32.const 65535)",
        ..Guest::default()
    };
    fails("realloc", guest, "plugin-trap", "realloc").await;
}

#[tokio::test]
async fn an_answer_outside_the_contract_is_refused() {
    const STATUS: &str = "its status";
    const BODY: &str = "its body does not say whether a reset was committed";
    let cases = [
        (
            "status 401, which is the host's to give",
            "(call $answer (i32.const 401) (i32.const 0) (i32.const 17))",
            STATUS,
        ),
        (
            "status 407, for which a browser asks for a password",
            "(call $answer (i32.const 407) (i32.const 0) (i32.const 17))",
            STATUS,
        ),
        (
            "a refusal that says it is a success",
            // {"success":true}
            "(i64.store (i32.const 11) (i64.const 0x7d65757274))
             (call $answer (i32.const 400) (i32.const 0) (i32.const 16))",
            BODY,
        ),
        (
            "a list",
            // [false]
            "(i64.store (i32.const 0) (i64.const 0x5d65736c61665b))
             (call $answer (i32.const 400) (i32.const 0) (i32.const 7))",
            BODY,
        ),
        (
            "a body that says nothing",
            "(i32.store16 (i32.const 0) (i32.const 0x7d7b))
             (call $answer (i32.const 400) (i32.const 0) (i32.const 2))",
            BODY,
        ),
        (
            "status 500",
            "(call $answer (i32.const 500) (i32.const 0) (i32.const 17))",
            STATUS,
        ),
        (
            "status 301",
            "(call $answer (i32.const 301) (i32.const 0) (i32.const 17))",
            STATUS,
        ),
        (
            "status 201",
            "(call $answer (i32.const 201) (i32.const 0) (i32.const 17))",
            STATUS,
        ),
        (
            "status 0",
            "(call $answer (i32.const 0) (i32.const 0) (i32.const 17))",
            STATUS,
        ),
        (
            "status 200 without a reset",
            "(call $answer (i32.const 200) (i32.const 0) (i32.const 17))",
            "its status does not say whether a reset was committed",
        ),
        (
            "a body of 100 KB",
            "(drop (memory.grow (i32.const 2)))
             (call $answer (i32.const 400) (i32.const 65536) (i32.const 100000))",
            "its body is too long",
        ),
        (
            "a body that is not JSON",
            "(call $answer (i32.const 400) (i32.const 0) (i32.const 16))",
            "its body is not JSON",
        ),
        (
            "an empty body",
            "(call $answer (i32.const 400) (i32.const 0) (i32.const 0))",
            "its body is not JSON",
        ),
    ];
    for (name, export, problem) in cases {
        let guest = Guest {
            export,
            ..Guest::default()
        };
        let text = format!("the plugin gave an answer that the contract does not allow: {problem}");
        fails(name, guest, "plugin-bad-answer", &text).await;
    }
}

/// RFC 4226 section 7.3 and Vikunja's CVE-2026-35597: a counter that rolls back
/// with the request counts nothing.
#[tokio::test]
async fn an_attempt_stays_counted_when_the_guest_traps_after_it() {
    let data = Data::new().await;
    let before = data.dump();
    let guest = Guest {
        export: "(call $begin-totp-attempt (i32.const 2048)) (unreachable)",
        ..Guest::default()
    };
    let (answer, observed) = guest.run(data.call("admin", None).await).await;
    assert_eq!(answer.unwrap_err().code(), "plugin-trap");
    let begun = capabilities::ObservedAttempt::Begun { spent_code: false };
    assert_eq!(observed.attempt, Some(begun));
    assert_eq!(
        before.changes(&data.dump()),
        "+ failed_attempt: workspace=acme user=admin count=1 locked_until=null told=0\n"
    );
    served(&data).await;
}

#[tokio::test]
async fn a_reset_stays_committed_when_the_guest_traps_after_it() {
    let data = Data::without_second_factors().await;
    let (answer, observed) = RESETTING.run(data.call("alice", None).await).await;
    assert_eq!(answer.unwrap_err().code(), "plugin-trap");
    assert_eq!(observed.reset, Some(Ok(Receipt::Removed)));
    assert!(!data.store.methods("acme", "alice").await.unwrap().totp);
}

#[tokio::test(flavor = "current_thread")]
async fn a_guest_that_loops_keeps_no_other_call_from_its_answer() {
    let data = Data::new().await;
    let looping = Guest {
        export: LOOP,
        ..Guest::default()
    };
    let (looping, behaving) = (looping.plugin(), Guest::default().plugin());
    let ends = Mutex::new(Vec::new());
    let start = Instant::now();
    let end = async |name, plugin| {
        let (answer, _) = run(plugin, data.call("admin", None).await).await;
        let code = answer.map_or_else(|failure| failure.code(), |_| "answered");
        ends.lock().unwrap().push((name, code));
    };
    // Polled in this order: the loop is running before the other call begins.
    tokio::join!(end("looping", &looping), end("behaving", &behaving));
    assert_eq!(
        *ends.lock().unwrap(),
        [("behaving", "answered"), ("looping", "plugin-cpu-time")]
    );
    // Its budget is 50 ms; a machine that is busy may make more of it.
    assert!(start.elapsed() < limits().wall_time / 2);
}

#[tokio::test]
async fn a_call_that_waits_too_long_for_the_host_is_given_up() {
    let data = Data::new().await;
    let plugin = ATTEMPTING.plugin();
    let lock = data.connect();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (answer, _) = run_within(impatient(), &plugin, data.call("admin", None).await).await;
    let failure = answer.unwrap_err();
    assert!(matches!(failure, Failure::WallTime));
    assert_eq!(failure.code(), "call-wall-time");
    assert_eq!(failure.to_string(), "the call took longer than it may");
    lock.execute_batch("ROLLBACK").unwrap();
    let attempt = data.store.begin_totp_attempt("acme", "admin", now()).await;
    assert!(matches!(attempt.unwrap(), Attempt::Begun(_)));
    served(&data).await;
}

/// What is done is known as done, however long it took.
#[tokio::test]
async fn a_reset_that_ends_after_the_calls_time_is_not_lost() {
    let data = Data::without_second_factors().await;
    let plugin = RESETTING.plugin();
    let lock = data.connect();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let release = async {
        // More than the call has, less than the store waits for a lock.
        tokio::time::sleep(2 * IMPATIENCE).await;
        lock.execute_batch("ROLLBACK").unwrap();
    };
    let ((answer, observed), ()) = tokio::join!(
        run_within(impatient(), &plugin, data.call("alice", None).await),
        release
    );
    assert!(matches!(answer, Err(Failure::WallTime)));
    assert_eq!(observed.reset, Some(Ok(Receipt::Removed)));
    assert_eq!(observed.target.as_deref(), Some("alice"));
    assert!(!data.store.methods("acme", "alice").await.unwrap().totp);
}

/// What was answered as failed does not happen afterwards.
#[tokio::test]
async fn a_reset_that_could_not_begin_is_not_committed_later() {
    let data = Data::without_second_factors().await;
    let plugin = RESETTING.plugin();
    let lock = data.connect();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let before = data.dump();
    let (answer, observed) = run_within(impatient(), &plugin, data.call("alice", None).await).await;
    let failure = answer.unwrap_err().to_string();
    assert_eq!(
        failure,
        "the store failed: another program kept it busy for too long; try again"
    );
    assert_eq!(observed.reset, None);
    lock.execute_batch("ROLLBACK").unwrap();
    // A later write waits for all before it.
    let nobody = data.store.begin_totp_attempt("acme", "nobody", now()).await;
    assert!(matches!(nobody.unwrap(), Attempt::Unavailable));
    assert_eq!(before.changes(&data.dump()), "");
}

#[tokio::test]
async fn a_call_ends_where_the_store_fails() {
    let data = Data::new().await;
    data.edit("DROP TABLE backup_code");
    let before = data.dump();
    let (answer, observed) = ATTEMPTING.run(data.call("admin", None).await).await;
    let failure = answer.unwrap_err();
    assert!(matches!(failure, Failure::Store(_)));
    assert_eq!(failure.code(), "host-store");
    let text = failure.to_string();
    assert!(
        text.starts_with("the store failed: no such table: backup_code"),
        "{text}"
    );
    assert_eq!(observed.attempt, None);
    assert_eq!(before.changes(&data.dump()), "");
    served(&data).await;
}

/// Half a second in all.
fn impatient() -> Limits {
    Limits {
        wall_time: IMPATIENCE,
        ..limits()
    }
}

async fn fails(name: &str, guest: Guest<'_>, code: &str, text: &str) {
    fails_as(&guest.plugin(), name, code, text).await;
}

/// The plugin ends so, changes nothing, and the process goes on.
async fn fails_as(plugin: &Plugin, name: &str, code: &str, text: &str) {
    let data = Data::new().await;
    let before = data.dump();
    let (answer, observed) = run(plugin, data.call("admin", None).await).await;
    let failure = answer.unwrap_err();
    assert_eq!(failure.code(), code, "{name}: {failure}");
    assert!(failure.to_string().contains(text), "{name}: {failure}");
    assert!(!failure.to_string().contains('\n'), "{name}: {failure}");
    assert_eq!(observed.reset, None, "{name}");
    assert_eq!(before.changes(&data.dump()), "", "{name}");
    served(&data).await;
}

/// A guest that behaves gets its answer.
async fn served(data: &Data) {
    let (answer, _) = Guest::default().run(data.call("admin", None).await).await;
    let answer = answer.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (400, ANSWER));
}
