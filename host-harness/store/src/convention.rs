//! How facts are kept, whichever database keeps them.

use crate::seal::{Column, EMAIL_CODE, MAIL_BODY, SETTING, Seal, Unopened};
use chat_domain::clock_fault::Horizon;
use chat_domain::outbox::{NextTry, Post};
use chat_domain::settings::{SETTINGS, Setting, Settings};
use chat_domain::time::Timestamp;
use chat_domain::totp::TotpKey;
use secrecy::{ExposeSecret, SecretString};

/// What a program says that finds tables which are not its own.
pub(crate) const ANOTHER_PROGRAMS: &str = "it is another program's database";

/// What a program says that finds a later version than its own.
pub(crate) const A_NEWER_PROGRAMS: &str = "a newer program wrote it: use that one";

/// What a program says that finds an earlier version than its own, and may only look.
pub(crate) const AN_OLDER_PROGRAMS: &str =
    "another version wrote it: one that may write it brings it up to date";

/// What `next_try` says of a dead letter: it is never due.
pub(crate) const NEVER: i64 = i64::MAX;

/// Rows of a table that are removed in one transaction: tens of milliseconds, in which others
/// wait.
pub(crate) const PRUNED_TOGETHER: u32 = 5000;

/// What is to be tried later was put off by a clock that was ahead.
pub(crate) fn put_off(now: Timestamp) -> i64 {
    Horizon::at(now).mail.millis()
}

/// What `next_try` says of a mail.
pub(crate) fn next_try_millis(next: NextTry) -> i64 {
    match next {
        NextTry::At(moment) => moment.millis(),
        NextTry::Never => NEVER,
    }
}

/// When a mail is tried of which `next_try` says so.
pub(crate) fn next_try(millis: i64) -> NextTry {
    match millis {
        NEVER => NextTry::Never,
        millis => NextTry::At(Timestamp::from_millis(millis)),
    }
}

/// Why what a store holds is nothing to work by.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unread {
    #[error(transparent)]
    Unopened(#[from] Unopened),
    #[error("{0}")]
    Invalid(String),
}

/// What this program does not know is no setting to work by, nor a number out of range;
/// texts were checked when they were set.
pub(crate) fn restore(
    seal: &Seal,
    settings: &mut Settings,
    workspace: &str,
    name: &str,
    value: &str,
) -> Result<(), Unread> {
    let setting = Setting::named(name);
    let setting = setting.ok_or_else(|| Unread::Invalid(format!("there is no setting {name}")))?;
    let restored = match setting.is_secret() {
        true => {
            let value = seal.open(&SETTING.of(workspace, name), value)?;
            setting.restore(settings, value.expose_secret())
        }
        false => setting.restore(settings, value),
    };
    restored.map_err(|error| Unread::Invalid(error.to_string()))
}

/// A setting's value as it is kept: sealed where it is a secret.
pub(crate) fn sealed_setting(
    seal: &Seal,
    workspace: &str,
    setting: &Setting,
    value: &SecretString,
) -> SecretString {
    match setting.is_secret() {
        true => {
            let place = SETTING.of(workspace, setting.name);
            seal.seal(&place, value.expose_secret()).into()
        }
        false => value.clone(),
    }
}

/// A TOTP key as it is kept: base32, and that sealed.
pub(crate) fn sealed_key(seal: &Seal, place: &Column<'_>, key: &TotpKey) -> String {
    seal.seal(place, &key.to_base32())
}

/// The TOTP key that [`sealed_key`] wrote.
pub(crate) fn opened_key(seal: &Seal, place: &Column<'_>, text: &str) -> Result<TotpKey, Unread> {
    let base32 = seal.open(place, text)?;
    let key = TotpKey::from_base32(base32.expose_secret());
    key.ok_or_else(|| Unread::Invalid("a TOTP key is not base32".to_owned()))
}

/// The hash of a code by e-mail, as `Seal::seal` wrote it.
pub(crate) fn opened_email_code(
    seal: &Seal,
    workspace: &str,
    user: &str,
    text: &str,
) -> Result<String, Unread> {
    let hash = seal.open(&EMAIL_CODE.of(workspace, user), text)?;
    Ok(hash.expose_secret().to_owned())
}

/// A mail's body as it is kept: sealed where it holds a code.
pub(crate) fn sealed_body(seal: &Seal, workspace: &str, post: &Post) -> SecretString {
    match post.holds_code {
        true => {
            let place = MAIL_BODY.of(workspace, &post.user);
            seal.seal(&place, post.body.expose_secret()).into()
        }
        false => post.body.clone(),
    }
}

/// The body that [`sealed_body`] wrote, or why it cannot be read: a mail that cannot is claimed,
/// too, and keeps no other.
pub(crate) fn opened_body(
    seal: &Seal,
    workspace: &str,
    user: Option<&str>,
    holds_code: bool,
    body: String,
) -> Result<SecretString, String> {
    let place = MAIL_BODY.of(workspace, user.unwrap_or_default());
    match holds_code {
        true => seal.open(&place, &body).map_err(|why| why.to_string()),
        false => Ok(body.into()),
    }
}

/// The names of those that differ from the default.
pub(crate) fn changed_settings(settings: &Settings) -> Vec<&'static str> {
    let changed = SETTINGS
        .iter()
        .filter(|setting| setting.is_changed(settings));
    changed.map(|setting| setting.name).collect()
}
