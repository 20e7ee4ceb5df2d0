//! What one call must not do to the next, and one workspace to another: take its
//! time, leave its secrets behind, keep memory.

use crate::hosted::{decide, workspace};
use chat_server::workspace::HostedWorkspace;
use chat_testing::Data;
use chat_testing::call::{Calls, request};
use chat_testing::guest::{ADMISSIONS, ANSWER, Guest, LOOP, limits, run};
use plugin_sandbox::plugin::Plugin;
use plugin_sandbox::runtime::{Capacity, Runtime};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A neighbour's calls that are timed.
const TIMED: usize = 41;

/// How many times slower the neighbour's calls may be under attack, by the median:
/// far more than chance makes of it, far less than waiting for the attacker would.
const SLOWER: u32 = 20;

/// What an attacker does all the time.
const ATTACKS: [(&str, Guest<'static>); 4] = [
    (
        "loops",
        Guest {
            export: LOOP,
            ..Guest::BEHAVING
        },
    ),
    (
        "traps",
        Guest {
            export: "(unreachable)",
            ..Guest::BEHAVING
        },
    ),
    (
        "wants memory",
        Guest {
            export: "(loop $again
               (br_if $again (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
             (unreachable)",
            ..Guest::BEHAVING
        },
    ),
    (
        "is busy but correct",
        Guest {
            export: "(local $n i32)
             (loop $again
               (local.set $n (i32.add (local.get $n) (i32.const 1)))
               (br_if $again (i32.lt_u (local.get $n) (i32.const 1000000))))
             (call $answer (i32.const 400) (i32.const 0) (i32.const 17))",
            ..Guest::BEHAVING
        },
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_neighbour_keeps_its_latency_under_attack() {
    let data = Arc::new(Data::new().await);
    for (name, guest) in ATTACKS {
        let neighbour = workspace(&data, Guest::default().plugin(), limits());
        let calm = median(&neighbour, &data).await;
        let attacker = Arc::new(workspace(&data, guest.plugin(), limits()));
        let over = Arc::new(AtomicBool::new(false));
        let attacks = [(); 4].map(|()| {
            let (attacker, data, over) = (attacker.clone(), data.clone(), over.clone());
            tokio::spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    decide(&attacker, &data).await;
                    tokio::task::yield_now().await;
                }
            })
        });
        let attacked = median(&neighbour, &data).await;
        over.store(true, Ordering::Relaxed);
        for attack in attacks {
            attack.await.unwrap();
        }
        println!("{name}: {calm:?}, then {attacked:?}");
        assert!(attacked < SLOWER * calm, "{name}: {calm:?}, {attacked:?}");
    }
}

/// The time that the neighbour's calls take; each is answered as it should be.
async fn median(neighbour: &HostedWorkspace, data: &Data) -> Duration {
    let mut times = Vec::new();
    for _ in 0..TIMED {
        let start = Instant::now();
        let ended = decide(neighbour, data).await;
        times.push(start.elapsed());
        assert_eq!(ended.outcome.unwrap().body, ANSWER);
    }
    times.sort();
    *times.get(TIMED / 2).unwrap()
}

/// On one core, four loops at a time take turns with the neighbour.
#[tokio::test(flavor = "current_thread")]
async fn loops_do_not_starve_a_neighbour_on_one_core() {
    let data = Data::new().await;
    let looping = Guest {
        export: LOOP,
        ..Guest::default()
    };
    let attacker = workspace(&data, looping.plugin(), limits());
    let neighbour = workspace(&data, Guest::default().plugin(), limits());
    let ended = AtomicUsize::new(0);
    let attack = async || {
        let code = decide(&attacker, &data).await.code();
        ended.fetch_add(1, Ordering::Relaxed);
        assert_eq!(code, "plugin-cpu-time");
    };
    let calls = async {
        // The loops have begun: it is polled after them.
        assert_eq!(decide(&neighbour, &data).await.code(), "answered");
        assert_eq!(ended.load(Ordering::Relaxed), 0);
    };
    tokio::join!(attack(), attack(), attack(), attack(), calls);
}

/// A byte that fills what a call had, and eight of them.
const FILLING: &str = "0xa7";
const FILLED: &str = "0xa7a7a7a7a7a7a7a7";

/// A memory of 16 MiB, less a page, and a table.
const ROOM: &str = r#"(memory (export "memory") 255)
    (table $t 9000 funcref) (func $f) (elem declare func $f)"#;

/// Fills its memory.
const FILL_MEMORY: &str = "(memory.fill (i32.const 8192) (i32.const FILLING) (i32.const 16700000))";

/// Fills its table.
const FILL_TABLE: &str = "(table.fill $t (i32.const 0) (ref.func $f) (i32.const 9000))";

/// Answers 418, which no plugin may, where the memory, with a page more, or the table holds what a call
/// has filled in.
const SPY: &str = "
    (drop (memory.grow (i32.const 1)))
    (loop $next
      (if (i64.eq (i64.load (local.get $at)) (i64.const FILLED))
        (then (return (call $answer (i32.const 418) (i32.const 0) (i32.const 17)))))
      (local.set $at (i32.add (local.get $at) (i32.const 8)))
      (br_if $next (i32.lt_u (local.get $at) (i32.const 16777216))))
    (local.set $at (i32.const 0))
    (loop $next
      (if (i32.eqz (ref.is_null (table.get $t (local.get $at))))
        (then (return (call $answer (i32.const 418) (i32.const 0) (i32.const 17)))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $at) (i32.const 9000))))
    (call $answer (i32.const 400) (i32.const 0) (i32.const 17))";

/// One place for calls, so that each call has that of the call before.
fn one_place() -> Runtime {
    let capacity = Capacity {
        calls: 1,
        ..Capacity::default()
    };
    Runtime::new(capacity).unwrap()
}

fn spying(runtime: &Runtime, export: &str) -> Plugin {
    let export = export.replace("FILLING", FILLING).replace("FILLED", FILLED);
    let guest = Guest {
        fields: ROOM,
        export: &format!("(local $at i32) {export}"),
        ..Guest::default()
    };
    Plugin::unadmitted(runtime, &guest.component()).unwrap()
}

/// Whether a guest finds something; a scan of 16 MiB may take long on a machine that is busy.
async fn found(plugin: &Plugin, data: &Data) -> bool {
    let limits = plugin_sandbox::limits::Limits {
        cpu_time: Duration::from_secs(30),
        ..limits()
    };
    let request = request(None, "{}");
    let ended = plugin.reset_totp(data.call("admin", None).await, &request, limits);
    match ended.await.outcome {
        Ok(_) => false,
        Err(failure) => {
            assert_eq!(failure.code(), "plugin-bad-answer");
            true
        }
    }
}

#[tokio::test]
async fn nothing_of_a_call_is_found_by_the_next() {
    let data = Data::new().await;
    let runtime = one_place();
    let answer = "(call $answer (i32.const 400) (i32.const 0) (i32.const 17))";
    let fill = format!("{FILL_MEMORY} {FILL_TABLE}");
    let filling = spying(&runtime, &format!("{fill} {answer}"));
    let trapping = spying(&runtime, &format!("{fill} (unreachable)"));
    let spy = spying(&runtime, SPY);
    for _ in 0..3 {
        assert!(!found(&filling, &data).await);
        assert!(!found(&spy, &data).await);
        assert!(
            run(&trapping, data.call("admin", None).await)
                .await
                .0
                .is_err()
        );
        assert!(!found(&spy, &data).await);
    }
    // The spy is not blind: it finds what is there.
    for fill in [FILL_MEMORY, FILL_TABLE] {
        let both = spying(&runtime, &format!("{fill} {SPY}"));
        assert!(found(&both, &data).await);
    }
}

/// Set in the process that makes the calls.
const ALONE: &str = "HUNDRED_THOUSAND_CALLS";

/// In a process of its own, which this test starts of itself: others' tests take
/// memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_calls_keep_no_memory() {
    if std::env::var_os(ALONE).is_some() {
        return calls().await;
    }
    let this = "neighbours::a_hundred_thousand_calls_keep_no_memory";
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", this])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("pages, then"), "{text}");
}

/// Of every kind: answered, trapped, refused memory.
async fn calls() {
    const CALLS: usize = 100_000;
    const TASKS: usize = 4;
    let data = Arc::new(Data::new().await);
    let plugins = [Guest::default(), ATTACKS[1].1, ATTACKS[2].1];
    let plugins = Arc::new(plugins.map(|guest| guest.plugin()));
    let round = async |calls: usize| {
        let tasks = [(); TASKS].map(|()| {
            let (data, plugins) = (data.clone(), plugins.clone());
            tokio::spawn(async move {
                for n in 0..calls / TASKS {
                    // Nine of ten behave: what fails takes longer.
                    let [behaving, trapping, greedy] = &*plugins;
                    let plugin = match n % 20 {
                        9 => trapping,
                        19 => greedy,
                        _ => behaving,
                    };
                    let (answer, _) = run(plugin, data.call("admin", None).await).await;
                    assert_eq!(answer.is_ok(), n % 10 != 9);
                }
            })
        });
        for task in tasks {
            task.await.unwrap();
        }
    };
    round(CALLS / 10).await;
    let before = resident();
    round(CALLS).await;
    let after = resident();
    println!("{before} pages, then {after}");
    // 4 MiB: a call that kept one byte in fifty of a page would be noticed.
    assert!(after < before + 1024, "{before} pages, then {after}");
    assert_eq!(ADMISSIONS.runtime().crowd().running, 0);
}

/// The process's memory, in pages of 4 KiB.
fn resident() -> usize {
    let memory = std::fs::read_to_string("/proc/self/statm").unwrap();
    memory.split(' ').nth(1).unwrap().parse().unwrap()
}
