//! Mail that waits to be sent, for what delivers it.

use crate::Result;
use async_trait::async_trait;
use chat_domain::outbox::{Claim, Expired, MailCount, NextTry};
use chat_domain::time::Timestamp;

/// The part of a store that the worker uses, which sends mail that waits.
///
/// # Errors
///
/// As [`super::Store`].
#[async_trait]
pub trait Outbox {
    /// When the next mail of any workspace is due to be claimed, or expires.
    async fn next_mail_due(&self) -> Result<Option<Timestamp>>;

    /// How much mail there is, of all workspaces.
    async fn mail_count(&self) -> Result<MailCount>;

    /// Claims the mail that has been due longest, for [`LEASE`](chat_domain::outbox::LEASE), and counts the
    /// try; not one of the workspaces `but`, and none that has expired.
    async fn claim_mail(&self, now: Timestamp, but: &[String]) -> Result<Option<Claim>>;

    /// Removes a mail that was sent.
    async fn mail_sent(&self, claim: &Claim) -> Result<()>;

    /// Notes why a mail was not sent and when it is tried again. Nothing is done
    /// where somebody else has claimed it meanwhile.
    async fn mail_failed(&self, claim: &Claim, problem: &str, next: NextTry) -> Result<()>;

    /// Makes dead letters of mails that are due and have expired; removes those
    /// that hold a code.
    async fn expire_mail(&self, now: Timestamp) -> Result<Vec<Expired>>;
}
