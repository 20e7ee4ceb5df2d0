//! What a reset would do: by the same rule, and nothing of it is done.

use super::{Effect, Receipt, Refusal, Reset, Target};
use crate::account::Caller;
use crate::audit::Source;
use crate::dossier::{Dossier, Question, Subject};
use crate::order::{Change, Order};
use crate::proof::Proof;
use crate::sockets::Sockets;
use crate::time::Timestamp;
use secrecy::ExposeSecret;

/// Asks what would become of another's factor, if the caller proved their own.
#[derive(Clone, Debug)]
pub struct Preview {
    /// The workspace of all accounts below.
    pub workspace: String,
    /// Who asks.
    pub caller: Caller,
    /// The id of the account that would be reset.
    pub user: String,
    /// When it is asked.
    pub now: Timestamp,
    /// Where the request came from.
    pub source: Source,
}

/// What a reset would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Foreseen {
    /// A TOTP factor would go.
    pub factor: bool,
    /// So many of its backup codes would go that are not used.
    pub backup_codes: usize,
    /// A key that was shown and not yet proved would go.
    pub pending_key: bool,
    /// Failures in a row, and the lock that they are, would be forgotten.
    pub failures: bool,
    /// All tokens would end.
    pub logins: bool,
    /// Who would be told, each by a mail: an address, and the subject.
    pub mails: Vec<(String, &'static str)>,
    /// Rocket.Chat would be asked to close the sockets.
    pub sockets: bool,
}

impl Preview {
    /// What must be known; all of the account that would be reset, too.
    pub fn question(&self) -> Question {
        let mut question = self.reset().question();
        let target = Subject::id(&self.user).as_seen().with_tokens();
        if let Some(last) = question.accounts.last_mut() {
            *last = target;
        }
        question
    }

    /// What the reset would do; nothing where nothing is enrolled.
    ///
    /// # Errors
    ///
    /// Why it would be refused whatever the caller proves.
    pub fn of(&self, dossier: &Dossier) -> Result<Foreseen, Refusal> {
        let reset = self.reset();
        let parties = reset.parties(dossier)?;
        let Effect {
            receipt, changes, ..
        } = reset.effect(&parties);
        let mut foreseen = Foreseen::default();
        if receipt == Receipt::NothingEnrolled {
            return Ok(foreseen);
        }
        let factor = parties.target.factor.as_ref();
        for change in changes {
            match change {
                Change::RemoveFactor { .. } => {
                    foreseen.factor = true;
                    let codes = factor.map(|factor| factor.backup_code_hashes.len());
                    foreseen.backup_codes = codes.unwrap_or_default();
                }
                Change::RemovePendingKey { .. } => foreseen.pending_key = true,
                Change::SetFailures { .. } => foreseen.failures = true,
                Change::EndTokens { .. } => foreseen.logins = true,
                Change::QueueMail(post) => {
                    match Sockets::of(&post.recipient, post.body.expose_secret()) {
                        Some(_) => foreseen.sockets = true,
                        None => foreseen.mails.push((post.recipient, post.subject)),
                    }
                }
                _ => (),
            }
        }
        Ok(foreseen)
    }

    /// The reset that is looked at: its proof is not.
    fn reset(&self) -> Reset {
        Reset {
            workspace: self.workspace.clone(),
            caller: self.caller.clone(),
            proof: Proof::None,
            target: Target::User(self.user.clone()),
            now: self.now,
            request_id: String::new(),
            source: self.source.clone(),
        }
    }
}
