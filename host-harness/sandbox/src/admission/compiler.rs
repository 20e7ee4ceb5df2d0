//! Compiling, in a process of its own: what a compiler takes for a hostile plugin is
//! taken from nobody else, and ends with that process.
//!
//! The process is this program once more. One that calls [`take_over`] first of all can be
//! started so; in others, such as the tests of a plugin's author, plugins are compiled in
//! the process itself, and bounded by what they are made of alone.

use super::problem::{Problem, causes, quoted};
use crate::runtime::Addresses;
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
use nix::sys::signal::Signal;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;
use wasmtime::Engine;

/// The first argument of a process that is to compile; the second says for which
/// [`Addresses`].
const ARGUMENT: &str = "compile-plugin";

/// This program, also where its file was replaced since the start.
const PROGRAM: &str = "/proc/self/exe";

/// Processor time of one plugin, in seconds: eight times what SpiderMonkey takes, with 9 MB
/// of code.
const MAX_CPU_SECONDS: rlim_t = 120;

/// From the start of the process to its end: twice that, for a machine that is busy.
const MAX_TIME: Duration = Duration::from_secs(240);

/// Addresses of the process, in bytes: SpiderMonkey takes a third.
const MAX_ADDRESSES: rlim_t = 1024 * 1024 * 1024;

/// Largest compiled code that is taken, in bytes: seven times that of SpiderMonkey.
pub(super) const MAX_CODE: u64 = 256 * 1024 * 1024;

/// Whether this program can be started to compile.
static IS_COMPILER: AtomicBool = AtomicBool::new(false);

/// Compiles, and says how the process ends, where it was started to do so; `None` where
/// it was not: then its plugins are compiled in processes of their own from now on.
pub fn take_over() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_none_or(|first| first != ARGUMENT) {
        IS_COMPILER.store(true, Ordering::Relaxed);
        return None;
    }
    // Where memory is short, this process is to go first, and not the one that serves.
    // Without such a file, another may be chosen.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    let (written, code) = match compile_input(arguments.next()) {
        Ok(code) => (code, ExitCode::SUCCESS),
        Err(reason) => (reason.into_bytes(), ExitCode::FAILURE),
    };
    match io::stdout().write_all(&written) {
        Ok(()) => Some(code),
        Err(_nobody_reads) => Some(ExitCode::FAILURE),
    }
}

/// The machine code of the component that `bytes` are, as `engine` takes it.
pub(super) fn compile(
    engine: &Engine,
    addresses: Addresses,
    bytes: &Arc<[u8]>,
) -> Result<Vec<u8>, Problem> {
    if IS_COMPILER.load(Ordering::Relaxed) {
        return compile_apart(addresses, bytes);
    }
    let compiled = engine.precompile_component(bytes);
    compiled.map_err(|error| Problem::CompileFailed {
        reason: causes(error.chain()),
    })
}

fn compile_apart(addresses: Addresses, bytes: &Arc<[u8]>) -> Result<Vec<u8>, Problem> {
    let (status, output) = speak(addresses, bytes).map_err(|error| Problem::NoCompiler {
        reason: error.to_string(),
    })?;
    outcome(status, output)
}

/// What a process that ended so has made.
fn outcome(status: ExitStatus, output: Option<Vec<u8>>) -> Result<Vec<u8>, Problem> {
    let too_costly = |limit: String| Err(Problem::CompileTooCostly { limit });
    let Some(output) = output else {
        return too_costly(format!("{} s", MAX_TIME.as_secs()));
    };
    // It fails, too, where nobody reads the rest.
    if output.len() as u64 > MAX_CODE {
        return too_costly(format!("{MAX_CODE} bytes of machine code"));
    }
    if status.success() {
        return Ok(output);
    }
    match status.signal().map(Signal::try_from) {
        Some(Ok(Signal::SIGXCPU)) => too_costly(format!("{MAX_CPU_SECONDS} s of processor time")),
        // The one, where it is given no memory; the other, where the system has none left.
        Some(Ok(Signal::SIGABRT | Signal::SIGKILL)) => {
            too_costly(format!("{MAX_ADDRESSES} bytes of memory"))
        }
        Some(_) => Err(Problem::CompileFailed {
            reason: format!("the compiler was ended by {status}"),
        }),
        None => Err(Problem::CompileFailed {
            reason: quoted(&String::from_utf8_lossy(&output)),
        }),
    }
}

/// Gives the process the component, and takes what it answers: nothing where that takes
/// too long.
fn speak(addresses: Addresses, bytes: &Arc<[u8]>) -> io::Result<(ExitStatus, Option<Vec<u8>>)> {
    let mut command = Command::new(PROGRAM);
    command
        .arg(ARGUMENT)
        .arg(addresses.to_string())
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    bound(&mut command)?;
    let mut child = command.spawn()?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let bytes = bytes.clone();
    let (sender, answer) = mpsc::channel();
    thread::spawn(move || {
        // Where it has ended before it took all, its status says why.
        let _ = stdin.map(|mut stdin| stdin.write_all(&bytes));
        let mut output = Vec::new();
        let read = stdout.map(|stdout| stdout.take(MAX_CODE + 1).read_to_end(&mut output));
        let _ = sender.send(read.transpose().map(|_| output));
    });
    let answered = answer.recv_timeout(MAX_TIME);
    if !matches!(answered, Ok(Ok(_))) {
        child.kill()?;
    }
    let status = child.wait()?;
    Ok((status, answered.ok().transpose()?))
}

/// Has the process that `command` starts bounded from its first moment on: what allocates
/// memory may reserve addresses before anything else.
fn bound(command: &mut Command) -> io::Result<()> {
    let bounds = [
        (Resource::RLIMIT_CPU, MAX_CPU_SECONDS),
        (Resource::RLIMIT_AS, MAX_ADDRESSES),
        // Nobody wants the memory of what exceeds them.
        (Resource::RLIMIT_CORE, 0),
    ];
    let mut limits = Vec::new();
    for (resource, bound) in bounds {
        let (_, hard) = getrlimit(resource)?;
        // At the soft one it is told why it ends.
        limits.push((resource, bound.min(hard.saturating_sub(1)), hard));
    }
    let apply = move || {
        for &(resource, soft, hard) in &limits {
            setrlimit(resource, soft, hard)?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec it makes system calls alone, and allocates nothing.
    unsafe { command.pre_exec(apply) };
    Ok(())
}

fn compile_input(addresses: Option<OsString>) -> Result<Vec<u8>, String> {
    let addresses = addresses.and_then(|text| text.to_str()?.parse().ok());
    let addresses: Addresses = addresses.ok_or("it is not said for which addresses")?;
    let mut bytes = Vec::new();
    let read = io::stdin().read_to_end(&mut bytes);
    read.map_err(|error| error.to_string())?;
    let engine = addresses.compiler();
    let compiled = engine.and_then(|engine| engine.precompile_component(&bytes));
    compiled.map_err(|error| causes(error.chain()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_the_process_ended_says_why_there_is_no_code() {
        let exited = |code: i32| ExitStatus::from_raw(code << 8);
        let ended = |signal: Signal| ExitStatus::from_raw(signal as i32);
        let code = |status, output: Option<&[u8]>| match outcome(status, output.map(Vec::from)) {
            Ok(code) => String::from_utf8(code).unwrap(),
            Err(problem) => format!("[{}] {problem}", problem.code()),
        };
        let costly = |limit: &str| {
            format!(
                "[compile-too-costly] to compile it takes more than {limit}, which is what any \
                 plugin gets"
            )
        };
        assert_eq!(code(exited(0), Some(b"code")), "code");
        assert_eq!(
            code(exited(1), Some(b"too\nmany")),
            "[compile-failed] it cannot be compiled: too\\nmany"
        );
        for (status, output, expected) in [
            (ended(Signal::SIGKILL), None, costly("240 s")),
            (
                ended(Signal::SIGXCPU),
                Some(b"".as_slice()),
                costly("120 s of processor time"),
            ),
            (
                ended(Signal::SIGABRT),
                Some(b""),
                costly("1073741824 bytes of memory"),
            ),
            (
                ended(Signal::SIGSEGV),
                Some(b""),
                "[compile-failed] it cannot be compiled: the compiler was ended by signal: 11 \
                 (SIGSEGV)"
                    .to_owned(),
            ),
        ] {
            assert_eq!(code(status, output), expected);
        }
    }
}
