//! The log of a process, and a reader of it that stalls.

use crate::connections::{Regular, sample};
use crate::process::Process;
use chat_testing::guest::Guest;
use std::time::Duration;

/// How long a process may take to end: its last lines have a second.
const PROMPT: Duration = Duration::from_secs(3);

#[tokio::test]
async fn where_nobody_reads_the_log_requests_are_answered_and_the_process_ends() {
    let mut process = Process::start(&Guest::default().component()).await;
    let reading = process.reading.clone();
    let stalled = reading.lock().await;
    let mut client = Regular::connect(&process);
    for _ in 0..6000 {
        client.ask();
    }
    assert_eq!(process.reset("acme.example").await, 400);
    let (_, metrics) = process.asked("/metrics").await;
    let dropped = sample(&metrics, "chat_log_lines_dropped_total");
    assert!(dropped > 0);
    drop(stalled);
    let told = process.logged(
        "what reads the log does not keep up: lines are missing before this one",
        "lines",
    );
    assert!(told.parse::<usize>().unwrap() >= dropped, "{told}");

    let _stalled = reading.lock().await;
    for _ in 0..1000 {
        client.ask();
    }
    let (status, time) = process.end();
    assert!(status.success(), "{status}");
    assert!(time < PROMPT, "{time:?}");
}

#[tokio::test]
async fn the_last_lines_are_written_before_the_process_ends() {
    let process = Process::start(&Guest::default().component()).await;
    for _ in 0..100 {
        assert_eq!(process.reset("acme.example").await, 400);
    }
    let (_, _, log) = process.stop();
    let answered = log
        .iter()
        .filter(|line| line.contains(r#""message":"answered""#));
    assert_eq!(answered.count(), 100);
    assert!(log.last().unwrap().contains("stopping"), "{:?}", log.last());
}
