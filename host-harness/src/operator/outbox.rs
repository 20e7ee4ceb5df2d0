//! `outbox`: the mail that waits to be sent.

use super::table::{aligned, headed, printable};
use super::{Desk, Report, count};
use chat_domain::operator::Problem;
use chat_domain::outbox::{Mail, MailState};
use chat_domain::time::Timestamp;
use clap::Subcommand;
use serde_json::{Value, json};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List the mail that waits, and dead letters, oldest first.
    List,
    /// Show a mail, with its text unless that holds a code.
    Show {
        /// The mail's id, as `list` shows it.
        id: i64,
    },
    /// Try a mail again at once; a dead letter then waits as a new mail does.
    Retry {
        /// The mail's id, as `list` shows it.
        #[arg(required_unless_present = "all")]
        id: Option<i64>,
        /// Every mail that waits and every dead letter.
        #[arg(long, conflicts_with = "id")]
        all: bool,
    },
    /// Remove a mail for good: nobody is told what it says.
    Remove {
        /// The mail's id, as `list` shows it.
        id: i64,
    },
}

pub(super) async fn run(desk: &Desk, command: Command) -> anyhow::Result<Report> {
    let (store, workspace, now) = (&desk.store, desk.workspace.as_str(), desk.now);
    match command {
        Command::List => {
            let mails = store.list_mail(workspace, now).await??;
            Ok(Report {
                text: table(&mails),
                json: mails.iter().map(summary).collect(),
            })
        }
        Command::Show { id } => {
            let mail = store.find_mail(workspace, id, now).await??;
            Ok(Report {
                text: page(&mail),
                json: details(&mail),
            })
        }
        Command::Retry { id: Some(id), .. } => {
            store.retry_mail(desk.operation(), id).await??;
            Ok(done(id, "due"))
        }
        Command::Retry { id: None, .. } => retry_all(desk).await,
        Command::Remove { id } => {
            store.remove_mail(desk.operation(), id).await??;
            Ok(done(id, "removed"))
        }
    }
}

/// What is being sent is left alone, and what holds a code that has expired.
async fn retry_all(desk: &Desk) -> anyhow::Result<Report> {
    let mails = desk.store.list_mail(&desk.workspace, desk.now).await??;
    let mut due = 0;
    for mail in mails {
        match desk.store.retry_mail(desk.operation(), mail.id).await? {
            Ok(()) => due += 1,
            Err(Problem::MailBeingSent(_) | Problem::CodeExpired(_) | Problem::UnknownMail(_)) => {}
            Err(problem) => return Err(problem.into()),
        }
    }
    Ok(Report {
        text: format!("{} due", count(due, "mail")),
        json: json!({"due": due}),
    })
}

fn done(id: i64, state: &str) -> Report {
    Report {
        text: format!("mail {id} is {state}"),
        json: json!({"id": id, "state": state}),
    }
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
        mail.recipient.clone(),
        mail.subject.clone(),
        mail.last_problem.clone().unwrap_or_else(none),
        mail.expires.to_string(),
    ]
}

fn table(mails: &[Mail]) -> String {
    if mails.is_empty() {
        return "no mail waits".to_owned();
    }
    let columns = |row: [String; 9]| -> [String; 8] {
        let [columns @ .., _gives_up] = row;
        columns
    };
    headed(
        columns(NAMES.map(str::to_uppercase))
            .each_ref()
            .map(String::as_str),
        mails.iter().map(values).map(columns).collect(),
    )
}

fn page(mail: &Mail) -> String {
    let names = NAMES.map(str::to_owned).into_iter();
    let lines: Vec<_> = names
        .zip(values(mail))
        .map(|(name, value)| [name, value])
        .collect();
    let text = match &mail.body {
        Some(body) => {
            let lines = body.trim_end().lines();
            lines.map(printable).collect::<Vec<_>>().join("\n")
        }
        None => "The text holds a code and is not shown.".to_owned(),
    };
    format!("{}\n\n{text}", aligned(&lines))
}
