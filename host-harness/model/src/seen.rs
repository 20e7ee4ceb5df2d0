//! What was judged at all.

use std::collections::BTreeMap;
use std::sync::Mutex;

/// How often what is worth judging happened.
#[derive(Default)]
pub struct Seen(Mutex<BTreeMap<&'static str, u32>>);

impl Seen {
    pub(crate) fn note(&self, what: &'static str) {
        *self.0.lock().unwrap().entry(what).or_default() += 1;
    }

    /// Holds a run to what it must have come to.
    ///
    /// # Panics
    ///
    /// When something did not happen often enough for a law to mean anything.
    pub fn enough(&self) {
        let seen = self.0.lock().unwrap();
        for what in [
            "a reset of another's factor",
            "a reset of one's own factor",
            "a reset of nothing",
            "a reset by an excuse",
            "a reset that was refused",
            "a reset by a code that was replayed",
            "a TOTP code was accepted",
            "a backup code was accepted",
            "a code by e-mail was accepted",
            "a password was accepted",
            "a code that was spent was refused",
            "an attempt was begun",
            "an attempt of a locked account",
            "a code of a locked account was refused",
            "a code was sent",
            "a log-in",
            "an enrolment was begun",
            "an enrolment was confirmed",
            "a factor was disabled",
            "backup codes were replaced",
            "a change was refused",
            "an operator changed an account",
            "failures were forgotten",
            "an attempt was no guess",
            "a store failed",
            "an answer was lost",
            "an order was decided again",
            "a request was paused",
            "the clock jumped",
            "a reset of elsewhere",
            "an account was added",
            "a role was changed",
            "the last administrator stays",
            "settings were changed",
            "a workspace was created",
            "a mail was claimed",
            "a mail was claimed again",
            "a mail was sent",
            "a mail was not sent",
            "a mail was retried or removed",
            "something was pruned",
            "a request was only recorded",
        ] {
            let times = seen.get(what).copied().unwrap_or_default();
            assert!(times >= 10, "{what}: {times} times; all: {seen:#?}");
        }
    }
}
