//! The accounts of a chat server, and what a reset does to them.

use crate::bindings::exports::chat::reset_totp::secrets::{AttemptRefusal, Receipt, Refusal};
use data_encoding::{BASE32_NOPAD, HEXLOWER};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use totp_lite::{Sha1, totp_custom};

/// Time steps before and after the current one that are accepted.
pub(crate) const WINDOW: u8 = 1;

/// Seconds of a time step.
const STEP: u64 = 30;

/// Failures in a row, then locks of seconds, which double.
const FAILURES: u32 = 5;
const LOCK: u64 = 30;
const LONGEST_LOCK: u64 = 3600;

/// Doublings after which a lock is the longest, and no bit of it is shifted out.
const DOUBLINGS: u32 = 7;

/// The file.
#[derive(Deserialize, Serialize)]
pub(crate) struct Accounts {
    users: Vec<User>,
    #[serde(default)]
    outbox: Vec<Notice>,
    #[serde(default)]
    audit: Vec<Record>,
}

#[derive(Deserialize, Serialize)]
pub(crate) struct User {
    pub(crate) id: String,
    pub(crate) username: String,
    /// In base32.
    pub(crate) totp: Option<String>,
    #[serde(default)]
    pub(crate) last_step: Option<u64>,
    #[serde(default)]
    failures: u32,
    /// Seconds of Unix time.
    #[serde(default)]
    failed_at: u64,
    /// The hexadecimal SHA-256 of each.
    tokens: Vec<String>,
    pub(crate) permissions: Vec<String>,
}

#[derive(Deserialize, Serialize)]
struct Notice {
    recipient: String,
    text: String,
}

#[derive(Deserialize, Serialize)]
struct Record {
    caller: String,
    target: String,
    at: u64,
}

impl Accounts {
    pub(crate) fn user(&self, id: &str) -> Option<&User> {
        self.users.iter().find(|user| user.id == id)
    }

    pub(crate) fn named(&self, username: &str) -> Option<&User> {
        let name = username.to_lowercase();
        let mut users = self.users.iter();
        users.find(|user| user.username.to_lowercase() == name)
    }

    fn user_mut(&mut self, id: &str) -> Option<&mut User> {
        self.users.iter_mut().find(|user| user.id == id)
    }

    /// Counts a failure at `now`; then gives the key.
    pub(crate) fn begin_attempt(
        &mut self,
        caller: &str,
        now: u64,
    ) -> Result<(Vec<u8>, Option<u64>), AttemptRefusal> {
        let user = self.user_mut(caller);
        let user = user.ok_or(AttemptRefusal::Unavailable)?;
        let key = user.key().ok_or(AttemptRefusal::Unavailable)?;
        if let Some(over) = user.failures.checked_sub(FAILURES) {
            let lock = LOCK << over.min(DOUBLINGS);
            if now < user.failed_at + lock.min(LONGEST_LOCK) {
                return Err(AttemptRefusal::Locked);
            }
        }
        user.failures += 1;
        user.failed_at = now;
        Ok((key, user.last_step))
    }

    pub(crate) fn forgive(&mut self, caller: &str) {
        if let Some(user) = self.user_mut(caller) {
            user.failures = user.failures.saturating_sub(1);
        }
    }

    /// Spends the step, and removes the factor and the tokens of `target`, who is told.
    pub(crate) fn reset(
        &mut self,
        caller: &str,
        step: u64,
        target: &str,
        now: u64,
    ) -> Result<Receipt, Refusal> {
        if self.user(target).is_none() {
            return Err(Refusal::UnknownTarget);
        }
        if let Some(user) = self.user_mut(caller) {
            user.last_step = Some(step);
            user.failures = 0;
        }
        let member = self.user_mut(target).filter(|user| user.totp.is_some());
        let receipt = if let Some(member) = member {
            member.totp = None;
            member.last_step = None;
            member.failures = 0;
            member.tokens.clear();
            self.outbox.push(Notice {
                recipient: target.to_owned(),
                text: "Your second factor was removed.".to_owned(),
            });
            Receipt::Removed
        } else {
            Receipt::NothingEnrolled
        };
        self.audit.push(Record {
            caller: caller.to_owned(),
            target: target.to_owned(),
            at: now,
        });
        Ok(receipt)
    }
}

impl User {
    pub(crate) fn holds(&self, token: &str) -> bool {
        self.tokens
            .contains(&HEXLOWER.encode(&Sha256::digest(token)))
    }

    fn key(&self) -> Option<Vec<u8>> {
        BASE32_NOPAD.decode(self.totp.as_ref()?.as_bytes()).ok()
    }

    /// Whether `digits` are the code of `step` (RFC 6238), which is near `now`.
    pub(crate) fn is_code(&self, digits: &str, step: u64, now: u64) -> bool {
        let is_near = step.abs_diff(now / STEP) <= WINDOW.into();
        let code = self.key().map(|key| totp_custom::<Sha1>(1, 6, &key, step));
        is_near && code.is_some_and(|code| code.as_bytes().ct_eq(digits.as_bytes()).into())
    }

    /// Whether they are the code of any step near `now`, spent or not.
    pub(crate) fn is_any_code(&self, digits: &str, now: u64) -> bool {
        let window = u64::from(WINDOW);
        let steps = (now / STEP).saturating_sub(window)..=now / STEP + window;
        steps
            .into_iter()
            .any(|step| self.is_code(digits, step, now))
    }
}
