//! Whom the request's body names.

use percent_encoding::percent_decode_str;
use serde::{Deserialize, Deserializer};

/// Longest explanation given to the client, in characters: it may quote an
/// unknown key.
const MAX_EXPLANATION: usize = 200;

/// Whose factor the body asks to remove.
#[derive(Debug, PartialEq, Eq)]
pub enum Subject {
    /// The caller's own: the body is empty or `{}`.
    Caller,
    /// That of the member whom the keys name.
    Member(Selectors),
}

/// The values of the keys that are present and not blank.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Selectors {
    /// `userId`.
    pub id: Option<String>,
    /// `username` or `user`.
    pub username: Option<String>,
}

/// What is wrong with the body, and where, in words for the client.
#[derive(Debug, PartialEq, Eq)]
pub struct InvalidParams(pub String);

impl InvalidParams {
    fn new(what: impl ToString) -> Self {
        Self(what.to_string().chars().take(MAX_EXPLANATION).collect())
    }
}

/// Reads `body`: JSON when its text is a JSON object, whatever `content_type`
/// says; a form when `content_type` says so.
///
/// # Errors
///
/// [`InvalidParams`] when the body is not UTF-8, is neither a JSON object nor a
/// form, has an unknown or duplicate key or a value that is not a string, or
/// names two different usernames.
pub fn parse(content_type: Option<&str>, body: &[u8]) -> Result<Subject, InvalidParams> {
    if body.is_empty() {
        return Ok(Subject::Caller);
    }
    let text = std::str::from_utf8(body)
        .map_err(|e| InvalidParams::new(format!("the body is not UTF-8: {e}")))?;
    let keys = if text.trim_ascii_start().starts_with('{') {
        serde_json::from_str(text).map_err(InvalidParams::new)?
    } else if content_type.is_some_and(is_form) {
        parse_form(text)?
    } else {
        return Err(InvalidParams::new("the body is not a JSON object"));
    };
    subject(keys)
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Keys {
    #[serde(default, deserialize_with = "string")]
    user_id: Option<String>,
    #[serde(default, deserialize_with = "string")]
    username: Option<String>,
    #[serde(default, deserialize_with = "string")]
    user: Option<String>,
}

/// A string where the key is present: `Option` alone would take `null`.
fn string<'de, D: Deserializer<'de>>(value: D) -> Result<Option<String>, D::Error> {
    String::deserialize(value).map(Some)
}

fn subject(keys: Keys) -> Result<Subject, InvalidParams> {
    if keys.user_id.is_none() && keys.username.is_none() && keys.user.is_none() {
        return Ok(Subject::Caller);
    }
    let filled = |value: Option<String>| value.filter(|v| !v.trim().is_empty());
    let username = match (filled(keys.username), filled(keys.user)) {
        (Some(a), Some(b)) if a.to_lowercase() != b.to_lowercase() => {
            return Err(InvalidParams::new("username and user name different users"));
        }
        (a, b) => a.or(b),
    };
    Ok(Subject::Member(Selectors {
        id: filled(keys.user_id),
        username,
    }))
}

fn is_form(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

/// Reads the `application/x-www-form-urlencoded` form `text`.
fn parse_form(text: &str) -> Result<Keys, InvalidParams> {
    let mut keys = Keys::default();
    for pair in text.split('&') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let key = decode(key)?;
        let slot = match key.as_str() {
            "userId" => &mut keys.user_id,
            "username" => &mut keys.username,
            "user" => &mut keys.user,
            _ => return Err(InvalidParams::new(format!("unknown form field `{key}`"))),
        };
        if slot.replace(decode(value)?).is_some() {
            return Err(InvalidParams::new(format!("duplicate form field `{key}`")));
        }
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
    const JSON: Option<&str> = Some("application/json");

    fn member(id: Option<&str>, username: Option<&str>) -> Result<Subject, InvalidParams> {
        Ok(Subject::Member(Selectors {
            id: id.map(String::from),
            username: username.map(String::from),
        }))
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
        for (content_type, body, id, username) in [
            (JSON, r#"{"userId":"u1"}"#, Some("u1"), None),
            (FORM, r#"{ "userId":"u1" }"#, Some("u1"), None),
            (None, r#"{"username":"bob"}"#, None, Some("bob")),
            (JSON, r#"{"user":"bob"}"#, None, Some("bob")),
            (JSON, r#"{"userId":"u1","username":"bob"}"#, Some("u1"), Some("bob")),
            (JSON, r#"{"user":"Bob","username":"bob"}"#, None, Some("bob")),
            (JSON, r#"{"userId":" ","username":"bob"}"#, None, Some("bob")),
            (JSON, r#"{"userId":""}"#, None, None),
            (FORM, "userId=u1", Some("u1"), None),
            (FORM, "username=J%C3%BCrgen+B", None, Some("Jürgen B")),
            (FORM, "userId=&user=bob", None, Some("bob")),
            (Some("Application/X-WWW-Form-Urlencoded; charset=utf-8"), "user=bob", None, Some("bob")),
        ] {
            assert_eq!(parse(content_type, body.as_bytes()), member(id, username), "{body}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (content_type, body, explanation) in [
            (JSON, r#"{"userId":"#, "EOF while parsing a value at line 1 column 10"),
            (JSON, r#"{"userID":"u1"}"#, "unknown field `userID`, expected one of `userId`, `username`, `user` at line 1 column 9"),
            (JSON, r#"{"userId":"u1","userId":"u1"}"#, "duplicate field `userId` at line 1 column 23"),
            (JSON, r#"{"userId":null}"#, "invalid type: null, expected a string at line 1 column 14"),
            (JSON, r#"{"userId":{"$ne":null}}"#, "invalid type: map, expected a string at line 1 column 10"),
            (JSON, r#"{"userId":["u1"]}"#, "invalid type: sequence, expected a string at line 1 column 10"),
            (JSON, r#"{"userId":7}"#, "invalid type: integer `7`, expected a string at line 1 column 11"),
            (JSON, r#"{"userId":"u1"} x"#, "trailing characters at line 1 column 17"),
            (JSON, r#"{"username":"a","user":"b"}"#, "username and user name different users"),
            (JSON, r#"["u1"]"#, "the body is not a JSON object"),
            (JSON, r#""u1""#, "the body is not a JSON object"),
            (JSON, " ", "the body is not a JSON object"),
            (JSON, "userId=u1", "the body is not a JSON object"),
            (None, "userId=u1", "the body is not a JSON object"),
            (JSON, "\u{feff}{}", "the body is not a JSON object"),
            (FORM, r#"["u1"]"#, r#"unknown form field `["u1"]`"#),
            (FORM, "userid=u1", "unknown form field `userid`"),
            (FORM, "userId=u1&userId=u1", "duplicate form field `userId`"),
            (FORM, "userId=u1&", "unknown form field ``"),
            (FORM, "userId=%FF", "a form field is not UTF-8"),
        ] {
            let expected = Err(InvalidParams(explanation.to_owned()));
            assert_eq!(parse(content_type, body.as_bytes()), expected, "{body}");
        }
    }

    #[test]
    fn a_body_that_is_not_utf_8_is_refused() {
        let explanation = parse(JSON, b"{\"userId\":\"\xff\"}");
        assert!(matches!(explanation, Err(InvalidParams(e)) if e.starts_with("the body is not UTF-8")));
    }

    #[test]
    fn an_explanation_is_short_whatever_it_quotes() {
        let body = format!("{{\"{}\":1}}", "k".repeat(3000));
        let explanation = parse(JSON, body.as_bytes());
        assert!(matches!(explanation, Err(InvalidParams(e)) if e.chars().count() == 200));
    }
}
