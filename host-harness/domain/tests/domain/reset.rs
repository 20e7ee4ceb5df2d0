//! What a reset decides.

use crate::acme::{
    BACKUP_CODES, MAILED, STEP, acme, after, caller, check, decided, failures, here, key, mailed,
    now, pending, record_of,
};
use crate::model::{Model, Workspace};
use chat_domain::account::Caller;
use chat_domain::attempts::{BeginTotpAttempt, Needed};
use chat_domain::audit::AuditRecord;
use chat_domain::proof::{Compared, Proof, Tried};
use chat_domain::reset::{Receipt, Refusal, RefuseReset, Reset, Target};
use chat_domain::time::Timestamp;
use chat_domain::totp::code_hash;
use expect_test::expect;

/// The administrator's reset of alice, proved by this.
fn of_alice(proof: Proof) -> Reset {
    Reset {
        workspace: "acme".to_owned(),
        caller: caller("admin", "admin-session"),
        proof,
        target: Target::User("alice".to_owned()),
        now: now(),
        request_id: "request".to_owned(),
        source: here(),
    }
}

/// The reset of one's own factor.
fn own(id: &str, proof: Proof) -> Reset {
    Reset {
        caller: caller(id, &format!("{id}-session")),
        target: Target::Caller,
        ..of_alice(proof)
    }
}

fn of(target: &str) -> Reset {
    Reset {
        target: Target::User(target.to_owned()),
        ..of_alice(code(0))
    }
}

/// The administrator's code of the step that is so far from now.
fn code(distance: i64) -> Proof {
    code_of("admin", distance)
}

fn code_of(id: &str, distance: i64) -> Proof {
    let step = STEP.strict_add_signed(distance);
    Proof::TotpStep {
        step,
        code: key(id).code(step).into(),
    }
}

fn backup(code: &str) -> Proof {
    Proof::BackupCode(code.into())
}

fn spent(step: u64) -> impl Fn(&mut Workspace) {
    move |acme| {
        let factor = acme.edit("admin").factor.as_mut();
        factor.unwrap().last_step = Some(step);
    }
}

/// The answer, of an order that changes nothing, not even what is counted already.
fn refused(edit: impl FnOnce(&mut Workspace), order: &Reset) -> Refusal {
    let (answer, changes) = decided(
        |acme| {
            for id in ["admin", "alice", "bob", "cora", "nell"] {
                acme.edit(id).failures = failures(1, None);
            }
            edit(acme);
        },
        order,
    );
    assert_eq!(changes, "", "{order:?}");
    answer.unwrap_err()
}

#[test]
fn a_reset_spends_the_code_removes_the_factor_ends_the_tokens_and_tells_every_verified_address() {
    check(
        |_| (),
        &of_alice(code(0)),
        &expect![[r#"
            Ok(Removed)
            spend-step admin 41152263
            remove-factor alice
            end-tokens alice all
            mail alice@example.com notice now until +259200s "Two Factor TOTP Reset Notification" "Your two-factor authentication by TOTP was reset by Admin at 2009-02-13T23:31:30Z."
            mail alice@example.org notice now until +259200s "Two Factor TOTP Reset Notification" "Your two-factor authentication by TOTP was reset by Admin at 2009-02-13T23:31:30Z."
            record admin reset-totp alice reset - now by totp told 2
        "#]],
    );
}

#[test]
fn what_the_target_was_shown_goes_too_and_the_callers_failures_are_forgotten() {
    check(
        |acme| {
            acme.edit("alice").pending_key = Some(pending("alice", after(1)));
            acme.edit("alice").failures = failures(3, None);
            acme.edit("admin").failures = failures(5, Some(after(30_000)));
        },
        &of_alice(backup(BACKUP_CODES[1])),
        &expect![[r#"
            Ok(Removed)
            spend-backup-code admin e5f6g7h8
            remove-factor alice
            remove-pending-key alice
            set-failures alice 0/-
            end-tokens alice all
            mail alice@example.com notice now until +259200s "Two Factor TOTP Reset Notification" "Your two-factor authentication by TOTP was reset by Admin at 2009-02-13T23:31:30Z."
            mail alice@example.org notice now until +259200s "Two Factor TOTP Reset Notification" "Your two-factor authentication by TOTP was reset by Admin at 2009-02-13T23:31:30Z."
            mail admin@example.com notice now until +259200s "Two-factor authentication: a backup code was used" "A backup code was used at 2009-02-13T23:31:30Z; 1 are left."
            set-failures admin 0/-
            record admin reset-totp alice reset - now by backup-code told 2
        "#]],
    );
}

/// It would become a factor as soon as its code is entered.
#[test]
fn a_pending_key_alone_is_removed_like_a_factor_even_when_it_has_ended() {
    check(
        |acme| acme.edit("bob").pending_key = Some(pending("bob", now())),
        &of("bob"),
        &expect![[r#"
            Ok(Removed)
            spend-step admin 41152263
            remove-pending-key bob
            end-tokens bob all
            mail bob@example.com notice now until +259200s "Two Factor TOTP Reset Notification" "Your two-factor authentication by TOTP was reset by Admin at 2009-02-13T23:31:30Z."
            record admin reset-totp bob reset - now by totp told 1
        "#]],
    );
}

#[test]
fn where_nothing_is_enrolled_the_code_is_spent_and_nobody_is_told() {
    check(
        |acme| acme.edit("admin").failures = failures(1, None),
        &of("bob"),
        &expect![[r#"
            Ok(NothingEnrolled)
            spend-step admin 41152263
            set-failures admin 0/-
            record admin reset-totp bob nothing-enrolled - now by totp
        "#]],
    );
}

#[test]
fn ones_own_factor_goes_without_a_permission_and_without_a_notice() {
    check(
        |_| (),
        &own("alice", code_of("alice", 0)),
        &expect![[r#"
            Ok(Removed)
            spend-step alice 41152263
            remove-factor alice
            end-tokens alice all
            mail alice@example.com notice now until +259200s "Two Factor TOTP Reset Notification" "Your two-factor authentication by TOTP was reset by yourself at 2009-02-13T23:31:30Z."
            mail alice@example.org notice now until +259200s "Two Factor TOTP Reset Notification" "Your two-factor authentication by TOTP was reset by yourself at 2009-02-13T23:31:30Z."
            record alice reset-totp alice reset - now by totp told 2
        "#]],
    );
    check(
        |_| (),
        &Reset {
            target: Target::User("admin".to_owned()),
            ..own("admin", code(0))
        },
        &expect![[r#"
            Ok(Removed)
            spend-step admin 41152263
            remove-factor admin
            end-tokens admin all
            mail admin@example.com notice now until +259200s "Two Factor TOTP Reset Notification" "Your two-factor authentication by TOTP was reset by Admin at 2009-02-13T23:31:30Z."
            record admin reset-totp admin reset - now by totp told 1
        "#]],
    );
}

#[test]
fn the_holder_is_told_in_their_language_or_the_workspaces() {
    use chat_domain::mail::Language::{English, German};
    for (own, workspace, subject) in [
        (None, English, "Two Factor TOTP Reset Notification"),
        (Some(English), German, "Two Factor TOTP Reset Notification"),
        (None, German, "per TOTP zurückgesetzt"),
        (Some(German), English, "per TOTP zurückgesetzt"),
    ] {
        let edit = |acme: &mut Workspace| {
            acme.settings.language = workspace;
            acme.edit("alice").language = own;
        };
        let (_, changes) = decided(edit, &of_alice(code(0)));
        assert_eq!(changes.matches(subject).count(), 2, "{changes}");
    }
}

#[test]
fn a_code_by_email_and_a_password_prove_whoever_has_no_totp() {
    let sent = |acme: &mut Workspace| {
        let cora = acme.edit("cora");
        cora.mailed_code = Some(mailed(4, after(1)));
        cora.pending_key = Some(pending("cora", after(1)));
        cora.failures = failures(4, None);
    };
    check(
        sent,
        &own("cora", Proof::EmailCode(code_hash(MAILED).into())),
        &expect![[r#"
            Ok(Removed)
            remove-mailed-code cora
            remove-pending-key cora
            set-failures cora 0/-
            end-tokens cora all
            mail cora@example.com notice now until +259200s "Two Factor TOTP Reset Notification" "Your two-factor authentication by TOTP was reset by yourself at 2009-02-13T23:31:30Z."
            record cora reset-totp cora reset - now by email-code told 1
        "#]],
    );
    check(
        |acme| {
            acme.edit("bob").pending_key = Some(pending("bob", after(1)));
            acme.edit("bob").failures = failures(1, None);
        },
        &own("bob", Proof::Password("bob-password".into())),
        &expect![[r#"
            Ok(Removed)
            remove-pending-key bob
            set-failures bob 0/-
            end-tokens bob all
            mail bob@example.com notice now until +259200s "Two Factor TOTP Reset Notification" "Your two-factor authentication by TOTP was reset by yourself at 2009-02-13T23:31:30Z."
            record bob reset-totp bob reset - now by password told 1
        "#]],
    );
}

#[test]
fn a_caller_whose_login_does_not_hold_is_refused_before_anything_else() {
    let ended = |hash: &str| Reset {
        caller: caller("admin", hash),
        ..of_alice(code(0))
    };
    for hash in ["admin-ended", "alice-session", "nonesuch", ""] {
        assert_eq!(
            refused(|_| (), &ended(hash)),
            Refusal::NotAuthenticated,
            "{hash}"
        );
    }
    let deactivated = |acme: &mut Workspace| acme.edit("admin").deactivated = true;
    assert_eq!(
        refused(deactivated, &of_alice(code(0))),
        Refusal::NotAuthenticated
    );
    let nobody = Reset {
        caller: caller("nobody", "admin-session"),
        ..of_alice(code(0))
    };
    assert_eq!(refused(|_| (), &nobody), Refusal::NotAuthenticated);
    let elsewhere = Reset {
        workspace: "globex".to_owned(),
        ..of_alice(code(0))
    };
    assert_eq!(refused(|_| (), &elsewhere), Refusal::NotAuthenticated);
    // A session is valid until the moment at which it ends.
    let phone = |now| Reset {
        caller: caller("alice", "alice-phone"),
        now,
        ..own("alice", code_of("alice", 0))
    };
    assert_eq!(refused(|_| (), &phone(after(1))), Refusal::NotAuthenticated);
    assert!(decided(|_| (), &phone(now())).0.is_ok());
}

/// In this order: a permission, the setting, whom; only then the proof.
#[test]
fn others_are_reset_by_the_permission_where_second_factors_are_used() {
    let unproved = || of_alice(Proof::None);
    for (edit, refusal) in [
        (
            (|acme| acme.edit("admin").roles.clear()) as fn(&mut Workspace),
            Refusal::NotPermitted,
        ),
        (
            |acme| acme.roles.get_mut("admin").unwrap().clear(),
            Refusal::NotPermitted,
        ),
        (
            |acme| acme.edit("admin").roles = vec!["helpdesk".to_owned(), "user".to_owned()],
            Refusal::NotPermitted,
        ),
        (
            |acme| {
                acme.edit("admin").roles.clear();
                acme.settings.two_factor_enabled = false;
            },
            Refusal::NotPermitted,
        ),
        (
            |acme| acme.settings.two_factor_enabled = false,
            Refusal::NotEnabled,
        ),
    ] {
        for order in [unproved(), of_alice(code(0)), of("nobody"), of("fred")] {
            assert_eq!(refused(edit, &order), refusal);
        }
        let own = decided(edit, &own("admin", code(0))).0;
        // Where second factors are off there is no method, and no proof is needed.
        assert!(own.is_ok());
    }
    assert_eq!(refused(|_| (), &of("fred")), Refusal::Federated);
    for nobody in ["nobody", "", "Alice", "alice@example.com"] {
        assert_eq!(
            refused(|_| (), &of(nobody)),
            Refusal::UnknownTarget,
            "{nobody}"
        );
    }
    assert_eq!(decided(|_| (), &of("dora")).0, Ok(Receipt::Removed));
    let helped = |acme: &mut Workspace| {
        acme.edit("bob").roles = vec!["helpdesk".to_owned()];
        let granted = acme.roles.get_mut("helpdesk").unwrap();
        granted.insert("edit-other-user-totp".to_owned());
    };
    let by_bob = Reset {
        caller: caller("bob", "bob-session"),
        ..of_alice(Proof::Password("bob-password".into()))
    };
    assert_eq!(decided(helped, &by_bob).0, Ok(Receipt::Removed));
}

/// RFC 6238 section 5.2.
#[test]
fn a_step_is_accepted_in_the_window_and_after_the_last_one() {
    for window in [0, 1, 2] {
        for distance in -3..=3 {
            let settings = |acme: &mut Workspace| acme.settings.totp_window = window;
            let answer = decided(settings, &of_alice(code(distance))).0;
            let expected = match distance.unsigned_abs() <= u64::from(window) {
                true => Ok(Receipt::Removed),
                false => Err(Refusal::WrongProof),
            };
            assert_eq!(answer, expected, "window {window}, {distance} steps away");
        }
    }
    for (last, distance, expected) in [
        (STEP - 2, -1, None),
        (STEP - 1, -1, Some(Refusal::Replayed)),
        (STEP - 1, 0, None),
        (STEP, -1, Some(Refusal::Replayed)),
        (STEP, 0, Some(Refusal::Replayed)),
        (STEP, 1, None),
        (STEP, 2, Some(Refusal::WrongProof)),
        (STEP, -2, Some(Refusal::WrongProof)),
        (STEP + 1, 1, Some(Refusal::Replayed)),
        (STEP + 9, 1, Some(Refusal::Replayed)),
    ] {
        let answer = decided(spent(last), &of_alice(code(distance))).0;
        assert_eq!(
            answer.err(),
            expected,
            "after {last}, {distance} steps away"
        );
    }
}

#[test]
fn the_window_moves_with_the_first_millisecond_of_a_step() {
    let narrow = |acme: &mut Workspace| acme.settings.totp_window = 0;
    for (millis, accepted) in [(-1, false), (0, true), (29_999, true), (30_000, false)] {
        let now = Timestamp::from_millis(now().millis() + millis);
        let order = Reset {
            now,
            ..of_alice(code(0))
        };
        assert_eq!(decided(narrow, &order).0.is_ok(), accepted, "{millis} ms");
    }
}

#[test]
fn a_wrong_proof_changes_nothing() {
    let wrong_code = |code: String| Proof::TotpStep {
        step: STEP,
        code: code.into(),
    };
    let right = key("admin").code(STEP);
    let shown = Proof::TotpStep {
        step: STEP,
        code: pending("admin", now()).key.code(STEP).into(),
    };
    for proof in [
        wrong_code(String::new()),
        wrong_code(format!("{right} ")),
        wrong_code(right[..5].to_owned()),
        wrong_code(key("alice").code(STEP)),
        wrong_code(key("admin").code(STEP + 1)),
        shown,
        backup("A1B2C3D4"),
        backup(""),
        backup(&code_hash(BACKUP_CODES[0])),
        Proof::EmailCode(code_hash(MAILED).into()),
        Proof::Password("admin-password".into()),
        Proof::None,
    ] {
        let edit = |acme: &mut Workspace| {
            let admin = acme.edit("admin");
            admin.pending_key = Some(pending("admin", after(1)));
            admin.mailed_code = Some(mailed(0, after(1)));
        };
        let answer = refused(edit, &of_alice(proof.clone()));
        assert_eq!(answer, Refusal::WrongProof, "{proof:?}");
    }
}

#[test]
fn a_proof_for_a_factor_that_may_not_be_used_is_wrong() {
    let off = |acme: &mut Workspace| acme.settings.totp_enabled = false;
    for proof in [code(0), backup(BACKUP_CODES[0])] {
        assert_eq!(refused(off, &of_alice(proof)), Refusal::WrongProof);
    }
    let mailed_to = |acme: &mut Workspace| {
        acme.edit("cora").mailed_code = Some(mailed(0, after(1)));
    };
    let by_mail = || own("cora", Proof::EmailCode(code_hash(MAILED).into()));
    assert!(decided(mailed_to, &by_mail()).0.is_ok());
    for edit in [
        (|acme| acme.settings.email_enabled = false) as fn(&mut Workspace),
        |acme| acme.edit("cora").email_two_factor = false,
        |acme| {
            acme.edit("cora")
                .emails
                .iter_mut()
                .for_each(|e| e.verified = false)
        },
        |acme| acme.edit("cora").mailed_code = None,
        |acme| acme.edit("cora").mailed_code = Some(mailed(0, now())),
        // Another was sent since it was compared.
        |acme| {
            let hash = code_hash("543210");
            acme.edit("cora").mailed_code.as_mut().unwrap().hash = hash;
        },
    ] {
        let both = |acme: &mut Workspace| {
            mailed_to(acme);
            edit(acme);
        };
        assert_eq!(refused(both, &by_mail()), Refusal::WrongProof);
    }
    let by_password = |hash: &str| own("bob", Proof::Password(hash.into()));
    assert!(decided(|_| (), &by_password("bob-password")).0.is_ok());
    assert_eq!(
        refused(|_| (), &by_password("alice-password")),
        Refusal::WrongProof
    );
    for edit in [
        (|acme| acme.settings.password_fallback = false) as fn(&mut Workspace),
        |acme| acme.edit("bob").password_hash = None,
        |acme| acme.edit("bob").email_two_factor = true,
        |acme| acme.edit("bob").factor = Some(crate::acme::factor("bob")),
    ] {
        assert_eq!(
            refused(edit, &by_password("bob-password")),
            Refusal::WrongProof
        );
    }
}

#[test]
fn each_excuse_is_one_setting_and_one_kind_of_caller() {
    let bypassing = || Reset {
        caller: Caller {
            bypass_token: true,
            ..caller("admin", "admin-bypass")
        },
        ..of_alice(Proof::None)
    };
    let allowed = |acme: &mut Workspace| acme.settings.bypass_token_allowed = true;
    assert_eq!(decided(allowed, &bypassing()).0, Ok(Receipt::Removed));
    assert_eq!(refused(|_| (), &bypassing()), Refusal::WrongProof);
    assert_eq!(
        refused(allowed, &of_alice(Proof::None)),
        Refusal::WrongProof
    );
    let missing = |acme: &mut Workspace| acme.settings.missing_factor_allowed = true;
    for (id, excused) in [
        ("nell", true),
        ("bob", false),
        ("cora", false),
        ("alice", false),
    ] {
        let answer = decided(missing, &own(id, Proof::None)).0;
        assert_eq!(answer.is_ok(), excused, "{id}");
        assert_eq!(refused(|_| (), &own(id, Proof::None)), Refusal::WrongProof);
    }
    // Whose only factor may not be used has none.
    let unusable = |acme: &mut Workspace| {
        missing(acme);
        acme.settings.email_enabled = false;
        acme.settings.password_fallback = false;
    };
    assert!(decided(unusable, &own("cora", Proof::None)).0.is_ok());
    let off = |acme: &mut Workspace| acme.settings.two_factor_enabled = false;
    assert!(decided(off, &own("alice", Proof::None)).0.is_ok());
}

/// Whoever is excused has proved nothing: guesses stay counted, and no code is spent.
#[test]
fn an_excuse_spends_nothing() {
    check(
        |acme| {
            acme.settings.two_factor_enabled = false;
            acme.edit("alice").failures = failures(4, None);
            acme.edit("alice").mailed_code = Some(mailed(1, after(1)));
        },
        &own("alice", Proof::None),
        &expect![[r#"
            Ok(Removed)
            remove-factor alice
            set-failures alice 0/-
            end-tokens alice all
            mail alice@example.com notice now until +259200s "Two Factor TOTP Reset Notification" "Your two-factor authentication by TOTP was reset by yourself at 2009-02-13T23:31:30Z."
            mail alice@example.org notice now until +259200s "Two Factor TOTP Reset Notification" "Your two-factor authentication by TOTP was reset by yourself at 2009-02-13T23:31:30Z."
            record alice reset-totp alice reset - now by none told 2
        "#]],
    );
    check(
        |acme| {
            acme.settings.two_factor_enabled = false;
            acme.edit("alice").failures = failures(4, None);
            acme.edit("alice").factor = None;
        },
        &own("alice", Proof::None),
        &expect![[r#"
            Ok(NothingEnrolled)
            record alice reset-totp alice nothing-enrolled - now by none
        "#]],
    );
}

#[test]
fn of_two_resets_by_one_code_the_second_is_refused() {
    for (proof, refusal) in [
        (code(0), Refusal::Replayed),
        (backup(BACKUP_CODES[0]), Refusal::Replayed),
    ] {
        let mut model = Model::new("acme", acme());
        let order = of_alice(proof);
        assert_eq!(model.ask(&order).0, Ok(Receipt::Removed));
        assert_eq!(model.ask(&order).0, Err(refusal));
    }
    let mut workspace = acme();
    workspace.edit("cora").mailed_code = Some(mailed(0, after(1)));
    let mut model = Model::new("acme", workspace);
    let order = own("cora", Proof::EmailCode(code_hash(MAILED).into()));
    assert_eq!(model.ask(&order).0, Ok(Receipt::NothingEnrolled));
    assert_eq!(model.ask(&order).0, Err(Refusal::WrongProof));
}

/// The record of a request of `caller` that was refused after it tried this.
fn refusal_of(caller: &str, tried: Option<Tried>) -> RefuseReset {
    RefuseReset {
        record: AuditRecord {
            target: Some("nobody".to_owned()),
            reason: Some("error-invalid-user".to_owned()),
            ..record_of(caller)
        },
        tried,
    }
}

/// Admin and bob have tried five times, and their lock lasts 30 s from now; cora, six.
fn locked_now(acme: &mut Workspace) {
    for id in ["admin", "bob"] {
        acme.edit(id).failures = failures(5, Some(after(30_000)));
    }
    acme.edit("cora").failures = failures(6, Some(after(60_000)));
    acme.edit("cora").mailed_code = Some(mailed(2, after(1)));
}

#[test]
fn a_refused_request_with_a_right_code_or_none_that_was_compared_is_no_guess() {
    let right = |code: &str| Some(Tried::Totp(code.into()));
    let record =
        |id, by| format!("record {id} reset-totp nobody refused error-invalid-user now by {by}\n");
    let spent = |acme: &mut Workspace| {
        locked_now(acme);
        spent(STEP)(acme);
    };
    for distance in [-1, 0, 1] {
        let code = key("admin").code(STEP.strict_add_signed(distance));
        for edit in [&locked_now as &dyn Fn(&mut Workspace), &spent] {
            let (_, changes) = decided(edit, &refusal_of("admin", right(&code)));
            let expected = format!("set-failures admin 4/-\n{}", record("admin", "totp"));
            assert_eq!(changes, expected, "{distance}");
        }
    }
    let used = |acme: &mut Workspace| {
        locked_now(acme);
        let factor = acme.edit("admin").factor.as_mut().unwrap();
        factor
            .spent_code_hashes
            .append(&mut factor.backup_code_hashes);
    };
    let admins = "set-failures admin 4/-\n";
    for (id, tried, by, taken_off) in [
        ("admin", right(BACKUP_CODES[0]), "backup-code", admins),
        ("admin", right("no-form"), "totp", admins),
        (
            "cora",
            Some(Tried::Email(Compared::Right(code_hash(MAILED).into()))),
            "email-code",
            "set-mailed-code cora 012345/now/+1ms/1/1\nset-failures cora 5/-\n",
        ),
        (
            "bob",
            Some(Tried::Password(Compared::Right("bob-password".into()))),
            "password",
            "set-failures bob 4/-\n",
        ),
        // Whatever it was, nobody has learnt it.
        (
            "cora",
            Some(Tried::Email(Compared::Not)),
            "email-code",
            "set-mailed-code cora 012345/now/+1ms/1/1\nset-failures cora 5/-\n",
        ),
        (
            "bob",
            Some(Tried::Password(Compared::Not)),
            "password",
            "set-failures bob 4/-\n",
        ),
    ] {
        let edits: [&dyn Fn(&mut Workspace); 2] = [&locked_now, &used];
        for edit in edits {
            let (_, changes) = decided(edit, &refusal_of(id, tried.clone()));
            assert_eq!(changes, format!("{taken_off}{}", record(id, by)));
        }
    }
}

/// The code that was sent has a count of its own, which this did not raise.
#[test]
fn what_was_compared_with_the_app_leaves_the_mailed_codes_count() {
    let both = |acme: &mut Workspace| {
        locked_now(acme);
        acme.edit("admin").mailed_code = Some(mailed(2, after(1)));
    };
    let right = Tried::Totp(key("admin").code(STEP).into());
    let (_, changes) = decided(both, &refusal_of("admin", Some(right)));
    assert!(
        changes.starts_with("set-failures admin 4/-\nrecord"),
        "{changes}"
    );
}

#[test]
fn a_refused_request_with_a_wrong_code_stays_counted() {
    let tried = |code: &str| Some(Tried::Totp(code.into()));
    let outside = key("admin").code(STEP + 2);
    let right = key("admin").code(STEP);
    for (id, tried) in [
        ("admin", None),
        ("admin", tried("000000")),
        ("admin", tried(&outside)),
        ("admin", tried("23456789")),
        ("admin", tried(MAILED)),
        // Each code is compared with its own factor alone.
        ("cora", tried(MAILED)),
        (
            "admin",
            Some(Tried::Email(Compared::Right(code_hash(&right).into()))),
        ),
        (
            "cora",
            Some(Tried::Email(Compared::Right(code_hash("543210").into()))),
        ),
        ("cora", Some(Tried::Email(Compared::Wrong))),
        (
            "bob",
            Some(Tried::Password(Compared::Right("old-password".into()))),
        ),
        ("bob", Some(Tried::Password(Compared::Wrong))),
        ("nobody", tried("000000")),
    ] {
        let refusal = refusal_of(id, tried);
        let edit = |acme: &mut Workspace| {
            locked_now(acme);
            acme.edit("cora").failures.told = 5;
        };
        let (_, changes) = decided(edit, &refusal);
        let by = refusal
            .tried
            .as_ref()
            .map(|tried| format!(" by {}", tried.name()));
        let by = by.unwrap_or_default();
        let record = format!("record {id} reset-totp nobody refused error-invalid-user now{by}\n");
        assert!(changes.ends_with(&record), "{changes}");
        // A lock is told once; cora was told before.
        let told = match (id, &refusal.tried) {
            ("admin" | "bob", Some(_)) => 1,
            _ => 0,
        };
        let mails = changes.matches("Two-factor authentication is locked for a while");
        assert_eq!(mails.count(), told, "{changes}");
        let guessed = format!("record {id} guess {id} locked 5 in a row now{by} told 1\n");
        assert_eq!(changes.matches(&guessed).count(), told, "{changes}");
        let counted = changes.matches("set-failures").count();
        assert_eq!(counted, told, "{changes}");
        let noted = format!("set-failures {id} 5/+30s/told 5\n");
        assert_eq!(changes.starts_with(&noted), told == 1, "{changes}");
    }
    // Whose process ended before it could tell of the fifth failure tells of the sixth.
    let wrong = refusal_of("cora", tried(MAILED));
    let (_, changes) = decided(locked_now, &wrong);
    let noted = "set-failures cora 6/+60s/told 6\n";
    assert!(changes.starts_with(noted), "{changes}");
    let ended = |acme: &mut Workspace| {
        locked_now(acme);
        acme.edit("cora").failures.told = 5;
        acme.edit("cora").mailed_code = Some(mailed(2, now()));
    };
    let (_, changes) = decided(
        ended,
        &refusal_of(
            "cora",
            Some(Tried::Email(Compared::Right(code_hash(MAILED).into()))),
        ),
    );
    assert!(changes.starts_with("record cora"), "{changes}");
}

/// An administrator may stand at five, with the lock over: a mistyped name locks nobody.
#[test]
fn a_right_code_leaves_no_lock_where_there_were_failures_before() {
    let mut workspace = acme();
    workspace.edit("admin").failures = failures(5, Some(now()));
    let mut model = Model::new("acme", workspace);
    let attempt = BeginTotpAttempt {
        workspace: "acme".to_owned(),
        user: "admin".to_owned(),
        needed: Needed::Key,
        now: now(),
    };
    for _ in 0..10 {
        assert_eq!(model.ask(&attempt).1, "set-failures admin 6/+60s\n");
        let code = key("admin").code(STEP).into();
        let (_, changes) = model.ask(&refusal_of("admin", Some(Tried::Totp(code))));
        assert!(changes.starts_with("set-failures admin 5/-\n"), "{changes}");
    }
}

/// Whoever was guessed at can use the new factor at once.
#[test]
fn failures_go_with_the_factor() {
    let guessed = |acme: &mut Workspace| {
        acme.edit("alice").failures = failures(6, Some(after(60_000)));
    };
    let (_, changes) = decided(guessed, &of_alice(code(0)));
    assert!(changes.contains("set-failures alice 0/-\n"), "{changes}");
    let unenrolled = |acme: &mut Workspace| {
        guessed(acme);
        acme.edit("alice").factor = None;
    };
    let (_, changes) = decided(unenrolled, &of_alice(code(0)));
    assert!(!changes.contains("set-failures alice"), "{changes}");
}
