//! `audit`: what was decided.

use super::audit_log::{self, Prove, Verdict, Verify};
use super::table::headed;
use super::{Desk, Place, Report, show};
use anyhow::ensure;
use chat_domain::audit::{ACTIONS, Action, RecordFilter, StoredRecord};
use chat_domain::operator::OPERATOR;
use chat_domain::time::{InvalidTime, Timestamp};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List records, oldest first: each decision, by whom, about whom, from where, and how it
    /// was proved.
    ///
    /// Example: host-harness audit list --of bob --since 2h
    List(Filter),
    /// Look whether a record was edited, removed, moved, duplicated or added past the host.
    ///
    /// With a checkpoint that was kept elsewhere it is found, too, when an older copy was put in
    /// the place of the log, or another log. Exits with 1 where something is found.
    ///
    /// Example: host-harness audit verify --checkpoint monday.txt
    Verify(Verify),
    /// Write the whole log into a file, of which every byte is signed.
    ///
    /// It has the names and addresses that the records have.
    ///
    /// Example: host-harness audit export acme.jsonl
    Export {
        /// The file, which is made.
        file: PathBuf,
    },
    /// Print what the log is now, signed: keep it where whoever can write the store cannot.
    ///
    /// It is a checkpoint as transparency logs have them (C2SP tlog-checkpoint), which others
    /// verify with their own tools.
    ///
    /// Example: host-harness audit checkpoint > monday.txt
    Checkpoint {
        /// Print the key that verifies it, as C2SP signed-note writes it.
        #[arg(long)]
        key: bool,
    },
    /// Prove to others that records are in the log, without showing them the rest.
    ///
    /// Prints JSON: the records, what hides them, the way from each to the root of the tree, and
    /// the signed checkpoint of that.
    ///
    /// Example: host-harness audit prove 9d3c1a… --since monday.txt
    Prove(Prove),
}

/// Which records.
#[derive(Args)]
pub(crate) struct Filter {
    /// By this account, or by `operator`.
    #[arg(long, value_name = "USER")]
    by: Option<String>,
    /// About this account.
    #[arg(long, value_name = "USER")]
    of: Option<String>,
    /// About this.
    #[arg(long, value_name = "ACTION", value_parser = action())]
    action: Option<Action>,
    /// Not older: a time such as 2026-03-01T12:00:00Z, or an age such as 90s, 15m, 2h or 7d.
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Since>,
    /// Of the request with this id.
    #[arg(long, value_name = "REQUEST_ID")]
    request: Option<String>,
    /// So many at most, the newest.
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    most: u32,
}

fn action() -> impl TypedValueParser<Value = Action> {
    PossibleValuesParser::new(ACTIONS.map(Action::name))
        .try_map(|name| Action::named(&name).ok_or_else(|| format!("there is no action {name}")))
}

/// From when on.
#[derive(Clone, Copy)]
enum Since {
    Moment(Timestamp),
    Age(Duration),
}

fn since(text: &str) -> Result<Since, String> {
    let unit = text.char_indices().last().map(|(at, _)| text.split_at(at));
    let seconds = unit.and_then(|(number, unit)| {
        let number: u64 = number.parse().ok()?;
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 60 * 60,
            "d" => 24 * 60 * 60,
            _ => return None,
        };
        number.checked_mul(seconds)
    });
    if let Some(seconds) = seconds {
        return Ok(Since::Age(Duration::from_secs(seconds)));
    }
    let moment = text.parse().map(Since::Moment);
    moment.map_err(|problem: InvalidTime| format!("{problem}, an age like 90s, 15m, 2h or 7d"))
}

/// Does it, and prints what was found also where that is wrong.
pub(super) async fn run(place: &Place, command: Command) -> anyhow::Result<()> {
    let report = match command {
        Command::List(filter) => list(&Desk::at(place).await?, filter).await?,
        Command::Verify(verify) => {
            let Verdict { report, is_whole } = audit_log::verify(place, verify).await?;
            show(report, place.at.json)?;
            ensure!(is_whole, "the audit log is not whole");
            return Ok(());
        }
        Command::Export { file } => audit_log::export(&Desk::at(place).await?, &file).await?,
        Command::Checkpoint { key } => audit_log::checkpoint(&Desk::at(place).await?, key).await?,
        Command::Prove(prove) => audit_log::prove(&Desk::at(place).await?, &prove).await?,
    };
    show(report, place.at.json)
}

async fn list(desk: &Desk, filter: Filter) -> anyhow::Result<Report> {
    let filter = RecordFilter {
        caller: match filter.by {
            Some(name) if name == OPERATOR => Some(name),
            Some(name) => Some(desk.id_of(&name).await?),
            None => None,
        },
        target: match filter.of {
            Some(name) => Some(desk.id_of(&name).await?),
            None => None,
        },
        action: filter.action,
        since: filter.since.map(|since| match since {
            Since::Moment(moment) => moment,
            Since::Age(age) => desk.now.before(age),
        }),
        before: None,
        request_id: filter.request,
        most: filter.most,
    };
    let workspace = desk.store.find_workspace(&desk.workspace).await?;
    workspace?;
    let records = desk.store.records(&desk.workspace, &filter).await?;
    Ok(Report {
        text: table(&records),
        json: records.iter().map(described).collect(),
    })
}

impl Desk {
    async fn id_of(&self, name: &str) -> anyhow::Result<String> {
        let account = self.store.user(&self.workspace, name, self.now).await??;
        Ok(account.user.id)
    }
}

/// The records, under a heading.
pub(super) fn table(records: &[StoredRecord]) -> String {
    if records.is_empty() {
        return "no record".to_owned();
    }
    headed(HEADING, records.iter().map(row).collect())
}

/// The same with each record's workspace.
pub(super) fn table_of_many(records: &[StoredRecord]) -> String {
    let [time, rest @ ..] = HEADING;
    let [by, action, of, decision, reason, proof, told, from] = rest;
    let heading = [
        time,
        "WORKSPACE",
        by,
        action,
        of,
        decision,
        reason,
        proof,
        told,
        from,
    ];
    let rows = records.iter().map(|record| {
        let [time, by, action, of, decision, reason, proof, told, from] = row(record);
        let workspace = record.workspace.clone();
        [
            time, workspace, by, action, of, decision, reason, proof, told, from,
        ]
    });
    headed(heading, rows.collect())
}

const HEADING: [&str; 9] = [
    "TIME", "BY", "ACTION", "OF", "DECISION", "REASON", "PROOF", "TOLD", "FROM",
];

fn row(record: &StoredRecord) -> [String; 9] {
    let or_none = |text: Option<&String>| text.cloned().unwrap_or_else(|| "-".to_owned());
    let from = match (&record.address, &record.agent) {
        (Some(address), Some(agent)) => format!("{address} {agent}"),
        (address, _) => or_none(address.as_ref()),
    };
    let told = match record.told {
        None => "-".to_owned(),
        Some(0) => "nobody".to_owned(),
        Some(addresses) => addresses.to_string(),
    };
    let decision = match record.calls {
        1 => record.decision.clone(),
        calls => format!("{} {calls} times", record.decision),
    };
    [
        record.at.to_string(),
        record
            .caller_name
            .clone()
            .unwrap_or_else(|| record.caller.clone()),
        record.action.clone(),
        or_none(record.target_name.as_ref().or(record.target.as_ref())),
        decision,
        or_none(record.reason.as_ref()),
        or_none(record.proof.as_ref()),
        told,
        from,
    ]
}

pub(super) fn described(record: &StoredRecord) -> Value {
    json!({
        "workspace": record.workspace,
        "at": record.at.to_javascript(),
        "requestId": record.request_id,
        "action": record.action,
        "caller": record.caller,
        "callerName": record.caller_name,
        "target": record.target,
        "targetName": record.target_name,
        "decision": record.decision,
        "reason": record.reason,
        "address": record.address,
        "agent": record.agent,
        "proof": record.proof,
        "told": record.told,
        "calls": record.calls,
        "index": record.index,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_as_a_time_or_as_an_age() {
        let age = |text| match since(text) {
            Ok(Since::Age(age)) => age.as_secs(),
            _ => 0,
        };
        assert_eq!(
            [age("90s"), age("15m"), age("2h"), age("7d")],
            [90, 900, 7200, 604_800]
        );
        let moment = since("2009-02-13T23:31:30Z");
        assert!(matches!(moment, Ok(Since::Moment(at)) if at.seconds() == 1_234_567_890));
        for text in [
            "",
            "h",
            "2",
            "2y",
            "-1h",
            "yesterday",
            "99999999999999999999d",
            "18446744073709551615d",
        ] {
            assert!(since(text).is_err(), "{text}");
        }
    }
}
