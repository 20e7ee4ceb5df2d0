//! What happened: read from the store's file, as another process sees it.

use super::user::id;
use super::{Error, Server};
use chat_store::sqlite::evidence::{Evidence, Mail, Record};
use std::collections::BTreeMap;

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
        Ok(Snapshot(self.evidence()?.rows()?))
    }

    /// The mail that waits, in the order in which it was written.
    pub fn mail(&self) -> Result<Vec<Mail>, Error> {
        Ok(self.evidence()?.mail()?)
    }

    /// The audit trail, oldest first.
    pub fn audit(&self) -> Result<Vec<Record>, Error> {
        Ok(self.evidence()?.audit()?)
    }

    /// Failed attempts in a row of `user`.
    pub fn failures(&self, user: &str) -> Result<u32, Error> {
        Ok(self.evidence()?.failures(&id(user))?)
    }

    /// The six digits that `user` was mailed last; none where no such mail waits.
    pub fn sent_code(&self, user: &str) -> Result<Option<String>, Error> {
        let mail = self.evidence()?.sent_code(&id(user))?;
        Ok(mail.and_then(|mail| code_in(&mail)))
    }

    fn evidence(&self) -> Result<Evidence, Error> {
        Ok(Evidence::open(&self.store_file(), self.seal())?)
    }
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
