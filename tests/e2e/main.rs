//! The endpoint and its neighbours over HTTP: these tests know nothing of the
//! plugin but its file, and nothing of the host but how to start it.
//!
//! Which test holds which row of the wire contract, and which line of what the
//! endpoint must withstand:
//!
//! | row | tests |
//! |---|---|
//! | success | `an_administrator_resets_a_member`, `every_key_and_form_names_the_member` |
//! | the documented curl | `the_documented_curl_resets_exactly_the_named_user` |
//! | not logged in | `without_a_login_nothing_is_answered_and_nothing_is_counted`, `an_expired_token_is_no_login` |
//! | caller lacks the permission | `a_caller_without_the_permission_is_refused_and_never_learns_who_exists` |
//! | no such user | `a_user_that_does_not_exist_is_invalid` |
//! | second factor missing | `a_missing_code_is_asked_for_whoever_calls` |
//! | second factor wrong | `a_wrong_code_is_invalid` |
//! | order of checks | `a_missing_code_is_asked_for_whoever_calls`, `a_body_that_is_not_understood_costs_no_attempt_and_changes_nothing`, `a_call_too_many_counts_no_failure_and_is_not_decided`, `what_is_not_logged_in_is_not_counted` |
//! | self reset | `a_reset_of_oneself_needs_no_permission_sends_no_mail_and_ends_ones_own_sessions`, `an_administrator_who_names_themselves_is_told` |
//! | `user`, usernames without regard to case | `every_key_and_form_names_the_member` |
//! | blank keys, federated users | `blank_selectors_and_federated_users_have_refusals_of_their_own` |
//! | two-factor off | `where_second_factors_are_off_no_code_is_asked_and_nobody_else_is_reset` |
//! | `totp-max-attempts` | `after_five_failures_the_right_code_is_refused_until_the_lock_ends`, `after_five_wrong_tries_the_right_code_is_refused` |
//! | rate limit, its headers, its permission | `the_eleventh_call_of_a_minute_is_refused`, `each_route_and_each_address_has_a_limit_of_its_own`, `the_permission_lifts_the_limit`, `the_limit_is_the_workspaces` |
//! | client address | `an_address_that_the_client_invents_changes_nothing` |
//! | session tokens, personal access tokens | `a_log_in_lasts_as_long_as_the_workspace_says`, `a_token_that_bypasses_the_second_factor_is_refused_unless_the_workspace_says_otherwise` |
//! | method `totp` | `a_window_of_one_step_is_accepted_from_its_first_to_its_last_second`, `the_window_is_the_workspaces`, `a_backup_code_works_once` |
//! | method `email` | `a_code_is_sent_to_every_verified_address_and_accepted_once`, `a_code_ends_after_an_hour`, `lifetime_and_tries_are_settings` |
//! | method `password` | `a_caller_without_another_factor_proves_the_password`, `without_the_fallback_the_password_is_no_factor` |
//! | which method applies | `the_method_is_the_servers_choice`, `who_has_both_may_choose`, `where_codes_by_e_mail_are_not_used_the_password_is_the_factor` |
//! | no factor, bypass token | `a_caller_without_any_factor_is_refused_unless_the_workspace_says_otherwise`, `a_token_that_bypasses_the_second_factor_is_refused_unless_the_workspace_says_otherwise` |
//! | effect, notice | `a_reset_removes_the_factor_ends_the_sessions_tells_the_user_and_spends_the_step`, `a_reset_removes_a_pending_key_too`, `one_notice_waits_for_each_verified_address_and_holds_no_secret`, `nothing_to_remove_is_a_success_that_changes_nothing_but_the_spent_step` |
//! | `login` | `every_form_of_name_and_password_logs_in`, `a_wrong_name_or_password_is_refused_alike_and_counts_nothing`, `totp_is_asked_for_checked_and_spent`, `a_code_by_e_mail_is_sent_once_and_logs_in_once` |
//! | `me`, `logout`, resume | `a_session_shows_who_it_is_is_resumed_and_ends`, `who_has_totp_is_shown_so` |
//! | `users.totp.*` | `a_member_enrols_uses_and_gives_up_totp`, `to_enrol_needs_the_callers_second_factor`, `who_has_no_totp_cannot_give_it_up_or_replace_its_codes` |
//! | the official client | `the_official_client_lives_the_whole_journey`, `rocket_chats_own_validators_accept_the_refusals` |
//! | malformed bodies | `a_body_that_is_not_understood_costs_no_attempt_and_changes_nothing` |
//! | selectors that disagree | `selectors_that_disagree_are_refused` |
//! | a code works once | `a_code_is_accepted_once`, `a_code_that_logged_in_resets_nobody_and_the_reverse` |
//! | strict codes | `a_malformed_code_is_a_wrong_one` |
//! | a refused request spends nothing | `a_refused_request_spends_no_code` |
//! | CORS | `an_allowed_page_may_send_the_second_factor_and_read_the_limits`, `no_page_may_call_unless_the_workspace_says_so` |
//! | 404, 405 | `other_routes_and_methods_are_refused_as_json` |
//! | 413 | `a_body_of_a_megabyte_is_refused` |
//! | every decision is recorded | `every_decision_is_recorded_under_its_request_id` |
//! | security 1 | `a_code_is_accepted_once`, `a_code_older_than_the_last_accepted_one_is_refused`, `a_spent_code_is_spent_on_every_path` |
//! | security 2 | `of_sixty_four_parallel_requests_with_one_code_one_succeeds`, `of_parallel_log_ins_with_one_code_one_succeeds` |
//! | security 3 | `after_five_failures_the_right_code_is_refused_until_the_lock_ends`, `of_sixty_four_parallel_guesses_five_are_looked_at`, `wrong_codes_lock_the_log_in_and_the_reset_alike`, `wrong_codes_by_e_mail_lock_the_log_in`, `wrong_codes_lock_every_path`, `to_prove_a_new_key_clears_no_failures` |
//! | security 4 | `without_a_login_nothing_is_answered_and_nothing_is_counted`, `a_wrong_name_or_password_is_refused_alike_and_counts_nothing` |
//! | security 5 | `a_window_of_one_step_is_accepted_from_its_first_to_its_last_second`, `a_clock_set_back_allows_no_reuse` |
//! | security 6 | `a_malformed_code_is_a_wrong_one` |
//! | security 7 | `a_backup_code_works_once`, `of_sixty_four_parallel_requests_with_one_backup_code_one_succeeds` |
//! | security 8 | `after_a_reset_the_new_key_works_in_the_same_step_and_the_old_one_does_not` |
//! | security 9 | `the_method_is_the_servers_choice`, `a_caller_with_totp_cannot_prove_the_password_instead` |
//! | security 10 | `a_caller_without_any_factor_is_refused_unless_the_workspace_says_otherwise`, `a_token_that_bypasses_the_second_factor_is_refused_unless_the_workspace_says_otherwise`, `a_log_in_bypasses_no_second_factor` |
//! | security 12 | `without_a_login_nothing_is_answered_and_nothing_is_counted` |
//! | security 13 | `a_user_that_does_not_exist_is_invalid`, `another_workspaces_token_is_not_resumed` |
//! | security 14 | `a_caller_without_the_permission_is_refused_and_never_learns_who_exists` |
//! | security 16 | `every_caller_meets_every_target_as_documented`, `every_caller_may_reset_their_own` |
//! | security 18 | `the_targets_tokens_stop_working_at_once_and_the_callers_stay` |
//! | security 19 | `nothing_to_remove_is_a_success_that_changes_nothing_but_the_spent_step` |
//! | security 22 | `a_secret_is_found_as_a_word_and_nothing_else_is` (the scan runs in every test), `what_was_entered_is_not_quoted_back` |
//! | security 23 | `a_body_that_is_not_understood_costs_no_attempt_and_changes_nothing`, `a_body_of_a_megabyte_is_refused`, `a_header_that_is_repeated_or_no_text_or_too_long_is_refused`, `a_body_that_is_not_understood_logs_nobody_in` |
//! | security 24 | `a_body_that_is_not_understood_costs_no_attempt_and_changes_nothing`, `a_query_is_refused` |
//! | security 25 | `other_routes_and_methods_are_refused_as_json` |
//! | security 26 | `every_answer_has_its_headers` |
//!
//! Of security, 11 and 15 are the host's promises whatever the plugin does, and
//! 20 is the delivery of mail: `host-harness/tests` holds them.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on must fail"
)]

mod answers;
mod clients;
mod documentation;
mod effect;
mod email_code;
mod enrolment;
mod input;
mod limits;
mod login;
mod matrix;
mod second_factor;
mod secrets;
mod support;

/// The table above tells of tests that there are.
#[test]
fn every_test_that_the_table_names_exists() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e");
    let files = std::fs::read_dir(folder).unwrap();
    let code: String = files
        .map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap())
        .collect();
    let rows = include_str!("main.rs").lines();
    let rows: Vec<_> = rows.filter(|line| line.starts_with("//! | ")).collect();
    let named: Vec<_> = rows
        .iter()
        .flat_map(|row| {
            row.rsplit('|')
                .nth(1)
                .unwrap()
                .split('`')
                .skip(1)
                .step_by(2)
        })
        .collect();
    assert!(named.len() > rows.len() && rows.len() > 50);
    for name in named {
        assert!(
            code.contains(&format!("fn {name}()")),
            "there is no test {name}"
        );
    }
}
