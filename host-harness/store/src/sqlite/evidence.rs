//! What happened, read from the file as another process sees it: for tests.

use crate::seal::{MAIL_BODY, Seal};
use chat_domain::audit::Decision;
use rusqlite::{Connection, OptionalExtension, Row, types::Value};
use secrecy::ExposeSecret;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// Tables that record attempts and decisions: what a refusal may change.
const RECORDS: [&str; 5] = [
    "audit",
    "audit_leaf",
    "audit_log",
    "failed_attempt",
    "sqlite_sequence",
];

/// A store's file cannot be looked at.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Unreadable(#[from] rusqlite::Error);

/// Mail that waits to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// The address.
    pub recipient: String,
    /// The subject.
    pub subject: String,
    /// The text.
    pub body: String,
}

/// A record of the audit trail. It shows as caller, target, decision and reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// As [`Action::name`](chat_domain::audit::Action::name) tells it.
    pub action: String,
    /// The caller's id.
    pub caller: String,
    /// The id of the account that was found or reset; none where nobody was looked
    /// up.
    pub target: Option<String>,
    /// As [`Decision::name`] tells it.
    pub decision: String,
    /// The answer's error id, or the failure's code; none for a success.
    pub reason: Option<String>,
    /// The client's address; none for what an operator did.
    pub address: Option<String>,
    /// By what a second factor was proved, or tried to be.
    pub proof: Option<String>,
    /// To how many addresses a notice goes.
    pub told: Option<u32>,
    /// Requests that were decided so.
    pub calls: u32,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let (target, reason) = (or_none(&self.target), or_none(&self.reason));
        write!(f, "{} {target} {} {reason}", self.caller, self.decision)
    }
}

impl Record {
    /// Whether it is that of a reset which was committed.
    pub fn is_success(&self) -> bool {
        let successes = [Decision::Reset, Decision::NothingEnrolled];
        successes
            .iter()
            .any(|decision| decision.name() == self.decision)
    }
}

/// A look at a store's file.
pub struct Evidence {
    db: Connection,
    seal: Seal,
}

/// # Errors
///
/// [`Unreadable`] of each.
impl Evidence {
    /// Looks at the file at `path`; what is sealed by `seal` is opened where these words say
    /// what it is.
    pub fn open(path: &Path, seal: &Seal) -> Result<Self, Unreadable> {
        Ok(Self {
            db: Connection::open(path)?,
            seal: seal.clone(),
        })
    }

    /// The rows of every table, each as one text, but for the records of attempts and
    /// decisions.
    pub fn rows(&self) -> Result<BTreeMap<String, Vec<String>>, Unreadable> {
        let tables = "SELECT name FROM sqlite_schema WHERE type = 'table'";
        let tables = self.query(tables, |row| row.get::<_, String>(0))?;
        let kept = tables
            .into_iter()
            .filter(|table| !RECORDS.contains(&table.as_str()));
        let rows = kept.map(|table| {
            let rows = self.query(&format!("SELECT * FROM {table}"), text)?;
            Ok((table, rows))
        });
        rows.collect()
    }

    /// The mail that waits, in the order in which it was written.
    pub fn mail(&self) -> Result<Vec<Mail>, Unreadable> {
        let mail = "SELECT recipient, subject, body, holds_code, workspace, coalesce(user, '')
                    FROM outbox ORDER BY id";
        self.query(mail, |row| {
            Ok(Mail {
                recipient: row.get(0)?,
                subject: row.get(1)?,
                body: match row.get(3)? {
                    true => self.body(row)?,
                    false => row.get(2)?,
                },
            })
        })
    }

    /// The third cell opened, of a mail whose workspace and account are the fifth and the sixth.
    fn body(&self, row: &Row<'_>) -> rusqlite::Result<String> {
        let (body, workspace, user): (String, String, String) =
            (row.get(2)?, row.get(4)?, row.get(5)?);
        let body = self.seal.open(&MAIL_BODY.of(&workspace, &user), &body)?;
        Ok(body.expose_secret().to_owned())
    }

    /// The audit trail, oldest first.
    pub fn audit(&self) -> Result<Vec<Record>, Unreadable> {
        let audit = "SELECT action, caller, target, decision, reason, address, proof, told, calls
                     FROM audit ORDER BY id";
        self.query(audit, |row| {
            Ok(Record {
                action: row.get(0)?,
                caller: row.get(1)?,
                target: row.get(2)?,
                decision: row.get(3)?,
                reason: row.get(4)?,
                address: row.get(5)?,
                proof: row.get(6)?,
                told: row.get(7)?,
                calls: row.get(8)?,
            })
        })
    }

    /// Failed attempts in a row of the account with the id `user`.
    pub fn failures(&self, user: &str) -> Result<u32, Unreadable> {
        let failures = "SELECT coalesce(sum(count), 0) FROM failed_attempt WHERE user = ?1";
        Ok(self.db.query_row(failures, [user], |row| row.get(0))?)
    }

    /// The body of the mail that brought the account with the id `user` its last code;
    /// none where no such mail waits.
    pub fn sent_code(&self, user: &str) -> Result<Option<String>, Unreadable> {
        let bodies = "SELECT recipient, subject, body, holds_code, workspace, user FROM outbox
                      WHERE holds_code AND user = ?1 ORDER BY id DESC LIMIT 1";
        let body = self.db.query_row(bodies, [user], |row| self.body(row));
        Ok(body.optional()?)
    }

    fn query<T>(
        &self,
        query: &str,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, Unreadable> {
        let mut query = self.db.prepare(query)?;
        let rows = query.query_map([], read)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

/// All cells of a row, with blanks between them.
fn text(row: &Row<'_>) -> rusqlite::Result<String> {
    let columns = row.as_ref().column_count();
    let cells = (0..columns).map(|column| {
        Ok(match row.get(column)? {
            Value::Null => "-".to_owned(),
            Value::Integer(number) => number.to_string(),
            Value::Real(number) => number.to_string(),
            Value::Text(text) => text,
            Value::Blob(bytes) => format!("{bytes:02x?}"),
        })
    });
    let cells: rusqlite::Result<Vec<String>> = cells.collect();
    Ok(cells?.join(" "))
}
