//! Whether a code was used before.

use crate::acme::{BACKUP_CODES, STEP, factor, key, now};
use chat_domain::account::TotpFactor;
use chat_domain::proof::is_spent;
use chat_domain::time::Timestamp;
use chat_domain::totp::code_hash;

/// Whether the code of a step so far from now is spent, where the step `last` was the
/// last that was accepted.
fn spent(last: Option<u64>, distance: i64, window: u32) -> bool {
    let factor = TotpFactor {
        last_step: last,
        ..factor("alice")
    };
    let code = key("alice").code(STEP.strict_add_signed(distance));
    is_spent(&factor, &code.into(), now(), window)
}

#[test]
fn a_code_of_the_window_is_spent_up_to_the_last_that_was_accepted() {
    for (last, distance, window, expected) in [
        (None, 0, 1, false),
        (Some(STEP), 0, 1, true),
        (Some(STEP), -1, 1, true),
        (Some(STEP), 1, 1, false),
        (Some(STEP), -2, 1, false),
        (Some(STEP), -2, 2, true),
        (Some(STEP + 1), 1, 1, true),
        (Some(STEP + 9), 1, 1, true),
        (Some(STEP - 1), -1, 1, true),
        (Some(STEP - 1), 0, 1, false),
        (Some(STEP - 2), -2, 1, false),
        (Some(STEP), 0, 0, true),
        (Some(STEP - 1), 0, 0, false),
    ] {
        let is = spent(last, distance, window);
        assert_eq!(is, expected, "{last:?} {distance} {window}");
    }
    let used = TotpFactor {
        last_step: Some(0),
        ..factor("alice")
    };
    let codes = TotpFactor {
        spent_code_hashes: vec![code_hash(BACKUP_CODES[0])],
        ..factor("alice")
    };
    let [spent, unspent] = BACKUP_CODES.map(|code| is_spent(&codes, &code.into(), now(), 1));
    assert!(spent && !unspent);
    let wrong = key("bob").code(0).into();
    assert!(!is_spent(&used, &wrong, Timestamp::from_millis(0), 1));
    let right = key("alice").code(0).into();
    assert!(is_spent(&used, &right, Timestamp::from_millis(0), 1));
}
