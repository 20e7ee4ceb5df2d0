//! What operators do.

use crate::acme::{
    STEP, access, acme, after, check, decided, factor, failures, mailed, now, pending, session,
};
use crate::model::{Model, Workspace};
use crate::text;
use chat_domain::account::{Account, Email};
use chat_domain::attempts::Lock;
use chat_domain::operator::{
    AddUser, Answer, ChangeRole, ChangeUser, Changed, CreateWorkspace, FixSettings, NewUser,
    NewWorkspace, Operation, Role, RoleChange, SetSetting, UserChange,
};
use chat_domain::settings::{Setting, Settings};
use chat_domain::totp::code_hash;
use expect_test::{Expect, expect};

pub(crate) fn operation() -> Operation {
    Operation {
        workspace: "acme".to_owned(),
        now: now(),
        request_id: "request".to_owned(),
        forced: false,
    }
}

fn elsewhere() -> Operation {
    Operation {
        workspace: "globex".to_owned(),
        ..operation()
    }
}

fn to(user: &str, change: UserChange) -> ChangeUser {
    ChangeUser {
        operation: operation(),
        user: user.to_owned(),
        change,
    }
}

/// An account as it is shown.
fn shown(account: &Account) -> String {
    let Account {
        user,
        deactivated,
        roles,
        emails,
        email_two_factor,
        receives_codes,
        pending_key,
        has_password,
        backup_codes,
        failures,
        lock,
    } = account;
    let emails: Vec<_> = emails.iter().map(|email| email.address.as_str()).collect();
    let locked = lock.and_then(Lock::ends).map(text::moment);
    format!(
        "{} {} federated={} deactivated={deactivated} roles={} emails={} opted-in={email_two_factor} \
         receives-codes={receives_codes} pending={pending_key} password={has_password} backup-codes={backup_codes:?} failures={failures} locked={locked:?}",
        user.id,
        user.username,
        user.federated,
        roles.join(","),
        emails.join(",")
    )
}

fn outcome(answer: Answer<Changed>) -> String {
    match answer {
        Ok(changed) => format!(
            "{}\nended {}",
            shown(&changed.account),
            changed.ended_tokens
        ),
        Err(problem) => problem.to_string(),
    }
}

/// Holds to a text what an operator is told, and all changes; and the account that is
/// told of to what a look at it finds.
fn changes(edit: impl FnOnce(&mut Workspace), change: &ChangeUser, expected: &Expect) {
    let mut workspace = acme();
    edit(&mut workspace);
    let mut model = Model::new("acme", workspace);
    let (answer, changes) = model.ask(change);
    if let Ok(changed) = &answer {
        let question = chat_domain::operator::named_question("acme", &change.user);
        let dossier = model.read(&question);
        let profile = chat_domain::operator::named("acme", &change.user, &dossier).unwrap();
        let account = Account::of(profile.clone(), &dossier.settings.unwrap(), now());
        assert_eq!(shown(&changed.account), shown(&account));
    }
    expected.assert_eq(&format!("{}\n{changes}", outcome(answer)));
}

/// What is said, where nothing changes.
fn problem(edit: impl FnOnce(&mut Workspace), change: &ChangeUser) -> String {
    let (answer, changes) = decided(edit, change);
    assert_eq!(changes, "", "{change:?}");
    answer.unwrap_err().to_string()
}

/// Alice was shown a key and sent a code, and is locked.
fn busy(acme: &mut Workspace) {
    let alice = acme.edit("alice");
    alice.pending_key = Some(pending("alice", after(1)));
    alice.mailed_code = Some(mailed(3, after(1)));
    alice.failures = failures(5, Some(after(30_000)));
}

#[test]
fn a_new_password_ends_sessions_and_what_was_not_proved() {
    changes(
        busy,
        &to("alice", UserChange::SetPassword("new-password".into())),
        &expect![[r#"
            alice Alice federated=false deactivated=false roles=user emails=alice@example.com,alice@example.org,alice@example.net opted-in=false receives-codes=false pending=false password=true backup-codes=Some(2) failures=0 locked=None
            ended 2
            set-password alice new-password
            set-failures alice 0/-
            remove-pending-key alice
            remove-mailed-code alice
            remove-code-mails alice
            end-tokens alice sessions but -
            mail alice@example.com notice now until +259200s "Your password was changed" "Your password was changed by an operator of the server at 2009-02-13T23:31:30Z."
            mail alice@example.org notice now until +259200s "Your password was changed" "Your password was changed by an operator of the server at 2009-02-13T23:31:30Z."
            record operator set-password alice done - now told 2
        "#]],
    );
}

#[test]
fn enrolment_by_an_operator_ends_sessions_and_replaces_a_pending_key() {
    let pending_key = |acme: &mut Workspace| {
        acme.edit("bob").pending_key = Some(pending("bob", after(1)));
    };
    let enrol = to("bob", UserChange::EnrolTotp(factor("bob")));
    changes(
        pending_key,
        &enrol,
        &expect![[r#"
            bob Bob federated=false deactivated=false roles=user emails=bob@example.com opted-in=false receives-codes=false pending=false password=true backup-codes=Some(2) failures=0 locked=None
            ended 1
            remove-pending-key bob
            enrol bob key-of-bob/-/[a2b3c4d5 e5f6g7h8]
            end-tokens bob sessions but -
            mail bob@example.com notice now until +259200s "Two-factor authentication was enrolled" "Two-factor authentication by TOTP was enrolled at 2009-02-13T23:31:30Z."
            record operator enrol-totp bob done - now told 1
        "#]],
    );
    changes(
        |_| (),
        &enrol,
        &expect![[r#"
            bob Bob federated=false deactivated=false roles=user emails=bob@example.com opted-in=false receives-codes=false pending=false password=true backup-codes=Some(2) failures=0 locked=None
            ended 1
            enrol bob key-of-bob/-/[a2b3c4d5 e5f6g7h8]
            end-tokens bob sessions but -
            mail bob@example.com notice now until +259200s "Two-factor authentication was enrolled" "Two-factor authentication by TOTP was enrolled at 2009-02-13T23:31:30Z."
            record operator enrol-totp bob done - now told 1
        "#]],
    );
    let with_factor = to("alice", UserChange::EnrolTotp(factor("new")));
    let off = |acme: &mut Workspace| acme.settings.totp_enabled = false;
    let elsewhere = |acme: &mut Workspace| acme.edit("bob").user.federated = true;
    for (problem, expected) in [
        (
            problem(|_| (), &with_factor),
            "Alice has TOTP already; `host-harness user reset-totp Alice` removes it, and \
             `host-harness user backup-codes Alice` makes codes to log in by without the phone",
        ),
        (
            problem(off, &enrol),
            "the workspace does not use TOTP: set two-factor-enabled and totp-enabled to true",
        ),
        (
            problem(elsewhere, &enrol),
            "Bob belongs to another server of the federation: TOTP is enrolled there",
        ),
    ] {
        assert_eq!(problem, expected);
    }
}

/// Admin alone may reset others, by the role `admin`.
#[test]
fn the_last_who_may_reset_others_stays_unless_it_is_forced() {
    let take = |user: &str| to(user, UserChange::TakeRole("admin".to_owned()));
    let deactivate = |user: &str| to(user, UserChange::Deactivate);
    let deny = |permission: &str| role("admin", RoleChange::Deny(permission.to_owned()));
    let last = "nobody would be left who may reset another's TOTP: `host-harness role give` a role \
                that grants edit-other-user-totp to somebody first, or add --force";
    let two = |acme: &mut Workspace| acme.edit("bob").roles = vec!["admin".to_owned()];
    let none_counts = |acme: &mut Workspace| {
        two(acme);
        acme.edit("bob").deactivated = true;
        acme.edit("alice").roles = vec!["admin".to_owned()];
        acme.edit("alice").user.federated = true;
    };
    for change in [take("admin"), deactivate("admin")] {
        assert_eq!(problem(|_| (), &change), last);
        assert_eq!(problem(none_counts, &change), last);
        assert!(decided(two, &change).0.is_ok());
        let forced = ChangeUser {
            operation: Operation {
                forced: true,
                ..operation()
            },
            ..change
        };
        assert!(decided(|_| (), &forced).0.is_ok());
    }
    let denied = |edit: &dyn Fn(&mut Workspace), change: &ChangeRole| {
        decided(edit, change)
            .0
            .map_err(|problem| problem.to_string())
    };
    assert_eq!(
        denied(&|_| (), &deny("edit-other-user-totp")).unwrap_err(),
        last
    );
    assert_eq!(
        denied(&two, &deny("edit-other-user-totp")).unwrap_err(),
        last
    );
    assert!(denied(&|_| (), &deny("another-permission")).is_ok());
    assert!(
        decided(|_| (), &take("alice")).0.is_ok(),
        "who has it not is not the last"
    );
    let nobody = |acme: &mut Workspace| acme.edit("admin").roles.clear();
    assert!(
        decided(nobody, &deactivate("admin")).0.is_ok(),
        "there was none before"
    );
}

#[test]
fn totp_is_reset_where_there_is_some_and_the_holder_told() {
    let (_, changes) = decided(busy, &to("alice", UserChange::ResetTotp));
    for change in [
        "remove-factor alice\n",
        "remove-pending-key alice\n",
        "set-failures alice 0/-\n",
        "end-tokens alice all\n",
        "record operator reset-totp alice done - now told 2\n",
    ] {
        assert!(changes.contains(change), "{changes}");
    }
    assert_eq!(changes.matches("mail ").count(), 2, "{changes}");
    assert!(changes.contains("an operator of the server"), "{changes}");
    let shown = |acme: &mut Workspace| acme.edit("bob").pending_key = Some(pending("bob", now()));
    let (_, changes) = decided(shown, &to("bob", UserChange::ResetTotp));
    assert!(changes.starts_with("remove-pending-key bob\n"), "{changes}");
    assert_eq!(
        problem(|_| (), &to("bob", UserChange::ResetTotp)),
        "Bob has no TOTP; `host-harness user enrol-totp Bob` enrols it"
    );
    let elsewhere = |acme: &mut Workspace| acme.edit("alice").user.federated = true;
    assert_eq!(
        problem(elsewhere, &to("alice", UserChange::ResetTotp)),
        "Alice belongs to another server of the federation: TOTP is enrolled there"
    );
}

#[test]
fn backup_codes_are_replaced_where_there_is_totp() {
    let backup_code_hashes = vec![code_hash("new-1"), code_hash("new-2"), code_hash("543210")];
    let replace = |user| {
        let backup_code_hashes = backup_code_hashes.clone();
        to(user, UserChange::ReplaceBackupCodes { backup_code_hashes })
    };
    changes(
        |_| (),
        &replace("alice"),
        &expect![[r#"
            alice Alice federated=false deactivated=false roles=user emails=alice@example.com,alice@example.org,alice@example.net opted-in=false receives-codes=false pending=false password=true backup-codes=Some(3) failures=0 locked=None
            ended 0
            replace-backup-codes alice 543210 new-1 new-2
            mail alice@example.com notice now until +259200s "Two-factor authentication: new backup codes" "New backup codes were made at 2009-02-13T23:31:30Z. The old ones are void."
            mail alice@example.org notice now until +259200s "Two-factor authentication: new backup codes" "New backup codes were made at 2009-02-13T23:31:30Z. The old ones are void."
            record operator replace-backup-codes alice done - now told 2
        "#]],
    );
    let guessed = |acme: &mut Workspace| acme.edit("alice").failures = failures(6, Some(after(1)));
    let (_, changes) = decided(guessed, &replace("alice"));
    assert!(changes.contains("set-failures alice 0/-\n"), "{changes}");
    assert_eq!(
        problem(|_| (), &replace("bob")),
        "Bob has no TOTP; `host-harness user enrol-totp Bob` enrols it"
    );
}

/// The clock was a day ahead, and one code was accepted meanwhile.
#[test]
fn to_unlock_mends_what_a_clock_that_was_ahead_has_left() {
    for (ahead, mended) in [(0, false), (1, false), (2, true), (2880, true)] {
        let spent = |acme: &mut Workspace| {
            let factor = acme.edit("alice").factor.as_mut();
            factor.unwrap().last_step = Some(STEP + ahead);
        };
        let (_, changes) = decided(spent, &to("alice", UserChange::Unlock));
        let step = format!("spend-step alice {STEP}\n");
        assert_eq!(changes.contains(&step), mended, "{ahead}: {changes}");
    }
}

#[test]
fn to_unlock_forgets_the_failures_of_the_account_and_of_its_code() {
    changes(
        busy,
        &to("alice", UserChange::Unlock),
        &expect![[r#"
            alice Alice federated=false deactivated=false roles=user emails=alice@example.com,alice@example.org,alice@example.net opted-in=false receives-codes=false pending=true password=true backup-codes=Some(2) failures=0 locked=None
            ended 0
            set-failures alice 0/-
            remove-mailed-code alice
            remove-code-mails alice
            record operator unlock alice done - now
        "#]],
    );
    changes(
        |_| (),
        &to("alice", UserChange::Unlock),
        &expect![[r#"
            alice Alice federated=false deactivated=false roles=user emails=alice@example.com,alice@example.org,alice@example.net opted-in=false receives-codes=false pending=false password=true backup-codes=Some(2) failures=0 locked=None
            ended 0
            record operator unlock alice done - now
        "#]],
    );
    let failed_once = |acme: &mut Workspace| acme.edit("bob").failures = failures(1, None);
    changes(
        failed_once,
        &to("bob", UserChange::Unlock),
        &expect![[r#"
            bob Bob federated=false deactivated=false roles=user emails=bob@example.com opted-in=false receives-codes=false pending=false password=true backup-codes=None failures=0 locked=None
            ended 0
            set-failures bob 0/-
            record operator unlock bob done - now
        "#]],
    );
}

#[test]
fn to_deactivate_ends_everything_and_to_activate_brings_nothing_back() {
    changes(
        busy,
        &to("alice", UserChange::Deactivate),
        &expect![[r#"
            alice Alice federated=false deactivated=true roles=user emails=alice@example.com,alice@example.org,alice@example.net opted-in=false receives-codes=false pending=false password=true backup-codes=Some(2) failures=5 locked=Some("+30s")
            ended 3
            set-deactivated alice true
            remove-pending-key alice
            remove-mailed-code alice
            remove-code-mails alice
            end-tokens alice all
            record operator deactivate alice done - now
        "#]],
    );
    changes(
        |_| (),
        &to("dora", UserChange::Activate),
        &expect![[r#"
            dora Dora federated=false deactivated=false roles=user emails=dora@example.com opted-in=false receives-codes=false pending=false password=true backup-codes=Some(2) failures=0 locked=None
            ended 0
            set-deactivated dora false
            record operator activate dora done - now
        "#]],
    );
    changes(
        |_| (),
        &to("bob", UserChange::Activate),
        &expect![[r#"
            bob Bob federated=false deactivated=false roles=user emails=bob@example.com opted-in=false receives-codes=false pending=false password=true backup-codes=None failures=0 locked=None
            ended 0
            set-deactivated bob false
            record operator activate bob done - now
        "#]],
    );
}

#[test]
fn roles_are_given_and_taken_and_must_be_there() {
    let give = |role: &str| to("bob", UserChange::GiveRole(role.to_owned()));
    let take = |role: &str| to("bob", UserChange::TakeRole(role.to_owned()));
    changes(
        |_| (),
        &give("admin"),
        &expect![[r#"
            bob Bob federated=false deactivated=false roles=admin,user emails=bob@example.com opted-in=false receives-codes=false pending=false password=true backup-codes=None failures=0 locked=None
            ended 0
            give-role bob admin
            record operator give-role bob done admin now
        "#]],
    );
    changes(
        |_| (),
        &give("user"),
        &expect![[r#"
            bob Bob federated=false deactivated=false roles=user emails=bob@example.com opted-in=false receives-codes=false pending=false password=true backup-codes=None failures=0 locked=None
            ended 0
            give-role bob user
            record operator give-role bob done user now
        "#]],
    );
    changes(
        |_| (),
        &take("user"),
        &expect![[r#"
            bob Bob federated=false deactivated=false roles= emails=bob@example.com opted-in=false receives-codes=false pending=false password=true backup-codes=None failures=0 locked=None
            ended 0
            take-role bob user
            record operator take-role bob done user now
        "#]],
    );
    changes(
        |_| (),
        &take("admin"),
        &expect![[r#"
            bob Bob federated=false deactivated=false roles=user emails=bob@example.com opted-in=false receives-codes=false pending=false password=true backup-codes=None failures=0 locked=None
            ended 0
            take-role bob admin
            record operator take-role bob done admin now
        "#]],
    );
    for change in [give("owner"), take("owner")] {
        assert_eq!(
            problem(|_| (), &change),
            "there is no role owner; there are admin, app, bot, helpdesk, user"
        );
    }
}

#[test]
fn tokens_are_created_under_names_of_their_own_and_revoked() {
    let create = |token| to("alice", UserChange::CreateToken(token));
    let revoke = |name: &str| to("alice", UserChange::RevokeToken(name.to_owned()));
    changes(
        |_| (),
        &create(access("new", "script", false)),
        &expect![[r#"
            alice Alice federated=false deactivated=false roles=user emails=alice@example.com,alice@example.org,alice@example.net opted-in=false receives-codes=false pending=false password=true backup-codes=Some(2) failures=0 locked=None
            ended 0
            add-token alice new/-/script
            mail alice@example.com notice now until +259200s "A login token was created" "The personal access token script was created by an operator of the server at 2009-02-13T23:31:30Z."
            mail alice@example.org notice now until +259200s "A login token was created" "The personal access token script was created by an operator of the server at 2009-02-13T23:31:30Z."
            record operator create-token alice done script now told 2
        "#]],
    );
    changes(
        |_| (),
        &create(access("new", "script", true)),
        &expect![[r#"
            alice Alice federated=false deactivated=false roles=user emails=alice@example.com,alice@example.org,alice@example.net opted-in=false receives-codes=false pending=false password=true backup-codes=Some(2) failures=0 locked=None
            ended 0
            add-token alice new/-/script/bypass
            mail alice@example.com notice now until +259200s "A login token was created" "The personal access token script was created by an operator of the server at 2009-02-13T23:31:30Z."
            mail alice@example.org notice now until +259200s "A login token was created" "The personal access token script was created by an operator of the server at 2009-02-13T23:31:30Z."
            record operator create-token alice done script: bypasses the second factor now told 2
        "#]],
    );
    changes(
        |_| (),
        &create(session("new", after(1))),
        &expect![[r#"
            alice Alice federated=false deactivated=false roles=user emails=alice@example.com,alice@example.org,alice@example.net opted-in=false receives-codes=false pending=false password=true backup-codes=Some(2) failures=0 locked=None
            ended 0
            add-token alice new/+1ms/-
            mail alice@example.com notice now until +259200s "A login token was created" "You were logged in by an operator of the server at 2009-02-13T23:31:30Z."
            mail alice@example.org notice now until +259200s "A login token was created" "You were logged in by an operator of the server at 2009-02-13T23:31:30Z."
            record operator create-token alice done - now told 2
        "#]],
    );
    changes(
        busy,
        &revoke("laptop"),
        &expect![[r#"
            alice Alice federated=false deactivated=false roles=user emails=alice@example.com,alice@example.org,alice@example.net opted-in=false receives-codes=false pending=true password=true backup-codes=Some(2) failures=5 locked=Some("+30s")
            ended 1
            end-tokens alice named laptop
            record operator revoke-tokens alice done laptop now
        "#]],
    );
    changes(
        busy,
        &to("alice", UserChange::RevokeAllTokens),
        &expect![[r#"
            alice Alice federated=false deactivated=false roles=user emails=alice@example.com,alice@example.org,alice@example.net opted-in=false receives-codes=false pending=false password=true backup-codes=Some(2) failures=5 locked=Some("+30s")
            ended 3
            remove-pending-key alice
            remove-mailed-code alice
            remove-code-mails alice
            end-tokens alice all
            record operator revoke-tokens alice done - now
        "#]],
    );
    assert_eq!(
        problem(|_| (), &create(access("new", "laptop", false))),
        "Alice has a token laptop already; choose another name or revoke that one"
    );
    // A name of somebody else's.
    assert_eq!(
        problem(|_| (), &revoke("script")),
        "Alice has no token script; `host-harness token list Alice` shows all"
    );
}

#[test]
fn an_account_is_named_by_its_username_in_any_case_or_by_its_id_and_by_no_other() {
    for name in ["alice", "Alice", "ALICE"] {
        let (answer, _) = decided(|_| (), &to(name, UserChange::Unlock));
        assert_eq!(answer.unwrap().account.user.id, "alice");
    }
    assert_eq!(
        problem(|_| (), &to("nobody", UserChange::Unlock)),
        "there is no user nobody; `host-harness user list` shows all"
    );
    let chosen = |acme: &mut Workspace| {
        acme.edit("alice").user.username = "Alicia".to_owned();
        acme.edit("bob").user.username = "ALICE".to_owned();
    };
    assert_eq!(
        problem(chosen, &to("alice", UserChange::Unlock)),
        "alice is the id of Alicia and the username of bob: name the one you mean so"
    );
    let there = ChangeUser {
        operation: elsewhere(),
        ..to("alice", UserChange::Unlock)
    };
    assert_eq!(
        problem(|_| (), &there),
        "there is no workspace globex; `host-harness workspace list` shows all"
    );
}

fn new_user() -> NewUser {
    let email = |address: &str, verified| Email {
        address: address.to_owned(),
        verified,
    };
    NewUser {
        id: "eve".to_owned(),
        username: "Eve".to_owned(),
        password_hash: Some("eve-password".into()),
        roles: vec!["user".to_owned(), "bot".to_owned()],
        emails: vec![
            email("z@example.com", false),
            email("b@example.com", true),
            email("a@example.com", true),
        ],
        ..NewUser::default()
    }
}

fn add(user: NewUser) -> AddUser {
    AddUser {
        operation: operation(),
        user,
    }
}

#[test]
fn an_account_is_added_with_everything_in_it() {
    let (answer, changes) = decided(|_| (), &add(new_user()));
    expect![[r#"
        eve Eve federated=false deactivated=false roles=bot,user emails=a@example.com,b@example.com,z@example.com opted-in=false receives-codes=false pending=false password=true backup-codes=None failures=0 locked=None
        add-user eve deactivated=false email-two-factor=false emails=a@example.com,b@example.com,z@example.com? factor=- failures=0/- federated=false id=eve mailed=- password=eve-password pending=- roles=bot,user tokens= username=Eve
        record operator add-user eve done user, bot now
    "#]].assert_eq(&format!("{}\n{changes}", shown(&answer.unwrap())));
    let bare = NewUser {
        roles: Vec::new(),
        emails: Vec::new(),
        password_hash: None,
        federated: true,
        deactivated: true,
        email_two_factor: true,
        totp: Some(factor("eve")),
        ..new_user()
    };
    let (answer, changes) = decided(|_| (), &add(bare));
    expect![[r#"
        eve Eve federated=true deactivated=true roles= emails= opted-in=true receives-codes=false pending=false password=false backup-codes=Some(2) failures=0 locked=None
        add-user eve deactivated=true email-two-factor=true emails= factor=key-of-eve/-/[a2b3c4d5 e5f6g7h8] failures=0/- federated=true id=eve mailed=- password=- pending=- roles= tokens= username=Eve
        record operator add-user eve done - now
    "#]].assert_eq(&format!("{}\n{changes}", shown(&answer.unwrap())));
}

#[test]
fn a_role_that_is_named_twice_is_given_once() {
    let twice = NewUser {
        roles: ["user", "bot", "user"].map(str::to_owned).into(),
        ..new_user()
    };
    let (answer, changes) = decided(|_| (), &add(twice));
    assert_eq!(answer.unwrap().roles, ["bot", "user"]);
    let record = "record operator add-user eve done user, bot now\n";
    assert!(changes.ends_with(record), "{changes}");
}

#[test]
fn a_username_an_address_and_a_role_must_be_free_and_there() {
    let with_emails = |addresses: &[&str]| {
        let emails = addresses.iter().map(|address| Email {
            address: (*address).to_owned(),
            verified: true,
        });
        NewUser {
            emails: emails.collect(),
            ..new_user()
        }
    };
    for (user, expected) in [
        (
            NewUser {
                username: "ALICE".to_owned(),
                ..new_user()
            },
            "the username ALICE is taken",
        ),
        (
            with_emails(&["eve@example.com", "BOB@example.com"]),
            "the address BOB@example.com is taken: it can be one account's, once",
        ),
        (
            with_emails(&["eve@example.com", "eve@example.org", "Eve@Example.com"]),
            "the address Eve@Example.com is taken: it can be one account's, once",
        ),
        (
            NewUser {
                roles: vec!["user".to_owned(), "owner".to_owned()],
                ..new_user()
            },
            "there is no role owner; there are admin, app, bot, helpdesk, user",
        ),
    ] {
        let (answer, changes) = decided(|_| (), &add(user));
        assert_eq!(changes, "");
        assert_eq!(answer.unwrap_err().to_string(), expected);
    }
    let there = AddUser {
        operation: elsewhere(),
        user: new_user(),
    };
    let (answer, changes) = decided(|_| (), &there);
    assert_eq!(changes, "");
    assert!(
        answer
            .unwrap_err()
            .to_string()
            .starts_with("there is no workspace globex")
    );
}

#[test]
fn a_workspace_is_created_once() {
    let new = |id: &str| {
        CreateWorkspace(NewWorkspace {
            id: id.to_owned(),
            settings: Settings::default(),
            roles: Vec::new(),
            users: vec![NewUser {
                roles: Vec::new(),
                ..new_user()
            }],
        })
    };
    check(
        |_| (),
        &new("acme"),
        &expect![[r#"
        false
    "#]],
    );
    check(
        |_| (),
        &new("globex"),
        &expect![[r#"
        true
        create-workspace globex
    "#]],
    );
}

fn forced(change: ChangeRole) -> ChangeRole {
    ChangeRole {
        operation: Operation {
            forced: true,
            ..operation()
        },
        ..change
    }
}

fn role(name: &str, change: RoleChange) -> ChangeRole {
    ChangeRole {
        operation: operation(),
        role: name.to_owned(),
        change,
    }
}

fn role_outcome(change: &ChangeRole) -> String {
    let mut model = Model::new("acme", acme());
    let (answer, changes) = model.ask(change);
    let answer = match answer {
        Ok(Role {
            name,
            permissions,
            members,
        }) => {
            let question = change.operation.clone();
            let question = chat_domain::dossier::Question::of(&question.workspace).with_role(&name);
            let kept = model.read(&question).role.unwrap();
            assert_eq!((&kept.permissions, &kept.members), (&permissions, &members));
            format!("{name}: {} of {}", permissions.join(","), members.join(","))
        }
        Err(problem) => problem.to_string(),
    };
    format!("{answer}\n{changes}")
}

#[test]
fn a_permission_is_granted_and_taken() {
    let allow = |name, permission: &str| role(name, RoleChange::Allow(permission.to_owned()));
    let deny = |name, permission: &str| role(name, RoleChange::Deny(permission.to_owned()));
    for (change, expected) in [
        (
            allow("user", "c"),
            expect![[r#"
            user: c of Alice,Bob,Cora,Dora,Nell
            add-role user
            allow user c
            record operator allow-permission - done user: c now
        "#]],
        ),
        (
            allow("owner", "a"),
            expect![[r#"
            owner: a of 
            add-role owner
            allow owner a
            record operator allow-permission - done owner: a now
        "#]],
        ),
        (
            allow("admin", "edit-other-user-totp"),
            expect![[r#"
            admin: api-bypass-rate-limit,edit-other-user-totp of Admin
            add-role admin
            allow admin edit-other-user-totp
            record operator allow-permission - done admin: edit-other-user-totp now
        "#]],
        ),
        (
            allow("admin", "b"),
            expect![[r#"
            admin: api-bypass-rate-limit,b,edit-other-user-totp of Admin
            add-role admin
            allow admin b
            record operator allow-permission - done admin: b now
        "#]],
        ),
        (
            forced(deny("admin", "edit-other-user-totp")),
            expect![[r#"
            admin: api-bypass-rate-limit of Admin
            deny admin edit-other-user-totp
            record operator deny-permission - done admin: edit-other-user-totp now
        "#]],
        ),
        (
            deny("user", "a"),
            expect![[r#"
            user:  of Alice,Bob,Cora,Dora,Nell
            deny user a
            record operator deny-permission - done user: a now
        "#]],
        ),
        (
            deny("owner", "a"),
            expect![[r#"
            there is no role owner; there are admin, app, bot, helpdesk, user
        "#]],
        ),
    ] {
        expected.assert_eq(&role_outcome(&change));
    }
    let there = ChangeRole {
        operation: elsewhere(),
        ..allow("user", "a")
    };
    let (answer, changes) = decided(|_| (), &there);
    assert_eq!(changes, "");
    assert!(
        answer
            .unwrap_err()
            .to_string()
            .starts_with("there is no workspace globex")
    );
}

#[test]
fn a_setting_is_set_back_to_its_default_by_its_default_and_no_secret_is_recorded() {
    let set = |name, value: &str| SetSetting {
        operation: operation(),
        setting: Setting::named(name).unwrap(),
        value: value.into(),
    };
    for (order, expected) in [
        (
            set("totp-window", "2"),
            expect![[r#"
            done
            set-setting totp-window 2
            record operator change-setting - done totp-window: 2 now
        "#]],
        ),
        (
            set("totp-window", "1"),
            expect![[r#"
            done
            set-setting totp-window -
            record operator change-setting - done totp-window: 1 now
        "#]],
        ),
        (
            set("mail-server", "smtps://u:hunter2@h"),
            expect![[r#"
            done
            set-setting mail-server smtps://u:hunter2@h
            record operator change-setting - done mail-server now
        "#]],
        ),
        (
            set("mail-server", ""),
            expect![[r#"
            done
            set-setting mail-server -
            record operator change-setting - done mail-server now
        "#]],
        ),
        (
            set("totp-window", "11"),
            expect![[r#"
            totp-window: it is a whole number, 0 to 10
        "#]],
        ),
    ] {
        let (answer, changes) = decided(|acme| acme.settings.totp_window = 0, &order);
        let answer = answer.map_or_else(|problem| problem.to_string(), |()| "done".to_owned());
        expected.assert_eq(&format!("{answer}\n{changes}"));
    }
    let there = SetSetting {
        operation: elsewhere(),
        ..set("totp-window", "2")
    };
    let (answer, changes) = decided(|_| (), &there);
    assert_eq!(changes, "");
    assert!(
        answer
            .unwrap_err()
            .to_string()
            .starts_with("there is no workspace globex")
    );
}

/// Guesses lock the factor, not whoever replaces it.
#[test]
fn a_factor_that_was_guessed_at_too_often_is_to_be_replaced() {
    let guessed = |acme: &mut Workspace| acme.edit("alice").failures = failures(100, Some(now()));
    assert_eq!(
        problem(guessed, &to("alice", UserChange::Unlock)),
        "100 wrong codes in a row: `host-harness user reset-totp Alice` removes the TOTP that was \
         guessed at, `user password Alice` replaces a password; to let the same factor be tried \
         again, add --force"
    );
    let forced = ChangeUser {
        operation: Operation {
            forced: true,
            ..operation()
        },
        ..to("alice", UserChange::Unlock)
    };
    for order in [forced, to("alice", UserChange::ResetTotp)] {
        let (answer, changes) = decided(guessed, &order);
        assert!(
            answer.is_ok() && changes.contains("set-failures alice 0/-\n"),
            "{changes}"
        );
    }
}

#[test]
fn a_setting_that_a_configuration_says_is_changed_there() {
    let place = || "chat.toml line 7".to_owned();
    let fix = |value: &str| FixSettings {
        operation: operation(),
        settings: vec![(
            Setting::named("totp-window").unwrap(),
            value.into(),
            place(),
        )],
    };
    let (answer, changes) = decided(|_| (), &fix("2"));
    assert_eq!(answer.unwrap(), 1);
    assert_eq!(
        changes,
        "set-setting totp-window 2\n\
         record operator change-setting - done totp-window: 2 now\n\
         fix-settings totp-window by chat.toml line 7\n"
    );
    let mut model = Model::new("acme", acme());
    assert_eq!(model.ask(&fix("2")).0.unwrap(), 1);
    assert_eq!(model.ask(&fix("2")).1, "", "it is so already");
    let set = |name: &str, value: &str| SetSetting {
        operation: operation(),
        setting: Setting::named(name).unwrap(),
        value: value.into(),
    };
    let (answer, changes) = model.ask(&set("totp-window", "3"));
    assert_eq!(
        answer.unwrap_err().to_string(),
        "totp-window is fixed by chat.toml line 7: change it there and reload, or take it out \
         there; where that file is no longer read, add --force"
    );
    let mut forced = set("totp-window", "3");
    forced.operation.forced = true;
    assert_eq!(
        model.clone().ask(&forced).1,
        "set-setting totp-window 3\n\
         record operator change-setting - done totp-window: 3 now\n\
         fix-settings \n"
    );
    assert_eq!(changes, "");
    assert!(model.ask(&set("login-days", "3")).0.is_ok());
    let none = FixSettings {
        settings: Vec::new(),
        ..fix("2")
    };
    assert_eq!(model.ask(&none).1, "fix-settings \n");
    assert!(
        model.ask(&set("totp-window", "3")).0.is_ok(),
        "nothing fixes it now"
    );
    let invalid = decided(|_| (), &fix("11"));
    assert!(invalid.0.is_err() && invalid.1.is_empty());
}
