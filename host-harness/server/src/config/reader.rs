//! Typed access to the text of a configuration file, which notes every problem
//! with its place.

use super::ConfigError;
use super::problem::Problem;
use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Characters of a line that are quoted.
const QUOTE_LIMIT: usize = 100;

/// One key that a table may have, and what it does to the table's target.
pub(super) struct Key<T> {
    pub(super) name: &'static str,
    pub(super) read: fn(&mut T, &Entry<'_>, &mut Reader<'_>),
}

/// A key and its value in the file.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    key: &'a Spanned<Cow<'a, str>>,
    value: &'a Spanned<DeValue<'a>>,
}

impl<'a> Entry<'a> {
    pub(super) fn name(&self) -> &'a str {
        self.key.get_ref()
    }

    pub(super) fn value(&self) -> &'a DeValue<'a> {
        self.value.get_ref()
    }

    pub(super) fn is_table(&self) -> bool {
        matches!(self.value(), DeValue::Table(_))
    }

    pub(super) fn is_empty_list(&self) -> bool {
        matches!(self.value(), DeValue::Array(list) if list.is_empty())
    }
}

/// Reads a file to its end, whatever is wrong with it.
pub(super) struct Reader<'a> {
    source: &'a str,
    /// Where each line ends.
    line_ends: Vec<usize>,
    folder: &'a Path,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    /// For the text `source`, whose paths are relative to `folder`.
    pub(super) fn new(source: &'a str, folder: &'a Path) -> Self {
        Self {
            source,
            line_ends: source.match_indices('\n').map(|(end, _)| end).collect(),
            folder,
            problems: Vec::new(),
        }
    }

    /// The line of a key, from 1.
    pub(super) fn line(&self, entry: &Entry<'_>) -> usize {
        let offset = entry.key.span().start;
        self.line_ends.partition_point(|end| *end < offset) + 1
    }

    pub(super) fn folder(&self) -> &'a Path {
        self.folder
    }

    /// Ends the reading.
    ///
    /// # Errors
    ///
    /// When there was a problem.
    pub(super) fn finish(self, path: &Path) -> Result<(), ConfigError> {
        if self.problems.is_empty() {
            return Ok(());
        }
        Err(ConfigError::of(path, self.source, self.problems))
    }

    /// Reads the whole file. What is no TOML is not looked at further, and of its
    /// lines only those are quoted whose key `is_quotable`.
    pub(super) fn file<T>(
        &mut self,
        keys: &[Key<T>],
        target: &mut T,
        is_quotable: fn(&str) -> bool,
    ) {
        let (table, errors) = DeTable::parse_recoverable(self.source);
        for error in &errors {
            let offset = error.span().map_or(self.source.len(), |span| span.start);
            let quote = quote_unread(self.source, offset, is_quotable);
            self.note(offset, error.message().to_owned(), quote);
        }
        if errors.is_empty() {
            self.keys(table.get_ref(), keys, target);
        }
    }

    /// Says what the file lacks, unless another problem may be why.
    pub(super) fn refuse_lack(&mut self, what: &str) {
        if self.problems.is_empty() {
            self.note(self.source.len(), what.to_owned(), None);
        }
    }

    /// Reads the table of `entry`.
    pub(super) fn table<T>(&mut self, entry: &Entry<'_>, keys: &[Key<T>], target: &mut T) {
        match entry.value() {
            DeValue::Table(table) => self.keys(table, keys, target),
            _ => self.refuse_kind(entry, "a table"),
        }
    }

    /// In the order of `keys`.
    fn keys<T>(&mut self, table: &DeTable<'_>, keys: &[Key<T>], target: &mut T) {
        for (key, value) in table {
            if keys.iter().all(|known| known.name != key.get_ref()) {
                let names = keys.iter().map(|key| key.name);
                self.unknown(&Entry { key, value }, names);
            }
        }
        for known in keys {
            if let Some((key, value)) = table.get_key_value(known.name) {
                (known.read)(target, &Entry { key, value }, self);
            }
        }
    }

    /// The entries of the table of `entry`, sorted by name.
    pub(super) fn entries<'e>(&mut self, entry: &Entry<'e>) -> Vec<Entry<'e>> {
        let DeValue::Table(table) = entry.value() else {
            self.refuse_kind(entry, "a table");
            return Vec::new();
        };
        table
            .iter()
            .map(|(key, value)| Entry { key, value })
            .collect()
    }

    /// Puts into `slot` what `parse` makes of a text.
    pub(super) fn text<T>(
        &mut self,
        entry: &Entry<'_>,
        slot: &mut T,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) {
        let DeValue::String(text) = entry.value() else {
            return self.refuse_kind(entry, "a text in quotation marks");
        };
        match parse(text) {
            Ok(value) => *slot = value,
            Err(what) => self.refuse(entry, &what),
        }
    }

    /// Puts into `slot` what `parse` makes of each text of a list.
    pub(super) fn texts<T, C: FromIterator<T>>(
        &mut self,
        entry: &Entry<'_>,
        slot: &mut C,
        parse: impl Fn(&str) -> Result<T, String>,
    ) {
        let DeValue::Array(items) = entry.value() else {
            return self.refuse_kind(entry, "a list of texts such as [\"…\"]");
        };
        let mut values = Vec::with_capacity(items.len());
        for item in items.iter() {
            let parsed = match item.get_ref() {
                DeValue::String(text) => parse(text),
                _ => Err("each of the list is a text in quotation marks".to_owned()),
            };
            match parsed {
                Ok(value) => values.push(value),
                Err(what) => self.refuse_value(entry, item, &what),
            }
        }
        if values.len() == items.len() {
            *slot = values.into_iter().collect();
        }
    }

    /// Puts a whole number of the range into `slot`.
    pub(super) fn number<T: TryFrom<u64>>(
        &mut self,
        entry: &Entry<'_>,
        slot: &mut T,
        range: &RangeInclusive<u64>,
        unit: &str,
    ) {
        let number = match entry.value() {
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        };
        let number = number.filter(|number| range.contains(number));
        match number.and_then(|number| number.try_into().ok()) {
            Some(number) => *slot = number,
            None => {
                let (least, most) = (range.start(), range.end());
                self.refuse(
                    entry,
                    &format!("it is a whole number, {least} to {most} {unit}"),
                );
            }
        }
    }

    /// Says that there is no such key, and which is meant.
    pub(super) fn unknown(
        &mut self,
        entry: &Entry<'_>,
        names: impl Iterator<Item = &'static str> + Clone,
    ) {
        let name = entry.name();
        let what = format!(
            "unknown key `{}`; {}",
            name.escape_debug(),
            suggestion(name, names)
        );
        self.note(entry.key.span().start, what, None);
    }

    /// Says what is wrong with a key that is known, or with its table.
    pub(super) fn refuse_key(&mut self, entry: &Entry<'_>, what: &str) {
        let what = format!("{}: {what}", entry.name().escape_debug());
        self.note(entry.key.span().start, what, None);
    }

    /// Says what is wrong with the value, and quotes it.
    pub(super) fn refuse(&mut self, entry: &Entry<'_>, what: &str) {
        self.refuse_value(entry, entry.value, what);
    }

    /// Says what is wrong with a value that nobody must see.
    pub(super) fn refuse_secret(&mut self, entry: &Entry<'_>, what: &str) {
        let what = format!("{}: {what}", entry.name());
        self.note(entry.value.span().start, what, None);
    }

    fn refuse_value(&mut self, entry: &Entry<'_>, value: &Spanned<DeValue<'_>>, what: &str) {
        let what = format!("{}: {what}", entry.name().escape_debug());
        let is_plain = !matches!(value.get_ref(), DeValue::Table(_) | DeValue::Array(_));
        let text = self.source.get(value.span()).filter(|_| is_plain);
        self.note(value.span().start, what, text.and_then(quote));
    }

    fn refuse_kind(&mut self, entry: &Entry<'_>, kind: &str) {
        self.refuse(entry, &format!("it is {kind}"));
    }

    fn note(&mut self, offset: usize, what: String, quote: Option<String>) {
        self.problems.push(Problem {
            offset,
            what,
            quote,
            position: (0, 0),
        });
    }
}

/// A path of the file: relative to its folder.
pub(super) fn path(folder: &Path, text: &str) -> Result<PathBuf, String> {
    if text.is_empty() || text.contains('\0') {
        return Err("it is a path".to_owned());
    }
    Ok(folder.join(text))
}

/// The name that is meant, or all that there are.
pub(super) fn suggestion(name: &str, names: impl Iterator<Item = &'static str> + Clone) -> String {
    let distance = |known: &&'static str| strsim::damerau_levenshtein(name, known);
    let nearest = names.clone().min_by_key(distance);
    // A third of the letters may be wrong: more is another word.
    match nearest.filter(|known| distance(known) <= known.len().div_ceil(3)) {
        Some(known) => format!("did you mean `{known}`?"),
        None => format!("there are {}", names.collect::<Vec<_>>().join(", ")),
    }
}

/// The first line of a value, unless it is an address with a log-in in it. What
/// a terminal would obey is written as its escape.
fn quote(text: &str) -> Option<String> {
    let has_log_in = text.contains("://") && text.contains('@');
    let line = text.lines().next().filter(|_| !has_log_in)?;
    let (mut quote, characters) = (String::new(), line.chars().take(QUOTE_LIMIT));
    for c in characters {
        match c.is_control() {
            true => quote.extend(c.escape_default()),
            false => quote.push(c),
        }
    }
    Some(quote)
}

/// The line at `offset`, of which the reading ended: as far as it is sure to be
/// no part of a secret.
fn quote_unread(source: &str, offset: usize, is_quotable: fn(&str) -> bool) -> Option<String> {
    let begin = source.get(..offset)?.rfind('\n').map_or(0, |end| end + 1);
    let line = source.get(begin..)?.lines().next()?;
    let (key, value) = line.split_once('=')?;
    let name = key.rsplit('.').next()?.trim();
    let is_plain = is_quotable(name) && !value.contains('=');
    is_plain.then(|| quote(line)).flatten()
}
