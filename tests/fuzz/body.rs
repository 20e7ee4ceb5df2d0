//! `reset_totp::body` against a second reader.

use crate::engine::fuzz;
use crate::request::{Body, ContentType, MARK};
use bolero::TypeGenerator;
use reset_totp::body::{InvalidParams, Subject, parse};
use reset_totp::contract::chat::reset_totp::users::Selector;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use std::fmt;

#[derive(Debug, TypeGenerator)]
struct Case {
    content_type: ContentType,
    body: Body,
}

/// CVE-2022-35248: what is not understood never changes whom a request is about,
/// and what is refused is not quoted, but for the key that is unknown.
#[test]
fn a_body_names_whom_a_second_reader_finds_in_it_or_is_refused() {
    fuzz(5_000, |case: &Case| {
        let (content_type, body) = (case.content_type.text(), case.body.bytes());
        let subject = parse(content_type, &body);
        assert_eq!(
            subject.as_ref().ok(),
            subject_of(content_type, &body).as_ref()
        );
        if let Err(problem) = subject {
            says_no_more_than_it_may(&problem, &case.body);
        }
    });
}

fn says_no_more_than_it_may(problem: &InvalidParams, body: &Body) {
    let text = problem.explanation();
    assert!(text.chars().count() <= 200, "{text}");
    let quotes_a_key = text.starts_with("unknown key `");
    let quotes_a_value = text.contains(MARK);
    assert!(
        !quotes_a_value || quotes_a_key && !body.is_whole(),
        "{text}"
    );
}

/// Whom the body names, by a reader that first reads everything and then looks
/// at it as a whole; none where it is not what the contract allows.
fn subject_of(content_type: Option<&str>, body: &[u8]) -> Option<Subject> {
    if body.is_empty() {
        return Some(Subject::Caller);
    }
    let text = std::str::from_utf8(body).ok()?;
    let unmarked = match body {
        [0xef, 0xbb, 0xbf, ..] => text.get(3..)?,
        _ => text,
    };
    let is_object = unmarked
        .trim_start_matches([' ', '\t', '\n', '\r', '\x0c'])
        .starts_with('{');
    let members = if is_object {
        object(unmarked)?
    } else if is_form(content_type?) {
        form(text)?
    } else {
        return None;
    };
    let known = ["userId", "username", "user"];
    let times = |key: &str| members.iter().filter(|(name, _)| name == key).count();
    if members
        .iter()
        .any(|(key, _)| !known.contains(&key.as_str()) || times(key) > 1)
    {
        return None;
    }
    if members.is_empty() {
        return Some(Subject::Caller);
    }
    let value = |key| members.iter().find(|(name, _)| name == key);
    let selectors = known.into_iter().filter_map(value);
    let selectors = selectors.filter(|(_, value)| !value.trim().is_empty());
    let selectors = selectors.map(|(key, value)| match key.as_str() {
        "userId" => Selector::Id(value.clone()),
        _ => Selector::Username(value.clone()),
    });
    Some(Subject::Member(selectors.collect()))
}

fn is_form(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default();
    let form = "application/x-www-form-urlencoded";
    essence.trim().eq_ignore_ascii_case(form)
}

/// The members of an object whose values are all text, in their order.
fn object(text: &str) -> Option<Vec<(String, String)>> {
    let Members(members) = serde_json::from_str(text).ok()?;
    let text = |(key, value)| match value {
        Value::String(value) => Some((key, value)),
        _ => None,
    };
    members.into_iter().map(text).collect()
}

/// Also those of the same key.
struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Members;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = object.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(All)
    }
}

/// The fields of a form, in their order.
fn form(text: &str) -> Option<Vec<(String, String)>> {
    let field = |field: &str| {
        let (key, value) = field.split_once('=').unwrap_or((field, ""));
        Some((decoded(key)?, decoded(value)?))
    };
    text.split('&').map(field).collect()
}

/// A `%` that no two hexadecimal digits follow stands for itself (WHATWG URL,
/// section 1.3).
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digit = |digit: &u8| char::from(*digit).to_digit(16);
        let escaped = match after {
            [high, low, ..] if first == b'%' => digit(high).zip(digit(low)),
            _ => None,
        };
        let byte = match (first, escaped) {
            (_, Some((high, low))) => u8::try_from(16 * high + low).ok()?,
            (b'+', None) => b' ',
            (byte, None) => byte,
        };
        bytes.push(byte);
        rest = if escaped.is_some() {
            after.get(2..)?
        } else {
            after
        };
    }
    String::from_utf8(bytes).ok()
}
