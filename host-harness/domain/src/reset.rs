//! The one effect: a member's TOTP factor is removed, their sessions end, they are told,
//! and it is recorded.

mod preview;

pub use preview::{Foreseen, Preview};

use crate::account::{Caller, EDIT_OTHER_USER_TOTP, Methods, Profile};
use crate::attempts::{Failures, tell_of_lock};
use crate::audit::{Action, AuditRecord, Decision, Source};
use crate::dossier::{Dossier, Question, Subject};
use crate::mail::Event;
use crate::order::{Change, Decided, Order, Tokens};
use crate::outbox::Post;
use crate::proof::{Proof, Tried, Unproved, spend};
use crate::settings::Settings;
use crate::sockets::Sockets;
use crate::standing::authenticate;
use crate::time::Timestamp;

/// Whose factor is removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The caller's own.
    Caller,
    /// That of the account with this id, by the permission
    /// [`EDIT_OTHER_USER_TOTP`].
    User(String),
}

/// A reset to commit: checks token, permission, target and proof, spends the proof,
/// removes the target's factor and the failures at it, revokes its tokens, queues the
/// notices, clears the caller's failures (unless no proof was needed) and writes the
/// audit record.
#[derive(Clone, Debug)]
pub struct Reset {
    /// The workspace of all accounts below.
    pub workspace: String,
    /// Who asks.
    pub caller: Caller,
    /// How the caller's second factor was proved.
    pub proof: Proof,
    /// Whose factor goes.
    pub target: Target,
    /// When the request was accepted.
    pub now: Timestamp,
    /// The request's id, for the audit record.
    pub request_id: String,
    /// Where the request came from.
    pub source: Source,
}

/// What a reset did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// The factor is gone and the target's tokens with it.
    Removed,
    /// There was none: tokens stand, nobody is told.
    NothingEnrolled,
}

/// Why a reset was refused; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The caller's token is no longer valid.
    NotAuthenticated,
    /// The caller does not hold [`EDIT_OTHER_USER_TOTP`].
    NotPermitted,
    /// The workspace does not use second factors.
    NotEnabled,
    /// The target belongs to another server.
    Federated,
    /// The workspace has no such account.
    UnknownTarget,
    /// The proof is right but this step, or a later one, or this backup code was used
    /// before.
    Replayed,
    /// The proof is wrong.
    WrongProof,
}

impl From<Unproved> for Refusal {
    fn from(unproved: Unproved) -> Self {
        match unproved {
            Unproved::Replayed => Self::Replayed,
            Unproved::Wrong => Self::WrongProof,
        }
    }
}

impl Order for Reset {
    type Answer = Result<Receipt, Refusal>;

    fn question(&self) -> Question {
        let mut caller = Subject::id(&self.caller.id);
        caller.backup_codes = matches!(self.proof, Proof::BackupCode(_));
        caller.emails = caller.backup_codes || self.target == Target::Caller;
        let question = Question::of(&self.workspace)
            .with_settings()
            .with_token(&self.caller.token_hash);
        match &self.target {
            Target::Caller => question.about(caller),
            Target::User(id) => question
                .about(caller.with_roles())
                .about(Subject::id(id).with_emails()),
        }
    }

    fn decide(&self, dossier: &Dossier) -> Decided<Self::Answer> {
        match self.grant(dossier) {
            Ok((receipt, changes)) => Decided {
                answer: Ok(receipt),
                changes,
            },
            Err(refusal) => Decided::unchanged(Err(refusal)),
        }
    }
}

impl Reset {
    fn grant(&self, dossier: &Dossier) -> Result<(Receipt, Vec<Change>), Refusal> {
        let parties = self.parties(dossier)?;
        let Parties {
            known,
            settings,
            caller,
            target,
        } = &parties;
        let mut changes = match &self.proof {
            Proof::None => excuse(settings, Methods::of(caller, settings), known)?,
            proof => spend(settings, caller, proof, self.now)?,
        };
        let is_own = target.user.id == caller.user.id;
        let Effect {
            receipt,
            changes: effect,
            record,
        } = self.effect(&parties);
        changes.extend(effect);
        if let (Proof::BackupCode(_), false) = (&self.proof, is_own) {
            let event = backup_code_used(caller);
            changes.extend(self.notices(settings, caller, &event));
        }
        // Whoever is excused has proved nothing that makes guesses forgotten, but for those
        // at a factor that goes.
        let proved = !matches!(self.proof, Proof::None);
        let is_forgotten = is_own && receipt == Receipt::Removed;
        if proved && !is_forgotten {
            changes.extend(Failures::forget(caller));
        }
        changes.push(Change::Record(record));
        Ok((receipt, changes))
    }

    /// By whom, about whom and by which settings it is decided, where the caller may have that.
    fn parties<'a>(&self, dossier: &'a Dossier) -> Result<Parties<'a>, Refusal> {
        let known = authenticate(dossier, self.now).ok_or(Refusal::NotAuthenticated)?;
        let caller = dossier.caller().ok_or(Refusal::NotAuthenticated)?;
        let settings = dossier.settings.as_ref().ok_or(Refusal::NotAuthenticated)?;
        let target = self.permit(settings, caller, dossier.target())?;
        Ok(Parties {
            known,
            settings,
            caller,
            target,
        })
    }

    /// What it does to the target, once the caller's proof is spent.
    fn effect(&self, parties: &Parties<'_>) -> Effect {
        let Parties {
            settings,
            caller,
            target,
            ..
        } = parties;
        if !is_enrolled(target) {
            let receipt = Receipt::NothingEnrolled;
            return Effect {
                receipt,
                changes: Vec::new(),
                record: self.record(target, receipt),
            };
        }
        let receipt = Receipt::Removed;
        let mut changes = remove(target);
        let event = match &self.target {
            Target::User(_) => Event::Reset {
                by: Some(&caller.user.username),
            },
            Target::Caller => Event::OwnReset,
        };
        let notices = self.notices(settings, target, &event);
        let record = self.record(target, receipt).telling(&notices);
        changes.extend(notices);
        let sockets = Sockets {
            user: target.user.id.clone(),
            request_id: self.request_id.clone(),
        };
        changes.extend(sockets.close(settings, self.now));
        Effect {
            receipt,
            changes,
            record,
        }
    }

    /// The account that the caller may reset.
    fn permit<'a>(
        &self,
        settings: &Settings,
        caller: &'a Profile,
        target: Option<&'a Profile>,
    ) -> Result<&'a Profile, Refusal> {
        match self.target {
            Target::Caller => Ok(caller),
            Target::User(_) => permit(settings, caller, target),
        }
    }

    fn notices(&self, settings: &Settings, told: &Profile, event: &Event<'_>) -> Vec<Change> {
        Post::notices(settings, told, event, self.now, Some(&self.source))
    }

    fn record(&self, target: &Profile, receipt: Receipt) -> AuditRecord {
        AuditRecord {
            at: self.now,
            workspace: self.workspace.clone(),
            request_id: self.request_id.clone(),
            action: Action::ResetTotp,
            caller: self.caller.id.clone(),
            target: Some(target.user.id.clone()),
            decision: match receipt {
                Receipt::Removed => Decision::Reset,
                Receipt::NothingEnrolled => Decision::NothingEnrolled,
            },
            reason: None,
            source: Some(self.source.clone()),
            proof: Some(self.proof.name()),
            told: None,
            calls: 1,
        }
    }
}

/// Who and what a reset is decided by.
struct Parties<'a> {
    known: Caller,
    settings: &'a Settings,
    caller: &'a Profile,
    target: &'a Profile,
}

/// What a reset does, and how it is recorded.
struct Effect {
    receipt: Receipt,
    changes: Vec<Change>,
    record: AuditRecord,
}

/// The account that the caller may reset, or unlock, where it is another's.
pub(crate) fn permit<'a>(
    settings: &Settings,
    caller: &Profile,
    target: Option<&'a Profile>,
) -> Result<&'a Profile, Refusal> {
    if !caller.may(EDIT_OTHER_USER_TOTP) {
        return Err(Refusal::NotPermitted);
    }
    if !settings.two_factor_enabled {
        return Err(Refusal::NotEnabled);
    }
    match target {
        None => Err(Refusal::UnknownTarget),
        Some(target) if target.user.federated => Err(Refusal::Federated),
        Some(target) => Ok(target),
    }
}

/// The backup code that is being used is still among them.
pub(crate) fn backup_code_used(profile: &Profile) -> Event<'static> {
    let codes = profile
        .factor
        .as_ref()
        .map(|factor| factor.backup_code_hashes.len());
    let left = codes.unwrap_or_default().saturating_sub(1);
    Event::BackupCodeUsed { left }
}

/// The record of a request that was refused, or failed. Where what it tried was no guess,
/// its attempt comes off the count: it was counted before anybody could know. Until then it
/// holds others up, where it was the fifth. A guess that has locked the caller's second
/// factor is told to the caller.
#[derive(Clone, Debug)]
pub struct RefuseReset {
    /// What is recorded.
    pub record: AuditRecord,
    /// What was compared with the caller's factor; none where no attempt was counted.
    pub tried: Option<Tried>,
}

impl Order for RefuseReset {
    type Answer = ();

    fn question(&self) -> Question {
        let question = Question::of(&self.record.workspace);
        match self.tried {
            None => question,
            Some(_) => question.with_settings().about(
                Subject::id(&self.record.caller)
                    .with_backup_codes()
                    .with_emails(),
            ),
        }
    }

    fn decide(&self, dossier: &Dossier) -> Decided<()> {
        let record = AuditRecord {
            proof: self.tried.as_ref().map(Tried::name),
            ..self.record.clone()
        };
        let changes = self.settle(dossier, &record).unwrap_or_default();
        Decided {
            answer: (),
            changes,
        }
        .and(Change::Record(record))
    }
}

impl RefuseReset {
    /// What becomes of the attempt.
    fn settle(&self, dossier: &Dossier, record: &AuditRecord) -> Option<Vec<Change>> {
        let (settings, caller) = (dossier.settings.as_ref()?, dossier.caller()?);
        let (tried, now) = (self.tried.as_ref()?, self.record.at);
        let taken_off = tried.taken_off(settings, caller, now);
        let tell = || tell_of_lock(settings, caller, &caller.failures, record);
        Some(taken_off.unwrap_or_else(tell))
    }
}

/// Nothing to spend, where the caller needs no proof: by the token as it is kept.
pub(crate) fn excuse(
    settings: &Settings,
    methods: Methods,
    known: &Caller,
) -> Result<Vec<Change>, Refusal> {
    let excused = !settings.two_factor_enabled
        || (known.bypass_token && settings.bypass_token_allowed)
        || (settings.missing_factor_allowed && !methods.any());
    excused.then(Vec::new).ok_or(Refusal::WrongProof)
}

/// Whether there is something to remove.
pub(crate) fn is_enrolled(profile: &Profile) -> bool {
    profile.factor.is_some() || profile.pending_key.is_some()
}

/// What removes secret, pending secret and backup codes, forgets the failures at them,
/// and ends every login.
pub(crate) fn remove(target: &Profile) -> Vec<Change> {
    let mut changes = remove_totp(target);
    changes.extend(Failures::forget(target));
    changes.push(Change::EndTokens {
        user: target.user.id.clone(),
        which: Tokens::All,
    });
    changes
}

/// What removes secret, pending secret and backup codes.
pub(crate) fn remove_totp(profile: &Profile) -> Vec<Change> {
    let user = || profile.user.id.clone();
    let factor = profile.factor.as_ref();
    let pending = profile.pending_key.as_ref();
    [
        factor.map(|_| Change::RemoveFactor { user: user() }),
        pending.map(|_| Change::RemovePendingKey { user: user() }),
    ]
    .into_iter()
    .flatten()
    .collect()
}
