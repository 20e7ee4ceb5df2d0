//! The suite of all stores on Rocket.Chat's own database, but for what that does itself, and what is
//! particular to it.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test ends where what it needs is not there"
)]

mod changing;
mod fixtures;
mod opening;
mod outcome;
mod reading;

/// What every store promises that this one may keep: it makes no workspaces and accounts, and is
/// copied by its own tools.
#[path = "../store"]
mod suite {
    pub(crate) mod audit_log;
    mod change;
    mod email_code;
    mod look_up;
    mod outbox;
    pub(crate) mod store;
    mod watch;

    use chat_domain::settings::Settings;
    use chat_testing::Data;

    pub(crate) async fn new_data() -> Data {
        new_data_with(Settings::default()).await
    }

    pub(crate) async fn new_data_with(settings: Settings) -> Data {
        Data::of(crate::KIND, settings).await
    }
}

const KIND: chat_testing::Kind = chat_testing::Kind::Mongodb;
