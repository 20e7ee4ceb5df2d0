//! What every plugin must do: the promises of the contract, each as a scenario that
//! is tried on a server of its own, over HTTP.
//!
//! `host-harness check PLUGIN` tries them all. A test of your own does the same:
//!
//! ```
//! use host_harness::harness::{Error, Harness};
//! use host_harness::scenarios::Report;
//!
//! # async fn example() -> Result<(), Error> {
//! let harness = Harness::load("target/my_plugin.wasm")?;
//! let report = Report::of(&harness, "", |_tried| ()).await;
//! assert!(report.is_success(), "{}", report.text());
//! # Ok(())
//! # }
//! ```
//!
//! A scenario knows the plugin by its answers and by what it changed, never by its
//! inside: whatever passes may take its place.

mod answers;
mod documented;
mod effect;
mod expectation;
mod faults;
mod order;
mod report;
mod second_factor;

pub use expectation::{Difference, Problem, Verdict};
pub use report::{Report, Tried};

use crate::harness::Harness;
use std::future::Future;
use std::pin::Pin;

/// One promise of the contract.
pub struct Scenario {
    /// A sentence, such as `a_code_is_accepted_once`.
    pub name: &'static str,
    /// Where the contract says so: a file and an item or a law in it, a chapter of the
    /// book, or an RFC; several with `; ` between them. After a colon is what it says.
    pub contract: &'static str,
    run: fn(&Harness) -> Trial<'_>,
}

type Trial<'a> = Pin<Box<dyn Future<Output = Verdict> + Send + 'a>>;

impl Scenario {
    /// Tries whether the plugin keeps the promise.
    ///
    /// # Errors
    ///
    /// [`Problem::Difference`] when it does not, [`Problem::Untried`] when that
    /// could not be tried.
    pub async fn run(&self, harness: &Harness) -> Verdict {
        (self.run)(harness).await
    }
}

/// Declares [`SCENARIOS`]: where each is said, and the functions that try it.
macro_rules! scenarios {
    ($($contract:literal { $($file:ident::$name:ident,)* })*) => {
        /// Every scenario, in the order in which they are tried.
        pub const SCENARIOS: &[Scenario] = &[$($(Scenario {
            name: stringify!($name),
            contract: $contract,
            run: |harness| Box::pin($file::$name(harness)),
        },)*)*];
    };
}

scenarios! {
    "book, The endpoint: the table of cases" {
        answers::a_permitted_caller_resets_a_member,
        answers::the_documented_call_resets_the_named_member,
        answers::a_missing_code_is_asked_for,
        answers::a_wrong_code_is_refused_and_counted,
        answers::a_caller_without_the_permission_is_refused,
        answers::an_unknown_member_is_refused,
        answers::blank_names_are_no_names,
        answers::a_member_of_another_server_is_refused,
        answers::where_second_factors_are_off_nobody_else_is_reset,
        answers::nothing_enrolled_is_a_success_without_a_notice,
        answers::a_retry_after_a_reset_succeeds,
        answers::a_deactivated_member_is_reset,
    }
    "book, The endpoint: userId, username or user, and no key means the caller" {
        answers::every_key_and_form_names_the_member,
        answers::nobody_named_means_the_caller,
        answers::who_names_themselves_is_a_member_like_any_other,
    }
    "book, The endpoint: the checks come in this order" {
        order::a_malformed_body_costs_no_attempt,
        order::a_malformed_body_is_refused_before_a_code_is_asked_for,
        order::unknown_and_repeated_keys_are_refused,
        order::keys_that_disagree_are_refused,
        order::the_code_comes_before_the_permission,
        order::the_code_comes_before_the_look_up,
        order::without_the_permission_nobody_is_looked_up,
        order::the_permission_comes_before_the_setting,
        order::the_setting_comes_before_the_look_up,
    }
    "RFC 6238 section 5.2; wit/settings.wit, totp-window" {
        second_factor::the_window_is_one_step_either_way,
        second_factor::the_window_is_the_workspaces,
    }
    "RFC 6238 section 5.2; wit/secrets.wit, last-step" {
        second_factor::a_code_is_accepted_once,
        second_factor::a_code_older_than_the_last_accepted_one_is_refused,
        second_factor::a_clock_set_back_allows_no_reuse,
        second_factor::of_parallel_requests_with_one_code_one_succeeds,
    }
    "wit/secrets.wit, begin-totp-code-attempt: the caller's key" {
        second_factor::anothers_code_is_a_wrong_one,
    }
    "wit/handler.wit, two-factor-code: a code is taken as people see it" {
        second_factor::a_code_is_taken_as_people_see_it,
        second_factor::a_malformed_code_is_a_wrong_one,
    }
    "wit/secrets.wit, begin-backup-code-attempt: which of the backup codes are unused" {
        second_factor::a_backup_code_works_once,
    }
    "wit/secrets.wit, refusal: no proof was spent" {
        second_factor::a_refused_request_spends_no_code,
    }
    "wit/secrets.wit, locked: even a right code is refused for now" {
        second_factor::after_five_failures_the_right_code_is_refused_until_the_lock_ends,
    }
    "wit/secrets.wit, begin-totp-attempt: a reset by a proof clears the count" {
        second_factor::a_success_clears_the_failures,
    }
    "wit/secrets.wit, methods: most preferred first; book, The endpoint: x-2fa-method" {
        second_factor::the_method_is_the_servers_choice,
        second_factor::who_has_two_methods_may_choose,
    }
    "wit/secrets.wit, send-email-code; wit/secrets.wit, check-email-code" {
        second_factor::a_code_by_e_mail_is_sent_once_and_accepted_once,
        second_factor::a_code_by_e_mail_ends_with_its_tries,
    }
    "wit/secrets.wit, methods: the password only where there is no other" {
        second_factor::the_password_is_the_factor_of_who_has_no_other,
        second_factor::the_password_does_not_take_the_place_of_totp,
        second_factor::without_the_fallback_the_password_is_no_factor,
    }
    "wit/settings.wit, missing-factor-allowed" {
        second_factor::a_caller_without_any_factor_is_refused_unless_excused,
    }
    "wit/settings.wit, bypass-token-allowed" {
        second_factor::a_bypass_token_bypasses_where_that_is_allowed,
    }
    "wit/secrets.wit, reset: one transaction" {
        effect::a_reset_changes_the_named_member_and_nobody_else,
        effect::a_reset_of_ones_own_changes_ones_own_and_is_told,
        effect::every_decision_is_recorded_with_its_reason,
    }
    "wit/permissions.wit, caller-has: edit-other-user-totp" {
        effect::who_holds_the_permission_may_reset_anybody_here,
        effect::who_does_not_hold_it_may_reset_nobody,
    }
    "wit/world.wit, law 5: nothing can be decided after a failure" {
        faults::a_host_call_that_fails_is_no_yes,
        faults::a_host_call_that_never_ends_is_no_yes,
    }
}
