//! The way of a line of the log to standard error: it waits, with others, for the one
//! thread that writes. A reader that stalls costs lines, never an answer.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};
use tracing_subscriber::fmt::MakeWriter;

/// Lines that wait to be written: what a busy server says in a second, and some 2 MiB.
const MAX_WAITING: usize = 4096;

/// How long the end of the process waits until the last lines are written.
pub const LAST_LINES_LIMIT: Duration = Duration::from_secs(1);

/// How often it is tried to tell a full queue that the end has come.
const RETRY: Duration = Duration::from_millis(10);

/// A process has one log.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Lines that were not written since the process began, because what reads the log did not
/// keep up.
pub fn dropped_lines() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// Where lines are handed in.
#[derive(Clone)]
pub(super) struct Log(SyncSender<Entry>);

enum Entry {
    Line(Vec<u8>),
    /// To be answered once all before it are written.
    End(SyncSender<()>),
}

impl Log {
    /// Begins to write.
    pub(super) fn start(output: impl Write + Send + 'static) -> io::Result<Self> {
        let (sender, queue) = sync_channel(MAX_WAITING);
        let writing = thread::Builder::new().name("log".to_owned());
        writing.spawn(move || write(&queue, output))?;
        Ok(Self(sender))
    }

    /// Waits until all is written that was handed in, for [`LAST_LINES_LIMIT`] at most.
    pub(super) fn end(&self) {
        let start = Instant::now();
        let (written, end) = sync_channel(1);
        let mut entry = Entry::End(written);
        while let Err(TrySendError::Full(full)) = self.0.try_send(entry) {
            if start.elapsed() >= LAST_LINES_LIMIT {
                return;
            }
            thread::sleep(RETRY);
            entry = full;
        }
        let _ = end.recv_timeout(LAST_LINES_LIMIT.saturating_sub(start.elapsed()));
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

impl Write for &Log {
    /// A line whole, or nothing of it.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.0.try_send(Entry::Line(line.to_vec())).is_err() {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes what is handed in. That lines are missing is said once there is room for that.
fn write(queue: &Receiver<Entry>, mut output: impl Write) {
    let mut said = 0;
    loop {
        let entry = match queue.try_recv() {
            Err(TryRecvError::Empty) => {
                let dropped = dropped_lines();
                if dropped > said {
                    let lines = dropped - said;
                    tracing::warn!(
                        lines,
                        "what reads the log does not keep up: lines are missing before this one"
                    );
                    said = dropped;
                }
                queue.recv().ok()
            }
            entry => entry.ok(),
        };
        match entry {
            // Whom could it be told?
            Some(Entry::Line(line)) => drop(output.write_all(&line)),
            Some(Entry::End(written)) => drop(written.send(())),
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    /// Nobody reads it as long as the lock is held.
    #[derive(Clone, Default)]
    struct Pipe(Arc<Mutex<Vec<u8>>>);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn where_nobody_reads_so_many_lines_wait_and_the_others_are_counted() {
        let pipe = Pipe::default();
        let log = Log::start(pipe.clone()).unwrap();
        let stalled = pipe.0.lock().unwrap();
        let before = dropped_lines();
        let lines = MAX_WAITING + 100;
        for _ in 0..lines {
            writeln!(&log, "line").unwrap();
        }
        // The thread has one in hand, or not yet.
        let dropped = usize::try_from(dropped_lines() - before).unwrap();
        assert!((99..=100).contains(&dropped), "{dropped}");
        let start = Instant::now();
        log.end();
        assert!(start.elapsed() < 2 * LAST_LINES_LIMIT);
        drop(stalled);
        log.end();
        let written = pipe.0.lock().unwrap().len();
        assert_eq!(written, (lines - dropped) * "line\n".len());
    }
}
