//! Who makes a request, and what they may.

use crate::acme::{MAILED, acme, after, caller, check, decided, failures, here, now, record_of};
use crate::model::{Model, Workspace};
use chat_domain::account::{Caller, Methods, Selector};
use chat_domain::attempts::Lock;
use chat_domain::audit::{Action, AuditRecord, Decision};
use chat_domain::dossier::{Question, Subject};
use chat_domain::member::Login;
use chat_domain::operator::{TokenSummary, named_question};
use chat_domain::order::Record;
use chat_domain::standing::{LogOut, RefuseMalformed, Standing, resume, resume_question};
use chat_domain::time::Timestamp;
use expect_test::expect;
use secrecy::ExposeSecret;

fn standing(edit: impl FnOnce(&mut Workspace), user: &str, token: &str) -> Option<Standing> {
    standing_at(edit, user, token, now())
}

fn standing_at(
    edit: impl FnOnce(&mut Workspace),
    user: &str,
    token: &str,
    now: Timestamp,
) -> Option<Standing> {
    let mut workspace = acme();
    edit(&mut workspace);
    let model = Model::new("acme", workspace);
    let question = Standing::question("acme", user, token);
    Standing::of(&model.read(&question), now)
}

/// OWASP ASVS 5.0 V7.4.2.
#[test]
fn a_token_proves_its_own_active_account_until_it_ends() {
    for (user, token, expected) in [
        ("alice", "alice-session", true),
        ("alice", "alice-access", true),
        ("alice", "alice-phone", true),
        ("admin", "admin-ended", false),
        ("alice", "admin-session", false),
        ("admin", "alice-session", false),
        ("Alice", "alice-session", false),
        ("alice", "", false),
        ("dora", "dora-session", false),
    ] {
        let found = standing(|_| (), user, token);
        assert_eq!(found.is_some(), expected, "{user} {token}");
    }
    assert!(standing_at(|_| (), "alice", "alice-phone", after(1)).is_none());
    let bypass = standing(|_| (), "admin", "admin-bypass").unwrap();
    assert_eq!(
        bypass.caller,
        Caller {
            bypass_token: true,
            ..caller("admin", "admin-bypass")
        }
    );
    assert_eq!(bypass.username, "Admin");
    let plain = standing(|_| (), "admin", "admin-access").unwrap();
    assert!(!plain.caller.bypass_token);
}

#[test]
fn who_is_excused_is_asked_for_no_second_factor() {
    let excused = |edit: fn(&mut Workspace), id: &str, token: &str| {
        standing(edit, id, token).unwrap().is_excused()
    };
    let off = |acme: &mut Workspace| acme.settings.two_factor_enabled = false;
    let bypass = |acme: &mut Workspace| acme.settings.bypass_token_allowed = true;
    let missing = |acme: &mut Workspace| acme.settings.missing_factor_allowed = true;
    for (id, token, expected) in [
        ("admin", "admin-access", [false, true, false, false]),
        ("admin", "admin-bypass", [false, true, true, false]),
        ("bob", "bob-session", [false, true, false, false]),
        ("cora", "cora-session", [false, true, false, false]),
        ("nell", "nell-session", [false, true, false, true]),
    ] {
        let edits = [|_: &mut Workspace| (), off, bypass, missing];
        let found = edits.map(|edit| excused(edit, id, token));
        assert_eq!(found, expected, "{token}");
    }
}

#[test]
fn methods_are_what_the_account_has_and_the_workspace_uses() {
    let methods = |edit: fn(&mut Workspace), id: &str| {
        let token = format!("{id}-session");
        standing(edit, id, &token).unwrap().methods
    };
    let names = |methods: Methods| {
        let names: Vec<_> = methods.preferred().map(|method| method.name()).collect();
        assert_eq!(methods.any(), !names.is_empty());
        names.join(" ")
    };
    for (id, expected) in [
        ("admin", "totp"),
        ("alice", "totp"),
        ("bob", "password"),
        ("cora", "email"),
        ("nell", ""),
    ] {
        assert_eq!(names(methods(|_| (), id)), expected, "{id}");
    }
    let opted_in = |acme: &mut Workspace| acme.edit("alice").email_two_factor = true;
    assert_eq!(names(methods(opted_in, "alice")), "totp email");
    let off = |acme: &mut Workspace| acme.settings.totp_enabled = false;
    assert_eq!(names(methods(off, "alice")), "password");
    let off = |acme: &mut Workspace| acme.settings.email_enabled = false;
    assert_eq!(names(methods(off, "cora")), "password");
    let off = |acme: &mut Workspace| acme.settings.password_fallback = false;
    assert_eq!(names(methods(off, "bob")), "");
}

#[test]
fn a_call_is_one_too_many_from_the_limit_on() {
    for (limit, recent, expected) in [
        (10, 9, true),
        (10, 10, false),
        (10, 11, false),
        (0, 1_000_000, true),
    ] {
        let edit = |acme: &mut Workspace| acme.settings.rate_limit_calls = limit;
        let alice = standing(edit, "alice", "alice-session").unwrap();
        assert_eq!(alice.may_call(recent), expected, "{limit} {recent}");
        assert_eq!(alice.is_unlimited(), limit == 0);
        let admin = standing(edit, "admin", "admin-session").unwrap();
        assert!(admin.may_call(recent) && admin.is_unlimited());
    }
}

#[test]
fn permissions_are_those_of_the_roles() {
    let admin = standing(|_| (), "admin", "admin-session").unwrap();
    assert!(admin.may("edit-other-user-totp") && admin.may("api-bypass-rate-limit"));
    assert!(!admin.may("") && !admin.may("edit-other-user-totp "));
    let alice = standing(|_| (), "alice", "alice-session").unwrap();
    assert!(!alice.may("edit-other-user-totp"));
}

#[test]
fn who_asks_is_read_with_the_roles_and_where_it_is_shown_with_all_that_is() {
    let plain = Standing::question("acme", "alice", "hash");
    let shown = Standing::question_with_account("acme", "alice", "hash");
    let of = |account| {
        Question::of("acme")
            .with_settings()
            .with_token("hash")
            .about(account)
    };
    assert_eq!(plain, of(Subject::id("alice").with_roles()));
    assert_eq!(shown, of(Subject::id("alice").as_seen()));
}

fn malformed(user: &str, token: &str, recent_calls: u32) -> RefuseMalformed {
    RefuseMalformed {
        workspace: "acme".to_owned(),
        user: user.to_owned(),
        token_hash: token.to_owned(),
        now: now(),
        request_id: "request".to_owned(),
        source: here(),
        recent_calls,
    }
}

#[test]
fn a_malformed_request_leaves_a_record_where_its_caller_is_logged_in_and_may_call() {
    let record = |id: &str| format!("record {id} reset-totp - refused invalid-params now\n");
    let (refused, changes) = decided(|_| (), &malformed("alice", "alice-session", 9));
    assert_eq!(changes, record("alice"));
    assert!(refused.recorded && refused.settings.is_some());
    assert_eq!(
        refused.standing.unwrap().caller,
        caller("alice", "alice-session")
    );
    let (refused, changes) = decided(|_| (), &malformed("alice", "alice-session", 10));
    assert_eq!(changes, "");
    assert!(refused.standing.is_some() && refused.settings.is_some() && !refused.recorded);
    let (_, changes) = decided(|_| (), &malformed("admin", "admin-session", 10));
    assert_eq!(changes, record("admin"));
    for (user, token) in [
        ("alice", "admin-session"),
        ("dora", "dora-session"),
        ("", ""),
    ] {
        let (refused, changes) = decided(|_| (), &malformed(user, token, 0));
        let nobody = refused.standing.is_none() && !refused.recorded;
        assert!(nobody && refused.settings.is_some(), "{user}");
        assert_eq!(changes, "", "{user}");
    }
}

#[test]
fn to_log_out_ends_the_token_that_the_request_carries() {
    let log_out = LogOut {
        caller: caller("alice", "alice-phone"),
        record: AuditRecord {
            action: Action::LogOut,
            target: Some("alice".to_owned()),
            decision: Decision::Done,
            ..record_of("alice")
        },
    };
    check(
        |_| (),
        &log_out,
        &expect![[r#"
            ()
            end-tokens alice hash alice-phone
            record alice log-out alice done - now
        "#]],
    );
    let mut model = Model::new("acme", acme());
    model.ask(&log_out);
    let tokens = &model.workspace("acme").account("alice").tokens;
    let left: Vec<_> = tokens.iter().map(|token| token.hash.as_str()).collect();
    assert_eq!(left, ["alice-session", "alice-access"]);
}

#[test]
fn a_record_is_written_as_it_is() {
    let record = Record(AuditRecord {
        at: after(1),
        target: Some("bob".to_owned()),
        decision: Decision::Failed,
        reason: Some("plugin-trap".to_owned()),
        ..record_of("alice")
    });
    check(
        |_| (),
        &record,
        &expect![[r#"
        ()
        record alice reset-totp bob failed plugin-trap +1ms
    "#]],
    );
}

#[test]
fn a_token_is_resumed_by_its_holder() {
    let resumed = |token: &str, now| {
        let model = Model::new("acme", acme());
        let dossier = model.read(&resume_question("acme", token));
        resume(dossier, now).map(|account| account.user.id)
    };
    assert_eq!(resumed("alice-phone", now()).as_deref(), Some("alice"));
    assert_eq!(resumed("admin-access", now()).as_deref(), Some("admin"));
    for (token, now) in [
        ("alice-phone", after(1)),
        ("dora-session", now()),
        ("nonesuch", now()),
    ] {
        assert_eq!(resumed(token, now), None, "{token}");
    }
}

#[test]
fn a_log_in_finds_an_active_account_by_its_username_or_an_address() {
    let found = |name: &str| {
        let mut workspace = acme();
        workspace.edit("alice").failures = failures(5, Some(after(1)));
        let model = Model::new("acme", workspace);
        Login::of(model.read(&Login::question("acme", name)), now())
    };
    for name in ["alice", "ALICE", "alice@example.com", "Alice@Example.NET"] {
        let login = found(name).unwrap();
        assert_eq!(login.account.user.id, "alice", "{name}");
        assert_eq!(
            login.password_hash.unwrap().expose_secret(),
            "alice-password"
        );
        assert!(login.methods.totp && !login.methods.email && !login.methods.password);
        assert_eq!(login.account.lock, Some(Lock::Until(after(1))));
        assert_eq!(login.account.backup_codes, Some(2));
    }
    for name in ["dora", "nobody", "nobody@example.com", "", MAILED] {
        assert!(found(name).is_none(), "{name}");
    }
    assert_eq!(
        Selector::of_login("a@b"),
        Selector::Address("a@b".to_owned())
    );
    assert_eq!(Selector::of_login("a"), Selector::Username("a".to_owned()));
}

#[test]
fn tokens_are_listed_by_name_and_then_by_their_end() {
    let mut workspace = acme();
    let tokens = &mut workspace.edit("admin").tokens;
    tokens.push(crate::acme::session("sooner", after(1)));
    let model = Model::new("acme", workspace);
    let dossier = model.read(&named_question("acme", "admin"));
    let listed = TokenSummary::of(dossier.caller().unwrap().clone(), now());
    let name = |token: &TokenSummary| match (&token.name, token.expires) {
        (Some(name), None) => format!("{name} {}", token.bypass_two_factor),
        (_, expires) => crate::text::moment(expires.unwrap()),
    };
    let listed: Vec<_> = listed.iter().map(name).collect();
    assert_eq!(listed, ["bypass true", "script false", "+1ms", "+60s"]);
}
