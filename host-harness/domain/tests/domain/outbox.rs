//! What operators do with mail.

use crate::acme::{after, decided, mailed, now};
use crate::model::Workspace;
use crate::operator::operation;
use chat_domain::account::MailedCode;
use chat_domain::operator::Operation;
use chat_domain::outbox::{
    Expired, GiveUp, Mail, MailState, NextTry, NoteNotSent, NoteSent, Post, RemoveMail, RetryMail,
    StoredMail,
};
use chat_domain::time::Timestamp;

fn post(holds_code: bool) -> Post {
    Post {
        user: "bob".to_owned(),
        recipient: "bob@example.com".to_owned(),
        subject: "Subject",
        body: "body".into(),
        holds_code,
        queued: Timestamp::from_millis(0),
        expires: after(2),
    }
}

/// What is said and changed, where the mail 1 is as `edit` makes it.
fn retried(holds_code: bool, edit: impl FnOnce(&mut StoredMail)) -> (String, String) {
    let queued = |acme: &mut Workspace| {
        acme.queue(&post(holds_code));
        edit(acme.edit_mail(1));
    };
    told(decided(queued, &retry(1)))
}

fn told<T, E: ToString>((answer, changes): (Result<T, E>, String)) -> (String, String) {
    let answer = answer.map_or_else(|problem| problem.to_string(), |_| "done".to_owned());
    (answer, changes)
}

fn retry(id: i64) -> RetryMail {
    let operation = operation();
    RetryMail { operation, id }
}

fn remove(id: i64) -> RemoveMail {
    let operation = operation();
    RemoveMail { operation, id }
}

fn pair(answer: &str, changes: &str) -> (String, String) {
    (answer.to_owned(), changes.to_owned())
}

#[test]
fn a_mail_that_waits_is_due_at_once_and_a_dead_letter_has_its_whole_time_again() {
    let record = "record operator retry-mail - done mail 1 now\n";
    let waiting = format!("retry-mail 1 at now until +2ms\n{record}");
    let revived = format!("retry-mail 1 at now until +259200s\n{record}");
    let next = |next: NextTry| move |mail: &mut StoredMail| mail.next_try = next;
    for holds_code in [false, true] {
        assert_eq!(
            retried(holds_code, next(NextTry::At(after(1)))),
            pair("done", &waiting)
        );
    }
    let over = |mail: &mut StoredMail| mail.expires = now();
    assert_eq!(retried(false, next(NextTry::Never)), pair("done", &revived));
    assert_eq!(retried(false, over), pair("done", &revived));
    let expired = pair("mail 1 held a code that has expired; ask for a new one", "");
    assert_eq!(retried(true, next(NextTry::Never)), expired);
    assert_eq!(retried(true, over), expired);
}

#[test]
fn a_mail_that_is_being_sent_is_left_alone_until_its_time_is_over() {
    let sent_until = |moment| {
        move |mail: &mut StoredMail| {
            mail.claimed = true;
            mail.next_try = NextTry::At(moment);
        }
    };
    assert_eq!(
        retried(false, sent_until(after(1))),
        pair("mail 1 is being sent; try again in a few minutes", "")
    );
    assert_eq!(retried(false, sent_until(now())).0, "done");
    // By a host whose clock was ahead.
    assert_eq!(retried(false, sent_until(after(7_200_001))).0, "done");
    let (answer, changes) = told(decided(
        |acme| {
            acme.queue(&post(true));
            sent_until(after(1))(acme.edit_mail(1));
        },
        &remove(1),
    ));
    assert_eq!(answer, "done");
    assert_eq!(
        changes,
        "remove-mail 1\nrecord operator remove-mail - done mail 1 now\n"
    );
}

#[test]
fn an_unknown_mail_or_workspace_is_a_problem() {
    let queued = |acme: &mut Workspace| acme.queue(&post(false));
    let unknown = pair(
        "there is no mail 2; `host-harness outbox list` shows all",
        "",
    );
    assert_eq!(told(decided(queued, &retry(2))), unknown);
    assert_eq!(told(decided(queued, &remove(2))), unknown);
    let operation = || Operation {
        workspace: "globex".to_owned(),
        ..operation()
    };
    let nowhere = pair(
        "there is no workspace globex; `host-harness workspace list` shows all",
        "",
    );
    let retry = RetryMail {
        operation: operation(),
        id: 1,
    };
    let remove = RemoveMail {
        operation: operation(),
        id: 1,
    };
    assert_eq!(told(decided(queued, &retry)), nowhere);
    assert_eq!(told(decided(queued, &remove)), nowhere);
}

#[test]
fn a_mail_is_shown_as_it_is_kept_with_what_becomes_of_it() {
    let stored = StoredMail {
        id: 7,
        queued: now(),
        expires: after(2),
        claimed: true,
        next_try: NextTry::At(after(1)),
        tries: 5,
        doubtful: 0,
        recipient: "bob@example.com".to_owned(),
        subject: "Subject".to_owned(),
        body: Some("body".to_owned()),
        last_problem: Some("refused".to_owned()),
    };
    for (millis, claimed, state) in [
        (0, true, MailState::BeingSent(after(1))),
        (1, true, MailState::Waiting(after(1))),
        (1, false, MailState::Waiting(after(1))),
        (2, true, MailState::DeadLetter),
    ] {
        let stored = StoredMail {
            claimed,
            ..stored.clone()
        };
        assert_eq!(stored.state(after(millis)), state, "{millis}");
    }
    let names = [
        MailState::BeingSent(now()),
        MailState::Waiting(now()),
        MailState::DeadLetter,
    ];
    let names = names.map(MailState::name);
    assert_eq!(names, ["being sent", "waiting", "dead letter"]);
    let mail = Mail::of(stored.clone(), now());
    assert!(!mail.holds_code());
    let secret = StoredMail {
        body: None,
        ..stored.clone()
    };
    assert!(Mail::of(secret, now()).holds_code());
    assert_eq!(
        mail,
        Mail {
            id: 7,
            queued: now(),
            expires: after(2),
            state: MailState::BeingSent(after(1)),
            tries: 5,
            recipient: stored.recipient.clone(),
            subject: stored.subject.clone(),
            body: stored.body.clone(),
            last_problem: stored.last_problem.clone(),
        }
    );
}

/// Cora was sent a code by so many mails, the first of which is claimed a `tries`th time.
fn being_sent(mails: u32, tries: u32) -> impl Fn(&mut Workspace) {
    move |acme| {
        acme.edit("cora").mailed_code = Some(MailedCode {
            mails,
            ..mailed(0, after(2))
        });
        acme.queue(&Post {
            user: "cora".to_owned(),
            ..post(true)
        });
        let mail = acme.edit_mail(1);
        mail.claimed = true;
        mail.tries = tries;
        mail.next_try = NextTry::At(after(1));
    }
}

fn not_sent(next: NextTry) -> NoteNotSent {
    NoteNotSent {
        workspace: "acme".to_owned(),
        id: 1,
        tries: 1,
        problem: "refused".to_owned(),
        doubtful: false,
        next,
        now: now(),
    }
}

/// A code that cannot arrive blocks no other.
#[test]
fn a_code_is_forgotten_with_the_last_mail_that_could_bring_it() {
    let last = "remove-mail 1\nremove-mailed-code cora\n";
    let one_of_two = "remove-mail 1\nset-mailed-code cora 012345/now/+2ms/0/1\n";
    let never = not_sent(NextTry::Never);
    assert_eq!(decided(being_sent(1, 1), &never), (true, last.to_owned()));
    assert_eq!(
        decided(being_sent(2, 1), &never),
        (true, one_of_two.to_owned())
    );
    let (_, changes) = decided(being_sent(1, 1), &remove(1));
    assert!(changes.starts_with(last), "{changes}");
    let expired = |acme: &mut Workspace| {
        being_sent(1, 1)(acme);
        let mail = acme.edit_mail(1);
        mail.expires = now();
        mail.claimed = false;
    };
    let give_up = GiveUp {
        expired: Expired {
            id: 1,
            workspace: "acme".to_owned(),
        },
        now: now(),
    };
    assert_eq!(decided(expired, &give_up), (Some(true), last.to_owned()));
    // What arrived has brought the code.
    let sent = NoteSent {
        workspace: "acme".to_owned(),
        id: 1,
    };
    assert_eq!(decided(being_sent(1, 1), &sent).1, "remove-mail 1\n");
}

#[test]
fn a_mail_that_was_not_sent_is_tried_again_or_given_up_by_its_own_claim_alone() {
    let notice = |tries, doubtful| {
        move |acme: &mut Workspace| {
            acme.queue(&post(false));
            let mail = acme.edit_mail(1);
            mail.claimed = true;
            mail.tries = tries;
            mail.doubtful = doubtful;
        }
    };
    let at = |millis| NextTry::At(after(millis));
    for (doubtful, is_doubtful, next, given_up, changes) in [
        (
            0,
            false,
            at(1),
            false,
            "postpone-mail 1 to +1ms 0 refused\n",
        ),
        (
            0,
            false,
            at(9),
            false,
            "postpone-mail 1 to +2ms 0 refused\n",
        ),
        (
            0,
            false,
            NextTry::Never,
            true,
            "postpone-mail 1 to never 0 refused\n",
        ),
        (
            0,
            true,
            at(1),
            false,
            "postpone-mail 1 to +1ms 1 may have arrived 1 times: refused\n",
        ),
        (
            1,
            true,
            at(1),
            false,
            "postpone-mail 1 to +1ms 2 may have arrived 2 times: refused\n",
        ),
        (
            2,
            true,
            at(1),
            true,
            "postpone-mail 1 to never 3 may have arrived 3 times: refused\n",
        ),
        (
            2,
            false,
            at(1),
            false,
            "postpone-mail 1 to +1ms 2 may have arrived 2 times: refused\n",
        ),
    ] {
        let order = NoteNotSent {
            doubtful: is_doubtful,
            ..not_sent(next)
        };
        let expected = (given_up, changes.to_owned());
        assert_eq!(decided(notice(1, doubtful), &order), expected);
        let anothers = (false, String::new());
        assert_eq!(decided(notice(2, doubtful), &order), anothers);
    }
    // One that has expired and was hardly tried waits its pause.
    let late = NoteNotSent {
        now: after(2),
        ..not_sent(at(9))
    };
    let expected = (false, "postpone-mail 1 to +9ms 0 refused\n".to_owned());
    assert_eq!(decided(notice(1, 0), &late), expected);
}

/// A clock that was a year ahead for an hour must not lose mail.
#[test]
fn a_notice_dies_of_age_and_tries() {
    let aged = |tries| {
        move |acme: &mut Workspace| {
            acme.queue(&post(false));
            let mail = acme.edit_mail(1);
            mail.tries = tries;
            mail.expires = now();
        }
    };
    let give_up = GiveUp {
        expired: Expired {
            id: 1,
            workspace: "acme".to_owned(),
        },
        now: now(),
    };
    let dead = (Some(false), "postpone-mail 1 to never 0 -\n".to_owned());
    assert_eq!(decided(aged(5), &give_up), dead);
    assert_eq!(decided(aged(4), &give_up), (None, String::new()));
    let young = |acme: &mut Workspace| {
        aged(5)(acme);
        acme.edit_mail(1).expires = after(1);
    };
    assert_eq!(decided(young, &give_up), (None, String::new()));
}
