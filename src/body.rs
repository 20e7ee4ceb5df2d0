//! Whom the request's body names.

use crate::contract::chat::reset_totp::users::Selector;
use percent_encoding::percent_decode_str;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// Longest explanation given to the client, in characters: it may quote an
/// unknown key.
const MAX_EXPLANATION: usize = 200;

/// What some programs write before every text in UTF-8.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// Whose factor the body asks to remove.
#[derive(Debug, PartialEq, Eq)]
pub enum Subject {
    /// The caller's own: the body is empty or `{}`.
    Caller,
    /// That of the member whom the keys `userId`, `username` and `user` name;
    /// keys whose value is blank are left out.
    Member(Vec<Selector>),
}

/// What is wrong with the body, and where, in words for the client.
#[derive(Debug, PartialEq, Eq)]
pub struct InvalidParams(String);

impl InvalidParams {
    /// An explanation, cut to a length fit for an answer.
    pub fn new(what: impl fmt::Display) -> Self {
        Self(what.to_string().chars().take(MAX_EXPLANATION).collect())
    }

    /// The explanation.
    pub fn explanation(&self) -> &str {
        &self.0
    }
}

/// Reads `body`: JSON when its text is a JSON object, whatever `content_type`
/// says; a form when `content_type` says so. A byte order mark before an object is passed
/// over (RFC 8259 section 8.1).
///
/// # Errors
///
/// [`InvalidParams`] when the body is not UTF-8, is neither a JSON object nor a
/// form, or has an unknown or duplicate key or a value that is not a string.
pub fn parse(content_type: Option<&str>, body: &[u8]) -> Result<Subject, InvalidParams> {
    if body.is_empty() {
        return Ok(Subject::Caller);
    }
    let text = std::str::from_utf8(body)
        .map_err(|e| InvalidParams::new(format_args!("the body is not UTF-8: {e}")))?;
    let object = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let keys = if object.trim_ascii_start().starts_with('{') {
        serde_json::from_str(object).map_err(InvalidParams::new)?
    } else if content_type.is_some_and(is_form) {
        parse_form(text)?
    } else {
        return Err(InvalidParams::new("the body is not a JSON object"));
    };
    Ok(keys.subject())
}

#[derive(Default)]
struct Keys {
    user_id: Option<String>,
    username: Option<String>,
    user: Option<String>,
}

impl Keys {
    /// Takes a key and its value; the error says what is wrong with the key.
    fn set(&mut self, key: &str, value: String) -> Result<(), String> {
        let slot = match key {
            "userId" => &mut self.user_id,
            "username" => &mut self.username,
            "user" => &mut self.user,
            _ => {
                return Err(format!(
                    "unknown key `{key}`, expected `userId`, `username` or `user`"
                ));
            }
        };
        match slot.replace(value) {
            None => Ok(()),
            Some(_) => Err(format!("duplicate key `{key}`")),
        }
    }

    fn subject(self) -> Subject {
        if self.user_id.is_none() && self.username.is_none() && self.user.is_none() {
            return Subject::Caller;
        }
        let selectors = [
            self.user_id.map(Selector::Id),
            self.username.map(Selector::Username),
            self.user.map(Selector::Username),
        ];
        let blank = |selector: &Selector| match selector {
            Selector::Id(text) | Selector::Username(text) => text.trim().is_empty(),
        };
        Subject::Member(
            selectors
                .into_iter()
                .flatten()
                .filter(|selector| !blank(selector))
                .collect(),
        )
    }
}

/// What a visitor answers to a JSON value that it does not expect. serde's own
/// answers quote the value, and so bring the formatting of floating-point
/// numbers into the component: a fifth of its size.
macro_rules! refuse {
    ($problem:literal, $($visit:ident $(: $value:ty)?),+) => {
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str($problem)
        }
        $(fn $visit<E: Error>(self $(, _: $value)?) -> Result<Self::Value, E> {
            Err(E::custom($problem))
        })+
        fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
            Err(A::Error::custom($problem))
        }
    };
}

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Keys;
            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Keys, A::Error> {
                let mut keys = Keys::default();
                while let Some(key) = object.next_key::<String>()? {
                    let Text(value) = object.next_value()?;
                    keys.set(&key, value).map_err(A::Error::custom)?;
                }
                Ok(keys)
            }
            refuse!(
                "the body is not a JSON object",
                visit_unit, visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64,
                visit_str: &str
            );
        }
        deserializer.deserialize_any(Object)
    }
}

struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Anything;
        impl<'de> Visitor<'de> for Anything {
            type Value = Text;
            fn visit_str<E: Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<Text, A::Error> {
                Err(A::Error::custom("a value is not a string"))
            }
            refuse!(
                "a value is not a string",
                visit_unit, visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64
            );
        }
        deserializer.deserialize_any(Anything)
    }
}

fn is_form(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default();
    essence
        .trim()
        .eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

/// Reads the `application/x-www-form-urlencoded` form `text`.
fn parse_form(text: &str) -> Result<Keys, InvalidParams> {
    let mut keys = Keys::default();
    for pair in text.split('&') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        keys.set(&decode(key)?, decode(value)?)
            .map_err(InvalidParams::new)?;
    }
    Ok(keys)
}

fn decode(text: &str) -> Result<String, InvalidParams> {
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced)
        .decode_utf8()
        .map(String::from)
        .map_err(|_| InvalidParams::new("a form field is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: Option<&str> = Some("application/x-www-form-urlencoded");
    const FORM_WITH_CHARSET: Option<&str> =
        Some("Application/X-WWW-Form-Urlencoded; charset=utf-8");
    const JSON: Option<&str> = Some("application/json");

    fn id(id: &str) -> Selector {
        Selector::Id(id.to_owned())
    }

    fn name(username: &str) -> Selector {
        Selector::Username(username.to_owned())
    }

    #[test]
    fn nothing_and_the_empty_object_mean_the_caller() {
        for content_type in [None, JSON, FORM] {
            for body in ["", "{}", " {\n} "] {
                assert_eq!(parse(content_type, body.as_bytes()), Ok(Subject::Caller));
            }
        }
    }

    #[test]
    fn each_key_names_a_member() {
        for (content_type, body, selectors) in [
            (JSON, r#"{"userId":"u1"}"#, vec![id("u1")]),
            (JSON, "\u{feff}{\"userId\":\"u1\"}", vec![id("u1")]),
            (FORM, r#"{ "userId":"u1" }"#, vec![id("u1")]),
            (None, r#"{"username":"bob"}"#, vec![name("bob")]),
            (JSON, r#"{"user":"bob"}"#, vec![name("bob")]),
            (
                JSON,
                r#"{"username":"a","userId":"u1"}"#,
                vec![id("u1"), name("a")],
            ),
            (
                JSON,
                r#"{"user":"b","username":"a"}"#,
                vec![name("a"), name("b")],
            ),
            (
                JSON,
                r#"{"userId":" ","username":"bob"}"#,
                vec![name("bob")],
            ),
            (JSON, r#"{"userId":""}"#, vec![]),
            (FORM, "userId=u1", vec![id("u1")]),
            (FORM, "username=J%C3%BCrgen+B", vec![name("Jürgen B")]),
            (FORM, "userId=&user=bob", vec![name("bob")]),
            (FORM_WITH_CHARSET, "user=bob", vec![name("bob")]),
        ] {
            let expected = Ok(Subject::Member(selectors));
            assert_eq!(parse(content_type, body.as_bytes()), expected, "{body}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (content_type, body, explanation) in [
            (
                JSON,
                r#"{"userId":"#,
                "EOF while parsing a value at line 1 column 10",
            ),
            (
                JSON,
                r#"{"userID":"u1"}"#,
                "unknown key `userID`, expected `userId`, `username` or `user` at line 1 column 15",
            ),
            (
                JSON,
                r#"{"user":"","user":""}"#,
                "duplicate key `user` at line 1 column 21",
            ),
            (
                JSON,
                r#"{"user":null}"#,
                "a value is not a string at line 1 column 12",
            ),
            (
                JSON,
                r#"{"userId":{"$ne":null}}"#,
                "a value is not a string at line 1 column 11",
            ),
            (
                JSON,
                r#"{"userId":["u1"]}"#,
                "a value is not a string at line 1 column 11",
            ),
            (
                JSON,
                r#"{"userId":7}"#,
                "a value is not a string at line 1 column 11",
            ),
            (
                JSON,
                r#"{"userId":7.5}"#,
                "a value is not a string at line 1 column 13",
            ),
            (
                JSON,
                r#"{"userId":"u1"} x"#,
                "trailing characters at line 1 column 17",
            ),
            (JSON, r#"["u1"]"#, "the body is not a JSON object"),
            (JSON, r#""u1""#, "the body is not a JSON object"),
            (JSON, " ", "the body is not a JSON object"),
            (JSON, "userId=u1", "the body is not a JSON object"),
            (None, "userId=u1", "the body is not a JSON object"),
            (JSON, "\u{feff}", "the body is not a JSON object"),
            (JSON, "\u{feff}\u{feff}{}", "the body is not a JSON object"),
            (JSON, " \u{feff}{}", "the body is not a JSON object"),
            (
                FORM,
                "\u{feff}userId=u1",
                "unknown key `\u{feff}userId`, expected `userId`, `username` or `user`",
            ),
            (
                FORM,
                r#"["u1"]"#,
                r#"unknown key `["u1"]`, expected `userId`, `username` or `user`"#,
            ),
            (
                FORM,
                "userid=u1",
                "unknown key `userid`, expected `userId`, `username` or `user`",
            ),
            (FORM, "userId=u1&userId=u1", "duplicate key `userId`"),
            (
                FORM,
                "userId=u1&",
                "unknown key ``, expected `userId`, `username` or `user`",
            ),
            (FORM, "userId=%FF", "a form field is not UTF-8"),
        ] {
            let expected = Err(InvalidParams::new(explanation));
            assert_eq!(parse(content_type, body.as_bytes()), expected, "{body}");
        }
    }

    /// Recursion on hostile depth would exhaust the stack.
    #[test]
    fn depth_is_refused_at_the_first_level() {
        let body = format!(
            "{{\"userId\":{}{}}}",
            "[".repeat(10_000),
            "]".repeat(10_000)
        );
        let expected = "a value is not a string at line 1 column 11";
        assert_eq!(
            parse(JSON, body.as_bytes()),
            Err(InvalidParams::new(expected))
        );
    }

    #[test]
    fn a_body_that_is_not_utf_8_is_refused() {
        let error = parse(JSON, b"{\"userId\":\"\xff\"}").unwrap_err();
        assert!(error.explanation().starts_with("the body is not UTF-8: "));
    }

    #[test]
    fn an_explanation_is_short_whatever_it_quotes() {
        let body = format!("{{\"{}\":\"\"}}", "k".repeat(3000));
        let error = parse(JSON, body.as_bytes()).unwrap_err();
        assert_eq!(error.explanation().chars().count(), MAX_EXPLANATION);
    }
}
