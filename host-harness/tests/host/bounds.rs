//! One test for each limit of a call and of a workspace: what is within is
//! answered, what is over ends with the failure of that limit. The limits of time,
//! memory, tables, instances and the stack are in `hostile`.

use crate::comparisons::QUEUE;
use crate::hosted::{decide, workspace};
use chat_domain::password;
use chat_domain::time::Timestamp;
use chat_server::clock::Clock;
use chat_server::workspace::HostedWorkspace;
use chat_testing::call::{Calls, request};
use chat_testing::guest::{ANSWER, ATTEMPTING, Guest, LOOP, limits, run};
use chat_testing::{Data, GLOBEX, now};
use plugin_sandbox::admission::{Admissions, Candidate, Policy};
use plugin_sandbox::breaker::State;
use plugin_sandbox::capabilities::{Call, Fault, FaultKind, Faults};
use plugin_sandbox::comparisons::SECOND_FACTORS;
use plugin_sandbox::contract::chat::reset_totp::secrets::Host as _;
use plugin_sandbox::grants::Grants;
use plugin_sandbox::host_call::HostCall;
use plugin_sandbox::limits::Limits;
use plugin_sandbox::outcome::Failure;
use plugin_sandbox::plugin::Plugin;
use plugin_sandbox::runtime::{Capacity, Runtime};
use secrecy::ExposeSecret;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

/// Calls the host so often, and answers.
fn calling(times: u32) -> Plugin {
    let export = format!(
        "(local $n i32)
         (loop $again
           (drop (call $totp-window))
           (local.set $n (i32.add (local.get $n) (i32.const 1)))
           (br_if $again (i32.lt_u (local.get $n) (i32.const {times}))))
         (call $answer (i32.const 400) (i32.const 0) (i32.const 17))"
    );
    let guest = Guest {
        export: &export,
        ..Guest::default()
    };
    guest.plugin()
}

/// Claims another proof of so many zeros so often, and answers.
fn claiming(bytes: usize, times: u32) -> Plugin {
    let claim = format!(
        "(call $reset (i32.const 5) (i64.const 65536) (i32.const {bytes})
           (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 2048))"
    );
    let claims = claim.repeat(times.try_into().unwrap());
    let guest = Guest {
        fields: r#"(memory (export "memory") 16)"#,
        export: &format!("{claims} (call $answer (i32.const 400) (i32.const 0) (i32.const 17))"),
        ..Guest::default()
    };
    guest.plugin()
}

#[tokio::test]
async fn the_host_is_called_so_often_and_no_more() {
    let data = Data::new().await;
    let (answer, _) = run(&calling(64), data.call("admin", None).await).await;
    assert_eq!(answer.unwrap().body, ANSWER);
    let (answer, _) = run(&calling(65), data.call("admin", None).await).await;
    let failure = answer.unwrap_err();
    assert_eq!(failure.code(), "plugin-host-calls");
    let text = "the plugin made more host calls than it may";
    assert_eq!(failure.to_string(), text);
}

#[tokio::test]
async fn the_host_takes_so_many_bytes_and_no_more() {
    const KIB: usize = 1024;
    let data = Data::new().await;
    let within = claiming(64 * KIB, 2);
    let (answer, _) = run(&within, data.call("admin", None).await).await;
    assert_eq!(answer.unwrap().body, ANSWER);
    for (bytes, times) in [(128 * KIB + 1, 1), (43 * KIB, 3), (900 * KIB, 1)] {
        let plugin = claiming(bytes, times);
        let (answer, _) = run(&plugin, data.call("admin", None).await).await;
        let failure = answer.unwrap_err();
        assert_eq!(failure.code(), "plugin-bytes", "{bytes}: {failure}");
    }
}

#[tokio::test]
async fn the_host_gives_so_many_bytes_and_no_more() {
    // A key of 10 bytes and two hashes of 64.
    for (bytes_in, code) in [(138, "answered"), (137, "plugin-bytes")] {
        let data = Data::new().await;
        let limits = Limits {
            bytes_in,
            ..limits()
        };
        let workspace = workspace(&data, ATTEMPTING.plugin(), limits);
        assert_eq!(decide(&workspace, &data).await.code(), code);
    }
}

#[tokio::test]
async fn a_host_call_has_its_own_time() {
    let data = Data::new().await;
    let limits = Limits {
        host_call_time: Duration::from_millis(100),
        ..limits()
    };
    let ended = decide(&silent(&data, limits), &data).await;
    assert_eq!(ended.code(), "host-call-time");
    // What waits for the host is not billed to the plugin.
    assert!(ended.usage.host >= Duration::from_millis(100));
    assert!(ended.usage.host > 2 * ended.usage.guest, "{ended:?}");
}

/// Of a host call that takes longer than the plugin may compute, none is billed.
#[tokio::test]
async fn waiting_for_the_host_costs_no_processor_time() {
    let data = Data::new().await;
    let plugin = ATTEMPTING.plugin();
    let lock = data.connect();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let release = async {
        tokio::time::sleep(6 * limits().cpu_time).await;
        lock.execute_batch("ROLLBACK").unwrap();
    };
    let call = run(&plugin, data.call("admin", None).await);
    let ((answer, _), ()) = tokio::join!(call, release);
    assert_eq!(answer.unwrap().body, ANSWER);
}

#[tokio::test]
async fn a_call_says_what_it_used() {
    let data = Data::new().await;
    let workspace = workspace(&data, ATTEMPTING.plugin(), limits());
    let start = Instant::now();
    let usage = decide(&workspace, &data).await.usage;
    assert_eq!((usage.host_calls, usage.memory), (1, 65_536));
    assert_eq!((usage.bytes_in, usage.bytes_out), (138, 0));
    for part in [usage.instantiating, usage.host, usage.guest] {
        assert!(part > Duration::ZERO, "{usage:?}");
    }
    let sum = usage.queued + usage.instantiating + usage.host + usage.guest;
    assert!(sum <= start.elapsed(), "{usage:?}");
}

/// One call at a time, and four that wait.
fn narrow() -> Runtime {
    let capacity = Capacity {
        calls: 1,
        waiting: 4,
        ..Capacity::default()
    };
    Runtime::new(capacity).unwrap()
}

fn workspace_on(runtime: &Runtime, data: &Data, limits: Limits) -> HostedWorkspace {
    let plugin = Plugin::unadmitted(runtime, &ATTEMPTING.component()).unwrap();
    workspace(data, plugin, limits)
}

/// Three floods are refused beyond their shares of those that wait; together they
/// fill all places, and a fifth workspace finds none.
#[tokio::test]
async fn what_finds_no_place_to_wait_in_is_refused_at_once() {
    let data = Data::new().await;
    let runtime = narrow();
    let one_at_a_time = Limits {
        calls: 1,
        ..limits()
    };
    let floods = [(); 3].map(|()| workspace_on(&runtime, &data, one_at_a_time));
    let calm = workspace_on(&runtime, &data, one_at_a_time);
    let lock = data.connect();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let flood = all_ended(floods.iter().flat_map(|flooded| {
        let calls = [(); 3];
        calls.map(|()| decide(flooded, &data))
    }));
    let watch = async {
        while runtime.crowd().waiting < 4 {
            tokio::task::yield_now().await;
        }
        let ended = decide(&calm, &data).await;
        lock.execute_batch("ROLLBACK").unwrap();
        ended
    };
    let (flood, refused) = tokio::join!(flood, watch);
    let failure = refused.outcome.unwrap_err();
    assert!(matches!(failure, Failure::Saturated(_)), "{failure}");
    assert_eq!((failure.code(), failure.status()), ("host-saturated", 503));
    let [yes, no] = ["answered", "host-saturated"];
    // One that runs and one that waits of each; the third finds the last place.
    assert_eq!(flood, [yes, yes, no, yes, yes, no, yes, no, no]);
    assert_eq!(decide(&calm, &data).await.code(), yes);
    assert_eq!(runtime.crowd().running, 0);
}

/// How all end that were begun at once, in this order.
async fn all_ended<F: Future<Output = plugin_sandbox::outcome::Ended>>(
    calls: impl IntoIterator<Item = F>,
) -> Vec<&'static str> {
    let mut calls: Vec<_> = calls.into_iter().map(Box::pin).collect();
    let mut codes = vec![None; calls.len()];
    std::future::poll_fn(|context| {
        for (call, code) in calls.iter_mut().zip(&mut codes) {
            if code.is_none()
                && let std::task::Poll::Ready(ended) = call.as_mut().poll(context)
            {
                *code = Some(ended.code());
            }
        }
        match codes.iter().all(Option::is_some) {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
    codes.into_iter().flatten().collect()
}

#[tokio::test]
async fn one_workspace_takes_no_more_than_its_own_places() {
    let data = Data::new().await;
    let limits = Limits {
        calls: 2,
        host_call_time: Duration::from_secs(1),
        ..limits()
    };
    let silent = silent(&data, limits);
    let flood = all_ended((0..6).map(|_| decide(&silent, &data)));
    let watch = async {
        let plugin = Guest::default().plugin();
        let calm = workspace(&data, plugin, limits);
        decide(&calm, &data).await.code()
    };
    let start = Instant::now();
    let (flood, calm) = tokio::join!(flood, watch);
    assert_eq!((flood, calm), (vec!["host-call-time"; 6], "answered"));
    // Two at a time for a second each.
    assert!(start.elapsed() >= Duration::from_secs(3));
}

#[tokio::test]
async fn a_call_that_waits_too_long_for_its_turn_has_not_begun() {
    let data = Data::new().await;
    let runtime = narrow();
    let mut silent = workspace_on(&runtime, &data, limits());
    silent.faults = planted(None, 1, FaultKind::Silence);
    let impatient = Limits {
        wall_time: Duration::from_millis(200),
        ..limits()
    };
    let impatient = workspace_on(&runtime, &data, impatient);
    let holding = decide(&silent, &data);
    tokio::select! {
        biased;
        ended = holding => panic!("{ended:?}"),
        ended = decide(&impatient, &data) => assert_eq!(ended.code(), "host-saturated"),
    }
    assert_eq!(runtime.crowd().running, 0);
}

/// Otherwise a reload fails where the process is busy, or takes the place of a call
/// that then fails in the plugin's name.
#[tokio::test]
async fn an_admission_takes_no_calls_place() {
    let data = Data::new().await;
    let admissions = Admissions::new(narrow());
    let mut silent = workspace_on(admissions.runtime(), &data, limits());
    silent.faults = planted(None, 1, FaultKind::Silence);
    let candidate = Candidate::new(Guest::default().component(), None);
    let policy = Policy {
        grants: Grants::all(),
        ..Policy::default()
    };
    tokio::select! {
        biased;
        ended = decide(&silent, &data) => panic!("{ended:?}"),
        admitted = admissions.admit(&candidate, &policy) => drop(admitted.unwrap()),
    }
}

/// One password is compared at a time in a process: nobody's is while a store that
/// is stuck counts the attempt, and three workspaces hold all the places that they can get.
#[tokio::test]
async fn a_store_that_is_stuck_keeps_no_other_workspace_from_comparing_passwords() {
    let _alone = QUEUE.lock().await;
    let (stuck, calm) = (Data::new().await, Data::new().await);
    let lock = stuck.connect();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut flooded = Vec::new();
    for _ in 0..4 {
        flooded.push(stuck.call("bob", None).await);
    }
    let places = |workspace: &str| {
        let workspace = workspace.to_owned();
        std::iter::from_fn(move || SECOND_FACTORS.place(&workspace).ok())
    };
    let crowd: Vec<_> = ["one", "two", "three"]
        .into_iter()
        .flat_map(places)
        .collect();
    let digest = password::digest(&"right".into());
    let digest = digest.expose_secret().to_owned();
    let hash = bcrypt::hash(&digest, 4).unwrap();
    calm.edit(&format!(
        "DELETE FROM totp WHERE user = 'bob';
         UPDATE user SET password_hash = '{hash}' WHERE id = 'bob'"
    ));
    let mut neighbour = calm.call_in(GLOBEX, "bob", Some(&digest)).await;
    let flood = futures_of(&mut flooded);
    let watch = async {
        let check = neighbour.check_password(digest);
        let checked = tokio::time::timeout(Duration::from_secs(1), check).await;
        checked.unwrap().unwrap()
    };
    tokio::select! {
        biased;
        () = flood => panic!("the store is not stuck"),
        checked = watch => assert!(checked.unwrap()),
    }
    drop(crowd);
}

async fn futures_of(calls: &mut [Call]) {
    let checks = calls
        .iter_mut()
        .map(|call| call.check_password("0".repeat(64)));
    let mut checks: Vec<_> = checks.map(Box::pin).collect();
    std::future::poll_fn(|context| {
        for check in &mut checks {
            if check.as_mut().poll(context).is_ready() {
                return std::task::Poll::Ready(());
            }
        }
        std::task::Poll::Pending
    })
    .await
}

#[tokio::test]
async fn a_plugin_that_keeps_failing_is_left_alone_until_a_probe_succeeds() {
    let data = Data::new().await;
    let seconds = Arc::new(AtomicI64::new(0));
    let clock = {
        let seconds = seconds.clone();
        Clock::new(move || {
            let millis = seconds.load(Ordering::Relaxed) * 1000;
            Timestamp::from_millis(now().millis() + millis)
        })
    };
    let trapping = Guest {
        export: "(unreachable)",
        ..Guest::default()
    };
    let workspace = workspace(&data, trapping.plugin(), limits());
    let decide = async || {
        let call = data.call("admin", None).await;
        let request = request(None, "{}");
        let ended = workspace.reset_totp(call, &request, &clock);
        ended.await.outcome.unwrap_err()
    };
    for _ in 0..5 {
        assert_eq!(decide().await.code(), "plugin-trap");
    }
    let failure = decide().await;
    assert_eq!(
        (failure.code(), failure.status()),
        ("plugin-suspended", 503)
    );
    assert_eq!(failure.retry_after(), Some(Duration::from_secs(1)));
    seconds.store(1, Ordering::Relaxed);
    assert_eq!(decide().await.code(), "plugin-trap", "the probe");
    let failure = decide().await;
    assert_eq!(failure.retry_after(), Some(Duration::from_secs(2)));
    workspace.breaker().reset();
    let closed = State::Closed { faults: 0 };
    assert_eq!(workspace.breaker().state(clock.now()), closed);
    assert_eq!(decide().await.code(), "plugin-trap");
}

/// Neither a client nor a store can have a plugin suspended.
#[tokio::test]
async fn what_is_not_the_plugins_fault_never_suspends_it() {
    let data = Data::new().await;
    let limits = Limits {
        host_call_time: Duration::from_millis(20),
        ..limits()
    };
    for kind in [FaultKind::Error, FaultKind::Silence, FaultKind::Panic] {
        let workspace = failing(&data, limits, kind);
        for _ in 0..12 {
            let failure = decide(&workspace, &data).await.outcome.unwrap_err();
            assert!(!failure.is_plugin_fault(), "{failure}");
            assert_ne!(failure.code(), "plugin-suspended");
        }
        let closed = State::Closed { faults: 0 };
        assert_eq!(workspace.breaker().state(now()), closed);
    }
}

#[tokio::test]
async fn a_workspace_in_place_of_another_keeps_what_is_known_of_the_same_plugin() {
    let data = Data::new().await;
    let looping = Guest {
        export: LOOP,
        ..Guest::default()
    };
    let new = |guest: &Guest<'_>| workspace(&data, guest.plugin(), limits());
    let former = new(&looping);
    decide(&former, &data).await;
    let same = new(&looping).in_place_of(&former);
    assert_eq!(same.breaker().state(now()), State::Closed { faults: 1 });
    let mended = new(&Guest::default()).in_place_of(&former);
    assert_eq!(mended.breaker().state(now()), State::Closed { faults: 0 });
}

/// A fault strikes the call that it is planted at, and no other.
#[tokio::test]
async fn a_fault_strikes_where_it_is_planted() {
    let data = Data::new().await;
    let strikes = |function, nth| {
        let mut workspace = workspace(&data, calling(3), limits());
        workspace.faults = planted(function, nth, FaultKind::Error);
        workspace
    };
    for (function, nth, code) in [
        (None, 3, "host-store"),
        (None, 4, "answered"),
        (Some(HostCall::TotpWindow), 3, "host-store"),
        (Some(HostCall::TotpWindow), 4, "answered"),
        (Some(HostCall::Reset), 1, "answered"),
    ] {
        let ended = decide(&strikes(function, nth), &data).await;
        assert_eq!(ended.code(), code, "{function:?} {nth}");
    }
}

/// Of `begin-totp-attempt`, no answer comes.
fn silent(data: &Data, limits: Limits) -> HostedWorkspace {
    failing(data, limits, FaultKind::Silence)
}

/// `begin-totp-attempt` fails so: it may wait, where the settings are answered at once.
fn failing(data: &Data, limits: Limits, kind: FaultKind) -> HostedWorkspace {
    let mut workspace = workspace(data, ATTEMPTING.plugin(), limits);
    workspace.faults = planted(None, 1, kind);
    workspace
}

fn planted(function: Option<HostCall>, nth: u32, kind: FaultKind) -> Faults {
    Faults::from_iter([Fault {
        function,
        nth,
        kind,
    }])
}
