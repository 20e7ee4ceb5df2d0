//! The store held to its promises, whichever it is: what it keeps, counts, spends and refuses.
//! The program that runs them says which, by its `KIND`.

mod accounts;
pub(crate) mod audit_log;
mod backup;
mod change;
mod directory;
mod email_code;
mod look_up;
mod outbox;
mod schedules;
pub(crate) mod sealed;
pub(crate) mod store;
mod watch;
mod workspaces;

use chat_domain::settings::Settings;
use chat_testing::Data;

/// A store of the kind that the tests are of.
pub(crate) async fn new_data() -> Data {
    new_data_with(Settings::default()).await
}

/// As [`new_data`], with these settings of acme.
pub(crate) async fn new_data_with(settings: Settings) -> Data {
    Data::of(crate::KIND, settings).await
}
