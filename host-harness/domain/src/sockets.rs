//! The sockets of whoever's logins have ended: Rocket.Chat alone can close them. What asks it waits
//! in the outbox like a mail, so that it outlives the process and is tried again; how it ended is
//! recorded under the id of the request that ended the logins.

use crate::audit::{Action, AuditRecord, Decision};
use crate::dossier::{Dossier, Question};
use crate::order::{Change, Decided, Order};
use crate::outbox::{Post, StoredMail};
use crate::settings::Settings;
use crate::time::Timestamp;
use secrecy::ExposeSecret;

/// Who closes sockets, as a caller in the audit trail.
pub const HOST: &str = "host";

/// The recipient of what is no mail. No address is written so.
pub const ROCKET_CHAT: &str = "rocket-chat";

/// The sockets of an account, to be closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sockets {
    /// The id of the account.
    pub user: String,
    /// The id of the request that ended its logins.
    pub request_id: String,
}

impl Sockets {
    /// What has them closed; nothing where the settings name no Rocket.Chat.
    pub(crate) fn close(self, settings: &Settings, at: Timestamp) -> Option<Change> {
        if settings.rocket_chat.expose_secret().is_empty() {
            return None;
        }
        Some(Change::QueueMail(Post {
            body: format!("{} {}", self.request_id, self.user).into(),
            user: self.user,
            recipient: ROCKET_CHAT.to_owned(),
            subject: "Close the sockets of whoever was reset",
            holds_code: false,
            queued: at,
            expires: at + settings.mail_lifetime(),
        }))
    }

    /// Those that what waits in the outbox is about; none where it is a mail.
    pub fn of(recipient: &str, body: &str) -> Option<Self> {
        let (request_id, user) = body.split_once(' ')?;
        (recipient == ROCKET_CHAT).then(|| Self {
            user: user.to_owned(),
            request_id: request_id.to_owned(),
        })
    }

    /// As [`Sockets::of`].
    fn of_stored(mail: &StoredMail) -> Option<Self> {
        Self::of(&mail.recipient, mail.body.as_deref()?)
    }

    fn record(self, workspace: &str, decision: Decision, at: Timestamp) -> Change {
        Change::Record(AuditRecord {
            at,
            workspace: workspace.to_owned(),
            request_id: self.request_id,
            action: Action::CloseSockets,
            caller: HOST.to_owned(),
            target: Some(self.user),
            decision,
            reason: None,
            source: None,
            proof: None,
            told: None,
            calls: 1,
        })
    }
}

/// That sockets stay open, where what waits is about some: nobody tries to close them any more.
pub(crate) fn left_open(workspace: &str, mail: &StoredMail, at: Timestamp) -> Option<Change> {
    let sockets = Sockets::of_stored(mail)?;
    Some(sockets.record(workspace, Decision::Failed, at))
}

/// Rocket.Chat has closed the sockets that what waits in the outbox is about.
#[derive(Clone, Debug)]
pub struct NoteClosed {
    /// Where it was queued.
    pub workspace: String,
    /// Which.
    pub id: i64,
    /// When.
    pub now: Timestamp,
}

impl Order for NoteClosed {
    type Answer = ();

    fn question(&self) -> Question {
        Question::of(&self.workspace).with_mail(self.id)
    }

    fn decide(&self, dossier: &Dossier) -> Decided<()> {
        let Some(sockets) = dossier.mail.as_ref().and_then(Sockets::of_stored) else {
            return Decided::unchanged(());
        };
        Decided::unchanged(())
            .and(Change::RemoveMail { id: self.id })
            .and(sockets.record(&self.workspace, Decision::Done, self.now))
    }
}
