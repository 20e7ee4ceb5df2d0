//! TOTP keys and backup codes: shown once, to the operator who made them.

use super::account::{changed_report, ended, told};
use super::{Desk, Report};
use chat_domain::account::TotpFactor;
use chat_domain::operator::UserChange;
use chat_domain::totp::{BackupCodes, TotpKey};
use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};
use serde_json::{Value, json};
use std::io::IsTerminal;

/// Backup codes in a line.
const CODES_PER_LINE: usize = 4;

pub(super) async fn enrol(desk: &Desk, user: &str) -> anyhow::Result<Report> {
    let key = TotpKey::generate(&mut rand::rng());
    let codes = BackupCodes::generate(&mut rand::rng());
    let factor = TotpFactor {
        key: key.clone(),
        last_step: None,
        backup_code_hashes: codes.hashes(),
        spent_code_hashes: Vec::new(),
    };
    let changed = desk.change(user, UserChange::EnrolTotp(factor)).await?;
    let settings = desk.settings().await?;
    let issuer = settings.issuer(&desk.workspace);
    let url = key.to_url(issuer, &changed.account.user.username);
    let picture = qr_code(&url)?;
    let report = changed_report(&changed, |username| {
        format!(
            "{username} has TOTP now; {}. Scan this with an authenticator app:\n\n\
             {picture}\n\n\
             secret  {}\n\
             URL     {}\n\n\
             Backup codes, each for one use:\n\n\
             {}\n\n\
             None of this is shown again. {}",
            ended(changed.ended_tokens, "session"),
            key.to_base32(),
            url,
            columns(&codes),
            told(&changed.account)
        )
    });
    Ok(with(
        report,
        &[
            ("secret", key.to_base32().into()),
            ("url", url.as_str().into()),
            ("backupCodes", json!(codes.expose())),
        ],
    ))
}

pub(super) async fn replace_backup_codes(desk: &Desk, user: &str) -> anyhow::Result<Report> {
    let codes = BackupCodes::generate(&mut rand::rng());
    let change = UserChange::ReplaceBackupCodes {
        backup_code_hashes: codes.hashes(),
    };
    let changed = desk.change(user, change).await?;
    let report = changed_report(&changed, |username| {
        format!(
            "New backup codes of {username}, each for one use; the old ones are void:\n\n\
             {}\n\n\
             They are not shown again. {}",
            columns(&codes),
            told(&changed.account)
        )
    });
    Ok(with(report, &[("backupCodes", json!(codes.expose()))]))
}

pub(super) async fn reset(desk: &Desk, user: &str) -> anyhow::Result<Report> {
    let changed = desk.change(user, UserChange::ResetTotp).await?;
    Ok(changed_report(&changed, |username| {
        let ended = ended(changed.ended_tokens, "token");
        let told = told(&changed.account);
        format!(
            "{username} has TOTP no more; {ended}. {told} `host-harness user enrol-totp \
             {username}` enrols it anew; by HTTP the holder can."
        )
    }))
}

fn with(mut report: Report, secrets: &[(&str, Value)]) -> Report {
    if let Some(members) = report.json.as_object_mut() {
        for (name, value) in secrets {
            members.insert((*name).to_owned(), value.clone());
        }
    }
    report
}

fn columns(codes: &BackupCodes) -> String {
    let codes = codes.expose();
    let lines: Vec<_> = codes
        .chunks(CODES_PER_LINE)
        .map(|line| line.join("  "))
        .collect();
    lines.join("\n")
}

/// The URL as a QR code in half blocks, light on dark; a terminal is told so,
/// whatever its own colours are.
fn qr_code(url: &str) -> anyhow::Result<String> {
    let code = QrCode::with_error_correction_level(url, EcLevel::L)?;
    let picture = code
        .render::<Dense1x2>()
        .dark_color(Dense1x2::Light)
        .light_color(Dense1x2::Dark)
        .build();
    if !std::io::stdout().is_terminal() {
        return Ok(picture);
    }
    let lines: Vec<_> = picture
        .lines()
        .map(|line| format!("\x1b[97;40m{line}\x1b[0m"))
        .collect();
    Ok(lines.join("\n"))
}
