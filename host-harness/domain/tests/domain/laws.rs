//! The laws that no sequence of requests may break, held to many.

use crate::engine::{SECONDS, fuzz};
use chat_model::laws::Seen;
use chat_model::requests::Case;

/// Cases of some thirty requests, and everything that is judged among them.
#[test]
fn no_sequence_of_requests_breaks_a_law() {
    let seen = Seen::default();
    fuzz(400, |case: &Case| case.run(&seen));
    if std::env::var_os(SECONDS).is_none() {
        seen.enough();
    }
}
