//! What a store was asked and what it answered, so that another can be asked the same.

use crate::text;
use chat_domain::account::{Caller, TotpFactor};
use chat_domain::attempts::{
    Attempt, BeginEmailAttempt, BeginPasswordAttempt, BeginTotpAttempt, Lock,
};
use chat_domain::dossier::{Dossier, Question};
use chat_domain::mailed_code::SendEmailCode;
use chat_domain::member::MemberChange;
use chat_domain::operator::{
    AddUser, ChangeRole, ChangeUser, CreateWorkspace, FixSettings, SetSetting,
};
use chat_domain::order::{Decided, Order, Record};
use chat_domain::outbox::{Among, Claim, GiveUp, NoteNotSent, NoteSent, RemoveMail, RetryMail};
use chat_domain::reset::{RefuseReset, Reset};
use chat_domain::retention::Prune;
use chat_domain::sockets::NoteClosed;
use chat_domain::standing::{LogOut, Malformed, RefuseMalformed};
use chat_domain::time::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use std::fmt::Debug;

/// An order of the domain, which can be given again.
pub trait Known: Order + Clone + Into<AnyOrder> {
    /// The answer as text, secrets included.
    fn shown(answer: &Self::Answer) -> String;
}

/// Every order of the domain, and how its answer is written.
macro_rules! orders {
    ($($name:ident => $shown:expr,)*) => {
        /// Any order of the domain. The answer is written as text.
        #[derive(Clone, Debug)]
        #[expect(missing_docs, reason = "each is the order of that name")]
        pub enum AnyOrder {
            $($name(Box<$name>),)*
        }

        /// The names of all orders.
        pub const ORDERS: &[&str] = &[$(stringify!($name),)*];

        impl Order for AnyOrder {
            type Answer = String;

            fn question(&self) -> Question {
                match self {
                    $(Self::$name(order) => order.question(),)*
                }
            }

            fn decide(&self, dossier: &Dossier) -> Decided<String> {
                match self {
                    $(Self::$name(order) => {
                        let Decided { answer, changes } = order.decide(dossier);
                        Decided {
                            answer: $name::shown(&answer),
                            changes,
                        }
                    })*
                }
            }
        }

        $(impl From<$name> for AnyOrder {
            fn from(order: $name) -> Self {
                Self::$name(Box::new(order))
            }
        }

        impl Known for $name {
            fn shown(answer: &Self::Answer) -> String {
                $shown(answer)
            }
        })*
    };
}

orders! {
    AddUser => debug,
    BeginEmailAttempt => |answer| attempt(answer, |hash: &Option<String>| format!("{hash:?}")),
    BeginPasswordAttempt => |answer| attempt(answer, |hash: &SecretString| hash.expose_secret().to_owned()),
    BeginTotpAttempt => |answer| attempt(answer, |factor: &TotpFactor| text::factor(factor)),
    ChangeRole => debug,
    ChangeUser => debug,
    CreateWorkspace => debug,
    FixSettings => debug,
    GiveUp => debug,
    LogOut => debug,
    MemberChange => debug,
    NoteClosed => debug,
    NoteNotSent => debug,
    NoteSent => debug,
    Prune => debug,
    Record => debug,
    RefuseMalformed => malformed,
    RefuseReset => debug,
    RemoveMail => debug,
    Reset => debug,
    RetryMail => debug,
    SendEmailCode => debug,
    SetSetting => debug,
}

fn debug(answer: &impl Debug) -> String {
    format!("{answer:?}")
}

fn attempt<F>(answer: &Attempt<F>, shown: impl FnOnce(&F) -> String) -> String {
    match answer {
        Attempt::Begun(factor) => format!("begun: {}", shown(factor)),
        Attempt::Locked(Lock::Until(until)) => format!("locked until {}", text::moment(*until)),
        Attempt::Locked(Lock::UntilReplaced) => "locked".to_owned(),
        Attempt::Unavailable => "unavailable".to_owned(),
    }
}

/// Permissions are in no order.
fn malformed(answer: &Malformed) -> String {
    let standing = answer.standing.as_ref().map(|standing| {
        let Caller {
            id,
            token_hash,
            bypass_token,
        } = &standing.caller;
        let mut permissions = standing.permissions.clone();
        permissions.sort();
        format!(
            "{id} {token_hash} {bypass_token} {permissions:?} {:?}",
            standing.methods
        )
    });
    format!("{standing:?} {:?} {}", answer.settings, answer.recorded)
}

/// What a store was asked.
#[derive(Clone, Debug)]
pub enum Asked {
    /// An order was given.
    Order(AnyOrder),
    /// Something was read.
    Read(Question),
    /// Mail was claimed at this moment, of this workspace or of all.
    Claim(Timestamp, Option<String>),
}

impl Asked {
    /// Among which workspaces mail is claimed.
    pub fn among(only: Option<&String>) -> Among<'_> {
        match only {
            Some(only) => Among::Only(only),
            None => Among::AllBut(&[]),
        }
    }
}

/// The claim as text, without the `Message-ID`, which is a store's own.
pub fn claimed(claim: Option<&Claim>) -> String {
    let Some(claim) = claim else {
        return "nothing".to_owned();
    };
    let Claim {
        id,
        workspace,
        message_id: _,
        recipient,
        subject,
        body,
        queued,
        tries,
        was_put_off,
    } = claim;
    let (queued, body) = (
        text::moment(*queued),
        body.as_ref().map(ExposeSecret::expose_secret),
    );
    format!("{id} {workspace} {recipient} {subject:?} {body:?} {queued} {tries} {was_put_off}")
}
