//! What is foreseen of a reset is what it does.

use crate::acme::{acme, after, caller, decided, failures, here, key, now, pending};
use crate::model::{Model, Workspace};
use chat_domain::proof::Proof;
use chat_domain::reset::{Foreseen, Preview, Refusal, Reset, Target};
use secrecy::SecretString;

fn preview_of(user: &str) -> Preview {
    Preview {
        workspace: "acme".to_owned(),
        caller: caller("admin", "admin-session"),
        user: user.to_owned(),
        now: now(),
        source: here(),
    }
}

fn foreseen(edit: impl FnOnce(&mut Workspace), preview: &Preview) -> Result<Foreseen, Refusal> {
    let mut workspace = acme();
    edit(&mut workspace);
    let model = Model::new("acme", workspace);
    preview.of(&model.read(&preview.question()))
}

/// With a code that is right.
fn reset_of(preview: &Preview) -> Reset {
    let step = crate::acme::STEP;
    Reset {
        workspace: preview.workspace.clone(),
        caller: preview.caller.clone(),
        proof: Proof::TotpStep {
            step,
            code: SecretString::from(key("admin").code(step)),
        },
        target: Target::User(preview.user.clone()),
        now: preview.now,
        request_id: "request".to_owned(),
        source: preview.source.clone(),
    }
}

#[test]
fn what_is_foreseen_is_what_the_reset_does_and_why_it_is_refused() {
    let shown = |acme: &mut Workspace| {
        let alice = acme.edit("alice");
        alice.pending_key = Some(pending("alice", after(1)));
        alice.failures = failures(3, None);
    };
    let shown_alone =
        |acme: &mut Workspace| acme.edit("bob").pending_key = Some(pending("bob", now()));
    let beside_rocket_chat =
        |acme: &mut Workspace| acme.settings.rocket_chat = "https://a:b@chat.example".into();
    let unmailed = |acme: &mut Workspace| acme.edit("alice").emails.clear();
    let off = |acme: &mut Workspace| acme.settings.two_factor_enabled = false;
    let powerless = |acme: &mut Workspace| acme.edit("admin").roles.clear();
    let gone = |acme: &mut Workspace| acme.edit("admin").deactivated = true;
    let edits: [fn(&mut Workspace); 8] = [
        |_| (),
        shown,
        shown_alone,
        beside_rocket_chat,
        unmailed,
        off,
        powerless,
        gone,
    ];
    let mut granted = 0;
    for (number, edit) in edits.into_iter().enumerate() {
        for user in ["alice", "bob", "cora", "dora", "fred", "nobody"] {
            let preview = preview_of(user);
            let foreseen = foreseen(edit, &preview);
            let (answer, changes) = decided(edit, &reset_of(&preview));
            let case = format!("{number} {user}: {foreseen:?}, {changes}");
            let Ok(foreseen) = foreseen else {
                assert_eq!(foreseen.unwrap_err(), answer.unwrap_err(), "{case}");
                continue;
            };
            assert!(answer.is_ok(), "{case}");
            granted += 1;
            let does = |what: &str| changes.contains(&format!("{what} {user}"));
            assert_eq!(foreseen.factor, does("remove-factor"), "{case}");
            let codes = if foreseen.factor { 2 } else { 0 };
            assert_eq!(foreseen.backup_codes, codes, "{case}");
            assert_eq!(foreseen.pending_key, does("remove-pending-key"), "{case}");
            assert_eq!(foreseen.failures, does("set-failures"), "{case}");
            assert_eq!(foreseen.logins, does("end-tokens"), "{case}");
            let is_mail = |line: &&str| line.starts_with("mail ");
            let (sockets, mails): (Vec<_>, Vec<_>) = changes
                .lines()
                .filter(is_mail)
                .partition(|line| line.contains("Close the sockets"));
            assert_eq!(foreseen.sockets, sockets.len() == 1, "{case}");
            assert_eq!(foreseen.mails.len(), mails.len(), "{case}");
            for ((to, subject), line) in foreseen.mails.iter().zip(mails) {
                assert!(line.starts_with(&format!("mail {to} ")), "{case}");
                assert!(line.contains(&format!("\"{subject}\"")), "{case}");
            }
        }
    }
    assert_eq!(granted, 5 * 4);
}
