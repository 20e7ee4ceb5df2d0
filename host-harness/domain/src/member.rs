//! What an account does to itself: logs in, enrols TOTP, gives it up; and what it may do to another:
//! unlock it.

use crate::account::{Account, Methods, PendingKey, Profile, Selector, Token, TotpFactor, User};
use crate::attempts::{Attempt, Failures, Lock, begin_totp, tell_of_lock};
use crate::audit::{Action, AuditRecord, Decision, Source};
use crate::clock_fault::Horizon;
use crate::dossier::{Dossier, Question, Subject};
use crate::mail::Event;
use crate::operator;
use crate::order::{Change, Decided, Order, Refused, Tokens, Verdict};
use crate::outbox::Post;
use crate::proof::{Compared, EMAIL_CODE, PASSWORD, Proof, Tried, Unproved, name_of_totp, spend};
use crate::reset::{Refusal, backup_code_used, excuse, permit, remove_totp};
use crate::settings::Settings;
use crate::standing::authenticate;
use crate::time::Timestamp;
use crate::totp::{self, TotpKey};
use secrecy::{ExposeSecret, SecretString};
use std::time::Duration;

/// How long a key that was shown can be proved: time enough to find the phone.
pub const PENDING_KEY_LIFETIME: Duration = Duration::from_secs(15 * 60);

/// Something that an account does to itself, or unlocks another: checks authority and code, spends the code,
/// clears the failures (but not by the code of a pending key), does what is asked and
/// writes the audit record. A refusal is counted where it is for the code, and recorded.
#[derive(Clone, Debug)]
pub struct MemberChange {
    /// The account's workspace.
    pub workspace: String,
    /// The account's id.
    pub user: String,
    /// What proves that its holder asks.
    pub authority: Authority,
    /// What is done.
    pub act: Act,
    /// The code that was entered, and for which factor.
    pub code: Option<Code>,
    /// When the request was accepted.
    pub now: Timestamp,
    /// The request's id, for the audit record.
    pub request_id: String,
    /// Where the request came from.
    pub source: Source,
}

/// What proves that an account's holder asks: it must hold at the commit, too.
#[derive(Clone, Debug)]
pub enum Authority {
    /// The hash of the password, which was compared.
    Password(SecretString),
    /// The hash of a valid token.
    Token(String),
}

/// What an account does.
#[derive(Clone, Debug)]
pub enum Act {
    /// Adds a session. Needs a code where the account has TOTP or e-mail codes.
    LogIn(Token),
    /// Makes this the pending key, for [`PENDING_KEY_LIFETIME`]. Needs a second factor, the password where
    /// there is no other, unless the settings excuse the account.
    BeginEnrolment(TotpKey),
    /// Makes the pending key the account's factor, with these backup codes, and
    /// ends the account's other sessions. Needs a code of that key.
    ConfirmTotp {
        /// As [`crate::totp::code_hash`] writes them.
        backup_code_hashes: Vec<String>,
    },
    /// Removes the TOTP factor. Needs its code.
    DisableTotp,
    /// Replaces the backup codes. Needs a code of the TOTP factor.
    ReplaceBackupCodes {
        /// As [`crate::totp::code_hash`] writes them.
        backup_code_hashes: Vec<String>,
    },
    /// Lets the account with this id, which is another's, try again at once, as an operator does
    /// by [`UserChange::Unlock`](operator::UserChange::Unlock). Needs what a reset does: the permission
    /// [`EDIT_OTHER_USER_TOTP`](crate::account::EDIT_OTHER_USER_TOTP), and a second factor unless
    /// the settings excuse the account or its token.
    Unlock(String),
}

impl Act {
    /// Its name in the audit trail.
    pub fn action(&self) -> Action {
        match self {
            Self::LogIn(_) => Action::LogIn,
            Self::BeginEnrolment(_) => Action::BeginEnrolment,
            Self::ConfirmTotp { .. } => Action::ConfirmTotp,
            Self::DisableTotp => Action::DisableTotp,
            Self::ReplaceBackupCodes { .. } => Action::ReplaceBackupCodes,
            Self::Unlock(_) => Action::Unlock,
        }
    }
}

/// A code, as it was entered: see [`totp::entered`].
#[derive(Clone, Debug)]
pub enum Code {
    /// A TOTP code or a backup code.
    Totp(SecretString),
    /// The code by e-mail whose hash this is: an attempt was begun and it was compared.
    /// Or why it proves nothing.
    Email(Result<SecretString, Denial>),
    /// The password whose hash this is, likewise.
    Password(Result<SecretString, Denial>),
}

impl Code {
    /// What the audit trail calls it.
    fn name(&self) -> &'static str {
        match self {
            Self::Totp(code) => name_of_totp(&totp::entered(code)),
            Self::Email(_) => EMAIL_CODE,
            Self::Password(_) => PASSWORD,
        }
    }
}

/// Why a [`MemberChange`] was refused. Nothing was changed, but for the count of
/// failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// The [`Authority`] does not hold (any more).
    NotAuthenticated,
    /// A second factor is needed and no code was given.
    CodeRequired,
    /// The code is wrong.
    WrongCode,
    /// The code is right but was used before.
    Replayed,
    /// The code was not compared: the host has too much to do.
    NotCompared,
    /// Too many failures in a row: even a right code is refused.
    Locked(Lock),
    /// The account has no TOTP factor, or no pending key, to do this to.
    NotEnrolled,
    /// The account has a TOTP factor already.
    AlreadyEnrolled,
    /// The workspace does not use TOTP, or second factors at all.
    NotEnabled,
    /// The account, or the other one, belongs to another server: TOTP is enrolled there.
    Federated,
    /// The account does not hold the permission.
    NotPermitted,
    /// The workspace has no such other account.
    UnknownTarget,
    /// The other account's factor was guessed at so often that it is to be replaced instead.
    GuessedOut,
}

impl From<Refusal> for Denial {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotAuthenticated => Self::NotAuthenticated,
            Refusal::NotPermitted => Self::NotPermitted,
            Refusal::NotEnabled => Self::NotEnabled,
            Refusal::Federated => Self::Federated,
            Refusal::UnknownTarget => Self::UnknownTarget,
            Refusal::Replayed => Self::Replayed,
            Refusal::WrongProof => Self::WrongCode,
        }
    }
}

impl Denial {
    /// How the audit trail calls such a refusal.
    pub fn decision(self) -> Decision {
        match self {
            Self::Replayed => Decision::Replayed,
            Self::Locked(_) => Decision::Locked,
            Self::NotCompared => Decision::Failed,
            _ => Decision::Refused,
        }
    }

    /// When it may be tried again, where that is known.
    pub fn retry_at(self) -> Option<Timestamp> {
        match self {
            Self::Locked(lock) => lock.ends(),
            _ => None,
        }
    }

    /// The error id by which clients and the audit trail know it.
    pub fn id(self) -> &'static str {
        match self {
            Self::NotAuthenticated => "not-authorized",
            Self::CodeRequired => "totp-required",
            Self::WrongCode | Self::Replayed => "totp-invalid",
            Self::Locked(_) => "totp-max-attempts",
            Self::NotCompared => "host-busy",
            Self::NotEnrolled => "error-2fa-not-enabled",
            Self::Federated | Self::NotPermitted => "error-not-allowed",
            Self::UnknownTarget => "error-invalid-user",
            Self::GuessedOut => "error-2fa-guessed-out",
            Self::NotEnabled => "error-two-factor-not-enabled",
            Self::AlreadyEnrolled => "error-2fa-already-enabled",
        }
    }
}

/// Who wants to log in, and what the host must know to ask for the right proofs.
#[derive(Debug)]
pub struct Login {
    /// The account as its holder sees it.
    pub account: Account,
    /// None for an account without a password.
    pub password_hash: Option<SecretString>,
    /// The second factors that it may use.
    pub methods: Methods,
}

impl Login {
    /// What must be known of who logs in by `name`.
    pub fn question(workspace: &str, name: &str) -> Question {
        Question::of(workspace)
            .with_settings()
            .about(Subject::new(Selector::of_login(name)).as_seen())
    }

    /// None where no active account has the name.
    pub fn of(dossier: Dossier, now: Timestamp) -> Option<Self> {
        let settings = dossier.settings?;
        let profile = dossier.accounts.into_iter().next()??;
        (!profile.deactivated).then(|| Self {
            methods: Methods::of(&profile, &settings),
            password_hash: profile.password_hash.clone(),
            account: Account::of(profile, &settings, now),
        })
    }
}

impl Order for MemberChange {
    type Answer = Result<(), Denial>;

    fn question(&self) -> Question {
        let question = Question::of(&self.workspace).with_settings();
        let question = match &self.authority {
            Authority::Token(hash) => question.with_token(hash),
            Authority::Password(_) => question,
        };
        let mut account = Subject::id(&self.user).with_backup_codes().with_emails();
        account.tokens = matches!(self.act, Act::LogIn(_));
        match &self.act {
            Act::Unlock(user) => question
                .about(account.with_roles())
                .about(Subject::id(user)),
            _ => question.about(account),
        }
    }

    fn decide(&self, dossier: &Dossier) -> Decided<Self::Answer> {
        match self.grant(dossier) {
            Ok(mut changes) => {
                let notices = self.notices(dossier, &changes);
                let record = self.record(None);
                if self.was_compared_and_wrong() {
                    changes.extend(self.tell_of_lock(dossier, &changes, &record));
                }
                let record = match &notices {
                    Some(notices) => record.telling(notices),
                    None => record,
                };
                changes.extend(notices.into_iter().flatten());
                Decided {
                    answer: Ok(()),
                    changes,
                }
                .and(Change::Record(record))
            }
            Err(Refused { why, mut changes }) => {
                changes.extend(self.take_off_what_was_no_guess(dossier));
                let record = self.record(Some(why));
                if why == Denial::WrongCode || self.was_compared_and_wrong() {
                    changes.extend(self.tell_of_lock(dossier, &changes, &record));
                }
                Decided {
                    answer: Err(why),
                    changes,
                }
                .and(Change::Record(record))
            }
        }
    }
}

impl MemberChange {
    fn record(&self, denial: Option<Denial>) -> AuditRecord {
        AuditRecord {
            at: self.now,
            workspace: self.workspace.clone(),
            request_id: self.request_id.clone(),
            action: self.act.action(),
            caller: self.user.clone(),
            target: match (&self.act, denial) {
                (
                    Act::Unlock(_),
                    Some(
                        Denial::NotPermitted
                        | Denial::NotEnabled
                        | Denial::UnknownTarget
                        | Denial::Federated,
                    ),
                ) => None,
                (Act::Unlock(user), _) => Some(user.clone()),
                _ => Some(self.user.clone()),
            },
            decision: denial.map_or(Decision::Done, Denial::decision),
            reason: denial.map(|denial| denial.id().to_owned()),
            source: Some(self.source.clone()),
            proof: self.code.as_ref().map(Code::name),
            told: None,
            calls: 1,
        }
    }

    /// What the holder is told of what `changes` do; none where that is nothing.
    fn notices(&self, dossier: &Dossier, changes: &[Change]) -> Option<Vec<Change>> {
        let (settings, profile) = (dossier.settings.as_ref()?, dossier.caller()?);
        let event = match &self.act {
            Act::BeginEnrolment(_) => Event::KeyShown,
            Act::ConfirmTotp { .. } => Event::Enrolled,
            Act::DisableTotp => Event::Disabled,
            Act::ReplaceBackupCodes { .. } => Event::NewBackupCodes,
            Act::LogIn(_) | Act::Unlock(_) => {
                let mut changes = changes.iter();
                changes.find(|change| matches!(change, Change::SpendBackupCode { .. }))?;
                backup_code_used(profile)
            }
        };
        let source = Some(&self.source);
        Some(Post::notices(settings, profile, &event, self.now, source))
    }

    /// The holder is told that this guess has locked the account, where it has.
    fn tell_of_lock(
        &self,
        dossier: &Dossier,
        changes: &[Change],
        record: &AuditRecord,
    ) -> Vec<Change> {
        let (Some(settings), Some(profile)) = (&dossier.settings, dossier.caller()) else {
            return Vec::new();
        };
        let counted = changes.iter().find_map(|change| match change {
            Change::SetFailures { user, failures } if *user == self.user => Some(failures),
            _ => None,
        });
        let failures = counted.unwrap_or(&profile.failures);
        tell_of_lock(settings, profile, failures, record)
    }

    fn grant(&self, dossier: &Dossier) -> Verdict<Denial> {
        let settings = dossier.settings.as_ref();
        let settings = settings.ok_or(Denial::NotAuthenticated)?;
        let profile = self.holder(dossier).ok_or(Denial::NotAuthenticated)?;
        match &self.act {
            Act::LogIn(token) => self.log_in(settings, profile, token),
            Act::BeginEnrolment(key) => self.begin_enrolment(settings, profile, key),
            Act::ConfirmTotp { backup_code_hashes } => {
                self.confirm_totp(settings, profile, backup_code_hashes)
            }
            Act::DisableTotp => {
                let mut changes = self.prove_totp(settings, profile)?;
                changes.extend(remove_totp(profile));
                Ok(changes)
            }
            Act::ReplaceBackupCodes { backup_code_hashes } => {
                let mut changes = self.prove_totp(settings, profile)?;
                changes.push(Change::ReplaceBackupCodes {
                    user: self.user.clone(),
                    hashes: backup_code_hashes.clone(),
                });
                Ok(changes)
            }
            Act::Unlock(_) => self.unlock(settings, profile, dossier),
        }
    }

    /// An attempt with a password, or a code by e-mail, is counted before it is compared: where
    /// it was right and the rest is refused, or was not compared, it was no guess.
    fn take_off_what_was_no_guess(&self, dossier: &Dossier) -> Vec<Change> {
        let right = |hash: &SecretString| Compared::Right(hash.clone());
        let tried = match &self.code {
            Some(Code::Email(Ok(hash))) => Tried::Email(right(hash)),
            Some(Code::Password(Ok(hash))) => Tried::Password(right(hash)),
            Some(Code::Email(Err(Denial::NotCompared))) => Tried::Email(Compared::Not),
            Some(Code::Password(Err(Denial::NotCompared))) => Tried::Password(Compared::Not),
            _ => return Vec::new(),
        };
        // The count is the account's, also where the login has ended meanwhile.
        match (&dossier.settings, dossier.caller()) {
            (Some(settings), Some(profile)) => tried
                .taken_off(settings, profile, self.now)
                .unwrap_or_default(),
            _ => Vec::new(),
        }
    }

    /// A guess that was counted before the change was looked at, and may have locked the account
    /// whatever else refuses the change.
    fn was_compared_and_wrong(&self) -> bool {
        matches!(
            &self.code,
            Some(Code::Email(Err(Denial::WrongCode)) | Code::Password(Err(Denial::WrongCode)))
        )
    }

    /// The account, where it is active and its holder still asks.
    fn holder<'a>(&self, dossier: &'a Dossier) -> Option<&'a Profile> {
        let profile = dossier.caller()?;
        let holds = match &self.authority {
            Authority::Token(_) => authenticate(dossier, self.now).is_some(),
            Authority::Password(hash) => profile.has_password(hash),
        };
        holds.then_some(profile)
    }

    fn log_in(&self, settings: &Settings, profile: &Profile, token: &Token) -> Verdict<Denial> {
        let methods = Methods::of(profile, settings);
        let mut changes = match settings.two_factor_enabled && (methods.totp || methods.email) {
            true => self.prove(settings, profile)?,
            false => Vec::new(),
        };
        let user = || self.user.clone();
        let end = |which| Change::EndTokens {
            user: user(),
            which,
        };
        changes.push(end(Tokens::Ended { by: self.now }));
        let crowded = crowded_out(settings, profile, self.now);
        changes.extend(crowded.into_iter().map(|hash| end(Tokens::Hash(hash))));
        changes.push(Change::AddToken {
            user: user(),
            token: token.clone(),
        });
        Ok(changes)
    }

    fn begin_enrolment(
        &self,
        settings: &Settings,
        profile: &Profile,
        key: &TotpKey,
    ) -> Verdict<Denial> {
        may_enrol(settings, &profile.user, profile.factor.is_some())?;
        let excused = settings.missing_factor_allowed && !Methods::of(profile, settings).any();
        let mut changes = match excused {
            true => Vec::new(),
            false => self.prove(settings, profile)?,
        };
        changes.push(Change::SetPendingKey {
            user: self.user.clone(),
            pending: PendingKey {
                key: key.clone(),
                expires: self.now + PENDING_KEY_LIFETIME,
            },
        });
        Ok(changes)
    }

    fn confirm_totp(
        &self,
        settings: &Settings,
        profile: &Profile,
        backup_code_hashes: &[String],
    ) -> Verdict<Denial> {
        let (Some(Code::Totp(code)), Authority::Token(session)) = (&self.code, &self.authority)
        else {
            return Err(Denial::CodeRequired.into());
        };
        may_enrol(settings, &profile.user, profile.factor.is_some())?;
        let pending = profile.pending_key.as_ref();
        let horizon = Horizon::at(self.now).pending_key;
        let pending =
            pending.filter(|pending| pending.expires > self.now && pending.expires <= horizon);
        let key = &pending.ok_or(Denial::NotEnrolled)?.key;
        let step = self.pending_step(settings, profile, key, code)?;
        let factor = TotpFactor {
            key: key.clone(),
            last_step: Some(step),
            backup_code_hashes: backup_code_hashes.to_vec(),
            spent_code_hashes: Vec::new(),
        };
        let user = || self.user.clone();
        let mut changes = remove_totp(profile);
        changes.extend([
            Change::Enrol {
                user: user(),
                factor,
            },
            Change::EndTokens {
                user: user(),
                which: Tokens::Sessions {
                    but: Some(session.clone()),
                },
            },
        ]);
        Ok(changes)
    }

    fn unlock(&self, settings: &Settings, profile: &Profile, dossier: &Dossier) -> Verdict<Denial> {
        let known = authenticate(dossier, self.now).ok_or(Denial::NotAuthenticated)?;
        let target = permit(settings, profile, dossier.target()).map_err(Denial::from)?;
        if target.failures.are_too_many(settings) {
            return Err(Denial::GuessedOut.into());
        }
        let mut changes = match excuse(settings, Methods::of(profile, settings), &known) {
            Ok(mut changes) => {
                changes.extend(self.take_off_what_was_no_guess(dossier));
                changes
            }
            Err(_) => self.prove(settings, profile)?,
        };
        changes.extend(operator::unlock(target, settings, self.now));
        Ok(changes)
    }

    /// The step of `code`, a code of the pending key. Success does not clear the
    /// count of failures: who only holds the account's token knows that key.
    fn pending_step(
        &self,
        settings: &Settings,
        profile: &Profile,
        key: &TotpKey,
        code: &SecretString,
    ) -> Result<u64, Refused<Denial>> {
        let code = totp::entered(code);
        if !totp::is_six_digits(&code) {
            return Err(Denial::WrongCode.into());
        }
        let failures = profile.failures.counted(settings, self.now);
        let failures = failures.map_err(Denial::Locked)?;
        let step = key.matching_step(code.expose_secret(), self.now, settings.totp_window);
        step.ok_or_else(|| Refused {
            why: Denial::WrongCode,
            changes: vec![Change::SetFailures {
                user: self.user.clone(),
                failures,
            }],
        })
    }

    /// As [`MemberChange::prove`], by the TOTP factor and no other: whoever reads the
    /// account's mail has not got its key.
    fn prove_totp(&self, settings: &Settings, profile: &Profile) -> Verdict<Denial> {
        if profile.factor.is_none() {
            return Err(Denial::NotEnrolled.into());
        }
        match self.code {
            Some(Code::Totp(_)) => self.prove(settings, profile),
            _ => Err(Denial::CodeRequired.into()),
        }
    }

    /// Checks the code and spends it; success clears the count of failures, and what
    /// is wrong is counted, unless it has no code's form or was right and is spent. A code
    /// for a factor that the account may not use is none.
    fn prove(&self, settings: &Settings, profile: &Profile) -> Verdict<Denial> {
        let (proof, counted) = match &self.code {
            None => return Err(Denial::CodeRequired.into()),
            Some(Code::Totp(code)) => {
                let code = totp::entered(code);
                if !totp::is_six_digits(&code) && !totp::is_backup_code(&code) {
                    return Err(Denial::WrongCode.into());
                }
                let begun = begin_totp(settings, profile, self.now);
                let factor = handed(begun.answer)?;
                (self.totp_proof(settings, &factor, code), begun.changes)
            }
            Some(Code::Email(_)) if !Methods::of(profile, settings).email => {
                return Err(Denial::CodeRequired.into());
            }
            Some(Code::Password(_)) if !Methods::of(profile, settings).password => {
                return Err(Denial::CodeRequired.into());
            }
            // These were counted before they were compared.
            Some(Code::Email(compared)) => (Proof::EmailCode(compared.clone()?), Vec::new()),
            Some(Code::Password(compared)) => (Proof::Password(compared.clone()?), Vec::new()),
        };
        match spend(settings, profile, &proof, self.now) {
            Ok(mut spent) => {
                spent.extend(Failures::forget(profile));
                Ok(spent)
            }
            Err(Unproved::Replayed) => Err(Denial::Replayed.into()),
            Err(Unproved::Wrong) => Err(Refused {
                why: Denial::WrongCode,
                changes: counted,
            }),
        }
    }

    fn totp_proof(&self, settings: &Settings, factor: &TotpFactor, code: SecretString) -> Proof {
        let window = settings.totp_window;
        let step = factor
            .key
            .matching_step(code.expose_secret(), self.now, window);
        match step {
            Some(step) => Proof::TotpStep { step, code },
            None => Proof::BackupCode(code),
        }
    }
}

/// The sessions that end with the next log-in: the oldest, so that there are not more than the
/// settings say.
fn crowded_out(settings: &Settings, profile: &Profile, now: Timestamp) -> Vec<String> {
    let sessions = profile.tokens.iter().filter(|token| token.is_valid(now));
    let mut sessions: Vec<_> = sessions
        .filter_map(|token| Some((token.expires?, &token.hash)))
        .collect();
    sessions.sort();
    let most = settings.sessions.max(1) as usize;
    let excess = (sessions.len() + 1).saturating_sub(most);
    let oldest = sessions.into_iter().take(excess);
    oldest.map(|(_, hash)| hash.clone()).collect()
}

/// Whether the account may enrol TOTP, and has not.
///
/// # Errors
///
/// [`Denial::NotEnabled`], [`Denial::Federated`] or [`Denial::AlreadyEnrolled`].
pub fn may_enrol(settings: &Settings, user: &User, is_enrolled: bool) -> Result<(), Denial> {
    if !settings.uses_totp() {
        Err(Denial::NotEnabled)
    } else if user.federated {
        Err(Denial::Federated)
    } else if is_enrolled {
        Err(Denial::AlreadyEnrolled)
    } else {
        Ok(())
    }
}

fn handed<F>(attempt: Attempt<F>) -> Result<F, Denial> {
    match attempt {
        Attempt::Begun(factor) => Ok(factor),
        Attempt::Locked(lock) => Err(Denial::Locked(lock)),
        Attempt::Unavailable => Err(Denial::CodeRequired),
    }
}
