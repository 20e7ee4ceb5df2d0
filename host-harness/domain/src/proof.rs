//! How a caller's second factor is proved, and what that spends.

use crate::account::{Methods, Profile, TotpFactor};
use crate::attempts::Failures;
use crate::mailed_code::live_code;
use crate::order::Change;
use crate::settings::Settings;
use crate::time::Timestamp;
use crate::totp::{code_hash, is_backup_code, is_six_digits, step_of};
use secrecy::{ExposeSecret, SecretString};

/// How the caller's second factor was proved.
#[derive(Clone, Debug)]
pub enum Proof {
    /// `code` is the caller's code of the time step `step`.
    TotpStep {
        /// T of RFC 6238.
        step: u64,
        /// Six digits.
        code: SecretString,
    },
    /// A backup code, as it was entered.
    BackupCode(SecretString),
    /// The code by e-mail whose hash this is, as the account held it: it was compared in this
    /// call. Of another code that the account was sent since, it proves nothing.
    EmailCode(SecretString),
    /// The password whose hash this is: it was compared in this call.
    Password(SecretString),
    /// None: the settings excuse this caller, or this token.
    None,
}

impl Proof {
    /// What the audit trail calls it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::TotpStep { .. } => TOTP,
            Self::BackupCode(_) => BACKUP_CODE,
            Self::EmailCode(_) => EMAIL_CODE,
            Self::Password(_) => PASSWORD,
            Self::None => "none",
        }
    }
}

const TOTP: &str = "totp";
const BACKUP_CODE: &str = "backup-code";
pub(crate) const EMAIL_CODE: &str = "email-code";
pub(crate) const PASSWORD: &str = "password";

/// What the audit trail calls what was entered for a TOTP factor.
pub(crate) fn name_of_totp(code: &SecretString) -> &'static str {
    match is_backup_code(code) {
        true => BACKUP_CODE,
        false => TOTP,
    }
}

/// Why a proof is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unproved {
    /// It is right, but this step, or a later one, or this backup code was used before.
    Replayed,
    /// It is wrong.
    Wrong,
}

/// What makes a proof useless for any other request, if it is right. That none is
/// needed is no proof.
pub(crate) fn spend(
    settings: &Settings,
    profile: &Profile,
    proof: &Proof,
    now: Timestamp,
) -> Result<Vec<Change>, Unproved> {
    let methods = Methods::of(profile, settings);
    let user = || profile.user.id.clone();
    let factor = profile.factor.as_ref().filter(|_| methods.totp);
    match proof {
        Proof::Password(hash) if methods.password && profile.has_password(hash) => Ok(Vec::new()),
        Proof::TotpStep { step, code } => {
            let factor = factor.ok_or(Unproved::Wrong)?;
            let in_window = step.abs_diff(step_of(now)) <= u64::from(settings.totp_window);
            spend_step(factor, *step, code, in_window)?;
            Ok(vec![Change::SpendStep {
                user: user(),
                step: *step,
            }])
        }
        Proof::BackupCode(code) => {
            let hash = code_hash(code.expose_secret());
            let factor = factor.ok_or(Unproved::Wrong)?;
            if factor.spent_code_hashes.contains(&hash) {
                return Err(Unproved::Replayed);
            }
            if !factor.backup_code_hashes.contains(&hash) {
                return Err(Unproved::Wrong);
            }
            Ok(vec![Change::SpendBackupCode { user: user(), hash }])
        }
        Proof::EmailCode(hash) if methods.email => match live_code(profile, now) {
            Some(sent) if sent.has_hash(hash) => {
                Ok(vec![Change::RemoveMailedCode { user: user() }])
            }
            _ => Err(Unproved::Wrong),
        },
        Proof::Password(_) | Proof::EmailCode(_) | Proof::None => Err(Unproved::Wrong),
    }
}

fn spend_step(
    factor: &TotpFactor,
    step: u64,
    code: &SecretString,
    in_window: bool,
) -> Result<(), Unproved> {
    if !in_window || !factor.key.has_code(step, code.expose_secret()) {
        return Err(Unproved::Wrong);
    }
    match factor.last_step {
        Some(last) if step <= last => Err(Unproved::Replayed),
        _ => Ok(()),
    }
}

/// How the comparison of a password, or of a code by e-mail, has ended.
#[derive(Clone, Debug)]
pub enum Compared {
    /// It is right: this is the hash with which it was compared.
    Right(SecretString),
    /// It is wrong.
    Wrong,
    /// It has not: nobody has learnt whether it is right.
    Not,
}

/// What a counted attempt compared.
#[derive(Clone, Debug)]
pub enum Tried {
    /// This with the TOTP factor, as [`crate::totp::entered`] gives it.
    Totp(SecretString),
    /// A code by e-mail.
    Email(Compared),
    /// A password.
    Password(Compared),
}

impl Tried {
    /// What the audit trail calls it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Totp(code) => name_of_totp(code),
            Self::Email(_) => EMAIL_CODE,
            Self::Password(_) => PASSWORD,
        }
    }

    /// What takes the attempt, which was counted at `now`, off those of `profile`; none where it
    /// was a guess.
    pub(crate) fn taken_off(
        &self,
        settings: &Settings,
        profile: &Profile,
        now: Timestamp,
    ) -> Option<Vec<Change>> {
        if !self.is_no_guess(settings, profile, now) {
            return None;
        }
        let sent = live_code(profile, now).filter(|_| matches!(self, Self::Email(_)));
        let sent = sent.map(|sent| Change::SetMailedCode {
            user: profile.user.id.clone(),
            code: sent.failed_once_less(),
        });
        let failures = Failures::take_off(profile, now);
        Some(sent.into_iter().chain(failures).collect())
    }

    /// Whether it was no guess at the factor that it was compared with: it is right, or was
    /// until its step was spent, or has no code's form, or was not compared.
    fn is_no_guess(&self, settings: &Settings, profile: &Profile, now: Timestamp) -> bool {
        match self {
            Self::Totp(code) => {
                let window = settings.totp_window;
                let hash = code_hash(code.expose_secret());
                !(is_six_digits(code) || is_backup_code(code))
                    || profile.factor.as_ref().is_some_and(|factor| {
                        let step = factor.key.matching_step(code.expose_secret(), now, window);
                        step.is_some()
                            || factor.backup_code_hashes.contains(&hash)
                            || factor.spent_code_hashes.contains(&hash)
                    })
            }
            Self::Email(Compared::Right(hash)) => {
                live_code(profile, now).is_some_and(|sent| sent.has_hash(hash))
            }
            Self::Password(Compared::Right(hash)) => profile.has_password(hash),
            Self::Email(Compared::Wrong) | Self::Password(Compared::Wrong) => false,
            Self::Email(Compared::Not) | Self::Password(Compared::Not) => true,
        }
    }
}

/// Whether `code` was right for a step that is in the window, or is a backup code, and is
/// spent: it is refused like a wrong one, and the audit trail tells.
pub fn is_spent(factor: &TotpFactor, code: &SecretString, now: Timestamp, window: u32) -> bool {
    let hash = code_hash(code.expose_secret());
    if factor.spent_code_hashes.contains(&hash) {
        return true;
    }
    let Some(last) = factor.last_step else {
        return false;
    };
    let first = step_of(now).saturating_sub(window.into());
    let step = || factor.key.matching_step(code.expose_secret(), now, window);
    first <= last && step().is_some_and(|step| step <= last)
}
