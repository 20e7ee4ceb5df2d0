//! What happened: read from the store's file, as another process sees it.

use super::user::id;
use super::{Error, Server};
use crate::store::Decision;
use std::collections::BTreeMap;
use std::fmt;
use tokio_rusqlite::rusqlite::{Connection, Row, types::Value};

/// Tables that record attempts and decisions: what a refusal may change.
const RECORDS: [&str; 3] = ["audit", "failed_attempt", "sqlite_sequence"];

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
    /// The caller's id.
    pub caller: String,
    /// The id of the account that was found or reset; none where nobody was looked
    /// up.
    pub target: Option<String>,
    /// As [`Decision::name`] tells it.
    pub decision: String,
    /// The answer's error id, or the failure's code; none for a success.
    pub reason: Option<String>,
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

/// Every row of a store, but for the records of attempts and decisions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot(BTreeMap<String, Vec<String>>);

impl Snapshot {
    /// The rows of a table, each as one text; empty where there is no such table.
    pub fn rows(&self, table: &str) -> &[String] {
        self.0.get(table).map_or(&[], Vec::as_slice)
    }

    /// Whether a row of `table` holds `text`.
    pub fn mentions(&self, table: &str, text: &str) -> bool {
        self.rows(table).iter().any(|row| row.contains(text))
    }

    /// The rows that are gone in `later`, as `- table row`, and then those that are
    /// new, as `+ table row`.
    pub fn changes(&self, later: &Self) -> Vec<String> {
        let mut changes = self.missing_in(later, '-');
        changes.extend(later.missing_in(self, '+'));
        changes
    }

    fn missing_in(&self, other: &Self, sign: char) -> Vec<String> {
        let rows = self
            .0
            .iter()
            .flat_map(|(table, rows)| rows.iter().map(move |row| (table, row)));
        rows.filter(|(table, row)| !other.rows(table).contains(row))
            .map(|(table, row)| format!("{sign} {table} {row}"))
            .collect()
    }
}

/// # Errors
///
/// [`Error::Look`] of each.
impl Server {
    /// The store, but for the records of attempts and decisions.
    pub fn snapshot(&self) -> Result<Snapshot, Error> {
        let store = self.open()?;
        let tables = "SELECT name FROM sqlite_schema WHERE type = 'table'";
        let tables = query(&store, tables, |row| row.get::<_, String>(0))?;
        let kept = tables
            .into_iter()
            .filter(|table| !RECORDS.contains(&table.as_str()));
        let rows = kept.map(|table| {
            let rows = query(&store, &format!("SELECT * FROM {table}"), text)?;
            Ok((table, rows))
        });
        Ok(Snapshot(rows.collect::<Result<_, Error>>()?))
    }

    /// The mail that waits, in the order in which it was written.
    pub fn mail(&self) -> Result<Vec<Mail>, Error> {
        let mail = "SELECT recipient, subject, body FROM outbox ORDER BY id";
        query(&self.open()?, mail, |row| {
            Ok(Mail {
                recipient: row.get(0)?,
                subject: row.get(1)?,
                body: row.get(2)?,
            })
        })
    }

    /// The audit trail, oldest first.
    pub fn audit(&self) -> Result<Vec<Record>, Error> {
        let audit = "SELECT caller, target, decision, reason FROM audit ORDER BY id";
        query(&self.open()?, audit, |row| {
            Ok(Record {
                caller: row.get(0)?,
                target: row.get(1)?,
                decision: row.get(2)?,
                reason: row.get(3)?,
            })
        })
    }

    /// Failed attempts in a row of `user`.
    pub fn failures(&self, user: &str) -> Result<u32, Error> {
        let failures = "SELECT coalesce(sum(count), 0) FROM failed_attempt WHERE user = ?1";
        Ok(self
            .open()?
            .query_row(failures, [id(user)], |row| row.get(0))?)
    }

    /// The six digits that `user` was mailed last; none where no such mail waits.
    pub fn sent_code(&self, user: &str) -> Result<Option<String>, Error> {
        let bodies = "SELECT body FROM outbox JOIN email ON recipient = address
                      WHERE holds_code AND user = ?1 ORDER BY outbox.id DESC LIMIT 1";
        let store = self.open()?;
        let mut bodies = store.prepare(bodies)?;
        let mut rows = bodies.query([id(user)])?;
        let Some(row) = rows.next()? else {
            return Ok(None);
        };
        Ok(code_in(&row.get::<_, String>(0)?))
    }

    fn open(&self) -> Result<Connection, Error> {
        Ok(Connection::open(self.store_file())?)
    }
}

fn query<T>(
    store: &Connection,
    query: &str,
    read: fn(&Row<'_>) -> tokio_rusqlite::rusqlite::Result<T>,
) -> Result<Vec<T>, Error> {
    let mut query = store.prepare(query)?;
    let rows = query.query_map([], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// All cells of a row, with blanks between them.
fn text(row: &Row<'_>) -> tokio_rusqlite::rusqlite::Result<String> {
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
    let cells: tokio_rusqlite::rusqlite::Result<Vec<String>> = cells.collect();
    Ok(cells?.join(" "))
}

/// The code in a mail that shows it as `123-456`.
fn code_in(mail: &str) -> Option<String> {
    let words = mail.split(|c: char| !c.is_ascii_digit() && c != '-');
    let mut halves = words.filter_map(|word| word.split_once('-'));
    let is_half = |half: &str| half.len() == 3 && half.bytes().all(|b| b.is_ascii_digit());
    halves
        .find(|(first, last)| is_half(first) && is_half(last))
        .map(|(first, last)| format!("{first}{last}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_in_a_mail_is_found() {
        let mail = "The code for ada-1 is 012-345. It can be used until 2033-05-18.";
        assert_eq!(code_in(mail).as_deref(), Some("012345"));
        assert_eq!(code_in("Nothing in 2033-05-18."), None);
    }

    #[test]
    fn rows_that_went_and_rows_that_came_are_told_by_table() {
        let of = |rows: &[(&str, &[&str])]| {
            let rows = rows.iter().map(|(table, rows)| {
                let rows = rows.iter().map(ToString::to_string).collect();
                ((*table).to_owned(), rows)
            });
            Snapshot(rows.collect())
        };
        let before = of(&[("totp", &["ada 1", "bob -"])]);
        let after = of(&[("totp", &["ada 2"]), ("outbox", &["bob"])]);
        assert_eq!(
            before.changes(&after),
            [
                "- totp ada 1",
                "- totp bob -",
                "+ outbox bob",
                "+ totp ada 2"
            ]
        );
        assert!(before.changes(&before).is_empty());
        assert!(before.mentions("totp", "bob") && !after.mentions("totp", "bob"));
    }
}
