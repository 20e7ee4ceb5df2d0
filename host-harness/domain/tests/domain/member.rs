//! What members do to themselves.

use crate::acme::{
    BACKUP_CODES, MAILED, STEP, acme, after, check, decided, factor, failures, here, key, mailed,
    now, pending, session,
};
use crate::model::{Model, Workspace};
use chat_domain::account::Profile;
use chat_domain::attempts::Lock;
use chat_domain::member::{Act, Authority, Code, Denial, MemberChange};
use chat_domain::totp::{TotpKey, code_hash, entered, is_backup_code};
use expect_test::expect;
use secrecy::ExposeSecret;

fn change(user: &str, act: Act, code: Option<Code>) -> MemberChange {
    MemberChange {
        workspace: "acme".to_owned(),
        user: user.to_owned(),
        authority: Authority::Token(format!("{user}-session")),
        act,
        code,
        now: now(),
        request_id: "request".to_owned(),
        source: here(),
    }
}

fn log_in(user: &str, code: Option<Code>) -> MemberChange {
    let token = session("new-session", after(60_000));
    MemberChange {
        authority: Authority::Password(format!("{user}-password").into()),
        ..change(user, Act::LogIn(token), code)
    }
}

fn begin(user: &str, code: Option<Code>) -> MemberChange {
    let key = TotpKey::new(b"new-key".to_vec());
    change(user, Act::BeginEnrolment(key), code)
}

fn new_codes() -> Vec<String> {
    ["new-1", "new-2"].map(code_hash).into()
}

fn confirm(user: &str, code: Option<Code>) -> MemberChange {
    let backup_code_hashes = new_codes();
    change(user, Act::ConfirmTotp { backup_code_hashes }, code)
}

fn disable(user: &str, code: Option<Code>) -> MemberChange {
    change(user, Act::DisableTotp, code)
}

fn replace(user: &str, code: Option<Code>) -> MemberChange {
    let backup_code_hashes = new_codes();
    change(user, Act::ReplaceBackupCodes { backup_code_hashes }, code)
}

fn totp(code: &str) -> Option<Code> {
    Some(Code::Totp(code.into()))
}

/// The code of the account's key, so many steps from now.
fn code(user: &str, distance: i64) -> Option<Code> {
    totp(&key(user).code(STEP.strict_add_signed(distance)))
}

/// The code of the key that the account was shown.
fn shown(user: &str, distance: i64) -> Option<Code> {
    let step = STEP.strict_add_signed(distance);
    totp(&pending(user, now()).key.code(step))
}

fn email(code: &str) -> Option<Code> {
    Some(Code::Email(Ok(code_hash(code).into())))
}

fn password(compared: Result<&str, Denial>) -> Option<Code> {
    Some(Code::Password(compared.map(Into::into)))
}

/// Bob was shown a key, cora was sent a code, and everybody has failed once.
fn busy(acme: &mut Workspace) {
    acme.edit("bob").pending_key = Some(pending("bob", after(1)));
    acme.edit("cora").mailed_code = Some(mailed(1, after(1)));
    for id in ["admin", "alice", "bob", "cora", "nell"] {
        acme.edit(id).failures = failures(1, None);
    }
}

/// Every act, with a right code.
fn acts() -> [MemberChange; 6] {
    [
        log_in("alice", code("alice", 0)),
        log_in("cora", email(MAILED)),
        begin("bob", password(Ok("bob-password"))),
        confirm("bob", shown("bob", 0)),
        disable("alice", code("alice", 0)),
        replace("alice", code("alice", 0)),
    ]
}

#[test]
fn a_log_in_spends_the_code_and_clears_away_what_has_ended() {
    check(
        busy,
        &log_in("alice", code("alice", 0)),
        &expect![[r#"
            Ok(())
            spend-step alice 41152263
            set-failures alice 0/-
            end-tokens alice ended by now
            add-token alice new-session/+60s/-
            record alice log-in alice done - now by totp
        "#]],
    );
    check(
        busy,
        &log_in("alice", totp(BACKUP_CODES[0])),
        &expect![[r#"
            Ok(())
            spend-backup-code alice a2b3c4d5
            set-failures alice 0/-
            end-tokens alice ended by now
            add-token alice new-session/+60s/-
            mail alice@example.com notice now until +259200s "Two-factor authentication: a backup code was used" "A backup code was used at 2009-02-13T23:31:30Z; 1 are left."
            mail alice@example.org notice now until +259200s "Two-factor authentication: a backup code was used" "A backup code was used at 2009-02-13T23:31:30Z; 1 are left."
            record alice log-in alice done - now by backup-code told 2
        "#]],
    );
    check(
        busy,
        &log_in("cora", email(MAILED)),
        &expect![[r#"
            Ok(())
            remove-mailed-code cora
            set-failures cora 0/-
            end-tokens cora ended by now
            add-token cora new-session/+60s/-
            record cora log-in cora done - now by email-code
        "#]],
    );
}

/// The password was proved; where there is no other factor it is not asked for twice.
#[test]
fn who_has_no_second_factor_logs_in_without_a_code() {
    check(
        busy,
        &log_in("bob", None),
        &expect![[r#"
        Ok(())
        end-tokens bob ended by now
        add-token bob new-session/+60s/-
        record bob log-in bob done - now
    "#]],
    );
    let off = |acme: &mut Workspace| {
        busy(acme);
        acme.settings.two_factor_enabled = false;
    };
    check(
        off,
        &log_in("alice", None),
        &expect![[r#"
        Ok(())
        end-tokens alice ended by now
        add-token alice new-session/+60s/-
        record alice log-in alice done - now
    "#]],
    );
    for edit in [
        (|acme| acme.settings.totp_enabled = false) as fn(&mut Workspace),
        |acme| acme.edit("alice").factor = None,
    ] {
        assert_eq!(decided(edit, &log_in("alice", None)).0, Ok(()));
    }
    let no_mail = |acme: &mut Workspace| acme.settings.email_enabled = false;
    assert_eq!(decided(no_mail, &log_in("cora", None)).0, Ok(()));
    for id in ["alice", "cora"] {
        check_denied(|_| (), &log_in(id, None), Denial::CodeRequired, "");
    }
}

#[test]
fn to_begin_enrolment_makes_a_key_pending_for_a_quarter_of_an_hour() {
    check(
        busy,
        &begin("bob", password(Ok("bob-password"))),
        &expect![[r#"
            Ok(())
            set-failures bob 0/-
            set-pending-key bob new-key/+900s
            mail bob@example.com notice now until +259200s "Two-factor authentication: a key was shown" "A key to enrol two-factor authentication by TOTP was shown at 2009-02-13T23:31:30Z."
            record bob begin-enrolment bob done - now by password told 1
        "#]],
    );
    check(
        busy,
        &begin("cora", email(MAILED)),
        &expect![[r#"
            Ok(())
            remove-mailed-code cora
            set-failures cora 0/-
            set-pending-key cora new-key/+900s
            mail cora@example.com notice now until +259200s "Two-factor authentication: a key was shown" "A key to enrol two-factor authentication by TOTP was shown at 2009-02-13T23:31:30Z."
            record cora begin-enrolment cora done - now by email-code told 1
        "#]],
    );
    let excused = |acme: &mut Workspace| {
        busy(acme);
        acme.settings.missing_factor_allowed = true;
    };
    check(
        excused,
        &begin("nell", None),
        &expect![[r#"
            Ok(())
            set-pending-key nell new-key/+900s
            record nell begin-enrolment nell done - now told 0
        "#]],
    );
    check_denied(|_| (), &begin("nell", None), Denial::CodeRequired, "");
    check_denied(excused, &begin("bob", None), Denial::CodeRequired, "");
    check_denied(excused, &begin("cora", None), Denial::CodeRequired, "");
}

#[test]
fn to_confirm_enrols_the_pending_key_and_ends_the_other_sessions() {
    check(
        |acme| {
            busy(acme);
            acme.edit("bob").tokens.push(session("bob-phone", after(1)));
        },
        &confirm("bob", shown("bob", -1)),
        &expect![[r#"
            Ok(())
            remove-pending-key bob
            enrol bob shown-to-bob/41152262/[new-1 new-2]
            end-tokens bob sessions but bob-session
            mail bob@example.com notice now until +259200s "Two-factor authentication was enrolled" "Two-factor authentication by TOTP was enrolled at 2009-02-13T23:31:30Z."
            record bob confirm-totp bob done - now by totp told 1
        "#]],
    );
}

#[test]
fn to_disable_removes_the_factor_and_what_is_pending() {
    let both = |acme: &mut Workspace| {
        busy(acme);
        acme.edit("alice").pending_key = Some(pending("alice", after(1)));
    };
    check(
        both,
        &disable("alice", code("alice", 1)),
        &expect![[r#"
            Ok(())
            spend-step alice 41152264
            set-failures alice 0/-
            remove-factor alice
            remove-pending-key alice
            mail alice@example.com notice now until +259200s "Two-factor authentication was given up" "Two-factor authentication by TOTP was given up at 2009-02-13T23:31:30Z, by its code."
            mail alice@example.org notice now until +259200s "Two-factor authentication was given up" "Two-factor authentication by TOTP was given up at 2009-02-13T23:31:30Z, by its code."
            record alice disable-totp alice done - now by totp told 2
        "#]],
    );
}

#[test]
fn to_replace_the_backup_codes_needs_a_code_and_spends_it() {
    check(
        busy,
        &replace("alice", code("alice", -1)),
        &expect![[r#"
            Ok(())
            spend-step alice 41152262
            set-failures alice 0/-
            replace-backup-codes alice new-1 new-2
            mail alice@example.com notice now until +259200s "Two-factor authentication: new backup codes" "New backup codes were made at 2009-02-13T23:31:30Z. The old ones are void."
            mail alice@example.org notice now until +259200s "Two-factor authentication: new backup codes" "New backup codes were made at 2009-02-13T23:31:30Z. The old ones are void."
            record alice replace-backup-codes alice done - now by totp told 2
        "#]],
    );
    check(
        busy,
        &replace("alice", totp(BACKUP_CODES[1])),
        &expect![[r#"
            Ok(())
            spend-backup-code alice e5f6g7h8
            set-failures alice 0/-
            replace-backup-codes alice new-1 new-2
            mail alice@example.com notice now until +259200s "Two-factor authentication: new backup codes" "New backup codes were made at 2009-02-13T23:31:30Z. The old ones are void."
            mail alice@example.org notice now until +259200s "Two-factor authentication: new backup codes" "New backup codes were made at 2009-02-13T23:31:30Z. The old ones are void."
            record alice replace-backup-codes alice done - now by backup-code told 2
        "#]],
    );
}

/// The refusal and its changes: whatever is counted, and the record. The attempt with a
/// password that is right comes off the one failure that there is.
fn check_denied(
    edit: impl FnOnce(&mut Workspace),
    change: &MemberChange,
    expected: Denial,
    counted: &str,
) {
    let (answer, changes) = decided(edit, change);
    assert_eq!(answer, Err(expected), "{change:?}");
    let (user, action) = (&change.user, change.act.action().name());
    let (decision, reason) = (expected.decision().name(), expected.id());
    let by = match &change.code {
        None => "",
        Some(Code::Totp(code)) if is_backup_code(&entered(code)) => " by backup-code",
        Some(Code::Totp(_)) => " by totp",
        Some(Code::Email(_)) => " by email-code",
        Some(Code::Password(_)) => " by password",
    };
    let record = format!("record {user} {action} {user} {decision} {reason} now{by}\n");
    let taken_off = match &change.code {
        Some(Code::Password(Ok(hash)))
            if expected != Denial::NotAuthenticated
                && hash.expose_secret() == format!("{user}-password") =>
        {
            format!("set-failures {user} 0/-\n")
        }
        _ => String::new(),
    };
    assert_eq!(
        changes,
        format!("{counted}{taken_off}{record}"),
        "{change:?}"
    );
}

#[test]
fn an_authority_that_does_not_hold_is_refused_and_recorded() {
    let token = |hash: &str| Authority::Token(hash.to_owned());
    let password = |hash: &str| Authority::Password(hash.into());
    for authority in [
        token("alice-password"),
        token("admin-session"),
        token("nonesuch"),
        password("admin-password"),
        password("alice-session"),
        password(""),
    ] {
        for change in acts() {
            let change = MemberChange {
                authority: authority.clone(),
                user: "alice".to_owned(),
                ..change
            };
            check_denied(busy, &change, Denial::NotAuthenticated, "");
        }
    }
    for edit in [
        (|account| account.deactivated = true) as fn(&mut Profile),
        |account| {
            account.password_hash = None;
            account
                .tokens
                .iter_mut()
                .for_each(|token| token.expires = Some(now()));
        },
    ] {
        let edit = |acme: &mut Workspace| {
            for id in ["alice", "bob", "cora"] {
                edit(acme.edit(id));
            }
        };
        for change in acts() {
            check_denied(edit, &change, Denial::NotAuthenticated, "");
        }
    }
    let elsewhere = MemberChange {
        user: "nobody".to_owned(),
        ..disable("alice", code("alice", 0))
    };
    check_denied(busy, &elsewhere, Denial::NotAuthenticated, "");
}

#[test]
fn a_wrong_code_is_counted_and_a_missing_one_is_not() {
    let counted = |id: &str| format!("set-failures {id} 2/-\n");
    for make in [log_in, disable, replace] {
        for code in [totp("000000"), code("bob", 0), totp("23456789")] {
            let change = make("alice", code);
            check_denied(busy, &change, Denial::WrongCode, &counted("alice"));
        }
        for code in [None, email(MAILED), password(Ok("alice-password"))] {
            check_denied(busy, &make("alice", code), Denial::CodeRequired, "");
        }
    }
    check_denied(
        busy,
        &confirm("bob", shown("bob", 2)),
        Denial::WrongCode,
        &counted("bob"),
    );
    for code in [None, email(MAILED), password(Ok("bob-password"))] {
        check_denied(busy, &confirm("bob", code), Denial::CodeRequired, "");
    }
    for make in [log_in, begin] {
        for code in [None, totp(MAILED), password(Ok("cora-password"))] {
            check_denied(busy, &make("cora", code), Denial::CodeRequired, "");
        }
    }
    // These were counted before they were compared.
    for denial in [Denial::WrongCode, Denial::Locked(Lock::Until(now()))] {
        check_denied(busy, &begin("bob", password(Err(denial))), denial, "");
        let code = Some(Code::Email(Err(denial)));
        check_denied(busy, &log_in("cora", code), denial, "");
    }
}

#[test]
fn what_was_not_compared_is_no_guess_whatever_else_is_asked() {
    let not = Err(Denial::NotCompared);
    let both = "set-mailed-code cora 012345/now/+1ms/0/1\nset-failures cora 0/-\n";
    let coras = Some(Code::Email(not.clone()));
    check_denied(busy, &log_in("cora", coras), Denial::NotCompared, both);
    let bobs = Some(Code::Password(not));
    let off = "set-failures bob 0/-\n";
    check_denied(busy, &begin("bob", bobs.clone()), Denial::NotCompared, off);
    let federated = |acme: &mut Workspace| {
        busy(acme);
        acme.edit("bob").user.federated = true;
    };
    check_denied(
        federated,
        &begin("bob", bobs.clone()),
        Denial::Federated,
        off,
    );
    let ended = |acme: &mut Workspace| {
        busy(acme);
        let tokens = acme.edit("bob").tokens.iter_mut();
        tokens.for_each(|token| token.expires = Some(now()));
    };
    check_denied(ended, &begin("bob", bobs), Denial::NotAuthenticated, off);
}

/// It was replaced, or has ended, since.
#[test]
fn what_was_compared_proves_nothing_where_it_is_not_what_the_account_holds() {
    let changed = begin("bob", password(Ok("old-password")));
    check_denied(busy, &changed, Denial::WrongCode, "");
    let ended = |acme: &mut Workspace| {
        busy(acme);
        acme.edit("cora").mailed_code = Some(mailed(1, now()));
    };
    let gone = |acme: &mut Workspace| acme.edit("cora").mailed_code = None;
    for make in [log_in, begin] {
        let replaced = make("cora", email("543210"));
        check_denied(busy, &replaced, Denial::WrongCode, "");
        check_denied(ended, &make("cora", email(MAILED)), Denial::WrongCode, "");
        check_denied(gone, &make("cora", email(MAILED)), Denial::WrongCode, "");
    }
}

#[test]
fn a_right_code_by_email_is_no_guess_where_the_rest_is_refused() {
    let enrolled = |acme: &mut Workspace| {
        busy(acme);
        acme.edit("cora").factor = Some(factor("cora"));
    };
    let taken_off = "set-mailed-code cora 012345/now/+1ms/0/1\nset-failures cora 0/-\n";
    check_denied(
        enrolled,
        &begin("cora", email(MAILED)),
        Denial::AlreadyEnrolled,
        taken_off,
    );
    check_denied(
        enrolled,
        &begin("cora", email("543210")),
        Denial::AlreadyEnrolled,
        "",
    );
}

#[test]
fn what_has_no_codes_form_is_wrong_and_no_guess() {
    for text in [
        "", "12345", "1234567", "12 3456", "00000o", "a1b2c3d4", "new-1",
    ] {
        for make in [log_in, disable, replace] {
            check_denied(busy, &make("alice", totp(text)), Denial::WrongCode, "");
        }
        check_denied(busy, &confirm("bob", totp(text)), Denial::WrongCode, "");
    }
    for backup_code in BACKUP_CODES {
        check_denied(
            busy,
            &confirm("bob", totp(backup_code)),
            Denial::WrongCode,
            "",
        );
    }
}

/// As apps and mails show them, and as they are pasted.
#[test]
fn codes_are_taken_as_people_enter_them() {
    let shown = |code: &str| {
        let (first, last) = code.split_at(3);
        [
            format!("{first} {last}"),
            format!("{first}-{last}"),
            format!("{first}\u{a0}{last}"),
            format!("  {code}\n"),
            format!("\t{first} {last} "),
        ]
    };
    for text in shown(&key("alice").code(STEP)) {
        assert_eq!(
            decided(busy, &log_in("alice", totp(&text))).0,
            Ok(()),
            "{text:?}"
        );
    }
    for text in shown(&pending("bob", now()).key.code(STEP)) {
        assert_eq!(
            decided(busy, &confirm("bob", totp(&text))).0,
            Ok(()),
            "{text:?}"
        );
    }
    let backup_code = format!(" {} ", BACKUP_CODES[0]);
    assert_eq!(
        decided(busy, &replace("alice", totp(&backup_code))).0,
        Ok(())
    );
}

#[test]
fn the_fifth_wrong_code_locks() {
    let four = |acme: &mut Workspace| {
        busy(acme);
        for id in ["alice", "bob", "cora"] {
            acme.edit(id).failures = failures(4, None);
        }
    };
    for (change, id) in [
        (log_in("alice", totp("000000")), "alice"),
        (disable("alice", totp("000000")), "alice"),
        (replace("alice", totp("000000")), "alice"),
        (confirm("bob", totp("000000")), "bob"),
    ] {
        let (answer, changes) = decided(four, &change);
        assert_eq!(answer, Err(Denial::WrongCode));
        let told = told_of_lock(&changes, id);
        assert!(changes.starts_with(&format!("set-failures {id} 5/+30s\n")));
        assert!(told, "{changes}");
    }
    // These are counted before they are compared.
    let fifth = |acme: &mut Workspace| {
        busy(acme);
        for id in ["bob", "cora"] {
            acme.edit(id).failures = failures(5, Some(after(30_000)));
        }
    };
    for (id, wrong) in [
        ("bob", Code::Password(Err(Denial::WrongCode))),
        ("cora", Code::Email(Err(Denial::WrongCode))),
    ] {
        let (_, changes) = decided(fifth, &begin(id, Some(wrong)));
        assert!(told_of_lock(&changes, id), "{changes}");
    }
}

/// By a mail to each address, and a record of its own before that of the refusal.
fn told_of_lock(changes: &str, id: &str) -> bool {
    let addresses = if id == "alice" { 2 } else { 1 };
    let mails = changes
        .matches("Two-factor authentication is locked for a while")
        .count();
    let guess = format!(" guess {id} locked 5 in a row now");
    mails == addresses && changes.matches(&guess).count() == 1
}

#[test]
fn the_last_failure_of_the_budget_is_told_and_then_no_code_is_accepted() {
    let tried = |count| {
        move |acme: &mut Workspace| {
            busy(acme);
            acme.settings.failure_budget = 20;
            acme.edit("alice").failures = failures(count, Some(now()));
        }
    };
    let (_, changes) = decided(tried(19), &log_in("alice", totp("000000")));
    let mails = changes
        .matches("\"Two-factor authentication is locked\"")
        .count();
    assert_eq!(mails, 2, "{changes}");
    assert!(changes.contains("guess alice locked 20 in a row now by totp told 2\n"));
    let right = log_in("alice", code("alice", 0));
    check_denied(tried(20), &right, Denial::Locked(Lock::UntilReplaced), "");
    assert_eq!(decided(tried(19), &right).0, Ok(()));
}

#[test]
fn the_newest_sessions_stay() {
    let edit = |most: u32| {
        move |acme: &mut Workspace| {
            busy(acme);
            acme.settings.sessions = most;
            let sessions = ["a", "b", "c"].into_iter().zip([3, 1, 2]);
            acme.edit("alice")
                .tokens
                .extend(sessions.map(|(hash, age)| session(hash, after(60_000 + age))));
        }
    };
    let ended = |most| {
        let (_, changes) = decided(edit(most), &log_in("alice", code("alice", 0)));
        let lines = changes.lines();
        let ended = lines.filter_map(|line| line.strip_prefix("end-tokens alice hash "));
        ended.collect::<Vec<_>>().join(" ")
    };
    // Alice has alice-session and alice-phone beside these; her access token is none.
    assert_eq!(ended(100), "");
    assert_eq!(ended(6), "");
    assert_eq!(ended(5), "alice-phone");
    assert_eq!(ended(3), "alice-phone alice-session b");
    assert_eq!(ended(1), "alice-phone alice-session b c a");
}

#[test]
fn a_right_code_is_refused_until_the_lock_ends() {
    for (until, locked) in [(after(1), true), (now(), false)] {
        let edit = |acme: &mut Workspace| {
            busy(acme);
            for id in ["alice", "bob", "cora"] {
                acme.edit(id).failures = failures(5, Some(until));
            }
        };
        for change in acts() {
            // Of these the attempt was begun before.
            if matches!(change.code, Some(Code::Email(_) | Code::Password(_))) {
                continue;
            }
            match locked {
                true => check_denied(edit, &change, Denial::Locked(Lock::Until(until)), ""),
                false => assert_eq!(decided(edit, &change).0, Ok(()), "{change:?}"),
            }
        }
    }
}

#[test]
fn a_code_is_replayed_neither_by_the_same_act_nor_by_another_and_is_no_guess() {
    for distance in [-1, 0] {
        let spent = |acme: &mut Workspace| {
            busy(acme);
            let factor = acme.edit("alice").factor.as_mut();
            factor.unwrap().last_step = Some(STEP);
        };
        for make in [log_in, disable, replace] {
            let change = make("alice", code("alice", distance));
            check_denied(spent, &change, Denial::Replayed, "");
            assert_eq!(decided(spent, &make("alice", code("alice", 1))).0, Ok(()));
        }
    }
    for code in [code("alice", 0), totp(BACKUP_CODES[0])] {
        let mut model = Model::new("acme", acme());
        assert_eq!(model.ask(&log_in("alice", code.clone())).0, Ok(()));
        assert!(model.ask(&replace("alice", code.clone())).0.is_err());
        assert!(model.ask(&disable("alice", code)).0.is_err());
    }
}

/// RFC 6238 section 5.2: the code that enrols is spent by that.
#[test]
fn the_code_that_enrols_proves_nothing_afterwards() {
    let mut workspace = acme();
    busy(&mut workspace);
    let mut model = Model::new("acme", workspace);
    assert_eq!(model.ask(&confirm("bob", shown("bob", 0))).0, Ok(()));
    let again = model.ask(&disable("bob", shown("bob", 0))).0;
    assert_eq!(again, Err(Denial::Replayed));
    assert_eq!(model.ask(&disable("bob", shown("bob", 1))).0, Ok(()));
}

#[test]
fn a_code_is_accepted_in_the_window() {
    for window in [0, 1, 2] {
        for distance in -3_i64..=3 {
            let edit = |acme: &mut Workspace| {
                busy(acme);
                acme.settings.totp_window = window;
            };
            let expected = match distance.unsigned_abs() <= u64::from(window) {
                true => Ok(()),
                false => Err(Denial::WrongCode),
            };
            for change in [
                log_in("alice", code("alice", distance)),
                disable("alice", code("alice", distance)),
                replace("alice", code("alice", distance)),
                confirm("bob", shown("bob", distance)),
            ] {
                let answer = decided(edit, &change).0;
                assert_eq!(answer, expected, "{window}, {distance}: {change:?}");
            }
        }
    }
}

#[test]
fn who_may_not_enrol_is_told_why_and_nothing_is_counted() {
    let elsewhere = |acme: &mut Workspace| {
        busy(acme);
        acme.edit("bob").user.federated = true;
    };
    let enrolled = |acme: &mut Workspace| {
        busy(acme);
        acme.edit("bob").factor = Some(factor("bob"));
    };
    let off = |acme: &mut Workspace| {
        busy(acme);
        acme.settings.two_factor_enabled = false;
    };
    let without_totp = |acme: &mut Workspace| {
        busy(acme);
        acme.settings.totp_enabled = false;
    };
    for change in [
        begin("bob", password(Ok("bob-password"))),
        begin("bob", None),
        confirm("bob", shown("bob", 0)),
        confirm("bob", totp("000000")),
    ] {
        check_denied(elsewhere, &change, Denial::Federated, "");
        check_denied(enrolled, &change, Denial::AlreadyEnrolled, "");
        check_denied(off, &change, Denial::NotEnabled, "");
        check_denied(without_totp, &change, Denial::NotEnabled, "");
    }
}

#[test]
fn what_is_not_enrolled_is_neither_confirmed_disabled_nor_replaced() {
    for edit in [
        (|acme| acme.edit("bob").pending_key = None) as fn(&mut Workspace),
        |acme| acme.edit("bob").pending_key = Some(pending("bob", now())),
    ] {
        let confirm = confirm("bob", shown("bob", 0));
        check_denied(edit, &confirm, Denial::NotEnrolled, "");
    }
    for make in [disable, replace] {
        for code in [None, totp("000000"), password(Ok("bob-password"))] {
            check_denied(busy, &make("bob", code), Denial::NotEnrolled, "");
        }
    }
}

/// A log-in confirms nothing: it has no session that would stay.
#[test]
fn to_confirm_needs_a_session() {
    let by_password = MemberChange {
        authority: Authority::Password("bob-password".into()),
        ..confirm("bob", shown("bob", 0))
    };
    check_denied(busy, &by_password, Denial::CodeRequired, "");
}

/// Where another factor can be used, too, or instead.
#[test]
fn totp_is_disabled_and_its_backup_codes_replaced_by_its_own_codes_alone() {
    let by_mail = |acme: &mut Workspace| {
        busy(acme);
        acme.edit("alice").email_two_factor = true;
        acme.edit("alice").mailed_code = Some(mailed(0, after(1)));
    };
    let by_password = |acme: &mut Workspace| {
        busy(acme);
        acme.settings.totp_enabled = false;
    };
    for make in [disable, replace] {
        let change = make("alice", email(MAILED));
        let taken_off = "set-mailed-code alice 012345/now/+1ms/0/1\nset-failures alice 0/-\n";
        check_denied(by_mail, &change, Denial::CodeRequired, taken_off);
        let change = make("alice", password(Ok("alice-password")));
        check_denied(by_password, &change, Denial::CodeRequired, "");
        let change = make("alice", code("alice", 0));
        assert_eq!(decided(by_mail, &change).0, Ok(()));
        check_denied(by_password, &change, Denial::CodeRequired, "");
    }
}

#[test]
fn each_denial_has_an_id_and_a_decision() {
    for (denial, id, decision) in [
        (Denial::NotAuthenticated, "not-authorized", "refused"),
        (Denial::CodeRequired, "totp-required", "refused"),
        (Denial::WrongCode, "totp-invalid", "refused"),
        (Denial::Replayed, "totp-invalid", "replayed"),
        (
            Denial::Locked(Lock::Until(now())),
            "totp-max-attempts",
            "locked",
        ),
        (Denial::NotCompared, "host-busy", "failed"),
        (Denial::NotEnrolled, "error-2fa-not-enabled", "refused"),
        (
            Denial::AlreadyEnrolled,
            "error-2fa-already-enabled",
            "refused",
        ),
        (
            Denial::NotEnabled,
            "error-two-factor-not-enabled",
            "refused",
        ),
        (Denial::Federated, "error-not-allowed", "refused"),
    ] {
        assert_eq!((denial.id(), denial.decision().name()), (id, decision));
    }
}

/// The administrator's.
fn unlock(user: &str, code: Option<Code>) -> MemberChange {
    change("admin", Act::Unlock(user.to_owned()), code)
}

/// Alice is locked, and was sent a code; the administrator has failed once.
fn locked(acme: &mut Workspace) {
    acme.edit("admin").failures = failures(1, None);
    acme.edit("alice").failures = failures(6, Some(after(30_000)));
    acme.edit("alice").mailed_code = Some(mailed(4, after(1)));
}

#[test]
fn who_may_reset_others_unlocks_them_by_a_second_factor_and_it_is_recorded() {
    check(
        locked,
        &unlock("alice", code("admin", 0)),
        &expect![[r#"
            Ok(())
            spend-step admin 41152263
            set-failures admin 0/-
            set-failures alice 0/-
            remove-mailed-code alice
            remove-code-mails alice
            record admin unlock alice done - now by totp
        "#]],
    );
    check(
        |_| (),
        &unlock("bob", totp(BACKUP_CODES[0])),
        &expect![[r#"
            Ok(())
            spend-backup-code admin a2b3c4d5
            mail admin@example.com notice now until +259200s "Two-factor authentication: a backup code was used" "A backup code was used at 2009-02-13T23:31:30Z; 1 are left."
            record admin unlock bob done - now by backup-code told 1
        "#]],
    );
}

/// In this order: a permission, the setting, whom, whether that helps; only then the proof.
#[test]
fn an_unlock_is_refused_where_a_reset_is_and_where_it_does_not_help() {
    let right = || unlock("alice", code("admin", 0));
    let refused = |edit: fn(&mut Workspace), change: &MemberChange| {
        let (answer, changes) = decided(edit, change);
        let mut lines = changes.lines();
        let record = lines.next_back().unwrap();
        assert!(record.starts_with("record admin unlock "), "{changes}");
        assert_eq!(lines.next(), None, "{changes}");
        (answer.unwrap_err(), record.contains(" unlock alice "))
    };
    let off = |acme: &mut Workspace| acme.settings.two_factor_enabled = false;
    for (edit, denial) in [
        (
            (|acme| acme.edit("admin").roles.clear()) as fn(&mut Workspace),
            Denial::NotPermitted,
        ),
        (off, Denial::NotEnabled),
    ] {
        for unlock in [right(), unlock("nobody", None), unlock("fred", None)] {
            assert_eq!(refused(edit, &unlock), (denial, false));
        }
    }
    let neither = |acme: &mut Workspace| {
        acme.edit("admin").roles.clear();
        acme.settings.two_factor_enabled = false;
    };
    assert_eq!(refused(neither, &right()), (Denial::NotPermitted, false));
    let fred = unlock("fred", code("admin", 0));
    assert_eq!(refused(|_| (), &fred), (Denial::Federated, false));
    let nobody = unlock("nobody", code("admin", 0));
    assert_eq!(refused(|_| (), &nobody), (Denial::UnknownTarget, false));
    let guessed_out = |acme: &mut Workspace| acme.edit("alice").failures = failures(100, None);
    assert_eq!(refused(guessed_out, &right()), (Denial::GuessedOut, true));
    assert_eq!(
        refused(|_| (), &unlock("alice", None)),
        (Denial::CodeRequired, true)
    );
    let by_email = unlock("alice", email(MAILED));
    assert_eq!(refused(|_| (), &by_email), (Denial::CodeRequired, true));
    let ended = MemberChange {
        authority: Authority::Token("admin-ended".to_owned()),
        ..right()
    };
    assert_eq!(refused(|_| (), &ended).0, Denial::NotAuthenticated);
    let wrong = unlock("alice", totp("000000"));
    let (answer, changes) = decided(|_| (), &wrong);
    assert_eq!(answer, Err(Denial::WrongCode));
    assert!(changes.contains("set-failures admin 1/"), "{changes}");
    assert!(!changes.contains("set-failures alice"), "{changes}");
}

#[test]
fn a_token_that_bypasses_the_second_factor_unlocks_where_the_settings_say_so() {
    let by_script = MemberChange {
        authority: Authority::Token("admin-bypass".to_owned()),
        ..unlock("alice", None)
    };
    assert_eq!(decided(locked, &by_script).0, Err(Denial::CodeRequired));
    let allowed = |acme: &mut Workspace| {
        locked(acme);
        acme.settings.bypass_token_allowed = true;
    };
    let (answer, changes) = decided(allowed, &by_script);
    assert_eq!(answer, Ok(()));
    assert!(changes.contains("set-failures alice 0/-"), "{changes}");
    assert!(!changes.contains("set-failures admin"), "{changes}");
}

#[test]
fn a_guess_that_locks_is_told_whatever_else_refuses_the_unlock() {
    let fifth = |acme: &mut Workspace| {
        acme.edit("admin").failures = failures(5, Some(after(30_000)));
    };
    for wrong in [Code::Password, Code::Email] {
        let wrong = Some(wrong(Err(Denial::WrongCode)));
        let (answer, changes) = decided(fifth, &unlock("nobody", wrong));
        assert_eq!(answer, Err(Denial::UnknownTarget));
        assert!(told_of_lock(&changes, "admin"), "{changes}");
    }
}

/// The settings were changed while it was compared.
#[test]
fn a_guess_that_locks_is_told_where_no_second_factor_is_needed_any_more() {
    let fifth = |acme: &mut Workspace| {
        acme.settings.bypass_token_allowed = true;
        acme.edit("admin").failures = failures(5, Some(after(30_000)));
    };
    let by_script = MemberChange {
        authority: Authority::Token("admin-bypass".to_owned()),
        ..unlock("alice", Some(Code::Email(Err(Denial::WrongCode))))
    };
    let (answer, changes) = decided(fifth, &by_script);
    assert_eq!(answer, Ok(()));
    assert!(told_of_lock(&changes, "admin"), "{changes}");
}

#[test]
fn a_right_code_is_no_guess_where_a_token_bypasses_the_second_factor() {
    let allowed = |acme: &mut Workspace| {
        locked(acme);
        acme.settings.bypass_token_allowed = true;
        acme.edit("admin").mailed_code = Some(mailed(1, after(1)));
    };
    let by_script = MemberChange {
        authority: Authority::Token("admin-bypass".to_owned()),
        ..unlock("alice", email(MAILED))
    };
    let (answer, changes) = decided(allowed, &by_script);
    assert_eq!(answer, Ok(()));
    assert!(changes.contains("set-failures admin 0/-"), "{changes}");
}
