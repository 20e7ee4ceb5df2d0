//! How many wrong codes an account may give in a row (NIST SP 800-63B section
//! 5.2.2, 800-63B-4 section 3.2.2, OWASP ASVS 5.0 V6.3.1), and how an attempt begins.

use crate::account::{Methods, Profile, TotpFactor};
use crate::audit::{Action, AuditRecord, Decision};
use crate::clock_fault::Horizon;
use crate::dossier::{Dossier, Question, Subject};
use crate::mail::Event;
use crate::mailed_code::{email_lock, live_code};
use crate::order::{Change, Decided, Order};
use crate::outbox::Post;
use crate::settings::Settings;
use crate::time::Timestamp;
use secrecy::SecretString;
use std::time::Duration;

/// Failures in a row before the first lock: enough for typing errors and a
/// clock that runs wrong, five chances in 333,333 for a guess.
pub const FREE_FAILURES: u32 = 5;

/// The first lock; each further failure doubles it.
pub const FIRST_LOCK: Duration = Duration::from_secs(30);

/// The longest lock: at one guess an hour, guessing takes decades, and a locked
/// administrator still gets in within a shift.
pub const LONGEST_LOCK: Duration = Duration::from_secs(60 * 60);

/// How long an account is locked after `failures` in a row; none while it may
/// try again at once.
pub fn lock_after(failures: u32) -> Option<Duration> {
    let doublings = failures.checked_sub(FREE_FAILURES)?;
    let lock = FIRST_LOCK.saturating_mul(2_u32.saturating_pow(doublings));
    Some(lock.min(LONGEST_LOCK))
}

/// Why even a right code is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lock {
    /// It may be tried again then.
    Until(Timestamp),
    /// So many failures in a row that the factor must be replaced: the setting
    /// `failure-budget`.
    UntilReplaced,
}

impl Lock {
    /// When it may be tried again, where that is known.
    pub fn ends(self) -> Option<Timestamp> {
        match self {
            Self::Until(until) => Some(until),
            Self::UntilReplaced => None,
        }
    }
}

/// Failed attempts in a row at the second factor of an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// How many.
    pub count: u32,
    /// Until when even a right code is refused; also when that is over.
    pub locked_until: Option<Timestamp>,
    /// How many they were when the holder was told; 0 where that was not yet.
    pub told: u32,
}

impl Failures {
    /// Until when even a right code is refused, if it is at `now`. A lock that ends later than
    /// any can is a clock's that was wrong: it is over.
    pub fn lock(&self, now: Timestamp) -> Option<Timestamp> {
        let latest = Horizon::at(now).lock;
        self.locked_until
            .filter(|until| *until > now && *until <= latest)
    }

    /// Whether there were so many that the factor must be replaced.
    pub fn are_too_many(&self, settings: &Settings) -> bool {
        self.count >= settings.failure_budget
    }

    /// Why even a right code is refused at `now`, if it is.
    pub fn why_locked(&self, settings: &Settings, now: Timestamp) -> Option<Lock> {
        match self.are_too_many(settings) {
            true => Some(Lock::UntilReplaced),
            false => self.lock(now).map(Lock::Until),
        }
    }

    /// With one more.
    ///
    /// # Errors
    ///
    /// Why it is locked: nothing is counted then.
    pub fn counted(&self, settings: &Settings, now: Timestamp) -> Result<Self, Lock> {
        if let Some(lock) = self.why_locked(settings, now) {
            return Err(lock);
        }
        let count = self.count.saturating_add(1);
        let locked_until = lock_after(count).map(|lock| now + lock);
        Ok(Self {
            count,
            locked_until,
            told: self.told,
        })
    }

    /// What the holder is told of the failure that was counted at `now`, where it has locked:
    /// once of locks that end, and once of the last.
    fn news(&self, settings: &Settings, now: Timestamp) -> Option<Event<'static>> {
        let failures = self.count;
        let until = self.locked_until?;
        if lock_after(failures).is_none_or(|lock| now + lock != until) {
            return None;
        }
        if self.are_too_many(settings) {
            return (self.told < failures).then_some(Event::GuessedOut { failures });
        }
        (self.told == 0).then_some(Event::Locked { failures, until })
    }

    /// Without one attempt that was counted at `now`, and turned out to be no guess.
    fn uncounted(&self, now: Timestamp) -> Self {
        let count = self.count.saturating_sub(1);
        let lock = self.locked_until.zip(lock_after(self.count));
        // An attempt begins only when the lock before has ended. Another's lock, that was
        // counted meanwhile, is as long as it would have been.
        let others = lock.filter(|(until, lock)| now + *lock != *until);
        let locked_until =
            others.and_then(|(until, lock)| Some(until.before(lock) + lock_after(count)?));
        Self {
            count,
            locked_until,
            told: self.told,
        }
    }

    /// What takes an attempt that was counted at `now` off those of `profile`.
    pub(crate) fn take_off(profile: &Profile, now: Timestamp) -> Option<Change> {
        (profile.failures.count > 0).then(|| Change::SetFailures {
            user: profile.user.id.clone(),
            failures: profile.failures.uncounted(now),
        })
    }

    /// What forgets those of `profile`, if there are any.
    pub(crate) fn forget(profile: &Profile) -> Option<Change> {
        let none = Self::default();
        (profile.failures != none).then(|| Change::SetFailures {
            user: profile.user.id.clone(),
            failures: none,
        })
    }
}

/// What tells the holder, and the audit trail, that the failure which `refused` records has
/// locked the account, where it has; `failures` are those of `profile` afterwards.
pub(crate) fn tell_of_lock(
    settings: &Settings,
    profile: &Profile,
    failures: &Failures,
    refused: &AuditRecord,
) -> Vec<Change> {
    let Some(event) = failures.news(settings, refused.at) else {
        return Vec::new();
    };
    let notices = Post::notices(
        settings,
        profile,
        &event,
        refused.at,
        refused.source.as_ref(),
    );
    let record = AuditRecord {
        action: Action::Guess,
        target: Some(profile.user.id.clone()),
        decision: Decision::Locked,
        reason: Some(format!("{} in a row", failures.count)),
        ..refused.clone()
    };
    let told = Change::SetFailures {
        user: profile.user.id.clone(),
        failures: Failures {
            told: failures.count,
            ..*failures
        },
    };
    let record = record.telling(&notices);
    let mut changes = vec![told];
    changes.extend(notices);
    changes.push(Change::Record(record));
    changes
}

/// How an attempt to prove a second factor began.
#[derive(Debug)]
pub enum Attempt<F> {
    /// It is counted as failed until one succeeds. This is what the proof is
    /// checked against.
    Begun(F),
    /// Too many failures in a row; nothing was counted.
    Locked(Lock),
    /// The account does not have the factor, or may not use it.
    Unavailable,
}

/// Counts a failed attempt of an account, and then gives out its TOTP factor. After
/// too many in a row the account is locked.
#[derive(Clone, Debug)]
pub struct BeginTotpAttempt {
    /// The account's workspace.
    pub workspace: String,
    /// The account's id.
    pub user: String,
    /// What of the factor is given out.
    pub needed: Needed,
    /// When the request was accepted.
    pub now: Timestamp,
}

/// What of a TOTP factor an attempt is checked against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needed {
    /// The key; the backup codes are left out.
    Key,
    /// The key and the backup codes.
    Everything,
}

/// Counts a failed attempt of an account, as [`BeginTotpAttempt`] does, and then gives
/// out the password's hash.
#[derive(Clone, Debug)]
pub struct BeginPasswordAttempt {
    /// The account's workspace.
    pub workspace: String,
    /// The account's id.
    pub user: String,
    /// When the request was accepted.
    pub now: Timestamp,
}

/// Counts a failed attempt of an account, and of the code that it was sent, and then
/// gives out that code's hash; none where no code is valid.
#[derive(Clone, Debug)]
pub struct BeginEmailAttempt {
    /// The account's workspace.
    pub workspace: String,
    /// The account's id.
    pub user: String,
    /// When the request was accepted.
    pub now: Timestamp,
}

impl Order for BeginTotpAttempt {
    type Answer = Attempt<TotpFactor>;

    fn question(&self) -> Question {
        let mut account = Subject::id(&self.user);
        account.backup_codes = self.needed == Needed::Everything;
        Question::of(&self.workspace).with_settings().about(account)
    }

    fn decide(&self, dossier: &Dossier) -> Decided<Self::Answer> {
        begin(dossier, |settings, profile| {
            begin_totp(settings, profile, self.now)
        })
    }
}

impl Order for BeginPasswordAttempt {
    type Answer = Attempt<SecretString>;

    fn question(&self) -> Question {
        Question::of(&self.workspace)
            .with_settings()
            .about(Subject::id(&self.user))
    }

    fn decide(&self, dossier: &Dossier) -> Decided<Self::Answer> {
        begin(dossier, |settings, profile| {
            begin_password(settings, profile, self.now)
        })
    }
}

impl Order for BeginEmailAttempt {
    type Answer = Attempt<Option<String>>;

    fn question(&self) -> Question {
        Question::of(&self.workspace)
            .with_settings()
            .about(Subject::id(&self.user))
    }

    fn decide(&self, dossier: &Dossier) -> Decided<Self::Answer> {
        begin(dossier, |settings, profile| {
            begin_email(settings, profile, self.now)
        })
    }
}

fn begin<F>(
    dossier: &Dossier,
    attempt: impl FnOnce(&Settings, &Profile) -> Decided<Attempt<F>>,
) -> Decided<Attempt<F>> {
    match (&dossier.settings, dossier.caller()) {
        (Some(settings), Some(profile)) => attempt(settings, profile),
        _ => Decided::unchanged(Attempt::Unavailable),
    }
}

/// As [`BeginTotpAttempt`].
pub(crate) fn begin_totp(
    settings: &Settings,
    profile: &Profile,
    now: Timestamp,
) -> Decided<Attempt<TotpFactor>> {
    match &profile.factor {
        Some(factor) if Methods::of(profile, settings).totp => {
            count(settings, profile, now, || factor.clone())
        }
        _ => Decided::unchanged(Attempt::Unavailable),
    }
}

/// As [`BeginPasswordAttempt`].
fn begin_password(
    settings: &Settings,
    profile: &Profile,
    now: Timestamp,
) -> Decided<Attempt<SecretString>> {
    let usable = Methods::of(profile, settings).password && !profile.deactivated;
    match &profile.password_hash {
        Some(hash) if usable => count(settings, profile, now, || hash.clone()),
        _ => Decided::unchanged(Attempt::Unavailable),
    }
}

/// As [`BeginEmailAttempt`].
fn begin_email(
    settings: &Settings,
    profile: &Profile,
    now: Timestamp,
) -> Decided<Attempt<Option<String>>> {
    if !Methods::of(profile, settings).email {
        return Decided::unchanged(Attempt::Unavailable);
    }
    if let Some(lock) = email_lock(settings, profile, now) {
        return Decided::unchanged(Attempt::Locked(lock));
    }
    let code = live_code(profile, now);
    let mut begun = count(settings, profile, now, || {
        code.map(|code| code.hash.clone())
    });
    if let (Attempt::Begun(_), Some(code)) = (&begun.answer, code) {
        begun.changes.push(Change::SetMailedCode {
            user: profile.user.id.clone(),
            code: code.failed_once_more(),
        });
    }
    begun
}

/// Counts one failure more, unless the account is locked.
fn count<F>(
    settings: &Settings,
    profile: &Profile,
    now: Timestamp,
    handed: impl FnOnce() -> F,
) -> Decided<Attempt<F>> {
    let failures = match profile.failures.counted(settings, now) {
        Ok(failures) => failures,
        Err(lock) => return Decided::unchanged(Attempt::Locked(lock)),
    };
    Decided {
        answer: Attempt::Begun(handed()),
        changes: vec![Change::SetFailures {
            user: profile.user.id.clone(),
            failures,
        }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Failures after `count` attempts, the last of them at `seconds`.
    fn failures(count: u32, seconds: i64) -> Failures {
        let at = Timestamp::from_millis(seconds * 1000);
        Failures {
            count,
            locked_until: lock_after(count).map(|lock| at + lock),
            told: 0,
        }
    }

    #[test]
    fn an_attempt_that_was_no_guess_leaves_no_lock_but_anothers() {
        let now = Timestamp::from_millis(1_000_000);
        let unlocked = |count| Failures {
            count,
            ..Failures::default()
        };
        for (after, expected) in [
            (failures(1, 1000), unlocked(0)),
            (failures(4, 1000), unlocked(3)),
            (failures(5, 1000), unlocked(4)),
            (failures(6, 1000), unlocked(5)),
            (failures(20, 1000), unlocked(19)),
            (failures(5, 1001), unlocked(4)),
            (failures(6, 1001), failures(5, 1001)),
            (failures(7, 1200), failures(6, 1200)),
            (unlocked(0), unlocked(0)),
        ] {
            assert_eq!(after.uncounted(now), expected, "{after:?}");
        }
    }

    #[test]
    fn locks_are_told_once_and_the_last_failure_too() {
        let settings = Settings {
            failure_budget: 8,
            ..Settings::default()
        };
        let now = Timestamp::from_millis(1_000_000);
        let news = |count, told| {
            let failures = Failures {
                told,
                ..failures(count, 1000)
            };
            failures.news(&settings, now)
        };
        assert!(matches!(
            news(5, 0),
            Some(Event::Locked { failures: 5, until }) if until == now + FIRST_LOCK
        ));
        assert!(matches!(
            news(6, 0),
            Some(Event::Locked { failures: 6, .. })
        ));
        for told in [0, 5, 7] {
            let news = news(8, told);
            assert!(
                matches!(news, Some(Event::GuessedOut { failures: 8 })),
                "{told}"
            );
        }
        for (count, told) in [(0, 0), (1, 0), (4, 0), (5, 5), (6, 5), (7, 6), (8, 8)] {
            assert!(news(count, told).is_none(), "{count} {told}");
        }
        // Another's failure.
        assert!(failures(5, 1001).news(&settings, now).is_none());
    }

    #[test]
    fn the_last_failure_of_the_budget_locks_for_good() {
        let settings = Settings::default();
        let now = Timestamp::from_millis(1_000_000_000);
        let after = |count| failures(count, 0).counted(&settings, now);
        assert_eq!(after(98), Ok(failures(99, 1_000_000)));
        assert_eq!(after(99), Ok(failures(100, 1_000_000)));
        for count in [100, 101, u32::MAX] {
            assert_eq!(after(count), Err(Lock::UntilReplaced), "{count}");
        }
    }

    /// Made while the clock was ahead.
    #[test]
    fn a_lock_that_ends_later_than_any_can_is_over() {
        let now = Timestamp::from_millis(1_000_000);
        for (seconds, locks) in [
            (0, false),
            (1, true),
            (7200, true),
            (7201, false),
            (86_400, false),
        ] {
            let until = now + Duration::from_secs(seconds);
            let failures = Failures {
                count: 12,
                locked_until: Some(until),
                ..Failures::default()
            };
            assert_eq!(failures.lock(now), locks.then_some(until), "{seconds}");
        }
    }

    #[test]
    fn the_fifth_failure_locks_and_each_further_one_doubles_up_to_an_hour() {
        let seconds = |failures| lock_after(failures).map(|lock| lock.as_secs());
        assert_eq!(seconds(1), None);
        assert_eq!(seconds(4), None);
        assert_eq!(seconds(5), Some(30));
        assert_eq!(seconds(6), Some(60));
        assert_eq!(seconds(7), Some(120));
        assert_eq!(seconds(12), Some(3600));
        assert_eq!(seconds(u32::MAX), Some(3600));
    }
}
