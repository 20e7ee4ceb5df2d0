//! The book's commands do what the book says: every `sh` block of a chapter is run, in the order of
//! the chapter, by one shell in a folder of its own.
//!
//! Comments directly above a block, which no reader of a page sees, say what a person would do:
//!
//! | comment | meaning |
//! |---|---|
//! | `<!-- not run: REASON -->` | the block cannot be run here |
//! | `<!-- beforehand: COMMANDS -->` | is run before the block: what another chapter has made |
//! | `<!-- asked by COMMAND: ANSWER -->` | is given to a command that begins so and asks; `/` separates lines |
//! | `<!-- says: TEXT -->` | the block prints this on standard output |
//! | `<!-- file: NAME -->` | the block, of whichever language, is written to that file |
//!
//! Addresses, logins and digests that a chapter cannot know are replaced ([`Site::fill`]). What is
//! served is left running for the blocks below, until another `serve` or the chapter's end.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

use chat_testing::free_port;
use chat_testing::guest::PLUGIN;
use chat_testing::postgres::{self, Durability, Server};
use std::fmt::Write;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use tempfile::TempDir;

/// Seconds that a chapter may take, on a machine that does much else.
const PATIENCE: &str = "300";

/// Languages under which a block would not be run.
const NOT_SH: [&str; 4] = ["bash", "shell", "console", "zsh"];

/// The least number of blocks that are run: with fewer, they are not found any more.
const LEAST: usize = 20;

/// Bytes of the shortest answer that is secret.
const SHORTEST: usize = 8;

/// What stands for what nobody can know.
const ELLIPSIS: char = '…';

/// In front of a chapter's commands: what asks is answered, and what serves is waited for until it
/// does and left running.
const PRELUDE: &str = r#"
set -euo pipefail
answer() { :; }
served=
log=$PWD/serve.log
stop() {
    if [ -n "$served" ]; then
        kill "$served"
        wait "$served" || { cat "$log" >&2; false; }
        served=
        cat "$log" >&2
    fi
}
trap stop EXIT
ask() {
    local given
    given=$(answer "$*")
    if [ -n "$given" ]; then
        printf '%s\n' "$given" | command "$@"
    else
        command "$@"
    fi
}
psql() { ask psql "$@"; }
host-harness() {
    if [ "$1" != serve ]; then
        ask host-harness "$@"
        return
    fi
    stop
    case " $* " in
        *" --config "* | *" --listen "*) ;;
        *) set -- "$@" --listen "$LISTEN" ;;
    esac
    : >"$log"
    command host-harness "$@" </dev/null >>"$log" 2>&1 &
    served=$!
    grep -q ' listening' < <(tail -n +1 -f --pid="$served" "$log") || {
        cat "$log" >&2
        served=
        false
    }
}
"#;

/// One thing that a chapter has done.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Commands, and the line at which they stand.
    Run { line: usize, commands: String },
    /// A file that is written.
    File { name: String, text: String },
    /// Commands that cannot be run, and why.
    Left { reason: String },
}

/// A chapter's steps, in their order.
///
/// # Errors
///
/// What is wrong with how a block is marked, and in which line.
fn steps(chapter: &str, folder: &Path) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    let mut marks: Vec<(&str, &str)> = Vec::new();
    let mut lines = chapter.lines().enumerate();
    while let Some((at, text)) = lines.next() {
        let line = at + 1;
        let trimmed = text.trim_start();
        let indent = text.len() - trimmed.len();
        if let Some(mark) = trimmed.strip_prefix("<!-- ") {
            let mark = mark.strip_suffix(" -->").and_then(|m| m.split_once(": "));
            marks.push(mark.ok_or(format!("line {line}: no such comment"))?);
            continue;
        }
        let Some(language) = trimmed.strip_prefix("```") else {
            if let Some((mark, _)) = marks.pop() {
                return Err(format!("line {line}: no block below `{mark}`"));
            }
            continue;
        };
        let mut body = String::new();
        loop {
            let (_, text) = lines
                .next()
                .ok_or(format!("line {line}: the block does not end"))?;
            if text.trim() == "```" {
                break;
            }
            match text.strip_prefix("{{#include ") {
                // As mdBook does.
                Some(path) => {
                    let path = folder.join(path.trim_end_matches('}'));
                    body.push_str(&fs::read_to_string(path).map_err(|e| e.to_string())?);
                }
                None => {
                    body.push_str(text.get(indent..).unwrap_or_default());
                    body.push('\n');
                }
            }
        }
        steps.extend(step(language, body, line, &marks)?);
        marks.clear();
    }
    Ok(steps)
}

fn step(
    language: &str,
    body: String,
    line: usize,
    marks: &[(&str, &str)],
) -> Result<Option<Step>, String> {
    if NOT_SH.contains(&language) {
        return Err(format!("line {line}: `{language}` is not run; write `sh`"));
    }
    let mut answers = String::new();
    let mut before = String::new();
    let mut said = None;
    for (mark, text) in marks {
        match *mark {
            "file" => {
                let name = (*text).to_owned();
                return Ok(Some(Step::File { name, text: body }));
            }
            "not run" => {
                let reason = (*text).to_owned();
                return Ok(Some(Step::Left { reason }));
            }
            "beforehand" => writeln!(before, "{text}").unwrap(),
            "says" => said = Some(*text),
            mark => {
                let command = mark.strip_prefix("asked by ");
                let command = command.ok_or(format!("line {line}: what is `{mark}`?"))?;
                let given = text.replace(" / ", "\n");
                let secrets = given.lines().filter(|line| line.len() >= SHORTEST);
                secrets.for_each(secret_scan::register);
                writeln!(answers, "    '{command}'*) printf '%s' '{given}' ;;").unwrap();
            }
        }
    }
    let asks = match answers.as_str() {
        "" => "answer() { :; }\n".to_owned(),
        answers => format!("answer() {{\n  case \"$1\" in\n{answers}  esac\n}}\n"),
    };
    let body = match said {
        Some(said) => format!(
            "{{\n{body}}} >said\ncat said\n\
             grep -qF -- '{said}' said || {{ echo 'it does not say {said}' >&2; false; }}\n"
        ),
        None => body,
    };
    let commands = format!("{asks}{before}{body}");
    Ok((language == "sh").then_some(Step::Run { line, commands }))
}

/// Where a chapter's commands are run.
struct Site {
    folder: TempDir,
    ports: [u16; 3],
    /// Once a command needs one.
    postgres: OnceLock<Server>,
}

impl Site {
    fn new() -> Self {
        let site = Self {
            folder: tempfile::tempdir().unwrap(),
            ports: [free_port(), free_port(), free_port()],
            postgres: OnceLock::new(),
        };
        let target = site.folder.path().join("target");
        fs::create_dir(&target).unwrap();
        for folder in [&target, site.folder.path()] {
            symlink(PLUGIN, folder.join("reset_totp.wasm")).unwrap();
        }
        site
    }

    /// A server on which the chapter can make the login that the tests' servers come with.
    fn postgres(&self) -> &Server {
        self.postgres.get_or_init(|| {
            let server = Server::start(Durability::None);
            fs::copy(server.certificate(), self.folder.path().join("db.crt")).unwrap();
            server.run_as_superuser("ALTER ROLE chat RENAME TO nobody_knows");
            server
        })
    }

    /// Where PostgreSQL is, by the name that its certificate has.
    fn postgres_address(&self) -> String {
        let url = self.postgres().superusers_url("postgres");
        let address = url
            .split('@')
            .nth(1)
            .and_then(|rest| rest.split('/').next());
        address.unwrap().replace("127.0.0.1", "localhost")
    }

    /// The text with what it cannot know.
    fn fill(&self, text: &str) -> String {
        let [host, admin, other] = self.ports;
        let folder = self.folder.path().display();
        let mut text = text
            .replace("/etc/host-harness/", &format!("{folder}/"))
            .replace("/etc/ssl/chat/", &format!("{folder}/"))
            .replace("/var/cache/host-harness", &format!("{folder}/cache"))
            .replace("0.0.0.0:3000", "127.0.0.1:3000");
        for (theirs, ours) in [
            ("127.0.0.1:3000", host),
            ("127.0.0.1:3001", admin),
            ("127.0.0.1:3010", other),
        ] {
            text = text.replace(theirs, &format!("127.0.0.1:{ours}"));
        }
        for theirs in ["chat:…@db1,db2,db3/", "chat:…@db/"] {
            if text.contains(theirs) {
                let at = self.postgres_address();
                let hosts = theirs.split(',').map(|_| at.as_str());
                let hosts = hosts.collect::<Vec<_>>().join(",");
                text = text.replace(theirs, &format!("chat:the-password-of-chat@{hosts}/"));
            }
        }
        if text.contains("sha256:…") {
            text = text.replace("sha256:…", &digest());
        }
        text
    }

    /// Runs a chapter; tells how many blocks were run, or what went wrong.
    fn run(&self, name: &str, steps: &[Step]) -> Result<usize, String> {
        let mut script = PRELUDE.to_owned();
        let mut count = 0;
        for step in steps {
            match step {
                Step::File { name, text } => {
                    // As late as the chapter has it: a later block may write the same file.
                    let text = self.fill(text);
                    writeln!(script, "cat >'{name}' <<'END OF FILE'\n{text}END OF FILE").unwrap();
                }
                Step::Run { line, commands } => {
                    let commands = self.fill(commands);
                    if commands.contains(ELLIPSIS) {
                        return Err(format!("{name}, line {line}: what does … stand for?"));
                    }
                    writeln!(script, "echo '== {name}, line {line}' >&2\n{commands}").unwrap();
                    count += 1;
                }
                Step::Left { .. } => (),
            }
        }
        if count == 0 {
            return Ok(0);
        }
        let path = self.folder.path().join("chapter.sh");
        fs::write(&path, &script).unwrap();
        let commands = script.strip_prefix(PRELUDE).unwrap_or_default();
        let mut shell = self.shell(&path, commands.contains("psql"));
        let output = shell.output().unwrap();
        secret_scan::keep_output(&output);
        self.register_keys();
        match output.status.success() {
            true => Ok(count),
            false => Err(format!(
                "{name}: {}\n{}{}",
                output.status,
                String::from_utf8_lossy(&output.stderr),
                String::from_utf8_lossy(&output.stdout)
            )),
        }
    }

    fn shell(&self, script: &Path, needs_postgres: bool) -> Command {
        let program = Path::new(env!("CARGO_BIN_EXE_host-harness"));
        let path = std::env::var("PATH").unwrap_or_default();
        let programs = program.parent().unwrap().display();
        let psql = postgres::programs();
        let [host, admin, _] = self.ports;
        let mut shell = Command::new("timeout");
        shell
            .args(["--kill-after=10", PATIENCE, "bash"])
            .arg(script)
            .current_dir(self.folder.path())
            .env_remove("HOST_HARNESS_STORE")
            .env(
                "PATH",
                format!("{programs}:{}:{path}:/usr/sbin", psql.display()),
            )
            .env("HOME", self.folder.path())
            .env("LISTEN", format!("127.0.0.1:{host}"))
            .env("HOST_HARNESS_ADMIN", format!("127.0.0.1:{admin}"))
            .stdin(Stdio::null());
        if needs_postgres {
            let address = self.postgres_address();
            let (host, port) = address.split_once(':').unwrap();
            shell
                .env("PGHOST", host)
                .env("PGPORT", port)
                .env("PGUSER", "postgres");
        }
        shell
    }

    /// What the chapter made is secret from now on.
    fn register_keys(&self) {
        for entry in fs::read_dir(self.folder.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "key") {
                let text = fs::read_to_string(path).unwrap();
                text.lines()
                    .filter(|line| line.len() == KEY_LENGTH)
                    .for_each(secret_scan::register);
            }
        }
    }
}

/// Characters of the key of a store: 32 bytes in base64.
const KEY_LENGTH: usize = 44;

/// The plugin's, as `admit` prints it.
fn digest() -> String {
    let mut admit = Command::new(env!("CARGO_BIN_EXE_host-harness"));
    let output = admit.arg("admit").arg(PLUGIN).arg("--json").output();
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    let from = text.find("sha256:").unwrap();
    let digest = text.get(from..).and_then(|rest| rest.split('"').next());
    digest.unwrap().to_owned()
}

/// All chapters below a folder of the book's, by path.
fn chapters(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = paths
        .flat_map(|path| match path.is_dir() {
            true => chapters(&path),
            false => vec![path],
        })
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    found.sort();
    found
}

/// Each chapter by itself, all at a time.
#[test]
fn the_commands_of_every_chapter_do_what_it_says() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../book/src");
    let results: Vec<_> = thread::scope(|scope| {
        let chapters = chapters(&source).into_iter().map(|path| {
            let name = path.strip_prefix(&source).unwrap().display().to_string();
            scope.spawn(move || {
                let text = fs::read_to_string(&path).unwrap();
                let steps = steps(&text, path.parent().unwrap())
                    .map_err(|problem| format!("{name}, {problem}"))?;
                for step in &steps {
                    if let Step::Left { reason } = step {
                        println!("not run  {name}: {reason}");
                    }
                }
                let count = Site::new().run(&name, &steps)?;
                println!("{count:7}  {name}");
                Ok::<_, String>(count)
            })
        });
        let chapters: Vec<_> = chapters.collect();
        let results = chapters.into_iter().map(|chapter| chapter.join().unwrap());
        results.collect()
    });
    let (counts, problems): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    let problems: Vec<_> = problems.into_iter().filter_map(Result::err).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    let count: usize = counts.into_iter().flatten().sum();
    assert!(count >= LEAST, "{count} blocks were run");
}

#[test]
fn a_command_that_fails_or_is_not_marked_well_is_noticed() {
    let site = Site::new();
    let here = Path::new(".");
    let run = |text: &str| steps(text, here).and_then(|steps| site.run("chapter", &steps));
    assert_eq!(run("```sh\ntrue\n```\n\n```sh\nx=1\n```\n"), Ok(2));
    assert_eq!(run("```toml\nfalse\n```\n"), Ok(0));
    let later = "```sh\nx=2\n```\ntext\n```sh\n[ $x = 2 ]\n```\n";
    assert_eq!(run(later), Ok(2));
    let file = "<!-- file: x -->\n```toml\na = 1\n```\n```sh\ngrep -q 'a = 1' x\n```\n";
    assert_eq!(run(file), Ok(1));
    let asked = "<!-- beforehand: z=y -->\n<!-- asked by tee y: one / two -->\n\
                 ```sh\nask tee $z\n[ \"$(wc -l < y)\" = 2 ]\n```\n";
    assert_eq!(run(asked), Ok(1));
    let says = |text: &str| format!("<!-- says: {text} -->\n```sh\necho a b\n```\n");
    assert_eq!(run(&says("a b")), Ok(1));
    assert!(run(&says("a c")).is_err());
    for (wrong, said) in [
        ("```sh\nfalse\n```\n", "chapter: exit status: 1"),
        ("```sh\nno-such-program\n```\n", "not found"),
        ("```sh\nfalse | true\n```\n", "exit status: 1"),
        ("```sh\nhost-harness serve\n```\n", "--store <STORE>"),
        ("```sh\ncurl http://…\n```\n", "what does … stand for?"),
        ("```console\n$ true\n```\n", "line 1: `console` is not run"),
        ("<!-- skip: it -->\n```sh\n```\n", "what is `skip`?"),
        ("<!-- not run: why -->\n\n```sh\n```\n", "no block below"),
        ("```sh\ntrue\n", "does not end"),
    ] {
        let problem = run(wrong).unwrap_err();
        assert!(problem.contains(said), "{wrong}: {problem}");
    }
    let left = "<!-- not run: no such machine -->\n```sh\nfalse\n```\n";
    let reason = "no such machine".to_owned();
    assert_eq!(steps(left, here), Ok(vec![Step::Left { reason }]));
}
