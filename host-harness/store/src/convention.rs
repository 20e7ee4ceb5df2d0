//! How facts are kept, whichever database keeps them.

use chat_domain::clock_fault::Horizon;
use chat_domain::outbox::NextTry;
use chat_domain::settings::{SETTINGS, Setting, Settings};
use chat_domain::time::Timestamp;

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

/// What this program does not know is no setting to work by, nor a number out of range;
/// texts were checked when they were set.
pub(crate) fn restore(settings: &mut Settings, name: &str, value: &str) -> Result<(), String> {
    Setting::named(name)
        .ok_or_else(|| format!("there is no setting {name}"))?
        .restore(settings, value)
        .map_err(|error| error.to_string())
}

/// The names of those that differ from the default.
pub(crate) fn changed_settings(settings: &Settings) -> Vec<&'static str> {
    let changed = SETTINGS
        .iter()
        .filter(|setting| setting.is_changed(settings));
    changed.map(|setting| setting.name).collect()
}
