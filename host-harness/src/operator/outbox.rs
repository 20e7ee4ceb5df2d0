//! `outbox`: the mail that waits to be sent, as an operator sees it.

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use host_harness::clock::{Clock, Timestamp};
use host_harness::store::Store;
use host_harness::store::outbox::{Mail, MailState, Outbox, Retry};
use host_harness::store::sqlite::Sqlite;
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List the mail that waits, and dead letters, oldest first.
    List {
        #[command(flatten)]
        common: Common,
    },
    /// Show a mail, with its text unless that holds a code.
    Show {
        /// The mail's id, as `list` shows it.
        id: i64,
        #[command(flatten)]
        common: Common,
    },
    /// Try a mail again at once; a dead letter then waits as a new mail does.
    Retry {
        /// The mail's id, as `list` shows it.
        id: i64,
        #[command(flatten)]
        common: Common,
    },
    /// Remove a mail for good: nobody is told what it says.
    Remove {
        /// The mail's id, as `list` shows it.
        id: i64,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Args)]
pub(crate) struct Common {
    /// The SQLite file that holds the workspace.
    #[arg(long, value_name = "FILE")]
    store: PathBuf,
    /// The workspace.
    #[arg(long, value_name = "ID", default_value = "default")]
    workspace: String,
    /// Print JSON: one line, times in RFC 3339.
    #[arg(long)]
    json: bool,
}

/// Runs the command and prints its result to standard output.
pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    let now = Clock::system().now();
    match command {
        Command::List { common } => {
            let mails = common
                .open()
                .await?
                .list_mail(&common.workspace, now)
                .await?;
            if common.json {
                print(&Value::from_iter(mails.iter().map(summary)).to_string())
            } else {
                print(&table(&mails))
            }
        }
        Command::Show { id, common } => {
            let store = common.open().await?;
            let mail = store.find_mail(&common.workspace, id, now).await?;
            let mail = mail.with_context(|| common.no_mail(id))?;
            if common.json {
                print(&details(&mail).to_string())
            } else {
                print(&page(&mail))
            }
        }
        Command::Retry { id, common } => {
            let store = common.open().await?;
            match store.retry_mail(&common.workspace, id, now).await? {
                Retry::Due => common.done(id, "due"),
                Retry::BeingSent => bail!("mail {id} is being sent; try again in a few minutes"),
                Retry::Unknown => bail!(common.no_mail(id)),
            }
        }
        Command::Remove { id, common } => {
            let store = common.open().await?;
            if !store.remove_mail(&common.workspace, id, now).await? {
                bail!(common.no_mail(id));
            }
            common.done(id, "removed")
        }
    }
}

impl Common {
    async fn open(&self) -> anyhow::Result<Sqlite> {
        let store = Sqlite::open(&self.store)
            .await
            .with_context(|| format!("cannot open the store {}", self.store.display()))?;
        let known = store.settings(&self.workspace).await?;
        known.with_context(|| format!("there is no workspace {}", self.workspace))?;
        Ok(store)
    }

    fn no_mail(&self, id: i64) -> String {
        format!(
            "workspace {} has no mail {id}; `host-harness outbox list` shows those that wait",
            self.workspace
        )
    }

    fn done(&self, id: i64, state: &str) -> anyhow::Result<()> {
        if self.json {
            print(&json!({"id": id, "state": state}).to_string())
        } else {
            print(&format!("mail {id} is {state}"))
        }
    }
}

/// Standard output may be a pipe that is closed: that is an error, no panic.
fn print(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{text}").context("cannot write to standard output")
}

fn summary(mail: &Mail) -> Value {
    json!({
        "id": mail.id,
        "queued": mail.queued.to_string(),
        "expires": mail.expires.to_string(),
        "state": mail.state.name(),
        "tries": mail.tries,
        "nextTry": next_try(mail).map(|moment| moment.to_string()),
        "recipient": mail.recipient,
        "subject": mail.subject,
        "lastProblem": mail.last_problem,
    })
}

fn details(mail: &Mail) -> Value {
    let mut details = summary(mail);
    if let Value::Object(members) = &mut details {
        members.insert("text".to_owned(), json!(mail.body));
    }
    details
}

fn next_try(mail: &Mail) -> Option<Timestamp> {
    match mail.state {
        MailState::Waiting(next) => Some(next),
        MailState::BeingSent(_) | MailState::DeadLetter => None,
    }
}

/// Each of these is a line of [`page`] and, but for the last, a column of
/// [`table`].
const NAMES: [&str; 9] = [
    "id",
    "queued",
    "state",
    "tries",
    "next try",
    "recipient",
    "subject",
    "last problem",
    "gives up",
];

fn values(mail: &Mail) -> [String; 9] {
    let none = || "-".to_owned();
    [
        mail.id.to_string(),
        mail.queued.to_string(),
        mail.state.name().to_owned(),
        mail.tries.to_string(),
        next_try(mail).map_or_else(none, |moment| moment.to_string()),
        printable(&mail.recipient),
        printable(&mail.subject),
        mail.last_problem.as_deref().map_or_else(none, printable),
        mail.expires.to_string(),
    ]
}

fn table(mails: &[Mail]) -> String {
    if mails.is_empty() {
        return "no mail waits".to_owned();
    }
    let header = NAMES.map(str::to_uppercase);
    let rows: Vec<_> = std::iter::once(header)
        .chain(mails.iter().map(values))
        .collect();
    let mut widths = [0; 7];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |[cells @ .., problem, _]: &[String; 9]| {
        let cells = cells.iter().zip(widths);
        let cells: String = cells
            .map(|(cell, width)| format!("{cell:width$}  "))
            .collect();
        cells + problem
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn page(mail: &Mail) -> String {
    let values = values(mail);
    let lines = NAMES.iter().zip(&values);
    let mut page: String = lines
        .map(|(name, value)| format!("{name:12}  {value}\n"))
        .collect();
    page.push('\n');
    match &mail.body {
        Some(body) => page.extend(body.trim_end().lines().map(|line| printable(line) + "\n")),
        None => page.push_str("The text holds a code and is not shown."),
    }
    page.trim_end().to_owned()
}

/// A text that moves no cursor and begins no line.
fn printable(text: &str) -> String {
    let mut printable = String::new();
    for c in text.chars() {
        if c.is_control() {
            printable.extend(c.escape_default());
        } else {
            printable.push(c);
        }
    }
    printable
}
