//! What is asked of a server, and how its answers are read.

use super::failure::{Failure, Kind};
use bytes::BytesMut;
use chat_domain::time::Timestamp;
use std::error::Error;
use std::fmt;
use tokio_postgres::Row;
use tokio_postgres::types::{FromSqlOwned, IsNull, ToSql, Type};

/// One statement and what it is given, in the place of `$1`, `$2`, ….
#[derive(Debug)]
pub(super) struct Query {
    pub(super) sql: &'static str,
    pub(super) values: Vec<Value>,
}

/// `query!(sql, values…)`.
macro_rules! query {
    ($sql:expr $(, $value:expr)* $(,)?) => {
        $crate::postgres::query::Query {
            sql: $sql,
            values: vec![$($crate::postgres::query::Value::from($value)),*],
        }
    };
}
pub(super) use query;

/// What a statement is given. It shows nothing of itself: the client writes what it sends
/// into a log that is asked for details.
pub(super) enum Value {
    Text(Option<String>),
    Texts(Vec<String>),
    Number(Option<i64>),
    Numbers(Vec<i64>),
    Flag(bool),
    Bytes(Vec<u8>),
    ManyBytes(Vec<Vec<u8>>),
}

impl Value {
    /// What something is looked up by. PostgreSQL has no text with a NUL in it, so nothing
    /// is found by one.
    pub(super) fn key(text: &str) -> Self {
        Self::Text((!text.contains('\0')).then(|| text.to_owned()))
    }
}

/// A NUL, which PostgreSQL cannot keep, is kept as U+FFFD.
impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(Some(text.replace('\0', "\u{fffd}")))
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

impl From<Option<&str>> for Value {
    fn from(text: Option<&str>) -> Self {
        text.map_or(Self::Text(None), Self::from)
    }
}

impl From<&Option<String>> for Value {
    fn from(text: &Option<String>) -> Self {
        text.as_deref().into()
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(Some(number))
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        i64::from(number).into()
    }
}

/// Steps of time, of which there are far fewer.
impl From<u64> for Value {
    fn from(number: u64) -> Self {
        number.cast_signed().into()
    }
}

impl From<Option<u64>> for Value {
    fn from(number: Option<u64>) -> Self {
        Self::Number(number.map(u64::cast_signed))
    }
}

impl From<Timestamp> for Value {
    fn from(moment: Timestamp) -> Self {
        moment.millis().into()
    }
}

impl From<Option<Timestamp>> for Value {
    fn from(moment: Option<Timestamp>) -> Self {
        Self::Number(moment.map(Timestamp::millis))
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

impl From<Option<i64>> for Value {
    fn from(number: Option<i64>) -> Self {
        Self::Number(number)
    }
}

impl From<Vec<i64>> for Value {
    fn from(numbers: Vec<i64>) -> Self {
        Self::Numbers(numbers)
    }
}

impl From<Vec<Vec<u8>>> for Value {
    fn from(many: Vec<Vec<u8>>) -> Self {
        Self::ManyBytes(many)
    }
}

impl From<Vec<String>> for Value {
    fn from(texts: Vec<String>) -> Self {
        Self::Texts(texts)
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl ToSql for Value {
    fn to_sql(
        &self,
        type_: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        self.to_sql_checked(type_, out)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn to_sql_checked(
        &self,
        type_: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Self::Text(text) => text.to_sql_checked(type_, out),
            Self::Texts(texts) => texts.to_sql_checked(type_, out),
            Self::Number(number) => number.to_sql_checked(type_, out),
            Self::Numbers(numbers) => numbers.to_sql_checked(type_, out),
            Self::Flag(flag) => flag.to_sql_checked(type_, out),
            Self::Bytes(bytes) => bytes.to_sql_checked(type_, out),
            Self::ManyBytes(many) => many.to_sql_checked(type_, out),
        }
    }
}

/// What is in a column.
pub(super) fn get<T: FromSqlOwned>(row: &Row, column: usize) -> Result<T, Failure> {
    Ok(row.try_get(column)?)
}

/// How many.
pub(super) fn count(row: &Row, column: usize) -> Result<u32, Failure> {
    let number: i64 = get(row, column)?;
    number
        .try_into()
        .map_err(|_| Failure::new(Kind::Fault, format!("{number} is no count")))
}

/// As [`count`], where it may be missing.
pub(super) fn count_if_any(row: &Row, column: usize) -> Result<Option<u32>, Failure> {
    match get::<Option<i64>>(row, column)? {
        Some(_) => count(row, column).map(Some),
        None => Ok(None),
    }
}

pub(super) fn moment(row: &Row, column: usize) -> Result<Timestamp, Failure> {
    get(row, column).map(Timestamp::from_millis)
}

pub(super) fn moment_if_any(row: &Row, column: usize) -> Result<Option<Timestamp>, Failure> {
    let millis: Option<i64> = get(row, column)?;
    Ok(millis.map(Timestamp::from_millis))
}

/// A list in a column; none is an empty one.
pub(super) fn list<T: FromSqlOwned>(row: &Row, column: usize) -> Result<Vec<T>, Failure> {
    let list: Option<Vec<T>> = get(row, column)?;
    Ok(list.unwrap_or_default())
}
