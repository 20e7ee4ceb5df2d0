//! What is known of an account, and what it is after a change.

use crate::acme::{access, acme, after, factor, failures, mailed, now, pending, session};
use crate::model::Model;
use crate::text::fields;
use chat_domain::account::{Profile, Token};
use chat_domain::dossier::{Dossier, Question};
use chat_domain::order::{Change, Decided, Order, Tokens};
use chat_domain::totp::code_hash;

/// Makes one change, whatever is known.
struct Make(Change);

impl Order for Make {
    type Answer = ();

    fn question(&self) -> Question {
        Question::of("acme")
    }

    fn decide(&self, _: &Dossier) -> Decided<()> {
        Decided::unchanged(()).and(self.0.clone())
    }
}

/// Every change of one account, in an order in which they can be made of alice's.
fn changes_of(id: &str) -> Vec<Change> {
    let user = || id.to_owned();
    let end = |which| Change::EndTokens {
        user: user(),
        which,
    };
    let add = |token| Change::AddToken {
        user: user(),
        token,
    };
    vec![
        Change::SetPassword {
            user: user(),
            hash: "new-password".into(),
        },
        Change::SetDeactivated {
            user: user(),
            deactivated: true,
        },
        Change::GiveRole {
            user: user(),
            role: "admin".to_owned(),
        },
        Change::GiveRole {
            user: user(),
            role: "helpdesk".to_owned(),
        },
        Change::GiveRole {
            user: user(),
            role: "helpdesk".to_owned(),
        },
        Change::TakeRole {
            user: user(),
            role: "user".to_owned(),
        },
        Change::SpendStep {
            user: user(),
            step: 7,
        },
        Change::SpendBackupCode {
            user: user(),
            hash: code_hash("a2b3c4d5"),
        },
        Change::ReplaceBackupCodes {
            user: user(),
            hashes: vec![code_hash("new-1")],
        },
        Change::RemoveFactor { user: user() },
        Change::Enrol {
            user: user(),
            factor: factor("new"),
        },
        Change::SetPendingKey {
            user: user(),
            pending: pending("new", after(1)),
        },
        Change::RemovePendingKey { user: user() },
        Change::SetMailedCode {
            user: user(),
            code: mailed(1, after(1)),
        },
        Change::RemoveMailedCode { user: user() },
        Change::SetFailures {
            user: user(),
            failures: failures(5, Some(after(1))),
        },
        add(session("new-session", after(2))),
        add(session("new-ended", now())),
        add(access("new-access", "new", true)),
        end(Tokens::Ended { by: now() }),
        end(Tokens::Hash("alice-phone".to_owned())),
        end(Tokens::Named("laptop".to_owned())),
        end(Tokens::Sessions {
            but: Some("new-session".to_owned()),
        }),
        end(Tokens::Sessions { but: None }),
        end(Tokens::All),
    ]
}

fn alice(model: &Model) -> Profile {
    model.workspace("acme").account("alice").clone()
}

#[test]
fn a_profile_follows_every_change_of_its_own_account() {
    let mut model = Model::new("acme", acme());
    let mut profile = alice(&model);
    for change in changes_of("alice") {
        let before = fields(&profile);
        profile.apply(&change);
        model.ask(&Make(change.clone()));
        assert_eq!(fields(&profile), fields(&alice(&model)), "{change:?}");
        let twice = matches!(&change, Change::GiveRole { role, .. } if role == "helpdesk");
        assert!(
            twice || fields(&profile) != before,
            "{change:?} does nothing"
        );
    }
}

#[test]
fn a_profile_follows_no_change_of_another_account() {
    let mut workspace = acme();
    let account = workspace.edit("alice");
    account.pending_key = Some(pending("alice", after(1)));
    account.mailed_code = Some(mailed(2, after(1)));
    let before = alice(&Model::new("acme", workspace));
    for change in changes_of("bob") {
        let mut profile = before.clone();
        profile.apply(&change);
        assert_eq!(fields(&profile), fields(&before), "{change:?}");
    }
}

/// Where an account has no factor, none appears.
#[test]
fn nothing_is_spent_of_a_factor_that_is_not_there() {
    let mut workspace = acme();
    workspace.edit("alice").factor = None;
    let before = alice(&Model::new("acme", workspace));
    for change in changes_of("alice") {
        if let Change::SpendStep { .. }
        | Change::SpendBackupCode { .. }
        | Change::ReplaceBackupCodes { .. } = change
        {
            let mut profile = before.clone();
            profile.apply(&change);
            assert_eq!(fields(&profile), fields(&before), "{change:?}");
        }
    }
}

#[test]
fn tokens_are_told_apart() {
    let tokens = [
        session("first", after(1)),
        session("second", after(2)),
        access("third", "name", false),
    ];
    let included = |which: Tokens| {
        let included = tokens.iter().filter(|token| which.include(token));
        let hashes: Vec<_> = included.map(|token: &Token| token.hash.as_str()).collect();
        hashes.join(" ")
    };
    assert_eq!(included(Tokens::All), "first second third");
    assert_eq!(included(Tokens::Sessions { but: None }), "first second");
    let but = Some("first".to_owned());
    assert_eq!(included(Tokens::Sessions { but }), "second");
    let but = Some("third".to_owned());
    assert_eq!(included(Tokens::Sessions { but }), "first second");
    assert_eq!(included(Tokens::Ended { by: now() }), "");
    assert_eq!(included(Tokens::Ended { by: after(1) }), "first");
    assert_eq!(included(Tokens::Named("name".to_owned())), "third");
    assert_eq!(included(Tokens::Named("first".to_owned())), "");
    assert_eq!(included(Tokens::Hash("second".to_owned())), "second");
    assert_eq!(included(Tokens::Hash("name".to_owned())), "");
}
