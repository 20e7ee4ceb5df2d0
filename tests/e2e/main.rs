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
//! | self reset | `a_reset_of_oneself_needs_no_permission_is_told_and_ends_ones_own_sessions`, `an_administrator_who_names_themselves_is_told` |
//! | `user`, usernames without regard to case | `every_key_and_form_names_the_member` |
//! | blank keys, federated users | `blank_selectors_and_federated_users_have_refusals_of_their_own` |
//! | two-factor off | `where_second_factors_are_off_no_code_is_asked_and_nobody_else_is_reset` |
//! | `totp-max-attempts` | `after_five_failures_the_right_code_is_refused_until_the_lock_ends`, `after_five_wrong_tries_the_right_code_is_refused` |
//! | rate limit, its headers, its permission | `the_eleventh_call_of_a_minute_is_refused`, `each_route_and_each_address_has_a_limit_of_its_own`, `the_permission_lifts_the_limit`, `the_limit_is_the_workspaces` |
//! | client address | `an_address_that_the_client_invents_changes_nothing` |
//! | session tokens, personal access tokens | `a_log_in_lasts_as_long_as_the_workspace_says`, `a_personal_access_token_does_not_expire`, `a_token_that_bypasses_the_second_factor_is_refused_unless_the_workspace_says_otherwise` |
//! | method `totp` | `a_window_of_one_step_is_accepted_from_its_first_to_its_last_second`, `the_window_is_the_workspaces`, `a_backup_code_works_once` |
//! | method `email` | `a_code_is_sent_to_every_verified_address_and_accepted_once`, `a_code_ends_after_an_hour`, `lifetime_and_tries_are_settings` |
//! | method `password` | `a_caller_without_another_factor_proves_the_password`, `without_the_fallback_the_password_is_no_factor` |
//! | which method applies | `the_method_is_the_servers_choice`, `who_has_both_may_choose`, `where_codes_by_e_mail_are_not_used_the_password_is_the_factor` |
//! | no factor, bypass token | `a_caller_without_any_factor_is_refused_unless_the_workspace_says_otherwise`, `a_token_that_bypasses_the_second_factor_is_refused_unless_the_workspace_says_otherwise` |
//! | effect, notice | `a_reset_removes_the_factor_ends_the_sessions_tells_the_user_and_spends_the_step`, `a_reset_removes_a_pending_key_too`, `one_notice_waits_for_each_verified_address_and_holds_no_secret`, `nothing_to_remove_is_a_success_that_changes_nothing_but_the_spent_step` |
//! | `login` | `every_form_of_name_and_password_logs_in`, `a_wrong_name_or_password_is_refused_alike_and_counts_nothing`, `totp_is_asked_for_checked_and_spent`, `a_code_by_e_mail_is_sent_once_and_logs_in_once` |
//! | `me`, `logout`, resume | `a_session_shows_who_it_is_is_resumed_and_ends`, `who_has_totp_is_shown_so` |
//! | `users.enableTotp` and its neighbours | `a_member_enrols_uses_and_gives_up_totp`, `to_enrol_needs_the_callers_second_factor`, `who_has_no_totp_cannot_give_it_up_or_replace_its_codes` |
//! | the official client | `the_official_client_lives_the_whole_journey`, `rocket_chats_own_validators_accept_the_refusals` |
//! | `second-factor.audit`, `.outbox`, `.unlock` | `the_audit_trail_is_listed_newest_first_and_is_whole`, `mail_is_listed_without_what_is_in_it`, `an_administrator_unlocks_a_member_by_a_second_factor_and_it_is_recorded` |
//! | `second-factor.members`, `.preview`, `.qr` | `an_administrator_sees_the_members_and_their_second_factors`, `a_thousand_members_are_listed_once_each_while_others_are_added`, `a_preview_tells_what_the_reset_then_does_and_does_nothing`, `whoever_may_not_reset_others_learns_nothing_of_them`, `a_key_is_drawn_for_whoever_is_logged_in_and_nothing_else` |
//! | malformed bodies | `a_body_that_is_not_understood_costs_no_attempt_and_changes_nothing` |
//! | selectors that disagree | `selectors_that_disagree_are_refused` |
//! | a code works once | `a_code_is_accepted_once`, `a_code_that_logged_in_resets_nobody_and_the_reverse` |
//! | codes as people see them, and no others | `a_code_is_taken_as_people_see_it`, `a_malformed_code_is_a_wrong_one_and_no_guess` |
//! | a refused request spends nothing; a lock says when it ends | `a_refused_request_spends_no_code`, `a_lock_says_when_it_ends` |
//! | CORS | `an_allowed_page_may_send_the_second_factor_and_read_the_limits`, `no_page_may_call_unless_the_workspace_says_so` |
//! | 404, 405 | `other_routes_and_methods_are_refused_as_json` |
//! | 413 | `a_body_of_a_megabyte_is_refused` |
//! | every decision is recorded | `every_decision_is_recorded_under_its_request_id` |
//!
//! | what it withstands | tests |
//! |---|---|
//! | 1. a code is accepted once, on every path (RFC 6238 section 5.2, OWASP ASVS 5.0 V6.5.1) | `a_code_is_accepted_once`, `a_code_older_than_the_last_accepted_one_is_refused`, `a_spent_code_is_spent_on_every_path` |
//! | 2. 64 parallel calls with one code on two servers: one succeeds (ASVS V15.4.2, Gitea CVE-2026-20779) | `of_sixty_four_parallel_requests_with_one_code_one_succeeds`, `of_sixty_four_parallel_log_ins_with_one_code_one_succeeds`, `of_many_requests_with_one_code_through_two_hosts_one_succeeds` |
//! | 3. failures are counted before the code is looked at and outlive the refusal, the process and the path (NIST SP 800-63B 5.2.2, Vikunja CVE-2026-35597, Keycloak CVE-2024-4629); an operator can unlock | `after_five_failures_the_right_code_is_refused_until_the_lock_ends`, `of_sixty_four_parallel_guesses_five_are_looked_at`, `of_parallel_guesses_on_every_path_five_are_looked_at`, `what_excuses_from_a_proof_clears_no_failures`, `wrong_codes_lock_the_log_in_and_the_reset_alike`, `wrong_codes_by_e_mail_lock_the_log_in`, `wrong_codes_lock_every_path`, `to_prove_a_new_key_clears_no_failures`, `a_member_is_added_locked_unlocked_reset_and_enrolled_again` |
//! | 32. a right proof is no guess; what removes a factor clears its count | `a_right_or_spent_code_that_is_refused_is_no_guess`, `a_right_password_or_mailed_code_that_is_refused_is_no_guess`, `what_is_no_digest_is_not_counted_as_a_password`, `a_password_that_waits_too_long_to_be_compared_is_no_guess`, `where_too_many_wait_to_be_compared_nothing_is_counted`, `a_second_factor_that_no_unlock_asks_for_is_not_compared`, `failures_go_with_the_factor`, `a_lost_phone_is_replaced_after_guesses_and_misspelt_names` |
//! | 21, 32, 33. what was counted is recorded and told, or taken off, after the client has gone | `what_was_compared_is_recorded_after_the_client_has_gone`, `a_decision_is_recorded_after_the_client_has_gone` |
//! | 4. what is not logged in moves no count | `without_a_login_nothing_is_answered_and_nothing_is_counted`, `a_wrong_name_or_password_is_refused_alike_and_counts_nothing` |
//! | 5. the window, to the second; a clock set back | `a_window_of_one_step_is_accepted_from_its_first_to_its_last_second`, `a_clock_set_back_allows_no_reuse` |
//! | 6. six ASCII digits or eight backup characters | `a_malformed_code_is_a_wrong_one_and_no_guess` |
//! | 7. a backup code works once | `a_backup_code_works_once`, `of_sixty_four_parallel_requests_with_one_backup_code_one_succeeds` |
//! | 8. the spent step belongs to the secret, not to the account | `after_a_reset_the_new_key_works_in_the_same_step_and_the_old_one_does_not` |
//! | 9. the method is the server's choice | `the_method_is_the_servers_choice`, `a_caller_with_totp_cannot_prove_the_password_instead` |
//! | 10. no factor and bypass tokens are refused by default; each switch, both ways | `a_caller_without_any_factor_is_refused_unless_the_workspace_says_otherwise`, `a_token_that_bypasses_the_second_factor_is_refused_unless_the_workspace_says_otherwise`, `a_log_in_bypasses_no_second_factor` |
//! | 11. the permission is checked again at the commit | `authority_over_others_that_was_taken_away_is_missed_at_the_commit`, `a_caller_whose_login_has_ended_can_commit_nothing` |
//! | 12. another's token, repeated headers, lists, JSON in headers (ASVS V4.1.3) | `without_a_login_nothing_is_answered_and_nothing_is_counted` |
//! | 13. another workspace's id, token or permission is an unknown one | `a_user_that_does_not_exist_is_invalid`, `another_workspaces_token_is_not_resumed` |
//! | 14. without the permission no look-up of the target | `a_caller_without_the_permission_is_refused_and_never_learns_who_exists` |
//! | 15. a host call that fails means no (ASVS V16.5.3, Rocket.Chat CVE-2026-28514) | `a_store_that_fails_is_the_hosts_failure`, `a_call_ends_where_the_store_fails`, `a_call_that_waits_too_long_for_the_host_is_given_up` |
//! | 16. every caller and every target | `every_caller_meets_every_target_as_documented`, `every_caller_may_reset_their_own` |
//! | 17. a kill at any moment leaves what was answered, whole, and nothing half done | `what_was_answered_outlives_a_kill_on_sqlite`, `what_was_answered_outlives_a_kill_of_one_of_two_hosts`, `a_store_that_differs_from_the_answers_is_noticed`, `what_was_answered_outlives_a_kill_on_postgresql`, `what_was_answered_outlives_a_power_cut_and_nothing_is_done_by_half`, `what_was_answered_outlives_the_loss_of_the_leader` |
//! | 18. the target's tokens end at once, on every server; the caller's stay | `the_targets_tokens_stop_working_at_once_and_the_callers_stay` |
//! | 19. nothing to remove is a success | `nothing_to_remove_is_a_success_that_changes_nothing_but_the_spent_step` |
//! | 20. one notice for each success and verified address, without a secret, by a server that may be down | `one_notice_waits_for_each_verified_address_and_holds_no_secret`, `a_notice_arrives_once_at_each_verified_address`, `a_server_that_is_down_gets_each_mail_once_when_it_is_back`, `nothing_can_add_a_header_or_a_recipient` |
//! | 21. an audit trail that shows what was done to it | `what_is_done_to_the_tables_past_the_host_is_named`, `a_log_that_was_rolled_back_or_forked_is_named_by_what_it_was`, `every_change_of_a_byte_of_an_export_is_found`, `an_independent_verifier_believes_what_is_proved_and_no_change_of_it` |
//! | 22. no secret in any output | `a_secret_is_found_as_a_word_and_nothing_else_is` (the scan runs in every test), `what_was_entered_is_not_quoted_back`, `no_secret_reaches_the_log`, `no_code_password_or_address_reaches_the_log`, `a_planted_secret_is_found_and_not_told` |
//! | 23. operators in JSON, nested, long, deep, invalid UTF-8: no look-up (Rocket.Chat CVE-2021-22911, CVE-2022-32211) | `a_body_that_is_not_understood_costs_no_attempt_and_changes_nothing`, `a_body_of_a_megabyte_is_refused`, `a_header_that_is_repeated_or_no_text_or_too_long_is_refused`, `a_body_that_is_not_understood_logs_nobody_in` |
//! | 24. unknown keys change no decision (CVE-2022-35248) | `a_body_that_is_not_understood_costs_no_attempt_and_changes_nothing`, `a_query_is_refused` |
//! | 25. only POST | `other_routes_and_methods_are_refused_as_json` |
//! | 26. every answer has its headers, tells nothing of the inside, and is found in the log by its id | `every_answer_has_its_headers`, `every_line_of_a_request_carries_the_id_of_its_answer` |
//! | 27. slow and countless clients | `five_thousand_half_requests_take_no_place_from_a_client_that_behaves`, `half_a_head_is_waited_for_ten_seconds`, `clients_that_keep_it_waiting_do_not_hold_up_its_end`, `a_body_that_is_held_back_is_not_waited_for` |
//! | 28. each store does what the model does, and so the same as the others | `a_store_answers_and_holds_what_the_model_does` |
//! | 30. the component imports what is pinned | `its_imports_and_exports_are_these`, `it_targets_the_world` |
//! | 31. body, headers and admission are fuzzed | `a_body_names_whom_a_second_reader_finds_in_it_or_is_refused`, `nothing_is_reset_without_a_right_code_or_an_excuse`, `whatever_is_in_a_request_it_is_refused_and_nothing_changes`, `whatever_is_in_a_file_it_is_refused_or_runs_to_an_end` |
//! | 33. the holder is told of a change, a log-in by a backup code and a lock, and it is recorded with the address (ASVS V6.3.5, V6.3.7) | `a_member_enrols_uses_and_gives_up_totp`, `the_code_may_come_as_a_header_and_be_a_backup_code`, `locks_are_told_once_and_the_last_failure_too`, `a_guess_that_locks_is_told_whatever_else_refuses_the_unlock`, `no_schedule_breaks_a_law` |
//! | 34. a clock that was wrong leaves no lock, refusal or lost mail | `to_unlock_mends_what_a_clock_that_was_ahead_has_left`, `mail_that_a_clock_which_was_ahead_has_put_off_goes_at_once`, `a_clock_set_back_does_not_lengthen_a_window` |
//! | 35. secrets at rest are sealed, each for its place | `a_copy_of_a_sealed_store_is_of_no_use_without_its_key`, `no_secret_is_in_the_files_of_a_sealed_store`, `a_value_that_was_put_elsewhere_is_refused_as_the_stores_failure` |
//! | 36. one function decides for every store and path, and is tested without a database | `the_domain_neither_waits_nor_speaks_http_or_sql`, `no_schedule_breaks_a_law`, `a_store_answers_and_holds_what_the_model_does` |
//!
//! Those that need a failing store, a lying or hostile plugin or a mail server are in
//! `host-harness/tests` and in the `tests` of the crates beside it. Of the stores (28) each is
//! held to the one suite in `host-harness/store/tests/store`. That no check can be removed unnoticed
//! (29) is what `cargo xtask mutants` looks into.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on must fail"
)]

mod administrators;
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
mod page;
mod second_factor;
mod secrets;
mod story;
mod support;

/// The tables above, and that of the book's promises, tell of tests that there are.
#[test]
fn every_test_that_the_tables_name_exists() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let code: String = ["tests/e2e", "tests/fuzz", "host-harness"]
        .map(|folder| code_in(&root.join(folder)))
        .concat();
    let rows = include_str!("main.rs").lines();
    let rows = rows.filter(|line| line.starts_with("//! | "));
    let promises = include_str!("../../book/src/security/promises.md").lines();
    let promises = promises.filter(|line| line.starts_with("| "));
    let rows: Vec<_> = rows.chain(promises).collect();
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
    assert!(named.len() > rows.len() && rows.len() > 80);
    for name in named {
        assert!(
            code.contains(&format!("fn {name}()")),
            "there is no test {name}"
        );
    }
}

/// All Rust below a folder.
fn code_in(folder: &std::path::Path) -> String {
    let entries = std::fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let code = paths.map(|path| match path.extension() {
        _ if path.is_dir() => code_in(&path),
        Some(extension) if extension == "rs" => std::fs::read_to_string(path).unwrap(),
        _ => String::new(),
    });
    code.collect()
}
