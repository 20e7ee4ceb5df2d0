//! `doctor`: whether a host could serve a Rocket.Chat's own database, before anything is changed.

use super::table::printable;
use super::{Report, StoreArgs};
use anyhow::{Context, bail};
use chat_store::StoreUrl;
use chat_store::mongodb::{Finding, Grade, examine};
use serde_json::{Value, json};

/// What was found, and whether it would be served.
pub(super) struct Verdict {
    pub(super) report: Report,
    pub(super) would_serve: bool,
}

pub(super) async fn run(at: &StoreArgs) -> anyhow::Result<Verdict> {
    let url = at.url()?;
    let StoreUrl::Mongodb(text) = &url else {
        bail!(
            "{url} is no Rocket.Chat's database (mongodb://…): `host-harness status` looks at it"
        );
    };
    let found = examine(text, &at.keys.seal()?).await;
    let found = found.with_context(|| format!("cannot look at {url}"))?;
    let would_serve = found.iter().all(|finding| finding.grade != Grade::Fatal);
    let weak = found.iter().filter(|finding| finding.grade == Grade::Weak);
    let verdict = match (would_serve, weak.count()) {
        (true, 0) => "It would be served.",
        (true, _) => "It would be served; what is marked with ! weakens what a reset promises.",
        (false, _) => "It would not be served, for what is marked with !!. Nothing was changed.",
    };
    let mut lines: Vec<_> = found.iter().map(shown).collect();
    lines.push(verdict.to_owned());
    Ok(Verdict {
        report: Report {
            text: lines.join("\n"),
            json: json!({
                "wouldServe": would_serve,
                "findings": found.iter().map(described).collect::<Vec<_>>(),
            }),
        },
        would_serve,
    })
}

fn shown(finding: &Finding) -> String {
    let mark = match finding.grade {
        Grade::Well => "ok",
        Grade::Weak => "! ",
        Grade::Fatal => "!!",
    };
    let line = format!("{mark}  {:<8}  {}", finding.about, printable(&finding.text));
    match &finding.mend {
        Some(mend) => format!("{line}\n              → {mend}"),
        None => line,
    }
}

fn described(finding: &Finding) -> Value {
    json!({
        "about": finding.about,
        "grade": match finding.grade {
            Grade::Well => "well",
            Grade::Weak => "weak",
            Grade::Fatal => "fatal",
        },
        "text": finding.text,
        "mend": finding.mend,
    })
}
