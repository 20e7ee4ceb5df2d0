//! Which usernames name the same account, and which a new account may have.

use crate::acme::{acme, decided};
use crate::model::Workspace;
use crate::operator::operation;
use chat_domain::account::{look_alike, username_key};
use chat_domain::operator::{AddUser, NewUser};

fn added(edit: impl FnOnce(&mut Workspace), username: &str) -> String {
    let order = AddUser {
        operation: operation(),
        user: NewUser {
            id: "new".to_owned(),
            username: username.to_owned(),
            ..NewUser::default()
        },
    };
    match decided(edit, &order).0 {
        Ok(_) => "added".to_owned(),
        Err(problem) => problem.to_string(),
    }
}

fn any_letters(acme: &mut Workspace) {
    acme.settings.username_pattern = r"[\p{L}\p{M}\p{N}_.-]+".to_owned();
}

#[test]
fn names_are_compared_as_people_mean_them() {
    for (one, other) in [
        ("Ada", "ADA"),
        ("mu\u{308}ller", "MÜLLER"),
        ("ﬁn", "FIN"),
        ("straße", "STRASSE"),
        ("Ａｄａ", "ada"),
        ("ΣΊΣΥΦΟΣ", "σίσυφος"),
    ] {
        assert_eq!(username_key(one), username_key(other), "{one} {other}");
    }
    for (one, other) in [("ada", "adа"), ("muller", "müller"), ("bob", "b0b")] {
        assert_ne!(username_key(one), username_key(other), "{one} {other}");
    }
}

/// Unicode Technical Standard 39 section 4.
#[test]
fn names_that_look_alike_are_known() {
    for (one, other) in [
        ("ada", "аdа"),
        ("Alice", "a1ice"),
        ("rn", "m"),
        ("bob", "BOB"),
        ("bob", "b0b"),
        ("b0b", "bOb"),
        ("paypal", "paypaI"),
        ("PayPal", "paypa1"),
        ("Ilse", "i1se"),
        ("Irma", "irrna"),
        ("Ivan", "іvan"),
        ("ivan", "iνan"),
    ] {
        assert!(look_alike(one, other), "{one} {other}");
    }
    for (one, other) in [("ada", "eda"), ("alice", "alicе2"), ("ali", "all")] {
        assert!(!look_alike(one, other), "{one} {other}");
    }
}

#[test]
fn a_new_name_is_of_the_settings_form_and_nobody_elses() {
    for name in ["eve", "Eve-2_x.y", "0", "..."] {
        assert_eq!(added(|_| (), name), "added", "{name}");
    }
    for name in [
        "",
        ".",
        "..",
        "eve x",
        "eve\n",
        "müller",
        "аda",
        "eve@x",
        &"e".repeat(65),
    ] {
        let problem = added(|_| (), name);
        let form = "a username is 1 to 64 characters that [0-9a-zA-Z-_.]+ matches";
        assert!(problem.starts_with(form), "{name:?}: {problem}");
    }
    assert_eq!(added(|_| (), "ALICE"), "the username ALICE is taken");
    assert_eq!(
        added(|_| (), "a1ice"),
        "the username a1ice looks like Alice, which is taken"
    );
    assert_eq!(
        added(any_letters, "аliсе"),
        "the username аliсе looks like Alice, which is taken"
    );
    let renamed = |acme: &mut Workspace| acme.edit("bob").user.username = "robert".to_owned();
    assert_eq!(
        added(renamed, "bob"),
        "the username bob is the id of another account"
    );
    assert_eq!(added(any_letters, "müller"), "added");
    let taken = |acme: &mut Workspace| {
        any_letters(acme);
        acme.edit("bob").user.username = "müller".to_owned();
    };
    assert_eq!(
        added(taken, "MU\u{308}LLER"),
        "the username MU\u{308}LLER is taken"
    );
}

#[test]
fn without_a_pattern_a_name_is_letters_and_digits() {
    let any = |acme: &mut Workspace| acme.settings.username_pattern.clear();
    assert_eq!(added(any, "müller"), "added");
    for name in ["", "..", "eve x", "eve@x"] {
        assert!(added(any, name).starts_with("a username is"), "{name:?}");
    }
    assert_eq!(acme().settings.username_pattern, "[0-9a-zA-Z-_.]+");
}
