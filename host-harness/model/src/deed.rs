//! What an order did.

use chat_domain::account::Caller;
use chat_domain::member::{Denial, MemberChange};
use chat_domain::operator::ChangeUser;
use chat_domain::proof::Proof;
use chat_domain::reset::{Receipt, Refusal, RefuseReset, Reset};
use chat_domain::time::Timestamp;

/// What an order did, with all that is needed to judge it.
pub(crate) enum Deed {
    Attempt {
        user: String,
        now: Timestamp,
        begun: bool,
    },
    Reset(Reset, Result<Receipt, Refusal>),
    /// The record of a request of this proof that was refused.
    RefusedReset {
        refused: RefuseReset,
        proof: Proof,
    },
    Change {
        change: MemberChange,
        answer: Result<(), Denial>,
        /// The backup codes, where it gives any.
        issued: Vec<String>,
    },
    SendCode {
        user: String,
        /// The code, where it was sent, and when it ends.
        code: Option<(String, Timestamp)>,
        now: Timestamp,
    },
    LogOut(Caller),
    Operation {
        change: ChangeUser,
        done: bool,
        issued: Vec<String>,
    },
    /// So many settings were changed.
    Settings {
        records: usize,
    },
    Role {
        done: bool,
        forced: bool,
    },
    NewUser {
        id: String,
        done: bool,
        issued: Vec<String>,
    },
    /// The workspace was created, or was there.
    Created,
    /// Somebody sends the mail from now on.
    Claimed {
        id: i64,
        now: Timestamp,
    },
    /// What became of a mail that was claimed, or whose time was over.
    Delivery {
        id: i64,
        sent: bool,
    },
    /// An operator has retried or removed a mail.
    Outbox {
        id: i64,
        done: bool,
    },
    Prune {
        done: bool,
        now: Timestamp,
    },
    /// So many records were written, and nothing else.
    Recorded {
        records: usize,
    },
}
