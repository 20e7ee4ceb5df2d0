//! `audit verify`, `export`, `checkpoint`, `prove`: the audit trail as a log that proves itself.

use super::table::printable;
use super::{Desk, Place, Report, count};
use crate::files::folder_of;
use anyhow::{Context, bail, ensure};
use chat_domain::audit::RecordFilter;
use chat_domain::audit_log::check::{Check, Past};
use chat_domain::audit_log::checkpoint::{Distrust, LogSigner, VerifierKey, origin};
use chat_domain::audit_log::export::{Export, ExportCheck, ExportFault, ExportReport, MOST_BYTES};
use chat_domain::audit_log::fault::Fault;
use chat_domain::audit_log::proof::Prover;
use chat_domain::audit_log::{Hash, KeptRecord, Page};
use clap::Args;
use data_encoding::BASE64;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// Records of one request that are proved at most.
const MOST_PROVED: u32 = 1000;

/// With what the log is compared, or which file is looked at.
#[derive(Args)]
pub(crate) struct Verify {
    /// A checkpoint of before, which was kept elsewhere: the log must go on from it.
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// Look at an export, and not into a store.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The key that must have signed the export, as `checkpoint --key` has printed it.
    #[arg(long, value_name = "KEY", requires = "file", value_parser = key)]
    key: Option<String>,
}

/// Which records are proved, and how.
#[derive(Args)]
pub(crate) struct Prove {
    /// The id of a request, or the place of a record in the log.
    #[arg(value_name = "REQUEST_ID|INDEX", required_unless_present = "since")]
    record: Option<String>,
    /// Prove, too, that the log goes on from the checkpoint in this file.
    #[arg(long, value_name = "FILE")]
    since: Option<PathBuf>,
}

fn key(text: &str) -> Result<String, Distrust> {
    VerifierKey::parse(text).map(|_| text.to_owned())
}

/// What was looked at, and whether it is as it was written.
pub(super) struct Verdict {
    pub(super) report: Report,
    pub(super) is_whole: bool,
}

pub(super) async fn verify(place: &Place, verify: Verify) -> anyhow::Result<Verdict> {
    match verify.file {
        Some(file) => verify_export(&file, verify.key.as_deref(), verify.checkpoint.as_deref()),
        None => verify_store(&Desk::at(place).await?, verify.checkpoint.as_deref()).await,
    }
}

async fn verify_store(desk: &Desk, checkpoint: Option<&Path>) -> anyhow::Result<Verdict> {
    desk.store.find_workspace(&desk.workspace).await??;
    let page = desk.store.log(&desk.workspace, Page::FIRST).await?;
    let past = match (checkpoint, &page) {
        (Some(checkpoint), Some(page)) => Some(opened(page, checkpoint)?),
        (Some(_), None) => bail!(
            "the audit log of {} was removed: it has none, and had one at the checkpoint",
            desk.workspace
        ),
        (None, _) => None,
    };
    let Some(report) = desk.store.check_log(&desk.workspace, past).await? else {
        return Ok(Verdict {
            report: Report {
                text: no_record(desk),
                json: json!({"workspace": desk.workspace, "whole": true, "size": 0}),
            },
            is_whole: true,
        });
    };
    let root = report.root;
    let mut verdict = verdict(Found {
        name: format!("the audit log of {}", desk.workspace),
        size: report.size,
        erased: report.erased,
        faults: report.faults.into_iter().map(ExportFault::Log).collect(),
        further: report.further,
        past,
    });
    verdict.add("workspace", json!(desk.workspace));
    verdict.add("root", json!(root.to_string()));
    Ok(verdict)
}

fn verify_export(
    file: &Path,
    key: Option<&str>,
    checkpoint: Option<&Path>,
) -> anyhow::Result<Verdict> {
    let key = key.map(VerifierKey::parse).transpose()?;
    let past = match (checkpoint, &key) {
        (None, _) => None,
        (Some(checkpoint), Some(key)) => {
            let opened = key.open(&read(checkpoint)?);
            let signed = opened.with_context(|| not_believed(checkpoint))?;
            Some(signed.past)
        }
        (Some(_), None) => bail!("whose checkpoint is it? Name the key by --key"),
    };
    let report = look_at(file, past, key.as_ref());
    let report = report.with_context(|| format!("cannot read {}", file.display()))?;
    let by = report.key.clone().unwrap_or_default();
    let mut verdict = verdict(Found {
        name: format!("the export {}", file.display()),
        size: report.size,
        erased: report.erased,
        faults: report.faults,
        further: report.further,
        past,
    });
    if key.is_none() && verdict.is_whole {
        verdict.report.text += &format!(
            "\nIt is signed by {}: whether that is the key of your host, only you can say, by --key",
            printable(&by)
        );
    }
    verdict.add("key", json!(report.key));
    verdict.add("trusted", json!(key.is_some()));
    Ok(verdict)
}

fn look_at(
    file: &Path,
    past: Option<Past>,
    key: Option<&VerifierKey>,
) -> std::io::Result<ExportReport> {
    let mut check = ExportCheck::new(past);
    let mut file = BufReader::new(File::open(file)?);
    let mut line = Vec::new();
    while file
        .by_ref()
        .take(MOST_BYTES)
        .read_until(b'\n', &mut line)?
        > 0
    {
        check.line(&line);
        line.clear();
    }
    Ok(check.finish(key))
}

/// What a look at a log has found.
struct Found {
    name: String,
    size: u64,
    erased: u64,
    faults: Vec<ExportFault>,
    further: u64,
    past: Option<Past>,
}

fn verdict(found: Found) -> Verdict {
    let is_whole = found.faults.is_empty();
    let mut lines: Vec<_> = found
        .faults
        .iter()
        .map(|fault| format!("!!  {fault}"))
        .collect();
    if found.further > 0 {
        lines.push(format!("!!  {} more", found.further));
    }
    if is_whole {
        let goes_on = found
            .past
            .map(|past| format!("; it goes on from a checkpoint of {}", past.size));
        lines.push(format!(
            "{} is whole: {}{}",
            found.name,
            sized(found.size, found.erased),
            goes_on.unwrap_or_default()
        ));
    }
    let faults = found.faults.iter().map(
        |fault| json!({"fault": fault.name(), "index": fault.index(), "text": fault.to_string()}),
    );
    Verdict {
        is_whole,
        report: Report {
            text: lines.join("\n"),
            json: json!({
                "whole": is_whole,
                "size": found.size,
                "erased": found.erased,
                "faults": faults.collect::<Vec<_>>(),
                "further": found.further,
            }),
        },
    }
}

impl Verdict {
    fn add(&mut self, name: &str, value: Value) {
        if let Value::Object(members) = &mut self.report.json {
            members.insert(name.to_owned(), value);
        }
    }
}

/// For example `1 record`, `7 records, 2 of them erased`.
fn sized(size: u64, erased: u64) -> String {
    let records = count(usize::try_from(size).unwrap_or(usize::MAX), "record");
    match erased {
        0 => records,
        _ => format!("{records}, {erased} of them erased"),
    }
}

fn read(file: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(file);
    text.with_context(|| format!("cannot read {}", file.display()))
}

fn not_believed(checkpoint: &Path) -> String {
    format!("the checkpoint in {} is not believed", checkpoint.display())
}

/// What the log was at a checkpoint in a file.
fn opened(page: &Page, checkpoint: &Path) -> anyhow::Result<Past> {
    let past = page.secret.open(&read(checkpoint)?);
    past.with_context(|| not_believed(checkpoint))
}

pub(super) async fn export(desk: &Desk, to: &Path) -> anyhow::Result<Report> {
    let signer = signer(desk, &first_page(desk).await?).await?;
    let cannot_write = || format!("cannot write {}", to.display());
    let mut file = NamedTempFile::new_in(folder_of(to)).with_context(cannot_write)?;
    let mut writer = BufWriter::new(&mut file);
    let (mut export, heading) = Export::begin(&signer);
    let mut written = writer.write_all(heading.as_bytes());
    let last = whole(desk, |page| {
        let lines = export.page(page);
        if written.is_ok() {
            written = writer.write_all(lines.as_bytes());
        }
    })
    .await?;
    let end = export.end(&last.head, &signer)?;
    let written = written.and_then(|()| writer.write_all(end.as_bytes()));
    let written = written.and_then(|()| writer.flush());
    drop(writer);
    written
        .and_then(|()| file.as_file().sync_all())
        .with_context(cannot_write)?;
    file.persist_noclobber(to)
        .map_err(|problem| problem.error)
        .with_context(cannot_write)?;
    let key = signer.verifier_key();
    let size = last.head.size();
    Ok(Report {
        text: format!("{} in {}, signed by {key}", sized(size, 0), to.display()),
        json: json!({"file": to, "size": size, "key": key}),
    })
}

pub(super) async fn checkpoint(desk: &Desk, key: bool) -> anyhow::Result<Report> {
    let signer = signer(desk, &first_page(desk).await?).await?;
    if key {
        let key = signer.verifier_key();
        let json = json!({"key": key});
        return Ok(Report { text: key, json });
    }
    let last = whole(desk, |_| ()).await?;
    let (size, root) = (last.head.size(), last.head.edge.root());
    let note = signer.sign(size, root)?;
    Ok(Report {
        text: note.trim_end().to_owned(),
        json: json!({
            "checkpoint": note,
            "key": signer.verifier_key(),
            "size": size,
            "root": root.to_string(),
        }),
    })
}

pub(super) async fn prove(desk: &Desk, prove: &Prove) -> anyhow::Result<Report> {
    let first = first_page(desk).await?;
    let signer = signer(desk, &first).await?;
    let since = match &prove.since {
        Some(file) => Some((read(file)?, opened(&first, file)?)),
        None => None,
    };
    let places = match &prove.record {
        Some(record) => places(desk, record).await?,
        None => Vec::new(),
    };
    let mut prover = Prover::new(first.head.size());
    for place in &places {
        ensure!(prover.ask_for_leaf(*place), "the log has no record {place}");
    }
    if let Some((_, past)) = &since {
        let (size, checkpoint) = (first.head.size(), past.size);
        let rolled_back = Fault::RolledBack { size, checkpoint };
        ensure!(prover.ask_for_beginning(checkpoint), rolled_back);
    }
    let mut kept = BTreeMap::new();
    whole(desk, |page| {
        page.leaves.iter().for_each(|leaf| prover.leaf(leaf.hash));
        let found = page.records.iter().filter_map(|record| {
            let place = u64::try_from(record.index).ok()?;
            places.contains(&place).then(|| (place, record.clone()))
        });
        kept.extend(found);
    })
    .await?;
    let records: anyhow::Result<Vec<_>> = places
        .iter()
        .map(|place| {
            let record = kept
                .get(place)
                .with_context(|| format!("record {place} was erased"))?;
            proved(*place, record, &prover)
        })
        .collect();
    let mut json = json!({
        "checkpoint": signer.sign(first.head.size(), prover.root())?,
        "key": signer.verifier_key(),
        "records": records?,
    });
    if let (Some((note, past)), Value::Object(members)) = (since, &mut json) {
        let consistency = prover
            .beginning(past.size)
            .context("the log is not whole")?;
        members.insert("since".to_owned(), json!(note));
        members.insert("consistency".to_owned(), hashes(&consistency));
    }
    Ok(Report {
        text: serde_json::to_string_pretty(&json)?,
        json,
    })
}

fn proved(place: u64, kept: &KeptRecord, prover: &Prover) -> anyhow::Result<Value> {
    let path = prover.path(place).context("the log is not whole")?;
    Ok(json!({
        "index": place,
        "record": kept.record,
        "salt": BASE64.encode(&kept.salt),
        "proof": hashes(&path),
    }))
}

fn hashes(hashes: &[Hash]) -> Value {
    hashes.iter().map(ToString::to_string).collect()
}

/// Where the records are that are meant.
async fn places(desk: &Desk, record: &str) -> anyhow::Result<Vec<u64>> {
    if let Ok(place) = record.parse() {
        return Ok(vec![place]);
    }
    let of_request = RecordFilter {
        request_id: Some(record.to_owned()),
        most: MOST_PROVED,
        ..RecordFilter::default()
    };
    let records = desk.store.records(&desk.workspace, &of_request).await?;
    let places: Vec<_> = records.iter().filter_map(|record| record.index).collect();
    ensure!(!places.is_empty(), "no record is of the request {record}");
    Ok(places)
}

/// Has `look` see the log, which must be whole: nothing else is signed.
async fn whole(desk: &Desk, mut look: impl FnMut(&Page)) -> anyhow::Result<Page> {
    let mut check = Check::new(None);
    let seen = |page: &Page| {
        check.page(page);
        look(page);
    };
    let last = desk.store.read_log(&desk.workspace, seen).await?;
    let last = last.with_context(|| no_record(desk))?;
    let report = check.finish(&last);
    ensure!(
        report.faults.is_empty(),
        "the audit log is not whole, so nothing of it is signed: `host-harness audit verify` tells more"
    );
    Ok(last)
}

async fn first_page(desk: &Desk) -> anyhow::Result<Page> {
    desk.store.find_workspace(&desk.workspace).await??;
    let page = desk.store.log(&desk.workspace, Page::FIRST).await?;
    page.with_context(|| no_record(desk))
}

fn no_record(desk: &Desk) -> String {
    format!("{} has no audit record yet", desk.workspace)
}

async fn signer(desk: &Desk, page: &Page) -> anyhow::Result<LogSigner> {
    let settings = desk
        .store
        .settings(&desk.workspace)
        .await?
        .unwrap_or_default();
    Ok(page.secret.signer(&origin(&settings, &desk.workspace)))
}
