//! Documents, read field by field. Rocket.Chat's have no schema but what its versions wrote: a field
//! that is missing, or null, is its default; one of another type than its versions write is nothing
//! to work by, and is named, never what it holds.

use super::failure::Failure;
use chat_domain::time::Timestamp;
use mongodb::bson::{Bson, Document};

/// A document, and what it is called where something is wrong with it.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    document: &'a Document,
    /// For example `users`.
    collection: &'a str,
    /// Where in the collection's documents this one is, for example `services.totp.`; empty for one
    /// that is itself in the collection.
    path: &'a str,
    /// The id of the document in the collection.
    id: &'a str,
}

impl<'a> Fields<'a> {
    /// The fields of a document that is in this collection under this id.
    pub(super) fn of(document: &'a Document, collection: &'a str, id: &'a str) -> Self {
        Self {
            document,
            collection,
            path: "",
            id,
        }
    }

    /// The fields of a document within this one, which is at `path`: it ends with a dot.
    pub(super) fn within(self, document: &'a Document, path: &'a str) -> Self {
        Self {
            document,
            path,
            ..self
        }
    }

    pub(super) fn id(&self) -> &'a str {
        self.id
    }

    fn wrong(&self, name: &str, expected: &str) -> Failure {
        let Self {
            collection,
            path,
            id,
            ..
        } = self;
        let id = id.escape_debug();
        Failure::fault(format!("{collection}.{path}{name} of {id} is {expected}"))
    }

    fn get(&self, name: &str) -> Option<&'a Bson> {
        let value = self.document.get(name);
        value.filter(|value| !matches!(value, Bson::Null | Bson::Undefined))
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&'a str>, Failure> {
        match self.get(name) {
            None => Ok(None),
            Some(Bson::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(name, "no text")),
        }
    }

    /// A text that is only shown, or says in what language something is: of another type it is as
    /// good as missing, and keeps nobody from a reset.
    pub(super) fn shown(&self, name: &str) -> Option<&'a str> {
        self.text(name).ok().flatten()
    }

    /// A text that every version writes.
    pub(super) fn needed_text(&self, name: &str) -> Result<&'a str, Failure> {
        let text = self.text(name)?;
        text.ok_or_else(|| self.wrong(name, "missing"))
    }

    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, Failure> {
        match self.get(name) {
            None => Ok(None),
            Some(Bson::Boolean(flag)) => Ok(Some(*flag)),
            Some(_) => Err(self.wrong(name, "neither true nor false")),
        }
    }

    /// A whole number: JavaScript writes it as a double, too.
    pub(super) fn number(&self, name: &str) -> Result<Option<i64>, Failure> {
        match self.get(name) {
            None => Ok(None),
            Some(Bson::Int32(number)) => Ok(Some((*number).into())),
            Some(Bson::Int64(number)) => Ok(Some(*number)),
            Some(Bson::Double(number)) => {
                let whole = whole(*number);
                whole
                    .map(Some)
                    .ok_or_else(|| self.wrong(name, "no whole number"))
            }
            Some(_) => Err(self.wrong(name, "no number")),
        }
    }

    /// A number that is never negative; zero where it is missing.
    pub(super) fn count(&self, name: &str) -> Result<u32, Failure> {
        let number = self.number(name)?.unwrap_or_default();
        u32::try_from(number).map_err(|_| self.wrong(name, "no count"))
    }

    /// A number that is one of ours.
    pub(super) fn needed_number(&self, name: &str) -> Result<i64, Failure> {
        let number = self.number(name)?;
        number.ok_or_else(|| self.wrong(name, "missing"))
    }

    /// A moment that is one of ours: milliseconds of Unix time.
    pub(super) fn millis(&self, name: &str) -> Result<Option<Timestamp>, Failure> {
        Ok(self.number(name)?.map(Timestamp::from_millis))
    }

    /// A moment that is one of Rocket.Chat's.
    pub(super) fn date(&self, name: &str) -> Result<Option<Timestamp>, Failure> {
        match self.get(name) {
            None => Ok(None),
            Some(Bson::DateTime(date)) => Ok(Some(Timestamp::from_millis(date.timestamp_millis()))),
            Some(_) => Err(self.wrong(name, "no moment")),
        }
    }

    pub(super) fn bytes(&self, name: &str) -> Result<Option<Vec<u8>>, Failure> {
        match self.get(name) {
            None => Ok(None),
            Some(Bson::Binary(binary)) => Ok(Some(binary.bytes.clone())),
            Some(_) => Err(self.wrong(name, "no bytes")),
        }
    }

    pub(super) fn document(&self, name: &str) -> Result<Option<&'a Document>, Failure> {
        match self.get(name) {
            None => Ok(None),
            Some(Bson::Document(document)) => Ok(Some(document)),
            Some(_) => Err(self.wrong(name, "no document")),
        }
    }

    /// What a list holds; nothing where it is missing.
    pub(super) fn list(&self, name: &str) -> Result<&'a [Bson], Failure> {
        match self.get(name) {
            None => Ok(&[]),
            Some(Bson::Array(list)) => Ok(list),
            Some(_) => Err(self.wrong(name, "no list")),
        }
    }

    pub(super) fn texts(&self, name: &str) -> Result<Vec<String>, Failure> {
        let texts = self.list(name)?.iter().map(|item| match item {
            Bson::String(text) => Ok(text.clone()),
            _ => Err(self.wrong(name, "no list of texts")),
        });
        texts.collect()
    }

    pub(super) fn documents(&self, name: &str) -> Result<Vec<&'a Document>, Failure> {
        let documents = self.list(name)?.iter().map(|item| match item {
            Bson::Document(document) => Ok(document),
            _ => Err(self.wrong(name, "no list of documents")),
        });
        documents.collect()
    }

    /// A list of documents, or one, as another version writes it.
    pub(super) fn one_or_more(&self, name: &str) -> Result<OneOrMore<'a>, Failure> {
        match self.get(name) {
            Some(Bson::Document(document)) => Ok(OneOrMore::One(document)),
            _ => Ok(OneOrMore::More(self.documents(name)?)),
        }
    }
}

/// One document, or a list of them.
pub(super) enum OneOrMore<'a> {
    One(&'a Document),
    More(Vec<&'a Document>),
}

/// The integer that a double is.
fn whole(number: f64) -> Option<i64> {
    /// Beyond it not every integer is a double.
    const LAST: f64 = 9_007_199_254_740_992.0;
    let is_whole = number.fract() == 0.0 && number.abs() <= LAST;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "it is whole, and less than 2^53"
    )]
    is_whole.then_some(number as i64)
}

/// The id of a document, for people: it may be anything.
pub(super) fn id_of(document: &Document) -> String {
    match document.get("_id") {
        Some(Bson::String(id)) => id.clone(),
        Some(id) => id.to_string(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mongodb::bson::doc;

    #[test]
    fn a_number_is_whole_however_javascript_has_written_it() {
        let document = doc! {
            "int": 7_i32, "long": 7_i64, "double": 7.0, "none": Bson::Null, "negative": -1,
            "half": 0.5, "large": 1e300, "last": 9_007_199_254_740_992.0, "text": "7",
        };
        let fields = Fields::of(&document, "users", "alice");
        for name in ["int", "long", "double"] {
            assert_eq!(fields.number(name).unwrap(), Some(7), "{name}");
            assert_eq!(fields.count(name).unwrap(), 7, "{name}");
        }
        for name in ["none", "missing"] {
            assert_eq!(fields.number(name).unwrap(), None, "{name}");
            assert_eq!(fields.count(name).unwrap(), 0, "{name}");
            assert!(fields.needed_number(name).is_err(), "{name}");
        }
        assert_eq!(fields.number("last").unwrap(), Some(1 << 53));
        for name in ["half", "large", "text"] {
            assert!(fields.number(name).is_err(), "{name}");
        }
        assert!(fields.count("negative").is_err());
    }

    #[test]
    fn what_is_wrong_is_named_by_its_place() {
        let document = doc! { "totp": { "secret": 7 } };
        let services = Fields::of(&document, "users", "a\nb");
        let totp = services.document("totp").unwrap().unwrap();
        let wrong = services.within(totp, "services.totp.").text("secret");
        let told = crate::StoreError::from(wrong.unwrap_err()).to_string();
        assert_eq!(
            told,
            "the store failed: users.services.totp.secret of a\\nb is no text"
        );
    }
}
